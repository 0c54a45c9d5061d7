//! Signals: all that the loop handles are blocked and come out of one signalfd(2). No handler is ever installed.

use core::mem::MaybeUninit;
use core::ptr;
use rustix::fd::{AsFd, FromRawFd, OwnedFd};
use rustix::io::Errno;

use super::process::last_errno;

/// The signals that come out of the [`descriptor`].
const HANDLED: [i32; 7] =
    [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2];

/// Gives every signal its default action and blocks those that the loop handles, and two that must not end the program:
/// SIGPIPE (a closed log), and SIGIO (a child may ask for it in our name, fcntl(2), `F_SETOWN`). The default action
/// matters for the children, who inherit what is ignored (signal(7)).
pub fn prepare() {
    const SET_BYTES: usize = if cfg!(any(target_arch = "mips", target_arch = "mips64")) { 16 } else { 8 };
    let default = [0_u64; 8];
    for signal in 1..=64_usize {
        // SAFETY: on every processor an action of nothing but zeros is the default action and no handler, and shorter than
        // this; an error (SIGKILL, SIGSTOP) changes nothing.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), 0_usize, SET_BYTES) };
    }
    let mut set = handled();
    // SAFETY: `set` is an initialised signal set.
    unsafe {
        libc::sigaddset(&raw mut set, libc::SIGPIPE);
        libc::sigaddset(&raw mut set, libc::SIGIO);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
    }
}

/// Lets every signal through in the calling process: the last act of a child before exec.
pub fn unblock_all() {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set that sigprocmask reads.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), ptr::null_mut());
    }
}

/// A descriptor that becomes readable when a handled signal arrives (signalfd(2)).
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM.
pub fn descriptor() -> Result<OwnedFd, Errno> {
    let set = handled();
    // SAFETY: `set` is an initialised signal set.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes the next signal out of the descriptor: its number, and the process that sent it. `None`: there is none.
///
/// # Errors
/// Those of read(2), without EAGAIN and EINTR, which mean that there is none.
pub fn take(descriptor: &impl AsFd) -> Result<Option<(i32, u32)>, Errno> {
    const SIZE: usize = size_of::<libc::signalfd_siginfo>();
    let mut record = [0_u8; SIZE];
    match rustix::io::read(descriptor, &mut record) {
        // ssi_signo is the first field, ssi_pid the fourth (signalfd(2))
        Ok(SIZE) => Ok(Some((i32::from_ne_bytes(word(&record, 0)), u32::from_ne_bytes(word(&record, 12))))),
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Four bytes of a record.
fn word(record: &[u8], at: usize) -> [u8; 4] {
    record.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
}

fn handled() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set; the numbers are valid signals.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in HANDLED {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

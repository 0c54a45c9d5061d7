//! Signals: all that the loop handles are blocked and come out of one signalfd(2). No handler is ever installed.

use core::ffi::{c_int, c_ulong};
use core::ptr;
use rustix::fd::{AsFd, FromRawFd, OwnedFd};
use rustix::io::Errno;

use super::process::last_errno;

/// A set of signals as the kernel has it, where the C library's has more and is made by one call for each signal.
type Set = [c_ulong; SET_BYTES / size_of::<c_ulong>()];

/// 64 signals; on MIPS 128.
const SET_BYTES: usize = if cfg!(any(target_arch = "mips", target_arch = "mips64")) { 16 } else { 8 };

/// The signals that come out of the [`descriptor`].
const HANDLED: Set =
    set(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2]);

/// Those, and three that must not end the program: SIGPIPE (a closed log), SIGXFSZ (a log that may not grow,
/// setrlimit(2)), and SIGIO (a child may ask for it in our name, fcntl(2), `F_SETOWN`).
const BLOCKED: Set = {
    let mut all = set(&[libc::SIGPIPE, libc::SIGXFSZ, libc::SIGIO]);
    all[0] |= HANDLED[0];
    all
};

/// A signal below 32 as kill(2) is given it here. MIPS has numbers of its own.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
pub const fn number(signal: c_int) -> u8 {
    signal as u8
}

/// The set of some signals below 32: they are in its first word.
const fn set(mut signals: &[c_int]) -> Set {
    let mut set = [0; _];
    while let [signal, rest @ ..] = signals {
        set[0] |= 1 << (*signal - 1);
        signals = rest;
    }
    set
}

/// Gives every signal its default action and blocks those that the loop handles, and three more. The default action
/// matters for the children, who inherit what is ignored (signal(7)).
pub fn prepare() {
    let default = [0_u64; 8];
    for signal in 1..=64_usize {
        // SAFETY: on every processor an action of nothing but zeros is the default action and no handler, and shorter
        // than this; an error (SIGKILL, SIGSTOP) changes nothing.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), 0_usize, SET_BYTES) };
    }
    mask(libc::SIG_BLOCK, &BLOCKED);
}

/// Lets every signal through in the calling process: the last act of a child before exec.
pub fn unblock_all() {
    mask(libc::SIG_SETMASK, &[0; _]);
}

/// rt_sigprocmask(2).
fn mask(how: c_int, set: &Set) {
    // SAFETY: the kernel reads a set of the length that it is told.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, set.as_ptr(), ptr::null_mut::<c_ulong>(), SET_BYTES) };
}

/// A descriptor that becomes readable when a handled signal arrives (signalfd(2)).
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM.
pub fn descriptor() -> Result<OwnedFd, Errno> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: as in `mask`.
    let fd = unsafe { libc::syscall(libc::SYS_signalfd4, -1, HANDLED.as_ptr(), SET_BYTES, flags) };
    let fd = c_int::try_from(fd).ok().filter(|&fd| fd >= 0).ok_or_else(last_errno)?;
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

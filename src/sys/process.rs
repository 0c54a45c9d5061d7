//! Processes: the child between clone and exec, signals, the session.

use core::ffi::{CStr, c_char, c_int, c_long, c_void};
use core::marker::PhantomData;
use core::ptr;
use rustix::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use rustix::fs::{Mode, OFlags, fcntl_setfl};
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

use crate::limits::{ARGUMENTS, CHILD_STACK_BYTES, ENVIRONMENT, EXECUTE_MS};

/// The stack of a child between clone and exec. All zero at first: it costs no page until the first start.
#[repr(C, align(16))]
pub struct ChildStack([u8; CHILD_STACK_BYTES]);

impl ChildStack {
    /// An unused stack.
    pub const NEW: Self = Self([0; CHILD_STACK_BYTES]);
}

/// How much a child shares with us until it executes its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Memory and the table of descriptors: the child must leave the table ([`unshare_descriptors_from`]) first.
    MemoryAndDescriptors,
    /// Memory; the descriptors are copied.
    Memory,
    /// Nothing, as fork(2): where clone with memory sharing is not to be had.
    Nothing,
}

/// Starts a child process that runs `child` on `stack` and ends with the status that it returns, and waits until it
/// has executed a program or has ended (clone(2), `CLONE_VM | CLONE_VFORK`). It gives the child's process id.
///
/// `child` runs on our memory while this thread stands still. It must make system calls only: no allocation, no lock,
/// no panic.
///
/// # Errors
/// EAGAIN (too many processes), ENOMEM.
pub fn clone_child(stack: &mut ChildStack, sharing: Sharing, child: &mut dyn FnMut() -> u8) -> Result<i32, Errno> {
    extern "C" fn enter(argument: *mut c_void) -> c_int {
        // SAFETY: `argument` is the address of `child` below; that variable lives until clone returns in the parent,
        // and with CLONE_VFORK the parent stands still until this child has gone. Without memory sharing this is the
        // child's own copy.
        let child = unsafe { &mut *argument.cast::<&mut dyn FnMut() -> u8>() };
        c_int::from(child())
    }
    let flags = libc::SIGCHLD
        | match sharing {
            Sharing::MemoryAndDescriptors => libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES,
            Sharing::Memory => libc::CLONE_VM | libc::CLONE_VFORK,
            Sharing::Nothing => 0,
        };
    let mut child = child;
    let argument: *mut c_void = (&raw mut child).cast();
    // SAFETY: the stack is exclusively ours, 16 byte aligned and large enough for system calls; `enter` gets a valid
    // pointer, see there. Signal handlers are not a concern: this program has none.
    let pid = unsafe { libc::clone(enter, stack.0.as_mut_ptr().add(CHILD_STACK_BYTES).cast(), flags, argument) };
    if pid < 0 { Err(last_errno()) } else { Ok(pid) }
}

/// Has SIGKILL sent to the calling process in [`EXECUTE_MS`], unless it has executed a program by then, which a timer
/// does not survive (timer_create(2)). Where the kernel has none nothing happens.
pub fn end_if_late() {
    // struct sigevent: a word of the machine, the signal, SIGEV_SIGNAL (0)
    let mut event = [0_u32; 16];
    event[size_of::<usize>() / size_of::<u32>()] = libc::SIGKILL.unsigned_abs();
    let due = [0, 0, c_long::try_from(EXECUTE_MS / 1000).unwrap_or(c_long::MAX), 0]; // struct itimerspec: interval, time
    let mut timer: c_int = 0;
    // SAFETY: the kernel reads structures that are long enough and initialised, and writes the number of the timer.
    unsafe {
        if libc::syscall(libc::SYS_timer_create, libc::CLOCK_MONOTONIC, event.as_ptr(), &raw mut timer) == 0 {
            libc::syscall(libc::SYS_timer_settime, timer, 0, due.as_ptr(), ptr::null_mut::<c_void>());
        }
    }
}

/// The program, arguments and environment of a child, as execve(2) takes them. What is not used of it is never touched.
pub struct Image<'a> {
    program: &'a CStr,
    argv: Pointers<{ ARGUMENTS + 1 }>,
    envp: Pointers<{ ENVIRONMENT + 1 }>,
    own: heapless::Vec<u8, 64>,
    strings: PhantomData<&'a CStr>,
}

/// Pointers to NUL-ended strings, with room for the null pointer at their end.
type Pointers<const N: usize> = heapless::Vec<*const c_char, N>;

/// Adds the NUL-ended strings that lie side by side in `block`; what follows the last NUL is left out. False: there is
/// no room for all of them.
fn add_all<const N: usize>(pointers: &mut Pointers<N>, block: &[u8]) -> bool {
    let mut rest = block;
    while let Some(end) = length(rest) {
        if pointers.len() + 1 >= N || pointers.push(rest.as_ptr().cast()).is_err() {
            return false;
        }
        rest = &rest[end + 1..];
    }
    true
}

/// Bytes before the first NUL.
fn length(bytes: &[u8]) -> Option<usize> {
    // SAFETY: memchr reads at most as many bytes as there are.
    let end = unsafe { libc::memchr(bytes.as_ptr().cast(), 0, bytes.len()) };
    (!end.is_null()).then(|| end as usize - bytes.as_ptr() as usize)
}

impl<'a> Image<'a> {
    /// An image of `program` without arguments and environment.
    pub const fn new(program: &'a CStr) -> Self {
        let own = heapless::Vec::new();
        Self { program, argv: Pointers::new(), envp: Pointers::new(), own, strings: PhantomData }
    }

    /// Adds arguments: NUL-ended strings side by side. False: there is no room for all (a checked plan has room).
    pub fn arguments(&mut self, block: &'a [u8]) -> bool {
        add_all(&mut self.argv, block)
    }

    /// Adds variables `NAME=VALUE`: NUL-ended strings side by side. False: there is no room for all (a checked plan has
    /// room).
    pub fn variables(&mut self, block: &'a [u8]) -> bool {
        add_all(&mut self.envp, block)
    }

    /// As [`Image::variables`] where it is known where each of them starts. False: there is no room for all, or the
    /// block is not ended by a NUL.
    pub fn variables_at(&mut self, (block, starts): (&'a [u8], &[u16])) -> bool {
        // whatever starts in a block that a NUL ends is ended by one as well
        let mut add = |start: &u16| match block.get(usize::from(*start)..) {
            Some([rest @ .., 0]) => self.envp.len() < ENVIRONMENT && self.envp.push(rest.as_ptr().cast()).is_ok(),
            _ => false,
        };
        starts.iter().all(&mut add)
    }

    /// Sets a text of the image's own, at most 63 bytes: one or more variables `NAME=VALUE` that are known only in the
    /// child, each with its NUL. They are put behind the others by [`Image::execute`].
    pub fn set_own_variables(&mut self, text: &[u8]) {
        self.own.clear();
        if text.ends_with(&[0]) {
            let _ = self.own.extend_from_slice(text); // too long: none is set, which sd_listen_fds(3) reads as "none"
        }
    }

    /// Replaces this process by the program; returns only when that fails (execve(2)).
    pub fn execute(&mut self) -> Errno {
        let _ = add_all(&mut self.envp, &self.own); // a checked plan has room
        if self.argv.push(ptr::null()).is_err() || self.envp.push(ptr::null()).is_err() {
            return Errno::TOOBIG;
        }
        // SAFETY: both arrays end with the null pointer that was just added, and every other element points to a
        // NUL-ended string that is borrowed for 'a or lies in `own`.
        unsafe { libc::execve(self.program.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr()) };
        let errno = last_errno();
        let _ = (self.argv.pop(), self.envp.pop());
        errno
    }
}

/// Gives the calling process a descriptor table of its own with only the descriptors below `first`
/// (close_range(2) with `CLOSE_RANGE_UNSHARE`, Linux 5.9).
///
/// # Errors
/// ENOSYS on older kernels; ENOMEM.
pub fn unshare_descriptors_from(first: u32) -> Result<(), Errno> {
    const CLOSE_RANGE_UNSHARE: u32 = 2;
    close_range(first, u32::MAX, CLOSE_RANGE_UNSHARE)
}

/// Closes the descriptors from `first` to `last` (close_range(2), Linux 5.9). The callers own none of them that they go
/// on to use.
///
/// # Errors
/// ENOSYS on older kernels; ENOMEM.
pub(super) fn close_range(first: u32, last: u32, flags: u32) -> Result<(), Errno> {
    // SAFETY: closing descriptors of the calling process breaks no memory, and nothing here owns them, see above.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) })
}

/// Moves a descriptor to `least` or above, where it is not there yet and the limit of descriptors allows.
pub fn above(fd: OwnedFd, least: RawFd) -> OwnedFd {
    if fd.as_raw_fd() >= least { fd } else { fcntl_dupfd_cloexec(&fd, least).unwrap_or(fd) }
}

/// Makes `to` a copy of the descriptor `from`, open across exec (dup2(2); where both are the same number only
/// close-on-exec is taken off).
///
/// # Errors
/// EBADF, EMFILE.
pub fn install_descriptor(from: i32, to: i32) -> Result<(), Errno> {
    if from == to {
        // SAFETY: a plain descriptor number, of which nothing is kept.
        return fcntl_setfd(unsafe { BorrowedFd::borrow_raw(to) }, FdFlags::empty());
    }
    // SAFETY: plain descriptor numbers; called in a child on its own table, whose low descriptors belong to the
    // program that is about to be executed.
    check(unsafe { libc::dup2(from, to) }.into())
}

/// Sets or clears `O_NONBLOCK` of the open file behind a descriptor number (fcntl(2), `F_SETFL`).
///
/// # Errors
/// EBADF.
pub fn set_nonblocking(fd: i32, nonblocking: bool) -> Result<(), Errno> {
    set_flags(fd, if nonblocking { OFlags::NONBLOCK } else { OFlags::empty() })
}

/// Sets the flags of the open file behind a descriptor number, and clears the others (fcntl(2), `F_SETFL`).
///
/// # Errors
/// EBADF.
pub fn set_flags(fd: i32, flags: OFlags) -> Result<(), Errno> {
    // SAFETY: a plain descriptor number, of which nothing is kept.
    fcntl_setfl(unsafe { BorrowedFd::borrow_raw(fd) }, flags)
}

/// Opens `path` and puts it at descriptor `to`, open across exec (open(2), dup2(2)). A file that is made has mode 666
/// without the umask.
///
/// # Errors
/// Those of open(2).
pub fn install_file(path: &CStr, flags: OFlags, to: i32) -> Result<(), Errno> {
    let fd = rustix::fs::open(path, flags | OFlags::NOCTTY, Mode::from_raw_mode(0o666))?;
    if fd.as_raw_fd() == to {
        let _ = fd.into_raw_fd(); // it stays
        return Ok(());
    }
    install_descriptor(fd.as_raw_fd(), to)
}

/// Sends a signal to a process (kill(2)); with a negative `pid` to the process group. 0 asks whether it exists.
///
/// # Errors
/// ESRCH, EPERM.
pub fn send_signal(pid: i32, signal: u8) -> Result<(), Errno> {
    // SAFETY: integers only.
    check(unsafe { libc::kill(pid, c_int::from(signal)) }.into())
}

/// The session of a process (getsid(2)); 0 where its leader is outside of our pid namespace. `None`: there is no such
/// process.
pub fn session_of(pid: i32) -> Option<i32> {
    // SAFETY: integers only.
    let session = unsafe { libc::getsid(pid) };
    (session >= 0).then_some(session)
}

/// Asks the kernel to send `signal` to the calling process when its parent dies (prctl(2), `PR_SET_PDEATHSIG`).
///
/// # Errors
/// EINVAL for a wrong signal.
pub fn set_parent_death_signal(signal: u8) -> Result<(), Errno> {
    control(libc::PR_SET_PDEATHSIG, signal.into())
}

/// Whether a pidfd has an inode number of its own (pidfd_open(2), since Linux 6.9).
pub fn pidfds_have_inodes() -> bool {
    const PID_FS_MAGIC: i64 = 0x5049_4446;
    let pidfd = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty());
    #[allow(clippy::useless_conversion, reason = "the type of f_type differs between processors")]
    let kind = pidfd.and_then(|pidfd| rustix::fs::fstatfs(&pidfd)).map(|status| i64::from(status.f_type));
    kind == Ok(PID_FS_MAGIC)
}

/// The name of this process, NUL-ended (prctl(2), `PR_GET_NAME`).
pub fn name() -> [u8; 16] {
    let mut name = [0_u8; 16]; // as much as the kernel writes at most
    let _ = control(libc::PR_GET_NAME, (&raw mut name).expose_provenance());
    name
}

/// Makes this process adopt orphaned descendants (prctl(2), `PR_SET_CHILD_SUBREAPER`, Linux 3.4).
///
/// # Errors
/// EINVAL on older kernels.
pub fn become_subreaper() -> Result<(), Errno> {
    control(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// prctl(2) with one argument, which is a number or the address of something that is large enough.
fn control(option: c_int, argument: usize) -> Result<(), Errno> {
    // SAFETY: see above; the callers are the three functions before this one.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, argument, 0_usize, 0_usize, 0_usize) })
}

/// Sets a resource limit of the calling process (prlimit(2)), or the nearest that it may set; `u64::MAX` is infinity.
///
/// # Errors
/// EINVAL; whatever a filter of system calls says.
pub fn set_limit(resource: u8, soft: u64, hard: u64) -> Result<(), Errno> {
    let mut limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    loop {
        let Err(errno) = prlimit(resource, Some(&limit)) else { return Ok(()) };
        match prlimit(resource, None) {
            Ok(now) if errno == Errno::PERM && limit.rlim_max > now.rlim_max => {
                limit = libc::rlimit64 { rlim_cur: soft.min(now.rlim_max), rlim_max: now.rlim_max };
            }
            _ => return Err(errno),
        }
    }
}

/// How many descriptors this process may have, and how many it may ask for.
///
/// # Errors
/// What a filter of system calls says: rustix believes that there are none.
pub fn descriptor_limit() -> Result<(u64, u64), Errno> {
    prlimit(DESCRIPTORS, None).map(|limit| (limit.rlim_cur, limit.rlim_max))
}

/// Sets that limit, as [`set_limit`].
pub fn set_descriptor_limit(soft: u64, hard: u64) {
    let _ = set_limit(DESCRIPTORS, soft, hard); // then the limit holds
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 16, of another type in each libc")]
const DESCRIPTORS: u8 = libc::RLIMIT_NOFILE as u8;

/// A limit of the calling process, and what it is to be from now on. It is the plain system call: setrlimit(3) of some
/// C libraries looks for other threads first.
fn prlimit(resource: u8, new: Option<&libc::rlimit64>) -> Result<libc::rlimit64, Errno> {
    let mut now = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: pointers to initialised structures, or none; the number is one of getrlimit(2) or refused by the kernel.
    check(unsafe { libc::prlimit64(0, resource.into(), new, &raw mut now) }.into())?;
    Ok(now)
}

/// What a call of the C library has said: below 0 it has failed.
pub(super) fn check(result: c_long) -> Result<(), Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

/// The errno of the C library call that has just failed.
pub fn last_errno() -> Errno {
    // SAFETY: the address of this thread's errno is always valid.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, WaitOptions, waitpid};

    fn status_of(pid: i32) -> Option<i32> {
        let pid = Pid::from_raw(pid).unwrap();
        waitpid(Some(pid), WaitOptions::empty()).unwrap().and_then(|(_, status)| status.exit_status())
    }

    #[test]
    fn a_child_runs_on_our_memory_and_ends_with_its_status() {
        let mut stack = Box::new(ChildStack::NEW);
        let mut seen = 0;
        let pid = clone_child(&mut stack, Sharing::Memory, &mut || {
            seen = 42;
            7
        })
        .unwrap();
        assert_eq!(seen, 42, "the child writes to our memory before clone returns");
        assert_eq!(status_of(pid), Some(7));
    }

    #[test]
    fn an_image_executes_with_its_arguments_and_environment() {
        let mut stack = Box::new(ChildStack::NEW);
        let mut image = Image::new(c"/bin/sh");
        assert!(image.arguments(b"sh\0-c\0test \"$A:$C:$0:$1\" = b:d:zero:one\0zero\0one\0"));
        assert!(image.variables(b"A=b\0no end"));
        image.set_own_variables(b"C=d\0");
        let pid = clone_child(&mut stack, Sharing::Memory, &mut || {
            image.execute();
            127
        });
        assert_eq!(status_of(pid.unwrap()), Some(0));
    }

    #[test]
    fn an_image_takes_no_more_strings_than_it_has_room_for() {
        let (words, variables) = (b"a\0".repeat(ARGUMENTS), b"A=\0".repeat(ENVIRONMENT));
        let mut image = Image::new(c"/bin/true");
        assert!(image.arguments(&words) && !image.arguments(b"a\0"));
        assert_eq!(image.argv.len(), ARGUMENTS);
        assert!(image.variables(b"") && image.variables(b"\0") && !image.variables(&variables));
    }

    #[test]
    fn a_program_that_is_missing_is_told_by_errno() {
        let mut stack = Box::new(ChildStack::NEW);
        let mut why = None;
        let pid = clone_child(&mut stack, Sharing::Memory, &mut || {
            why = Some(Image::new(c"/nonexistent/program").execute());
            127
        });
        assert_eq!(status_of(pid.unwrap()), Some(127));
        assert_eq!(why, Some(Errno::NOENT));
    }
}

//! fork(2) for going to the background. Services are started another way, see
//! [`super::process::clone_child`].

use super::process::last_errno;
use rustix::io::Errno;
use rustix::process::Pid;

/// Splits the process: `Some(pid)` of the child in the parent, `None` in the child.
///
/// Only for a process with one thread (before the loop, and this program has no other thread): with more, the child
/// could find a lock held for ever by a thread that it does not have.
///
/// # Errors
/// `EAGAIN` (too many processes), `ENOMEM`.
pub fn fork() -> Result<Option<Pid>, Errno> {
    // SAFETY: no pointers. The child of a process with one thread can go on like its parent, and the process has no
    // other: only tests do, and where they run the C library keeps its allocator usable in the child. That of musl
    // would bring the locks of its threads along, 2 kB.
    let pid = unsafe {
        match cfg!(target_env = "musl") {
            true => libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0_usize, 0_usize, 0_usize, 0_usize),
            false => libc::fork().into(),
        }
    };
    match i32::try_from(pid) {
        Ok(pid) if pid >= 0 => Ok(Pid::from_raw(pid)),
        _ => Err(last_errno()),
    }
}

/// Ends this process at once, without running destructors or handlers (_exit(2)).
pub fn exit(code: u8) -> ! {
    // SAFETY: takes no pointer and does not return.
    unsafe { libc::_exit(i32::from(code)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{WaitOptions, waitpid};

    #[test]
    fn the_exit_code_comes_back() {
        match fork().unwrap() {
            None => exit(71),
            Some(child) => {
                let (_, status) = waitpid(Some(child), WaitOptions::empty()).unwrap().unwrap();
                assert_eq!(status.exit_status(), Some(71));
            }
        }
    }
}

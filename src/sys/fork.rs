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
    // SAFETY: no pointers. The child of a process with one thread can go on like its parent, and the process has no other:
    // only tests do, and where they run the C library keeps its allocator usable in the child.
    match unsafe { libc::fork() } {
        -1 => Err(last_errno()),
        pid => Ok(Pid::from_raw(pid)),
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

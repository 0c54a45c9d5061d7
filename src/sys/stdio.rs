//! The descriptors 0, 1 and 2.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{BorrowedFd, IntoRawFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, fcntl_getfd};

/// Opens /dev/null on each of 0, 1 and 2 that is closed, so that no descriptor of ours can land there and be taken
/// for standard input, output or error. First thing in the program; the rest of this module relies on it.
///
/// # Errors
/// /dev/null cannot be opened (open(2)).
pub fn guard() -> Result<(), Errno> {
    for standard in [Standard::Input, Standard::Output, Standard::Error] {
        if fcntl_getfd(borrow(standard)) == Err(Errno::BADF) {
            // open(2) gives the lowest free number, and those before are open
            let _ = open(c"/dev/null", OFlags::RDWR, Mode::empty())?.into_raw_fd();
        }
    }
    Ok(())
}

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standard {
    /// Descriptor 0.
    Input,
    /// Descriptor 1.
    Output,
    /// Descriptor 2.
    Error,
}

/// One of the three descriptors. They are open from [`guard`] to the end of the program.
#[must_use]
pub const fn borrow(which: Standard) -> BorrowedFd<'static> {
    // SAFETY: 0, 1 and 2 are open since `guard`, which asks the kernel whether they are (and so does the start-up of the
    // Rust library); we only ever replace them by dup2(2), so that they stay open.
    unsafe { BorrowedFd::borrow_raw(which as i32) }
}

/// Standard input.
#[must_use]
pub const fn stdin() -> BorrowedFd<'static> {
    borrow(Standard::Input)
}

/// Standard output.
#[must_use]
pub const fn stdout() -> BorrowedFd<'static> {
    borrow(Standard::Output)
}

/// Standard error.
#[must_use]
pub const fn stderr() -> BorrowedFd<'static> {
    borrow(Standard::Error)
}

/// Replaces one of the three by /dev/null.
///
/// # Errors
/// /dev/null cannot be opened (open(2)).
pub fn discard(which: Standard) -> Result<(), Errno> {
    let null = open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    match which {
        Standard::Input => rustix::stdio::dup2_stdin(&null),
        Standard::Output => rustix::stdio::dup2_stdout(&null),
        Standard::Error => rustix::stdio::dup2_stderr(&null),
    }
}

/// Writes all of `bytes`; may block. For texts on standard output and messages before the loop.
///
/// # Errors
/// As write(2): `EPIPE` if nobody reads (SIGPIPE must be ignored or blocked), `ENOSPC`, ...
pub fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_writable(fd, None)?,
            Err(why) => return Err(why),
        }
    }
    Ok(())
}

/// Writes everything, as long as somebody reads it: gives up on a descriptor that takes nothing for a second.
///
/// # Errors
/// As write(2), and `ETIMEDOUT`.
pub fn write_patiently(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno> {
    // a pipe that is writable takes PIPE_BUF bytes without blocking (pipe(7))
    const PIECE_BYTES: usize = 4096;
    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
    for piece in bytes.chunks(PIECE_BYTES) {
        wait_writable(fd, Some(&second))?;
        write_all(fd, piece)?;
    }
    Ok(())
}

/// Waits until a descriptor takes something.
fn wait_writable(fd: BorrowedFd<'_>, most: Option<&Timespec>) -> Result<(), Errno> {
    let mut ready = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    match poll(&mut ready, most) {
        Ok(0) => Err(Errno::TIMEDOUT),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(why) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;
    use rustix::pipe::{PipeFlags, pipe_with};

    #[test]
    fn the_guard_leaves_open_descriptors_alone() {
        guard().unwrap();
        guard().unwrap();
        assert!(rustix::io::fcntl_getfd(borrow(Standard::Input)).is_ok());
    }

    #[test]
    fn a_closed_reader_is_an_error_and_no_signal() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        write_all(writer.as_fd(), b"hello").unwrap();
        drop(reader);
        assert_eq!(write_all(writer.as_fd(), b"hello"), Err(Errno::PIPE));
    }
}

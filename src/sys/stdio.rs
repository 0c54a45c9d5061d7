//! The descriptors 0, 1 and 2.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use rustix::fs::OFlags;
use rustix::io::{Errno, fcntl_getfd};

use super::process::install_file;

/// Opens /dev/null on each of 0, 1 and 2 that is closed, so that no descriptor of ours can land there and be taken
/// for standard input, output or error. First thing in the program; the rest of this module relies on it.
///
/// # Errors
/// /dev/null cannot be opened (open(2)).
pub fn guard() -> Result<(), Errno> {
    for (number, standard) in (0..).zip([stdin(), stdout(), stderr()]) {
        if fcntl_getfd(standard) == Err(Errno::BADF) {
            discard(number)?;
        }
    }
    Ok(())
}

/// Standard input.
#[must_use]
pub const fn stdin() -> BorrowedFd<'static> {
    borrow(0)
}

/// Standard output.
#[must_use]
pub const fn stdout() -> BorrowedFd<'static> {
    borrow(1)
}

/// Standard error.
#[must_use]
pub const fn stderr() -> BorrowedFd<'static> {
    borrow(2)
}

/// One of the three descriptors. They are open from [`guard`] to the end of the program.
const fn borrow(number: i32) -> BorrowedFd<'static> {
    // SAFETY: 0, 1 and 2 are open since `guard`, which asks the kernel whether they are (and so does the start-up of
    // the Rust library); we only ever replace them by dup2(2), so that they stay open.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Replaces one of the three, by its number, by /dev/null.
///
/// # Errors
/// /dev/null cannot be opened (open(2)).
pub fn discard(number: i32) -> Result<(), Errno> {
    install_file(c"/dev/null", OFlags::RDWR, number)
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
        assert!(rustix::io::fcntl_getfd(stdin()).is_ok());
    }

    #[test]
    fn a_closed_reader_is_an_error_and_no_signal() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        write_all(writer.as_fd(), b"hello").unwrap();
        drop(reader);
        assert_eq!(write_all(writer.as_fd(), b"hello"), Err(Errno::PIPE));
    }
}

//! Named pipes, fifo(7).
//!
//! Opened for reading and writing, as systemd does: with a writer of our own there is never an end of file, so a
//! client that comes and goes does not wake the service again and again.

use super::unix::{identity_of, mode, under};
use super::{Identity, OpenError, Opened, Step, links};
use crate::plan::SocketSpec;
use core::ffi::CStr;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid, fchmod, fchown, fcntl_setfl, fstat, mknodat, openat};
use rustix::io::Errno;

/// Makes the FIFO unless it is there, opens it and gives it owner and mode. It begins without permissions for others;
/// what is there already must be a FIFO, and gets owner and mode as well.
///
/// # Errors
/// [`Step::Fifo`], [`Step::NotAFifo`], [`Step::Folder`], [`Step::Owner`], [`Step::Mode`].
pub(super) fn open(spec: &SocketSpec, path: &CStr) -> Result<Opened, OpenError> {
    let own = Mode::RUSR | Mode::WUSR;
    let make = || under(Mode::empty(), || mknodat(CWD, path, FileType::Fifo, own, 0));
    let mut made = make();
    if made == Err(Errno::NOENT) {
        links::make_folders(path.to_bytes(), spec.directory_mode)?;
        made = make();
    }
    if let Err(errno) = made
        && errno != Errno::EXIST
    {
        return Err(OpenError { step: Step::Fifo, errno });
    }
    // O_NONBLOCK and O_NOCTTY: should a device be there, opening it must do nothing.
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let not_a_fifo = |errno| OpenError { step: Step::NotAFifo, errno };
    let fifo = openat(CWD, path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::NODEV => not_a_fifo(errno),
        _ => OpenError { step: Step::Fifo, errno },
    })?;
    let found = fstat(&fifo).map_err(Step::Fifo.failed())?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Fifo {
        return Err(not_a_fifo(Errno::EXIST));
    }
    hand_over(fifo.as_fd(), spec)?;
    if !spec.nonblocking {
        fcntl_setfl(&fifo, OFlags::RDWR).map_err(Step::Fifo.failed())?;
    }
    let identity = if spec.remove_on_stop || made.is_ok() { identity_of(&found) } else { Identity::default() };
    Ok(Opened { socket: fifo, identity })
}

/// Gives a FIFO its owner and mode. One that has its mode already may be somebody else's.
pub(super) fn hand_over(fifo: BorrowedFd<'_>, spec: &SocketSpec) -> Result<(), OpenError> {
    if spec.owner.is_some() || spec.group.is_some() {
        let (owner, group) = (spec.owner.map(Uid::from_raw), spec.group.map(Gid::from_raw));
        fchown(fifo, owner, group).map_err(Step::Owner.failed())?;
    }
    if !fstat(fifo).is_ok_and(|found| found.st_mode & 0o7777 == u32::from(spec.mode)) {
        fchmod(fifo, mode(spec.mode)).map_err(Step::Mode.failed())?;
    }
    Ok(())
}

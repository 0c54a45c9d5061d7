//! Files and folders that a program finds when it starts: StandardOutput= and its kin, RuntimeDirectory= and its kin.
//!
//! They are opened and made as root, and the folder above may belong to the service, which can put a link there. So
//! only links of root's or our own are followed: nothing of others is written to or given away.

use core::ffi::CStr;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, fchmod, fchown, mkdirat, openat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::plan::steps::OpenMode;
use crate::sys::process;

/// Opens a file as a standard descriptor. The parent stands still until the program is executed, so nothing here may
/// wait: a FIFO whose other end nobody has opened (then it is ENXIO, or empty), a serial line without a carrier. The
/// program gets what blocks as usual.
///
/// # Errors
/// Those of open(2). ELOOP: it is a link of somebody else's.
pub(super) fn open(fd: i32, mode: OpenMode, path: &CStr) -> Result<(), Errno> {
    let flags = match mode {
        OpenMode::Read => OFlags::RDONLY,
        OpenMode::Write => OFlags::WRONLY | OFlags::CREATE,
        OpenMode::Append => OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND,
        OpenMode::Truncate => OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC,
    };
    let follow = &mut |more| process::install_file(path, flags | OFlags::NONBLOCK | more, fd);
    guarded(CWD, path, follow)?;
    process::set_flags(fd, flags & OFlags::APPEND)
}

/// Makes a folder and those above it as far as they are missing. It has this mode and owner afterwards, whoever made
/// it; `u32::MAX` leaves an owner or group as it is. Those above get 0755.
///
/// # Errors
/// Those of mkdir(2), open(2), fchown(2) and fchmod(2). ELOOP: a link of somebody else's is on the way.
pub(super) fn make_folder(mode: u16, uid: u32, gid: u32, path: &CStr) -> Result<(), Errno> {
    const ABOVE: u16 = 0o755;
    let mut folder = enter(CWD, c"/", OFlags::PATH)?;
    let mut names = path.to_bytes().split(|&byte| byte == b'/').filter(|name| !name.is_empty()).peekable();
    while let Some(name) = names.next() {
        let last = names.peek().is_none();
        let mut room = [0; 256]; // NAME_MAX and a NUL
        room.get_mut(..name.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(name);
        let name = CStr::from_bytes_until_nul(&room).map_err(|_| Errno::NAMETOOLONG)?;
        let mode = Mode::from_raw_mode(if last { mode } else { ABOVE }.into());
        let made = match mkdirat(&folder, name, mode) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(errno),
        };
        // it need not be readable to lead to another one
        folder = enter(folder.as_fd(), name, if made || last { OFlags::RDONLY } else { OFlags::PATH })?;
        if last && (uid, gid) != (u32::MAX, u32::MAX) {
            let is_set = |id: &u32| *id != u32::MAX;
            fchown(&folder, Some(uid).filter(is_set).map(Uid::from_raw), Some(gid).filter(is_set).map(Gid::from_raw))?;
        }
        if made || last {
            fchmod(&folder, mode)?; // umask(2) has taken its part of it
        }
    }
    Ok(())
}

fn enter(above: BorrowedFd<'_>, name: &CStr, access: OFlags) -> Result<OwnedFd, Errno> {
    let mut folder = Err(Errno::NOENT);
    guarded(above, name, &mut |more| {
        folder = openat(above, name, access | OFlags::DIRECTORY | OFlags::CLOEXEC | more, Mode::empty());
        folder.as_ref().map(drop).map_err(|&errno| errno)
    })?;
    folder
}

/// Opens what may be a link, but follows it only if it is root's or our own.
fn guarded(above: BorrowedFd<'_>, name: &CStr, open: &mut dyn FnMut(OFlags) -> Result<(), Errno>) -> Result<(), Errno> {
    match open(OFlags::NOFOLLOW) {
        Err(Errno::NOTDIR | Errno::LOOP) => {
            let found = statat(above, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let ours = found.st_uid == 0 || found.st_uid == geteuid().as_raw();
            if FileType::from_raw_mode(found.st_mode) == FileType::Symlink && !ours {
                return Err(Errno::LOOP);
            }
            open(OFlags::empty())
        }
        opened => opened,
    }
}

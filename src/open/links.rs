//! Files around a unix socket or FIFO: the folders above it, symbolic links to it, and taking them away again.

use super::unix::{is_ours, leads_to, mode, under};
use super::{Identity, OpenError, Step, Warn, path};
use crate::plan::Plan;
use crate::text::strings;
use core::ffi::CStr;
use rustix::fs::{AtFlags, CWD, FileType, Mode, mkdirat, statat, symlinkat, unlinkat};
use rustix::io::Errno;

/// Makes the folders above a path that are missing, each with exactly this mode (DirectoryMode=).
///
/// # Errors
/// [`Step::Folder`]: the last folder could not be made.
pub(super) fn make_folders(path: &[u8], directory_mode: u16) -> Result<(), OpenError> {
    let slashes = path.iter().enumerate().filter(|&(at, &byte)| byte == b'/' && at > 0);
    // Only the last one counts: what is missing above it makes it fail too.
    let mut last = Ok(());
    under(Mode::empty(), || {
        for (at, _) in slashes {
            last = mkdirat(CWD, &path[..at], mode(directory_mode));
        }
    });
    match last {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(OpenError { step: Step::Folder, errno }),
    }
}

/// Makes the links, a list of paths that each end with NUL. What is at a link's place is replaced only if it is a
/// symbolic link.
pub(super) fn make(path: &CStr, links: &[u8], directory_mode: u16, warn: Warn<'_>) {
    for link in strings(links) {
        if let Err(error) = make_one(path, link, directory_mode) {
            warn(error);
        }
    }
}

fn make_one(path: &CStr, link: &CStr, directory_mode: u16) -> Result<(), OpenError> {
    match symlinkat(path, CWD, link) {
        Err(Errno::EXIST) if is_link(link) => unlinkat(CWD, link, AtFlags::empty()).map_err(Step::Symlink.failed())?,
        Err(Errno::NOENT) => make_folders(link.to_bytes(), directory_mode)?,
        done => return done.map_err(Step::Symlink.failed()),
    }
    symlinkat(path, CWD, link).map_err(Step::Symlink.failed())
}

fn is_link(path: &CStr) -> bool {
    let file = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW);
    file.is_ok_and(|file| FileType::from_raw_mode(file.st_mode) == FileType::Symlink)
}

/// Removes the file and the links of a listener with RemoveOnStop=yes. The file only while it is the one that we made
/// (`identity` is what [`super::open`] gave), the links only while they lead to it. Must be called while the socket is
/// still open: then no other file can have the same inode number.
pub fn remove(plan: &Plan, listener: usize, identity: Identity) {
    let (row, spec) = plan.listener(listener);
    let Some(path) = path(plan.arena.get(row.address)).filter(|_| spec.remove_on_stop) else { return };
    if is_ours(path, identity) {
        remove_all(path, plan.arena.get(spec.symlinks), identity);
    }
}

/// Removes the file at a path, and those of the links that lead to it.
pub(super) fn remove_all(path: &CStr, links: &[u8], identity: Identity) {
    remove_links(strings(links), identity);
    let _ = unlinkat(CWD, path, AtFlags::empty());
}

/// Removes links, as far as they are links and lead to this file.
pub(super) fn remove_links<'a>(links: impl Iterator<Item = &'a CStr>, identity: Identity) {
    for link in links.filter(|link| is_link(link) && leads_to(link, AtFlags::empty(), identity)) {
        let _ = unlinkat(CWD, link, AtFlags::empty());
    }
}

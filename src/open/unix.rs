//! Unix sockets with a path (unix(7)): folders, owner, mode, and a file that an earlier program left behind.
//!
//! The mode is never wider than asked, not even for a moment: the umask is set around bind, and where owner or group
//! are to change, the file has no permission at all until they have. The process has one thread, so nobody else makes
//! a file under that umask.
//!
//! A file that is in the way is removed only when it is a socket and connecting to it is refused, which means that no
//! process holds it. Anything else is in use or not ours.

use super::{Identity, OpenError, Step, links, socket_type};
use crate::plan::{SocketKind, SocketSpec};
use crate::sys::proc::{c_str, of_descriptor};
use crate::sys::socket;
use core::ffi::CStr;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::fs::{chmodat, chownat, fstat, openat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::umask;

/// Binds a socket to a path and gives the file its owner and mode.
///
/// # Errors
/// [`Step::Bind`], [`Step::Folder`], [`Step::InUse`], [`Step::NotASocket`], [`Step::Stale`], [`Step::Owner`],
/// [`Step::Mode`]. After the last two the file is removed again.
pub(super) fn bind(
    fd: BorrowedFd<'_>,
    kind: SocketKind,
    spec: &SocketSpec,
    address: &[u8],
    path: &CStr,
) -> Result<Identity, OpenError> {
    let closed = spec.owner.is_some() || spec.group.is_some();
    let mask = if closed { Mode::RWXU | Mode::RWXG | Mode::RWXO } else { !mode(spec.mode) };
    let (mut cleared, mut made) = (false, false);
    loop {
        match under(mask, || socket::bind(fd, address)) {
            Ok(()) => break,
            Err(Errno::ADDRINUSE) if !cleared => {
                remove_stale(kind, address, path)?;
                cleared = true;
            }
            Err(Errno::NOENT) if !made => {
                links::make_folders(path.to_bytes(), spec.directory_mode)?;
                made = true;
            }
            Err(errno) => return Err(OpenError { step: Step::Bind, errno }),
        }
    }
    let settled = if closed { hand_over(spec, path) } else { identity(path) };
    settled.inspect_err(|_| {
        let _ = unlinkat(CWD, path, AtFlags::empty());
    })
}

/// Runs a call under a file mode creation mask.
pub(super) fn under<T>(mask: Mode, call: impl FnOnce() -> T) -> T {
    let before = umask(mask & (Mode::RWXU | Mode::RWXG | Mode::RWXO));
    let result = call();
    umask(before);
    result
}

/// Permission bits.
pub(super) fn mode(bits: u16) -> Mode {
    Mode::from_raw_mode(bits.into())
}

/// The identity of a file.
#[allow(clippy::useless_conversion, reason = "32 bits on MIPS")]
pub(super) fn identity_of(file: &Stat) -> Identity {
    Identity { device: u64::from(file.st_dev), inode: u64::from(file.st_ino) }
}

/// Whether the file at a path is the one that we made.
pub(super) fn is_ours(path: &CStr, identity: Identity) -> bool {
    leads_to(path, AtFlags::SYMLINK_NOFOLLOW, identity)
}

/// Whether the file that we made is not at its path any more. If that cannot be told just now, it is.
pub fn is_gone(path: &CStr, identity: Identity) -> bool {
    match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(file) => identity_of(&file) != identity,
        Err(errno) => matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP),
    }
}

/// Whether a path leads to the file that we made, over symbolic links unless the flags say otherwise.
pub(super) fn leads_to(path: &CStr, flags: AtFlags, identity: Identity) -> bool {
    identity != Identity::default() && statat(CWD, path, flags).is_ok_and(|file| identity_of(&file) == identity)
}

/// The identity of the file that we have just made.
fn identity(path: &CStr) -> Result<Identity, OpenError> {
    statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).map(|file| identity_of(&file)).map_err(Step::Bind.failed())
}

/// Sets owner and group, then the mode. All on one handle of the file, so that nothing else can be put at the path in
/// between and get the mode.
pub(super) fn hand_over(spec: &SocketSpec, path: &CStr) -> Result<Identity, OpenError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::empty()).map_err(Step::Owner.failed())?;
    let found = fstat(&file).map_err(Step::Owner.failed())?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(OpenError { step: Step::NotASocket, errno: Errno::NOTSOCK });
    }
    let (owner, group) = (spec.owner.map(Uid::from_raw), spec.group.map(Gid::from_raw));
    chownat(&file, c"", owner, group, AtFlags::EMPTY_PATH).map_err(Step::Owner.failed())?;
    // fchmod(2) refuses an O_PATH handle, and fchmodat2(2) needs Linux 6.6.
    chmodat(CWD, c_str(&of_descriptor(&file)), mode(spec.mode), AtFlags::empty()).map_err(Step::Mode.failed())?;
    Ok(identity_of(&found))
}

/// Removes the file at the path if it is a socket that no process holds. Asked only right after EADDRINUSE.
fn remove_stale(kind: SocketKind, address: &[u8], path: &CStr) -> Result<(), OpenError> {
    let file = match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        found => found.map_err(Step::Stale.failed())?,
    };
    if FileType::from_raw_mode(file.st_mode) != FileType::Socket {
        return Err(OpenError { step: Step::NotASocket, errno: Errno::NOTSOCK });
    }
    // Nonblocking: a program whose backlog is full must not hold us up.
    let probe = socket::socket(crate::plan::address::UNIX, socket_type(kind), true).map_err(Step::Stale.failed())?;
    match socket::connect(probe.as_fd(), address) {
        Err(Errno::CONNREFUSED) => unlinkat(CWD, path, AtFlags::empty()).map_err(Step::Stale.failed()),
        Err(Errno::NOENT) => Ok(()),
        // Connected, backlog full (EAGAIN), another type (EPROTOTYPE), no permission, ...: somebody is there.
        _ => Err(OpenError { step: Step::InUse, errno: Errno::ADDRINUSE }),
    }
}

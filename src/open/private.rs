//! A unix socket of our own, for us and root only.

use super::unix::{bind, is_ours};
use super::{Identity, OpenError, Opened, Step};
use crate::plan::{SocketKind, SocketSpec, Span, address};
use crate::sys::socket;
use core::ffi::CStr;
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, CWD, unlinkat};
use rustix::net::{SocketType, listen};

/// Clients that wait until they are accepted.
const BACKLOG: i32 = 16;

/// Opens a listening unix stream socket with mode 0600, nonblocking. A file that no process holds any more is replaced,
/// one that is in use is not touched, as with the sockets of services.
///
/// # Errors
/// As [`super::open`]; ENAMETOOLONG for a path that does not fit into an address.
pub fn open_private(path: &CStr) -> Result<Opened, OpenError> {
    let spec = SocketSpec {
        options: Span::default(),
        filter: Span::default(),
        symlinks: Span::default(),
        backlog: BACKLOG,
        owner: None,
        group: None,
        mode: 0o600,
        directory_mode: 0o755,
        remove_on_stop: true,
        nonblocking: true,
    };
    let target = socket::unix([path.to_bytes_with_nul(), &[]]).map_err(Step::Bind.failed())?;
    let made = socket::socket(address::UNIX, SocketType::STREAM, true).map_err(Step::Socket.failed())?;
    let identity = bind(made.as_fd(), SocketKind::Stream, &spec, &target, path)?;
    listen(&made, spec.backlog).map_err(Step::Listen.failed())?;
    Ok(Opened { socket: made, identity })
}

/// Removes the file of such a socket, if it is still that one.
pub fn remove_private(path: &CStr, identity: Identity) {
    if is_ours(path, identity) {
        let _ = unlinkat(CWD, path, AtFlags::empty());
    }
}

//! Connections to the backends of ConnectTo=.

use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{SocketType, netdevice};

use super::copied;
use crate::plan::address;
use crate::sys::socket;

/// Begins to connect to an address of the plan, without waiting. The descriptor is `least` or above. True: it is connected
/// already; else epoll(7) tells when it is.
///
/// # Errors
/// As socket(2) and connect(2); ENODEV: the interface of the address is not there.
pub fn connect(target: &[u8], least: i32) -> Result<(OwnedFd, bool), Errno> {
    let made = socket::socket(address::family(target), SocketType::STREAM, true)?;
    let made = above(made, least);
    let mut buffer = [0; socket::ADDRESS_BYTES];
    let bytes = copied(target, &mut buffer);
    if address::ip(target).is_some() {
        // it is forwarded as it comes; a delay would be one on top of the client's own
        let on = 1_i32.to_ne_bytes();
        socket::set_option(made.as_fd(), TCP, NODELAY, &on)?;
    }
    let interface = address::interface(target);
    if !interface.is_empty() {
        let index = netdevice::name_to_index(&made, interface)?;
        bytes[address::IN6_BYTES - 4..].copy_from_slice(&index.to_ne_bytes());
    }
    match socket::connect(made.as_fd(), bytes) {
        Ok(()) => Ok((made, true)),
        Err(Errno::INPROGRESS) => Ok((made, false)),
        Err(errno) => Err(errno),
    }
}

/// Moves a descriptor to `least` or above, where it is not there yet and the limit of descriptors allows.
pub fn above(fd: OwnedFd, least: i32) -> OwnedFd {
    if fd.as_raw_fd() >= least { fd } else { fcntl_dupfd_cloexec(&fd, least).unwrap_or(fd) }
}

/// `IPPROTO_TCP` and `TCP_NODELAY` (tcp(7)).
const TCP: u16 = 6;
const NODELAY: u16 = 1;

/// Why a connection failed, once epoll(7) has told of an error (`SO_ERROR`, socket(7)).
pub fn failure(connection: impl AsFd) -> Errno {
    let raw = socket::option(connection.as_fd(), libc::SOL_SOCKET, libc::SO_ERROR).unwrap_or(0);
    if raw == 0 { Errno::CONNREFUSED } else { Errno::from_raw_os_error(raw) }
}

/// Bytes that a side has been sent and not acknowledged yet (tcp(7), unix(7): `SIOCOUTQ`); 0 where it cannot be told.
pub fn unsent(connection: impl AsFd) -> usize {
    socket::queued(connection.as_fd())
}

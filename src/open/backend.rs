//! Connections to the backends of ConnectTo=.

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{SocketType, sockopt};

use super::{copied, name_interface};
use crate::limits::{BACKEND_AHEAD_BYTES, UNSENT_BYTES};
use crate::peer::Peer;
use crate::plan::address;
use crate::sys::process::above;
use crate::sys::socket;

/// Begins to connect to an address of the plan, without waiting. The descriptor is `least` or above. True: it is
/// connected already; else epoll(7) tells when it is.
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
        let _ = sockopt::set_tcp_nodelay(&made, true); // as good as it can be
    }
    name_interface(made.as_fd(), target, bytes)?;
    match socket::connect(made.as_fd(), bytes) {
        Ok(()) => Ok((made, true)),
        Err(Errno::INPROGRESS) => Ok((made, false)),
        Err(errno) => Err(errno),
    }
}

/// Lets little wait between us and a program on this machine, in both directions (`SO_RCVBUF`; `TCP_NOTSENT_LOWAT`,
/// Linux 3.12): worth its system calls for a stream only.
pub fn keep_little(connection: &OwnedFd) {
    if Peer::connected(connection).is_loopback() {
        let _ = sockopt::set_socket_recv_buffer_size(connection, BACKEND_AHEAD_BYTES); // else: more
        let _ = socket::set_number(connection.as_fd(), libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, UNSENT_BYTES);
    }
}

/// Why a connection failed, once epoll(7) has told of an error (`SO_ERROR`, socket(7)).
pub fn failure(connection: impl AsFd) -> Errno {
    sockopt::socket_error(connection).ok().and_then(Result::err).unwrap_or(Errno::CONNREFUSED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn little_waits_between_us_and_a_backend_of_this_machine() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = address::inet(std::net::Ipv4Addr::LOCALHOST.into(), listener.local_addr().unwrap().port(), 0);
        let (socket, _) = connect(&target, 0).unwrap();
        keep_little(&socket);
        let allowed = std::fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap().trim().parse().unwrap();
        assert_eq!(sockopt::socket_recv_buffer_size(&socket).unwrap(), 2 * BACKEND_AHEAD_BYTES.min(allowed));
        let unsent = socket::option(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT);
        assert_eq!(unsent.unwrap(), i32::try_from(UNSENT_BYTES).unwrap());
    }
}

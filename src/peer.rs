//! Who is at the other end of a connection.

use core::fmt::{self, Write};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use heapless::Vec;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketAddrV4, SocketAddrV6, getpeername};

use crate::sys::socket::{self, Credentials};
use crate::sys::vsock::vsock_parts;
use crate::text::LineIn;

/// The peer of a connection, or an address of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// TCP. An IPv4 peer of a dual-stack socket appears as IPv4 (RFC 4291, 2.5.5.2).
    Internet {
        /// Address.
        ip: IpAddr,
        /// Interface index of a link-local address, else 0.
        scope: u32,
        /// Port.
        port: u16,
    },
    /// Unix socket (unix(7), `SO_PEERCRED`).
    Unix {
        /// Effective user at the time of connect.
        uid: u32,
        /// Effective group at the time of connect.
        gid: u32,
        /// Address that the peer has bound, mostly none; an abstract one starts with `@`.
        path: Vec<u8, 108>,
    },
    /// Virtual machine socket (vsock(7)).
    Vsock {
        /// Context id.
        cid: u32,
        /// Port.
        port: u32,
    },
    /// Something else, or already gone.
    Unknown,
}

/// What "the same source" means for limits: an IP address, a user, a context id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source(pub [u8; 16]);

impl Peer {
    /// Reads the address that accept4(2) or getsockname(2) gave. The user of a unix peer comes from `connection`.
    pub fn of(address: Option<SocketAddrAny>, connection: &impl AsFd) -> Self {
        address.map_or(Self::Unknown, |address| Self::at(address, connection.as_fd()))
    }

    fn at(address: SocketAddrAny, connection: BorrowedFd<'_>) -> Self {
        match address.address_family() {
            AddressFamily::INET => SocketAddrV4::try_from(address).map_or(Self::Unknown, |v4| Self::Internet {
                ip: IpAddr::V4(*v4.ip()),
                scope: 0,
                port: v4.port(),
            }),
            AddressFamily::INET6 => SocketAddrV6::try_from(address).map_or(Self::Unknown, |v6| Self::Internet {
                ip: v6.ip().to_canonical(),
                scope: v6.scope_id(),
                port: v6.port(),
            }),
            _ if !cfg!(feature = "local") => Self::Unknown,
            AddressFamily::UNIX => Self::unix(address, connection),
            AddressFamily::VSOCK => {
                vsock_parts(&address).map_or(Self::Unknown, |(cid, port)| Self::Vsock { cid, port })
            }
            _ => Self::Unknown,
        }
    }

    /// Who is at the other end of a connection that was accepted earlier (getpeername(2)).
    pub fn connected(connection: &OwnedFd) -> Self {
        Self::of(getpeername(connection).ok().flatten(), connection)
    }

    /// Whether it is a program on this machine that came through the loopback interface.
    pub const fn is_loopback(&self) -> bool {
        matches!(self, Self::Internet { ip, .. } if ip.is_loopback())
    }

    fn unix(address: SocketAddrAny, connection: BorrowedFd<'_>) -> Self {
        let mut path = Vec::new();
        if let Ok(address) = SocketAddrUnix::try_from(address) {
            if let Some(name) = address.abstract_name().filter(|name| !name.is_empty()) {
                let _ = path.push(b'@');
                let _ = path.extend_from_slice(name); // 107 bytes at most, and one for the @
            } else if let Some(name) = address.path_bytes() {
                let _ = path.extend_from_slice(name);
            }
        }
        match socket::credentials(connection) {
            Ok(Credentials { uid, gid, .. }) => Self::Unix { uid, gid, path },
            Err(_) => Self::Unknown,
        }
    }

    /// The source for the limits per source.
    pub fn source(&self) -> Source {
        match self {
            Self::Internet { ip, .. } => Source(mapped(*ip).octets()),
            Self::Unix { uid: id, .. } | Self::Vsock { cid: id, .. } => {
                let mut bytes = [0xff; 16];
                bytes[12..].copy_from_slice(&id.to_ne_bytes());
                Source(bytes)
            }
            Self::Unknown => Source::default(),
        }
    }

    /// Its IP address.
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Internet { ip, .. } => Some(*ip),
            _ => None,
        }
    }
}

impl Source {
    /// Who it is, as far as it tells: without port, scope and path. `None`: nobody.
    #[must_use]
    pub fn peer(self) -> Option<Peer> {
        let Self([head @ .., a, b, c, d]) = self;
        let id = u32::from_ne_bytes([a, b, c, d]);
        if self == Self::default() {
            None
        } else if head == [0xff; 12] {
            Some(Peer::Unix { uid: id, gid: 0, path: Vec::new() })
        } else {
            Some(Peer::Internet { ip: IpAddr::V6(self.0.into()).to_canonical(), scope: 0, port: 0 })
        }
    }
}

/// An IPv4 address as IPv4-mapped IPv6 address, an IPv6 address as it is.
pub fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// The address without the port, as in REMOTE_ADDR.
pub struct Address<'a>(pub &'a Peer);

impl Address<'_> {
    /// Appends it to a line. An IPv4 address goes without the formatting of the standard library: this is done for each
    /// connection.
    pub fn append_to(&self, line: &mut LineIn) {
        if let Peer::Internet { ip: IpAddr::V4(ip), .. } = self.0 {
            line.push_ascii(dotted(*ip, &mut [0; 15]));
        } else {
            let _ = write!(line, "{self}"); // a line takes everything
        }
    }
}

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Peer::Internet { ip: IpAddr::V4(ip), .. } => {
                f.write_str(core::str::from_utf8(dotted(*ip, &mut [0; 15])).unwrap_or_default())
            }
            Peer::Internet { ip, scope: 0, .. } => write!(f, "{ip}"),
            Peer::Internet { ip, scope, .. } => write!(f, "{ip}%{scope}"),
            Peer::Unix { path, .. } => f.write_str(core::str::from_utf8(path).unwrap_or("?")),
            Peer::Vsock { cid, .. } => write!(f, "vsock:{cid}"),
            Peer::Unknown => f.write_str("?"),
        }
    }
}

/// As the standard library prints it, without its padding. Written from the end: piece by piece into a [`LineIn`] the
/// way from accept to exec is a seventh longer.
fn dotted(ip: Ipv4Addr, room: &mut [u8; 15]) -> &[u8] {
    let mut start = room.len();
    let mut put = |byte| {
        start -= 1;
        room[start] = byte;
    };
    for (index, mut octet) in ip.octets().into_iter().rev().enumerate() {
        if index > 0 {
            put(b'.');
        }
        put(b'0' + octet % 10);
        while octet > 9 {
            octet /= 10;
            put(b'0' + octet % 10);
        }
    }
    &room[start..]
}

/// Address and port, as in a log line.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internet { ip: IpAddr::V4(_), port, .. } => write!(f, "{}:{port}", Address(self)),
            Self::Internet { port, .. } => write!(f, "[{}]:{port}", Address(self)),
            Self::Unix { uid, .. } => write!(f, "uid:{uid}"),
            Self::Vsock { port, .. } => write!(f, "{}:{port}", Address(self)),
            Self::Unknown => f.write_str("?"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_peer_is_an_ipv4_peer() {
        let any = SocketAddrAny::from(SocketAddrV6::new(Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped(), 80, 0, 0));
        let socket = rustix::net::socket(AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
        let peer = Peer::of(Some(any), &socket);
        assert_eq!(peer.to_string(), "192.0.2.7:80");
        assert_eq!(peer.source(), Peer::Internet { ip: [192, 0, 2, 7].into(), scope: 0, port: 9 }.source());
    }

    #[test]
    fn ipv4_is_written_as_by_the_standard_library() {
        for octets in [[0, 0, 0, 0], [255, 255, 255, 255], [1, 20, 100, 9], [10, 99, 0, 109]] {
            assert_eq!(dotted(octets.into(), &mut [0; 15]), Ipv4Addr::from(octets).to_string().as_bytes());
        }
    }

    #[test]
    fn a_link_local_peer_keeps_its_scope() {
        let peer = Peer::Internet { ip: "fe80::1".parse().unwrap(), scope: 2, port: 22 };
        assert_eq!(peer.to_string(), "[fe80::1%2]:22");
        assert_eq!(Address(&peer).to_string(), "fe80::1%2");
    }
}

//! Socket addresses as bytes: what a plan stores in [`ListenerSpec::address`](super::ListenerSpec::address).
//!
//! The layouts are the kernel's (ip(7), ipv6(7), unix(7), vsock(7)). An IPv6 address with the name of an interface has
//! that name behind its 28 bytes: the index is looked up each time the socket is opened, since an interface can come
//! late, and comes back with another index after it was gone.

use core::ffi::CStr;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use crate::sys::socket::UNIX;
use crate::text::Shown;

/// Bytes of `struct sockaddr_in6`.
pub const IN6_BYTES: usize = 28;
/// `VMADDR_CID_ANY`: any context id.
const VSOCK_ANY: u32 = u32::MAX;

/// `AF_INET` as it stands in an address.
pub const INET: u16 = 2;
/// `AF_INET6`.
pub const INET6: u16 = 10;
/// `AF_VSOCK`.
pub const VSOCK: u16 = 40;

/// A `sockaddr_in` or `sockaddr_in6`. `scope`: index of the interface, 0: none.
pub fn inet(ip: IpAddr, port: u16, scope: u32) -> Vec<u8> {
    let port = port.to_be_bytes();
    match ip {
        IpAddr::V4(ip) => [&INET.to_ne_bytes()[..], &port, &ip.octets(), &[0; 8]].concat(),
        IpAddr::V6(ip) => [&INET6.to_ne_bytes()[..], &port, &[0; 4], &ip.octets(), &scope.to_ne_bytes()].concat(),
    }
}

/// A `sockaddr_un`: with a path and its NUL, or behind an `@` with a name of the abstract namespace. A FIFO has the
/// same.
pub fn local(name: &str) -> Vec<u8> {
    let family = UNIX.to_ne_bytes();
    match name.strip_prefix('@') {
        Some(name) => [&family, &[0][..], name.as_bytes()].concat(),
        None => [&family, name.as_bytes(), &[0]].concat(),
    }
}

/// A `sockaddr_vm`.
pub fn vsock(cid: Option<u32>, port: u32) -> Vec<u8> {
    let cid = cid.unwrap_or(VSOCK_ANY).to_ne_bytes();
    [&VSOCK.to_ne_bytes()[..], &[0; 2], &port.to_ne_bytes(), &cid, &[0; 4]].concat()
}

/// The address family; 0 for what is not an address.
pub fn family(address: &[u8]) -> u16 {
    number(address, 0).map_or(0, u16::from_ne_bytes)
}

/// Address and port of an IPv4 or IPv6 address.
pub fn ip(address: &[u8]) -> Option<(IpAddr, u16)> {
    let port = number(address, 2).map(u16::from_be_bytes)?;
    match family(address) {
        INET => Some((Ipv4Addr::from(number::<4>(address, 4)?).into(), port)),
        INET6 => Some((Ipv6Addr::from(number::<16>(address, 8)?).into(), port)),
        _ => None,
    }
}

/// The path of a unix socket or FIFO in the file system.
pub fn unix_path(address: &[u8]) -> Option<&CStr> {
    let path = address.get(2..).filter(|path| family(address) == UNIX && path.first().is_some_and(|&b| b != 0))?;
    CStr::from_bytes_until_nul(path).ok()
}

/// The name of the interface behind an IPv6 address; empty: none.
pub fn interface(address: &[u8]) -> &str {
    let name = if family(address) == INET6 { address.get(IN6_BYTES..).unwrap_or(&[]) } else { &[] };
    core::str::from_utf8(name).unwrap_or("?")
}

/// `N` bytes at an offset.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// An address as text, as a Listen line has it: `[::]:80`, `10.0.0.1:53`, `/run/x`, `@name`, `vsock:3:80`.
#[derive(Clone, Copy)]
pub struct Text<'a>(pub &'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.0;
        match (ip(address), family(address)) {
            (Some((IpAddr::V4(ip), port)), _) => write!(f, "{ip}:{port}"),
            (Some((IpAddr::V6(ip), port)), _) => {
                write!(f, "[{ip}")?;
                let index = number(address, 24).map_or(0, u32::from_ne_bytes);
                match interface(address) {
                    "" if index != 0 => write!(f, "%{index}]:{port}"),
                    "" => write!(f, "]:{port}"),
                    name => write!(f, "%{name}]:{port}"),
                }
            }
            (None, UNIX) if cfg!(feature = "local") => match unix_path(address) {
                Some(path) => Shown(path.to_bytes()).fmt(f),
                None => write!(f, "@{}", Shown(address.get(3..).unwrap_or(&[]))),
            },
            (None, VSOCK) if cfg!(feature = "local") => {
                let port = number(address, 4).map_or(0, u32::from_ne_bytes);
                match number(address, 8).map(u32::from_ne_bytes) {
                    Some(cid) if cid != VSOCK_ANY => write!(f, "vsock:{cid}:{port}"),
                    _ => write!(f, "vsock::{port}"),
                }
            }
            _ => f.write_str("?"), // no plan has such a one
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
    fn addresses_are_shown_as_they_are_written() {
        let mut late = inet("fe80::1".parse().unwrap(), 80, 0);
        late.extend(b"wlan0");
        for (address, text) in [
            (inet("10.0.0.1".parse().unwrap(), 53, 0), "10.0.0.1:53"),
            (inet("::".parse().unwrap(), 80, 0), "[::]:80"),
            (inet("fe80::1".parse().unwrap(), 80, 3), "[fe80::1%3]:80"),
            (late, "[fe80::1%wlan0]:80"),
            (local("/run/x y"), "/run/x y"),
            (local("@name"), "@name"),
            (vsock(None, 80), "vsock::80"),
            (vsock(Some(3), 80), "vsock:3:80"),
        ] {
            assert_eq!(Text(&address).to_string(), text);
        }
    }

    #[test]
    fn a_path_is_known_as_one() {
        assert_eq!((ip(&local("/run/x")), unix_path(b"/run/x")), (None, None));
        assert_eq!(unix_path(&local("@name")), None);
        assert_eq!(unix_path(&local("/run/x")), Some(c"/run/x"));
    }
}

//! SendProxyV2=: the binary header of the PROXY protocol, version 2 (proxy-protocol.txt of HAProxy, 2.2). It tells the
//! backend between which two addresses the client is connected.

use core::net::IpAddr;
use heapless::Vec;

use crate::peer::{Peer, mapped};

/// Bytes of the longest header that is made here: two unix addresses.
const MOST_BYTES: usize = 16 + 2 * UNIX_BYTES;
/// Bytes of an address of a unix socket in the header.
const UNIX_BYTES: usize = 108;

/// A header.
pub(super) type Header = Vec<u8, MOST_BYTES>;

/// "\r\n\r\n\0\r\nQUIT\n".
const SIGNATURE: [u8; 12] = [0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
/// Version 2, and the command: nobody is spoken for, or somebody is.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
/// Family and protocol: both unknown, TCP over IPv4 and IPv6, a unix stream.
const UNSPECIFIED: u8 = 0;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;

/// The header for a client, and our end of its connection.
pub(super) fn header(client: &Peer, own: &Peer) -> Header {
    let mut addresses: Vec<u8, { 2 * UNIX_BYTES }> = Vec::new();
    let (command, family) = match (client, own) {
        (Peer::Internet { ip, port, .. }, Peer::Internet { ip: to, port: at, .. }) => {
            let family = match (ip, to) {
                (IpAddr::V4(ip), IpAddr::V4(to)) => {
                    put(&mut addresses, &[&ip.octets(), &to.octets()]);
                    TCP4
                }
                _ => {
                    put(&mut addresses, &[&mapped(*ip).octets(), &mapped(*to).octets()]);
                    TCP6
                }
            };
            put(&mut addresses, &[&port.to_be_bytes(), &at.to_be_bytes()]);
            (PROXY, family)
        }
        (Peer::Unix { path: client, .. }, Peer::Unix { path: own, .. }) => {
            for path in [client, own] {
                let mut name = [0; UNIX_BYTES];
                if let Some(start) = name.get_mut(..path.len()) {
                    start.copy_from_slice(path);
                }
                if let Some(mark @ b'@') = name.first_mut() {
                    *mark = 0; // an abstract one begins with NUL (unix(7))
                }
                put(&mut addresses, &[&name]);
            }
            (PROXY, UNIX_STREAM)
        }
        _ => (LOCAL, UNSPECIFIED),
    };
    let length = u16::try_from(addresses.len()).unwrap_or(0);
    let mut header = Vec::new();
    put(&mut header, &[&SIGNATURE, &[command, family], &length.to_be_bytes(), &addresses]);
    header
}

fn put<const N: usize>(to: &mut Vec<u8, N>, parts: &[&[u8]]) {
    for part in parts {
        let _ = to.extend_from_slice(part); // there is room for the longest
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn internet(ip: &str, port: u16) -> Peer {
        Peer::Internet { ip: ip.parse().unwrap(), scope: 0, port }
    }

    #[test]
    fn headers_are_those_of_the_specification() {
        let four = header(&internet("192.0.2.1", 0x1234), &internet("192.0.2.2", 80));
        assert_eq!(&four[..16], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
        assert_eq!(&four[16..], [192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x34, 0, 80]);
        let mixed = header(&internet("2001:db8::1", 1), &internet("192.0.2.2", 2));
        assert_eq!((mixed[13], mixed[15], mixed.len()), (0x21, 36, 16 + 36));
        assert_eq!(mixed[16 + 16 + 10..16 + 32], [0xff, 0xff, 192, 0, 2, 2]);
        let path = |name: &[u8]| Peer::Unix { uid: 0, gid: 0, path: Vec::from_slice(name).unwrap() };
        let unix = header(&path(b"@client"), &path(b"/run/x"));
        assert_eq!((unix[12], unix[13], unix[14], unix[15]), (0x21, 0x31, 0, 216));
        assert_eq!((&unix[16..24], &unix[124..131]), (&b"\0client\0"[..], &b"/run/x\0"[..]));
        let unknown = header(&Peer::Vsock { cid: 2, port: 1 }, &Peer::Unknown);
        assert_eq!(&unknown[12..], [0x20, 0, 0, 0]);
    }
}

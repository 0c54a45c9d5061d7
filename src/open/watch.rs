//! Waiting for an address: rtnetlink(7) says when an interface or address appears.
//!
//! Open only while a listener has no address to bind to ([`super::OpenError::may_appear`]), or where one is bound to an
//! interface, so that an ordinary machine is never woken by it.

use super::netlink::messages;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

/// `RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR`.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;
/// `RTM_NEWLINK`, `RTM_NEWADDR`.
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
/// `IFA_F_TENTATIVE`: duplicate address detection runs, bind fails still; the news comes again when it is over.
const TENTATIVE: u8 = 0x40;
/// `IFA_F_OPTIMISTIC`: tentative, but can be bound.
const OPTIMISTIC: u8 = 0x04;
/// Messages in one go: bounds the work in one turn of the loop. What is left keeps the socket readable.
const READS: usize = 16;
/// Bytes of the longest message that the kernel sends here in one piece. A longer one is cut and counts as news.
const MESSAGE_BYTES: usize = 4096;

/// Starts to watch the network namespace that the process is in: a socket that is readable when there is news.
///
/// # Errors
/// As socket(2) and bind(2); a kernel without netlink has EAFNOSUPPORT. Then only time tells.
pub fn open() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Protocol 0 is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    Ok(socket)
}

/// Reads what has come. True: an address may have become available. News that was lost counts as such.
#[inline(never)] // the buffer must not lie in the frame of the loop, which lasts
pub fn drain(socket: &OwnedFd) -> bool {
    let mut news = false;
    let mut buffer = [0; MESSAGE_BYTES];
    for _ in 0..READS {
        match recv(socket, &mut buffer[..], RecvFlags::TRUNC) {
            Ok((len, whole)) => news |= whole > len || is_news(&buffer[..len]),
            Err(Errno::INTR) => {}
            // ENOBUFS: more came than the socket holds.
            Err(errno) => return news || errno != Errno::AGAIN,
        }
    }
    news
}

/// Does one of these messages bring an interface or address?
fn is_news(piece: &[u8]) -> bool {
    messages(piece).any(|(kind, body)| {
        // struct ifaddrmsg: family, prefix length, flags, ...
        let flags = body.get(2).copied().unwrap_or(0);
        kind == NEW_LINK || (kind == NEW_ADDRESS && (flags & TENTATIVE == 0 || flags & OPTIMISTIC != 0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u8) -> Vec<u8> {
        [&24_u32.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], &[10, 64, flags, 0, 1, 0, 0, 0]].concat()
    }

    #[test]
    fn an_address_is_news_when_it_can_be_bound() {
        assert!(is_news(&message(NEW_ADDRESS, 0x80)));
        assert!(!is_news(&message(NEW_ADDRESS, TENTATIVE)));
        assert!(is_news(&message(NEW_ADDRESS, TENTATIVE | OPTIMISTIC)));
        assert!(!is_news(&message(21, 0)), "an address that went away");
        assert!(is_news(&[message(21, 0), message(NEW_LINK, 0)].concat()));
    }

    #[test]
    fn a_broken_message_ends() {
        assert!(!is_news(&[0; 64]));
        assert!(!is_news(&[0xff; 40]));
        assert!(!is_news(&[1; 5]));
    }
}

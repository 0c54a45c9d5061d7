//! Poison input: a datagram that makes one instance of its service fail after the other. It stays at the head of the
//! queue, so it would keep everybody behind it waiting; after some failed runs it alone is dropped, counted and logged.

use core::mem::MaybeUninit;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::{RecvFlags, recvfrom};

use super::Server;
use super::history::{Event, What};
use crate::limits::POISON_RUNS;
use crate::peer::Peer;
use crate::sys::socket::look_on;
use crate::text::{HASH_START, hash};

/// Bytes of a datagram that are compared; longer ones that begin alike and have the same length count as the same.
const COMPARED_BYTES: usize = 512;

/// Datagrams that are counted at most, as the kernel goes through them anew for each; a queue of the usual size holds
/// some 270 short ones.
const COUNTED: u32 = 256;

/// What lies at the head of a queue.
struct Head {
    /// Hash of sender, length and the first bytes; never 0.
    mark: u64,
    length: usize,
    sender: Peer,
}

impl Server {
    /// A run has failed: whether the same datagram was at the head before it. True: it has been dropped now.
    pub(super) fn drop_poison(&mut self, service: usize) -> bool {
        for row in self.listeners_of(service) {
            if !self.is_datagram(row) {
                continue;
            }
            let opened = self.tables.opened(row);
            let Some(head) = opened.and_then(|opened| look(opened.socket.as_fd(), RecvFlags::PEEK)) else { continue };
            let state = self.state(service);
            state.poison_runs = if state.poison == head.mark { state.poison_runs.saturating_add(1) } else { 1 };
            state.poison = head.mark;
            if state.poison_runs < POISON_RUNS {
                return false;
            }
            (state.poison, state.poison_runs) = (0, 0);
            state.dropped = state.dropped.saturating_add(1);
            let opened = self.tables.opened(row);
            let _ = opened.map(|opened| look(opened.socket.as_fd(), RecvFlags::empty()).is_some());
            let Head { length, sender, .. } = head;
            self.note(service, Event::of(What::Drop, 0).from(sender.source()));
            let after = format_args!("after runs={POISON_RUNS} that failed on it");
            tell!(self, Poison, service, Warn, "dropped a datagram peer={sender} bytes={length} {after}");
            return true;
        }
        false
    }

    /// A run has succeeded: nothing is suspected any more.
    pub(super) fn forget_poison(&mut self, service: usize) {
        let state = self.state(service);
        (state.poison, state.poison_runs) = (0, 0);
    }
}

/// A number that changes when a datagram is taken out of a queue: what the first one is, and how many wait, as equal
/// ones may come in a row.
pub(super) fn waiting_datagrams(socket: BorrowedFd<'_>) -> u32 {
    let first = look(socket, RecvFlags::PEEK).map_or(0, |head| (head.mark >> 32) as u32);
    let mut count = 0;
    // nobody but us looks, as no process runs
    if look_on(socket, true).is_ok() {
        while count < COUNTED && look(socket, RecvFlags::PEEK).is_some() {
            count += 1;
        }
        let _ = look_on(socket, false); // as it was
    }
    first.wrapping_add(count)
}

/// Receives, or with `PEEK` looks at, the first datagram; never waits.
fn look(socket: BorrowedFd<'_>, flags: RecvFlags) -> Option<Head> {
    let mut buffer = [MaybeUninit::uninit(); COMPARED_BYTES];
    let flags = flags | RecvFlags::DONTWAIT | RecvFlags::TRUNC;
    let ((bytes, _), length, sender) = recvfrom(socket, &mut buffer[..], flags).ok()?;
    let sender = Peer::of(sender, &socket);
    let mark = hash(hash(hash(HASH_START, &sender.source().0), bytes), &length.to_ne_bytes());
    Some(Head { mark: mark | 1, length, sender })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{
        AddressFamily, SendFlags, SocketAddrV4, SocketFlags, SocketType, bind, getsockname, send, sendto, socket,
        socketpair,
    };
    use std::net::Ipv4Addr;

    #[test]
    fn a_datagram_less_is_another_number() {
        let udp = [(); 2].map(|()| socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap());
        bind(&udp[0], &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        rustix::net::connect(&udp[1], &SocketAddrV4::try_from(getsockname(&udp[0]).unwrap()).unwrap()).unwrap();
        let local = socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::empty(), None).unwrap();
        for [server, client] in [udp, [local.0, local.1]] {
            let waiting = || waiting_datagrams(server.as_fd());
            assert_eq!(waiting(), 0);
            let long = [b'x'; COMPARED_BYTES + 1];
            for datagram in [&b"same"[..], b"same", b"same", &long, b"", b"same"] {
                send(&client, datagram, SendFlags::empty()).unwrap();
            }
            waiting(); // the kernel counts an empty one once
            for left in (0..6).rev() {
                let before = waiting();
                assert_eq!(waiting(), before, "nobody has taken any");
                assert_ne!(before, 0);
                assert!(look(server.as_fd(), RecvFlags::empty()).is_some());
                assert!(waiting() != before || left == 1, "one was taken, {left} are left");
            }
            assert_eq!(waiting(), 0);
        }
    }

    #[test]
    fn the_same_datagram_has_the_same_mark_and_stays_until_it_is_taken() {
        let [server, client] = [(); 2].map(|()| socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap());
        bind(&server, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = SocketAddrV4::try_from(getsockname(&server).unwrap()).unwrap();
        for text in ["poison", "good"] {
            sendto(&client, text.as_bytes(), SendFlags::empty(), &address).unwrap();
        }
        let peek = || look(server.as_fd(), RecvFlags::PEEK).unwrap();
        let (first, again) = (peek(), peek());
        assert_eq!((first.mark, first.length), (again.mark, 6));
        assert_eq!(first.sender.ip(), Some([127, 0, 0, 1].into()));
        assert!(look(server.as_fd(), RecvFlags::empty()).is_some());
        assert_ne!(peek().mark, first.mark);
        assert_eq!(peek().length, 4);
        assert!(look(server.as_fd(), RecvFlags::empty()).is_some());
        assert!(look(server.as_fd(), RecvFlags::empty()).is_none(), "an empty queue does not block");
    }
}

//! Accept=yes for datagrams. A built-in service answers by itself. A program gets the socket, connected to the peer
//! whose datagram lies at its head, and a new socket takes its place (the way of busybox inetd): so there is one
//! process for each peer, and one datagram never starts two.

use core::mem::MaybeUninit;
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny, connect, recv, recvfrom, sendto};

use super::history::Refusal;
use super::protocol::{daytime, may_answer, pattern, time};
use super::{Phase, Server};
use crate::limits::INTERNAL_BYTES;
use crate::open::{self, OpenError};
use crate::peer::Peer;
use crate::plan::{Internal, address};
use crate::sys::clock::wall_seconds;
use crate::sys::errno;

/// Bytes that chargen sends in a datagram: a line.
const CHARGEN_BYTES: usize = 74;

impl Server {
    /// A datagram socket with Accept=yes is readable: one datagram, or one peer.
    pub(super) fn on_datagram(&mut self, service: usize, row: usize) {
        match self.spec(service).and_then(|spec| spec.internal()) {
            Some(what) => self.answer(service, row, what),
            None => self.on_peer(service, row),
        }
    }

    /// Answers one datagram.
    fn answer(&mut self, service: usize, row: usize, what: Internal) {
        let (now, Some(policy)) = (self.now, self.policy(service)) else { return };
        let Some(opened) = self.tables.opened(row) else { return };
        let mut buffer = [0; INTERNAL_BYTES];
        let (length, from) = match recvfrom(&opened.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((_, length, Some(from))) => (length, from),
            Ok(_) => return, // it has no sender, which does not happen
            Err(errno) => return self.accept_failed(service, row, errno),
        };
        let peer = Peer::of(Some(from.clone()), &opened.socket);
        let allowed = may_answer(&peer, |port| self.is_own_port(port));
        let state = self.state(service);
        state.accepted += 1;
        (state.scarcities, state.misses) = (0, 0);
        state.trigger.count(policy.trigger, now);
        if !allowed {
            return self.refuse(service, &peer, Refusal::Reflection);
        }
        let (daytime, time) = (daytime(wall_seconds()), time(wall_seconds()));
        let mut line = [0; CHARGEN_BYTES];
        (0..).zip(&mut line).for_each(|(place, byte)| *byte = pattern(place));
        let text = match what {
            Internal::Echo => buffer.get(..length).unwrap_or(&[]),
            Internal::Daytime => daytime.as_bytes(),
            Internal::Time => &time,
            Internal::Chargen => &line,
            Internal::Discard | Internal::Tcpmux => return,
        };
        let Some(opened) = self.tables.opened(row) else { return };
        let _ = sendto(&opened.socket, text, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &from); // as lost as any other
    }

    /// Whether a built-in service of ours receives datagrams at this port.
    fn is_own_port(&self, port: u16) -> bool {
        self.plan.listeners.iter().enumerate().any(|(row, listener)| {
            let built_in = || self.spec(usize::from(listener.service)).is_some_and(|spec| spec.internal().is_some());
            let bound = address::ip(self.plan.arena.get(listener.address)).map(|(_, port)| port);
            bound == Some(port) && self.is_datagram(row) && built_in()
        })
    }

    /// A peer whose datagram nobody serves yet.
    fn on_peer(&mut self, service: usize, row: usize) {
        let (Some(spec), Some(policy)) = (self.spec(service), self.policy(service)) else { return };
        let Some(opened) = self.tables.opened(row) else { return };
        let (from, peer) = match head(opened.socket.as_fd()) {
            Ok(head) => head,
            Err(errno) => return self.accept_failed(service, row, errno),
        };
        let state = self.state(service);
        state.accepted += 1;
        state.misses = 0;
        if let Some(why) = self.refusal(service, policy, &peer).or_else(|| self.too_often(service, policy, &peer)) {
            self.drop_head(row);
            return self.refuse(service, &peer, why);
        }
        let Some(opened) = self.take_out(row) else { return };
        if let Err(errno) = connect(&opened.socket, &from) {
            // nobody can be answered there: without this datagram the socket is as good as before
            self.put_in(row, opened);
            self.drop_head(row);
            let why = errno::text(errno);
            tell!(self, Other, service, Info, "peer={peer} why={why}");
            return self.arm(service);
        }
        // before the program starts: when its answer is there, the next peer finds the new socket
        match open::open(self.plan, row, &mut |_| {}) {
            Ok(next) => self.put_in(row, next),
            // handed over, this one would leave nobody at the address: the datagram waits in it, as those of others do
            Err(OpenError { errno: errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS), .. })
                if open::disconnect(self.plan, row, opened.socket.as_fd()).is_ok() =>
            {
                self.put_in(row, opened);
                self.state(service).accepted -= 1;
                return self.rest_by_scarcity(service, "socket", errno);
            }
            Err(error) => self.open_failed(row, service, error),
        }
        match self.start_for(spec, opened.socket.as_fd(), None) {
            Ok(pid) => {
                drop(opened);
                self.served(service, policy, pid, &peer);
            }
            Err(failed) => {
                // the datagram stays where it is, and is served when the program can be started
                self.disarm(service);
                if open::disconnect(self.plan, row, opened.socket.as_fd()).is_ok() {
                    self.put_in(row, opened);
                }
                self.start_failed(service, failed);
            }
        }
        if self.phase(service) == Phase::Waiting {
            self.arm(service);
        }
    }

    /// Throws the datagram at the head away.
    fn drop_head(&self, row: usize) {
        if let Some(opened) = self.tables.opened(row) {
            let _ = recv(&opened.socket, &mut [0_u8; 1][..], RecvFlags::DONTWAIT); // somebody was faster
        }
    }
}

/// Who has sent the datagram at the head.
fn head(socket: rustix::fd::BorrowedFd<'_>) -> Result<(SocketAddrAny, Peer), Errno> {
    let mut byte = [MaybeUninit::uninit(); 1];
    let (_, _, from) = recvfrom(socket, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    let from = from.ok_or(Errno::AGAIN)?;
    let peer = Peer::of(Some(from.clone()), &socket);
    Ok((from, peer))
}

//! tcpmux (RFC 1078): the client sends a line with the name of a service and gets that service on the same connection.
//! The services are the sections named `tcpmux/NAME`; a `+` before the name means that we say that it has begun.

use heapless::Vec;
use rustix::event::epoll::EventFlags;
use rustix::fd::AsRawFd;
use rustix::net::{RecvFlags, recv};

use super::history::Refusal;
use super::internal::{Next, pass};
use super::{Phase, Server};
use crate::config::MUX;
use crate::peer::Peer;
use crate::plan::ServiceSpec;
use crate::sys::process::set_nonblocking;

/// Bytes of a request with its CR LF; a longer one is refused. Names of services are shorter.
const REQUEST_BYTES: usize = 128;
/// Bytes of the list of services; what does not fit is left out as a whole name.
const LIST_BYTES: usize = 1024;

impl Server {
    /// A request may be there. Only its own bytes are taken: what follows belongs to the service. What is not whole yet
    /// stays where it is, and wakes us when there is more of it, or when no more will come.
    pub(super) fn on_request(&mut self, index: usize, events: EventFlags) -> Next {
        let Some(connection) = self.tables.internal.get(index) else { return Next::Close };
        let mut request = [0; REQUEST_BYTES];
        let flags = RecvFlags::DONTWAIT;
        let length = match recv(&connection.socket, &mut request[..], flags | RecvFlags::PEEK) {
            Ok((length, _)) if length > 0 => length,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Next::Stay,
            _ => return Next::Close,
        };
        let seen = request.get(..length).unwrap_or(&[]);
        let Some(end) = seen.iter().position(|&byte| byte == b'\n') else {
            let ended = events.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            return match length < REQUEST_BYTES {
                true if ended => Next::Close,
                true => Next::Stay,
                false => self.say(index, b"-Request too long\r\n"),
            };
        };
        let mut taken = [0; REQUEST_BYTES];
        let taken = taken.get_mut(..=end).unwrap_or(&mut []);
        if recv(&connection.socket, taken, flags).is_err() {
            return Next::Close;
        }
        let line = seen.get(..end).unwrap_or(&[]).trim_ascii();
        if line.eq_ignore_ascii_case(b"help") {
            return self.say(index, &self.list());
        }
        match self.multiplexed(line) {
            None => self.say(index, b"-Service not available\r\n"),
            Some(service) => Next::Hand(service),
        }
    }

    /// Says the last thing before a connection is closed.
    fn say(&self, index: usize, text: &[u8]) -> Next {
        if let Some(connection) = self.tables.internal.get(index) {
            let _ = pass(connection, text); // who does not take it has gone
        }
        Next::Close
    }

    /// The names, a line each.
    fn list(&self) -> Vec<u8, LIST_BYTES> {
        let mut list = Vec::new();
        for name in self.plan.services.iter().filter_map(|spec| self.name_in_mux(spec)) {
            if list.len() + name.len() + 2 <= LIST_BYTES {
                let _ = list.extend_from_slice(name.as_bytes()); // it fits
                let _ = list.extend_from_slice(b"\r\n");
            }
        }
        list
    }

    /// The service that tcpmux knows by this name.
    fn multiplexed(&self, name: &[u8]) -> Option<usize> {
        let is_it = |known: &str| known.as_bytes().eq_ignore_ascii_case(name);
        let is_there = |spec: &ServiceSpec| spec.listeners == 0 && self.name_in_mux(spec).is_some_and(is_it);
        self.plan.services.iter().position(is_there)
    }

    fn name_in_mux(&self, spec: &ServiceSpec) -> Option<&'static str> {
        let name = self.plan.arena.text(spec.name).strip_prefix(MUX)?;
        Some(name.strip_prefix('+').unwrap_or(name))
    }

    /// The service takes the connection over, under its own limits.
    pub(super) fn hand_on(&mut self, index: usize, service: usize) {
        let Some(policy) = self.policy(service) else { return };
        let now = self.now;
        let connection = self.tables.internal.get(index);
        let peer = connection.map_or(Peer::Unknown, |connection| Peer::connected(&connection.socket));
        let state = self.state(service);
        state.accepted += 1;
        let busy = state.phase != Phase::Waiting || state.trigger.check(policy.trigger, now).is_err();
        let refused = self.refusal(service, policy, &peer).or_else(|| self.too_often(service, policy, &peer));
        if busy || refused.is_some() || self.tables.children.is_full() {
            self.refuse(service, &peer, refused.unwrap_or(Refusal::Busy));
            self.say(index, b"-Service busy\r\n");
            drop(self.release(index));
            return;
        }
        if self.name(service).get(MUX.len()..).is_some_and(|name| name.starts_with('+')) {
            self.say(index, b"+Go\r\n");
        }
        let connection = self.release(index);
        let _ = set_nonblocking(connection.socket.as_raw_fd(), policy.nonblocking); // it was ours until now
        self.serve(service, usize::from(connection.listener), connection.socket, peer);
    }
}

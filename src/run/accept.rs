//! Accept=yes: one connection is taken, looked at, and becomes a child.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with, getsockname, sockopt};

use super::history::{Event, Refusal, What};
use super::tables::stored;
use super::{Child, Count, Phase, Server, Tick, Why};
use crate::limits::{ACCEPT_MISSES, SCARCE_CEILING_MS, SCARCE_FIRST_MS};
use crate::peer::{Peer, Source};
use crate::plan::{Policy, ServiceSpec, address, filter};
use crate::spawn::{Connection, Start, StartFailed};
use crate::sys::errno;

impl Server {
    /// A listener with Accept=yes is readable: takes one connection. More come in the next turns, so that no listener
    /// keeps the others waiting.
    pub(super) fn on_connection(&mut self, service: usize, row: usize, policy: &Policy) {
        let Some(spec) = self.spec(service) else { return };
        let forwards = spec.backend().is_some();
        let runs = !matches!(self.state_of(service).phase, Phase::Waiting); // its backend
        if !runs && self.is_held_back(service, policy) {
            return;
        }
        if !runs && spec.has_program() && self.tables.children.is_full() {
            return self.rest_by_scarcity(service, "children", Errno::AGAIN);
        }
        if forwards && let Some(errno) = self.has_no_room() {
            return self.rest_by_scarcity(service, "connections", errno);
        }
        if spec.internal().is_some() && self.tables.internal.is_full() {
            return self.rest_by_scarcity(service, "connections", Errno::AGAIN);
        }
        if self.is_datagram(row) {
            return self.on_datagram(service, row);
        }
        let Some(opened) = self.tables.opened(row) else { return };
        let ours = forwards || spec.internal().is_some();
        let flags = if policy.nonblocking || ours { SocketFlags::NONBLOCK } else { SocketFlags::empty() };
        match acceptfrom_with(&opened.socket, flags | SocketFlags::CLOEXEC) {
            Ok((connection, address)) => {
                let peer = Peer::of(address, &connection);
                let state = self.state(service);
                state.accepted += 1;
                (state.scarcities, state.misses) = (0, 0);
                let refusal = self.refusal(service, policy, &peer).or_else(|| self.too_often(service, policy, &peer));
                match refusal {
                    Some(why) => self.refuse(service, &peer, why),
                    None if forwards => self.forward(service, connection, &peer),
                    None if spec.internal().is_some() => self.serve_internal(service, row, connection, &peer),
                    None => self.serve(service, row, connection, peer),
                }
            }
            Err(errno) => self.accept_failed(service, row, errno),
        }
    }

    /// What accept4(2) can say: nothing there after all, no means for it, or a broken listener.
    pub(super) fn accept_failed(&mut self, service: usize, row: usize, errno: Errno) {
        match errno {
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS => {
                self.rest_by_scarcity(service, "accept", errno);
            }
            Errno::INVAL | Errno::BADF | Errno::NOTSOCK | Errno::OPNOTSUPP => self.revive(row),
            // EAGAIN, EINTR, ECONNABORTED, EPERM, and the errors of the network that accept(2) passes on: mostly the
            // connection is gone. When the listener goes on to look readable, trying on would be spinning.
            _ => {
                tell!(self, Other, service, Debug, "accept why={}", errno::text(errno));
                let state = self.state(service);
                state.misses = state.misses.saturating_add(1);
                if state.misses > ACCEPT_MISSES {
                    self.rest_by_scarcity(service, "accept", errno);
                }
            }
        }
    }

    /// Rests for want of something, longer each time in a row; the clients stay queued.
    pub(super) fn rest_by_scarcity(&mut self, service: usize, what: &str, errno: Errno) {
        let now = self.now;
        let state = self.state(service);
        let delay = (SCARCE_FIRST_MS << state.scarcities.min(8)).min(SCARCE_CEILING_MS);
        let first = state.scarcities == 0;
        state.scarcities = state.scarcities.saturating_add(1);
        if first {
            let why = errno::text(errno);
            tell!(self, Scarce, service, Warn, "what={what} why=\"{why}\"; clients wait");
        }
        self.rest(service, now.after_ms(delay), Why::Scarce);
    }

    /// Why a connection is turned away, if it is.
    pub(super) fn refusal(&self, service: usize, policy: &Policy, peer: &Peer) -> Option<Refusal> {
        let arena = &self.plan.arena;
        if cfg!(feature = "access")
            && !policy.deny.is_empty()
            && let Some(ip) = peer.ip()
            && !filter::allowed(arena.get(policy.allow), arena.get(policy.deny), ip)
        {
            return Some(Refusal::Address);
        }
        if cfg!(feature = "access") && !self.may_use(policy, peer) {
            return Some(Refusal::User);
        }
        if self.current(service) >= policy.max_connections {
            return Some(Refusal::MaxConnections);
        }
        (policy.max_per_source != u32::MAX && self.live_from(service, peer) >= policy.max_per_source)
            .then_some(Refusal::MaxPerSource)
    }

    /// Connections of a service that are alive, or its processes.
    pub(super) fn current(&self, service: usize) -> u32 {
        let state = self.state_of(service);
        if self.forwards(service) { state.forwarded } else { state.live }
    }

    /// MaxConnectionRate=: counts a connection that nothing else forbids.
    pub(super) fn too_often(&mut self, service: usize, policy: &Policy, peer: &Peer) -> Option<Refusal> {
        let most = policy.sleep.connection_rate;
        let refused = most > 0 && !self.tables.rates.admit(stored(service), peer.source(), most, self.now);
        refused.then_some(Refusal::MaxRate)
    }

    /// AllowUsers= and AllowGroups=: one match is enough. The group is the peer's effective one.
    fn may_use(&self, policy: &Policy, peer: &Peer) -> bool {
        let everybody = policy.allow_users.is_empty() && policy.allow_groups.is_empty();
        let Peer::Unix { uid, gid, .. } = peer else { return everybody };
        let listed = |span, id: &u32| self.plan.arena.get(span).as_chunks::<4>().0.contains(&id.to_ne_bytes());
        everybody || listed(policy.allow_users, uid) || listed(policy.allow_groups, gid)
    }

    /// Connections alive from the same source.
    fn live_from(&self, service: usize, peer: &Peer) -> u32 {
        let source = peer.source();
        let its = |of: u16, from: Source| usize::from(of) == service && from == source;
        let mut live = self.tables.children.iter().filter(|child| its(child.service, child.source)).count();
        if self.forwards(service) {
            live += self.tables.forwards.each().filter(|pair| its(pair.service, pair.source)).count();
        } else if self.spec(service).is_some_and(|spec| spec.internal().is_some()) {
            live += self.tables.internal.iter().filter(|row| row.is_of(service, source)).count();
        }
        u32::try_from(live).unwrap_or(u32::MAX)
    }

    pub(super) fn refuse(&mut self, service: usize, peer: &Peer, why: Refusal) {
        self.count_refusal(service, why, peer.source());
        tell!(self, Refuse, service, Info, "peer={peer} why={}", why.word());
    }

    pub(super) fn count_refusal(&mut self, service: usize, why: Refusal, source: Source) {
        if let Some(count) = self.state(service).refused.get_mut(why as usize) {
            *count = count.saturating_add(1);
        }
        self.note(service, Event::of(What::Refuse, 0).with(1, why as u8).from(source));
    }

    /// Starts the program for a connection. If that fails the connection is kept, and served when it can be.
    pub(super) fn serve(&mut self, service: usize, row: usize, connection: OwnedFd, peer: Peer) {
        let (Some(spec), Some(policy)) = (self.spec(service), self.policy(service)) else { return };
        let local = self.local_address(row, &connection);
        let number = self.live_from(service, &peer).saturating_add(1);
        let before = self.state_of(service).accepted.saturating_sub(1);
        let about = Connection { peer: &peer, local: &local, number, before };
        match self.start_for(spec, connection.as_fd(), Some(about)) {
            Ok(pid) => {
                if !matches!(peer, Peer::Unix { .. }) {
                    lets_go(&connection);
                }
                drop(connection);
                self.served(service, policy, pid, &peer);
            }
            Err(failed) => {
                self.park(service, row, connection, peer);
                self.start_failed(service, failed);
            }
        }
    }

    /// Starts the program of a service for one peer, with this socket alone.
    #[inline(always)] // on the way of each connection
    pub(super) fn start_for(
        &mut self,
        service: &'static ServiceSpec,
        socket: BorrowedFd<'_>,
        connection: Option<Connection<'_>>,
    ) -> Result<i32, StartFailed> {
        let tables = &mut self.tables;
        let log = super::output::log_of(tables.outputs, service.policy);
        tables.spawner.start(&Start { plan: self.plan, service, sockets: &[socket], present: 1, connection, log })
    }

    /// A child serves a peer.
    pub(super) fn served(&mut self, service: usize, policy: &Policy, pid: i32, peer: &Peer) {
        let now = self.now;
        let deadline = run_deadline(policy, now);
        let child = Child { source: peer.source(), ..Child::new(pid, service, now, deadline) };
        let _ = self.tables.children.push(child); // there is room: looked at before accept
        self.due_at(deadline);
        let took = self.clock_start(service);
        self.note(service, Event::of(What::Accept, pid).with(took, 0).from(child.source));
        let state = self.state(service);
        state.live += 1;
        state.trigger.count(policy.trigger, now);
        (state.failures, state.scarcities) = (0, 0);
        let live = state.live;
        tell!(self, Accept, service, Debug, "peer={peer} pid={pid} count={}", Count(live, policy.max_connections));
    }

    /// Our end of the connection: that of the listener, unless it listens on every address.
    fn local_address(&self, row: usize, connection: &OwnedFd) -> Peer {
        let bytes = self.plan.listeners.get(row).map_or(&[][..], |spec| self.plan.arena.get(spec.address));
        match address::ip(bytes) {
            Some((ip, port)) if !ip.is_unspecified() => Peer::Internet { ip: ip.to_canonical(), scope: 0, port },
            Some(_) => Peer::of(getsockname(connection).ok(), connection),
            None => Peer::Unknown,
        }
    }
}

/// Keeps close(2) from waiting. A child may be quicker than we are: it has told its socket to stay until everything is
/// sent (SO_LINGER), and is gone, so that ours would be the close that stays.
fn lets_go(connection: &OwnedFd) {
    let _ = sockopt::set_socket_linger(connection, None); // any other socket knows it, too
}

/// When a child that is started now has run long enough.
pub(super) fn run_deadline(policy: &Policy, now: Tick) -> Tick {
    match policy.runtime_max_ms {
        u32::MAX | 0 => Tick::NEVER,
        ms => now.after_ms(u64::from(ms)),
    }
}

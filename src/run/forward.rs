//! ConnectTo=: a connection is taken, the service is started where it has a program, and when the backend answers,
//! bytes go both ways ([`super::pump`]).
//!
//! A client whose backend is not there yet waits in its row, unread. While the program runs the backend is tried again,
//! by one of those who wait, with growing pauses; when it answers, all of them are connected. The listener stays
//! watched meanwhile: nobody else has it.

use rustix::event::epoll::{self, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, getpeername, getsockname, recv, send};

use super::history::{Cause, Refusal};
use super::pairs::{BACKEND, CLIENT, Pair, Stage};
use super::proxy_header::{Header, header};
use super::pump::{Flow, Side, pump};
use super::tables::stored;
use super::{Count, Phase, Server, ServiceState, Tick, Token};
use crate::limits::{
    BACKEND_CEILING_MS, BACKEND_FIRST_MS, BACKEND_WAIT_MS, CONNECTS_PER_TURN, DESCRIPTORS_LOOK_MS, FORWARDED,
};
use crate::open::backend;
use crate::peer::{Address, Peer, Source};
use crate::plan::address::Text;
use crate::plan::{FIRST_FD, FIRST_OWN_FD, ServiceSpec};
use crate::sys::errno;
use crate::sys::process::{above, descriptor_limit};
use crate::sys::socket::queued;

impl Server {
    /// Whether connections of a service are forwarded.
    pub(super) fn forwards(&self, service: usize) -> bool {
        self.spec(service).is_some_and(|spec| spec.backend().is_some())
    }

    /// The first number for our descriptors. Where no program gets a socket, none has to be kept free for it.
    fn least_descriptor(&mut self) -> i32 {
        let takes = |spec: &ServiceSpec| spec.has_program() && spec.backend().is_none();
        let shared = &mut self.tables.forwards.shared;
        if shared.least == 0 {
            shared.least = if self.plan.services.iter().any(takes) { FIRST_OWN_FD } else { FIRST_FD };
        }
        shared.least
    }

    /// A client has been let in.
    pub(super) fn forward(&mut self, service: usize, connection: OwnedFd, peer: &Peer) {
        let (Some(policy), Some(spec)) = (self.policy(service), self.spec(service)) else { return };
        let deadline = self.now.after_ms(BACKEND_WAIT_MS);
        let (row, source) = (stored(service), peer.source());
        let connection = above(connection, self.least_descriptor());
        let slot = match self.take_client(row, connection, source, deadline) {
            Ok(slot) => slot,
            Err(errno) => return self.rest_by_scarcity(service, "epoll", errno),
        };
        let now = self.now;
        let state = self.state(service);
        state.trigger.count(policy.trigger, now);
        let (count, tries, probe) = (state.forwarded, state.tries, state.probe);
        tell!(self, Accept, service, Debug, "peer={peer} forward=yes count={}", Count(count, policy.max_connections));
        let ready = !spec.has_program() || matches!(self.phase(service), Phase::Running(_));
        if ready && (tries == 0 || probe == Tick(0)) {
            self.connect_backend(slot);
        } else {
            self.due_at(deadline);
            self.want_backend(service);
        }
    }

    /// Why one more connection finds no row, or not both of its descriptors: a client that was taken for whom none is
    /// left to reach the backend could not be given back.
    pub(super) fn has_no_room(&mut self) -> Option<Errno> {
        /// Descriptors that the loop takes beside those of listeners: its own, clients of the control socket, pipes.
        const OTHERS: usize = 24;
        if self.now >= self.tables.forwards.shared.room.1 {
            let least = usize::try_from(self.least_descriptor()).unwrap_or(0);
            let limit = descriptor_limit().ok().and_then(|(limit, _)| usize::try_from(limit).ok());
            let most = limit.unwrap_or(usize::MAX).saturating_sub(least + self.plan.listeners.len() + OTHERS) / 2;
            self.tables.forwards.shared.room = (most.max(1), self.now.after_ms(DESCRIPTORS_LOOK_MS));
        }
        match self.tables.forwards.first_free() {
            FORWARDED.. => Some(Errno::AGAIN),
            row => (row >= self.tables.forwards.shared.room.0).then_some(Errno::MFILE),
        }
    }

    /// Somebody waits for the backend of a service. Where runs have failed it is tried before the next one: a program
    /// that went into the background is there all the same. Not so where something has run out: the next client would
    /// make the service rest before the answer is there.
    pub(super) fn want_backend(&mut self, service: usize) {
        let failed =
            |state: &ServiceState| state.phase == Phase::Waiting && state.failures > 0 && state.scarcities == 0;
        match self.tables.forwards.first_waiting(service) {
            Some(slot) if failed(self.state(service)) => self.connect_backend(slot),
            _ => self.await_backend(service),
        }
    }

    /// A client becomes a row that waits.
    fn take_client(&mut self, service: u16, socket: OwnedFd, source: Source, deadline: Tick) -> Result<usize, Errno> {
        let sides = [Side::new(Some(socket)), Side::new(None)];
        let pair = Pair::new(Stage::Waiting, service, sides, source, deadline);
        let slot = self.tables.forwards.put(pair).ok_or(Errno::NOBUFS)?;
        self.state(service.into()).forwarded += 1;
        self.enlist(slot, CLIENT).inspect_err(|_| self.release_pair(slot))?;
        self.used_now(service.into());
        Ok(slot)
    }

    /// Puts a side into the epoll set.
    fn enlist(&mut self, slot: usize, side: usize) -> Result<(), Errno> {
        let Some(pair) = self.tables.forwards.rows.get(slot) else { return Ok(()) };
        let token = token(slot, side, pair);
        match pair.sides.get(side) {
            Some(Side { socket: Some(socket), .. }) => token.watch(&self.epoll, socket.as_fd(), pair.interest(side)),
            _ => Ok(()),
        }
    }

    /// Somebody uses the service, or did until now.
    fn used_now(&mut self, service: usize) {
        let now = self.now;
        self.state(service).watched.used = now;
    }

    /// Begins to connect a row that waits to its backend.
    fn connect_backend(&mut self, slot: usize) {
        let Some(pair) = self.tables.forwards.rows.get(slot) else { return };
        let service = usize::from(pair.service);
        let Some(target) = self.spec(service).and_then(|spec| spec.backend()) else { return self.release_pair(slot) };
        let (target, least) = (self.plan.arena.get(target), self.least_descriptor());
        let (socket, connected) = match backend::connect(target, least) {
            Ok(connecting) => connecting,
            Err(errno) => return self.connect_failed(slot, errno),
        };
        let Some(pair) = self.tables.forwards.rows.get_mut(slot) else { return };
        let [_, side] = &mut pair.sides;
        *side = Side::new(Some(socket));
        (side.told, side.writable) = (!connected, connected);
        pair.stage = Stage::Connecting;
        let deadline = pair.deadline;
        self.due_at(deadline); // it may never say anything
        if let Err(errno) = self.enlist(slot, BACKEND) {
            return self.connect_failed(slot, errno);
        }
        if connected {
            self.on_connected(slot);
        }
    }

    /// The backend has taken a connection: it is there.
    fn on_connected(&mut self, slot: usize) {
        let now = self.now;
        let Some(pair) = self.tables.forwards.rows.get_mut(slot) else { return };
        pair.stage = Stage::Open;
        let service = usize::from(pair.service);
        if self.spec(service).is_some_and(|spec| spec.proxy_header) && !self.send_header(slot) {
            return self.release_pair(slot);
        }
        // one that is about to end is not for those who come now
        let state = self.state(service);
        if state.probe != Tick::NEVER
            && core::mem::take(&mut state.tries) > 0
            && self.tables.forwards.first_waiting(service).is_some()
        {
            self.state(service).probe = now;
            self.due_at(now);
        }
        self.pump(slot);
    }

    /// Tells the backend who the client is. Its queue is empty, so it takes all of it.
    fn send_header(&self, slot: usize) -> bool {
        let Some(pair) = self.tables.forwards.rows.get(slot) else { return false };
        let [Side { socket: Some(client), .. }, Side { socket: Some(backend), .. }] = &pair.sides else { return false };
        let peer = Peer::of(getpeername(client).ok().flatten(), client);
        let own = Peer::of(getsockname(client).ok(), client);
        let header: Header = header(&peer, &own);
        let sent = send(backend, &header, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        sent == Ok(header.len())
    }

    /// A try to reach the backend has failed. Where it may still come, the client waits.
    fn connect_failed(&mut self, slot: usize, errno: Errno) {
        let Some(pair) = self.tables.forwards.rows.get_mut(slot) else { return };
        pair.stage = Stage::Waiting;
        pair.sides[BACKEND] = Side::new(None);
        let (service, deadline) = (usize::from(pair.service), pair.deadline);
        let starts = self.spec(service).is_some_and(|spec| spec.has_program());
        let scarce = matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::NOSPC);
        let later = match errno {
            Errno::CONNREFUSED | Errno::NOENT => starts,
            Errno::AGAIN | Errno::ADDRNOTAVAIL => true,
            _ => scarce,
        };
        if !later || self.stopping || self.now >= deadline {
            return self.give_up(slot, errno);
        }
        self.due_at(deadline);
        if scarce {
            self.rest_by_scarcity(service, "connect", errno);
        }
        self.await_backend(service);
    }

    /// Somebody waits for the backend of a service: starts it, or looks again in a while.
    fn await_backend(&mut self, service: usize) {
        let now = self.now;
        let starts = self.spec(service).is_some_and(|spec| spec.has_program());
        let phase = self.phase(service);
        if starts && phase == Phase::Waiting {
            return self.start_service(service, Cause::Knock);
        }
        let state = self.state(service);
        if state.probe != Tick(0) {
            return;
        }
        if starts && !matches!(phase, Phase::Running(_)) {
            return; // it is started when its rest is over
        }
        let pause = (BACKEND_FIRST_MS << state.tries.min(8)).min(BACKEND_CEILING_MS);
        state.tries = state.tries.saturating_add(1);
        state.probe = now.after_ms(pause);
        let probe = state.probe;
        self.due_at(probe);
    }

    /// The program of a backend has been started: it needs a while.
    pub(super) fn backend_started(&mut self, service: usize) {
        let state = self.state(service);
        (state.tries, state.probe) = (0, Tick(0));
        self.await_backend(service);
    }

    /// The program of a backend is about to end, or has ended: who comes now waits for the next one.
    pub(super) fn backend_ends(&mut self, service: usize, ended: bool) {
        if self.forwards(service) {
            let state = self.state(service);
            (state.tries, state.probe) = (1, if ended { Tick(0) } else { Tick::NEVER });
        }
    }

    /// Whether somebody waits for the backend of a service.
    pub(super) fn is_backend_wanted(&self, service: usize) -> bool {
        self.forwards(service) && self.tables.forwards.is_wanted(service)
    }

    /// Tries backends whose time has come, and closes who has waited for too long.
    pub(super) fn try_backends(&mut self) {
        let now = self.now;
        for service in 0..self.plan.services.len() {
            let state = self.state(service);
            match state.probe {
                Tick(0) => continue,
                probe if now < probe => {
                    self.due_at(probe);
                    continue;
                }
                _ => state.probe = Tick(0),
            }
            for _ in 0..CONNECTS_PER_TURN {
                let Some(slot) = self.tables.forwards.first_waiting(service) else { break };
                self.connect_backend(slot);
                if self.state(service).tries > 0 {
                    break; // it is not there yet, or it shows later
                }
            }
            let wanted = self.tables.forwards.first_waiting(service).is_some();
            let state = self.state(service);
            if wanted && state.tries == 0 {
                state.probe = now;
                self.due_at(now);
            }
        }
        for slot in 0..self.tables.forwards.rows.len() {
            match self.tables.forwards.rows.get(slot).filter(|row| row.has_no_backend()).map(|row| row.deadline) {
                Some(deadline) if now >= deadline => self.give_up(slot, Errno::TIMEDOUT),
                deadline => self.due_at(deadline.unwrap_or(Tick::NEVER)),
            }
        }
    }

    /// The backend cannot be had: the client is closed.
    fn give_up(&mut self, slot: usize, errno: Errno) {
        let Some(pair) = self.tables.forwards.rows.get(slot) else { return };
        let (service, source) = (usize::from(pair.service), pair.source);
        let target = self.spec(service).map_or(&[][..], |spec| self.plan.arena.get(spec.backend));
        self.count_refusal(service, Refusal::Backend, source);
        let peer = source.peer().unwrap_or(Peer::Unknown);
        let (peer, target, error) = (Address(&peer), Text(target), errno::text(errno));
        let why = Refusal::Backend.word();
        tell!(self, Refuse, service, Warn, "peer={peer} why={why} backend={target} error=\"{error}\"");
        self.release_pair(slot);
    }

    /// Something has happened on one side. An event of an earlier use of the row is dropped.
    #[inline(never)] // no part of the loop's own frame
    pub(super) fn on_forward(&mut self, slot: usize, side: usize, generation: u16, flags: EventFlags) {
        let pair = self.tables.forwards.rows.get_mut(slot);
        let Some(pair) = pair.filter(|pair| pair.stage != Stage::Free && pair.generation == generation) else { return };
        let Some(noted) = pair.sides.get_mut(side) else { return };
        noted.note(flags);
        let failed = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        match (pair.stage, side) {
            (Stage::Open, _) => self.pump(slot),
            (Stage::Connecting, BACKEND) if failed => {
                let errno = noted.socket.as_ref().map_or(Errno::CONNREFUSED, backend::failure);
                self.connect_failed(slot, errno);
            }
            (Stage::Connecting, BACKEND) if flags.contains(EventFlags::OUT) => self.on_connected(slot),
            // what a client has left before it went away is for the backend still
            (_, CLIENT) if failed && (flags.contains(EventFlags::ERR) || !has_left(noted)) => self.release_pair(slot),
            _ => {}
        }
    }

    /// Moves what can be moved.
    fn pump(&mut self, slot: usize) {
        let forwards = &mut self.tables.forwards;
        let Some(pair) = forwards.rows.get_mut(slot) else { return };
        let flow = pump(&mut pair.sides, &mut forwards.shared);
        pair.again = flow == Flow::More;
        match flow {
            Flow::Over => return self.release_pair(slot),
            Flow::Broken => return self.cut(slot),
            Flow::More => self.forward_again = true,
            Flow::Quiet => {}
        }
        for side in [CLIENT, BACKEND] {
            let Some(pair) = self.tables.forwards.rows.get_mut(slot) else { return };
            let Some(stuck) = pair.sides.get_mut(side).filter(|side| !side.writable && !side.told) else { continue };
            stuck.told = true;
            let (token, interest) = (token(slot, side, pair).encode(), pair.interest(side));
            let socket = pair.sides.get(side).and_then(|side| side.socket.as_ref());
            if socket.is_some_and(|socket| epoll::modify(&self.epoll, socket, token, interest).is_err()) {
                return self.cut(slot); // no memory in the kernel
            }
        }
    }

    /// Goes on with those that had more than one turn moves.
    pub(super) fn pump_again(&mut self) {
        if !core::mem::take(&mut self.forward_again) {
            return;
        }
        for slot in 0..self.tables.forwards.rows.len() {
            if self.tables.forwards.rows.get(slot).is_some_and(|row| row.again) {
                self.pump(slot);
            }
        }
    }

    /// One side was reset: so is the other, unless it is still being sent what came before.
    fn cut(&mut self, slot: usize) {
        if let Some(pair) = self.tables.forwards.rows.get(slot) {
            let goes_on = |side: &&Side| !side.broken && !side.ended;
            for socket in pair.sides.iter().filter(goes_on).filter_map(|side| side.socket.as_ref()) {
                if queued(socket.as_fd()) == 0 {
                    let _ = rustix::net::sockopt::set_socket_linger(socket, Some(core::time::Duration::ZERO));
                }
            }
        }
        self.release_pair(slot);
    }

    /// A connection is over.
    pub(super) fn release_pair(&mut self, slot: usize) {
        let forwards = &mut self.tables.forwards;
        let Some(service) = forwards.rows.get(slot).map(|pair| usize::from(pair.service)) else { return };
        forwards.clear(slot);
        let state = self.state(service);
        state.forwarded = state.forwarded.saturating_sub(1);
        self.used_now(service);
    }

    /// Closes the connections of a service, or those that wait for its backend. How many there were.
    pub(super) fn end_forwarding(&mut self, only: Option<usize>, waiting: bool) -> usize {
        let mut count = 0;
        if !cfg!(feature = "forward") {
            return count;
        }
        for slot in 0..self.tables.forwards.rows.len() {
            let its = |row: &&Pair| {
                row.stage != Stage::Free
                    && only.is_none_or(|service| usize::from(row.service) == service)
                    && (!waiting || row.has_no_backend())
            };
            if self.tables.forwards.rows.get(slot).filter(its).is_some() {
                self.release_pair(slot);
                count += 1;
            }
        }
        count
    }

    /// A connection of the image before goes on. `service` is its row now.
    pub(super) fn resume_pair(&mut self, mut pair: Pair, service: Option<u16>) {
        if pair.stage != Stage::Open && !service.is_some_and(|service| self.forwards(service.into())) {
            return; // nobody knows its backend
        }
        pair.service = service.unwrap_or(u16::MAX);
        let open = pair.stage == Stage::Open;
        pair.again = open;
        for side in &mut pair.sides {
            side.told = false;
            if open {
                side.look_anew();
            }
        }
        if pair.stage == Stage::Connecting {
            let [_, side] = &mut pair.sides;
            (side.told, side.writable) = (true, false);
        }
        self.forward_again |= open;
        self.least_descriptor();
        let Some(slot) = self.tables.forwards.put(pair) else { return };
        self.state(service.map_or(usize::MAX, usize::from)).forwarded += 1;
        if self.enlist(slot, CLIENT).is_err() || self.enlist(slot, BACKEND).is_err() {
            self.release_pair(slot);
        }
    }
}

fn token(slot: usize, side: usize, pair: &Pair) -> Token {
    Token::Forward { slot, side, generation: pair.generation }
}

/// Whether there is something to read from a client that has gone.
fn has_left(side: &Side) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let read = side.socket.as_ref().map(|socket| recv(socket, &mut [0_u8; 1][..], flags));
    matches!(read, Some(Ok((1.., _))))
}

//! Listeners: watched, resting, missing. A listener is taken out of epoll, never closed, when its service rests.

use log::Level;
use rustix::event::epoll::{self, EventFlags};
use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;

use super::{Phase, Seconds, Server, Tick, Token, Watch, Why};
use crate::limits::{OPEN_CEILING_MS, OPEN_FIRST_MS, SCARCE_FIRST_MS};
use crate::logging::Kind;
use crate::open::{self, OpenError, Opened, watch};
use crate::plan::SocketKind;
use crate::plan::address::Text;
use crate::sys::errno;
use crate::sys::process::set_nonblocking;

impl Server {
    /// Watches the sockets of a service. With Accept=no each of them falls silent when it has fired.
    pub(super) fn arm(&mut self, service: usize) {
        if self.stopping {
            return;
        }
        let forwards = self.forwards(service);
        let state = self.state(service);
        if state.deaf != Tick(0) {
            state.deaf = Tick(0); // a row that is not written costs no memory
        }
        let runs = matches!(state.phase, Phase::Running(_));
        if runs && !forwards {
            return; // its process has the sockets; with Accept=yes it had them before a reload
        }
        if state.paused {
            state.phase = if runs { state.phase } else { Phase::Paused };
            return;
        }
        let once = if self.accepts(service) { EventFlags::empty() } else { EventFlags::ONESHOT };
        let flags = EventFlags::IN | EventFlags::RDHUP | once;
        for row in self.listeners_of(service) {
            let changed = self.change_listener(row);
            self.renew_lost(service, row);
            if let Err(errno) = changed.and_then(|()| self.arm_one(row, flags)) {
                // no memory in the kernel for that: try again, the clients wait
                let until = self.now.after_ms(SCARCE_FIRST_MS * 10);
                let why = errno::text(errno);
                tell!(self, Scarce, service, Warn, "what=socket why=\"{why}\"");
                self.rest(service, until, Why::Scarce);
                return;
            }
        }
        if !runs && self.is_backend_wanted(service) {
            self.want_backend(service);
        }
    }

    /// Whether the sockets of a service are watched, so far as they are open.
    fn is_armed(&self, service: usize) -> bool {
        let state = self.state_of(service);
        match state.phase {
            Phase::Waiting => true,
            Phase::Running(_) => self.forwards(service) && !state.paused && state.deaf == Tick(0),
            Phase::Resting(..) | Phase::Paused => false,
        }
    }

    fn arm_one(&mut self, row: usize, flags: EventFlags) -> Result<(), Errno> {
        let Some(listener) = self.tables.listeners.get_mut(row) else { return Ok(()) };
        let Some(opened) = &listener.opened else { return Ok(()) };
        let token = |generation| Token::Listener { row, generation };
        match listener.watch {
            Watch::Armed => {}
            Watch::Spent => epoll::modify(&self.epoll, &opened.socket, token(listener.generation).encode(), flags)?,
            Watch::Out => {
                listener.generation = listener.generation.wrapping_add(1);
                match token(listener.generation).watch(&self.epoll, opened.socket.as_fd(), flags) {
                    // still in the set: a removal had failed
                    Err(Errno::EXIST) => {
                        epoll::modify(&self.epoll, &opened.socket, token(listener.generation).encode(), flags)?;
                    }
                    result => result?,
                }
            }
        }
        listener.watch = Watch::Armed;
        Ok(())
    }

    /// Looks away from the sockets of a service; clients queue in them.
    pub(super) fn disarm(&mut self, service: usize) {
        for row in self.listeners_of(service) {
            self.disarm_one(row);
        }
    }

    fn disarm_one(&mut self, row: usize) {
        let Some(listener) = self.tables.listeners.get_mut(row) else { return };
        // one that has fired once is silent until it is armed again
        if listener.watch == Watch::Armed
            && let Some(opened) = &listener.opened
        {
            let _ = epoll::delete(&self.epoll, &opened.socket); // ENOENT: it is out already
            listener.watch = Watch::Out;
        }
    }

    /// Lets a service rest until a known time.
    pub(super) fn rest(&mut self, service: usize, until: Tick, why: Why) {
        self.disarm(service);
        self.note_rest(service, until, why);
        let forwards = self.forwards(service);
        let state = self.state(service);
        match state.phase {
            Phase::Running(_) if forwards => state.deaf = until,
            _ => state.phase = Phase::Resting(until, why),
        }
        self.due_at(until);
    }

    /// Rests because a limit is reached, and says so.
    pub(super) fn rest_by_limit(&mut self, service: usize, until: Tick, why: Why) {
        let rest = Seconds(until.since_ms(self.now));
        tell!(self, Rest, service, Warn, "why={} for={rest}", why.word());
        self.rest(service, until, why);
    }

    /// Opens every listener for the first time. One that cannot be opened now is tried again until it can.
    pub fn open_all(&mut self) {
        for row in 0..self.tables.listeners.len() {
            if self.tables.opened(row).is_none() {
                self.try_open(row);
            }
        }
        if self.has_interfaces() {
            self.watch_addresses();
        }
        for service in 0..self.plan.services.len() {
            if self.is_armed(service) {
                self.arm(service);
            }
        }
    }

    /// Number of listeners that are not open.
    pub fn missing(&self) -> usize {
        self.tables.listeners.iter().filter(|listener| listener.opened.is_none()).count()
    }

    /// Tries a missing listener; arms it if its service waits.
    pub(super) fn retry(&mut self, row: usize) {
        self.try_open(row);
        let Some(service) = self.service_of(row) else { return };
        if self.tables.opened(row).is_some() && self.is_armed(service) {
            self.arm(service);
        }
    }

    /// Whether a listener receives datagrams.
    pub(super) fn is_datagram(&self, row: usize) -> bool {
        self.plan.listeners.get(row).is_some_and(|listener| listener.kind == SocketKind::Datagram)
    }

    pub(super) fn service_of(&self, row: usize) -> Option<usize> {
        self.plan.listeners.get(row).map(|spec| usize::from(spec.service))
    }

    /// The address of a listener as the configuration has it.
    fn address_of(&self, row: usize) -> Text<'static> {
        let plan = self.plan;
        Text(plan.listeners.get(row).map_or(&[], |spec| plan.arena.get(spec.address)))
    }

    fn try_open(&mut self, row: usize) {
        let Some(service) = self.service_of(row) else { return };
        let plan = self.plan;
        let first = self.tables.listeners.get(row).is_some_and(|listener| listener.tries == 0);
        let result = open::open(plan, row, &mut |warning| {
            if first {
                tell!(self, Open, service, Warn, "{warning}");
            }
        });
        match result {
            Ok(opened) => {
                let late = self.tables.listeners.get(row).is_some_and(|listener| listener.tries > 0);
                self.put_in(row, opened);
                let level = if late { Level::Info } else { Level::Debug };
                let address = self.address_of(row);
                self.record(Kind::Open, service, level, format_args!("address={address}"));
            }
            Err(error) => self.open_failed(row, service, error),
        }
    }

    pub(super) fn open_failed(&mut self, row: usize, service: usize, error: OpenError) {
        let now = self.now;
        let Some(listener) = self.tables.listeners.get_mut(row) else { return };
        let first = listener.tries == 0;
        let delay = (OPEN_FIRST_MS << listener.tries.min(8)).min(OPEN_CEILING_MS);
        listener.tries = listener.tries.saturating_add(1);
        listener.retry = now.after_ms(delay);
        let retry = listener.retry;
        self.due_at(retry);
        if error.may_appear() {
            self.watch_addresses();
        }
        if !first {
            return;
        }
        let holder =
            if cfg!(feature = "takeover") && error.may_free() { open::holder::find(self.plan, row) } else { None };
        if holder.as_ref().is_some_and(|holder| self.take_over(row, service, holder)) {
            return;
        }
        let address = self.address_of(row);
        match holder {
            Some(holder) => {
                let why = format_args!("why=\"{error}\" holder=\"{holder}\"");
                tell!(self, Open, service, Warn, "failed address={address} {why}; trying again");
            }
            None => tell!(self, Open, service, Warn, "failed address={address} why=\"{error}\"; trying again"),
        }
    }

    /// An address or interface has appeared: every missing listener is tried at once, and those on an interface that
    /// was gone are made anew.
    #[inline(never)] // its buffers are no part of the loop's own frame
    pub(super) fn on_addresses(&mut self) {
        if !self.addresses.as_ref().is_some_and(watch::drain) {
            return;
        }
        for row in 0..self.tables.listeners.len() {
            let Some(service) = self.service_of(row) else { continue };
            if self.tables.opened(row).is_none() {
                self.retry(row);
            } else if open::has_interface(self.plan, row) && self.is_armed(service) {
                self.disarm_one(row);
                self.arm(service); // looks whether it is lost
            }
        }
        if self.missing() == 0 && !self.has_interfaces() {
            self.addresses = None; // closing it takes it out of epoll
        }
    }

    /// Whether a listener is bound to an interface, which may go and come back as another one.
    fn has_interfaces(&self) -> bool {
        (0..self.tables.listeners.len()).any(|row| open::has_interface(self.plan, row))
    }

    /// A listener whose file or interface is gone, or another one, is made anew before it is watched again, as nobody
    /// could reach it: some programs remove the socket when they end. Who waits in it is served first, unless the last
    /// run did not do that.
    fn renew_lost(&mut self, service: usize, row: usize) {
        let listener = self.tables.listeners.get(row).filter(|listener| listener.watch != Watch::Armed);
        let Some(opened) = listener.and_then(|listener| listener.opened.as_ref()) else { return };
        let Some(advice) = open::is_lost(self.plan, row, opened) else { return };
        if self.state_of(service).failures > 0 || !open::is_readable(opened.socket.as_fd()) {
            let address = self.address_of(row);
            tell!(self, Open, service, Warn, "anew address={address}: {advice}");
            self.reopen(row);
        }
    }

    /// The process that had the sockets of a service has ended: they are as before, whatever it has done to them. One
    /// that it has connected to a peer of its own hears everybody again.
    pub(super) fn restore(&mut self, service: usize) {
        for row in self.listeners_of(service) {
            let opened = self.tables.opened(row);
            let Some(socket) = opened.map(|opened| opened.socket.as_fd()) else { continue };
            let whole = open::restore(self.plan, row, socket);
            let connected = self.is_datagram(row) && open::is_connected(socket);
            if whole && !connected {
                continue;
            }
            let kept = whole && open::disconnect(self.plan, row, socket).is_ok();
            let what = if kept { "disconnected" } else { "anew" };
            tell!(self, Open, service, Warn, "{what}: a process had made it deaf");
            if !kept {
                self.reopen(row);
            }
        }
    }

    /// Whether something waits in a socket of a service.
    pub(super) fn is_waited_for(&self, service: usize) -> bool {
        let listeners = self.tables.listeners.get(self.listeners_of(service)).unwrap_or(&[]);
        let mut opened = listeners.iter().filter_map(|listener| listener.opened.as_ref());
        opened.any(|opened| open::is_readable(opened.socket.as_fd()))
    }

    /// The socket of a listener is this one.
    pub(super) fn put_in(&mut self, row: usize, opened: Opened) {
        if let Some(listener) = self.tables.listeners.get_mut(row) {
            (listener.opened, listener.watch, listener.tries) = (Some(opened), Watch::Out, 0);
        }
    }

    /// Takes the socket of a listener away, and looks away from it.
    pub(super) fn take_out(&mut self, row: usize) -> Option<Opened> {
        let listener = self.tables.listeners.get_mut(row)?;
        let opened = listener.opened.take()?;
        let _ = epoll::delete(&self.epoll, &opened.socket); // ENOENT: it is out already
        listener.watch = Watch::Out;
        Some(opened)
    }

    /// Closes a listener and opens it anew.
    pub(super) fn reopen(&mut self, row: usize) {
        drop(self.take_out(row));
        self.try_open(row);
    }

    /// A listener that a child has shut down, or that is otherwise broken: made to work again, or anew.
    pub(super) fn revive(&mut self, row: usize) {
        let (Some(service), Some(opened)) = (self.service_of(row), self.tables.opened(row)) else { return };
        if !self.is_datagram(row) && open::restore(self.plan, row, opened.socket.as_fd()) {
            self.disarm_one(row);
        } else {
            self.reopen(row);
        }
        if self.tables.opened(row).is_some() {
            tell!(self, Open, service, Warn, "revived: a process had shut the socket down");
        }
        if self.is_armed(service) {
            self.arm(service);
        }
    }

    /// Throws away what waits in the sockets of a service (FlushPending=), a bounded number of things.
    pub(super) fn flush_pending(&mut self, service: usize) {
        const AT_MOST: usize = 1024;
        let mut flushed = 0;
        for row in self.listeners_of(service) {
            let kind = self.plan.listeners.get(row).map(|spec| spec.kind);
            let Some(opened) = self.tables.opened(row) else {
                continue;
            };
            // another holder may be as fast as we are; the next start sets the flag as configured
            let _ = set_nonblocking(opened.socket.as_raw_fd(), true);
            while flushed < AT_MOST && open::is_readable(opened.socket.as_fd()) {
                let taken = match kind {
                    Some(SocketKind::Stream | SocketKind::SequentialPacket) => {
                        rustix::net::accept(&opened.socket).map(|taken| {
                            // a service may have left it to its sockets: closing them would wait for the client
                            let _ = rustix::net::sockopt::set_socket_linger(&taken, None);
                        })
                    }
                    Some(SocketKind::Datagram) => {
                        rustix::net::recv(&opened.socket, &mut [0_u8; 1][..], rustix::net::RecvFlags::DONTWAIT)
                            .map(drop)
                    }
                    Some(SocketKind::Fifo) | None => rustix::io::read(&opened.socket, &mut [0_u8; 512]).map(drop),
                };
                if taken.is_err() {
                    break;
                }
                flushed += 1;
            }
        }
        if flushed > 0 {
            tell!(self, Other, service, Info, "flushed={flushed}");
        }
    }
}

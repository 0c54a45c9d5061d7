//! One turn of the loop, in this order: wait; clock; deaths and signals; deadlines; addresses; sockets; the next
//! deadline. Deaths come first, so that what they free counts for the connections of the same turn.

use core::mem::MaybeUninit;
use rustix::event::Timespec;
use rustix::event::epoll::{Event, EventFlags};
use rustix::fd::AsFd;
use rustix::io::Errno;

use super::{Cause, Listener, Phase, ReloadKind, Server, Token, Watch, Why};
use crate::limits::EVENTS_PER_TURN;
use crate::logging::{LeftOut, say};
use crate::open::is_shut_down;
use crate::sys::clock::{self, Tick};
use crate::sys::wait::Ballast;
use crate::sys::{errno, signal};

impl Server {
    /// Runs until the end is asked for and nothing is left to wait for.
    pub fn run(&mut self) {
        let mut ballast = Ballast::find();
        let mut buffer = [MaybeUninit::<Event>::uninit(); EVENTS_PER_TURN];
        while !self.is_over() {
            let timeout = self.timeout();
            let events = match ballast.wait(self.epoll.as_fd(), &mut buffer, timeout.as_ref()) {
                Ok(events) => events,
                Err(Errno::INTR) => &[],
                Err(errno) => {
                    // cannot happen with a valid set; never spin on it
                    say!(Error, "epoll: {}", errno::text(errno));
                    clock::pause_ms(100);
                    &[]
                }
            };
            self.woken_us = clock::now_us();
            self.now = Tick(self.woken_us / 1000);
            self.turn(events);
        }
        if cfg!(feature = "control") {
            self.close_control();
        }
    }

    #[inline(never)] // no part of the frame that waits
    fn turn(&mut self, events: &[Event]) {
        if events.iter().any(|event| event.data.u64() == Token::Signals.encode().u64()) {
            self.on_signals();
        } else if events.is_empty() && self.orphans {
            self.on_children(false); // there is nothing else to do
        }
        if self.now >= self.deadline {
            self.on_deadlines();
        }
        if cfg!(feature = "forward") {
            self.pump_again();
        }
        let mut asked = false;
        for event in events {
            match Token::decode(event.data) {
                Some(Token::Forward { slot, side, generation }) if cfg!(feature = "forward") => {
                    self.on_forward(slot, side, generation, event.flags);
                }
                Some(Token::Listener { row, generation }) => self.on_listener(row, generation, event.flags),
                Some(Token::Output(row)) => self.on_output(row),
                Some(Token::Addresses) => self.on_addresses(),
                Some(Token::Names) if cfg!(feature = "reload") => self.on_names(),
                Some(Token::Notifications) if cfg!(feature = "notify") => self.on_notifications(),
                Some(Token::Pressure) if cfg!(feature = "pressure") => self.on_pressure(event.flags),
                Some(Token::Process(pid)) if cfg!(feature = "takeover") => self.on_foreign_end(pid),
                Some(Token::Internal(serial)) if cfg!(feature = "internal") => self.on_internal(serial, event.flags),
                Some(Token::Control(_)) => asked = true,
                _ => {} // signals, see above; what is not built in
            }
        }
        if cfg!(feature = "control") {
            // behind everything that clients of services wait for
            for event in events.iter().filter(|_| asked) {
                if let Some(Token::Control(client)) = Token::decode(event.data) {
                    self.on_control(client, event.flags);
                }
            }
            self.answer_waiting();
        }
    }

    /// A listener has something, or is broken. An event of an earlier registration is dropped, and so is one that came
    /// together with that of another listener, for which this one was taken out of the set.
    fn on_listener(&mut self, row: usize, generation: u16, flags: EventFlags) {
        let is_its = |listener: &Listener| listener.generation == generation && listener.watch == Watch::Armed;
        let fresh = self.tables.listeners.get(row).is_some_and(is_its);
        let Some(service) = self.service_of(row).filter(|_| fresh && !self.stopping) else { return };
        if flags.intersects(EventFlags::HUP | EventFlags::RDHUP | EventFlags::ERR)
            && let Some(opened) = self.tables.opened(row)
            && is_shut_down(opened.socket.as_fd())
        {
            return self.revive(row);
        }
        let Some(policy) = self.policy(service) else { return };
        if !policy.accept
            && let Some(listener) = self.tables.listeners.get_mut(row)
        {
            listener.watch = Watch::Spent;
        }
        match self.state_of(service).phase {
            Phase::Waiting => {}
            Phase::Running(_) if self.forwards(service) => {}
            _ => return, // its other socket was first
        }
        let now = self.now;
        let state = self.state(service);
        if let Err(until) = state.poll.check(policy.poll, now) {
            return self.rest_by_limit(service, until, Why::PollLimit);
        }
        if let Err(until) = state.trigger.check(policy.trigger, now) {
            return self.rest_by_limit(service, until, Why::TriggerLimit);
        }
        state.poll.count(policy.poll, now);
        if policy.accept {
            self.on_connection(service, row, policy);
        } else {
            self.start_service(service, Cause::Knock);
        }
    }

    /// Takes the signals that have come; a bounded number, the rest in the next turn.
    fn on_signals(&mut self) {
        const AT_MOST: usize = 8;
        for _ in 0..AT_MOST {
            match signal::take(&self.signals) {
                // whatever else has come keeps the descriptor readable
                Ok(Some((libc::SIGCHLD, _))) => return self.on_children(true),
                Ok(Some((libc::SIGTERM | libc::SIGINT, _))) => self.on_terminate(),
                Ok(Some((libc::SIGQUIT, _))) => self.on_quit(),
                Ok(Some((libc::SIGHUP, _))) => self.on_reload_signal(ReloadKind::Reload),
                Ok(Some((libc::SIGUSR2, _))) => self.on_reload_signal(ReloadKind::Upgrade),
                Ok(Some(_)) => self.dump(),
                Ok(None) => return,
                Err(errno) => return say!(Error, "signals: {}", errno::text(errno)),
            }
        }
    }

    /// Everything that is due: rests, children, addresses, log lines that were left out. Each of them says as well when
    /// it is due next ([`Server::due_at`]).
    fn on_deadlines(&mut self) {
        let now = self.now;
        self.deadline = Tick::NEVER;
        if core::mem::take(&mut self.reap_again) {
            self.on_children(false);
        }
        if !self.stopping {
            self.end_rests();
        }
        if cfg!(feature = "forward") {
            self.try_backends();
        }
        if cfg!(feature = "takeover") {
            self.watch_foreign_again();
        }
        if cfg!(feature = "reload") {
            self.look_at_names();
        }
        self.look_for_idle();
        self.check_leftovers();
        self.check_deadline();
        // from the end, which takes the place of a child that goes
        for index in (0..self.tables.children.len()).rev() {
            match self.tables.children.get(index).map(|child| child.deadline) {
                Some(deadline) if now >= deadline => self.on_child_deadline(index),
                Some(deadline) => self.due_at(deadline),
                None => {}
            }
        }
        self.drop_idle_clients();
        self.close_idle();
        self.tables.throttle.flush(now, LeftOut::report);
    }

    /// Services that have rested, and listeners that are to be opened.
    fn end_rests(&mut self) {
        for service in 0..self.plan.services.len() {
            let state = self.state(service);
            match (state.phase, state.rests_until()) {
                (_, until) if self.now < until => self.due_at(until),
                (Phase::Resting(_, why), _) => self.on_rested(service, why),
                _ => self.arm(service),
            }
        }
        for row in 0..self.tables.listeners.len() {
            match self.tables.listeners.get(row) {
                Some(Listener { opened: None, retry, .. }) if self.now >= *retry => self.retry(row),
                Some(&Listener { opened: None, retry, .. }) => self.due_at(retry),
                _ => {}
            }
        }
    }

    /// How long to wait; `None`: until something happens. Rounded up by the clock's granularity, so that no turn comes
    /// too early and does nothing.
    fn timeout(&mut self) -> Option<Timespec> {
        const LONGEST_MS: u32 = 86_400_000;
        if self.forward_again {
            return Some(Timespec::default());
        }
        let deadline = self.deadline.min(self.tables.throttle.next_deadline());
        self.deadline = deadline;
        if deadline == Tick::NEVER {
            return None;
        }
        // a longer wait than fits into a number takes a call that kernels before Linux 5.11 do not have
        let ms = u32::try_from(deadline.since_ms(clock::now())).unwrap_or(LONGEST_MS).min(LONGEST_MS);
        let nanoseconds = i32::try_from(ms % 1000 * 1_000_000).unwrap_or(0); // 32 bits on some machines
        Some(Timespec { tv_sec: (ms / 1000).into(), tv_nsec: nanoseconds.into() })
    }

    /// SIGUSR1: what every service is doing, to the log.
    #[inline(never)] // its buffers are no part of the loop's own frame
    fn dump(&mut self) {
        for service in 0..self.plan.services.len() {
            let state = *self.state(service);
            let (name, word) = (self.name(service), self.state_word(service));
            let (live, accepted, refused, failures) =
                (self.current(service), state.accepted, state.refused(), state.failures);
            say!(
                Info,
                "status service={name} state={word} live={live} accepted={accepted} refused={refused} failures={failures}"
            );
        }
    }
}

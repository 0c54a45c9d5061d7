//! Accept=no: a knock starts the service with all its sockets, and its end arms them again.

use heapless::Vec;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, fcntl_dupfd_cloexec, ioctl_fionread};

use super::accept::run_deadline;
use super::end::End;
use super::history::{Cause, Event, What};
use super::poison::waiting_datagrams;
use super::tables::{Ending, Order};
use super::{Child, Phase, Seconds, Server, Tick, Why};
use crate::limits::{BACKOFF_RESET_MS, SERVICE_LISTENERS, SHORT_RUN_MS, SHORT_RUNS};
use crate::logging::insist;
use crate::open::connections::waiting;
use crate::plan::steps::Stage;
use crate::plan::{FIRST_FD, Policy, Restart, SocketKind};
use crate::spawn::{Start, StartFailed};
use crate::sys::wait::wait;

/// Sockets that are handed over, borrowed from the table.
type Sockets<'a> = Vec<BorrowedFd<'a>, SERVICE_LISTENERS>;

impl Server {
    /// Starts a service with its sockets.
    pub(super) fn start_service(&mut self, service: usize, why: Cause) {
        let Some(policy) = self.policy(service) else { return };
        let forwards = self.forwards(service);
        if !forwards {
            self.disarm(service);
        }
        if self.tables.children.is_full() {
            return self.rest_by_scarcity(service, "children", Errno::AGAIN);
        }
        if self.is_held_back(service, policy) {
            return;
        }
        let watched = policy.sleep.is_watched() || self.state(service).short_runs >= SHORT_RUNS;
        if watched && !forwards {
            self.suspect(service);
        }
        let now = self.now;
        match self.launch(service) {
            Ok(pid) => {
                let deadline = run_deadline(policy, now);
                let _ = self.tables.children.push(Child::new(pid, service, now, deadline)); // there is room, see above
                self.due_at(deadline);
                let took = self.clock_start(service);
                self.note(service, Event::of(What::Start, pid).with(took, why as u8));
                let state = self.state(service);
                state.phase = Phase::Running(pid);
                state.live += 1;
                state.accepted += u64::from(!forwards);
                if !forwards {
                    state.trigger.count(policy.trigger, now);
                }
                state.scarcities = 0;
                tell!(self, Start, service, Info, "pid={pid} why={}", why.word());
                self.watch(service);
                if forwards {
                    self.arm(service); // it may come from a rest
                    self.backend_started(service);
                }
            }
            Err(failed) => self.start_failed(service, failed),
        }
    }

    /// Clones and executes. A single socket is handed over at 3 in our own table, so that the table can be shared.
    fn launch(&mut self, service: usize) -> Result<i32, StartFailed> {
        let spec = self.spec(service).ok_or(StartFailed { stage: Stage::DESCRIPTORS, errno: Errno::INVAL })?;
        let rows = if spec.backend().is_some() { 0..0 } else { self.listeners_of(service) };
        let tables = &mut self.tables;
        let listeners = tables.listeners.get(rows).unwrap_or(&[]);
        let present = listeners.iter().rev().fold(0, |bits, row| bits << 1 | u64::from(row.opened.is_some()));
        let opened = listeners.iter().filter_map(|row| row.opened.as_ref());
        let copy: Option<OwnedFd>;
        let mut sockets: Sockets<'_> = opened.map(|opened| opened.socket.as_fd()).collect();
        let log = super::output::log_of(tables.outputs, spec.policy);
        copy = match sockets[..] {
            [only] if log.is_none() => fcntl_dupfd_cloexec(only, FIRST_FD).ok().filter(|fd| fd.as_raw_fd() == FIRST_FD),
            _ => None,
        };
        if let (Some(copy), [socket]) = (&copy, &mut sockets[..]) {
            *socket = copy.as_fd();
        }
        tables.spawner.start(&Start {
            plan: self.plan,
            service: spec,
            sockets: &sockets,
            present,
            connection: None,
            log,
        })
    }

    /// The main process has ended, and with it what was left of its session: what next?
    pub(super) fn run_over(&mut self, child: &Child) {
        let Child { end, timed_out, .. } = *child;
        let (service, ran_ms) = (usize::from(child.service), self.now.since_ms(child.since));
        let Some(policy) = self.policy(service) else { return };
        let ending = core::mem::replace(&mut self.state(service).ending, Ending::Unasked);
        let order = core::mem::replace(&mut self.state(service).order, Order::None);
        let asked = ending == Ending::Asked || order != Order::None;
        let clean = asked || !timed_out && (policy.ignore_failure || end.is_clean(self.plan.arena.get(policy.success)));
        let now = self.now;
        self.restore(service);
        let short = ran_ms < SHORT_RUN_MS && ending == Ending::Unasked && !asked;
        let left = short && self.is_readable(service);
        let unread = left && !self.has_read(service);
        self.unsuspect(service);
        self.backend_ends(service, true);
        if policy.flush_pending && !policy.accept {
            self.flush_pending(service);
        }
        let state = self.state(service);
        state.asleep_since = if ending == Ending::Asked { now } else { Tick(0) };
        state.short_runs = if left { state.short_runs.saturating_add(1) } else { 0 };
        if clean && !unread {
            state.failures = 0;
        } else {
            if ran_ms >= BACKOFF_RESET_MS {
                state.failures = 0;
            }
            self.count_failure(service);
        }
        if clean && !unread {
            self.forget_poison(service);
        } else if self.drop_poison(service) {
            let state = self.state(service);
            (state.failures, state.hold) = (0, now);
        }
        if self.stopping {
            return;
        }
        if order != Order::None {
            return self.obey(service, order);
        }
        if !asked && wants_restart(policy.restart, end, clean, timed_out) && !self.state_of(service).paused {
            return self.rest_for_restart(service, policy);
        }
        self.rest_or_wait(service, if unread && clean { Why::Unread } else { Why::Failure });
    }

    fn rest_for_restart(&mut self, service: usize, policy: &Policy) {
        let now = self.now;
        let state = self.state(service);
        if state.failures == 0 {
            state.start.count(policy.start, now); // a failure has been counted
        }
        let by_limit = state.start.check(policy.start, now).err().unwrap_or(now);
        let until = now.after_ms(u64::from(policy.restart_ms)).max(state.hold).max(by_limit);
        let rest = Seconds(until.since_ms(now));
        tell!(self, Rest, service, Info, "why={} for={rest}", Why::Restart.word());
        self.rest(service, until, Why::Restart);
    }

    /// Back to waiting, or first to a rest if the last run failed.
    fn rest_or_wait(&mut self, service: usize, why: Why) {
        let now = self.now;
        let state = self.state(service);
        if state.failures > 0 && state.hold > now {
            let until = state.hold;
            let (rest, failures) = (Seconds(until.since_ms(now)), state.failures);
            let word = why.word();
            tell!(self, Rest, service, Warn, "why={word} count={failures} for={rest}");
            self.rest(service, until, why);
        } else {
            state.phase = Phase::Waiting;
            self.arm(service);
        }
    }

    /// From now on it is looked whether anything arrives during a run: an edge in a set that nobody waits on.
    pub(super) fn suspect(&mut self, service: usize) {
        let state = self.state(service);
        // a process that runs already may look at the queue itself
        let reads = state.short_runs >= SHORT_RUNS && !matches!(state.phase, Phase::Running(_));
        for row in self.listeners_of(service) {
            let queue = if reads { self.queue(row) } else { 0 };
            if let Some(listener) = self.tables.listeners.get_mut(row).filter(|_| reads) {
                listener.queue = queue;
            }
            if let Some(opened) = self.tables.opened(row) {
                let data = EventData::new_u64(service as u64);
                // with OUT as well, which a datagram socket nearly always is, an edge is told of even if the service
                // has taken what caused it
                let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
                let _ = insist(|| epoll::add(&self.arrivals, &opened.socket, data, flags));
            }
        }
        self.collect_arrivals();
        let state = self.state(service);
        (state.suspected, state.arrived) = (true, false); // what is there now is not news
    }

    fn unsuspect(&mut self, service: usize) {
        if !core::mem::take(&mut self.state(service).suspected) {
            return;
        }
        for row in self.listeners_of(service) {
            if let Some(opened) = self.tables.opened(row) {
                let _ = epoll::delete(&self.arrivals, &opened.socket); // ENOENT: it was not added
            }
        }
    }

    /// Takes the edges out of the set and notes for each service that something has arrived, a bounded number.
    pub(super) fn collect_arrivals(&mut self) {
        const AT_ONCE: usize = 8;
        let mut events = [core::mem::MaybeUninit::<epoll::Event>::uninit(); AT_ONCE];
        for _ in 0..SERVICE_LISTENERS {
            let none = Timespec::default();
            let Ok(events) = wait(self.arrivals.as_fd(), &mut events, Some(&none), None) else { return };
            for event in events {
                let service = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                let state = self.state(service);
                (state.arrived, state.watched.fresh) = (true, true);
            }
            if events.len() < AT_ONCE {
                return; // that was all
            }
        }
    }

    /// Whether a run that has left something in its sockets may have read something else, as a service does that serves
    /// one client and ends: something has arrived meanwhile, or what waits is not what was there before. Not so only if
    /// that was watched.
    fn has_read(&mut self, service: usize) -> bool {
        if self.forwards(service) {
            return false; // who waits there was not served
        }
        if !self.state(service).suspected || self.state(service).short_runs < SHORT_RUNS {
            return true;
        }
        self.collect_arrivals();
        let before = |row: usize| self.tables.listeners.get(row).map_or(0, |listener| listener.queue);
        let differs = |row| self.queue(row) != before(row);
        self.state_of(service).arrived || self.listeners_of(service).any(differs)
    }

    /// A number that changes when something is taken out of a socket: how many connections or bytes wait, or how many
    /// datagrams and what the first one is.
    fn queue(&self, row: usize) -> u32 {
        let (Some(opened), Some(spec)) = (self.tables.opened(row), self.plan.listeners.get(row)) else { return 0 };
        let socket = opened.socket.as_fd();
        match spec.kind {
            SocketKind::Stream | SocketKind::SequentialPacket => waiting(socket),
            SocketKind::Datagram => waiting_datagrams(socket),
            SocketKind::Fifo => ioctl_fionread(socket).map_or(0, |bytes| u32::try_from(bytes).unwrap_or(u32::MAX)),
        }
    }

    /// Something waits in the sockets.
    fn is_readable(&self, service: usize) -> bool {
        if self.forwards(service) {
            return self.is_backend_wanted(service);
        }
        self.is_waited_for(service)
    }
}

/// Restart= (systemd.service(5), table "Exit causes and the effect of the Restart= settings").
fn wants_restart(restart: Restart, end: End, clean: bool, timed_out: bool) -> bool {
    match restart {
        Restart::No => false,
        Restart::Always => true,
        Restart::OnSuccess => clean,
        Restart::OnFailure => !clean,
        Restart::OnAbnormal => !clean && (timed_out || end.signal().is_some()),
        Restart::OnAbort => !clean && !timed_out && end.signal().is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_follows_the_table_of_systemd() {
        let (term, segv) = (End::Signal(15, false), End::Signal(11, false));
        // a clean exit status, one that is not, a clean signal, one that is not, the end of its time
        let causes = [
            (End::Status(0), true, false),
            (End::Status(1), false, false),
            (term, true, false),
            (segv, false, false),
            (term, false, true),
            (End::Status(0), false, true),
        ];
        for (restart, wanted) in [
            (Restart::No, "......"),
            (Restart::Always, "xxxxxx"),
            (Restart::OnSuccess, "x.x..."),
            (Restart::OnFailure, ".x.xxx"),
            (Restart::OnAbnormal, "...xxx"),
            (Restart::OnAbort, "...x.."),
        ] {
            let found = causes.map(|(end, clean, timed_out)| wants_restart(restart, end, clean, timed_out));
            assert_eq!(found.map(|starts| if starts { "x" } else { "." }).concat(), wanted, "{restart:?}");
        }
    }
}

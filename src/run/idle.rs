//! Sleep: a service that nobody uses is stopped, and its sockets wake it again.
//!
//! A running service that may sleep is looked at from time to time; while nothing runs there is no timer and no look.
//! Connections are counted by the kernel ([`connections`]), which also remembers for a minute those that the service
//! closed first. A datagram leaves an edge in a set that nobody waits on ([`Server::collect_arrivals`]). Only a short
//! visit that the client ended, between two looks, goes unseen.
//!
//! Between a look and a stop somebody may come. So the session is stopped by SIGSTOP first, and looked at again when
//! every thread of it stands still: what came before that is seen now, what comes later stays in the queue, which is
//! ours as well, for the next instance. Then it gets its stop signal, or SIGCONT.

use log::Level;
use rustix::fd::AsFd;

use super::session::{cpu, make_stand_still, memory_kb, signal_session};
use super::stop::SIGCONT;
use super::tables::{Ending, Life};
use super::{Child, Phase, Seconds, Server, Tick};
use crate::handover::codec::{Field, record, words};
use crate::limits::{
    FREEZE_LOOK_MS, FREEZE_LOOKS, IDLE_LOOK_LEAST_MS, IDLE_LOOK_MAX_MS, IDLE_LOOK_MIN_MS, LOOKS_PER_TURN,
};
use crate::logging::{Kind, say};
use crate::open::connections::{self, Last};
use crate::open::{is_readable, listens};
use crate::plan::{Evict, Plan, Policy, Sleep, SocketKind};
use crate::sys::errno;
use crate::text::worded;

/// What is known of a running service that may be put to sleep. All zero: it may not, or does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// When it was last seen to be used.
    pub used: Tick,
    /// When it was last seen to work, or something to wait for it.
    worked: Tick,
    /// Something has arrived since the last look.
    pub fresh: bool,
    /// CPU time of the session at the last look, in clock ticks.
    cpu: u64,
    /// Next look; 0: none.
    pub look: Tick,
    /// Looks since it was made to stand still; 0: it runs.
    frozen: u8,
    /// Why it is to be stopped, where it stands still.
    why: Reason,
}
record!(Watched: used worked fresh cpu look frozen why);

worded! {
    /// Why a service is put to sleep.
    pub enum Reason {
        /// StopWhenIdleSec=.
        Idle = "idle",
        /// StopWhenQuietSec= alone.
        Quiet = "quiet",
        /// EvictUnderPressure=.
        Memory = "memory",
    }
}
words!(Reason);

impl Watched {
    /// Whether it is looked at.
    pub(super) fn is_looked_at(&self) -> bool {
        cfg!(feature = "idle") && self.look != Tick(0)
    }

    /// Whether it stands still, to be looked at again.
    pub(super) const fn is_frozen(&self) -> bool {
        self.frozen > 0
    }
}

impl Server {
    /// A service has been started, or was found running: perhaps it may sleep.
    pub(super) fn watch(&mut self, service: usize) {
        let Some(policy) = self.policy(service).filter(|_| cfg!(feature = "idle")) else { return };
        let now = self.now;
        let state = self.state(service);
        if state.asleep_since != Tick(0) {
            let slept = now.since_ms(core::mem::take(&mut state.asleep_since));
            state.slept_ms = state.slept_ms.saturating_add(slept);
        }
        state.watched = Watched::BLANK;
        if policy.sleep.is_watched() {
            (state.watched.used, state.watched.worked) = (now, now);
            self.set_look(service, next_look(&policy.sleep, now, now, now, now));
            self.watch_pressure();
        }
    }

    /// The main process of a service has ended.
    pub(super) fn unwatch(&mut self, service: usize) {
        if self.state(service).watched.is_looked_at() {
            self.thaw(service);
            self.state(service).watched = Watched::BLANK;
            self.watch_pressure();
        }
    }

    /// Looks at the services whose time has come, a bounded number; the others stay due.
    pub(super) fn look_for_idle(&mut self) {
        if self.stopping {
            return; // whoever stands still has been let go on, and stays so
        }
        let mut looks = 0;
        for service in 0..self.plan.services.len() {
            let watched = self.state_of(service).watched;
            if !watched.is_looked_at() {
                continue;
            }
            if watched.look <= self.now && looks < LOOKS_PER_TURN {
                looks += 1;
                self.look(service);
            } else {
                self.due_at(watched.look);
            }
        }
    }

    fn look(&mut self, service: usize) {
        let (Some(policy), Some((_, child))) = (self.policy(service), self.main_process(service)) else { return };
        if child.stage != Life::Running {
            return self.set_look(service, Tick::NEVER); // it is being stopped
        }
        if self.state_of(service).watched.is_frozen() {
            return self.look_at_frozen(service, policy, &child);
        }
        self.observe(service);
        if policy.sleep.evict() != Evict::No {
            self.look_at_memory();
        }
        let watched = self.state_of(service).watched;
        if watched.is_frozen() {
            return; // it gives way
        }
        if due(&policy.sleep, child.since, watched.used, watched.worked) > self.now {
            let next = next_look(&policy.sleep, self.now, child.since, watched.used, watched.worked);
            self.set_look(service, next);
        } else {
            self.freeze(service, if policy.sleep.idle_ms == u32::MAX { Reason::Quiet } else { Reason::Idle });
        }
    }

    /// Looks at a service and notes whether it is used, and whether it works. True: somebody is there just now.
    pub(super) fn observe(&mut self, service: usize) -> bool {
        self.collect_arrivals();
        let now = self.now;
        let Some(policy) = self.policy(service) else { return false };
        let before = self.state_of(service).watched;
        let used = match self.last_connection(service, policy) {
            _ if before.fresh => now,
            Last::Now => now,
            Last::Ago(ms) => Tick(now.0.saturating_sub(u64::from(ms))),
            Last::Unknown => before.used,
        };
        let quiet = policy.sleep.quiet_ms != u32::MAX;
        let cpu = self.session(service).filter(|_| quiet).map_or(0, cpu);
        let worked = quiet && (before.fresh || cpu != before.cpu || self.is_waited_for(service));
        let watched = &mut self.state(service).watched;
        (watched.fresh, watched.cpu, watched.used) = (false, cpu, used.max(before.used));
        if worked {
            watched.worked = now;
        }
        used == now
    }

    /// For how long a service with this main process has not been used, or not worked, when it may sleep; a look of its
    /// own.
    pub(super) fn unused_ms(&mut self, service: usize, pid: i32) -> Option<u64> {
        let state = self.state_of(service);
        if !state.watched.is_looked_at() || state.watched.is_frozen() || state.phase != Phase::Running(pid) {
            return None;
        }
        self.observe(service);
        let watched = self.state_of(service).watched;
        Some(self.now.since_ms(watched.used.max(watched.worked)))
    }

    /// When a client was last connected, or something waits in a socket. When the kernel cannot tell, one is.
    fn last_connection(&mut self, service: usize, policy: &Policy) -> Last {
        if policy.sleep.idle_ms == u32::MAX && policy.sleep.evict() == Evict::No {
            return Last::Unknown; // nobody wants to know
        }
        if self.forwards(service) {
            return if self.current(service) > 0 { Last::Now } else { Last::Unknown };
        }
        let mut failed = None;
        let mut last = Last::Unknown;
        for row in self.listeners_of(service) {
            let kind = self.plan.listeners.get(row).map(|spec| spec.kind);
            let opened = self.tables.opened(row);
            let Some(socket) = opened.map(|opened| opened.socket.as_fd()) else { continue };
            last = last.or(match kind {
                Some(SocketKind::Stream | SocketKind::SequentialPacket) => connections::last_connection(socket)
                    .unwrap_or_else(|errno| {
                        failed = Some(errno);
                        Last::Now
                    }),
                _ if is_readable(socket) => Last::Now,
                _ => Last::Unknown,
            });
        }
        if let Some(errno) = failed {
            let why = errno::text(errno);
            tell!(self, Other, service, Warn, "connections cannot be counted why=\"{why}\"");
        }
        last
    }

    /// Makes the whole session stand still, for the second look.
    pub(super) fn freeze(&mut self, service: usize, why: Reason) {
        let Some(session) = self.session(service) else { return };
        if self.forwards(service) {
            // whoever comes from now on comes to us
            return self.put_to_sleep(service, why, memory_kb(session));
        }
        let watched = &mut self.state(service).watched;
        (watched.frozen, watched.why) = (1, why);
        make_stand_still(session);
        self.set_look(service, self.now.after_ms(FREEZE_LOOK_MS));
    }

    fn look_at_frozen(&mut self, service: usize, policy: &Policy, child: &Child) {
        let now = self.now;
        let stopped = make_stand_still(child.session); // one may have been born in between
        let watched = &mut self.state(service).watched;
        if !stopped && watched.frozen < FREEZE_LOOKS {
            watched.frozen += 1;
            return self.set_look(service, now.after_ms(FREEZE_LOOK_MS));
        }
        let why = watched.why;
        let memory = memory_kb(child.session); // takes a while: before the look, which the signal is to follow at once
        self.collect_arrivals();
        let fresh = self.state_of(service).watched.fresh;
        if stopped && !fresh && self.last_connection(service, policy) != Last::Now && !self.is_waited_for(service) {
            return self.put_to_sleep(service, why, memory);
        }
        self.thaw(service);
        let watched = &mut self.state(service).watched;
        (watched.used, watched.worked, watched.fresh) = (now, now, false);
        self.set_look(service, next_look(&policy.sleep, now, child.since, now, now));
        // in the second case it may never sleep
        let (level, why) =
            if stopped { (Level::Debug, "a client came") } else { (Level::Warn, "it does not stand still") };
        self.record(Kind::Stop, service, level, format_args!("pid={} not now: {why}", child.pid));
    }

    /// Asks a service to end that takes so many kB, because nobody uses it or because its memory is needed.
    pub(super) fn put_to_sleep(&mut self, service: usize, why: Reason, memory: u64) {
        let Some((index, child)) = self.main_process(service) else { return };
        let state = self.state(service);
        (state.ending, state.given_back_kb) = (Ending::Asked, memory);
        let last = if why == Reason::Quiet { state.watched.worked } else { state.watched.used };
        self.ask_to_end(index);
        let (why, after) = (why.word(), Seconds(self.now.since_ms(last)));
        tell!(self, Stop, service, Info, "pid={} why={why} after={after} memory={memory}kB", child.pid);
        self.set_look(service, Tick::NEVER);
    }

    /// Lets a session that stands still go on.
    pub(super) fn thaw(&mut self, service: usize) {
        if self.goes_on(service)
            && let Some(session) = self.session(service)
        {
            signal_session(&[SIGCONT], session);
        }
    }

    /// The main process of a service that runs, and where it stands in the table.
    pub(super) fn main_process(&self, service: usize) -> Option<(usize, Child)> {
        let phase = self.phase(service);
        let is_it = |child: &Child| phase == Phase::Running(child.pid) && usize::from(child.service) == service;
        let index = self.tables.children.iter().position(is_it)?;
        Some((index, *self.tables.children.get(index)?))
    }

    /// Its session.
    pub(super) fn session(&self, service: usize) -> Option<i32> {
        self.main_process(service).map(|(_, child)| child.session)
    }

    /// The session of a service goes on; true: it stood still.
    pub(super) fn goes_on(&mut self, service: usize) -> bool {
        cfg!(feature = "idle") && core::mem::take(&mut self.state(service).watched.frozen) > 0
    }

    /// Lets everybody go on: we are about to go.
    pub(super) fn thaw_all(&mut self) {
        (0..self.plan.services.len()).for_each(|service| self.thaw(service));
    }

    fn set_look(&mut self, service: usize, look: Tick) {
        self.state(service).watched.look = look;
        self.due_at(look);
    }
}

/// When a service that was last seen used and working at these times has slept in enough to be stopped.
fn due(sleep: &Sleep, since: Tick, used: Tick, worked: Tick) -> Tick {
    let after = |at: Tick, ms: u32| if ms == u32::MAX { None } else { Some(at.after_ms(u64::from(ms))) };
    let conditions = after(used, sleep.idle_ms).max(after(worked, sleep.quiet_ms));
    conditions.map_or(Tick::NEVER, |due| due.max(since.after_ms(u64::from(sleep.min_run_ms))))
}

/// The next look: when it is due, or earlier to learn when it was used last.
fn next_look(sleep: &Sleep, now: Tick, since: Tick, used: Tick, worked: Tick) -> Tick {
    let span = u64::from(sleep.idle_ms.min(sleep.quiet_ms));
    let interval = (span / 4).clamp(IDLE_LOOK_MIN_MS, IDLE_LOOK_MAX_MS);
    due(sleep, since, used, worked).min(now.after_ms(interval)).max(now.after_ms(IDLE_LOOK_LEAST_MS))
}

/// Finds out how connections are counted here, for the services that are stopped when they have none, and says so.
///
/// # Errors
/// The name of the first such service whose connections cannot be counted, and the family (`AF_*`) of its socket.
pub fn prepare(plan: &Plan) -> Result<(), (&'static str, u16)> {
    if !cfg!(feature = "idle") {
        return Ok(());
    }
    let mut known = [false; connections::FAMILIES.len()];
    for listener in plan.listeners {
        let Some(spec) = plan.services.get(usize::from(listener.service)) else { continue };
        let policy = plan.policies.get(usize::from(spec.policy));
        // connections that are forwarded are our own
        let counts = spec.backend().is_none() && policy.is_some_and(|policy| policy.sleep.idle_ms != u32::MAX);
        if !counts || !listens(listener.kind) {
            continue;
        }
        let family = crate::plan::address::family(plan.arena.get(listener.address));
        // without IPv6 a bare port is an IPv4 socket
        let fallback = [family, if listener.fallback_v4 { crate::plan::address::INET } else { family }];
        let found = fallback.into_iter().find_map(|family| Some((family, connections::method(family)?)));
        let Some((family, method)) = found else { return Err((plan.arena.text(spec.name), family)) };
        let Some(index) = connections::FAMILIES.iter().position(|known| *known == family) else { continue };
        if let Some(known) = known.get_mut(index)
            && !core::mem::replace(known, true)
        {
            say!(Debug, "idle family={} connections counted by={method}", family_name(family));
        }
    }
    Ok(())
}

/// A family's name for people.
pub fn family_name(family: u16) -> &'static str {
    match family {
        crate::plan::address::INET => "ipv4",
        crate::plan::address::INET6 => "ipv6",
        crate::plan::address::UNIX => "unix",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::NotifyAccess;

    fn sleep(idle_ms: u32, quiet_ms: u32, min_run_ms: u32) -> Sleep {
        let (evict, notify) = (Evict::No, NotifyAccess::None);
        Sleep { idle_ms, quiet_ms, min_run_ms, memory_min_kb: 0, load_max: u32::MAX, connection_rate: 0, evict, notify }
    }

    #[test]
    fn both_conditions_and_the_shortest_run_must_be_over() {
        let never = u32::MAX;
        let at = |sleep: Sleep| due(&sleep, Tick(1000), Tick(5000), Tick(7000));
        assert_eq!(at(sleep(3000, never, 0)), Tick(8000));
        assert_eq!(at(sleep(never, 3000, 0)), Tick(10_000));
        assert_eq!(at(sleep(6000, 3000, 0)), Tick(11_000));
        assert_eq!(at(sleep(3000, never, 20_000)), Tick(21_000));
        assert_eq!(at(sleep(never, never, 20_000)), Tick::NEVER);
    }

    #[test]
    fn looks_come_four_times_in_a_span_and_at_its_end() {
        let look = |idle, now| next_look(&sleep(idle, u32::MAX, 0), Tick(now), Tick(0), Tick(0), Tick(0));
        assert_eq!(look(40_000, 0), Tick(10_000));
        assert_eq!(look(40_000, 35_000), Tick(40_000));
        assert_eq!(look(600_000, 0), Tick(IDLE_LOOK_MAX_MS));
        assert_eq!(look(500, 0), Tick(500));
        assert!(look(0, 70_000) > Tick(70_000), "never at once: that would spin");
    }
}

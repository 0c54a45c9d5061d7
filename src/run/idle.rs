//! Sleep: a service that nobody uses is stopped, and its sockets wake it again.
//!
//! A running service that may sleep has a row here and is looked at from time to time; while nothing runs there is no
//! row, no timer and no look. Connections are counted by the kernel ([`connections`]), which also
//! remembers for a minute those that the service closed first. A datagram leaves an edge in a set that nobody waits on
//! ([`Server::collect_arrivals`]). Only a short visit that the client ended, between two looks, goes unseen.
//!
//! Between a look and a stop somebody may come. So the session is stopped by SIGSTOP first, and looked at again when
//! every thread of it stands still: what came before that is seen now, what comes later stays in the queue, which is
//! ours as well, for the next instance. Then it gets its stop signal, or SIGCONT.

use log::Level;
use rustix::fd::AsFd;

use super::session::{cpu, make_stand_still, memory_kb, signal_session};
use super::stop::SIGCONT;
use super::tables::{Ending, Life, stored};
use super::{Seconds, Server, Tick};
use crate::limits::{
    FREEZE_LOOK_MS, FREEZE_LOOKS, IDLE_LOOK_LEAST_MS, IDLE_LOOK_MAX_MS, IDLE_LOOK_MIN_MS, LOOKS_PER_TURN,
};
use crate::logging::{Kind, say};
use crate::open::connections::{self, Last};
use crate::open::{is_readable, listens};
use crate::plan::{Evict, Plan, Policy, Sleep, SocketKind};
use crate::sys::errno;

/// A running service that may be put to sleep.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    /// Row of the service.
    pub service: u16,
    /// Its main process.
    pub pid: i32,
    /// When it was started.
    pub since: Tick,
    /// When it was last seen to be used.
    pub used: Tick,
    /// When it was last seen to work, or something to wait for it.
    pub worked: Tick,
    /// Something has arrived since the last look.
    pub fresh: bool,
    /// CPU time of the session at the last look, in clock ticks.
    cpu: u64,
    /// Next look.
    look: Tick,
    /// Looks since it was made to stand still; 0: it runs.
    frozen: u8,
    /// Why it is to be stopped, where it stands still.
    why: &'static str,
}

impl Watched {
    /// Whether it stands still, to be looked at again.
    pub(super) const fn is_frozen(&self) -> bool {
        self.frozen > 0
    }
}

impl Server {
    /// A service that may sleep has been started, or was found running.
    pub(super) fn watch(&mut self, service: usize, pid: i32) {
        if !cfg!(feature = "idle") {
            return;
        }
        let now = self.now;
        let state = self.state(service);
        if state.asleep_since != Tick(0) {
            let slept = now.since_ms(core::mem::take(&mut state.asleep_since));
            state.slept_ms = state.slept_ms.saturating_add(slept);
        }
        let Some(policy) = self.policy(service).filter(|policy| policy.sleep.is_watched()) else { return };
        let look = next_look(&policy.sleep, now, now, now, now);
        let row = Watched {
            service: stored(service),
            pid,
            since: now,
            used: now,
            worked: now,
            fresh: false,
            cpu: 0,
            look,
            frozen: 0,
            why: "",
        };
        let _ = self.tables.watched.push(row); // as many rows as services
        self.due_at(look);
        self.watch_pressure();
    }

    /// The main process of a service has ended.
    pub(super) fn unwatch(&mut self, pid: i32) {
        self.thaw(pid);
        self.tables.watched.retain(|row| row.pid != pid);
        self.watch_pressure();
    }

    /// Looks at the services whose time has come, a bounded number; the others stay due.
    pub(super) fn look_for_idle(&mut self) {
        if self.stopping {
            return; // whoever stands still has been let go on, and stays so
        }
        let mut looks = 0;
        for index in 0..self.tables.watched.len() {
            match self.tables.watched.get(index).map(|row| row.look) {
                Some(look) if look <= self.now && looks < LOOKS_PER_TURN => {
                    looks += 1;
                    self.look(index);
                }
                look => self.due_at(look.unwrap_or(Tick::NEVER)),
            }
        }
    }

    fn look(&mut self, index: usize) {
        let Some(&row) = self.tables.watched.get(index) else { return };
        let Some(policy) = self.policy(usize::from(row.service)) else { return };
        if !self.is_running(row.pid) {
            return self.set_look(index, Tick::NEVER); // it is being stopped
        }
        if row.frozen > 0 {
            return self.look_at_frozen(index);
        }
        self.observe(index);
        if policy.sleep.evict() != Evict::No {
            self.look_at_memory();
        }
        let Some(&row) = self.tables.watched.get(index) else { return };
        if row.frozen > 0 {
            return; // it gives way
        }
        match due(&policy.sleep, row.since, row.used, row.worked) {
            due if due > self.now => {
                let next = next_look(&policy.sleep, self.now, row.since, row.used, row.worked);
                self.set_look(index, next);
            }
            _ => self.freeze(index, if policy.sleep.idle_ms == u32::MAX { "quiet" } else { "idle" }),
        }
    }

    /// Looks at a service and notes whether it is used, and whether it works. True: somebody is there just now.
    pub(super) fn observe(&mut self, index: usize) -> bool {
        self.collect_arrivals();
        let now = self.now;
        let Some(&row) = self.tables.watched.get(index) else { return false };
        let Some(policy) = self.policy(usize::from(row.service)) else { return false };
        let used = match self.last_connection(usize::from(row.service), policy) {
            _ if row.fresh => now,
            Last::Now => now,
            Last::Ago(ms) => Tick(now.0.saturating_sub(u64::from(ms))),
            Last::Unknown => row.used,
        };
        let quiet = policy.sleep.quiet_ms != u32::MAX;
        let cpu = if quiet { cpu(self.session(row.pid)) } else { 0 };
        let worked = quiet && (row.fresh || cpu != row.cpu || self.is_waited_for(usize::from(row.service)));
        let Some(row) = self.tables.watched.get_mut(index) else { return false };
        (row.fresh, row.cpu) = (false, cpu);
        row.used = row.used.max(used);
        if worked {
            row.worked = now;
        }
        used == now
    }

    /// For how long the service of a main process has not been used, or not worked, when it may sleep; a look of its own.
    pub(super) fn unused_ms(&mut self, pid: i32) -> Option<u64> {
        let is_its = |row: &Watched| cfg!(feature = "idle") && row.pid == pid && !row.is_frozen();
        let index = self.tables.watched.iter().position(is_its)?;
        self.observe(index);
        self.tables.watched.get(index).map(|row| self.now.since_ms(row.used.max(row.worked)))
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
            self.record(Kind::Other, service, Level::Warn, format_args!("connections cannot be counted why=\"{why}\""));
        }
        last
    }

    /// Makes the whole session stand still, for the second look.
    pub(super) fn freeze(&mut self, index: usize, why: &'static str) {
        if let Some(pid) =
            self.tables.watched.get(index).filter(|row| self.forwards(row.service.into())).map(|row| row.pid)
        {
            // whoever comes from now on comes to us
            return self.put_to_sleep(index, why, memory_kb(self.session(pid)));
        }
        let look = self.now.after_ms(FREEZE_LOOK_MS);
        let Some(row) = self.tables.watched.get_mut(index) else { return };
        (row.frozen, row.why, row.look) = (1, why, look);
        let pid = row.pid;
        make_stand_still(self.session(pid));
        self.due_at(look);
    }

    fn look_at_frozen(&mut self, index: usize) {
        let Some(&row) = self.tables.watched.get(index) else { return };
        let Some(policy) = self.policy(usize::from(row.service)) else { return };
        let session = self.session(row.pid);
        let stopped = make_stand_still(session); // one may have been born in between
        if !stopped && row.frozen < FREEZE_LOOKS {
            if let Some(row) = self.tables.watched.get_mut(index) {
                row.frozen += 1;
            }
            return self.set_look(index, self.now.after_ms(FREEZE_LOOK_MS));
        }
        let memory = memory_kb(session); // takes a while: before the look, which the signal is to follow at once
        self.collect_arrivals();
        let fresh = self.tables.watched.get(index).is_some_and(|row| row.fresh);
        let service = usize::from(row.service);
        if stopped && !fresh && self.last_connection(service, policy) != Last::Now && !self.is_waited_for(service) {
            return self.put_to_sleep(index, row.why, memory);
        }
        self.thaw(row.pid);
        let now = self.now;
        if let Some(row) = self.tables.watched.get_mut(index) {
            (row.used, row.worked, row.fresh) = (now, now, false);
        }
        self.set_look(index, next_look(&policy.sleep, now, row.since, now, now));
        // in the second case it may never sleep
        let (level, why) =
            if stopped { (Level::Debug, "a client came") } else { (Level::Warn, "it does not stand still") };
        self.record(Kind::Stop, service, level, format_args!("pid={} not now: {why}", row.pid));
    }

    /// Asks a service to end that takes so many kB, because nobody uses it or because its memory is needed.
    pub(super) fn put_to_sleep(&mut self, index: usize, why: &'static str, memory: u64) {
        let Some(&row) = self.tables.watched.get(index) else { return };
        let Some(child) = self.tables.children.iter().position(|child| child.pid == row.pid) else { return };
        let service = usize::from(row.service);
        let state = self.state(service);
        (state.ending, state.given_back_kb) = (Ending::Asked, memory);
        self.ask_to_end(child);
        let last = if why == "quiet" { row.worked } else { row.used };
        let after = Seconds(self.now.since_ms(last));
        self.record(
            Kind::Stop,
            service,
            Level::Info,
            format_args!("pid={} why={why} after={after} memory={memory}kB", row.pid),
        );
        self.set_look(index, Tick::NEVER);
    }

    /// Lets a session that stands still go on.
    pub(super) fn thaw(&mut self, pid: i32) {
        if self.goes_on(pid) {
            signal_session(&[SIGCONT], self.session(pid));
        }
    }

    /// The session of a main process.
    pub(super) fn session(&self, pid: i32) -> i32 {
        self.tables.children.iter().find(|child| child.pid == pid).map_or(pid, |child| child.session)
    }

    /// A session goes on; true: it stood still.
    pub(super) fn goes_on(&mut self, pid: i32) -> bool {
        let row = self.tables.watched.iter_mut().find(|row| row.pid == pid);
        row.is_some_and(|row| core::mem::take(&mut row.frozen) > 0)
    }

    /// Lets everybody go on: we are about to go.
    pub(super) fn thaw_all(&mut self) {
        for index in 0..self.tables.watched.len() {
            if let Some(pid) = self.tables.watched.get(index).map(|row| row.pid) {
                self.thaw(pid);
            }
        }
    }

    pub(super) fn is_running(&self, pid: i32) -> bool {
        self.tables.children.iter().any(|child| child.pid == pid && child.stage == Life::Running)
    }

    fn set_look(&mut self, index: usize, look: Tick) {
        if let Some(row) = self.tables.watched.get_mut(index) {
            row.look = look;
        }
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

//! Memory and load: a start that the machine has no room for waits, with its clients in the queue, and services that
//! allow it give way, the longest idle one first.
//!
//! The kernel tells of pressure by a PSI trigger where it can, which is in the epoll set while somebody could give way.
//! What is available is read when a start is wanted, and while one waits.

use core::ffi::CStr;
use heapless::Vec;
use rustix::event::epoll::{self, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::idle::Reason;
use super::session::memory_kb;
use super::tables::{Ending, Life};
use super::{Phase, Seconds, Server, Tick, Token, Why};
use crate::limits::{GROWING, GROWING_MS, LOAD_LOOK_MS, MEMORY_LOOK_MS};
use crate::logging::{insist, say};
use crate::plan::{Evict, Plan, Policy, sleep::hundredths};
use crate::sys::file;
use crate::sys::proc::{c_str, field, for_each_of, number, read};
use crate::text::{Line, split_last};

/// "Somebody waited for memory for 150 ms in 2 s": the shortest window that needs no privilege.
const TRIGGER: &[u8] = b"some 150000 2000000\0";

/// Files of the control group whose memory limit holds for us; all empty: there is none.
pub struct Group {
    limit: Line<192>,
    usage: Line<192>,
    stat: Line<192>,
    pressure: Line<192>,
}

impl Group {
    /// No limit.
    pub const NONE: Self = Self { limit: Line::new(), usage: Line::new(), stat: Line::new(), pressure: Line::new() };

    /// Finds the control group with a memory limit that this process is in (cgroups(7)), where a service cares for
    /// memory: the innermost that has one, as a supervisor or a container may have put the limit further up. Allocates.
    pub fn find(&mut self, plan: &Plan) {
        let cares = |sleep: &crate::plan::Sleep| sleep.memory_min_kb() > 0 || sleep.evict() != Evict::No;
        if !plan.policies.iter().any(|policy| cares(&policy.sleep)) {
            return;
        }
        let text = file::text("/proc/self/cgroup");
        for line in text.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(mut path)) = (fields.next(), fields.next()) else { continue };
            let (root, limit, usage) = match controllers {
                "" => ("/sys/fs/cgroup", "memory.max", "memory.current"),
                "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
                _ => continue,
            };
            // in a container the path may be that of the host; then the root that is seen is the group
            loop {
                path = path.trim_end_matches('/');
                let folder = [root, path, "/"].concat();
                if is_limited(&[&folder, limit].concat()) && self.name(&folder, limit, usage) {
                    return;
                }
                let Some((above, _)) = split_last(path, b'/') else { break };
                path = above;
            }
            *self = Self::NONE;
        }
    }

    /// False: a path is too long.
    fn name(&mut self, folder: &str, limit: &str, usage: &str) -> bool {
        *self = Self::NONE;
        let Self { limit: to_limit, usage: to_usage, stat, pressure } = self;
        let files = [(to_limit, limit), (to_usage, usage), (stat, "memory.stat"), (pressure, "memory.pressure")];
        files.into_iter().all(|(to, file)| {
            [folder, file, "\0"].into_iter().for_each(|part| to.push_str(part));
            !to.is_cut()
        })
    }

    /// kB that the group may still take; its file cache can go and does not count as taken.
    fn available_kb(&self) -> Option<u64> {
        let mut text = [0; 4096];
        let limit = number(read(c_str(&self.limit), &mut text)?)?; // "max" is none
        let usage = number(read(c_str(&self.usage), &mut text)?)?;
        let stat = read(c_str(&self.stat), &mut text)?;
        let cache = field(stat, b"total_inactive_file ").or_else(|| field(stat, b"inactive_file ")).unwrap_or(0);
        Some(limit.saturating_sub(usage.saturating_sub(cache)) / 1024)
    }
}

/// Whether a file has a limit: "max" is none, nor are the 8 EB of cgroup v1.
fn is_limited(file: &str) -> bool {
    const ALL: u64 = 1 << 60;
    number(file::text(file).as_bytes()).is_some_and(|limit| limit < ALL)
}

/// kB available to us: on the machine, or less in a control group. `u64::MAX`: the kernel does not tell.
pub(super) fn available_kb(group: &Group) -> u64 {
    let machine = read(c"/proc/meminfo", &mut [0; 512]).map_or(u64::MAX, machine_kb);
    machine.min(group.available_kb().unwrap_or(u64::MAX))
}

/// kB available on the machine (proc_meminfo(5)): MemAvailable (Linux 3.14), but no more than what is free and what
/// files are kept in. The difference is slab, which a small board does not get back in time: with 77 MB, 6 MB of it
/// were promised, and somebody was killed for them.
fn machine_kb(text: &[u8]) -> u64 {
    let field = |label| field(text, label);
    let parts = [field(b"MemFree:"), field(b"Active(file):"), field(b"Inactive(file):")];
    let at_once = parts.into_iter().try_fold(0, |sum: u64, part| sum.checked_add(part?));
    field(b"MemAvailable:").unwrap_or(u64::MAX).min(at_once.unwrap_or(u64::MAX))
}

/// Load average of the last minute in hundredths (proc_loadavg(5)).
fn load() -> u32 {
    let mut text = [0; 64];
    let text = read(c"/proc/loadavg", &mut text).unwrap_or(&[]);
    text.split(|&byte| byte == b' ').next().and_then(hundredths).unwrap_or(0)
}

/// The PSI trigger of the control group that limits us, or else of the machine, where a service may give way and the
/// kernel has it.
pub(super) fn open(plan: &Plan, group: &Group) -> Option<OwnedFd> {
    if plan.policies.iter().all(|policy| policy.sleep.evict() == Evict::No) {
        return None;
    }
    trigger(c_str(&group.pressure)).or_else(|| trigger(c"/proc/pressure/memory"))
}

fn trigger(file: &CStr) -> Option<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let trigger = insist(|| openat(CWD, file, flags, Mode::empty())).ok()?;
    rustix::io::write(&trigger, TRIGGER).ok()?;
    Some(trigger)
}

/// The largest MemoryAvailableMin= in kB: below it memory counts as short.
pub(super) fn reserve_kb(plan: &Plan) -> u64 {
    plan.policies.iter().map(|policy| policy.sleep.memory_min_kb()).max().unwrap_or(0)
}

impl Server {
    /// Whether a start has to wait for memory or for the load to fall; then the service rests, and tries again.
    pub(super) fn is_held_back(&mut self, service: usize, policy: &Policy) -> bool {
        let (memory, most) = (policy.sleep.memory_min_kb(), policy.sleep.load_max());
        let (why, look) = if most != u32::MAX && load() >= most {
            (Why::Load, LOAD_LOOK_MS)
        } else if memory > 0 && available_kb(self.tables.group).saturating_sub(self.growing_kb()) < memory {
            (Why::Memory, MEMORY_LOOK_MS)
        } else {
            self.state(service).held = false;
            return false;
        };
        if !core::mem::replace(&mut self.state(service).held, true) {
            tell!(self, Rest, service, Warn, "why={}; clients wait", why.word());
        }
        let until = self.now.after_ms(look);
        self.rest(service, until, why);
        if why == Why::Memory {
            self.evict(service);
        }
        true
    }

    /// kB that services which have just been started are still going to take. Without this, knocks at one moment would
    /// all find the same room.
    fn growing_kb(&self) -> u64 {
        let (mut sessions, mut needs) = (Vec::<i32, GROWING>::new(), Vec::<u64, GROWING>::new());
        for child in self.tables.children.iter().filter(|child| self.now.since_ms(child.since) < GROWING_MS) {
            let need = self.policy(usize::from(child.service)).map_or(0, |policy| policy.sleep.memory_min_kb());
            if need > 0 && (sessions.push(child.session).is_err() || needs.push(need).is_err()) {
                break;
            }
        }
        if !sessions.is_empty() {
            for_each_of(&mut |session| sessions.contains(&session), &mut |process| {
                let index = sessions.iter().position(|session| *session == process.session);
                if let Some(need) = index.and_then(|index| needs.get_mut(index)) {
                    *need = need.saturating_sub(process.resident_kb());
                }
                true
            });
        }
        needs.iter().fold(0, |sum: u64, need| sum.saturating_add(*need))
    }

    /// Memory may have become free: those that wait for it look again.
    pub(super) fn on_freed(&mut self) {
        for service in 0..self.plan.services.len() {
            if let Phase::Resting(_, Why::Memory) = self.phase(service) {
                let now = self.now;
                self.state(service).phase = Phase::Resting(now, Why::Memory);
                self.due_at(now);
            }
        }
    }

    /// The kernel says that memory is short, or that the control group is gone: that it would say for ever, so memory
    /// is looked at without its help from then on.
    #[inline(never)] // its buffers are no part of the loop's own frame
    pub(super) fn on_pressure(&mut self, flags: EventFlags) {
        if flags.contains(EventFlags::ERR) {
            (self.pressure, self.pressure_armed) = (None, false); // closing it takes it out of epoll
            return;
        }
        self.evict(usize::MAX);
    }

    /// Without PSI: memory is looked at when a service that could give way is.
    pub(super) fn look_at_memory(&mut self) {
        if self.pressure.is_none() && self.reserve_kb > 0 && available_kb(self.tables.group) < self.reserve_kb {
            self.evict(usize::MAX);
        }
    }

    /// The trigger wakes us only while somebody could give way.
    pub(super) fn watch_pressure(&mut self) {
        let gives_way = |policy: &Policy| policy.sleep.evict() != Evict::No;
        let wanted = self.pressure.is_some()
            && (0..self.plan.services.len()).any(|service| {
                self.state_of(service).watched.is_looked_at() && self.policy(service).is_some_and(gives_way)
            });
        let Some(trigger) = self.pressure.as_ref().filter(|_| wanted != self.pressure_armed) else { return };
        let done = if wanted {
            Token::Pressure.watch(&self.epoll, trigger.as_fd(), EventFlags::PRI)
        } else {
            epoll::delete(&self.epoll, trigger)
        };
        if done.is_ok() {
            self.pressure_armed = wanted;
        }
    }

    /// Stops one service so that another one has room: the longest idle one, or else one with connections that allows
    /// it. One at a time: how much it frees shows when it has ended.
    fn evict(&mut self, except: usize) {
        if self.stopping {
            return;
        }
        let mut best: Option<(bool, Tick, usize)> = None;
        for service in 0..self.plan.services.len() {
            let state = self.state_of(service);
            if !state.watched.is_looked_at() {
                continue;
            }
            if state.ending == Ending::Asked || state.watched.is_frozen() {
                return; // one is about to go
            }
            let (Some(policy), Some((_, child))) = (self.policy(service), self.main_process(service)) else { continue };
            let ran = self.now.since_ms(child.since) >= u64::from(policy.sleep.min_run_ms);
            if policy.sleep.evict() == Evict::No || service == except || child.stage != Life::Running || !ran {
                continue;
            }
            let connected = self.observe(service);
            if connected && policy.sleep.evict() == Evict::Idle {
                continue;
            }
            let candidate = (connected, self.state_of(service).watched.used, service);
            best = Some(best.map_or(candidate, |best| best.min(candidate)));
        }
        match best {
            Some((false, used, service)) => {
                let idle = Seconds(self.now.since_ms(used));
                say!(Debug, "memory is short: idle={idle}");
                self.freeze(service, Reason::Memory);
            }
            Some((true, _, service)) => {
                let memory = self.session(service).map_or(0, memory_kb);
                self.put_to_sleep(service, Reason::Memory, memory);
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slab_does_not_count_as_available() {
        let text = b"MemFree: 20224 kB\nMemAvailable: 26456 kB\nActive(file): 8 kB\nInactive(file): 100 kB\n";
        assert_eq!(machine_kb(text), 20_332);
        assert_eq!(machine_kb(b"MemFree: 20224 kB\nMemAvailable: 26456 kB\n"), 26_456, "not told");
        assert_eq!(machine_kb(b""), u64::MAX);
    }

    #[test]
    fn this_machine_has_memory_and_a_load() {
        let available = available_kb(&Group::NONE);
        assert!(available > 1000 && available < u64::MAX);
        assert!(load() < 1_000_000);
    }
}

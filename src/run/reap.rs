//! Children that end: reaped in a bounded loop before anything new is started, orphans too.

use log::Level;
use rustix::io::Errno;
use rustix::process::{WaitOptions, wait};

use super::end::End;
use super::history::Event;
use super::session::is_alive;
use super::stop::SIGKILL;
use super::tables::{Ending, Life};
use super::{Child, Phase, Seconds, Server};
use crate::limits::{BACKGROUND_MS, BACKOFF_RESET_MS, LEFTOVER_CEILING_MS, LEFTOVER_LOOK_MS, REAPS_PER_TURN};
use crate::logging::Kind;
use crate::plan::KillMode;
use crate::sys::process::send_signal;

impl Server {
    /// Children have ended: reaps them, at most a fixed number, the rest in the next turn. Where `hurried`, orphans
    /// that nothing waits for are left for later.
    pub(super) fn on_children(&mut self, hurried: bool) {
        self.orphans = false;
        for _ in 0..REAPS_PER_TURN {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    self.on_end(pid.as_raw_nonzero().get(), End::of(status));
                    if hurried && self.knows_no_child() {
                        self.orphans = true;
                        return;
                    }
                }
                Err(Errno::INTR) => {}
                Ok(None) => return self.look_for_background(),
                Err(_) => {
                    self.ended_clean = false; // ECHILD: none left, in the background or elsewhere
                    return;
                }
            }
        }
        self.reap_again = true;
        self.due_at(self.now);
    }

    /// Only orphans can be left.
    fn knows_no_child(&self) -> bool {
        self.tables.children.is_empty() && self.checker.is_none() && !self.ended_clean
    }

    pub(super) fn on_end(&mut self, pid: i32, end: End) {
        if self.on_checker_end(pid, end) {
            return;
        }
        let Some(index) = self.tables.children.iter().position(|child| child.pid == pid && !child.is_leftover()) else {
            // an orphan that was ours to reap (PID 1, subreaper): perhaps the last one of its session, see
            // `check_leftovers`
            return self.due_at(self.now);
        };
        let Some(child) = self.tables.children.get(index) else { return };
        let (service, ran) = (usize::from(child.service), self.now.since_ms(child.since));
        let Some(policy) = self.policy(service) else { return };
        let asked = self.stopping || self.state(service).ending == Ending::Asked;
        let clean = asked || policy.ignore_failure || end.is_clean(self.plan.arena.get(policy.success));
        let level = match (!self.is_one_process(service), clean) {
            (true, true) => Level::Debug,
            (false, true) | (true, false) => Level::Info,
            (false, false) => Level::Warn,
        };
        self.note(service, Event::exit(pid, end, ran));
        if let Some(state) = self.tables.services.get_mut(service) {
            state.ended += 1;
            (state.last_end, state.last_ran_ms, state.last_ended) = (end, ran, self.now);
        }
        self.record(Kind::Exit, service, level, format_args!("pid={pid} {end} ran={}", Seconds(ran)));
        if self.phase(service) != Phase::Running(pid) {
            self.forget(index); // a connection's; also of a service that had Accept=yes before a reload
            return;
        }
        let Some(&child) = self.tables.children.get(index) else { return };
        self.unwatch(service);
        // workers that outlive their main process would take the next clients
        let looked_after = matches!(policy.kill_mode, KillMode::Session | KillMode::Mixed);
        if looked_after && child.stage != Life::Killed && send_signal(-child.session, 0).is_ok() {
            if let Some(child) = self.child(index) {
                child.end = end;
            }
            let deadline = self.now.after_ms(BACKGROUND_MS);
            self.set_life(index, Life::Left, deadline);
            self.due_at(self.now.after_ms(LEFTOVER_LOOK_MS));
            if asked || child.timed_out || !may_be_in_background(end, ran) {
                self.ask_leftovers(index);
            }
            return;
        }
        self.forget(index);
        self.ended_clean |= may_be_in_background(end, ran);
        self.run_over(&Child { end, ..child });
    }

    /// Asks those to end whom a main process has left behind.
    pub(super) fn ask_leftovers(&mut self, index: usize) {
        let Some(&child) = self.tables.children.get(index) else { return };
        let service = usize::from(child.service);
        let Some(policy) = self.policy(service) else { return };
        let signal = if policy.kill_mode == KillMode::Mixed { SIGKILL } else { policy.kill_signal };
        if send_signal(-child.session, signal).is_ok() {
            tell!(self, Stop, service, Info, "session={} why=main process ended", child.session);
        }
        let deadline = self.stop_deadline(policy);
        self.set_life(index, Life::LeftAsked, deadline);
        self.check_leftovers();
    }

    /// Sessions whose main process has ended: the service goes on when nothing of them is left.
    pub(super) fn check_leftovers(&mut self) {
        let mut index = 0;
        while let Some(&child) = self.tables.children.get(index) {
            if child.is_leftover() && !is_alive(child.session) {
                self.forget(index);
                self.ended_clean |= child.stage == Life::Left;
                self.run_over(&child);
                self.look_for_background();
                continue;
            }
            index += 1;
            if child.is_leftover() {
                // the end of one that is no child of ours is told to its parent only
                let pause = self.now.since_ms(self.state(child.service.into()).last_ended) / 4;
                self.due_at(self.now.after_ms(pause.clamp(LEFTOVER_LOOK_MS, LEFTOVER_CEILING_MS)));
            }
        }
    }

    /// Takes a child out of the table.
    fn forget(&mut self, index: usize) {
        if index >= self.tables.children.len() {
            return;
        }
        let child = self.tables.children.swap_remove(index);
        if cfg!(feature = "pressure") && self.reserve_kb > 0 {
            self.on_freed();
        }
        let state = self.state(usize::from(child.service));
        state.live = state.live.saturating_sub(1);
        if state.phase == Phase::Running(child.pid) {
            state.phase = Phase::Waiting;
        }
    }
}

/// Whether a main process that has ended so may have left one in the background that goes on for it.
fn may_be_in_background(end: End, ran_ms: u64) -> bool {
    matches!(end, End::Status(0) | End::Unknown) && ran_ms < BACKOFF_RESET_MS
}

//! Stopping: ask, wait, kill. One child that ran too long, or everything when the program ends.

use super::history::{Event, What};
use super::session::{signal_session, signal_sessions};
use super::tables::Life;
use super::{Child, Phase, Server, Tick};
use crate::logging::say;
use crate::open;
use crate::plan::{KillMode, Policy};
use crate::sys::process::send_signal;
use crate::sys::signal;

/// The signal that nobody can refuse.
pub(super) const SIGKILL: u8 = 9;
/// Lets a stopped process handle its signal (systemd.kill(5)).
pub(super) const SIGCONT: u8 = signal::number(libc::SIGCONT);

impl Server {
    /// When a stop signal that is sent now has had its time.
    pub(super) fn stop_deadline(&self, policy: &Policy) -> Tick {
        match policy.stop_timeout_ms {
            0 | u32::MAX => Tick::NEVER,
            ms => self.now.after_ms(u64::from(ms)),
        }
    }

    /// A deadline of a child has passed: its longest run is over, or it has not ended when asked.
    pub(super) fn on_child_deadline(&mut self, index: usize) {
        let Some(&child) = self.tables.children.get(index) else { return };
        let service = usize::from(child.service);
        match child.stage {
            Life::Running => {
                tell!(self, Stop, service, Warn, "pid={} why=runtime-max", child.pid);
                if let Some(child) = self.child(index) {
                    child.timed_out = true;
                }
                self.ask_to_end(index);
            }
            Life::Left => self.ask_leftovers(index),
            Life::Stopping | Life::LeftAsked | Life::Killed => {
                let kills = self.policy(service).is_some_and(|policy| policy.send_sigkill);
                let what = if kills { " signal=KILL" } else { ", left alone" };
                tell!(self, Stop, service, Warn, "pid={} why=timeout{what}", child.pid);
                if kills {
                    self.kill(index);
                } else {
                    self.set_life(index, child.stage, Tick::NEVER);
                }
            }
        }
    }

    /// Sends KillSignal= to those whom KillMode= names, and SIGCONT.
    pub(super) fn ask_to_end(&mut self, index: usize) {
        let Some(&child) = self.tables.children.get(index) else { return };
        let service = usize::from(child.service);
        let Some(policy) = self.policy(service) else { return };
        self.note(service, Event::of(What::Stop, child.pid));
        self.backend_ends(service, false);
        match policy.kill_mode {
            KillMode::None => return self.set_life(index, Life::Stopping, Tick::NEVER),
            KillMode::Session => {
                signal_session(&[policy.kill_signal, SIGCONT], child.session);
                if self.phase(service) == Phase::Running(child.pid) {
                    self.goes_on(service);
                }
            }
            KillMode::Mixed | KillMode::Process => {
                let _ = send_signal(child.pid, policy.kill_signal); // ESRCH: about to be reaped
                let _ = send_signal(child.pid, SIGCONT);
            }
        }
        self.thaw(service);
        let deadline = self.stop_deadline(policy);
        self.set_life(index, Life::Stopping, deadline);
    }

    /// Sends SIGKILL to those whom KillMode= names.
    fn kill(&mut self, index: usize) {
        let Some(&child) = self.tables.children.get(index) else { return };
        let Some(policy) = self.policy(usize::from(child.service)) else { return };
        match policy.kill_mode {
            KillMode::None => {}
            KillMode::Session | KillMode::Mixed => signal_session(&[SIGKILL], child.session),
            KillMode::Process => {
                let _ = send_signal(child.pid, SIGKILL); // ESRCH: about to be reaped
            }
        }
        let stage = if child.is_leftover() { child.stage } else { Life::Killed };
        self.set_life(index, stage, Tick::NEVER);
    }

    pub(super) fn set_life(&mut self, index: usize, stage: Life, deadline: Tick) {
        if let Some(row) = self.child(index) {
            (row.stage, row.deadline) = (stage, deadline);
        }
        self.due_at(deadline);
    }

    /// SIGTERM or SIGINT. The first asks every service to end, in order, and waits for them; the second kills.
    pub(super) fn on_terminate(&mut self) {
        if self.stopping {
            say!(Warn, "stop again: killing children={}", self.tables.children.len());
            let children = &self.tables.children;
            if !signal_sessions(&[SIGKILL], &mut |of| children.iter().any(|child| child.session == of)) {
                children.iter().for_each(|child| signal_session(&[SIGKILL], child.session));
            }
            self.leave_children = true;
            return;
        }
        say!(Info, "stop children={}", self.tables.children.len());
        let _ = self.notify.stopping("stopping services"); // nobody may be listening
        self.stopping = true;
        self.close_listeners();
        self.end_children(None);
    }

    /// Asks the running children of a service, or all, to end. How many there are.
    pub(super) fn end_children(&mut self, service: Option<usize>) -> usize {
        let mut count = 0;
        for index in 0..self.tables.children.len() {
            let Some(child) = self.tables.children.get(index) else { break };
            if child.stage == Life::Running && service.is_none_or(|service| usize::from(child.service) == service) {
                self.ask_to_end(index);
                count += 1;
            }
        }
        count
    }

    /// SIGQUIT: goes at once and leaves the services running.
    pub(super) fn on_quit(&mut self) {
        say!(Info, "quit children={}, left running", self.tables.children.len());
        let _ = self.notify.stopping("leaving services running"); // nobody may be listening
        self.stopping = true;
        self.leave_children = true;
        self.thaw_all();
        self.close_listeners();
    }

    fn close_listeners(&mut self) {
        for service in 0..self.plan.services.len() {
            self.disarm(service);
        }
        self.tables.parked.clear();
        self.tables.internal.clear();
        self.end_forwarding(None, true);
        let plan = self.plan;
        for (row, listener) in self.tables.listeners.iter_mut().enumerate() {
            if let Some(opened) = listener.opened.take() {
                open::remove(plan, row, opened.identity);
            }
        }
    }

    /// Whether the program may end now.
    pub(super) fn is_over(&self) -> bool {
        let kept = |child: &Child| {
            // not to be signalled, or not to be killed and out of time, of which there may be no end
            let policy = self.policy(usize::from(child.service));
            let given_up = child.deadline == Tick::NEVER && child.stage != Life::Running;
            let ends = |p: &Policy| self.stop_deadline(p) != Tick::NEVER;
            policy.is_some_and(|p| p.kill_mode == KillMode::None || !p.send_sigkill && given_up && ends(p))
        };
        self.stopping && (self.leave_children || self.tables.children.iter().all(kept))
    }
}

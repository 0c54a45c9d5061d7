//! Services that put themselves into the background. The process that was started ends at once, but its child goes on
//! with the socket; arming the socket again would make two acceptors. Orphans come to us (`PR_SET_CHILD_SUBREAPER`),
//! so the one that holds the socket takes the place of the process that was started.

use rustix::fs::fstat;

use super::accept::run_deadline;
use super::{Child, Phase, Server};
use crate::open::holder::holds;
use crate::plan::{KillMode, Policy};
use crate::sys::proc::{Process, for_each_of};
use crate::sys::process::session_of;

impl Server {
    /// Nothing more to reap, but there are children: are all of them known? An unknown one that holds a socket of a
    /// service that waits or rests is this service in the background.
    pub(super) fn look_for_background(&mut self) {
        if core::mem::take(&mut self.ended_clean) && !self.stopping && cfg!(feature = "takeover") {
            self.find_background();
        }
    }

    #[inline(never)] // its buffers would lie on the stack whenever a child ends
    fn find_background(&mut self) {
        let own = i32::try_from(self.main_pid).unwrap_or(0);
        let mut orphans: heapless::Vec<Process, 16> = heapless::Vec::new();
        let children = &self.tables.children;
        for_each_of(&mut |_| true, &mut |process| {
            let known = || children.iter().any(|child| child.pid == process.pid || child.session == process.session);
            process.parent != own || known() || orphans.push(process).is_ok()
        });
        for orphan in orphans {
            if let Some(service) = self.service_held_by(orphan.pid) {
                self.adopt_background(service, orphan);
            }
        }
    }

    /// The service with Accept=no of which nothing runs while this process holds one of its sockets.
    fn service_held_by(&mut self, pid: i32) -> Option<usize> {
        for service in 0..self.plan.services.len() {
            if matches!(self.phase(service), Phase::Running(_) | Phase::Paused)
                || self.policy(service).is_none_or(left_alone)
            {
                continue;
            }
            for row in self.listeners_of(service) {
                let opened = self.tables.opened(row);
                let inode = opened.and_then(|opened| fstat(&opened.socket).ok()).map(|status| status.st_ino);
                if inode.is_some_and(|inode| holds(pid, inode)) {
                    return Some(service);
                }
            }
        }
        None
    }

    fn adopt_background(&mut self, service: usize, orphan: Process) {
        let Some(policy) = self.policy(service) else { return };
        let pid = orphan.pid;
        // one that has forked twice (daemon(7)) does not lead its session, and who did has gone; ours is not its own
        let foreign = orphan.session > 1 && session_of(0) != Some(orphan.session);
        let session = if foreign { orphan.session } else { pid };
        let child = Child { session, ..Child::new(pid, service, self.now, run_deadline(policy, self.now)) };
        if !self.runs_already(service, child) {
            return;
        }
        let state = self.state(service);
        state.ended = state.ended.saturating_sub(1); // that run goes on
        let advice = "the program went into the background; use its foreground option";
        tell!(self, Start, service, Warn, "pid={pid} why=background: {advice}");
    }

    /// A process that we have not started just now takes the place of a service that waits. False: there is no room.
    pub(super) fn runs_already(&mut self, service: usize, child: Child) -> bool {
        if self.tables.children.push(child).is_err() {
            return false;
        }
        self.disarm(service);
        self.due_at(child.deadline);
        let state = self.state(service);
        state.phase = Phase::Running(child.pid);
        state.live += 1;
        self.suspect(service);
        self.watch(service);
        true
    }
}

/// Whether nobody looks after the processes of a service: they belong to connections, or KillMode=none says so, as for
/// those of inetd, whose programs answer one datagram in a child of their own.
fn left_alone(policy: &Policy) -> bool {
    policy.accept || policy.kill_mode == KillMode::None
}

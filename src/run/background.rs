//! Services that put themselves into the background. The process that was started ends at once, but its child goes on
//! with the socket; arming the socket again would make two acceptors. Orphans come to us (`PR_SET_CHILD_SUBREAPER`),
//! so the one that holds the socket takes the place of the process that was started.

use core::mem::MaybeUninit;
use log::Level;
use rustix::fs::{CWD, OFlags, RawDir, fstat, readlinkat_raw};

use super::accept::run_deadline;
use super::session::{Process, for_each_process, open_in};
use super::tables::Life;
use super::{Child, Phase, Server};
use crate::logging::Kind;
use crate::peer::Source;

impl Server {
    /// Nothing more to reap, but there are children: are all of them known? An unknown one that holds a socket of a
    /// service that waits is this service in the background.
    pub(super) fn look_for_background(&mut self) {
        if !core::mem::take(&mut self.ended_clean) || self.stopping {
            return;
        }
        let own = i32::try_from(self.main_pid).unwrap_or(0);
        let mut orphans: heapless::Vec<Process, 16> = heapless::Vec::new();
        let children = &self.tables.children;
        for_each_process(&mut |process| {
            let known = || children.iter().any(|child| child.pid == process.pid || child.pid == process.session);
            process.parent != own || known() || orphans.push(process).is_ok()
        });
        for orphan in orphans {
            if let Some(service) = self.service_held_by(orphan.pid) {
                self.adopt_background(service, orphan);
            }
        }
    }

    /// The service with Accept=no that waits while this process holds one of its sockets.
    fn service_held_by(&mut self, pid: i32) -> Option<usize> {
        for service in 0..self.plan.services.len() {
            if self.phase(service) != Phase::Waiting || self.policy(service).is_none_or(|policy| policy.accept) {
                continue;
            }
            for row in self.listeners_of(service) {
                let opened = self.tables.listeners.get(row).and_then(|listener| listener.opened.as_ref());
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
        let (now, pid) = (self.now, orphan.pid);
        let deadline = run_deadline(policy, now);
        let row = u16::try_from(service).unwrap_or(u16::MAX);
        let child = Child { pid, service: row, stage: Life::Running, since: now, deadline, source: Source::default() };
        if self.tables.children.push(child).is_err() {
            return;
        }
        self.disarm(service);
        self.due_at(deadline);
        if let Some(state) = self.state(service) {
            state.phase = Phase::Running(pid);
            state.live += 1;
        }
        let advice = "the program went into the background; use its foreground option";
        self.record(Kind::Start, service, Level::Warn, format_args!("pid={pid} why=background: {advice}"));
    }
}

/// Whether a process has the socket with this inode open.
fn holds(pid: i32, inode: u64) -> bool {
    use core::fmt::Write;
    const NAMES_BYTES: usize = 1024;
    let mut path = heapless::String::<40>::new();
    let mut wanted = heapless::String::<40>::new();
    if write!(path, "/proc/{pid}/fd\0").is_err() || write!(wanted, "socket:[{inode}]").is_err() {
        return false;
    }
    let Ok(path) = core::ffi::CStr::from_bytes_with_nul(path.as_bytes()) else { return false };
    let Ok(folder) = open_in(CWD, path, OFlags::DIRECTORY) else { return false };
    let mut names = [MaybeUninit::uninit(); NAMES_BYTES];
    let mut entries = RawDir::new(&folder, &mut names);
    while let Some(Ok(entry)) = entries.next() {
        let mut target = [MaybeUninit::uninit(); 40];
        if readlinkat_raw(&folder, entry.file_name(), &mut target[..])
            .is_ok_and(|(target, _)| *target == *wanted.as_bytes())
        {
            return true;
        }
    }
    false
}

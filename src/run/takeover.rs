//! Services that outlived an earlier Dormouse: their sockets are taken over, and they count as running until they end.
//! Nobody's socket is taken but that of the configured program, run by the configured user.

use core::mem::MaybeUninit;
use rustix::event::epoll::{self, EventFlags};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{CWD, fstat, readlinkat_raw, stat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::accept::run_deadline;
use super::end::End;
use super::session::signal_session;
use super::state::KeptForeign;
use super::stop::SIGCONT;
use super::{Change, Child, Phase, Server, Token};
use crate::handover::codec::Descriptor;
use crate::limits::SCARCE_CEILING_MS;
use crate::open::holder::{Holder, holds};
use crate::open::takeover::{obeys, take_over};
use crate::plan::Policy;
use crate::plan::steps::{Reader, Step};
use crate::sys::proc::{self, Process, c_str, path};

/// A running service that is not our child: the kernel tells of its end through this descriptor.
pub struct Foreign {
    pid: i32,
    process: OwnedFd,
}

impl Foreign {
    /// A process that is watched by this pidfd.
    pub(super) const fn new(pid: i32, process: OwnedFd) -> Self {
        Self { pid, process }
    }

    /// What the next image of this process needs.
    pub(super) fn kept(&self) -> KeptForeign {
        KeptForeign { pid: self.pid, descriptor: Descriptor(self.process.as_raw_fd()) }
    }
}

impl Server {
    /// An address is held by another process. True: it was this service, and its socket is ours as well now.
    pub(super) fn take_over(&mut self, row: usize, service: usize, holder: &Holder) -> bool {
        let Some(policy) = self.policy(service).filter(|policy| !policy.accept) else { return false };
        let Some(leader) = Process::read(holder.pid).map(|process| process.session) else {
            return false;
        };
        let phase = self.phase(service);
        let known = phase == Phase::Running(leader);
        if !(known || phase == Phase::Waiting && self.is_program_of(service, policy, leader)) {
            return false;
        }
        let Ok(opened) = take_over(self.plan, row, holder) else { return false };
        // whoever has started it holds the socket as well: another Dormouse that is alive
        let parent = Process::read(leader).map_or(0, |process| process.parent);
        if !known && fstat(&opened.socket).is_ok_and(|file| holds(parent, file.st_ino)) {
            return false;
        }
        if !known && !self.watch_foreign(service, policy, leader) {
            return false;
        }
        let obeys = obeys(self.plan, row, opened.socket.as_fd());
        self.put_in(row, opened);
        if !obeys && let Some(listener) = self.tables.listeners.get_mut(row) {
            listener.change = Change::Renew; // when the service ends
        }
        true
    }

    fn watch_foreign(&mut self, service: usize, policy: &Policy, pid: i32) -> bool {
        let process = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let Some(process) = process else { return false };
        if self.tables.children.is_full() || self.tables.foreign.is_full() {
            return false;
        }
        if Token::Process(pid).watch(&self.epoll, process.as_fd(), EventFlags::IN).is_err() {
            return false;
        }
        let _ = self.tables.foreign.push(Foreign { pid, process }); // there is room, see above
        signal_session(&[SIGCONT], pid); // an earlier Dormouse may have died while it stood still
        let since = Process::read(pid).map_or(self.now, |process| process.since(self.now));
        self.runs_already(service, Child::new(pid, service, since, run_deadline(policy, since)));
        tell!(self, Start, service, Info, "pid={pid} why=taken over, it was running already");
        true
    }

    /// The next image watches them as well; one that cannot be watched yet would count as running for ever.
    pub(super) fn watch_foreign_again(&mut self) {
        if !core::mem::take(&mut self.watch_again) {
            return;
        }
        for Foreign { pid, process } in self.tables.foreign.iter() {
            match Token::Process(*pid).watch(&self.epoll, process.as_fd(), EventFlags::IN) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(_) => self.watch_again = true,
            }
        }
        if self.watch_again {
            self.due_at(self.now.after_ms(SCARCE_CEILING_MS));
        }
    }

    /// A service that was taken over has ended. How, only its parent knows.
    pub(super) fn on_foreign_end(&mut self, pid: i32) {
        if let Some(index) = self.tables.foreign.iter().position(|foreign| foreign.pid == pid) {
            let foreign = self.tables.foreign.swap_remove(index);
            let _ = epoll::delete(&self.epoll, &foreign.process); // closing it does the same
            self.on_end(pid, End::Unknown);
        }
    }

    /// Whether a process runs the program of a service as the service's user.
    fn is_program_of(&self, service: usize, policy: &Policy, pid: i32) -> bool {
        let Some(spec) = self.spec(service) else { return false };
        let program = self.plan.arena.get(spec.program);
        let user = Reader::new(self.plan.arena.get(policy.steps)).find_map(|(_, step)| match step {
            Step::User(uid) => Some(uid),
            _ => None,
        });
        let user = user.unwrap_or_else(|| rustix::process::geteuid().as_raw());
        is_owned_by(pid, user) && (executes(pid, program) || is_in_arguments(pid, program))
    }
}

fn is_owned_by(pid: i32, user: u32) -> bool {
    stat(c_str(&path(pid, ""))).is_ok_and(|status| status.st_uid == user)
}

/// The program file itself.
fn executes(pid: i32, program: &[u8]) -> bool {
    let mut target = [MaybeUninit::uninit(); 1024];
    let link = readlinkat_raw(CWD, c_str(&path(pid, "/exe")), &mut target[..]);
    link.is_ok_and(|(link, _)| program.strip_suffix(&[0]) == Some(link))
}

/// A script: its path is one of the interpreter's arguments.
fn is_in_arguments(pid: i32, program: &[u8]) -> bool {
    let mut text = [0; 1024];
    let words = proc::read(c_str(&path(pid, "/cmdline")), &mut text);
    words.is_some_and(|words| words.split_inclusive(|&byte| byte == 0).any(|word| word == program))
}

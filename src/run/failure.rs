//! Starts that fail: the service rests, looks again, and starts as soon as it can work. The client waits meanwhile.

use core::ffi::CStr;
use heapless::Vec;
use log::Level;
use rustix::fd::OwnedFd;
use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::history::{Cause, Event, Refusal, What};
use super::limit::backoff_ms;
use super::tables::{Parked, stored};
use super::{Phase, ReloadKind, Seconds, Server, Why};
use crate::limits::{BACKOFF_CEILING_MS, PROGRAM_LOOK_MS};
use crate::logging::Kind;
use crate::peer::{Peer, Source};
use crate::plan::FIRST_OWN_FD;
use crate::plan::steps::{Reader, Stage, Step};
use crate::spawn::StartFailed;
use crate::sys::process::above;
use crate::sys::{clock, errno};

/// Bytes of a path with its NUL (PATH_MAX).
const PATH_BYTES: usize = 4096;

impl Server {
    /// A program could not be started: rests, longer with each failure in a row; where the machine has no process or
    /// memory for it, which is not the program's fault, a second at most.
    pub(super) fn start_failed(&mut self, service: usize, failed: StartFailed) {
        // execve(2) tells that the user has too many processes where setuid(2) has passed over it
        if let (Stage::CLONE, Errno::AGAIN | Errno::NOMEM) | (Stage::EXEC, Errno::AGAIN | Errno::NFILE) =
            (failed.stage, failed.errno)
        {
            return self.rest_by_scarcity(service, "processes", failed.errno);
        }
        // everything stood still for it: the others have their turn first, and a look at the program would take as long
        let late = failed.errno == Errno::TIMEDOUT;
        if late {
            self.now = clock::now();
        }
        let now = self.now;
        let missing = failed.stage == Stage::EXEC && !late && !self.program_is_there(service);
        self.count_failure(service);
        let state = self.state(service);
        if late {
            state.hold = state.hold.max(now.after_ms(BACKOFF_CEILING_MS));
        }
        let until = if missing { now.after_ms(PROGRAM_LOOK_MS) } else { state.hold };
        let why = if missing { Why::Program } else { Why::Failure };
        let first = state.failures == 1;
        let level = if first { Level::Error } else { Level::Warn };
        let (stage, name, text) = (failed.stage.name(), errno::name(failed.errno), errno::text(failed.errno));
        let rest = Seconds(until.since_ms(now));
        let program = self.spec(service).map_or("?", |spec| self.plan.arena.text(spec.program));
        let program = program.strip_suffix('\0').unwrap_or(program);
        self.record(
            Kind::Start,
            service,
            level,
            format_args!("failed at={stage} program={program} errno={name} why=\"{text}\" rest={rest}; clients wait"),
        );
        let number = u32::try_from(failed.errno.raw_os_error()).unwrap_or(0);
        self.note(service, Event::of(What::Fail, 0).with(number, failed.stage.0));
        self.rest(service, until, why);
        if failed.stage == Stage::AWAIT && failed.errno == Errno::AGAIN {
            self.on_reload_signal(ReloadKind::Reload);
        }
    }

    /// One more failure in a row: not started again before the backoff, and the window of StartLimitBurst=, are over.
    pub(super) fn count_failure(&mut self, service: usize) {
        let now = self.now;
        let Some(policy) = self.policy(service) else { return };
        let state = self.state(service);
        state.failures = state.failures.saturating_add(1);
        state.start.count(policy.start, now);
        let by_limit = state.start.check(policy.start, now).err().unwrap_or(now);
        state.hold = now.after_ms(backoff_ms(state.failures)).max(by_limit);
    }

    /// A rest is over.
    pub(super) fn on_rested(&mut self, service: usize, why: Why) {
        match why {
            Why::Program => return self.look_again(service),
            Why::Restart => return self.start_service(service, Cause::Restart),
            _ => {}
        }
        self.state(service).phase = Phase::Waiting;
        if self.accepts(service) && self.serve_parked(service) {
            return;
        }
        self.arm(service);
    }

    /// The program was missing. It is looked for without a start; if it is there now, the client is served at once.
    fn look_again(&mut self, service: usize) {
        if self.program_is_there(service) {
            tell!(self, Start, service, Info, "program is there now");
            self.on_rested(service, Why::Failure);
        } else {
            self.rest(service, self.now.after_ms(PROGRAM_LOOK_MS), Why::Program);
        }
    }

    /// One access(2) for the program, below RootDirectory= where there is one.
    fn program_is_there(&self, service: usize) -> bool {
        let (Some(spec), Some(policy)) = (self.spec(service), self.policy(service)) else { return false };
        let mut path: Vec<u8, PATH_BYTES> = Vec::new();
        let root = Reader::new(self.plan.arena.get(policy.steps)).find_map(|(_, step)| match step {
            Step::Root(root) => Some(root.to_bytes()),
            _ => None,
        });
        let whole = path.extend_from_slice(root.unwrap_or(b"")).is_ok()
            && path.extend_from_slice(self.plan.arena.get(spec.program)).is_ok();
        whole && CStr::from_bytes_with_nul(&path).is_ok_and(|path| access(path, Access::EXEC_OK).is_ok())
    }

    /// Keeps a connection whose program could not be started. The descriptor moves out of the way: 3 is where the next
    /// connection has to land.
    pub(super) fn park(&mut self, service: usize, row: usize, connection: OwnedFd, peer: Peer) {
        let parked = Parked {
            service: stored(service),
            listener: stored(row),
            connection: above(connection, FIRST_OWN_FD),
            peer,
        };
        if self.tables.parked.push(parked).is_err() {
            self.count_refusal(service, Refusal::Parked, Source::default());
            let why = errno::text(Errno::NOBUFS);
            tell!(self, Scarce, service, Warn, "what=parked why=\"{why}\"; connection closed");
        }
    }

    /// Serves the connection that waited for its program. False: there was none.
    pub(super) fn serve_parked(&mut self, service: usize) -> bool {
        let Some(index) = self.tables.parked.iter().position(|parked| usize::from(parked.service) == service) else {
            return false;
        };
        if self.tables.children.is_full() {
            self.rest_by_scarcity(service, "children", Errno::AGAIN);
            return true;
        }
        let parked = self.tables.parked.swap_remove(index);
        self.serve(service, usize::from(parked.listener), parked.connection, parked.peer);
        if self.phase(service) == Phase::Waiting {
            self.arm(service);
        }
        true
    }
}

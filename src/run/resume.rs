//! Going on where the image before has stopped: rows of its [state](super::state) find their places in the new plan.
//!
//! A service is the same if its name is, or if its first socket belonged to a service that is gone (it was renamed). A
//! listener is the same if kind and address are. What is the same keeps its descriptor, queue, children, counters and
//! deadlines. A service that is gone leaves its children running, as systemd does with units that are gone after
//! daemon-reload; its sockets are closed and their files removed.

use rustix::fd::{AsFd, OwnedFd, RawFd};
use rustix::io::Errno;
use std::path::Path;

use super::state::{Kept, KeptInternal, KeptListener, State};
use super::tables::{Change, Parked, stored};
use super::takeover::Foreign;
use super::{Listener, Phase, Server, Tables, Watched, Why};
use crate::detach::PidFile;
use crate::handover::codec::{Field, is_zero};
use crate::logging::say;
use crate::open::kept::{discard, discard_links, marks};
use crate::open::{Identity, Opened};
use crate::peer::Peer;
use crate::plan::{Plan, Restart};
use crate::sys::{clock, errno};

/// What the image before has left, on its way into the tables.
pub struct Resume {
    state: State,
    /// Row of each old service in the new plan.
    services: Vec<Option<u16>>,
    /// Row of each old listener in the new plan, old row first.
    listeners: Vec<(u16, u16)>,
    /// The control socket.
    control: Option<OwnedFd>,
    /// Services that are gone, with the number of their children.
    gone: Vec<(String, usize)>,
    kept: usize,
    closed: usize,
}

impl Resume {
    /// Reads the state; `None`: it cannot be used. The descriptors in it are not touched yet.
    pub fn read(file: &OwnedFd) -> Option<Self> {
        let state = State::read(file)?;
        let (services, listeners, gone) = (Vec::new(), Vec::new(), Vec::new());
        Some(Self { state, services, listeners, control: None, gone, kept: 0, closed: 0 })
    }

    /// The pid file that the image before has locked.
    pub fn pid_file(&self, path: &Path) -> Option<PidFile> {
        PidFile::resume(self.state.about.pid_file.reclaim(3)?, path).ok()
    }

    /// The control socket, its file, and the number of the last client.
    pub(super) fn take_control(&mut self) -> (Option<OwnedFd>, Identity, u32) {
        let about = &self.state.about;
        (self.control.take(), about.control_file, about.last_client)
    }

    /// The rows that a service and a listener have now; `None`: one of them is gone.
    fn place(&self, service: u16, listener: u16) -> Option<(u16, u16)> {
        let service = self.services.get(usize::from(service)).copied().flatten()?;
        let (_, row) = self.listeners.iter().find(|(old, _)| *old == listener)?;
        Some((service, *row))
    }

    /// Gives the process its name back.
    pub fn restore_name(&self) {
        if let Ok(name) = core::ffi::CStr::from_bytes_until_nul(&self.state.about.name) {
            let _ = rustix::thread::set_name(name); // cosmetics
        }
    }

    /// Puts the listeners that are wanted still into the table; all end at descriptor `least` or above. The others are
    /// closed, and their files removed, before a new one can take their place.
    pub fn listeners(&mut self, plan: &Plan, tables: &mut Tables, least: RawFd) {
        for kept in &core::mem::take(&mut self.state.listeners) {
            let (old, address, symlinks) = (&kept.row, &kept.first, &kept.second);
            let Some(socket) = old.descriptor.reclaim(least) else { continue };
            let closed = |listener: &Listener| listener.opened.is_none();
            let wanted = |&row: &usize| {
                let spec = plan.listeners.get(row);
                spec.is_some_and(|spec| spec.kind == old.kind && plan.arena.get(spec.address) == address)
                    && tables.listeners.get(row).is_some_and(closed)
            };
            let Some(row) = (0..plan.listeners.len()).find(wanted) else {
                discard(address, old.identity, symlinks);
                self.closed += 1;
                continue;
            };
            discard_links(symlinks, symlinks_of(plan, row), old.identity);
            if let Some(listener) = tables.listeners.get_mut(row) {
                listener.change = change(plan, row, old);
                listener.opened = Some(Opened { socket, identity: old.identity });
            }
            let row = stored(row);
            self.listeners.push((old.row, row));
            self.renamed(plan, old.service, row);
            self.kept += 1;
        }
    }

    /// The new row of an old service by name. To be called before the listeners are matched.
    pub fn services(&mut self, plan: &Plan) {
        let row_of = |name: &[u8]| plan.services.iter().position(|spec| plan.arena.get(spec.name) == name);
        let rows = self.state.services.iter().map(|old| row_of(&old.first).and_then(|row| u16::try_from(row).ok()));
        self.services = rows.collect();
    }

    /// A listener has come from the old service `old` to `row`: perhaps the whole service has got another name.
    fn renamed(&mut self, plan: &Plan, old: u16, row: u16) {
        let Some(spec) = plan.listeners.get(usize::from(row)) else { return };
        let is_new = !self.services.contains(&Some(spec.service));
        if let Some(place @ None) = self.services.get_mut(usize::from(old)).filter(|_| is_new) {
            *place = Some(spec.service);
        }
    }

    /// The pipes that running children write to.
    pub fn outputs(&mut self, plan: &Plan, tables: &mut Tables, least: RawFd) {
        for old in core::mem::take(&mut self.state.outputs) {
            let Some(read) = old.row.read.reclaim(least) else { continue };
            super::output::resume(plan, tables, &old, read, old.row.write.reclaim(least));
        }
    }
}

fn symlinks_of(plan: &Plan, row: usize) -> &[u8] {
    let socket = plan.listeners.get(row).and_then(|spec| plan.sockets.get(usize::from(spec.socket)));
    socket.map_or(&[], |spec| plan.arena.get(spec.symlinks))
}

fn change(plan: &Plan, row: usize, old: &KeptListener) -> Change {
    let wanted = marks(plan, row);
    if wanted.fixed != old.marks.fixed {
        Change::Renew
    } else if wanted.settable != old.marks.settable {
        Change::Settle
    } else {
        Change::None
    }
}

impl Server {
    /// Takes over what is left: services, children, connections. To be called before the listeners are armed.
    pub fn resume(&mut self, resume: &mut Resume, least: RawFd) {
        let now = self.now;
        self.since = resume.state.about.since;
        self.open_notifications(resume.state.about.notifications.reclaim(least));
        self.watch_names(resume.state.about.names.reclaim(least));
        self.faults = resume.state.about.faults.reclaim(least);
        for (old, row) in resume.services.iter().enumerate() {
            let Some(Kept { row: state, first: name, .. }) = resume.state.services.get(old) else { continue };
            let Some(row) = row.map(usize::from) else {
                let running = resume.state.children.iter().filter(|child| usize::from(child.service) == old).count();
                resume.gone.push((String::from_utf8_lossy(name).into_owned(), running));
                continue;
            };
            let restarts =
                self.is_one_process(row) && self.policy(row).is_some_and(|policy| policy.restart != Restart::No);
            let mut state = *state;
            match state.phase {
                Phase::Resting(until, Why::Restart) if !restarts => state.phase = Phase::Resting(until, Why::Failure),
                Phase::Running(pid) if !resume.state.children.iter().any(|child| child.pid == pid) => {
                    (state.phase, state.watched) = (Phase::Waiting, Watched::BLANK);
                }
                _ => {}
            }
            (state.live, state.forwarded, state.suspected) = (0, 0, false);
            // a row that nobody has touched yet costs no page
            if !is_zero(&state) {
                *self.state(row) = state;
            }
            if let Phase::Running(_) = state.phase {
                self.resume_run(row);
            }
        }
        for mut rate in core::mem::take(&mut resume.state.rates) {
            let Some(&Some(row)) = resume.services.get(usize::from(rate.service)) else { continue };
            rate.service = row;
            self.tables.rates.restore(rate);
        }
        for mut child in core::mem::take(&mut resume.state.children) {
            let Some(&Some(row)) = resume.services.get(usize::from(child.service)) else { continue };
            child.service = row;
            let kept = self.tables.children.push(child).is_ok();
            let state = self.state(usize::from(row));
            if kept {
                state.live += 1;
            } else if state.phase == Phase::Running(child.pid) {
                (state.phase, state.watched) = (Phase::Waiting, Watched::BLANK); // nobody would tell of its end
            }
        }
        self.resume_foreign(resume, least);
        self.resume_parked(resume, least);
        self.resume_connections(resume, least);
        self.resume_forwards(resume, least);
        resume.control = resume.state.about.control.reclaim(least);
        let rows = &resume.services;
        let row_of = |old: u16| rows.get(usize::from(old)).copied().flatten();
        let (next, events) = (resume.state.next_event, &resume.state.events);
        self.tables.history.restore(next, events, |old| row_of(old).unwrap_or(u16::MAX));
        self.resume_clients(core::mem::take(&mut resume.state.clients), row_of, least);
        self.reap_again = true; // who has ended meanwhile; their signal may be lost
        self.deadline = now;
    }

    /// A service that runs: what arrives is noted again, and it may be put to sleep when it could have been before.
    fn resume_run(&mut self, service: usize) {
        if !self.forwards(service) {
            self.suspect(service);
        }
        self.state(service).arrived = true; // perhaps: nobody looked in between
        let before = self.state(service).watched;
        self.watch(service);
        let watched = &mut self.state(service).watched;
        if before.is_looked_at() && watched.is_looked_at() {
            let look = watched.look;
            *watched = before;
            watched.look = look;
        }
    }

    fn resume_foreign(&mut self, resume: &mut Resume, least: RawFd) {
        for old in core::mem::take(&mut resume.state.foreign) {
            let Some(process) = old.descriptor.reclaim(least) else { continue };
            if self.tables.children.iter().any(|child| child.pid == old.pid) {
                let _ = self.tables.foreign.push(Foreign::new(old.pid, process)); // as many as before
            }
        }
        self.watch_again = !self.tables.foreign.is_empty();
    }

    fn resume_parked(&mut self, resume: &mut Resume, least: RawFd) {
        for old in core::mem::take(&mut resume.state.parked) {
            let Some(connection) = old.descriptor.reclaim(least) else { continue };
            let place = resume.place(old.service, old.listener);
            if let Some((service, listener)) = place.filter(|(service, _)| self.starts_per_connection(*service)) {
                let peer = Peer::connected(&connection);
                let _ = self.tables.parked.push(Parked { service, listener, connection, peer }); // as many as before
            }
        }
    }

    /// Whether each connection of a service gets a program of its own.
    fn starts_per_connection(&self, service: u16) -> bool {
        let spec = self.spec(service.into());
        self.accepts(service.into()) && spec.is_some_and(|spec| spec.backend().is_none() && spec.internal().is_none())
    }

    fn resume_connections(&mut self, resume: &mut Resume, least: RawFd) {
        for old in core::mem::take(&mut resume.state.internal) {
            let Some(socket) = old.descriptor.reclaim(least) else { continue };
            if let Some((service, listener)) = resume.place(old.service, old.listener) {
                self.resume_internal(&KeptInternal { service, listener, ..old }, socket);
            }
        }
    }

    fn resume_forwards(&mut self, resume: &mut Resume, least: RawFd) {
        if !cfg!(feature = "forward") {
            return; // the program before had none, or its connections end
        }
        for old in core::mem::take(&mut resume.state.forwards) {
            let service = resume.services.get(usize::from(old.service)).copied().flatten();
            if let Some(pair) = old.reclaim(least) {
                self.resume_pair(pair, service);
            }
        }
    }

    /// Everything is in its place and armed: tells who wanted to know.
    pub fn resumed(&mut self, resume: Resume) {
        let Resume { state, gone, kept, closed, .. } = resume;
        for (name, running) in gone {
            say!(Info, "gone service={name} running={running}{}", if running > 0 { ", left alone" } else { "" });
        }
        let (about, services) = (state.about, self.plan.services.len());
        let took = super::Seconds(clock::now().since_ms(about.begun));
        let (opened, children) =
            (self.plan.listeners.len() - kept.min(self.plan.listeners.len()), self.tables.children.len());
        let word = about.kind.word();
        say!(
            Info,
            "{word} done services={services} kept={kept} opened={opened} closed={closed} missing={} children={children} took={took}",
            self.missing()
        );
        let done = format_args!(
            "{word} done: services: {services}; sockets kept: {kept}, opened: {opened}, closed: {closed}; processes that go on: {children}"
        );
        self.answer_reload("ok", done);
        if let Err(errno) = self.notify.ready("") {
            say!(Warn, "telling the supervisor: {}", errno::text(errno));
        }
    }

    /// The state of the image before was lost, its sockets were not: children that hold one are looked for.
    pub fn resume_without_state(&mut self) {
        say!(Error, "what the program before has left cannot be read; sockets are kept, counters begin anew");
        (self.reap_again, self.ended_clean, self.deadline) = (true, true, self.now);
    }

    /// An open listener gets what the new plan says before it is watched again.
    ///
    /// # Errors
    /// The kernel has no memory for one of the steps: they are to be taken again.
    pub(super) fn change_listener(&mut self, row: usize) -> Result<(), Errno> {
        if !cfg!(any(feature = "reload", feature = "takeover")) {
            return Ok(()); // then nothing changes
        }
        let Some(service) = self.service_of(row) else { return Ok(()) };
        let Some(listener) = self.tables.listeners.get_mut(row) else { return Ok(()) };
        let change = core::mem::replace(&mut listener.change, Change::None);
        let Some(opened) = &listener.opened else { return Ok(()) };
        match change {
            Change::None => {}
            Change::Settle => {
                let identity = opened.identity;
                let mut warnings: heapless::Vec<_, 8> = heapless::Vec::new();
                let mut scarce = false;
                crate::open::kept::settle(self.plan, row, opened.socket.as_fd(), identity, &mut |warning| {
                    scarce |= warning.errno == Errno::NOMEM;
                    let _ = warnings.push(warning); // more are more of the same
                });
                if scarce {
                    listener.change = change;
                    return Err(Errno::NOMEM);
                }
                for warning in warnings {
                    tell!(self, Open, service, Warn, "{warning}");
                }
            }
            Change::Renew => {
                tell!(self, Open, service, Info, "anew: its options cannot be changed");
                self.reopen(row);
            }
        }
        Ok(())
    }
}

//! The rows of an answer to `status`: one at a time, so that no buffer depends on the number of services. The words are
//! explained in [`crate::control`].

use rustix::fd::AsFd;

use super::account::BOUNDS_US;
use super::end::End;
use super::history::Refusal;
use super::tables::Life;
use super::{Child, Phase, Server, Why};
use crate::control::{self, Row};
use crate::open::{connections, listens};
use crate::peer::Address;
use crate::plan::SocketKind;
use crate::plan::address::{self, Text};
use crate::sys::clock::Tick;
use crate::sys::socket::drops;
use crate::text::Line;
use crate::{logging, seal};

/// Bytes of a program's path in a row; the rest of a longer one is left out and marked.
const PROGRAM_BYTES: usize = 200;

/// What the next row of a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Service,
    Counts,
    Starts,
    Last,
    /// By its number within the service.
    Socket(u16),
    /// From this place in the table of children on.
    Process(u32),
}

impl Server {
    pub(super) fn daemon_row(&self) -> Row {
        let mut row = Row::new("daemon");
        row.number("protocol", control::PROTOCOL)
            .text("version", &env!("CARGO_PKG_VERSION"))
            .number("pid", self.main_pid.into())
            .number("uptime_ms", self.now.since_ms(self.since))
            .flag("stopping", self.stopping)
            .number("services", self.plan.services.len() as u64)
            .number("sockets", self.tables.listeners.len() as u64)
            .number("missing", self.missing() as u64)
            .number("processes", self.tables.children.len() as u64)
            .number("late_allocations", seal::late_allocations() as u64)
            .number("lost_log_lines", logging::dropped().into())
            .word("log_level", log::max_level().to_level().map_or("off", |level| level.as_str()));
        row
    }

    /// The row of a part of a service, and the part behind it; `None` in place of a row: there is none of this part.
    pub(super) fn service_row(&mut self, service: usize, part: Part) -> (Option<Row>, Option<Part>) {
        match part {
            Part::Service => (self.first_row(service), Some(Part::Counts)),
            Part::Counts => (Some(self.counts_row(service)), Some(Part::Starts)),
            Part::Starts => (Some(self.starts_row(service)), Some(Part::Last)),
            Part::Last => (self.last_row(service), Some(Part::Socket(0))),
            Part::Socket(number) => match self.listeners_of(service).nth(number.into()) {
                Some(row) => (self.socket_row(row), Some(Part::Socket(number + 1))),
                None => (None, Some(Part::Process(0))),
            },
            Part::Process(from) => {
                let live = self.state_of(service).live > 0;
                let is_its = |child: &&Child| usize::from(child.service) == service;
                let from = if live { from as usize } else { usize::MAX };
                let mut children = self.tables.children.iter().enumerate().skip(from);
                let Some((index, &child)) = children.find(|(_, child)| is_its(child)) else { return (None, None) };
                let mut row = process_row(self.now, &child);
                if let Some(unused) = self.unused_ms(service, child.pid) {
                    row.number("idle_ms", unused);
                }
                (Some(row), u32::try_from(index + 1).ok().map(Part::Process))
            }
        }
    }

    /// What a service is doing, in one word.
    pub(super) fn state_word(&self, service: usize) -> &'static str {
        let state = self.state_of(service);
        let its = |child: &&Child| usize::from(child.service) == service;
        let stopping = |child: &Child| child.stage != Life::Running;
        match state.phase {
            Phase::Running(_) if self.tables.children.iter().filter(its).any(stopping) => "stopping",
            Phase::Running(_) => "running",
            Phase::Resting(..) => "resting",
            Phase::Paused => "paused",
            Phase::Waiting if state.live > 0 || state.forwarded > 0 => "running",
            Phase::Waiting => "waiting",
        }
    }

    fn first_row(&self, service: usize) -> Option<Row> {
        let (spec, policy) = (self.spec(service)?, self.policy(service)?);
        let state = self.state_of(service);
        let mut row = Row::new("service");
        row.text("name", &self.name(service)).word("state", self.state_word(service));
        row.flag("accept", policy.accept && spec.backend().is_none()).flag("paused", state.paused);
        if let Some(backend) = spec.backend() {
            row.text("backend", &Text(self.plan.arena.get(backend)));
        }
        if let Phase::Resting(until, why) = state.phase {
            row.word("why", why.word()).number("rest_ms", until.since_ms(self.now));
        }
        row.number("live", self.current(service).into());
        if policy.accept && policy.max_connections != u32::MAX {
            row.number("max_connections", policy.max_connections.into());
        }
        let mut program = Line::<PROGRAM_BYTES>::new();
        program.push_bytes(self.plan.arena.get(spec.program).strip_suffix(&[0]).unwrap_or(&[]));
        row.text("program", &program.as_str());
        Some(row)
    }

    fn counts_row(&self, service: usize) -> Row {
        let state = self.state_of(service);
        let mut row = Row::new("counts");
        row.number("accepted", state.accepted).number("refused", state.refused());
        for (why, count) in Refusal::ALL.into_iter().zip(state.refused) {
            row.counter("refused_", why.word(), count);
        }
        for (why, count) in Why::ALL.into_iter().zip(state.rested) {
            row.counter("rested_", why.word(), count);
        }
        row.number("failures", state.failures.into()).number("dropped", state.dropped.into());
        row.number("ended", state.ended).number("given_back_kb", state.given_back_kb);
        let asleep = (state.asleep_since != Tick(0)).then(|| self.now.since_ms(state.asleep_since));
        row.number("slept_ms", state.slept_ms.saturating_add(asleep.unwrap_or(0)));
        if let Some(asleep) = asleep {
            row.number("asleep_ms", asleep);
        }
        row
    }

    fn starts_row(&self, service: usize) -> Row {
        let starts = &self.state_of(service).starts;
        let mut row = Row::new("starts");
        row.number("count", starts.total()).number("last_us", starts.last_us.into());
        row.number("worst_us", starts.worst_us.into()).number("sum_us", starts.sum_us);
        row.list("bounds_us", BOUNDS_US.map(u64::from)).list("buckets", starts.buckets.map(u64::from));
        row
    }

    fn last_row(&self, service: usize) -> Option<Row> {
        let state = Some(self.state_of(service)).filter(|state| state.ended > 0)?;
        let mut row = Row::new("last");
        match state.last_end {
            End::Status(status) => row.number("status", status.into()),
            End::Signal(signal, core) => row.number("signal", signal.into()).flag("core", core),
            End::Unknown => &mut row,
        };
        row.number("ran_ms", state.last_ran_ms).number("age_ms", self.now.since_ms(state.last_ended));
        Some(row)
    }

    fn socket_row(&self, listener: usize) -> Option<Row> {
        let (spec, state) = (self.plan.listeners.get(listener)?, self.tables.listeners.get(listener)?);
        let kind = match spec.kind {
            SocketKind::Stream => "stream",
            SocketKind::Datagram => "datagram",
            SocketKind::SequentialPacket => "seqpacket",
            SocketKind::Fifo => "fifo",
        };
        let mut row = Row::new("socket");
        let name = self.plan.arena.get(spec.address);
        row.word("kind", kind);
        row.text("address", &Text(name)).flag("open", state.opened.is_some());
        if state.opened.is_none() {
            row.number("retry_ms", state.retry.since_ms(self.now));
        }
        let opened = state.opened.as_ref().map(|opened| opened.socket.as_fd());
        if let Some(drops) = opened.filter(|_| address::ip(name).is_some()).and_then(drops) {
            row.number("drops", drops.into());
        }
        let service = usize::from(spec.service);
        let is_counted = self.policy(service).is_some_and(|policy| policy.sleep.idle_ms != u32::MAX)
            && !self.forwards(service)
            && listens(spec.kind);
        if let Some(method) = opened.filter(|_| is_counted).and_then(connections::method_of) {
            row.text("counted_by", &method);
        }
        Some(row)
    }
}

fn process_row(now: Tick, child: &Child) -> Row {
    let mut row = Row::new("process");
    row.number("pid", child.pid.unsigned_abs().into()).number("age_ms", now.since_ms(child.since));
    row.word("stage", child.stage.word());
    if let Some(peer) = child.source.peer() {
        row.text("peer", &Address(&peer));
    }
    row
}

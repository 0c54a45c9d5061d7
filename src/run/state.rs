//! What is going on, as the next image of this process gets it: written by the loop from its fixed tables, read by a
//! start-up that may take memory. Rows are numbered as in the plan that wrote them and are matched by name and address.
//!
//! Order: version; what the hand-over is about; services; listeners; children; services that were taken over; parked
//! connections; those of built-in services; forwarded ones; pipes to the log; connections of each source; events;
//! clients of the control socket.

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::SeekFrom;
use rustix::io::pread;

use super::control::KeptClient;
use super::end::End;
use super::history::{Event, What};
use super::internal::InternalConnection;
use super::pairs::{Pair, Stage};
use super::pump::{Pipe, Side};
use super::rate::Rate;
use super::reload::Kind;
use super::tables::{Change, Ending, Life, Order, Parked, stored};
use super::takeover::Foreign;
use super::{Child, Listener, Phase, Server, ServiceState, Why};
use crate::handover::VERSION;
use crate::handover::codec::{Codec, Descriptor, Field, record, word, words};
use crate::logging::{Target, insist};
use crate::open::Identity;
use crate::open::kept::{Marks, marks};
use crate::peer::Source;
use crate::plan::SocketKind;
use crate::sys::clock::Tick;

/// What the hand-over is about.
#[derive(Clone)]
pub(super) struct About {
    /// Reload or upgrade.
    pub(super) kind: Kind,
    /// When it was asked for.
    pub(super) begun: Tick,
    /// When the first image began.
    pub(super) since: Tick,
    /// The control socket.
    pub(super) control: Descriptor,
    /// Its file.
    pub(super) control_file: Identity,
    /// Number of the last client.
    pub(super) last_client: u32,
    /// The socket for messages of services.
    pub(super) notifications: Descriptor,
    /// The pid file.
    pub(super) pid_file: Descriptor,
    /// What tells of names that may have come.
    pub(super) names: Descriptor,
    /// What the check has said.
    pub(super) faults: Descriptor,
    /// The name of the process, which exec changes.
    pub(super) name: [u8; 16],
}
record!(About: kind begun since control control_file last_client notifications pid_file names faults name);

/// What was kept together with two texts.
pub(super) struct Kept<T> {
    pub(super) row: T,
    pub(super) first: Vec<u8>,
    pub(super) second: Vec<u8>,
}

/// A listener that was open; its texts are its address as in the plan, and the links to it.
#[derive(Clone)]
pub(super) struct KeptListener {
    /// Row of its service.
    pub(super) service: u16,
    /// Its own row.
    pub(super) row: u16,
    /// Its kind.
    pub(super) kind: SocketKind,
    /// Its file.
    pub(super) identity: Identity,
    /// What it is like.
    pub(super) marks: Marks,
    /// Its descriptor.
    pub(super) descriptor: Descriptor,
}
record!(KeptListener: service row kind identity marks descriptor);

/// A service that was taken over: its pid, and the pidfd.
#[derive(Clone)]
pub(super) struct KeptForeign {
    pub(super) pid: i32,
    pub(super) descriptor: Descriptor,
}
record!(KeptForeign: pid descriptor);

/// A connection that waits for its program.
#[derive(Clone)]
pub(super) struct KeptParked {
    pub(super) service: u16,
    pub(super) listener: u16,
    pub(super) descriptor: Descriptor,
}
record!(KeptParked: service listener descriptor);

impl KeptParked {
    fn of(parked: &Parked) -> Self {
        let Parked { service, listener, ref connection, .. } = *parked;
        Self { service, listener, descriptor: Descriptor(connection.as_raw_fd()) }
    }
}

/// A connection of a service that is built in.
#[derive(Clone)]
pub(super) struct KeptInternal {
    pub(super) service: u16,
    pub(super) listener: u16,
    pub(super) descriptor: Descriptor,
    pub(super) deadline: Tick,
    pub(super) position: u16,
    pub(super) blocked: bool,
}
record!(KeptInternal: service listener descriptor deadline position blocked);

/// A forwarded connection.
#[derive(Clone)]
pub(super) struct KeptForward {
    pub(super) service: u16,
    stage: Stage,
    source: Source,
    deadline: Tick,
    sides: [KeptSide; 2],
}
record!(KeptForward: service stage source deadline sides);

/// One side of it.
#[derive(Clone)]
struct KeptSide {
    socket: Descriptor,
    pipe: [Descriptor; 2],
    held: u32,
    ended: bool,
    passed_on: bool,
    broken: bool,
}
record!(KeptSide: socket pipe held ended passed_on broken);

impl KeptForward {
    fn of(pair: &Pair) -> Self {
        let side = |side: &Side| {
            let pipe = side.pipe.as_ref();
            KeptSide {
                socket: Descriptor::of(side.socket.as_ref()),
                pipe: [pipe.map(|pipe| &pipe.read), pipe.map(|pipe| &pipe.write)].map(Descriptor::of),
                held: side.held,
                ended: side.ended,
                passed_on: side.passed_on,
                broken: side.broken,
            }
        };
        let [client, backend] = &pair.sides;
        let Pair { service, stage, source, deadline, .. } = *pair;
        Self { service, stage, source, deadline, sides: [side(client), side(backend)] }
    }

    /// The connection with its descriptors; `None`: one of them is not there.
    pub(super) fn reclaim(self, least: i32) -> Option<Pair> {
        // both before anything else: what is not taken would stay open
        let [client, backend] = self.sides;
        let (client, backend) = (client.reclaim(least), backend.reclaim(least));
        Some(Pair::new(self.stage, self.service, [client?, backend?], self.source, self.deadline))
    }
}

impl KeptSide {
    fn reclaim(self, least: i32) -> Option<Side> {
        let mut side = Side::new(self.socket.reclaim(least));
        let [read, write] = self.pipe.map(|end| end.reclaim(least));
        side.pipe = read.zip(write).map(|(read, write)| Pipe::of(read, write));
        (side.held, side.ended, side.passed_on, side.broken) = (self.held, self.ended, self.passed_on, self.broken);
        let whole =
            side.socket.is_some() == (self.socket != Descriptor::BLANK) && (side.pipe.is_some() || side.held == 0);
        Some(side).filter(|_| whole)
    }
}

/// A pipe from children to the log; its texts are the identifier, and the beginning of a line.
#[derive(Clone)]
pub(super) struct KeptOutput {
    pub(super) log: Target,
    pub(super) read: Descriptor,
    pub(super) write: Descriptor,
}
record!(KeptOutput: log read write);

/// Everything.
pub(super) struct State {
    pub(super) about: About,
    pub(super) services: Vec<Kept<ServiceState>>,
    pub(super) listeners: Vec<Kept<KeptListener>>,
    pub(super) children: Vec<Child>,
    pub(super) foreign: Vec<KeptForeign>,
    pub(super) parked: Vec<KeptParked>,
    pub(super) internal: Vec<KeptInternal>,
    pub(super) forwards: Vec<KeptForward>,
    pub(super) outputs: Vec<Kept<KeptOutput>>,
    pub(super) rates: Vec<Rate>,
    pub(super) next_event: u32,
    pub(super) events: Vec<Event>,
    pub(super) clients: Vec<Kept<KeptClient>>,
}

impl Server {
    /// Puts everything in; takes no memory.
    pub(super) fn put_state(&self, about: &About, to: &mut Codec<'_>) {
        let (plan, tables) = (self.plan, &self.tables);
        to.put(VERSION);
        to.put(about.clone());
        for (spec, state) in plan.services.iter().zip(tables.services.iter()) {
            put_kept(to, *state, plan.arena.get(spec.name), &[]);
        }
        to.put(false);
        for (row, listener) in tables.listeners.iter().enumerate() {
            self.put_listener(to, row, listener);
        }
        to.put(false);
        to.put_list(tables.children.iter().copied());
        to.put_list(tables.foreign.iter().map(Foreign::kept));
        to.put_list(tables.parked.iter().map(KeptParked::of));
        to.put_list(tables.internal.iter().map(InternalConnection::kept));
        to.put_list(tables.forwards.each().map(KeptForward::of));
        tables.outputs.iter().for_each(|output| output.put(plan, to));
        to.put(false);
        to.put_list(tables.rates.each().copied());
        let history = &tables.history;
        to.put(history.next());
        to.put_list((history.oldest()..history.next()).filter_map(|number| history.get(number)).copied());
        tables.clients.iter().filter(|client| client.is_kept()).for_each(|client| client.put(to));
        to.put(false);
    }

    fn put_listener(&self, to: &mut Codec<'_>, row: usize, listener: &Listener) {
        let plan = self.plan;
        let (Some(opened), Some(spec)) = (&listener.opened, plan.listeners.get(row)) else { return };
        let mut marks = marks(plan, row);
        match listener.change {
            Change::None => {}
            Change::Settle => marks.settable = !marks.settable,
            Change::Renew => marks.fixed = !marks.fixed,
        }
        let symlinks = plan.sockets.get(usize::from(spec.socket)).map_or(&[][..], |spec| plan.arena.get(spec.symlinks));
        let kept = KeptListener {
            service: spec.service,
            row: stored(row),
            kind: spec.kind,
            identity: opened.identity,
            marks,
            descriptor: Descriptor(opened.socket.as_raw_fd()),
        };
        put_kept(to, kept, plan.arena.get(spec.address), symlinks);
    }
}

/// Writes a row of a list of [`Kept`], which ends with `false`.
pub(super) fn put_kept(to: &mut Codec<'_>, row: impl Field, first: &[u8], second: &[u8]) {
    to.put(true);
    to.put(row);
    to.put_bytes(first);
    to.put_bytes(second);
}

/// Reads a [`Kept`].
fn kept<T: Field>(from: &mut Codec<'_>) -> Kept<T> {
    Kept { row: from.get(), first: from.get_bytes().to_vec(), second: from.get_bytes().to_vec() }
}

impl State {
    /// Reads a whole file.
    pub(super) fn read(file: &OwnedFd) -> Option<Self> {
        // unlike fstat(2) this needs no memory
        let length = usize::try_from(rustix::fs::seek(file, SeekFrom::End(0)).ok()?).ok()?;
        let mut bytes = vec![0; length];
        let mut done = 0;
        while done < length {
            let rest = bytes.get_mut(done..)?;
            match insist(|| pread(file, &mut *rest, done as u64)).ok()? {
                0 => return None,
                more => done += more,
            }
        }
        Self::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut from = Codec::read(bytes)?;
        if from.get::<u32>() != VERSION {
            return None;
        }
        Some(Self {
            about: from.get(),
            services: from.list(kept),
            listeners: from.list(kept),
            children: from.list(Codec::get),
            foreign: from.list(Codec::get),
            parked: from.list(Codec::get),
            internal: from.list(Codec::get),
            forwards: from.list(Codec::get),
            outputs: from.list(kept),
            rates: from.list(Codec::get),
            next_event: from.get(),
            events: from.list(Codec::get),
            clients: from.list(kept),
        })
    }
}

record!(Identity: device inode);
record!(Marks: fixed settable);
record!(Child: pid session service stage timed_out end since deadline source);
record!(ServiceState:
    phase live forwarded tries probe deaf failures short_runs scarcities misses hold suspected arrived
    held ending poison poison_runs dropped trigger poll start accepted given_back_kb slept_ms asleep_since watched
    refused rested starts ended last_end last_ran_ms last_ended paused order
);

words!(Stage { Free, Waiting, Connecting, Open });
words!(Ending { Unasked, Announced, Asked });
words!(SocketKind { Stream, Datagram, SequentialPacket, Fifo });
words!(Target { Stderr, Syslog, Kmsg });
words!(Kind Why What Life);
words!(Order { None, Stop, Restart });

impl Field for Phase {
    const BLANK: Self = Self::Waiting;

    #[inline(never)]
    fn pass(&mut self, by: &mut Codec<'_>) {
        let resting = Self::Resting(Tick(0), Why::Failure);
        word(self, &[Self::Waiting, Self::Running(0), resting, Self::Paused], by);
        match self {
            Self::Waiting | Self::Paused => {}
            Self::Running(pid) => pid.pass(by),
            Self::Resting(until, why) => {
                until.pass(by);
                why.pass(by);
            }
        }
    }
}

impl Field for End {
    const BLANK: Self = Self::Status(0);

    #[inline(never)]
    fn pass(&mut self, by: &mut Codec<'_>) {
        word(self, &[Self::Status(0), Self::Signal(0, false), Self::Unknown], by);
        match self {
            Self::Unknown => {}
            Self::Status(status) => status.pass(by),
            Self::Signal(signal, core) => {
                signal.pass(by);
                core.pass(by);
            }
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

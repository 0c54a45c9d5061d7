//! What changes while the program runs: one row per service, listener and child, in fixed tables whose initial state
//! is all zero.

use core::mem::offset_of;
use heapless::Vec;
use rustix::fd::OwnedFd;

use super::account::Starts;
use super::control::Client;
use super::end::End;
use super::history::{History, Refusal};
use super::idle::Watched;
use super::internal::InternalConnection;
use super::limit::Window;
use super::output::Output;
use super::pairs::Forwards;
use super::pressure::Group;
use super::rate::Rates;
use super::rows::{Rows, rows};
use super::takeover::Foreign;
use crate::handover::codec::Field;
use crate::limits::{CHILDREN, CONTROL_CLIENTS, FOREIGN, INTERNAL_CONNECTIONS, LISTENERS, OUTPUTS, PARKED, SERVICES};
use crate::logging::Throttle;
use crate::open::Opened;
use crate::peer::{Peer, Source};
use crate::spawn::Spawner;
use crate::sys::clock::Tick;
use crate::text::worded;

/// All tables, each by its address in [`Room`]: the way to one is short.
pub struct Tables {
    /// What happened lately.
    pub history: &'static mut History,
    /// One row per service of the plan, in its order, and one for what is none.
    pub services: &'static mut [ServiceState; SERVICES + 1],
    /// What starts children.
    pub spawner: &'static mut Spawner,
    /// Bounds the log.
    pub throttle: &'static mut Throttle,
    /// One row per listener of the plan, in its order.
    pub listeners: &'static mut Vec<Listener, LISTENERS>,
    /// Children that are alive, in no order.
    pub children: &'static mut Vec<Child, CHILDREN>,
    /// What bounds our memory.
    pub group: &'static mut Group,
    /// Connections that were accepted but whose program could not be started; at most one per service.
    pub parked: &'static mut Vec<Parked, PARKED>,
    /// Connections of services that are built in.
    pub internal: &'static mut Rows<InternalConnection, { rows(cfg!(feature = "internal"), INTERNAL_CONNECTIONS) }>,
    /// Connections that are forwarded.
    pub forwards: &'static mut Forwards,
    /// Pipes from children to the log.
    pub outputs: &'static mut Vec<Output, OUTPUTS>,
    /// Children that an earlier Dormouse started.
    pub foreign: &'static mut Rows<Foreign, { rows(cfg!(feature = "takeover"), FOREIGN) }>,
    /// Connections of each source, for MaxConnectionRate=.
    pub rates: &'static mut Rates,
    /// Clients of the control socket, in no order.
    pub clients: &'static mut Rows<Client, { rows(cfg!(feature = "control"), CONTROL_CLIENTS) }>,
}

/// Where they lie.
///
/// In an order that needs few pages: what is filled from its end, the history and the stack of children, ends in the
/// page in which the rows of services and listeners begin.
#[repr(C, align(4096))]
pub struct Room {
    before_services: [u8; lead(0, size_of::<History>())],
    history: History,
    services: [ServiceState; SERVICES + 1],
    before_listeners: [u8; lead(size_of::<[ServiceState; SERVICES + 1]>() + PAGE_BYTES / 2, size_of::<Spawner>())],
    spawner: Spawner,
    throttle: Throttle,
    listeners: Vec<Listener, LISTENERS>,
    children: Vec<Child, CHILDREN>,
    group: Group,
    parked: Vec<Parked, PARKED>,
    internal: Rows<InternalConnection, { rows(cfg!(feature = "internal"), INTERNAL_CONNECTIONS) }>,
    forwards: Forwards,
    outputs: Vec<Output, OUTPUTS>,
    foreign: Rows<Foreign, { rows(cfg!(feature = "takeover"), FOREIGN) }>,
    rates: Rates,
    clients: Rows<Client, { rows(cfg!(feature = "control"), CONTROL_CLIENTS) }>,
}

/// A page of most machines; where they are larger the order costs nothing.
const PAGE_BYTES: usize = 4096;

/// Bytes to leave free, so that a table of so many `bytes`, with `before` bytes in front of all that, ends in the
/// middle of a page.
const fn lead(before: usize, bytes: usize) -> usize {
    (PAGE_BYTES + PAGE_BYTES / 2 - (before + bytes) % PAGE_BYTES) % PAGE_BYTES
}

const _: () = assert!(
    offset_of!(Room, services) % PAGE_BYTES == PAGE_BYTES / 2
        && offset_of!(Room, throttle) % PAGE_BYTES - PAGE_BYTES / 2 < 16 // for the alignment of the stack
);

impl Room {
    /// No rows.
    pub const EMPTY: Self = Self {
        before_services: [0; _],
        history: History::NEW,
        services: [ServiceState::NEW; _],
        before_listeners: [0; _],
        spawner: Spawner::NEW,
        throttle: Throttle::NEW,
        listeners: Vec::new(),
        children: Vec::new(),
        parked: Vec::new(),
        internal: Rows::NONE,
        forwards: Forwards::NEW,
        outputs: Vec::new(),
        foreign: Rows::NONE,
        group: Group::NONE,
        rates: Rates::NEW,
        clients: Rows::NONE,
    };

    /// The tables in it.
    #[rustfmt::skip]
    pub fn tables(&'static mut self) -> Tables {
        let Self {
            history, services, spawner, throttle, listeners, children, group, parked, internal, forwards, outputs, foreign,
            rates, clients, ..
        } = self;
        Tables {
            history, services, spawner, throttle, listeners, children, group, parked, internal, forwards, outputs, foreign,
            rates, clients,
        }
    }
}

impl Tables {
    /// The socket of a listener, if it is open.
    #[inline(never)] // asked for in 20 places
    pub(super) fn opened(&self, row: usize) -> Option<&Opened> {
        self.listeners.get(row)?.opened.as_ref()
    }
}

/// The number of a row, as others keep it: no table that is numbered so has more.
pub(super) fn stored(row: usize) -> u16 {
    u16::try_from(row).unwrap_or(u16::MAX)
}

/// What a service is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Its sockets are watched (with Accept=yes: also while children run).
    Waiting,
    /// With Accept=no: this process has the sockets, we do not look at them. Where connections are forwarded to it we
    /// do.
    Running(i32),
    /// Nobody looks at its sockets until a known time; clients queue.
    Resting(Tick, Why),
    /// The operator does not want it: nobody looks at its sockets until he does.
    Paused,
}

/// What the operator wants when the service has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Order {
    /// Nothing in particular.
    None,
    /// No Restart=, no rest.
    Stop,
    /// Another start.
    Restart,
}

worded! {
    /// Why a service rests.
    pub enum Why {
        /// The last start failed, or the last run failed.
        Failure = "failure",
        /// The last run ended well, but at once, and left its input unread.
        Unread = "unread",
        /// The program is not there.
        Program = "program-missing",
        /// Restart= starts it again.
        Restart = "restart",
        /// TriggerLimitBurst= is reached.
        TriggerLimit = "trigger-limit",
        /// PollLimitBurst= is reached.
        PollLimit = "poll-limit",
        /// StartLimitBurst= is reached.
        StartLimit = "start-limit",
        /// No descriptor, memory or row for a child is left.
        Scarce = "scarce",
        /// MemoryAvailableMin= is not there.
        Memory = "memory",
        /// LoadMax= is reached.
        Load = "load",
    }
}

/// One service. What is asked for most stands in front, as in [`Server`](super::Server).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ServiceState {
    /// What it is doing.
    pub phase: Phase,
    /// The operator has paused it: when it runs no more, it stays in [`Phase::Paused`].
    pub paused: bool,
    /// What he wants when it has ended.
    pub order: Order,
    /// How its end came about.
    pub ending: Ending,
    /// Its sockets are also in the set that tells whether something arrived during a run.
    pub suspected: bool,
    /// Something arrived in its sockets during the run; known only if `suspected`.
    pub arrived: bool,
    /// A start waits for memory, or for the load to fall.
    pub held: bool,
    /// Children alive.
    pub live: u32,
    /// Connections that are forwarded.
    pub forwarded: u32,
    /// Failures in a row.
    pub failures: u32,
    /// Tries in a row in which its backend did not answer.
    pub tries: u32,
    /// Times in a row that something ran out.
    pub scarcities: u32,
    /// Connections in a row that were gone when we took them.
    pub misses: u32,
    /// Runs in a row that ended within [`crate::limits::SHORT_RUN_MS`] and left something in the sockets.
    pub short_runs: u32,
    /// Failed runs in a row with that datagram.
    pub poison_runs: u32,
    /// Datagrams that were dropped for it.
    pub dropped: u32,
    /// Starts.
    pub trigger: Window,
    /// Wake-ups.
    pub poll: Window,
    /// Failed starts.
    pub start: Window,
    /// Connections accepted, or starts with Accept=no.
    pub accepted: u64,
    /// When its backend is tried again; 0: nobody waits for it, [`Tick::NEVER`]: it is about to end.
    pub probe: Tick,
    /// It forwards and runs, but its sockets are not looked at before this time; 0: they are.
    pub deaf: Tick,
    /// A failed service is not started before this time.
    pub hold: Tick,
    /// Mark of the datagram that was at the head of the queue after the last failed run.
    pub poison: u64,
    /// What is known of it while it runs and may be put to sleep.
    pub watched: Watched,
    /// Since when it sleeps; 0: it does not.
    pub asleep_since: Tick,
    /// How long it has slept after such stops, up to its last start.
    pub slept_ms: u64,
    /// kB of RAM that its last stop for want of use has freed.
    pub given_back_kb: u64,
    /// Runs that have ended.
    pub ended: u64,
    /// How long the last one ran.
    pub last_ran_ms: u64,
    /// When it ended.
    pub last_ended: Tick,
    /// How it ended.
    pub last_end: End,
    /// Connections closed, by [`Refusal`].
    pub refused: [u32; Refusal::ALL.len()],
    /// Rests, by [`Why`].
    pub rested: [u32; Why::ALL.len()],
    /// How long starts took.
    pub starts: Starts,
}

impl ServiceState {
    /// Nothing has happened yet.
    pub(super) const NEW: Self = <Self as Field>::BLANK;

    /// Connections closed, for whatever reason.
    pub fn refused(&self) -> u64 {
        self.refused.iter().map(|&count| u64::from(count)).sum()
    }

    /// When its sockets are looked at again that are not now; [`Tick::NEVER`]: that is not a matter of time.
    pub(super) fn rests_until(&self) -> Tick {
        match self.phase {
            Phase::Resting(until, _) => until,
            Phase::Running(_) if self.deaf != Tick(0) => self.deaf,
            _ => Tick::NEVER,
        }
    }
}

/// How the end of a running service came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ending {
    /// It ends by itself, or runs.
    Unasked,
    /// It has said that it is about to end: who comes from then on waits for the next instance.
    Announced,
    /// It was put to sleep: however it ends, that is no failure, and no reason to start it again.
    Asked,
}

/// One socket.
pub struct Listener {
    /// The socket and its file; `None` while its address cannot be had.
    pub opened: Option<Opened>,
    /// What epoll does for it.
    pub watch: Watch,
    /// Changes with each registration, so that an event of an earlier one is known as stale.
    pub generation: u16,
    /// Tries to open it that failed in a row.
    pub tries: u16,
    /// Next try.
    pub retry: Tick,
    /// What is to be done before it is watched again.
    pub change: Change,
    /// What stands for its queue as it was when the run began; known only if it is watched whether that reads its
    /// input.
    pub queue: u32,
}

/// How far an open socket is from what the plan says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is what the plan says.
    None,
    /// Options are to be set.
    Settle,
    /// It has to make room for a new one: what differs cannot be changed.
    Renew,
}

impl Listener {
    /// A listener that is not open.
    pub const CLOSED: Self = Self {
        opened: None,
        watch: Watch::Out,
        generation: 0,
        tries: 0,
        retry: Tick(0),
        change: Change::None,
        queue: 0,
    };
}

/// What epoll does for a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// It is not in the set.
    Out,
    /// It wakes us.
    Armed,
    /// It is in the set, but has fired and is silent until it is armed again (`EPOLLONESHOT`).
    Spent,
}

/// One child.
#[derive(Clone, Copy, Debug)]
pub struct Child {
    /// Its process id.
    pub pid: i32,
    /// Its session; another number than its own only where it has put itself into the background.
    pub session: i32,
    /// Row of its service.
    pub service: u16,
    /// How far it is.
    pub stage: Life,
    /// It ran longer than RuntimeMaxSec=.
    pub timed_out: bool,
    /// How it ended, where only others of its session are left.
    pub end: End,
    /// When it was started.
    pub since: Tick,
    /// When something is due: the longest run is over, or SIGKILL is to be sent.
    pub deadline: Tick,
    /// Who is connected.
    pub source: Source,
}

worded! {
    /// How far the life of a child is.
    pub enum Life {
        /// It runs.
        Running = "running",
        /// It was asked to end.
        Stopping = "stopping",
        /// It was killed.
        Killed = "killed",
        /// The main process has ended, others of its session have not: they have time to leave it, as daemon(3) does.
        Left = "leftover",
        /// They were asked to end.
        LeftAsked = "leftover",
    }
}

impl Child {
    /// One that was started at `since` for the service of this row, in a session of its own, for no client in
    /// particular.
    pub fn new(pid: i32, service: usize, since: Tick, deadline: Tick) -> Self {
        Self {
            pid,
            session: pid,
            service: stored(service),
            stage: Life::Running,
            timed_out: false,
            end: End::Status(0),
            since,
            deadline,
            source: Source::default(),
        }
    }

    /// Whether the main process has ended already, so that its pid may belong to somebody else.
    pub const fn is_leftover(&self) -> bool {
        matches!(self.stage, Life::Left | Life::LeftAsked)
    }
}

/// A connection that waits for its program.
pub struct Parked {
    /// Row of its service.
    pub service: u16,
    /// Row of the listener it came from.
    pub listener: u16,
    /// The connection.
    pub connection: OwnedFd,
    /// Who is connected.
    pub peer: Peer,
}

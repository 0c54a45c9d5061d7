//! The loop: one thread that waits for signals and sockets, and decides.
//!
//! | file | what it does |
//! |---|---|
//! | `event_loop` | one turn: wait, deaths and signals, deadlines, sockets |
//! | `tables` | what changes, in fixed rows |
//! | `listen` | watching, resting and reopening listeners |
//! | `accept` | Accept=yes: a connection becomes a child |
//! | `service` | Accept=no: a knock starts the service, its end arms the sockets again |
//! | `idle` | services that nobody uses are stopped |
//! | `failure` | starts that fail: rest, look again, start as soon as it can work |
//! | `forward` | ConnectTo=: clients and their backends |
//! | `pairs` | the table of forwarded connections |
//! | `pump` | what one side of a forwarded connection sends goes to the other |
//! | `proxy_header` | SendProxyV2=: the backend is told who the client is, pure |
//! | `internal` | services that are built in: their connections |
//! | `datagram` | Accept=yes for datagrams: a process for each peer, or an answer of our own |
//! | `tcpmux` | a service by its name |
//! | `protocol` | what the built-in services say, pure |
//! | `reap` | children that end |
//! | `reload` | reload and upgrade: a child checks, then this process executes the program once more |
//! | `state` | what the next image of this process gets to know |
//! | `rows` | tables of parts that a build may leave out |
//! | `resume` | the next image puts it into its tables |
//! | `stop` | asking, waiting, killing: one child, or everything |
//! | `background` | services that put themselves into the background |
//! | `takeover` | services that outlived an earlier Dormouse |
//! | `session` | processes of the machine, and signals to whole sessions |
//! | `end` | how a process ended |
//! | `poison` | a datagram on which every run fails |
//! | `pressure` | starts that wait for memory, and services that give way |
//! | `notified` | what services tell by sd_notify(3) |
//! | `rate` | starts a minute and source |
//! | `output` | pipes from children to the log |
//! | `control` | clients of the control socket |
//! | `order` | start, stop, restart, pause, resume |
//! | `report` | the rows of an answer |
//! | `history` | what happened lately |
//! | `account` | what is counted |
//! | `limit` | windows and backoff, pure |
//!
//! Nothing here allocates, blocks or ends the program because of an error: the one thing is refused, counted, logged
//! and tried again. Time is read once a turn. Every state but "running" leads back to "waiting" by itself; only what an
//! operator has paused waits for him.
#![warn(clippy::indexing_slicing)]

/// One event, one line: `tell!(self, Stop, service, Info, "pid={pid}")`, see [`Server::record`].
macro_rules! tell {
    ($server:ident, $kind:ident, $service:expr, $level:ident, $($text:tt)+) => {
        $server.record($crate::logging::Kind::$kind, $service, log::Level::$level, format_args!($($text)+))
    };
}

mod accept;
mod account;
mod background;
mod control;
mod datagram;
mod end;
mod event_loop;
mod failure;
mod forward;
mod history;
mod idle;
mod internal;
mod limit;
mod listen;
mod notified;
mod order;
mod output;
mod pairs;
mod poison;
mod pressure;
mod protocol;
mod proxy_header;
mod pump;
mod rate;
mod reap;
mod reload;
mod report;
mod resume;
mod rows;
mod service;
mod session;
mod state;
mod stop;
mod tables;
mod takeover;
mod tcpmux;

pub use account::BOUNDS_US;
pub use history::Refusal;
pub use idle::{Watched, family_name, prepare as prepare_idle};
pub use output::prepare as prepare_outputs;
pub use pressure::Group;
pub use reload::Kind as ReloadKind;
pub use resume::Resume;
pub use tables::{Change, Child, Listener, Room, ServiceState, Tables, Watch, Why};

use core::fmt;
use log::Level;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

use crate::detach::PidFile;
use crate::limits::SERVICES;
use crate::logging::{Kind, insist, say};
use crate::notify::Notify;
use crate::open::watch;
use crate::plan::{Plan, Policy, ServiceSpec};
use crate::sys::clock::{self, Tick};
use crate::sys::{errno, signal};
use crate::text::Line;
use history::Cause;
use tables::{Phase, stored};

/// Everything the loop works with. What is asked for most stands in front, within the reach of short instructions.
#[repr(C)]
pub struct Server {
    plan: &'static Plan,
    epoll: OwnedFd,
    /// A second set that nobody waits on: its edges tell whether something arrived during a run.
    arrivals: OwnedFd,
    /// The end has been asked for.
    stopping: bool,
    /// Services stay when we go.
    leave_children: bool,
    /// More children have ended than one turn reaps.
    reap_again: bool,
    /// Orphans may have ended unnoticed: the kernel makes one signal of several ends.
    orphans: bool,
    /// Not every service that was taken over is in the epoll set.
    watch_again: bool,
    /// A service with Accept=no has ended with success: it may have gone into the background.
    ended_clean: bool,
    /// A forwarded connection has more to move than one turn does.
    forward_again: bool,
    /// The PSI trigger is in the epoll set.
    pressure_armed: bool,
    tables: Tables,
    /// This turn's time.
    now: Tick,
    /// The same in microseconds: when the loop woke up.
    woken_us: u64,
    /// When the loop began, that of the first image.
    since: Tick,
    /// Nothing is due before this.
    deadline: Tick,
    /// Below this memory is short.
    reserve_kb: u64,
    main_pid: u32,
    /// The last number given to a connection of a built-in service.
    serial: u32,
    signals: OwnedFd,
    addresses: Option<OwnedFd>,
    /// Tells of names that may have come, see [`crate::open::names`].
    names: Option<OwnedFd>,
    /// When it is to be read.
    names_due: Tick,
    /// Messages of services.
    notifications: Option<OwnedFd>,
    /// The PSI trigger.
    pressure: Option<OwnedFd>,
    /// What the last check has said, as long as somebody is to be told.
    faults: Option<OwnedFd>,
    notify: Notify,
    control: Option<control::Control>,
    /// A new configuration is being checked.
    checker: Option<reload::Checker>,
    /// Locked as long as this process lives.
    pid_file: Option<PidFile>,
    /// What came of it: the word and the text of the last row for who has asked.
    outcome: (&'static str, Line<256>),
}

/// What an epoll event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Signals,
    Addresses,
    Names,
    Listener {
        row: usize,
        generation: u16,
    },
    Output(usize),
    Process(i32),
    /// A client by its number; 0: the listener.
    Control(u32),
    Notifications,
    Pressure,
    Internal(u32),
    /// A side of a forwarded connection.
    Forward {
        slot: usize,
        side: usize,
        generation: u16,
    },
}

impl Token {
    const KINDS: u64 = 48;

    fn encode(self) -> EventData {
        EventData::new_u64(match self {
            Self::Signals => 0,
            Self::Addresses => 1 << Self::KINDS,
            Self::Listener { row, generation } => 2 << Self::KINDS | u64::from(generation) << 32 | row as u64,
            Self::Output(row) => 3 << Self::KINDS | row as u64,
            Self::Process(pid) => 4 << Self::KINDS | u64::from(pid.unsigned_abs()),
            Self::Control(number) => 5 << Self::KINDS | u64::from(number),
            Self::Notifications => 6 << Self::KINDS,
            Self::Pressure => 7 << Self::KINDS,
            Self::Internal(serial) => 8 << Self::KINDS | u64::from(serial),
            Self::Forward { slot, side, generation } => {
                9 << Self::KINDS | u64::from(generation) << 32 | (slot << 1 | side & 1) as u64
            }
            Self::Names => 10 << Self::KINDS,
        })
    }

    /// Puts a descriptor into the epoll set.
    #[inline(never)] // the call is long, and there are many
    fn watch(self, epoll: &OwnedFd, fd: BorrowedFd<'_>, flags: EventFlags) -> Result<(), Errno> {
        insist(|| epoll::add(epoll, fd, self.encode(), flags))
    }

    /// `None` for what this program never made.
    fn decode(data: EventData) -> Option<Self> {
        let data = data.u64();
        let row = usize::try_from(data & 0xffff_ffff).ok()?;
        Some(match data >> Self::KINDS {
            0 => Self::Signals,
            1 => Self::Addresses,
            2 => Self::Listener { row, generation: u16::try_from(data >> 32 & 0xffff).ok()? },
            3 => Self::Output(row),
            4 => Self::Process(i32::try_from(row).ok()?),
            5 => Self::Control(u32::try_from(row).ok()?),
            6 => Self::Notifications,
            7 => Self::Pressure,
            8 => Self::Internal(u32::try_from(row).ok()?),
            10 => Self::Names,
            9 => Self::Forward { slot: row >> 1, side: row & 1, generation: u16::try_from(data >> 32 & 0xffff).ok()? },
            _ => return None,
        })
    }
}

impl Server {
    /// Puts the loop together. Listeners and outputs are already in the tables.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM: the loop cannot do without these descriptors.
    pub fn new(plan: &'static Plan, tables: Tables, notify: Notify) -> Result<Self, Errno> {
        let set = || epoll::create(CreateFlags::CLOEXEC);
        let (epoll, arrivals, signals) = insist(|| Ok((set()?, set()?, signal::descriptor()?)))?;
        let pressure = pressure::open(plan, tables.group);
        Token::Signals.watch(&epoll, signals.as_fd(), EventFlags::IN)?;
        for (row, output) in tables.outputs.iter().enumerate() {
            Token::Output(row).watch(&epoll, output.read_end(), EventFlags::IN)?;
        }
        Ok(Self {
            plan,
            tables,
            epoll,
            arrivals,
            signals,
            addresses: None,
            names: None,
            names_due: Tick::NEVER,
            control: None,
            notify,
            notifications: None,
            pressure,
            pressure_armed: false,
            reserve_kb: pressure::reserve_kb(plan),
            now: clock::now(),
            woken_us: clock::now_us(),
            since: clock::now(),
            deadline: Tick::NEVER,
            stopping: false,
            leave_children: false,
            reap_again: false,
            orphans: false,
            watch_again: false,
            ended_clean: false,
            main_pid: std::process::id(),
            checker: None,
            faults: None,
            outcome: ("", Line::new()),
            pid_file: None,
            serial: 0,
            forward_again: false,
        })
    }

    /// Holds the pid file; [`Server::release_pid_file`] gives it back.
    pub fn hold_pid_file(&mut self, pid_file: PidFile) {
        self.pid_file = Some(pid_file);
    }

    /// The pid file, at the end.
    pub const fn release_pid_file(&mut self) -> Option<PidFile> {
        self.pid_file.take()
    }

    /// Tells the supervisor that every listener is open or waited for.
    pub fn ready(&mut self) {
        let (services, listeners, missing) = (self.plan.services.len(), self.plan.listeners.len(), self.missing());
        say!(Info, "ready services={services} listeners={listeners} missing={missing}");
        let status = if missing == 0 { "" } else { "some addresses are waited for" };
        if let Err(errno) = self.notify.ready(status) {
            say!(Warn, "telling the supervisor: {}", errno::text(errno));
        }
    }

    /// Starts every service that is one process without waiting for a knock.
    pub fn start_all(&mut self) {
        for service in 0..self.plan.services.len() {
            if self.is_one_process(service) && self.phase(service) == Phase::Waiting {
                self.start_service(service, Cause::Now);
            }
        }
    }

    fn spec(&self, service: usize) -> Option<&'static ServiceSpec> {
        self.plan.services.get(service)
    }

    fn policy(&self, service: usize) -> Option<&'static Policy> {
        self.plan.policies.get(usize::from(self.spec(service)?.policy))
    }

    /// Whether a service is one process that goes on running, not one for each connection, and not built in.
    fn is_one_process(&self, service: usize) -> bool {
        let backend = self.spec(service).is_some_and(|spec| spec.backend().is_some() && spec.has_program());
        self.policy(service).is_some_and(|policy| !policy.accept || backend)
    }

    /// Whether we take the connections of a service, see [`Policy::accept`].
    #[inline(always)] // asked for each connection
    fn accepts(&self, service: usize) -> bool {
        self.policy(service).is_some_and(|policy| policy.accept)
    }

    /// What a service is doing, to be changed. What is no service has the last row for itself.
    #[inline(never)] // asked for in 75 places
    #[allow(clippy::indexing_slicing, reason = "there is one row more than services")]
    fn state(&mut self, service: usize) -> &mut ServiceState {
        &mut self.tables.services[service.min(SERVICES)]
    }

    /// The same, to be looked at.
    #[inline(never)] // as above
    #[allow(clippy::indexing_slicing, reason = "as above")]
    fn state_of(&self, service: usize) -> &ServiceState {
        &self.tables.services[service.min(SERVICES)]
    }

    fn name(&self, service: usize) -> &'static str {
        self.spec(service).map_or("?", |spec| self.plan.arena.text(spec.name))
    }

    /// Rows of the listeners of a service.
    fn listeners_of(&self, service: usize) -> core::ops::Range<usize> {
        self.spec(service).map_or(0..0, ServiceSpec::rows)
    }

    /// Something is due at `deadline`.
    #[inline(never)] // a time has two words where flash is short
    fn due_at(&mut self, deadline: Tick) {
        self.deadline = self.deadline.min(deadline);
    }

    /// One event, one line: `KIND service=NAME ...`, bounded per kind and service.
    fn record(&mut self, kind: Kind, service: usize, level: Level, rest: fmt::Arguments<'_>) {
        if level <= log::max_level() {
            let (key, name, now) = (stored(service), self.name(service), self.now);
            self.tables.throttle.record(kind, key, now, level, format_args!("{} service={name} {rest}", kind.word()));
        }
    }

    fn child(&mut self, index: usize) -> Option<&mut Child> {
        self.tables.children.get_mut(index)
    }

    fn phase(&self, service: usize) -> Phase {
        self.state_of(service).phase
    }

    /// Watches the addresses of this machine while one is missing, and its interfaces where a listener is bound to one.
    fn watch_addresses(&mut self) {
        if self.addresses.is_some() {
            return;
        }
        let Ok(watch) = watch::open() else { return }; // then only time tells
        if Token::Addresses.watch(&self.epoll, watch.as_fd(), EventFlags::IN).is_ok() {
            self.addresses = Some(watch);
        }
    }
}

/// A time in a log line, in seconds with three digits.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0 / 1000, self.0 % 1000)
    }
}

/// How many there are in a log line, and of how many where that is limited.
struct Count(u32, u32);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, most) = *self;
        if most == u32::MAX { write!(f, "{count}") } else { write!(f, "{count}/{most}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_made_and_others_are_refused() {
        for token in [
            Token::Signals,
            Token::Addresses,
            Token::Names,
            Token::Listener { row: 1023, generation: u16::MAX },
            Token::Listener { row: 0, generation: 0 },
            Token::Output(63),
            Token::Process(4_194_304),
            Token::Control(u32::MAX),
            Token::Notifications,
            Token::Pressure,
            Token::Internal(u32::MAX),
            Token::Forward { slot: 65_534, side: 1, generation: u16::MAX },
        ] {
            assert_eq!(Token::decode(token.encode()), Some(token));
        }
        assert_eq!(Token::decode(EventData::new_u64(u64::MAX)), None);
        assert_eq!(Token::decode(EventData::new_u64(11 << Token::KINDS)), None);
    }

    #[test]
    fn seconds_have_three_digits() {
        assert_eq!(Seconds(61_005).to_string(), "61.005s");
    }
}

#[cfg(test)]
#[path = "full_tests.rs"]
mod full_tests;

//! What is going on, as the next image of this process gets it: written by the loop from its fixed tables, read by a
//! start-up that may take memory. Rows are numbered as in the plan that wrote them and are matched by name and address.
//!
//! Order: version; what the hand-over is about; services; listeners; children; services that were taken over; parked
//! connections; those of built-in services; pipes to the log; services that may be put to sleep; connections of each source;
//! events; clients of the control socket; the version again, which shows that nothing is missing.

use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, pread};

use super::control::KeptClient;
use super::end::End;
use super::history::{Event, What};
use super::reload::Kind;
use super::tables::{Change, Ending, Life, Order};
use super::{Child, Listener, Phase, Server, ServiceState, Watched, Why};
use crate::handover::VERSION;
use crate::handover::codec::{Field, Reader, Writer, record};
use crate::limits::{CHILDREN, CONTROL_CLIENTS, EVENTS, LISTENERS, RATES};
use crate::open::Identity;
use crate::open::kept::{Marks, marks};
use crate::peer::Source;
use crate::plan::{ChildLog, SocketKind};
use crate::sys::clock::Tick;

/// What the hand-over is about.
pub(super) struct About {
    /// Reload or upgrade.
    pub(super) kind: Kind,
    /// When it was asked for.
    pub(super) begun: Tick,
    /// It was asked for once more in the meantime.
    pub(super) again: bool,
    /// The control socket, a descriptor; -1: there is none.
    pub(super) control: i32,
    /// Its file.
    pub(super) control_file: Identity,
    /// Number of the last client.
    pub(super) last_client: u32,
    /// The pid file, a descriptor; -1: there is none.
    pub(super) pid_file: i32,
    /// The name of the process, which exec changes.
    pub(super) name: [u8; 16],
}
record!(About { kind, begun, again, control, control_file, last_client, pid_file, name });

/// A listener that was open.
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
    pub(super) descriptor: i32,
    /// Its address as in the plan.
    pub(super) address: Vec<u8>,
    /// Links to it.
    pub(super) symlinks: Vec<u8>,
}

/// A service that was taken over: its pid, and the pidfd.
pub(super) struct KeptForeign {
    pub(super) pid: i32,
    pub(super) descriptor: i32,
}
record!(KeptForeign { pid, descriptor });

/// A connection that waits for its program.
pub(super) struct KeptParked {
    pub(super) service: u16,
    pub(super) listener: u16,
    pub(super) descriptor: i32,
}
record!(KeptParked { service, listener, descriptor });

/// A connection of a service that is built in.
pub(super) struct KeptInternal {
    pub(super) service: u16,
    pub(super) listener: u16,
    pub(super) descriptor: i32,
    pub(super) deadline: Tick,
    pub(super) position: u16,
    pub(super) blocked: bool,
}
record!(KeptInternal { service, listener, descriptor, deadline, position, blocked });

/// A running service that may be put to sleep.
pub(super) struct KeptWatched {
    pub(super) pid: i32,
    pub(super) since: Tick,
    pub(super) used: Tick,
    pub(super) worked: Tick,
    pub(super) fresh: bool,
}
record!(KeptWatched { pid, since, used, worked, fresh });

/// Connections of a source, for MaxConnectionRate=.
pub(super) struct KeptRate {
    pub(super) service: u16,
    pub(super) source: Source,
    pub(super) count: u32,
    pub(super) begin: Tick,
}
record!(KeptRate { service, source, count, begin });

/// A pipe from children to the log.
pub(super) struct KeptOutput {
    pub(super) log: ChildLog,
    pub(super) read: i32,
    pub(super) write: i32,
    pub(super) identifier: Vec<u8>,
    pub(super) line: Vec<u8>,
}

/// Everything.
pub(super) struct State {
    pub(super) about: About,
    pub(super) services: Vec<(Vec<u8>, ServiceState)>,
    pub(super) listeners: Vec<KeptListener>,
    pub(super) children: Vec<Child>,
    pub(super) foreign: Vec<KeptForeign>,
    pub(super) parked: Vec<KeptParked>,
    pub(super) internal: Vec<KeptInternal>,
    pub(super) outputs: Vec<KeptOutput>,
    pub(super) watched: Vec<KeptWatched>,
    pub(super) rates: Vec<KeptRate>,
    pub(super) next_event: u32,
    pub(super) events: Vec<Event>,
    pub(super) clients: Vec<KeptClient>,
}

impl Server {
    /// Writes everything; takes no memory.
    ///
    /// # Errors
    /// As write(2).
    pub(super) fn write_state(&self, about: &About, file: OwnedFd) -> Result<OwnedFd, Errno> {
        let (plan, tables) = (self.plan, &*self.tables);
        let mut to = Writer::new(file);
        to.put(&VERSION);
        to.put(about);
        put_length(&mut to, plan.services.len());
        for (spec, state) in plan.services.iter().zip(&tables.services) {
            to.put_bytes(plan.arena.get(spec.name));
            to.put(state);
        }
        put_length(&mut to, tables.listeners.iter().filter(|listener| listener.opened.is_some()).count());
        for (row, listener) in tables.listeners.iter().enumerate() {
            self.put_listener(&mut to, row, listener);
        }
        put_length(&mut to, tables.children.len());
        tables.children.iter().for_each(|child| to.put(child));
        put_length(&mut to, tables.foreign.len());
        for foreign in &tables.foreign {
            to.put(&KeptForeign { pid: foreign.pid(), descriptor: foreign.process().as_raw_fd() });
        }
        put_length(&mut to, tables.parked.len());
        for parked in &tables.parked {
            let descriptor = parked.connection.as_raw_fd();
            to.put(&KeptParked { service: parked.service, listener: parked.listener, descriptor });
        }
        put_length(&mut to, tables.internal.len());
        tables.internal.iter().for_each(|connection| to.put(&connection.kept()));
        put_length(&mut to, tables.outputs.len());
        for output in &tables.outputs {
            output.put(plan, &mut to);
        }
        put_length(&mut to, tables.watched.len());
        for &Watched { pid, since, used, worked, fresh, .. } in &tables.watched {
            to.put(&KeptWatched { pid, since, used, worked, fresh });
        }
        put_length(&mut to, tables.rates.each().count());
        for (service, source, count, begin) in tables.rates.each() {
            to.put(&KeptRate { service, source, count, begin });
        }
        let history = &tables.history;
        let events = history.oldest()..history.next();
        to.put(&history.next());
        put_length(&mut to, events.len());
        events.filter_map(|number| history.get(number)).for_each(|event| to.put(event));
        put_length(&mut to, tables.clients.iter().filter(|client| client.is_kept()).count());
        tables.clients.iter().filter(|client| client.is_kept()).for_each(|client| client.put(&mut to));
        to.put(&VERSION);
        to.finish()
    }

    fn put_listener(&self, to: &mut Writer, row: usize, listener: &Listener) {
        let plan = self.plan;
        let (Some(opened), Some(spec)) = (&listener.opened, plan.listeners.get(row)) else { return };
        let mut marks = marks(plan, row);
        match listener.change {
            Change::None => {}
            Change::Settle => marks.settable = !marks.settable,
            Change::Renew => marks.fixed = !marks.fixed,
        }
        to.put(&spec.service);
        to.put(&u16::try_from(row).unwrap_or(u16::MAX));
        to.put(&spec.kind);
        to.put(&opened.identity);
        to.put(&marks);
        to.put(&opened.socket.as_raw_fd());
        to.put_bytes(plan.arena.get(spec.address));
        let symlinks = plan.sockets.get(usize::from(spec.socket)).map_or(&[][..], |spec| plan.arena.get(spec.symlinks));
        to.put_bytes(symlinks);
    }

    /// Calls `act` for each descriptor that [`Server::write_state`] names.
    pub(super) fn for_each_kept(&self, act: &mut dyn FnMut(BorrowedFd<'_>)) {
        use rustix::fd::AsFd;
        let tables = &*self.tables;
        tables.listeners.iter().filter_map(|listener| listener.opened.as_ref()).for_each(|o| act(o.socket.as_fd()));
        tables.foreign.iter().for_each(|foreign| act(foreign.process()));
        tables.parked.iter().for_each(|parked| act(parked.connection.as_fd()));
        tables.internal.iter().for_each(|connection| act(connection.socket.as_fd()));
        tables.outputs.iter().flat_map(super::output::Output::ends).for_each(&mut *act);
        tables.clients.iter().filter(|client| client.is_kept()).for_each(|client| act(client.socket()));
        self.control_socket().map(&mut *act);
        if let Some(file) = &self.pid_file {
            act(file.as_fd());
        }
    }
}

/// Tables have less than 65536 rows, but for the children.
fn put_length(to: &mut Writer, length: usize) {
    to.put(&u32::try_from(length).unwrap_or(u32::MAX));
}

impl State {
    /// Reads a whole file.
    pub(super) fn read(file: &OwnedFd) -> Option<Self> {
        let length = usize::try_from(rustix::fs::fstat(file).ok()?.st_size).ok()?;
        let mut bytes = vec![0; length];
        let mut done = 0;
        while done < length {
            match pread(file, bytes.get_mut(done..)?, done as u64).ok()? {
                0 => return None,
                more => done += more,
            }
        }
        Self::parse(&mut Reader(&bytes))
    }

    fn parse(from: &mut Reader<'_>) -> Option<Self> {
        let is_ours = |version: &u32| *version == VERSION;
        from.get().filter(is_ours)?;
        let state = Self {
            about: from.get()?,
            services: list(from, LISTENERS, |from| Some((from.get_bytes()?.to_vec(), from.get()?)))?,
            listeners: list(from, LISTENERS, KeptListener::get)?,
            children: list(from, CHILDREN, |from| from.get())?,
            foreign: list(from, CHILDREN, |from| from.get())?,
            parked: list(from, LISTENERS, |from| from.get())?,
            internal: list(from, LISTENERS, |from| from.get())?,
            outputs: list(from, LISTENERS, KeptOutput::get)?,
            watched: list(from, LISTENERS, |from| from.get())?,
            rates: list(from, RATES, |from| from.get())?,
            next_event: from.get()?,
            events: list(from, EVENTS, |from| from.get())?,
            clients: list(from, CONTROL_CLIENTS, KeptClient::get)?,
        };
        from.get().filter(is_ours)?;
        from.0.is_empty().then_some(state)
    }
}

/// A list with its length in front; more than `most` is nonsense.
fn list<T>(from: &mut Reader<'_>, most: usize, get: impl Fn(&mut Reader<'_>) -> Option<T>) -> Option<Vec<T>> {
    let length = usize::try_from(from.get::<u32>()?).ok().filter(|length| *length <= most)?;
    let mut rows = Vec::new();
    for _ in 0..length {
        rows.push(get(from)?);
    }
    Some(rows)
}

impl KeptListener {
    fn get(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            service: from.get()?,
            row: from.get()?,
            kind: from.get()?,
            identity: from.get()?,
            marks: from.get()?,
            descriptor: from.get()?,
            address: from.get_bytes()?.to_vec(),
            symlinks: from.get_bytes()?.to_vec(),
        })
    }
}

impl KeptOutput {
    fn get(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            log: from.get()?,
            read: from.get()?,
            write: from.get()?,
            identifier: from.get_bytes()?.to_vec(),
            line: from.get_bytes()?.to_vec(),
        })
    }
}

record!(Identity { device, inode });
record!(Marks { fixed, settable });
record!(Child { pid, service, stage, since, deadline, source });
record!(ServiceState {
    phase,
    live,
    failures,
    short_runs,
    scarcities,
    misses,
    hold,
    was_missing,
    suspected,
    arrived,
    held,
    ending,
    poison,
    poison_runs,
    dropped,
    trigger,
    poll,
    start,
    accepted,
    given_back_kb,
    slept_ms,
    asleep_since,
    refused,
    rested,
    starts,
    ended,
    last_end,
    last_ran_ms,
    last_ended,
    paused,
    order,
});

/// Makes an enumeration without data a [`Field`]: the position of its word.
macro_rules! words {
    ($type:ident { $($word:ident),* $(,)? }) => {
        impl Field for $type {
            fn put(&self, to: &mut Writer) {
                match self { $(Self::$word)|* => {} } // none is missing below
                let position = [$(Self::$word),*].iter().position(|word| word == self);
                to.put(&u8::try_from(position.unwrap_or(0)).unwrap_or(0));
            }

            fn get(from: &mut Reader<'_>) -> Option<Self> {
                let position = from.get::<u8>()?;
                [$(Self::$word),*].get(usize::from(position)).copied()
            }
        }
    };
}
words!(Ending { Unasked, Announced, Asked });
words!(Kind { Reload, Upgrade });
words!(SocketKind { Stream, Datagram, SequentialPacket, Fifo });
words!(ChildLog { Stderr, Syslog, Kmsg });
words!(Why { Failure, Unread, Program, Restart, TriggerLimit, PollLimit, StartLimit, Scarce, Memory, Load });
words!(Order { None, Stop, Restart });
words!(What { Start, Accept, Fail, Exit, Signal, Refuse, Rest, Stop, Pause, Resume, Drop });

impl Field for Phase {
    fn put(&self, to: &mut Writer) {
        match self {
            Self::Waiting => to.put(&0_u8),
            Self::Running(pid) => {
                to.put(&1_u8);
                to.put(pid);
            }
            Self::Resting(until, why) => {
                to.put(&2_u8);
                to.put(until);
                to.put(why);
            }
            Self::Paused => to.put(&3_u8),
        }
    }

    fn get(from: &mut Reader<'_>) -> Option<Self> {
        Some(match from.get::<u8>()? {
            0 => Self::Waiting,
            1 => Self::Running(from.get()?),
            2 => Self::Resting(from.get()?, from.get()?),
            3 => Self::Paused,
            _ => return None,
        })
    }
}

impl Field for Life {
    fn put(&self, to: &mut Writer) {
        let (word, timed_out) = match *self {
            Self::Running => (0_u8, false),
            Self::Stopping { timed_out } => (1, timed_out),
            Self::Killed { timed_out } => (2, timed_out),
            Self::Leftover { timed_out, .. } => (3, timed_out),
        };
        to.put(&word);
        to.put(&timed_out);
        if let Self::Leftover { end, .. } = self {
            to.put(end);
        }
    }

    fn get(from: &mut Reader<'_>) -> Option<Self> {
        let (word, timed_out) = (from.get::<u8>()?, from.get()?);
        Some(match word {
            0 => Self::Running,
            1 => Self::Stopping { timed_out },
            2 => Self::Killed { timed_out },
            3 => Self::Leftover { end: from.get()?, timed_out },
            _ => return None,
        })
    }
}

impl Field for End {
    fn put(&self, to: &mut Writer) {
        let (word, number, core) = match *self {
            Self::Status(status) => (0_u8, status, false),
            Self::Signal(signal, core) => (1, signal, core),
        };
        to.put(&word);
        to.put(&number);
        to.put(&core);
    }

    fn get(from: &mut Reader<'_>) -> Option<Self> {
        let (word, number, core) = (from.get::<u8>()?, from.get()?, from.get()?);
        match word {
            0 => Some(Self::Status(number)),
            1 => Some(Self::Signal(number, core)),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

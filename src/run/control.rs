//! Clients of the control socket, served within the loop. Nothing here waits for a client, and nothing grows: a client
//! is a row of a small table with room for one request and one row of an answer; the next row is made when the one
//! before is written. Who takes nothing is cut off by a deadline. The words are those of [`crate::control`].

mod kept;

pub(super) use kept::KeptClient;

use core::ffi::CStr;
use core::mem;
use heapless::{CString, Vec};
use rustix::event::epoll::{self, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};

use super::order::{Outcome, told};
use super::report::Part;
use super::{Phase, ReloadKind, Server, Tick, Token};
use crate::control::{Request, Row};
use crate::limits::{
    CONTROL_CLIENTS, CONTROL_IDLE_MS, CONTROL_REQUEST_BYTES, CONTROL_ROW_BYTES, CONTROL_ROWS_PER_TURN,
    SCARCE_CEILING_MS, UNIX_PATH_BYTES,
};
use crate::logging::say;
use crate::open::{self, Opened};
use crate::plan::FIRST_OWN_FD;
use crate::sys::process::above;
use crate::sys::socket::credentials;
use crate::text::Shown;

/// The control socket.
pub(super) struct Control {
    opened: Opened,
    path: CString<{ UNIX_PATH_BYTES + 1 }>,
    /// Number of the client that came last; they are never used twice in a row of 4 thousand million.
    last: u32,
    /// It is out of the epoll set until then, for want of descriptors; [`Tick::NEVER`]: it is watched.
    rest: Tick,
}

impl Control {
    /// Watches the control socket of this path; `last`: the number of the last client.
    fn watched(epoll: &OwnedFd, opened: Opened, path: &CStr, last: u32) -> Result<Self, Errno> {
        let mut kept = CString::new();
        kept.extend_from_bytes(path.to_bytes()).map_err(|_| Errno::INVAL)?;
        watch_for_clients(epoll, &opened.socket)?;
        Ok(Self { opened, path: kept, last, rest: Tick::NEVER })
    }
}

/// One client.
pub struct Client {
    socket: OwnedFd,
    number: u32,
    /// It is cut off then.
    deadline: Tick,
    /// What epoll does for it.
    interest: EventFlags,
    /// It will send nothing more.
    ended: bool,
    job: Job,
    request: Vec<u8, CONTROL_REQUEST_BYTES>,
    row: Vec<u8, CONTROL_ROW_BYTES>,
    /// Bytes of the row that are written.
    sent: usize,
}

impl Client {
    const fn new(socket: OwnedFd, number: u32, deadline: Tick) -> Self {
        let (interest, job) = (EventFlags::IN, Job::None);
        Self { socket, number, deadline, interest, ended: false, job, request: Vec::new(), row: Vec::new(), sent: 0 }
    }

    /// Who goes first when there is no room for another one: the idle, the oldest watcher, then who has taken nothing
    /// for longest. The newcomer is always served, so that nobody can lock the operator out.
    fn worth(&self) -> (u8, Tick, u32) {
        let rank = match self.job {
            Job::None if self.sent == self.row.len() => 0,
            Job::Events { follow: true, .. } => 1,
            _ => 2,
        };
        (rank, self.deadline, self.number)
    }
}

/// What a client is being told.
#[derive(Clone, Copy)]
enum Job {
    /// Nothing: its next request is waited for.
    None,
    /// `status`: the daemon, and then services from one to before another.
    Daemon { service: usize, end: usize },
    /// `status`, somewhere within.
    Status { service: usize, end: usize, part: Part },
    /// `history` and `watch`: events from this number on.
    Events { only: Option<usize>, next: u32, follow: bool },
    /// An order that is answered when this process has ended.
    Await { request: Request, service: usize, pid: i32 },
    /// `reload` and `upgrade`: answered when the check has ended, or by the next image of this process.
    Reload,
    /// What the check has said, from this byte on, and then what came of it.
    Faults { at: usize },
    /// The answer is complete but for its last row.
    Last,
}

/// What happened to a client.
#[derive(PartialEq, Eq)]
enum Step {
    /// Go on with the next row.
    More,
    /// It has to do something first.
    Wait,
    /// It is gone, or has to go.
    Gone,
}

/// Watches the control socket for new clients.
fn watch_for_clients(epoll: &OwnedFd, socket: &OwnedFd) -> Result<(), Errno> {
    Token::Control(0).watch(epoll, socket.as_fd(), EventFlags::IN)
}

impl Server {
    /// Opens the control socket. That it cannot be opened is told, and is no reason to end.
    pub fn open_control(&mut self, path: &CStr, last: u32) {
        let failed = |errno| open::OpenError { step: open::Step::Socket, errno };
        let opened = open::open_private(path);
        match opened.and_then(|opened| Control::watched(&self.epoll, opened, path, last).map_err(failed)) {
            Ok(control) => self.control = Some(control),
            Err(error) => {
                let path = Shown(path.to_bytes());
                say!(
                    Warn,
                    "the control socket {path} cannot be opened: {error}; services work, but cannot be asked about"
                );
            }
        }
    }

    /// Removes the control socket, at the end of the program.
    pub(super) fn close_control(&mut self) {
        self.tables.clients.clear();
        if let Some(control) = self.control.take() {
            open::remove_private(&control.path, control.opened.identity);
        }
    }

    /// A client has come, has sent something, takes something again, or is gone.
    #[inline(never)] // its buffers are no part of the loop's own frame
    pub(super) fn on_control(&mut self, number: u32, flags: EventFlags) {
        if number == 0 {
            return self.accept_client();
        }
        let Some(index) = self.tables.clients.iter().position(|client| client.number == number) else { return };
        let gone = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        let asks = self.tables.clients.get(index).is_some_and(|client| matches!(client.job, Job::None));
        if asks || !gone {
            self.serve_client(index); // an order counts even if nobody waits for the answer
        }
        if gone {
            self.tables.clients.retain(|client| client.number != number);
        }
    }

    fn accept_client(&mut self) {
        let (now, epoll) = (self.now, &self.epoll);
        let Some(control) = &mut self.control else { return };
        let socket = match accept_with(&control.opened.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => socket,
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return, // gone already
            Err(_) => {
                // it stays readable, and would wake us again and again
                let _ = epoll::delete(epoll, &control.opened.socket); // it is there
                control.rest = now.after_ms(SCARCE_CEILING_MS);
                let rest = control.rest;
                return self.due_at(rest);
            }
        };
        let may = credentials(socket.as_fd())
            .is_ok_and(|peer| peer.uid == 0 || peer.uid == rustix::process::geteuid().as_raw());
        // descriptor 3 is where the next connection of a service has to land, if the limit of descriptors allows
        let socket = above(socket, FIRST_OWN_FD);
        if !may {
            return;
        }
        let clients = &mut self.tables.clients;
        if clients.is_full() {
            let first = clients.iter().min_by_key(|client| client.worth());
            let Some(number) = first.map(|client| client.number) else { return };
            clients.retain(|client| client.number != number);
        }
        control.last = control.last.checked_add(1).unwrap_or(1);
        let number = control.last;
        if Token::Control(number).watch(epoll, socket.as_fd(), EventFlags::IN).is_err() {
            return;
        }
        let deadline = now.after_ms(CONTROL_IDLE_MS);
        if clients.push(Client::new(socket, number, deadline)).is_ok() {
            let index = clients.len() - 1;
            self.due_at(deadline);
            self.serve_client(index);
        }
    }

    fn drop_client(&mut self, index: usize) {
        if index < self.tables.clients.len() {
            self.tables.clients.swap_remove(index);
        }
    }

    /// Cuts off who has done nothing for too long, and looks for new ones again after a rest.
    pub(super) fn drop_idle_clients(&mut self) {
        let now = self.now;
        self.tables.clients.retain(|client| client.deadline > now);
        if let Some(control) = self.control.as_mut().filter(|control| now >= control.rest) {
            let watched = watch_for_clients(&self.epoll, &control.opened.socket);
            control.rest = if watched.is_ok() { Tick::NEVER } else { now.after_ms(SCARCE_CEILING_MS) };
        }
        let clients = self.tables.clients.iter().map(|client| client.deadline);
        let next = clients.chain(self.control.as_ref().map(|control| control.rest)).min();
        self.due_at(next.unwrap_or(Tick::NEVER));
    }

    /// Goes on with clients that wait for something to happen, not for themselves.
    pub(super) fn answer_waiting(&mut self) {
        for index in (0..self.tables.clients.len()).rev() {
            let next = self.tables.history.next();
            let due = self.tables.clients.get(index).is_some_and(|client| match client.job {
                Job::Events { next: seen, follow: true, .. } => client.sent == client.row.len() && seen != next,
                Job::Await { service, pid, .. } => self.has_ended(service, pid),
                _ => false,
            });
            if due {
                self.serve_client(index);
            }
        }
    }

    fn has_ended(&self, service: usize, pid: i32) -> bool {
        self.phase(service) != Phase::Running(pid)
    }

    /// Gives a client its next rows, a bounded number, and decides what to wait for.
    fn serve_client(&mut self, index: usize) {
        for _ in 0..CONTROL_ROWS_PER_TURN {
            match self.step(index) {
                Step::More => {}
                Step::Wait => return self.await_client(index),
                Step::Gone => return self.drop_client(index),
            }
        }
        self.await_client(index);
    }

    /// Writes what there is; then makes the next row, or takes the next request.
    fn step(&mut self, index: usize) -> Step {
        let deadline = self.now.after_ms(CONTROL_IDLE_MS);
        let Some(client) = self.tables.clients.get_mut(index) else { return Step::Wait };
        if let Some(rest) = client.row.get(client.sent..).filter(|rest| !rest.is_empty()) {
            match send(&client.socket, rest, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(length) => {
                    client.sent += length;
                    client.deadline = deadline;
                    if client.sent < client.row.len() {
                        return Step::Wait;
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => return Step::Wait,
                Err(_) => return Step::Gone,
            }
        }
        let mut job = client.job;
        if matches!(job, Job::None) {
            return self.take_request(index);
        }
        let row = self.next_row(&mut job);
        let Some(client) = self.tables.clients.get_mut(index) else { return Step::Wait };
        client.job = job;
        match row {
            Some(row) => client.say(row),
            None => return Step::Wait,
        }
        Step::More
    }

    /// Takes a whole request out of what the client has sent, and reads more if there is none.
    fn take_request(&mut self, index: usize) -> Step {
        let deadline = self.now.after_ms(CONTROL_IDLE_MS);
        let Some(client) = self.tables.clients.get_mut(index) else { return Step::Wait };
        let line = loop {
            if let Some(end) = client.request.iter().position(|&byte| byte == b'\n') {
                let rest =
                    client.request.get(end + 1..).and_then(|rest| Vec::from_slice(rest).ok()).unwrap_or_default();
                let mut line = mem::replace(&mut client.request, rest);
                line.truncate(end);
                break line;
            }
            let room = client.request.capacity() - client.request.len();
            if room == 0 {
                const TOO_LONG: &[u8] = b"error text=\"the request is too long\"\n";
                let _ = send(&client.socket, TOO_LONG, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
                return Step::Gone;
            }
            if client.ended {
                return Step::Gone;
            }
            let mut bytes = [0_u8; CONTROL_REQUEST_BYTES];
            let most = bytes.get_mut(..room).unwrap_or(&mut []);
            match recv(&client.socket, most, RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    client.ended = length == 0;
                    let _ = client.request.extend_from_slice(bytes.get(..length).unwrap_or(&[])); // there is room
                }
                Err(Errno::AGAIN | Errno::INTR) => return Step::Wait,
                Err(_) => return Step::Gone,
            }
        };
        client.deadline = deadline;
        let (job, row) = self.begin(&line);
        if let Some(client) = self.tables.clients.get_mut(index) {
            client.job = job;
            if let Some(row) = row {
                client.say(row);
            }
        }
        Step::More
    }

    /// Understands a request: what it leads to, or the answer.
    fn begin(&mut self, line: &[u8]) -> (Job, Option<Row>) {
        let error = |text: core::fmt::Arguments<'_>| (Job::None, Some(told("error", text)));
        let Some((request, name)) = Request::parse(line) else {
            return error(format_args!("unknown request; there are status, history, watch, start, stop, ..."));
        };
        let service = (0..self.plan.services.len()).find(|&service| self.name(service) == name);
        if service.is_none() && !name.is_empty() {
            return error(format_args!("no service {name}"));
        }
        match (request, service) {
            (Request::Status, Some(service)) => (Job::Daemon { service, end: service + 1 }, None),
            (Request::Status, None) => (Job::Daemon { service: 0, end: self.plan.services.len() }, None),
            (Request::History, only) => (Job::Events { only, next: self.tables.history.oldest(), follow: false }, None),
            (Request::Watch, only) => (Job::Events { only, next: self.tables.history.next(), follow: true }, None),
            (Request::Reload | Request::Upgrade, Some(_)) => {
                error(format_args!("{} takes no name: it is about all services", request.word()))
            }
            (Request::Reload, None) => self.begin_reload(ReloadKind::Reload),
            (Request::Upgrade, None) => self.begin_reload(ReloadKind::Upgrade),
            (_, None) => error(format_args!("{} needs the name of a service", request.word())),
            (_, Some(service)) => match self.order(request, service) {
                Outcome::Answer(row) => (Job::None, Some(row)),
                Outcome::Await(pid) => (Job::Await { request, service, pid }, None),
            },
        }
    }

    /// The next row of an answer; `None`: there is nothing to say yet.
    fn next_row(&mut self, job: &mut Job) -> Option<Row> {
        loop {
            match *job {
                Job::None | Job::Reload => return None,
                Job::Faults { at } => return Some(self.fault_row(at, job)),
                Job::Last => {
                    *job = Job::None;
                    return Some(Row::new("ok"));
                }
                Job::Daemon { service, end } => {
                    *job = Job::Status { service, end, part: Part::Service };
                    return Some(self.daemon_row());
                }
                Job::Status { service, end, .. } if service >= end => *job = Job::Last,
                Job::Status { service, end, part } => {
                    let (row, next) = self.service_row(service, part);
                    *job = match next {
                        Some(part) => Job::Status { service, end, part },
                        None => Job::Status { service: service + 1, end, part: Part::Service },
                    };
                    if row.is_some() {
                        return row;
                    }
                }
                Job::Events { only, next, follow } => {
                    let oldest = self.tables.history.oldest();
                    if next < oldest {
                        *job = Job::Events { only, next: oldest, follow };
                        let mut row = Row::new("lost");
                        row.number("events", u64::from(oldest - next));
                        return Some(row);
                    }
                    let Some(event) = self.tables.history.get(next) else {
                        if follow {
                            return None;
                        }
                        *job = Job::Last;
                        continue;
                    };
                    *job = Job::Events { only, next: next + 1, follow };
                    if only.is_none_or(|only| only == event.service()) {
                        return Some(event.row(next, self.name(event.service()), self.now));
                    }
                }
                Job::Await { service, pid, .. } if !self.has_ended(service, pid) => return None,
                Job::Await { request, service, .. } => {
                    *job = Job::None;
                    let restart = request == Request::Restart;
                    return Some(if restart { self.started(service) } else { self.stopped(service) });
                }
            }
        }
    }

    /// Decides what wakes the loop for a client, and until when it has time.
    fn await_client(&mut self, index: usize) {
        let (now, next) = (self.now, self.tables.history.next());
        let Some(client) = self.tables.clients.get_mut(index) else { return };
        let written = client.sent == client.row.len();
        let (interest, patient) = match client.job {
            Job::None if written => (EventFlags::IN, false),
            Job::Events { next: seen, follow: true, .. } if written && seen == next => (EventFlags::empty(), true),
            Job::Await { .. } | Job::Reload if written => (EventFlags::empty(), true),
            _ => (EventFlags::OUT, false),
        };
        if patient {
            client.deadline = Tick::NEVER;
        } else if client.deadline == Tick::NEVER {
            client.deadline = now.after_ms(CONTROL_IDLE_MS);
        }
        let deadline = client.deadline;
        let token = Token::Control(client.number).encode();
        let changed = mem::replace(&mut client.interest, interest) != interest;
        if changed && epoll::modify(&self.epoll, client.socket.as_fd(), token, interest).is_err() {
            return self.drop_client(index);
        }
        self.due_at(deadline);
    }
}

impl Client {
    /// The next row to write. A fault of ours would be one that does not fit; it is left out then.
    fn say(&mut self, mut row: Row) {
        (self.row, self.sent) = (Vec::from_slice(row.end()).unwrap_or_default(), 0);
    }
}

const _: () = assert!(CONTROL_CLIENTS > 1);

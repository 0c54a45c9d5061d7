//! The control socket and its clients while this process changes its image: who watches goes on watching, who waits for
//! an order is answered by the next image, and so is who has asked for the change. A client in the middle of a long
//! answer is cut off.

use core::ffi::CStr;
use core::fmt::{self, Write};
use heapless::Vec;
use rustix::event::epoll::EventFlags;
use rustix::fd::{AsFd, AsRawFd, RawFd};
use rustix::io::pread;

use super::{Client, Control, Job, Request, Row, Server, Token};
use crate::handover::codec::{Codec, Descriptor, Field, record, words};
use crate::limits::{CONTROL_IDLE_MS, CONTROL_ROW_BYTES};
use crate::open::{self, Identity, Opened};
use crate::run::order::told;
use crate::run::state::{Kept, put_kept};
use crate::run::{ReloadKind, Resume};
use crate::text::Line;

/// Instead of the row of a service: all.
const ALL: u16 = u16::MAX;

/// A client, on its way to the next image; its texts are what it has sent, and what it has not yet been told.
#[derive(Clone)]
pub(in crate::run) struct KeptClient {
    descriptor: Descriptor,
    number: u32,
    ended: bool,
    waits: Waits,
    request: Request,
    service: u16,
    pid: i32,
    next: u32,
}
record!(KeptClient: descriptor number ended waits request service pid next);

/// What it waits for: nothing, events, the end of a process, or the change itself.
#[derive(Clone, Copy, PartialEq)]
enum Waits {
    Nothing,
    Events,
    End,
    Reload,
}
words!(Waits { Nothing, Events, End, Reload });
words!(Request);

impl Client {
    /// Whether the next image can go on with it.
    pub(in crate::run) const fn is_kept(&self) -> bool {
        matches!(self.job, Job::None | Job::Events { follow: true, .. } | Job::Await { .. } | Job::Reload)
    }

    /// Writes it for the next image, see [`crate::run`], `state`.
    pub(in crate::run) fn put(&self, to: &mut Codec<'_>) {
        let row = |service: usize| u16::try_from(service).unwrap_or(ALL);
        let (descriptor, number, ended) = (Descriptor(self.socket.as_raw_fd()), self.number, self.ended);
        let mut kept = KeptClient { descriptor, number, ended, ..KeptClient::BLANK };
        match self.job {
            Job::Events { only, next, follow: true } => {
                (kept.waits, kept.service, kept.next) = (Waits::Events, only.map_or(ALL, row), next);
            }
            Job::Await { request, service, pid } => {
                (kept.waits, kept.request, kept.service, kept.pid) = (Waits::End, request, row(service), pid);
            }
            Job::Reload => kept.waits = Waits::Reload,
            _ => {}
        }
        put_kept(to, kept, &self.request, self.row.get(self.sent..).unwrap_or(&[]));
    }
}

impl Server {
    /// The control socket, its file, and the number of the last client.
    pub(in crate::run) fn kept_control(&self) -> (Descriptor, Identity, u32) {
        let kept =
            |control: &Control| (Descriptor(control.opened.socket.as_raw_fd()), control.opened.identity, control.last);
        self.control.as_ref().map_or((Descriptor::BLANK, Identity::default(), 0), kept)
    }

    /// Goes on with the control socket of the image before; opens it if there was none.
    pub fn resume_control(&mut self, resume: &mut Resume, path: &CStr) {
        let (control, identity, last) = resume.take_control();
        let Some(socket) = control.filter(|_| !open::is_gone(path, identity)) else {
            return self.open_control(path, last);
        };
        self.control = Control::watched(&self.epoll, Opened { socket, identity }, path, last).ok();
    }

    /// Takes clients over; `service`: the row of a service now.
    pub(in crate::run) fn resume_clients(
        &mut self,
        clients: std::vec::Vec<Kept<KeptClient>>,
        service: impl Fn(u16) -> Option<u16>,
        least: RawFd,
    ) {
        for Kept { row: old, first: request, second: row } in clients {
            let Some(socket) = old.descriptor.reclaim(least) else { continue };
            let next = old.next;
            let job = match (old.waits, service(old.service).map(usize::from)) {
                (Waits::Nothing, _) => Job::None,
                (Waits::Events, None) if old.service == ALL => Job::Events { only: None, next, follow: true },
                (Waits::Events, Some(row)) => Job::Events { only: Some(row), next, follow: true },
                (Waits::End, Some(service)) => Job::Await { request: old.request, service, pid: old.pid },
                (Waits::Reload, _) => Job::Reload,
                (Waits::Events | Waits::End, None) => continue, // what it waited for is gone
            };
            if Token::Control(old.number).watch(&self.epoll, socket.as_fd(), EventFlags::OUT).is_err() {
                continue;
            }
            let mut client = Client::new(socket, old.number, self.now.after_ms(CONTROL_IDLE_MS));
            client.interest = EventFlags::OUT; // so that it is looked at in the first turn
            (client.ended, client.job) = (old.ended, job);
            client.request = Vec::from_slice(&request).unwrap_or_default();
            client.row = Vec::from_slice(&row).unwrap_or_default();
            let _ = self.tables.clients.push(client); // as many as before
        }
    }

    /// `reload` and `upgrade` of a client.
    pub(super) fn begin_reload(&mut self, kind: ReloadKind) -> (Job, Option<Row>) {
        match self.request_reload(kind) {
            Ok(()) => (Job::Reload, None),
            Err(refusal) => (Job::None, Some(told("error", format_args!("{refusal}")))),
        }
    }

    /// The change is done or refused: clients that wait for it are told what the check has said, and then this.
    pub(in crate::run) fn answer_reload(&mut self, word: &'static str, text: fmt::Arguments<'_>) {
        self.outcome = (word, Line::new());
        let _ = self.outcome.1.write_fmt(text); // a line takes everything
        for index in (0..self.tables.clients.len()).rev() {
            if let Some(client) = self.tables.clients.get_mut(index).filter(|client| matches!(client.job, Job::Reload))
            {
                client.job = Job::Faults { at: 0 };
                self.serve_client(index);
            }
        }
        if !self.tables.clients.iter().any(|client| matches!(client.job, Job::Faults { .. })) {
            self.faults = None; // nobody has to be told any more
        }
    }

    /// The next line of the check, or what came of it, which follows the last one.
    pub(super) fn fault_row(&self, at: usize, job: &mut Job) -> Row {
        let mut buffer = [0; CONTROL_ROW_BYTES];
        let length = self.faults.as_ref().and_then(|file| pread(file, &mut buffer, at as u64).ok()).unwrap_or(0);
        let text = buffer.get(..length).unwrap_or(&[]);
        // behind what was written the file is filled with NULs
        let text = text.split(|&byte| byte == 0).next().unwrap_or(&[]);
        let line = text.split(|&byte| byte == b'\n').next().unwrap_or(&[]);
        if text.is_empty() {
            *job = Job::None;
            return told(self.outcome.0, format_args!("{}", self.outcome.1.as_str()));
        }
        *job = Job::Faults { at: at + line.len() + 1 };
        let mut row = Row::new("fault");
        row.text("text", &core::str::from_utf8(line).unwrap_or("?"));
        row
    }
}

//! Services that are built in: what inetd answers by itself. Their connections live in a small table; each event moves
//! a bounded number of bytes through one buffer on the stack, and what cannot be sent yet stays in the kernel's queue.

use rustix::event::epoll::{self, EventFlags};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::protocol::{CYCLE, daytime, pattern, time};
use super::state::KeptInternal;
use super::tables::stored;
use super::{Server, Tick, Token};
use crate::handover::codec::Descriptor;
use crate::limits::{INTERNAL_BYTES, INTERNAL_IDLE_MS};
use crate::peer::{Peer, Source};
use crate::plan::Internal;
use crate::sys::clock::wall_seconds;
use crate::sys::socket::set_number;

/// A connection of a built-in service.
pub struct InternalConnection {
    /// Names it in the events; never given twice in a while.
    pub(super) serial: u32,
    pub(super) service: u16,
    /// Row of the listener it came from.
    pub(super) listener: u16,
    pub(super) what: Internal,
    pub(super) socket: OwnedFd,
    source: Source,
    /// When it is closed if nothing moves.
    pub(super) deadline: Tick,
    /// Where chargen is in its pattern.
    position: u16,
    /// The other side does not take more for now.
    blocked: bool,
}

impl InternalConnection {
    pub(super) fn is_of(&self, service: usize, source: Source) -> bool {
        usize::from(self.service) == service && self.source == source
    }

    /// What the next image of this process needs.
    pub(super) fn kept(&self) -> KeptInternal {
        let Self { service, listener, ref socket, deadline, position, blocked, .. } = *self;
        KeptInternal { service, listener, descriptor: Descriptor(socket.as_raw_fd()), deadline, position, blocked }
    }

    /// What epoll is to look for.
    fn interest(&self) -> EventFlags {
        if self.what == Internal::Tcpmux {
            EventFlags::IN | EventFlags::RDHUP | EventFlags::ET // half a request stays in the queue
        } else if self.blocked || self.what == Internal::Chargen {
            EventFlags::OUT
        } else {
            EventFlags::IN
        }
    }
}

/// What becomes of a connection after an event.
pub(super) enum Next {
    /// It goes on.
    Stay,
    /// It is over.
    Close,
    /// Its service is known: the one in this row (tcpmux).
    Hand(usize),
}

impl Server {
    /// A connection of a built-in service: answered at once, or taken into the table.
    pub(super) fn serve_internal(&mut self, service: usize, row: usize, connection: OwnedFd, peer: &Peer) {
        let (Some(policy), Some(what)) = (self.policy(service), self.spec(service).and_then(|spec| spec.internal()))
        else {
            return;
        };
        let now = self.now;
        let state = self.state(service);
        state.trigger.count(policy.trigger, now);
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        // an answer that does not fit into an empty queue has nobody who waits for it
        match what {
            Internal::Daytime => drop(send(&connection, daytime(wall_seconds()).as_bytes(), flags)),
            Internal::Time => drop(send(&connection, &time(wall_seconds()), flags)),
            _ => return self.keep(service, row, what, connection, peer),
        }
        tell!(self, Accept, service, Debug, "peer={peer} internal=yes");
    }

    fn keep(&mut self, service: usize, row: usize, what: Internal, socket: OwnedFd, peer: &Peer) {
        let connection = InternalConnection {
            serial: 0,
            service: stored(service),
            listener: stored(row),
            what,
            socket,
            source: peer.source(),
            deadline: self.now.after_ms(INTERNAL_IDLE_MS),
            position: 0,
            blocked: false,
        };
        if what == Internal::Chargen {
            // somebody who does not read gets no megabytes prepared
            let _ = set_number(connection.socket.as_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, INTERNAL_BYTES);
        }
        match self.take_in(connection) {
            Ok(()) => tell!(self, Accept, service, Debug, "peer={peer} internal=yes"),
            Err(errno) => self.rest_by_scarcity(service, "epoll", errno),
        }
    }

    /// A connection becomes a row.
    fn take_in(&mut self, mut connection: InternalConnection) -> Result<(), Errno> {
        self.serial = self.serial.wrapping_add(1);
        connection.serial = self.serial;
        let token = Token::Internal(connection.serial);
        token.watch(&self.epoll, connection.socket.as_fd(), connection.interest())?;
        self.due_at(connection.deadline);
        let service = usize::from(connection.service);
        let _ = self.tables.internal.push(connection); // there is room: looked at before accept
        self.state(service).live += 1;
        Ok(())
    }

    /// A connection of the image before goes on, if its service does the same as ever. `old` has the new rows.
    pub(super) fn resume_internal(&mut self, old: &KeptInternal, socket: OwnedFd) {
        let Some(what) = self.spec(usize::from(old.service)).and_then(|spec| spec.internal()) else { return };
        let source = Peer::connected(&socket).source();
        let KeptInternal { service, listener, deadline, position, blocked, .. } = *old;
        let connection =
            InternalConnection { serial: 0, service, listener, what, socket, source, deadline, position, blocked };
        let _ = self.take_in(connection); // without it the connection is closed
    }

    /// Something can be moved. A serial that nobody has is that of a connection closed in the same turn.
    #[inline(never)] // its buffers are no part of the loop's own frame
    pub(super) fn on_internal(&mut self, serial: u32, flags: EventFlags) {
        let Some(index) = self.tables.internal.iter().position(|row| row.serial == serial) else { return };
        let Some(connection) = self.tables.internal.get_mut(index) else { return };
        let before = connection.interest();
        let deadline = self.now.after_ms(INTERNAL_IDLE_MS);
        let next = match connection.what {
            Internal::Echo => echo(connection),
            Internal::Chargen => chargen(connection),
            Internal::Tcpmux => self.on_request(index, flags),
            _ => discard(connection),
        };
        match next {
            Next::Close => drop(self.release(index)),
            Next::Hand(service) => self.hand_on(index, service),
            Next::Stay => {
                let Some(connection) = self.tables.internal.get_mut(index) else { return };
                connection.deadline = deadline;
                let interest = connection.interest();
                let token = Token::Internal(serial).encode();
                if interest != before && epoll::modify(&self.epoll, connection.socket.as_fd(), token, interest).is_err()
                {
                    drop(self.release(index));
                }
            }
        }
    }

    /// Takes a connection out of the table.
    pub(super) fn release(&mut self, index: usize) -> InternalConnection {
        let connection = self.tables.internal.swap_remove(index);
        let _ = epoll::delete(&self.epoll, &connection.socket); // ENOENT: it is out already
        let state = self.state(usize::from(connection.service));
        state.live = state.live.saturating_sub(1);
        connection
    }

    /// Closes connections on which nothing has moved for long.
    pub(super) fn close_idle(&mut self) {
        let mut index = 0;
        while let Some(deadline) = self.tables.internal.get(index).map(|connection| connection.deadline) {
            if self.now >= deadline {
                drop(self.release(index));
            } else {
                self.due_at(deadline);
                index += 1;
            }
        }
    }
}

/// Whether a call only has to be made again later.
fn is_later(errno: Errno) -> bool {
    matches!(errno, Errno::AGAIN | Errno::INTR)
}

/// Looks at what has come, sends it, and takes exactly what was sent: no byte is ever kept here.
fn echo(connection: &mut InternalConnection) -> Next {
    let mut buffer = [0; INTERNAL_BYTES];
    let flags = RecvFlags::DONTWAIT;
    let length = match recv(&connection.socket, &mut buffer[..], flags | RecvFlags::PEEK) {
        Ok((0, _)) => return Next::Close,
        Ok((_, length)) => length.min(INTERNAL_BYTES),
        Err(errno) if is_later(errno) => return Next::Stay,
        Err(_) => return Next::Close,
    };
    let Some(sent) = pass(connection, buffer.get(..length).unwrap_or(&[])) else { return Next::Close };
    connection.blocked = sent < length;
    let taken = buffer.get_mut(..sent).filter(|sent| !sent.is_empty());
    if taken.is_some_and(|taken| recv(&connection.socket, taken, flags).is_err()) { Next::Close } else { Next::Stay }
}

/// Sends as much as the other side takes; `None`: the connection is broken.
pub(super) fn pass(connection: &InternalConnection, bytes: &[u8]) -> Option<usize> {
    match send(&connection.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(sent) => Some(sent),
        Err(errno) if is_later(errno) => Some(0),
        Err(_) => None,
    }
}

fn discard(connection: &mut InternalConnection) -> Next {
    let mut buffer = [0; INTERNAL_BYTES];
    match recv(&connection.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
        Ok((0, _)) => Next::Close,
        Ok(_) => Next::Stay,
        Err(errno) if is_later(errno) => Next::Stay,
        Err(_) => Next::Close,
    }
}

fn chargen(connection: &mut InternalConnection) -> Next {
    let mut buffer = [0; INTERNAL_BYTES];
    let start = connection.position;
    let mut place = start;
    for byte in &mut buffer {
        *byte = pattern(place);
        place = if place + 1 == CYCLE { 0 } else { place + 1 };
    }
    let Some(sent) = pass(connection, &buffer) else { return Next::Close };
    let moved = (usize::from(start) + sent) % usize::from(CYCLE);
    connection.position = u16::try_from(moved).unwrap_or(0);
    Next::Stay
}

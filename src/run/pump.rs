//! Forwarded connections: what one side sends goes to the other.
//!
//! A little is read into one buffer and sent at once: two system calls, and nothing is kept for an idle connection. Who
//! fills the buffer sends a stream, which goes through a pipe by splice(2) and is not copied, until little comes at
//! once. What the other side does not take waits in that pipe, and nothing more is read meanwhile. The kernel tells of
//! each change once (`EPOLLET`), so what it has told is remembered here.

use heapless::Vec;
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::io::{Errno, write};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice};

use super::Tick;
use crate::limits::{FORWARD_BYTES, FORWARD_PIPES, FORWARD_TURN_BYTES, LARGE_PIPES, STREAM_BYTES};
use crate::open::backend::keep_little;
use crate::sys::process::above;

/// A pipe; both ends above the descriptors that children get.
pub(super) struct Pipe {
    pub(super) read: OwnedFd,
    pub(super) write: OwnedFd,
    /// It holds [`STREAM_BYTES`].
    pub(super) large: bool,
}

impl Pipe {
    /// One that is there already.
    pub(super) fn of(read: OwnedFd, write: OwnedFd) -> Self {
        let large = fcntl_getpipe_size(&read).is_ok_and(|bytes| bytes >= STREAM_BYTES);
        Self { read, write, large }
    }
}

/// What all connections share. All zero at first.
pub struct Shared {
    /// Empty pipes. There is always one while something is read into the buffer, so that no byte is lost.
    pipes: Vec<Pipe, FORWARD_PIPES>,
    /// Large pipes, empty or not.
    pub(super) large: u8,
    /// The first number for the descriptors of all this; 0: not known yet.
    pub(super) least: i32,
    /// Connections for which there are descriptors, and until when that is believed.
    pub(super) room: (usize, Tick),
    buffer: [u8; FORWARD_BYTES],
}

impl Shared {
    /// Nothing yet.
    pub(super) const NEW: Self =
        Self { pipes: Vec::new(), large: 0, least: 0, room: (0, Tick(0)), buffer: [0; FORWARD_BYTES] };

    /// Whether there is an empty pipe.
    fn has_pipe(&mut self) -> bool {
        if self.pipes.is_empty()
            && let Some(pipe) = open_pipe(self.least, self.large < LARGE_PIPES)
        {
            self.large += u8::from(pipe.large);
            let _ = self.pipes.push(pipe); // there was none
        }
        !self.pipes.is_empty()
    }

    /// Takes an empty pipe back, or closes it where there are enough.
    pub(super) fn give(&mut self, pipe: Option<Pipe>) {
        let left = pipe.and_then(|pipe| self.pipes.push(pipe).err());
        self.close(left);
    }

    /// Closes a pipe with what is in it.
    pub(super) fn close(&mut self, pipe: Option<Pipe>) {
        self.large = self.large.saturating_sub(u8::from(pipe.is_some_and(|pipe| pipe.large)));
    }
}

/// A new pipe that holds what the buffer holds; a user who has many gets smaller ones (pipe(7), pipe-user-pages-soft).
/// Where splice(2) is refused, by a sandbox or an emulator, nothing would come out of it again.
fn open_pipe(least: i32, large: bool) -> Option<Pipe> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
    splice(&read, None, &write, None, 0, SpliceFlags::NONBLOCK).ok()?; // the kernel has no look at what is of no length
    if large {
        let _ = fcntl_setpipe_size(&read, STREAM_BYTES); // it may not be allowed (pipe-max-size)
    }
    fcntl_getpipe_size(&read).ok().filter(|&bytes| bytes >= FORWARD_BYTES)?;
    Some(Pipe::of(above(read, least), above(write, least)))
}

/// One side of a connection, and what has come from it.
pub(super) struct Side {
    pub(super) socket: Option<OwnedFd>,
    /// What was read and not sent yet is in here. A stream goes through it.
    pub(super) pipe: Option<Pipe>,
    /// Bytes in the pipe.
    pub(super) held: u32,
    /// The last read was a large one.
    streams: bool,
    /// It has sent or got a stream, and little waits between it and us since.
    little: bool,
    /// There may be something to read.
    readable: bool,
    /// It may take something.
    pub(super) writable: bool,
    /// Its end is there to be read.
    hung_up: bool,
    /// The kernel tells when it takes something again.
    pub(super) told: bool,
    /// Nothing more is read from it.
    pub(super) ended: bool,
    /// The other side knows that.
    pub(super) passed_on: bool,
    /// It ended by an error.
    pub(super) broken: bool,
}

impl Side {
    pub(super) const fn new(socket: Option<OwnedFd>) -> Self {
        Self {
            socket,
            pipe: None,
            held: 0,
            streams: false,
            little: false,
            readable: false,
            writable: true,
            hung_up: false,
            told: false,
            ended: false,
            passed_on: false,
            broken: false,
        }
    }

    /// Notes what epoll tells.
    pub(super) fn note(&mut self, flags: EventFlags) {
        let end = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        self.hung_up |= end;
        self.readable |= end || flags.contains(EventFlags::IN);
        self.writable |= flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR);
    }

    /// What epoll is to tell.
    pub(super) fn interest(&self) -> EventFlags {
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        if self.told { flags | EventFlags::OUT } else { flags }
    }

    /// Everything may have happened to it.
    pub(super) fn look_anew(&mut self) {
        (self.readable, self.writable) = (true, true);
    }

    const fn is_done(&self) -> bool {
        self.ended && self.held == 0
    }

    /// A stream comes from it or goes to it.
    fn begin_stream(&mut self) {
        if !core::mem::replace(&mut self.little, true)
            && let Some(socket) = &self.socket
        {
            keep_little(socket);
        }
    }

    /// Nothing more can be read from it.
    fn end(&mut self) {
        (self.ended, self.readable) = (true, false);
    }
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// It goes on when something happens.
    Quiet,
    /// It goes on in the next turn.
    More,
    /// Both sides have ended.
    Over,
    /// One side was cut off, and the other is to see that.
    Broken,
}

/// Moves what can be moved, both ways.
pub(super) fn pump([client, backend]: &mut [Side; 2], shared: &mut Shared) -> Flow {
    let more = one_way(client, backend, shared) | one_way(backend, client, shared);
    let cut = |side: &Side| side.broken && side.held == 0;
    if cut(client) || cut(backend) {
        return Flow::Broken;
    }
    if client.is_done() && backend.is_done() {
        return Flow::Over;
    }
    pass_end_on(client, backend);
    pass_end_on(backend, client);
    if more { Flow::More } else { Flow::Quiet }
}

/// Half a connection has ended: the other side sees that when it has everything.
fn pass_end_on(from: &mut Side, to: &Side) {
    if from.is_done()
        && !core::mem::replace(&mut from.passed_on, true)
        && let Some(socket) = &to.socket
    {
        let _ = shutdown(socket, Shutdown::Write); // it may be gone
    }
}

/// Moves bytes one way. True: there may be more.
fn one_way(from: &mut Side, to: &mut Side, shared: &mut Shared) -> bool {
    let mut moved = 0;
    while moved < FORWARD_TURN_BYTES {
        if from.held > 0 {
            if !to.writable {
                return false;
            }
            match drain(from, to) {
                Err(Errno::AGAIN) => to.writable = false,
                Err(Errno::INTR) => {}
                Ok(0) | Err(_) => return lose(from, to, shared),
                Ok(length) => moved += length,
            }
            continue;
        }
        if !from.readable || !to.writable || from.ended {
            shared.give(from.pipe.take());
            return false;
        }
        if from.streams && from.pipe.is_none() && shared.has_pipe() {
            from.pipe = shared.pipes.pop();
        }
        match if from.pipe.is_some() { fill(from) } else { copy(from, to, shared) } {
            Ok(0) => from.end(),
            Ok(length) => {
                from.streams = length >= FORWARD_BYTES;
                if from.streams {
                    from.begin_stream();
                    to.begin_stream();
                }
                moved += length;
            }
            Err(Taken::Nothing) => from.readable = false,
            Err(Taken::Again) => {
                from.streams = false;
                shared.give(from.pipe.take());
            }
            Err(Taken::Broken) => {
                from.broken = true;
                from.end();
            }
            Err(Taken::NotSent) => return lose(from, to, shared),
        }
    }
    true
}

/// Why nothing was moved.
enum Taken {
    /// There is nothing for now.
    Nothing,
    /// It has to be tried again, without a pipe.
    Again,
    /// The side that is read from has an error.
    Broken,
    /// The other side has.
    NotSent,
}

impl From<Errno> for Taken {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::AGAIN => Self::Nothing,
            Errno::INTR => Self::Again,
            _ => Self::Broken,
        }
    }
}

/// From the pipe to the other side.
fn drain(from: &mut Side, to: &Side) -> Result<usize, Errno> {
    let (Some(pipe), Some(socket)) = (&from.pipe, &to.socket) else { return Err(Errno::BADF) };
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    let length = splice(&pipe.read, None, socket, None, from.held as usize, flags)?;
    from.held = from.held.saturating_sub(u32::try_from(length).unwrap_or(u32::MAX));
    Ok(length)
}

/// From one side into the pipe. A socket that cannot do that (vsock(7) on older kernels) goes without.
fn fill(from: &mut Side) -> Result<usize, Taken> {
    let (Some(pipe), Some(socket)) = (&from.pipe, &from.socket) else { return Err(Taken::Broken) };
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    let length = match splice(socket, None, &pipe.write, None, STREAM_BYTES, flags) {
        Err(Errno::INVAL) => return Err(Taken::Again),
        length => length?,
    };
    from.held = u32::try_from(length).unwrap_or(u32::MAX);
    Ok(length)
}

/// From one side to the other, through the buffer. What the other one does not take goes into a pipe; where none is to
/// be had it is looked at only, and what was sent is taken afterwards.
fn copy(from: &mut Side, to: &mut Side, shared: &mut Shared) -> Result<usize, Taken> {
    let (Some(source), Some(target)) = (&from.socket, &to.socket) else { return Err(Taken::Broken) };
    let kept = shared.has_pipe();
    let buffer = &mut shared.buffer[..];
    let how = if kept { RecvFlags::DONTWAIT } else { RecvFlags::DONTWAIT | RecvFlags::PEEK };
    let (length, _) = recv(source, &mut *buffer, how)?;
    if length == 0 {
        return Ok(0);
    }
    let sent = match send(target, buffer.get(..length).unwrap_or(&[]), SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(sent) => sent,
        Err(Errno::AGAIN | Errno::INTR) => 0,
        Err(_) => return Err(Taken::NotSent),
    };
    to.writable = sent == length;
    if length < FORWARD_BYTES && (kept || sent == length) {
        from.readable = from.hung_up;
    }
    if kept && sent < length {
        from.pipe = shared.pipes.pop();
    }
    if let (Some(pipe), Some(rest)) = (&from.pipe, buffer.get(sent..length).filter(|rest| !rest.is_empty())) {
        // it is empty, and holds as much as the buffer
        from.held = write(&pipe.write, rest).ok().and_then(|held| u32::try_from(held).ok()).unwrap_or(0);
    } else if let Some(taken) = buffer.get_mut(..sent).filter(|taken| !kept && !taken.is_empty()) {
        recv(source, taken, RecvFlags::DONTWAIT)?;
    }
    Ok(length)
}

/// The other side takes nothing more: what is for it is lost, and what it has sent before is still read.
fn lose(from: &mut Side, to: &mut Side, shared: &mut Shared) -> bool {
    shared.close(from.pipe.take());
    (from.held, from.passed_on) = (0, true);
    from.end();
    (to.readable, to.hung_up) = (!to.ended, true);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::read;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    #[test]
    fn a_stream_goes_through_a_pipe_while_much_comes_at_once() {
        let pair = || socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
        let ((client, ours), (backend, theirs)) = (pair(), pair());
        let mut sides = [ours, theirs].map(|socket| Side::new(Some(socket)));
        let mut shared = Box::new(Shared::NEW);
        let mut seen = vec![0; FORWARD_BYTES];
        for (length, before, after) in
            [(1, false, false), (FORWARD_BYTES, false, true), (FORWARD_BYTES, true, true), (1, true, false)]
        {
            assert_eq!(sides[0].streams, before);
            assert_eq!(write(&client, &vec![7; length]), Ok(length));
            sides[0].note(EventFlags::IN);
            assert_eq!(pump(&mut sides, &mut shared), Flow::Quiet);
            assert_eq!(read(&backend, &mut seen[..]), Ok(length));
            assert_eq!(sides[0].streams, after);
            assert!(sides[0].pipe.is_none() && sides[0].held == 0, "nothing is kept for who says nothing");
        }
    }

    #[test]
    fn few_pipes_are_large() {
        let mut shared = Box::new(Shared::NEW);
        let mut taken: std::vec::Vec<Pipe> =
            (0..2 * LARGE_PIPES).filter_map(|_| shared.has_pipe().then(|| shared.pipes.pop()).flatten()).collect();
        let large = |taken: &[Pipe]| taken.iter().filter(|pipe| pipe.large).count();
        assert_eq!(taken.len(), usize::from(2 * LARGE_PIPES));
        assert!(large(&taken) <= usize::from(LARGE_PIPES) && large(&taken) == usize::from(shared.large));
        shared.close(taken.pop());
        taken.drain(..).for_each(|pipe| shared.give(Some(pipe)));
        assert_eq!(large(&shared.pipes), usize::from(shared.large), "what does not fit is closed");
    }
}

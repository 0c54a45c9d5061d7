//! What services tell by sd_notify(3): they get NOTIFY_SOCKET where NotifyAccess= lets them. Of the messages one
//! matters here: STOPPING=1. Who comes from then on is not for this instance, and it has TimeoutStopSec= to end.

use core::mem::MaybeUninit;
use rustix::event::epoll::EventFlags;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, IoSliceMut};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketType, recvmsg, sockopt};

use super::tables::{Ending, Life};
use super::{Server, Token};
use crate::logging::say;
use crate::plan::NotifyAccess;
use crate::spawn::notify_name;
use crate::sys::errno::Why;
use crate::sys::proc::Process;
use crate::sys::socket;

/// Messages that are read in one turn; what is left keeps the socket readable.
const READS: usize = 8;

/// The socket for the messages.
///
/// # Errors
/// EADDRINUSE: another process has taken the name, which is our process id's; EMFILE, ENFILE.
fn open() -> Result<OwnedFd, Errno> {
    let made = socket::socket(socket::UNIX, SocketType::DGRAM, true)?;
    sockopt::set_socket_passcred(&made, true)?;
    socket::bind(made.as_fd(), &socket::unix([&[0], notify_name().as_bytes()])?)?;
    Ok(made)
}

impl Server {
    /// Opens the socket for the messages if a service may send any, or goes on with that of the image before. Without
    /// it services are not told of any: who has taken the name would get what is meant for us.
    pub fn open_notifications(&mut self, kept: Option<OwnedFd>) {
        if self.plan.policies.iter().all(|policy| policy.sleep.notify() == NotifyAccess::None) {
            return;
        }
        let opened = kept.map_or_else(open, Ok).and_then(|socket| {
            Token::Notifications.watch(&self.epoll, socket.as_fd(), EventFlags::IN)?;
            Ok(socket)
        });
        match opened {
            Ok(socket) => self.notifications = Some(socket),
            Err(errno) => {
                self.tables.spawner.keep_unnotified();
                say!(Warn, "messages of services (NotifyAccess=) cannot be received: {}", Why(errno));
            }
        }
    }

    /// Services have told something.
    #[inline(never)] // its buffers are no part of the loop's own frame
    pub(super) fn on_notifications(&mut self) {
        for _ in 0..READS {
            let Some((sender, stopping)) = self.notifications.as_ref().and_then(receive) else { return };
            if stopping {
                self.on_stopping(sender);
            }
        }
    }

    /// A process says that its service is about to end.
    fn on_stopping(&mut self, sender: i32) {
        let session = Process::read(sender).map_or(sender, |process| process.session);
        let of = |child: &super::Child| child.session == session && child.stage == Life::Running;
        let Some(index) = self.tables.children.iter().position(of) else { return };
        let Some(&child) = self.tables.children.get(index) else { return };
        let service = usize::from(child.service);
        let Some(policy) = self.policy(service) else { return };
        let counts = match policy.sleep.notify() {
            NotifyAccess::None => false,
            NotifyAccess::Main => sender == child.pid,
            NotifyAccess::All => true,
        };
        if !counts {
            let main = child.pid;
            let why = format_args!("NotifyAccess= lets only pid={main} send");
            return tell!(self, Other, service, Info, "message of pid={sender} passed over; {why}");
        }
        self.state(service).ending = Ending::Announced;
        self.backend_ends(service, false);
        self.thaw(service);
        let deadline = self.stop_deadline(policy);
        self.set_life(index, Life::Stopping, deadline);
        tell!(self, Stop, service, Info, "pid={} why=announced", child.pid);
    }
}

/// One message: who sent it, as the kernel says, and whether it has the line STOPPING=1. `None`: there is none.
fn receive(socket: &OwnedFd) -> Option<(i32, bool)> {
    let mut text = [0; 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut control, flags).ok()?;
    let mut sender = 0;
    for message in control.drain() {
        // descriptors that came along are closed by being dropped
        if let RecvAncillaryMessage::ScmCredentials(credentials) = message {
            sender = credentials.pid.as_raw_nonzero().get();
        }
    }
    let text = text.get(..received.bytes).unwrap_or(&[]);
    Some((sender, text.split(|&byte| byte == b'\n').any(|line| line == b"STOPPING=1")))
}

//! What a process that has our socket, or anybody at its path, can do to it so that no client reaches it any more.

use super::unix::is_gone;
use super::{Identity, OpenError, Opened, Step, listens, path};
use crate::plan::{Plan, SocketKind, address, options};
use crate::sys::socket;
use crate::sys::wait::ready;
use rustix::event::PollFlags;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::{connect_unspec, getpeername, listen, sockopt};

/// Whether a datagram socket is connected: then it hears one peer only (connect(2)).
pub fn is_connected(socket: BorrowedFd<'_>) -> bool {
    getpeername(socket).is_ok_and(|peer| peer.is_some())
}

/// Lets a datagram socket hear everybody again. What is in its queue stays.
///
/// The kernel forgets the interface of BindToDevice= on the way, so that is set again.
///
/// # Errors
/// The interface is gone, or may not be used: the socket must not be kept.
pub fn disconnect(plan: &Plan, listener: usize, socket: BorrowedFd<'_>) -> Result<(), OpenError> {
    connect_unspec(socket).map_err(Step::Bind.failed())?;
    let (_, spec) = plan.listener(listener);
    for record in options::records(plan.arena.get(spec.options)) {
        if record.sets(libc::SOL_SOCKET, libc::SO_BINDTODEVICE) {
            let failed = Step::Option(record.directive).failed();
            socket::set_option(socket, record.level, record.name, record.value).map_err(failed)?;
        }
    }
    Ok(())
}

/// Whether somebody has shut this socket down, or half of it.
pub fn is_shut_down(socket: BorrowedFd<'_>) -> bool {
    ready(socket, PollFlags::RDHUP).intersects(PollFlags::HUP | PollFlags::RDHUP)
}

/// Takes away what a process may have left in a socket: a filter, a backlog of none, errors that it has not read.
/// False: nobody reaches it any more, and it has to be made anew.
///
/// A child shares our socket, so its shutdown(2) is ours too. TCP stays "listening" and keeps address and port;
/// listen(2) brings it back, for the child as well, and clients that were queued have been reset. A unix socket stays
/// "listening" for good but refuses clients, and UDP reads as empty for ever: nothing takes that back. The path of a
/// unix socket is free at once, since it refuses the probe like one that nobody holds; a new UDP socket may have to
/// wait until the child has ended ([`OpenError::may_free`]).
pub fn restore(plan: &Plan, listener: usize, socket: BorrowedFd<'_>) -> bool {
    let (row, spec) = plan.listener(listener);
    // one of our own, or of whom we have the socket from, is locked
    let _ = socket::set_number(socket, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0);
    if row.kind == SocketKind::Datagram {
        forget_errors(socket);
    }
    let listens = !listens(row.kind) || listen(socket, spec.backlog).is_ok();
    listens && !is_shut_down(socket)
}

/// Takes what the network has told of datagrams that were sent from a socket (ip(7), IP_RECVERR), if a process has
/// asked for it and has not read it: it wakes us like a datagram, and none is there.
fn forget_errors(socket: BorrowedFd<'_>) {
    if ready(socket, PollFlags::empty()).contains(PollFlags::ERR) {
        for (level, name) in [(libc::IPPROTO_IP, libc::IP_RECVERR), (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)] {
            let _ = socket::set_number(socket, level, name, 0); // the one of the other family fails
        }
        let _ = sockopt::socket_error(socket); // takes it
    }
}

/// Why nobody reaches an open listener any more, though nobody has touched it: its file was removed, or is another one;
/// or its interface is gone, as a socket is bound to the interface and not to the name: one of the same name that has
/// come since is another.
pub fn is_lost(plan: &Plan, listener: usize, opened: &Opened) -> Option<&'static str> {
    let row = &plan.listeners[listener];
    let path = path(plan.arena.get(row.address)).filter(|_| opened.identity != Identity::default());
    if path.is_some_and(|path| is_gone(path, opened.identity)) {
        return Some("its file was gone");
    }
    let gone = has_interface(plan, listener) && socket::has_lost_interface(opened.socket.as_fd());
    gone.then_some("its interface was gone")
}

/// Whether a listener is bound to an interface: by BindToDevice=, or by a link-local address.
pub fn has_interface(plan: &Plan, listener: usize) -> bool {
    let (row, spec) = plan.listener(listener);
    !address::interface(plan.arena.get(row.address)).is_empty()
        || options::records(plan.arena.get(spec.options))
            .any(|record| record.sets(libc::SOL_SOCKET, libc::SO_BINDTODEVICE))
}

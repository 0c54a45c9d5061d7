//! A listener that a child has shut down works again.
//!
//! A child shares our socket, so its shutdown(2) is ours too. What the kernel makes of that differs by kind:
//! - TCP leaves the state "listening" and keeps address and port. listen(2) on the same descriptor brings it back, for
//!   the child as well. Clients that were queued have been reset.
//! - A unix socket stays "listening" for good but refuses clients; nothing takes the shutdown back. UDP reads as empty
//!   for ever in the same way. Both are made anew.

use super::{OpenError, Opened, Warn, listens, open};
use crate::plan::{Plan, address};
use crate::sys::wait::ready;
use rustix::event::PollFlags;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::{listen, sockopt};

/// Has somebody shut this socket down, or half of it?
pub fn is_shut_down(socket: BorrowedFd<'_>) -> bool {
    ready(socket, PollFlags::RDHUP).intersects(PollFlags::HUP | PollFlags::RDHUP)
}

/// Makes a listener that was shut down work again: the same socket where the kernel can (then the descriptor stays), or
/// a new one at the same address.
///
/// The caller must have taken the old one out of epoll: a child may hold it, so that closing it here does not end it.
/// For the same reason a new UDP socket may have to wait until the child has ended ([`OpenError::may_free`]). A unix
/// path is free at once, since a socket that was shut down refuses the probe like one that nobody holds.
///
/// # Errors
/// As [`open`]; the old socket is closed then.
pub fn revive(plan: &Plan, listener: usize, old: Opened, warn: Warn<'_>) -> Result<Opened, OpenError> {
    let (row, spec) = plan.listener(listener);
    let inet = address::ip(plan.arena.get(row.address)).is_some();
    if inet && listens(row.kind) {
        let listening = |socket| sockopt::socket_acceptconn(socket).unwrap_or(false);
        let fd = old.socket.as_fd();
        if listen(fd, spec.backlog).is_ok() && listening(fd) && !is_shut_down(fd) {
            return Ok(old);
        }
    }
    drop(old);
    open(plan, listener, warn)
}

//! A socket out of another process. When Dormouse was killed, the services that it had started live on and hold their
//! listening sockets, so a new Dormouse cannot bind them. It takes a copy of the very same socket instead
//! (pidfd_getfd(2), Linux 5.6): the service goes on, and when it ends the socket is watched as ever.

use super::adopt::{is_at, is_kind};
use super::holder::Holder;
use super::{Identity, Opened, out_of_the_way};
use crate::plan::Plan;
use crate::sys::socket;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// Copies the socket that `holder` has. Its flags stay: the process is using it.
///
/// # Errors
/// ENOSYS on older kernels; EPERM without the right to trace the process; ADDRINUSE: it is not the socket of this
/// listener.
pub fn take_over(plan: &Plan, listener: usize, holder: &Holder) -> Result<Opened, Errno> {
    let pid = Pid::from_raw(holder.pid).ok_or(Errno::SRCH)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let taken = out_of_the_way(plan, pidfd_getfd(&process, holder.descriptor, PidfdGetfdFlags::empty())?)?;
    let row = &plan.listeners[listener];
    if is_kind(taken.as_fd(), row.kind) && is_at(plan, row, taken.as_fd()) {
        Ok(Opened { socket: taken, identity: Identity::default() })
    } else {
        Err(Errno::ADDRINUSE)
    }
}

/// Gives a socket that was taken over the address rules of its listener. False: it has others, which are locked.
pub fn obeys(plan: &Plan, listener: usize, socket: BorrowedFd<'_>) -> bool {
    let (_, spec) = plan.listener(listener);
    let filter = plan.arena.get(spec.filter());
    if filter.is_empty() {
        return socket::option(socket, libc::SOL_SOCKET, libc::SO_LOCK_FILTER) != Ok(1);
    }
    socket::has_filter(socket, filter) || socket::attach_filter(socket, filter).is_ok()
}

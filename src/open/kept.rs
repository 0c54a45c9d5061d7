//! Listeners that outlive a configuration: what makes them the same, what can be changed while they are open, and what
//! becomes of those that nobody wants any more.

use super::unix::is_ours;
use super::{Identity, OpenError, Step, Warn, fifo, links, listens, path, set_options, unix};
use crate::plan::{Plan, SocketKind, SocketSpec, address, options};
use crate::sys::socket;
use crate::text::{HASH_START, hash, strings};
use rustix::fd::BorrowedFd;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::listen;
use rustix::net::sockopt::set_socket_linger;

/// What a listener is beside its kind and address, in two numbers that are compared only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Of what an open socket cannot change, or must never be without: the filter, IPv6 alone or not, its interface.
    pub fixed: u64,
    /// Of everything else.
    pub settable: u64,
}

/// The marks of a row of the plan.
pub fn marks(plan: &Plan, listener: usize) -> Marks {
    let (_, spec) = plan.listener(listener);
    let (mut fixed, mut settable) = (HASH_START, HASH_START);
    add(&mut fixed, plan.arena.get(spec.filter()));
    for record in options::records(plan.arena.get(spec.options)) {
        let reuse_port = record.sets(libc::SOL_SOCKET, libc::SO_REUSEPORT);
        let mark = if record.flags & options::REQUIRED != 0 || reuse_port { &mut fixed } else { &mut settable };
        add(mark, &record.level.to_ne_bytes());
        add(mark, &record.name.to_ne_bytes());
        add(mark, record.value);
    }
    add(&mut settable, plan.arena.get(spec.symlinks));
    add(&mut settable, &spec.backlog.to_ne_bytes());
    for id in [spec.owner, spec.group] {
        add(&mut settable, &id.unwrap_or(u32::MAX).to_ne_bytes());
    }
    add(&mut settable, &spec.mode.to_ne_bytes());
    add(&mut settable, &[u8::from(spec.nonblocking)]);
    Marks { fixed, settable }
}

/// Adds one piece to a mark.
fn add(mark: &mut u64, piece: &[u8]) {
    *mark = hash(hash(*mark, piece), &[0]); // which ends it
}

/// Makes an open listener what its row says, as far as that can be changed. An option that is not configured any more
/// keeps its value: nobody knows what the kernel had before. Takes no memory.
pub fn settle(plan: &Plan, listener: usize, fd: BorrowedFd<'_>, identity: Identity, warn: Warn<'_>) {
    let (row, spec) = plan.listener(listener);
    let mut buffer = [0; socket::ADDRESS_BYTES];
    if row.kind != SocketKind::Fifo
        && let Ok(name) = socket::name(fd, &mut buffer)
    {
        // what is required is as it was, or the socket would be made anew; some of it cannot be set a second time
        let list = plan.arena.get(spec.options);
        let _ = set_options(fd, address::family(name), list, options::REQUIRED, warn); // nothing else is an error
    }
    let mut tried = |step: Step, result: Result<(), rustix::io::Errno>| {
        if let Err(errno) = result {
            warn(OpenError { step, errno });
        }
    };
    if listens(row.kind) {
        tried(Step::Listen, listen(fd, spec.backlog));
    }
    tried(Step::Socket, calm(fd, spec));
    let Some(path) = path(plan.arena.get(row.address)).filter(|path| is_ours(path, identity)) else { return };
    let given =
        if row.kind == SocketKind::Fifo { fifo::hand_over(fd, spec) } else { unix::hand_over(spec, path).map(drop) };
    let _ = given.map_err(&mut *warn);
    links::make(path, plan.arena.get(spec.symlinks), spec.directory_mode, warn);
}

/// Blocking or not, as configured. And it does not linger (socket(7)), nor do the connections that we take from it: who
/// had it before may have set that, and then closing them would wait for the client.
pub(super) fn calm(fd: BorrowedFd<'_>, spec: &SocketSpec) -> Result<(), rustix::io::Errno> {
    let _ = set_socket_linger(fd, None); // a FIFO has nothing of the kind
    let flags = fcntl_getfl(fd)?;
    if flags.contains(OFlags::NONBLOCK) == spec.nonblocking {
        Ok(())
    } else {
        fcntl_setfl(fd, flags ^ OFlags::NONBLOCK)
    }
}

/// Removes the file and the links (a list of paths, each with its NUL) of a listener that is about to be closed for
/// good, if they are still ours. `address` is as in the plan that it came from.
pub fn discard(address: &[u8], identity: Identity, symlinks: &[u8]) {
    if let Some(path) = path(address).filter(|path| is_ours(path, identity)) {
        links::remove_all(path, symlinks, identity);
    }
}

/// Removes those of the `old` links of a listener that are not among the `new` ones and still lead to it.
pub fn discard_links(old: &[u8], new: &[u8], identity: Identity) {
    if identity != Identity::default() {
        links::remove_links(strings(old).filter(|link| strings(new).all(|other| other != *link)), identity);
    }
}

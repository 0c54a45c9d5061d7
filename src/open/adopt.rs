//! Sockets that were handed over to Dormouse itself (sd_listen_fds(3)), by systemd or by another Dormouse.
//!
//! Runs once before the seal and may take memory. What a socket's owner has set on it stays; only what the protection
//! and the loop depend on is set: the filter, `FD_CLOEXEC`, `O_NONBLOCK`, and listen(2) where nobody has called it.

use super::kept::calm;
use super::{Identity, Opened, listens, path, socket_type, unix};
use crate::limits::LISTENERS;
use crate::plan::{ListenerSpec, Plan, SocketKind, address};
use crate::sys::{environment, socket};
use crate::text::number;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use rustix::fs::{AtFlags, CWD, FileType, fstat, statat};
use rustix::io::Errno;
use rustix::net::{SocketType, listen, sockopt};
use std::borrow::ToOwned;

/// The variables of the protocol. None of them may reach a child.
const VARIABLES: [&str; 4] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID"];

/// A socket that takes the place of one that would have been opened.
#[derive(Debug)]
pub struct Adopted {
    /// Row in [`Plan::listeners`].
    pub listener: usize,
    /// The socket.
    pub opened: Opened,
}

/// A socket that was closed, with its name; why it can't be used, or `None` if no listener wants it.
pub type Closed<'a> = (&'a str, Option<Errno>);

/// Number of sockets that our parent has handed to us: LISTEN_FDS, if LISTEN_PID is our own.
pub fn offered() -> usize {
    variable("LISTEN_PID")
        .filter(|pid| number(pid, 10) == Some(std::process::id()))
        .and_then(|_| number(variable("LISTEN_FDS")?, 10))
        .filter(|count| (1..=LISTENERS).contains(count))
        .unwrap_or(0)
}

/// The Listen directive and address of each socket that our parent has handed to us, in their order: what a
/// configuration would have to say to have them. `None` for what is not a socket, or one without an address.
pub fn describe() -> Vec<Option<(&'static str, String)>> {
    (3..).take(offered()).map(describe_one).collect()
}

fn describe_one(number: RawFd) -> Option<(&'static str, String)> {
    let socket = environment::borrow_inherited(number).ok()?;
    let directive = match sockopt::socket_type(socket).ok()? {
        SocketType::STREAM => "ListenStream",
        SocketType::DGRAM => "ListenDatagram",
        SocketType::SEQPACKET => "ListenSequentialPacket",
        _ => return None,
    };
    let mut buffer = [0; socket::ADDRESS_BYTES];
    let name = socket::name(socket, &mut buffer).ok().filter(|name| name.len() > 2)?;
    Some((directive, address::Text(name).to_string()))
}

/// Takes the sockets over that our parent has handed to us. All end at descriptor `least` or above. Those that no
/// listener wants are closed and reported. Whatever is found, the variables of the protocol are removed from our own
/// environment.
///
/// A socket belongs to the listener with its address and type; else to the first one of its type whose
/// FileDescriptorName=, service or `service.socket` is its name.
pub fn adopt(plan: &Plan, least: RawFd, closed: &mut dyn FnMut(Closed<'_>)) -> Vec<Adopted> {
    let count = offered();
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    VARIABLES.into_iter().for_each(environment::remove);
    if !cfg!(feature = "adopt") {
        return Vec::new(); // the command line has refused them
    }
    let names: Vec<_> = names.split(':').map(ToOwned::to_owned).collect();
    let least = least.max(RawFd::try_from(3 + count).unwrap_or(RawFd::MAX));
    let mut inherited = Vec::new();
    for (index, number) in (3..).take(count).enumerate() {
        let name = names.get(index).filter(|_| names.len() == count).cloned().unwrap_or_default();
        match environment::reclaim(number, least) {
            Ok(socket) => inherited.push((name, socket)),
            Err(errno) => {
                environment::forsake(number); // no child may get it
                closed((&name, Some(errno)));
            }
        }
    }
    assign(plan, inherited, closed)
}

/// Gives listeners whatever of `sockets` has their address: what an image of this process has left whose state cannot
/// be read. The others are closed.
pub fn adopt_all(plan: &Plan, sockets: impl Iterator<Item = OwnedFd>) -> Vec<Adopted> {
    assign(plan, sockets.map(|socket| (String::new(), socket)).collect(), &mut |_| {})
}

/// An environment variable that is text.
fn variable(name: &str) -> Option<String> {
    environment::text(name).map(str::to_owned)
}

/// Gives each socket to its listener: first by address, then by name, so that a name never takes what an address has
/// a better claim to.
fn assign(plan: &Plan, inherited: Vec<(String, OwnedFd)>, closed: &mut dyn FnMut(Closed<'_>)) -> Vec<Adopted> {
    let mut adopted: Vec<Adopted> = Vec::new();
    let mut left = inherited;
    for by_address in [true, false] {
        for (name, socket) in core::mem::take(&mut left) {
            let wanted = |&listener: &usize| {
                let row = &plan.listeners[listener];
                adopted.iter().all(|other| other.listener != listener)
                    && is_kind(socket.as_fd(), row.kind)
                    && if by_address { is_at(plan, row, socket.as_fd()) } else { is_named(plan, listener, &name) }
            };
            let found = (0..plan.listeners.len()).find(wanted);
            match found.map(|listener| (listener, prepare(plan, listener, socket.as_fd()))) {
                Some((listener, Ok(identity))) => {
                    adopted.push(Adopted { listener, opened: Opened { socket, identity } })
                }
                Some((_, Err(errno))) => closed((&name, Some(errno))),
                None => left.push((name, socket)),
            }
        }
    }
    left.iter().for_each(|(name, _)| closed((name, None)));
    adopted
}

/// Is it a socket of this type, or a FIFO?
pub(super) fn is_kind(socket: BorrowedFd<'_>, kind: SocketKind) -> bool {
    match kind {
        SocketKind::Fifo => fstat(socket).is_ok_and(|file| FileType::from_raw_mode(file.st_mode) == FileType::Fifo),
        _ => sockopt::socket_type(socket) == Ok(socket_type(kind)),
    }
}

/// Has it the address of this row?
pub(super) fn is_at(plan: &Plan, row: &ListenerSpec, socket: BorrowedFd<'_>) -> bool {
    let target = plan.arena.get(row.address);
    if row.kind == SocketKind::Fifo {
        let leads =
            |path: &_| fstat(socket).is_ok_and(|file| unix::leads_to(path, AtFlags::empty(), unix::identity_of(&file)));
        return path(target).is_some_and(leads);
    }
    let mut buffer = [0; socket::ADDRESS_BYTES];
    let Ok(name) = socket::name(socket, &mut buffer) else { return false };
    match (address::ip(name), address::ip(target)) {
        // A port alone may have become 0.0.0.0 where our parent ran.
        (Some((ip, port)), Some((wanted, wanted_port))) => {
            port == wanted_port && (ip == wanted || (row.fallback_v4 && ip.is_unspecified()))
        }
        (None, None) => match (address::unix_path(name), address::unix_path(target)) {
            (None, None) => name == target || (address::family(name) == address::VSOCK && name[..12] == target[..12]),
            paths => paths.0 == paths.1,
        },
        _ => false,
    }
}

/// Does the name mean this listener?
fn is_named(plan: &Plan, listener: usize, name: &str) -> bool {
    let service = &plan.services[usize::from(plan.listeners[listener].service)];
    let service_name = plan.arena.text(service.name);
    if name.is_empty() {
        return false;
    }
    if name.strip_suffix(".socket").unwrap_or(name) == service_name {
        return true;
    }
    let index = listener.checked_sub(usize::from(service.first_listener));
    index.is_some_and(|index| service.fd_name(plan.arena, index) == name)
}

/// Makes the socket what the plan says, as far as that can be done after bind(2).
fn prepare(plan: &Plan, listener: usize, socket: BorrowedFd<'_>) -> Result<Identity, Errno> {
    let (row, spec) = plan.listener(listener);
    let filter = plan.arena.get(spec.filter());
    if !filter.is_empty() && !socket::has_filter(socket, filter) {
        socket::attach_filter(socket, filter)?;
    }
    socket::lock_filter(socket);
    if listens(row.kind) && !sockopt::socket_acceptconn(socket)? {
        listen(socket, spec.backlog)?;
    }
    calm(socket, spec)?;
    let path = path(plan.arena.get(row.address)).filter(|_| spec.remove_on_stop);
    let file = path.and_then(|path| statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok());
    Ok(file.map(|file| unix::identity_of(&file)).unwrap_or_default())
}

#[cfg(test)]
#[path = "adopt_tests.rs"]
mod tests;

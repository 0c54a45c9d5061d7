//! The open station: rows of the plan become sockets.
//!
//! [`open`] serves the first try at start-up, each later try for an address that was missing or taken, and the socket
//! that takes the place of one that a child has shut down: there is one way to set a socket up. It is called after the
//! seal as well, so nothing here that works on one listener takes memory; only [`adopt`] does, which runs once.
//!
//! Nothing here logs or waits. What is worth a warning goes to the `warn` of the caller, who knows whether it was said
//! before.

pub mod adopt;
pub mod backend;
pub mod connections;
mod error;
mod fifo;
pub mod holder;
pub mod kept;
mod links;
pub mod names;
mod netlink;
mod private;
pub mod takeover;
mod undo;
mod unix;
pub mod watch;

pub use error::{OpenError, Step};
pub use links::remove;
pub use private::{open_private, remove_private};
pub use undo::{disconnect, has_interface, is_connected, is_lost, is_shut_down, restore};
pub use unix::is_gone;

use crate::config::Id;
use crate::plan::{FIRST_OWN_FD, ListenerSpec, Plan, SocketKind, SocketSpec, address, options};
use crate::sys::socket;
use crate::sys::wait::ready;
use core::ffi::CStr;
use core::net::Ipv4Addr;
use rustix::event::PollFlags;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{SocketType, listen, netdevice};

/// Takes what did not work but does not keep a listener from being opened.
pub type Warn<'a> = &'a mut dyn FnMut(OpenError);

/// Which file a path leads to, so that [`remove`] and [`kept::discard`] take away our own only. All zero: not known (no
/// path, or a file that somebody else has made).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `st_dev` (stat(2)).
    pub device: u64,
    /// `st_ino`. The number can't go to another file as long as our socket is open.
    pub inode: u64,
}

/// An open listener.
#[derive(Debug)]
pub struct Opened {
    /// The socket, listening where its kind does; `FD_CLOEXEC` set, `O_NONBLOCK` as the plan says.
    pub socket: OwnedFd,
    /// Its file.
    pub identity: Identity,
}

/// Opens a listener: `listener` is its row in [`Plan::listeners`]. The descriptor is none that a child gets by number.
///
/// A TCP socket takes four system calls (socket, `SO_REUSEADDR`, bind, listen) and one for each option that is asked
/// for.
///
/// # Errors
/// The step that failed and why; then nothing is left open, and no file that was not there before.
pub fn open(plan: &Plan, listener: usize, warn: Warn<'_>) -> Result<Opened, OpenError> {
    let (row, spec) = plan.listener(listener);
    let target = plan.arena.get(row.address);
    let opened = match row.kind {
        SocketKind::Fifo if cfg!(feature = "local") => {
            let Opened { socket, identity } = fifo::open(spec, path(target).unwrap_or_default())?;
            Opened { socket: out_of_the_way(plan, socket).map_err(Step::Fifo.failed())?, identity }
        }
        _ => open_socket(plan, row, spec, target, warn)?,
    };
    if let Some(path) = path(target).filter(|_| !spec.symlinks.is_empty()) {
        links::make(path, plan.arena.get(spec.symlinks), spec.directory_mode, warn);
    }
    Ok(opened)
}

/// The path of a unix socket or FIFO.
fn path(target: &[u8]) -> Option<&CStr> {
    if cfg!(feature = "local") { address::unix_path(target) } else { None }
}

/// The type of a socket as socket(2) takes it.
fn socket_type(kind: SocketKind) -> SocketType {
    match kind {
        SocketKind::Datagram => SocketType::DGRAM,
        SocketKind::SequentialPacket => SocketType::SEQPACKET,
        SocketKind::Stream | SocketKind::Fifo => SocketType::STREAM,
    }
}

/// Whether it listens.
pub fn listens(kind: SocketKind) -> bool {
    matches!(kind, SocketKind::Stream | SocketKind::SequentialPacket)
}

fn open_socket(
    plan: &Plan,
    row: &ListenerSpec,
    spec: &SocketSpec,
    target: &[u8],
    warn: Warn<'_>,
) -> Result<Opened, OpenError> {
    let mut buffer = [0; socket::ADDRESS_BYTES];
    let mut family = address::family(target);
    let mut bytes = copied(target, &mut buffer);
    let mut made = socket::socket(family, socket_type(row.kind), spec.nonblocking);
    if row.fallback_v4 && made.as_ref().is_err_and(|&errno| errno == Errno::AFNOSUPPORT) {
        // A kernel without IPv6 (ipv6.disable=1). Found out each time, so that a copied plan can move.
        family = address::INET;
        bytes = v4_instead(bytes);
        made = socket::socket(family, socket_type(row.kind), spec.nonblocking);
    }
    let made = made.and_then(|made| out_of_the_way(plan, made)).map_err(Step::Socket.failed())?;
    let fd = made.as_fd();
    set_options(fd, family, plan.arena.get(spec.options), 0, warn)?;
    let filter = plan.arena.get(spec.filter());
    if !filter.is_empty() {
        // Before bind and listen: there is no moment in which the socket takes what the filter turns away.
        socket::attach_filter(fd, filter).map_err(Step::Filter.failed())?;
    }
    name_interface(fd, target, bytes).map_err(Step::Interface.failed())?;
    let identity = match path(target) {
        Some(path) => unix::bind(fd, row.kind, spec, target, path)?,
        None => {
            socket::bind(fd, bytes).map_err(Step::Bind.failed())?;
            Identity::default()
        }
    };
    if listens(row.kind) {
        listen(fd, spec.backlog).map_err(Step::Listen.failed())?;
    }
    Ok(Opened { socket: made, identity })
}

/// One that is opened while the program runs may get a number that is a child's: what is put there for the child would
/// take its place before it is handed over itself.
fn out_of_the_way(plan: &Plan, fd: OwnedFd) -> Result<OwnedFd, Errno> {
    if fd.as_raw_fd() >= FIRST_OWN_FD {
        return Ok(fd); // it need not be looked how many a child gets
    }
    let least = plan.first_own();
    if fd.as_raw_fd() >= least { Ok(fd) } else { fcntl_dupfd_cloexec(&fd, least) }
}

/// Puts the number of the interface into an address that names one.
fn name_interface(socket: BorrowedFd<'_>, target: &[u8], bytes: &mut [u8]) -> Result<(), Errno> {
    let interface = address::interface(target);
    if !interface.is_empty() {
        let index = netdevice::name_to_index(socket, interface)?;
        bytes[address::IN6_BYTES - 4..].copy_from_slice(&index.to_ne_bytes());
    }
    Ok(())
}

/// The address without the name of an interface, where it can be changed.
fn copied<'a>(target: &[u8], buffer: &'a mut [u8; socket::ADDRESS_BYTES]) -> &'a mut [u8] {
    let most = if address::family(target) == address::INET6 { address::IN6_BYTES } else { buffer.len() };
    let len = target.len().min(most);
    buffer[..len].copy_from_slice(&target[..len]);
    &mut buffer[..len]
}

/// A `sockaddr_in6` becomes the `sockaddr_in` of 0.0.0.0 with the same port, which stands at the same place.
fn v4_instead(bytes: &mut [u8]) -> &mut [u8] {
    bytes[..2].copy_from_slice(&address::INET.to_ne_bytes());
    bytes[4..8].copy_from_slice(&Ipv4Addr::UNSPECIFIED.octets());
    &mut bytes[..16]
}

/// Sets the options in their order, but none of those with a flag of `but`. An IPv6 option of a dual-stack socket is
/// passed over where 0.0.0.0 stands in.
fn set_options(fd: BorrowedFd<'_>, family: u16, list: &[u8], but: u8, warn: Warn<'_>) -> Result<(), OpenError> {
    let mut skip_next = false;
    for record in options::records(list) {
        if core::mem::take(&mut skip_next)
            || record.flags & but != 0
            || (i32::from(record.level) == libc::IPPROTO_IPV6 && family != address::INET6)
        {
            continue;
        }
        match socket::set_option(fd, record.level, record.name, record.value) {
            Ok(()) => skip_next = record.flags & options::OR_NEXT != 0,
            Err(_) if record.flags & options::OR_NEXT != 0 => {}
            Err(errno) => {
                let error = OpenError { step: Step::Option(record.directive), errno };
                if record.flags & options::REQUIRED != 0 {
                    return Err(error);
                }
                warn(error);
            }
        }
    }
    Ok(())
}

/// The name of the directive with this number.
fn directive(number: u8) -> &'static str {
    Id::ALL.get(usize::from(number)).map_or("socket option", |id| id.name())
}

/// Whether something waits in a socket (poll(2), without waiting).
pub fn is_readable(socket: BorrowedFd<'_>) -> bool {
    ready(socket, PollFlags::IN).contains(PollFlags::IN)
}

#[cfg(test)]
mod tests;

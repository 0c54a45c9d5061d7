//! Who holds an address that is in use, for one line in the log.
//!
//! /proc/net has the inode of the socket, /proc/PID/fd the process. Text of /proc instead of sock_diag(7), which many
//! router kernels lack. This reads a line for each socket and each descriptor of the machine: asked once for an
//! address, not at each try. Takes no memory; needs two descriptors for the time of the search.

use crate::plan::{Plan, SocketKind, address};
use crate::sys::proc::{self, c_str, path};
use crate::text::{Line, number};
use core::fmt::{self, Write};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use rustix::fs::{CWD, OFlags, readlinkat_raw};
use rustix::io::{Errno, read};

/// Bytes of a line in /proc/net: at most 108 of a path and 60 before it, or 180 of numbers.
const LINE_BYTES: usize = 512;

/// A process. Shown as `pid 812 (lighttpd)`.
pub struct Holder {
    /// Its id.
    pub pid: i32,
    /// The socket's number there.
    pub descriptor: i32,
    /// Its name, at most 15 bytes (proc(5), comm); the process chooses it, so it can hold anything.
    pub comm: Line<64>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} ({})", self.pid, self.comm.as_str())
    }
}

/// A process that holds the address of a listener, or one that keeps it from us. `None`: not found, which it is not in
/// another network namespace, and for other users' processes where we are not root.
pub fn find(plan: &Plan, listener: usize) -> Option<Holder> {
    let row = &plan.listeners[listener];
    process(inode(row.kind, plan.arena.get(row.address))?)
}

/// The inode of the socket that holds an address.
fn inode(kind: SocketKind, target: &[u8]) -> Option<u64> {
    let Some(wanted) = address::ip(target) else {
        return if address::family(target) == address::UNIX { unix(target) } else { None };
    };
    let tables = if kind == SocketKind::Datagram {
        [c"/proc/net/udp6", c"/proc/net/udp"]
    } else {
        [c"/proc/net/tcp6", c"/proc/net/tcp"]
    };
    // Number, local address, remote address, state, queues, timer, retransmits, uid, timeout, inode. Those that listen
    // come first in the file.
    tables.into_iter().find_map(|table| {
        find_line(table, &mut |line| {
            let mut fields = proc::words(line);
            let found = hexadecimal(fields.nth(1)?)?;
            let inode = number(fields.nth(7)?, 10)?;
            (inode != 0 && collide(found, wanted)).then_some(inode)
        })
        .ok()?
    })
}

/// Two addresses that can't be bound at once. [::] may mean IPv4 as well.
fn collide(a: (IpAddr, u16), b: (IpAddr, u16)) -> bool {
    let holds = |any: IpAddr, other: IpAddr| any.is_unspecified() && (any.is_ipv6() || other.is_ipv4());
    let (first, second) = (a.0.to_canonical(), b.0.to_canonical());
    a.1 == b.1 && (first == second || holds(first, second) || holds(second, first))
}

/// The inode of the unix socket with this path or abstract name.
fn unix(target: &[u8]) -> Option<u64> {
    let name = address::unix_path(target).map_or(&target[2..], core::ffi::CStr::to_bytes);
    let wanted = &mut |line: &[u8]| unix_line(line, name).map(|(_, inode)| inode).filter(|&inode| inode != 0);
    find_line(c"/proc/net/unix", wanted).ok()?
}

/// State and inode of the unix socket with this name, if this is its line of /proc/net/unix (proc_net_unix(5)): number,
/// references, protocol, flags, type, state, inode, path. A NUL of the name stands there as `@`.
pub(super) fn unix_line<'a>(line: &'a [u8], name: &[u8]) -> Option<(&'a [u8], u64)> {
    let (head, path) = line.split_at_checked(line.len().checked_sub(name.len())?)?;
    let same = path.iter().zip(name).all(|(&a, &b)| a == b || (a == b'@' && b == 0));
    let mut fields = proc::words(head);
    let (state, inode) = (fields.nth(5)?, number(fields.next()?, 10)?);
    let whole = fields.next().is_none() && head.ends_with(b" ") && !name.is_empty();
    (same && whole).then_some((state, inode))
}

/// A local address of /proc/net: words of the address as the machine sees them, then the port.
pub(super) fn hexadecimal(text: &[u8]) -> Option<(IpAddr, u16)> {
    let (ip, port) = text.split_at_checked(text.iter().position(|byte| *byte == b':')?)?;
    let mut bytes = [0; 16];
    for (word, out) in ip.chunks(8).zip(bytes.as_chunks_mut::<4>().0) {
        *out = number::<u32>(word, 16)?.to_ne_bytes();
    }
    let ip = match ip.len() {
        8 => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
        32 => Ipv6Addr::from(bytes).into(),
        _ => return None,
    };
    Some((ip, number(&port[1..], 16)?))
}

/// What `wanted` finds in the first line of a file that has it. A line that is too long is passed over.
///
/// # Errors
/// The file cannot be read.
pub(super) fn find_line(
    file: &core::ffi::CStr,
    wanted: &mut dyn FnMut(&[u8]) -> Option<u64>,
) -> Result<Option<u64>, Errno> {
    let file = proc::open(file, OFlags::empty())?;
    let mut buffer = [0; LINE_BYTES];
    let mut used = 0;
    loop {
        match read(&file, &mut buffer[used..]) {
            Ok(0) => return Ok(None),
            Ok(len) => used += len,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        }
        let mut start = 0;
        while let Some(len) = buffer[start..used].iter().position(|&byte| byte == b'\n') {
            if let Some(answer) = wanted(&buffer[start..start + len]) {
                return Ok(Some(answer));
            }
            start += len + 1;
        }
        buffer.copy_within(start..used, 0);
        used = if start == 0 && used == buffer.len() { 0 } else { used - start };
    }
}

/// A process that has a descriptor of the socket with this inode.
fn process(inode: u64) -> Option<Holder> {
    let mut found = None;
    proc::for_each_number(c"/proc", &mut |pid| {
        found = descriptor(pid, inode).map(|descriptor| Holder { pid, descriptor, comm: comm(pid) });
        found.is_none()
    });
    found
}

/// Whether a process has a descriptor of the socket with this inode.
pub fn holds(pid: i32, inode: u64) -> bool {
    descriptor(pid, inode).is_some()
}

/// The descriptor of a process that is this socket.
fn descriptor(pid: i32, inode: u64) -> Option<i32> {
    let mut target = Line::<32>::new();
    let _ = write!(target, "socket:[{inode}]"); // a line takes everything
    let mut found = None;
    proc::for_each_number(c_str(&path(pid, "/fd")), &mut |number| {
        let (mut rest, mut link) = (Line::<16>::new(), [0; 64]);
        let _ = write!(rest, "/fd/{number}");
        let len = readlinkat_raw(CWD, c_str(&path(pid, rest.as_str())), &mut link[..]).unwrap_or(0);
        found = Some(number).filter(|_| &link[..len] == target.as_bytes());
        found.is_none()
    });
    found
}

/// The name of a process, made harmless for a line of text; empty when it is gone.
fn comm(pid: i32) -> Line<64> {
    let mut comm = Line::new();
    let mut bytes = [0; 16];
    let name = proc::read(c_str(&path(pid, "/comm")), &mut bytes).unwrap_or_default();
    comm.push_bytes(name.trim_ascii_end()); // four bytes for each of 15 at most, so it fits
    comm
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_proc_are_read_in_the_byte_order_of_the_machine() {
        let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
        let four = format!("{}:1F90", word([127, 0, 0, 1]));
        assert_eq!(hexadecimal(four.as_bytes()), Some(("127.0.0.1".parse().unwrap(), 8080)));
        let six = format!("{0}{0}{0}{1}:0035", word([0; 4]), word([0, 0, 0, 1]));
        assert_eq!(hexadecimal(six.as_bytes()), Some(("::1".parse().unwrap(), 53)));
        assert_eq!(hexadecimal(b"local_address"), None);
    }

    #[test]
    fn addresses_collide_over_the_families() {
        let at = |text: &str| (text.parse::<IpAddr>().unwrap(), 80);
        for (a, b, both) in [
            ("0.0.0.0", "10.0.0.1", true),
            ("::", "10.0.0.1", true),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("10.0.0.2", "10.0.0.1", false),
            ("0.0.0.0", "::1", false),
            ("::", "::1", true),
        ] {
            assert_eq!((collide(at(a), at(b)), collide(at(b), at(a))), (both, both), "{a} {b}");
        }
    }
}

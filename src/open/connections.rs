//! Whether anybody is connected to a listening socket: what tells that a service may be put to sleep.
//!
//! The service has the connections, so the kernel is asked: by sock_diag(7), which finds those of one port by a filter
//! of its own and takes a fraction of a millisecond, or through /proc/net where the kernel lacks that (stock OpenWrt
//! without kmod-inet-diag). Both see the network namespace of this process only.
//!
//! A connection counts from the moment it is queued until the service closes its end, half-closed ones included. What
//! the kernel still has to deliver after that does not: nobody needs the service for it. Nothing here takes memory.

use core::fmt;
use rustix::fd::BorrowedFd;
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

use super::holder::{find_line, hexadecimal, unix_line};
use super::netlink::messages;
use crate::plan::address;
use crate::sys::{proc, socket};
use crate::text::number;

/// How the kernel was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// sock_diag(7).
    SockDiag,
    /// The files of /proc/net.
    Proc,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SockDiag => "sock_diag",
            Self::Proc => "/proc/net",
        })
    }
}

/// Families whose connections can be seen: AF_INET, AF_INET6 and AF_UNIX.
pub const FAMILIES: [u16; 3] = [address::INET, address::INET6, address::UNIX];

/// `TCPF_ESTABLISHED`, `_FIN_WAIT1`, `_FIN_WAIT2`, `_CLOSE_WAIT`: what has not been closed, as far as its end is ours.
const TCP_STATES: u32 = 1 << ESTABLISHED | 1 << 4 | 1 << 5 | 1 << 8;
const ESTABLISHED: u8 = 1;
const TIME_WAIT: u8 = 6;
/// `TCP_TIMEWAIT_LEN`.
const TIME_WAIT_MS: u32 = 60_000;
const CLOSE_WAIT: u8 = 8;
const LISTEN: u8 = 10;
/// Its name, and the length of its queue.
const UDIAG_SHOW_NAME: u32 = 1;
const UDIAG_SHOW_RQLEN: u32 = 0x10;
/// Bytes of the longest piece of an answer: the kernel makes them of a page, and of 8 kB at most.
const PIECE_BYTES: usize = 8192;
/// Pieces that are read: bounds the work of one look at a machine with very many unix sockets.
const PIECES: usize = 64;

/// When the last connection was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// One is there.
    Now,
    /// The service closed one so many milliseconds ago, which the kernel remembers for a minute (TIME_WAIT).
    Ago(u32),
    /// None is known.
    Unknown,
}

/// When somebody was last connected to this listening TCP or unix socket, or queued in it.
///
/// # Errors
/// The kernel cannot tell: AFNOSUPPORT for other kinds of sockets; otherwise what the last resort, /proc/net, said.
pub fn last_connection(listener: BorrowedFd<'_>) -> Result<Last, Errno> {
    if super::is_readable(listener) {
        return Ok(Last::Now); // queued; sock_diag does not show that of unix sockets
    }
    let mut buffer = [0; socket::ADDRESS_BYTES];
    let name = socket::name(listener, &mut buffer)?;
    by_sock_diag(name).or_else(|_| by_proc(name))
}

/// How many connections wait in a listening socket; 0 where the kernel does not tell.
pub fn waiting(listener: BorrowedFd<'_>) -> u32 {
    socket::waiting(listener).or_else(|| unix_waiting(listener)).unwrap_or(0)
}

/// The same of a unix socket: the one attribute of its `struct unix_diag_msg` is a `struct unix_diag_rqlen`.
fn unix_waiting(listener: BorrowedFd<'_>) -> Option<u32> {
    if !cfg!(feature = "local") {
        return None;
    }
    let inode = u32::try_from(fstat(listener).ok()?.st_ino).ok()?.to_ne_bytes();
    let mut waiting = None;
    let _ = dump(&unix_request(LISTEN, UDIAG_SHOW_RQLEN), &mut |entry| {
        if entry.get(4..8) == Some(&inode) {
            waiting = entry.get(20..).and_then(|length| length.first_chunk()).map(|length| u32::from_ne_bytes(*length));
        }
        now_if(waiting.is_some())
    });
    waiting
}

/// How connections of a family (`AF_*`) are found here. `None`: not at all.
pub fn method(family: u16) -> Option<Method> {
    let mut nobody = [0; 28];
    nobody[..2].copy_from_slice(&family.to_ne_bytes());
    let name = if family == address::UNIX { &nobody[..8] } else { &nobody[..] };
    method_for(name)
}

/// How those of this listener are found just now. `None`: not at all.
pub fn method_of(listener: BorrowedFd<'_>) -> Option<Method> {
    let mut buffer = [0; socket::ADDRESS_BYTES];
    method_for(socket::name(listener, &mut buffer).ok()?)
}

fn method_for(name: &[u8]) -> Option<Method> {
    if by_sock_diag(name).is_ok() {
        return Some(Method::SockDiag);
    }
    by_proc(name).is_ok().then_some(Method::Proc)
}

fn by_sock_diag(name: &[u8]) -> Result<Last, Errno> {
    match address::family(name) {
        family @ (address::INET | address::INET6) => {
            let wanted = Local::of(name).ok_or(Errno::INVAL)?;
            dump(&tcp_request(family, wanted.port), &mut |entry| wanted.in_diag(entry))
        }
        address::UNIX => {
            dump(&unix_request(ESTABLISHED, UDIAG_SHOW_NAME), &mut |entry| now_if(has_name(entry, &name[2..])))
        }
        _ => Err(Errno::AFNOSUPPORT),
    }
}

/// A TCP listener's own address.
#[derive(Clone, Copy)]
struct Local<'a> {
    family: u16,
    port: [u8; 2],
    /// 4 or 16 bytes.
    ip: &'a [u8],
}

impl<'a> Local<'a> {
    /// Takes a `sockaddr_in` or `sockaddr_in6` apart.
    fn of(name: &'a [u8]) -> Option<Self> {
        let family = address::family(name);
        let ip = if family == address::INET { name.get(4..8)? } else { name.get(8..24)? };
        Some(Self { family, port: *name.get(2..)?.first_chunk()?, ip })
    }

    fn takes(&self, ip: &[u8]) -> bool {
        ip == self.ip || self.ip.iter().all(|&byte| byte == 0)
    }

    /// What a `struct inet_diag_msg` tells of this listener (linux/inet_diag.h).
    fn in_diag(&self, entry: &[u8]) -> Last {
        let Some(entry) = entry.first_chunk::<72>() else { return Last::Unknown };
        let word = |at: usize| u32::from_ne_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
        let same =
            u16::from(entry[0]) == self.family && entry[4..6] == self.port && self.takes(&entry[8..8 + self.ip.len()]);
        if same { told(entry[1], word(68).into(), word(52)) } else { Last::Unknown }
    }

    /// What a line of /proc/net/tcp or tcp6 tells of it (proc_net_tcp(5)): number, local, remote, state, queues, timer
    /// (of TIME_WAIT 3, and 1/100 s left of it), retransmits, uid, timeout, inode.
    fn in_line(&self, line: &[u8]) -> Option<Last> {
        let mut fields = proc::words(line);
        let (ip, port) = hexadecimal(fields.nth(1)?)?;
        let state = number(fields.nth(1)?, 16)?;
        let left: u32 = number(fields.nth(1)?.split(|&byte| byte == b':').nth(1)?, 16)?;
        let inode = number(fields.nth(3)?, 10)?;
        let same = match ip {
            core::net::IpAddr::V4(ip) => self.takes(&ip.octets()),
            core::net::IpAddr::V6(ip) => self.takes(&ip.octets()),
        };
        let same = port.to_be_bytes() == self.port && same;
        Some(if same { told(state, inode, left.saturating_mul(10)) } else { Last::Unknown })
    }
}

/// What a TCP socket tells, by its state, inode and the time left of its timer.
const fn told(state: u8, inode: u64, left_ms: u32) -> Last {
    if state == TIME_WAIT {
        Last::Ago(TIME_WAIT_MS.saturating_sub(left_ms))
    } else if state < 32 && TCP_STATES >> state & 1 == 1 && is_held(state, inode) {
        Last::Now
    } else {
        Last::Unknown
    }
}

const fn now_if(connected: bool) -> Last {
    if connected { Last::Now } else { Last::Unknown }
}

impl Last {
    /// The later one of the two.
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Now, _) | (_, Self::Now) => Self::Now,
            (Self::Ago(a), Self::Ago(b)) => Self::Ago(a.min(b)),
            (Self::Unknown, last) | (last, Self::Unknown) => last,
        }
    }
}

/// Without inode it belongs to no process: queued if our end is open, else left to the kernel.
const fn is_held(state: u8, inode: u64) -> bool {
    inode != 0 || state == ESTABLISHED || state == CLOSE_WAIT
}

/// Puts a request together: the header of netlink(7) for a dump of `SOCK_DIAG_BY_FAMILY`, then `parts`.
fn request<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    const TYPE: [u8; 2] = 20_u16.to_ne_bytes();
    /// `NLM_F_REQUEST | NLM_F_DUMP`.
    const FLAGS: [u8; 2] = 0x301_u16.to_ne_bytes();
    let length = u32::try_from(N).unwrap_or(0).to_ne_bytes();
    let mut bytes = [0; N];
    let mut at = 0;
    for part in [&length[..], &TYPE, &FLAGS, &[0; 8]].iter().chain(parts) {
        if let Some(room) = bytes.get_mut(at..at + part.len()) {
            room.copy_from_slice(part);
        }
        at += part.len();
    }
    bytes
}

/// The connections of one local port, which the kernel picks by `INET_DIAG_REQ_BYTECODE`: "the source port is at least
/// this and at most this", two words each. A jump beyond the end by four bytes refuses.
fn tcp_request(family: u16, port: [u8; 2]) -> [u8; 92] {
    const AT_LEAST: u8 = 2;
    const AT_MOST: u8 = 3;
    let word = |code: u8, yes: u8, no: u16| {
        let [low, high] = no.to_ne_bytes();
        [code, yes, low, high]
    };
    let number = word(0, 0, u16::from_be_bytes(port));
    let tcp = u8::try_from(libc::IPPROTO_TCP).unwrap_or(6);
    let family = u8::try_from(family).unwrap_or(0);
    request(&[
        &[family, tcp, 0, 0],
        &(TCP_STATES | 1 << TIME_WAIT).to_ne_bytes(),
        &[0; 48],
        &20_u16.to_ne_bytes(),
        &1_u16.to_ne_bytes(),
        &word(AT_LEAST, 8, 20),
        &number,
        &word(AT_MOST, 8, 12),
        &number,
    ])
}

/// All unix sockets in a state, and what is to be told of them (`struct unix_diag_req`).
fn unix_request(state: u8, show: u32) -> [u8; 40] {
    let family = u8::try_from(address::UNIX).unwrap_or(1);
    request(&[&[family, 0, 0, 0], &(1_u32 << state).to_ne_bytes(), &[0; 4], &show.to_ne_bytes(), &[0; 8]])
}

/// Whether a `struct unix_diag_msg` has this `sun_path`: a connection has the name of the listener it came through.
fn has_name(entry: &[u8], name: &[u8]) -> bool {
    const UNIX_DIAG_NAME: u16 = 0;
    let mut attributes = entry.get(16..).unwrap_or(&[]);
    while let Some((&[a, b, c, d], rest)) = attributes.split_first_chunk::<4>() {
        let len = usize::from(u16::from_ne_bytes([a, b])).max(4);
        let value = rest.get(..len - 4).unwrap_or(&[]);
        if u16::from_ne_bytes([c, d]) == UNIX_DIAG_NAME {
            return plain(value) == plain(name) && !plain(name).is_empty();
        }
        attributes = attributes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    }
    false
}

/// A path without its NUL; an abstract name, which begins with one, as it is.
fn plain(name: &[u8]) -> &[u8] {
    if name.first() == Some(&0) { name } else { name.split(|&byte| byte == 0).next().unwrap_or(name) }
}

/// Sends a request and reads what the entries of the answer tell. An answer that is cut or too long counts as
/// [`Last::Now`]: when in doubt, nobody is put to sleep.
fn dump(request: &[u8], tell: &mut dyn FnMut(&[u8]) -> Last) -> Result<Last, Errno> {
    let flags = SocketFlags::CLOEXEC;
    let asked = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::SOCK_DIAG))?;
    send(&asked, request, SendFlags::empty())?;
    let mut piece = [0; PIECE_BYTES];
    let mut last = Last::Unknown;
    for _ in 0..PIECES {
        // the kernel makes each piece while it is asked for it, so there is nothing to wait for
        let (len, whole) = match recv(&asked, &mut piece[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
            Err(Errno::INTR) => continue,
            result => result?,
        };
        match answer(&piece[..len], &mut last, tell)? {
            true => return Ok(last),
            false if whole > len => return Ok(Last::Now),
            false => {}
        }
    }
    Ok(Last::Now)
}

/// Reads one piece of an answer. False: more is to come, and is wanted.
fn answer(piece: &[u8], last: &mut Last, tell: &mut dyn FnMut(&[u8]) -> Last) -> Result<bool, Errno> {
    const ERROR: u16 = 2;
    const DONE: u16 = 3;
    for (kind, body) in messages(piece) {
        if kind == ERROR || kind == DONE {
            // both carry 0 or an errno below zero
            let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
            return match code {
                0 if kind == DONE => Ok(true),
                -4095..0 => Err(Errno::from_raw_os_error(-code)),
                _ => Err(Errno::PROTO),
            };
        }
        *last = last.or(tell(body));
        if *last == Last::Now {
            return Ok(true);
        }
    }
    Ok(false)
}

fn by_proc(name: &[u8]) -> Result<Last, Errno> {
    match address::family(name) {
        family @ (address::INET | address::INET6) => {
            let wanted = Local::of(name).ok_or(Errno::INVAL)?;
            let file = if family == address::INET { c"/proc/net/tcp" } else { c"/proc/net/tcp6" };
            let mut last = Last::Unknown;
            find_line(file, &mut |line| {
                last = last.or(wanted.in_line(line)?);
                (last == Last::Now).then_some(0)
            })?;
            Ok(last)
        }
        address::UNIX => {
            let wanted = &mut |line: &[u8]| is_unix_line(line, &name[2..]).then_some(0);
            find_line(c"/proc/net/unix", wanted).map(|found| now_if(found.is_some()))
        }
        _ => Err(Errno::AFNOSUPPORT),
    }
}

/// Whether a line of /proc/net/unix is a connection with this name, queued or connected.
fn is_unix_line(line: &[u8], name: &[u8]) -> bool {
    unix_line(line, plain(name)).is_some_and(|(state, _)| matches!(state, b"02" | b"03"))
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;

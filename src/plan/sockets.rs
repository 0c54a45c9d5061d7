//! Socket directives become rows: names of ports, users and groups become numbers, options become bytes.
//!
//! Which directive sets which option of which kind of socket is one table, `OPTIONS`.

use super::compile::{ended, row, row_of};
use super::options::{OR_NEXT, REQUIRED, Record};
use super::work::Work;
use super::{ListenerSpec, SocketSpec, Span, address, filter};
use crate::config::{Code, Fault, Id, Kind, Listen, ListenAddress, ServiceDraft, tell};
use crate::limits::FILTER_INSTRUCTIONS;
use crate::sys::users;
use crate::text;
use core::net::{IpAddr, Ipv6Addr};

/// What a socket is, as bits: a dual-stack one has two.
const TCP4: u8 = 1;
const TCP6: u8 = 2;
const UDP4: u8 = 4;
const UDP6: u8 = 8;
const LOCAL: u8 = 16;
const VSOCK: u8 = 32;
const TCP: u8 = TCP4 | TCP6;
const UDP: u8 = UDP4 | UDP6;
const IP: u8 = TCP | UDP;
const ALL: u8 = IP | LOCAL | VSOCK;

/// How the value of a directive becomes the value of an option.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// 1 where the directive is yes; else the option is left alone.
    Yes,
    /// The number.
    Number,
    /// The time in whole seconds, rounded up; 0: left alone, the kernel has it for "off" or refuses it.
    Seconds,
    /// The bytes.
    Text,
    /// 1, whatever the directive says.
    Always,
    /// 1 where the directive is set.
    Set,
    /// `both` and `ipv6-only` of BindIPv6Only=: 0 and 1.
    V6Only,
}

/// One option: directive, kinds of socket (any of these bits), flags of the record, level, name, form.
type Row = (Id, u8, u8, i32, i32, Form);

/// In the order in which they are set. `IP_FREEBIND` and `IP_TRANSPARENT` serve IPv6 sockets as well (both set one bit
/// of the socket that all families read; the IPv6 names came later, in Linux 4.15 and 2.6.37).
#[rustfmt::skip]
const OPTIONS: [Row; 28] = {
    use Form::{Always, Number, Seconds, Set, Text, V6Only, Yes};
    use libc::{IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, SOL_SOCKET};
    [
        (Id::BindIPv6Only, TCP6 | UDP6, REQUIRED, IPPROTO_IPV6, libc::IPV6_V6ONLY, V6Only),
        // For TCP only, where it means TIME_WAIT; with UDP a second process could steal the port (socket(7)).
        (Id::ListenStream, TCP, 0, SOL_SOCKET, libc::SO_REUSEADDR, Always),
        (Id::ReusePort, IP, 0, SOL_SOCKET, libc::SO_REUSEPORT, Yes),
        (Id::BindToDevice, IP, REQUIRED, SOL_SOCKET, libc::SO_BINDTODEVICE, Text),
        (Id::FreeBind, IP, REQUIRED, IPPROTO_IP, libc::IP_FREEBIND, Yes),
        (Id::Transparent, IP, REQUIRED, IPPROTO_IP, libc::IP_TRANSPARENT, Yes),
        (Id::Mark, IP, REQUIRED, SOL_SOCKET, libc::SO_MARK, Number),
        (Id::Broadcast, UDP, 0, SOL_SOCKET, libc::SO_BROADCAST, Yes),
        (Id::PassCredentials, LOCAL, 0, SOL_SOCKET, libc::SO_PASSCRED, Yes),
        (Id::PassPacketInfo, UDP4, 0, IPPROTO_IP, libc::IP_PKTINFO, Yes),
        (Id::PassPacketInfo, UDP6, 0, IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, Yes),
        // FORCE passes net.core.rmem_max, but needs CAP_NET_ADMIN.
        (Id::ReceiveBuffer, ALL, OR_NEXT, SOL_SOCKET, libc::SO_RCVBUFFORCE, Number),
        (Id::ReceiveBuffer, ALL, 0, SOL_SOCKET, libc::SO_RCVBUF, Number),
        (Id::SendBuffer, ALL, OR_NEXT, SOL_SOCKET, libc::SO_SNDBUFFORCE, Number),
        (Id::SendBuffer, ALL, 0, SOL_SOCKET, libc::SO_SNDBUF, Number),
        (Id::IPTOS, TCP4 | UDP4, 0, IPPROTO_IP, libc::IP_TOS, Number),
        (Id::IPTOS, TCP6 | UDP6, 0, IPPROTO_IPV6, libc::IPV6_TCLASS, Number),
        // after IPTOS, which sets the priority as well (ip(7))
        (Id::Priority, IP, 0, SOL_SOCKET, libc::SO_PRIORITY, Number),
        (Id::IPTTL, TCP4 | UDP4, 0, IPPROTO_IP, libc::IP_TTL, Number),
        (Id::IPTTL, TCP6 | UDP6, 0, IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, Number),
        (Id::KeepAlive, TCP, 0, SOL_SOCKET, libc::SO_KEEPALIVE, Yes),
        (Id::KeepAliveTimeSec, TCP, 0, IPPROTO_TCP, libc::TCP_KEEPIDLE, Seconds),
        (Id::KeepAliveIntervalSec, TCP, 0, IPPROTO_TCP, libc::TCP_KEEPINTVL, Seconds),
        (Id::KeepAliveProbes, TCP, 0, IPPROTO_TCP, libc::TCP_KEEPCNT, Number),
        (Id::NoDelay, TCP, 0, IPPROTO_TCP, libc::TCP_NODELAY, Yes),
        // What is forwarded must not wait twice; connections have it from their listener.
        (Id::ConnectTo, TCP, 0, IPPROTO_TCP, libc::TCP_NODELAY, Set),
        (Id::DeferAcceptSec, TCP, 0, IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, Seconds),
        (Id::TCPCongestion, TCP, 0, IPPROTO_TCP, libc::TCP_CONGESTION, Text),
    ]
};

/// Adds the sockets of one service to the plan, in the order of their lines. `service` is its row. Returns the row of
/// the first and their number.
///
/// Asks the system for ports; nothing is opened.
pub fn add(work: &mut Work<'_>, common: &mut Common, service: u16) -> (u16, u16) {
    let first = work.plan.listeners.len();
    for listen in &work.draft.listens {
        add_one(work, listen, common, service);
    }
    (row(first), row(work.plan.listeners.len() - first))
}

/// The tables of [`filter`] for IPAddressAllow= and IPAddressDeny=.
pub fn access(draft: &ServiceDraft) -> (Vec<u8>, Vec<u8>) {
    let table = |id| {
        let mut table = Vec::new();
        draft.prefixes(id).into_iter().for_each(|prefix| filter::add(&mut table, prefix));
        table
    };
    if cfg!(feature = "access") { (table(Id::IPAddressAllow), table(Id::IPAddressDeny)) } else { Default::default() }
}

/// What the sockets of services that are set alike have in common.
pub struct Common {
    owner: Option<u32>,
    group: Option<u32>,
    symlinks: Vec<u8>,
    filter: Vec<u8>,
    /// The last socket, and its row.
    last: Option<(Shape, u16)>,
}

/// Two sockets of the same settings and shape are made alike.
type Shape = (Kind, u8, bool);

impl Common {
    /// Asks the system for users and groups.
    pub fn new(work: &mut Work<'_>) -> Self {
        let draft = work.draft;
        let (owner, group) = if cfg!(feature = "local") { owners(work) } else { (None, None) };
        let (allow, deny) = access(draft);
        let filter = if cfg!(feature = "access") { filter::program(&allow, &deny) } else { Vec::new() };
        let instructions = [filter.len() / filter::INSTRUCTION, FILTER_INSTRUCTIONS];
        work.at_most(Code::FilterLong, Id::IPAddressDeny, instructions);
        Self { owner, group, symlinks: ended(draft.list(Id::Symlinks)), filter, last: None }
    }
}

/// SocketUser= and SocketGroup= as numbers. A user alone brings its primary group.
fn owners(work: &mut Work<'_>) -> (Option<u32>, Option<u32>) {
    let (mut owner, mut group) = (None, None);
    if let Some(name) = work.draft.text(Id::SocketUser) {
        (owner, group) = users::owner(name).map_or((None, None), |(uid, gid)| (Some(uid), gid));
        if owner.is_none() {
            work.unknown(Code::NoUser, Id::SocketUser, name);
        }
    }
    if let Some(name) = work.draft.text(Id::SocketGroup) {
        group = users::group(name);
        if group.is_none() {
            work.unknown(Code::NoGroup, Id::SocketGroup, name);
        }
    }
    (owner, group)
}

/// One socket.
fn add_one(work: &mut Work<'_>, listen: &Listen, common: &mut Common, service: u16) -> Option<()> {
    let bytes = address_bytes(listen, &mut work.faults)?;
    if !work.draft.is_set(Id::BindToDevice) {
        with_interface(listen, &bytes, &mut work.faults)?;
    }
    let class = class(work.draft, listen.kind, &bytes);
    let address = work.add_once(&bytes);
    let shape = (listen.kind, class, listen.address.is_path());
    let socket = match common.last.filter(|(last, _)| *last == shape) {
        Some((_, row)) => row,
        None => {
            let spec = spec(work, listen, class, common);
            row_of(&mut work.plan.sockets, spec)
        }
    };
    common.last = Some((shape, socket));
    let fallback_v4 = matches!(listen.address, ListenAddress::Inet { ip: None, .. }) && class & (TCP4 | UDP4) != 0;
    work.plan.listeners.push(ListenerSpec { service, socket, kind: listen.kind, fallback_v4, address }).ok()
}

/// A link-local address is one on each interface, so it has to name one.
fn with_interface(listen: &Listen, bytes: &[u8], faults: &mut Vec<Fault>) -> Option<()> {
    match (address::ip(bytes), &listen.address) {
        (Some((IpAddr::V6(ip), _)), ListenAddress::Inet { scope: None, .. }) if ip.is_unicast_link_local() => {
            tell(faults, Code::NoInterface, listen.place, &[&ip.to_string()]);
            None
        }
        _ => Some(()),
    }
}

/// The address of ConnectTo=; empty where there is none.
pub(super) fn backend(work: &mut Work<'_>) -> Span {
    let draft = work.draft;
    let listen = draft.address(Id::ConnectTo);
    let listen = listen.map(|address| Listen::new(Kind::Stream, address.clone(), draft.place(Id::ConnectTo)));
    let bytes = listen.and_then(|listen| {
        let bytes = address_bytes(&listen, &mut work.faults)?;
        with_interface(&listen, &bytes, &mut work.faults).map(|()| bytes)
    });
    work.store(&bytes.unwrap_or_default())
}

/// Which options fit.
fn class(draft: &ServiceDraft, kind: Kind, bytes: &[u8]) -> u8 {
    let stream = kind == Kind::Stream;
    let (four, six) = if stream { (TCP4, TCP6) } else { (UDP4, UDP6) };
    match (address::ip(bytes), address::family(bytes)) {
        _ if kind == Kind::Fifo => 0,
        (Some((IpAddr::V4(_), _)), _) => four,
        (Some((IpAddr::V6(ip), _)), _) if ip.is_unspecified() && draft.choice(Id::BindIPv6Only) != "ipv6-only" => {
            four | six
        }
        (Some(_), _) => six,
        (None, address::UNIX) => LOCAL,
        _ => VSOCK,
    }
}

/// How the socket is made. What does not fit this kind of socket has the same value in all rows, so that they are
/// equal.
fn spec(work: &mut Work<'_>, listen: &Listen, class: u8, common: &Common) -> SocketSpec {
    let draft = work.draft;
    let accepts = listen.kind.has_connections();
    let has_path = cfg!(feature = "local") && listen.address.is_path();
    // Connections that we accept ourselves are judged one by one, so that they are counted.
    let handed_over = !(accepts && draft.accepts());
    let backlog = draft.number(Id::Backlog).filter(|_| accepts).map_or(0, |n| i32::try_from(n).unwrap_or(i32::MAX));
    let mode = |id| if has_path { u16::try_from(draft.mode(id)).unwrap_or(0) } else { 0 };
    let filter = if handed_over && class & IP != 0 { &common.filter[..] } else { &[] };
    let symlinks = if has_path { &common.symlinks[..] } else { &[] };
    SocketSpec {
        options: work.store(&options(draft, class)),
        filter: work.store(filter),
        symlinks: work.store(symlinks),
        backlog,
        owner: common.owner.filter(|_| has_path),
        group: common.group.filter(|_| has_path),
        mode: mode(Id::SocketMode),
        directory_mode: mode(Id::DirectoryMode),
        remove_on_stop: has_path && draft.flag(Id::RemoveOnStop),
        nonblocking: !handed_over || draft.flag(Id::NonBlocking),
    }
}

/// The options that fit a socket of this class, as records.
fn options(draft: &ServiceDraft, class: u8) -> Vec<u8> {
    let mut list = Vec::new();
    for &(id, _, flags, level, name, form) in OPTIONS.iter().filter(|row| row.1 & class != 0) {
        let number = || draft.number(id);
        let value = match form {
            Form::Always => Some(1),
            Form::Set => draft.is_set(id).then_some(1),
            Form::Yes => draft.flag(id).then_some(1),
            Form::Number => number().filter(|&n| n > 0 || id != Id::KeepAliveProbes),
            Form::Seconds => number().map(|span| span.div_ceil(1_000_000)).filter(|&seconds| seconds > 0),
            Form::V6Only => ["both", "ipv6-only"].iter().position(|&word| word == draft.choice(id)).map(|n| n as u64),
            Form::Text => None,
        };
        let bytes = value.and_then(|value| u32::try_from(value).ok()).map(u32::to_ne_bytes);
        let text = draft.text(id).filter(|_| form == Form::Text).map(str::as_bytes);
        let Some(value) = text.or(bytes.as_ref().map(|bytes| &bytes[..])) else { continue };
        let (level, name) = (u16::try_from(level).unwrap_or(u16::MAX), u16::try_from(name).unwrap_or(u16::MAX));
        Record { directive: id as u8, flags, level, name, value }.push(&mut list);
    }
    list
}

/// The address as bind(2) takes it.
fn address_bytes(listen: &Listen, faults: &mut Vec<Fault>) -> Option<Vec<u8>> {
    Some(match &listen.address {
        ListenAddress::Inet { ip, scope, port } => {
            let port = number(port, listen, faults)?;
            let index = scope.as_ref().and_then(|scope| text::number(scope, 10));
            let ip = ip.unwrap_or(Ipv6Addr::UNSPECIFIED.into());
            let mut bytes = address::inet(ip, port, index.unwrap_or(0));
            if let (Some(name), None, IpAddr::V6(_)) = (scope, index, ip) {
                bytes.extend(name.as_bytes());
            }
            bytes
        }
        ListenAddress::Local(name) => address::local(name),
        ListenAddress::Vsock { cid, port } => address::vsock(*cid, *port),
    })
}

/// A port as a number.
fn number(port: &str, listen: &Listen, faults: &mut Vec<Fault>) -> Option<u16> {
    let protocol = if listen.kind == Kind::Datagram { "udp" } else { "tcp" };
    let number = text::number(port, 10).or_else(|| users::service_port(port, protocol));
    if number.is_none() {
        tell(faults, Code::NoPortName, listen.place, &[protocol, port]);
    }
    number
}

#[cfg(test)]
#[path = "sockets_tests.rs"]
mod tests;

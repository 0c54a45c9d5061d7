//! Socket addresses and prefixes, systemd.socket(5) and systemd.resource-control(5).
//!
//! Pure text to data: names of ports and interfaces stay names here, the plan station looks them up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::directive::Id;
use super::fault::Place;
use super::message::Code;
use super::problem::{Parsed, Problem, fail, wrong};
use super::scalar::{digits, number};
use super::value::path;
use crate::limits;
use crate::sys::users;
use crate::text::split_last;

/// What a Listen line opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// ListenStream=: SOCK_STREAM.
    Stream,
    /// ListenDatagram=: SOCK_DGRAM.
    Datagram,
    /// ListenSequentialPacket=: SOCK_SEQPACKET.
    SequentialPacket,
    /// ListenFIFO=: a FIFO in the file system.
    Fifo,
}

/// One socket of a service. Their order is the order of the descriptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// What is opened.
    pub kind: Kind,
    /// Where.
    pub address: ListenAddress,
    /// The value in its file.
    pub place: Place,
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A port on all addresses: `[::]`, or 0.0.0.0 where the kernel has no IPv6.
    Port(PortRef),
    /// A port on one address.
    Inet {
        /// The address.
        ip: IpAddr,
        /// The interface of a link-local address, a name or number (RFC 4007).
        scope: Option<String>,
        /// The port.
        port: PortRef,
    },
    /// A unix socket or FIFO in the file system. At most [`limits::UNIX_PATH_BYTES`] bytes (FIFO: 4095).
    Path(String),
    /// A unix socket in the abstract namespace, without the `@`; unix(7).
    Abstract(String),
    /// A socket of virtual machines, vsock(7).
    Vsock {
        /// Context id; `None`: any.
        cid: Option<u32>,
        /// The port.
        port: u32,
    },
}

/// A port by number, or by its name in services(5), which is looked up at load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortRef {
    /// 1 to 65535.
    Number(u16),
    /// A name in services(5).
    Name(String),
}

/// A range of addresses. The bits of the address after the first `len` are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// The first address.
    pub address: IpAddr,
    /// Bits that count: 0 to 32 for IPv4, 0 to 128 for IPv6.
    pub len: u8,
}

impl Kind {
    /// Whether it listens for connections.
    pub const fn has_connections(self) -> bool {
        matches!(self, Self::Stream | Self::SequentialPacket)
    }

    /// The directive that opens it.
    pub fn directive(self) -> Id {
        match self {
            Self::Stream => Id::ListenStream,
            Self::Datagram => Id::ListenDatagram,
            Self::SequentialPacket => Id::ListenSequentialPacket,
            Self::Fifo => Id::ListenFIFO,
        }
    }
}

impl ListenAddress {
    /// Whether it has a name in the file system.
    pub fn is_path(&self) -> bool {
        matches!(self, Self::Path(_))
    }

    /// Whether it is a unix socket (of either namespace) or FIFO.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Path(_) | Self::Abstract(_))
    }

    /// Whether it belongs to IPv4 or IPv6.
    pub fn is_ip(&self) -> bool {
        matches!(self, Self::Port(_) | Self::Inet { .. })
    }
}

/// Reads the value of a Listen line.
pub(super) fn listen(kind: Kind, text: &str) -> Parsed<ListenAddress> {
    if !cfg!(feature = "local") {
        return if text.starts_with(['/', '@']) { wrong(Code::LocalNotInBuild, text) } else { inet(text) };
    }
    if kind == Kind::Fifo {
        return Ok(ListenAddress::Path(path(text)?));
    }
    if text.starts_with('/') {
        let path = path(text)?;
        return unix_length(text, path.len()).map(|()| ListenAddress::Path(path));
    }
    if let Some(name) = text.strip_prefix('@') {
        if name.is_empty() {
            return wrong(Code::AbstractEmpty, text);
        }
        return unix_length(text, name.len()).map(|()| ListenAddress::Abstract(name.to_owned()));
    }
    let address = match text.strip_prefix("vsock:") {
        Some(rest) if kind == Kind::Datagram => return fail(Problem::new(Code::VsockDatagram, 0..text.len(), &[rest])),
        Some(rest) => vsock(rest).map_err(|problem| problem.moved(6))?,
        None => inet(text)?,
    };
    if kind == Kind::SequentialPacket { wrong(Code::SequentialNotUnix, text) } else { Ok(address) }
}

/// Reads the address of a backend: as one to listen on, but a bare port is one of this machine, and a machine may have
/// a name of /etc/hosts.
pub(super) fn backend(text: &str) -> Parsed<ListenAddress> {
    let is_name =
        |host: &str| !host.is_empty() && !host.starts_with(['/', '@', '[']) && !host.contains(':') && host != "vsock";
    let named = split_last(text, b':').filter(|(host, _)| is_name(host) && host.parse::<Ipv4Addr>().is_err());
    if let Some((host, digits)) = named {
        let Some(&ip) = users::hosts(host).first() else { return wrong(Code::BackendHost, text) };
        let port = port(digits).map_err(|problem| problem.moved(host.len() + 1))?;
        return Ok(ListenAddress::Inet { ip, scope: None, port });
    }
    match listen(Kind::Stream, text)? {
        ListenAddress::Port(port) => Ok(ListenAddress::Inet { ip: Ipv4Addr::LOCALHOST.into(), scope: None, port }),
        ListenAddress::Vsock { cid: None, .. } => wrong(Code::BackendVsock, text),
        address => Ok(address),
    }
}

/// A unix address of so many bytes fits into sun_path.
fn unix_length(text: &str, bytes: usize) -> Parsed<()> {
    if bytes <= limits::UNIX_PATH_BYTES {
        return Ok(());
    }
    let (bytes, most) = (bytes.to_string(), limits::UNIX_PATH_BYTES.to_string());
    fail(Problem::new(Code::UnixPathLong, 0..text.len(), &[&bytes, &most]))
}

/// `cid:port`; the cid may be empty.
fn vsock(text: &str) -> Parsed<ListenAddress> {
    let parsed = text.split_once(':').and_then(|(cid, port)| {
        let cid = if cid.is_empty() { None } else { Some(number(cid)?) };
        Some(ListenAddress::Vsock { cid, port: number(port)? })
    });
    parsed.map_or_else(|| wrong(Code::BadVsock, text), Ok)
}

/// `port`, `v4:port`, `[v6]:port`, `[v6]:port%scope` or `[v6%scope]:port`.
fn inet(text: &str) -> Parsed<ListenAddress> {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((inner, after)) = rest.split_once(']') else { return wrong(Code::BadAddress, text) };
        let Some(tail) = after.strip_prefix(':') else { return wrong(Code::NoPort, text) };
        let (address, inside) = split_scope(inner);
        let (digits, outside) = split_scope(tail);
        let Ok(address) = address.parse::<Ipv6Addr>() else {
            return fail(Problem::new(Code::BadIp, 1..1 + inner.len(), &[inner]));
        };
        let scope = inside.or(outside);
        if inside.is_some() && outside.is_some() || scope.is_some_and(|scope| !is_scope(scope)) {
            return wrong(Code::BadScope, text);
        }
        let start = text.len() - tail.len();
        let port = port(digits).map_err(|problem| problem.moved(start))?;
        return Ok(ListenAddress::Inet { ip: address.into(), scope: scope.map(str::to_owned), port });
    }
    let Some((address, digits)) = split_last(text, b':') else {
        if text.parse::<IpAddr>().is_ok() {
            return wrong(Code::NoPort, text);
        }
        if text.contains('/') && !text.starts_with(|c: char| c.is_ascii_digit()) {
            return wrong(Code::RelativePath, text);
        }
        return port(text).map(ListenAddress::Port);
    };
    let Ok(ip) = address.parse::<Ipv4Addr>() else {
        if text.parse::<Ipv6Addr>().is_ok() || address.parse::<Ipv6Addr>().is_ok() {
            return wrong(Code::NoBrackets, text);
        }
        return fail(Problem::new(Code::BadIp, 0..address.len(), &[address]));
    };
    let port = port(digits).map_err(|problem| problem.moved(address.len() + 1))?;
    Ok(ListenAddress::Inet { ip: ip.into(), scope: None, port })
}

/// `text%scope` in its two parts.
fn split_scope(text: &str) -> (&str, Option<&str>) {
    text.split_once('%').map_or((text, None), |(text, scope)| (text, Some(scope)))
}

/// An interface name or number: at most 15 bytes, no blank, slash or colon (dev_valid_name in the kernel).
fn is_scope(scope: &str) -> bool {
    (1..=15).contains(&scope.len()) && scope.bytes().all(|b| b.is_ascii_graphic() && !b"/:%]".contains(&b))
}

/// A port by number, or a name as services(5) has them: letters, digits and `-_.+`, at least one letter.
fn port(text: &str) -> Parsed<PortRef> {
    if digits(text) {
        return match number(text) {
            Some(number) if number > 0 => Ok(PortRef::Number(number)),
            _ => wrong(Code::BadPort, text),
        };
    }
    let named = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+".contains(&b));
    let letters = text.bytes().any(|b| b.is_ascii_alphabetic()) && !text.starts_with('-');
    if named && letters { Ok(PortRef::Name(text.to_owned())) } else { wrong(Code::BadPort, text) }
}

/// Names that stand for prefixes, systemd.resource-control(5).
const NAMED: [(&str, [(IpAddr, u8); 2]); 4] = [
    ("any", [(V4_ANY, 0), (V6_ANY, 0)]),
    ("localhost", [(v4(127, 0), 8), (IpAddr::V6(Ipv6Addr::LOCALHOST), 128)]),
    ("link-local", [(v4(169, 254), 16), (v6(0xfe80), 64)]),
    ("multicast", [(v4(224, 0), 4), (v6(0xff00), 8)]),
];

const V4_ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const V6_ANY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

const fn v4(a: u8, b: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, 0, 0))
}

const fn v6(a: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, 0, 0, 0, 0, 0, 0, 0))
}

/// Reads one word of an IPAddress list into one or two prefixes.
///
/// `rounded` tells whether the address had bits behind its prefix, which are cleared as systemd does.
pub(super) fn prefix(text: &str, out: &mut Vec<Prefix>) -> Parsed<bool> {
    if let Some((_, pair)) = NAMED.iter().find(|(name, _)| *name == text) {
        out.extend(pair.iter().map(|&(address, len)| Prefix { address, len }));
        return Ok(false);
    }
    let (address, len) = text.split_once('/').map_or((text, None), |(address, len)| (address, Some(len)));
    let Ok(address) = address.parse::<IpAddr>() else { return wrong(Code::BadPrefix, text) };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let len = match len {
        None => most,
        Some(digits) => match number(digits) {
            Some(len) if len <= most => len,
            _ => return fail(Problem::new(Code::BadPrefixLength, 0..text.len(), &[text, &most.to_string()])),
        },
    };
    let range = Prefix::new(address, len);
    out.push(range);
    Ok(range.address != address)
}

/// The bytes of an address at the beginning of 16.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

impl Prefix {
    /// The range of the addresses that begin with the first `len` bits of this one.
    pub(super) fn new(address: IpAddr, len: u8) -> Self {
        let mut bytes = octets(address);
        for (index, byte) in bytes.iter_mut().enumerate() {
            let kept = usize::from(len).saturating_sub(8 * index);
            *byte &= !0xff_u8.checked_shr(u32::try_from(kept).unwrap_or(8)).unwrap_or(0);
        }
        Self { address: Self::like(address, bytes), len }
    }

    /// An address of the same family from bytes.
    fn like(address: IpAddr, bytes: [u8; 16]) -> IpAddr {
        match bytes {
            [a, b, c, d, ..] if address.is_ipv4() => IpAddr::from([a, b, c, d]),
            _ => IpAddr::from(bytes),
        }
    }

    /// Whether all addresses of the other range are in this one.
    pub(super) fn contains(&self, other: &Self) -> bool {
        let same = self.address.is_ipv4() == other.address.is_ipv4();
        same && self.len <= other.len && Self::new(other.address, self.len) == *self
    }

    /// The two ranges that make up this one, which must be more than one address.
    pub(super) fn halves(&self) -> [Self; 2] {
        let (mut bytes, len) = (octets(self.address), self.len + 1);
        bytes[usize::from(self.len / 8) % 16] |= 0x80 >> (self.len % 8);
        [Self { len, ..*self }, Self { address: Self::like(self.address, bytes), len }]
    }

    /// Its text, as the reader takes it.
    pub fn text(&self) -> String {
        [&self.address.to_string(), "/", &self.len.to_string()].concat()
    }
}

impl ListenAddress {
    /// Its text, as the reader takes it.
    pub fn text(&self) -> String {
        match self {
            Self::Port(port) => port.text(),
            Self::Inet { ip, scope, port } => {
                let (ip, v4) = (ip.to_string(), ip.is_ipv4());
                let (open, close) = if v4 { ("", ":") } else { ("[", "]:") };
                let (mark, scope) = scope.as_deref().map_or(("", ""), |scope| ("%", scope));
                [open, &ip, close, &port.text(), mark, scope].concat()
            }
            Self::Path(path) => path.clone(),
            Self::Abstract(name) => ["@", name].concat(),
            Self::Vsock { cid, port } => {
                let cid = cid.map(|cid| cid.to_string()).unwrap_or_default();
                ["vsock:", &cid, ":", &port.to_string()].concat()
            }
        }
    }
}

impl PortRef {
    /// Its text, as the reader takes it.
    pub fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Name(name) => name.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
    fn addresses_read_back() {
        let stream =
            ["80", "http", "1.2.3.4:80", "[::1]:http", "[fe80::1]:1%eth0", "/a/b c", "@x", "vsock::1", "vsock:3:1"];
        for text in stream {
            assert_eq!(listen(Kind::Stream, text).unwrap().text(), text);
        }
        let v6 = listen(Kind::Datagram, "[::ffff:1.2.3.4%3]:80").unwrap();
        assert_eq!(v6.text(), "[::ffff:1.2.3.4]:80%3");
    }

    #[test]
    fn prefixes_are_masked() {
        let masked = |text: &str| {
            let mut list = Vec::new();
            let rounded = prefix(text, &mut list).unwrap();
            (list.iter().map(Prefix::text).collect::<Vec<_>>().join(" "), rounded)
        };
        assert_eq!(masked("1.2.3.4/0"), ("0.0.0.0/0".to_owned(), true));
        assert_eq!(masked("1.2.3.4"), ("1.2.3.4/32".to_owned(), false));
        assert_eq!(masked("1.2.3.4/31"), ("1.2.3.4/31".to_owned(), false));
        assert_eq!(masked("ff::1/8"), ("::/8".to_owned(), true));
        assert_eq!(masked("::/0"), ("::/0".to_owned(), false));
        assert_eq!(masked("any"), ("0.0.0.0/0 ::/0".to_owned(), false));
    }
}

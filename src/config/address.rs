//! Socket addresses and prefixes, systemd.socket(5) and systemd.resource-control(5).
//!
//! Pure text to data: names of ports and interfaces stay names here, the plan station looks them up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::directive::Id;
use super::fault::Place;
use super::message::Code;
use super::problem::{Parsed, Problem, fail, wrong};
use super::scalar::number;
use super::value::path;
pub use crate::cli::Kind;
use crate::limits;
use crate::peer::mapped;
use crate::sys::users;
use crate::text::split_last;

/// One socket of a service. Their order is the order of the descriptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// What is opened.
    pub kind: Kind,
    /// Where.
    pub address: ListenAddress,
    /// The value in its file.
    pub place: Place,
    /// [`ListenAddress::key`]: where each two sockets are compared, this tells most of them apart.
    pub(super) key: u32,
}

impl Listen {
    /// A socket to be.
    pub fn new(kind: Kind, address: ListenAddress, place: Place) -> Self {
        Self { kind, key: address.key(), address, place }
    }
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A port.
    Inet {
        /// The address; `None`: all of them, `[::]`, or 0.0.0.0 where the kernel has no IPv6.
        ip: Option<IpAddr>,
        /// The interface of a link-local address, a name or number (RFC 4007).
        scope: Option<String>,
        /// 1 to 65535, or a name in services(5), which is looked up at load.
        port: String,
    },
    /// A unix socket or FIFO in the file system, by its path: at most [`limits::UNIX_PATH_BYTES`] bytes (FIFO: 4095).
    /// Or a unix socket in the abstract namespace, by its name behind an `@`; unix(7).
    Local(String),
    /// A socket of virtual machines, vsock(7).
    Vsock {
        /// Context id; `None`: any.
        cid: Option<u32>,
        /// The port.
        port: u32,
    },
}

/// A range of addresses. An IPv4 range a.b.c.d/n is ::ffff:a.b.c.d/(96 + n); a shorter one holds IPv6 addresses only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// The first address; the bits after the first `len` are zero.
    pub first: u128,
    /// Bits that count, 0 to 128.
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
    /// A number that is the same for all addresses that can meet, and for few others.
    fn key(&self) -> u32 {
        let sum = |text: &str| text.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
        match self {
            Self::Inet { port: name, .. } | Self::Local(name) => sum(name),
            Self::Vsock { port, .. } => *port,
        }
    }

    /// Whether it has a name in the file system.
    pub fn is_path(&self) -> bool {
        matches!(self, Self::Local(name) if name.starts_with('/'))
    }

    /// Whether it is a unix socket (of either namespace) or FIFO.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }

    /// Whether it belongs to IPv4 or IPv6.
    pub fn is_ip(&self) -> bool {
        matches!(self, Self::Inet { .. })
    }
}

/// Reads the value of a Listen line.
pub(super) fn listen(kind: Kind, text: &str) -> Parsed<ListenAddress> {
    if !cfg!(feature = "local") {
        return if text.starts_with(['/', '@']) { wrong(Code::LocalNotInBuild, text) } else { inet(text) };
    }
    if kind == Kind::Fifo {
        return Ok(ListenAddress::Local(path(text)?));
    }
    if text == "@" {
        return wrong(Code::AbstractEmpty, text);
    }
    if text.starts_with(['/', '@']) {
        let name = if text.starts_with('@') { text.to_owned() } else { path(text)? };
        let bytes = name.len() - usize::from(text.starts_with('@'));
        if bytes <= limits::UNIX_PATH_BYTES {
            return Ok(ListenAddress::Local(name));
        }
        let (bytes, most) = (bytes.to_string(), limits::UNIX_PATH_BYTES.to_string());
        return fail(Problem::new(Code::UnixPathLong, 0..text.len(), &[&bytes, &most]));
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
        return Ok(ListenAddress::Inet { ip: Some(ip), scope: None, port });
    }
    match listen(Kind::Stream, text)? {
        ListenAddress::Inet { ip: None, scope, port } => {
            Ok(ListenAddress::Inet { ip: Some(Ipv4Addr::LOCALHOST.into()), scope, port })
        }
        ListenAddress::Vsock { cid: None, .. } => wrong(Code::BackendVsock, text),
        address => Ok(address),
    }
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
        return Ok(ListenAddress::Inet { ip: Some(address.into()), scope: scope.map(str::to_owned), port });
    }
    let Some((address, digits)) = split_last(text, b':') else {
        if text.parse::<IpAddr>().is_ok() {
            return wrong(Code::NoPort, text);
        }
        if text.contains('/') && !text.starts_with(|c: char| c.is_ascii_digit()) {
            return wrong(Code::RelativePath, text);
        }
        return Ok(ListenAddress::Inet { ip: None, scope: None, port: port(text)? });
    };
    let Ok(ip) = address.parse::<Ipv4Addr>() else {
        if text.parse::<Ipv6Addr>().is_ok() || address.parse::<Ipv6Addr>().is_ok() {
            return wrong(Code::NoBrackets, text);
        }
        return fail(Problem::new(Code::BadIp, 0..address.len(), &[address]));
    };
    let port = port(digits).map_err(|problem| problem.moved(address.len() + 1))?;
    Ok(ListenAddress::Inet { ip: Some(ip.into()), scope: None, port })
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
fn port(text: &str) -> Parsed<String> {
    if let Some(number) = number::<u16>(text).filter(|number| *number > 0) {
        return Ok(number.to_string());
    }
    let named = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+".contains(&b));
    let letters = text.bytes().any(|b| b.is_ascii_alphabetic()) && !text.starts_with('-');
    if named && letters { Ok(text.to_owned()) } else { wrong(Code::BadPort, text) }
}

/// Names that stand for prefixes, systemd.resource-control(5).
const NAMED: [(&str, [&str; 2]); 4] = [
    ("any", ["0.0.0.0/0", "::/0"]),
    ("localhost", ["127.0.0.0/8", "::1"]),
    ("link-local", ["169.254.0.0/16", "fe80::/64"]),
    ("multicast", ["224.0.0.0/4", "ff00::/8"]),
];

/// Reads one word of an IPAddress list into one or two prefixes.
///
/// `rounded` tells whether the address had bits behind its prefix, which are cleared as systemd does.
pub(super) fn prefix(text: &str, out: &mut Vec<Prefix>) -> Parsed<bool> {
    if let Some((_, pair)) = NAMED.iter().find(|(name, _)| *name == text) {
        return pair.iter().try_fold(false, |_, range| prefix(range, out));
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
    Ok(range.first != Prefix::only(address).first)
}

impl Prefix {
    /// Bits before the address in an IPv4 range.
    pub const IPV4: u8 = 96;

    /// The range of this address alone.
    pub fn only(address: IpAddr) -> Self {
        Self { first: mapped(address).to_bits(), len: 128 }
    }

    /// The range of the addresses that begin with the first `len` bits of this one.
    pub fn new(address: IpAddr, len: u8) -> Self {
        Self::only(address).wider(if address.is_ipv4() { Self::IPV4 + len } else { len })
    }

    /// The range of this length that it is in.
    #[inline(never)]
    fn wider(&self, len: u8) -> Self {
        Self { first: self.first & u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0), len }
    }

    /// Whether it is one of IPv4 addresses.
    pub const fn is_ipv4(&self) -> bool {
        self.len >= Self::IPV4 && self.first >> 32 == 0xffff
    }

    /// Whether all addresses of the other range are in this one.
    pub fn contains(&self, other: &Self) -> bool {
        self.is_ipv4() == other.is_ipv4() && self.len <= other.len && other.wider(self.len) == *self
    }

    /// The two ranges that make up this one, which must be more than one address.
    pub const fn halves(&self) -> [Self; 2] {
        let len = self.len + 1;
        [Self { len, ..*self }, Self { first: self.first | 1 << (127 - self.len % 128), len }]
    }

    /// Its text, as the reader takes it.
    #[inline(never)]
    pub fn text(&self) -> String {
        let (address, len): (IpAddr, u8) = match Ipv6Addr::from_bits(self.first).to_ipv4_mapped() {
            Some(address) if self.is_ipv4() => (address.into(), self.len - Self::IPV4),
            _ => (Ipv6Addr::from_bits(self.first).into(), self.len),
        };
        [&address.to_string(), "/", &len.to_string()].concat()
    }
}

impl ListenAddress {
    /// Its text, as the reader takes it.
    pub fn text(&self) -> String {
        match self {
            Self::Inet { ip: None, port, .. } => port.clone(),
            Self::Inet { ip: Some(ip), scope, port } => {
                let (ip, v4) = (ip.to_string(), ip.is_ipv4());
                let (open, close) = if v4 { ("", ":") } else { ("[", "]:") };
                let (mark, scope) = scope.as_deref().map_or(("", ""), |scope| ("%", scope));
                [open, &ip, close, port, mark, scope].concat()
            }
            Self::Local(name) => name.clone(),
            Self::Vsock { cid, port } => {
                let cid = cid.map(|cid| cid.to_string()).unwrap_or_default();
                ["vsock:", &cid, ":", &port.to_string()].concat()
            }
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

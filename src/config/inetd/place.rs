//! Service, type of socket and protocol of a line as the sockets that it opens.

use std::net::IpAddr;

use crate::cli::Dialect;
use crate::config::address::Kind;
use crate::config::message::{Code, Reason};
use crate::config::problem::{Parsed, Problem, fail, wrong};
use crate::sys::users;

/// What the third field asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// A path.
    Unix,
    /// 0.0.0.0.
    V4,
    /// [::] for IPv6 alone.
    V6,
    /// One socket for both, as far as the kernel has IPv6.
    Dual,
    /// A socket for each.
    Both,
}

/// Reads the protocol of a line with this type of socket.
pub(super) fn family(protocol: &str, socktype: &str, dialect: Dialect) -> Parsed<Family> {
    let wrong = |code, arguments: &[&str]| fail(Problem::new(code, 0..protocol.len(), arguments));
    if protocol.starts_with("rpc/") {
        return wrong(Code::InetdRpc, &[]);
    }
    let (base, end) = ["tcp", "udp"]
        .iter()
        .find_map(|base| Some((*base, protocol.strip_prefix(base)?)))
        .unwrap_or(("unix", if protocol == "unix" { "" } else { "?" }));
    let family = match (dialect, end) {
        _ if base == "unix" && end.is_empty() && dialect != Dialect::Inetutils => Family::Unix,
        (Dialect::Openbsd, "") | (Dialect::Openbsd, "46") => Family::Both,
        (_, "") if base != "unix" => Family::V4,
        (Dialect::Busybox, "6") | (Dialect::Inetutils, "6") | (Dialect::Freebsd, "46") => Family::Dual,
        (Dialect::Openbsd | Dialect::Freebsd, "6") | (Dialect::Inetutils, "6only") => Family::V6,
        (Dialect::Openbsd | Dialect::Freebsd | Dialect::Inetutils, "4") | (Dialect::Inetutils, "46") => Family::V4,
        _ => {
            let expected = match dialect {
                Dialect::Busybox => Reason::ProtocolsBusybox,
                Dialect::Openbsd | Dialect::Freebsd => Reason::ProtocolsBsd,
                Dialect::Inetutils => Reason::ProtocolsInetutils,
            };
            return wrong(Code::InetdProtocol, &[protocol, dialect.name(), expected.text()]);
        }
    };
    match (socktype, base) {
        ("stream", "udp") | ("dgram", "tcp") => wrong(Code::InetdMismatch, &[socktype, protocol]),
        _ => Ok(family),
    }
}

/// Reads the type of socket of a line with this protocol.
pub(super) fn kind(socktype: &str, protocol: &str) -> Parsed<Kind> {
    match socktype {
        "stream" => Ok(Kind::Stream),
        "dgram" => Ok(Kind::Datagram),
        "seqpacket" if protocol == "unix" => Ok(Kind::SequentialPacket),
        _ => wrong(Code::InetdSocketType, socktype),
    }
}

/// The addresses of a list, as Listen lines with `service` as their port.
pub(super) fn listens(list: Option<&str>, service: &str, family: Family) -> Parsed<Vec<String>> {
    let mut out = Vec::new();
    for host in list.unwrap_or("*").split(',') {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if bare == "*" {
            match family {
                Family::V4 => out.push(["0.0.0.0:", service].concat()),
                Family::V6 => out.push(["[::]:", service].concat()),
                Family::Dual => out.push(service.to_owned()),
                Family::Both => out.extend(["0.0.0.0:", "[::]:"].map(|any| [any, service].concat())),
                Family::Unix => {}
            }
            continue;
        }
        let (ip, scope) = bare.split_once('%').map_or((bare, ""), |(ip, scope)| (ip, scope));
        let ips = match ip.parse::<IpAddr>() {
            Ok(ip) => vec![ip],
            Err(_) => named(bare, family),
        };
        if ips.is_empty() {
            return wrong(Code::InetdAddress, host);
        }
        for ip in ips {
            out.push(match ip {
                IpAddr::V4(ip) => [&ip.to_string(), ":", service].concat(),
                IpAddr::V6(ip) if scope.is_empty() => ["[", &ip.to_string(), "]:", service].concat(),
                IpAddr::V6(ip) => ["[", &ip.to_string(), "]:", service, "%", scope].concat(),
            });
        }
    }
    Ok(out)
}

/// The addresses that /etc/hosts has for a name and the protocol can use.
fn named(name: &str, family: Family) -> Vec<IpAddr> {
    let mut found = users::hosts(name);
    found.retain(|ip| match family {
        Family::V4 => ip.is_ipv4(),
        Family::V6 => ip.is_ipv6(),
        _ => true,
    });
    found
}

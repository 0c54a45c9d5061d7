//! Addresses that two sockets can't both have.
//!
//! Ports by name are compared by name only; the plan station compares again when it has looked them up.

use std::net::IpAddr;

use super::address::{Listen, ListenAddress};
use super::directive::Id;
use super::draft::ServiceDraft;
use super::fault::Fault;
use super::message::Code;

/// How two sockets stand to each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Meeting {
    /// The kernel's setting for IPv6 decides.
    Maybe,
    /// The second can't be opened.
    Always,
}

/// Adds a fault for each socket that meets an earlier one.
pub(super) fn check(services: &[ServiceDraft], faults: &mut Vec<Fault>) {
    let mut earlier: Vec<(u32, (&ServiceDraft, &Listen))> = Vec::new();
    for service in services {
        for listen in &service.listens {
            let near = earlier.iter().filter(|(key, _)| *key == listen.key);
            let worst = near
                .filter_map(|(_, old)| Some((meeting(*old, (service, listen))?, old)))
                .max_by_key(|(meeting, _)| *meeting);
            if let Some((meeting, (first, old))) = worst {
                let code = match meeting {
                    Meeting::Always if listen.address.is_ip() => Code::SameAddress,
                    Meeting::Always => Code::SameName,
                    Meeting::Maybe => Code::Overlap,
                };
                let (text, other) = (listen.address.text(), old.address.text());
                let fault = Fault::new(code, listen.place, &[&text, &service.name, &other, &first.name]);
                faults.push(fault.with_other(old.place));
            }
            earlier.push((listen.key, (service, listen)));
        }
    }
}

/// Whether two sockets want the same address.
fn meeting(one: (&ServiceDraft, &Listen), two: (&ServiceDraft, &Listen)) -> Option<Meeting> {
    let (a, b) = (one.1, two.1);
    match (&a.address, &b.address) {
        // A path is one file, whatever kind of socket it is; abstract names are kept apart by kind (unix(7)).
        (ListenAddress::Local(x), ListenAddress::Local(y)) => {
            (x == y && (a.kind == b.kind || a.address.is_path())).then_some(Meeting::Always)
        }
        (ListenAddress::Vsock { cid: x, port: p }, ListenAddress::Vsock { cid: y, port: q }) => {
            (p == q && (x == y || x.is_none() || y.is_none())).then_some(Meeting::Always)
        }
        _ if a.kind == b.kind => inet(one, two),
        _ => None,
    }
}

fn inet(one: (&ServiceDraft, &Listen), two: (&ServiceDraft, &Listen)) -> Option<Meeting> {
    let ((s, a), (t, b)) = (one, two);
    let ListenAddress::Inet { ip: x, scope: scope_x, port: port_x } = &a.address else { return None };
    let ListenAddress::Inet { ip: y, scope: scope_y, port: port_y } = &b.address else { return None };
    let apart = s.text(Id::BindToDevice).zip(t.text(Id::BindToDevice)).is_some_and(|(x, y)| x != y);
    let shared = s.flag(Id::ReusePort) && t.flag(Id::ReusePort);
    let scopes = scope_x.as_ref().zip(scope_y.as_ref()).is_some_and(|(x, y)| x != y);
    if apart || shared || scopes || port_x != port_y {
        return None;
    }
    let any = |ip: &Option<IpAddr>| ip.is_none_or(|ip| ip.is_unspecified());
    let v6 = |ip: &Option<IpAddr>| ip.is_none_or(|ip| ip.is_ipv6());
    if v6(x) == v6(y) {
        return (any(x) || any(y) || x == y).then_some(Meeting::Always);
    }
    // One is IPv4, and the other takes IPv4 clients too only when it is [::] and not for IPv6 alone.
    let (wide, owner) = if v6(x) { (x, s) } else { (y, t) };
    match owner.choice(Id::BindIPv6Only) {
        _ if !any(wide) => None,
        "ipv6-only" => None,
        "both" => Some(Meeting::Always),
        _ => Some(Meeting::Maybe),
    }
}

//! Checks within a service and between services that need no question to the system.
//!
//! Users, ports by name, programs and folders are looked up by the plan station. A directive that does nothing where it
//! stands is a warning; one that would seem to protect something and doesn't is an error.

use std::net::Ipv6Addr;

use super::address::{Kind, ListenAddress};
use super::collide;
use super::directive::{self, Id};
use super::draft::{Draft, Links, ServiceDraft};
use super::fault::{Fault, Place, at_most, tell};
use super::message::{Code, Reason};
use super::own_port;
use super::value::Value;
use crate::limits;
use crate::packed::fill;

/// Adds the faults of everything that was read to the draft.
pub fn check(draft: &mut Draft) {
    let mut faults = Vec::new();
    if draft.services.is_empty() && draft.faults.is_empty() {
        tell(&mut faults, Code::NoService, Place::default(), &[]);
    }
    let links = draft.links();
    for service in &draft.services {
        let more = links.of(&service.name).map(|section| section.listens.len()).sum();
        let mut check = Check { service, more, faults: &mut faults };
        if let Some(name) = service.text(Id::Service) {
            check.belongs(name, draft.service(name));
        } else {
            check.parts();
        }
        check.accept();
        check.forward();
        check.one_socket();
        if cfg!(feature = "access") {
            check.access();
        }
        if cfg!(feature = "idle") {
            check.sleep();
        }
        check.effects();
        check.companions();
    }
    // With more sockets than fit, the one fault about that is enough.
    if capacity(draft, &links, &mut faults) {
        collide::check(&draft.services, &mut faults);
    }
    draft.faults.append(&mut faults);
}

/// The checks of one service.
struct Check<'a> {
    service: &'a ServiceDraft,
    /// Sockets that other sections add.
    more: usize,
    faults: &'a mut Vec<Fault>,
}

/// What is said where none of the sockets is what a directive needs, so that it does nothing.
#[rustfmt::skip]
fn need(id: Id) -> Option<Reason> {
    Some(match id {
        Id::SocketUser | Id::SocketGroup | Id::SocketMode | Id::DirectoryMode | Id::RemoveOnStop => Reason::NoPath,
        Id::KeepAlive | Id::KeepAliveTimeSec | Id::KeepAliveIntervalSec | Id::KeepAliveProbes
        | Id::NoDelay | Id::DeferAcceptSec | Id::TCPCongestion => Reason::NoTcp,
        Id::BindIPv6Only | Id::BindToDevice | Id::IPTOS | Id::IPTTL | Id::ReusePort | Id::FreeBind | Id::Transparent
        | Id::IPAddressAllow | Id::IPAddressDeny => Reason::NoIp,
        Id::PassCredentials => Reason::NoUnix,
        Id::Broadcast | Id::PassPacketInfo => Reason::NoDatagram,
        Id::Backlog => Reason::NoConnections,
        Id::MaxConnections | Id::MaxConnectionsPerSource | Id::MaxConnectionRate => Reason::NoAccept,
        Id::FlushPending | Id::Restart | Id::RestartSec | Id::NotifyAccess | Id::MinRunSec | Id::EvictUnderPressure =>
            Reason::Accepts,
        Id::StopWhenIdleSec | Id::StopWhenQuietSec => Reason::NoProgramSet,
        _ => return None,
    })
}

/// Directives that say something about another one, and do nothing without it.
const COMPANIONS: [(Id, Id); 6] = [
    (Id::RuntimeDirectoryMode, Id::RuntimeDirectory),
    (Id::StateDirectoryMode, Id::StateDirectory),
    (Id::CacheDirectoryMode, Id::CacheDirectory),
    (Id::LogsDirectoryMode, Id::LogsDirectory),
    (Id::RestartSec, Id::Restart),
    (Id::PollLimitIntervalSec, Id::PollLimitBurst),
];

impl Check<'_> {
    /// Adds a fault at the place of a directive.
    #[inline(never)]
    fn at(&mut self, code: Code, id: Id, arguments: &[&str]) {
        tell(self.faults, code, self.service.place(id), arguments);
    }

    /// A section that adds sockets to another one has nothing else.
    fn belongs(&mut self, name: &str, owner: Option<&ServiceDraft>) {
        let service = self.service;
        self.has_socket();
        if service.flag(Id::Accept) || owner.is_some_and(|owner| owner.flag(Id::Accept)) {
            self.at(Code::ServiceAccept, Id::Service, &[]);
        }
        if owner.is_none_or(|owner| owner.is_set(Id::Service)) {
            self.at(Code::ServiceUnknown, Id::Service, &[name]);
        }
        let own = |id: &Id| service.is_own(*id);
        for (id, _) in service.settings().filter(|(id, _)| own(id) && !is_of_socket(*id)) {
            if id.row().group == directive::Group::Sockets {
                let why = fill(Reason::OfOwner.text(), &[name]);
                self.at(Code::NoEffect, id, &[id.name(), &why]);
            } else {
                self.at(Code::ServiceSetting, id, &[id.name(), name]);
            }
        }
    }

    fn has_socket(&mut self) {
        let service = self.service;
        let kinds = [Kind::Stream, Kind::Datagram, Kind::SequentialPacket, Kind::Fifo];
        if service.listens.is_empty()
            && (!service.is_multiplexed() || service.is_set(Id::ConnectTo))
            && !kinds.iter().any(|kind| service.has_failed(kind.directive()))
        {
            let fault = Fault::new(Code::NoListen, service.place, &[&service.name]);
            let defaults = ["default", "defaults"].iter().any(|name| service.name.eq_ignore_ascii_case(name));
            self.faults.push(if defaults { fault.with_hint(Reason::DefaultsName.text().to_owned()) } else { fault });
        }
    }

    /// Every service has a socket and a program.
    fn parts(&mut self) {
        let service = self.service;
        self.has_socket();
        let internal = service.is_set(Id::Internal);
        if internal && service.is_set(Id::ExecStart) {
            self.at(Code::InternalProgram, Id::ExecStart, &[]);
        }
        let what = service.choice(Id::Internal);
        let is_deaf = |kind| kind == Kind::Fifo || kind == Kind::Datagram && what == "tcpmux";
        for listen in service.listens.iter().filter(|listen| internal && is_deaf(listen.kind)) {
            let fault = Fault::new(Code::InternalKind, listen.place, &[what]);
            self.faults.push(fault.with_other(service.place(Id::Internal)));
        }
        if service.command().is_none()
            && !internal
            && !service.is_set(Id::ConnectTo)
            && ![Id::ExecStart, Id::ConnectTo].into_iter().any(|id| service.has_failed(id))
        {
            tell(self.faults, Code::NoExecStart, service.place, &[&service.name]);
        }
        let datagram = service.listens.iter().any(|listen| listen.kind == Kind::Datagram);
        if service.command().is_some_and(super::Command::has_instance) && (!service.flag(Id::Accept) || datagram) {
            self.at(Code::InstanceAccept, Id::ExecStart, &[&service.name]);
        }
        if !service.accepts() {
            self.faults.extend(own_port::fault(service, service.place(Id::ExecStart)));
        }
        let words = service.command().map_or(0, |command| command.arguments.len());
        self.words(Id::ExecStart, words, limits::ARGUMENTS);
        let variables = service.list(Id::Environment).len() + service.list(Id::PassEnvironment).len();
        self.words(Id::Environment, variables, limits::ENVIRONMENT);
    }

    fn words(&mut self, id: Id, count: usize, most: usize) {
        at_most(self.faults, Code::TooManyWords, self.service.place(id), id.name(), [count, most]);
    }

    /// Accept=yes is for sockets that have connections, systemd.socket(5).
    fn accept(&mut self) {
        if !self.service.flag(Id::Accept) {
            return;
        }
        let accept = self.service.place(Id::Accept);
        for listen in &self.service.listens {
            let per_peer = listen.address.is_ip() && self.service.flag(Id::ReusePort);
            if matches!(listen.kind, Kind::Datagram | Kind::Fifo) && !per_peer {
                self.faults.push(Fault::new(Code::AcceptKind, listen.place, &[]).with_other(accept));
            }
        }
    }

    /// ConnectTo= takes connections, and nobody else gets their sockets.
    fn forward(&mut self) {
        let service = self.service;
        let Some(backend) = service.address(Id::ConnectTo).filter(|_| cfg!(feature = "forward")) else {
            if service.is_own(Id::SendProxyV2) && service.flag(Id::SendProxyV2) && !service.has_failed(Id::ConnectTo) {
                self.at(Code::ForwardNothing, Id::SendProxyV2, &[]);
            }
            return;
        };
        let place = service.place(Id::ConnectTo);
        let internal = service.is_set(Id::Internal).then(|| (Id::Internal, "Internal=".to_owned()));
        for (id, what) in takers(service).chain(internal) {
            self.faults.push(Fault::new(Code::ForwardOther, service.place(id), &[&what]).with_other(place));
        }
        let both = service.choice(Id::BindIPv6Only) != "ipv6-only";
        for listen in &service.listens {
            if listen.kind != Kind::Stream {
                self.faults.push(Fault::new(Code::ForwardKind, listen.place, &[]).with_other(place));
            } else if leads_to(backend, &listen.address, both) {
                self.faults.push(Fault::new(Code::ForwardSelf, place, &[]).with_other(listen.place));
            }
        }
    }

    /// A listening socket on a standard stream must be the only one.
    fn one_socket(&mut self) {
        let service = self.service;
        let count = service.listens.len() + self.more;
        if service.flag(Id::BothWays) && !matches!(service.text(Id::StandardInput), None | Some("socket")) {
            self.at(Code::BothWaysInput, Id::StandardInput, &[]);
        }
        let with_path = service.listens.iter().filter(|listen| listen.address.is_path()).count();
        if service.is_set(Id::Symlinks) && with_path != 1 {
            self.at(Code::SymlinksOne, Id::Symlinks, &[&service.name, &with_path.to_string()]);
        }
        if service.flag(Id::Accept) || count <= 1 {
            return;
        }
        if let Some((id, what)) = takers(service).next() {
            self.at(Code::OneSocket, id, &[&what, &service.name, &count.to_string()]);
        }
    }

    /// Rules about who may connect must hold for every socket.
    fn access(&mut self) {
        let service = self.service;
        let local = |listen: &super::Listen| listen.address.is_local() && listen.kind != Kind::Fifo;
        let known = (service.flag(Id::Accept) || service.is_set(Id::ConnectTo)) && service.listens.iter().all(local);
        for id in [Id::AllowUsers, Id::AllowGroups] {
            if service.is_set(id) && !known {
                self.at(Code::AllowPeers, id, &[id.name(), &service.name]);
            }
        }
        if service.is_set(Id::IPAddressAllow) && !service.is_set(Id::IPAddressDeny) {
            self.at(Code::AllowWithoutDeny, Id::IPAddressAllow, &[]);
        }
    }

    /// A service can be put to sleep if it goes on running, and for want of connections if it shows any.
    fn sleep(&mut self) {
        let service = self.service;
        let wanted = |id: Id| service.is_own(id) && service.number(id) != Some(super::INFINITY);
        for id in [Id::StopWhenIdleSec, Id::StopWhenQuietSec] {
            if wanted(id) && service.flag(Id::Accept) {
                self.at(Code::SleepAccept, id, &[id.name()]);
            }
        }
        let hidden = |listen: &&super::Listen| {
            // those that we forward we count ourselves
            listen.kind.has_connections()
                && !listen.address.is_ip()
                && !listen.address.is_local()
                && !service.is_set(Id::ConnectTo)
        };
        let none = self.holds(Reason::NoConnections);
        let first = if none { service.listens.first() } else { service.listens.iter().find(hidden) };
        if let Some(listen) = first.filter(|_| wanted(Id::StopWhenIdleSec) && !service.flag(Id::Accept)) {
            let (what, place) = (listen.kind.directive().name(), service.place(Id::StopWhenIdleSec));
            let fault = Fault::new(Code::IdleSockets, place, &[&[what, "="].concat(), &service.name]);
            self.faults.push(fault.with_other(listen.place));
        }
    }

    /// Directives of the section itself that do nothing with its sockets. `[defaults]` may set more than each needs.
    fn effects(&mut self) {
        if self.service.listens.is_empty() {
            return;
        }
        for (id, value) in self.service.settings().filter(|(id, _)| self.service.is_own(*id)) {
            let Some(why) = need(id) else { continue };
            let off = *value == Value::Number(0);
            let told = self.service.is_set(Id::Service) && !is_of_socket(id);
            if !off && !told && self.holds(why) {
                self.at(Code::NoEffect, id, &[id.name(), why.text()]);
            }
        }
    }

    /// Directives whose companion is missing.
    fn companions(&mut self) {
        let service = self.service;
        for (id, other) in COMPANIONS {
            let told = id == Id::RestartSec && service.flag(Id::Accept);
            if !told && service.is_own(id) && !service.is_set(other) && !service.has_failed(other) {
                let why = fill(Reason::NoCompanion.text(), &[other.name()]);
                self.at(Code::NoEffect, id, &[id.name(), &why]);
            }
        }
        let stops = [Id::StopWhenIdleSec, Id::StopWhenQuietSec, Id::EvictUnderPressure];
        if service.choice(Id::KillMode) == "none" {
            for id in stops.into_iter().filter(|id| service.is_own(*id)) {
                self.at(Code::NoEffect, id, &[id.name(), Reason::Keeps.text()]);
            }
        }
        let stopped = || stops.iter().any(|id| service.is_set(*id) || service.has_failed(*id));
        if service.is_own(Id::MinRunSec) && !service.flag(Id::Accept) && !stopped() {
            self.at(Code::NoEffect, Id::MinRunSec, &["MinRunSec", Reason::NoStop.text()]);
        }
    }

    /// Whether a reason of [`need`] holds: no socket is as it would have to be.
    fn holds(&self, why: Reason) -> bool {
        let accept = self.service.flag(Id::Accept);
        !self.service.listens.iter().any(|listen| match why {
            Reason::NoPath => listen.address.is_path(),
            Reason::NoTcp => listen.address.is_ip() && listen.kind == Kind::Stream,
            Reason::NoIp => listen.address.is_ip(),
            Reason::NoUnix => listen.address.is_local() && listen.kind != Kind::Fifo,
            Reason::NoDatagram => listen.kind == Kind::Datagram,
            Reason::NoConnections => listen.kind.has_connections(),
            Reason::NoAccept => self.service.accepts(),
            Reason::Accepts => !accept,
            Reason::NoProgramSet => self.service.command().is_some() || self.service.has_failed(Id::ExecStart),
            _ => true, // it is no reason of that table
        })
    }
}

/// What hands a socket to a program in a way of its own: directives, with their values.
fn takers(service: &ServiceDraft) -> impl Iterator<Item = (Id, String)> {
    let streams = [Id::StandardInput, Id::StandardOutput, Id::StandardError];
    let streams = streams.into_iter().filter(|id| service.text(*id) == Some("socket")).map(|id| (id, "=socket"));
    let flags = [Id::BothWays, Id::Accept].into_iter().filter(|id| service.flag(*id)).map(|id| (id, "=yes"));
    streams.chain(flags).map(|(id, value)| (id, [id.name(), value].concat()))
}

/// Whether a connection to `backend` arrives at this socket of ours. `both`: one for IPv6 takes IPv4 as well.
fn leads_to(backend: &ListenAddress, listen: &ListenAddress, both: bool) -> bool {
    let ListenAddress::Inet { ip: Some(ip), port, .. } = backend else { return backend == listen };
    let ListenAddress::Inet { ip: own, port: at, .. } = listen else { return false };
    let own = own.unwrap_or(Ipv6Addr::UNSPECIFIED.into());
    let of_ours = ip.is_loopback() || ip.is_unspecified();
    let heard = own.is_unspecified() && (own.is_ipv4() == ip.is_ipv4() || both && own.is_ipv6());
    at == port && (own == *ip || of_ours && (heard || ip.is_unspecified() && own.is_loopback()))
}

/// Whether a directive says something about single sockets, and not about the service that gets them.
fn is_of_socket(id: Id) -> bool {
    let of_service = [
        Id::NonBlocking,
        Id::FlushPending,
        Id::MaxConnections,
        Id::MaxConnectionsPerSource,
        Id::TriggerLimitIntervalSec,
        Id::TriggerLimitBurst,
        Id::PollLimitIntervalSec,
        Id::PollLimitBurst,
    ];
    matches!(id.row().group, directive::Group::Sockets | directive::Group::Access) && !of_service.contains(&id)
}

/// Whether the fixed tables have room for all sockets; a fault for each that has not.
fn capacity(draft: &Draft, links: &Links<'_>, faults: &mut Vec<Fault>) -> bool {
    let mut check = |place: Place, count: usize, most: usize, what: &str, variable: &str| {
        if count > most {
            let (count, most) = (count.to_string(), most.to_string());
            tell(faults, Code::TooMany, place, &[&count, what, &most, variable]);
        }
    };
    let services = &draft.services;
    let sockets: usize = services.iter().map(|service| service.listens.len()).sum();
    let last = services.last().map(|service| service.place).unwrap_or_default();
    let programs = services.iter().filter(|service| !service.is_set(Id::Service)).count();
    check(last, programs, limits::SERVICES, "services", "DORMOUSE_SERVICES");
    check(last, sockets, limits::LISTENERS, "sockets", "DORMOUSE_LISTENERS");
    for service in services {
        let place = service.listens.last().map_or(service.place, |listen| listen.place);
        let what = ["sockets in [", &service.name, "]"].concat();
        let more: usize = links.of(&service.name).map(|section| section.listens.len()).sum();
        check(place, service.listens.len() + more, limits::SERVICE_LISTENERS, &what, "DORMOUSE_SERVICE_LISTENERS");
    }
    sockets <= limits::LISTENERS
}

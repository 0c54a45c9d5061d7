//! The fields of a line as the directives of a service.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Reader;
use super::fields::{Field, split};
use super::flags::{LIMITS, Wait, owner, wait};
use super::place::{Family, family, kind, listens};
use super::readings::Reading;
use crate::cli::Dialect;
use crate::config::address::{Kind, Listen, ListenAddress};
use crate::config::directive::Id;
use crate::config::draft::{Draft, MUX, ServiceDraft, is_built_in};
use crate::config::fault::{Fault, Place, tell};
use crate::config::lex::Line;
use crate::config::message::Code;
use crate::config::native::is_of_name;
use crate::config::problem::{Parsed, Problem};
use crate::config::words;
use crate::limits;
use crate::sys::{environment, users};
use crate::text::{base_name, join, split_last};

/// Arguments that most inetds have room for.
const ARGUMENTS: usize = 20;

/// A line on its way to become a service.
struct Entry<'a> {
    line: &'a Line,
    fields: &'a [Field],
    file: u32,
    /// The field that is being read.
    place: Place,
    service: ServiceDraft,
    faults: Vec<Fault>,
}

impl<'a> Entry<'a> {
    /// Turns to a field.
    fn at(&mut self, index: usize) {
        let at = self.fields.get(index).map_or(0..1, |field| field.at.clone());
        self.place = self.line.place(self.file, at);
    }

    /// Turns to a field and reads it.
    fn read<T>(&mut self, index: usize, read: impl FnOnce(&str) -> Parsed<T>) -> Option<T> {
        self.at(index);
        let read = read(self.text(index));
        read.map_err(|problem| self.wrong(*problem)).ok()
    }

    /// Sets a directive that the field asks for.
    #[inline(never)]
    fn set(&mut self, id: Id, text: &str) {
        if let Err(problem) = self.service.set(id, text, self.place, &mut Vec::new()) {
            self.wrong(*problem);
        }
    }

    /// Something is wrong with the field as a whole.
    fn wrong(&mut self, problem: Problem) {
        self.faults.push(Fault { place: self.place, ..problem.fault });
    }

    /// Adds what is wrong with the field.
    fn fault(&mut self, code: Code, arguments: &[&str]) {
        tell(&mut self.faults, code, self.place, arguments);
    }

    fn text(&self, index: usize) -> &'a str {
        self.fields.get(index).map_or("", |field| &field.text)
    }

    /// `rcvbuf=64k,sndbuf=1m` behind a protocol: the sizes of the buffers.
    fn buffers(&mut self, list: &str) {
        for option in list.split(',') {
            let (id, size) = match option.split_once('=') {
                Some(("rcvbuf", size)) => (Id::ReceiveBuffer, size),
                Some(("sndbuf", size)) => (Id::SendBuffer, size),
                _ => return self.fault(Code::InetdBuffer, &[option]),
            };
            self.set(id, &size.replace('k', "K").replace('m', "M"));
        }
    }
}

impl Reader<'_> {
    /// One entry. The faults keep it from becoming a service.
    pub(super) fn entry(&mut self, draft: &mut Draft, line: &Line) -> Result<(), Vec<Fault>> {
        let located = |mut problem: Box<Problem>| {
            problem.fault.place = self.place(line, &problem.at.take().unwrap_or(0..line.text.len()));
            vec![problem.fault]
        };
        let mut fields = split(&line.text, self.dialect).map_err(located)?;
        if let [only] = &fields[..]
            && let Some(address) = only.text.strip_suffix(':').filter(|_| self.dialect != Dialect::Freebsd)
        {
            self.address = Some(address.to_owned()).filter(|address| address != "*");
            return Ok(());
        }
        let whole = self.place(line, &(0..line.text.len()));
        if fields.len() < 6 {
            return Err(vec![Fault::new(Code::InetdFields, whole, &[&fields.len().to_string()])]);
        }
        let buffers = match fields.get_mut(2) {
            Some(protocol) if self.dialect == Dialect::Openbsd => cut(&mut protocol.text),
            _ => None,
        };
        self.disagreements(draft, line, &fields);
        let mut service = ServiceDraft::default();
        service.place = whole;
        let mut entry = Entry { line, fields: &fields, file: self.file, place: whole, service, faults: Vec::new() };
        if let Some(buffers) = buffers {
            entry.at(2);
            entry.buffers(&buffers);
        }
        let services = self.services(draft, &mut entry);
        if !entry.faults.is_empty() {
            return Err(entry.faults);
        }
        for mut service in services {
            let near = near(draft, &service);
            for index in &near {
                part_ways(&mut draft.services[*index], &mut service);
            }
            let twin = near.iter().map(|index| &draft.services[*index]).find(|earlier| is_twin(earlier, &service));
            if let Some(first) = twin.map(|earlier| earlier.place) {
                let fault = Fault::new(Code::InetdTwice, whole, &[&service.name]).with_other(first);
                draft.faults.push(fault);
                continue;
            }
            service.name = section_name(&service.name);
            service.name = unique(draft, &service);
            draft.services.push(service);
        }
        Ok(())
    }

    /// Tells where the line means something else to other dialects.
    fn disagreements(&mut self, draft: &mut Draft, line: &Line, fields: &[Field]) {
        let text = |index: usize| fields.get(index).map_or("", |field| &*field.text);
        let mut found = Vec::new();
        let hosts = split_last(text(0), b':').map_or(self.address.as_deref(), |(list, _)| Some(list)).unwrap_or("*");
        match text(2) {
            // addresses say themselves of which family they are
            "tcp" | "udp" if !hosts.split(',').all(|host| host.parse::<Ipv4Addr>().is_ok()) => {
                found.push((Reading::ReadPlain, 2));
            }
            "tcp6" | "udp6" if !hosts.split(',').all(|host| host.contains(':')) => {
                found.push((Reading::ReadSix, 2));
            }
            _ => {}
        }
        if text(1) == "dgram" && text(3).starts_with("nowait") && text(5) != "internal" {
            found.push((Reading::ReadDatagramNowait, 3));
        }
        if let Some(index) = fields.iter().position(|field| is_quoted(&line.text[field.at.clone()])) {
            found.push((Reading::ReadQuotes, index));
        }
        if fields.len() > 6 + ARGUMENTS {
            found.push((Reading::ReadManyArguments, 6 + ARGUMENTS));
        } else if fields.len() == 6 && text(5) != "internal" {
            found.push((Reading::ReadNoArguments, 5));
        }
        for (reading, index) in found {
            self.told(draft, reading, self.place(line, &fields[index].at));
        }
    }

    /// The services of an entry: one, but a listening socket on descriptor 0 must be alone, so that a `wait` line with
    /// several addresses makes several.
    fn services(&mut self, draft: &mut Draft, entry: &mut Entry<'_>) -> Vec<ServiceDraft> {
        let (socktype, protocol) = (entry.text(1), entry.text(2));
        let kind = entry.read(1, |socktype| kind(socktype, protocol));
        let family = entry.read(2, |protocol| family(protocol, socktype, self.dialect));
        let flag = entry.read(3, |flag| wait(flag, self.dialect));
        let (Some(kind), Some(family), Some(flag)) = (kind, family, flag) else { return Vec::new() };
        entry.at(0);
        self.sockets(entry, kind, family);
        let internal = entry.text(5) == "internal";
        let long = entry.text(0).len() > limits::SERVICE_NAME_BYTES;
        if entry.text(0).starts_with(MUX) && (flag.wait || kind != Kind::Stream || long) {
            entry.fault(Code::InetdMux, &[]);
        }
        if let Some(backlog) = self.form.asked.backlog.filter(|_| kind != Kind::Datagram) {
            entry.set(Id::Backlog, &backlog.to_string());
        }
        if internal {
            self.internal(entry, kind, flag);
        } else {
            entry.at(3);
            self.habits(entry, kind, flag);
            entry.at(4);
            self.user(draft, entry);
            entry.at(5);
            self.command(entry);
        }
        let mut service = std::mem::take(&mut entry.service);
        if internal || service.flag(Id::Accept) || service.listens.len() <= 1 {
            return vec![service];
        }
        let mut services = Vec::new();
        for listen in std::mem::take(&mut service.listens) {
            let mut alone = service.clone();
            if !is_v6(&listen) {
                alone.reset(Id::BindIPv6Only);
            }
            alone.listens.push(listen);
            services.push(alone);
        }
        services
    }

    /// Name and sockets.
    fn sockets(&self, entry: &mut Entry<'_>, kind: Kind, family: Family) {
        let field = entry.text(0);
        let directive = kind.directive();
        if family == Family::Unix {
            return self.unix(entry, field, directive);
        }
        if field.starts_with(MUX) {
            return field.clone_into(&mut entry.service.name);
        }
        let split = split_last(field, b':');
        if split.is_some() && self.dialect == Dialect::Freebsd {
            return entry.fault(Code::BadPort, &[field]);
        }
        let (list, service) = split.map_or((self.address.as_deref(), field), |(list, name)| (Some(list), name));
        entry.service.name = [service, "/", entry.text(2)].concat();
        let listens = entry.read(0, |_| listens(list, service, family)).unwrap_or_default();
        listens.iter().for_each(|listen| entry.set(directive, listen));
        let wide = entry.service.listens.iter().any(|listen| {
            let text = listen.address.text();
            text.starts_with("[::]:") || !text.contains(':')
        });
        if wide {
            entry.set(Id::BindIPv6Only, if family == Family::Dual { "both" } else { "ipv6-only" });
        }
    }

    /// `/path`, with FreeBSD also `:user:group:mode:/path`. FreeBSD lets only the owner in, the others everybody.
    fn unix(&self, entry: &mut Entry<'_>, field: &str, directive: Id) {
        let mut path = field;
        if self.dialect == Dialect::Freebsd {
            let mut mode = "";
            if let Some(rest) = field.strip_prefix(':') {
                let mut parts = rest.splitn(4, ':');
                let [user, group, bits, rest] = [(); 4].map(|()| parts.next().unwrap_or_default());
                for (id, name) in [(Id::SocketUser, user), (Id::SocketGroup, group)] {
                    if !name.is_empty() {
                        entry.set(id, name);
                    }
                }
                (mode, path) = (bits, rest);
            }
            entry.set(Id::SocketMode, if mode.is_empty() { "0200" } else { mode });
        }
        if !path.starts_with('/') {
            return entry.fault(Code::RelativePath, &[path]);
        }
        entry.set(directive, &path.replace('%', "%%"));
        entry.set(Id::RemoveOnStop, "yes");
        path.clone_into(&mut entry.service.name);
    }

    /// What inetd does without being asked, as directives.
    fn habits(&self, entry: &mut Entry<'_>, kind: Kind, flag: Wait) {
        let per_peer =
            kind == Kind::Datagram && !flag.wait && self.dialect == Dialect::Busybox && entry.text(2) != "unix";
        let accept = !flag.wait && kind != Kind::Datagram || per_peer;
        entry.set(Id::StandardInput, "socket");
        entry.set(Id::StandardOutput, "socket");
        // With busybox a wait service keeps inetd's own standard error.
        if accept || self.dialect != Dialect::Busybox {
            entry.set(Id::StandardError, "socket");
        }
        if accept {
            entry.set(Id::Accept, "yes");
            // without a number in the line: as many as there is room for
            entry.set(Id::MaxConnections, &limits::CHILDREN.to_string());
            for (id, most) in LIMITS.into_iter().zip(flag.limits).filter(|(_, most)| *most > 0) {
                entry.set(id, &most.to_string());
            }
        }
        if per_peer {
            entry.set(Id::ReusePort, "yes");
        }
        self.rate(entry, flag);
        entry.set(Id::KillMode, "none");
        if self.form.asked.keep_environment {
            let names =
                environment::variables().filter_map(|variable| Some(variable.to_str().ok()?.split_once('=')?.0));
            let names: Vec<&str> = names.filter(|name| crate::config::value::is_variable(name)).collect();
            entry.set(Id::PassEnvironment, &join(&names, " "));
        }
    }

    /// Starts in a minute.
    fn rate(&self, entry: &mut Entry<'_>, flag: Wait) {
        match flag.rate.or(self.form.asked.rate).filter(|rate| *rate > 0) {
            Some(rate) => {
                entry.set(Id::TriggerLimitIntervalSec, "60s");
                entry.set(Id::TriggerLimitBurst, &rate.to_string());
            }
            None => entry.set(Id::TriggerLimitBurst, "0"),
        }
    }

    /// `internal`: the service is found by its name.
    fn internal(&self, entry: &mut Entry<'_>, kind: Kind, flag: Wait) {
        let name = entry.service.name.split('/').next().unwrap_or_default().to_ascii_lowercase();
        let known = is_built_in(&name, kind != Kind::Stream) && !entry.text(0).starts_with(MUX);
        if !known || entry.text(2) == "unix" {
            return tell(&mut entry.faults, Code::InetdInternal, entry.place, &[&entry.service.name]);
        }
        if flag.wait != (kind == Kind::Datagram) && self.dialect == Dialect::Busybox {
            let word = if flag.wait { "nowait" } else { "wait" };
            entry.at(3);
            return entry.fault(Code::InetdInternalWait, &[entry.text(1), word]);
        }
        if name == "tcpmux" {
            entry.service.name.clone_from(&name); // what follows a slash would be one of those that it serves
        }
        entry.set(Id::Internal, &name);
        entry.at(3);
        self.rate(entry, flag);
    }

    /// root alone changes nothing; root with a group is in that group alone; others are what they are.
    fn user(&self, draft: &mut Draft, entry: &mut Entry<'_>) {
        let owner = owner(entry.text(4), self.dialect, &is_user);
        if owner.user != "root" {
            entry.set(Id::User, &owner.user);
        }
        if owner.user.is_empty() || owner.group.as_deref() == Some("") {
            entry.fault(Code::BadName, &[entry.text(4)]);
        } else if let Some(group) = owner.group {
            entry.set(Id::Group, &group);
        }
        if let Some(class) = owner.class {
            tell(&mut draft.faults, Code::InetdClass, entry.place, &[&class]);
        }
    }

    /// Program and arguments, argv\[0\] among them.
    fn command(&self, entry: &mut Entry<'_>) {
        let mut program = entry.text(5).to_owned();
        if let Some(folder) = self.form.folder.as_deref().filter(|_| program.contains('/') && !program.starts_with('/'))
        {
            program = [folder, "/", program.strip_prefix("./").unwrap_or(&program)].concat();
        }
        // busybox looks for a bare name in PATH
        let bare = self.dialect == Dialect::Busybox && !program.contains('/') && !program.is_empty();
        if !program.starts_with('/') && !bare {
            return entry.fault(Code::InetdProgram, &[&program]);
        }
        let name = match self.dialect {
            Dialect::Busybox | Dialect::Openbsd => &*program,
            Dialect::Freebsd | Dialect::Inetutils => base_name(&program),
        };
        let mut arguments = entry.fields[6..].iter().map(|field| &*field.text);
        let text = match arguments.len() {
            0 => words::command_line(&program, &mut std::iter::once(name)),
            _ => words::command_line(&program, &mut arguments),
        };
        entry.set(Id::ExecStart, &text);
    }
}

/// Takes off a text what follows its first comma.
fn cut(text: &mut String) -> Option<String> {
    let rest = text.split_once(',').map(|(_, rest)| rest.to_owned())?;
    text.truncate(text.len() - rest.len() - 1);
    Some(rest)
}

/// Whether there are quotation marks in a text.
fn is_quoted(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'"' | b'\''))
}

/// Whether a user bears this whole name, dots included.
fn is_user(name: &str) -> bool {
    name.contains('.') && users::user(name).is_some()
}

/// The name of a section for what may be any word or path: what cannot stand there becomes `_`.
fn section_name(name: &str) -> String {
    fit(&name.chars().map(|c| if is_of_name(c) { c } else { '_' }).collect::<String>(), "")
}

/// A name with this end; of a long one the beginning is left out.
fn fit(name: &str, end: &str) -> String {
    let most = limits::SERVICE_NAME_BYTES.saturating_sub(end.len());
    [name.get(name.len().saturating_sub(most)..).unwrap_or_default(), end].concat()
}

/// The earlier services that may want a socket of this one, by their places in the draft. Most lines share none.
fn near(draft: &Draft, service: &ServiceDraft) -> Vec<usize> {
    let shares = |earlier: &ServiceDraft| {
        earlier.listens.iter().any(|other| service.listens.iter().any(|listen| listen.key == other.key))
    };
    (0..draft.services.len()).filter(|index| shares(&draft.services[*index])).collect()
}

/// Whether an earlier service has one of the sockets already.
fn is_twin(earlier: &ServiceDraft, service: &ServiceDraft) -> bool {
    let only = |service: &ServiceDraft| service.choice(Id::BindIPv6Only) == "ipv6-only";
    let has = |listen: &Listen| {
        let same = |other: &Listen| other.kind == listen.kind && other.address == listen.address;
        earlier.listens.iter().any(same) && (listen.address.is_local() || only(earlier) == only(service))
    };
    service.listens.iter().any(has)
}

/// Where one line is for IPv4 alone and another for both, the latter is left with IPv6: so both can be opened, and that
/// is what two lines are there for.
fn part_ways(earlier: &mut ServiceDraft, service: &mut ServiceDraft) {
    leave_v4(earlier, service);
    leave_v4(service, earlier);
}

/// Leaves IPv4 to `other` where it asks for just that.
fn leave_v4(service: &mut ServiceDraft, other: &ServiceDraft) {
    if service.choice(Id::BindIPv6Only) != "both" {
        return;
    }
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    for listen in &mut service.listens {
        let ListenAddress::Inet { ip: ip @ None, port, .. } = &mut listen.address else { continue };
        let v4 = ListenAddress::Inet { ip: Some(any), scope: None, port: port.clone() };
        if other.listens.iter().any(|other| other.kind == listen.kind && other.address == v4) {
            *ip = Some(Ipv6Addr::UNSPECIFIED.into());
            let place = listen.place;
            let _ = service.set(Id::BindIPv6Only, "ipv6-only", place, &mut Vec::new()); // a word of its list
            return;
        }
    }
}

fn is_v6(listen: &Listen) -> bool {
    matches!(listen.address, ListenAddress::Inet { ip: Some(IpAddr::V6(_)), .. })
}

/// The name of a service, with an address or a number behind it where it is taken.
fn unique(draft: &Draft, service: &ServiceDraft) -> String {
    let mut name = service.name.clone();
    if draft.service(&name).is_none() {
        return name;
    }
    let address = service.listens.first().map(|listen| listen.address.text()).unwrap_or_default();
    let host = split_last(&address, b':').map_or("", |(host, _)| host).replace(['[', ']'], "").replace(':', "-");
    if !host.is_empty() {
        name = if host == "--" { fit(&name, "6") } else { fit(&name, &["@", &host].concat()) };
    }
    let base = name.clone();
    let mut number = 2;
    while draft.service(&name).is_some() {
        name = fit(&base, &["-", &number.to_string()].concat());
        number += 1;
    }
    name
}

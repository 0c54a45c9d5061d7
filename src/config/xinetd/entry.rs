//! One service of xinetd, as directives.

use super::super::address::Prefix;
use super::super::directive::Id;
use super::super::draft::{Draft, MUX, ServiceDraft, is_built_in, locate};
use super::super::fault::{Fault, Place, Severity, tell};
use super::super::message::{Code, Reason};
use super::super::native::check_name;
use super::super::words::{self, quote};
use super::{Attribute, Block, Operator, access};
use crate::text::{base_name, join, number};

/// Attributes that one directive stands for.
const SIMPLE: [(&str, Id); 12] = [
    ("user", Id::User),
    ("group", Id::Group),
    ("nice", Id::Nice),
    ("umask", Id::UMask),
    ("rlimit_as", Id::LimitAS),
    ("rlimit_cpu", Id::LimitCPU),
    ("rlimit_data", Id::LimitDATA),
    ("rlimit_rss", Id::LimitRSS),
    ("rlimit_stack", Id::LimitSTACK),
    ("rlimit_files", Id::LimitNOFILE),
    ("max_load", Id::LoadMax),
    ("passenv", Id::PassEnvironment),
];
/// Attributes that are read by name below, or that need nothing.
const KNOWN: &str = "type id disable disabled enabled flags socket_type protocol wait server server_args port bind \
    interface instances per_source cps only_from no_access env groups v6only log_on_success log_on_failure \
    libwrap redirect rpc_version rpc_number";
/// Attributes of xinetd that mean nothing here.
const LOST: &str = "access_times banner banner_success banner_fail deny_time log_type mdns";

/// Adds the service of a block to the draft, unless it is switched off or can't be.
pub(super) fn add(draft: &mut Draft, block: &Block, defaults: &[Attribute]) {
    let mut entry = Entry { block, defaults, service: ServiceDraft::default(), faults: Vec::new() };
    let id = entry.word("id").unwrap_or_else(|| block.name.clone());
    if entry.is_off(&id) {
        return;
    }
    entry.service.name.clone_from(&id);
    entry.service.place = block.place;
    let unfit = entry.fill().err();
    let others = [
        (block.broken, Reason::LineBroken),
        (draft.service(&id).is_some(), Reason::IdTwice),
        (entry.faults.iter().any(Fault::is_error), Reason::ValueWrong),
        (check_name(&id, block.place).is_some(), Reason::IdBad),
    ];
    let why = unfit.or(others.into_iter().find(|(is_so, _)| *is_so).map(|(_, why)| why));
    for mut fault in entry.faults {
        fault.severity = Severity::Warning;
        draft.faults.push(fault);
    }
    match why {
        Some(why) => tell(&mut draft.faults, Code::XinetdLeftOut, block.place, &[&id, why.text()]),
        None => draft.services.push(entry.service),
    }
}

/// The warning about an attribute that means nothing here.
pub(super) fn told(attribute: &Attribute) -> Option<Fault> {
    let within = |list: &str| words::index(list, &attribute.name).is_some();
    let code = match () {
        () if within(LOST) => Code::XinetdLost,
        () if within(KNOWN) || SIMPLE.iter().any(|(known, _)| *known == attribute.name) => return None,
        () => Code::XinetdUnknown,
    };
    Some(Fault::new(code, attribute.place, &[&attribute.name]))
}

/// Of a nice value that is out of range, the nearest one, as xinetd takes it.
fn nearest_nice(text: String) -> String {
    let (digits, most, nearest) = match text.strip_prefix('-') {
        Some(digits) => (digits, 20, "-20"),
        None => (&*text, 19, "19"),
    };
    if number::<u32>(digits, 10).is_some_and(|number| number > most) { nearest.to_owned() } else { text }
}

struct Entry<'a> {
    block: &'a Block,
    defaults: &'a [Attribute],
    service: ServiceDraft,
    faults: Vec<Fault>,
}

/// Why a service is left out.
type Filled = Result<(), Reason>;

impl<'a> Entry<'a> {
    /// The attribute that holds: the service's own, or that of the defaults.
    fn attribute(&self, name: &str) -> Option<&'a Attribute> {
        let of = |list: &'a [Attribute]| list.iter().find(|known| known.name == name);
        let own = matches!(name, "disabled" | "enabled");
        of(&self.block.attributes).or_else(|| of(if own { &[] } else { self.defaults }))
    }

    /// Its values; those of a set by += and -= count on those of the defaults.
    fn values(&self, name: &str) -> Vec<String> {
        let Some(own) = self.attribute(name) else { return Vec::new() };
        let default = self.defaults.iter().find(|known| known.name == name && own.operator != Operator::Set);
        let mut values = default.map(|default| default.values.clone()).unwrap_or_default();
        own.operator.change(&mut values, own.values.clone());
        values
    }

    fn word(&self, name: &str) -> Option<String> {
        self.attribute(name)?.values.first().cloned()
    }

    /// Where an attribute stands; the block where there is none of this name.
    fn place(&self, name: &str) -> Place {
        self.attribute(name).map_or(self.block.place, |attribute| attribute.place)
    }

    fn has(&self, name: &str, word: &str) -> bool {
        self.values(name).iter().any(|value| value.eq_ignore_ascii_case(word))
    }

    fn is_off(&self, id: &str) -> bool {
        let listed = |list: &str| {
            let list = self.defaults.iter().find(|attribute| attribute.name == list);
            list.map(|list| list.values.iter().any(|value| value == id))
        };
        self.has("disable", "yes") || listed("disabled") == Some(true) || listed("enabled") == Some(false)
    }

    /// Sets a directive that an attribute asks for, if it says anything.
    #[inline(never)]
    fn set(&mut self, id: Id, text: &str, attribute: &str) {
        if text.is_empty() {
            return;
        }
        let place = self.place(attribute);
        if id.row().later {
            return tell(&mut self.faults, Code::XinetdLost, place, &[id.name()]);
        }
        if let Err(problem) = self.service.set(id, text, place, &mut Vec::new()) {
            self.faults.push(locate(*problem, text, place));
        }
    }

    fn fill(&mut self) -> Filled {
        for attribute in &self.block.attributes {
            self.faults.extend(told(attribute));
        }
        if self.has("type", "RPC") {
            return Err(Reason::Rpc);
        }
        if ["SENSOR", "INTERCEPT", "LABELED"].into_iter().any(|flag| self.has("flags", flag)) {
            return Err(Reason::Flags);
        }
        match ["TCPMUXPLUS", "TCPMUX"].into_iter().find(|kind| self.has("type", kind)) {
            Some(kind) => self.multiplexed(kind),
            None => self.sockets()?,
        }
        self.program()?;
        self.limits();
        self.access()?;
        for (name, id) in SIMPLE {
            let values = self.values(name);
            let text = match join(&values, " ") {
                unlimited if unlimited == "UNLIMITED" => "infinity".to_owned(),
                nice if id == Id::Nice => nearest_nice(nice),
                text => text,
            };
            self.set(id, &text, name);
        }
        Ok(())
    }

    /// It has no socket of its own: tcpmux starts it by its name, and answers for it if there is a plus.
    fn multiplexed(&mut self, kind: &str) {
        let plus = if kind.ends_with("PLUS") { "+" } else { "" };
        self.service.name = [MUX, plus, &self.block.name].concat();
        self.set(Id::Accept, "yes", "type");
    }

    fn sockets(&mut self) -> Filled {
        let wait = self.has("wait", "yes");
        if !wait && !self.has("wait", "no") {
            return Err(Reason::WaitMissing);
        }
        let listen = match self.word("socket_type").as_deref() {
            Some("stream") => Id::ListenStream,
            Some("dgram") => Id::ListenDatagram,
            Some(_) => return Err(Reason::NoSuchType),
            None => return Err(Reason::TypeMissing),
        };
        // without a protocol it is the one of the socket_type
        if self.has("type", "UNLISTED") && self.word("port").is_none() {
            return Err(Reason::PortMissing);
        }
        let matching = if listen == Id::ListenStream { "tcp" } else { "udp" };
        if self.word("protocol").is_some_and(|protocol| protocol.trim_end_matches('6') != matching) {
            return Err(Reason::ProtocolOther);
        }
        let port = self.word("port").unwrap_or_else(|| self.block.name.clone());
        let bind = self.word("bind").or_else(|| self.word("interface"));
        let family =
            if self.has("flags", "IPv4") { Some("0.0.0.0") } else { self.has("flags", "IPv6").then_some("::") };
        let address = match bind.or_else(|| family.map(str::to_owned)) {
            Some(address) if address.contains(':') => ["[", &address, "]:", &port].concat(),
            Some(address) => [&*address, ":", &port].concat(),
            None => port,
        };
        let said = ["bind", "interface", "port"].into_iter().find(|name| self.attribute(name).is_some());
        self.set(listen, &address, said.unwrap_or_default());
        if self.has("v6only", "yes") {
            self.set(Id::BindIPv6Only, "ipv6-only", "socket_type");
        }
        let accept = !wait && listen == Id::ListenStream;
        if !wait && !accept && !self.has("type", "INTERNAL") {
            let place = self.place("wait");
            tell(&mut self.faults, Code::XinetdDatagram, place, &[]);
        }
        let forwards = self.attribute("redirect").is_some();
        self.set(Id::Accept, if accept && !forwards { "yes" } else { "no" }, "socket_type");
        for (flag, id) in [("NODELAY", Id::NoDelay), ("KEEPALIVE", Id::KeepAlive)] {
            if self.has("flags", flag) {
                self.set(id, "yes", "flags");
            }
        }
        Ok(())
    }

    /// The program with the socket on 0, 1 and 2, or what stands for one.
    fn program(&mut self) -> Filled {
        let datagram = self.service.is_set(Id::ListenDatagram);
        if let Some(to) = self.attribute("redirect") {
            if Id::ConnectTo.row().later {
                return Err(Reason::NotForwarded);
            }
            if !self.service.is_set(Id::ListenStream) {
                return Err(Reason::ProtocolOther);
            }
            let colon = |host: &String| host.contains(':');
            let address = match to.values.split_first() {
                Some((host, port)) if colon(host) => ["[", host, "]:", &port.concat()].concat(),
                _ => join(&to.values, ":"),
            };
            self.set(Id::ConnectTo, &address, "redirect");
            return Ok(());
        }
        if self.has("type", "INTERNAL") {
            let name = self.block.name.to_ascii_lowercase();
            if Id::Internal.row().later || !is_built_in(&name, datagram) {
                return Err(Reason::NotBuiltIn);
            }
            self.set(Id::Internal, &name, "");
            return Ok(());
        }
        let Some(server) = self.word("server") else { return Err(Reason::ServerMissing) };
        if self.word("user").is_none() {
            return Err(Reason::UserMissing);
        }
        let mut arguments = self.values("server_args");
        if !self.has("flags", "NAMEINARGS") {
            arguments.insert(0, base_name(&server).to_owned());
        } else if arguments.is_empty() {
            return Err(Reason::NameInArgs);
        }
        self.set(Id::ExecStart, &words::command_line(&server, &mut arguments.iter().map(|word| &**word)), "server");
        for id in [Id::StandardInput, Id::StandardOutput, Id::StandardError] {
            self.set(id, "socket", "server");
        }
        Ok(())
    }

    fn limits(&mut self) {
        let accept = self.service.flag(Id::Accept) || self.service.is_set(Id::ConnectTo);
        for (name, id) in [("instances", Id::MaxConnections), ("per_source", Id::MaxConnectionsPerSource)] {
            if let Some(most) = self.word(name).filter(|word| accept && word != "UNLIMITED") {
                // systemd's 0 connections of a source are as many as there are
                self.set(if most == "0" { Id::MaxConnections } else { id }, &most, name);
            }
        }
        self.set(Id::TriggerLimitIntervalSec, "1s", "cps");
        self.set(Id::TriggerLimitBurst, &self.word("cps").unwrap_or_else(|| "50".to_owned()), "cps");
        let mut variables = String::new();
        for variable in self.values("env") {
            quote(&variable, false, &mut variables);
            variables.push(' ');
        }
        self.set(Id::Environment, variables.trim_ascii_end(), "env");
    }

    fn access(&mut self) -> Filled {
        let mut lists = [Vec::new(), Vec::new()];
        for (name, list) in ["only_from", "no_access"].into_iter().zip(&mut lists) {
            for entry in self.values(name) {
                if access::prefixes(&entry, list) {
                    continue;
                }
                if name == "no_access" {
                    return Err(Reason::AccessName);
                }
                let place = self.place(name);
                tell(&mut self.faults, Code::XinetdHost, place, &[&entry]);
            }
        }
        let [only_from, no_access] = lists;
        let closed = self.attribute("only_from").is_some();
        let text = |list: &[Prefix]| join(&list.iter().map(Prefix::text).collect::<Vec<_>>(), " ");
        if closed {
            self.set(Id::IPAddressAllow, &text(&access::allowed(&only_from, &no_access)), "only_from");
            self.set(Id::IPAddressDeny, "any", "only_from");
        } else {
            self.set(Id::IPAddressDeny, &text(&no_access), "no_access");
        }
        Ok(())
    }
}

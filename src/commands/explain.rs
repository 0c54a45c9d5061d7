//! `dormouse explain NAME`: exactly what the child of a service gets.

use core::ffi::CStr;

use super::say::Say;
use super::{context, daemon, read};
use crate::cli::{self, Options, exit};
use crate::config::{self, Id, Tolerance};
use crate::logging::Target;
use crate::open::connections;
use crate::plan::address::{self, Text};
use crate::plan::steps::{Reader, Step};
use crate::plan::{ListenerSpec, Plan, Policy, ServiceSpec, SocketKind, Stdio};
use crate::run::family_name;
use crate::text::{fraction, join, strings};

/// Reads the configuration and shows one service of it.
#[inline(never)] // its frame must not be part of the loop's caller
pub(super) fn explain(options: &Options) -> u8 {
    let mut draft = read(options, Tolerance::Lenient);
    let plan = match daemon::plan(&mut draft, &context(options)) {
        Ok(plan) => plan.plan(),
        Err(code) => return code,
    };
    let name = options.names.first().and_then(|name| name.to_str()).unwrap_or("");
    let Some(service) = plan.services.iter().find(|service| plan.arena.text(service.name) == name) else {
        let names: Vec<_> = plan.services.iter().map(|service| plan.arena.text(service.name)).collect();
        return cli::refuse(&Say::NoService.with(&[name, &join(&names, ", ")]), exit::NO);
    };
    let mut text = Told(String::new());
    describe(&plan, service, &mut text);
    cli::print(&text.0)
}

/// What is shown.
struct Told(String);

impl Told {
    fn put(&mut self, say: Say, arguments: &[&str]) {
        self.0.push_str(&say.with(arguments));
    }
}

fn describe(plan: &Plan, service: &ServiceSpec, text: &mut Told) {
    let policy = &plan.policies[usize::from(service.policy)];
    let when = match (service.backend(), policy.accept) {
        (Some(_), _) => Say::Forwarded,
        (None, true) => Say::EachConnection,
        (None, false) => Say::Listening,
    };
    text.put(Say::Sockets, &[plan.arena.text(service.name), when.text()]);
    for row in listeners(plan, service) {
        text.put(Say::Address, &[kind(row.kind), &Text(plan.arena.get(row.address)).to_string()]);
    }
    if let Some(backend) = service.backend() {
        let header = if service.proxy_header { Say::Header.text() } else { "" };
        text.put(Say::Backend, &[&Text(plan.arena.get(backend)).to_string(), header]);
    }
    if !service.has_program() {
        let why = if service.internal().is_some() { Say::BuiltIn } else { Say::AsItIs };
        return text.put(Say::NoProgram, &[why.text()]);
    }
    text.put(Say::Program, &[&config::escaped(plan.arena.text(service.program).trim_end_matches('\0'))]);
    for (index, word) in strings(plan.arena.get(service.argv)).enumerate() {
        let word = shown(word).replace(config::INSTANCE, "%i").replace(config::INSTANCE_PATH, "%I");
        text.put(Say::Argument, &[&index.to_string(), &word]);
    }
    descriptors(plan, service, policy, text);
    variables(plan, service, policy, text);
    setup(plan, policy, text);
    sleep(plan, service, policy, text);
}

fn listeners(plan: &Plan, service: &ServiceSpec) -> &'static [ListenerSpec] {
    plan.listeners.get(service.rows()).unwrap_or_default()
}

const fn kind(kind: SocketKind) -> &'static str {
    match kind {
        SocketKind::Stream => "stream",
        SocketKind::Datagram => "datagram",
        SocketKind::SequentialPacket => "seqpacket",
        SocketKind::Fifo => "fifo",
    }
}

fn descriptors(plan: &Plan, service: &ServiceSpec, policy: &Policy, text: &mut Told) {
    let socket = if policy.accept { Say::TheConnection } else { Say::TheListener };
    let log = match policy.log {
        Target::Stderr => Say::OurError,
        Target::Syslog => Say::SyslogLines,
        Target::Kmsg => Say::KernelLines,
    };
    text.put(Say::Descriptors, &[]);
    for (number, stdio) in policy.stdio.into_iter().enumerate() {
        let target = match stdio {
            Stdio::Null => "/dev/null",
            Stdio::Inherit => Say::OurOwn.text(),
            Stdio::Socket => socket.text(),
            Stdio::Log => log.text(),
            Stdio::File => Say::AFile.text(),
        };
        text.put(Say::Address, &[&number.to_string(), target]);
    }
    if service.backend().is_some() {
        text.put(Say::NoSocket, &[]);
    }
    let blocking = if policy.nonblocking { "non-" } else { "" };
    for (index, name) in fd_names(plan, service, policy).into_iter().enumerate() {
        text.put(Say::NamedSocket, &[&(index + 3).to_string(), socket.text(), blocking, name]);
    }
}

/// The names of the sockets from descriptor 3 on.
fn fd_names<'a>(plan: &'a Plan, service: &ServiceSpec, policy: &Policy) -> Vec<&'a str> {
    let count = match policy.accept {
        _ if service.fd_names.is_empty() => 0,
        true => 1,
        false => usize::from(service.listeners),
    };
    (0..count).map(|index| service.fd_name(plan.arena, index)).collect()
}

fn variables(plan: &Plan, service: &ServiceSpec, policy: &Policy, text: &mut Told) {
    text.put(Say::Environment, &[]);
    for variable in strings(plan.arena.get(policy.environment)) {
        text.put(Say::Variable, &[&shown(variable)]);
    }
    let names = fd_names(plan, service, policy);
    if !names.is_empty() {
        text.put(Say::Listen, &[&names.len().to_string(), &join(&names, ":")]);
    }
    if policy.accept && service.backend().is_none() {
        text.put(Say::Connection, &[]);
    }
}

/// The steps between clone and exec, one line each.
fn setup(plan: &Plan, policy: &Policy, text: &mut Told) {
    text.put(Say::Before, &[]);
    for (stage, step) in Reader::new(plan.arena.get(policy.steps)) {
        let mut name = stage.name();
        let what = match step {
            Step::Limit(resource, soft, hard) => {
                let is_it = |id: &&Id| config::resource(**id) == Some(resource);
                name = Id::ALL.iter().find(is_it).map_or(name, |id| id.name());
                join(&[limit(soft), limit(hard)], ":")
            }
            Step::Nice(nice) => nice.to_string(),
            Step::OomScore(score) => String::from_utf8_lossy(score).into_owned(),
            Step::Umask(mask) => config::octal(mask.into()),
            Step::Open(fd, mode, path) => format!("{fd} {mode:?} {}", shown(path)),
            Step::Copy(from, to) => format!("{to} as {from}"),
            Step::Root(path) => shown(path),
            Step::Await(path) => Say::IsMissing.with(&[&shown(path)]),
            Step::Directory(optional, path) => shown(path) + if optional { Say::RootInstead.text() } else { "" },
            Step::Folder(mode, _, _, path) => [&*shown(path), " ", &config::octal(mode.into())].concat(),
            Step::Groups(bytes) => {
                let ids = bytes.as_chunks::<4>().0.iter().map(|id| u32::from_ne_bytes(*id).to_string());
                join(&ids.collect::<Vec<_>>(), " ")
            }
            Step::Group(id) | Step::User(id) => id.to_string(),
            Step::Bounding(0) => "none".to_owned(),
            Step::Bounding(set) | Step::Ambient(set) => config::capabilities_text(set),
            Step::KeepCapabilities | Step::NoNewPrivileges => "yes".to_owned(),
            Step::ParentDeath(signal) => format!("signal {signal}"),
        };
        text.put(Say::Address, &[name, &what]);
    }
}

/// When it is put to sleep, and how this machine tells that nobody is connected.
fn sleep(plan: &Plan, service: &ServiceSpec, policy: &Policy, text: &mut Told) {
    let sleep = &policy.sleep;
    let spans = [(sleep.idle_ms, Say::Idle), (sleep.quiet_ms, Say::Quiet)];
    let conditions: Vec<_> = spans
        .into_iter()
        .filter(|(ms, _)| *ms != u32::MAX)
        .map(|(ms, say)| {
            let mut seconds = String::new();
            fraction(ms.into(), 3, &mut seconds);
            say.with(&[&seconds])
        })
        .collect();
    if conditions.is_empty() {
        return;
    }
    text.put(Say::Sleep, &[&join(&conditions, ", and ")]);
    let mut told = Vec::new();
    for row in listeners(plan, service).iter().filter(|row| row.kind.has_connections()) {
        let family = address::family(plan.arena.get(row.address));
        let counted = sleep.idle_ms != u32::MAX && service.backend().is_none();
        if counted && !told.contains(&family) {
            told.push(family);
            let method = connections::method(family).map_or("nothing here".to_owned(), |method| method.to_string());
            text.put(Say::Counted, &[family_name(family), &method]);
        }
    }
}

/// What comes from files can neither begin a line nor steer a terminal.
fn shown(text: &CStr) -> String {
    config::escaped(&text.to_string_lossy())
}

fn limit(value: u64) -> String {
    if value == u64::MAX { "infinity".to_owned() } else { value.to_string() }
}

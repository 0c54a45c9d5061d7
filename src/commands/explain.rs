//! `dormouse explain NAME`: exactly what the child of a service gets.

use std::fmt::Write;

use super::{context, daemon, read};
use crate::cli::{self, Options, exit};
use crate::config::{self, Id, Tolerance};
use crate::open::connections;
use crate::plan::address::{self, Text};
use crate::plan::steps::{Reader, Step};
use crate::plan::{ChildLog, Plan, Policy, ServiceSpec, SocketKind, Stdio};
use crate::run::family_name;
use crate::text::strings;

/// Reads the configuration and shows one service of it.
#[inline(never)] // its frame must not be part of the loop's caller
pub(super) fn explain(options: &Options) -> u8 {
    let mut draft = match read(options, Tolerance::Lenient) {
        Ok(draft) => draft,
        Err(code) => return code,
    };
    let plan = match daemon::plan(&mut draft, &context(options)) {
        Ok(plan) => plan.plan(),
        Err(code) => return code,
    };
    let name = options.names.first().and_then(|name| name.to_str()).unwrap_or("");
    let Some(service) = plan.services.iter().find(|service| plan.arena.text(service.name) == name) else {
        let names: Vec<_> = plan.services.iter().map(|service| plan.arena.text(service.name)).collect();
        cli::complain(&format_args!("no service \"{name}\"; there are: {}", names.join(", ")));
        return exit::NO;
    };
    cli::print(&describe(&plan, service))
}

fn describe(plan: &Plan, service: &ServiceSpec) -> String {
    let policy = &plan.policies[usize::from(service.policy)];
    let mut text = String::new();
    let name = plan.arena.text(service.name);
    let when = match (service.backend(), policy.accept) {
        (Some(_), _) => "its connections are forwarded",
        (None, true) => "one process for each connection",
        (None, false) => "one process with the listening sockets",
    };
    let _ = writeln!(text, "{name}: {when}\n\nsockets");
    for (index, row) in plan.listeners[usize::from(service.first_listener)..].iter().enumerate() {
        if index == usize::from(service.listeners) {
            break;
        }
        let _ = writeln!(text, "  {} {}", kind(row.kind), Text(plan.arena.get(row.address)));
    }
    if let Some(backend) = service.backend() {
        let header =
            if service.proxy_header { ", with the client's address in front (PROXY protocol, version 2)" } else { "" };
        let _ = writeln!(text, "\nbackend\n  {}{header}", Text(plan.arena.get(backend)));
    }
    if !service.has_program() {
        let why =
            if service.internal().is_some() { "it is built in" } else { "connections go to the backend as it is" };
        let _ = writeln!(text, "\nno program: {why}");
        return text;
    }
    let _ = writeln!(text, "\nprogram\n  {}", plan.arena.text(service.program).trim_end_matches('\0'));
    for (index, word) in strings(plan.arena.get(service.argv)).enumerate() {
        let _ = writeln!(
            text,
            "  argv[{index}] {}",
            word.to_string_lossy().replace(config::INSTANCE, "%i").replace(config::INSTANCE_PATH, "%I")
        );
    }
    descriptors(plan, service, policy, &mut text);
    variables(plan, service, policy, &mut text);
    setup(plan, policy, &mut text);
    sleep(plan, service, policy, &mut text);
    text
}

const fn kind(kind: SocketKind) -> &'static str {
    match kind {
        SocketKind::Stream => "stream",
        SocketKind::Datagram => "datagram",
        SocketKind::SequentialPacket => "seqpacket",
        SocketKind::Fifo => "fifo",
    }
}

fn descriptors(plan: &Plan, service: &ServiceSpec, policy: &Policy, text: &mut String) {
    let socket = if policy.accept { "the connection" } else { "the listening socket" };
    let log = match policy.log {
        ChildLog::Stderr => "the standard error of dormouse",
        ChildLog::Syslog => "lines to syslog",
        ChildLog::Kmsg => "lines to the kernel's log",
    };
    let _ = writeln!(text, "\ndescriptors");
    for (number, stdio) in policy.stdio.into_iter().enumerate() {
        let target = match stdio {
            Stdio::Null => "/dev/null",
            Stdio::Inherit => "that of dormouse",
            Stdio::Socket => socket,
            Stdio::Log => log,
            Stdio::File => "a file, see below",
        };
        let _ = writeln!(text, "  {number} {target}");
    }
    if service.backend().is_some() {
        let _ = writeln!(text, "  no socket: the program opens the backend's address by itself");
    }
    if service.fd_names.is_empty() {
        return;
    }
    let count = if policy.accept { 1 } else { usize::from(service.listeners) };
    for index in 0..count {
        let name = service.fd_name(plan.arena, index);
        let blocking = if policy.nonblocking { "non-blocking" } else { "blocking" };
        let _ = writeln!(text, "  {} {socket} ({blocking}), name {name}", index + 3);
    }
}

fn variables(plan: &Plan, service: &ServiceSpec, policy: &Policy, text: &mut String) {
    let _ = writeln!(text, "\nenvironment");
    for variable in strings(plan.arena.get(policy.environment)) {
        let _ = writeln!(text, "  {}", variable.to_string_lossy());
    }
    if !service.fd_names.is_empty() {
        let count = if policy.accept { 1 } else { usize::from(service.listeners) };
        let names: Vec<_> = (0..count).map(|index| service.fd_name(plan.arena, index)).collect();
        let _ = writeln!(text, "  LISTEN_FDS={count}\n  LISTEN_FDNAMES={}\n  LISTEN_PID=<its pid>", names.join(":"));
    }
    if policy.accept && service.backend().is_none() {
        let _ = writeln!(text, "  and for each connection, TCP: REMOTE_ADDR REMOTE_PORT REMOTE_HOST PROTO TCPREMOTEIP");
        let _ = writeln!(
            text,
            "  TCPREMOTEPORT TCPLOCALIP TCPLOCALPORT TCPCONNNUM; unix: PROTO IPCREMOTEEUID IPCREMOTEEGID IPCCONNNUM"
        );
    }
}

/// The steps between clone and exec, one line each.
fn setup(plan: &Plan, policy: &Policy, text: &mut String) {
    let _ = writeln!(text, "\nbefore the program is executed\n  own session, default signals, none blocked");
    for (stage, step) in Reader::new(plan.arena.get(policy.steps)) {
        let mut name = stage.name();
        let what = match step {
            Step::Limit(resource, soft, hard) => {
                let is_it = |id: &&Id| config::resource(**id) == Some(resource.into());
                name = Id::ALL.iter().find(is_it).map_or(name, |id| id.name());
                format!("{}:{}", limit(soft), limit(hard))
            }
            Step::Nice(nice) => nice.to_string(),
            Step::OomScore(score) => String::from_utf8_lossy(score).into_owned(),
            Step::Umask(mask) => format!("{mask:04o}"),
            Step::Open(fd, mode, path) => format!("{fd} {mode:?} {}", path.to_string_lossy()),
            Step::Copy(from, to) => format!("{to} as {from}"),
            Step::Root(path) => path.to_string_lossy().into_owned(),
            Step::Await(path) => format!("{} is missing", path.to_string_lossy()),
            Step::Directory(optional, path) => {
                format!("{}{}", path.to_string_lossy(), if optional { " (/ if it is missing)" } else { "" })
            }
            Step::Folder(mode, _, _, path) => {
                let missing = if mode & Step::LEADS != 0 { ", if it is missing" } else { "" };
                format!("{} {:04o}{missing}", path.to_string_lossy(), mode & !Step::LEADS)
            }
            Step::Groups(bytes) => {
                let ids = bytes.as_chunks::<4>().0.iter().map(|id| u32::from_ne_bytes(*id).to_string());
                ids.collect::<Vec<_>>().join(" ")
            }
            Step::Group(id) | Step::User(id) => id.to_string(),
            Step::Bounding(0) => "none".to_owned(),
            Step::Bounding(set) | Step::Ambient(set) => config::capabilities_text(set),
            Step::KeepCapabilities | Step::NoNewPrivileges => "yes".to_owned(),
            Step::ParentDeath(signal) => format!("signal {signal}"),
        };
        let _ = writeln!(text, "  {name} {what}");
    }
}

/// When it is put to sleep, and how this machine tells that nobody is connected.
fn sleep(plan: &Plan, service: &ServiceSpec, policy: &Policy, text: &mut String) {
    let sleep = &policy.sleep;
    let spans = [(sleep.idle_ms, "without a connection"), (sleep.quiet_ms, "without CPU time and input")];
    let conditions: Vec<_> = spans
        .into_iter()
        .filter(|(ms, _)| *ms != u32::MAX)
        .map(|(ms, what)| format!("{}.{:03} s {what}", ms / 1000, ms % 1000))
        .collect();
    if conditions.is_empty() {
        return;
    }
    let _ = writeln!(text, "\nsleep\n  stopped after {}", conditions.join(", and "));
    let first = usize::from(service.first_listener);
    let rows = plan.listeners.get(first..first + usize::from(service.listeners)).unwrap_or(&[]);
    let mut told = Vec::new();
    for row in rows.iter().filter(|row| matches!(row.kind, SocketKind::Stream | SocketKind::SequentialPacket)) {
        let family = address::family(plan.arena.get(row.address));
        let counted = sleep.idle_ms != u32::MAX && service.backend().is_none();
        if counted && !told.contains(&family) {
            told.push(family);
            let method = connections::method(family).map_or("nothing here".to_owned(), |method| method.to_string());
            let _ = writeln!(text, "  {} connections are counted by {method}", family_name(family));
        }
    }
}

fn limit(value: u64) -> String {
    if value == u64::MAX { "infinity".to_owned() } else { value.to_string() }
}

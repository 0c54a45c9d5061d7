//! What a service may and does, as numbers: limits, restart, stop, and where its standard descriptors go.

use super::work::Work;
use super::{KillMode, Policy, Rate, Restart, Span, Stdio};
use crate::config::{Code, INFINITY, Id, ServiceDraft};
use crate::limits::CHILDREN;
use crate::logging::Target;
use crate::sys::users;

/// Starts in [`Id::TriggerLimitIntervalSec`] where nothing is set: per connection (no limit: each is asked for by a
/// client of its own), otherwise (as systemd.socket(5)).
const TRIGGER_BURST: [u32; 2] = [0, 20];

/// The words of Restart=, and of KillMode=.
const RESTART: [Restart; 6] =
    [Restart::No, Restart::Always, Restart::OnSuccess, Restart::OnFailure, Restart::OnAbnormal, Restart::OnAbort];
const KILL_MODE: [KillMode; 4] = [KillMode::Session, KillMode::Mixed, KillMode::Process, KillMode::None];

/// Standard input, output and error of a service, and the log that [`Stdio::Log`] means.
pub(super) struct Streams {
    /// Where each one goes.
    stdio: [Stdio; 3],
    log: Target,
}

/// Resolves the three streams; with them as configured, "inherit" resolved. Unset means: input and output of a
/// connection are the socket, everything else that is written goes to the log, and a listening socket is never written
/// to.
pub(super) fn streams<'a>(work: &mut Work<'a>) -> (Streams, [&'a str; 3]) {
    let (draft, context) = (work.draft, work.context);
    let unset = if context.keep_streams { Stdio::Inherit } else { Stdio::Log };
    let input = draft.input();
    let first = match (input, draft.is_set(Id::StandardInput)) {
        ("null", false) if draft.flag(Id::BothWays) => Stdio::Socket,
        ("null", false) if context.keep_streams => Stdio::Inherit,
        (stream, _) => direct(stream),
    };
    // a file that is read cannot be inherited for writing; it is opened anew, for writing
    let resolve = |id, before| match draft.text(id) {
        None => ("inherit", unset),
        Some("inherit") => before,
        Some(stream) => (stream, direct(stream)),
    };
    let (output, second) = match draft.text(Id::StandardOutput) {
        None if first == Stdio::Socket && draft.flag(Id::Accept) => ("socket", Stdio::Socket),
        _ => resolve(Id::StandardOutput, (input, first)),
    };
    let (error, third) = resolve(Id::StandardError, (output, second));
    let log = log_of(work, [output, error], [second, third]);
    (Streams { stdio: [first, second, third], log }, [input, output, error])
}

fn direct(stream: &str) -> Stdio {
    match stream {
        "null" => Stdio::Null,
        "socket" => Stdio::Socket,
        "inherit" => Stdio::Inherit,
        "syslog" | "kmsg" | "log" => Stdio::Log,
        _ => Stdio::File,
    }
}

/// One log per service: output and error cannot go to two different ones.
fn log_of(work: &mut Work<'_>, streams: [&str; 2], stdio: [Stdio; 2]) -> Target {
    let own = work.context.log;
    let logs =
        streams.into_iter().zip(stdio).filter(|(_, stdio)| *stdio == Stdio::Log).map(|(stream, _)| match stream {
            "syslog" => Target::Syslog,
            "kmsg" => Target::Kmsg,
            _ => own,
        });
    let logs: Vec<_> = logs.collect();
    if let [first, second] = logs[..]
        && first != second
    {
        work.fault(Code::TwoLogs, Id::StandardError, &[]);
    }
    logs.first().copied().unwrap_or(own)
}

/// Makes the policy. `steps` and `environment` are already in the arena.
pub(super) fn policy(work: &mut Work<'_>, streams: &Streams, identifier: &str) -> Policy {
    let draft = work.draft;
    let accept = draft.accepts();
    if accept && draft.is_set(Id::MaxConnections) && draft.number(Id::MaxConnections) > Some(CHILDREN as u64) {
        work.fault(Code::ChildrenFew, Id::MaxConnections, &[&CHILDREN.to_string()]);
    }
    let piped = streams.log != Target::Stderr && streams.stdio.contains(&Stdio::Log);
    let syslog_identifier = if piped { work.store(identifier.as_bytes()) } else { Span::EMPTY };
    let (allow, deny) = super::sockets::access(draft);
    let (allow, deny) = (work.store(&allow), work.store(&deny));
    let success = work.store(&success(draft));
    let (mut allow_users, mut allow_groups) = (Span::EMPTY, Span::EMPTY);
    if cfg!(feature = "access") {
        allow_users = ids(work, Id::AllowUsers, Code::NoUser, &|name| users::owner(name).map(|(uid, _)| uid));
        allow_groups = ids(work, Id::AllowGroups, Code::NoGroup, &users::group);
    }
    Policy {
        accept,
        both_ways: draft.flag(Id::BothWays),
        flush_pending: draft.flag(Id::FlushPending),
        ignore_failure: draft.command().is_some_and(|command| command.ignore_failure),
        send_sigkill: draft.flag(Id::SendSIGKILL),
        nonblocking: draft.flag(Id::NonBlocking),
        stdio: streams.stdio,
        log: streams.log,
        steps: Span::EMPTY,
        environment: Span::EMPTY,
        allow,
        deny,
        allow_users,
        allow_groups,
        success,
        syslog_identifier,
        max_connections: count(draft, Id::MaxConnections, u32::MAX),
        max_per_source: per_source(draft),
        trigger: rate(
            draft,
            Id::TriggerLimitIntervalSec,
            count(draft, Id::TriggerLimitBurst, TRIGGER_BURST[usize::from(!accept)]),
        ),
        poll: rate(draft, Id::PollLimitIntervalSec, count(draft, Id::PollLimitBurst, 0)),
        start: rate(draft, Id::StartLimitIntervalSec, count(draft, Id::StartLimitBurst, 0)),
        restart: draft.pick(Id::Restart, &RESTART).unwrap_or(Restart::No),
        restart_ms: milliseconds(draft, Id::RestartSec),
        runtime_max_ms: milliseconds(draft, Id::RuntimeMaxSec),
        stop_timeout_ms: milliseconds(draft, Id::TimeoutStopSec),
        kill_mode: draft.pick(Id::KillMode, &KILL_MODE).unwrap_or(KillMode::Session),
        sleep: super::sleep::sleep(work),
        kill_signal: draft.number(Id::KillSignal).and_then(|signal| u8::try_from(signal).ok()).unwrap_or(15),
    }
}

/// MaxConnectionsPerSource=; 0 is systemd's word for no limit.
fn per_source(draft: &ServiceDraft) -> u32 {
    match count(draft, Id::MaxConnectionsPerSource, 0) {
        0 => u32::MAX,
        most => most,
    }
}

pub(super) fn count(draft: &ServiceDraft, id: Id, unset: u32) -> u32 {
    draft.number(id).map_or(unset, |number| u32::try_from(number).unwrap_or(u32::MAX))
}

fn rate(draft: &ServiceDraft, interval: Id, burst: u32) -> Rate {
    Rate { interval_ms: milliseconds(draft, interval), burst }
}

/// Rounded up, so that a time that is not zero does not become zero; `u32::MAX` (over 49 days) is for ever.
pub(super) fn milliseconds(draft: &ServiceDraft, id: Id) -> u32 {
    match draft.number(id).unwrap_or(0) {
        INFINITY => u32::MAX,
        micros => u32::try_from(micros.div_ceil(1000)).unwrap_or(u32::MAX),
    }
}

/// Ends that count as clean besides status 0, as [`Policy::success`] has them. The signals are those of
/// systemd.service(5), SuccessExitStatus=.
fn success(draft: &ServiceDraft) -> Vec<u8> {
    let always = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGPIPE];
    let always = always.into_iter().map(|signal| 256 + u16::from(signal.to_le_bytes()[0]));
    let mut bytes = Vec::new();
    always.chain(draft.exit_statuses()).for_each(|status| bytes.extend(status.to_ne_bytes()));
    bytes
}

/// Names of users or groups as ids.
fn ids(work: &mut Work<'_>, id: Id, code: Code, find: &dyn Fn(&str) -> Option<u32>) -> Span {
    let mut bytes = Vec::new();
    for name in work.draft.list(id) {
        match find(name) {
            Some(number) => bytes.extend_from_slice(&number.to_ne_bytes()),
            None => work.unknown(code, id, name),
        }
    }
    work.store(&bytes)
}

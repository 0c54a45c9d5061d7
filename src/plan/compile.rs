//! From the draft to the plan: names become numbers, words become bytes, each service becomes rows.
//!
//! What the machine lacks (a user, a group) is a fault at the place of the directive, as if the text were wrong. A
//! program that is missing is only a warning: it may be there when somebody knocks.

use std::path::Path;

use super::environment::{self, Environment};
use super::policy::{Streams, policy, streams};
use super::sleep::{Sleep, idle_ms};
use super::steps::Steps;
use super::{ArenaFull, ChildLog, Internal, PlanTables, Policy, ServiceSpec, Span, Stdio, privileges, sockets};
use crate::config::{self, Code, Draft, Fault, Id, ServiceDraft, at_most, tell};
use crate::limits::{ARENA_BYTES, ARGUMENTS, ENVIRONMENT, FD_NAMES_BYTES, INSTANCE_BYTES, INSTANCE_WORDS_BYTES};
use crate::sys::file;
use crate::text::{base_name, join};

/// Variables that a start adds: four of the hand-over, nine of the connection.
const START_VARIABLES: usize = 13;

/// What the plan depends on besides the draft.
pub struct Context {
    /// Where children's lines go that are meant for the log.
    pub log: ChildLog,
    /// Standard descriptors that are not configured stay as ours, and of our environment nothing is passed on that is not
    /// asked for (activate).
    pub keep_streams: bool,
    /// Names of the sockets, one for each, where they are not those of the configuration (activate).
    pub fd_names: Vec<String>,
    /// Children get this signal when we die.
    pub parent_death: Option<u8>,
}

/// Fills an empty plan from a draft. What is wrong is added to the draft's faults; with an error among them, from before
/// or from here, the plan is of no use.
pub fn compile(draft: &mut Draft, plan: &mut PlanTables, context: &Context) {
    let (mut all, mut gone) = (Vec::new(), Vec::new());
    let links = draft.links();
    let mut last = None;
    for service in draft.services.iter().filter(|service| !service.is_set(Id::Service)) {
        let more: Vec<_> = links.of(&service.name).collect();
        let mut faults = Vec::new();
        let before = Size::of(plan);
        add(plan, service, &more, context, &mut last, &mut faults);
        if draft.is_tolerant(service.place) && faults.iter().any(Fault::is_error) {
            before.restore(plan);
            faults.iter_mut().filter(|fault| fault.is_error()).for_each(Fault::skip);
            gone.push(service.place);
        }
        all.append(&mut faults);
    }
    draft.services.retain(|service| !gone.contains(&service.place));
    draft.faults.append(&mut all);
}

/// How much of a plan's tables is used.
struct Size {
    arena: usize,
    services: usize,
    listeners: usize,
    policies: usize,
    sockets: usize,
}

impl Size {
    fn of(plan: &PlanTables) -> Self {
        Self {
            arena: plan.arena.used(),
            services: plan.services.len(),
            listeners: plan.listeners.len(),
            policies: plan.policies.len(),
            sockets: plan.sockets.len(),
        }
    }

    /// Forgets the rows that were added since.
    fn restore(&self, plan: &mut PlanTables) {
        plan.arena.truncate(self.arena);
        plan.services.truncate(self.services);
        plan.listeners.truncate(self.listeners);
        plan.policies.truncate(self.policies);
        plan.sockets.truncate(self.sockets);
    }
}

/// What the settings of a service lead to, whatever its sockets and its program are. Neighbours in a configuration are
/// mostly set alike, and then share it.
struct Setup<'a> {
    draft: &'a ServiceDraft,
    streams: Streams,
    environment: Environment,
    steps: Steps,
    sockets: sockets::Common,
    /// The program runs as root.
    as_root: bool,
    /// A program that is there, and was looked at.
    program: String,
    /// See [`ServiceSpec::remote`].
    remote: bool,
    /// The policy, and the identifier that it has.
    policy: Option<(String, Policy)>,
}

impl<'a> Setup<'a> {
    fn new(draft: &'a ServiceDraft, context: &Context, faults: &mut Vec<Fault>) -> Self {
        let identity = privileges::identity(draft, faults);
        let streams = streams(draft, context, faults);
        let (environment, missing) = environment::compose(draft, identity.user.as_ref(), context.keep_streams, faults);
        let steps = privileges::steps(draft, &identity, &streams.wanted, &missing, context.parent_death, faults);
        let as_root = identity.user.as_ref().is_none_or(|user| user.uid == 0);
        let sockets = sockets::Common::new(draft, faults);
        Self {
            draft,
            streams,
            environment,
            steps,
            sockets,
            as_root,
            program: String::new(),
            remote: false,
            policy: None,
        }
    }

    fn policy(
        &mut self,
        plan: &mut PlanTables,
        draft: &ServiceDraft,
        identifier: &str,
        faults: &mut Vec<Fault>,
    ) -> Policy {
        if let Some((_, known)) = self.policy.as_ref().filter(|(known, _)| known == identifier) {
            return Policy { sleep: Sleep { idle_ms: idle_ms(draft), ..known.sleep }, ..*known };
        }
        let mut policy = policy(plan, draft, &self.streams, identifier, faults);
        policy.steps = store(plan, draft, self.steps.bytes(), faults);
        policy.environment = store(plan, draft, &self.environment.to_bytes(), faults);
        self.policy = Some((identifier.to_owned(), policy));
        policy
    }
}

/// Adds a service; `more` sections add sockets to its own. `last` is the setup of the one before, if nothing was wrong
/// with it.
fn add<'a>(
    plan: &mut PlanTables,
    draft: &'a ServiceDraft,
    more: &[&ServiceDraft],
    context: &Context,
    last: &mut Option<Setup<'a>>,
    faults: &mut Vec<Fault>,
) {
    let alike = last.take().filter(|last| last.draft.is_set_like(draft));
    let mut setup = alike.unwrap_or_else(|| Setup::new(draft, context, faults));
    let internal = internal(draft);
    let without = internal.is_some() || draft.is_set(Id::ConnectTo) && draft.command().is_none();
    let words = if without { Some(Words::default()) } else { command(draft, &mut setup, faults) };
    let Some(Words { program, argv, has_instance, remote }) = words else { return };
    let identifier = draft.text(Id::SyslogIdentifier).unwrap_or(base_name(&program));
    let policy = setup.policy(plan, draft, identifier, faults);
    let service = row(plan.services.len());
    let (first_listener, mut listeners) = sockets::add(draft, &mut setup.sockets, service, plan, faults);
    for section in more {
        let mut common = sockets::Common::new(section, faults);
        listeners += sockets::add(section, &mut common, service, plan, faults).1;
    }
    let spec = ServiceSpec {
        name: add_once(plan, draft, draft.name.as_bytes(), faults),
        program: store(plan, draft, &ended(std::slice::from_ref(&program)), faults),
        argv: store(plan, draft, &ended(&argv), faults),
        has_instance,
        remote,
        fd_names: fd_names(plan, draft, more, &policy, context, faults),
        policy: policy_row(plan, policy),
        first_listener,
        listeners,
        internal,
        backend: sockets::backend(draft, plan, faults),
        proxy_header: draft.flag(Id::SendProxyV2),
    };
    let _ = plan.services.push(spec); // there is room: the draft has been checked against the limits
    *last = Some(setup).filter(|_| faults.is_empty());
}

/// Internal= as the plan has it.
fn internal(draft: &ServiceDraft) -> Option<Internal> {
    let all =
        [Internal::Echo, Internal::Discard, Internal::Daytime, Internal::Time, Internal::Chargen, Internal::Tcpmux];
    draft.pick(Id::Internal, &all)
}

/// A table's row as the plan stores it; the tables are smaller than 65535 rows, see [`crate::limits`].
fn row(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// The row of an equal policy, or a new one. There are as many rows as services.
fn policy_row(plan: &mut PlanTables, policy: Policy) -> u16 {
    row(row_of(&plan.policies, &policy).unwrap_or_else(|| {
        let _ = plan.policies.push(policy);
        plan.policies.len().saturating_sub(1)
    }))
}

/// The row that is equal to this one.
pub(super) fn row_of<T: PartialEq>(rows: &[T], wanted: &T) -> Option<usize> {
    #[inline(never)] // within the search, the compiler would keep a copy of each field at hand
    fn are_equal<T: PartialEq>(one: &T, other: &T) -> bool {
        one == other
    }
    rows.iter().rposition(|row| are_equal(row, wanted))
}

/// Stores bytes; a full arena is a fault.
pub(super) fn store(plan: &mut PlanTables, draft: &ServiceDraft, bytes: &[u8], faults: &mut Vec<Fault>) -> Span {
    let span = plan.arena.store(bytes);
    or_full(span, draft, faults)
}

/// As [`store`] for what there is once, see [`Arena::add`].
pub(super) fn add_once(plan: &mut PlanTables, draft: &ServiceDraft, bytes: &[u8], faults: &mut Vec<Fault>) -> Span {
    let span = plan.arena.add(bytes);
    or_full(span, draft, faults)
}

fn or_full(span: Result<Span, ArenaFull>, draft: &ServiceDraft, faults: &mut Vec<Fault>) -> Span {
    span.unwrap_or_else(|_| {
        tell(faults, Code::TextsLong, draft.place, &[&ARENA_BYTES.to_string()]);
        Span::default()
    })
}

/// Words one after the other, each with its NUL.
pub(super) fn ended(words: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in words {
        bytes.extend_from_slice(word.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// What is executed.
#[derive(Default)]
struct Words {
    program: String,
    /// The arguments, variables put in.
    argv: Vec<String>,
    has_instance: bool,
    remote: bool,
}

fn command(draft: &ServiceDraft, setup: &mut Setup<'_>, faults: &mut Vec<Fault>) -> Option<Words> {
    let command = draft.command()?;
    let place = draft.place(Id::ExecStart);
    let root = draft.text(Id::RootDirectory).unwrap_or("");
    let there = |path: &str| file::is_program(Path::new(&[root, path].concat()));
    let is_program = |path: &str| path == setup.program || there(path);
    let program = config::find_program(&command.program, &is_program);
    let known = program.as_ref() == Some(&setup.program);
    if let Some(path) = program.as_deref().filter(|path| is_program(path)) {
        path.clone_into(&mut setup.program);
    } else {
        let code = if program.is_some() { Code::ProgramMissing } else { Code::ProgramUnknown };
        tell(faults, code, place, &[&command.program]);
    }
    let program = program?;
    let full = [root, &program].concat();
    if !known {
        setup.remote = program != setup.program || file::is_remote(Path::new(&full));
    }
    if setup.as_root && !known && file::is_open_to_all(Path::new(&full)) {
        tell(faults, Code::ProgramWritable, place, &[&program]);
    }
    let environment = &setup.environment;
    let lookup = |name: &str| environment.get(name).map(str::to_owned);
    let mut argv = if command.literal {
        command.arguments.clone()
    } else {
        match config::expand(&command.arguments, &lookup) {
            Ok(words) => words,
            Err(problem) => {
                faults.push(config::locate(*problem, &join(&command.arguments, " "), place));
                return None;
            }
        }
    };
    if !command.named
        && let Some(first) = argv.first_mut()
    {
        program.clone_into(first);
    }
    let names: usize = argv.iter().map(|word| config::instances(word)).sum();
    let bytes = argv.iter().map(|word| word.len() + 1).sum::<usize>() + names * INSTANCE_BYTES;
    if names > 0 {
        at_most(faults, Code::InstanceLong, place, "", [bytes, INSTANCE_WORDS_BYTES]);
    }
    at_most(faults, Code::TooManyWords, place, "ExecStart", [argv.len(), ARGUMENTS]);
    let variables = [environment.len(), ENVIRONMENT - START_VARIABLES];
    at_most(faults, Code::TooManyWords, draft.place(Id::Environment), "Environment", variables);
    if argv.iter().any(|word| word.contains('\0')) {
        tell(faults, Code::HoldsNul, place, &["ExecStart"]);
    }
    Some(Words { program, argv, has_instance: names > 0, remote: setup.remote })
}

/// The names of the sockets (sd_listen_fds(3)), where the child gets descriptors from 3 on.
fn fd_names(
    plan: &mut PlanTables,
    draft: &ServiceDraft,
    more: &[&ServiceDraft],
    policy: &Policy,
    context: &Context,
    faults: &mut Vec<Fault>,
) -> Span {
    if policy.stdio[0] == Stdio::Socket && !policy.both_ways || draft.is_set(Id::ConnectTo) {
        return Span::default();
    }
    if !context.fd_names.is_empty() {
        return store(plan, draft, join(&context.fd_names, ":").as_bytes(), faults);
    }
    let name = |section: &ServiceDraft| {
        let unnamed = || if policy.accept { "connection".to_owned() } else { [&section.name, ".socket"].concat() };
        section.text(Id::FileDescriptorName).map_or_else(unnamed, str::to_owned)
    };
    // One name stands for all of them.
    let (mut names, mut count) = (name(draft), draft.listens.len().max(1));
    if !more.is_empty() {
        let mut each = vec![names; draft.listens.len()];
        more.iter().for_each(|section| each.resize(each.len() + section.listens.len(), name(section)));
        (names, count) = (join(&each, ":"), 1);
    }
    let bytes = [count * (names.len() + 1), FD_NAMES_BYTES];
    at_most(faults, Code::FdNamesLong, draft.place(Id::FileDescriptorName), "", bytes);
    store(plan, draft, names.as_bytes(), faults)
}

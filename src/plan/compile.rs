//! From the draft to the plan: names become numbers, words become bytes, each service becomes rows.
//!
//! What the machine lacks (a user, a group) is a fault at the place of the directive, as if the text were wrong. A
//! program that is missing is only a warning: it may be there when somebody knocks.

use std::path::Path;

use super::environment::{self, Environment};
use super::policy::{Streams, policy, streams};
use super::sleep::{Sleep, idle_ms};
use super::steps::Steps;
use super::work::Work;
use super::{Internal, PlanTables, Policy, ServiceSpec, Span, Stdio, privileges, sockets};
use crate::config::{self, Code, Draft, Fault, Id, ServiceDraft};
use crate::limits::{ARGUMENTS, ENVIRONMENT, FD_NAMES_BYTES, INSTANCE_BYTES, INSTANCE_WORDS_BYTES};
use crate::logging::Target;
use crate::sys::file;
use crate::text::{base_name, join};

/// Variables that a start adds: four of the hand-over, nine of the connection.
const START_VARIABLES: usize = 13;

/// What the plan depends on besides the draft.
pub struct Context {
    /// Where children's lines go that are meant for the log.
    pub log: Target,
    /// Standard descriptors that are not configured stay as ours, and of our environment nothing is passed on that is
    /// not asked for (activate).
    pub keep_streams: bool,
    /// Names of the sockets, one for each, where they are not those of the configuration (activate).
    pub fd_names: Vec<String>,
    /// Children get this signal when we die.
    pub parent_death: Option<u8>,
}

/// Fills an empty plan from a draft. What is wrong is added to the draft's faults; with an error among them, from
/// before or from here, the plan is of no use.
pub fn compile(draft: &mut Draft, plan: &mut PlanTables, context: &Context) {
    let (mut all, mut gone) = (Vec::new(), Vec::new());
    let links = draft.links();
    let mut last: Option<(&ServiceDraft, Setup)> = None; // and nothing was wrong with it
    for service in draft.services.iter().filter(|service| !service.is_set(Id::Service)) {
        let more: Vec<_> = links.of(&service.name).collect();
        let before = plan.sizes();
        let mut work = Work::new(service, plan, context);
        let alike = last.filter(|(last, _)| last.is_set_like(service));
        let mut setup = alike.map_or_else(|| Setup::new(&mut work), |(_, setup)| setup);
        add(&mut work, &more, &mut setup);
        let mut faults = work.faults;
        last = Some((service, setup)).filter(|_| faults.is_empty());
        if draft.is_tolerant(service.place) && faults.iter().any(Fault::is_error) {
            plan.truncate(before);
            faults.iter_mut().filter(|fault| fault.is_error()).for_each(Fault::skip);
            gone.push(service.place);
        }
        all.append(&mut faults);
    }
    draft.services.retain(|service| !gone.contains(&service.place));
    draft.faults.append(&mut all);
}

/// What the settings of a service lead to, whatever its sockets and its program are. Neighbours in a configuration are
/// mostly set alike, and then share it.
struct Setup {
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

impl Setup {
    fn new(work: &mut Work<'_>) -> Self {
        let identity = privileges::identity(work);
        let (streams, wanted) = streams(work);
        let (environment, missing) = environment::compose(work, identity.user.as_ref());
        let steps = privileges::steps(work, &identity, &wanted, &missing);
        let as_root = identity.user.as_ref().is_none_or(|user| user.uid == 0);
        let sockets = sockets::Common::new(work);
        Self { streams, environment, steps, sockets, as_root, program: String::new(), remote: false, policy: None }
    }

    fn policy(&mut self, work: &mut Work<'_>, identifier: &str) -> Policy {
        if let Some((_, known)) = self.policy.as_ref().filter(|(known, _)| known == identifier) {
            return Policy { sleep: Sleep { idle_ms: idle_ms(work.draft), ..known.sleep }, ..*known };
        }
        let mut policy = policy(work, &self.streams, identifier);
        policy.steps = work.store(self.steps.bytes());
        policy.environment = work.store(&ended(&self.environment.0));
        self.policy = Some((identifier.to_owned(), policy));
        policy
    }
}

/// Adds a service, unless there is a fault; `more` sections add sockets to its own.
fn add<'a>(work: &mut Work<'a>, more: &[&'a ServiceDraft], setup: &mut Setup) {
    let draft = work.draft;
    let internal = internal(draft);
    let without = internal.is_some() || draft.is_set(Id::ConnectTo) && draft.command().is_none();
    let words = if without { Some(Words::default()) } else { command(work, setup) };
    let Some(Words { program, argv, has_instance, remote }) = words else { return };
    let identifier = draft.text(Id::SyslogIdentifier).unwrap_or(base_name(&program));
    let policy = setup.policy(work, identifier);
    let service = row(work.plan.services.len());
    let (first_listener, mut listeners) = sockets::add(work, &mut setup.sockets, service);
    for section in more {
        work.draft = section;
        let mut common = sockets::Common::new(work);
        listeners += sockets::add(work, &mut common, service).1;
    }
    work.draft = draft;
    let spec = ServiceSpec {
        name: work.add_once(draft.name.as_bytes()),
        program: work.store(&ended(std::slice::from_ref(&program))),
        argv: work.store(&ended(&argv)),
        has_instance,
        remote,
        fd_names: fd_names(work, more, &policy),
        policy: row_of(&mut work.plan.policies, policy),
        first_listener,
        listeners,
        internal,
        backend: sockets::backend(work),
        proxy_header: draft.flag(Id::SendProxyV2),
    };
    let _ = work.plan.services.push(spec); // there is room: the draft has been checked against the limits
}

/// Internal= as the plan has it.
fn internal(draft: &ServiceDraft) -> Option<Internal> {
    let all =
        [Internal::Echo, Internal::Discard, Internal::Daytime, Internal::Time, Internal::Chargen, Internal::Tcpmux];
    draft.pick(Id::Internal, &all)
}

/// A table's row as the plan stores it; the tables are smaller than 65535 rows, see [`crate::limits`].
pub(super) fn row(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// The row of an equal value, or a new one. There is room: the draft has been checked against the limits.
pub(super) fn row_of<T: PartialEq, const N: usize>(rows: &mut heapless::Vec<T, N>, wanted: T) -> u16 {
    #[inline(never)] // within the search, the compiler would keep a copy of each field at hand
    fn are_equal<T: PartialEq>(one: &T, other: &T) -> bool {
        one == other
    }
    let known = rows.iter().rposition(|row| are_equal(row, &wanted));
    row(known.unwrap_or_else(|| {
        let _ = rows.push(wanted);
        rows.len().saturating_sub(1)
    }))
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

fn command(work: &mut Work<'_>, setup: &mut Setup) -> Option<Words> {
    let draft = work.draft;
    let command = draft.command()?;
    let root = draft.text(Id::RootDirectory).unwrap_or("");
    let there = |path: &str| file::is_program(Path::new(&[root, path].concat()));
    let is_program = |path: &str| path == setup.program || there(path);
    let program = config::find_program(&command.program, &is_program);
    let known = program.as_ref() == Some(&setup.program);
    if let Some(path) = program.as_deref().filter(|path| is_program(path)) {
        path.clone_into(&mut setup.program);
    } else {
        let code = if program.is_some() { Code::ProgramMissing } else { Code::ProgramUnknown };
        work.fault(code, Id::ExecStart, &[&command.program]);
    }
    let program = program?;
    let full = [root, &program].concat();
    if !known {
        setup.remote = program != setup.program || file::is_remote(Path::new(&full));
    }
    if setup.as_root && !known && file::is_open_to_all(Path::new(&full)) {
        work.fault(Code::ProgramWritable, Id::ExecStart, &[&program]);
    }
    let environment = &setup.environment;
    let lookup = |name: &str| environment.get(name).map(str::to_owned);
    let mut argv = if command.literal {
        command.arguments.clone()
    } else {
        match config::expand(&command.arguments, &lookup) {
            Ok(words) => words,
            Err(problem) => {
                let place = draft.place(Id::ExecStart);
                work.faults.push(config::locate(*problem, &join(&command.arguments, " "), place));
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
        work.at_most(Code::InstanceLong, Id::ExecStart, [bytes, INSTANCE_WORDS_BYTES]);
    }
    work.at_most(Code::TooManyWords, Id::ExecStart, [argv.len(), ARGUMENTS]);
    work.at_most(Code::TooManyWords, Id::Environment, [environment.0.len(), ENVIRONMENT - START_VARIABLES]);
    if argv.iter().any(|word| word.contains('\0')) {
        work.fault(Code::HoldsNul, Id::ExecStart, &["ExecStart"]);
    }
    Some(Words { program, argv, has_instance: names > 0, remote: setup.remote })
}

/// The names of the sockets (sd_listen_fds(3)), where the child gets descriptors from 3 on.
fn fd_names(work: &mut Work<'_>, more: &[&ServiceDraft], policy: &Policy) -> Span {
    let (draft, context) = (work.draft, work.context);
    if policy.stdio[0] == Stdio::Socket && !policy.both_ways || draft.is_set(Id::ConnectTo) {
        return Span::default();
    }
    if !context.fd_names.is_empty() {
        return work.store(join(&context.fd_names, ":").as_bytes());
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
    let bytes = count * (names.len() + 1);
    work.at_most(Code::FdNamesLong, Id::FileDescriptorName, [bytes, FD_NAMES_BYTES]);
    work.store(names.as_bytes())
}

//! The draft: what the text says, as plain data. Names of users, ports and programs are still names.
//!
//! Readers fill it by [`ServiceDraft::assign`], the plan station takes it apart by the typed accessors, each of which
//! gives the table's default where nothing was set. Nothing here knows a file or asks the system.

use std::ops::Range;

use super::address::{self, Listen, ListenAddress, Prefix};
use super::command::Command;
use super::directive::{Id, Syntax};
use super::fault::{Fault, Place, Sources, count};
use super::lex::backslashes;
use super::message::Code;
use super::problem::{Parsed, Problem, fail};
use super::value::{self, Value};
use super::{names, suggest, words};

/// How the names of services begin that tcpmux serves.
pub const MUX: &str = "tcpmux/";

/// Everything that was read: the services, the texts they came from, and what is wrong.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// In the order of the files.
    pub services: Vec<ServiceDraft>,
    /// For showing places.
    pub sources: Sources,
    /// In the order they were found; [`Draft::report`] sorts them.
    pub faults: Vec<Fault>,
    /// Files whose faulty services are left out, as an inetd does; see [`Draft::is_tolerant`].
    pub(super) tolerant: Vec<u32>,
    /// Main files of units that are left out when they are faulty.
    pub(super) units: Vec<u32>,
}

/// One service as its section describes it.
#[derive(Debug, Clone, Default)]
pub struct ServiceDraft {
    /// The section's name.
    pub name: String,
    /// The section's first line.
    pub place: Place,
    /// The sockets, in the order of their lines, which is the order of the descriptors.
    pub listens: Vec<Listen>,
    /// What was set, in the order of the table.
    settings: Vec<Setting>,
    /// What was tried and had a fault, so that nobody hears that it is missing as well.
    pub(super) failed: Vec<Id>,
}

/// One directive that was set.
#[derive(Debug, Clone)]
struct Setting {
    id: Id,
    /// Its last line.
    place: Place,
    value: Value,
    /// It came from `[defaults]`.
    inherited: bool,
}

impl Draft {
    /// Whether there is an error, so that the configuration can't be used.
    pub fn is_faulty(&self) -> bool {
        self.faults.iter().any(Fault::is_error)
    }

    /// All faults as text, sorted by file and line. Empty when there are none.
    pub fn report(&self) -> String {
        self.sorted_faults().into_iter().map(|fault| self.sources.render(fault)).collect()
    }

    /// All faults in the order of their places. A line that opens two sockets has what is wrong with both once.
    pub fn sorted_faults(&self) -> Vec<&Fault> {
        // Nearly sorted already, so inserting is quick, and far smaller than a general sort.
        let mut faults: Vec<&Fault> = Vec::new();
        for fault in &self.faults {
            let index = faults.partition_point(|earlier| earlier.place <= fault.place);
            faults.insert(index, fault);
        }
        faults.dedup_by(|fault, earlier| fault.place == earlier.place && fault.message == earlier.message);
        faults
    }

    /// The sections that add sockets to a service by Service=, in the order of the files. There are few or none, so
    /// that who asks for many services finds them once.
    pub fn links(&self) -> Links<'_> {
        Links(self.services.iter().filter_map(|section| Some((section.text(Id::Service)?, section))).collect())
    }

    /// The service of this name. It is asked for each service that is read: the bytes are compared right here.
    pub fn service(&self, name: &str) -> Option<&ServiceDraft> {
        let is_same = |other: &str| other.len() == name.len() && other.bytes().zip(name.bytes()).all(|(a, b)| a == b);
        self.services.iter().find(|service| is_same(&service.name))
    }
}

/// Whether Internal= knows a service of this name.
pub(super) fn is_built_in(name: &str, datagram: bool) -> bool {
    let Syntax::Choice(names) = Id::Internal.syntax() else { return false };
    words::index(names, name).is_some() && !(datagram && name == "tcpmux")
}

/// A text that other forms than the native one may have: here a backslash at the end would go on in the next line.
fn whole(text: &str) -> Parsed<&str> {
    if backslashes(text) % 2 == 1 {
        fail(Problem::new(Code::LoneBackslash, text.len() - 1..text.len(), &[]))
    } else {
        Ok(text)
    }
}

/// Sections with Service=, each with the name there.
pub struct Links<'a>(Vec<(&'a str, &'a ServiceDraft)>);

impl<'a> Links<'a> {
    /// Those of one service, in the order of the files.
    pub fn of(&self, name: &str) -> impl Iterator<Item = &'a ServiceDraft> {
        self.0.iter().filter(move |(service, _)| *service == name).map(|(_, section)| *section)
    }
}

impl ServiceDraft {
    /// A service without any setting. The name is not checked, see [`super::native::check_name`].
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Sets a directive from text as a file would: lists grow, anything else is replaced, an empty text resets.
    ///
    /// `place` is the text's place; the fault points at the part of it that is wrong. Warnings are left out.
    pub fn assign(&mut self, directive: &str, text: &str, place: Place) -> Result<(), Fault> {
        let Some(id) = Id::from_name(directive) else { return Err(suggest::unknown(directive, place)) };
        let value = text.trim_ascii();
        let blanks = text.len() - text.trim_ascii_start().len();
        self.set(id, value, place, &mut Vec::new()).map_err(|problem| locate(*problem.moved(blanks), text, place))
    }

    /// As [`Self::assign`]; `notes` gets the warnings. `text` has no blanks at its ends.
    pub(super) fn set(&mut self, id: Id, text: &str, place: Place, notes: &mut Vec<Problem>) -> Parsed<()> {
        let row = id.row();
        if row.later {
            return fail(Problem::directive(Code::DirectiveNotInBuild, id.name()));
        }
        // An empty bounding set is a setting of its own: no capability at all.
        if text.is_empty() && id.syntax() != Syntax::Capabilities {
            self.reset(id);
            return Ok(());
        }
        let text = whole(text).inspect_err(|_| self.failed.push(id))?;
        let value = self.parse(id, text, notes).inspect_err(|_| self.failed.push(id))?;
        match (id.syntax(), value) {
            (Syntax::Listen(kind), Value::Listen(address)) => {
                self.listens.reserve_exact(1); // mostly the only one
                self.listens.push(Listen::new(kind, address, place));
            }
            (_, value) => self.put(Setting { id, place, value, inherited: false }, notes),
        }
        Ok(())
    }

    fn parse(&self, id: Id, text: &str, notes: &mut Vec<Problem>) -> Parsed<Value> {
        if cfg!(feature = "exec") && id.syntax() == Syntax::Capabilities {
            return names::merge_capabilities(text, self.number(id)).map(Value::Number);
        }
        value::parse(id.syntax(), text, notes)
    }

    /// Takes a value in: it is added to a list, or takes the place of the one before.
    fn put(&mut self, mut new: Setting, notes: &mut Vec<Problem>) {
        if let Value::List(list) = &mut new.value {
            let all = std::mem::take(list);
            merge(list, all, new.id.syntax());
        }
        match self.settings.binary_search_by_key(&new.id, |setting| setting.id) {
            Err(index) => self.settings.insert(index, new),
            Ok(index) => {
                let old = &mut self.settings[index];
                if !old.inherited && !new.id.syntax().is_list() {
                    let mut note = Problem::directive(Code::SetTwice, new.id.name());
                    note.fault.other = Some(old.place);
                    notes.push(*note);
                }
                (old.place, old.inherited) = (new.place, false);
                match (&mut old.value, new.value) {
                    (Value::List(list), Value::List(more)) => merge(list, more, new.id.syntax()),
                    (value, new) => *value = new,
                }
            }
        }
    }

    /// Forgets a setting, so that the default holds. Any Listen directive forgets all sockets, as under systemd.
    pub(super) fn reset(&mut self, id: Id) {
        if matches!(id.syntax(), Syntax::Listen(_)) {
            self.listens.clear();
        }
        self.forget(id);
    }

    /// Sets what nobody has set: another form than the native one has another default.
    pub(super) fn default_to(&mut self, id: Id, text: &str) {
        if let (Err(index), Ok(value)) = (
            self.settings.binary_search_by_key(&id, |setting| setting.id),
            value::parse(id.syntax(), text, &mut Vec::new()),
        ) {
            self.settings.insert(index, Setting { id, place: self.place, value, inherited: true });
        }
    }

    /// Takes a setting back.
    pub(super) fn forget(&mut self, id: Id) {
        self.settings.retain(|setting| setting.id != id);
    }

    /// Takes everything over that `defaults` has set. The service must have nothing yet.
    pub(super) fn inherit(&mut self, defaults: &Self) {
        self.settings.clone_from(&defaults.settings);
        self.disown();
    }

    /// Lets everything count as inherited: replacing it is no second assignment.
    pub(super) fn disown(&mut self) {
        for setting in &mut self.settings {
            setting.inherited = true;
        }
    }

    /// Whether another service has the same settings; its sockets and its program may be others.
    pub fn is_set_like(&self, other: &Self) -> bool {
        let settings = |service: &'_ Self| service.settings.len() - usize::from(service.command().is_some());
        let ignores = |service: &Self| service.command().is_some_and(|command| command.ignore_failure);
        let same = |(id, value): (Id, &Value)| id == Id::ExecStart || other.value(id) == Some(value);
        settings(self) == settings(other) && ignores(self) == ignores(other) && self.settings().all(same)
    }

    fn setting(&self, id: Id) -> Option<&Setting> {
        let index = self.settings.binary_search_by_key(&id, |setting| setting.id).ok()?;
        self.settings.get(index)
    }

    /// What was set, in the order of the table, without the sockets.
    pub fn settings(&self) -> impl Iterator<Item = (Id, &Value)> {
        self.settings.iter().map(|setting| (setting.id, &setting.value))
    }

    /// Whether a line or `[defaults]` set it.
    pub fn is_set(&self, id: Id) -> bool {
        match id.syntax() {
            Syntax::Listen(kind) => self.listens.iter().any(|listen| listen.kind == kind),
            _ => self.setting(id).is_some(),
        }
    }

    /// Whether a line tried to set it and had a fault.
    pub(super) fn has_failed(&self, id: Id) -> bool {
        self.failed.contains(&id)
    }

    /// Whether a line of the section itself set it.
    pub(super) fn is_own(&self, id: Id) -> bool {
        self.setting(id).is_some_and(|setting| !setting.inherited)
    }

    /// The value's place: its last line, or the section when nothing was set.
    pub fn place(&self, id: Id) -> Place {
        let listen = match id.syntax() {
            Syntax::Listen(kind) => self.listens.iter().find(|listen| listen.kind == kind).map(|listen| listen.place),
            _ => None,
        };
        listen.or_else(|| self.setting(id).map(|setting| setting.place)).unwrap_or(self.place)
    }

    /// The value that was set.
    pub fn value(&self, id: Id) -> Option<&Value> {
        self.setting(id).map(|setting| &setting.value)
    }

    /// The number of a Bool, Choice, Uint, Int, Span or Timeout (microseconds), Size (bytes), Mode, Signal, Tos or
    /// Capabilities directive; [`INFINITY`](super::INFINITY): for ever, no limit.
    pub fn number(&self, id: Id) -> Option<u64> {
        let number = |value: &Value| match value {
            Value::Number(number) => Some(*number),
            _ => None,
        };
        self.value(id).map_or_else(|| number(&default(id)?), number)
    }

    /// Whether a Bool directive is yes.
    pub fn flag(&self, id: Id) -> bool {
        self.number(id) == Some(1)
    }

    /// Permission bits of a Mode directive, 0 to 07777.
    pub fn mode(&self, id: Id) -> u32 {
        self.number(id).and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0)
    }

    /// The word of a Choice directive; empty when it has none.
    pub fn choice(&self, id: Id) -> &'static str {
        let Syntax::Choice(list) = id.syntax() else { return "" };
        self.number(id).and_then(|index| usize::try_from(index).ok()).map_or("", |index| words::nth(list, index))
    }

    /// What a Choice directive chooses, of values in the order of its words in the table.
    pub fn pick<T: Copy>(&self, id: Id, all: &[T]) -> Option<T> {
        self.number(id).and_then(|index| all.get(usize::try_from(index).ok()?).copied())
    }

    /// Name, word, path or standard stream of a directive that holds one, when set.
    pub fn text(&self, id: Id) -> Option<&str> {
        if let Some(Value::Text(text)) = self.value(id) { Some(text) } else { None }
    }

    /// The words of a list directive, lines joined.
    pub fn list(&self, id: Id) -> &[String] {
        if let Some(Value::List(list)) = self.value(id) { list } else { &[] }
    }

    /// IPAddressAllow or IPAddressDeny.
    pub fn prefixes(&self, id: Id) -> Vec<Prefix> {
        let mut out = Vec::new();
        for word in self.list(id) {
            let _ = address::prefix(word, &mut out); // it was read before
        }
        out
    }

    /// Whether connections are accepted here: Accept=yes, a service that is built in, or a backend.
    pub fn accepts(&self) -> bool {
        self.flag(Id::Accept) || self.is_set(Id::Internal) || self.is_set(Id::ConnectTo)
    }

    /// The address of a directive that has one.
    pub fn address(&self, id: Id) -> Option<&ListenAddress> {
        if let Some(Value::Listen(address)) = self.value(id) { Some(address) } else { None }
    }

    /// Whether it has no sockets of its own and is reached by tcpmux (RFC 1078), which its name tells.
    pub fn is_multiplexed(&self) -> bool {
        self.name.starts_with(MUX) && self.listens.is_empty()
    }

    /// ExecStart.
    pub fn command(&self) -> Option<&Command> {
        if let Some(Value::Command(command)) = self.value(Id::ExecStart) { Some(command) } else { None }
    }

    /// Ends that count as clean: statuses, and signals as 256 + their number.
    pub fn exit_statuses(&self) -> impl Iterator<Item = u16> {
        self.list(Id::SuccessExitStatus).iter().filter_map(|text| names::exit_status(text).ok())
    }

    /// Every resource limit that was set, soft and hard, in the order of the table; see [`names::resource`].
    pub fn rlimits(&self) -> impl Iterator<Item = (Id, [u64; 2])> {
        self.settings().filter_map(|(id, value)| match (id.syntax(), value) {
            (Syntax::Limit(unit), Value::Text(text)) => Some((id, value::rlimit(text, unit).ok()?)),
            _ => None,
        })
    }

    /// What standard input is when nothing was set: the socket for a service with Accept=yes, else /dev/null.
    pub fn input(&self) -> &str {
        self.text(Id::StandardInput).unwrap_or(if self.flag(Id::Accept) { "socket" } else { "null" })
    }
}

/// Adds to a list. A variable that is set again takes the place of the one before; a name stands once.
fn merge(list: &mut Vec<String>, more: Vec<String>, syntax: Syntax) {
    for new in more {
        let same = |old: &String| match syntax {
            Syntax::Assignments => old.split('=').next() == new.split('=').next(),
            _ => *old == new,
        };
        list.retain(|old| !same(old));
        list.push(new);
    }
}

/// The table's default of a directive.
fn default(id: Id) -> Option<Value> {
    let text = Some(id).filter(|id| id.has_default())?.default_text();
    match id.syntax() {
        Syntax::Bool => Some(Value::Number(u64::from(text == "yes"))), // most of them, and often asked for
        syntax => value::parse(syntax, text, &mut Vec::new()).ok(),
    }
}

/// A problem in a text of one line as a fault; `place` is where the text begins.
pub fn locate(problem: Problem, text: &str, place: Place) -> Fault {
    let mut fault = problem.fault;
    fault.place = place;
    if let (Some(at), true) = (problem.at, place.column != 0) {
        let characters = |range: Range<usize>| count(text.get(range).map_or(0, |part| part.chars().count()));
        fault.place.column += characters(0..at.start);
        fault.place.len = characters(at).max(1);
    }
    fault
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_of_the_table_are_sound() {
        let service = ServiceDraft::new("a");
        for id in Id::ALL {
            let text = id.default_text();
            let read = || value::parse(id.syntax(), text, &mut Vec::new()).ok();
            assert!(text.is_empty() || read().is_some() && read() == default(*id), "{}", id.name());
            assert!(id.help().ends_with('.') && id.help().len() < 200, "{}", id.name());
        }
        assert_eq!(service.number(Id::MaxConnections), None);
        assert_eq!(service.number(Id::Backlog), Some(u64::from(u32::MAX)));
        assert_eq!(service.number(Id::TriggerLimitBurst), None);
        assert_eq!(service.number(Id::TimeoutStopSec), Some(90_000_000));
        assert_eq!(service.number(Id::RuntimeMaxSec), Some(super::super::INFINITY));
        assert_eq!(service.mode(Id::SocketMode), 0o666);
        assert_eq!(service.choice(Id::KillMode), "control-group");
        assert_eq!(service.number(Id::KillSignal), Some(15));
        assert!(service.flag(Id::SendSIGKILL) && !service.flag(Id::Accept));
        assert!(!service.is_set(Id::Accept) && service.text(Id::User).is_none());
    }

    #[test]
    fn the_command_line_builds_a_service_too() {
        let mut service = ServiceDraft::new("a");
        let place = Place { file: 0, line: 1, column: 5, len: 9 };
        service.assign("ListenStream", " 80 ", place).unwrap();
        service.assign("Environment", "A=1 A=2", place).unwrap();
        service.assign("Environment", "B=1", place).unwrap();
        assert_eq!(service.list(Id::Environment), ["A=2", "B=1"]);
        assert_eq!((service.listens.len(), service.place(Id::ListenStream)), (1, place));
        let fault = service.assign("SupplementaryGroups", " a b:c", place).unwrap_err();
        assert_eq!((fault.code, fault.place), (Code::BadName, Place { column: 8, len: 3, ..place }));
        assert_eq!(service.assign("Acept", "yes", place).unwrap_err().code, Code::UnknownDirective);
        service.assign("ListenStream", "", place).unwrap();
        assert!(service.listens.is_empty());
    }
}

//! Unit files: the lines of .socket and .service files and their drop-ins become settings of one service.
//!
//! Names, sections, defaults and the way that values are reset are systemd's, systemd.socket(5), systemd.service(5).
//! Which file belongs to which service is the business of [`super::unit_files`]. What a unit asks for and dormouse does
//! not do is collected and told in one warning for each service, apart for what protects it.

use std::borrow::Cow;

use super::directive::{Form, Group, Id, Syntax};
use super::draft::{Draft, ServiceDraft};
use super::fault::{Fault, Place, tell};
use super::foreign::{Foreign, foreign};
use super::lex::{self, Line, Shape};
use super::message::{Code, Reason};
use super::problem::{Parsed, Problem};
use super::scalar;
use super::specifier::Specifiers;
use super::suggest;
use crate::sys::users;
use crate::text::join;

/// The section of a unit file that systemd passes over and that may hold any directive of the native form.
const OWN_SECTION: &str = "X-Dormouse";
/// Older names, and names that say more than we need.
const ALIASES: [(&str, Id); 2] =
    [("StartLimitInterval", Id::StartLimitIntervalSec), ("TimeoutSec", Id::TimeoutStopSec)];

/// Directives of [Service] that are none of its programs in general, and that [Socket] does not have.
const OF_SERVICES: [Id; 9] = [
    Id::ExecStart,
    Id::TimeoutStopSec,
    Id::RuntimeMaxSec,
    Id::Restart,
    Id::RestartSec,
    Id::StartLimitIntervalSec,
    Id::StartLimitBurst,
    Id::NotifyAccess,
    Id::SuccessExitStatus,
];

/// How the directives of [Socket] begin that say something about its sockets. The others that are not ours hold for the
/// commands that systemd runs before and after it opens them.
const OF_SOCKETS: &str = "\
    ExecSt IPEgress IPIngress Listen MessageQueue NetworkNamespacePath Pass PipeSize \
    PrivateNetwork SELinuxContextFromNet SmackLabel SocketProtocol Timestamping Writable";

/// One service as its unit files describe it.
#[derive(Debug, Default)]
pub(super) struct Unit {
    /// What was read so far.
    pub(super) draft: ServiceDraft,
    /// The unit whose file is being read.
    pub(super) specifiers: Specifiers,
    /// Service= of the socket.
    pub(super) service: Option<String>,
    /// The section that is being read.
    section: Section,
    /// What is not done, with the place: walls, and other things.
    lost: [Vec<(String, Place)>; 2],
    /// Number of commands in ExecStart=.
    commands: usize,
    /// Type=notify.
    notifies: bool,
    /// DynamicUser=yes.
    dynamic_user: Option<Place>,
    /// The program has a mark that asks for all privileges.
    privileged: Option<(Place, &'static str)>,
}

/// The sections of unit files.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Section {
    /// None yet.
    #[default]
    Nothing,
    /// Not looked at.
    Skip,
    Unit,
    Socket,
    Service,
    /// [X-Dormouse].
    Own,
}

/// What becomes of a setting.
enum Route {
    Own(Id),
    /// Not done; the index in [`Unit::lost`].
    Lost(usize),
    Pass,
    Unknown,
}

impl Unit {
    /// Reads a text that is kept as `file`: a unit file or one of its drop-ins.
    pub(super) fn read(&mut self, draft: &mut Draft, file: u32, text: &str) {
        self.section = Section::Nothing;
        lex::carriage_return(draft, file, text);
        let faults = &mut draft.faults;
        lex::each_line(text, &mut |line| match lex::shape(line, file, faults) {
            // what is left out may hold anything
            None if self.section == Section::Skip
                && faults.last().is_some_and(|fault| fault.code == Code::NotALine) =>
            {
                faults.pop();
            }
            Some(Shape::Section(name)) => self.section(name, line.place(file, 0..line.text.len()), faults),
            Some(Shape::Setting(name, start)) => self.setting(faults, file, line, name, start),
            Some(Shape::Open) => self.section = Section::Skip,
            None => {}
        });
    }

    fn is_socket(&self) -> bool {
        self.specifiers.unit.kind() == "socket"
    }

    fn section(&mut self, name: &str, place: Place, faults: &mut Vec<Fault>) {
        self.section = match name {
            "Unit" => Section::Unit,
            "Socket" if self.is_socket() => Section::Socket,
            "Service" if !self.is_socket() => Section::Service,
            OWN_SECTION => Section::Own,
            "Install" => Section::Skip,
            _ => {
                if !name.starts_with("X-") {
                    tell(faults, Code::StrangeSection, place, &[name, self.specifiers.unit.kind()]);
                }
                Section::Skip
            }
        };
    }

    fn setting(&mut self, faults: &mut Vec<Fault>, file: u32, line: &Line, name: &str, start: usize) {
        let value = &line.text[start..];
        let (at_name, whole) = (line.place(file, 0..name.len()), line.place(file, 0..line.text.len()));
        match self.section {
            Section::Skip => return,
            Section::Nothing => {
                self.section = Section::Skip;
                return tell(faults, Code::BeforeSection, whole, &[]);
            }
            _ if name.is_empty() => return tell(faults, Code::NoDirective, whole, &[]),
            _ => {}
        }
        let place = if value.is_empty() { at_name } else { line.place(file, start..line.text.len()) };
        let mut notes = Vec::new();
        let (result, changed) = match self.route(name) {
            Route::Pass => return self.pass(name, value, place, faults),
            Route::Lost(kind) => return self.lose(kind, name, value, at_name),
            Route::Unknown => return faults.push(self.unknown(name, at_name)),
            Route::Own(id) => match self.translate(id, value, place, &mut notes) {
                Ok(text) => (self.set(id, &text, place, &mut notes), matches!(text, Cow::Owned(_))),
                Err(problem) => (Err(problem), false),
            },
        };
        for Problem { at, mut fault } in notes.into_iter().chain(result.err().map(|problem| *problem)) {
            // What was put in for specifiers has moved what stands behind it.
            let at = at.filter(|_| !changed || matches!(fault.code, Code::UnknownSpecifier));
            fault.place = at.map_or(place, |at| line.place(file, start + at.start..start + at.end));
            faults.push(fault);
        }
    }

    /// What becomes of a name in the current section.
    fn route(&self, name: &str) -> Route {
        let alias = || ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, id)| *id);
        let id = Id::from_name(name).or_else(alias);
        let group = id.map(|id| id.row().group);
        let start_limit = matches!(id, Some(Id::StartLimitIntervalSec | Id::StartLimitBurst));
        match (self.section, id, group) {
            (Section::Own, Some(id), _) => Route::Own(id),
            (Section::Own, None, _) => Route::Unknown,
            (Section::Unit, Some(id), _) if start_limit && !self.is_socket() => Route::Own(id),
            (Section::Unit, Some(_), _) if start_limit => Route::Pass,
            (Section::Socket, Some(Id::Service), _) => Route::Pass,
            (Section::Socket, Some(id), _) if id.name() == name && OF_SERVICES.contains(&id) => Route::Unknown,
            (Section::Socket, Some(id), Some(Group::Sockets | Group::Access)) if id != Id::NonBlocking => {
                Route::Own(id)
            }
            // It would hold for the commands that systemd runs before and after it opens the sockets.
            (Section::Socket, Some(_), Some(Group::Service)) => Route::Pass,
            (Section::Service, Some(Id::NonBlocking), _) => Route::Own(Id::NonBlocking),
            (Section::Service, Some(id), Some(Group::Service)) => Route::Own(id),
            // Those hold for the sockets that the service makes by itself.
            (Section::Service, Some(_), Some(Group::Access)) => Route::Lost(0),
            _ => match foreign(name).filter(|_| id.is_none()) {
                Some(Foreign::Meaningless) => Route::Pass,
                Some(_) if self.section == Section::Socket && !OF_SOCKETS.split(' ').any(|of| name.starts_with(of)) => {
                    Route::Pass
                }
                Some(Foreign::Wall | Foreign::Protection) => Route::Lost(0),
                Some(Foreign::Other) => Route::Lost(1),
                // Others read it, systemd.unit(5).
                None if name.starts_with("X-") => Route::Pass,
                None => Route::Unknown,
            },
        }
    }

    /// A setting without meaning here, but for the few that tell us something all the same.
    fn pass(&mut self, name: &str, value: &str, place: Place, faults: &mut Vec<Fault>) {
        match (self.section, name) {
            (Section::Socket, "Service") if value.is_empty() => self.service = None,
            (Section::Socket, "Service") => {
                let expanded = self.specifiers.expand(value, Form::Plain, &mut Vec::new()).ok().flatten();
                self.service = Some(expanded.unwrap_or_else(|| value.to_owned()));
            }
            (Section::Service, "Type") => {
                self.notifies = value.starts_with("notify");
                let what = match value {
                    "forking" => Reason::TypeForking,
                    "dbus" => Reason::TypeDbus,
                    "" | "simple" | "exec" | "notify" | "notify-reload" | "oneshot" | "idle" => return,
                    _ => Reason::TypeUnknown,
                };
                tell(faults, Code::UnitType, place, &[value, what.text()]);
            }
            _ => {}
        }
    }

    /// A setting that is not done; what is switched off need not be done.
    fn lose(&mut self, kind: usize, name: &str, value: &str, place: Place) {
        let off = matches!(value.to_ascii_lowercase().as_str(), "" | "no" | "false" | "off" | "0" | "n" | "f");
        if name == "DynamicUser" {
            self.dynamic_user = (!off).then_some(place);
            return;
        }
        let known = self.lost[kind].iter().position(|(known, _)| known == name);
        match known {
            Some(index) if off => drop(self.lost[kind].remove(index)),
            None if !off => self.lost[kind].push((name.to_owned(), place)),
            _ => {}
        }
    }

    fn unknown(&self, name: &str, place: Place) -> Fault {
        let section = match self.section {
            Section::Own => return suggest::unknown(name, place),
            Section::Unit => "Unit",
            Section::Socket => "Socket",
            _ => "Service",
        };
        let fault = Fault::new(Code::StrangeSetting, place, &[name, section, self.specifiers.unit.kind()]);
        let near = suggest::directive(name).filter(|near| *near != name);
        if near.is_some() { fault.with_hint(suggest::did_you_mean(near)) } else { fault }
    }

    /// A value as the native form has it.
    fn translate<'a>(&mut self, id: Id, text: &'a str, place: Place, notes: &mut Vec<Problem>) -> Parsed<Cow<'a, str>> {
        // The % of an address stands before an interface.
        let address = matches!(id.syntax(), Syntax::Listen(_)) && !text.starts_with(['/', '%']);
        let expanded = match address {
            true => self.specifiers.expand(text, Form::Plain, &mut Vec::new())?,
            false => self.specifiers.expand(text, id.syntax().form(), notes)?,
        };
        let text = expanded.map_or(Cow::Borrowed(text), Cow::Owned);
        Ok(match id.syntax() {
            Syntax::Command => self.unmarked(text, place),
            Syntax::Input | Syntax::Output => stream(id, text, notes),
            Syntax::Choice(_) if id == Id::Restart && text == "on-watchdog" => Cow::Borrowed("no"),
            Syntax::Choice(_) if id == Id::BindIPv6Only => match scalar::boolean(&text) {
                Ok(only) => Cow::Borrowed(if only { "ipv6-only" } else { "both" }),
                Err(_) => text,
            },
            _ => text,
        })
    }

    /// A command line without the marks that ask for privileges, which are noted.
    fn unmarked<'a>(&mut self, text: Cow<'a, str>, place: Place) -> Cow<'a, str> {
        let end = text.find(|c| !matches!(c, '-' | '@' | ':' | '+' | '!')).unwrap_or(text.len());
        let (marks, rest) = text.split_at(end);
        self.privileged = match marks {
            _ if marks.contains('+') => Some((place, "+")),
            // Where there are ambient capabilities, `!!` has no meaning.
            _ if marks.contains('!') && !marks.as_bytes().windows(2).any(|pair| pair == b"!!") => Some((place, "!")),
            _ => None,
        };
        if !marks.contains(['+', '!']) {
            return text;
        }
        let kept: String = marks.chars().filter(|mark| !matches!(mark, '+' | '!')).collect();
        Cow::Owned(kept + rest)
    }

    fn set(&mut self, id: Id, text: &str, place: Place, notes: &mut Vec<Problem>) -> Parsed<()> {
        if id == Id::ExecStart {
            self.commands = if text.is_empty() { 0 } else { self.commands + 1 };
        }
        let result = self.draft.set(id, text, place, notes);
        // A drop-in is there to replace what was set before.
        notes.retain(|note| note.fault.code != Code::SetTwice);
        result
    }

    /// Whether each connection gets a process of its own. Sockets without connections make systemd pass over Accept=.
    pub(super) fn accepts(&mut self) -> bool {
        if !self.draft.listens.is_empty() && !self.draft.listens.iter().any(|listen| listen.kind.has_connections()) {
            self.draft.forget(Id::Accept);
        }
        self.draft.flag(Id::Accept)
    }

    /// The sockets that can't be opened, when there are no others.
    pub(super) fn strange_sockets(&self) -> Option<(String, Place)> {
        let strange = || self.lost[1].iter().filter(|(name, _)| name.starts_with("Listen"));
        let first = strange().next().filter(|_| self.draft.listens.is_empty())?;
        Some((join(&strange().map(|(name, _)| [name, "="].concat()).collect::<Vec<_>>(), ", "), first.1))
    }

    /// All files are read: puts systemd's defaults in where they are not those of the native form.
    pub(super) fn finish(mut self, draft: &mut Draft) -> ServiceDraft {
        if !self.draft.is_set(Id::Service) {
            self.privileges(draft);
            self.streams();
            let accept = self.draft.flag(Id::Accept);
            if !self.draft.is_set(Id::ConnectTo) {
                // there it would be clients that are counted, and not wake-ups
                self.draft.default_to(Id::PollLimitBurst, if accept { "150" } else { "15" });
            }
            if accept {
                self.draft.default_to(Id::MaxConnections, "64");
                self.draft.default_to(Id::TriggerLimitBurst, "200");
            }
            if self.notifies {
                self.draft.default_to(Id::NotifyAccess, "main");
            }
        }
        if self.commands > 1 {
            let (place, count) = (self.draft.place(Id::ExecStart), self.commands.to_string());
            tell(&mut draft.faults, Code::UnitCommands, place, &[&self.draft.name, &count]);
        }
        for (lost, code) in self.lost.iter().zip([Code::UnitUnprotected, Code::UnitLost]) {
            if let Some((_, place)) = lost.first() {
                let names: Vec<_> = lost.iter().map(|(name, _)| [name, "="].concat()).collect();
                let fault = Fault::new(code, *place, &[&self.draft.name, &join(&names, ", ")]);
                let before = lost.iter().any(|(name, _)| name == suggest::BEFORE);
                draft.faults.push(if before { fault.with_hint(suggest::in_a_script()) } else { fault });
            }
        }
        self.draft
    }

    /// Who the program runs as.
    fn privileges(&mut self, draft: &mut Draft) {
        if let Some((place, mark)) = self.privileged {
            let ids = [Id::User, Id::Group, Id::SupplementaryGroups];
            if ids.iter().any(|id| self.draft.is_set(*id)) {
                ids.iter().for_each(|id| self.draft.forget(*id));
                tell(&mut draft.faults, Code::UnitPrivileges, place, &[mark]);
            }
        }
        if let Some(place) = self.dynamic_user {
            self.made_up(place, draft);
        }
        let walls = || self.lost[0].iter().any(|(name, _)| foreign(name) == Some(Foreign::Wall));
        if self.dynamic_user.is_some() || self.draft.is_set(Id::User) && walls() {
            self.draft.default_to(Id::NoNewPrivileges, "yes");
        }
    }

    /// DynamicUser=: the name, without User= that of the unit, is a user of the machine or the one that is made up.
    fn made_up(&mut self, place: Place, draft: &mut Draft) {
        let known = |name: &str| scalar::digits(name) || users::user(name).is_some();
        let name = self.draft.text(Id::User).unwrap_or(self.specifiers.unit.prefix()).to_owned();
        if known(&name) {
            self.draft.default_to(Id::User, &name);
        } else {
            self.draft.forget(Id::User);
        }
        // the name of a unit may be one that no user can have
        if !self.draft.is_set(Id::User) {
            tell(&mut draft.faults, Code::DynamicUser, place, &[&name]);
            self.draft.default_to(Id::User, "nobody");
        }
        if self.draft.text(Id::Group).is_some_and(|name| !scalar::digits(name) && users::group(name).is_none()) {
            self.draft.forget(Id::Group);
        }
    }

    /// Standard streams by systemd's rules: input is /dev/null; output is a socket that input is, else the log; error
    /// is what output is.
    fn streams(&mut self) {
        let unit = &mut self.draft;
        if unit.flag(Id::Accept) {
            unit.default_to(Id::StandardInput, "null");
        }
        let socket = unit.text(Id::StandardInput) == Some("socket");
        if matches!(unit.text(Id::StandardOutput), None | Some("inherit")) {
            unit.forget(Id::StandardOutput);
            if socket {
                unit.default_to(Id::StandardOutput, "socket");
            }
        }
        if matches!(unit.text(Id::StandardError), None | Some("inherit")) {
            unit.forget(Id::StandardError);
            if !matches!(unit.text(Id::StandardOutput), None | Some("log")) {
                unit.default_to(Id::StandardError, "inherit");
            }
        }
    }
}

/// A standard stream as the native form has it. Journal and log are the same here; there are no terminals.
fn stream<'a>(id: Id, text: Cow<'a, str>, notes: &mut Vec<Problem>) -> Cow<'a, str> {
    let (bare, input) = (text.strip_suffix("+console").unwrap_or(&text), id == Id::StandardInput);
    let other = match bare {
        "journal" => "log",
        "syslog" => "syslog",
        "kmsg" => "kmsg",
        "tty" | "tty-force" | "tty-fail" | "data" => "",
        _ if text.starts_with("fd:") || text == "fd" => "",
        _ => return text,
    };
    if !other.is_empty() {
        return Cow::Borrowed(other);
    }
    let other = if input { "null" } else { "log" };
    notes.push(*Problem::new(Code::UnitStream, 0..text.len(), &[&text, other]));
    Cow::Borrowed(other)
}

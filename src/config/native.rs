//! The native form: one section for each service, directives as `Name=value`.
//!
//! Reads one file after the other into the same [`Draft`]; `[defaults]` holds for the sections after it, in the files
//! that follow as well. It goes on after each fault, so that one run shows all of them.

use super::directive::{Form, Id, Syntax};
use super::draft::{Draft, ServiceDraft};
use super::fault::{Fault, Place, count, tell};
use super::lex::{self, Line, Shape};
use super::message::{Code, Reason};
use super::problem::Problem;
use super::suggest;
use crate::limits;

/// The section whose values hold for those after it.
const DEFAULTS: &str = "defaults";

/// Reads files of the native form.
#[derive(Debug, Default)]
pub(super) struct Reader {
    defaults: ServiceDraft,
    /// The section that is being read.
    current: ServiceDraft,
    /// Rows of the services that were taken over, in the order of their names.
    known: Vec<u32>,
    target: Target,
}

/// What becomes of the section that is being read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// There is none yet; the fault about it was not given.
    #[default]
    Nothing,
    /// It is not looked at: one fault about it was enough.
    Skip,
    /// Its settings are checked, but it is not used.
    Check,
    Defaults,
    Service,
}

impl Reader {
    /// Reads a text that is kept as `file` in the draft's sources.
    pub(super) fn read(&mut self, draft: &mut Draft, file: u32, text: &str) {
        self.target = Target::Nothing;
        lex::carriage_return(draft, file, text);
        lex::each_line(text, &mut |line| self.line(draft, file, line));
        self.finish(draft);
    }

    fn line(&mut self, draft: &mut Draft, file: u32, line: &Line) {
        let text = &*line.text;
        let whole = || line.place(file, 0..text.len());
        let (name, start) = match lex::shape(line, file, &mut draft.faults) {
            Some(Shape::Section(name)) => return self.section(draft, name, whole()),
            Some(Shape::Setting(name, start)) => (name, start),
            Some(Shape::Open) => return self.enter(draft, whole()),
            None => return,
        };
        let fault = match self.target {
            Target::Skip => return,
            Target::Nothing => {
                self.target = Target::Skip;
                Fault::new(Code::BeforeSection, whole(), &[])
            }
            _ if name.is_empty() => Fault::new(Code::NoDirective, whole(), &[]),
            _ => match Id::from_name(name) {
                Some(id) => return self.setting(draft, file, line, id, start),
                None => {
                    // who wrote ListenStram need not hear that the service has no socket as well
                    self.current.failed.extend(suggest::meant(name).and_then(Id::from_name));
                    suggest::unknown(name, line.place(file, 0..name.len()))
                }
            },
        };
        draft.faults.push(fault);
    }

    /// One setting; its value begins at byte `start` of the line.
    fn setting(&mut self, draft: &mut Draft, file: u32, line: &Line, id: Id, start: usize) {
        let value = &line.text[start..];
        let name = || line.place(file, 0..id.name().len());
        let own = matches!(id.syntax(), Syntax::Listen(_)) || id == Id::ExecStart;
        if own && self.target == Target::Defaults {
            return tell(&mut draft.faults, Code::InDefaults, name(), &[id.name()]);
        }
        let place = if value.is_empty() { name() } else { line.place(file, start..line.text.len()) };
        let mut notes = Vec::new();
        let result = self.current.set(id, value, place, &mut notes);
        let failed = result.is_err();
        notes.extend(comment(id, value).filter(|_| !failed));
        for Problem { at, mut fault } in notes.into_iter().chain(result.err().map(|problem| *problem)) {
            fault.place = at.map_or_else(name, |at| line.place(file, start + at.start..start + at.end));
            if failed
                && (after_blank(value, b'#').is_some() || after_blank(value, b';').is_some() && fault.hint.is_empty())
            {
                Reason::NoComment.text().clone_into(&mut fault.hint);
            } else if failed
                && value.starts_with(['"', '\''])
                && matches!(id.syntax().form(), Form::Plain | Form::Percent)
            {
                Reason::NoQuotes.text().clone_into(&mut fault.hint);
            } else if matches!((id.syntax(), fault.code), (Syntax::Listen(_), Code::BadPort | Code::BadIp)) {
                Reason::ListenForms.text().clone_into(&mut fault.hint);
            }
            draft.faults.push(fault);
        }
    }

    /// A section begins: until its name is found good, its settings are checked, but not used.
    fn enter(&mut self, draft: &mut Draft, whole: Place) {
        self.finish(draft);
        self.target = Target::Check;
        self.current.place = whole;
    }

    fn section(&mut self, draft: &mut Draft, name: &str, whole: Place) {
        self.enter(draft, whole);
        if name == DEFAULTS {
            self.target = Target::Defaults;
            self.current = std::mem::take(&mut self.defaults);
            return self.current.disown();
        }
        if matches!(name, "Socket" | "Service" | "Unit" | "Install") {
            self.target = Target::Skip;
            return tell(&mut draft.faults, Code::UnitSection, whole, &[name]);
        }
        self.current.inherit(&self.defaults);
        name.clone_into(&mut self.current.name);
        if let Some(fault) = check_name(name, whole) {
            return draft.faults.push(fault);
        }
        match self.first(draft, name) {
            Some(first) => draft.faults.push(Fault::new(Code::SectionTwice, whole, &[name]).with_other(first)),
            None => self.target = Target::Service,
        }
    }

    /// Where there is a service of this name already. Each section asks, so that its own kind are found by halving.
    fn first(&self, draft: &Draft, name: &str) -> Option<Place> {
        let row = self.known.get(self.rank(draft, name)).and_then(|row| draft.services.get(*row as usize));
        let known = row.filter(|service| service.name == name);
        let others = || if draft.services.len() > self.known.len() { draft.service(name) } else { None };
        known.or_else(others).map(|service| service.place)
    }

    /// How many of those that were taken over have a smaller name.
    fn rank(&self, draft: &Draft, name: &str) -> usize {
        self.known.partition_point(|row| draft.services.get(*row as usize).is_some_and(|known| *known.name < *name))
    }

    /// The section is read: takes it over.
    fn finish(&mut self, draft: &mut Draft) {
        let section = std::mem::take(&mut self.current);
        match self.target {
            Target::Service => {
                self.known.insert(self.rank(draft, &section.name), count(draft.services.len()));
                draft.services.push(section);
            }
            Target::Defaults => self.defaults = section,
            Target::Nothing | Target::Skip | Target::Check => {}
        }
    }
}

/// Where a mark stands behind a blank.
fn after_blank(value: &str, mark: u8) -> Option<usize> {
    value.as_bytes().windows(2).position(|pair| pair == [b' ', mark]).map(|blank| blank + 1)
}

/// The warning about a `# text` at the end of a value that takes any text; in that of a path, about what is meant as
/// another one, or as another setting.
fn comment(id: Id, value: &str) -> Option<Problem> {
    let (any, is_path) = match id.syntax().form() {
        Form::Percent => (true, true),
        // Quoted text may hold the same two characters.
        Form::Command => (!value.contains(['"', '\'']), false),
        _ => (id.syntax() == Syntax::FdName, false),
    };
    // a slash alone keeps the blank before it at the end of a path
    let is_more = |word: &str| word.len() > 1 && word.starts_with(['/', '@']) || word.contains('=');
    let is_meant = |rest: &str| rest.starts_with('#') || is_path && rest.split(' ').next().is_some_and(is_more);
    let words = value.match_indices(' ').map(|(blank, _)| blank + 1);
    let at = words.filter(|_| any).find(|&at| is_meant(&value[at..]))?;
    Some(*Problem::new(Code::CommentKept, at..value.len(), &[]))
}

/// Whether a character can stand in the name of a service.
pub(super) fn is_of_name(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, ':' | '=' | '[' | ']')
}

/// The fault of a name that no service can have: 1 to [`limits::SERVICE_NAME_BYTES`] printable ASCII characters without
/// `:`, `=`, `[` and `]`, and not `defaults`.
pub fn check_name(name: &str, place: Place) -> Option<Fault> {
    let fits = (1..=limits::SERVICE_NAME_BYTES).contains(&name.len()) && name.chars().all(is_of_name);
    let fits = fits && name != DEFAULTS;
    (!fits).then(|| Fault::new(Code::BadServiceName, place, &[name, &limits::SERVICE_NAME_BYTES.to_string()]))
}

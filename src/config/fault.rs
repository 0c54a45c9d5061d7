//! Faults: what is wrong, where, what was expected and what to do about it.
//!
//! The plan station reports with the same type, so that one run shows all faults of all files in one order. A fault
//! is data until [`Sources::render`] turns it into text: this module never prints and never decides whether to go on.

use std::cell::OnceCell;
use std::iter;
use std::rc::Rc;

use super::message::Code;
use super::render;
use crate::packed::fill;

/// A stretch of one line of one file. Lines and columns count from 1; a column is a character, not a byte.
///
/// Line 0 stands for the file as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// Index of the file in [`Sources`].
    pub file: u32,
    /// Line, from 1; 0: the whole file.
    pub line: u32,
    /// First character, from 1; 0: the whole line.
    pub column: u32,
    /// Characters; 0: to the end of the line.
    pub len: u32,
}

impl Place {
    /// A whole line; line 0: the whole file.
    pub fn line(file: u32, line: u32) -> Self {
        Self { file, line, ..Self::default() }
    }
}

/// How bad a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration can be used, but probably does not do what its author thinks.
    Warning,
    /// The configuration can't be used.
    Error,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which message this is, stable over versions.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub place: Place,
    /// The other place, where two don't agree.
    pub other: Option<Place>,
    /// What was found.
    pub message: String,
    /// What was expected; empty: the message says all.
    pub expected: String,
    /// What to do; empty: nothing to add.
    pub hint: String,
}

impl Fault {
    /// The message `code` with its `{0}`, `{1}`, ... replaced by `arguments`.
    pub fn new(code: Code, place: Place, arguments: &[&str]) -> Self {
        let row = code.row();
        Self {
            code,
            severity: row.severity,
            place,
            other: None,
            message: fill(row.message, arguments),
            expected: fill(row.expected, arguments),
            hint: fill(row.hint, arguments),
        }
    }

    /// The same fault that also points at `other`.
    #[must_use]
    pub fn with_other(mut self, other: Place) -> Self {
        self.other = Some(other);
        self
    }

    /// Whether it keeps what it is about from being used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Turns an error into a warning that says what becomes of it: its service is left out.
    pub fn skip(&mut self) {
        self.severity = Severity::Warning;
        self.message.push_str(LEFT_OUT);
    }

    /// Whether its service was left out.
    pub fn is_left_out(&self) -> bool {
        self.code == Code::XinetdLeftOut || self.message.ends_with(LEFT_OUT)
    }

    /// Whether it is that this machine lacks a name, which may come.
    pub fn is_missing_name(&self) -> bool {
        use Code::{BackendHost, InetdAddress, NoGroup, NoPortName, NoUser};
        matches!(self.code, NoUser | NoGroup | NoPortName | BackendHost | InetdAddress)
    }

    /// The same fault with this text after `hint:`.
    #[must_use]
    pub fn with_hint(mut self, hint: String) -> Self {
        self.hint = hint;
        self
    }
}

/// Adds the message `code` with its arguments, as [`Fault::new`] makes it.
#[inline(never)]
pub fn tell(faults: &mut Vec<Fault>, code: Code, place: Place, arguments: &[&str]) {
    faults.push(Fault::new(code, place, arguments));
}

/// Adds a message about a count that is above `most`: its arguments are the count, the most, and `what`.
pub fn at_most(faults: &mut Vec<Fault>, code: Code, place: Place, what: &str, [count, most]: [usize; 2]) {
    if count > most {
        tell(faults, code, place, &[&count.to_string(), &most.to_string(), what]);
    }
}

/// What is said where the service of a line is left out.
const LEFT_OUT: &str = "; its service is left out";

/// The texts that were read, kept so that a fault can show its line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    files: Vec<Source>,
}

/// One text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Source {
    name: String,
    text: Rc<str>,
    /// Where each line begins, so that many faults in a long file are still shown at once. Found for the first of them.
    lines: OnceCell<Vec<usize>>,
}

impl Sources {
    /// Keeps a text under a name; a text may have any content. The result goes into [`Place::file`].
    ///
    /// A command line is kept as well: name it `command line` and give the words joined by blanks.
    pub fn add(&mut self, name: &str, text: impl Into<Rc<str>>) -> u32 {
        let number = self.next();
        self.files.push(Source { name: name.to_owned(), text: text.into(), lines: OnceCell::new() });
        number
    }

    /// The number of the next text.
    pub(super) fn next(&self) -> u32 {
        count(self.files.len())
    }

    /// Name of a file, as the user gave it; empty for a number that was never given out.
    pub fn name(&self, file: u32) -> &str {
        self.files.get(file as usize).map_or("", |source| &source.name)
    }

    /// The line at a place, without its end; empty when there is none.
    pub fn line(&self, place: Place) -> &str {
        let Some(source) = self.files.get(place.file as usize) else { return "" };
        let all = || iter::once(0).chain(source.text.match_indices('\n').map(|(end, _)| end + 1)).collect();
        let lines = source.lines.get_or_init(all);
        let start = (place.line as usize).checked_sub(1).and_then(|index| lines.get(index));
        let rest = start.and_then(|start| source.text.get(*start..)).unwrap_or_default();
        let line = rest.split('\n').next().unwrap_or_default();
        line.strip_suffix('\r').unwrap_or(line)
    }

    /// `file:line:column`, as far as the place knows them.
    pub fn locate(&self, place: Place) -> String {
        let mut out = render::escaped(self.name(place.file));
        for number in [place.line, place.column].into_iter().take_while(|number| *number != 0) {
            out.push(':');
            out.push_str(&number.to_string());
        }
        out
    }

    /// A fault as text for a terminal: the place and message, the line with a caret, what was expected and a hint.
    ///
    /// Ends with a newline. Control characters of the file are shown escaped, long lines as a window.
    pub fn render(&self, fault: &Fault) -> String {
        render::fault(self, fault)
    }
}

/// A count as u32; what no file can reach is the largest number.
pub(super) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

//! inetd.conf: one line for each service, in four dialects that disagree on more than they show.
//!
//! Every line becomes a [`ServiceDraft`](super::ServiceDraft) with the habits of inetd written out as directives: the
//! socket on 0, 1 and 2, no limits but those of the line, processes that nobody signals. A line that is present and
//! means something else in another dialect is told, once for each such thing and file, unless the dialect was named.
//!
//! | file | what it does |
//! |---|---|
//! | `mod` | lines, comments, continuation |
//! | `fields` | a line in its fields |
//! | `entry` | the fields as directives |
//! | `place` | service, protocol and addresses as sockets |
//! | `flags` | wait flag and user |
//! | `readings` | what the dialects disagree on |

mod entry;
mod fields;
mod flags;
mod place;
mod readings;

use std::ops::Range;

use super::draft::Draft;
use super::fault::{Fault, Place, tell};
use super::left_out::Tolerance;
use super::lex::{Line, carriage_return, physical, unreadable};
use super::message::Code;
use super::words::is_blank;
use crate::cli::{self, Dialect};
use readings::Reading;

/// How inetd.conf is to be read, and what the command line of an inetd adds to each line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inetd {
    /// The command line. Without a dialect inetd.conf and `*.inetd` are read in that of busybox, and what the dialects
    /// disagree on is told.
    pub asked: cli::Inetd,
    /// What is left out and told as a warning when it is faulty; otherwise it is an error.
    pub tolerance: Tolerance,
    /// Where relative paths of programs begin: an inetd in the foreground stays in the folder in which it was started.
    /// `None`: such a path is a fault.
    pub folder: Option<String>,
}

/// Reads files of inetd.conf.
pub(super) struct Reader<'a> {
    form: &'a Inetd,
    dialect: Dialect,
    file: u32,
    /// What a line with an address and nothing else has set for those after it.
    address: Option<String>,
    /// An IPsec policy is in force.
    policy: bool,
    /// Disagreements that were told, one bit each.
    told: u16,
}

impl<'a> Reader<'a> {
    pub(super) fn new(form: &'a Inetd, file: u32) -> Self {
        let dialect = form.asked.dialect.unwrap_or_default();
        Self { form, dialect, file, address: form.asked.address.clone(), policy: false, told: 0 }
    }

    fn is_tolerant(&self) -> bool {
        self.form.tolerance != Tolerance::Strict
    }

    /// Reads a text that is kept as `file` in the draft's sources.
    pub(super) fn read(&mut self, draft: &mut Draft, text: &str) {
        if self.is_tolerant() {
            draft.tolerant.push(self.file);
        }
        carriage_return(draft, self.file, text);
        let mut open: Option<Line> = None;
        let mut joined = false;
        for (number, raw) in physical(text) {
            if !joined && raw.starts_with('#') {
                self.comment(draft, raw, number);
                continue;
            }
            let continues = raw.starts_with(is_blank) && !raw.trim_ascii().is_empty();
            let continued = continues && self.continues();
            if !joined && !continued {
                self.line(draft, open.take());
            }
            if continues && !joined {
                self.told(draft, Reading::ReadContinuation, Place::line(self.file, number));
            }
            let (kept, joins) = self.backslash(draft, raw, number);
            open.get_or_insert_default().add(kept, number);
            joined = joins;
        }
        self.line(draft, open);
    }

    /// A line that begins with a blank belongs to the one before.
    fn continues(&self) -> bool {
        matches!(self.dialect, Dialect::Openbsd | Dialect::Freebsd)
    }

    /// Takes a backslash at the end of a line away where it joins the line with the next.
    fn backslash<'t>(&mut self, draft: &mut Draft, raw: &'t str, number: u32) -> (&'t str, bool) {
        let Some(kept) = raw.strip_suffix('\\') else { return (raw, false) };
        self.told(draft, Reading::ReadBackslash, Place::line(self.file, number));
        if self.dialect == Dialect::Busybox { (kept, true) } else { (raw, false) }
    }

    /// `#@` begins an IPsec policy that holds for the lines after it, until an empty one.
    fn comment(&mut self, draft: &mut Draft, raw: &str, number: u32) {
        let Some(policy) = raw.strip_prefix("#@").filter(|_| self.dialect == Dialect::Freebsd) else { return };
        self.policy = !policy.trim_ascii().is_empty();
        if self.policy {
            tell(&mut draft.faults, Code::InetdPolicy, Place::line(self.file, number), &[]);
        }
    }

    /// One logical line.
    fn line(&mut self, draft: &mut Draft, line: Option<Line>) {
        let Some(mut line) = line else { return };
        if let Some(at) = line.text.find('#') {
            let place = line.place(self.file, at..line.text.len());
            self.told(draft, Reading::ReadHash, place);
            if self.dialect == Dialect::Busybox {
                line.text.truncate(at);
            }
        }
        if line.text.trim_ascii().is_empty() {
            return;
        }
        if let Some(fault) = unreadable(&line, self.file, true) {
            return self.fault(draft, fault);
        }
        if let Err(faults) = self.entry(draft, &line) {
            faults.into_iter().for_each(|fault| self.fault(draft, fault));
        }
    }

    /// Adds a fault; where faulty lines are left out it is a warning that says so.
    fn fault(&self, draft: &mut Draft, mut fault: Fault) {
        if self.is_tolerant() && fault.is_error() {
            fault.skip();
        }
        draft.faults.push(fault);
    }

    /// The dialects disagree here: told once, unless the user has named the dialect.
    fn told(&mut self, draft: &mut Draft, reading: Reading, place: Place) {
        let bit = 1 << (reading as u16 - Reading::ReadPlain as u16);
        if self.form.asked.dialect.is_some() || self.told & bit != 0 {
            return;
        }
        self.told |= bit;
        draft.faults.push(readings::fault(reading, self.dialect, place));
    }

    fn place(&self, line: &Line, at: &Range<usize>) -> Place {
        line.place(self.file, at.clone())
    }
}

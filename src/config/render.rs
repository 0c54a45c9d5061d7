//! Faults as text for a terminal: place, message, the line with a caret, what was expected, a hint.
//!
//! What comes from a file is never written raw: control characters are escaped, so that a configuration can't send
//! commands to the terminal, and a long line is shown as a window round the fault.

use super::fault::{Fault, Severity, Sources};
use crate::text::add;

/// Columns of a line that are shown.
const WINDOW: usize = 100;

pub(super) fn fault(sources: &Sources, fault: &Fault) -> String {
    let mut out = sources.locate(fault.place);
    out.push_str(if fault.severity == Severity::Error { ": error: " } else { ": warning: " });
    out.push_str(&escaped(&fault.message));
    out.push('\n');
    let line = sources.line(fault.place);
    if fault.place.line != 0 && !line.is_empty() {
        let number = fault.place.line.to_string();
        let margin = " ".repeat(number.len().max(5));
        let (text, caret) = excerpt(line, fault.place.column as usize, fault.place.len as usize);
        add(&mut out, &[&margin[number.len()..], &number, " | ", &text, "\n"]);
        if !caret.is_empty() {
            add(&mut out, &[&margin, " | ", &caret, "\n"]);
        }
    }
    let other = fault.other.map(|place| sources.locate(place)).unwrap_or_default();
    for (label, text) in [("expected", &fault.expected), ("see also", &other), ("hint", &fault.hint)] {
        if !text.is_empty() {
            add(&mut out, &["      = ", label, ": ", &escaped(text), "\n"]);
        }
    }
    out
}

/// The text with control characters as `\u{1b}` and the like.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Control characters, blanks that are none to a reader of configurations, and the marks that turn the direction of the
/// text round.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{a0}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{3000}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The part of a line round a column, and carets below it. Tabs become blanks, so that the carets stay in place.
fn excerpt(line: &str, column: usize, len: usize) -> (String, String) {
    let first = column.saturating_sub(1);
    let cells: Vec<String> =
        line.chars().map(|c| if c == '\t' { " ".repeat(4) } else { escaped(c.encode_utf8(&mut [0; 4])) }).collect();
    let start = if cells.len() > WINDOW { first.saturating_sub(WINDOW / 2) } else { 0 };
    let end = cells.len().min(start + WINDOW);
    let mut text = String::from(if start > 0 { "..." } else { "" });
    let mut caret = " ".repeat(text.len());
    for (index, cell) in cells.iter().enumerate().take(end).skip(start) {
        text.push_str(cell);
        let marked = index >= first && index < first.saturating_add(len.max(1));
        let mark = if marked { '^' } else { ' ' };
        caret.extend(std::iter::repeat_n(mark, cell.chars().count()));
    }
    if end < cells.len() {
        text.push_str("...");
    }
    if first >= end && column > 0 {
        caret.push('^');
    }
    let caret = if column == 0 { "" } else { caret.trim_ascii_end() };
    (text.trim_ascii_end().to_owned(), caret.to_owned())
}

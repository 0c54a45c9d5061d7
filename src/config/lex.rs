//! Lines: a text cut into logical lines, with the way back from each byte to its place in the file.
//!
//! The rules are systemd.syntax(7): a line whose first character is `#` or `;` is a comment, a backslash at the end of
//! a line continues it (the two are joined by a blank, and comments in between are left out). A comment behind a value
//! is part of the value.

use std::ops::Range;

use super::draft::Draft;
use super::fault::{Fault, Place, count, tell};
use super::message::Code;
use super::words::is_blank;
use crate::limits;

/// One logical line.
#[derive(Debug, Default, Clone)]
pub(super) struct Line {
    /// Its text, without blanks at the ends.
    pub(super) text: String,
    /// Where each physical line of it begins: byte in `text`, line and column in the file.
    pieces: Vec<(usize, u32, u32)>,
}

impl Line {
    /// A line of its own.
    pub(super) fn single(raw: &str, number: u32) -> Self {
        let mut line = Self::default();
        line.add(raw, number);
        line
    }

    /// The place of some bytes of the text. What goes on in the next physical line is left out.
    pub(super) fn place(&self, file: u32, at: Range<usize>) -> Place {
        let after = self.pieces.partition_point(|(start, _, _)| *start <= at.start);
        let (start, line, column) = self.pieces.get(after.saturating_sub(1)).copied().unwrap_or_default();
        let end = self.pieces.get(after).map_or(self.text.len(), |(next, _, _)| *next);
        // the bytes that begin a character
        let begins = |part: &str| part.bytes().filter(|byte| byte & 0xc0 != 0x80).count();
        let characters = |range: Range<usize>| count(self.text.get(range).map_or(0, begins));
        let len = characters(at.start..at.end.min(end)).max(1);
        Place { file, line, column: column + characters(start..at.start), len }
    }

    /// Adds a physical line; tells whether it goes on in the next one.
    fn push(&mut self, raw: &str, number: u32) -> bool {
        let text = raw.trim_ascii_start();
        let column = 1 + count(raw[..raw.len() - text.len()].chars().count());
        let text = text.trim_ascii_end();
        let continued = backslashes(text) % 2 == 1;
        let text = if continued { text[..text.len() - 1].trim_ascii_end() } else { text };
        self.join(text, number, column);
        continued
    }

    /// Adds a physical line as it is, but for blanks at its ends.
    pub(super) fn add(&mut self, raw: &str, number: u32) {
        let text = raw.trim_ascii_start();
        self.join(text.trim_ascii_end(), number, 1 + count(raw[..raw.len() - text.len()].chars().count()));
    }

    fn clear(&mut self) {
        self.text.clear();
        self.pieces.clear();
    }

    fn join(&mut self, text: &str, number: u32, column: u32) {
        if !self.text.is_empty() && !text.is_empty() {
            self.text.push(' ');
        }
        self.pieces.push((self.text.len(), number, column));
        self.text.push_str(text);
    }
}

/// Backslashes at the end of a text.
pub(super) fn backslashes(text: &str) -> usize {
    text.bytes().rev().take_while(|byte| *byte == b'\\').count()
}

/// What a line is, in the native form and in unit files.
pub(super) enum Shape<'a> {
    /// The name of a section.
    Section(&'a str),
    /// A section whose name has no end, which is a fault.
    Open,
    /// A setting: its name (may be empty), and the byte at which its value begins.
    Setting(&'a str, usize),
}

/// The fault of a line that can mean nothing in any form. `replaced`: what was no UTF-8 stands as U+FFFD.
pub(super) fn unreadable(line: &Line, file: u32, replaced: bool) -> Option<Fault> {
    let text = &*line.text;
    if text.len() > limits::CONFIG_LINE_BYTES {
        let sizes = [text.len().to_string(), limits::CONFIG_LINE_BYTES.to_string()];
        return Some(Fault::new(Code::LineLong, line.place(file, 0..text.len()), &[&sizes[0], &sizes[1]]));
    }
    // 0xc2 begins the control characters beyond ASCII, 0xef U+FFFD.
    if !text.bytes().any(|byte| byte.is_ascii_control() || matches!(byte, 0xc2 | 0xef)) {
        return None;
    }
    let bad = |c: char| c.is_control() && c != '\t' || replaced && c == '\u{fffd}';
    let (at, c) = text.char_indices().find(|(_, c)| bad(*c))?;
    let code = match c {
        '\0' => Code::FileNul,
        '\u{fffd}' => Code::FileNotUtf8,
        _ => Code::ControlCharacter,
    };
    Some(Fault::new(code, line.place(file, at..at + c.len_utf8()), &[&c.escape_default().to_string()]))
}

/// Tells what a line is, or adds the fault of a line that is nothing.
pub(super) fn shape<'a>(line: &'a Line, file: u32, faults: &mut Vec<Fault>) -> Option<Shape<'a>> {
    let text = &*line.text;
    let whole = || line.place(file, 0..text.len());
    let mut fault = |fault: Fault| {
        faults.push(fault);
        None
    };
    if let Some(unreadable) = unreadable(line, file, false) {
        return fault(unreadable);
    }
    if text.starts_with('[') {
        return match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(name) => Some(Shape::Section(name)),
            None => fault(Fault::new(Code::OpenSection, whole(), &[])).or(Some(Shape::Open)),
        };
    }
    let word = || text.split(is_blank).next().unwrap_or_default();
    if text.starts_with(['i', '.', '!']) && matches!(word(), "include" | ".include" | "includedir" | "!include") {
        return fault(Fault::new(Code::Include, whole(), &[]));
    }
    match text.split_once('=') {
        Some((name, value)) => Some(Shape::Setting(name.trim_ascii_end(), text.len() - value.trim_ascii_start().len())),
        None => fault(Fault::new(Code::NotALine, whole(), &[])),
    }
}

/// Warns, once for a text, of lines that end with CR LF.
pub(super) fn carriage_return(draft: &mut Draft, file: u32, text: &str) {
    if text.as_bytes().contains(&b'\r')
        && let Some(index) = text.split('\n').position(|line| line.ends_with('\r'))
    {
        tell(&mut draft.faults, Code::CarriageReturn, Place::line(file, count(index + 1)), &[]);
    }
}

/// The physical lines of a text without their ends, with their numbers.
pub(super) fn physical(text: &str) -> impl Iterator<Item = (u32, &str)> {
    (1..).zip(text.split('\n').map(|raw| raw.strip_suffix('\r').unwrap_or(raw)))
}

/// Reads the logical lines of a text that are neither empty nor comments, one after the other.
pub(super) fn each_line(text: &str, read: &mut dyn FnMut(&Line)) {
    let mut line = Line::default();
    let mut end = |line: &mut Line| {
        if !line.text.is_empty() {
            read(line);
        }
        line.clear();
    };
    for (number, raw) in physical(text) {
        let comment = matches!(raw.trim_ascii_start().as_bytes(), [b'#' | b';', ..]);
        if !comment && !line.push(raw, number) {
            end(&mut line);
        }
    }
    end(&mut line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_survive_continuation() {
        let mut lines = Vec::new();
        each_line("# c\n\n  a = b \\\n ; c\n   \u{e4} d\\\\\ne\\\n", &mut |line| lines.push(line.clone()));
        assert_eq!(lines.iter().map(|line| &*line.text).collect::<Vec<_>>(), ["a = b \u{e4} d\\\\", "e"]);
        let at = lines[0].text.find('d').unwrap();
        assert_eq!(lines[0].place(7, at..at + 3), Place { file: 7, line: 5, column: 6, len: 3 });
        assert_eq!(lines[0].place(7, 0..at), Place { file: 7, line: 3, column: 3, len: 6 });
        assert_eq!(lines[1].place(7, 0..1), Place { file: 7, line: 6, column: 1, len: 1 });
    }
}

//! The help text, made from the tables.

use super::table::{COMMANDS, Command, NONE, OPTIONS, OptionRow};
use crate::text::add;

/// Width of the left column.
const LEFT: usize = 26;

/// The overview: at most 24 lines of at most 80 columns, each ended by `\n`.
#[must_use]
pub fn usage() -> String {
    let mut out = String::from("Usage: dormouse [COMMAND] [OPTION]...\n\nCommands:\n");
    for row in COMMANDS.iter().filter(|row| row.command.is_some()) {
        line(&mut out, row.word, row.line());
    }
    out.push_str("\ndormouse help COMMAND tells the rest and the options; run takes -c PATH.\n");
    out
}

/// All about one command.
#[must_use]
pub fn help(command: Command) -> String {
    let Some(row) = COMMANDS.iter().find(|row| row.command == Some(command)) else { return usage() };
    let mut out = ["Usage: dormouse ", row.word, " ", row.synopsis()].concat().trim_ascii_end().to_owned();
    add(&mut out, &["\n\n", &capital(row.line()), "\n", row.details(), "\nOptions:\n"]);
    for row in OPTIONS.iter().filter(|row| row.is_for(command)) {
        line(&mut out, &names(row), row.line());
    }
    out
}

/// `-c, --config PATH`.
fn names(row: &OptionRow) -> String {
    let mut out = String::from("    --");
    if row.short != NONE {
        out = ["-", char::from(row.short).encode_utf8(&mut [0; 4]), ", --"].concat();
    }
    out + row.usage
}

/// One row in two columns.
fn line(out: &mut String, left: &str, right: &str) {
    let (width, end) = if left.len() < LEFT { (left.len(), "") } else { (0, "\n  ") };
    add(out, &["  ", left, end, &" ".repeat(LEFT - width), right, "\n"]);
}

fn capital(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line.chars();
    out.extend(rest.next().map(|c| c.to_ascii_uppercase()));
    out.push_str(rest.as_str());
    out.push('.');
    out
}

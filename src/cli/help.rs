//! The help text, made from the tables.

use super::table::{COMMANDS, Command, NONE, OPTIONS, OptionRow};

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
    out.push_str(&["\n\n", &capital(row.line()), "\n"].concat());
    out.push_str(row.details());
    out.push_str("\nOptions:\n");
    options(&mut out, command);
    out
}

fn options(out: &mut String, command: Command) {
    for row in OPTIONS.iter().filter(|row| row.is_for(command)) {
        line(out, &names(row), row.line());
    }
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
    out.push_str("  ");
    out.push_str(left);
    let mut width = left.len();
    if width + 1 > LEFT {
        out.push('\n');
        out.push_str("  ");
        width = 0;
    }
    while width < LEFT {
        out.push(' ');
        width += 1;
    }
    out.push_str(right);
    out.push('\n');
}

fn capital(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line.chars();
    out.extend(rest.next().map(|c| c.to_ascii_uppercase()));
    out.push_str(rest.as_str());
    out.push('.');
    out
}

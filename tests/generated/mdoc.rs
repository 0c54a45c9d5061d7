//! Man pages in mdoc(7).

use dormouse::cli::{COMMANDS, Command, CommandRow, NONE, OPTIONS, OptionRow};
use dormouse::config::{Group, Id, Syntax};

use crate::Outcome;

/// mandoc(1) has nothing to say about a page.
pub fn lint(page: &str) -> Outcome {
    let output = std::process::Command::new("mandoc").args(["-T", "lint", "-W", "style", page]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // whether the pages that are pointed to are installed here says nothing about this one
    let faults: Vec<_> = text.lines().filter(|line| !line.contains("referenced manual not found")).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}

pub fn sockets() -> String {
    directives(Group::Sockets)
}

pub fn access() -> String {
    directives(Group::Access)
}

pub fn service() -> String {
    directives(Group::Service)
}

pub fn new() -> String {
    directives(Group::New)
}

/// The directives of a group as a tagged list.
fn directives(group: Group) -> String {
    let mut out = String::from(".Bl -tag -width 4n\n");
    for id in Id::ALL.iter().filter(|id| id.row().group == group) {
        out += &format!(".It Ic {}= Ns {}\n", id.name(), value(id.syntax()));
        out += &prose(id.help());
        if !id.default_text().is_empty() {
            out += &prose(&format!("Default: {}.", id.default_text()));
        }
    }
    out + ".El\n"
}

/// The form of a value.
fn value(syntax: Syntax) -> String {
    let name = match syntax {
        Syntax::Bool => return choice("yes no"),
        Syntax::Choice(words) if words.split(' ').count() <= 4 => return choice(words),
        Syntax::Choice(_) => "word",
        Syntax::Uint(..) | Syntax::Int(..) => "number",
        Syntax::Span(_) | Syntax::Timeout => "time",
        Syntax::Size(_) => "size",
        Syntax::Mode => "mode",
        Syntax::Listen(_) => "address",
        Syntax::Prefixes => "address[/length] ...",
        Syntax::Name | Syntax::FdName => "name",
        Syntax::Names | Syntax::Variables => "name ...",
        Syntax::Word(_) => "word",
        Syntax::Path | Syntax::Directory | Syntax::EnvironmentFile => "path",
        Syntax::Paths | Syntax::Folders => "path ...",
        Syntax::Command => "program Op Ar argument ...",
        Syntax::Assignments => "NAME=VALUE ...",
        Syntax::Unset => "NAME[=VALUE] ...",
        Syntax::Limit(_) => "soft[:hard]",
        Syntax::Signal => "signal",
        Syntax::ExitStatuses => "status ...",
        Syntax::Capabilities => "[~]CAP_NAME ...",
        Syntax::Input | Syntax::Output => "stream",
        Syntax::Tos => "type",
        Syntax::Backend => "address",
    };
    ["Ar ", name].concat()
}

fn choice(words: &str) -> String {
    ["Cm ", &words.replace(' ', " | ")].concat()
}

/// Text in sentences, each on lines of its own, none longer than mandoc likes.
fn prose(text: &str) -> String {
    let mut out = String::new();
    let mut width = 0;
    let mut ended = false;
    for word in text.split_whitespace() {
        let word = word.replace('\\', "\\e");
        let begins = ended && word.starts_with(|c: char| c.is_uppercase());
        if width > 0 && (begins || width + 1 + word.len() > 78) {
            out.push('\n');
            width = 0;
        }
        if width > 0 {
            out.push(' ');
            width += 1;
        } else if word.starts_with(['.', '\'']) {
            out.push_str("\\&");
        }
        ended = word.ends_with('.');
        width += word.len();
        out.push_str(&word);
    }
    out + "\n"
}

/// A line of the synopsis for each command.
pub fn synopsis() -> String {
    let mut out = String::new();
    for row in COMMANDS.iter().filter(|row| row.command.is_some()) {
        out += &format!(".Nm\n.Cm {}\n{}", row.word, arguments(row.synopsis()));
    }
    out
}

/// The commands as a tagged list, with what `help COMMAND` tells beside their options.
pub fn commands() -> String {
    let mut out = String::from(".Bl -tag -width 4n\n");
    for row in COMMANDS.iter().filter(|row| row.command.is_some()) {
        out += &format!(".It Cm {}\n", row.word);
        out += &prose(&sentence(row.line()));
        // A whole paragraph is not told twice.
        let twin = COMMANDS.iter().take_while(|before| before.word != row.word).last();
        let is_told = |twin: &&CommandRow| twin.details() == row.details() && row.details().lines().count() > 1;
        if let Some(twin) = twin.filter(is_told) {
            out += &format!("What holds for\n.Cm {}\nholds here, too.\n", twin.word);
            continue;
        }
        for line in row.details().lines() {
            match line.strip_prefix("  ") {
                Some(example) => out += &format!(".Dl {example}\n"),
                None => out += &prose(line),
            }
        }
    }
    out + ".El\n"
}

/// The options by command; those that take the same ones stand together.
pub fn options() -> String {
    let mut groups: Vec<(Vec<&str>, Vec<&OptionRow>)> = Vec::new();
    for (command, row) in COMMANDS.iter().filter_map(|row| Some((row.command?, row))) {
        let shown = |option: &&OptionRow| option.is_for(command) && option.commands != u32::MAX;
        let options: Vec<_> = OPTIONS.iter().filter(shown).collect();
        match groups
            .iter_mut()
            .find(|(_, others)| others.iter().map(|row| row.usage).eq(options.iter().map(|row| row.usage)))
        {
            Some((words, _)) => words.push(row.word),
            None => groups.push((vec![row.word], options)),
        }
    }
    let mut out = String::new();
    for (words, options) in groups.iter().filter(|(_, options)| !options.is_empty()) {
        let (last, first) = words.split_last().unwrap();
        let words = if first.is_empty() { (*last).to_owned() } else { format!("{} and {last}", first.join(", ")) };
        out += &format!(".Ss Options of {words}\n");
        out += &list(options.iter().copied());
    }
    out += ".Ss Options of every command\n";
    out + &list(OPTIONS.iter().filter(|option| option.is_for(Command::Version)))
}

fn list<'a>(options: impl Iterator<Item = &'a OptionRow>) -> String {
    let mut out = String::from(".Bl -tag -width 4n\n");
    for row in options {
        out += ".It ";
        if row.short != NONE {
            out += &format!("Fl {} , ", char::from(row.short));
        }
        out += &format!("Fl -{}", row.long());
        if row.argument().contains('|') {
            out += &[" Cm ", &row.argument().replace('|', " | ")].concat();
        } else if !row.argument().is_empty() {
            out += &[" Ar ", row.argument()].concat();
        }
        out.push('\n');
        out += &prose(&sentence(row.line()));
    }
    out + ".El\n"
}

/// `-l ADDR... [OPTION]... [--] PROG ARG...` in macros, a line for each part.
fn arguments(synopsis: &str) -> String {
    let mut out = String::new();
    let mut words = synopsis.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let mut part = word.to_owned();
        let is_open = part.trim_start_matches('[').starts_with('-') && !part.ends_with(']');
        let takes_value = |next: &&str| is_open && !next.starts_with(['-', '[']);
        if let Some(next) = words.next_if(takes_value) {
            part = [&part, " ", next].concat();
        }
        let (part, many) = part.strip_suffix("...").map_or((&*part, ""), |part| (part, " ..."));
        let (line, inner, end) = match part.strip_prefix('[').and_then(|part| part.strip_suffix(']')) {
            Some(inner) if many.is_empty() => (".Op ", inner, ""),
            Some(inner) => (".Oo ", inner, " Oc Ns ..."), // each of them behind its own letter
            None => (".", part, many),
        };
        let macros: Vec<_> = inner
            .split(' ')
            .map(|word| match word.strip_prefix('-') {
                Some(option) => ["Fl ", option].concat(),
                None => ["Ar ", word].concat(),
            })
            .collect();
        out += &format!("{line}{}{end}\n", macros.join(" "));
    }
    out
}

/// A line of the tables as a sentence. What begins with a list of words to type stays as it is.
fn sentence(line: &str) -> String {
    if line.split(' ').next().is_some_and(|word| word.ends_with(',')) {
        return [line, "."].concat();
    }
    let mut letters = line.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    let end = if line.ends_with("...") { "" } else { "." };
    [first.as_str(), letters.as_str(), end].concat()
}

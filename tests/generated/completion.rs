//! Completions for shells. busybox ash has none to program, so there is no file for it.

use dormouse::cli::{COMMANDS, Command, NONE, OPTIONS, OptionRow};

use crate::{Outcome, expect};

fn commands() -> impl Iterator<Item = (&'static str, Command, &'static str)> {
    COMMANDS.iter().filter_map(|row| Some((row.word, row.command?, row.line())))
}

fn options(command: Command) -> impl Iterator<Item = &'static OptionRow> {
    OPTIONS.iter().filter(move |row| row.is_for(command))
}

/// The words that an option's argument can be: of a list, or none.
fn words(row: &OptionRow) -> Option<String> {
    match row.argument() {
        "LEVEL" => Some("error warn info debug trace".to_owned()),
        list if list.contains('|') => Some(list.replace('|', " ")),
        _ => None,
    }
}

fn is_file(row: &OptionRow) -> bool {
    matches!(row.argument(), "PATH" | "FILE")
}

fn names(row: &OptionRow) -> Vec<String> {
    let mut names = vec![format!("--{}", row.long())];
    if row.short != NONE {
        names.insert(0, format!("-{}", char::from(row.short)));
    }
    names
}

/// Functions that print words: the commands, the options of a command, the words after an option.
pub fn bash() -> String {
    let list: Vec<_> = commands().map(|(word, ..)| word).collect();
    let mut out = format!("_dormouse_commands() {{ echo '{}'; }}\n", list.join(" "));
    out += "_dormouse_options() {\n    case $1 in\n";
    for (word, command, _) in commands() {
        let names: Vec<_> = options(command).flat_map(names).collect();
        out += &format!("        {word}) echo '{}' ;;\n", names.join(" "));
    }
    out += "    esac\n}\n_dormouse_values() {\n    case \"$1 $2\" in\n";
    for (word, command, _) in commands() {
        for row in options(command).filter(|row| !row.argument().is_empty()) {
            let pattern: Vec<_> = names(row).iter().map(|name| format!("'{word} {name}'")).collect();
            let what = if is_file(row) { "FILE".to_owned() } else { words(row).unwrap_or_else(|| "NONE".to_owned()) };
            out += &format!("        {}) echo '{what}' ;;\n", pattern.join(" | "));
        }
    }
    out + "    esac\n}\n"
}

/// Arrays: the commands with their lines, and for each command what `_arguments` wants.
pub fn zsh() -> String {
    let mut out = String::from("_dormouse_commands=(\n");
    for (word, _, line) in commands() {
        out += &format!("    '{word}:{line}'\n");
    }
    out += ")\ncase $words[1] in\n";
    for (word, command, _) in commands() {
        out += &format!("    {word}) _dormouse_options=(\n");
        for row in options(command) {
            let many = row.line().contains("repeatable") || row.argument() == "PATH";
            let argument = match (row.argument(), words(row)) {
                ("", _) => String::new(),
                (name, Some(words)) => format!(":{}:({words})", name.replace('|', " or ")),
                (name, None) => format!(":{name}:{}", if is_file(row) { "_files" } else { "" }),
            };
            let names = names(row);
            let star = if many { "*" } else { "" };
            let except = if many { String::new() } else { format!("({})", names.join(" ")) };
            for name in &names {
                out += &format!("        '{except}{star}{name}[{}]{argument}'\n", row.line());
            }
        }
        out += "    ) ;;\n";
    }
    out + "esac\n"
}

/// Completes a few lines in a bash.
pub fn try_bash(file: &str) -> Outcome {
    let script = r#"
        set -u
        . "$1"
        complete -p dormouse >/dev/null
        try() {
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
            _dormouse
            echo "${COMPREPLY[*]}"
        }
        try dormouse ch
        try dormouse check --pr
        try dormouse run --log k
        try dormouse --log-level i
        try dormouse -q --no
        try dormouse help ex
        try dormouse activate -l 8080 --se
    "#;
    let expected = "check\n--print\nkmsg\ninfo\n--notify-fd\nexplain\n--seqpacket --setenv\n";
    expect("bash", &["--norc", "-c", script, "bash", file], expected)
}

/// zsh reads it, and the arrays have what they should.
pub fn try_zsh(file: &str) -> Outcome {
    let script = r#"
        zsh -n "$1" || exit
        _arguments() { print -r -- "arguments $#" }
        _describe() { print -r -- "describe ${(P)#2}" }
        _dormouse() { . "$1" }
        words=(dormouse che) CURRENT=2
        _dormouse "$1"
        words=(dormouse check --print) CURRENT=3
        _dormouse "$1"
    "#;
    let described = commands().count();
    let arguments = options(Command::Check).flat_map(names).count();
    let expected = format!("describe {described}\narguments {arguments}\n");
    expect("zsh", &["-f", "-c", script, "zsh", file], &expected)
}

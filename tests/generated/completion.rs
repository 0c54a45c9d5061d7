//! Completions for shells. busybox ash has none to program, so there is no file for it.

use dormouse::cli::{COMMANDS, Command, Dialect, NONE, OPTIONS, OptionRow};

use crate::{Outcome, expect};

fn commands() -> impl Iterator<Item = (&'static str, Command, &'static str)> {
    COMMANDS.iter().filter_map(|row| Some((row.word, row.command?, row.line())))
}

fn options(command: Command) -> impl Iterator<Item = &'static OptionRow> {
    OPTIONS.iter().filter(move |row| row.is_for(command))
}

/// The words that an option's argument can be, beside a file.
fn words(row: &OptionRow) -> String {
    match (row.argument(), row.long()) {
        ("LEVEL", _) => "error warn info debug trace".to_owned(),
        (_, "dialect") => [&Dialect::NAMES[..], &["xinetd"]].concat().join(" "),
        (list, _) if list.contains('|') => list.split('|').filter(|word| *word != "PATH").collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}

fn is_file(row: &OptionRow) -> bool {
    row.argument().split('|').any(|word| word == "PATH" || word == "FILE")
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
            let what = match (is_file(row), words(row)) {
                (true, words) if words.is_empty() => "FILE".to_owned(),
                (true, words) => ["FILE ", &words].concat(),
                (false, words) if words.is_empty() => "NONE".to_owned(),
                (false, words) => words,
            };
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
            let words = words(row);
            let action = match (is_file(row), words.is_empty()) {
                (true, true) => "_files".to_owned(),
                (true, false) => format!("{{ compadd {words}; _files }}"),
                (false, true) => String::new(),
                (false, false) => format!("({words})"),
            };
            let argument = match row.argument() {
                "" => String::new(),
                name => format!(":{}:{action}", name.replace('|', " or ")),
            };
            let names = names(row);
            let star = if many { "*" } else { "" };
            let except = if many { String::new() } else { format!("({})", names.join(" ")) };
            for name in &names {
                // the value may follow as a word, after "=", or directly behind the letter
                let joined = match (row.argument(), name.starts_with("--")) {
                    ("", _) => "",
                    (_, true) => "=",
                    (_, false) => "+",
                };
                out += &format!("        '{except}{star}{name}{joined}[{}]{argument}'\n", row.line());
            }
        }
        out += "    ) ;;\n";
    }
    out + "esac\n"
}

/// Completes a few lines in a bash, beside a dormouse that knows two services.
pub fn try_bash(file: &str) -> Outcome {
    let script = r#"
        set -u
        . "$1"
        complete -p dormouse >/dev/null
        dormouse() {
            case $* in
                'list --control x') printf 'NAME STATE\nssh  waiting\n     and\nweb  waiting\n' ;;
                'check --print -c y') printf '[mail]\nListenStream=25\n' ;;
            esac
        }
        try() {
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
            _dormouse
            echo "${COMPREPLY[*]}"
        }
        try dormouse ch
        try dormouse check --pr
        try dormouse run --log k
        try dormouse run --log = k
        try dormouse --log-level i
        try dormouse -q --no
        try dormouse run ch
        try dormouse run --dialect bu
        try dormouse run --control o
        try dormouse run --control configs/comp
        try dormouse check --config = configs/comp
        try dormouse convert configs/comp
        try dormouse help ex
        try dormouse help list ex
        try dormouse activate -l 8080 --se
        try dormouse activate -l 8080 cat configs/comp
        try dormouse explain -c y ''
        try dormouse stop --control x ''
        try dormouse status --control = x ssh w
        try dormouse watch --control x ssh w
    "#;
    let expected = "check\n--print\nkmsg\nkmsg\ninfo\n--notify-fd\n\nbusybox\noff\nconfigs/completion\n\
                    configs/completion\nconfigs/completion\nexplain\n\n--seqpacket --setenv\n\
                    configs/completion\nmail\nssh web\nweb\n\n";
    expect("bash", &["--norc", "-c", script, "bash", file], expected)
}

/// zsh reads it, the arrays have what they should, and services are known by name. That its own functions take the
/// arrays is for a zsh with a terminal to say.
pub fn try_zsh(file: &str) -> Outcome {
    let script = r#"
        zsh -n "$1" || exit
        dormouse() {
            case $* in
                'list --control=x') printf 'NAME STATE\nssh  waiting\n     and\nweb  waiting\n' ;;
                'check --print -c y') printf '[mail]\nListenStream=25\n' ;;
            esac
        }
        compadd() { print -r -- "add ${(P)2}" }
        _arguments() {
            print -r -- "arguments $# ${@[-1]}"
            [[ ${@[-1]} != *:_dormouse_services ]] || _dormouse_services
        }
        _describe() { print -r -- "describe ${(P)#2}" }
        _dormouse() { . "$1" }
        try() {
            words=("$@") CURRENT=$#
            _dormouse "$file"
        }
        file=$1
        try dormouse che
        try dormouse check --print
        try dormouse convert ''
        try dormouse explain -c y ''
        try dormouse stop --control=x ''
    "#;
    let described = commands().count();
    let arguments = |command, more: usize| options(command).flat_map(names).count() + more;
    let expected = format!(
        "describe {described}\narguments {} (-V --version)--version[print the version and the parts of this build]\n\
         arguments {} *:file:_files\narguments {} 1:service:_dormouse_services\nadd mail\n\
         arguments {} *:service:_dormouse_services\nadd ssh web\n",
        arguments(Command::Check, 0),
        arguments(Command::Convert, 1),
        arguments(Command::Explain, 1),
        arguments(Command::Stop, 1),
    );
    expect("zsh", &["-f", "-c", script, "zsh", file], &expected)
}

//! Tables of the README.

use dormouse::config::{Group, Id};

/// Names of the directives, by group.
pub fn directives() -> String {
    let names = |group| -> String {
        let ids = Id::ALL.iter().filter(|id| id.row().group == group);
        ids.map(|id| id.name()).collect::<Vec<_>>().join(", ")
    };
    let rows = [
        ("Sockets", names(Group::Sockets)),
        ("Access", names(Group::Access)),
        ("Program", names(Group::Service)),
        ("New here", names(Group::New)),
    ];
    rows.iter().map(|(title, names)| format!("- *{title}*: {names}\n")).collect()
}

/// The capacities that can be set at build time, out of the source: name, what is built in, and the text above it.
pub fn capacities() -> String {
    let source = std::fs::read_to_string("src/limits.rs").unwrap();
    let mut out = String::from("| At build time | Built in | What it counts |\n|---|---:|---|\n");
    let mut text = String::new();
    for line in source.lines() {
        if let Some(comment) = line.strip_prefix("/// ") {
            text += &[if text.is_empty() { "" } else { " " }, comment].concat();
            continue;
        }
        if let Some((name, rest)) = line.split_once("option_env!(\"").and_then(|(_, rest)| rest.split_once("\"), ")) {
            let value = number(rest.trim_end_matches(");"));
            out += &format!("| `{name}` | {value} | {text} |\n");
        }
        text.clear();
    }
    out
}

/// `512` or `1 << 20`.
fn number(expression: &str) -> usize {
    match expression.split_once(" << ") {
        Some((number, shift)) => number.parse::<usize>().unwrap() << shift.parse::<u32>().unwrap(),
        None => expression.replace('_', "").parse().unwrap(),
    }
}

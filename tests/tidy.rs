//! The rules of the house, checked: a rule that nobody checks is a wish.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The stations in their order: each uses only those before it.
const LAYERS: &[&str] = &[
    "limits", "text", "sys", "seal", "packed", "peer", "logging", "cli", "config", "plan", "open", "spawn", "notify",
    "detach", "control", "handover", "run", "commands",
];
/// Lines of a source file, and of a function.
const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;
/// What may lie at the top beside dotfiles, licences and what cargo makes.
const TOP_LEVEL: &[&str] = &["Cargo.toml", "src", "configs", "cross", "tests", "README.md", "Cargo.lock", "target"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder` with one of the `endings`, as paths from the root with their text.
fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "__pycache__" {
                    folders.push(path);
                }
            } else if endings.is_empty() || endings.iter().any(|ending| name.ends_with(ending)) {
                let short = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((short, String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()));
            }
        }
    }
    found.sort();
    found
}

fn assert_none(rule: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{rule}:\n{}", faults.join("\n"));
}

/// A line without its comment. Good enough for code that rustfmt has seen; a `//` in a string only hides its rest.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or("")
}

/// Does `text` contain `word` as a whole word?
fn has_word(text: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(part_of_word) && !text[at + word.len()..].starts_with(part_of_word))
}

#[test]
fn files_are_short() {
    let sources = files("src", &[".rs"]).into_iter().chain(files("tests", &[".rs"]));
    let long = sources.map(|(path, text)| (path, text.lines().count())).filter(|(_, lines)| *lines >= FILE_LINES);
    assert_none(
        "files of 500 lines and more",
        &long.map(|(path, lines)| format!("{path}: {lines}")).collect::<Vec<_>>(),
    );
}

/// rustfmt sees to all but comments.
#[test]
fn comments_are_no_wider_than_code() {
    let mut wide = Vec::new();
    for (path, text) in files("src", &[".rs"]).into_iter().chain(files("tests", &[".rs"])) {
        let is_wide = |line: &str| line.trim_start().starts_with("//") && line.chars().count() > 120;
        let lines = (1..).zip(text.lines()).filter(|(_, line)| is_wide(line) && !line.contains(" | "));
        wide.extend(lines.map(|(number, _)| format!("{path}:{number}")));
    }
    assert_none("comments of more than 120 characters", &wide);
}

/// A function ends at the closing brace in its own column: rustfmt sees to that.
#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for (path, text) in files("src", &[".rs"]).into_iter().chain(files("tests", &[".rs"])) {
        let lines: Vec<&str> = text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let bare = line.trim_start();
            let is_function = has_word(code(line), "fn") && !bare.starts_with("//") && line.contains('(');
            if !is_function || code(line).trim_end().ends_with([';', ',', '}']) {
                continue;
            }
            let end = format!("{}}}", " ".repeat(line.len() - bare.len()));
            let length = lines[start..].iter().position(|line| *line == end).map_or(0, |length| length + 1);
            if length > FUNCTION_LINES {
                long.push(format!("{path}:{}: {length} lines", start + 1));
            }
        }
    }
    assert_none("functions of more than 70 lines", &long);
}

#[test]
fn unsafe_code_lives_behind_two_doors() {
    let mut found = Vec::new();
    for (path, text) in files("src", &[".rs"]) {
        if path.starts_with("src/sys/") || path == "src/main.rs" || path == "src/seal.rs" {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            let line = code(line);
            if has_word(line, "unsafe") || line.contains("allow(unsafe_code)") {
                found.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    assert_none("unsafe outside src/sys, src/seal.rs and the entry point", &found);
}

#[test]
fn every_unsafe_block_tells_why_it_is_sound() {
    let mut found = Vec::new();
    for (path, text) in files("src", &[".rs"]) {
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let block = code(line).contains("unsafe {") || code(line).trim_start().starts_with("unsafe impl");
            let above = &lines[index.saturating_sub(8)..=index];
            if block && !above.iter().any(|line| line.contains("SAFETY")) {
                found.push(format!("{path}:{}", index + 1));
            }
        }
    }
    assert_none("unsafe without a SAFETY comment", &found);
}

/// The modules that a file names by `crate::`, in its code (not in comments).
fn uses(text: &str) -> BTreeSet<String> {
    let text: String = text.lines().map(code).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    for (at, path) in text.match_indices("crate::") {
        let rest = &text[at + path.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            // `use crate::{a::b, c}`: the first word of each part of the outer list.
            let mut depth = 0;
            let mut start = true;
            for (at, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    c if start && c.is_alphanumeric() => {
                        found.insert(word(&group[at..]));
                        start = false;
                    }
                    _ => {}
                }
            }
        } else {
            found.insert(word(rest));
        }
    }
    found
}

#[test]
fn modules_use_only_what_stands_before_them() {
    let rank = |name: &str| LAYERS.iter().position(|layer| *layer == name);
    let mut found = Vec::new();
    for (path, text) in files("src", &[".rs"]) {
        let name = path.trim_start_matches("src/").split(['/', '.']).next().unwrap();
        if matches!(name, "lib" | "main") {
            continue;
        }
        let Some(own) = rank(name) else {
            found.push(format!("{path}: the module {name} has no place in LAYERS"));
            continue;
        };
        for used in uses(&text).iter().filter(|used| *used != name) {
            match rank(used) {
                Some(other) if other < own => {}
                Some(_) => found.push(format!("{path}: {name} uses {used}, which stands behind it")),
                None if used.chars().next().is_some_and(char::is_lowercase) => {
                    found.push(format!("{path}: {used} has no place in LAYERS"));
                }
                None => {}
            }
        }
    }
    assert_none("the way of the data is one straight line", &found);
}

#[test]
fn the_crate_head_lists_the_modules_that_exist() {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let modules = text.lines().filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';'));
    let missing: Vec<String> = modules
        .filter(|name| !LAYERS.contains(name))
        .map(|name| format!("src/lib.rs: the module {name} has no place in LAYERS"))
        .collect();
    assert_none("modules without a place", &missing);
}

#[test]
fn the_top_level_is_small() {
    let mut strange = Vec::new();
    for entry in fs::read_dir(root()).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !TOP_LEVEL.contains(&name.as_str()) && !name.starts_with('.') && !name.starts_with("LICENSE") {
            strange.push(name);
        }
    }
    assert_none("files that have another place", &strange);
    for name in ["Cargo.toml", "src", "configs", "cross", "tests", "README.md"] {
        assert!(root().join(name).exists(), "{name} is missing");
    }
}

#[test]
fn nothing_is_left_to_do() {
    let mut found = Vec::new();
    let words = ["TO\u{44}O", "FI\u{58}ME", "X\u{58}X"];
    let texts = ["src", "tests", "configs", "cross"].iter().flat_map(|folder| files(folder, &[]));
    let readme = fs::read_to_string(root().join("README.md")).map(|text| ("README.md".to_string(), text));
    for (path, text) in texts.chain(readme) {
        for (number, line) in (1..).zip(text.lines()) {
            if words.iter().any(|word| has_word(line, word)) {
                found.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    assert_none("left for later", &found);
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("README.md")
}

/// Every `dormouse WORD` in the README is a command of the program.
#[test]
fn commands_in_the_readme_exist() {
    let words = dormouse::cli::COMMANDS.map(|row| row.word);
    let mut unknown = Vec::new();
    for (at, start) in readme().match_indices("`dormouse ") {
        let rest = readme()[at + start.len()..].to_string();
        let word: String = rest.chars().take_while(char::is_ascii_lowercase).collect();
        if !word.is_empty() && !words.contains(&word.as_str()) {
            unknown.push(format!("dormouse {word}"));
        }
    }
    assert_none("the README names commands that the program does not have", &unknown);
}

/// `--version` names the parts of a build: a feature of Cargo.toml that it does not know has no row in `cli::PARTS`.
#[test]
fn parts_are_the_features() {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let all = text.split_once("\nall = [").and_then(|(_, rest)| rest.split_once(']')).unwrap().0;
    let features: Vec<&str> = all.split('"').skip(1).step_by(2).collect();
    assert_eq!(features, dormouse::cli::PARTS.map(|(name, _)| name));
}

/// Every relative link and every `path/` in the README leads somewhere.
#[test]
fn paths_in_the_readme_exist() {
    let text = readme();
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let relative = links.filter(|link| !link.contains("://") && !link.starts_with('#'));
    let quoted = text.split('`').skip(1).step_by(2).filter(|word| {
        ["src/", "tests/", "configs/", "cross/"].iter().any(|folder| word.starts_with(folder))
            && !word.contains([' ', '*', '<'])
    });
    let missing: Vec<String> = relative
        .chain(quoted)
        .map(|path| path.split('#').next().unwrap_or(path))
        .filter(|path| !Path::new(&root()).join(path).exists())
        .map(String::from)
        .collect();
    assert_none("the README points to what is not there", &missing);
}

/// The tables begin as all zero, so that they lie in .bss: one row that does not would put them all into .data, into
/// the flash and into RAM.
#[cfg(all(target_pointer_width = "64", target_endian = "little"))]
#[test]
fn the_tables_take_no_flash() {
    let elf = fs::read(env!("CARGO_BIN_EXE_dormouse")).unwrap();
    let number = |at: usize, bytes: usize| {
        elf[at..at + bytes].iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte))
    };
    // elf(5): e_shoff, e_shentsize, e_shnum, e_shstrndx; sh_name, sh_offset, sh_size
    let section = |index: usize| number(0x28, 8) + index * number(0x3a, 2);
    let names = number(section(number(0x3e, 2)) + 0x18, 8);
    let is_data = |header: &usize| elf[names + number(*header, 4)..].starts_with(b".data\0");
    let data = (0..number(0x3c, 2)).map(section).find(is_data).expect("a section .data");
    assert!(number(data + 0x20, 8) < 32 * 1024, "{} bytes of .data", number(data + 0x20, 8));
}

//! The environment of a child as far as it is known at load: systemd.exec(5), "Environment Variables in Spawned
//! Processes". What differs from start to start is added by the spawner.

use std::cell::Cell;
use std::path::Path;

use rustix::io::Errno;

use super::work::Work;
use crate::config::{self, Code, Id, ServiceDraft};
use crate::limits::CONFIG_FILE_BYTES;
use crate::sys::errno::Why;
use crate::sys::users::User;
use crate::sys::{self, file};
use crate::text::{join, split_last};

/// What programs get of ours where we are an ordinary user's (the same place).
const OF_USER: [&str; 5] = ["HOME", "LOGNAME", "SHELL", "USER", "XDG_RUNTIME_DIR"];

/// Variables as `NAME=VALUE` in the order in which they were first set; a later value takes the place of an earlier
/// one.
#[derive(Default)]
pub(super) struct Environment(pub(super) Vec<String>);

impl Environment {
    /// The value of a variable.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|known| known.strip_prefix(name)?.strip_prefix('='))
    }

    fn set(&mut self, name: &str, value: &str) {
        self.assign(&[name, "=", value].concat());
    }

    /// RUNTIME_DIRECTORY and its kin.
    fn folders(&mut self, draft: &ServiceDraft) {
        for (id, _, base, name) in super::privileges::FOLDERS {
            let folders = draft.list(id);
            if !folders.is_empty() {
                let base = sys::environment::folder(base);
                let paths: Vec<_> = folders.iter().map(|folder| [&base, "/", folder].concat()).collect();
                self.set(name, &join(&paths, ":"));
            }
        }
    }

    /// Passes on what we have ourselves.
    fn pass(&mut self, name: &str) {
        if let Some(value) = sys::environment::text(name) {
            self.set(name, value);
        }
    }

    fn assign(&mut self, assignment: &str) {
        match self.0.iter_mut().find(|known| name(known) == name(assignment)) {
            Some(old) => assignment.clone_into(old),
            None => self.0.push(assignment.to_owned()),
        }
    }

    /// Takes out a variable, or an assignment.
    fn unset(&mut self, what: &str) {
        self.0.retain(|known| known != what && name(known) != what);
    }
}

/// The name in an assignment.
fn name(assignment: &str) -> &str {
    assignment.split('=').next().unwrap_or_default()
}

/// Puts the environment of a service together; each source overrides those before it. With it come the files of
/// EnvironmentFile= that are missing and must not be.
pub(super) fn compose<'a>(work: &mut Work<'a>, user: Option<&User>) -> (Environment, Vec<&'a str>) {
    let draft = work.draft;
    let mut missing = Vec::new();
    let mut environment = Environment::default();
    environment.set("PATH", config::PROGRAM_PATH);
    if !work.context.keep_streams && !rustix::process::geteuid().is_root() {
        OF_USER.iter().for_each(|name| environment.pass(name));
    }
    if let Some(user) = user {
        for (name, value) in [("HOME", &user.home), ("LOGNAME", &user.name), ("USER", &user.name)] {
            environment.set(name, value);
        }
        environment.set("SHELL", &user.shell);
    }
    if cfg!(feature = "exec") {
        environment.folders(draft);
    }
    draft.list(Id::PassEnvironment).iter().for_each(|name| environment.pass(name));
    for assignment in draft.list(Id::Environment) {
        environment.assign(assignment);
    }
    for file in draft.list(Id::EnvironmentFile).iter().filter(|_| cfg!(feature = "exec")) {
        missing.extend(read_files(work, file, &mut environment));
    }
    for what in draft.list(Id::UnsetEnvironment) {
        if config::is_per_start(name(what)) {
            work.fault(Code::OwnVariable, Id::UnsetEnvironment, &[name(what)]);
        }
        environment.unset(what);
    }
    // those of the hand-over protocol are ours to set: a second value would make a reader take the wrong one
    for known in environment.0.iter().filter(|known| known.starts_with("LISTEN_")) {
        work.fault(Code::OwnVariable, Id::Environment, &[name(known)]);
    }
    (environment, missing)
}

/// Reads the file, or the files, that a line names. Gives the path if it is missing and must not be.
fn read_files<'a>(work: &mut Work<'_>, line: &'a str, environment: &mut Environment) -> Option<&'a str> {
    let (optional, path) = config::optional(line);
    let Some(paths) = files(path) else {
        if optional {
            return None;
        }
        work.fault(Code::VariablesMissing, Id::EnvironmentFile, &[path]);
        return Some(path);
    };
    for path in &paths {
        let bytes = file::read(Path::new(path), CONFIG_FILE_BYTES);
        let text = match bytes.and_then(|bytes| String::from_utf8(bytes).map_err(|_| Errno::ILSEQ)) {
            Ok(text) => text,
            Err(_) if optional => continue,
            Err(why) => {
                work.fault(Code::VariablesFile, Id::EnvironmentFile, &[path, &Why(why).to_string()]);
                continue;
            }
        };
        let mut told = false;
        for entry in parse(&text) {
            match entry {
                Ok((name, value)) => environment.set(&name, &value),
                Err(_) if told => {}
                Err(line) => {
                    told = true;
                    work.fault(Code::VariablesLine, Id::EnvironmentFile, &[&line.to_string(), path]);
                }
            }
        }
    }
    None
}

/// The files that a path means, whose last part may have `*` or `?` in it, in the order of their names; None: it is
/// missing.
fn files(path: &str) -> Option<Vec<String>> {
    let Some((folder, pattern)) = split_last(path, b'/').filter(|(_, name)| name.contains(['*', '?'])) else {
        return file::kind(Path::new(path)).map(|_| vec![path.to_owned()]);
    };
    let fits = |path: &Path| {
        let name = file::name(path).to_str();
        name.is_some_and(|name| (pattern.starts_with('.') || !name.starts_with('.')) && fits(pattern, name))
    };
    let paths = file::sorted(Path::new(if folder.is_empty() { "/" } else { folder }), &fits).unwrap_or_default();
    let paths = paths.into_iter().filter_map(|path| path.into_os_string().into_string().ok()).collect::<Vec<_>>();
    Some(paths).filter(|paths| !paths.is_empty())
}

/// Whether a name fits a pattern with `*` and `?`, glob(7).
fn fits(pattern: &str, name: &str) -> bool {
    let (Some(first), mut name_left) = (pattern.chars().next(), name.chars()) else { return name.is_empty() };
    let rest = &pattern[first.len_utf8()..];
    match first {
        '*' => name.char_indices().any(|(at, _)| fits(rest, &name[at..])) || fits(rest, ""),
        _ => name_left.next().is_some_and(|c| first == '?' || first == c) && fits(rest, name_left.as_str()),
    }
}

/// Reads the lines of an environment file as systemd does (systemd.exec(5), EnvironmentFile=): comments with `#` or
/// `;`, quotes at the beginning of a value, a backslash joins lines. What is not an assignment yields its line number.
fn parse(text: &str) -> Vec<Result<(String, String), usize>> {
    let mut entries = Vec::new();
    let line = Cell::new(1);
    let mut rest = text.chars().inspect(|c| line.set(line.get() + usize::from(*c == '\n')));
    while let Some(first) = rest.find(|c| !ends(*c) && !is_blank(*c)) {
        if matches!(first, '#' | ';') {
            while let Some(c) = rest.next().filter(|c| !ends(*c)) {
                // a comment goes on behind one, too
                let _ = if c == '\\' { rest.next() } else { None };
            }
            continue;
        }
        let start = line.get();
        let mut name = String::from(first);
        let mut next = rest.next();
        while let Some(c) = next.filter(|c| *c != '=' && !ends(*c)) {
            name.push(c);
            next = rest.next();
        }
        name.truncate(name.trim_ascii_end().len());
        let value = if next == Some('=') { Some(value(&mut rest)) } else { None };
        let good = |value: &String| config::is_variable(&name) && !value.contains('\0');
        entries.push(value.filter(good).map(|value| (name, value)).ok_or(start));
    }
    entries
}

/// What stands behind the `=`, up to the end of its line.
fn value(rest: &mut dyn Iterator<Item = char>) -> String {
    // blanks after `kept` are not part of the value; quotes mean something before its text only
    let (mut value, mut kept, mut before) = (String::new(), 0, true);
    while let Some(c) = rest.next().filter(|c| !ends(*c)) {
        match c {
            '\\' => {
                // at the end of the file as well it is the end of the text
                value.extend(rest.next().filter(|c| !ends(*c)));
                before = false;
            }
            '\'' if before => value.extend(rest.take_while(|c| *c != '\'')),
            '"' if before => {
                while let Some(c) = rest.next().filter(|c| *c != '"') {
                    match if c == '\\' { rest.next() } else { None } {
                        None if c == '\\' => {}
                        None => value.push(c),
                        Some('\n') => {}
                        Some(c @ ('"' | '\\' | '`' | '$')) => value.push(c),
                        Some(c) => value.extend(['\\', c]),
                    }
                }
            }
            c if is_blank(c) && before => {}
            c => {
                value.push(c);
                before = false;
                if is_blank(c) {
                    continue;
                }
            }
        }
        kept = value.len();
    }
    value.truncate(kept);
    value
}

const fn ends(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

#[cfg(test)]
mod tests {
    use super::super::testing::{CONTEXT, with_tables};
    use super::*;

    fn read(text: &str) -> Vec<Result<(String, String), usize>> {
        parse(text)
    }

    fn pair(name: &str, value: &str) -> Result<(String, String), usize> {
        Ok((name.to_owned(), value.to_owned()))
    }

    #[test]
    fn an_environment_file_is_read_as_a_shell_would() {
        let text = "# comment\nA=1\n\n; other\nB = two words  \nC='a \"b\" \\x'\nD=\"q\\\"uo\\$te\"\nE=a\\\nb\nF=\n";
        assert_eq!(
            read(text),
            [
                pair("A", "1"),
                pair("B", "two words"),
                pair("C", "a \"b\" \\x"),
                pair("D", "q\"uo$te"),
                pair("E", "ab"),
                pair("F", "")
            ]
        );
    }

    #[test]
    fn quotes_within_a_value_stay_as_under_systemd() {
        assert_eq!(
            read("A=--name=\"a b\" x\r\nB=\"a\" 'b'c\"d\nC=\\\"x\\ \nD='it\nis'\nE=\"x\\\ny\\z\"\nF=\"open"),
            [
                pair("A", "--name=\"a b\" x"),
                pair("B", "abc\"d"),
                pair("C", "\"x "),
                pair("D", "it\nis"),
                pair("E", "xy\\z"),
                pair("F", "open")
            ]
        );
    }

    #[test]
    fn a_comment_is_one_line_whatever_is_in_it() {
        assert_eq!(read("# don't set A=it's\nA=1\n; B=\"x\nC=2"), [pair("A", "1"), pair("C", "2")]);
        assert_eq!(read("# goes on \\\nA=1\nB=2\n"), [pair("B", "2")]);
    }

    #[test]
    fn a_backslash_at_the_end_keeps_the_blanks_before_it() {
        for (text, value) in [("A=b ", "b"), ("A=b \\\n", "b "), ("A=b \\", "b "), ("A= \\", ""), ("A='b' \\", "b")] {
            assert_eq!(read(text), [pair("A", value)], "{text:?}");
        }
    }

    #[test]
    fn what_is_not_an_assignment_is_named_by_its_line() {
        assert_eq!(read("A=1\nexport B=2\nC\n\n=x\nD"), [pair("A", "1"), Err(2), Err(3), Err(5), Err(6)]);
    }

    #[test]
    fn names_fit_patterns() {
        for (pattern, name) in [("*", ""), ("*.env", "a.env"), ("a?c*", "abc"), ("*b*d*", "abcd"), ("a", "a")] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("", "a"), ("?", ""), ("*.env", "a.envx"), ("a*b", "a"), ("a", "ab")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn each_source_overrides_the_one_before() {
        let mut draft = ServiceDraft::new("x");
        for (directive, text) in
            [("Environment", "A=1 B=2 PATH=/bin"), ("UnsetEnvironment", "B=3 A"), ("Environment", "A=9")]
        {
            draft.assign(directive, text, draft.place).unwrap();
        }
        with_tables(|plan| {
            let mut work = Work::new(&draft, plan, &CONTEXT);
            let (environment, _) = compose(&mut work, None);
            assert_eq!(environment.get("PATH"), Some("/bin"));
            assert_eq!((environment.get("A"), environment.get("B")), (None, Some("2")));
            assert!(work.faults.is_empty());
            draft.assign("Environment", "LISTEN_FDS=3", draft.place).unwrap();
            let mut work = Work::new(&draft, plan, &CONTEXT);
            compose(&mut work, None);
            assert_eq!(work.faults.len(), 1);
        });
    }
}

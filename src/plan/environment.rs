//! The environment of a child as far as it is known at load: systemd.exec(5), "Environment Variables in Spawned
//! Processes". What differs from start to start is added by the spawner.

use std::path::Path;

use rustix::io::Errno;

use crate::config::{self, Code, Fault, Id, ServiceDraft, tell};
use crate::limits::CONFIG_FILE_BYTES;
use crate::sys::errno::Why;
use crate::sys::users::User;
use crate::sys::{self, file};

/// The PATH of a child that is given none (systemd.exec(5), DefaultEnvironment).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables in the order in which they were first set; a later value takes the place of an earlier one.
#[derive(Default)]
pub(super) struct Environment(Vec<(String, String)>);

impl Environment {
    /// The value of a variable.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Number of variables.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// As `NAME=VALUE`, each with its NUL.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in &self.0 {
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(b'=');
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        }
        bytes
    }

    fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    fn assign(&mut self, assignment: &str) {
        if let Some((name, value)) = assignment.split_once('=') {
            self.set(name, value);
        }
    }

    fn unset(&mut self, what: &str) {
        match what.split_once('=') {
            Some((name, value)) => self.0.retain(|known| (known.0.as_str(), known.1.as_str()) != (name, value)),
            None => self.0.retain(|(known, _)| known != what),
        }
    }
}

/// Puts the environment of a service together; each source overrides those before it.
pub(super) fn compose(draft: &ServiceDraft, user: Option<&User>, faults: &mut Vec<Fault>) -> Environment {
    let mut environment = Environment::default();
    environment.set("PATH", PATH);
    if let Some(user) = user {
        for (name, value) in [("HOME", &user.home), ("LOGNAME", &user.name), ("USER", &user.name)] {
            environment.set(name, value);
        }
        environment.set("SHELL", &user.shell);
    }
    for (id, _, base, name) in super::privileges::FOLDERS {
        let paths: Vec<_> = draft.list(id).iter().map(|folder| [base, "/", folder].concat()).collect();
        if !paths.is_empty() {
            environment.set(name, &paths.join(":"));
        }
    }
    for name in draft.list(Id::PassEnvironment) {
        if let Some(value) = sys::environment::text(name) {
            environment.set(name, value);
        }
    }
    for assignment in draft.list(Id::Environment) {
        environment.assign(assignment);
    }
    for file in draft.list(Id::EnvironmentFile) {
        read_file(draft, file, &mut environment, faults);
    }
    for what in draft.list(Id::UnsetEnvironment) {
        let name = what.split('=').next().unwrap_or(what);
        if config::is_per_start(name) {
            tell(faults, Code::OwnVariable, draft.place(Id::UnsetEnvironment), &[name]);
        }
        environment.unset(what);
    }
    refuse_own(draft, &environment, faults);
    environment
}

/// The variables of the hand-over protocol are ours to set: a second value would make a reader take the wrong one.
fn refuse_own(draft: &ServiceDraft, environment: &Environment, faults: &mut Vec<Fault>) {
    for (name, _) in environment.0.iter().filter(|(name, _)| name.starts_with("LISTEN_")) {
        tell(faults, Code::OwnVariable, draft.place(Id::Environment), &[name]);
    }
}

fn read_file(draft: &ServiceDraft, file: &str, environment: &mut Environment, faults: &mut Vec<Fault>) {
    let (optional, path) = file.strip_prefix('-').map_or((false, file), |path| (true, path));
    let place = draft.place(Id::EnvironmentFile);
    let bytes = file::read(Path::new(path), CONFIG_FILE_BYTES);
    match bytes.and_then(|bytes| String::from_utf8(bytes).map_err(|_| Errno::ILSEQ)) {
        Ok(text) => {
            for entry in parse(&text) {
                match entry {
                    Ok((name, value)) => environment.set(&name, &value),
                    Err(line) => tell(faults, Code::VariablesLine, place, &[&line.to_string(), path]),
                }
            }
        }
        Err(Errno::NOENT) if optional => {}
        Err(why) => tell(faults, Code::VariablesFile, place, &[path, &Why(why).to_string()]),
    }
}

/// Reads the lines of an environment file (systemd.exec(5), EnvironmentFile=): comments with `#` or `;`, quotes as in
/// a shell, a backslash joins lines. What is not an assignment yields its line number.
fn parse(text: &str) -> Vec<Result<(String, String), usize>> {
    let mut entries = Vec::new();
    let mut characters = text.chars().peekable();
    let mut line = 1;
    while characters.peek().is_some() {
        let first = line;
        let mut name = String::new();
        let mut assigned = false;
        while let Some(character) = characters.next_if(|&character| character != '\n') {
            if character == '=' {
                assigned = true;
                break;
            }
            name.push(character);
        }
        let value = if assigned { value(&mut characters, &mut line) } else { String::new() };
        if characters.next_if_eq(&'\n').is_some() {
            line += 1;
        }
        let name = name.trim();
        if name.is_empty() && !assigned || name.starts_with(['#', ';']) {
            continue;
        }
        let good = !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty();
        let good = good && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        entries.push(if assigned && good && !value.contains('\0') { Ok((name.to_owned(), value)) } else { Err(first) });
    }
    entries
}

/// The value up to the end of its line, or further where quotes or a backslash say so.
fn value(characters: &mut core::iter::Peekable<core::str::Chars<'_>>, line: &mut usize) -> String {
    let mut value = String::new();
    let mut quote = None;
    let mut kept = 0; // blanks after this are not part of the value
    while let Some(&character) = characters.peek() {
        if quote.is_none() && character == '\n' {
            break;
        }
        characters.next();
        *line += usize::from(character == '\n');
        match (quote, character) {
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None | Some('"'), '\\') => match characters.next() {
                Some('\n') => *line += 1,
                Some(escaped) if quote.is_none() || matches!(escaped, '"' | '\\' | '`' | '$') => value.push(escaped),
                Some(other) => value.extend(['\\', other]),
                None => {}
            },
            (None, blank) if blank.is_ascii_whitespace() => {
                if !value.is_empty() {
                    value.push(blank);
                }
                continue;
            }
            (_, other) => value.push(other),
        }
        kept = value.len();
    }
    value.truncate(kept);
    value
}

#[cfg(test)]
mod tests {
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
    fn what_is_not_an_assignment_is_named_by_its_line() {
        assert_eq!(read("A=1\nexport B=2\nC\n"), [pair("A", "1"), Err(2), Err(3)]);
    }

    #[test]
    fn each_source_overrides_the_one_before() {
        let mut draft = ServiceDraft::new("x");
        for (directive, text) in
            [("Environment", "A=1 B=2 PATH=/bin"), ("UnsetEnvironment", "B=3 A"), ("Environment", "A=9")]
        {
            draft.assign(directive, text, draft.place).unwrap();
        }
        let mut faults = Vec::new();
        let environment = compose(&draft, None, &mut faults);
        assert_eq!(environment.get("PATH"), Some("/bin"));
        assert_eq!((environment.get("A"), environment.get("B")), (None, Some("2")));
        assert!(faults.is_empty());
        draft.assign("Environment", "LISTEN_FDS=3", draft.place).unwrap();
        compose(&draft, None, &mut faults);
        assert_eq!(faults.len(), 1);
    }
}

//! ExecStart=: a command line in the syntax of systemd.service(5), and what systemd does with its variables.
//!
//! The words are kept as written; [`expand`] puts the environment in when the plan station knows it, once, at load.
//! A variable that is different for each connection can't be put in there, and using one is an error that says so.

use super::message::Code;
use super::problem::{Parsed, Problem, fail};
use super::value::is_variable;
use super::words;

/// Where a bare program name is looked up, in this order, and the PATH of a child that is given none; as systemd has
/// both.
pub const PROGRAM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Command {
    /// An absolute path, or a name without slash for [`find_program`].
    pub program: String,
    /// argv, with argv\[0\] first. May hold `$NAME` unless `literal` is set, see [`expand`].
    pub arguments: Vec<String>,
    /// `-` in front: a failed run counts as a clean one.
    pub ignore_failure: bool,
    /// `@` in front: argv\[0\] is given apart from the program.
    pub named: bool,
    /// `:` in front: `$` has no meaning in the words.
    pub literal: bool,
}

impl Command {
    /// Whether any word asks for the name of the connection.
    pub fn has_instance(&self) -> bool {
        self.arguments.iter().any(|word| words::instances(word) > 0)
    }
}

/// Variables that differ from connection to connection or from start to start.
const PER_START: &str = "\
    REMOTE_ADDR REMOTE_PORT REMOTE_HOST LISTEN_FDS LISTEN_PID LISTEN_FDNAMES LISTEN_PIDFDID PROTO TCPLOCALIP \
    TCPLOCALPORT TCPREMOTEIP TCPREMOTEPORT TCPCONNNUM IPCREMOTEEUID IPCREMOTEEGID IPCREMOTEPATH \
    IPCCONNNUM MAINPID";

/// Reads a command line. `notes` gets the warning about a word that is meant for a shell.
pub(super) fn parse(text: &str, notes: &mut Vec<Problem>) -> Parsed<Command> {
    let mut command = Command::default();
    let mut rest = text;
    loop {
        let mark = rest.chars().next();
        match mark {
            Some('-') => command.ignore_failure = true,
            Some('@') => command.named = true,
            Some(':') => command.literal = true,
            Some('+') => return refuse_mark(text, rest, "+"),
            Some('!') => return refuse_mark(text, rest, if rest.starts_with("!!") { "!!" } else { "!" }),
            _ => break,
        }
        rest = &rest[1..];
    }
    let skipped = text.len() - rest.len();
    let moved = |problem: Box<Problem>| problem.moved(skipped);
    let words = words::split_command(rest).map_err(moved)?;
    let Some(program) = words.first() else { return fail(Problem::about(Code::NoProgram, text)) };
    let at = program.at.start + skipped..program.at.end + skipped;
    command.program.clone_from(&program.text);
    if program.text.contains('$') && !command.literal {
        return fail(Problem::new(Code::ProgramVariable, at, &[&program.text]));
    }
    if words::instances(&program.text) > 0
        || program.text.is_empty()
        || program.text.ends_with('/')
        || is_relative(&program.text)
    {
        return fail(Problem::new(Code::BadProgram, at.clone(), &[&text[at]]));
    }
    if command.named && words.len() < 2 {
        return fail(Problem::new(Code::NoArgvZero, at, &[&program.text]));
    }
    let (first, shell) = (usize::from(command.named), notes.len());
    for word in words.into_iter().skip(first) {
        let at = word.at.start + skipped..word.at.end + skipped;
        if word.text == ";" && !word.quoted {
            return fail(Problem::new(Code::TwoCommands, at, &[]));
        }
        if !word.quoted && notes.len() == shell && is_for_shell(&word.text) {
            notes.push(*Problem::new(Code::ShellWord, at.clone(), &[&word.text]));
        }
        if !command.literal && !command.arguments.is_empty() {
            check_variables(&word.text).map_err(|mut problem| {
                problem.at = Some(at);
                problem
            })?;
        }
        command.arguments.push(word.text);
    }
    Ok(command)
}

/// Whether a word is an operator of the shell, alone or before a path: `|`, `&&`, `2>&1`, `>/dev/null`.
fn is_for_shell(word: &str) -> bool {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit());
    matches!(word, "|" | "||" | "&" | "&&" | "|&") || rest.starts_with(['<', '>']) || rest.starts_with("&>")
}

/// A name with a slash that doesn't begin at the root.
fn is_relative(program: &str) -> bool {
    program.contains('/') && !program.starts_with('/')
}

fn refuse_mark(text: &str, rest: &str, mark: &str) -> Parsed<Command> {
    let at = text.len() - rest.len();
    fail(Problem::new(Code::BadPrefixMark, at..at + mark.len(), &[mark]))
}

/// The uses of variables in one word that [`expand`] would refuse, found when the file is read.
fn check_variables(word: &str) -> Parsed<()> {
    expand_word(word, &|_| None, &mut Vec::new())
}

/// Whether a variable is made for each start, so that nobody else can set it or take it out.
pub fn is_per_start(name: &str) -> bool {
    words::index(PER_START, name).is_some()
}

/// Puts variables into the words, by the rules of systemd.service(5):
///
/// - a word that is just `$NAME` is replaced by the value split at blanks (none, one or several words; quotes in the
///   value keep blanks together),
/// - `${NAME}` anywhere in a word is replaced by the value as it is,
/// - `$$` is a dollar sign; a `$NAME` inside of a longer word stays as it is,
/// - a variable that is not set counts as empty.
///
/// The first word is left alone. Errors: a variable that is only known for each start, such as REMOTE_ADDR; `$` at the
/// beginning of a word that is not a name to its end.
pub fn expand(words: &[String], lookup: &dyn Fn(&str) -> Option<String>) -> Parsed<Vec<String>> {
    let mut out: Vec<String> = words.first().cloned().into_iter().collect();
    for word in words.iter().skip(1) {
        expand_word(word, lookup, &mut out)?;
    }
    Ok(out)
}

fn expand_word(word: &str, lookup: &dyn Fn(&str) -> Option<String>, out: &mut Vec<String>) -> Parsed<()> {
    let whole = word.strip_prefix('$').filter(|name| !name.is_empty() && !name.starts_with(['{', '$']));
    if let Some(name) = whole {
        if !is_variable(name) {
            return fail(Problem::about(Code::HalfVariable, word));
        }
        let value = known_at_load(name, word)?.then(|| lookup(name)).flatten().unwrap_or_default();
        // A value whose quotes don't match is split at blanks only, as systemd does.
        match words::split(&value.replace('%', "%%")) {
            Ok(parts) => out.extend(parts.into_iter().map(|part| part.text)),
            Err(_) => out.extend(words::plain(&value).map(|part| value[part].to_owned())),
        }
        return Ok(());
    }
    let mut text = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let braced = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        rest = match braced {
            _ if after.starts_with('$') => {
                text.push('$');
                &after[1..]
            }
            Some((name, after)) if is_variable(name) => {
                known_at_load(name, word)?;
                text.push_str(&lookup(name).unwrap_or_default());
                after
            }
            _ => {
                text.push('$');
                after
            }
        };
    }
    text.push_str(rest);
    out.push(text);
    Ok(())
}

/// `true`, or the error for a variable that only a start knows.
fn known_at_load(name: &str, word: &str) -> Parsed<bool> {
    if is_per_start(name) {
        return fail(Problem::new(Code::StartVariable, 0..word.len(), &[name]));
    }
    Ok(true)
}

/// The program's path: itself when it has a slash, or the first of [`PROGRAM_PATH`] for which `is_program` says yes.
pub fn find_program(program: &str, is_program: &dyn Fn(&str) -> bool) -> Option<String> {
    if program.contains('/') {
        return Some(program.to_owned());
    }
    PROGRAM_PATH.split(':').map(|folder| [folder, "/", program].concat()).find(|path| is_program(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Vec<String> {
        let lookup = |name: &str| match name {
            "ONE" => Some("1".to_owned()),
            "TWO" => Some("a  'b c'".to_owned()),
            "ODD" => Some("it's 5%".to_owned()),
            _ => None,
        };
        expand(&parse(text, &mut Vec::new()).unwrap().arguments, &lookup).unwrap()
    }

    #[test]
    fn variables_as_systemd_expands_them() {
        assert_eq!(expanded("/bin/a $ONE $TWO $NONE ${NONE}"), ["/bin/a", "1", "a", "b c", ""]);
        assert_eq!(expanded("/bin/a x${ONE}y${TWO}z x$ONE"), ["/bin/a", "x1ya  'b c'z", "x$ONE"]);
        assert_eq!(
            expanded("/bin/a $$ONE $${ONE} $$ 5$ ${ ${ONE x$(x) '${ONE}'"),
            ["/bin/a", "$ONE", "${ONE}", "$", "5$", "${", "${ONE", "x$(x)", "1"].map(str::to_owned).to_vec()
        );
        assert_eq!(expanded("/bin/a $ODD"), ["/bin/a", "it's", "5%"]);
    }

    #[test]
    fn a_bare_program_is_looked_up_in_order() {
        assert_eq!(find_program("a", &|path| path.ends_with("/bin/a")).as_deref(), Some("/usr/local/bin/a"));
        assert_eq!(find_program("a", &|_| false), None);
        assert_eq!(find_program("/x/a", &|_| false).as_deref(), Some("/x/a"));
    }

    #[test]
    fn marks_before_the_program() {
        let command = parse("-:@/bin/sh sh -c '$X'", &mut Vec::new()).unwrap();
        assert!(command.ignore_failure && command.literal && command.named);
        assert_eq!(command.program, "/bin/sh");
        assert_eq!(command.arguments, ["sh", "-c", "$X"]);
    }
}

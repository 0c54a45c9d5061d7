//! Values: one type for what all directives hold, and one function that reads any of them by its [`Syntax`].
//!
//! One generic store instead of a parser for each directive keeps the program small. Nothing here opens a file or asks
//! the system: users, groups, ports and programs stay names.

use super::address::{self, ListenAddress, Prefix};
use super::command::{self, Command};
use super::directive::{Syntax, Unit};
use super::message::Code;
use super::names;
use super::problem::{Parsed, Problem, fail, wrong};
use super::scalar;
use super::words::{self, Word};
use crate::limits;

/// "No limit" in a time span, size or resource limit.
pub const INFINITY: u64 = u64::MAX;

/// Bytes of a path, without the NUL (PATH_MAX).
const PATH_BYTES: usize = 4095;

/// What a directive holds. Which kind it is follows from the directive's [`Syntax`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Bool, Choice (the index), Uint, Int, Span (microseconds), Size (bytes), Mode, Signal, Tos, Capabilities (a bit
    /// each).
    Number(u64),
    /// Name, word, path, standard stream, resource limit. What needs to be read again is so written that its reader
    /// takes it.
    Text(String),
    /// Names, paths, `NAME=VALUE` words, names of variables, address ranges, ends that count as clean.
    List(Vec<String>),
    /// One socket address.
    Listen(ListenAddress),
    /// A command line.
    Command(Command),
}

/// Reads a value. `notes` gets what is worth a warning.
///
/// The text has no blanks at its ends and is not empty, see [`super::draft`].
pub fn parse(syntax: Syntax, text: &str, notes: &mut Vec<Problem>) -> Parsed<Value> {
    Ok(match syntax {
        Syntax::Bool => Value::Number(scalar::boolean(text)?.into()),
        Syntax::Choice(words) => Value::Number(scalar::choice(words, text)?),
        Syntax::Uint(min, max) => Value::Number(scalar::unsigned(text, min.into(), max.into())?),
        Syntax::Int(min, max) => Value::Number(scalar::signed(text, min.into(), max.into())?.cast_unsigned()),
        Syntax::Span(max) => Value::Number(scalar::span(text, scalar::SECOND, most(max, scalar::SECOND))?),
        Syntax::Timeout => match scalar::span(text, scalar::SECOND, INFINITY)? {
            0 => Value::Number(INFINITY),
            span => Value::Number(span),
        },
        Syntax::Size(max) => Value::Number(scalar::size(text, most(max, 1))?),
        Syntax::Mode => Value::Number(scalar::mode(text)?),
        Syntax::Signal => Value::Number(names::signal(text)?.into()),
        Syntax::Tos => Value::Number(names::tos(text)?.into()),
        Syntax::Listen(kind) => Value::Listen(address::listen(kind, text)?),
        Syntax::Backend if cfg!(feature = "forward") => Value::Listen(address::backend(text)?),
        Syntax::Prefixes if cfg!(feature = "access") => prefixes(text, notes)?,
        Syntax::Name => Value::Text(name(text)?),
        Syntax::Names => each_word(text, &|word| name(&word.text))?,
        Syntax::Word(most) => Value::Text(word(text, most.into())?),
        Syntax::FdName => Value::Text(fd_name(text)?),
        Syntax::Path => Value::Text(path(text)?),
        Syntax::Directory => Value::Text(directory(text)?),
        Syntax::Paths => each_word(text, &|word| absolute(&word.text))?,
        Syntax::Folders if cfg!(feature = "exec") => each_word(text, &|word| below(&word.text))?,
        Syntax::EnvironmentFile if cfg!(feature = "exec") => Value::List(vec![optional_path(text)?]),
        Syntax::Command => Value::Command(command::parse(text, notes)?),
        Syntax::Assignments => each_word(text, &|word| assignment(word, false))?,
        Syntax::Unset => each_word(text, &|word| assignment(word, true))?,
        Syntax::Variables => each_word(text, &variable)?,
        Syntax::Limit(unit) if cfg!(feature = "exec") => Value::Text(rlimit_text(rlimit(text, unit)?, unit)),
        Syntax::ExitStatuses => exit_statuses(text)?,
        Syntax::Capabilities if cfg!(feature = "exec") => Value::Number(names::merge_capabilities(text, None)?),
        Syntax::Input => Value::Text(stream(text, true)?),
        Syntax::Output => Value::Text(stream(text, false)?),
        // not part of this build, and refused as directives
        Syntax::Backend
        | Syntax::Prefixes
        | Syntax::Folders
        | Syntax::EnvironmentFile
        | Syntax::Limit(_)
        | Syntax::Capabilities => Value::Text(text.to_owned()),
    })
}

/// A maximum of the table; the highest number stands for none.
fn most(max: u32, unit: u64) -> u64 {
    if max == u32::MAX { INFINITY } else { u64::from(max) * unit }
}

/// Reads each word of a list; a fault points at its word.
fn each_word(text: &str, read: &dyn Fn(&Word) -> Parsed<String>) -> Parsed<Value> {
    let mut list = Vec::new();
    for word in words::split(text)? {
        list.push(read(&word).map_err(|mut problem| {
            problem.at = Some(word.at.clone());
            problem
        })?);
    }
    Ok(Value::List(list))
}

fn prefixes(text: &str, notes: &mut Vec<Problem>) -> Parsed<Value> {
    let mut list = Vec::new();
    for word in words::plain(text) {
        let mut ranges = Vec::new();
        let rounded = address::prefix(&text[word.clone()], &mut ranges).map_err(|problem| problem.moved(word.start))?;
        list.extend(ranges.iter().map(Prefix::text));
        if rounded {
            let used = list.last().map_or("", |used| used);
            notes.push(*Problem::new(Code::PrefixRounded, word.clone(), &[&text[word], used]));
        }
    }
    Ok(Value::List(list))
}

/// A user or group: a number, or a name as the relaxed rule of systemd has them.
fn name(text: &str) -> Parsed<String> {
    if scalar::digits(text) {
        // 65535 and 4294967295 mean "no change" to the kernel.
        return match scalar::number::<u32>(text) {
            Some(id) if id != u32::MAX && id != u32::from(u16::MAX) => Ok(text.to_owned()),
            _ => wrong(Code::BadId, text),
        };
    }
    let bad = |c: char| c.is_control() || matches!(c, ' ' | ':' | '/' | ',' | '%' | '"' | '\'');
    if text.contains(bad) || text.starts_with('-') || text.len() > 256 {
        return wrong(Code::BadName, text);
    }
    Ok(text.to_owned())
}

fn word(text: &str, most: usize) -> Parsed<String> {
    if text.len() > most || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return fail(Problem::new(Code::BadWord, 0..text.len(), &[text, &most.to_string()]));
    }
    Ok(text.to_owned())
}

/// A name for LISTEN_FDNAMES: printable ASCII without a colon, sd_listen_fds(3).
fn fd_name(text: &str) -> Parsed<String> {
    let good = |b: u8| (b' '..=b'~').contains(&b) && b != b':';
    if text.len() > limits::FD_NAME_BYTES || !text.bytes().all(good) {
        return wrong(Code::BadFdName, text);
    }
    Ok(text.to_owned())
}

/// An absolute path that is the whole value.
pub(super) fn path(text: &str) -> Parsed<String> {
    absolute(&words::unpercent(text)?)
}

/// An absolute path; doubled and trailing slashes are left out, as systemd does.
fn absolute(text: &str) -> Parsed<String> {
    if !text.starts_with('/') {
        return wrong(Code::RelativePath, text);
    }
    if text.len() > PATH_BYTES {
        return fail(Problem::new(Code::PathLong, 0..text.len(), &[&text.len().to_string(), &PATH_BYTES.to_string()]));
    }
    if text.split('/').any(|part| part == "..") {
        return wrong(Code::DotDot, text);
    }
    let mut out = String::with_capacity(text.len());
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        out.push('/');
        out.push_str(part);
    }
    Ok(if out.is_empty() { "/".to_owned() } else { out })
}

/// A relative path without `..` and without the `:` that would part it from the name of a link.
fn below(text: &str) -> Parsed<String> {
    let path = absolute(&["/", text].concat()).map(|path| path[1..].to_owned());
    match path {
        Ok(path) if !text.starts_with('/') && !text.contains(':') && !path.is_empty() => Ok(path),
        Ok(_) => wrong(Code::BadFolder, text),
        Err(_) => wrong(Code::BadFolder, text),
    }
}

/// A path that may have `-` in front: it may be missing.
fn optional_path(text: &str) -> Parsed<String> {
    let Some(rest) = text.strip_prefix('-') else { return path(text) };
    let mut path = path(rest).map_err(|problem| problem.moved(1))?;
    path.insert(0, '-');
    Ok(path)
}

fn directory(text: &str) -> Parsed<String> {
    if matches!(text, "~" | "-~") { Ok(text.to_owned()) } else { optional_path(text) }
}

/// Splits off the `-` that lets a file or folder be missing.
pub fn optional(path: &str) -> (bool, &str) {
    path.strip_prefix('-').map_or((false, path), |path| (true, path))
}

/// Whether a text can be the name of a variable, environ(7).
pub fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn variable(word: &Word) -> Parsed<String> {
    if is_variable(&word.text) { Ok(word.text.clone()) } else { wrong(Code::BadVariable, &word.text) }
}

/// `NAME=VALUE`; the value may be left out where only a name is wanted.
fn assignment(word: &Word, name_is_enough: bool) -> Parsed<String> {
    let (name, has_value) = word.text.split_once('=').map_or((&*word.text, false), |(name, _)| (name, true));
    if !has_value && !name_is_enough {
        return wrong(Code::NoAssignment, &word.text);
    }
    if is_variable(name) { Ok(word.text.clone()) } else { wrong(Code::BadVariable, name) }
}

/// `soft[:hard]` of getrlimit(2) in the unit of the limit; [`INFINITY`]: none.
pub(super) fn rlimit(text: &str, unit: Unit) -> Parsed<[u64; 2]> {
    let read = |text: &str| match unit {
        _ if text == "infinity" => Ok(INFINITY),
        Unit::Count => scalar::unsigned(text, 0, INFINITY - 1)
            .map_err(|problem| problem.with_expected("a whole number or infinity".to_owned())),
        Unit::Bytes => scalar::size(text, INFINITY),
        // Rounded up: a limit of less than a second must not become none at all.
        Unit::Seconds => scalar::span(text, scalar::SECOND, INFINITY).map(|span| span.div_ceil(scalar::SECOND)),
        Unit::Microseconds => scalar::span(text, 1, INFINITY),
        Unit::Nice => scalar::nice(text),
    };
    let Some((soft, hard)) = text.split_once(':') else {
        return read(text).map(|both| [both; 2]);
    };
    let start = soft.len() + 1;
    let (soft, hard) = (read(soft)?, read(hard).map_err(|problem| problem.moved(start))?);
    if soft > hard { wrong(Code::SoftOverHard, text) } else { Ok([soft, hard]) }
}

fn rlimit_text([soft, hard]: [u64; 2], unit: Unit) -> String {
    let text = |number: u64| match unit {
        _ if number == INFINITY => "infinity".to_owned(),
        Unit::Bytes => scalar::size_text(number),
        _ => number.to_string(),
    };
    if soft == hard { text(soft) } else { [&text(soft), ":", &text(hard)].concat() }
}

fn exit_statuses(text: &str) -> Parsed<Value> {
    let mut list = Vec::new();
    for word in words::plain(text) {
        let status = names::exit_status(&text[word.clone()]).map_err(|problem| problem.moved(word.start))?;
        list.push(
            u8::try_from(status).map_or_else(|_| names::signal_name(status.to_le_bytes()[0]), |code| code.to_string()),
        );
    }
    Ok(Value::List(list))
}

/// The words of StandardInput= (`input`) or StandardOutput= and StandardError=, systemd.exec(5). `inherit` is what the
/// descriptor before it is, `log` where dormouse itself logs; files are made when they are missing.
fn stream(text: &str, input: bool) -> Parsed<String> {
    let known = if input { "null socket" } else { "null socket inherit syslog kmsg log" };
    let files = if input { &["file:"][..] } else { &["file:", "append:", "truncate:"] };
    if words::index(known, text).is_some() {
        return Ok(text.to_owned());
    }
    if let Some((how, name)) = files.iter().find_map(|how| Some((how, text.strip_prefix(how)?))) {
        return Ok([how, &*path(name).map_err(|problem| problem.moved(how.len()))?].concat());
    }
    wrong(
        match text {
            _ if input => Code::BadInput,
            "journal" | "journal+console" | "syslog+console" | "kmsg+console" => Code::Journal,
            _ => Code::BadOutput,
        },
        text,
    )
}

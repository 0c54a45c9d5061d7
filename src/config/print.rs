//! The canonical native text of a draft: only what was set, in the order of the table, quoted so that it reads back.
//!
//! Reading the text again gives an equal draft; a test holds that for every directive.

use super::address::ListenAddress;
use super::command::Command;
use super::directive::{Form, Id, Syntax};
use super::draft::{Draft, ServiceDraft};
use super::lex;
use super::names;
use super::scalar::{size_text, span_text};
use super::value::Value;
use super::words;
use crate::text::add;

/// Columns after which a list goes on with another line of the same directive.
const WIDTH: usize = 100;

/// All services as native text. `[defaults]` is folded into them.
pub fn print(draft: &Draft) -> String {
    let mut out = String::new();
    for service in &draft.services {
        if !out.is_empty() {
            out.push('\n');
        }
        print_service(service, &mut out);
    }
    out
}

/// Adds one service as native text.
pub fn print_service(service: &ServiceDraft, out: &mut String) {
    add(out, &["[", &service.name, "]\n"]);
    for listen in &service.listens {
        address(listen.kind.directive(), &listen.address, out);
    }
    for (id, value) in service.settings() {
        setting(id, value, out);
    }
}

fn address(id: Id, address: &ListenAddress, out: &mut String) {
    let text = address.text();
    line(id, &if address.is_path() { text.replace('%', "%%") } else { text }, out);
}

fn line(id: Id, text: &str, out: &mut String) {
    // a path may end in what is nothing at the end of a line, or goes on with the next one
    let end = if text.ends_with(' ') || lex::backslashes(text) % 2 == 1 { "/\n" } else { "\n" };
    add(out, &[id.name(), "=", text, end]);
}

/// The lines of one directive.
fn setting(id: Id, value: &Value, out: &mut String) {
    match value {
        Value::Number(number) => line(id, &number_text(id.syntax(), *number), out),
        Value::Text(text) if id.syntax().form() == Form::Percent => line(id, &text.replace('%', "%%"), out),
        Value::Text(text) => line(id, text, out),
        Value::List(list) if id.syntax() == Syntax::EnvironmentFile => {
            list.iter().for_each(|path| line(id, &path.replace('%', "%%"), out));
        }
        Value::List(list) => wrapped(id, list, out),
        Value::Listen(backend) => address(id, backend, out),
        Value::Command(command) => line(id, &command_text(command), out),
    }
}

/// A list, as many words to a line as look well.
fn wrapped(id: Id, words: &[String], out: &mut String) {
    let mut text = String::new();
    for word in words {
        let mut quoted = String::new();
        words::quote(word, false, &mut quoted);
        if !text.is_empty() && text.len() + quoted.len() > WIDTH {
            line(id, &text, out);
            text.clear();
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&quoted);
    }
    line(id, &text, out);
}

fn number_text(syntax: Syntax, number: u64) -> String {
    match syntax {
        Syntax::Bool => if number == 0 { "no" } else { "yes" }.to_owned(),
        Syntax::Choice(list) => usize::try_from(number).map_or("", |index| words::nth(list, index)).to_owned(),
        Syntax::Int(..) => number.cast_signed().to_string(),
        Syntax::Span(_) | Syntax::Timeout => span_text(number),
        Syntax::Size(_) => size_text(number),
        Syntax::Mode => octal(number),
        Syntax::Signal => u8::try_from(number).map(names::signal_name).unwrap_or_default(),
        Syntax::Tos => names::tos_text(number),
        Syntax::Capabilities => names::capabilities_text(number),
        _ => number.to_string(),
    }
}

/// Four octal digits.
pub fn octal(mode: u64) -> String {
    [9, 6, 3, 0].into_iter().map(|shift| char::from(b'0' + (mode >> shift & 7).to_le_bytes()[0])).collect()
}

fn command_text(command: &Command) -> String {
    let marks = [(command.ignore_failure, "-"), (command.named, "@"), (command.literal, ":")];
    let mut out: String = marks.into_iter().filter(|(set, _)| *set).map(|(_, mark)| mark).collect();
    // A mark that belongs to the name itself must not be read as one.
    let marked = command.program.starts_with(['-', '@', ':', '+', '!']);
    words::quote(&command.program, marked, &mut out);
    for word in command.arguments.iter().skip(usize::from(!command.named)) {
        out.push(' ');
        words::quote(word, false, &mut out);
    }
    out
}

//! JSON (RFC 8259): the rows of the protocol with their own keys, put into each other.

use super::event::age_ms;
use super::model::{Row, Service, Status};
use super::span::wall_ms;
use crate::control::{Fields, Value, escape};
use crate::text::{add, fraction};

/// `status --json`.
pub(super) fn status(status: &Status) -> String {
    let mut out = String::from("{\"daemon\":");
    object(status.daemon.as_str(), "}", &mut out);
    out.push_str(",\"services\":");
    services(status, &mut out);
    out.push_str("}\n");
    out
}

/// `list --json`.
pub(super) fn list(status: &Status) -> String {
    let mut out = String::new();
    services(status, &mut out);
    out.push('\n');
    out
}

/// One event of `history --json` or `watch --json`, without newline. Adds it to `out`.
pub(super) fn event(row: &str, out: &mut String) {
    out.push_str("{\"time\":");
    fraction(wall_ms(age_ms(row)), 3, out);
    members(row, ",", out);
    out.push('}');
}

fn services(status: &Status, out: &mut String) {
    list_of(&status.services, &service, out);
}

fn service(service: &Service, out: &mut String) {
    object(service.row.as_str(), "", out);
    for (key, row) in [(",\"counts\":", &service.counts), (",\"starts\":", &service.starts)] {
        out.push_str(key);
        object(row.as_str(), "}", out);
    }
    out.push_str(",\"last\":");
    match &service.last {
        Some(last) => object(last.as_str(), "}", out),
        None => out.push_str("null"),
    }
    for (key, rows) in [(",\"sockets\":", &service.sockets), (",\"processes\":", &service.processes)] {
        out.push_str(key);
        list_of(rows, &|row: &Row, out| object(row.as_str(), "}", out), out);
    }
    out.push('}');
}

fn list_of<T>(all: &[T], add: &dyn Fn(&T, &mut String), out: &mut String) {
    out.push('[');
    for (index, one) in all.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { "," });
        add(one, out);
    }
    out.push(']');
}

/// A row as an object, which ends with `end`: a brace, or nothing if more members follow.
fn object(row: &str, end: &str, out: &mut String) {
    out.push('{');
    members(row, "", out);
    out.push_str(end);
}

fn members(row: &str, mut separator: &str, out: &mut String) {
    for (key, value) in Fields::of(row).1 {
        out.push_str(separator);
        string(&mut key.chars(), out);
        out.push(':');
        self::value(value, out);
        separator = ",";
    }
}

fn value(value: Value<'_>, out: &mut String) {
    match value {
        Value::Bare("yes") => out.push_str("true"),
        Value::Bare("no") => out.push_str("false"),
        Value::Bare(word) if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b',') => {
            let (open, close) = if word.contains(',') { ("[", "]") } else { ("", "") };
            add(out, &[open, word, close]);
        }
        other => string(&mut other.chars(), out),
    }
}

/// A string with everything escaped that could be misread.
fn string(text: &mut dyn Iterator<Item = char>, out: &mut String) {
    out.push('"');
    text.for_each(|c| escape(c, &mut |byte| out.push(char::from(byte))));
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_objects() {
        let text = status(&Status::example());
        for part in [
            "{\"daemon\":{\"protocol\":1,\"version\":\"0.1.0\",",
            "\"services\":[{\"name\":\"ssh\",\"state\":\"resting\",\"accept\":true,",
            "\"bounds_us\":[250,500],\"buckets\":[2,9,1]},\"last\":{\"signal\":11,\"core\":true,",
            "{\"name\":\"wi\\\"ki\",",
            "\"last\":null,\"sockets\":[{",
            "{\"kind\":\"stream\",\"address\":\"/run/w\\u00e4.sock\",\"open\":false,\"retry_ms\":250}",
            "\"processes\":[{\"pid\":812,\"age_ms\":182000,\"stage\":\"running\"}]}]}\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(list(&Status::of(&[])) == "[]\n");
    }

    #[test]
    fn an_event_has_its_time() {
        let mut text = String::new();
        event("event number=7 age_ms=0 service=\"a\" what=stop", &mut text);
        assert!(text.starts_with("{\"time\":1") && text.ends_with(",\"service\":\"a\",\"what\":\"stop\"}"), "{text}");
    }

    #[test]
    fn strings_cannot_end_themselves() {
        let mut text = String::new();
        string(&mut "a\"\\\n🐭".chars(), &mut text);
        assert_eq!(text, r#""a\"\\\u000a\ud83d\udc2d""#);
    }
}

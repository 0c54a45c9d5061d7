//! JSON (RFC 8259): the rows of the protocol with their own keys, put into each other.

use super::model::{Row, Service, Status};
use super::span::wall_ms;
use crate::control::Value;

/// `status --json`.
pub(super) fn status(status: &Status) -> String {
    ["{\"daemon\":", &object(&status.daemon, ""), ",\"services\":", &services(status), "}\n"].concat()
}

/// `list --json`.
pub(super) fn list(status: &Status) -> String {
    [&services(status), "\n"].concat()
}

/// One event of `history --json` or `watch --json`, without newline.
pub(super) fn event(row: &Row) -> String {
    let time = wall_ms(row.count("age_ms"));
    let time = format!("\"time\":{}.{:03}", time / 1000, time % 1000);
    object(row, &time)
}

fn services(status: &Status) -> String {
    ["[", &status.services.iter().map(service).collect::<Vec<_>>().join(","), "]"].concat()
}

fn service(service: &Service) -> String {
    let rows = |rows: &[Row]| rows.iter().map(|row| object(row, "")).collect::<Vec<_>>().join(",");
    let mut text = object(&service.row, "");
    text.pop(); // the closing brace
    let last = service.last.as_ref().map_or_else(|| "null".to_owned(), |last| object(last, ""));
    for part in [
        ",\"counts\":",
        &object(&service.counts, ""),
        ",\"starts\":",
        &object(&service.starts, ""),
        ",\"last\":",
        &last,
        ",\"sockets\":[",
        &rows(&service.sockets),
        "],\"processes\":[",
        &rows(&service.processes),
        "]}",
    ] {
        text.push_str(part);
    }
    text
}

/// A row as an object, its first member already written if there is one.
fn object(row: &Row, first: &str) -> String {
    let mut text = ["{", first].concat();
    for (key, written) in row.fields() {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&[&string(key), ":", &value(written)].concat());
    }
    text.push('}');
    text
}

fn value(value: Value<'_>) -> String {
    let is_list = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b',');
    match value {
        Value::Bare("yes") => "true".to_owned(),
        Value::Bare("no") => "false".to_owned(),
        Value::Bare(word) if is_list(word) && word.contains(',') => ["[", word, "]"].concat(),
        Value::Bare(word) if is_list(word) => word.to_owned(),
        other => string(&other.to_text()),
    }
}

/// A string with everything escaped that could be misread.
fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
    out
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
        let text = event(&Row::new("event number=7 age_ms=0 service=\"a\" what=stop".to_owned()));
        assert!(text.starts_with("{\"time\":1") && text.ends_with(",\"service\":\"a\",\"what\":\"stop\"}"), "{text}");
    }

    #[test]
    fn strings_cannot_end_themselves() {
        assert_eq!(string("a\"\\\n🐭"), r#""a\"\\\u000a\ud83d\udc2d""#);
    }
}

//! One event as a line for people.

use super::span::{utc, wall_ms};
use crate::control::{Fields, Value};

/// `2026-11-22T16:45:01Z accept service=web pid=812 ...`, in the order of the row. Adds it to `out`.
pub(super) fn line(row: &str, out: &mut String) {
    let (kind, fields) = Fields::of(row);
    if kind != "event" {
        out.push_str("... ");
        push(row, "events", out);
        return out.push_str(" events were too fast for this terminal");
    }
    utc(wall_ms(age_ms(row)), out);
    out.push(' ');
    push(row, "what", out);
    for (key, value) in fields {
        if !matches!(key, "number" | "age_ms" | "what") {
            for part in [" ", key, "="] {
                out.push_str(part);
            }
            value.push_to(out);
        }
    }
}

/// How long ago it was.
pub(super) fn age_ms(row: &str) -> u64 {
    match get(row, "age_ms") {
        Some(Value::Bare(number)) => number.parse().unwrap_or(0),
        _ => 0,
    }
}

fn push(row: &str, key: &str, out: &mut String) {
    if let Some(value) = get(row, key) {
        value.push_to(out);
    }
}

fn get<'a>(row: &'a str, key: &str) -> Option<Value<'a>> {
    Fields::of(row).1.find(|(found, _)| *found == key).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_with_its_time_first() {
        let row = "event number=7 age_ms=0 service=\"web\" what=exit pid=9 signal=15 ran_ms=1500";
        let mut text = String::new();
        line(row, &mut text);
        let (time, rest) = text.split_once(' ').unwrap();
        assert!(time.len() == 20 && time.ends_with('Z') && time.starts_with("20"), "{time}");
        assert_eq!(rest, "exit service=web pid=9 signal=15 ran_ms=1500");
        text.clear();
        line("lost events=3", &mut text);
        assert!(text.starts_with("... 3 events"));
    }
}

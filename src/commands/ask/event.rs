//! One event as a line for people.

use super::span::{utc, wall_ms};
use crate::config::signal_word;
use crate::control::{Fields, Value, field};
use crate::text::{add, fraction, split_last};

/// `2026-11-22T16:45:01Z exit service=web pid=812 signal=TERM ran=1.500s`, in the order of the row and the words of the
/// log. Adds it to `out`, and takes no other memory.
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
        if matches!(key, "number" | "age_ms" | "what") {
            continue;
        }
        let (name, unit) = match split_last(key, b'_') {
            Some((name, "ms")) => (name, "s"),
            Some((name, "us")) => (name, "ms"),
            _ => (key, ""),
        };
        add(out, &[" ", name, "="]);
        let number = value.number().unwrap_or(0);
        let signal = || u8::try_from(number).ok().and_then(signal_word).filter(|_| key == "signal");
        if !unit.is_empty() {
            fraction(number, 3, out);
            out.push_str(unit);
        } else if let Some(word) = signal() {
            out.push_str(word);
        } else {
            value.push_to(out);
        }
    }
}

/// How long ago it was.
pub(super) fn age_ms(row: &str) -> u64 {
    field(row, "age_ms").and_then(Value::number).unwrap_or(0)
}

fn push(row: &str, key: &str, out: &mut String) {
    if let Some(value) = field(row, key) {
        value.push_to(out);
    }
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
        assert_eq!(rest, "exit service=web pid=9 signal=TERM ran=1.500s");
        text.clear();
        line("event number=7 age_ms=0 service=\"web\" what=start why=knock start_us=16045", &mut text);
        assert!(text.ends_with("Z start service=web why=knock start=16.045ms"), "{text}");
        text.clear();
        line("lost events=3", &mut text);
        assert!(text.starts_with("... 3 events"));
    }
}

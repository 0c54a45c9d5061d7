//! One event as a line for people.

use super::model::Row;
use super::span::{utc, wall_ms};

/// `2026-11-22T16:45:01Z accept service=web pid=812 ...`, in the order of the row.
pub(super) fn line(row: &Row) -> String {
    if row.kind() != "event" {
        return ["... ", &row.text("events"), " events were too fast for this terminal"].concat();
    }
    let mut line = [&utc(wall_ms(row.count("age_ms"))), " ", &row.text("what")].concat();
    for (key, value) in row.fields() {
        if !matches!(key, "number" | "age_ms" | "what") {
            for part in [" ", key, "=", &value.to_text()] {
                line.push_str(part);
            }
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_with_its_time_first() {
        let row = "event number=7 age_ms=0 service=\"web\" what=exit pid=9 signal=15 ran_ms=1500";
        let text = line(&Row::new(row.to_owned()));
        let (time, rest) = text.split_once(' ').unwrap();
        assert!(time.len() == 20 && time.ends_with('Z') && time.starts_with("20"), "{time}");
        assert_eq!(rest, "exit service=web pid=9 signal=15 ran_ms=1500");
        assert!(line(&Row::new("lost events=3".to_owned())).starts_with("... 3 events"));
    }
}

//! Times and sizes for people.

use crate::sys::clock;
use crate::text::padded;

/// A duration: `250ms`, `3.2s`, `5min 3s`, `2h 5min`, `3d 4h`.
pub(super) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        0 => counted(&[(ms, "ms")]),
        1..60 => counted(&[(seconds, "."), (ms % 1000 / 100, "s")]),
        60..3600 => counted(&[(minutes, "min "), (seconds % 60, "s")]),
        3600..86_400 => counted(&[(hours, "h "), (minutes % 60, "min")]),
        _ => counted(&[(hours / 24, "d "), (hours % 24, "h")]),
    }
}

/// A short duration, in microseconds: `450us`, `1.2ms`, `3.2s`.
pub(super) fn short(us: u64) -> String {
    match us {
        0..1000 => counted(&[(us, "us")]),
        1000..1_000_000 => counted(&[(us / 1000, "."), (us % 1000 / 100, "ms")]),
        _ => span(us / 1000),
    }
}

/// Memory: `812 kB`, `14.2 MB`.
pub(super) fn memory(kb: u64) -> String {
    match kb {
        0..10_000 => counted(&[(kb, " kB")]),
        _ => counted(&[(kb / 1024, "."), (kb % 1024 * 10 / 1024, " MB")]),
    }
}

/// Numbers, each with what follows it.
fn counted(parts: &[(u64, &str)]) -> String {
    let mut out = String::new();
    for (number, end) in parts {
        padded(*number, 1, &mut out);
        out.push_str(end);
    }
    out
}

/// The wall clock `age_ms` ago, in milliseconds of 1970.
pub(super) fn wall_ms(age_ms: u64) -> u64 {
    clock::wall_ms().saturating_sub(age_ms)
}

/// A moment in UTC, `2026-11-22T16:45:01Z` (RFC 3339). Adds it to `out`.
pub(super) fn utc(ms: u64, out: &mut String) {
    let shape = [(4, '-'), (2, '-'), (2, 'T'), (2, ':'), (2, ':'), (2, 'Z')];
    for (value, (width, end)) in clock::date(ms / 1000).into_iter().zip(shape) {
        padded(value.into(), width, out);
        out.push(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        for (ms, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (3_250, "3.2s"),
            (303_000, "5min 3s"),
            (7_500_000, "2h 5min"),
            (273_600_000, "3d 4h"),
        ] {
            assert_eq!(span(ms), text);
        }
        assert_eq!([450, 1_250, 3_200_000].map(short), ["450us", "1.2ms", "3.2s"]);
        assert_eq!([812, 14_541].map(memory), ["812 kB", "14.2 MB"]);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_795_279_501, "2026-11-21T16:45:01Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            let mut shown = String::new();
            utc(seconds * 1000 + 999, &mut shown);
            assert_eq!(shown, text);
        }
    }
}

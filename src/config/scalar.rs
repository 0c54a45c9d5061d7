//! Single numbers: booleans, counts, time spans, sizes, modes. Ranges are checked, nothing is cut or guessed.

use super::message::Code;
use super::problem::{Parsed, Problem, fail, wrong};
use super::suggest;
use super::value::INFINITY;
use super::words::{self, is_blank};

/// Microseconds in a second.
pub(super) const SECOND: u64 = 1_000_000;

/// Words for yes and no in turn, as systemd takes them in any case.
const BOOLEANS: &str = "yes no true false on off 1 0 y n t f";

pub(super) fn boolean(text: &str) -> Parsed<bool> {
    match words::index(BOOLEANS, &text.to_ascii_lowercase()) {
        Some(index) => Ok(index % 2 == 0),
        None => fail(Problem::about(Code::NotBoolean, text).with_hint(suggest::hint(text, &BOOLEANS[..24]))),
    }
}

/// The index of a word.
pub(super) fn choice(list: &str, text: &str) -> Parsed<u64> {
    match words::index(list, text) {
        Some(index) => Ok(index as u64),
        None => {
            let problem = Problem::about(Code::NotAChoice, text).with_expected(list.replace(' ', ", "));
            fail(problem.with_hint(suggest::hint(text, list)))
        }
    }
}

/// "a number from 1 to 255".
fn range(min: &str, max: &str) -> String {
    ["a whole number from ", min, " to ", max].concat()
}

/// Only digits count as a number: no sign, no blanks.
pub(super) fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// A number that fits.
pub(super) fn number<T: TryFrom<u64>>(text: &str) -> Option<T> {
    crate::text::number(text, 10)
}

/// A number that may have a sign.
fn integer(text: &str) -> Option<i64> {
    let number: i64 = number(text.strip_prefix(['-', '+']).unwrap_or(text))?;
    Some(if text.starts_with('-') { -number } else { number })
}

pub(super) fn unsigned(text: &str, min: u64, max: u64) -> Parsed<u64> {
    match number(text) {
        Some(number) if (min..=max).contains(&number) => Ok(number),
        _ => not_a_number(text, digits(text), &range(&min.to_string(), &max.to_string())),
    }
}

pub(super) fn signed(text: &str, min: i64, max: i64) -> Parsed<i64> {
    match integer(text) {
        Some(number) if (min..=max).contains(&number) => Ok(number),
        _ => {
            let numeric = digits(text.trim_start_matches(['-', '+']));
            not_a_number(text, numeric, &range(&min.to_string(), &max.to_string()))
        }
    }
}

/// Out of range, or no number at all.
pub(super) fn not_a_number<T>(text: &str, numeric: bool, expected: &str) -> Parsed<T> {
    let code = if numeric { Code::OutOfRange } else { Code::NotANumber };
    fail(Problem::about(code, text).with_expected(expected.to_owned()))
}

/// Units of time spans in microseconds, systemd.time(7), the first name of each is printed. Case matters: `M` is a
/// month.
const SPANS: [(&str, u64); 9] = [
    ("us usec µs", 1),
    ("ms msec", 1_000),
    ("s sec second seconds", SECOND),
    ("min m minute minutes", 60 * SECOND),
    ("h hr hour hours", 3_600 * SECOND),
    ("d day days", 86_400 * SECOND),
    ("w week weeks", 604_800 * SECOND),
    ("M month months", 2_629_800 * SECOND),
    ("y year years", 31_557_600 * SECOND),
];

/// Microseconds of a sum such as `1min 30s` or `1.5h`. A number without unit counts in `unit`.
///
/// `infinity` is [`INFINITY`], when the maximum allows it. A fraction of a microsecond is left out, as systemd does.
pub(super) fn span(text: &str, unit: u64, max: u64) -> Parsed<u64> {
    if text == "infinity" && max == INFINITY {
        return Ok(INFINITY);
    }
    match sum(text, unit) {
        None => wrong(Code::BadSpan, text),
        Some(None) => fail(Problem::about(Code::SpanLong, text)),
        Some(Some(total)) if total > max => {
            let expected = ["at most ", &span_text(max)].concat();
            fail(Problem::about(Code::SpanLong, text).with_expected(expected))
        }
        Some(Some(total)) => Ok(total),
    }
}

/// The sum of all parts; inner `None`: more than fits.
fn sum(text: &str, unit: u64) -> Option<Option<u64>> {
    let mut total = Some(0u64);
    let mut rest = text.trim_ascii();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(number);
        let tail = tail.trim_ascii_start();
        let word = tail.find(|c: char| c.is_ascii_digit() || is_blank(c)).unwrap_or(tail.len());
        let (word, tail) = tail.split_at(word);
        let factor = if word.is_empty() {
            unit
        } else {
            SPANS.iter().find(|(names, _)| words::index(names, word).is_some()).map(|(_, us)| *us)?
        };
        // 2^64-1 stands for infinity, so a finite span has to stay below.
        let part = scaled(number, factor)?.filter(|part| *part < INFINITY);
        total = total.zip(part).and_then(|(total, part)| total.checked_add(part)).filter(|total| *total < INFINITY);
        rest = tail.trim_ascii_start();
    }
    Some(total)
}

/// A decimal number times a factor; outer `None`: not a number, inner: more than fits.
fn scaled(text: &str, factor: u64) -> Option<Option<u64>> {
    let (before, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !digits(before) || !digits(fraction) {
        return None;
    }
    // From the last digit to the first, so that 1.5M is exact. No factor is near 2^60 times 10.
    let part = fraction.bytes().rev().fold(0, |part, digit| (part + u64::from(digit - b'0') * factor) / 10);
    Some(number(before).and_then(|whole: u64| whole.checked_mul(factor)?.checked_add(part)))
}

/// A span in its shortest exact form, for printing.
pub(super) fn span_text(micros: u64) -> String {
    with_unit(micros, &SPANS[..6]) // up to days
}

/// The largest unit that leaves no rest.
fn with_unit(number: u64, units: &[(&str, u64)]) -> String {
    match number {
        0 => "0".to_owned(),
        INFINITY => "infinity".to_owned(),
        _ => {
            let (names, factor) =
                units.iter().rfind(|(_, factor)| number.is_multiple_of(*factor)).copied().unwrap_or(("", 1));
            (number / factor).to_string() + words::nth(names, 0)
        }
    }
}

/// Units of sizes.
const SIZES: [(&str, u64); 6] =
    [("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("T", 1 << 40), ("P", 1 << 50), ("E", 1 << 60)];

/// Bytes such as `64K` or `1.5M`; `infinity` where the maximum allows it.
pub(super) fn size(text: &str, max: u64) -> Parsed<u64> {
    if text == "infinity" && max == INFINITY {
        return Ok(INFINITY);
    }
    let bare = text.strip_suffix('B').unwrap_or(text);
    let unit = SIZES.iter().find(|(name, _)| bare.ends_with(name));
    let (number, factor) = unit.map_or((bare, 1), |(_, factor)| (&bare[..bare.len() - 1], *factor));
    match scaled(number.trim_ascii_end(), factor) {
        None => wrong(Code::BadSize, text),
        Some(Some(bytes)) if bytes <= max && bytes < INFINITY => Ok(bytes),
        Some(_) => {
            let expected = if max == INFINITY { String::new() } else { ["at most ", &max.to_string()].concat() };
            fail(Problem::about(Code::SizeBig, text).with_expected(expected))
        }
    }
}

/// A size in its shortest exact form, for printing.
pub(super) fn size_text(bytes: u64) -> String {
    with_unit(bytes, &SIZES)
}

/// Permission bits in octal, 0 to 07777.
pub(super) fn mode(text: &str) -> Parsed<u64> {
    match crate::text::number(text, 8) {
        Some(mode) if mode <= 0o7777 => Ok(mode),
        _ => wrong(Code::BadMode, text),
    }
}

/// LimitNICE=: a level with sign becomes 20 - level, as setrlimit(2) has it; without sign it is that already.
pub(super) fn nice(text: &str) -> Parsed<u64> {
    let level = match integer(text) {
        Some(level) if text.starts_with(['+', '-']) && (-20..=19).contains(&level) => 20 - level,
        Some(raw) if digits(text) && raw <= 40 => raw,
        _ => {
            return not_a_number(text, digits(text.trim_start_matches(['-', '+'])), "-20 to +19 with sign, or 0 to 40");
        }
    };
    Ok(level.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_summed_exactly() {
        let cases = [
            ("0", 0),
            ("90", 90 * SECOND),
            ("1min 30s", 90 * SECOND),
            ("1min30s", 90 * SECOND),
            ("1.5h", 5_400 * SECOND),
            (" 2 ms 3us ", 2_003),
            ("1w 1d 1y", (604_800 + 86_400 + 31_557_600) * SECOND),
            ("infinity", INFINITY),
        ];
        for (text, micros) in cases {
            assert_eq!(span(text, SECOND, INFINITY), Ok(micros), "{text}");
        }
        for text in ["", "s", "1x", "-1", "1.s", ".5", "1.2.3", "1 2 x", "infinity 1", "Infinity"] {
            assert_eq!(span(text, SECOND, INFINITY).unwrap_err().fault.code, Code::BadSpan, "{text}");
        }
        for text in ["18446744073709551615us", "18446744073710", "99999999999999999999999"] {
            assert_eq!(span(text, SECOND, INFINITY).unwrap_err().fault.code, Code::SpanLong, "{text}");
        }
        assert_eq!(span("18446744073709551614us", SECOND, INFINITY), Ok(INFINITY - 1));
        assert!(span("infinity", SECOND, INFINITY - 1).is_err());
    }

    #[test]
    fn printed_numbers_read_back() {
        for number in [0, 1, 999, 1_000, 1_024, 60 * SECOND, 3 << 40, 86_400 * SECOND, INFINITY - 1, INFINITY] {
            assert_eq!(span(&span_text(number), SECOND, INFINITY), Ok(number));
            assert_eq!(size(&size_text(number), INFINITY), Ok(number));
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in
            [("0", 0), ("1K", 1_024), ("1.5M", 3 << 19), ("2 G", 2 << 30), ("512B", 512), ("1E", 1 << 60)]
        {
            assert_eq!(size(text, INFINITY), Ok(bytes), "{text}");
        }
        for text in ["", "K", "1k", "-1", "1KB ", "0x10", "1.K", "16E"] {
            assert!(size(text, INFINITY).is_err(), "{text}");
        }
    }

    #[test]
    fn nice_limits_are_raw_or_with_sign() {
        for (text, raw) in [("+0", 20), ("-20", 40), ("+19", 1), ("0", 0), ("40", 40)] {
            assert_eq!(nice(text), Ok(raw), "{text}");
        }
        for text in ["41", "-21", "+20", "", "x", "+", "-"] {
            assert!(nice(text).is_err(), "{text}");
        }
    }
}

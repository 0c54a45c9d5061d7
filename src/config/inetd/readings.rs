//! What the dialects disagree on, as a table: the thing, and what each makes of it.

use super::Dialect;
use crate::config::fault::{Fault, Place};
use crate::config::message::Code;

/// Something that not all dialects read alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reading {
    /// `tcp` or `udp` without a digit.
    Plain,
    /// `tcp6` or `udp6`.
    Six,
    /// `#` within a line.
    Hash,
    /// A line that begins with a blank.
    Continuation,
    /// A line that ends in a backslash.
    Backslash,
    /// A field with quotes.
    Quotes,
    /// More than twenty arguments.
    ManyArguments,
    /// No argv.
    NoArguments,
    /// `dgram` with `nowait`.
    DatagramNowait,
}

/// The thing, then what busybox, openbsd, freebsd and inetutils make of it.
const READINGS: [(&str, [&str; 4]); 9] = [
    ("tcp and udp without a digit", ["IPv4", "IPv4 and IPv6", "IPv4", "IPv4"]),
    ("tcp6 and udp6", ["IPv6 with IPv4", "IPv6 alone", "IPv6 alone", "IPv6 with IPv4"]),
    ("# within a line", ["the line ends there", "text", "text", "text"]),
    ("a line that begins with a blank", ["an entry", "part of the line before", "part of the line before", "an entry"]),
    ("a backslash at the end of a line", ["the next line belongs to it", "text", "text", "text"]),
    ("quotes", ["text", "text", "quotes at the beginning of a word", "quotes"]),
    (
        "more than 20 arguments",
        ["the rest becomes one", "the rest is left out", "the line is refused", "all are passed"],
    ),
    (
        "a program without arguments",
        ["argv[0] is its path", "argv[0] is its path", "argv[0] is its name", "argv[0] is its name"],
    ),
    (
        "dgram with nowait",
        ["a process for each peer", "a process for each datagram", "wait", "a process for each datagram"],
    ),
];

/// What is taken where no dialect's own reading is worth having.
fn taken(reading: Reading, dialect: Dialect) -> &'static str {
    match reading {
        Reading::ManyArguments => "all are passed",
        Reading::DatagramNowait if dialect != Dialect::Busybox => "wait",
        _ => READINGS[reading as usize].1[dialect as usize],
    }
}

/// The warning that names the readings and the one that is taken.
pub(super) fn fault(reading: Reading, dialect: Dialect, place: Place) -> Fault {
    let (thing, all) = READINGS[reading as usize];
    let mut text = String::new();
    for (index, meaning) in all.iter().enumerate() {
        if all[..index].contains(meaning) {
            continue;
        }
        let same = (index..all.len()).filter(|other| all[*other] == *meaning).map(|other| Dialect::NAMES[other]);
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(meaning);
        text.push_str(" (");
        text.push_str(&same.collect::<Vec<_>>().join(", "));
        text.push(')');
    }
    Fault::new(Code::InetdReading, place, &[thing, &text, taken(reading, dialect)])
}

//! What the dialects disagree on, as a table: the thing, and what each makes of it.

use crate::cli::Dialect;
use crate::config::fault::{Fault, Place};
use crate::config::message::Code;
pub(super) use crate::config::message::Reason as Reading;
use crate::text::add;

/// The warning that names the readings and the one that is taken.
pub(super) fn fault(reading: Reading, dialect: Dialect, place: Place) -> Fault {
    let mut parts = reading.text().split('|');
    let mut next = || parts.next().unwrap_or_default();
    let (thing, all) = (next(), [next(), next(), next(), next()]);
    let mut text = String::new();
    for (index, meaning) in all.iter().enumerate() {
        if all[..index].contains(meaning) {
            continue;
        }
        add(&mut text, &[if index == 0 { "" } else { "; " }, meaning, " ("]);
        let mut comma = "";
        for (_, name) in all.iter().zip(Dialect::NAMES).filter(|(other, _)| *other == meaning) {
            add(&mut text, &[comma, name]);
            comma = ", ";
        }
        text.push(')');
    }
    // What is taken where no dialect's own reading is worth having.
    let taken = match reading {
        Reading::ReadManyArguments => "all are passed",
        Reading::ReadDatagramNowait if dialect != Dialect::Busybox => "wait",
        _ => all[dialect as usize],
    };
    Fault::new(Code::InetdReading, place, &[thing, &text, taken])
}

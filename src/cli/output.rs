//! Texts for the user, outside the log: answers on standard output, complaints on standard error.

use super::exit;
use crate::sys::errno::Why;
use crate::sys::stdio::{stderr, stdout, write_all};
use std::fmt::{Display, Write};

/// Writes the answer to standard output; may block. Gives the exit code: [`exit::DONE`], or [`exit::NO`] with a
/// complaint if it could not be written (closed pipe, full disk).
#[must_use]
pub fn print(text: &str) -> u8 {
    match write_all(stdout(), text.as_bytes()) {
        Ok(()) => exit::DONE,
        Err(why) => refuse(&format_args!("cannot write to standard output: {}", Why(why)), exit::NO),
    }
}

/// Writes `dormouse: ` and why this is the end as a line to standard error, and gives the exit code `code`; may block.
/// A closed standard error is nobody's fault.
#[inline(never)]
pub fn refuse(why: &dyn Display, code: u8) -> u8 {
    let mut line = String::new();
    // A String takes everything.
    let _ = writeln!(line, "dormouse: {why}");
    let _ = write_all(stderr(), line.as_bytes());
    code
}

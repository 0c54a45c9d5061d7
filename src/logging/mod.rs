//! The log: one event, one record of the `log` facade, one line.
//!
//! Until the [`seal`] a line is written by `simple_logger`; afterwards by our own sink, which never blocks, never
//! allocates and never panics, and counts what it could not write. It stands beside all stations of the data flow and
//! uses only [`crate::text`], [`crate::sys`] and [`crate::limits`].

mod output;
mod sink;
mod throttle;

pub use throttle::{Kind, LeftOut, Throttle};

use log::{Level, LevelFilter};
use rustix::io::Errno;

use crate::limits::PAUSES;
use crate::sys::errno::Why;
use crate::sys::patience;

/// Writes one line if lines of this level are wanted: `say!(Warn, "what={what}")`.
macro_rules! say {
    ($level:ident, $($text:tt)+) => { $crate::logging::line(log::Level::$level, format_args!($($text)+)) };
}
pub(crate) use say;

/// [`say`] as a function. The facade's own macro would bring its place in the source along with each use.
#[inline(never)]
pub fn line(level: Level, text: core::fmt::Arguments<'_>) {
    log::log!(level, "{text}");
}

/// Does a step again while it fails for want of memory or descriptors, as long as there is patience ([`patience`]).
///
/// # Errors
/// That of the last try.
pub fn insist<T>(mut step: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match step() {
            Err(errno) if wait(errno) => {}
            result => return result,
        }
    }
}

/// Waits a little, if that may help.
#[cold]
#[inline(never)]
fn wait(errno: Errno) -> bool {
    /// Pauses between two lines.
    const QUIET: u32 = PAUSES / 5;
    if !matches!(errno, Errno::INTR | Errno::AGAIN | Errno::NOMEM | Errno::NFILE | Errno::MFILE | Errno::NOSPC) {
        return false;
    }
    let left = patience::pause();
    if left > 0 && left.is_multiple_of(QUIET) {
        say!(Warn, "{}; trying again", Why(errno));
    }
    left > 0
}

/// Where the lines go after the seal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Standard error.
    #[default]
    Stderr,
    /// The socket of syslogd, `/dev/log`, facility daemon.
    Syslog,
    /// The kernel's log, `/dev/kmsg`.
    Kmsg,
}

/// Installs the log with lines up to `level` on standard error. Called once, first thing in the program; a second call
/// changes the level only.
pub fn init(level: LevelFilter) {
    sink::SINK.init(level);
}

/// Switches to the allocation-free sink on `target`. Called just before the allocator is sealed, after
/// [`crate::detach`].
///
/// A syslogd that is not there yet is tried again once a second, while there are lines. Without /dev/kmsg the log goes
/// to standard error.
pub fn seal(target: Target) {
    sink::SINK.seal(target);
}

/// Forwards a line that a child wrote on its standard error, cleaned and cut like every other line.
///
/// `ident` is its SyslogIdentifier, `level` its priority. It does not pass the level filter.
pub fn raw_line(target: Target, level: Level, ident: &[u8], line: &[u8]) {
    sink::SINK.raw_line(target, level, ident, line);
}

/// Lines that could not be written so far and were not yet told in a later line.
#[must_use]
pub fn dropped() -> u32 {
    sink::SINK.lost()
}

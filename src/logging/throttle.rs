//! Bounds the log in a storm: at most [`LOG_BURST`] lines of a kind in [`LOG_INTERVAL_MS`], and [`TOTAL_BURST`] of all
//! kinds together. What is left out is counted, and the count is told in one line when the interval has passed.
//!
//! Pure: time is an argument, nothing is written except by [`Throttle::record`].

use crate::limits::{LOG_BURST, LOG_INTERVAL_MS};
use crate::sys::clock::Tick;
use log::Level;

/// Lines of all kinds together in [`LOG_INTERVAL_MS`]: 40 lines of 100 bytes in 5 s are 800 bytes a second.
pub const TOTAL_BURST: u16 = 4 * LOG_BURST;
/// Rows of the table. Two keys that fall into the same row share its burst, so fewer lines get through, never more.
const ROWS: usize = 32;

/// What a line is about. Lines of the same kind and key share one burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A service was started, or could not be.
    Start,
    /// A process of a service ended.
    Exit,
    /// A connection was taken.
    Accept,
    /// A connection or datagram was refused by a limit or an access rule.
    Refuse,
    /// A service or listener rests until a known time.
    Rest,
    /// Descriptors, memory or processes have run out.
    Scarce,
    /// An address could not be opened.
    Open,
    /// A service is being stopped.
    Stop,
    /// Input that made a service fail again and again was dropped.
    Poison,
    /// Anything else.
    Other,
}

impl Kind {
    /// The word for the log line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        const WORDS: [&str; Kind::Other as usize + 1] =
            ["start", "exit", "accept", "refuse", "rest", "scarce", "open", "stop", "poison", "other"];
        WORDS[self as usize]
    }
}

/// Lines that were left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// What they were about.
    pub kind: Kind,
    /// Their key (the row of the service), if they all had the same.
    pub key: Option<u16>,
    /// How many.
    pub count: u32,
}

/// Whether a line may be written, and what to say before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Admission {
    /// The line may be written.
    pub write: bool,
    /// Lines that were left out in the interval before; to be told now, they are no longer counted here.
    pub left_out: Option<LeftOut>,
}

#[derive(Clone, Copy)]
struct Row {
    /// End of the interval; 0: the row was never used.
    until: Tick,
    count: u32,
    lines: u16,
    key: u16,
    kind: Kind,
    /// Lines with different kinds or keys were left out.
    mixed: bool,
}

/// The counters. The state at start is all zero.
pub struct Throttle {
    rows: [Row; ROWS],
    total_until: Tick,
    total: u16,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}

impl Throttle {
    /// No lines so far.
    #[must_use]
    pub const fn new() -> Self {
        let empty = Row { until: Tick(0), count: 0, lines: 0, key: 0, kind: Kind::Start, mixed: false };
        Self { rows: [empty; ROWS], total_until: Tick(0), total: 0 }
    }

    /// Asks whether a line of `kind` about `key` (the row of a service, or 0) may be written at `now`.
    pub fn admit(&mut self, kind: Kind, key: u16, now: Tick) -> Admission {
        let row = &mut self.rows[slot(kind, key)];
        let left_out = if now >= row.until { row.close() } else { None };
        if row.lines == 0 {
            row.until = now.after_ms(LOG_INTERVAL_MS);
        }
        if now >= self.total_until {
            self.total_until = now.after_ms(LOG_INTERVAL_MS);
            self.total = 0;
        }
        let write = row.lines < LOG_BURST && self.total < TOTAL_BURST;
        // `lines` also marks the interval as begun.
        row.lines = row.lines.saturating_add(1);
        if write {
            self.total += 1;
        } else {
            row.leave_out(kind, key);
        }
        Admission { write, left_out }
    }

    /// Hands every count whose interval has passed to `tell` and forgets it. For the loop, at [`Throttle::next_deadline`].
    pub fn flush(&mut self, now: Tick, mut tell: impl FnMut(LeftOut)) {
        for row in &mut self.rows {
            if now >= row.until
                && let Some(left_out) = row.close()
            {
                tell(left_out);
            }
        }
    }

    /// When [`Throttle::flush`] has something to tell next; [`Tick::NEVER`] while nothing was left out.
    #[must_use]
    pub fn next_deadline(&self) -> Tick {
        self.rows.iter().filter(|row| row.count > 0).map(|row| row.until).min().unwrap_or(Tick::NEVER)
    }

    /// [`Throttle::admit`], then the line at `level` through the `log` facade, after one for those left out before it.
    ///
    /// `args` is formatted only if the line is written.
    pub fn record(&mut self, kind: Kind, key: u16, now: Tick, level: Level, args: core::fmt::Arguments<'_>) {
        if level > log::max_level() {
            return;
        }
        let admission = self.admit(kind, key, now);
        if let Some(left_out) = admission.left_out {
            left_out.report();
        }
        if admission.write {
            log::log!(level, "{args}");
        }
    }
}

impl LeftOut {
    /// Writes the line for it at `info`: `left out lines=120 about=refuse`.
    pub fn report(self) {
        log::info!("left out lines={} about={}", self.count, self.kind.word());
    }
}

impl Row {
    /// Ends the interval; the lines that were left out in it, if any.
    const fn close(&mut self) -> Option<LeftOut> {
        let count = self.count;
        self.count = 0;
        self.lines = 0;
        if count == 0 {
            return None;
        }
        Some(LeftOut { kind: self.kind, key: if self.mixed { None } else { Some(self.key) }, count })
    }

    fn leave_out(&mut self, kind: Kind, key: u16) {
        if self.count == 0 {
            (self.kind, self.key, self.mixed) = (kind, key, false);
        } else if self.kind != kind || self.key != key {
            self.mixed = true;
        }
        self.count = self.count.saturating_add(1);
    }
}

/// The row of a key: the keys of one kind spread over the table, kinds shifted against each other.
const fn slot(kind: Kind, key: u16) -> usize {
    (kind as usize * 11 + key as usize) % ROWS
}

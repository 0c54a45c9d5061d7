//! Bounds the log in a storm: at most [`LOG_BURST`] lines of a kind in [`LOG_INTERVAL_MS`], and [`TOTAL_BURST`] of all
//! kinds together. What is left out is counted, and the count is told in one line when the interval has passed.
//!
//! Pure: time is an argument, nothing is written except by [`Throttle::record`].

use super::say;
use crate::limits::{LOG_BURST, LOG_INTERVAL_MS};
use crate::sys::clock::Tick;
use crate::text::worded;
use log::Level;

/// Lines of all kinds together in [`LOG_INTERVAL_MS`]: 30 lines of 100 bytes in 5 s, and a count of 50 bytes for each
/// of 32 rows, are 920 bytes a second.
const TOTAL_BURST: u16 = 3 * LOG_BURST;
/// Rows of the table. Two keys that fall into the same row share its burst, so fewer lines get through, never more.
const ROWS: usize = 32;

worded! {
    /// What a line is about: its first word. Lines of the same kind and key share one burst.
    pub enum Kind {
        /// A service was started, or could not be.
        Start = "start",
        /// A process of a service ended.
        Exit = "exit",
        /// A connection was taken.
        Accept = "accept",
        /// A connection or datagram was refused by a limit or an access rule.
        Refuse = "refuse",
        /// A service or listener rests until a known time.
        Rest = "rest",
        /// Descriptors, memory or processes have run out.
        Scarce = "scarce",
        /// An address could not be opened.
        Open = "open",
        /// A service is being stopped.
        Stop = "stop",
        /// Input that made a service fail again and again was dropped.
        Poison = "poison",
        /// The operator wants something.
        Order = "order",
        /// Anything else.
        Other = "note",
    }
}

/// Lines that were left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// What they were about; [`Kind::Other`] if not all about the same.
    pub kind: Kind,
    /// How many.
    pub count: u32,
}

#[derive(Clone, Copy)]
struct Row {
    /// End of the interval; 0: the row was never used.
    until: Tick,
    count: u32,
    lines: u16,
    kind: Kind,
}

/// The counters. The state at start is all zero.
pub struct Throttle {
    rows: [Row; ROWS],
    total_until: Tick,
    total: u16,
    /// Rows with lines that were left out.
    untold: u16,
}

impl Throttle {
    /// No lines so far.
    pub const NEW: Self = Self {
        rows: [Row { until: Tick(0), count: 0, lines: 0, kind: Kind::Start }; ROWS],
        total_until: Tick(0),
        total: 0,
        untold: 0,
    };

    /// Asks whether a line of `kind` about `key` (the row of a service, or 0) may be written at `now`. What was left
    /// out in the interval before is to be told first, and is no longer counted here.
    fn admit(&mut self, kind: Kind, key: u16, now: Tick) -> (bool, Option<LeftOut>) {
        let row = &mut self.rows[slot(kind, key)];
        let left_out = if now >= row.until { row.close(&mut self.untold) } else { None };
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
            self.untold += u16::from(row.count == 0);
            row.leave_out(kind);
        }
        (write, left_out)
    }

    /// Hands every count whose interval has passed to `tell` and forgets it. For the loop, at
    /// [`Throttle::next_deadline`].
    pub fn flush(&mut self, now: Tick, mut tell: impl FnMut(LeftOut)) {
        for row in &mut self.rows {
            if now >= row.until
                && let Some(left_out) = row.close(&mut self.untold)
            {
                tell(left_out);
            }
        }
    }

    /// When [`Throttle::flush`] has something to tell next; [`Tick::NEVER`] while nothing was left out.
    #[must_use]
    pub fn next_deadline(&self) -> Tick {
        if self.untold == 0 {
            return Tick::NEVER; // asked for in each turn
        }
        self.rows.iter().filter(|row| row.count > 0).map(|row| row.until).min().unwrap_or(Tick::NEVER)
    }

    /// Writes a line of `kind` about `key` (the row of a service, or 0) at `level`, which is wanted, if there were not
    /// too many, after one for those left out before it. `args` is formatted only then.
    pub fn record(&mut self, kind: Kind, key: u16, now: Tick, level: Level, args: core::fmt::Arguments<'_>) {
        let (write, left_out) = self.admit(kind, key, now);
        if let Some(left_out) = left_out {
            left_out.report();
        }
        if write {
            super::line(level, args);
        }
    }
}

impl LeftOut {
    /// Writes the line for it at `info`: `left out lines=120 about=refuse`.
    pub fn report(self) {
        say!(Info, "left out lines={} about={}", self.count, self.kind.word());
    }
}

impl Row {
    /// Ends the interval; the lines that were left out in it, if any, are no longer among those of `untold` rows.
    const fn close(&mut self, untold: &mut u16) -> Option<LeftOut> {
        let count = self.count;
        self.count = 0;
        self.lines = 0;
        if count == 0 {
            return None;
        }
        *untold -= 1;
        Some(LeftOut { kind: self.kind, count })
    }

    fn leave_out(&mut self, kind: Kind) {
        self.kind = if self.count == 0 || self.kind == kind { kind } else { Kind::Other };
        self.count = self.count.saturating_add(1);
    }
}

/// The row of a key: the keys of one kind spread over the table, kinds shifted against each other.
const fn slot(kind: Kind, key: u16) -> usize {
    (kind as usize * 11 + key as usize) % ROWS
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1000;
    const INTERVAL: u64 = LOG_INTERVAL_MS;

    #[test]
    fn a_burst_then_silence_then_the_count() {
        let mut throttle = Throttle::NEW;
        let start = Tick(100);
        for _ in 0..LOG_BURST {
            assert_eq!(throttle.admit(Kind::Refuse, 1, start), (true, None));
        }
        assert_eq!(throttle.next_deadline(), Tick::NEVER);
        for _ in 0..25 {
            let late = start.after_ms(INTERVAL - 1);
            assert_eq!(throttle.admit(Kind::Refuse, 1, late), (false, None));
        }
        assert_eq!(throttle.next_deadline(), start.after_ms(INTERVAL));
        let left_out = Some(LeftOut { kind: Kind::Refuse, count: 25 });
        let next = throttle.admit(Kind::Refuse, 1, start.after_ms(INTERVAL));
        assert_eq!(next, (true, left_out));
        assert_eq!(throttle.next_deadline(), Tick::NEVER);
    }

    #[test]
    fn the_loop_may_fetch_the_count() {
        let mut throttle = Throttle::NEW;
        for _ in 0..LOG_BURST + 3 {
            let _ = throttle.admit(Kind::Exit, 7, Tick(0));
        }
        let mut told = Vec::new();
        throttle.flush(Tick(INTERVAL - 1), |left_out| told.push(left_out));
        assert!(told.is_empty());
        throttle.flush(throttle.next_deadline(), |left_out| told.push(left_out));
        throttle.flush(Tick(2 * INTERVAL), |left_out| told.push(left_out));
        assert_eq!(told, [LeftOut { kind: Kind::Exit, count: 3 }]);
    }

    #[test]
    fn kinds_and_services_do_not_silence_each_other() {
        let mut throttle = Throttle::NEW;
        for _ in 0..100 {
            let _ = throttle.admit(Kind::Refuse, 1, Tick(0));
        }
        assert!(throttle.admit(Kind::Refuse, 2, Tick(0)).0);
        assert!(throttle.admit(Kind::Start, 1, Tick(0)).0);
    }

    #[test]
    fn keys_that_share_a_row_are_counted_together() {
        let mut throttle = Throttle::NEW;
        let far = u16::try_from(1 + ROWS).unwrap();
        for key in [1, far].repeat(usize::from(LOG_BURST)) {
            let _ = throttle.admit(Kind::Accept, key, Tick(0));
        }
        let next = throttle.admit(Kind::Accept, 1, Tick(INTERVAL));
        assert_eq!(next.1, Some(LeftOut { kind: Kind::Accept, count: u32::from(LOG_BURST) }));
    }

    #[test]
    fn kinds_that_share_a_row_are_not_told_as_one() {
        let mut throttle = Throttle::NEW;
        let shared = u16::try_from(ROWS + Kind::Accept as usize * 11 - Kind::Refuse as usize * 11 % ROWS).unwrap();
        assert_eq!(slot(Kind::Accept, 0), slot(Kind::Refuse, shared));
        for _ in 0..LOG_BURST {
            let _ = (throttle.admit(Kind::Accept, 0, Tick(0)), throttle.admit(Kind::Refuse, shared, Tick(0)));
        }
        let mut told = Vec::new();
        throttle.flush(Tick(INTERVAL), |left_out| told.push(left_out));
        assert_eq!(told, [LeftOut { kind: Kind::Other, count: u32::from(LOG_BURST) }]);
    }

    /// Whatever happens, less than 1 kB a second at 100 bytes a line, counts included.
    #[test]
    fn any_storm_is_bounded() {
        let mut throttle = Throttle::NEW;
        let (mut bytes, mut reported, mut written) = (0_u64, 0_u64, 0_u64);
        let seconds = 60;
        for ms in 0..seconds * SECOND {
            for kind in [Kind::Start, Kind::Exit, Kind::Accept, Kind::Refuse, Kind::Rest, Kind::Scarce] {
                let key = u16::try_from(ms % 512).unwrap();
                let (write, left_out) = throttle.admit(kind, key, Tick(ms));
                reported += left_out.map_or(0, |left_out| u64::from(left_out.count));
                written += u64::from(write);
                bytes += 100 * u64::from(write) + 50 * u64::from(left_out.is_some());
            }
        }
        assert!(bytes / seconds < 1000, "{bytes} bytes in {seconds} s");
        throttle.flush(Tick::NEVER, |left_out| reported += u64::from(left_out.count));
        assert_eq!(written + reported, seconds * SECOND * 6, "every event is told of or counted");
    }
}

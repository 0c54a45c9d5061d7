//! Limits over time, as pure arithmetic: time is an argument, nothing is ever refused for good.

use crate::handover::codec::record;
use crate::limits::{BACKOFF_CEILING_MS, BACKOFF_FIRST_MS};
use crate::plan::Rate;
use crate::sys::clock::Tick;

/// Counts events in a window that begins with the first of them. The initial state is all zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    begin: Tick,
    count: u32,
}

record!(Window: begin count);

impl Window {
    /// Whether one more event fits at `now`; if not, when the window ends.
    ///
    /// # Errors
    /// The end of the window, always later than `now`.
    pub fn check(&self, rate: Rate, now: Tick) -> Result<(), Tick> {
        let end = self.begin.after_ms(u64::from(rate.interval_ms));
        let unlimited = rate.burst == 0 || rate.interval_ms == 0;
        if unlimited || self.count < rate.burst || now >= end { Ok(()) } else { Err(end) }
    }

    /// Counts an event at `now`.
    pub fn count(&mut self, rate: Rate, now: Tick) {
        if self.count == 0 || now >= self.begin.after_ms(u64::from(rate.interval_ms)) {
            *self = Self { begin: now, count: 0 };
        }
        self.count = self.count.saturating_add(1);
    }
}

/// How long to rest after the `failures`-th failure in a row (from 1): doubles up to a ceiling.
pub fn backoff_ms(failures: u32) -> u64 {
    let doublings = failures.saturating_sub(1).min(16);
    (BACKOFF_FIRST_MS << doublings).min(BACKOFF_CEILING_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { interval_ms: 2000, burst: 3 };

    #[test]
    fn a_window_lets_its_burst_through_and_heals() {
        let mut window = Window::default();
        let start = Tick(10_000);
        for _ in 0..3 {
            assert_eq!(window.check(RATE, start), Ok(()));
            window.count(RATE, start);
        }
        assert_eq!(window.check(RATE, start.after_ms(1999)), Err(start.after_ms(2000)));
        assert_eq!(window.check(RATE, start.after_ms(2000)), Ok(()));
        window.count(RATE, start.after_ms(2000));
        assert_eq!(window.check(RATE, start.after_ms(2001)), Ok(()));
    }

    #[test]
    fn zero_means_no_limit() {
        let mut window = Window::default();
        for rate in [Rate { interval_ms: 0, burst: 1 }, Rate { interval_ms: 5, burst: 0 }] {
            for _ in 0..10 {
                window.count(rate, Tick(1));
                assert_eq!(window.check(rate, Tick(1)), Ok(()));
            }
        }
    }

    #[test]
    fn failures_in_a_row_are_a_handful_in_five_seconds() {
        let mut at = 0;
        let mut starts = 0;
        while at < 5000 {
            starts += 1;
            at += backoff_ms(starts);
        }
        assert!(starts <= 5, "{starts} starts");
        assert_eq!(backoff_ms(u32::MAX), BACKOFF_CEILING_MS);
    }
}

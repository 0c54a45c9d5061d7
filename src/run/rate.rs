//! MaxConnectionRate=: starts a minute and source. One fixed table for all services; a source that comes back after a
//! minute begins anew, and where the table is full the source that began longest ago gives way: then a limit may let
//! too many through, never too few.

use crate::handover::codec::{Field, record};
use crate::limits::RATES;
use crate::peer::Source;
use crate::sys::clock::Tick;
use crate::text::{HASH_START, hash};

/// The window of MaxConnectionRate=.
const WINDOW_MS: u64 = 60_000;
/// Places at which a source can stand.
const PLACES: usize = 8;

/// What one source has started of one service. All zero: free.
#[derive(Clone, Copy)]
pub(super) struct Rate {
    pub(super) service: u16,
    source: Source,
    count: u32,
    /// When the first of them came.
    begin: Tick,
}
record!(Rate: service source count begin);

/// The counters. The state at start is all zero.
pub struct Rates([Rate; RATES]);

impl Rates {
    /// No connections so far.
    pub const NEW: Self = Self([Rate::BLANK; RATES]);

    /// Counts a connection of `source` to a service at `now`, unless there were `most` within the last minute. False:
    /// there were.
    pub fn admit(&mut self, service: u16, source: Source, most: u32, now: Tick) -> bool {
        let start = place(service, &source);
        let mut best = start;
        for step in 0..PLACES {
            let index = (start + step) % RATES;
            let Some(row) = self.0.get_mut(index) else { continue };
            let over = row.count == 0 || now.since_ms(row.begin) >= WINDOW_MS;
            if row.count > 0 && row.service == service && row.source == source {
                if over {
                    (row.count, row.begin) = (0, now);
                }
                let admitted = row.count < most;
                row.count = row.count.saturating_add(u32::from(admitted));
                return admitted;
            }
            let begin = if over { Tick(0) } else { row.begin };
            if self.0.get(best).is_some_and(|best| best.count > 0 && begin < best.begin) {
                best = index;
            }
        }
        if let Some(row) = self.0.get_mut(best) {
            *row = Rate { service, source, count: 1, begin: now };
        }
        true
    }

    /// What is counted.
    pub(super) fn each(&self) -> impl Iterator<Item = &Rate> {
        self.0.iter().filter(|row| row.count > 0)
    }

    /// Puts a row of [`Rates::each`] back, if there is a place for it.
    pub(super) fn restore(&mut self, rate: Rate) {
        let start = place(rate.service, &rate.source);
        let mut places = (start..start + PLACES).map(|index| index % RATES);
        let free = places.find(|index| self.0.get(*index).is_some_and(|row| row.count == 0));
        if let Some(row) = free.and_then(|index| self.0.get_mut(index)) {
            *row = rate;
        }
    }
}

/// Where a source of a service is looked for first.
fn place(service: u16, source: &Source) -> usize {
    let hash = hash(hash(HASH_START, &source.0), &service.to_ne_bytes());
    usize::try_from(hash % RATES as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u32) -> Source {
        let mut bytes = [0; 16];
        bytes[12..].copy_from_slice(&number.to_be_bytes());
        Source(bytes)
    }

    #[test]
    fn each_source_has_its_own_minute() {
        let mut rates = Box::new(Rates::NEW);
        let now = Tick(5_000_000);
        for _ in 0..3 {
            assert!(rates.admit(0, source(1), 3, now));
        }
        assert!(!rates.admit(0, source(1), 3, now.after_ms(59_999)));
        assert!(rates.admit(0, source(2), 3, now));
        assert!(rates.admit(1, source(1), 3, now));
        assert!(rates.admit(0, source(1), 3, now.after_ms(60_000)));
    }

    #[test]
    fn a_full_table_forgets_the_oldest() {
        let mut rates = Box::new(Rates::NEW);
        let many = u32::try_from(RATES).unwrap() * 4;
        for number in 0..many {
            assert!(rates.admit(0, source(number), 1, Tick(1_000 + u64::from(number))), "nobody is refused for others");
        }
        let last = Tick(1_000 + u64::from(many));
        let refused = (0..many).rev().filter(|number| !rates.admit(0, source(*number), 1, last)).count();
        assert!(refused > RATES / 8, "{refused}");
    }
}

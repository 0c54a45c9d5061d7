//! What is counted for a service.

use crate::handover::codec::record;

/// Upper bounds of the buckets in which the times of starts are counted, in microseconds; the last has none.
pub const BOUNDS_US: [u32; 7] = [250, 500, 1_000, 2_000, 5_000, 20_000, 100_000];

/// How long starts took, from the moment the loop woke up for the knock until the program was executed. All zero at
/// first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Starts {
    /// The last one, in microseconds.
    pub last_us: u32,
    /// The longest one.
    pub worst_us: u32,
    /// All of them together.
    pub sum_us: u64,
    /// How many were within each of [`BOUNDS_US`] and not within the one before.
    pub buckets: [u32; BOUNDS_US.len() + 1],
}

record!(Starts: last_us worst_us sum_us buckets);

impl Starts {
    /// Counts one.
    pub fn count(&mut self, us: u32) {
        (self.last_us, self.worst_us) = (us, self.worst_us.max(us));
        self.sum_us = self.sum_us.saturating_add(us.into());
        let bucket = BOUNDS_US.iter().position(|&bound| us <= bound).unwrap_or(BOUNDS_US.len());
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
    }

    /// How many.
    pub fn total(&self) -> u64 {
        self.buckets.iter().map(|&count| u64::from(count)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::codec::Field;

    #[test]
    fn starts_fall_into_the_bucket_of_their_bound() {
        let mut starts = Starts::BLANK;
        for us in [0, 250, 251, 100_000, 100_001, u32::MAX] {
            starts.count(us);
        }
        assert_eq!(starts.buckets, [2, 1, 0, 0, 0, 0, 1, 2]);
        assert_eq!((starts.total(), starts.last_us, starts.worst_us), (6, u32::MAX, u32::MAX));
    }
}

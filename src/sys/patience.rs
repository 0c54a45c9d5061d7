//! How long a start waits for memory and descriptors: not at all, unless somebody has said so.

use core::sync::atomic::{AtomicU32, Ordering};
use rustix::thread::{NanosleepRelativeResult, Timespec, nanosleep};

use crate::limits::PAUSE_MS;

/// Pauses that are left.
static LEFT: AtomicU32 = AtomicU32::new(0);

/// So many pauses may be made from now on.
pub fn set(pauses: u32) {
    LEFT.store(pauses, Ordering::Relaxed);
}

/// Waits a little. How many pauses were left; 0: none, and it has not waited.
pub fn pause() -> u32 {
    let left = LEFT.load(Ordering::Relaxed);
    if left > 0 {
        set(left - 1);
        let mut rest = Timespec { tv_sec: 0, tv_nsec: (PAUSE_MS * 1_000_000).into() };
        while let NanosleepRelativeResult::Interrupted(left) = nanosleep(&rest) {
            rest = left;
        }
    }
    left
}

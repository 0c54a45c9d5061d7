//! Time for the loop: milliseconds of the monotonic clock. Wall time is for display only.

/// A moment on the monotonic clock, in milliseconds since boot. It does not jump when the wall clock is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u64);

impl Tick {
    /// A moment that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// This moment, which is not [`Tick::NEVER`], `ms` milliseconds later.
    #[must_use]
    pub const fn after_ms(self, ms: u64) -> Self {
        Self(self.0 + ms) // a clock that begins with the boot does not come near the end
    }

    /// Milliseconds since `earlier`; 0 if that is not earlier.
    pub const fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Now (clock_gettime(2), `CLOCK_MONOTONIC`).
pub fn now() -> Tick {
    Tick(now_us() / 1000)
}

/// Now, in microseconds since boot.
pub fn now_us() -> u64 {
    read_us(libc::CLOCK_MONOTONIC)
}

/// Milliseconds since boot, those included in which the machine was suspended (`CLOCK_BOOTTIME`).
pub fn since_boot_ms() -> u64 {
    read_us(libc::CLOCK_BOOTTIME) / 1000
}

/// The wall clock, in milliseconds since 1970. For display only.
pub fn wall_ms() -> u64 {
    read_us(libc::CLOCK_REALTIME) / 1000
}

/// The wall clock, in seconds since 1970. For display only.
pub fn wall_seconds() -> u64 {
    wall_ms() / 1000
}

/// The wall clock at this second of 1970 in UTC: year, month and day from 1, hour, minute, second. The date by Howard
/// Hinnant's `civil_from_days`: years begin in March, so that a leap day is the last of its year.
pub fn date(seconds: u64) -> [u32; 6] {
    let days = u32::try_from(seconds / 86_400).unwrap_or(0).wrapping_add(719_468);
    let second = u32::try_from(seconds % 86_400).unwrap_or(0);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u32::from(month <= 2);
    [year, month, day, second / 3600, second / 60 % 60, second % 60]
}

/// As struct timespec with a time of 64 bits: where a long has 32, the other half of `nanoseconds` is padding.
#[repr(C)]
#[derive(Default)]
struct Moment {
    seconds: i64,
    nanoseconds: i64,
}

unsafe extern "C" {
    /// By the C library, which reads the kernel's page for it (vdso(7)) as rustix does, with less code.
    #[cfg_attr(target_pointer_width = "32", link_name = "__clock_gettime64")]
    fn clock_gettime(clock: libc::clockid_t, now: *mut Moment) -> core::ffi::c_int;
}

fn read_us(clock: libc::clockid_t) -> u64 {
    let mut now = Moment::default();
    // SAFETY: it fills in what is ours, and leaves the padding as it is: 0.
    unsafe { clock_gettime(clock, &raw mut now) };
    let seconds = u64::try_from(now.seconds).unwrap_or(0);
    let microseconds = u32::try_from(now.nanoseconds).unwrap_or(0) / 1000;
    seconds * 1_000_000 + u64::from(microseconds) // enough for half a million years
}

/// Does nothing for a while; only for faults that would make the loop spin.
pub fn pause_ms(ms: u32) {
    // below 2^31, which is what the field holds on machines where the C library defines it
    let nanoseconds = i32::try_from(ms.min(999)).unwrap_or(0).saturating_mul(1_000_000);
    let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: nanoseconds.into() };
    let _ = rustix::event::poll(&mut [], Some(&pause)); // an interruption ends it early
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, [1970, 1, 1, 0, 0, 0]),
            (951_782_400, [2000, 2, 29, 0, 0, 0]),
            (1_709_251_199, [2024, 2, 29, 23, 59, 59]),
            (4_107_542_400, [2100, 3, 1, 0, 0, 0]),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }
}

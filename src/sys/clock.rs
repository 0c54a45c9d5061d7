//! Time for the loop: milliseconds of the monotonic clock. Wall time is for display only.

/// A moment on the monotonic clock, in milliseconds since boot. It does not jump when the wall clock is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u64);

impl Tick {
    /// A moment that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// This moment `ms` milliseconds later, at most [`Tick::NEVER`].
    #[must_use]
    pub const fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
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

/// The wall clock, in milliseconds since 1970. For display only.
pub fn wall_ms() -> u64 {
    read_us(libc::CLOCK_REALTIME) / 1000
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
    let microseconds = u64::try_from(now.nanoseconds).unwrap_or(0) / 1000;
    seconds.saturating_mul(1_000_000).saturating_add(microseconds)
}

/// Does nothing for a while; only for faults that would make the loop spin.
pub fn pause_ms(ms: u32) {
    // below 2^31, which is what the field holds on machines where the C library defines it
    let nanoseconds = i32::try_from(ms.min(999)).unwrap_or(0).saturating_mul(1_000_000);
    let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: nanoseconds.into() };
    let _ = rustix::event::poll(&mut [], Some(&pause)); // an interruption ends it early
}

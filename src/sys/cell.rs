//! A place for a table that exists once: it lies in `.bss`, where what is not touched costs no RAM.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// Holds a value that can be borrowed for ever, once.
pub struct Once<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the only way to the value is `take`, which gives it out once.
unsafe impl<T: Send> Sync for Once<T> {}

impl<T> Once<T> {
    /// A value that nobody has borrowed yet.
    pub const fn new(value: T) -> Self {
        Self { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// The value, the first time; then `None`.
    #[allow(clippy::mut_from_ref, reason = "given out once, see the flag")]
    pub fn take(&'static self) -> Option<&'static mut T> {
        if self.taken.swap(true, Ordering::AcqRel) {
            return None;
        }
        // SAFETY: the flag was false, so no other reference has been or will be given out.
        Some(unsafe { &mut *self.value.get() })
    }
}

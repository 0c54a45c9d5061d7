//! A place for a table that exists once: it lies in `.bss`, where what is not touched costs no RAM.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Holds a value that can be borrowed for ever, once.
#[repr(C)] // the flag and what the value begins with share a page
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

/// A value that is made in its place by the first who asks for it.
pub struct Filled<T> {
    state: AtomicU8,
    value: UnsafeCell<T>,
}

/// States of [`Filled`].
const EMPTY: u8 = 0;
const FILLING: u8 = 1;
const FULL: u8 = 2;

// SAFETY: the value is changed by one thread, before anybody has a reference to it.
unsafe impl<T: Send + Sync> Sync for Filled<T> {}

impl<T> Filled<T> {
    /// What is to be filled in.
    pub const fn new(value: T) -> Self {
        Self { state: AtomicU8::new(EMPTY), value: UnsafeCell::new(value) }
    }

    /// The value; `fill` makes it if nobody has asked before, and must not ask for it itself.
    pub fn get(&'static self, fill: impl FnOnce(&mut T)) -> &'static T {
        if self.state.compare_exchange(EMPTY, FILLING, Ordering::Acquire, Ordering::Acquire).is_ok() {
            // SAFETY: the state was `EMPTY`, so nobody has a reference, and nobody gets one before it is `FULL`.
            fill(unsafe { &mut *self.value.get() });
            self.state.store(FULL, Ordering::Release);
        }
        while self.state.load(Ordering::Acquire) != FULL {
            core::hint::spin_loop(); // another thread fills it
        }
        // SAFETY: nobody changes it any more.
        unsafe { &*self.value.get() }
    }
}

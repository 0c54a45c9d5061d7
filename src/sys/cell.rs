//! A place for a table that exists once: it lies in `.bss`, where what is not touched costs no RAM.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Declares a static that is large and all zero at first. It lies in a section of its own behind `.bss`, so that what
/// is small there shares the page of `.data`.
macro_rules! large {
    ($(#[$meta:meta])* static $name:ident: $type:ty = $value:expr;) => {
        $(#[$meta])*
        #[allow(unsafe_code, reason = "the section is one like .bss")]
        #[unsafe(link_section = ".sbss")]
        static $name: $type = $value;
    };
}
pub(crate) use large;

/// Which of the values of the one [`Both`] of the program have been given out. Not in there: it lies among what is
/// small.
static TAKEN: [AtomicBool; 2] = [AtomicBool::new(false), AtomicBool::new(false)];

/// Holds two values that can be borrowed for ever, each once. Of several of these only one gives out its values.
#[repr(C)]
pub struct Both<A, B> {
    first: UnsafeCell<A>,
    second: UnsafeCell<B>,
}

// SAFETY: the only ways to the values are `first` and `second`, which give each out once.
unsafe impl<A: Send, B: Send> Sync for Both<A, B> {}

impl<A, B> Both<A, B> {
    /// Values that nobody has borrowed yet.
    pub const fn new(first: A, second: B) -> Self {
        Self { first: UnsafeCell::new(first), second: UnsafeCell::new(second) }
    }

    /// The first value, the first time; then `None`.
    #[allow(clippy::mut_from_ref, reason = "given out once, see the flag")]
    pub fn first(&'static self) -> Option<&'static mut A> {
        let taken = TAKEN[0].swap(true, Ordering::AcqRel);
        // SAFETY: if the flag was false, no other reference has been or will be given out.
        (!taken).then(|| unsafe { &mut *self.first.get() })
    }

    /// The second value, the first time; then `None`.
    #[allow(clippy::mut_from_ref, reason = "given out once, see the flag")]
    pub fn second(&'static self) -> Option<&'static mut B> {
        let taken = TAKEN[1].swap(true, Ordering::AcqRel);
        // SAFETY: as above.
        (!taken).then(|| unsafe { &mut *self.second.get() })
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

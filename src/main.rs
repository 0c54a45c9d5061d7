//! The `dormouse` program: everything is in the library.
//!
//! The entry point is that of C, because the start of Rust's runtime takes a stack for a handler that we never need
//! and leaves blocks on the heap that would outlive the seal: five pages of RAM.
#![no_main]
#![allow(unsafe_code)]

use core::ffi::{c_char, c_int};

/// Memory is taken while the program starts, and never again.
#[global_allocator]
static HEAP: dormouse::seal::StartupHeap = dormouse::seal::StartupHeap;

/// The program.
///
/// # Safety
/// Called once, by the C library, with the words of the command line.
// SAFETY: no other function of this name is linked: the library has none, and Rust makes none with `no_main`.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(count: c_int, words: *const *const c_char) -> c_int {
    dormouse::handover::be_patient();
    // SAFETY: by the contract above.
    let words = unsafe { dormouse::sys::environment::arguments(count, words) };
    c_int::from(dormouse::commands::main(words))
}

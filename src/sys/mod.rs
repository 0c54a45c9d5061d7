//! The door to the kernel: what rustix does not wrap, and the only place with `unsafe` beside the allocator seal.
//!
//! Everything here is a thin, safe function over one system call or one C library call. No policy, no logging.
#![allow(unsafe_code)]

pub mod cell;
pub mod clock;
pub mod environment;
pub mod errno;
pub mod file;
pub mod fork;
pub mod memory;
pub mod patience;
pub mod proc;
pub mod process;
#[cfg(test)]
pub mod random;
pub mod rows;
pub mod signal;
pub mod socket;
pub mod stdio;
#[cfg(test)]
pub mod testing;
pub mod users;
pub mod vsock;
pub mod wait;

//! The `dormouse` program: everything is in the library.

use std::process::ExitCode;

/// Memory is taken while the program starts, and never again.
#[global_allocator]
static HEAP: dormouse::seal::StartupHeap = dormouse::seal::StartupHeap;

fn main() -> ExitCode {
    dormouse::commands::main()
}

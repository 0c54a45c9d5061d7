//! The exit codes: what a script or a supervisor can rely on.

/// Done.
pub const DONE: u8 = 0;
/// The answer is no: the service is not known, the daemon is not there, not all of the configuration can be used, the
/// output could not be written.
pub const NO: u8 = 1;
/// Wrong usage: the command line is not understood.
pub const USAGE: u8 = 2;
/// A system call failed at start-up (`EX_OSERR` of sysexits.h).
pub const SYSTEM: u8 = 71;
/// The configuration is faulty (`EX_CONFIG` of sysexits.h).
pub const CONFIG: u8 = 78;

//! The config station: text becomes plain data.
//!
//! ```text
//! files --lex--> lines --native, unit, xinetd--> Draft --check--> Draft with faults --> plan
//!                               |  value, by the syntax in the directive table
//! ```
//!
//! It reads files and nothing else: users, ports, programs and the state of the machine are the business of the plan
//! station, so that `check` gives the same answer on the build host as on the board. It runs before the seal and may
//! allocate. It must never end at the first fault: all faults of all files are reported in one run.

mod address;
mod check;
mod collide;
mod command;
mod directive;
mod draft;
mod fault;
mod files;
mod foreign;
mod inetd;
mod left_out;
mod lex;
mod message;
mod names;
mod native;
mod own_port;
mod print;
mod problem;
#[cfg(test)]
mod random_tests;
mod render;
mod scalar;
mod specifier;
mod suggest;
mod table;
mod unit;
mod unit_files;
mod value;
mod words;
mod xinetd;

pub use address::{Kind, Listen, ListenAddress, Prefix};
pub use check::check;
pub use command::{Command, PROGRAM_PATH, expand, find_program, is_per_start};
pub use directive::{Directive, Group, Id, Syntax, Unit};
pub use draft::{Draft, MUX, ServiceDraft, locate};
pub use fault::{Fault, Place, Severity, Sources, at_most, tell};
pub use files::{read, read_as, read_text};
pub use foreign::{Foreign, foreign};
pub use inetd::Inetd;
pub use left_out::Tolerance;
pub use message::Code;
pub use names::{capabilities_text, resource, signal_name, signal_word};
pub use native::check_name;
pub use print::{octal, print, print_service};
pub use problem::{Parsed, Problem};
pub use render::escaped;
pub use value::{INFINITY, Value, is_variable, optional};
pub use words::{INSTANCE, INSTANCE_ENDS, INSTANCE_PATH, INSTANCE_START, command_line, instances, quote};

//! Dormouse holds the sockets of services that sleep, and starts a service when somebody knocks.
//!
//! This is the map of the source. The way of the data is one straight line, and the modules are its stations:
//!
//! ```text
//! argv -> cli -> config -> plan -> open -> seal ======> run -> spawn -> exec'd child
//!                text to   plain   users,  nothing      the loop: one thread, epoll,
//!                plain     data    ports,  allocates    fixed tables
//!                data              sockets from here
//! ```
//!
//! # The stations
//!
//! A module uses only those above it; `tests/tidy.rs` reads the `use crate::` lines and fails otherwise.
//!
//! | module | turns | into | never |
//! |---|---|---|---|
//! | [`limits`] | | every capacity, size and time, with unit and reason | |
//! | [`text`] | | lines and numbers in fixed buffers | allocates |
//! | [`sys`] | | thin, safe functions over system calls: the one door to the kernel beside rustix | decides |
//! | [`seal`] | the heap of the start | no heap | |
//! | [`packed`] | texts that are packed by the compiler | the texts | is asked after the seal |
//! | [`peer`] | an accepted connection | who is at its other end | |
//! | [`logging`] | an event | one bounded line | blocks, allocates after the seal |
//! | [`cli`] | argv | options, or an error that says what was expected | asks the system |
//! | [`config`] | text | a draft: plain data with a place in a file for each value; faults | looks names up |
//! | [`plan`] | the draft | numbers and bytes in fixed tables; users, groups and ports are looked up here | opens |
//! | [`open`] | rows of the plan | listening sockets, now or when an address appears | logs, waits |
//! | [`spawn`] | a row and a socket | a process; between clone and exec there are system calls only | allocates |
//! | [`notify`] | "ready" | a word to systemd, OpenRC or s6 | blocks |
//! | [`detach`] | a foreground process | a daemon with an honest exit code, and a locked pid file | |
//! | [`control`] | | the words of the control socket, for both of its sides | decides |
//! | [`handover`] | what one image of this process leaves | what the next one begins with | believes |
//! | [`run`] | events | decisions: start, rest, refuse, reap, stop | ends because of an error |
//! | [`commands`] | options | the story of each command, in order | |
//!
//! # Where to look
//!
//! - What a directive means: its row in `config/table.rs`; which socket option it sets: `plan/sockets.rs`; what the
//!   child does for it: `plan/privileges.rs` makes the steps, `spawn/setup.rs` carries them out.
//! - The order of work in one turn of the loop: `run/event_loop.rs`. A knock goes on to `run/service.rs` (Accept=no) or
//!   `run/accept.rs` (Accept=yes, and from there to `run/forward.rs` with ConnectTo=), a death to `run/reap.rs`, a
//!   failure to `run/failure.rs`.
//! - Sleep: `run/idle.rs` decides, `open/connections.rs` asks the kernel who is connected; memory: `run/pressure.rs`.
//! - Who asks about all this: `control` has the protocol, `run/control.rs` answers, `run/order.rs` obeys,
//!   `commands/ask` is the other side.
//! - Reload and upgrade: the story is told in [`handover`], its steps are in `run/reload.rs` (before exec) and
//!   `run/resume.rs` (after it), and a field that must live on has its place in `run/state.rs`.
//! - What changes while the program runs: `run/tables.rs`. What does not: [`plan::Plan`].
//! - The words of a fault in a configuration: `config/message.rs`; of one in a command line: `cli/say.rs`; of a failed
//!   system call: `sys/errno.rs`; what commands tell: `commands/say.rs`.
//! - Commands, options and their help: `cli/table.rs`. Man pages, completions and tables of the README are made from
//!   that and from the directive table by `tests/generated`.
//!
//! # Laws of the loop
//!
//! Deaths come before new work, so that what they free counts in the same turn. The work of a turn is bounded: so many
//! events, so many reaped children, one connection for each event. Time is read once a turn and is an argument
//! everywhere else. A limit or a want is a rest with a known end, after which everything goes on by itself; a listener
//! that rests is taken out of epoll and never closed. While nothing happens nothing runs: no timer is armed.
//!
//! # Tried or weighed, and dropped
//!
//! - `simple_logger` for all lines: it allocates for each record and ends the program when standard error is gone. It
//!   writes until the seal; then the sink of [`logging`] takes over.
//! - `format!` for the errors of the command line: each use brought its own code, 5 kB of flash for the same texts.
//!   They are templates in a packed table.
//! - A parser for each directive: one store and one reader by the syntax in the table are smaller, and cannot differ
//!   from the manual.
//! - strerror(3): it speaks differently on each C library, and costs more flash than a table of our own.
//! - One policy for each service: services with equal settings share a row, and equal pieces of text are stored once.
//! - Help texts within the rows of the directive table: a program that never shows them would carry them all the same.
//! - fork(2) for starting services: it copies the page tables, and a failed exec is known too late. The child shares
//!   our memory until it executes, and leaves the failed step there; emulators that turn this into a fork are served by
//!   a pipe.
//! - Closing a listener that is over a limit, as inetds do: its clients are turned away, and another program may take
//!   the port.

pub mod cli;
pub mod commands;
pub mod config;
pub mod control;
pub mod detach;
pub mod handover;
pub mod limits;
pub mod logging;
pub mod notify;
pub mod open;
pub mod packed;
pub mod peer;
pub mod plan;
pub mod run;
pub mod seal;
pub mod spawn;
pub mod sys;
pub mod text;

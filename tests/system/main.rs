//! The system tests: the `dormouse` binary as a black box, with real services, real clients and the known traps.
//!
//! Every test runs in a thread and a temporary folder of its own; for root also in a network namespace of its own, so
//! that tests run side by side and may use any address. What a test needs (root, a program, a kernel feature) stands
//! beside its name; where that is missing, the test is reported as ignored, with the reason.
//!
//! `system --as-service MODE` is the other side of many tests: the same executable as a small service or wrapper, see
//! [`stand_in`].

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::wildcard_imports
)]
#![allow(missing_docs, unsafe_code)]

mod activate;
mod adopt;
mod awake;
mod client;
mod commands;
mod control;
mod convert;
mod daemon;
mod faults;
mod filters;
mod forward;
mod forward_peers;
mod forward_stress;
mod hammer;
mod harness;
mod hostile;
mod idle;
mod inetd;
mod inetd_corpus;
mod inetd_peers;
mod inetutils;
mod left_behind;
mod lifecycle;
mod limits;
mod linger;
mod listen_protocol;
mod logs;
mod netns;
mod pressure;
mod privileges;
#[path = "../../src/sys/random.rs"]
mod random;
mod ready;
mod reload;
mod reload_commands;
mod reload_faults;
mod reload_load;
mod samples;
mod sandbox;
mod scarce;
mod seldom;
mod serve;
mod sleep;
mod sockopts;
mod stand_in;
mod storms;
mod surroundings;
mod trace;
mod traps_net;
mod traps_process;
mod units;
mod unix;

use harness::Test;
use libtest_mimic::Arguments;

/// Whether this process is no test, but what a test has started: it has done its work then.
fn is_stand_in() -> bool {
    let argv: Vec<String> = std::env::args().collect();
    if let Some(report) = stand_in::line_of_corpus() {
        stand_in::inherited(&report);
    } else if let Some(part) = std::env::var_os("DORMOUSE_HANDOVER") {
        reload::check_for_another_version(&part.to_string_lossy());
    } else if argv.get(1).is_some_and(|word| word == "--as-service") {
        stand_in::run(&argv[2..]);
    } else {
        return false;
    }
    true
}

fn main() {
    if is_stand_in() {
        return;
    }
    raise_descriptor_limit();
    keep_to_ourselves();
    let mut arguments = Arguments::from_args();
    // Most tests wait for something to happen or not to happen, so more of them than processors run at once.
    arguments.test_threads.get_or_insert(12);
    let all: &[&[Test]] = &[
        serve::TESTS,
        samples::TESTS,
        sandbox::TESTS,
        listen_protocol::TESTS,
        adopt::TESTS,
        storms::TESTS,
        control::TESTS,
        scarce::TESTS,
        seldom::TESTS,
        traps_process::TESTS,
        traps_net::TESTS,
        faults::TESTS,
        forward::TESTS,
        forward_peers::TESTS,
        forward_stress::TESTS,
        limits::TESTS,
        filters::TESTS,
        units::TESTS,
        unix::TESTS,
        netns::TESTS,
        lifecycle::TESTS,
        privileges::TESTS,
        sockopts::TESTS,
        activate::TESTS,
        commands::TESTS,
        logs::TESTS,
        ready::TESTS,
        reload::TESTS,
        reload_commands::TESTS,
        reload_faults::TESTS,
        reload_load::TESTS,
        hostile::TESTS,
        left_behind::TESTS,
        linger::TESTS,
        surroundings::TESTS,
        idle::TESTS,
        inetd::TESTS,
        inetd_peers::TESTS,
        inetutils::TESTS,
        inetd_corpus::TESTS,
        convert::TESTS,
        idle::STOP_TESTS,
        sleep::TESTS,
        pressure::TESTS,
    ];
    let trials = all
        .iter()
        .flat_map(|tests| tests.iter())
        .map(Test::trial)
        .chain(faults::table())
        .chain(hammer::table())
        .chain(awake::table())
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}

/// What cargo, or whoever called it, left open or ignored is nothing that a daemon should inherit by chance.
fn keep_to_ourselves() {
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: no handler is set. A shell without job control ignores both in what it starts in the background.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    for fd in 3..1024 {
        // SAFETY: sets a flag of a descriptor, or fails where there is none.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Some tests open thousands of connections; the soft limit is often a thousand.
fn raise_descriptor_limit() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let wanted = limit.maximum.map_or(8192, |maximum| maximum.min(8192));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit);
    }
}

//! Each system call that the loop makes fails a few times, by strace: afterwards the daemon lives, clients are served, it
//! has said little and it does not spin.

use crate::client::*;
use crate::daemon::Daemon;
use crate::harness::{Ctx, Need, Need::*, Test, sleep_ms, stand_in, trial, wait_until, within};
use crate::test;
use crate::trace::Trace;
use libtest_mimic::Trial;
use std::time::Duration;

const STRACE: &[Need] = &[Prog("strace")];

/// What the loop calls, and how the kernel may refuse it. `?` lets strace pass over a name that a machine lacks.
const FAULTS: &[(&str, &str, &[&str])] = &[
    ("epoll_wait", "?epoll_wait,?epoll_pwait,?epoll_pwait2", &["EINTR"]),
    ("accept4", ACCEPT, &["EINTR", "EAGAIN", "ECONNABORTED", "EMFILE", "ENFILE", "ENOMEM", "ENOBUFS"]),
    ("accept4", ACCEPT, &["EPERM", "EPROTO", "ENETDOWN", "EHOSTUNREACH", "ETIMEDOUT"]),
    ("clone", "?clone,?clone3,?fork,?vfork", &["EAGAIN", "ENOMEM"]),
    ("read", "read", &["EINTR", "EAGAIN"]),
    ("wait", "wait4,waitid", &["EINTR"]),
    ("epoll_ctl", "epoll_ctl", &["ENOMEM", "ENOSPC"]),
    ("close", "close", &["EINTR", "EIO"]),
    ("write", "write,writev,sendto,sendmsg", &["EAGAIN", "EPIPE", "EIO"]),
    ("fcntl", "fcntl", &["EINVAL"]),
    ("sockopt", "setsockopt,getsockopt,getpeername,getsockname", &["ENOBUFS", "ENOTCONN", "EINVAL"]),
    ("timer", "?timerfd_settime,?timerfd_create", &["ENOMEM"]),
];

const ACCEPT: &str = "accept4,?accept";

pub const TESTS: &[Test] = &[
    test!(emfile_for_five_seconds, Prog("strace")),
    test!(clone_eagain_for_five_seconds, Prog("strace")),
    test!(setsockopt_fails_at_start, Prog("strace")),
    test!(fcntl_fails_at_start, Prog("strace")),
    test!(kill_says_that_there_is_no_such_process, Prog("strace")),
    test!(socket_without_memory_at_start, Prog("strace")),
];

/// One test for each system call and error.
pub fn table() -> Vec<Trial> {
    let pairs = FAULTS.iter().flat_map(|(name, calls, errors)| errors.iter().map(move |error| (name, calls, error)));
    let per_connection = pairs.clone().map(|(name, calls, error)| {
        trial(format!("faults::{name}_{error}"), STRACE, move |ctx| one_fault(ctx, calls, error, true))
    });
    let listening = pairs.map(|(name, calls, error)| {
        trial(format!("faults::{name}_{error}_accept_no"), STRACE, move |ctx| one_fault(ctx, calls, error, false))
    });
    per_connection.chain(listening).collect()
}

/// Connects and reads what comes first; a connection may be refused or closed while the fault lasts.
fn first_words(port: u16) -> String {
    let Ok(mut client) = try_connect(local(port), Duration::from_secs(5)) else { return String::new() };
    client.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    let mut buffer = [0; 100];
    let length = std::io::Read::read(&mut client, &mut buffer).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

fn assert_well(daemon: &mut Daemon, port: u16) {
    assert!(daemon.alive(), "the daemon has ended");
    wait_until("a client is served", || first_words(port).starts_with("here"));
    sleep_ms(300);
    let cost = daemon.cost(|| sleep_ms(1000));
    assert!(cost.cpu_ms < 100, "{} ms of CPU in an idle second", cost.cpu_ms);
    assert!(first_words(port).starts_with("here"), "the next client is served, too");
    assert!(daemon.log_bytes() < 8000, "{} bytes of log", daemon.log_bytes());
    assert!(daemon.alive());
}

fn config(port: u16, per_connection: bool) -> String {
    let (accept, exec) =
        if per_connection { ("Accept=yes\n", "/bin/echo here".into()) } else { ("", stand_in("answer here 1")) };
    format!("[x]\nListenStream=127.0.0.1:{port}\n{accept}ExecStart={exec}\n")
}

fn one_fault(ctx: &mut Ctx, calls: &str, error: &str, per_connection: bool) {
    let port = ctx.port();
    let mut daemon = ctx.start(&config(port, per_connection));
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:error={error}:when=1..3"));
    let trace = Trace::attach(&daemon, &ctx.path("trace"), &["-e", &trace, "-e", &inject]);
    let keeps_its_client = calls == ACCEPT;
    for _ in 0..3 {
        let words = first_words(port);
        assert!(
            !keeps_its_client || words.starts_with("here"),
            "a client that waits in the queue is served: {words:?}"
        );
    }
    assert_well(&mut daemon, port);
    trace.end();
    assert_well(&mut daemon, port);
}

/// A long shortage of descriptors: the listener rests, the client stays queued and is served when it is over.
fn emfile_for_five_seconds(ctx: &mut Ctx) {
    let port = ctx.port();
    let mut daemon = ctx.start(&config(port, true));
    let inject = format!("inject={ACCEPT}:error=EMFILE");
    let trace = Trace::attach(&daemon, &ctx.path("trace"), &["-e", &format!("trace={ACCEPT}"), "-e", &inject]);
    let clients: Vec<_> = (0..5).map(|_| connect(port)).collect();
    let cost = daemon.cost(|| sleep_ms(5000));
    let tries = trace.end().len();
    cost.assert_small();
    assert!(tries <= 40, "{tries} tries in 5 s");
    for client in clients {
        assert_eq!(read_all(client), "here\n");
    }
    assert_well(&mut daemon, port);
}

fn clone_eagain_for_five_seconds(ctx: &mut Ctx) {
    let port = ctx.port();
    let mut daemon = ctx.start(&config(port, false));
    let calls = "?clone,?clone3,?fork,?vfork";
    let inject = format!("inject={calls}:error=EAGAIN");
    let trace = Trace::attach(&daemon, &ctx.path("trace"), &["-e", &format!("trace={calls}"), "-e", &inject]);
    let client = connect(port);
    let cost = daemon.cost(|| sleep_ms(5000));
    let tries = trace.end().len();
    cost.assert_small();
    assert!((1..=10).contains(&tries), "{tries} tries in 5 s");
    assert!(read_all(client).starts_with("here"), "the client was kept");
    assert_well(&mut daemon, port);
}

/// At start a failing call either does not matter, or ends the program with 71 and a message that names the call.
fn fails_at_start(ctx: &mut Ctx, call: &str, error: &str) {
    let port = ctx.port();
    let inject = format!("inject={call}:error={error}");
    let options = ["-e", &format!("trace={call}"), "-e", &inject];
    let mut daemon = ctx.launch(&config(port, true)).strace("trace", &options).spawn();
    let ended = within(Duration::from_secs(5), || !daemon.alive() || first_words(port) == "here\n");
    assert!(ended, "the daemon neither serves nor ends:\n{}", daemon.log());
    if !daemon.alive() {
        assert_eq!(daemon.wait().code(), Some(71), "{}", daemon.log());
        assert!(daemon.log().contains(error) || daemon.log().lines().count() >= 1, "{}", daemon.log());
    }
}

fn setsockopt_fails_at_start(ctx: &mut Ctx) {
    fails_at_start(ctx, "setsockopt", "ENOMEM");
}

fn fcntl_fails_at_start(ctx: &mut Ctx) {
    fails_at_start(ctx, "fcntl", "EINVAL");
}

fn socket_without_memory_at_start(ctx: &mut Ctx) {
    fails_at_start(ctx, "socket", "ENOBUFS");
}

fn kill_says_that_there_is_no_such_process(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = stand_in("answer here");
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nRuntimeMaxSec=1\nTimeoutStopSec=1\nExecStart={exec}\n");
    let mut daemon = ctx.start(&config);
    let calls = "kill,?tgkill,?pidfd_send_signal";
    let inject = format!("inject={calls}:error=ESRCH:when=1..2");
    let trace = Trace::attach(&daemon, &ctx.path("trace"), &["-e", &format!("trace={calls}"), "-e", &inject]);
    for _ in 0..4 {
        assert!(first_words(port).starts_with("here"));
        sleep_ms(800);
    }
    trace.end();
    assert_well(&mut daemon, port);
}

//! Each system call that the loop makes fails a few times, by strace: afterwards the daemon lives, clients are served,
//! it has said little and it does not spin.

use crate::client::*;
use crate::daemon::{Daemon, kill};
use crate::forward::backend;
use crate::harness::{Ctx, Need, Need::*, PATIENCE, Test, sleep_ms, stand_in, trial, wait_until, within};
use crate::test;
use crate::trace::Trace;
use libtest_mimic::Trial;
use std::io::Write;
use std::time::Duration;

const STRACE: &[Need] = &[Prog("strace")];
const FORWARD: &[Need] = &[Prog("strace"), Directive("ConnectTo")];

/// With what kind of service a fault is tried.
#[derive(Clone, Copy, PartialEq)]
enum With {
    /// One process per connection.
    Connections,
    /// One process that gets the listener.
    Waiting,
    /// A backend that connections are forwarded to.
    Forwarding,
    Either,
}

/// What the loop calls, and how the kernel may refuse it. `?` lets strace pass over a name that a machine lacks.
const FAULTS: &[(&str, &str, With, &[&str])] = &[
    ("epoll_wait", "?epoll_wait,?epoll_pwait,?epoll_pwait2", With::Either, &["EINTR"]),
    ("accept4", ACCEPT, With::Connections, &["EINTR", "EAGAIN", "ECONNABORTED", "EMFILE", "ENFILE", "ENOMEM"]),
    ("accept4", ACCEPT, With::Connections, &["ENOBUFS", "EPERM", "EPROTO", "ENETDOWN", "EHOSTUNREACH", "ETIMEDOUT"]),
    ("clone", CLONE, With::Either, &["EAGAIN", "ENOMEM"]),
    ("read", "read", With::Either, &["EINTR", "EAGAIN"]),
    ("wait", "wait4,waitid", With::Either, &["EINTR"]),
    ("epoll_ctl", "epoll_ctl", With::Waiting, &["ENOMEM", "ENOSPC"]),
    ("close", "close", With::Either, &["EINTR", "EIO"]),
    ("write", "write,writev,sendto,sendmsg", With::Waiting, &["EAGAIN", "EPIPE", "EIO", "ENOSPC"]),
    ("fcntl", "fcntl", With::Waiting, &["EINVAL"]),
    ("accept4", ACCEPT, With::Forwarding, &["EMFILE", "ENOMEM"]),
    ("socket", "socket", With::Forwarding, &["EMFILE", "ENOBUFS", "EAFNOSUPPORT"]),
    ("connect", "connect", With::Forwarding, &["EAGAIN", "EADDRNOTAVAIL", "ENETUNREACH", "ECONNREFUSED", "EINTR"]),
    ("setsockopt", "setsockopt", With::Forwarding, &["EINVAL", "ENOPROTOOPT"]),
    ("epoll_ctl", "epoll_ctl", With::Forwarding, &["ENOMEM", "ENOSPC"]),
    ("fcntl", "fcntl", With::Forwarding, &["EINVAL", "EMFILE"]),
    ("pipe2", "pipe2", With::Forwarding, &["EMFILE", "ENFILE"]),
    ("recv", "recvfrom", With::Forwarding, &["EINTR", "ECONNRESET", "ENOMEM"]),
    ("send", "sendto", With::Forwarding, &["EINTR", "EPIPE", "ENOBUFS"]),
    ("splice", "splice", With::Forwarding, &["EINTR", "EINVAL", "ENOMEM", "ECONNRESET"]),
    ("getsockname", "getsockname,getpeername", With::Connections, &["ENOBUFS", "ENOTCONN", "EINVAL"]),
];

const CLONE: &str = "?clone,?clone3,?fork,?vfork";
const ACCEPT: &str = "accept4,?accept";

pub const TESTS: &[Test] = &[
    test!(accept_says_emfile_for_five_seconds, Prog("strace")),
    test!(accept_says_enfile_for_five_seconds, Prog("strace")),
    test!(accept_says_enomem_for_five_seconds, Prog("strace")),
    test!(accept_says_eperm_for_five_seconds, Prog("strace")),
    test!(clone_eagain_for_five_seconds, Prog("strace")),
    test!(recv_says_einval_for_three_seconds, Prog("strace"), Directive("ConnectTo")),
    test!(a_reload_in_which_a_call_fails, Prog("strace"), Part("reload")),
    test!(who_was_taken_over_cannot_be_watched_at_once, Prog("strace"), Part("takeover"), Part("reload")),
    test!(setsockopt_fails_at_start, Prog("strace")),
    test!(fcntl_fails_at_start, Prog("strace")),
    test!(unread_datagram_cannot_be_looked_at, Prog("strace")),
    test!(processes_cannot_be_listed_at_a_stop, Prog("strace")),
    test!(kill_says_that_there_is_no_such_process, Prog("strace")),
    test!(socket_without_memory_at_start, Prog("strace")),
    test!(a_deadline_in_a_month_on_an_old_kernel, Prog("strace")),
    test!(descriptors_cannot_be_shared_with_a_child, Prog("strace")),
];

/// One test for each system call, error and kind of service.
pub fn table() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, calls, with, errors) in FAULTS {
        for error in *errors {
            for (kind, suffix) in
                [(With::Connections, ""), (With::Waiting, "_waiting"), (With::Forwarding, "_forwarding")]
            {
                if *with == kind || *with == With::Either && kind != With::Forwarding {
                    let name = format!("faults::{name}_{error}{suffix}");
                    let needs = if kind == With::Forwarding { FORWARD } else { STRACE };
                    trials.push(trial(name, needs, move |ctx| one_fault(ctx, calls, error, kind)));
                }
            }
        }
    }
    trials
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

fn config(port: u16, with: With) -> String {
    let more = match with {
        With::Connections => "Accept=yes\nExecStart=/bin/echo here".into(),
        With::Waiting | With::Either => format!("ExecStart={}", stand_in("answer here 1")),
        // more than the client reads, and than fits into a pipe
        With::Forwarding => {
            let behind = backend(|mut stream| drop(stream.write_all("here ".repeat(200_000).as_bytes())));
            format!("ConnectTo=127.0.0.1:{behind}")
        }
    };
    format!("[x]\nListenStream={port}\n{more}\n")
}

fn one_fault(ctx: &mut Ctx, calls: &str, error: &str, with: With) {
    if calls == "close" && cfg!(debug_assertions) && std::env::var_os("DORMOUSE_BINARY").is_none() {
        return ctx.skip("a debug build of rustix asserts that close does not fail");
    }
    let port = ctx.port();
    let mut daemon = ctx.start(&config(port, with));
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:error={error}:when=1..3"));
    let trace = Trace::attach(&daemon, &ctx.path("trace"), &["-e", &trace, "-e", &inject]);
    let keeps_its_client = [ACCEPT, "setsockopt"].contains(&calls);
    for _ in 0..3 {
        let words = first_words(port);
        assert!(
            !keeps_its_client || words.starts_with("here"),
            "a client that waits in the queue is served: {words:?}"
        );
    }
    assert_well(&mut daemon, port);
    let injected = trace.end().iter().filter(|line| line.contains("INJECTED")).count();
    assert_well(&mut daemon, port);
    if injected == 0 {
        ctx.skip("the loop makes no such call here");
    }
}

fn accept_says_emfile_for_five_seconds(ctx: &mut Ctx) {
    long_shortage(ctx, "EMFILE");
}

fn accept_says_enfile_for_five_seconds(ctx: &mut Ctx) {
    long_shortage(ctx, "ENFILE");
}

fn accept_says_enomem_for_five_seconds(ctx: &mut Ctx) {
    long_shortage(ctx, "ENOMEM");
}

/// What a firewall says: nothing is short, and yet nothing comes of it.
fn accept_says_eperm_for_five_seconds(ctx: &mut Ctx) {
    long_shortage(ctx, "EPERM");
}

/// A long shortage: the listener rests, the clients stay queued and are served when it is over.
fn long_shortage(ctx: &mut Ctx, error: &str) {
    let port = ctx.port();
    let mut daemon = ctx.start(&config(port, With::Connections));
    let inject = format!("inject={ACCEPT}:error={error}");
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
    let mut daemon = ctx.start(&config(port, With::Waiting));
    let inject = format!("inject={CLONE}:error=EAGAIN");
    let trace = Trace::attach(&daemon, &ctx.path("trace"), &["-e", &format!("trace={CLONE}"), "-e", &inject]);
    let client = connect(port);
    let cost = daemon.cost(|| sleep_ms(5000));
    let tries = trace.end().len();
    cost.assert_small();
    // quickly at first, then once a second: it is not the service that fails
    assert!((6..=12).contains(&tries), "{tries} tries in 5 s");
    assert!(read_all(client).starts_with("here"), "the client was kept");
    assert_well(&mut daemon, port);
}

/// It has a meaning for splice(2) only, behind which another try comes.
fn recv_says_einval_for_three_seconds(ctx: &mut Ctx) {
    let port = ctx.port();
    let mut daemon = ctx.start(&config(port, With::Forwarding));
    let options = ["-e", "trace=recvfrom", "-e", "inject=recvfrom:error=EINVAL"];
    let trace = Trace::attach(&daemon, &ctx.path("trace"), &options);
    // it may be reset before it is told that it is connected
    let client = try_connect(local(port), PATIENCE).map(|mut client| client.write_all(b"hello").map(|()| client));
    daemon.cost(|| sleep_ms(3000)).assert_small();
    trace.end();
    drop(client);
    assert_well(&mut daemon, port);
}

/// Until the program is executed once more nothing has changed: what fails before refuses the reload, and leaves
/// nothing open.
fn a_reload_in_which_a_call_fails(ctx: &mut Ctx) {
    const CALLS: &[(&str, &str, usize)] = &[
        ("memfd_create", "ENFILE", 3),
        ("openat", "EMFILE", 3),
        ("ftruncate", "ENOMEM", 1),
        (CLONE, "EAGAIN", 1),
        ("pread64", "EIO", 1),
        ("execve", "ENOMEM", 1),
    ];
    let port = ctx.port();
    let mut daemon = ctx.start(&config(port, With::Waiting));
    crate::reload::reload(&daemon);
    let open = daemon.open_fds();
    for (calls, error, times) in CALLS {
        for which in 1..=*times {
            let inject = format!("inject={calls}:error={error}:when={which}");
            let options = ["-e", &format!("trace={calls}"), "-e", &inject];
            let trace = Trace::attach(&daemon, &ctx.path("trace"), &options);
            assert!(!crate::reload::order(&daemon, libc::SIGHUP), "{inject}: {}", daemon.log());
            assert!(trace.end().iter().any(|line| line.contains("INJECTED")), "{inject}");
            // what the check has said is kept
            assert!((open..=open + 1).contains(&daemon.open_fds()), "{inject}: {} of {open}", daemon.open_fds());
        }
    }
    crate::reload::reload(&daemon);
    assert_eq!(daemon.open_fds(), open);
    assert_well(&mut daemon, port);
}

/// The next image of the program watches a process that is not its child anew: without that it would run for ever.
fn who_was_taken_over_cannot_be_watched_at_once(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = config(port, With::Waiting).replace(" 1\n", "\n");
    let mut first = ctx.start(&config);
    let service: i32 = talk(port).trim_end().rsplit(' ').next().unwrap().parse().unwrap();
    first.kill();
    let daemon = ctx.start(&config);
    daemon.wait_log("taken over");
    let watches = |line: &&String| line.contains(&format!("u64={}}}", 4_u64 << 48 | u64::from(service.unsigned_abs())));
    let reloaded = |name: &str, more: &[&str]| {
        let options = [&["-e", "trace=epoll_ctl"], more].concat();
        let trace = Trace::attach(&daemon, &ctx.path(name), &options);
        crate::reload::reload(&daemon);
        wait_until("it is watched", || trace.lines().iter().filter(watches).any(|line| line.contains("= 0")));
        trace.end()
    };
    let calls = reloaded("first", &[]);
    let place = 1 + calls.iter().position(|line| watches(&line)).unwrap();
    let calls = reloaded("second", &["-e", &format!("inject=epoll_ctl:error=ENOMEM:when={place}")]);
    assert!(calls.iter().filter(watches).any(|line| line.contains("INJECTED")), "{}", calls.join("\n"));
    kill(service, libc::SIGKILL);
    daemon.wait_log("exit service=x");
    assert!(first_words(port).starts_with("here"));
}

/// At start a call that fails either does not matter in the end, or ends the program with 71 and a message.
fn fails_at_start(ctx: &mut Ctx, call: &str, error: &str, when: &str) {
    let port = ctx.port();
    let inject = format!("inject={call}:error={error}{when}");
    let options = ["-e", &format!("trace={call}"), "-e", &inject];
    let mut daemon = ctx.launch(&config(port, With::Connections)).strace("trace", &options).spawn();
    let ended = within(PATIENCE, || !daemon.alive() || first_words(port) == "here\n");
    assert!(ended, "the daemon neither serves nor ends:\n{}", daemon.log());
    if !daemon.alive() {
        assert_eq!(daemon.wait().code(), Some(71), "{}", daemon.log());
        assert!(daemon.log().contains(error), "{}", daemon.log());
    }
}

fn setsockopt_fails_at_start(ctx: &mut Ctx) {
    fails_at_start(ctx, "setsockopt", "ENOMEM", "");
}

fn fcntl_fails_at_start(ctx: &mut Ctx) {
    fails_at_start(ctx, "fcntl", "EINVAL", "");
}

fn socket_without_memory_at_start(ctx: &mut Ctx) {
    fails_at_start(ctx, "socket", "ENOBUFS", ":when=1..3");
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

/// Whether a datagram is still there is asked after each run: an error must not end in a storm.
fn unread_datagram_cannot_be_looked_at(ctx: &mut Ctx) {
    for error in ["EINTR", "EAGAIN", "ENOMEM"] {
        let (port, runs) = (ctx.port(), format!("runs-{error}"));
        let exec = ctx.script("service", &format!("echo run >>{}\n", ctx.path(&runs)));
        let mut daemon = ctx.start(&format!("[x]\nListenDatagram=127.0.0.1:{port}\nExecStart={exec}\n"));
        let calls = "?poll,?ppoll,recvfrom,recvmsg,ioctl";
        let inject = format!("inject={calls}:error={error}:when=1..3");
        let _trace = Trace::attach(&daemon, &ctx.path("trace"), &["-e", &format!("trace={calls}"), "-e", &inject]);
        udp().send_to(b"unread", local(port)).unwrap();
        daemon.cost(|| sleep_ms(3000)).assert_small();
        let runs = ctx.lines(&runs).len();
        assert!((1..=8).contains(&runs), "{error}: {runs} runs");
        assert!(daemon.alive());
    }
}

/// Who belongs to a service is read from /proc: without a descriptor for it the main process is stopped all the same.
fn processes_cannot_be_listed_at_a_stop(ctx: &mut Ctx) {
    for (calls, error) in [("openat,?open", "EMFILE"), ("getdents64", "ENOMEM"), ("read", "ENOMEM")] {
        let port = ctx.port();
        let limits = "RuntimeMaxSec=1\nTimeoutStopSec=1\n";
        let mut daemon =
            ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\n{limits}ExecStart={}\n", stand_in("answer here")));
        let first = first_words(port);
        let inject = format!("inject={calls}:error={error}:when=1..20");
        let trace = Trace::attach(&daemon, &ctx.path("trace"), &["-e", &format!("trace={calls}"), "-e", &inject]);
        wait_until(&format!("an end of the service in spite of {error} by {calls}"), || {
            let next = first_words(port);
            next.starts_with("here") && next != first
        });
        trace.end();
        assert_well(&mut daemon, port);
    }
}

/// Kernels before Linux 5.11 wait for 24 days at most.
fn a_deadline_in_a_month_on_an_old_kernel(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = stand_in("answer here");
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nRuntimeMaxSec=30d\nExecStart={exec}\n");
    let daemon = ctx.start(&config);
    let options = ["-e", "trace=epoll_pwait2", "-e", "inject=epoll_pwait2:error=ENOSYS"];
    let _trace = Trace::attach(&daemon, &ctx.path("trace"), &options);
    assert!(first_words(port).starts_with("here"));
    sleep_ms(1000); // it has nothing to do until then
    kill(daemon.descendants()[0], libc::SIGKILL);
    daemon.wait_log("signal=KILL");
}

/// An old kernel does not know close_range(2), and a sandbox that is older than the call does not allow it.
fn descriptors_cannot_be_shared_with_a_child(ctx: &mut Ctx) {
    for error in ["ENOSYS", "EPERM"] {
        let port = ctx.port();
        let daemon =
            ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nExecStart={}\n", stand_in("answer here 1")));
        let inject = format!("inject=close_range:error={error}");
        let options = ["-f", "-e", "trace=close_range", "-e", &inject];
        let trace = Trace::attach(&daemon, &ctx.path("trace"), &options);
        assert!(first_words(port).starts_with("here"));
        let injected = trace.end().iter().filter(|line| line.contains("INJECTED")).count();
        // under a supervisor that is told of readiness, too: what tells it must not lie where the child's socket
        // belongs
        assert!(injected == 1, "it is tried once: {injected}");
        assert!(!daemon.log().contains("failed"), "{error}: {}", daemon.log());
    }
}

//! Rest: no system call, no memory taken; and services that are put back to sleep.

use crate::client::*;
use crate::daemon::is_live;
use crate::harness::{Ctx, Need::*, Test, has_control, sleep_ms, stand_in, wait_until, within};
use crate::test;
use crate::trace::Trace;
use std::time::Duration;

pub const TESTS: &[Test] = &[
    test!(no_system_call_while_idle, Prog("strace")),
    test!(no_wake_up_while_idle),
    test!(no_wake_up_while_a_service_runs),
    test!(no_memory_taken_after_start, Prog("strace")),
    test!(resident_memory_stays),
];

pub const STOP_TESTS: &[Test] = &[
    test!(stopped_when_idle_and_woken_again, Directive("StopWhenIdleSec")),
    test!(idle_time_is_told, Command("status"), Directive("StopWhenIdleSec")),
    test!(not_stopped_while_a_client_is_connected, Directive("StopWhenIdleSec")),
    test!(no_connection_lost_to_an_idle_stop, Directive("StopWhenIdleSec")),
    test!(unix_service_stopped_when_idle, Directive("StopWhenIdleSec")),
    test!(datagram_service_stopped_when_quiet, Directive("StopWhenQuietSec")),
    test!(datagrams_keep_a_quiet_service_awake, Directive("StopWhenQuietSec")),
    test!(a_datagram_that_waits_keeps_a_quiet_service_awake, Directive("StopWhenQuietSec")),
    test!(busy_service_is_not_quiet, Directive("StopWhenQuietSec")),
    test!(minimum_run_time_is_kept, Directive("StopWhenIdleSec")),
];

/// A service of each kind.
fn mixed(ctx: &mut Ctx) -> (u16, u16, u16, String) {
    let (a, b, c) = (ctx.port(), ctx.port(), ctx.port());
    let config = format!(
        "[a]\nListenStream=127.0.0.1:{a}\nAccept=yes\nTriggerLimitBurst=10000\nPollLimitBurst=10000\nExecStart=/bin/echo here\n\
         [b]\nListenStream=127.0.0.1:{b}\nExecStart={}\n\
         [c]\nListenDatagram=127.0.0.1:{c}\nExecStart={}\n",
        stand_in("answer here 1"),
        stand_in("udp heard 1")
    );
    (a, b, c, config)
}

fn use_each(a: u16, b: u16, c: u16) {
    assert_eq!(talk(a), "here\n");
    assert!(talk(b).starts_with("here"));
    assert!(udp_ask(c, "x").starts_with("heard"));
}

fn no_system_call_while_idle(ctx: &mut Ctx) {
    let (a, b, c, config) = mixed(ctx);
    let daemon = ctx.start(&config);
    use_each(a, b, c);
    use_each(a, b, c);
    wait_until("all services have ended", || daemon.descendants().is_empty());
    // Windows of the limits close, back-offs end: then there is nothing left to do.
    sleep_ms(6000);
    Trace::assert_silent(&daemon, &ctx.path("trace"), || sleep_ms(5000));
}

fn no_wake_up_while_idle(ctx: &mut Ctx) {
    let (a, b, c, config) = mixed(ctx);
    let daemon = ctx.start(&config);
    use_each(a, b, c);
    wait_until("all services have ended", || daemon.descendants().is_empty());
    sleep_ms(6000);
    let before = daemon.wakeups();
    sleep_ms(5000);
    assert_eq!(daemon.wakeups(), before);
}

fn no_wake_up_while_a_service_runs(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nExecStart={}\n", stand_in("answer here")));
    assert!(talk(port).starts_with("here"));
    sleep_ms(3000);
    let before = daemon.wakeups();
    for _ in 0..20 {
        assert!(talk(port).starts_with("here"));
    }
    sleep_ms(2000);
    assert_eq!(daemon.wakeups(), before, "what a running service does is its own business");
}

fn no_memory_taken_after_start(ctx: &mut Ctx) {
    let (a, b, c, config) = mixed(ctx);
    let daemon = ctx.start(&config);
    let trace = Trace::attach(&daemon, &ctx.path("trace"), &["-e", "trace=brk,mmap,?mmap2,mremap,munmap"]);
    for _ in 0..300 {
        assert_eq!(talk(a), "here\n");
    }
    use_each(a, b, c);
    if has_control() {
        daemon.tell(&["status"]);
        daemon.tell(&["list"]);
    }
    let seen: Vec<_> = trace.end().into_iter().filter(|line| line.contains('(')).collect();
    assert!(seen.is_empty(), "{}", seen.join("\n"));
}

fn resident_memory_stays(ctx: &mut Ctx) {
    let (a, b, c, config) = mixed(ctx);
    let daemon = ctx.start(&config);
    for _ in 0..50 {
        use_each(a, b, c);
    }
    // on a busy machine more of them live at once, which may take a page for the first time
    let takes_nothing = |_| {
        let before = daemon.status_line("RssAnon");
        for _ in 0..100 {
            assert_eq!(talk(a), "here\n");
        }
        daemon.status_line("RssAnon") == before
    };
    assert!((0..5).any(takes_nothing), "each hundred connections took more memory");
}

fn running(daemon: &crate::daemon::Daemon) -> Option<i32> {
    daemon.descendants().first().copied().filter(|pid| is_live(*pid))
}

fn stopped_when_idle_and_woken_again(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nStopWhenIdleSec=1\nExecStart={}\n", stand_in("echo"));
    let daemon = ctx.start(&config);
    for _ in 0..2 {
        assert_eq!(ask(port, "squeak\n"), "squeak\n");
        wait_until("the service is put to sleep", || running(&daemon).is_none());
    }
    sleep_ms(1000);
    let before = daemon.wakeups();
    sleep_ms(3000);
    assert_eq!(daemon.wakeups(), before, "nothing runs, nothing to watch");
}

fn not_stopped_while_a_client_is_connected(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nStopWhenIdleSec=1\nExecStart={}\n", stand_in("echo"));
    let daemon = ctx.start(&config);
    let mut client = connect(port);
    exchange(&mut client, "one");
    let pid = running(&daemon);
    sleep_ms(4500);
    exchange(&mut client, "two");
    assert_eq!(running(&daemon), pid, "a silent client is a client");
    drop(client);
    wait_until("the service is put to sleep", || running(&daemon).is_none());
}

fn idle_time_is_told(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nStopWhenIdleSec=1h\nExecStart={}\n", stand_in("echo"));
    let daemon = ctx.start(&config);
    let mut client = connect(port);
    exchange(&mut client, "one");
    let told = daemon.tell(&["status", "x"]);
    assert!(told.contains("age ") && !told.contains("idle "), "somebody is connected: {told}");
    drop(client);
    wait_until("nobody is connected any more", || daemon.tell(&["status", "x"]).contains(", idle "));
    let client = connect(port);
    assert!(!daemon.tell(&["status", "x"]).contains("idle "), "each question is a look");
    drop(client);
}

/// Clients that come all the time, at intervals around the idle time: each is served, whatever is stopped meanwhile.
fn no_connection_lost_to_an_idle_stop(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nStopWhenIdleSec=1\nTimeoutStopSec=2\nStartLimitBurst=1000\nExecStart={}\n",
        stand_in("answer here")
    );
    let daemon = ctx.start(&config);
    let mut pids = std::collections::HashSet::new();
    for step in 0..25 {
        let answer = talk(port);
        assert!(answer.starts_with("here"), "client {step} got {answer:?}\n{}", daemon.log());
        pids.insert(answer);
        sleep_ms(900 + 20 * step);
    }
    assert!(pids.len() > 1, "the service never slept");
}

fn unix_service_stopped_when_idle(ctx: &mut Ctx) {
    let path = ctx.path("x.sock");
    let config = format!("[x]\nListenStream={path}\nStopWhenIdleSec=1\nExecStart={}\n", stand_in("answer here"));
    let daemon = ctx.start(&config);
    for _ in 0..2 {
        assert!(unix_talk(&path).unwrap().starts_with("here"));
        wait_until("the service is put to sleep", || running(&daemon).is_none());
    }
}

fn datagram_service_stopped_when_quiet(ctx: &mut Ctx) {
    let port = ctx.port();
    let config =
        format!("[x]\nListenDatagram=127.0.0.1:{port}\nStopWhenQuietSec=1\nExecStart={}\n", stand_in("udp heard 0"));
    let daemon = ctx.start(&config);
    for _ in 0..2 {
        assert!(udp_ask(port, "knock").starts_with("heard"));
        wait_until("the service is put to sleep", || running(&daemon).is_none());
    }
}

/// Each is answered at once and costs next to no CPU time.
fn datagrams_keep_a_quiet_service_awake(ctx: &mut Ctx) {
    let port = ctx.port();
    let config =
        format!("[x]\nListenDatagram=127.0.0.1:{port}\nStopWhenQuietSec=1\nExecStart={}\n", stand_in("udp heard 0"));
    let daemon = ctx.start(&config);
    assert!(udp_ask(port, "knock").starts_with("heard"));
    let first = running(&daemon);
    for _ in 0..16 {
        sleep_ms(250);
        assert!(udp_ask(port, "knock").starts_with("heard"));
        assert_eq!(running(&daemon), first);
    }
}

/// It does nothing about it yet, but there is something to do.
fn a_datagram_that_waits_keeps_a_quiet_service_awake(ctx: &mut Ctx) {
    let port = ctx.port();
    let go = ctx.path("go");
    let exec = ctx.script("service", &format!("read line <{go}\nexec {}\n", stand_in("udp heard 1")));
    shell(&format!("mkfifo {go}"));
    let config = format!("[x]\nListenDatagram=127.0.0.1:{port}\nStopWhenQuietSec=1\nExecStart={exec}\n");
    let daemon = ctx.start(&config);
    let client = udp();
    client.send_to(b"knock", local(port)).unwrap();
    wait_until("the service runs", || running(&daemon).is_some());
    let first = running(&daemon);
    sleep_ms(4000);
    assert_eq!(running(&daemon), first);
    std::fs::write(&go, "go\n").unwrap();
    let mut buffer = [0; 100];
    let length = client.recv(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"heard"));
}

fn busy_service_is_not_quiet(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nStopWhenIdleSec=1\nStopWhenQuietSec=1\nExecStart={}\n",
        stand_in("burn here")
    );
    let daemon = ctx.start(&config);
    drop(connect(port));
    wait_until("the service runs", || running(&daemon).is_some());
    let stopped = within(Duration::from_secs(4), || running(&daemon).is_none());
    assert!(!stopped, "it works without a connection");
    wait_until("the service is put to sleep when the work is done", || running(&daemon).is_none());
}

fn minimum_run_time_is_kept(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nStopWhenIdleSec=1\nMinRunSec=6\nExecStart={}\n",
        stand_in("answer here")
    );
    let daemon = ctx.start(&config);
    assert!(talk(port).starts_with("here"));
    sleep_ms(4000);
    assert!(running(&daemon).is_some());
    wait_until("the service is put to sleep", || running(&daemon).is_none());
}

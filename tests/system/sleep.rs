//! Services that never end by themselves are put to sleep and woken, again and again, while clients come at the worst
//! of moments: not one of them is refused, reset or left without an answer.

use crate::client::*;
use crate::daemon::{Daemon, is_live};
use crate::harness::{Ctx, Need::*, PATIENCE, Test, prog, service_file, sleep_ms, stand_in, wait_until, within};
use crate::test;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

pub const TESTS: &[Test] = &[
    test!(nobody_is_lost_by_a_small_service, Directive("StopWhenIdleSec")),
    test!(nobody_is_lost_by_gunicorn, Directive("StopWhenIdleSec"), Prog("gunicorn")),
    test!(nobody_is_lost_by_lighttpd, Directive("StopWhenIdleSec"), Prog("lighttpd")),
    test!(nobody_is_lost_by_an_agent, Directive("StopWhenIdleSec"), File("/usr/bin/python3")),
    test!(nobody_is_lost_by_threads, Directive("StopWhenIdleSec"), Python("http.server")),
    test!(nobody_is_lost_without_sock_diag, Directive("StopWhenIdleSec")),
    test!(nobody_is_lost_by_a_unix_service_without_sock_diag, Directive("StopWhenIdleSec")),
    test!(nobody_is_lost_when_a_service_ends_by_itself),
    test!(no_datagram_is_lost_to_a_quiet_stop, Directive("StopWhenQuietSec")),
    test!(a_long_download_keeps_awake, Directive("StopWhenIdleSec"), Python("http.server")),
    test!(a_kept_connection_keeps_awake, Directive("StopWhenIdleSec"), Python("http.server")),
    test!(a_half_closed_connection_keeps_awake, Directive("StopWhenIdleSec")),
    test!(a_queued_connection_keeps_awake, Directive("StopWhenIdleSec")),
    test!(a_dual_stack_client_keeps_awake, Directive("StopWhenIdleSec")),
    test!(who_ignores_the_stop_is_killed, Directive("StopWhenIdleSec")),
    test!(workers_sleep_with_their_main_process, Directive("StopWhenIdleSec")),
    test!(a_sleep_is_no_failure_and_no_restart, Directive("StopWhenIdleSec")),
    test!(a_frozen_service_goes_on_when_dormouse_quits, Directive("StopWhenIdleSec")),
    test!(no_look_at_all_when_the_kernel_tells_nothing, Directive("StopWhenIdleSec"), Prog("strace")),
];

/// Rounds of a test that hammers: `standard`, or 500 and more where somebody has the time (`DORMOUSE_ROUNDS`).
fn rounds(standard: u32) -> u32 {
    std::env::var("DORMOUSE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(standard)
}

/// A service that sleeps after `idle_ms`, without limits that the hammering would reach.
fn sleeper(idle_ms: u32, listen: &str, exec: &str) -> String {
    format!(
        "[x]\n{listen}\nStopWhenIdleSec={idle_ms}ms\nTriggerLimitBurst=0\nPollLimitBurst=0\nTimeoutStopSec=10\nExecStart={exec}\n"
    )
}

fn tcp(port: u16) -> String {
    format!("ListenStream=127.0.0.1:{port}")
}

/// How often the service was put to sleep so far.
fn sleeps(daemon: &Daemon, why: &str) -> usize {
    daemon.log().lines().filter(|line| line.contains("stop service=x ") && line.contains(why)).count()
}

/// Pauses of a little less and a little more than `around_ms`, to the microsecond, always others.
struct Pauses(u64);

impl Pauses {
    fn next(&mut self, around_ms: u64) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let spread = around_ms * 600;
        Duration::from_micros(around_ms * 1000 - spread / 3 + (self.0 >> 33) % spread)
    }
}

/// One client after the other, each about when the service is to be put to sleep.
fn hammer(daemon: &Daemon, rounds: u32, around_ms: u64, mut visit: impl FnMut() -> Result<(), String>) {
    let mut pauses = Pauses(u64::from(std::process::id()));
    for round in 0..rounds {
        if let Err(fault) = visit() {
            panic!("client {round} of {rounds}: {fault}\n{}", daemon.log());
        }
        std::thread::sleep(pauses.next(around_ms));
    }
    // on a busy machine every look may have come too late: then wait for sleeps until there is one
    for _ in 0..20 {
        if sleeps(daemon, "why=") > 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(5 * around_ms));
        visit().unwrap_or_else(|fault| panic!("a late client: {fault}\n{}", daemon.log()));
    }
    let slept = sleeps(daemon, "why=");
    let lines = daemon.log().lines().filter(|line| line.contains("left out")).count();
    println!("{rounds} clients, {slept} sleeps in the log, {lines} times lines were left out");
    assert!(slept > 0, "the service never slept\n{}", daemon.log());
}

/// What the other side sends until it closes; a reset is an error here.
fn whole(mut stream: impl Read) -> Result<String, String> {
    let mut text = String::new();
    stream.read_to_string(&mut text).map(|_| text).map_err(|error| error.to_string())
}

fn get(port: u16, path: &str, expected: &str) -> Result<(), String> {
    let mut stream = try_connect(local(port), PATIENCE).map_err(|error| error.to_string())?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let text = whole(stream)?;
    if text.starts_with("HTTP/1.") && text.contains(expected) { Ok(()) } else { Err(format!("got {text:?}")) }
}

fn talk_whole(port: u16) -> Result<(), String> {
    let text = whole(try_connect(local(port), PATIENCE).map_err(|error| error.to_string())?)?;
    if text.starts_with("here") { Ok(()) } else { Err(format!("got {text:?}")) }
}

fn talk_unix(path: &str, expected: &str) -> Result<(), String> {
    let stream = UnixStream::connect(path).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    let text = whole(stream)?;
    if text.starts_with(expected) { Ok(()) } else { Err(format!("got {text:?}")) }
}

fn nobody_is_lost_by_a_small_service(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&sleeper(100, &tcp(port), &stand_in("answer here")));
    hammer(&daemon, rounds(100), 105, || talk_whole(port));
}

fn nobody_is_lost_by_gunicorn(ctx: &mut Ctx) {
    let port = ctx.port();
    ctx.file("app.py", "def app(environ, start):\n    start('200 OK', [])\n    return [b'awake']\n");
    let exec = format!("{} -w 2 app:app\nWorkingDirectory={}", prog("gunicorn"), ctx.dir.display());
    let daemon = ctx.start(&sleeper(300, &tcp(port), &exec));
    hammer(&daemon, rounds(12), 310, || get(port, "/", "awake"));
}

fn nobody_is_lost_by_lighttpd(ctx: &mut Ctx) {
    let port = ctx.port();
    ctx.file("www/hello.txt", "hello from lighttpd\n");
    let options = format!(
        "server.document-root = \"{}\"\nserver.port = {port}\nserver.bind = \"127.0.0.1\"\n\
         server.systemd-socket-activation = \"enable\"\nmimetype.assign = ( \".txt\" => \"text/plain\" )\n",
        ctx.path("www")
    );
    let exec = format!("{} -D -f {}", prog("lighttpd"), ctx.file("lighttpd.conf", &options));
    let daemon = ctx.start(&sleeper(100, &tcp(port), &exec));
    hammer(&daemon, rounds(60), 105, || get(port, "/hello.txt", "hello from lighttpd"));
}

fn nobody_is_lost_by_an_agent(ctx: &mut Ctx) {
    let path = ctx.path("agent.sock");
    let exec = format!("/usr/bin/python3 -S {}", service_file("agent.py"));
    let daemon = ctx.start(&sleeper(100, &format!("ListenStream={path}"), &exec));
    hammer(&daemon, rounds(50), 105, || talk_unix(&path, "uid "));
}

fn nobody_is_lost_by_threads(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = format!("/usr/bin/python3 {}", service_file("threads.py"));
    let daemon = ctx.start(&sleeper(150, &tcp(port), &exec));
    hammer(&daemon, rounds(25), 155, || get(port, "/", "hello from a thread"));
}

fn nobody_is_lost_without_sock_diag(ctx: &mut Ctx) {
    let port = ctx.port();
    let own = stand_in("without-netlink");
    let words: Vec<&str> = own.split(' ').collect();
    let daemon = ctx.launch(&sleeper(100, &tcp(port), &stand_in("answer here"))).wrapped(&words).start();
    daemon.wait_log("connections counted by=/proc/net");
    hammer(&daemon, rounds(60), 105, || talk_whole(port));
}

fn nobody_is_lost_by_a_unix_service_without_sock_diag(ctx: &mut Ctx) {
    let path = ctx.path("x.sock");
    let own = stand_in("without-netlink");
    let words: Vec<&str> = own.split(' ').collect();
    let config = sleeper(100, &format!("ListenStream={path}"), &stand_in("answer here"));
    let daemon = ctx.launch(&config).wrapped(&words).start();
    hammer(&daemon, rounds(40), 105, || talk_unix(&path, "here"));
    assert!(daemon.log().contains("family=unix connections counted by=/proc/net"), "{}", daemon.log());
}

/// The other way round: the service ends by itself, at once or a moment after its last client.
fn nobody_is_lost_when_a_service_ends_by_itself(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nTriggerLimitBurst=0\nPollLimitBurst=0\nExecStart={}\n",
        stand_in("leave here 20")
    );
    let daemon = ctx.start(&config);
    let mut pauses = Pauses(7);
    for round in 0..rounds(300) {
        talk_whole(port).unwrap_or_else(|fault| panic!("client {round}: {fault}\n{}", daemon.log()));
        std::thread::sleep(pauses.next(21));
    }
}

fn no_datagram_is_lost_to_a_quiet_stop(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!(
        "[x]\nListenDatagram=127.0.0.1:{port}\nStopWhenQuietSec=100ms\nTriggerLimitBurst=0\nExecStart={}\n",
        stand_in("udp heard 0")
    );
    let daemon = ctx.start(&config);
    // when the last one came is known to a look only
    hammer(&daemon, rounds(80), 200, || {
        let heard = udp_ask(port, "knock");
        if heard.starts_with("heard") { Ok(()) } else { Err(heard) }
    });
}

/// Holds something open for five times the idle time; the service must neither end nor change.
fn stays_awake(daemon: &Daemon, idle_ms: u64) {
    let before = daemon.descendants();
    assert!(!before.is_empty());
    sleep_ms(idle_ms * 5);
    assert_eq!(daemon.descendants(), before, "{}", daemon.log());
}

fn falls_asleep(daemon: &Daemon) {
    wait_until("the service is put to sleep", || !daemon.descendants().into_iter().any(is_live));
}

fn threads(ctx: &mut Ctx) -> (u16, Daemon) {
    let port = ctx.port();
    let exec = format!("/usr/bin/python3 {}", service_file("threads.py"));
    let daemon = ctx.start(&sleeper(300, &tcp(port), &exec));
    (port, daemon)
}

fn a_long_download_keeps_awake(ctx: &mut Ctx) {
    let (port, daemon) = threads(ctx);
    let mut client = connect(port);
    client.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    client.read_exact(&mut [0; 1000]).unwrap();
    stays_awake(&daemon, 300);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert!(rest.len() > (64 << 20) - 1000, "{} bytes", rest.len());
    falls_asleep(&daemon);
}

fn a_kept_connection_keeps_awake(ctx: &mut Ctx) {
    let (port, daemon) = threads(ctx);
    let mut client = connect(port);
    for _ in 0..2 {
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        while read_line(&mut client) != "hello from a thread" {}
        stays_awake(&daemon, 300);
    }
    drop(client);
    falls_asleep(&daemon);
}

fn echo(ctx: &mut Ctx, listen: impl Fn(u16) -> String) -> (u16, Daemon) {
    let port = ctx.port();
    let daemon = ctx.start(&sleeper(300, &listen(port), &stand_in("hold")));
    (port, daemon)
}

fn keeps_awake(ctx: &mut Ctx, listen: impl Fn(u16) -> String, visit: impl Fn(u16) -> TcpStream) {
    let (port, daemon) = echo(ctx, listen);
    let client = visit(port);
    wait_until("the service runs", || !daemon.descendants().is_empty());
    stays_awake(&daemon, 300);
    reset(client);
}

fn a_half_closed_connection_keeps_awake(ctx: &mut Ctx) {
    keeps_awake(ctx, tcp, |port| {
        let client = connect(port);
        client.shutdown(Shutdown::Write).unwrap();
        client
    });
}

/// A service that never accepts, with a client in its queue.
fn a_queued_connection_keeps_awake(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&sleeper(300, &tcp(port), "/bin/sleep 1000"));
    let client = connect(port);
    wait_until("the service runs", || !daemon.descendants().is_empty());
    stays_awake(&daemon, 300);
    drop(client);
}

fn a_dual_stack_client_keeps_awake(ctx: &mut Ctx) {
    keeps_awake(ctx, |port| format!("ListenStream={port}"), connect);
}

fn who_ignores_the_stop_is_killed(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = format!("/bin/sh -c \"trap '' TERM; exec {}\"\nTimeoutStopSec=1", stand_in("answer here"));
    let config = sleeper(300, &tcp(port), &exec).replacen("TimeoutStopSec=10\n", "", 1);
    let daemon = ctx.start(&config);
    for _ in 0..2 {
        talk_whole(port).unwrap();
        wait_until("it is killed", || daemon.descendants().is_empty());
    }
    assert!(daemon.log().contains("signal=KILL"), "{}", daemon.log());
    assert!(!daemon.log().contains("rest service=x"), "a sleep is no failure\n{}", daemon.log());
}

fn workers_sleep_with_their_main_process(ctx: &mut Ctx) {
    let port = ctx.port();
    let own = stand_in("answer here");
    let exec = ctx.script("workers", &format!("{own} &\n{own} &\n{own} &\nwait\n"));
    let daemon = ctx.start(&sleeper(300, &tcp(port), &exec));
    for _ in 0..3 {
        talk_whole(port).unwrap();
        wait_until("all four run", || daemon.descendants().len() == 4);
        wait_until("all four sleep", || daemon.descendants().is_empty());
    }
}

fn a_sleep_is_no_failure_and_no_restart(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = format!("/bin/sh -c \"trap 'exit 7' TERM; {} & wait\"\nRestart=always", stand_in("answer here"));
    let daemon = ctx.start(&sleeper(300, &tcp(port), &exec));
    for _ in 0..5 {
        talk_whole(port).unwrap();
        wait_until("it sleeps", || daemon.descendants().is_empty());
    }
    sleep_ms(500);
    assert!(daemon.descendants().is_empty());
    assert!(!daemon.log().contains("rest service=x"), "{}", daemon.log());
}

/// Dormouse goes at any moment, also between the two looks: nobody is left standing still.
fn a_frozen_service_goes_on_when_dormouse_quits(ctx: &mut Ctx) {
    let port = ctx.port();
    let mut daemon = ctx.start(&sleeper(100, &tcp(port), &stand_in("answer here")));
    let stopped = |daemon: &Daemon| {
        let state = |pid: &i32| crate::daemon::proc_status(*pid, "State").starts_with('T');
        daemon.descendants().iter().any(state)
    };
    for _ in 0..20 {
        talk_whole(port).unwrap();
        let seen = within(Duration::from_secs(20), || stopped(&daemon) || daemon.descendants().is_empty());
        assert!(seen);
    }
    talk_whole(port).unwrap();
    sleep_ms(99);
    let left = daemon.descendants();
    daemon.signal(libc::SIGQUIT);
    daemon.wait();
    sleep_ms(100);
    let stays = left.iter().find(|pid| crate::daemon::proc_status(**pid, "State").starts_with('T'));
    assert_eq!(stays, None, "somebody was left standing still");
    left.into_iter().for_each(|pid| crate::daemon::kill(pid, libc::SIGKILL));
}

/// Neither sock_diag nor /proc/net: such a configuration is refused at the start, with what would do instead.
fn no_look_at_all_when_the_kernel_tells_nothing(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = sleeper(300, &tcp(port), &stand_in("answer here"));
    let own = stand_in("without-netlink");
    let words: Vec<&str> = own.split(' ').collect();
    let options = ["-P", "/proc/net/tcp", "-e", "trace=?open,openat", "-e", "inject=?open,openat:error=ENOENT"];
    let (status, log) = ctx.launch(&config).strace("trace", &options).wrapped(&words).refused();
    assert_eq!(status.code(), Some(71), "{log}");
    assert!(log.contains("[x] StopWhenIdleSec=") && log.contains("StopWhenQuietSec="), "{log}");
}

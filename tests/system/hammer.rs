//! Services that never end by themselves are put to sleep and woken, again and again, while clients come at the worst
//! of moments: not one of them is refused, reset or left without an answer. Each service twice: connections counted by
//! sock_diag, and through /proc/net on a kernel that lacks it.
//!
//! `DORMOUSE_ROUNDS=500` makes each service sleep and wake 500 times instead of a few; it takes a quarter of an hour.

use crate::client::*;
use crate::daemon::{Daemon, Launch, proc_status};
use crate::harness::{
    Ctx, Need, Need::*, PATIENCE, has_control, prog, service_file, sleep_ms, stand_in, trial, which, within,
};
use libtest_mimic::Trial;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How the daemon counts connections.
#[derive(Clone, Copy, PartialEq)]
pub enum By {
    SockDiag,
    /// On a kernel that, as far as the daemon can see, lacks the other.
    Proc,
}

impl By {
    pub fn word(self) -> &'static str {
        if self == By::Proc { "proc" } else { "sock_diag" }
    }

    /// Starts the daemon, which must say that this is its way.
    pub fn launch(self, launch: Launch) -> Daemon {
        let own = stand_in("without-netlink");
        let wrapper: Vec<_> = if self == By::Proc { own.split(' ').collect() } else { Vec::new() };
        let daemon = launch.wrapped(&wrapper).arg("-v").start();
        daemon.wait_log(["connections counted by=sock_diag", "connections counted by=/proc/net"][self as usize]);
        daemon
    }
}

/// A client: what it got is as it should be, or the fault.
type Visit = Box<dyn Fn() -> Result<(), String> + Sync>;

/// A service: where it listens and what is executed, and a client of it.
type Make = fn(&mut Ctx) -> (String, String, Visit);

/// Name, needs, idle time, wakes of a short run by either method, the service.
type Service = (&'static str, &'static [Need], u64, [u32; 2], Make);

const SERVICES: &[Service] = &[
    ("a_small_service", &[Directive("StopWhenIdleSec")], 100, [60, 30], small),
    ("gunicorn", &[Directive("StopWhenIdleSec"), Prog("gunicorn")], 300, [8, 4], gunicorn),
    ("lighttpd", &[Directive("StopWhenIdleSec"), Prog("lighttpd")], 100, [40, 20], lighttpd),
    ("an_agent", &[Directive("StopWhenIdleSec"), File("/usr/bin/python3")], 100, [30, 15], agent),
    ("threads", &[Directive("StopWhenIdleSec"), Python("http.server")], 150, [15, 8], threads),
];

/// A test for each service and method, and for each service and gap.
pub fn table() -> impl Iterator<Item = Trial> {
    by_chance().chain(in_the_gaps())
}

fn by_chance() -> impl Iterator<Item = Trial> {
    [By::SockDiag, By::Proc].into_iter().flat_map(|by| {
        SERVICES.iter().map(move |&(name, needs, idle_ms, wakes, make)| {
            trial(format!("hammer::nobody_is_lost_by_{name}_{}", by.word()), needs, move |ctx| {
                one(ctx, by, idle_ms, rounds(wakes[by as usize]), make);
            })
        })
    })
}

/// What chance seldom meets, made long: the service stands still before the second look, or after it, when its end is
/// decided and the signal is still to come. Signals take 300 ms, by strace.
fn in_the_gaps() -> impl Iterator<Item = Trial> {
    [("before", "inject=kill:delay_exit=300000"), ("behind", "inject=kill:delay_enter=300000")].into_iter().flat_map(
        |(word, inject)| {
            SERVICES.iter().map(move |&(name, needs, idle_ms, _, make)| {
                trial(format!("hammer::nobody_is_lost_{word}_the_look_by_{name}"), needs, move |ctx| {
                    in_the_gap(ctx, inject, idle_ms, make);
                })
            })
        },
    )
}

fn in_the_gap(ctx: &mut Ctx, inject: &str, idle_ms: u64, make: Make) {
    if which("strace").is_none() {
        return ctx.skip("no program strace");
    }
    let (listen, exec, visit) = make(ctx);
    let launch = ctx.launch(&sleeper(idle_ms, &listen, &exec)).arg("-v");
    let daemon = launch.strace("trace", &["-e", "trace=kill", "-e", inject]).start();
    let stands_still = || daemon.descendants().iter().any(|pid| proc_status(*pid, "State").starts_with('T'));
    let mut met = 0;
    for round in 0..rounds(6) {
        visit().unwrap_or_else(|fault| panic!("client {round}: {fault}"));
        if within(Duration::from_secs(15), stands_still) {
            met += 1;
            sleep_ms(u64::from(round % 4) * 90);
            visit().unwrap_or_else(|fault| panic!("client {round} of one that stands still: {fault}"));
        }
    }
    assert!(met > 0, "it was never seen to stand still");
}

/// Rounds of a test that hammers: `standard`, or as many as somebody has the time for (`DORMOUSE_ROUNDS`).
pub fn rounds(standard: u32) -> u32 {
    asked_rounds().unwrap_or(standard)
}

fn asked_rounds() -> Option<u32> {
    std::env::var("DORMOUSE_ROUNDS").ok().and_then(|text| text.parse().ok())
}

fn one(ctx: &mut Ctx, by: By, idle_ms: u64, wakes: u32, make: Make) {
    let (listen, exec, visit) = make(ctx);
    let daemon = by.launch(ctx.launch(&sleeper(idle_ms, &listen, &exec)));
    hammer(&daemon, wakes, idle_ms + idle_ms / 20, &visit);
}

/// A service that sleeps after `idle_ms`, without limits that the hammering would reach.
pub fn sleeper(idle_ms: u64, listen: &str, exec: &str) -> String {
    format!(
        "[x]\n{listen}\nStopWhenIdleSec={idle_ms}ms\nTriggerLimitBurst=0\nPollLimitBurst=0\nTimeoutStopSec=10\nExecStart={exec}\n"
    )
}

pub fn tcp(port: u16) -> String {
    format!("ListenStream=127.0.0.1:{port}")
}

/// Pauses of a little less and a little more than `around_ms`, to the microsecond, always others.
pub struct Pauses(u64);

impl Pauses {
    pub fn new() -> Pauses {
        Pauses(u64::from(std::process::id()))
    }

    fn random(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub fn next(&mut self, around_ms: u64) -> Duration {
        let spread = around_ms * 600;
        Duration::from_micros(around_ms * 1000 - spread / 3 + self.random() % spread)
    }
}

/// How often the service was started so far.
fn starts(daemon: &Daemon) -> u32 {
    if !has_control() {
        return daemon.log().matches("start service=x ").count() as u32;
    }
    let status = daemon.tell(&["status", "--json", "x"]);
    let count = status.split("\"starts\":{\"count\":").nth(1).and_then(|rest| rest.split([',', '}']).next());
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no number of starts in {status}"))
}

/// Visits about when the service is to be put to sleep, one client after the other and now and then four at once, until
/// it has been woken so often. On a busy machine looks may come late, so a short run is content with less.
pub fn hammer(daemon: &Daemon, wakes: u32, around_ms: u64, visit: &(dyn Fn() -> Result<(), String> + Sync)) {
    let mut pauses = Pauses::new();
    let (mut clients, mut woken) = (0, 0);
    let most = if asked_rounds().is_some() { wakes * 40 } else { wakes * 3 };
    while woken < wakes && clients < most || woken < 2 {
        for _ in 0..8 {
            let at_once = if pauses.random().is_multiple_of(8) { 4 } else { 1 };
            std::thread::scope(|scope| {
                let visits: Vec<_> = (0..at_once).map(|_| scope.spawn(visit)).collect();
                for visit in visits {
                    visit.join().unwrap().unwrap_or_else(|fault| panic!("client {clients}: {fault}"));
                    clients += 1;
                }
            });
            std::thread::sleep(pauses.next(around_ms));
        }
        woken = starts(daemon);
        assert!(clients < most + 1000, "the service never slept");
    }
    let spared = daemon.log().matches("not now: a client came").count();
    println!("{clients} clients, {woken} wakes, at least {spared} that came while it stood still");
    assert!(asked_rounds().is_none() || woken >= wakes, "{woken} wakes in {clients} visits");
    assert!(!daemon.log().contains("rest service=x"), "nothing of this is a failure");
}

/// What the other side sends until it closes; a reset is an error here.
pub fn whole(mut stream: impl Read) -> Result<String, String> {
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

pub fn talk_whole(port: u16) -> Result<(), String> {
    let text = whole(try_connect(local(port), PATIENCE).map_err(|error| error.to_string())?)?;
    if text.starts_with("here") { Ok(()) } else { Err(format!("got {text:?}")) }
}

pub fn talk_unix(path: &str, expected: &str) -> Result<(), String> {
    let stream = UnixStream::connect(path).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    let text = whole(stream)?;
    if text.starts_with(expected) { Ok(()) } else { Err(format!("got {text:?}")) }
}

fn small(ctx: &mut Ctx) -> (String, String, Visit) {
    let port = ctx.port();
    (tcp(port), stand_in("answer here"), Box::new(move || talk_whole(port)))
}

fn gunicorn(ctx: &mut Ctx) -> (String, String, Visit) {
    let port = ctx.port();
    ctx.file("app.py", "def app(environ, start):\n    start('200 OK', [])\n    return [b'awake']\n");
    let exec = format!("{} -w 2 app:app\nWorkingDirectory={}", prog("gunicorn"), ctx.dir.display());
    (tcp(port), exec, Box::new(move || get(port, "/", "awake")))
}

fn lighttpd(ctx: &mut Ctx) -> (String, String, Visit) {
    let port = ctx.port();
    (tcp(port), crate::serve::lighttpd(ctx, port), Box::new(move || get(port, "/hello.txt", "hello from lighttpd")))
}

fn agent(ctx: &mut Ctx) -> (String, String, Visit) {
    let path = ctx.path("agent.sock");
    let exec = format!("/usr/bin/python3 -S {}", service_file("agent.py"));
    (format!("ListenStream={path}"), exec, Box::new(move || talk_unix(&path, "uid ")))
}

fn threads(ctx: &mut Ctx) -> (String, String, Visit) {
    let port = ctx.port();
    let exec = format!("/usr/bin/python3 {}", service_file("threads.py"));
    (tcp(port), exec, Box::new(move || get(port, "/", "hello from a thread")))
}

//! The life of the daemon and of its services: start, stop, restart, time limits, orders from the command line.

use crate::client::*;
use crate::daemon::{is_live, kill, proc_status, session_of};
use crate::harness::{
    Ctx, Need::*, Test, dormouse as dormouse_path, has_control, has_part, sleep_ms, stand_in, wait_until,
};
use crate::test;
use std::process::{Command, Stdio};

pub const TESTS: &[Test] = &[
    test!(term_ends_the_daemon_and_its_services),
    test!(int_ends_the_daemon, Prog("sh")),
    test!(kill_follows_when_term_is_ignored),
    test!(a_rest_that_is_over_at_the_end_costs_nothing),
    test!(kill_mode_process_leaves_the_rest),
    test!(kill_mode_process_kills_nobody_else),
    test!(who_stands_still_is_asked_to_end),
    test!(no_end_of_patience_by_zero),
    test!(kill_mode_mixed),
    test!(kill_signal_is_sent_first),
    test!(send_sigkill_no),
    test!(send_sigkill_no_and_no_end_of_patience),
    test!(restart_on_failure),
    test!(restart_always_after_a_pause),
    test!(success_exit_status),
    test!(runtime_max),
    test!(runtime_max_is_a_failure),
    test!(failure_that_is_ignored),
    test!(runtime_max_of_a_connection),
    test!(detach_writes_the_pidfile, Part("detach")),
    test!(orders_stop_start_restart, Command("stop")),
    test!(orders_pause_resume, Command("pause")),
    test!(list_status_and_json, Command("status")),
    test!(the_heap_of_the_start_is_given_back),
    test!(a_listener_costs_little_memory),
];

fn one(port: u16, more: &str, exec: &str) -> String {
    format!("[x]\nListenStream=127.0.0.1:{port}\n{more}ExecStart={exec}\n")
}

fn term_ends_the_daemon_and_its_services(ctx: &mut Ctx) {
    let port = ctx.port();
    let mut daemon = ctx.start(&one(port, "", &stand_in("answer here")));
    assert!(talk(port).starts_with("here"));
    let services = daemon.descendants();
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(services.iter().all(|pid| !is_live(*pid)), "the service is gone before the daemon");
    assert!(try_connect(local(port), std::time::Duration::from_secs(1)).is_err());
}

fn int_ends_the_daemon(ctx: &mut Ctx) {
    let port = ctx.port();
    let mut daemon = ctx.start(&one(port, "Accept=yes\n", "/bin/true"));
    daemon.signal(libc::SIGINT);
    assert_eq!(daemon.wait().code(), Some(0));
}

/// A main process and a worker, both deaf to TERM; their pids are in the file `pids`.
fn deaf(ctx: &Ctx) -> String {
    let pids = ctx.path("pids");
    ctx.script(
        "service",
        &format!("trap '' TERM\n( while :; do sleep 1; done ) &\necho $! >{pids}; echo $$ >>{pids}\nwhile :; do sleep 1; done\n"),
    )
}

fn pids(ctx: &Ctx) -> Vec<i32> {
    wait_until("the service tells its pids", || ctx.lines("pids").len() == 2);
    ctx.lines("pids").iter().map(|line| line.parse().unwrap()).collect()
}

fn kill_follows_when_term_is_ignored(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = deaf(ctx);
    let mut daemon = ctx.start(&one(port, "TimeoutStopSec=2\n", &exec));
    let _client = connect(port);
    let pids = pids(ctx);
    let start = std::time::Instant::now();
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(start.elapsed().as_millis() > 1500, "it was given its time");
    wait_until("the end of the worker, too", || pids.iter().all(|pid| !is_live(*pid)));
}

/// One service rests, another one takes its time to end: the end of the rest is nothing to wake up for.
fn a_rest_that_is_over_at_the_end_costs_nothing(ctx: &mut Ctx) {
    let (rests, stays) = (ctx.port(), ctx.port());
    let stubborn = ctx.script("stubborn", "trap '' TERM\nwhile :; do sleep 1; done\n");
    let mut daemon = ctx.start(&format!(
        "[rests]\nListenStream={rests}\nExecStart=/bin/false\n\
         [stays]\nListenStream={stays}\nTimeoutStopSec=4\nExecStart={stubborn}\n"
    ));
    let _clients = (connect(rests), connect(stays));
    daemon.wait_log("rest service=rests");
    daemon.wait_log("start service=stays");
    daemon.signal(libc::SIGTERM);
    daemon.cost(|| sleep_ms(2500)).assert_small();
    assert!(daemon.wait().success());
}

fn kill_mode_process_leaves_the_rest(ctx: &mut Ctx) {
    let port = ctx.port();
    let file = ctx.path("pids");
    let exec = ctx.script("service", &format!("sleep 60 &\necho $! >{file}; echo $$ >>{file}\nexec sleep 61\n"));
    let mut daemon = ctx.start(&one(port, "KillMode=process\nTimeoutStopSec=2\n", &exec));
    let _client = connect(port);
    let pids = pids(ctx);
    daemon.stop();
    assert!(is_live(pids[0]) && !is_live(pids[1]));
    kill(pids[0], libc::SIGKILL);
}

/// Not asked, and not killed either when the main process has had its time.
fn kill_mode_process_kills_nobody_else(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = deaf(ctx);
    let mut daemon = ctx.start(&one(port, "KillMode=process\nTimeoutStopSec=1\n", &exec));
    let _client = connect(port);
    let pids = pids(ctx);
    daemon.stop();
    assert!(is_live(pids[0]) && !is_live(pids[1]));
    kill(pids[0], libc::SIGKILL);
}

/// A stopped process handles its signal only when it goes on.
fn who_stands_still_is_asked_to_end(ctx: &mut Ctx) {
    for mode in ["control-group", "mixed", "process"] {
        let (port, note) = (ctx.port(), ctx.path(mode));
        let exec = ctx.script("service", &format!("trap 'echo term >{note}; exit 0' TERM\nkill -STOP $$\nsleep 60\n"));
        let mut daemon = ctx.start(&one(port, &format!("KillMode={mode}\nTimeoutStopSec=10\n"), &exec));
        let _client = connect(port);
        let stands = |pid: &i32| proc_status(*pid, "State").starts_with('T');
        wait_until("the service stands still", || daemon.descendants().iter().any(stands));
        daemon.stop();
        assert_eq!(ctx.lines(mode), ["term"], "{mode}");
    }
}

/// systemd's other word for "infinity".
fn no_end_of_patience_by_zero(ctx: &mut Ctx) {
    let (port, note) = (ctx.port(), ctx.path("note"));
    let exec = ctx.script("service", &format!("trap 'sleep 1; echo end >{note}; exit 0' TERM\nsleep 60 & wait\n"));
    let mut daemon = ctx.start(&one(port, "KillMode=mixed\nTimeoutStopSec=0\n", &exec));
    let _client = connect(port);
    wait_until("the service runs", || daemon.descendants().len() == 2);
    daemon.stop();
    assert_eq!(ctx.lines("note"), ["end"]);
}

/// TERM to the main process only, KILL to what is left.
fn kill_mode_mixed(ctx: &mut Ctx) {
    let port = ctx.port();
    let (file, note) = (ctx.path("pids"), ctx.path("note"));
    let worker = ctx.script("worker", &format!("trap 'echo term >>{note}' TERM\nwhile :; do sleep 0.2; done\n"));
    let body = format!(
        "{worker} &\necho $! >{file}; echo $$ >>{file}\ntrap 'sleep 1; exit 0' TERM\nwhile :; do sleep 0.2; done\n"
    );
    let exec = ctx.script("service", &body);
    let mut daemon = ctx.start(&one(port, "KillMode=mixed\nTimeoutStopSec=5\n", &exec));
    let _client = connect(port);
    let pids = pids(ctx);
    sleep_ms(300);
    daemon.stop();
    wait_until("the worker is killed", || !is_live(pids[0]));
    assert!(ctx.lines("note").is_empty(), "the worker gets no TERM");
}

fn kill_signal_is_sent_first(ctx: &mut Ctx) {
    let port = ctx.port();
    let note = ctx.path("note");
    let exec = ctx.script("service", &format!("trap 'echo usr1 >{note}; exit 1' USR1\nwhile :; do sleep 0.1; done\n"));
    let mut daemon = ctx.start(&one(port, "KillSignal=SIGUSR1\nTimeoutStopSec=10\n", &exec));
    let _client = connect(port);
    wait_until("the service runs", || !daemon.descendants().is_empty());
    sleep_ms(500);
    daemon.stop();
    assert_eq!(ctx.lines("note"), ["usr1"]);
    let log = daemon.log();
    assert!(log.contains("status=1") && !log.contains("warning"), "it was asked to end:\n{log}");
}

fn send_sigkill_no(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = deaf(ctx);
    let mut daemon = ctx.start(&one(port, "SendSIGKILL=no\nTimeoutStopSec=1\n", &exec));
    let _client = connect(port);
    let pids = pids(ctx);
    daemon.stop();
    assert!(pids.iter().all(|pid| is_live(*pid)), "they were asked, and not forced");
    for pid in pids {
        kill(pid, libc::SIGKILL);
    }
}

/// The daemon ends when the service does, or when it is told once more.
fn send_sigkill_no_and_no_end_of_patience(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = deaf(ctx);
    let config = one(port, "SendSIGKILL=no\nTimeoutStopSec=infinity\n", &exec);
    for again in [false, true] {
        let mut daemon = ctx.start(&config);
        let client = connect(port);
        let pids = pids(ctx);
        daemon.signal(libc::SIGTERM);
        daemon.wait_log("stop children=1");
        drop(client);
        if again {
            daemon.signal(libc::SIGTERM);
        } else {
            assert!(pids.iter().all(|pid| is_live(*pid)));
            pids.iter().for_each(|pid| kill(*pid, libc::SIGKILL));
        }
        assert_eq!(daemon.wait().code(), Some(0));
        assert!(again || daemon.log().contains("exit service=x"), "it has waited:\n{}", daemon.log());
        wait_until("all of it has ended", || pids.iter().all(|pid| !is_live(*pid)));
        std::fs::remove_file(ctx.path("pids")).unwrap();
    }
}

/// How often the service of these configurations has started.
fn runs(ctx: &Ctx) -> usize {
    ctx.lines("runs").len()
}

fn restart_on_failure(ctx: &mut Ctx) {
    let port = ctx.port();
    // Serves one connection, fails the first two times, then ends well.
    let file = ctx.path("runs");
    let body = format!("echo run >>{file}\n{}\n[ $(wc -l <{file}) -ge 3 ]\n", stand_in("answer here 1"));
    let exec = ctx.script("service", &body);
    let daemon = ctx.start(&one(port, "Restart=on-failure\nRestartSec=200ms\n", &exec));
    assert!(talk(port).starts_with("here"));
    wait_until("a second run without any client", || runs(ctx) == 2);
    assert!(talk(port).starts_with("here"));
    wait_until("a third run without any client", || runs(ctx) == 3);
    assert!(talk(port).starts_with("here"));
    wait_until("the last one has ended", || daemon.descendants().is_empty());
    sleep_ms(1500);
    assert_eq!(runs(ctx), 3, "a good end is not a failure");
    assert!(talk(port).starts_with("here"), "traffic wakes it as ever");
}

fn restart_always_after_a_pause(ctx: &mut Ctx) {
    let port = ctx.port();
    let file = ctx.path("runs");
    let exec = ctx.script("service", &format!("echo run >>{file}\nexec {}\n", stand_in("answer here 1")));
    let daemon = ctx.start(&one(port, "Restart=always\nRestartSec=1\n", &exec));
    assert!(talk(port).starts_with("here"));
    wait_until("the next run", || runs(ctx) == 2 && !daemon.descendants().is_empty());
}

fn success_exit_status(ctx: &mut Ctx) {
    let port = ctx.port();
    let file = ctx.path("runs");
    let exec = ctx.script("service", &format!("echo run >>{file}\n{}\nexit 42\n", stand_in("answer here 1")));
    let _daemon = ctx.start(&one(port, "Restart=on-failure\nRestartSec=100ms\nSuccessExitStatus=42\n", &exec));
    assert!(talk(port).starts_with("here"));
    sleep_ms(2000);
    assert_eq!(runs(ctx), 1, "42 is a good end here");
}

/// `-` in front of the program: however it ends, that is no failure.
fn failure_that_is_ignored(ctx: &mut Ctx) {
    let port = ctx.port();
    let file = ctx.path("runs");
    let exec = ctx.script("service", &format!("echo run >>{file}\n{}\nexit 1\n", stand_in("answer here 1")));
    let daemon = ctx.start(&one(port, "Restart=on-failure\nRestartSec=100ms\n", &format!("-{exec}")));
    for _ in 0..5 {
        assert!(talk(port).starts_with("here"));
    }
    wait_until("the last one has ended", || daemon.log().matches("status=1").count() == 5);
    assert_eq!((runs(ctx), daemon.log().contains("rest service=x")), (5, false), "{}", daemon.log());
}

/// Who is asked to end because his time is over has failed, even if he does so well.
fn runtime_max_is_a_failure(ctx: &mut Ctx) {
    let port = ctx.port();
    let file = ctx.path("runs");
    let body = format!("trap 'exit 0' TERM\necho run >>{file}\nwhile :; do sleep 0.1; done\n");
    let exec = ctx.script("service", &body);
    let daemon = ctx.start(&one(port, "RuntimeMaxSec=1\nRestart=on-failure\nRestartSec=100ms\n", &exec));
    let _client = connect(port);
    daemon.wait_log("why=restart");
    wait_until("another run", || runs(ctx) == 2);
}

fn runtime_max(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&one(port, "RuntimeMaxSec=1\nTimeoutStopSec=1\n", &stand_in("answer here")));
    let first = talk(port);
    assert!(first.starts_with("here"));
    wait_until("its time is over", || daemon.descendants().is_empty());
    let second = talk(port);
    assert!(second.starts_with("here") && second != first, "the next client gets a new instance");
}

fn runtime_max_of_a_connection(ctx: &mut Ctx) {
    let port = ctx.port();
    let _daemon = ctx.start(&one(port, "Accept=yes\nRuntimeMaxSec=1\n", "/bin/cat"));
    let start = std::time::Instant::now();
    assert_eq!(talk(port), "");
    assert!(start.elapsed().as_millis() >= 1000, "{:?}", start.elapsed());
}

fn detach_writes_the_pidfile(ctx: &mut Ctx) {
    let (port, pidfile) = (ctx.port(), ctx.path("pid"));
    let config = ctx.file("dormouse.conf", &one(port, "Accept=yes\n", "/bin/echo here"));
    let mut command = Command::new(dormouse_path());
    command.args(["run", "-c", &config, "-d", "--pidfile", &pidfile]);
    if has_control() {
        command.args(["--control", &ctx.path("control.sock")]);
    }
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success());
    let pid: i32 = ctx.lines("pid").first().expect("the pidfile is there before the parent ends").parse().unwrap();
    let answer = talk(port);
    let session = session_of(pid);
    let fds: Vec<_> = (0..3).map(|fd| std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap()).collect();
    kill(pid, libc::SIGTERM);
    wait_until("the detached daemon ends", || !is_live(pid));
    assert_eq!(answer, "here\n");
    assert_ne!(session, session_of(std::process::id().cast_signed()), "it left our session");
    assert!(fds[0].ends_with("null"), "{fds:?}");
    assert!(!std::path::Path::new(&pidfile).exists(), "the pidfile goes with it");
}

fn orders_stop_start_restart(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&one(port, "", &stand_in("answer here")));
    daemon.tell(&["start", "x"]);
    wait_until("it runs without a client", || daemon.descendants().len() == 1);
    let first = daemon.descendants();
    let said = daemon.tell(&["stop", "x"]).to_lowercase();
    assert!(
        said.contains("armed") || said.contains("listen") || said.contains("wake"),
        "stop says what remains: {said}"
    );
    wait_until("it is stopped", || daemon.descendants().is_empty());
    assert!(talk(port).starts_with("here"), "its sockets remain armed");
    assert_ne!(daemon.descendants(), first);
    let second = daemon.descendants();
    daemon.tell(&["restart", "x"]);
    wait_until("it runs anew", || daemon.descendants().len() == 1 && daemon.descendants() != second);
    assert_eq!(daemon.ask(&["stop", "nobody"]).status.code(), Some(1), "no such service");
}

fn orders_pause_resume(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&one(port, "Accept=yes\n", "/bin/echo here"));
    daemon.tell(&["pause", "x"]);
    let client = connect(port);
    daemon.cost(|| sleep_ms(1500)).assert_small();
    assert!(daemon.descendants().is_empty());
    daemon.tell(&["resume", "x"]);
    assert_eq!(read_all(client), "here\n", "who came meanwhile is served");
}

fn list_status_and_json(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&one(port, "", &stand_in("answer here")));
    assert!(talk(port).starts_with("here"));
    let pid = daemon.descendants()[0].to_string();
    let list = daemon.tell(&["list"]);
    assert!(list.contains('x') && list.contains(&port.to_string()), "{list}");
    let status = daemon.tell(&["status", "x"]);
    assert!(status.contains(&pid) && status.contains("running"), "{status}");
    let json = daemon.tell(&["status", "--json"]);
    assert!(json.trim_start().starts_with(['{', '[']) && json.contains(&pid), "{json}");
    let metrics = daemon.tell(&["metrics"]);
    assert!(metrics.contains("# TYPE") && metrics.trim_end().ends_with("# EOF"), "{metrics}");
    let history = daemon.tell(&["history"]);
    assert!(history.contains('x'), "{history}");
}

/// The largest private mapping without a name that is not the .bss of the program, in bytes: where a heap is.
fn heap_bytes(pid: i32) -> u64 {
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap().display().to_string();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let (mut behind, mut largest) = (0, 0);
    for line in maps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (from, to) = words[0].split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        if words.get(5).is_some_and(|name| program.starts_with(name)) {
            behind = to;
        } else if words.len() == 5 && words[1] == "rw-p" && from != behind {
            largest = largest.max(to - from);
        }
    }
    largest
}

fn the_heap_of_the_start_is_given_back(ctx: &mut Ctx) {
    let config: String = (0..100)
        .map(|_| ctx.port())
        .map(|port| one(port, "", "/bin/true").replace("[x]", &format!("[x{port}]")))
        .collect();
    let daemon = ctx.start(&config);
    // A chunk of that heap has 128 kB, but for the first; what the C library and the loader map is far less.
    wait_until("the heap is unmapped", || heap_bytes(daemon.pid) < 100 << 10);
    if has_part("reload") {
        crate::reload::reload(&daemon);
        wait_until("the heap is unmapped after a reload", || heap_bytes(daemon.pid) < 100 << 10);
    }
}

/// A row that is not written lies in a page that is not there.
fn a_listener_costs_little_memory(ctx: &mut Ctx) {
    const MANY: u16 = 400;
    let mut memory = |count: u16| {
        let ports: Vec<u16> = (0..count).map(|_| ctx.port()).collect();
        let section =
            |port: &u16| format!("[s{port}]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart=/bin/true\n");
        let mut daemon = ctx.start(&ports.iter().map(section).collect::<String>());
        sleep_ms(500); // the first sleep has begun
        let memory = daemon.private_dirty_kb();
        daemon.stop();
        memory
    };
    let (few, many) = (memory(4), memory(MANY));
    assert!(many < few + u64::from(MANY) / 4, "{few} kB with 4 listeners, {many} kB with {MANY}");
}

//! What is promised and seldom needed, so that nothing else comes by: each of these would go wrong in silence.

use crate::client::*;
use crate::daemon::{kill, proc_status};
use crate::harness::{Ctx, Need::*, Test, prog, sleep_ms, stand_in, wait_until};
use crate::listen_protocol::Report;
use crate::reload::reload;
use crate::test;
use std::fs;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = &[
    test!(our_end_of_a_dual_stack_connection),
    test!(more_ends_than_one_turn_reaps),
    test!(a_connection_that_is_served_ends_the_failures),
    test!(poll_limit_of_a_waiting_service),
    test!(stop_ends_the_rest_before_a_restart, Command("stop")),
    test!(pause_keeps_from_a_restart, Command("pause")),
    test!(datagrams_over_the_limit_are_dropped),
    test!(a_datagram_waits_for_its_program),
    test!(a_path_whose_holder_takes_nobody, Part("local")),
    test!(a_backlog_that_a_service_has_changed, Prog("python3"), Prog("ss")),
    test!(a_backlog_that_is_configured_anew, Part("reload"), Prog("ss")),
    test!(a_helper_does_not_speak_for_the_service, Part("notify"), Prog("python3")),
    test!(who_is_about_to_end_and_does_not, Part("notify"), Prog("python3")),
    test!(a_program_below_another_root_that_comes_late, Root, Prog("busybox")),
];

fn one(listen: &str, more: &str, exec: &str) -> String {
    format!("[x]\n{listen}\n{more}ExecStart={exec}\n")
}

fn tcp(port: u16) -> String {
    format!("ListenStream=127.0.0.1:{port}")
}

/// A script that notes that it ran, then does `rest`.
fn noted(ctx: &Ctx, rest: &str) -> String {
    ctx.script("service", &format!("echo run >>{}\n{rest}\n", ctx.path("runs")))
}

fn our_end_of_a_dual_stack_connection(ctx: &mut Ctx) {
    let port = ctx.port();
    let _daemon = ctx.start(&one(&format!("ListenStream={port}"), "Accept=yes\n", &stand_in("report")));
    let report = Report::of(&talk(port));
    assert_eq!(report.var("TCPLOCALIP"), Some("127.0.0.1"));
    assert_eq!(report.var("TCPLOCALPORT"), Some(port.to_string().as_str()));
}

/// All of them in one moment, which the kernel may tell of once only.
fn more_ends_than_one_turn_reaps(ctx: &mut Ctx) {
    const MANY: usize = 150;
    let port = ctx.port();
    let daemon = ctx.start(&one(&tcp(port), "Accept=yes\n", "/bin/cat"));
    let _clients: Vec<_> = (0..MANY).map(|_| connect(port)).collect();
    wait_until("all run", || daemon.descendants().len() == MANY);
    daemon.signal(libc::SIGSTOP);
    let all = daemon.descendants();
    all.iter().for_each(|pid| kill(*pid, libc::SIGKILL));
    wait_until("all have ended", || all.iter().all(|pid| proc_status(*pid, "State").starts_with('Z')));
    daemon.signal(libc::SIGCONT);
    wait_until("all are reaped", || daemon.descendants().is_empty());
}

/// The program is there, what it needs to run is not.
fn a_connection_that_is_served_ends_the_failures(ctx: &mut Ctx) {
    let (port, shell) = (ctx.port(), ctx.path("shell"));
    let program = ctx.file("program", &format!("#!{shell}\necho here\n"));
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let daemon = ctx.start(&one(&tcp(port), "Accept=yes\n", &program));
    for round in 1..=2 {
        let client = connect(port);
        wait_until("a short rest", || daemon.log().matches("rest=0.250s").count() == round);
        std::os::unix::fs::symlink("/bin/sh", &shell).unwrap();
        assert_eq!(read_all(client), "here\n");
        fs::remove_file(&shell).unwrap();
    }
}

fn poll_limit_of_a_waiting_service(ctx: &mut Ctx) {
    let port = ctx.port();
    let limit = "TriggerLimitBurst=0\nPollLimitIntervalSec=3\nPollLimitBurst=2\n";
    let _daemon = ctx.start(&one(&tcp(port), limit, &stand_in("answer here 1")));
    let start = Instant::now();
    for _ in 0..5 {
        assert!(talk(port).starts_with("here"), "slowed down, never refused");
    }
    assert!(start.elapsed() > Duration::from_secs(5), "{:?}", start.elapsed());
}

fn stop_ends_the_rest_before_a_restart(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = noted(ctx, &format!("exec {}", stand_in("answer here 1")));
    let daemon = ctx.start(&one(&tcp(port), "Restart=always\nRestartSec=2\n", &exec));
    assert!(talk(port).starts_with("here"));
    daemon.wait_log("why=restart");
    daemon.tell(&["stop", "x"]);
    sleep_ms(3000);
    assert_eq!(ctx.lines("runs").len(), 1);
    assert!(talk(port).starts_with("here"), "the next client starts it");
}

fn pause_keeps_from_a_restart(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = noted(ctx, &format!("exec {}", stand_in("answer here 2")));
    let daemon = ctx.start(&one(&tcp(port), "Restart=always\nRestartSec=100ms\n", &exec));
    assert!(talk(port).starts_with("here"));
    daemon.tell(&["pause", "x"]);
    assert!(talk(port).starts_with("here"), "who runs is left alone");
    daemon.wait_log("exit service=x");
    sleep_ms(1500);
    assert_eq!(ctx.lines("runs").len(), 1, "{}", daemon.log());
    daemon.tell(&["resume", "x"]);
    assert!(talk(port).starts_with("here"));
    daemon.tell(&["pause", "x"]);
    assert_eq!(daemon.ask(&["restart", "x"]).status.code(), Some(1));
    assert!(daemon.descendants().is_empty(), "it was stopped, and may not start");
}

fn datagrams_over_the_limit_are_dropped(ctx: &mut Ctx) {
    let port = ctx.port();
    let listen = format!("ListenDatagram=127.0.0.1:{port}");
    let daemon = ctx.start(&one(&listen, "ReusePort=yes\nAccept=yes\nMaxConnections=1\n", "/bin/sleep 60"));
    let (first, second) = (udp(), udp());
    first.send_to(b"first", local(port)).unwrap();
    wait_until("a process for it", || daemon.descendants().len() == 1);
    second.send_to(b"second", local(port)).unwrap();
    daemon.wait_log("why=max-connections");
    daemon.cost(|| sleep_ms(1000)).assert_small();
    assert_eq!(daemon.log().matches("refuse service=x").count(), 1, "{}", daemon.log());
}

fn a_datagram_waits_for_its_program(ctx: &mut Ctx) {
    let (port, program) = (ctx.port(), ctx.path("program"));
    let listen = format!("ListenDatagram=127.0.0.1:{port}");
    let daemon =
        ctx.start(&one(&listen, "ReusePort=yes\nAccept=yes\n", &format!("{program} --as-service udp heard 1")));
    let client = udp();
    client.send_to(b"knock", local(port)).unwrap();
    daemon.wait_log("failed at=exec");
    let own = std::env::current_exe().unwrap();
    shell(&format!("cp {} {program}.new; mv {program}.new {program}", own.display()));
    let mut buffer = [0; 100];
    let length = client.recv(&mut buffer).expect("an answer");
    assert!(buffer[..length].starts_with(b"heard"));
}

/// It is asked whether anybody is there, and does not answer: nobody else may have to wait for that.
fn a_path_whose_holder_takes_nobody(ctx: &mut Ctx) {
    let (path, port) = (ctx.path("x.sock"), ctx.port());
    let holder = UnixListener::bind(&path).unwrap();
    rustix::net::listen(borrowed(&holder), 0).unwrap();
    let _queued = UnixStream::connect(&path).unwrap();
    let config = one(&format!("ListenStream={path}"), "Accept=yes\n", "/bin/echo mine")
        + &format!("[y]\n{}\nAccept=yes\nExecStart=/bin/echo other\n", tcp(port));
    let daemon = ctx.start(&config);
    assert_eq!(talk(port), "other\n");
    assert!(daemon.log().contains("in use"), "{}", daemon.log());
}

/// The backlog of the listener at a port.
fn backlog(port: u16) -> u32 {
    let told = shell(&format!("ss -ltnH 'sport = :{port}'"));
    told.split_whitespace().nth(2).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{told}"))
}

fn a_backlog_that_a_service_has_changed(ctx: &mut Ctx) {
    let port = ctx.port();
    let text = "import socket\ns = socket.socket(fileno=3)\ns.listen(1)\nc, _ = s.accept()\nc.close()\n";
    let exec = format!("/usr/bin/python3 {}", ctx.file("service.py", text));
    let daemon = ctx.start(&one(&tcp(port), "Backlog=77\n", &exec));
    assert_eq!(backlog(port), 77);
    assert_eq!(talk(port), "");
    daemon.wait_log("exit service=x");
    wait_until("it is as before", || backlog(port) == 77);
}

fn a_backlog_that_is_configured_anew(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = |backlog: u32| one(&tcp(port), &format!("Backlog={backlog}\n"), "/bin/true");
    let daemon = ctx.start(&config(77));
    assert_eq!(backlog(port), 77);
    ctx.file("dormouse.conf", &config(99));
    reload(&daemon);
    assert_eq!(backlog(port), 99);
}

/// A service in Python that tells something by sd_notify(3).
fn telling(ctx: &Ctx, text: &str) -> String {
    let head = "import os, socket, sys, time\ns = socket.socket(fileno=3)\ndef tell(text):\n    \
         u = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n    \
         u.sendto(text, '\\0' + os.environ['NOTIFY_SOCKET'][1:])\n\
         def serve():\n    c, _ = s.accept()\n    c.sendall(b'here %d\\n' % os.getpid())\n    c.close()\n";
    format!("/usr/bin/python3 {}", ctx.file("service.py", &format!("{head}{text}")))
}

fn a_helper_does_not_speak_for_the_service(ctx: &mut Ctx) {
    let port = ctx.port();
    let text = "pid = os.fork()\nif pid == 0:\n    tell(b'STOPPING=1')\n    time.sleep(60)\nwhile True:\n    serve()\n";
    let exec = telling(ctx, text);
    let daemon = ctx.start(&one(&tcp(port), "NotifyAccess=main\nTimeoutStopSec=1\n", &exec));
    let first = talk(port);
    daemon.wait_log("passed over");
    sleep_ms(2000);
    assert_eq!(talk(port), first, "it goes on:\n{}", daemon.log());
}

fn who_is_about_to_end_and_does_not(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = telling(ctx, "serve()\ntell(b'STOPPING=1')\ntime.sleep(60)\n");
    let daemon = ctx.start(&one(&tcp(port), "NotifyAccess=main\nTimeoutStopSec=1\n", &exec));
    let first = talk(port);
    let second = talk(port);
    assert!(first.starts_with("here") && second.starts_with("here") && first != second, "{first}{second}");
    assert!(daemon.log().contains("signal=KILL"), "{}", daemon.log());
}

fn a_program_below_another_root_that_comes_late(ctx: &mut Ctx) {
    let (port, root, busybox) = (ctx.port(), ctx.path("root"), prog("busybox"));
    shell(&format!(
        "mkdir -p {root}/bin; for l in $(ldd {busybox} 2>/dev/null | grep -o '/[^ ]*' || true); do mkdir -p {root}$(dirname $l); cp $l {root}$l; done"
    ));
    let exec = "/bin/busybox-of-this-test echo here";
    let daemon = ctx.start(&one(&tcp(port), &format!("Accept=yes\nRootDirectory={root}\n"), exec));
    let mut client = connect(port);
    client.write_all(b"x\n").unwrap();
    daemon.wait_log("failed at=exec");
    shell(&format!("cp {busybox} {root}/bin/new; mv {root}/bin/new {root}/bin/busybox-of-this-test"));
    assert_eq!(read_all(client), "here\n");
}

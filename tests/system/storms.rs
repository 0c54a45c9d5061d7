//! Loops and storms: whatever a service does wrong, the daemon stays cheap, the listener open, and the client is served
//! as soon as the service is well.

use crate::client::*;
use crate::daemon::{Daemon, kill};
use crate::harness::{Ctx, Need::*, PATIENCE, Test, has_control, sleep_ms, stand_in, wait_until, within};
use crate::test;
use dormouse::limits::POISON_RUNS;
use std::io::Write;
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = &[
    test!(trap_01_one_datagram_left_unread),
    test!(trap_01_good_datagrams_behind_a_poison_one),
    test!(trap_03_program_missing, Prog("strace")),
    test!(trap_03_program_dies_at_once),
    test!(trap_03_program_ends_at_once_without_accepting),
    test!(trap_03_accept_yes_program_missing),
    test!(trap_05_service_unable_to_start),
    test!(trap_06_flush_pending),
    test!(trap_08_several_listeners_one_service),
    test!(trap_09_no_limit_is_for_ever),
    test!(trap_10_service_shuts_its_listener_down),
    test!(trap_10_service_shuts_half_a_unix_listener_down, Part("local")),
    test!(trap_10_service_shuts_half_a_datagram_socket_down),
    test!(trap_11_rate_limit_keeps_the_port),
    test!(trap_32_daemonising_service, Part("takeover")),
    test!(trap_32_as_daemon_does_it, Part("takeover")),
    test!(a_service_that_fails_at_once_and_is_restarted),
    test!(trap_06_failures_that_read_their_input_drop_nothing),
    test!(failures_are_forgotten_after_a_long_run),
    test!(one_client_a_run),
    test!(one_unix_client_a_run, Part("local")),
    test!(one_datagram_a_run),
    test!(one_line_of_a_fifo_a_run, Part("local")),
    test!(a_service_that_ends_well_at_once_and_is_restarted),
    test!(two_thousand_connections_at_once),
    test!(two_thousand_connections_as_shipped),
];

const STORM: Duration = Duration::from_secs(5);

fn runs(ctx: &Ctx) -> usize {
    ctx.lines("runs").len()
}

/// A script that notes that it ran, then does `rest`.
fn noted(ctx: &Ctx, rest: &str) -> String {
    let file = ctx.path("runs");
    ctx.script("service", &format!("echo run >>{file}\n{rest}\n"))
}

fn assert_calm(daemon: &Daemon, spawns: impl Fn() -> usize) {
    daemon.cost(|| std::thread::sleep(STORM)).assert_small();
    let spawns = spawns();
    assert!((1..=8).contains(&spawns), "{spawns} starts in 5 s");
}

fn trap_01_one_datagram_left_unread(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = noted(ctx, "exit 0");
    let mut daemon = ctx.start(&format!("[x]\nListenDatagram=127.0.0.1:{port}\nExecStart={exec}\n"));
    udp().send_to(b"poison", local(port)).unwrap();
    assert_calm(&daemon, || runs(ctx));
    assert!(daemon.alive());
}

fn trap_01_good_datagrams_behind_a_poison_one(ctx: &mut Ctx) {
    let port = ctx.port();
    // Dies on the word poison, answers anything else: a parser with a fault.
    let script = "import os, socket\ns = socket.socket(fileno=3)\n\
        text, peer = s.recvfrom(100, socket.MSG_PEEK)\nif text == b'poison': os._exit(1)\n\
        s.recvfrom(100)\ns.sendto(b'good ' + text, peer)\n";
    let script = ctx.file("service.py", script);
    let config = format!("[x]\nListenDatagram=127.0.0.1:{port}\nExecStart=/usr/bin/python3 {script}\n");
    let daemon = ctx.start(&config);
    let client = udp();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    client.send_to(b"poison", local(port)).unwrap();
    client.send_to(b"nut", local(port)).unwrap();
    let mut buffer = [0; 100];
    let length =
        client.recv(&mut buffer).unwrap_or_else(|e| panic!("the good datagram is lost: {e}\n{}", daemon.log()));
    assert_eq!(&buffer[..length], b"good nut");
}

fn trap_03_program_missing(ctx: &mut Ctx) {
    let (port, program) = (ctx.port(), ctx.path("missing"));
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nExecStart={program} --as-service answer here 1\n");
    let calls = "trace=clone,clone3,?fork,?vfork";
    let mut daemon = ctx.launch(&config).strace("trace", &["-e", calls]).start();
    let before = ctx.lines("trace").len();
    let client = connect(port);
    daemon.cost(|| std::thread::sleep(STORM)).assert_small();
    let spawns = ctx.lines("trace").len() - before;
    assert!(spawns <= 8, "{spawns} starts in 5 s");
    assert!(daemon.alive());
    daemon.wait_log("missing");
    let own = std::env::current_exe().unwrap();
    shell(&format!("cp {} {program}.new; mv {program}.new {program}", own.display()));
    let start = Instant::now();
    assert!(read_all(client).starts_with("here"), "the client that waited is served");
    assert!(start.elapsed() < Duration::from_secs(5), "and soon: it took {:?}", start.elapsed());
}

fn storm_of(ctx: &mut Ctx, rest: &str) {
    let port = ctx.port();
    let exec = noted(ctx, &format!("test -e {} || {rest}\nexec {}", ctx.path("well"), stand_in("answer here 1")));
    let mut daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nExecStart={exec}\n"));
    let client = connect(port);
    assert_calm(&daemon, || runs(ctx));
    assert!(daemon.alive());
    let second = connect(port);
    ctx.file("well", "");
    assert!(read_all(client).starts_with("here"), "the client that waited is served");
    assert!(read_all(second).starts_with("here"), "and the next one, too");
}

fn trap_03_program_dies_at_once(ctx: &mut Ctx) {
    storm_of(ctx, "exit 1");
}

fn trap_03_program_ends_at_once_without_accepting(ctx: &mut Ctx) {
    storm_of(ctx, "exit 0");
}

/// With one process per connection a client is lost with its process, but nothing spins and nothing stays broken.
fn trap_03_accept_yes_program_missing(ctx: &mut Ctx) {
    let (port, program) = (ctx.port(), ctx.path("missing"));
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart={program} here\n");
    let daemon = ctx.start(&config);
    let clients: Vec<_> = (0..20).map(|_| connect(port)).collect();
    daemon.cost(|| std::thread::sleep(STORM)).assert_small();
    drop(clients);
    shell(&format!("cp /bin/echo {program}.new; mv {program}.new {program}"));
    wait_until("a client is served again", || talk(port) == "here\n");
}

fn trap_05_service_unable_to_start(ctx: &mut Ctx) {
    let (port, folder) = (ctx.port(), ctx.path("not-mounted-yet"));
    let exec = noted(ctx, &format!("exec {}", stand_in("answer here 1")));
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nWorkingDirectory={folder}\nExecStart={exec}\n");
    let daemon = ctx.start(&config);
    let client = connect(port);
    daemon.cost(|| std::thread::sleep(STORM)).assert_small();
    assert_eq!(runs(ctx), 0);
    std::fs::create_dir(&folder).unwrap();
    assert!(read_all(client).starts_with("here"));
}

fn trap_06_flush_pending(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = noted(ctx, "exit 1");
    let config = format!("[x]\nListenDatagram=127.0.0.1:{port}\nFlushPending=yes\nExecStart={exec}\n");
    let _daemon = ctx.start(&config);
    udp().send_to(b"poison", local(port)).unwrap();
    wait_until("the first run", || runs(ctx) == 1);
    sleep_ms(3000);
    assert_eq!(runs(ctx), 1, "the datagram went with the run that it failed");
    udp().send_to(b"again", local(port)).unwrap();
    wait_until("a run for the next datagram", || runs(ctx) == 2);
}

fn trap_08_several_listeners_one_service(ctx: &mut Ctx) {
    let (a, b) = (ctx.port(), ctx.port());
    let exec = stand_in("answer first");
    let config = format!("[x]\nListenStream=127.0.0.1:{a}\nListenStream=127.0.0.1:{b}\nExecStart={exec}\n");
    let daemon = ctx.start(&config);
    assert!(talk(a).starts_with("first"));
    let _waiting: Vec<_> = (0..5).map(|_| connect(b)).collect();
    sleep_ms(200);
    let wakeups = daemon.wakeups();
    daemon.cost(|| sleep_ms(3000)).assert_small();
    assert!(daemon.wakeups() - wakeups <= 2, "the second listener is not looked at while the service lives");
    assert_eq!(daemon.descendants().len(), 1);
}

fn trap_09_no_limit_is_for_ever(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart=/bin/echo here\n\
         TriggerLimitIntervalSec=2\nTriggerLimitBurst=5\n"
    );
    let mut daemon = ctx.start(&config);
    let clients: Vec<_> = (0..30).map(|_| std::thread::spawn(move || talk(port))).collect();
    for client in clients {
        assert_eq!(client.join().unwrap(), "here\n", "beyond the limit a client waits");
    }
    assert!(daemon.alive());
    assert_eq!(talk(port), "here\n");
}

fn trap_10_service_shuts_its_listener_down(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = stand_in(&format!("shutdown {} here", ctx.path("state")));
    let daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nExecStart={exec}\n"));
    drop(connect(port));
    wait_until("the first run", || {
        !daemon.descendants().is_empty() || !ctx.lines("state").is_empty() || {
            std::path::Path::new(&ctx.path("state")).exists()
        }
    });
    let served = within(PATIENCE, || {
        let client = try_connect(local(port), Duration::from_secs(2));
        client.is_ok_and(|client| {
            client.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
            let mut text = String::new();
            std::io::Read::read_to_string(&mut &client, &mut text).is_ok() && text.starts_with("here")
        })
    });
    assert!(served, "the listener is made again:\n{}", daemon.log());
    daemon.cost(|| sleep_ms(2000)).assert_small();
}

fn trap_10_service_shuts_half_a_unix_listener_down(ctx: &mut Ctx) {
    let path = ctx.path("socket");
    let exec = stand_in(&format!("shutdown-half {} here", ctx.path("state")));
    let daemon = ctx.start(&format!("[x]\nListenStream={path}\nExecStart={exec}\n"));
    drop(unix_talk(&path));
    daemon.wait_log("exit service=x");
    let served = within(PATIENCE, || unix_talk(&path).is_ok_and(|text| text.starts_with("here")));
    assert!(served, "the listener is made again:\n{}", daemon.log());
}

fn trap_10_service_shuts_half_a_datagram_socket_down(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = stand_in(&format!("shutdown-half {} here", ctx.path("state")));
    let daemon = ctx.start(&format!("[x]\nListenDatagram=127.0.0.1:{port}\nExecStart={exec}\n"));
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let served = within(PATIENCE, || {
        let _ = client.send_to(b"hello", local(port)); // nobody may be there for a moment
        client.recv(&mut [0; 100]).is_ok()
    });
    sleep_ms(500);
    let log = daemon.log();
    assert!(served && !log.contains("why=failure"), "the socket is made again, and nobody wakes for nothing:\n{log}");
}

fn trap_11_rate_limit_keeps_the_port(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart=/bin/echo here\n\
         TriggerLimitIntervalSec=6\nTriggerLimitBurst=2\n"
    );
    let daemon = ctx.start(&config);
    assert_eq!((talk(port).as_str(), talk(port).as_str()), ("here\n", "here\n"));
    let waiting = connect(port);
    let thief = std::net::TcpListener::bind(local(port));
    assert!(thief.is_err(), "nobody else can take the port while the limit rests");
    daemon.cost(|| sleep_ms(2000)).assert_small();
    assert_eq!(read_all(waiting), "here\n", "and who waited is served");
}

fn trap_32_daemonising_service(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = noted(ctx, &format!("exec {}", stand_in("daemonise here")));
    let daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nExecStart={exec}\n"));
    for _ in 0..5 {
        assert!(talk(port).starts_with("here"));
    }
    daemon.cost(|| std::thread::sleep(STORM)).assert_small();
    assert!(runs(ctx) <= 8, "{} starts", runs(ctx));
}

/// The child of the process that was started leaves its session when that has ended already.
fn trap_32_as_daemon_does_it(ctx: &mut Ctx) {
    for restart in ["no", "always"] {
        let port = ctx.port();
        let exec = stand_in(&format!("daemon {restart}"));
        let daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nRestart={restart}\nExecStart={exec}\n"));
        let first = talk(port);
        daemon.wait_log("why=background");
        assert!(first.starts_with(restart) && talk(port) == first, "{first}");
        assert_eq!(daemon.log().matches("why=knock").count(), 1, "{}", daemon.log());
        assert_eq!(daemon.descendants().len(), 1);
        if has_control() {
            assert!(daemon.tell(&["status", "--json"]).contains("\"ended\":0"), "the run goes on");
            kill(daemon.descendants()[0], libc::SIGTERM);
            daemon.wait_log("signal=TERM");
            assert!(daemon.tell(&["status", "--json"]).contains("\"ended\":1"));
        }
    }
}

/// Nor is Restart=on-failure one to start ten times a second what fails.
fn a_service_that_fails_at_once_and_is_restarted(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = noted(ctx, "exit 1");
    // without StartLimitBurst=, which would do
    let more = "Restart=on-failure\nRestartSec=0\nStartLimitBurst=0\n";
    let daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\n{more}ExecStart={exec}\n"));
    let _client = connect(port);
    assert_calm(&daemon, || runs(ctx));
}

/// As many failures as drop a datagram, but each of another one.
fn trap_06_failures_that_read_their_input_drop_nothing(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = ctx.script("service", &format!("dd bs=2000 count=1 2>/dev/null >>{}\nexit 1\n", ctx.path("runs")));
    let config = format!("[x]\nListenDatagram=127.0.0.1:{port}\nStandardInput=socket\nExecStart={exec}\n");
    let daemon = ctx.start(&config);
    let client = udp();
    for number in 0..=POISON_RUNS {
        client.send_to(format!("{number}\n").as_bytes(), local(port)).unwrap();
    }
    daemon.wait_log(&format!("why=failure count={POISON_RUNS}"));
    assert!(!daemon.log().contains("dropped"), "{}", daemon.log());
}

/// Not a storm: each run serves one of those who wait, and ends well, so the next one begins at once.
fn assert_served_one_by_one(daemon: &Daemon, served: impl Fn() -> usize, all: usize) {
    wait_until("all are served", || served() == all || daemon.log().contains("rest service=x"));
    assert_eq!((served(), daemon.log().contains("rest service=x")), (all, false), "{}", daemon.log());
}

/// Runs that fail at once make the rest longer each time; one that has lasted begins the count anew, however it ends.
fn failures_are_forgotten_after_a_long_run(ctx: &mut Ctx) {
    let (port, count) = (ctx.port(), ctx.path("count"));
    let exec = ctx.script("run", &format!("echo >> {count}\n[ $(wc -l < {count}) = 4 ] && sleep 10.2\nexit 1\n"));
    let daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nExecStart={exec}\n"));
    let _client = connect(port);
    wait_until("the fourth run fails", || daemon.log().matches("exit service=x").count() == 4);
    wait_until("it rests", || daemon.log().matches("rest service=x").count() == 4);
    let log = daemon.log();
    let counts: Vec<_> = log.split(" count=").skip(1).map(|rest| &rest[..1]).collect();
    assert_eq!(counts, ["1", "2", "3", "1"], "{log}");
}

fn one_client_a_run(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nExecStart={}\n", stand_in("answer here 1")));
    let clients: Vec<_> = (0..8).map(|_| connect(port)).collect();
    let served = clients.into_iter().map(read_all).filter(|answer| answer.starts_with("here")).count();
    assert_served_one_by_one(&daemon, || served, 8);
}

fn one_unix_client_a_run(ctx: &mut Ctx) {
    let path = ctx.path("x.sock");
    let daemon = ctx.start(&format!("[x]\nListenStream={path}\nExecStart={}\n", stand_in("answer here 1")));
    let clients: Vec<_> = (0..8).map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap()).collect();
    clients.iter().for_each(|client| client.set_read_timeout(Some(PATIENCE)).unwrap());
    let served = clients.into_iter().map(read_all).filter(|answer| answer.starts_with("here")).count();
    assert_served_one_by_one(&daemon, || served, 8);
}

fn one_datagram_a_run(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = ctx.script("service", &format!("dd bs=2000 count=1 2>/dev/null >>{}\n", ctx.path("runs")));
    let config = format!("[x]\nListenDatagram=127.0.0.1:{port}\nStandardInput=socket\nExecStart={exec}\n");
    let daemon = ctx.start(&config);
    let client = udp();
    for text in ["0\n", "1\n", "2\n", "3\n", "the same\n", "the same\n", "the same\n", "the same\n"] {
        client.send_to(text.as_bytes(), local(port)).unwrap();
    }
    assert_served_one_by_one(&daemon, || runs(ctx), 8);
}

fn one_line_of_a_fifo_a_run(ctx: &mut Ctx) {
    let fifo = ctx.path("fifo");
    let exec = ctx.script("service", &format!("dd bs=2 count=1 <&3 2>/dev/null >>{}\n", ctx.path("runs")));
    let daemon = ctx.start(&format!("[x]\nListenFIFO={fifo}\nExecStart={exec}\n"));
    std::fs::OpenOptions::new().write(true).open(&fifo).unwrap().write_all(&b"x\n".repeat(8)).unwrap();
    assert_served_one_by_one(&daemon, || runs(ctx), 8);
}

/// Restart=always is no leave to start ten times a second what ends well when there is nothing to do.
fn a_service_that_ends_well_at_once_and_is_restarted(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = noted(ctx, "dd bs=2000 count=1 iflag=nonblock of=/dev/null 2>/dev/null\nexit 0");
    let more = "StandardInput=socket\nRestart=always\nRestartSec=100ms\n";
    let daemon = ctx.start(&format!("[x]\nListenDatagram=127.0.0.1:{port}\n{more}ExecStart={exec}\n"));
    udp().send_to(b"x", local(port)).unwrap();
    assert_calm(&daemon, || runs(ctx));
}

fn two_thousand_connections_at_once(ctx: &mut Ctx) {
    two_thousand(ctx, "MaxConnections=64\nTriggerLimitBurst=100000\nPollLimitBurst=100000\n");
}

/// Also with the limits that nobody has changed.
fn two_thousand_connections_as_shipped(ctx: &mut Ctx) {
    two_thousand(ctx, "");
}

fn two_thousand(ctx: &mut Ctx, limits: &str) {
    let port = ctx.port();
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\n{limits}ExecStart=/bin/cat\n");
    let mut daemon = ctx.start(&config);
    for _ in 0..20 {
        assert_eq!(ask(port, "warm\n"), "warm\n");
    }
    let resident_kb = || daemon.status_line("RssAnon").trim_end_matches(" kB").parse::<u64>().unwrap();
    let before = resident_kb();
    let (mut served, mut closed) = (0, 0);
    let burst = |count: usize| {
        let clients: Vec<_> = (0..count).map(|_| connect(port)).collect();
        for client in &clients {
            let _ = (&*client).write_all(b"hello\n");
            let _ = client.shutdown(std::net::Shutdown::Write);
        }
        clients
    };
    // The tests' own descriptor limit may be below two thousand: raise it, or send the burst in halves.
    let chunks: &[usize] = if rustix::process::getrlimit(rustix::process::Resource::Nofile).current >= Some(3000) {
        &[2000]
    } else {
        &[500, 500, 500, 500]
    };
    for chunk in chunks {
        for client in burst(*chunk) {
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            match read_all(client).as_str() {
                "hello\n" => served += 1,
                "" => closed += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(served + closed, 2000);
    assert!(served >= 64, "{served} served, {closed} closed");
    // The rows of 64 children are touched for the first time; beyond that nothing may grow.
    assert!(resident_kb() <= before + 64, "{before} kB have become {} kB", resident_kb());
    assert!(daemon.alive());
    assert_eq!(ask(port, "after\n"), "after\n");
}

//! ConnectTo= when things go wrong: late, dead and slow backends, clients that do not read, reload in between, and
//! nothing left to open.

use crate::client::*;
use crate::daemon::kill;
use crate::forward::{backend, echo, redirect};
use crate::harness::{Ctx, Need, Need::*, PATIENCE, Test, sleep_ms, wait_until};
use crate::reload::{order, own_program, replace};
use crate::test;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::time::Instant;

const FORWARD: Need = Directive("ConnectTo");

pub const TESTS: &[Test] = &[
    test!(a_hundred_clients_while_the_backend_starts, FORWARD),
    test!(who_comes_while_it_stops_is_served_by_the_next_one, FORWARD),
    test!(backend_killed_with_clients, FORWARD),
    test!(backend_that_never_opens_its_port, FORWARD),
    test!(program_that_ends_at_once, FORWARD),
    test!(program_that_ends_before_its_backend_answers, Root, FORWARD, Prog("ip")),
    test!(nobody_behind_a_plain_redirect, FORWARD, Part("control")),
    test!(transfer_over_reload_and_upgrade, FORWARD, Part("reload")),
    test!(clients_that_wait_survive_a_reload, FORWARD, Part("reload")),
    test!(service_that_is_gone_keeps_its_connections, FORWARD, Part("reload")),
    test!(no_descriptor_left_for_a_backend, FORWARD, Prog("prlimit")),
    test!(no_descriptor_left_for_a_pipe, FORWARD, Prog("prlimit")),
    test!(slow_reader_costs_nothing, FORWARD),
    test!(half_close_by_the_backend, FORWARD),
    test!(reset_is_passed_on, FORWARD),
    test!(limits_hold_for_forwarded_connections, FORWARD, Part("control")),
    test!(orders_for_a_forwarding_service, FORWARD, Part("control")),
    test!(a_limit_does_not_end_the_run, FORWARD),
    test!(restart_keeps_the_listener_watched, FORWARD),
    test!(connections_end_with_the_daemon, FORWARD),
];

/// A backend: `backend.py PORT DELAY STOP` opens the port after DELAY seconds, tells each client its pid and then
/// echoes; a TERM ends it after STOP seconds, in which it still takes clients and hangs up on them.
const BACKEND: &str = "import os, signal, socket, sys, threading, time
port, delay, stop = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
ending = []
def end(*_):
    ending.append(1)
    threading.Timer(stop, lambda: os._exit(0)).start()
signal.signal(signal.SIGTERM, end)
def serve(c):
    c.sendall(b'%d\\n' % os.getpid())
    while data := c.recv(65536):
        c.sendall(data)
    c.close()
time.sleep(delay)
s = socket.create_server(('127.0.0.1', port), backlog=1024)
while True:
    c, _ = s.accept()
    if ending:
        c.close()
    else:
        threading.Thread(target=serve, args=(c,), daemon=True).start()
";

/// A service with that backend.
fn started(ctx: &mut Ctx, delay: &str, stop: &str, more: &str) -> (u16, String) {
    let (port, behind) = (ctx.port(), ctx.port());
    let script = ctx.file("backend.py", BACKEND);
    let exec = format!("/usr/bin/python3 {script} {behind} {delay} {stop}");
    (port, format!("[x]\nListenStream=127.0.0.1:{port}\nConnectTo={behind}\nExecStart={exec}\n{more}"))
}

fn first_line(port: u16) -> (TcpStream, String) {
    let mut stream = connect(port);
    let line = read_line(&mut stream);
    (stream, line)
}

fn a_hundred_clients_while_the_backend_starts(ctx: &mut Ctx) {
    let (port, config) = started(ctx, "1.5", "0", "");
    let daemon = ctx.start(&config);
    let clients: Vec<_> = (0..100).map(|_| connect(port)).collect();
    daemon.cost(|| sleep_ms(1000)).assert_small();
    for mut client in clients {
        let pid = read_line(&mut client);
        assert_eq!(pid, daemon.descendants()[0].to_string());
        exchange(&mut client, "word");
    }
    assert_eq!(daemon.descendants().len(), 1);
    wait_until("nothing is left", || daemon.open_fds() < 16);
}

fn who_comes_while_it_stops_is_served_by_the_next_one(ctx: &mut Ctx) {
    let (port, config) = started(ctx, "0", "1.5", "StopWhenIdleSec=1\n");
    let daemon = ctx.start(&config);
    let (client, first) = first_line(port);
    sleep_ms(2500);
    assert_eq!(daemon.descendants().len(), 1, "not idle: somebody is connected");
    drop(client);
    daemon.wait_log("why=idle");
    let (_client, second) = first_line(port);
    assert!(!second.is_empty() && first != second, "{first} {second}");
}

fn backend_killed_with_clients(ctx: &mut Ctx) {
    let (port, config) = started(ctx, "0", "0", "");
    let daemon = ctx.start(&config);
    let clients: Vec<_> = (0..10).map(|_| first_line(port)).collect();
    let killed = daemon.descendants()[0];
    kill(killed, libc::SIGKILL);
    for (client, pid) in clients {
        assert_eq!(read_all(client), "", "{pid} is gone");
    }
    // its listening socket closes behind its connections, and resets who comes in between
    wait_until("it is gone", || !daemon.descendants().contains(&killed));
    let (_client, pid) = first_line(port);
    assert_eq!(pid, daemon.descendants()[0].to_string());
}

fn backend_that_never_opens_its_port(ctx: &mut Ctx) {
    let (port, config) = started(ctx, "1000", "0", "");
    let daemon = ctx.start(&config);
    let before = daemon.open_fds();
    let (gone, half, stays) = (connect(port), connect(port), connect(port));
    wait_until("it is started", || daemon.descendants().len() == 1);
    half.shutdown(Shutdown::Write).unwrap();
    daemon.cost(|| sleep_ms(4000)).assert_small();
    assert_eq!(daemon.open_fds(), before + 3);
    reset(gone);
    wait_until("who has gone is let go", || daemon.open_fds() == before + 2);
    drop((half, stays));
}

fn program_that_ends_at_once(ctx: &mut Ctx) {
    let (port, behind) = (ctx.port(), ctx.port());
    let log = ctx.path("starts");
    let exec = ctx.script("end", &format!("echo x >>{log}\n"));
    let daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nConnectTo={behind}\nExecStart={exec}\n"));
    let client = connect(port);
    daemon.cost(|| sleep_ms(5000)).assert_small();
    let starts = ctx.lines("starts").len();
    assert!((2..=6).contains(&starts), "{starts} starts");
    // the backend comes all the same, from elsewhere: who waited is served
    let listener = TcpListener::bind(local(behind)).unwrap();
    std::thread::spawn(move || listener.incoming().flatten().for_each(|mut stream| drop(stream.write_all(b"here\n"))));
    assert_eq!(read_all(client), "here\n");
}

/// The backend says neither yes nor no; its program has done nothing for the client who waits.
fn program_that_ends_before_its_backend_answers(ctx: &mut Ctx) {
    output(Command::new("ip").args(["route", "add", "10.9.10.2/32", "dev", "lo"]));
    let port = ctx.port();
    let daemon =
        ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nConnectTo=10.9.10.2:80\nExecStart=/bin/sleep 0.5\n"));
    let _client = connect(port);
    daemon.wait_log("exit service=x");
    daemon.wait_log("rest service=x why=unread");
}

fn nobody_behind_a_plain_redirect(ctx: &mut Ctx) {
    let (port, behind) = (ctx.port(), ctx.port());
    let (path, socket) = (ctx.path("front"), ctx.path("nobody"));
    let daemon = ctx.start(&format!(
        "[x]\nListenStream=127.0.0.1:{port}\nConnectTo={behind}\n[y]\nListenStream={path}\nConnectTo={socket}\n"
    ));
    let before = daemon.open_fds();
    for _ in 0..20 {
        assert_eq!(talk(port), "");
        assert_eq!(unix_talk(&path).unwrap(), "");
    }
    let status = daemon.tell(&["status", "x"]);
    assert!(status.contains("refused    20 (backend 20)"), "{status}");
    assert!(daemon.log().matches("service=x").count() <= 11, "{}", daemon.log());
    wait_until("nothing is left", || daemon.open_fds() == before); // the client of `status` may be there still
}

/// 50 MB through two reloads and an upgrade: not a byte is lost, none comes twice.
fn transfer_over_reload_and_upgrade(ctx: &mut Ctx) {
    const BYTES: usize = 50_000_000;
    let (port, behind) = (ctx.port(), backend(echo));
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nConnectTo=127.0.0.1:{behind}\n");
    let program = own_program(ctx);
    let daemon = ctx.launch(&config).program(&program).start();
    let byte = |at: usize| (at.wrapping_mul(2_654_435_761) >> 13) as u8;
    let data: Vec<u8> = (0..BYTES).map(byte).collect(); // on a busy machine it takes longer than a client waits
    let mut stream = connect(port);
    let mut back = stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        stream.write_all(&data).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    });
    let mut buffer = vec![0; 1 << 16];
    let mut seen = 0;
    let mut steps = [libc::SIGHUP, libc::SIGUSR2, libc::SIGHUP].into_iter();
    loop {
        let length = back.read(&mut buffer).expect("the connection goes on");
        if length == 0 {
            break;
        }
        let wrong = buffer[..length].iter().enumerate().find(|(index, got)| **got != byte(seen + index));
        assert!(wrong.is_none(), "at byte {seen}: {wrong:?}");
        if (seen + length) / 10_000_000 > seen / 10_000_000
            && let Some(signal) = steps.next()
        {
            if signal == libc::SIGUSR2 {
                replace(&crate::harness::dormouse(), &program);
            }
            assert!(order(&daemon, signal), "{}", daemon.log());
        }
        seen += length;
    }
    writer.join().unwrap();
    assert_eq!((seen, steps.next()), (BYTES, None));
    wait_until("nothing is left", || daemon.open_fds() < 16);
}

fn clients_that_wait_survive_a_reload(ctx: &mut Ctx) {
    let (port, config) = started(ctx, "3", "0", "");
    let daemon = ctx.start(&config);
    let clients: Vec<_> = (0..10).map(|_| connect(port)).collect();
    wait_until("it is started", || daemon.descendants().len() == 1);
    assert!(order(&daemon, libc::SIGHUP));
    for mut client in clients {
        assert!(!read_line(&mut client).is_empty());
    }
    assert_eq!(daemon.descendants().len(), 1);
}

fn service_that_is_gone_keeps_its_connections(ctx: &mut Ctx) {
    let (port, daemon) = redirect(ctx, "", echo);
    let mut client = connect(port);
    exchange(&mut client, "before");
    let other = ctx.port();
    ctx.file("dormouse.conf", &format!("[other]\nListenStream=127.0.0.1:{other}\nAccept=yes\nExecStart=/bin/echo x\n"));
    assert!(order(&daemon, libc::SIGHUP), "{}", daemon.log());
    assert!(TcpStream::connect(local(port)).is_err(), "its socket is closed");
    exchange(&mut client, "after");
    assert_eq!(talk(other), "x\n");
    drop(client);
}

/// Sets the daemon's limit of descriptors to what it has open and `more`.
fn limit_to_open(pid: i32, more: u64) {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let open: Vec<u64> = open.filter_map(|fd| fd.file_name().to_string_lossy().parse().ok()).collect();
    let free = (0..).filter(|fd| !open.contains(fd)).nth(more as usize).unwrap();
    let limit = format!("--nofile={free}:4096");
    output(Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]));
}

fn no_descriptor_left_for_a_backend(ctx: &mut Ctx) {
    let (port, daemon) = redirect(ctx, "", echo);
    assert_eq!(ask(port, "x\n"), "x\n");
    // room for clients, but not for all of their backends
    limit_to_open(daemon.pid, 3);
    let clients: Vec<_> = (0..6).map(|_| connect(port)).collect();
    daemon.cost(|| sleep_ms(4000)).assert_small();
    output(Command::new("prlimit").args(["--pid", &daemon.pid.to_string(), "--nofile=4096:4096"]));
    for mut client in clients {
        client.write_all(b"hello\n").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(client), "hello\n");
    }
}

/// Without a pipe nothing is read that the other side does not take: slower, but whole.
fn no_descriptor_left_for_a_pipe(ctx: &mut Ctx) {
    let (port, daemon) = redirect(ctx, "", |mut stream| {
        let mut byte = [0];
        let _ = stream.read_exact(&mut byte);
        let data: Vec<u8> = (0..20_000_000_u32).map(|at| (at.wrapping_mul(31) >> 5) as u8).collect();
        let _ = stream.write_all(&data);
    });
    let before = daemon.open_fds();
    let mut client = connect(port);
    wait_until("both sides are connected", || daemon.open_fds() == before + 2);
    limit_to_open(daemon.pid, 0);
    client.write_all(b"x").unwrap();
    sleep_ms(500);
    assert_eq!(daemon.open_fds(), before + 2, "it has no pipe");
    let mut seen = Vec::new();
    client.read_to_end(&mut seen).unwrap();
    assert!(seen.len() == 20_000_000, "{} bytes", seen.len());
    assert!((0..20_000_000_u32).zip(&seen).all(|(at, got)| (at.wrapping_mul(31) >> 5) as u8 == *got));
    drop(client);
}

fn slow_reader_costs_nothing(ctx: &mut Ctx) {
    let (port, daemon) = redirect(ctx, "", |mut stream| {
        let mut request = [0; 1];
        while stream.read_exact(&mut request).is_ok() {
            let _ = match request[0] {
                b'b' => stream.write_all(&vec![7; 30_000_000]),
                _ => stream.write_all(b"small\n"),
            };
        }
    });
    let mut slow = connect(port);
    slow.write_all(b"b").unwrap();
    sleep_ms(1000);
    daemon
        .cost(|| {
            for _ in 0..20 {
                let mut quick = connect(port);
                quick.write_all(b"s").unwrap();
                let start = Instant::now();
                assert_eq!(read_line(&mut quick), "small");
                assert!(start.elapsed() < PATIENCE / 4);
                sleep_ms(150);
            }
        })
        .assert_small();
    let mut seen = vec![0; 30_000_000];
    slow.read_exact(&mut seen).unwrap();
    assert!(seen.iter().all(|byte| *byte == 7));
}

/// The backend says all it has to say at once, and goes on reading.
fn half_close_by_the_backend(ctx: &mut Ctx) {
    let (sender, received) = std::sync::mpsc::channel();
    static SENDER: std::sync::Mutex<Option<std::sync::mpsc::Sender<String>>> = std::sync::Mutex::new(None);
    *SENDER.lock().unwrap() = Some(sender);
    let (port, _daemon) = redirect(ctx, "", |mut stream| {
        let _ = stream.write_all(b"all\n");
        let _ = stream.shutdown(Shutdown::Write);
        let text = read_all(stream);
        let _ = SENDER.lock().unwrap().as_ref().map(|sender| sender.send(text));
    });
    let mut client = connect(port);
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "all\n");
    client.write_all(b"still here\n").unwrap();
    drop(client);
    assert_eq!(received.recv_timeout(PATIENCE).unwrap(), "still here\n");
}

/// Who is cut off looks cut off at the other end, too, and not as if all were said.
fn reset_is_passed_on(ctx: &mut Ctx) {
    let (sender, received) = std::sync::mpsc::channel();
    static SENDER: std::sync::Mutex<Option<std::sync::mpsc::Sender<String>>> = std::sync::Mutex::new(None);
    *SENDER.lock().unwrap() = Some(sender);
    let (port, _daemon) = redirect(ctx, "", |mut stream| {
        let mut buffer = [0; 100];
        let _ = stream.write_all(b"hello\n");
        let length = stream.read(&mut buffer).unwrap_or(0);
        let end = match stream.read(&mut buffer) {
            Ok(length) => format!("{length} bytes more"),
            Err(error) => format!("{:?}", error.kind()),
        };
        let _ = SENDER.lock().unwrap().as_ref().map(|sender| sender.send(format!("{length}, {end}")));
    });
    let mut client = connect(port);
    assert_eq!(read_line(&mut client), "hello");
    client.write_all(b"12345").unwrap();
    sleep_ms(300);
    reset(client);
    assert_eq!(received.recv_timeout(PATIENCE).unwrap(), "5, ConnectionReset");
}

fn limits_hold_for_forwarded_connections(ctx: &mut Ctx) {
    let more = "MaxConnections=3\nMaxConnectionsPerSource=2\nIPAddressDeny=127.0.0.3\n";
    let (port, daemon) = redirect(ctx, more, echo);
    let from = |last: u8| connect_from([127, 0, 0, last].into(), local(port), PATIENCE).unwrap();
    let works = |stream: &mut TcpStream| {
        let _ = stream.write_all(b"x\n");
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).is_ok()
    };
    let mut clients = vec![from(1), from(1)];
    assert!(clients.iter_mut().all(works));
    assert!(!works(&mut from(1)), "a third one from the same source");
    assert!(!works(&mut from(3)), "denied");
    clients.push(from(2));
    assert!(works(&mut clients[2]));
    assert!(!works(&mut from(4)), "a fourth one");
    let status = daemon.tell(&["status", "x"]);
    assert!(status.contains("forwards   to 127.0.0.1:") && !status.contains("  program "), "{status}");
    assert!(status.contains("current 3"), "{status}");
    for word in ["max-connections-per-source 1", "address 1", "max-connections 1"] {
        assert!(status.contains(word), "{word}: {status}");
    }
    drop(clients);
    wait_until("they are gone", || daemon.tell(&["status", "x"]).contains("current 0"));
    assert!(works(&mut from(1)));
}

fn orders_for_a_forwarding_service(ctx: &mut Ctx) {
    let (port, config) = started(ctx, "0", "0", "");
    let (plain, behind) = (ctx.port(), backend(echo));
    let daemon = ctx.start(&format!("{config}[plain]\nListenStream=127.0.0.1:{plain}\nConnectTo={behind}\n"));
    daemon.tell(&["start", "x"]);
    let (client, first) = first_line(port);
    assert_eq!(daemon.tell(&["status", "x"]).lines().next(), Some("x: running"));
    daemon.tell(&["pause", "x"]);
    let mut waits = connect(port);
    sleep_ms(500);
    assert!(daemon.tell(&["status", "x"]).contains("current 1"), "who comes while it is paused is not taken");
    daemon.tell(&["resume", "x"]);
    assert_eq!(read_line(&mut waits), first);
    daemon.tell(&["restart", "x"]);
    assert_eq!(read_all(client), "", "its connections end with it");
    let (client, second) = first_line(port);
    assert_ne!(first, second);
    daemon.tell(&["stop", "x"]);
    assert_eq!(read_all(client), "");
    assert_ne!(first_line(port).1, second, "the next client starts it again");
    let mut client = connect(plain);
    exchange(&mut client, "x");
    assert!(daemon.tell(&["stop", "plain"]).contains("connections closed: 1;"));
    assert_eq!(read_all(client), "");
    assert!(!daemon.ask(&["start", "plain"]).status.success());
    assert_eq!(ask(plain, "y\n"), "y\n");
}

/// Too many clients in a time wait in the queue, and the program runs on.
fn a_limit_does_not_end_the_run(ctx: &mut Ctx) {
    let (port, config) = started(ctx, "0", "0", "TriggerLimitIntervalSec=3\nTriggerLimitBurst=3\n");
    let daemon = ctx.start(&config);
    let (_client, first) = first_line(port);
    let clients: Vec<_> = (0..5).map(|_| connect(port)).collect();
    daemon.cost(|| sleep_ms(1000)).assert_small();
    daemon.wait_log("why=trigger-limit");
    for mut client in clients {
        assert_eq!(read_line(&mut client), first);
    }
}

/// A program that is started by Restart=, and not by a client, is forwarded to as well.
fn restart_keeps_the_listener_watched(ctx: &mut Ctx) {
    let (port, config) = started(ctx, "0", "0", "Restart=always\nRestartSec=1\n");
    let daemon = ctx.start(&config);
    let (_client, first) = first_line(port);
    kill(first.parse().unwrap(), libc::SIGKILL);
    daemon.wait_log("why=restart");
    wait_until("it is started again", || daemon.descendants().len() == 1);
    let (_client, second) = first_line(port);
    assert_eq!(second, daemon.descendants()[0].to_string());
    assert_ne!(first, second);
}

fn connections_end_with_the_daemon(ctx: &mut Ctx) {
    let (port, config) = started(ctx, "0", "1", "");
    let mut daemon = ctx.start(&config);
    let (mut client, _) = first_line(port);
    daemon.signal(libc::SIGTERM);
    wait_until("nobody new is let in", || TcpStream::connect(local(port)).is_err());
    client.write_all(b"still served\n").unwrap();
    assert_eq!(read_line(&mut client), "still served");
    assert!(daemon.wait().success());
    assert_eq!(read_all(client), "");
}

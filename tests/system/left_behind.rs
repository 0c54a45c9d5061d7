//! What a service leaves in its sockets, or comes out at the wrong place, when it runs again.

use crate::client::*;
use crate::daemon::Daemon;
use crate::harness::{Ctx, Need::*, PATIENCE, Test, service_file, sleep_ms, wait_until};
use crate::test;
use std::fs;
use std::process::Command;

pub const TESTS: &[Test] = &[
    test!(sockets_that_were_made_anew_keep_their_places, Prog("python3")),
    test!(filters_that_a_service_leaves, Root, Prog("python3")),
    test!(a_backlog_that_a_service_leaves, Prog("python3"), Prog("ss")),
    test!(a_listener_that_a_service_has_connected, Prog("python3")),
    test!(signals_that_a_service_asks_for_in_our_name, Prog("python3")),
    test!(a_folder_that_never_answers, Root, Prog("python3"), File("/dev/fuse")),
    test!(a_program_that_never_answers, Root, Prog("python3"), File("/dev/fuse")),
    test!(clients_that_a_service_waits_for_do_not_keep_us, Root, Prog("python3"), Prog("ip"), Prog("nsenter")),
];

/// A service with three sockets that tells which of them was knocked at, and removes the path of the last one.
const WHICH: &str = "
import os, select, socket
all = [socket.socket(fileno=number) for number in (3, 4, 5)]
listener = select.select(all, [], [])[0][0]
client, _ = listener.accept()
client.sendall(b'%d' % all.index(listener))
client.close()
os.unlink(all[2].getsockname())
";

/// The new socket gets the lowest number that is free, which must not be the place of another one of the child's.
fn sockets_that_were_made_anew_keep_their_places(ctx: &mut Ctx) {
    let (port, other, path) = (ctx.port(), ctx.port(), ctx.path("x.sock"));
    let exec = format!("/usr/bin/python3 {}", ctx.file("service.py", WHICH));
    let listen = format!("ListenStream=127.0.0.1:{port}\nListenStream=127.0.0.1:{other}\nListenStream={path}\n");
    let config = format!("[x]\n{listen}ExecStart={exec}\n");
    let _daemon = ctx.start(&config);
    for _ in 0..2 {
        assert_eq!(talk(port), "0");
        wait_until("the path leads to it", || unix_talk(&path).is_ok_and(|text| text == "2"));
    }
}

/// A service that serves one client, and then does this to its socket `s`.
fn serves_and(ctx: &mut Ctx, listen: &str, more: &str, act: &str) -> Daemon {
    let text = format!(
        "import ctypes, fcntl, os, socket, struct, time\ns = socket.socket(fileno=3)\n\
         if s.type == socket.SOCK_DGRAM: s.sendto(*s.recvfrom(100))\n\
         else:\n    client, _ = s.accept()\n    client.sendall(b'served')\n    client.close()\n{act}\n"
    );
    let exec = format!("/usr/bin/python3 {}", ctx.file("service.py", &text));
    ctx.start(&format!("[x]\n{listen}\nExecStart={exec}\n{more}"))
}

fn has_ended(daemon: &Daemon, times: usize) {
    wait_until("it has ended", || daemon.log().matches("exit service=x").count() == times);
    sleep_ms(300); // what is done then comes after the word
}

/// One that lets nothing through, as programs set it before they empty their socket.
const DEAF: &str = "code = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0))
s.setsockopt(socket.SOL_SOCKET, 26, struct.pack('HL', 1, ctypes.addressof(code)))";

fn filters_that_a_service_leaves(ctx: &mut Ctx) {
    let port = ctx.port();
    let stream = serves_and(ctx, &format!("ListenStream=127.0.0.1:{port}"), "", DEAF);
    for round in 1..3 {
        assert_eq!(talk(port), "served", "round {round}");
        has_ended(&stream, round);
    }
    drop(stream);
    let datagram = serves_and(ctx, &format!("ListenDatagram=127.0.0.1:{port}"), "", DEAF);
    for round in 1..3 {
        assert_eq!(udp_ask(port, "hello"), "hello");
        has_ended(&datagram, round);
    }
}

fn a_backlog_that_a_service_leaves(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = serves_and(ctx, &format!("ListenStream=127.0.0.1:{port}"), "Backlog=77\n", "s.listen(0)");
    let backlog = || shell(&format!("ss -tlnH sport = :{port}")).split_whitespace().nth(2).map(str::to_owned);
    assert_eq!(talk(port), "served");
    has_ended(&daemon, 1);
    wait_until("clients find room", || backlog().as_deref() == Some("77"));
}

/// Our copy of it would hold the connection for ever, and nobody listens.
fn a_listener_that_a_service_has_connected(ctx: &mut Ctx) {
    let (port, other) = (ctx.port(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let to = other.local_addr().unwrap().port();
    let act = format!(
        "ctypes.CDLL(None).connect(3, struct.pack('H14x', socket.AF_UNSPEC), 16)\ns.connect(('127.0.0.1', {to}))"
    );
    let daemon = serves_and(ctx, &format!("ListenStream=127.0.0.1:{port}"), "", &act);
    for round in 1..3 {
        assert_eq!(talk(port), "served", "round {round}");
        has_ended(&daemon, round);
    }
}

/// O_ASYNC: something has arrived, and whoever is said to own the socket gets SIGIO, which ends a program.
fn signals_that_a_service_asks_for_in_our_name(ctx: &mut Ctx) {
    let port = ctx.port();
    let act = "fcntl.fcntl(3, fcntl.F_SETOWN, os.getppid())\n\
               fcntl.fcntl(3, fcntl.F_SETFL, fcntl.fcntl(3, fcntl.F_GETFL) | os.O_ASYNC)";
    let mut daemon = serves_and(ctx, &format!("ListenStream=127.0.0.1:{port}"), "", act);
    for round in 1..4 {
        assert_eq!(talk(port), "served", "round {round}");
        has_ended(&daemon, round);
    }
    assert!(daemon.alive());
}

/// SO_LINGER, which connections have from their listener: who closes one waits for a client that is gone.
fn clients_that_a_service_waits_for_do_not_keep_us(ctx: &mut Ctx) {
    let (port, other) = (ctx.port(), ctx.port());
    let mut elsewhere = Command::new("unshare").args(["-n", "sleep", "60"]).spawn().unwrap();
    let inside = format!("nsenter -t {} -n", elsewhere.id());
    let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
    let there = format!("/proc/{}/ns/net", elsewhere.id());
    wait_until("it is elsewhere", || fs::read_link(&there).is_ok_and(|name| name != own));
    shell(&format!(
        "ip link add v0 type veth peer name v1 netns {}; ip addr add 10.9.0.1/24 dev v0; ip link set v0 up
         {inside} ip addr add 10.9.0.2/24 dev v1; {inside} ip link set v1 up",
        elsewhere.id()
    ));
    let listen = format!("ListenStream=10.9.0.1:{port}");
    let act = "s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 60))\ntime.sleep(2)";
    let more = format!("FlushPending=yes\n[y]\nListenStream=127.0.0.1:{other}\nAccept=yes\nExecStart=/bin/echo y\n");
    let daemon = serves_and(ctx, &listen, &more, act);
    let client = format!(
        "import socket, time\nto = ('10.9.0.1', {port})\nc = socket.create_connection(to)\nc.recv(9)\ntime.sleep(0.5)\n\
         d = socket.create_connection(to)\nprint('queued', flush=True)\ntime.sleep(60)\n"
    );
    let line = format!("exec {inside} python3 {} > {}", ctx.file("client.py", &client), ctx.path("told"));
    let mut clients = Command::new("sh").args(["-c", &line]).spawn().unwrap();
    wait_until("one waits", || ctx.lines("told").iter().any(|line| line == "queued"));
    shell("ip link set v0 down");
    daemon.wait_log("flushed=1");
    assert_eq!(talk(other), "y\n");
    for child in [&mut elsewhere, &mut clients] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// A file system whose server says nothing any more, as one on the network may: the child that enters it stands still,
/// and we with it, but not for ever. Who has knocked is kept, and served when there is an answer: here that it is gone.
fn with_mount(ctx: &mut Ctx, service: &str) {
    let (port, other, folder, flag) = (ctx.port(), ctx.port(), ctx.path("remote"), ctx.path("gone"));
    fs::create_dir(&folder).unwrap();
    let words = format!("{} {folder} /bin/echo {flag}", service_file("mount.py"));
    let line = format!("exec python3 {words} > {}", ctx.path("told"));
    let mut server = Command::new("sh").args(["-c", &line]).spawn().unwrap();
    wait_until("it is there", || !ctx.lines("told").is_empty());
    let refused = ctx.lines("told")[0] == "refused";
    let daemon = ctx.start(&format!(
        "[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\n{}\n\
         [y]\nListenStream=127.0.0.1:{other}\nAccept=yes\nExecStart=/bin/echo y\n",
        service.replace("FOLDER", &folder)
    ));
    let first = (!refused).then(|| talk(port));
    ctx.file("gone", "");
    sleep_ms(500);
    let waiting = connect(port);
    waiting.set_read_timeout(Some(3 * PATIENCE)).unwrap();
    sleep_ms(500);
    let answer = (!refused).then(|| talk(other));
    let late = daemon.log().contains("errno=ETIMEDOUT");
    server.kill().unwrap();
    server.wait().unwrap();
    shell(&format!("umount -l {folder} || true"));
    if refused {
        return ctx.skip("a file system cannot be mounted here");
    }
    assert_eq!(first.as_deref(), Some("x\n"), "{}", daemon.log());
    assert!(answer.as_deref() == Some("y\n") && late, "{}", daemon.log());
    fs::create_dir_all(&folder).unwrap();
    let _ = fs::copy("/bin/echo", ctx.path("remote/program"));
    assert_eq!(read_all(waiting), "x\n");
}

fn a_folder_that_never_answers(ctx: &mut Ctx) {
    with_mount(ctx, "WorkingDirectory=-FOLDER/sub\nExecStart=/bin/echo x");
}

fn a_program_that_never_answers(ctx: &mut Ctx) {
    with_mount(ctx, "ExecStart=FOLDER/program x");
}

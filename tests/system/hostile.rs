//! Services and people that do to a socket, a file or a process what nobody thinks of, and what must still go on after
//! it.

use crate::client::*;
use crate::daemon::{Daemon, is_live, kill, session_of};
use crate::harness::{Ctx, Need::*, Test, sleep_ms, stand_in, wait_until, within};
use crate::reload::{order, reload};
use crate::test;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub const TESTS: &[Test] = &[
    test!(a_pipe_that_nobody_reads_stops_nobody, Prog("mkfifo")),
    test!(a_pipe_that_nobody_writes_stops_nobody, Prog("mkfifo")),
    test!(control_without_descriptors_does_not_spin, Command("status"), Prog("prlimit")),
    test!(control_whose_file_was_removed_comes_back, Command("status"), Part("reload")),
    test!(a_service_that_forks_twice_is_stopped, Command("stop"), Part("takeover"), Prog("python3")),
    test!(a_daemon_that_forks_twice_does_not_keep_us, Prog("python3"), Part("takeover")),
    test!(a_datagram_socket_that_a_service_has_connected, Prog("python3")),
    test!(a_unix_datagram_socket_that_a_service_has_connected, Prog("python3")),
    test!(errors_that_a_service_leaves_do_not_start_it, Prog("python3")),
    test!(an_interface_stays_after_a_failed_start, Root, Prog("ss")),
    test!(knocks_at_two_sockets_in_the_same_moment, Prog("python3")),
    test!(a_service_that_removes_its_socket, Prog("python3")),
    test!(a_path_that_somebody_removed_comes_back_by_reload, Part("reload")),
    test!(a_pipe_that_its_reader_removes, Prog("python3")),
    test!(what_is_not_known_of_who_was_taken_over_is_not_told, Part("takeover"), Command("status")),
    test!(workers_of_a_service_that_was_taken_over, Root, Prog("python3"), Part("takeover")),
    test!(a_reload_without_descriptors_is_refused, Part("reload"), Prog("prlimit")),
    test!(a_second_daemon_takes_nothing_from_the_first, Root, Prog("unshare"), Part("takeover")),
    test!(services_are_stopped_without_descriptors, Prog("prlimit")),
    test!(who_must_not_be_signalled_is_not_put_to_sleep),
    test!(who_must_not_be_signalled_is_not_stopped, Command("stop")),
    test!(a_reload_that_takes_more_descriptors, Part("reload"), Prog("prlimit")),
    test!(a_name_that_somebody_has_taken, Part("reload"), Part("notify")),
    test!(a_name_that_somebody_tries_to_take, Part("reload")),
    test!(what_was_forwarded_has_a_program_of_its_own_now, Part("reload"), Part("forward")),
    test!(options_of_an_ipv6_socket_follow_the_configuration, Part("reload"), Prog("ss")),
];

/// A service in Python.
fn python(ctx: &Ctx, text: &str) -> String {
    let head = "import os, socket, time, signal\nlistener = socket.socket(fileno=3)\n";
    format!("/usr/bin/python3 {}", ctx.file("service.py", &format!("{head}{text}")))
}

fn one(listen: &str, more: &str, exec: &str) -> String {
    format!("[x]\n{listen}\n{more}ExecStart={exec}\n")
}

/// A service whose standard error, or input, is a FIFO; and another service, which must not notice.
fn with_pipe(ctx: &mut Ctx, directive: &str, work: impl FnOnce(&str, u16)) {
    let (port, other, pipe) = (ctx.port(), ctx.port(), ctx.path("pipe"));
    output(Command::new("mkfifo").arg(&pipe));
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\n{directive}{pipe}\nExecStart=/bin/sh -c 'echo here; echo there >&2'\n\
         [y]\nListenStream=127.0.0.1:{other}\nAccept=yes\nExecStart=/bin/echo other\n"
    );
    let mut daemon = ctx.start(&config);
    let client = connect(port);
    sleep_ms(200);
    assert_eq!(talk(other), "other\n");
    work(&pipe, other);
    drop(client);
    assert!(daemon.alive());
}

fn a_pipe_that_nobody_reads_stops_nobody(ctx: &mut Ctx) {
    with_pipe(ctx, "StandardError=append:", |pipe, other| {
        // who waits is served as soon as somebody reads
        let mut reader = fs::File::options().read(true).write(true).open(pipe).unwrap();
        assert_eq!(read_line(&mut reader), "there");
        assert_eq!(talk(other), "other\n");
    });
}

fn a_pipe_that_nobody_writes_stops_nobody(ctx: &mut Ctx) {
    with_pipe(ctx, "StandardOutput=socket\nStandardInput=file:", |_, other| assert_eq!(talk(other), "other\n"));
}

/// The limit falls below what is open, and somebody asks: the loop must not turn round and round for him.
fn control_without_descriptors_does_not_spin(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&one(&format!("ListenStream=127.0.0.1:{port}"), "Accept=yes\n", "/bin/echo here"));
    let set = |limit: u64| {
        let pid = daemon.pid.to_string();
        output(Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={limit}:4096")]));
    };
    set(3);
    let mut asks = daemon.begin(&["list"]);
    daemon.cost(|| sleep_ms(3000)).assert_small();
    set(4096);
    assert!(asks.wait().unwrap().success(), "who has asked is answered");
    assert!(daemon.tell(&["list"]).contains("waiting"));
}

fn control_whose_file_was_removed_comes_back(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&one(&format!("ListenStream=127.0.0.1:{port}"), "Accept=yes\n", "/bin/echo here"));
    fs::remove_file(daemon.control()).unwrap();
    assert!(!daemon.ask(&["list"]).status.success());
    reload(&daemon);
    assert!(daemon.tell(&["list"]).contains("waiting"));
}

/// It is adopted, but it does not lead its session: who did has gone. The pauses let each of them go its way.
const TWICE: &str = "
if os.fork():
    time.sleep(0.5)
    os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
while True:
    client, _ = listener.accept()
    client.sendall(b'%d' % os.getpid())
    client.close()
";

fn forked_twice(ctx: &mut Ctx) -> (Daemon, u16, i32) {
    let port = ctx.port();
    let exec = python(ctx, TWICE);
    let daemon = ctx.start(&one(&format!("ListenStream=127.0.0.1:{port}"), "TimeoutStopSec=5\n", &exec));
    talk(port);
    daemon.wait_log("why=background");
    let pid: i32 = talk(port).parse().unwrap();
    assert_ne!(session_of(pid), pid);
    (daemon, port, pid)
}

fn a_service_that_forks_twice_is_stopped(ctx: &mut Ctx) {
    let (daemon, port, pid) = forked_twice(ctx);
    assert!(daemon.tell(&["stop", "x"]).contains("is stopped"));
    assert!(!is_live(pid));
    assert_ne!(talk(port), pid.to_string(), "the next one answers");
}

fn a_daemon_that_forks_twice_does_not_keep_us(ctx: &mut Ctx) {
    let (mut daemon, _, pid) = forked_twice(ctx);
    assert!(daemon.stop().success());
    assert!(!is_live(pid));
}

const CONNECTED: &str = "
text, peer = listener.recvfrom(100)
listener.connect(peer)
listener.send(text)
";

/// As programs do that serve one peer: whoever comes after it must be heard as well.
fn a_datagram_socket_that_a_service_has_connected(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = python(ctx, CONNECTED);
    let daemon = ctx.start(&one(&format!("ListenDatagram=127.0.0.1:{port}"), "", &exec));
    for round in 1..4 {
        assert_eq!(udp_ask(port, "hello"), "hello");
        // what comes while the socket is connected is turned away by the kernel
        wait_until("it hears everybody", || daemon.log().matches("disconnected").count() == round);
    }
}

fn a_unix_datagram_socket_that_a_service_has_connected(ctx: &mut Ctx) {
    let path = ctx.path("x.sock");
    let exec = python(ctx, CONNECTED);
    let daemon = ctx.start(&one(&format!("ListenDatagram={path}"), "", &exec));
    for round in 1..4 {
        let own = ctx.path(&format!("client{round}"));
        let client = UnixDatagram::bind(own).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.send_to(b"hello", &path).unwrap();
        assert_eq!(client.recv(&mut [0; 10]).unwrap(), 5);
        wait_until("it hears everybody", || daemon.log().matches("disconnected").count() == round);
    }
}

/// IP_RECVERR: that nobody was there to take the answer is told at the socket, and wakes like a datagram.
fn errors_that_a_service_leaves_do_not_start_it(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = python(
        ctx,
        "
listener.setsockopt(socket.IPPROTO_IP, 11, 1)
text, peer = listener.recvfrom(100)
time.sleep(0.3)
listener.sendto(text, peer)
time.sleep(1)
",
    );
    let daemon = ctx.start(&one(&format!("ListenDatagram=127.0.0.1:{port}"), "", &exec));
    for round in 1..3 {
        udp().send_to(b"x", local(port)).unwrap();
        wait_until("it has ended", || daemon.log().matches("status=0").count() == round);
        sleep_ms(500);
        assert_eq!(daemon.log().matches("why=knock").count(), round, "{}", daemon.log());
    }
}

/// The program is missing, so the socket that was connected for its peer listens again: on its interface alone.
fn an_interface_stays_after_a_failed_start(ctx: &mut Ctx) {
    let port = ctx.port();
    let more = "Accept=yes\nReusePort=yes\nBindToDevice=lo\n";
    let daemon = ctx.start(&one(&format!("ListenDatagram=0.0.0.0:{port}"), more, &ctx.path("missing")));
    let bound = || output(Command::new("ss").args(["-ulnH"])).contains(&format!("0.0.0.0%lo:{port}"));
    assert!(bound());
    udp().send_to(b"x", local(port)).unwrap();
    daemon.wait_log("failed at=");
    assert!(bound(), "{}", output(Command::new("ss").args(["-ulnH"])));
}

/// The first one takes the other out of the set while its event is on the way.
fn knocks_at_two_sockets_in_the_same_moment(ctx: &mut Ctx) {
    let (first, second) = (ctx.port(), ctx.port());
    let text = "import select\nboth = [listener, socket.socket(fileno=4)]\n\
        client, _ = select.select(both, [], [])[0][0].accept()\nclient.sendall(b'served')\n";
    let exec = python(ctx, text);
    let listen = format!("ListenStream=127.0.0.1:{first}\nListenStream=127.0.0.1:{second}");
    let daemon = ctx.start(&one(&listen, "", &exec));
    for _ in 0..3 {
        daemon.signal(libc::SIGSTOP);
        let clients = [connect(first), connect(second)];
        daemon.signal(libc::SIGCONT);
        for client in clients {
            assert_eq!(read_all(client), "served");
        }
    }
}

fn a_service_that_removes_its_socket(ctx: &mut Ctx) {
    let path = ctx.path("x.sock");
    let exec = python(
        ctx,
        "client, _ = listener.accept()\nclient.sendall(b'served')\nclient.close()\nos.unlink(listener.getsockname())\n",
    );
    let _daemon = ctx.start(&one(&format!("ListenStream={path}"), "", &exec));
    for _ in 0..3 {
        wait_until("the path leads to it", || unix_talk(&path).is_ok_and(|text| text == "served"));
    }
}

fn a_path_that_somebody_removed_comes_back_by_reload(ctx: &mut Ctx) {
    let (path, pipe) = (ctx.path("x.sock"), ctx.path("pipe"));
    let config = format!(
        "[x]\nListenStream={path}\nAccept=yes\nExecStart=/bin/echo here\n\
         [y]\nListenFIFO={pipe}\nExecStart={}\n",
        stand_in("never")
    );
    let daemon = ctx.start(&config);
    fs::remove_file(&path).unwrap();
    fs::remove_file(&pipe).unwrap();
    reload(&daemon);
    assert_eq!(unix_talk(&path).unwrap(), "here\n");
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&fs::metadata(&pipe).unwrap().file_type()));
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    reload(&daemon);
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before, "one that is there stays");
}

fn a_pipe_that_its_reader_removes(ctx: &mut Ctx) {
    let path = ctx.path("pipe");
    let text = format!("open('{path}.out', 'a').write(os.read(3, 100).decode())\nos.unlink('{path}')\n");
    let exec = format!("/usr/bin/python3 {}", ctx.file("service.py", &format!("import os\n{text}")));
    let _daemon = ctx.start(&one(&format!("ListenFIFO={path}"), "", &exec));
    for round in 1..4 {
        wait_until("the pipe is there", || fs::File::options().read(true).write(true).open(&path).is_ok());
        let mut pipe = fs::File::options().read(true).write(true).open(&path).unwrap();
        std::io::Write::write_all(&mut pipe, b"x\n").unwrap();
        wait_until("it is read", || ctx.lines("pipe.out").len() == round);
    }
}

/// Its age is known, how it has ended is not.
fn what_is_not_known_of_who_was_taken_over_is_not_told(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = one(&format!("ListenStream=127.0.0.1:{port}"), "", &stand_in("answer here"));
    let mut first = ctx.start(&config);
    assert!(talk(port).starts_with("here"));
    let begun = std::time::Instant::now();
    let pid = *first.descendants().first().unwrap();
    first.kill();
    let old = Duration::from_secs(1);
    wait_until("it is a second old", || begun.elapsed() > old);
    let second = ctx.start(&config);
    second.wait_log("taken over");
    let status = second.tell(&["status", "--json", "x"]);
    let age = status.split("\"age_ms\":").nth(1).and_then(|rest| rest.split([',', '}']).next()).unwrap();
    assert!(age.parse::<u128>().unwrap() >= old.as_millis(), "{status}");
    kill(pid, libc::SIGKILL);
    second.wait_log("exit service=x");
    assert!(second.log().contains("status=unknown"), "{}", second.log());
    let status = second.tell(&["status", "x"]);
    assert!(status.contains("last end   unknown after"), "{status}");
}

/// They are children of nobody that we know, so no signal tells of their end.
fn workers_of_a_service_that_was_taken_over(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = python(
        ctx,
        "
for _ in range(2):
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), os._exit(0)))
        break
while True:
    client, _ = listener.accept()
    client.sendall(b'%d' % os.getsid(0))
    client.close()
",
    );
    let config = one(&format!("ListenStream=127.0.0.1:{port}"), "", &exec);
    let mut first = ctx.start(&config);
    let leader: i32 = talk(port).parse().unwrap();
    first.kill();
    let second = ctx.start(&config);
    second.wait_log("taken over");
    kill(leader, libc::SIGKILL);
    second.wait_log("why=main process ended");
    let next = within(Duration::from_secs(20), || try_talk(port).is_some_and(|session| session != leader));
    assert!(next, "its workers have ended, and nobody noticed:\n{}", second.log());
}

/// The session that answers, unless nobody does.
fn try_talk(port: u16) -> Option<i32> {
    let stream = try_connect(local(port), Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut &stream, &mut text).ok()?;
    text.parse().ok()
}

fn options_of_an_ipv6_socket_follow_the_configuration(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = |bytes: &str| {
        let more = format!("Accept=yes\nBindIPv6Only=ipv6-only\nReceiveBuffer={bytes}\n");
        one(&format!("ListenStream=[::]:{port}"), &more, "/bin/true")
    };
    let daemon = ctx.start(&config("16K"));
    let has = |buffer: &str| output(Command::new("ss").args(["-tlnmH"])).contains(buffer);
    assert!(has("rb32768"));
    ctx.file("dormouse.conf", &config("32K"));
    reload(&daemon);
    assert!(has("rb65536"), "{}", output(Command::new("ss").args(["-tlnmH"])));
}

/// The limit lies where the numbers begin that are not for children: the new image could not even begin.
fn a_reload_without_descriptors_is_refused(ctx: &mut Ctx) {
    let ports: Vec<u16> = (0..10).map(|_| ctx.port()).collect();
    let listen: String = ports.iter().map(|port| format!("ListenStream=127.0.0.1:{port}\n")).collect();
    let mut daemon = ctx.start(&one(&listen, "Accept=yes\n", "/bin/echo here"));
    let pid = daemon.pid.to_string();
    let set = |limit: u64| output(Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={limit}:4096")]));
    set(13);
    assert!(!order(&daemon, libc::SIGHUP));
    assert!(daemon.alive());
    set(4096);
    assert_eq!(talk(ports[9]), "here\n");
    reload(&daemon);
    assert_eq!(talk(ports[9]), "here\n");
}

/// A child gets so many of the new sockets by number that the limit does not reach.
fn a_reload_that_takes_more_descriptors(ctx: &mut Ctx) {
    let ports: Vec<u16> = (0..25).map(|_| ctx.port()).collect();
    let config = |ports: &[u16]| {
        let listen: Vec<String> = ports.iter().map(|port| format!("ListenStream=127.0.0.1:{port}")).collect();
        one(&listen.join("\n"), "Accept=yes\n", "/bin/echo here")
    };
    let daemon = ctx.start(&config(&ports[..1]));
    let limit = daemon.open_fds() + 12;
    let nofile = format!("--nofile={limit}:4096");
    output(Command::new("prlimit").args(["--pid", &daemon.pid.to_string(), &nofile]));
    ctx.file("dormouse.conf", &config(&ports));
    reload(&daemon);
    for port in ports {
        assert_eq!(talk(port), "here\n");
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid)).unwrap();
    assert!(limits.lines().any(|line| line.starts_with("Max open files") && line.contains(&format!(" {limit} "))));
}

fn abstract_name(daemon: &Daemon) -> SocketAddr {
    SocketAddr::from_abstract_name(format!("dormouse/{}", daemon.pid)).unwrap()
}

/// Names of abstract sockets belong to whoever comes first; that is no reason to end, nor to tell him anything.
fn a_name_that_somebody_has_taken(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = python(ctx, "client, _ = listener.accept()\nclient.sendall(repr(dict(os.environ)).encode())\n");
    let config = |more: &str| one(&format!("ListenStream=127.0.0.1:{port}"), more, &exec);
    let daemon = ctx.start(&config(""));
    let _taken = UnixDatagram::bind_addr(&abstract_name(&daemon)).unwrap();
    ctx.file("dormouse.conf", &config("NotifyAccess=all\n"));
    reload(&daemon);
    let text = talk(port);
    assert!(text.contains("LISTEN_FDS") && !text.contains("NOTIFY_SOCKET"), "{text}");
}

fn a_name_that_somebody_tries_to_take(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = one(&format!("ListenStream=127.0.0.1:{port}"), "NotifyAccess=all\n", &stand_in("answer here 1"));
    let daemon = ctx.start(&config);
    let (name, over) = (abstract_name(&daemon), AtomicBool::new(false));
    let taken = std::thread::scope(|scope| {
        let thief = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if UnixDatagram::bind_addr(&name).is_ok() {
                    return true;
                }
            }
            false
        });
        (0..5).for_each(|_| reload(&daemon));
        over.store(true, Ordering::Relaxed);
        thief.join().unwrap()
    });
    assert!(!taken);
    assert!(talk(port).starts_with("here"));
}

/// It runs, and does not look at its sockets for a while, when it becomes one that starts a program for each
/// connection.
fn what_was_forwarded_has_a_program_of_its_own_now(ctx: &mut Ctx) {
    let (port, behind) = (ctx.port(), ctx.port());
    let listen = format!("ListenStream=127.0.0.1:{port}");
    let limit = "TriggerLimitIntervalSec=2s\nTriggerLimitBurst=1\n";
    let forwards = format!("ConnectTo=127.0.0.1:{behind}\n{limit}");
    let daemon = ctx.start(&one(&listen, &forwards, &stand_in("never")));
    let clients = [connect(port), connect(port)];
    daemon.wait_log("why=trigger-limit");
    ctx.file("dormouse.conf", &one(&listen, &format!("Accept=yes\n{limit}"), "/bin/echo here"));
    reload(&daemon);
    sleep_ms(2500);
    daemon.cost(|| sleep_ms(2000)).assert_small();
    kill(daemon.descendants()[0], libc::SIGKILL);
    let [_, second] = clients;
    assert_eq!(read_all(second), "here\n");
}

/// Nothing of /proc can be read then.
fn services_are_stopped_without_descriptors(ctx: &mut Ctx) {
    let port = ctx.port();
    let mut daemon = ctx.start(&one(&format!("ListenStream=127.0.0.1:{port}"), "", &stand_in("answer here 0")));
    talk(port);
    let pid = daemon.descendants()[0];
    output(Command::new("prlimit").args(["--pid", &daemon.pid.to_string(), "--nofile=3:3"]));
    assert!(daemon.stop().success());
    assert!(!is_live(pid));
}

fn who_must_not_be_signalled_is_not_put_to_sleep(ctx: &mut Ctx) {
    let port = ctx.port();
    let more = "KillMode=none\nStopWhenIdleSec=1\n";
    let daemon = ctx.start(&one(&format!("ListenStream=127.0.0.1:{port}"), more, &stand_in("answer here 0")));
    let first = talk(port);
    assert!(daemon.log().contains("StopWhenIdleSec= has no effect"), "{}", daemon.log());
    sleep_ms(2500);
    assert_eq!(talk(port), first, "it stands still");
}

fn who_must_not_be_signalled_is_not_stopped(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = one(&format!("ListenStream=127.0.0.1:{port}"), "KillMode=none\n", &stand_in("answer here 0"));
    let daemon = ctx.start(&config);
    let first = talk(port);
    for word in ["stop", "restart"] {
        let answer = daemon.ask(&[word, "x"]);
        assert_eq!(answer.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&answer.stderr).contains("KillMode=none"));
    }
    assert!(daemon.tell(&["list"]).contains("running"));
    assert_eq!(talk(port), first);
}

/// The number of the service is lower than that of the daemon, as happens when numbers begin anew: then it is found as
/// the holder of the address. It has a parent that lives.
fn a_second_daemon_takes_nothing_from_the_first(ctx: &mut Ctx) {
    let (port, second) = (ctx.port(), ctx.path("second"));
    let config = one(&format!("ListenStream=127.0.0.1:{port}"), "", &stand_in("answer here 0"));
    let last = "/proc/sys/kernel/ns_last_pid";
    let script = format!(
        "echo 1000 > {last}; \"$@\" & sleep 1; echo 100 > {last}\n\
         until test -e {second}.go; do sleep 0.1; done; \"$@\" 2> {second} & wait"
    );
    let namespace = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let _daemon = ctx.launch(&config).wrapped(&namespace).in_shell(&script).start();
    sleep_ms(1500);
    assert!(talk(port).starts_with("here"));
    ctx.file("second.go", "");
    let text = || fs::read_to_string(&second).unwrap_or_default();
    wait_until("the second one is there", || text().contains("ready"));
    assert!(text().contains("holder=") && !text().contains("taken over"), "{}", text());
}

//! The daemon under another socket activator: it adopts what it is given and hands no trace of it to its children.

use crate::client::*;
use crate::harness::{Ctx, Need::*, Test, stand_in};
use crate::listen_protocol::Report;
use crate::test;

pub const TESTS: &[Test] = &[
    test!(adopted_by_address, Part("adopt")),
    test!(adopted_by_name, Part("adopt")),
    test!(wrong_listen_pid_is_not_for_us, Part("adopt")),
    test!(no_room_for_what_is_handed_over, Part("adopt")),
    test!(no_memory_for_the_rules_of_one, Part("adopt"), Part("access"), Root),
    test!(trap_18_no_stale_listen_variables, Part("adopt")),
    test!(trap_21_blocking_listener_shared_with_another_process, Part("adopt")),
    test!(a_filter_of_the_owner_stays, Part("adopt"), Root, Prog("python3")),
    test!(address_rules_that_are_locked, Part("adopt"), Part("access"), Root, Prog("python3")),
    test!(address_rules_of_the_daemon_before, Part("adopt"), Part("access"), Root, Prog("python3")),
];

/// The words in front of the daemon that open `sockets` for it.
fn pass(sockets: &[String]) -> Vec<String> {
    let mut words: Vec<String> = stand_in("pass").split(' ').map(String::from).collect();
    words.extend_from_slice(sockets);
    words.push("--".into());
    words
}

fn start_with(ctx: &mut Ctx, sockets: &[String], config: &str) -> crate::daemon::Daemon {
    let words = pass(sockets);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    ctx.launch(config).wrapped(&words).start()
}

fn adopted_by_address(ctx: &mut Ctx) {
    let (tcp, udp, path) = (ctx.port(), ctx.port(), ctx.path("x.sock"));
    let config = format!(
        "[tcp]\nListenStream=127.0.0.1:{tcp}\nAccept=yes\nExecStart=/bin/echo tcp\n\
         [udp]\nListenDatagram=127.0.0.1:{udp}\nExecStart={}\n\
         [unix]\nListenStream={path}\nAccept=yes\nExecStart=/bin/echo unix\n",
        stand_in("udp heard 1")
    );
    let sockets = [format!("unix:{path}"), format!("udp:{udp}"), format!("tcp:{tcp}")];
    let mut daemon = start_with(ctx, &sockets, &config);
    assert_eq!(talk(tcp), "tcp\n");
    assert!(udp_ask(udp, "knock").ends_with(" knock"));
    assert_eq!(unix_talk(&path).unwrap(), "unix\n");
    assert!(daemon.alive());
}

fn adopted_by_name(ctx: &mut Ctx) {
    let (a, b) = (ctx.port(), ctx.port());
    let config = format!(
        "[one]\nListenStream=127.0.0.1:{a}\nFileDescriptorName=first\nAccept=yes\nExecStart=/bin/echo one\n\
         [two]\nListenStream=127.0.0.1:{b}\nFileDescriptorName=second\nAccept=yes\nExecStart=/bin/echo two\n"
    );
    let sockets = ["names:second:first".to_string(), format!("tcp:{b}"), format!("tcp:{a}")];
    let _daemon = start_with(ctx, &sockets, &config);
    assert_eq!((talk(a).as_str(), talk(b).as_str()), ("one\n", "two\n"));
}

fn wrong_listen_pid_is_not_for_us(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart=/bin/echo mine\n");
    let launch = ctx.launch(&config).env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    let _daemon = launch.start();
    assert_eq!(talk(port), "mine\n");
}

/// Who holds the sockets may try again; one that was closed here would be nobody's.
fn no_room_for_what_is_handed_over(ctx: &mut Ctx) {
    let ports: Vec<u16> = (0..20).map(|_| ctx.port()).collect();
    let one = |port| format!("[x{port}]\nListenStream=127.0.0.1:{port}\nExecStart=/bin/sleep 1000\n");
    let config: String = ports.iter().map(one).collect();
    let sockets: Vec<String> = ports.iter().map(|port| format!("tcp:{port}")).collect();
    let words = pass(&sockets);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (status, text) = ctx.launch(&config).wrapped(&words).in_shell("ulimit -n 32; exec \"$@\"").refused();
    assert!(status.code() == Some(71) && text.contains("(EMFILE)"), "{status} {text}");
}

/// Nor will there be any: the others are served.
fn no_memory_for_the_rules_of_one(ctx: &mut Ctx) {
    if std::fs::write("/proc/sys/net/core/optmem_max", "100").is_err() {
        return ctx.skip("this kernel has one limit for all network namespaces");
    }
    let (ruled, other) = (ctx.port(), ctx.port());
    let config = format!(
        "[ruled]\nListenStream=127.0.0.1:{ruled}\nIPAddressDeny=10.0.0.0/8\nExecStart=/bin/sleep 1000\n\
         [other]\nListenStream=127.0.0.1:{other}\nAccept=yes\nExecStart=/bin/echo here\n"
    );
    let daemon = start_with(ctx, &[format!("tcp:{ruled}"), format!("tcp:{other}")], &config);
    assert_eq!(talk(other), "here\n");
    assert!(daemon.log().contains("(ENOMEM)"), "{}", daemon.log());
}

fn trap_18_no_stale_listen_variables(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart={}\n", stand_in("report"));
    let sockets = ["names:mine".to_string(), format!("tcp:{port}")];
    let _daemon = start_with(ctx, &sockets, &config);
    let report = Report::of(&talk(port));
    report.assert_no_listen_variables();
    assert_eq!(report.fds(), [0, 1, 2], "and none of the descriptors that came with them");
}

/// Another process accepts from the same listener: the daemon must not block in accept when it comes too late.
fn trap_21_blocking_listener_shared_with_another_process(ctx: &mut Ctx) {
    let (shared, own, udp) = (ctx.port(), ctx.port(), ctx.port());
    let config = format!(
        "[shared]\nListenStream=127.0.0.1:{shared}\nAccept=yes\nExecStart=/bin/echo daemon\n\
         [own]\nListenStream=127.0.0.1:{own}\nAccept=yes\nExecStart=/bin/echo own\n"
    );
    // The thief is a copy of the listener in a process beside the daemon, blocking in accept all the time.
    let thief = stand_in("answer thief");
    let script = format!("LISTEN_FDS=1 {thief} & exec \"$@\"");
    let words = pass(&[format!("tcp:{shared}"), format!("udp:{udp}")]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // The pid in LISTEN_PID stays right: the shell executes the daemon in its own process.
    let daemon = ctx.launch(&config).wrapped(&words).in_shell(&script).start();
    for _ in 0..100 {
        let answer = talk(shared);
        assert!(answer == "daemon\n" || answer.starts_with("thief"), "{answer:?}");
    }
    assert_eq!(talk(own), "own\n", "the daemon does not hang in accept");
    let cost = daemon.cost(|| crate::harness::sleep_ms(1000));
    assert!(cost.cpu_ms < 200);
}

/// What a service leaves in a socket is taken away; what came with it is not, nor can a service do that.
fn a_filter_of_the_owner_stays(ctx: &mut Ctx) {
    let port = ctx.port();
    let owner = format!(
        "import ctypes, os, socket, struct, sys\ns = socket.create_server(('127.0.0.1', {port}))\n\
         code = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0xffffffff))\n\
         s.setsockopt(socket.SOL_SOCKET, 26, struct.pack('HL', 1, ctypes.addressof(code)))\nos.dup2(s.fileno(), 3)\nos.set_inheritable(3, True)\n\
         os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\nos.execv(sys.argv[1], sys.argv[1:])\n"
    );
    let service = "import socket\ns = socket.socket(fileno=3)\nclient, _ = s.accept()\n\
        try: s.setsockopt(socket.SOL_SOCKET, 27, 0)\n\
        except OSError as error: client.sendall(str(error).encode())\n";
    let exec = format!("/usr/bin/python3 {}", ctx.file("service.py", service));
    let owner = ctx.file("owner.py", &owner);
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nExecStart={exec}\n");
    let _daemon = ctx.launch(&config).wrapped(&["/usr/bin/python3", &owner]).start();
    for _ in 0..2 {
        assert_eq!(talk(port), "[Errno 1] Operation not permitted");
    }
}

/// The owner gives the same socket to one daemon after the other. The first has locked the rules, and the second has
/// the same.
fn address_rules_of_the_daemon_before(ctx: &mut Ctx) {
    let port = ctx.port();
    let owner = format!(
        "import os, select, socket, sys\ns = socket.create_server(('127.0.0.1', {port}))\n\
         os.dup2(s.fileno(), 3)\nos.set_inheritable(3, True)\nfirst = os.pidfd_open(os.getpid())\n\
         if os.fork() == 0:\n    if os.fork(): os._exit(0)\n    select.select([first], [], [])\n\
         os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\nos.execv(sys.argv[1], sys.argv[1:])\n"
    );
    let owner = ctx.file("owner.py", &owner);
    let (rules, exec) = ("IPAddressDeny=any\nIPAddressAllow=127.0.0.1", stand_in("answer here 1"));
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\n{rules}\nExecStart={exec}\n");
    let mut daemon = ctx.launch(&config).wrapped(&["/usr/bin/python3", &owner]).start();
    assert!(talk(port).starts_with("here"));
    daemon.wait_log("exit service=x");
    daemon.signal(libc::SIGSTOP);
    let client = connect(port);
    daemon.kill();
    assert!(read_all(client).starts_with("here"), "{}", daemon.log());
    assert!(!daemon.log().contains("cannot be used"), "{}", daemon.log());
}

/// Who has opened it holds it still: nobody is served under other rules, and everybody when it has let go.
fn address_rules_that_are_locked(ctx: &mut Ctx) {
    let (port, fifo) = (ctx.port(), ctx.path("fifo"));
    let owner = format!(
        "import ctypes, os, socket, struct, sys\ns = socket.create_server(('127.0.0.1', {port}))\n\
         code = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0xffffffff))\n\
         s.setsockopt(socket.SOL_SOCKET, 26, struct.pack('HL', 1, ctypes.addressof(code)))\n\
         s.setsockopt(socket.SOL_SOCKET, 44, 1)\nos.dup2(s.fileno(), 3)\nos.set_inheritable(3, True)\nos.mkfifo('{fifo}')\n\
         if os.fork() == 0:\n    if os.fork(): os._exit(0)\n    open('{fifo}').read()\n    os._exit(0)\n\
         os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\nos.execv(sys.argv[1], sys.argv[1:])\n"
    );
    let owner = ctx.file("owner.py", &owner);
    let exec = stand_in("answer here");
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nIPAddressDeny=127.0.0.2\nExecStart={exec}\n");
    let daemon = ctx.launch(&config).wrapped(&["/usr/bin/python3", &owner]).start();
    assert_eq!(daemon.log().matches("have it closed and opened anew").count(), 1, "{}", daemon.log());
    std::fs::write(&fifo, "").unwrap();
    daemon.wait_log("open service=x address=");
    assert!(talk(port).starts_with("here"));
}

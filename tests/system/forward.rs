//! Services that the daemon answers itself: forwarding to a backend that cannot take a socket, and the small built-in
//! ones.

use crate::client::*;
use crate::harness::{Ctx, Need::*, PATIENCE, Test, sleep_ms, wait_until};
use crate::test;
use crate::trace::Trace;
use dormouse::limits::BACKEND_WAIT_MS;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::process::Command;
use std::time::Instant;

pub const TESTS: &[Test] = &[
    test!(backend_is_started_on_demand, Directive("ConnectTo")),
    test!(backend_that_opens_its_port_late, Directive("ConnectTo")),
    test!(a_client_costs_no_look_at_the_limits, Directive("ConnectTo"), Prog("strace")),
    test!(a_silent_backend_is_given_up_in_time, Directive("ConnectTo"), Prog("strace")),
    test!(clients_of_a_late_backend_leave_it_descriptors, Directive("ConnectTo"), Prog("prlimit"), Prog("python3")),
    test!(plain_redirect_without_a_program, Directive("ConnectTo")),
    test!(half_close_is_kept, Directive("ConnectTo")),
    test!(much_data_both_ways, Directive("ConnectTo")),
    test!(client_address_by_proxy_protocol, Directive("SendProxyV2")),
    test!(forwarding_takes_no_memory, Directive("ConnectTo"), Prog("strace")),
    test!(built_in_echo_and_discard, Directive("Internal")),
    test!(built_in_daytime_time_chargen, Directive("Internal")),
    test!(trap_45_built_in_echo_answers_no_service, Root, Directive("Internal")),
];

fn backend_is_started_on_demand(ctx: &mut Ctx) {
    let (port, behind) = (ctx.port(), ctx.port());
    let script = ctx.file(
        "backend.py",
        "import socket, sys\ns = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n\
         while True:\n    c, _ = s.accept()\n    c.sendall(b'from behind\\n')\n    c.close()\n",
    );
    let exec = format!("/usr/bin/python3 {script} {behind}");
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nConnectTo=127.0.0.1:{behind}\nExecStart={exec}\n");
    let daemon = ctx.start(&config);
    assert!(daemon.descendants().is_empty());
    for _ in 0..3 {
        assert_eq!(talk(port), "from behind\n");
    }
    assert_eq!(daemon.descendants().len(), 1);
}

fn backend_that_opens_its_port_late(ctx: &mut Ctx) {
    let (port, behind) = (ctx.port(), ctx.port());
    let script = ctx.file(
        "backend.py",
        "import socket, sys, time\ntime.sleep(2)\ns = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n\
         while True:\n    c, _ = s.accept()\n    c.sendall(b'late\\n')\n    c.close()\n",
    );
    let exec = format!("/usr/bin/python3 {script} {behind}");
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nConnectTo=127.0.0.1:{behind}\nExecStart={exec}\n");
    let daemon = ctx.start(&config);
    let clients: Vec<_> = (0..5).map(|_| connect(port)).collect();
    for client in clients {
        assert_eq!(read_all(client), "late\n");
    }
    assert!(daemon.cpu_ms() < 500, "{} ms CPU", daemon.cpu_ms());
}

/// Those who wait must not take what is needed to reach the backend, and a run that fails must not be the last one.
fn clients_of_a_late_backend_leave_it_descriptors(ctx: &mut Ctx) {
    let (port, behind, runs) = (ctx.port(), ctx.port(), ctx.path("runs"));
    let script = ctx.file(
        "backend.py",
        &format!(
            "import os, socket, sys, time\ntime.sleep(0.5)\nopen('{runs}', 'a').write('x')\n\
             if os.path.getsize('{runs}') < 3: sys.exit(1)\ns = socket.create_server(('127.0.0.1', {behind}))\n\
             while True:\n    c, _ = s.accept()\n    c.sendall(b'late\\n')\n    c.close()\n"
        ),
    );
    let exec = format!("/usr/bin/python3 {script}");
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nConnectTo=127.0.0.1:{behind}\nExecStart={exec}\n");
    let daemon = ctx.start(&config);
    let limit = format!("--nofile={}:4096", daemon.open_fds() + 12);
    output(Command::new("prlimit").args(["--pid", &daemon.pid.to_string(), &limit]));
    let clients: Vec<_> = (0..30).map(|_| connect(port)).collect();
    for client in clients {
        assert_eq!(read_all(client), "late\n");
    }
}

/// A backend inside the test; each connection is handled by `serve` in a thread of its own.
pub fn backend(serve: fn(std::net::TcpStream)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

pub fn redirect(ctx: &mut Ctx, more: &str, serve: fn(std::net::TcpStream)) -> (u16, crate::daemon::Daemon) {
    let (port, behind) = (ctx.port(), backend(serve));
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nConnectTo=127.0.0.1:{behind}\n{more}");
    (port, ctx.start(&config))
}

pub fn echo(mut stream: std::net::TcpStream) {
    let mut copy = stream.try_clone().unwrap();
    let _ = std::io::copy(&mut stream, &mut copy);
    let _ = copy.shutdown(Shutdown::Write);
}

/// How many descriptors there may be is not asked for each client.
fn a_client_costs_no_look_at_the_limits(ctx: &mut Ctx) {
    const CLIENTS: usize = 30;
    let (port, daemon) = redirect(ctx, "", echo);
    let trace = Trace::attach(&daemon, &ctx.path("trace"), &["-e", "trace=prlimit64,?getrlimit,?ugetrlimit"]);
    let start = Instant::now();
    for _ in 0..CLIENTS {
        assert_eq!(ask(port, "x\n"), "x\n");
    }
    let (looks, seconds) = (trace.end().len(), start.elapsed().as_secs() as usize);
    assert!((1..=seconds + 2).contains(&looks) || seconds >= CLIENTS, "{looks} in {seconds} s");
}

/// One that says neither yes nor no, as behind a firewall: here the queue of its listener is full. Nothing else may
/// happen before the time is over, so the loop itself has to wake up then.
fn a_silent_backend_is_given_up_in_time(ctx: &mut Ctx) {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
    let [port, behind] = [ctx.port(), ctx.port()];
    let silent = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&silent, &local(behind)).unwrap();
    listen(&silent, 0).unwrap();
    let _first = connect(behind);
    let daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nConnectTo=127.0.0.1:{behind}\n"));
    let trace = Trace::attach(&daemon, &ctx.path("trace"), &["-e", "trace=epoll_pwait"]);
    daemon.rest();
    let before = trace.lines().len();
    let _client = connect(port);
    daemon.rest();
    let _next = connect(port); // strace tells how long a sleep was to be when it is over
    let due = |line: &String| {
        let timeout = line.split(", ").find_map(|word| word.parse::<u64>().ok().filter(|ms| *ms > 1_000));
        timeout.is_some_and(|ms| ms <= BACKEND_WAIT_MS)
    };
    wait_until("it sleeps until the backend is given up", || trace.lines()[before..].iter().any(due));
}

fn plain_redirect_without_a_program(ctx: &mut Ctx) {
    let (port, daemon) = redirect(ctx, "", echo);
    assert_eq!(ask(port, "to and fro\n"), "to and fro\n");
    wait_until("nothing is held any more", || daemon.open_fds() < 12);
}

fn half_close_is_kept(ctx: &mut Ctx) {
    // The backend answers only when it has seen the end of the question.
    let (port, _daemon) = redirect(ctx, "", |mut stream| {
        let mut question = String::new();
        let _ = stream.read_to_string(&mut question);
        let _ = writeln!(stream, "{} bytes", question.len());
    });
    assert_eq!(ask(port, "12345"), "5 bytes\n");
}

fn much_data_both_ways(ctx: &mut Ctx) {
    let (port, _daemon) = redirect(ctx, "", echo);
    let clients: Vec<_> = (0..8u8)
        .map(|seed| {
            std::thread::spawn(move || {
                let data: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(31) >> 3) as u8 ^ seed).collect();
                let mut stream = connect(port);
                let mut back = stream.try_clone().unwrap();
                let reader = std::thread::spawn(move || {
                    let mut seen = Vec::new();
                    let _ = back.read_to_end(&mut seen);
                    seen
                });
                stream.write_all(&data).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                assert!(reader.join().unwrap() == data, "what comes back is not what was sent");
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
}

fn client_address_by_proxy_protocol(ctx: &mut Ctx) {
    let (port, _daemon) = redirect(ctx, "SendProxyV2=yes\n", |mut stream| {
        let mut header = [0; 28];
        let _ = stream.read_exact(&mut header);
        let _ = stream.write_all(&header);
    });
    let mut client = connect(port);
    let own = client.local_addr().unwrap();
    let mut header = [0; 28];
    client.read_exact(&mut header).expect("the header comes before the client has said anything");
    assert_eq!(&header[..12], b"\r\n\r\n\0\r\nQUIT\n");
    assert_eq!(&header[12..16], [0x21, 0x11, 0, 12], "version 2, PROXY, TCP over IPv4, 12 bytes");
    assert_eq!(&header[16..20], [127, 0, 0, 1]);
    assert_eq!(u16::from_be_bytes([header[24], header[25]]), own.port());
    assert_eq!(u16::from_be_bytes([header[26], header[27]]), port);
}

fn forwarding_takes_no_memory(ctx: &mut Ctx) {
    let (port, daemon) = redirect(ctx, "", echo);
    assert_eq!(ask(port, "x\n"), "x\n");
    let calls = ["-e", "trace=brk,mmap,?mmap2,mremap,munmap"];
    let trace = crate::trace::Trace::attach(&daemon, &ctx.path("trace"), &calls);
    for _ in 0..100 {
        assert_eq!(ask(port, "x\n"), "x\n");
    }
    let seen: Vec<_> = trace.end().into_iter().filter(|line| line.contains('(')).collect();
    assert!(seen.is_empty(), "{}", seen.join("\n"));
}

fn built_in_echo_and_discard(ctx: &mut Ctx) {
    let (tcp, udp_port, discard) = (ctx.port(), ctx.port(), ctx.port());
    let config = format!(
        "[a]\nListenStream=127.0.0.1:{tcp}\nInternal=echo\n[b]\nListenDatagram=127.0.0.1:{udp_port}\nInternal=echo\n\
         [c]\nListenStream=127.0.0.1:{discard}\nInternal=discard\n"
    );
    let daemon = ctx.start(&config);
    assert_eq!(ask(tcp, "hello\n"), "hello\n");
    assert_eq!(udp_ask(udp_port, "hello"), "hello");
    assert_eq!(ask(discard, "hello\n"), "");
    assert!(daemon.descendants().is_empty(), "nothing is started for them");
}

fn built_in_daytime_time_chargen(ctx: &mut Ctx) {
    let (daytime, time, chargen) = (ctx.port(), ctx.port(), ctx.port());
    let config = format!(
        "[a]\nListenStream=127.0.0.1:{daytime}\nInternal=daytime\n[b]\nListenStream=127.0.0.1:{time}\nInternal=time\n\
         [c]\nListenStream=127.0.0.1:{chargen}\nInternal=chargen\n"
    );
    let daemon = ctx.start(&config);
    let text = talk(daytime);
    assert!(text.ends_with("\r\n") && text.contains("20"), "{text:?}");
    let mut seconds = [0; 4];
    connect(time).read_exact(&mut seconds).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let told = u64::from(u32::from_be_bytes(seconds));
    // RFC 868 counts from 1900 and wraps in 2036.
    let expected = (now + 2_208_988_800) & 0xffff_ffff;
    assert!(told.abs_diff(expected) < 30, "{told} is not {expected}");
    let mut stream = connect(chargen);
    let mut lines = [0; 7400];
    stream.read_exact(&mut lines).unwrap();
    assert_eq!(&lines[72..74], b"\r\n");
    // A client that does not read must not keep the daemon busy, nor the others waiting.
    let start = Instant::now();
    assert!(!talk(daytime).is_empty() && start.elapsed() < PATIENCE);
    daemon.cost(|| sleep_ms(2000)).assert_small();
    drop(stream);
}

/// Two echo services could be made to talk to each other for ever: nothing is sent to a port below 1024, nor to one
/// where a built-in service of ours listens, on whatever address.
fn trap_45_built_in_echo_answers_no_service(ctx: &mut Ctx) {
    let (echo, discard) = (ctx.port(), ctx.port());
    let _daemon = ctx.start(&format!(
        "[x]\nListenDatagram=127.0.0.1:{echo}\nInternal=echo\n[y]\nListenDatagram=127.0.0.1:{discard}\nInternal=discard\n"
    ));
    for from in ["127.0.0.1:19", &format!("127.0.0.2:{discard}")] {
        let socket = std::net::UdpSocket::bind(from).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.send_to(b"x", local(echo)).unwrap();
        assert_eq!(udp_ask(echo, "y"), "y", "what came behind it is answered");
        assert!(socket.recv(&mut [0; 10]).is_err(), "{from} got an answer");
    }
}

//! Each directive for a socket option, asked back from the kernel by the service that got the socket.

use crate::client::*;
use crate::harness::{Ctx, Need::*, Test, stand_in, wait_until};
use crate::test;

pub const TESTS: &[Test] = &[
    test!(tcp_options),
    test!(buffers_tos_ttl_priority),
    test!(reuse_port_and_free_bind),
    test!(mark_transparent_and_device, Root),
    test!(datagram_options),
    test!(datagram_options_v6),
    test!(unix_options),
    test!(congestion_control),
    test!(keep_alive_of_an_accepted_connection),
    test!(defaults_leave_everything_as_it_is),
    test!(backlog),
    test!(backlog_default_is_the_kernels_maximum),
];

/// The options that the service saw, as `FD.NAME=VALUE`.
fn options(ctx: &mut Ctx, listen: &str, directives: &str, knock: impl FnOnce()) -> Vec<String> {
    let file = ctx.path("options");
    let _ = std::fs::remove_file(&file);
    let exec = stand_in(&format!("sockopts {file}"));
    let _daemon = ctx.start(&format!("[x]\n{listen}\n{directives}ExecStart={exec}\n"));
    knock();
    wait_until("the options", || ctx.lines("options").len() > 3);
    crate::harness::sleep_ms(100);
    ctx.lines("options")
}

fn tcp(ctx: &mut Ctx, directives: &str) -> Vec<String> {
    let port = ctx.port();
    let listen = format!("ListenStream=127.0.0.1:{port}");
    options(ctx, &listen, directives, || {
        // With a deferred accept the connection must say something to be seen.
        ask(port, "x");
    })
}

fn has(options: &[String], lines: &[&str]) {
    for line in lines {
        assert!(options.contains(&format!("3.{line}")), "{line} is not in {options:?}");
    }
}

fn value(options: &[String], name: &str) -> i64 {
    let line = options.iter().find_map(|line| line.strip_prefix("3.")?.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {name} in {options:?}")).parse().unwrap()
}

fn tcp_options(ctx: &mut Ctx) {
    let directives = "KeepAlive=yes\nKeepAliveTimeSec=77\nKeepAliveIntervalSec=11\nKeepAliveProbes=4\nNoDelay=yes\nDeferAcceptSec=3\n";
    let options = tcp(ctx, directives);
    has(&options, &["KEEPALIVE=1", "KEEPIDLE=77", "KEEPINTVL=11", "KEEPCNT=4", "NODELAY=1"]);
    assert!(value(&options, "DEFER_ACCEPT") >= 3);
}

fn buffers_tos_ttl_priority(ctx: &mut Ctx) {
    let options = tcp(ctx, "ReceiveBuffer=48K\nSendBuffer=40K\nIPTOS=low-delay\nIPTTL=17\nPriority=5\n");
    // The kernel doubles what it is asked for.
    has(&options, &["RCVBUF=98304", "SNDBUF=81920", "IP_TTL=17", "PRIORITY=5"]);
    assert_eq!(value(&options, "IP_TOS") & 0x1e, 0x10);
    let options = tcp(ctx, "IPTOS=8\n");
    has(&options, &["IP_TOS=8"]);
}

fn reuse_port_and_free_bind(ctx: &mut Ctx) {
    has(&tcp(ctx, "ReusePort=yes\nFreeBind=yes\n"), &["REUSEPORT=1", "FREEBIND=1"]);
}

fn mark_transparent_and_device(ctx: &mut Ctx) {
    has(&tcp(ctx, "Mark=42\nTransparent=yes\nBindToDevice=lo\n"), &["MARK=42", "TRANSPARENT=1", "DEVICE=lo"]);
}

fn datagram_options(ctx: &mut Ctx) {
    let port = ctx.port();
    let listen = format!("ListenDatagram=127.0.0.1:{port}");
    let options = options(ctx, &listen, "Broadcast=yes\nPassPacketInfo=yes\n", || {
        udp().send_to(b"x", local(port)).unwrap();
    });
    has(&options, &["BROADCAST=1", "PKTINFO=1", "TYPE=2"]);
}

fn datagram_options_v6(ctx: &mut Ctx) {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return ctx.skip("no IPv6");
    }
    let port = ctx.port();
    let listen = format!("ListenDatagram=[::1]:{port}");
    let options = options(ctx, &listen, "PassPacketInfo=yes\nBindIPv6Only=ipv6-only\n", || {
        let socket = std::net::UdpSocket::bind("[::1]:0").unwrap();
        socket.send_to(b"x", ("::1", port)).unwrap();
    });
    has(&options, &["V6_RECVPKTINFO=1", "V6ONLY=1"]);
}

fn unix_options(ctx: &mut Ctx) {
    let path = ctx.path("x.sock");
    let options = options(ctx, &format!("ListenStream={path}"), "PassCredentials=yes\n", || {
        let _ = unix_talk(&path);
    });
    has(&options, &["PASSCRED=1", "ACCEPTCONN=1"]);
}

fn congestion_control(ctx: &mut Ctx) {
    has(&tcp(ctx, "TCPCongestion=reno\n"), &["CONGESTION=reno"]);
}

fn keep_alive_of_an_accepted_connection(ctx: &mut Ctx) {
    let port = ctx.port();
    let file = ctx.path("options");
    let exec = stand_in(&format!("sockopts {file}"));
    let config =
        format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nKeepAlive=yes\nNoDelay=yes\nExecStart={exec}\n");
    let _daemon = ctx.start(&config);
    ask(port, "x");
    wait_until("the options", || ctx.lines("options").len() > 3);
    let options = ctx.lines("options");
    for line in ["0.KEEPALIVE=1", "0.NODELAY=1", "0.ACCEPTCONN=0"] {
        assert!(options.contains(&line.to_string()), "{line} is not in {options:?}");
    }
}

fn defaults_leave_everything_as_it_is(ctx: &mut Ctx) {
    let options = tcp(ctx, "");
    has(
        &options,
        &["KEEPALIVE=0", "NODELAY=0", "REUSEPORT=0", "FREEBIND=0", "BROADCAST=0", "ACCEPTCONN=1", "LOCK_FILTER=0"],
    );
}

/// The backlog of a listener, as `ss`-like tools see it: the maximum in the queue column of a listening socket.
fn backlog_of(port: u16) -> u64 {
    let text =
        output(std::process::Command::new(crate::harness::prog("ss")).args(["-Hltn", &format!("sport = :{port}")]));
    text.split_whitespace().nth(2).unwrap_or_else(|| panic!("no listener: {text}")).parse().unwrap()
}

fn backlog(ctx: &mut Ctx) {
    if crate::harness::which("ss").is_none() {
        return ctx.skip("no program ss");
    }
    let port = ctx.port();
    let _daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nBacklog=17\nExecStart=/bin/true\n"));
    assert_eq!(backlog_of(port), 17);
}

fn backlog_default_is_the_kernels_maximum(ctx: &mut Ctx) {
    if crate::harness::which("ss").is_none() {
        return ctx.skip("no program ss");
    }
    let port = ctx.port();
    let _daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nExecStart=/bin/true\n"));
    let maximum: u64 = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse().unwrap();
    assert_eq!(backlog_of(port), maximum);
}

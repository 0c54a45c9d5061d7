//! Limits and access: what is refused is closed and counted, what is throttled waits, and everything heals by itself.

use crate::client::*;
use crate::harness::{Ctx, Need::*, PATIENCE, Test, has_control, sleep_ms, stand_in, wait_until, within};
use crate::test;
use dormouse::limits::INTERNAL_CONNECTIONS;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = &[
    test!(max_connections),
    test!(max_connections_per_source),
    test!(max_connections_per_source_counts_v4_mapped_as_v4),
    test!(max_connections_per_source_of_unix_peers),
    test!(max_connections_per_source_without_a_process_of_its_own, Directive("ConnectTo"), Directive("Internal")),
    test!(clients_of_built_in_services_wait_for_room, Directive("Internal")),
    test!(trigger_limit_rests_and_heals),
    test!(trigger_limit_of_a_waiting_service),
    test!(poll_limit_slows_down),
    test!(start_limit_is_not_for_ever),
    test!(start_limit_of_good_ends),
    test!(max_connection_rate_per_source, Directive("MaxConnectionRate")),
    test!(address_rules_per_connection),
    test!(address_rules_of_a_listener_that_is_handed_over),
    test!(address_rules_hold_after_the_hand_over),
    test!(address_rules_for_ipv6, Root, Prog("ip")),
    test!(address_rules_for_datagrams),
    test!(address_rules_per_connection_on_a_dual_stack_socket),
];

fn source(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// What a client from `from` gets; `None` if it cannot even connect.
fn talk_from(from: &str, port: u16) -> Option<String> {
    let limit = Duration::from_secs(2);
    let stream = connect_from(source(from), local(port), limit).ok()?;
    Some(read_all(stream))
}

/// A connection whose service has started: `/bin/cat` gives back one line.
fn served(port: u16, from: &str) -> TcpStream {
    let mut stream = connect_from(source(from), local(port), PATIENCE).unwrap();
    stream.write_all(b"x\n").unwrap();
    assert_eq!(read_line(&mut stream), "x", "from {from}");
    stream
}

fn max_connections(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nMaxConnections=2\nExecStart=/bin/cat\n");
    let mut daemon = ctx.start(&config);
    let (first, _second) = (served(port, "127.0.0.1"), served(port, "127.0.0.1"));
    for _ in 0..3 {
        assert_eq!(talk(port), "", "above the limit: accepted and closed at once");
    }
    assert_eq!(daemon.descendants().len(), 2);
    if has_control() {
        assert!(daemon.tell(&["status", "x"]).contains('3'), "the refused ones are counted");
    }
    drop(first);
    wait_until("a place is free", || daemon.descendants().len() == 1);
    served(port, "127.0.0.1");
    assert!(daemon.alive());
}

fn max_connections_per_source(ctx: &mut Ctx) {
    let (port, other) = (ctx.port(), ctx.port());
    let section = |name: &str, port: u16| {
        format!("[{name}]\nListenStream=127.0.0.1:{port}\nAccept=yes\nMaxConnectionsPerSource=1\nExecStart=/bin/cat\n")
    };
    let daemon = ctx.start(&[section("x", port), section("y", other)].concat());
    let one = served(port, "127.0.0.1");
    let _two = served(port, "127.0.0.2");
    assert_eq!(talk_from("127.0.0.1", port).as_deref(), Some(""));
    assert_eq!(talk_from("127.0.0.2", port).as_deref(), Some(""));
    let _three = served(port, "127.0.0.3");
    let _elsewhere = served(other, "127.0.0.1");
    drop(one);
    wait_until("a place is free", || daemon.descendants().len() == 3);
    served(port, "127.0.0.1");
}

fn max_connections_per_source_counts_v4_mapped_as_v4(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!("[x]\nListenStream={port}\nAccept=yes\nMaxConnectionsPerSource=1\nExecStart=/bin/cat\n");
    let _daemon = ctx.start(&config);
    let _one = served(port, "127.0.0.1");
    let _two = served(port, "127.0.0.2");
    assert_eq!(talk_from("127.0.0.1", port).as_deref(), Some(""));
}

fn max_connections_per_source_of_unix_peers(ctx: &mut Ctx) {
    let path = ctx.path("x.sock");
    let config = format!("[x]\nListenStream={path}\nAccept=yes\nMaxConnectionsPerSource=1\nExecStart=/bin/cat\n");
    let _daemon = ctx.start(&config);
    let mut first = std::os::unix::net::UnixStream::connect(&path).unwrap();
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    first.write_all(b"x\n").unwrap();
    assert_eq!(read_line(&mut first), "x");
    assert_eq!(unix_talk(&path).unwrap_or_default(), "", "the same user once more");
}

/// Connections that are forwarded, and those of a built-in service.
fn max_connections_per_source_without_a_process_of_its_own(ctx: &mut Ctx) {
    let (forwarded, behind, echo) = (ctx.port(), ctx.port(), ctx.port());
    let more = "MaxConnectionsPerSource=1\n";
    let _daemon = ctx.start(&format!(
        "[f]\nListenStream=127.0.0.1:{forwarded}\nConnectTo=127.0.0.1:{behind}\n{more}\
         [b]\nListenStream=127.0.0.1:{behind}\nInternal=echo\n\
         [e]\nListenStream=127.0.0.1:{echo}\nInternal=echo\n{more}"
    ));
    for port in [forwarded, echo] {
        let one = served(port, "127.0.0.1");
        assert_eq!(talk_from("127.0.0.1", port).as_deref(), Some(""));
        served(port, "127.0.0.2");
        drop(one);
        wait_until("a place is free", || {
            let mut next = connect_from(source("127.0.0.1"), local(port), PATIENCE).unwrap();
            next.write_all(b"x\n").is_ok()
                && std::io::Read::read(&mut next, &mut [0; 1]).is_ok_and(|length| length == 1)
        });
    }
}

/// All of them together share one table.
fn clients_of_built_in_services_wait_for_room(ctx: &mut Ctx) {
    let (echo, discard) = (ctx.port(), ctx.port());
    let section = |name: &str, port: u16| format!("[{name}]\nListenStream=127.0.0.1:{port}\nInternal={name}\n");
    let daemon = ctx.start(&[section("echo", echo), section("discard", discard)].concat());
    let mut clients: Vec<_> = (0..INTERNAL_CONNECTIONS).map(|_| served(echo, "127.0.0.1")).collect();
    let (mut late, mut other) = (connect(echo), connect(discard));
    late.write_all(b"late\n").unwrap();
    daemon.wait_log("what=connections");
    late.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(std::io::Read::read(&mut late, &mut [0; 1]).is_err(), "neither served nor closed");
    clients.truncate(INTERNAL_CONNECTIONS - 2);
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(read_line(&mut late), "late");
    other.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut other), "");
}

fn trigger_limit_rests_and_heals(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nTriggerLimitIntervalSec=3\nTriggerLimitBurst=4\nExecStart=/bin/echo here\n"
    );
    let daemon = ctx.start(&config);
    let start = Instant::now();
    let clients: Vec<_> = (0..10).map(|_| connect(port)).collect();
    for client in clients {
        assert_eq!(read_all(client), "here\n");
    }
    let took = start.elapsed();
    assert!(took > Duration::from_secs(2), "ten clients at four in three seconds took {took:?}");
    assert!(daemon.log_bytes() < 4000, "{}", daemon.log());
}

fn trigger_limit_of_a_waiting_service(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nTriggerLimitIntervalSec=3\nTriggerLimitBurst=2\nExecStart={}\n",
        stand_in("answer here 1")
    );
    let mut daemon = ctx.start(&config);
    let start = Instant::now();
    for _ in 0..5 {
        assert!(talk(port).starts_with("here"));
    }
    assert!(start.elapsed() > Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(daemon.alive());
}

fn poll_limit_slows_down(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nPollLimitIntervalSec=2\nPollLimitBurst=3\nExecStart=/bin/echo here\n"
    );
    let daemon = ctx.start(&config);
    let start = Instant::now();
    for _ in 0..12 {
        assert_eq!(talk(port), "here\n", "slowed down, never refused");
    }
    let took = start.elapsed();
    assert!(took > Duration::from_secs(5), "twelve clients at three in two seconds took {took:?}");
    assert!(daemon.log_bytes() < 4000, "{}", daemon.log());
}

/// The times at which the service of a test was started, in ms.
fn starts_ms(ctx: &Ctx) -> Vec<u64> {
    ctx.lines("starts").iter().map(|line| line.parse().unwrap()).collect()
}

/// A script that notes when it was started, then does `rest`.
fn timed(ctx: &Ctx, rest: &str) -> String {
    ctx.script("service", &format!("date +%s%3N >>{}\n{rest}\n", ctx.path("starts")))
}

fn start_limit_is_not_for_ever(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = timed(ctx, &format!("test -e {} || exit 1\nexec {}", ctx.path("well"), stand_in("answer here 1")));
    let limit = "StartLimitIntervalSec=4\nStartLimitBurst=2\n";
    let _daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\n{limit}ExecStart={exec}\n"));
    let client = connect(port);
    wait_until("a start when the window is over", || starts_ms(ctx).len() == 3);
    let starts = starts_ms(ctx);
    assert!(starts[1] - starts[0] < 2000 && starts[2] - starts[0] >= 3900, "{starts:?}");
    ctx.file("well", "");
    assert!(read_all(client).starts_with("here"), "the client waits for the window to pass");
}

/// Restart= starts again what has ended well, no more often than StartLimitBurst= allows.
fn start_limit_of_good_ends(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = timed(ctx, &format!("exec {}", stand_in("answer here 1")));
    let more = "Restart=always\nRestartSec=100ms\nStartLimitIntervalSec=3\nStartLimitBurst=2\n";
    let _daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\n{more}ExecStart={exec}\n"));
    for _ in 0..4 {
        assert!(talk(port).starts_with("here"), "nobody is refused");
    }
    let starts = starts_ms(ctx);
    assert!(starts[3] - starts[0] >= 2900, "{starts:?}");
}

fn max_connection_rate_per_source(ctx: &mut Ctx) {
    let port = ctx.port();
    let config =
        format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nMaxConnectionRate=3\nExecStart=/bin/echo here\n");
    let mut daemon = ctx.start(&config);
    let answers: Vec<_> = (0..6).filter_map(|_| talk_from("127.0.0.1", port)).collect();
    assert_eq!(answers.iter().filter(|text| *text == "here\n").count(), 3, "{answers:?}");
    assert_eq!(talk_from("127.0.0.2", port).as_deref(), Some("here\n"), "another source is not concerned");
    assert!(daemon.alive());
}

fn address_rules_per_connection(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!(
        "[x]\nListenStream=0.0.0.0:{port}\nAccept=yes\nIPAddressDeny=any\nIPAddressAllow=127.0.0.1 127.0.1.0/24\nExecStart=/bin/echo here\n"
    );
    let mut daemon = ctx.start(&config);
    assert_eq!(talk_from("127.0.0.1", port).as_deref(), Some("here\n"));
    assert_eq!(talk_from("127.0.1.77", port).as_deref(), Some("here\n"));
    assert_ne!(talk_from("127.0.0.2", port).as_deref(), Some("here\n"));
    assert_ne!(talk_from("127.0.2.1", port).as_deref(), Some("here\n"));
    assert!(daemon.alive());
}

fn address_rules_per_connection_on_a_dual_stack_socket(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!(
        "[x]\nListenStream={port}\nAccept=yes\nIPAddressDeny=any\nIPAddressAllow=127.0.0.2\nExecStart=/bin/echo here\n"
    );
    let _daemon = ctx.start(&config);
    assert_ne!(talk_from("127.0.0.1", port).as_deref(), Some("here\n"), "a v4-mapped peer is a v4 peer");
    assert_eq!(talk_from("127.0.0.2", port).as_deref(), Some("here\n"));
}

/// May this user attach a filter to a TCP socket? Newer kernels say no to an ordinary one.
fn may_filter_tcp() -> bool {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut all = [libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0xffff }];
    let program = libc::sock_fprog { len: 1, filter: all.as_mut_ptr() };
    let (from, size) = ((&raw const program).cast(), size_of::<libc::sock_fprog>() as u32);
    // SAFETY: the program and its only step live until the kernel has copied them.
    unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, from, size) == 0 }
}

/// The filter on the listener: a refused source does not even wake the service.
fn address_rules_of_a_listener_that_is_handed_over(ctx: &mut Ctx) {
    if !may_filter_tcp() {
        return ctx.skip("this kernel lets only root filter a TCP socket");
    }
    for address in ["0.0.0.0:", ""] {
        let port = ctx.port();
        let config = format!(
            "[x]\nListenStream={address}{port}\nIPAddressDeny=any\nIPAddressAllow=127.0.0.1\nExecStart={}\n",
            stand_in("answer here")
        );
        let daemon = ctx.start(&config);
        assert!(talk_from("127.0.0.2", port).is_none_or(|text| text.is_empty()));
        assert!(daemon.descendants().is_empty(), "the service sleeps on");
        assert!(talk_from("127.0.0.1", port).unwrap().starts_with("here"));
    }
}

fn address_rules_hold_after_the_hand_over(ctx: &mut Ctx) {
    if !may_filter_tcp() {
        return ctx.skip("this kernel lets only root filter a TCP socket");
    }
    let port = ctx.port();
    let config = format!(
        "[x]\nListenStream=0.0.0.0:{port}\nIPAddressDeny=any\nIPAddressAllow=127.0.0.1\nExecStart={}\n",
        stand_in(&format!("sockopts {}", ctx.path("options")))
    );
    let _daemon = ctx.start(&config);
    talk(port);
    assert!(ctx.lines("options").contains(&"3.LOCK_FILTER=1".to_string()), "{:?}", ctx.lines("options"));
}

fn address_rules_for_ipv6(ctx: &mut Ctx) {
    shell("ip address add fd00:77::1/128 dev lo nodad; ip address add fd00:77::2/128 dev lo nodad");
    for accept in [true, false] {
        let port = ctx.port();
        let exec = if accept {
            "Accept=yes\nExecStart=/bin/echo here".into()
        } else {
            format!("ExecStart={}", stand_in("answer here"))
        };
        let config = format!("[x]\nListenStream={port}\nIPAddressDeny=any\nIPAddressAllow=fd00:77::1 ::1\n{exec}\n");
        let _daemon = ctx.start(&config);
        let talk_v6 = |from: &str| {
            let to = SocketAddr::new(source("fd00:77::1"), port);
            connect_from(source(from), to, Duration::from_secs(2)).map(read_all).unwrap_or_default()
        };
        assert!(talk_v6("fd00:77::1").starts_with("here"), "Accept={accept}");
        assert_eq!(talk_v6("fd00:77::2"), "", "Accept={accept}");
    }
}

fn address_rules_for_datagrams(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!(
        "[x]\nListenDatagram=0.0.0.0:{port}\nIPAddressDeny=any\nIPAddressAllow=127.0.0.1\nExecStart={}\n",
        stand_in("udp heard 1")
    );
    let daemon = ctx.start(&config);
    let stranger = std::net::UdpSocket::bind("127.0.0.2:0").unwrap();
    stranger.send_to(b"x", local(port)).unwrap();
    sleep_ms(700);
    assert!(!within(Duration::from_millis(300), || !daemon.descendants().is_empty()), "the service sleeps on");
    assert!(udp_ask(port, "y").ends_with(" y"));
}

//! Who may wake a service. The address rules of a socket that is handed over are applied by the kernel, so a source
//! that is turned away neither wakes the service nor costs the daemon anything, and the service cannot lift them.

use crate::client::*;
use crate::daemon::kill;
use crate::harness::{Ctx, Need::*, PATIENCE, Test, has_control, sleep_ms, stand_in, wait_until};
use crate::random::Random;
use crate::test;
use crate::trace::Trace;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = &[
    test!(a_refused_source_costs_nothing_and_is_counted, Root, Prog("strace")),
    test!(a_service_cannot_lift_the_rules, Root),
    test!(rules_of_a_service_that_is_taken_over, Root, Part("takeover"), Part("access")),
    test!(a_port_scan_starts_nothing, Directive("DeferAcceptSec")),
    test!(the_kernel_agrees_with_the_rule, Root, Prog("ip")),
];

/// Knocks from another address without waiting for an answer.
fn knock(from: &str, to: SocketAddr) -> rustix::fd::OwnedFd {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let client = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    bind(&client, &SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    assert_eq!(rustix::net::connect(&client, &to), Err(rustix::io::Errno::INPROGRESS));
    client
}

/// Packets that were dropped, as `metrics` tells for each socket.
fn drops(text: &str, port: u16) -> u64 {
    let lines = text.lines().filter(|line| line.starts_with("dormouse_dropped_packets_total"));
    let mut lines = lines.filter(|line| line.contains(&format!(":{port}\"")));
    lines.next().and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("no {port} in {text}"))
}

fn a_refused_source_costs_nothing_and_is_counted(ctx: &mut Ctx) {
    let (tcp, udp, open) = (ctx.port(), ctx.port(), ctx.port());
    let rules = "IPAddressDeny=any\nIPAddressAllow=127.0.0.1";
    let (answer, heard) = (stand_in("answer here"), stand_in("udp heard 0"));
    let daemon = ctx.start(&format!(
        "[tcp]\nListenStream=0.0.0.0:{tcp}\n{rules}\nExecStart={answer}\n\
         [udp]\nListenDatagram=0.0.0.0:{udp}\n{rules}\nExecStart={heard}\n\
         [open]\nListenStream=127.0.0.1:{open}\nExecStart={answer}\n"
    ));
    let mut clients = Vec::new();
    let stranger = UdpSocket::bind("127.0.0.2:0").unwrap();
    Trace::assert_silent(&daemon, &ctx.path("trace"), || {
        clients.extend((0..50).map(|_| knock("127.0.0.2", local(tcp))));
        for _ in 0..50 {
            stranger.send_to(b"x", local(udp)).unwrap();
        }
        sleep_ms(1000);
    });
    assert!(daemon.descendants().is_empty(), "the services sleep on");
    drop(clients);
    if has_control() {
        let text = daemon.tell(&["metrics"]);
        assert!(drops(&text, tcp) >= 50 && drops(&text, udp) >= 50 && drops(&text, open) == 0, "{text}");
        assert!(daemon.tell(&["status", "udp"]).contains(" packets dropped by the kernel"));
        assert!(!daemon.tell(&["status", "open"]).contains("dropped by the kernel"));
    }
    assert!(talk(tcp).starts_with("here") && udp_ask(udp, "x").starts_with("heard"));
}

fn a_service_cannot_lift_the_rules(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = stand_in("unfilter here");
    let daemon = ctx.start(&format!(
        "[x]\nListenStream=0.0.0.0:{port}\nIPAddressDeny=any\nIPAddressAllow=127.0.0.1\nExecStart={exec}\n"
    ));
    assert!(talk(port).starts_with("here detach=EPERM attach=EPERM unlock=EPERM"), "{}", talk(port));
    let stranger = connect_from("127.0.0.2".parse().unwrap(), local(port), Duration::from_secs(2));
    assert!(stranger.is_err(), "the rules hold while the service runs");
    assert!(talk(port).starts_with("here"));
    assert_eq!(daemon.descendants().len(), 1);
}

/// They are those of the configuration now: at once where there were none, or else when the service ends, as nobody can
/// take the old ones off its socket.
fn rules_of_a_service_that_is_taken_over(ctx: &mut Ctx) {
    let passes = |from: &str, port| {
        let client = connect_from(from.parse().unwrap(), local(port), Duration::from_millis(500));
        client.is_ok_and(|client| read_all(client).starts_with("here"))
    };
    let deny = |address| format!("IPAddressDeny={address}\n");
    let [none, second, third] = [String::new(), deny("127.0.0.2"), deny("127.0.0.3")];
    for (before, now, at_once) in [(&none, &second, true), (&second, &third, false), (&second, &none, false)] {
        let port = ctx.port();
        let exec = stand_in("answer here");
        let config = |rules| format!("[x]\nListenStream=0.0.0.0:{port}\n{rules}ExecStart={exec}\n");
        let mut first = ctx.start(&config(before));
        assert!(talk(port).starts_with("here"));
        first.signal(libc::SIGQUIT);
        first.wait();
        let daemon = ctx.start(&config(now));
        daemon.wait_log("taken over");
        let obeyed = || passes("127.0.0.2", port) != (now == &second) && passes("127.0.0.3", port) != (now == &third);
        assert_eq!(obeyed(), at_once, "{now:?} after {before:?}");
        let pid = daemon.log().split("pid=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        kill(pid, libc::SIGTERM);
        daemon.wait_log("exit service=x");
        wait_until("the rules of now are obeyed", obeyed);
    }
}

/// DeferAcceptSec=: who connects without a word, or resets the connection as scanners do, does not wake the service.
/// (Who closes it in good order does: to the kernel the end of a stream is something to read.)
fn a_port_scan_starts_nothing(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = stand_in("echo");
    let daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nDeferAcceptSec=60\nExecStart={exec}\n"));
    let silent: Vec<_> = (0..20).map(|_| connect(port)).collect();
    (0..20).for_each(|_| reset(connect(port)));
    sleep_ms(700);
    assert!(daemon.descendants().is_empty(), "{}", daemon.log());
    assert_eq!(ask(port, "hello\n"), "hello\n");
    daemon.wait_log("start service=x");
    assert_eq!(daemon.log().matches("start service=x").count(), 1, "{}", daemon.log());
    drop(silent);
}

impl Random {
    /// An address in 127.0.0.0/8 or fd00::/16 whose words are often the same.
    fn address(&mut self) -> IpAddr {
        let mut word = || [0, 1, 2, 0x80, 0xc0, 0xfe, 0xff][self.below(7)];
        let bytes: [u8; 16] = std::array::from_fn(|_| word());
        if self.below(2) == 0 {
            let host = bytes[3].clamp(1, 254); // neither the first nor the last of the network
            return Ipv4Addr::new(127, bytes[1], bytes[2], host).into();
        }
        let mut bytes = bytes;
        (bytes[0], bytes[1], bytes[15]) = (0xfd, 0, bytes[15] | 1);
        Ipv6Addr::from(bytes).into()
    }

    fn prefix(&mut self) -> (IpAddr, u32) {
        let address = self.address();
        let (least, most) = if address.is_ipv4() { (8, 32) } else { (16, 128) };
        let length = if self.below(8) == 0 { 0 } else { least + self.below(most - least + 1) };
        (address, length as u32)
    }
}

fn holds((prefix, length): &(IpAddr, u32), source: IpAddr) -> bool {
    match (*prefix, source) {
        (IpAddr::V4(p), IpAddr::V4(s)) => (p.to_bits() ^ s.to_bits()).leading_zeros() >= *length,
        (IpAddr::V6(p), IpAddr::V6(s)) => (p.to_bits() ^ s.to_bits()).leading_zeros() >= *length,
        _ => false,
    }
}

/// Random rules on dual-stack sockets, random sources of both families: who gets an answer is who should.
fn the_kernel_agrees_with_the_rule(ctx: &mut Ctx) {
    const SERVICES: usize = 12;
    const SOURCES: usize = 40;
    if !ctx.own_net {
        return ctx.skip("needs a network of its own");
    }
    shell("ip -6 route add local fd00::/16 dev lo; echo 1 >/proc/sys/net/ipv6/ip_nonlocal_bind");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut config = String::new();
    let mut rules = Vec::new();
    for number in 0..SERVICES {
        let mut list = |least| (0..least + random.below(4)).map(|_| random.prefix()).collect::<Vec<_>>();
        let (allow, deny, port) = (list(0), list(1), ctx.port());
        let words = |list: &[(IpAddr, u32)]| list.iter().map(|(a, n)| format!("{a}/{n} ")).collect::<String>();
        config += &format!(
            "[s{number}]\nListenDatagram=[::]:{port}\nBindIPv6Only=both\nIPAddressAllow={}\nIPAddressDeny={}\nExecStart={}\n",
            words(&allow),
            words(&deny),
            stand_in("udp heard 0")
        );
        rules.push((port, allow, deny));
    }
    let daemon = ctx.start(&config);
    let (mut wanted, mut got) = (BTreeSet::new(), BTreeSet::new());
    let sources: Vec<_> = (0..SOURCES).map(|_| random.address()).collect();
    let mut clients = Vec::new();
    for &source in &sources {
        let client = UdpSocket::bind((source, 0)).unwrap_or_else(|error| panic!("{source}: {error}"));
        client.set_nonblocking(true).unwrap();
        let to: IpAddr = if source.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        for (port, allow, deny) in &rules {
            client.send_to(b"x", (to, *port)).unwrap();
            let named = |list: &[_]| list.iter().any(|prefix| holds(prefix, source));
            if named(allow) || !named(deny) {
                wanted.insert((source, *port));
            }
        }
        clients.push((source, client));
    }
    let deadline = Instant::now() + PATIENCE;
    let mut last = Instant::now();
    while Instant::now() < deadline && (got != wanted || last.elapsed() < Duration::from_secs(1)) {
        for (source, client) in &clients {
            while let Ok((_, from)) = client.recv_from(&mut [0; 64]) {
                got.insert((*source, from.port()));
                last = Instant::now();
            }
        }
        sleep_ms(20);
    }
    let (lost, passed): (Vec<_>, Vec<_>) = (wanted.difference(&got).collect(), got.difference(&wanted).collect());
    assert!(lost.is_empty() && passed.is_empty(), "lost {lost:?}\npassed {passed:?}\n{config}\n{}", daemon.log());
    let share = wanted.len() * 100 / (SERVICES * SOURCES);
    assert!((10..90).contains(&share), "{share} % are let in: that tells little");
}

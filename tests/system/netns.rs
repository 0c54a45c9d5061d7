//! Addresses that come and go, in the test's own network namespace.

use crate::client::*;
use crate::daemon::kill;
use crate::harness::{Ctx, Need::*, Test, sleep_ms, stand_in, wait_until, within};
use crate::test;
use std::net::SocketAddr;
use std::time::Duration;

pub const TESTS: &[Test] = &[
    test!(address_that_appears_late, Root, Prog("ip")),
    test!(ipv6_address_that_appears_late, Root, Prog("ip")),
    test!(datagram_address_that_appears_late, Root, Prog("ip")),
    test!(free_bind_needs_no_address, Root, Prog("ip")),
    test!(address_that_goes_and_comes_back, Root, Prog("ip")),
    test!(interface_that_appears_late, Root, Prog("ip")),
    test!(link_local_address_with_its_scope, Root, Prog("ip")),
    test!(an_interface_that_goes_and_another_comes, Root, Prog("ip")),
    test!(an_interface_that_goes_while_a_service_runs, Root, Prog("ip")),
];

fn config(address: &str, port: u16, more: &str) -> String {
    format!("[x]\nListenStream={address}:{port}\nAccept=yes\n{more}ExecStart=/bin/echo here\n")
}

fn talk_to(address: &str, port: u16) -> Option<String> {
    let to: SocketAddr = format!("{address}:{port}").parse().unwrap();
    Some(read_all(try_connect(to, Duration::from_secs(2)).ok()?))
}

fn appears_late(ctx: &mut Ctx, listen: &str, add: &str) {
    let (port, other) = (ctx.port(), ctx.port());
    let second = format!("[y]\nListenStream=127.0.0.1:{other}\nAccept=yes\nExecStart=/bin/echo other\n");
    let daemon = ctx.start(&(config(listen, port, "") + &second));
    assert_eq!(talk(other), "other\n", "the rest is served meanwhile");
    assert!(talk_to(listen, port).is_none());
    // The pause between two tries has grown long by now: what makes it quick is the message about the address.
    sleep_ms(6000);
    let cost = daemon.cost(|| sleep_ms(2000));
    cost.assert_small();
    shell(&format!("ip address add {add} dev lo"));
    let quick = within(Duration::from_millis(1500), || talk_to(listen, port).as_deref() == Some("here\n"));
    assert!(quick || within(Duration::from_secs(10), || talk_to(listen, port).is_some()), "never bound");
    assert!(quick, "bound, but more than a second late");
}

fn address_that_appears_late(ctx: &mut Ctx) {
    appears_late(ctx, "10.99.0.1", "10.99.0.1/32");
}

fn ipv6_address_that_appears_late(ctx: &mut Ctx) {
    appears_late(ctx, "[fd00:99::1]", "fd00:99::1/128 nodad");
}

fn datagram_address_that_appears_late(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = stand_in("udp heard 1");
    let _daemon = ctx.start(&format!("[x]\nListenDatagram=10.99.0.2:{port}\nExecStart={exec}\n"));
    sleep_ms(1000);
    shell("ip address add 10.99.0.2/32 dev lo");
    let client = udp();
    client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    wait_until("an answer", || {
        let _ = client.send_to(b"x", ("10.99.0.2", port));
        client.recv(&mut [0; 100]).is_ok()
    });
}

fn free_bind_needs_no_address(ctx: &mut Ctx) {
    let port = ctx.port();
    let _daemon = ctx.start(&config("10.99.0.3", port, "FreeBind=yes\n"));
    shell("ip address add 10.99.0.3/32 dev lo");
    assert_eq!(talk_to("10.99.0.3", port).as_deref(), Some("here\n"), "it was bound already");
}

fn address_that_goes_and_comes_back(ctx: &mut Ctx) {
    let port = ctx.port();
    shell("ip address add 10.99.0.4/32 dev lo");
    let mut daemon = ctx.start(&config("10.99.0.4", port, ""));
    assert_eq!(talk_to("10.99.0.4", port).as_deref(), Some("here\n"));
    shell("ip address del 10.99.0.4/32 dev lo");
    sleep_ms(500);
    shell("ip address add 10.99.0.4/32 dev lo");
    wait_until("it is served again", || talk_to("10.99.0.4", port).as_deref() == Some("here\n"));
    daemon.cost(|| sleep_ms(2000)).assert_small();
    assert!(daemon.alive());
}

fn interface_that_appears_late(ctx: &mut Ctx) {
    let port = ctx.port();
    let _daemon = ctx.start(&config("0.0.0.0", port, "BindToDevice=late0\n"));
    sleep_ms(1000);
    shell("ip link add late0 type veth peer name late1; ip address add 10.99.1.1/32 dev late0; ip link set late0 up");
    let mut client = None;
    wait_until("the listener of the device", || {
        let listening = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
        client =
            listening.lines().find(|line| line.contains(&format!(":{port:04X} 00000000:0000 0A"))).map(String::from);
        client.is_some()
    });
    assert!(try_connect(local(port), Duration::from_secs(1)).is_err(), "it is bound to the device");
}

fn link_local_address_with_its_scope(ctx: &mut Ctx) {
    let port = ctx.port();
    shell("ip link add den0 type veth peer name den1; ip link set den0 up; ip link set den1 up");
    shell("ip address add fe80::77/64 dev den0 nodad");
    let _daemon = ctx.start(&format!("[x]\nListenStream=[fe80::77%den0]:{port}\nAccept=yes\nExecStart=/usr/bin/env\n"));
    let index: u32 = shell("ip -o link show den0").split(':').next().unwrap().trim().parse().unwrap();
    let to = std::net::SocketAddrV6::new("fe80::77".parse().unwrap(), port, 0, index);
    let answer = read_all(try_connect(SocketAddr::V6(to), Duration::from_secs(3)).unwrap());
    assert!(answer.contains("REMOTE_ADDR=fe80::77"), "{answer}");
}

/// A pair of interfaces: what a dongle or a tunnel is each time it comes.
fn new_interface() {
    shell("ip link add nest0 type veth peer name nest1; ip link set nest0 up; ip link set nest1 up");
    shell("ip address add 10.99.2.1/24 dev nest0; ip address add fe80::78/64 dev nest0 nodad");
}

fn link_local(address: &str, interface: &str, port: u16) -> Option<String> {
    let index: u32 = shell(&format!("ip -o link show {interface}")).split(':').next().unwrap().trim().parse().unwrap();
    let to = std::net::SocketAddrV6::new(address.parse().unwrap(), port, 0, index);
    Some(read_all(try_connect(SocketAddr::V6(to), Duration::from_secs(2)).ok()?))
}

/// A socket is bound to an interface, not to its name.
fn an_interface_that_goes_and_another_comes(ctx: &mut Ctx) {
    let (bound, local) = (ctx.port(), ctx.port());
    new_interface();
    let second = config("[fe80::78%nest0]", local, "").replace("[x]", "[y]");
    let daemon = ctx.start(&(config("0.0.0.0", bound, "BindToDevice=nest0\n") + &second));
    let served = || {
        talk_to("10.99.2.1", bound).as_deref() == Some("here\n")
            && link_local("fe80::78", "nest0", local).as_deref() == Some("here\n")
    };
    wait_until("both are served", served);
    for round in 0..3 {
        if round == 2 && crate::harness::has_control() && crate::harness::has_part("reload") {
            daemon.tell(&["reload"]);
        }
        shell("ip link del nest0");
        daemon.cost(|| sleep_ms(1000)).assert_small();
        new_interface();
        wait_until("both are served by the other interface", served);
    }
}

/// Its process has the socket; when that ends, the next one gets one that is bound to what is there now.
fn an_interface_that_goes_while_a_service_runs(ctx: &mut Ctx) {
    let port = ctx.port();
    new_interface();
    let exec = stand_in("answer here");
    let daemon = ctx.start(&format!("[x]\nListenStream=0.0.0.0:{port}\nBindToDevice=nest0\nExecStart={exec}\n"));
    let first = talk_to("10.99.2.1", port).unwrap();
    shell("ip link del nest0");
    sleep_ms(500);
    new_interface();
    kill(daemon.descendants()[0], libc::SIGTERM);
    wait_until("the next one to be reached", || talk_to("10.99.2.1", port).is_some_and(|next| next != first));
}

//! Directives against the rows and options that they become.

use super::super::options::records;
use super::super::testing::with_plan;
use super::*;

/// Level, name and flags of the options of the first socket.
fn options_of(directives: &[(&str, &str)]) -> Vec<(i32, i32, u8)> {
    let mut out = Vec::new();
    with_plan(&[("x", directives)], |plan, faults| {
        assert_eq!(faults, []);
        let spec = plan.sockets[usize::from(plan.listeners[0].socket)];
        let list = records(plan.arena.get(spec.options));
        out = list.map(|record| (record.level.into(), record.name.into(), record.flags)).collect();
    });
    out
}

fn faults_of(directives: &[(&str, &str)]) -> Vec<String> {
    let mut out = Vec::new();
    with_plan(&[("x", directives)], |_, faults| out = faults.iter().map(|fault| fault.message.clone()).collect());
    out
}

#[test]
#[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
fn address_reuse_is_for_tcp_only() {
    let reuse = (libc::SOL_SOCKET, libc::SO_REUSEADDR, 0);
    assert_eq!(options_of(&[("ListenStream", "80")]), [reuse]);
    assert_eq!(options_of(&[("ListenDatagram", "80")]), []);
    assert_eq!(options_of(&[("ListenStream", "/run/x")]), []);
    assert_eq!(options_of(&[("ListenStream", "vsock::80")]), []);
}

#[test]
fn a_dual_stack_socket_gets_the_options_of_both_families() {
    let tos = |listen, only| options_of(&[("ListenDatagram", listen), ("IPTOS", "16"), ("BindIPv6Only", only)]);
    let (four, six) = ((libc::IPPROTO_IP, libc::IP_TOS, 0), (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, 0));
    let only = (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, REQUIRED);
    assert_eq!(tos("53", "default"), [four, six]);
    assert_eq!(tos("53", "both"), [only, four, six]);
    assert_eq!(tos("[::]:53", "ipv6-only"), [only, six]);
    assert_eq!(tos("[::1]:53", "default"), [six]);
    assert_eq!(tos("127.0.0.1:53", "both"), [four]);
}

#[test]
#[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
fn every_socket_option_that_a_directive_can_ask_for_is_asked_for() {
    let on = ["KeepAlive", "NoDelay", "ReusePort", "FreeBind", "Transparent", "Broadcast", "PassPacketInfo"];
    let times = ["KeepAliveTimeSec", "KeepAliveIntervalSec", "DeferAcceptSec"];
    let numbers = ["KeepAliveProbes", "Priority", "ReceiveBuffer", "SendBuffer", "IPTOS", "IPTTL", "Mark"];
    let texts = ["BindToDevice", "TCPCongestion"];
    let all = on.map(|id| (id, "yes")).into_iter().chain(times.map(|id| (id, "1500ms")));
    let all = all.chain(numbers.map(|id| (id, "5"))).chain(texts.map(|id| (id, "lo")));
    let all: Vec<_> = all.chain([("PassCredentials", "yes"), ("BindIPv6Only", "both")]).collect();
    let count = |listen| options_of(&[&[listen], &all[..]].concat()).len();
    // Rows of the table that fit, counted by hand: a change of the table should be meant.
    assert_eq!(count(("ListenStream", "80")), 23);
    assert_eq!(count(("ListenDatagram", "80")), 18);
    assert_eq!(count(("ListenStream", "@x")), 5);
    assert_eq!(count(("ListenFIFO", "/run/x")), 0);
}

#[test]
fn times_are_rounded_up_to_seconds_and_zero_is_left_to_the_kernel() {
    with_plan(
        &[("x", &[("ListenStream", "80"), ("KeepAliveTimeSec", "1500ms"), ("DeferAcceptSec", "0")])],
        |plan, _| {
            let list = records(plan.arena.get(plan.sockets[0].options));
            let values: Vec<_> = list.map(|record| (record.name, record.value.to_vec())).collect();
            let idle = u16::try_from(libc::TCP_KEEPIDLE).unwrap();
            assert_eq!(values[1..], [(idle, 2_u32.to_ne_bytes().to_vec())]);
        },
    );
}

#[test]
#[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
fn sockets_that_are_alike_share_a_row() {
    let listen = [("ListenStream", "80"), ("ListenStream", "81"), ("ListenStream", "/run/x")];
    with_plan(&[("a", &listen), ("b", &[("ListenStream", "90"), ("SocketMode", "0600")])], |plan, _| {
        let rows: Vec<_> = plan.listeners.iter().map(|row| (row.service, row.socket)).collect();
        assert_eq!(rows, [(0, 0), (0, 0), (0, 1), (1, 0)]);
    });
}

#[test]
#[cfg_attr(
    not(all(feature = "access", feature = "local")),
    ignore = "this build has internet sockets only, or lets everybody in"
)]
fn the_filter_is_for_sockets_that_are_handed_over() {
    let listen = [("ListenStream", "80"), ("ListenDatagram", "80"), ("ListenStream", "/run/x")];
    let deny = ("IPAddressDeny", "any");
    for (accept, wanted) in [("no", [true, true, false]), ("yes", [false, true, false])] {
        with_plan(&[("x", &[&listen[..], &[deny, ("Accept", accept)]].concat())], |plan, _| {
            let rows = plan.listeners.iter().map(|row| plan.sockets[usize::from(row.socket)]);
            let rows: Vec<_> = rows.map(|spec| (!spec.filter.is_empty(), spec.nonblocking)).collect();
            assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), wanted);
            let own = accept == "yes";
            assert_eq!(rows.iter().map(|row| row.1).collect::<Vec<_>>(), [own, false, own]);
        });
    }
}

#[test]
#[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
fn a_user_alone_brings_its_group() {
    let owner = |directives: &[(&str, &str)]| {
        let mut out = (None, None);
        with_plan(&[("x", &[&[("ListenStream", "/run/x")], directives].concat())], |plan, faults| {
            assert_eq!(faults, []);
            out = (plan.sockets[0].owner, plan.sockets[0].group);
        });
        out
    };
    assert_eq!(owner(&[("SocketUser", "root")]), (Some(0), Some(0)));
    assert_eq!(owner(&[("SocketUser", "root"), ("SocketGroup", "12345")]), (Some(0), Some(12345)));
    assert_eq!(owner(&[("SocketUser", "54321")]), (Some(54321), None));
    assert_eq!(owner(&[]), (None, None));
}

#[test]
#[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
fn what_the_system_does_not_know_is_a_fault() {
    let listen = ("ListenStream", "/run/x");
    assert_eq!(faults_of(&[listen, ("SocketUser", "nobody-such")]), ["SocketUser=nobody-such: there is no such user"]);
    assert_eq!(faults_of(&[listen, ("SocketGroup", "none-such")]), ["SocketGroup=none-such: there is no such group"]);
    assert_eq!(faults_of(&[("ListenDatagram", "no-such")]), ["there is no udp service no-such in /etc/services"]);
    let local = ("ListenStream", "[fe80::1]:80");
    assert_eq!(faults_of(&[local]), ["the link-local address fe80::1 needs its interface"]);
    assert_eq!(faults_of(&[local, ("BindToDevice", "eth0")]), [""; 0]);
}

#[test]
fn an_interface_stays_a_name_until_the_socket_is_opened() {
    with_plan(&[("x", &[("ListenStream", "[fe80::1%wlan9]:80"), ("ListenStream", "[fe80::1%7]:80")])], |plan, _| {
        let texts = plan.listeners.iter().map(|row| address::Text(plan.arena.get(row.address)).to_string());
        assert_eq!(texts.collect::<Vec<_>>(), ["[fe80::1%wlan9]:80", "[fe80::1%7]:80"]);
    });
}

#[test]
#[cfg_attr(not(feature = "access"), ignore = "this build does not ask who may connect")]
fn a_filter_that_the_kernel_would_not_take_is_a_fault() {
    let list: Vec<_> = (0..2000).map(|n| format!("10.{}.{}.0/25", n / 200, n % 200)).collect();
    let faults = faults_of(&[("ListenStream", "80"), ("IPAddressDeny", &list.join(" "))]);
    assert_eq!(faults, ["the address lists need a filter of 6007 instructions; the kernel takes 4096"]);
}

//! Sandboxes that refuse a system call, as those of containers do: what needs it is missing, the rest goes on, and the
//! loop does not spin.

use crate::client::*;
use crate::daemon::Daemon;
use crate::forward::backend;
use crate::harness::{Ctx, Need::*, Test, sleep_ms, stand_in};
use crate::reload::reload;
use crate::test;
use std::io::{Read, Write};

pub const TESTS: &[Test] = &[
    test!(limits_cannot_be_asked_for, Part("forward"), Part("reload")),
    test!(clients_of_the_control_socket_cannot_be_taken, Command("status")),
    test!(datagrams_cannot_be_read, Part("internal")),
    test!(streams_cannot_be_spliced, Part("forward")),
];

/// The daemon, and its services, without a system call.
fn without(ctx: &mut Ctx, number: libc::c_long, config: &str) -> Daemon {
    let wrapper = stand_in(&format!("without-call {number}"));
    let words: Vec<_> = wrapper.split(' ').collect();
    ctx.launch(config).wrapped(&words).start()
}

/// rustix believes that getrlimit(2) cannot fail.
fn limits_cannot_be_asked_for(ctx: &mut Ctx) {
    let (port, service) = (ctx.port(), ctx.port());
    let behind = backend(|mut stream| drop(stream.write_all(b"behind")));
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nConnectTo=127.0.0.1:{behind}\n\
         [y]\nListenStream=127.0.0.1:{service}\nAccept=yes\nExecStart=/bin/echo here\n"
    );
    let mut daemon = without(ctx, libc::SYS_prlimit64, &config);
    for _ in 0..2 {
        assert_eq!(talk(port), "behind");
        assert_eq!(talk(service), "here\n");
        reload(&daemon);
    }
    assert_eq!(daemon.stop().code(), Some(0));
}

fn clients_of_the_control_socket_cannot_be_taken(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart=/bin/echo here\n");
    let mut daemon = without(ctx, libc::SYS_accept4, &config);
    let mut asks = daemon.begin(&["list"]);
    let _waits = connect(port);
    daemon.cost(|| sleep_ms(3000)).assert_small();
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(!asks.wait().unwrap().success());
}

fn datagrams_cannot_be_read(ctx: &mut Ctx) {
    let (built_in, program) = (ctx.port(), ctx.port());
    let config = format!(
        "[x]\nListenDatagram=127.0.0.1:{built_in}\nInternal=echo\n\
         [y]\nListenDatagram=127.0.0.1:{program}\nAccept=yes\nReusePort=yes\nPollLimitIntervalSec=0\nExecStart=/bin/cat\n"
    );
    let mut daemon = without(ctx, libc::SYS_recvfrom, &config);
    for port in [built_in, program] {
        udp().send_to(b"unread", local(port)).unwrap();
    }
    daemon.cost(|| sleep_ms(3000)).assert_small();
    assert_eq!(daemon.stop().code(), Some(0));
}

/// What is forwarded is copied then, and what the client does not take yet is not read.
fn streams_cannot_be_spliced(ctx: &mut Ctx) {
    fn byte(at: u32) -> u8 {
        (at.wrapping_mul(31) >> 5) as u8
    }
    const LENGTH: u32 = 20_000_000;
    let port = ctx.port();
    let behind = backend(|mut stream| {
        let mut asked = [0];
        let _ = stream.read_exact(&mut asked);
        let _ = stream.write_all(&(0..LENGTH).map(byte).collect::<Vec<_>>());
    });
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nConnectTo=127.0.0.1:{behind}\n");
    let mut daemon = without(ctx, libc::SYS_splice, &config);
    let mut client = connect(port);
    client.write_all(b"x").unwrap();
    let mut seen = Vec::new();
    daemon.cost(|| sleep_ms(1000)).assert_small();
    client.read_to_end(&mut seen).unwrap();
    assert!(seen.len() == LENGTH as usize, "{} bytes", seen.len());
    assert!((0..LENGTH).zip(&seen).all(|(at, got)| byte(at) == *got));
    assert_eq!(daemon.stop().code(), Some(0));
}

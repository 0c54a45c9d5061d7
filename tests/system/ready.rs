//! How the daemon says that it is ready.

use crate::client::*;
use crate::harness::{Ctx, Need::*, Test, wait_until};
use crate::test;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

pub const TESTS: &[Test] = &[
    test!(notify_socket_by_path, Part("notify")),
    test!(notify_socket_by_abstract_name, Part("notify")),
    test!(notify_socket_that_nobody_reads, Part("notify")),
    test!(notify_fd_gets_a_line_and_is_closed, Part("notify")),
    test!(ready_means_that_every_port_is_open),
    test!(notify_socket_is_not_passed_on),
];

fn config(port: u16) -> String {
    format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart=/usr/bin/env\n")
}

fn notify_socket_by_path(ctx: &mut Ctx) {
    let port = ctx.port();
    let mut daemon = ctx.start(&config(port));
    assert!(daemon.alive());
}

fn notify_socket_by_abstract_name(ctx: &mut Ctx) {
    let port = ctx.port();
    let name = format!("dormouse-ready-{}-{port}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
    socket.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    let _daemon = ctx.launch(&config(port)).env("NOTIFY_SOCKET", &format!("@{name}")).spawn();
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).expect("a notification");
    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert!(text.lines().any(|line| line == "READY=1"), "{text}");
}

fn notify_socket_that_nobody_reads(ctx: &mut Ctx) {
    let port = ctx.port();
    let mut daemon = ctx.launch(&config(port)).env("NOTIFY_SOCKET", &ctx.path("nobody")).spawn();
    wait_until("it serves anyway", || try_connect(local(port), crate::harness::PATIENCE).is_ok());
    assert!(daemon.alive());
}

fn notify_fd_gets_a_line_and_is_closed(ctx: &mut Ctx) {
    let port = ctx.port();
    let out = ctx.path("ready");
    let launch = ctx.launch(&config(port)).in_shell(&format!("exec \"$@\" 7>{out}")).arg("--notify-fd").arg("7");
    let daemon = launch.spawn();
    wait_until("a newline", || std::fs::read(&out).is_ok_and(|bytes| bytes.ends_with(b"\n")));
    wait_until("the descriptor is closed", || {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid)).unwrap().flatten();
        !entries.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|target| target.ends_with("ready"))
    });
    talk(port);
}

fn ready_means_that_every_port_is_open(ctx: &mut Ctx) {
    let ports: Vec<u16> = (0..100).map(|_| ctx.port()).collect();
    let text: String = ports.iter().map(|port| config(*port).replace("[x]", &format!("[x{port}]"))).collect();
    let _daemon = ctx.start(&text);
    for port in ports {
        assert!(std::net::TcpStream::connect(local(port)).is_ok(), "port {port}");
    }
}

fn notify_socket_is_not_passed_on(ctx: &mut Ctx) {
    let port = ctx.port();
    let _daemon = ctx.start(&config(port));
    let environment = talk(port);
    assert!(environment.contains("PATH=") && !environment.contains("NOTIFY_SOCKET"), "{environment}");
}

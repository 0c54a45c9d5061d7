//! Services that tell their sockets to stay on close until everything is sent (SO_LINGER, socket(7)), and clients that
//! read nothing: nobody else may wait for them.

use crate::client::*;
use crate::daemon::Daemon;
use crate::harness::{Ctx, Need::*, Test};
use crate::reload::reload;
use crate::test;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = &[
    test!(a_service_that_lingers_and_ends_at_once, Prog("strace"), Prog("python3")),
    test!(a_listener_that_lingers_is_forwarded_now, Prog("python3"), Part("forward"), Part("reload")),
];

/// How long the services' sockets stay; who waits for it waits too long.
const LINGER_S: u64 = 20;

/// A client with little room that never reads.
fn deaf(port: u16) -> TcpStream {
    // SAFETY: integers, a structure that lives during the call, and a new descriptor without another owner.
    let socket = unsafe {
        let socket = OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0));
        let size: libc::c_int = 2048;
        let at = (&raw const size).cast();
        assert_eq!(libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, at, 4), 0);
        let mut to: libc::sockaddr_in = std::mem::zeroed();
        to.sin_family = libc::AF_INET as u16;
        to.sin_port = port.to_be();
        to.sin_addr.s_addr = u32::from(std::net::Ipv4Addr::LOCALHOST).to_be();
        assert_eq!(libc::connect(socket.as_raw_fd(), (&raw const to).cast(), size_of_val(&to) as u32), 0);
        socket
    };
    socket.into()
}

/// Another service answers while the deaf one's connections are closed.
fn others_are_served(daemon: &Daemon, port: u16) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        assert_eq!(talk(port), "here\n", "{}", daemon.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(begun.elapsed() < Duration::from_secs(LINGER_S / 2), "it took {:?}", begun.elapsed());
}

/// The loop is kept from running until the service, which was quick, is gone: as on a machine with one busy processor.
fn a_service_that_lingers_and_ends_at_once(ctx: &mut Ctx) {
    let (port, other) = (ctx.port(), ctx.port());
    let text = format!(
        "import socket, struct\ns = socket.socket(fileno=0)\n\
         s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, {LINGER_S}))\ns.setblocking(False)\n\
         try:\n    while s.send(bytes(65536)): pass\nexcept BlockingIOError: pass\n"
    );
    let exec = format!("/usr/bin/python3 {}", ctx.file("service.py", &text));
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart={exec}\n\
         [y]\nListenStream=127.0.0.1:{other}\nAccept=yes\nExecStart=/bin/echo here\n"
    );
    let late = ["-e", "trace=clone", "-e", "inject=clone:delay_exit=1500000:when=1"];
    let daemon = ctx.launch(&config).strace("trace", &late).start();
    let _client = deaf(port);
    others_are_served(&daemon, other);
}

fn a_listener_that_lingers_is_forwarded_now(ctx: &mut Ctx) {
    let [port, other, backend] = [ctx.port(), ctx.port(), ctx.port()];
    let text = format!(
        "import socket, struct\nlistener = socket.socket(fileno=3)\n\
         listener.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, {LINGER_S}))\n\
         listener.accept()[0].send(b'done\\n')\n"
    );
    let exec = format!("ExecStart=/usr/bin/python3 {}", ctx.file("service.py", &text));
    let config = |what: &str| {
        format!(
            "[x]\nListenStream=127.0.0.1:{port}\n{what}\n\
             [y]\nListenStream=127.0.0.1:{other}\nAccept=yes\nExecStart=/bin/echo here\n\
             [z]\nListenStream=127.0.0.1:{backend}\nAccept=yes\nExecStart=/bin/head -c 20000 /dev/zero\n"
        )
    };
    let daemon = ctx.start(&config(&exec));
    assert_eq!(talk(port), "done\n");
    ctx.file("dormouse.conf", &config(&format!("ConnectTo=127.0.0.1:{backend}")));
    reload(&daemon);
    let client = deaf(port);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    others_are_served(&daemon, other);
}

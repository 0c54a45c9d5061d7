//! Known traps around addresses and sockets.

use crate::client::*;
use crate::harness::{Ctx, Need::*, PATIENCE, Test, has_part, stand_in, wait_until};
use crate::test;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

pub const TESTS: &[Test] = &[
    test!(trap_13_check_reports_every_fault),
    test!(trap_13_one_faulty_file_does_not_hide_the_next),
    test!(trap_14_bind_is_tried_again),
    test!(trap_15_restart_while_a_child_holds_the_socket),
    test!(trap_33_holder_of_the_port_is_named, Part("takeover")),
    test!(what_another_user_runs_is_not_taken_over, Root, Prog("setpriv"), Prog("python3"), Part("takeover")),
    test!(port_that_is_not_for_everybody, Root, Prog("setpriv")),
    test!(trap_38_bare_port_takes_both_families),
    test!(trap_38_v6_only_on_request),
    test!(trap_39_kernel_without_ipv6),
    test!(trap_41_path_longer_than_the_kernel_allows, Part("local")),
    test!(trap_42_no_moment_of_wide_permissions, Prog("strace")),
    test!(trap_43_default_mode_of_a_unix_socket),
    test!(trap_44_datagram_answer_comes_from_the_address_asked, Root),
    test!(trap_46_reuse_flags),
    test!(trap_46_second_daemon_cannot_take_a_udp_port),
    test!(trap_47_peer_already_gone),
    test!(killed_and_started_again_with_clients_connected),
    test!(killed_and_started_again_with_time_wait),
];

fn trap_13_check_reports_every_fault(ctx: &mut Ctx) {
    let text = "[one]\nListenStream=99999999\nExecStart=/bin/true\n[two]\nListenStream=80\nAcept=yes\nExecStart=/bin/true\n\
                [three]\nListenStream=81\nExecStart=/bin/true\nMaxConnections=many\n";
    let file = ctx.file("faulty.conf", text);
    let (status, message) = crate::commands::dormouse(&["check", "-c", &file]);
    assert_eq!(status, 78, "{message}");
    for place in ["faulty.conf:2:", "faulty.conf:6:", "faulty.conf:11:"] {
        assert!(message.contains(place), "{place} is not in\n{message}");
    }
    assert!(message.contains("Accept") || !has_part("suggest"), "did you mean:\n{message}");
}

fn trap_13_one_faulty_file_does_not_hide_the_next(ctx: &mut Ctx) {
    ctx.file("many/a.conf", "[one]\nListenStream=80\nExecStart=/bin/true\nNoSuchThing=1\n");
    ctx.file("many/b.conf", "[two]\nListenStream=81\nExecStart=\n");
    let (status, message) = crate::commands::dormouse(&["check", "-c", &ctx.path("many")]);
    assert_eq!(status, 78);
    assert!(message.contains("a.conf:4:") && message.contains("b.conf:"), "{message}");
}

fn trap_14_bind_is_tried_again(ctx: &mut Ctx) {
    let (port, other) = (ctx.port(), ctx.port());
    let holder = TcpListener::bind(local(port)).unwrap();
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart=/bin/echo here\n\
         [y]\nListenStream=127.0.0.1:{other}\nAccept=yes\nExecStart=/bin/echo other\n"
    );
    let mut daemon = ctx.start(&config);
    assert_eq!(talk(other), "other\n", "the rest is served meanwhile");
    daemon.cost(|| crate::harness::sleep_ms(3000)).assert_small();
    drop(holder);
    // A process that another test forks just now holds a copy of our socket until its exec.
    wait_until("it is served, too", || {
        try_connect(local(port), PATIENCE).is_ok_and(|client| read_all(client) == "here\n")
    });
    assert!(daemon.alive());
}

fn trap_15_restart_while_a_child_holds_the_socket(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nExecStart={}\n", stand_in("answer old"));
    let mut daemon = ctx.start(&config);
    assert!(talk(port).starts_with("old"));
    let children = daemon.descendants();
    daemon.kill();
    let again = ctx.start(&config);
    assert!(talk(port).starts_with("old"), "the orphaned service still answers");
    for pid in children {
        crate::daemon::kill(pid, libc::SIGKILL);
        wait_until("the old service has let go", || !crate::daemon::is_live(pid));
    }
    wait_until("the new daemon serves the port", || {
        try_connect(local(port), Duration::from_secs(1)).is_ok() && talk(port).starts_with("old")
    });
    assert!(!again.descendants().is_empty(), "a service of the new daemon");
}

fn trap_33_holder_of_the_port_is_named(ctx: &mut Ctx) {
    let port = ctx.port();
    let _holder = TcpListener::bind(local(port)).unwrap();
    let daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart=/bin/true\n"));
    daemon.wait_log(&port.to_string());
    let own = std::process::id().to_string();
    assert!(daemon.log().contains(&own), "the holder {own} is not named:\n{}", daemon.log());
}

/// The program of the service, on its port, but of somebody else: he would get its clients for ever, and its rights.
fn what_another_user_runs_is_not_taken_over(ctx: &mut Ctx) {
    std::fs::set_permissions(&ctx.dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (user, taken) in [("0", true), ("65534", false)] {
        let port = ctx.port();
        let text = format!(
            "import os, socket\nif os.getsid(0) != os.getpid(): os.setsid()\n\
             ours = 'LISTEN_FDS' in os.environ\n\
             s = socket.socket(fileno=3) if ours else socket.create_server(('127.0.0.1', {port}))\n\
             while True:\n    client, _ = s.accept()\n    client.sendall(b'%d' % os.getuid())\n    client.close()\n"
        );
        let words = ["/usr/bin/python3", &ctx.file(&format!("{user}.py"), &text)];
        let mut command = Command::new("setpriv");
        let mut holder = command.args(["--reuid", user, "--clear-groups"]).args(words).spawn().unwrap();
        wait_until("it serves", || try_connect(local(port), Duration::from_secs(1)).is_ok());
        let daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nExecStart={}\n", words.join(" ")));
        daemon.wait_log(if taken { "taken over" } else { "holder=" });
        assert_eq!(daemon.log().contains("taken over"), taken, "{}", daemon.log());
        assert_eq!(talk(port), user);
        holder.kill().unwrap();
        holder.wait().unwrap();
        wait_until("one of its own serves", || {
            try_connect(local(port), Duration::from_secs(1)).is_ok_and(|client| read_all(client) == "0")
        });
    }
}

fn port_that_is_not_for_everybody(ctx: &mut Ctx) {
    let config = "[x]\nListenStream=127.0.0.1:80\nExecStart=/bin/true\n";
    let daemon = ctx.launch(config).wrapped(&["setpriv", "--bounding-set=-net_bind_service"]).start();
    daemon.wait_log("a port below 1024 asks for CAP_NET_BIND_SERVICE");
}

fn trap_38_bare_port_takes_both_families(ctx: &mut Ctx) {
    let port = ctx.port();
    let _daemon = ctx.start(&format!("[x]\nListenStream={port}\nAccept=yes\nExecStart=/bin/echo here\n"));
    assert_eq!(talk(port), "here\n");
    if TcpListener::bind("[::1]:0").is_ok() {
        let address: SocketAddr = format!("[::1]:{port}").parse().unwrap();
        assert_eq!(read_all(try_connect(address, Duration::from_secs(5)).unwrap()), "here\n");
    }
}

fn trap_38_v6_only_on_request(ctx: &mut Ctx) {
    if TcpListener::bind("[::1]:0").is_err() {
        return ctx.skip("no IPv6");
    }
    let port = ctx.port();
    let config =
        format!("[x]\nListenStream=[::]:{port}\nBindIPv6Only=ipv6-only\nAccept=yes\nExecStart=/bin/echo here\n");
    let _daemon = ctx.start(&config);
    let address: SocketAddr = format!("[::1]:{port}").parse().unwrap();
    assert_eq!(read_all(try_connect(address, Duration::from_secs(5)).unwrap()), "here\n");
    assert!(try_connect(local(port), Duration::from_secs(5)).is_err(), "not on IPv4");
}

fn trap_39_kernel_without_ipv6(ctx: &mut Ctx) {
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm")) {
        return ctx.skip("socket(2) cannot be filtered here");
    }
    let (tcp, udp) = (ctx.port(), ctx.port());
    let config = format!(
        "[x]\nListenStream={tcp}\nAccept=yes\nExecStart=/bin/echo here\n[y]\nListenDatagram={udp}\nExecStart={}\n",
        stand_in("udp heard 1")
    );
    let wrapper = stand_in("without-ipv6");
    let words: Vec<&str> = wrapper.split(' ').collect();
    let _daemon = ctx.launch(&config).wrapped(&words).start();
    assert_eq!(talk(tcp), "here\n");
    assert!(udp_ask(udp, "x").starts_with("heard"));
}

fn trap_41_path_longer_than_the_kernel_allows(ctx: &mut Ctx) {
    let config = |length: usize| format!("[x]\nListenStream=/{}\nExecStart=/bin/true\n", "a".repeat(length - 1));
    let file = ctx.file("long.conf", &config(108));
    let (status, message) = crate::commands::dormouse(&["check", "-c", &file]);
    assert_eq!(status, 78, "{message}");
    assert!(message.contains("long.conf:2:") && message.contains("107"), "{message}");
    let file = ctx.file("fits.conf", &config(107));
    assert_eq!(crate::commands::dormouse(&["check", "-c", &file]).0, 0);
}

fn trap_42_no_moment_of_wide_permissions(ctx: &mut Ctx) {
    let path = ctx.path("x.sock");
    let config = format!("[x]\nListenStream={path}\nSocketMode=0600\nExecStart=/bin/true\n");
    let launch = ctx.launch(&config).strace("trace", &["-e", "trace=umask,bind,?chmod,fchmodat,fchmod,listen"]);
    let _daemon = launch.in_shell("umask 0; exec \"$@\"").start();
    let trace = ctx.lines("trace");
    let bind = trace.iter().position(|line| line.starts_with("bind") && line.contains("x.sock")).expect("a bind");
    let masks: Vec<&String> = trace[..bind].iter().filter(|line| line.starts_with("umask(")).collect();
    let mask = masks.last().map_or("0", |line| line[6..].split(')').next().unwrap());
    let mask = u32::from_str_radix(mask.trim_start_matches("0o"), 8).unwrap();
    assert_eq!(mask & 0o177, 0o177, "at bind the mask is {mask:o}:\n{}", trace.join("\n"));
    assert_eq!(crate::unix::mode(&path), 0o600);
}

fn trap_43_default_mode_of_a_unix_socket(ctx: &mut Ctx) {
    let path = ctx.path("x.sock");
    let launch = ctx.launch(&format!("[x]\nListenStream={path}\nExecStart=/bin/true\n"));
    let _daemon = launch.in_shell("umask 077; exec \"$@\"").start();
    assert_eq!(crate::unix::mode(&path), 0o666, "0666 as in systemd, whatever the umask");
}

fn trap_44_datagram_answer_comes_from_the_address_asked(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!(
        "[x]\nListenDatagram=127.0.0.2:{port}\nListenDatagram=127.0.0.3:{port}\nPassPacketInfo=yes\nExecStart={}\n",
        stand_in("udp heard 1")
    );
    let _daemon = ctx.start(&config);
    let client = udp();
    client.send_to(b"x", ("127.0.0.2", port)).unwrap();
    let (_, from) = client.recv_from(&mut [0; 100]).unwrap();
    assert_eq!(from.ip(), "127.0.0.2".parse::<IpAddr>().unwrap());
}

fn trap_46_reuse_flags(ctx: &mut Ctx) {
    let (tcp, udp) = (ctx.port(), ctx.port());
    let exec = stand_in(&format!("sockopts {}", ctx.path("options")));
    let config = format!("[x]\nListenStream=127.0.0.1:{tcp}\nListenDatagram=127.0.0.1:{udp}\nExecStart={exec}\n");
    let _daemon = ctx.start(&config);
    talk(tcp);
    let options = ctx.lines("options");
    for line in ["3.REUSEADDR=1", "3.REUSEPORT=0", "4.REUSEADDR=0", "4.REUSEPORT=0"] {
        assert!(options.contains(&line.to_string()), "{line} is not in {options:?}");
    }
}

fn trap_46_second_daemon_cannot_take_a_udp_port(ctx: &mut Ctx) {
    let port = ctx.port();
    let _daemon = ctx.start(&format!("[x]\nListenDatagram=127.0.0.1:{port}\nExecStart={}\n", stand_in("udp first 1")));
    let second = std::net::UdpSocket::bind(local(port));
    assert!(second.is_err());
    assert!(udp_ask(port, "x").starts_with("first"));
}

fn trap_47_peer_already_gone(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nMaxConnectionsPerSource=50\nExecStart=/bin/echo here\n"
    );
    let mut daemon = ctx.start(&config);
    for _ in 0..50 {
        reset(connect(port));
    }
    assert_eq!(talk(port), "here\n");
    assert!(daemon.alive());
    daemon.cost(|| crate::harness::sleep_ms(2000)).assert_small();
}

fn killed_and_started_again_with_clients_connected(ctx: &mut Ctx) {
    let (port, path) = (ctx.port(), ctx.path("x.sock"));
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart=/bin/cat\n\
         [y]\nListenStream={path}\nAccept=yes\nExecStart=/bin/echo here\n"
    );
    let mut daemon = ctx.start(&config);
    let mut clients: Vec<_> = (0..5).map(|_| connect(port)).collect();
    // before it executes its program a child has all that the daemon has
    clients.iter_mut().for_each(|client| exchange(client, "before"));
    let services = daemon.descendants();
    daemon.kill();
    let again = ctx.start(&config);
    assert_eq!(ask(port, "again\n"), "again\n", "{}", again.log());
    assert_eq!(unix_talk(&path).unwrap(), "here\n", "a stale path is taken over");
    for pid in services {
        crate::daemon::kill(pid, libc::SIGKILL);
    }
    drop(clients);
}

fn killed_and_started_again_with_time_wait(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart=/bin/echo here\n");
    for _ in 0..3 {
        let mut daemon = ctx.start(&config);
        // The service closes first: the connection lingers in TIME_WAIT on this port.
        assert_eq!(talk(port), "here\n");
        daemon.kill();
    }
}

//! What a service gets: the LISTEN protocol as independent readers see it, and the state of the new process.

use crate::client::*;
use crate::harness::{Ctx, Need::*, Test, service_file, stand_in, wait_until};
use crate::test;
use std::net::{IpAddr, SocketAddr};

pub const TESTS: &[Test] = &[
    test!(s1_order_and_count_as_listenfd_reads_them),
    test!(s1_s3_s7_descriptors_and_pid),
    test!(s4_trap_20_names_as_libsystemd_reads_them, Python("systemd")),
    test!(s5_default_name_is_the_units_name, Python("systemd"), Part("units")),
    test!(s7_nonblocking_on_request),
    test!(s8_socket_on_descriptor_0),
    test!(s8_unit_output_follows_input, Part("units")),
    test!(s8_both_ways),
    test!(s9_accepted_connection_on_0_and_1),
    test!(s9_accepted_connection_on_3),
    test!(s9_unit_template, Part("units")),
    test!(s10_remote_address_v4_and_v6),
    test!(s10_remote_address_of_a_unix_peer),
    test!(trap_37_ucspi_variables),
    test!(ucspi_variables_of_a_unix_peer),
    test!(trap_26_27_signals_mask_and_session),
    test!(descriptors_that_the_daemon_inherited_stay_behind),
    test!(datagram_service_answers_from_its_socket),
];

/// The output of the stand-in's `report`.
pub struct Report(pub Vec<String>);

impl Report {
    /// Waits for the file that a service writes.
    pub fn wait(ctx: &Ctx, name: &str) -> Report {
        wait_until("the report of the service", || ctx.lines(name).len() > 2);
        Report(ctx.lines(name))
    }

    pub fn of(text: &str) -> Report {
        Report(text.lines().map(String::from).collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }

    /// A variable of the environment.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.get(&format!("env.{name}"))
    }

    /// The numbers of the open descriptors.
    pub fn fds(&self) -> Vec<i32> {
        let numbers = self.0.iter().filter_map(|line| line.strip_prefix("fd.")?.split('=').next()?.parse().ok());
        numbers.collect()
    }

    pub fn assert_no_listen_variables(&self) {
        let found: Vec<_> = self.0.iter().filter(|line| line.starts_with("env.LISTEN_")).collect();
        assert!(found.is_empty(), "{found:?}");
    }
}

fn s1_order_and_count_as_listenfd_reads_them(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = stand_in("listenfd");
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nListenDatagram=127.0.0.1:{port}\nExecStart={exec}\n");
    let _daemon = ctx.start(&config);
    assert_eq!(talk(port).trim(), "count=2 udp=true left=false");
}

fn s1_s3_s7_descriptors_and_pid(ctx: &mut Ctx) {
    let (first, third, path) = (ctx.port(), ctx.port(), ctx.path("second.sock"));
    let exec = stand_in(&format!("report-and-answer {}", ctx.path("report")));
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{first}\nListenStream={path}\nListenDatagram=127.0.0.1:{third}\nExecStart={exec}\n"
    );
    let _daemon = ctx.start(&config);
    talk(first);
    let report = Report::wait(ctx, "report");
    assert_eq!(report.var("LISTEN_FDS"), Some("3"));
    assert_eq!(report.var("LISTEN_PID"), report.get("pid"));
    assert_eq!(report.var("LISTEN_FDNAMES").unwrap().split(':').count(), 3);
    assert_eq!(report.fds(), [0, 1, 2, 3, 4, 5], "no gap, and nothing of the daemon's own:\n{}", report.0.join("\n"));
    let ends = [format!("127.0.0.1:{first}"), path, format!("127.0.0.1:{third}")];
    for (fd, end) in (3..).zip(ends) {
        let line = report.get(&format!("fd.{fd}")).unwrap();
        assert!(line.contains("cloexec=false nonblock=false") && line.ends_with(&end), "fd {fd} is {line}, not {end}");
    }
}

fn s4_trap_20_names_as_libsystemd_reads_them(ctx: &mut Ctx) {
    let (a, b) = (ctx.port(), ctx.port());
    let exec = format!("/usr/bin/python3 {}", service_file("systemd_names.py"));
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{a}\nListenStream=127.0.0.1:{b}\nFileDescriptorName=den\nExecStart={exec}\n"
    );
    let daemon = ctx.start(&config);
    let answer = talk(a);
    assert!(answer.ends_with("3=den,4=den\n"), "{answer:?}\n{}", daemon.log());
}

fn s5_default_name_is_the_units_name(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = format!("/usr/bin/python3 {}", service_file("systemd_names.py"));
    ctx.file("units/foo.socket", &format!("[Unit]\nDescription=x\n[Socket]\nListenStream=127.0.0.1:{port}\n"));
    ctx.file("units/foo.service", &format!("[Service]\nExecStart={exec}\n"));
    let units = ctx.path("units");
    let _daemon = crate::daemon::Launch::new(&ctx.dir, 1, Some(units)).start();
    let answer = talk(port);
    assert!(answer.ends_with(" 3=foo.socket\n"), "{answer:?}");
}

fn s7_nonblocking_on_request(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = stand_in(&format!("report {}", ctx.path("report")));
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nNonBlocking=yes\nExecStart={exec}\n");
    let _daemon = ctx.start(&config);
    let _client = connect(port);
    let report = Report::wait(ctx, "report");
    assert!(report.get("fd.3").unwrap().contains("nonblock=true"));
}

fn s8_socket_on_descriptor_0(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = stand_in(&format!("report-and-answer {}", ctx.path("report")));
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nStandardInput=socket\nExecStart={exec}\n");
    let _daemon = ctx.start(&config);
    assert!(talk(port).starts_with("reported"));
    let report = Report::wait(ctx, "report");
    report.assert_no_listen_variables();
    assert!(report.get("fd.0").unwrap().ends_with(&format!("127.0.0.1:{port}")));
    assert_eq!(report.fds(), [0, 1, 2]);
    for fd in ["fd.1", "fd.2"] {
        assert!(!report.get(fd).unwrap().contains("socket:"), "a listening socket is not copied to {fd}");
    }
}

fn s8_unit_output_follows_input(ctx: &mut Ctx) {
    let port = ctx.port();
    let script = ctx.script("service", "echo to-output; echo to-error >&2\n");
    ctx.file("units/foo.socket", &format!("[Socket]\nListenStream=127.0.0.1:{port}\nAccept=yes\n"));
    ctx.file("units/foo@.service", &format!("[Service]\nExecStart=-{script}\nStandardInput=socket\n"));
    let units = ctx.path("units");
    let _daemon = crate::daemon::Launch::new(&ctx.dir, 1, Some(units)).start();
    assert_eq!(talk(port), "to-output\nto-error\n", "a unit keeps systemd's default: 1 and 2 inherit the socket");
}

fn s8_both_ways(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = stand_in(&format!("report-and-answer {}", ctx.path("report")));
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nBothWays=yes\nExecStart={exec}\n");
    let _daemon = ctx.start(&config);
    assert!(talk(port).starts_with("reported"));
    let report = Report::wait(ctx, "report");
    assert_eq!(report.var("LISTEN_FDS"), Some("1"));
    assert_eq!(report.var("LISTEN_PID"), report.get("pid"));
    for fd in ["fd.0", "fd.3"] {
        assert!(report.get(fd).unwrap().ends_with(&format!("127.0.0.1:{port}")), "{fd}");
    }
}

fn s9_accepted_connection_on_0_and_1(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon =
        ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart={}\n", stand_in("report")));
    let report = Report::of(&talk(port));
    report.assert_no_listen_variables();
    assert_eq!(report.fds(), [0, 1, 2], "the listener is not leaked:\n{}", report.0.join("\n"));
    let (input, output) = (report.get("fd.0").unwrap(), report.get("fd.1").unwrap());
    assert!(input.starts_with("socket:") && input == output, "{input} and {output}");
    assert!(input.contains("nonblock=false"));
    assert!(!report.get("fd.2").unwrap().starts_with("socket:"), "standard error is the log: {}", daemon.log());
}

fn s9_accepted_connection_on_3(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = stand_in(&format!("report {}", ctx.path("report")));
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nStandardInput=null\nExecStart={exec}\n");
    let _daemon = ctx.start(&config);
    assert_eq!(talk(port), "");
    let report = Report::wait(ctx, "report");
    assert_eq!(report.var("LISTEN_FDS"), Some("1"));
    assert_eq!(report.var("LISTEN_PID"), report.get("pid"));
    assert_eq!(report.var("LISTEN_FDNAMES"), Some("connection"));
    assert_eq!(report.fds(), [0, 1, 2, 3]);
    assert!(report.get("fd.0").unwrap().starts_with("/dev/null"));
    assert!(report.get("fd.3").unwrap().starts_with("socket:"));
}

fn s9_unit_template(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = stand_in(&format!("report {}", ctx.path("report")));
    ctx.file("units/foo.socket", &format!("[Socket]\nListenStream=127.0.0.1:{port}\nAccept=yes\n"));
    ctx.file("units/foo@.service", &format!("[Service]\nExecStart={exec}\n"));
    let units = ctx.path("units");
    let _daemon = crate::daemon::Launch::new(&ctx.dir, 1, Some(units)).start();
    assert_eq!(talk(port), "", "without StandardInput=socket a unit's connection is on 3 only");
    let report = Report::wait(ctx, "report");
    assert_eq!(report.var("LISTEN_FDNAMES"), Some("connection"));
    assert!(report.get("fd.3").unwrap().starts_with("socket:"));
}

fn s10_remote_address_v4_and_v6(ctx: &mut Ctx) {
    let port = ctx.port();
    let _daemon = ctx.start(&format!("[x]\nListenStream={port}\nAccept=yes\nExecStart={}\n", stand_in("report")));
    for source in ["127.0.0.1", "::1"] {
        let source: IpAddr = source.parse().unwrap();
        if source.is_ipv6() && !ctx.own_net && std::net::TcpListener::bind("[::1]:0").is_err() {
            continue;
        }
        let to = SocketAddr::new(source, port);
        let client = connect_from(source, to, crate::harness::PATIENCE).unwrap();
        let own = client.local_addr().unwrap();
        let report = Report::of(&read_all(client));
        assert_eq!(report.var("REMOTE_ADDR"), Some(source.to_string().as_str()), "dotted, also on a dual-stack socket");
        assert_eq!(report.var("REMOTE_PORT"), Some(own.port().to_string().as_str()));
    }
}

fn s10_remote_address_of_a_unix_peer(ctx: &mut Ctx) {
    let (path, peer) = (ctx.path("x.sock"), ctx.path("peer.sock"));
    let _daemon = ctx.start(&format!("[x]\nListenStream={path}\nAccept=yes\nExecStart={}\n", stand_in("report")));
    let report = Report::of(&unix_talk(&path).unwrap());
    assert_eq!(report.var("REMOTE_ADDR"), None, "the peer has no name");
    let socket = crate::unix::bound_client(&peer, &path);
    let report = Report::of(&read_all(socket));
    assert_eq!(report.var("REMOTE_ADDR"), Some(peer.as_str()));
}

fn trap_37_ucspi_variables(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart={}\n", stand_in("report"));
    let _daemon = ctx.start(&config);
    let client = connect(port);
    let own = client.local_addr().unwrap().port().to_string();
    let report = Report::of(&read_all(client));
    let port = port.to_string();
    for (name, value) in [
        ("REMOTE_HOST", "127.0.0.1"),
        ("PROTO", "TCP"),
        ("TCPLOCALIP", "127.0.0.1"),
        ("TCPLOCALPORT", &port),
        ("TCPREMOTEIP", "127.0.0.1"),
        ("TCPREMOTEPORT", &own),
        ("TCPCONNNUM", "1"),
    ] {
        assert_eq!(report.var(name), Some(value), "{name}");
    }
}

fn ucspi_variables_of_a_unix_peer(ctx: &mut Ctx) {
    let path = ctx.path("x.sock");
    let _daemon = ctx.start(&format!("[x]\nListenStream={path}\nAccept=yes\nExecStart={}\n", stand_in("report")));
    let report = Report::of(&unix_talk(&path).unwrap());
    assert_eq!(report.var("PROTO"), Some("IPC"));
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    assert_eq!(report.var("IPCREMOTEEUID"), Some(uid.to_string().as_str()));
    assert_eq!(report.var("IPCREMOTEEGID"), Some(gid.to_string().as_str()));
    assert_eq!(report.var("IPCCONNNUM"), Some("1"));
}

/// Also from a daemon that was itself started with signals ignored and blocked.
fn trap_26_27_signals_mask_and_session(ctx: &mut Ctx) {
    let (a, b) = (ctx.port(), ctx.port());
    let config = format!(
        "[status]\nListenStream=127.0.0.1:{a}\nAccept=yes\nExecStart=/bin/cat /proc/self/status\n\
         [report]\nListenStream=127.0.0.1:{b}\nAccept=yes\nExecStart={}\n",
        stand_in("report")
    );
    let launch = ctx.launch(&config);
    let wrapper = ["env", "--ignore-signal=PIPE,HUP,USR2", "--block-signal=USR1,TERM,CHLD"];
    let _daemon = launch.wrapped(&wrapper).start();
    let status = talk(a);
    for set in ["SigBlk:", "SigIgn:", "SigCgt:"] {
        let value = status.lines().find_map(|line| line.strip_prefix(set)).unwrap().trim();
        // 32 and 33 belong to the C library, which lets nobody touch them.
        let signals = u64::from_str_radix(value, 16).unwrap() & !0x1_8000_0000;
        assert_eq!(signals, 0, "{set} {value}");
    }
    let report = Report::of(&talk(b));
    assert_eq!(report.get("sid"), report.get("pid"), "a session of its own");
}

/// Whoever starts the daemon may leave descriptors open: no service shall find them.
fn descriptors_that_the_daemon_inherited_stay_behind(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart={}\n", stand_in("report"));
    let _daemon = ctx.launch(&config).in_shell("exec \"$@\" 3</dev/null 7</dev/zero 9</").start();
    let report = Report::of(&talk(port));
    assert_eq!(report.fds(), [0, 1, 2], "{}", report.0.join("\n"));
}

fn datagram_service_answers_from_its_socket(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = stand_in("udp heard 2");
    let daemon = ctx.start(&format!("[x]\nListenDatagram=127.0.0.1:{port}\nExecStart={exec}\n"));
    let pid_in = |answer: &str| answer.split(' ').nth(1).unwrap().to_string();
    let (first, second, third) = (udp_ask(port, "one"), udp_ask(port, "two"), udp_ask(port, "three"));
    assert!(first.ends_with(" one") && second.ends_with(" two") && third.ends_with(" three"));
    assert_eq!(pid_in(&first), pid_in(&second), "one instance serves until it ends");
    assert_ne!(pid_in(&second), pid_in(&third), "then the next one is started");
    assert_eq!(daemon.descendants().len(), 1);
}

//! The log never blocks the daemon, never ends it, and never grows without bound.

use crate::client::*;
use crate::daemon::Launch;
use crate::harness::{Ctx, Need::*, Test, sleep_ms, wait_until, within};
use crate::test;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

pub const TESTS: &[Test] = &[
    test!(standard_error_closed, Part("notify")),
    test!(standard_error_is_a_full_pipe, Part("notify")),
    test!(standard_error_is_a_full_pipe_from_the_start, Part("notify")),
    test!(standard_error_is_a_broken_pipe, Part("notify")),
    test!(standard_error_on_a_full_disk, File("/dev/full"), Part("notify")),
    test!(standard_error_that_may_not_grow, Part("notify")),
    test!(one_kind_of_line_is_rate_limited),
    test!(a_limit_is_told_where_there_is_one),
    test!(service_output_goes_to_syslog, Root, Prog("unshare")),
    test!(own_lines_go_to_syslog, Root, Prog("unshare"), Part("notify")),
];

fn config(port: u16) -> String {
    // Every connection ends with a failure: one line each, if nothing limits them.
    format!(
        "[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nTriggerLimitBurst=100000\nPollLimitBurst=100000\nExecStart=/bin/false\n\
         [y]\nListenStream=127.0.0.1:{}\nAccept=yes\nTriggerLimitBurst=100000\nExecStart=/bin/echo here\n",
        port + 1
    )
}

fn two_ports(ctx: &mut Ctx) -> u16 {
    let port = ctx.port();
    if ctx.own_net {
        ctx.port();
    }
    port
}

/// Makes the daemon want to say a lot; then it must serve.
fn provoke(port: u16) {
    for _ in 0..200 {
        drop(try_connect(local(port), Duration::from_secs(5)));
    }
    for _ in 0..5 {
        assert_eq!(talk(port + 1), "here\n");
    }
}

fn standard_error_closed(ctx: &mut Ctx) {
    let port = two_ports(ctx);
    let mut daemon = ctx.launch(&config(port)).in_shell("exec \"$@\" 2>&-").start();
    provoke(port);
    assert!(daemon.alive());
}

/// Writes into a pipe until it takes no more.
fn fill(writer: &std::fs::File) {
    rustix::io::ioctl_fionbio(borrowed(writer), true).unwrap();
    while rustix::io::write(borrowed(writer), &[b'x'; 4096]).is_ok() {}
    while rustix::io::write(borrowed(writer), b"x").is_ok() {}
    rustix::io::ioctl_fionbio(borrowed(writer), false).unwrap();
}

fn standard_error_is_a_full_pipe(ctx: &mut Ctx) {
    let port = two_ports(ctx);
    let (reader, writer) = pipe();
    let copy = writer.try_clone().unwrap();
    let mut daemon = ctx.launch(&config(port)).stderr(Stdio::from(writer)).start();
    fill(&copy);
    drop(copy);
    provoke(port);
    assert!(daemon.alive());
    let cost = daemon.cost(|| sleep_ms(2000));
    assert!(cost.cpu_ms < 100, "{} ms CPU", cost.cpu_ms);
    drop(reader);
    provoke(port);
    assert!(daemon.alive(), "nor does it die when the reader goes");
}

/// Also what the daemon says about its configuration must not keep it from starting.
fn standard_error_is_a_full_pipe_from_the_start(ctx: &mut Ctx) {
    let port = two_ports(ctx);
    let (_reader, writer) = pipe();
    fill(&writer);
    let warned_about = config(port).replace("/bin/false", "/nowhere");
    let mut daemon = ctx.launch(&warned_about).stderr(Stdio::from(writer)).start();
    assert_eq!(talk(port + 1), "here\n");
    assert!(daemon.alive());
}

fn standard_error_is_a_broken_pipe(ctx: &mut Ctx) {
    let port = two_ports(ctx);
    let (reader, writer) = pipe();
    drop(reader);
    let mut daemon = ctx.launch(&config(port)).stderr(Stdio::from(writer)).start();
    provoke(port);
    assert!(daemon.alive());
}

fn standard_error_on_a_full_disk(ctx: &mut Ctx) {
    let port = two_ports(ctx);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut daemon = ctx.launch(&config(port)).stderr(Stdio::from(full)).start();
    provoke(port);
    assert!(daemon.alive());
}

/// RLIMIT_FSIZE: without more the kernel ends who writes beyond it.
fn standard_error_that_may_not_grow(ctx: &mut Ctx) {
    let port = two_ports(ctx);
    let mut daemon = ctx.launch(&config(port)).in_shell("ulimit -f 0; exec \"$@\"").start();
    provoke(port);
    assert!(daemon.alive());
    assert_eq!(daemon.log_bytes(), 0);
}

fn one_kind_of_line_is_rate_limited(ctx: &mut Ctx) {
    let port = two_ports(ctx);
    let daemon = ctx.start(&config(port));
    provoke(port);
    let lines = daemon.log().lines().count();
    assert!(lines < 60, "{lines} lines for 200 failures of one kind");
    drop(try_connect(local(port), Duration::from_secs(5)));
    let counted = within(Duration::from_secs(12), || {
        drop(try_connect(local(port), Duration::from_secs(5)));
        sleep_ms(300);
        let log = daemon.log().to_lowercase();
        ["more", "left out", "suppressed", "dropped", "repeated", "not shown"].iter().any(|word| log.contains(word))
    });
    assert!(counted, "a line says how many were left out:\n{}", daemon.log());
}

/// A /dev of the daemon's own, in which the log socket is ours.
fn with_own_dev(ctx: &Ctx, launch: Launch) -> (UnixDatagram, Launch) {
    let socket = ctx.path("devlog");
    let log = UnixDatagram::bind(&socket).unwrap();
    log.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let script = format!(
        "mount -t tmpfs tmpfs /mnt && cp -a /dev/null /dev/full /mnt/ && ln -s {socket} /mnt/log && \
         mount --bind /mnt /dev && exec \"$@\""
    );
    (log, launch.wrapped(&["unshare", "-m"]).in_shell(&script))
}

/// Reads the log socket until `word` has come; returns all that was read.
fn wait_syslog(log: &UnixDatagram, word: &str) -> String {
    let mut seen = String::new();
    let mut buffer = [0; 2048];
    wait_until(&format!("{word} in syslog"), || {
        if let Ok(length) = log.recv(&mut buffer) {
            seen += &String::from_utf8_lossy(&buffer[..length]);
            seen.push('\n');
        }
        seen.contains(word)
    });
    seen
}

fn service_output_goes_to_syslog(ctx: &mut Ctx) {
    let port = ctx.port();
    let service = ctx.script("service", "echo for-the-client; echo for-syslog >&2\n");
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nStandardError=syslog\nSyslogIdentifier=nest\n\
         ExecStart={service}\n"
    );
    let launch = ctx.launch(&config);
    let (log, launch) = with_own_dev(ctx, launch);
    let _daemon = launch.start();
    assert_eq!(talk(port), "for-the-client\n");
    let seen = wait_syslog(&log, "for-syslog");
    assert!(
        seen.lines().any(|line| line.starts_with('<') && line.contains("nest") && line.contains("for-syslog")),
        "{seen}"
    );
}

fn own_lines_go_to_syslog(ctx: &mut Ctx) {
    let port = two_ports(ctx);
    let launch = ctx.launch(&config(port)).arg("--log").arg("syslog");
    let (log, launch) = with_own_dev(ctx, launch);
    let mut daemon = launch.start();
    drop(try_connect(local(port), Duration::from_secs(5)));
    let seen = wait_syslog(&log, "status=1");
    assert!(seen.lines().any(|line| line.starts_with('<') && line.contains("dormouse")), "{seen}");
    // A log daemon that hangs, and one that is gone, are no reason to wait or to end.
    provoke(port);
    drop(log);
    provoke(port);
    assert!(daemon.alive());
}

fn a_limit_is_told_where_there_is_one(ctx: &mut Ctx) {
    let ports = [ctx.port(), ctx.port()];
    let [bound, free] =
        ports.map(|port| format!("ListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart=/bin/echo here\n"));
    let daemon = ctx.launch(&format!("[bound]\nMaxConnections=8\n{bound}[free]\n{free}")).arg("-v").start();
    ports.iter().for_each(|port| assert_eq!(talk(*port), "here\n"));
    wait_until("both lines", || daemon.log().matches(" count=").count() == 2);
    assert!(daemon.log().contains(" count=1/8\n") && daemon.log().contains(" count=1\n"), "{}", daemon.log());
}

//! Surroundings that lack something.

use crate::client::*;
use crate::harness::{Ctx, Need::*, Test, sleep_ms, stand_in, wait_until};
use crate::test;
use std::process::{Command, Stdio};

pub const TESTS: &[Test] = &[
    test!(services_are_stopped_without_proc, Root, Prog("unshare")),
    test!(nobody_sleeps_without_proc, Root, Prog("unshare"), Directive("StopWhenIdleSec")),
    test!(oom_score_without_proc, Root, Prog("unshare")),
    test!(all_of_it_with_few_descriptors, Command("status"), Part("reload")),
    test!(who_is_turned_away_is_told, Command("status"), Prog("strace")),
];

/// A shell line that leaves an empty folder in the place of /proc, as where nobody has mounted it.
const WITHOUT_PROC: &[&str] = &["unshare", "-m", "/bin/sh", "-c", "mount -t tmpfs none /proc && exec \"$@\"", "sh"];

fn services_are_stopped_without_proc(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nRuntimeMaxSec=1\nTimeoutStopSec=1\nExecStart={}\n",
        stand_in("answer here")
    );
    let mut daemon = ctx.launch(&config).wrapped(WITHOUT_PROC).start();
    let first = talk(port);
    wait_until("an end of the service, and the next one", || talk(port) != first);
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(daemon.log().contains("/proc cannot be read"), "{}", daemon.log());
}

/// Nobody can see whether all of it stands still, so a client could be lost.
fn nobody_sleeps_without_proc(ctx: &mut Ctx) {
    let port = ctx.port();
    let config =
        format!("[x]\nListenStream=127.0.0.1:{port}\nStopWhenIdleSec=500ms\nExecStart={}\n", stand_in("answer here"));
    let daemon = ctx.launch(&config).wrapped(WITHOUT_PROC).start();
    let first = talk(port);
    daemon.wait_log("not now: it does not stand still");
    sleep_ms(500);
    assert_eq!(talk(port), first, "it still runs");
}

fn oom_score_without_proc(ctx: &mut Ctx) {
    let port = ctx.port();
    let config =
        format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nOOMScoreAdjust=100\nExecStart=/bin/echo here\n");
    let _daemon = ctx.launch(&config).wrapped(WITHOUT_PROC).start();
    assert_eq!(talk(port), "here\n");
}

/// Fewer than the number above which descriptors are kept where there is room.
fn all_of_it_with_few_descriptors(ctx: &mut Ctx) {
    let (nowait, wait) = (ctx.port(), ctx.port());
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{nowait}\nAccept=yes\nExecStart=/bin/echo here\n\
         [y]\nListenStream=127.0.0.1:{wait}\nExecStart={}\n",
        stand_in("answer there")
    );
    let mut daemon = ctx.launch(&config).in_shell("ulimit -n 24; exec \"$@\"").start();
    for command in ["list", "reload", "upgrade", "list"] {
        daemon.tell(&[command]);
        assert_eq!(talk(nowait), "here\n");
        assert!(talk(wait).starts_with("there"));
    }
    assert_eq!(daemon.stop().code(), Some(0));
}

/// The daemon closes the connection before the question is asked: it is said, and no signal ends the one who asks.
fn who_is_turned_away_is_told(ctx: &mut Ctx) {
    let path = ctx.path("closed.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let late = ["-qq", "-o", "/dev/null", "-e", "trace=write,sendto", "-e", "inject=write,sendto:delay_enter=500000"];
    let mut command = Command::new("strace");
    command.args(late).args([&crate::harness::dormouse(), "list", "--control", &path]);
    let asks = command.stderr(Stdio::piped()).spawn().unwrap();
    drop(listener.accept().unwrap());
    let out = asks.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{} {text}", out.status);
    assert!(text.contains("has ended the connection"), "{text}");
}

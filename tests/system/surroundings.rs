//! Surroundings that lack something.

use crate::client::*;
use crate::harness::{Ctx, Need::*, Test, sleep_ms, stand_in, wait_until};
use crate::test;

pub const TESTS: &[Test] = &[
    test!(services_are_stopped_without_proc, Root, Prog("unshare")),
    test!(nobody_sleeps_without_proc, Root, Prog("unshare"), Directive("StopWhenIdleSec")),
    test!(oom_score_without_proc, Root, Prog("unshare")),
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

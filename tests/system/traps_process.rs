//! Known traps around descriptors and the state of processes.

use crate::client::*;
use crate::daemon::{descendants, is_live, kill, proc_status};
use crate::harness::{Ctx, Need::*, Test, sleep_ms, stand_in, wait_until};
use crate::listen_protocol::Report;
use crate::test;
use std::process::Command;

pub const TESTS: &[Test] = &[
    test!(trap_17_pid_is_right_behind_a_shell),
    test!(trap_21_each_run_gets_a_blocking_listener),
    test!(trap_22_accepted_connections_block),
    test!(trap_23_started_with_0_1_2_closed, Part("notify")),
    test!(trap_24_many_sockets_from_low_descriptors),
    test!(trap_26_27_status_of_a_waiting_service),
    test!(trap_30_supplementary_groups_are_dropped, Root, Prog("setpriv")),
    test!(trap_31_reaps_orphans_as_pid_1, Root, Prog("unshare")),
    test!(trap_31_an_orphan_that_nobody_told_of),
    test!(trap_34_helpers_end_with_the_service),
    test!(trap_35_standard_error_is_not_the_clients),
    test!(trap_36_clean_environment),
    test!(trap_48_five_hundred_instances),
    test!(trap_49_wall_clock_that_jumps, Prog("cc"), Directive("StopWhenIdleSec"), Directive("Internal")),
    test!(trap_50_no_alarm_and_no_wall_clock_timer, Prog("strace")),
];

fn trap_17_pid_is_right_behind_a_shell(ctx: &mut Ctx) {
    let port = ctx.port();
    let report = ctx.path("report");
    let script =
        ctx.script("wrapper", &format!("umask 022\nexec {}\n", stand_in(&format!("report-and-answer {report}"))));
    let _daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nExecStart={script}\n"));
    talk(port);
    let report = Report::wait(ctx, "report");
    assert_eq!(report.var("LISTEN_PID"), report.get("pid"));
}

fn trap_21_each_run_gets_a_blocking_listener(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = stand_in("nonblocking run");
    let _daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nExecStart={exec}\n"));
    for _ in 0..3 {
        assert!(talk(port).starts_with("run nonblocking=false"), "the run before left it non-blocking");
    }
}

/// Linux gives an accepted connection none of the listener's flags; a system that does must not matter.
fn trap_22_accepted_connections_block(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = stand_in("report");
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nNonBlocking=no\nExecStart={exec}\n");
    let _daemon = ctx.start(&config);
    let report = Report::of(&talk(port));
    assert!(report.get("fd.0").unwrap().contains("cloexec=false nonblock=false"));
}

fn trap_23_started_with_0_1_2_closed(ctx: &mut Ctx) {
    let (a, b) = (ctx.port(), ctx.port());
    let config = format!(
        "[a]\nListenStream=127.0.0.1:{a}\nAccept=yes\nExecStart={}\n\
         [b]\nListenStream=127.0.0.1:{b}\nExecStart={}\n",
        stand_in("report"),
        stand_in(&format!("report-and-answer {}", ctx.path("report")))
    );
    let launch = ctx.launch(&config);
    let mut daemon = launch.in_shell("exec \"$@\" <&- >&- 2>&-").start();
    let accepted = Report::of(&talk(a));
    assert_eq!(accepted.fds(), [0, 1, 2]);
    assert!(accepted.get("fd.0").unwrap().starts_with("socket:"));
    assert!(!accepted.get("fd.2").unwrap().starts_with("socket:"));
    assert!(talk(b).starts_with("reported"));
    let waiting = Report::wait(ctx, "report");
    assert_eq!(waiting.fds(), [0, 1, 2, 3]);
    assert!(waiting.get("fd.0").unwrap().starts_with("/dev/null"));
    assert!(daemon.alive());
}

fn trap_24_many_sockets_from_low_descriptors(ctx: &mut Ctx) {
    let ports: Vec<u16> = (0..12).map(|_| ctx.port()).collect();
    let lines: String = ports.iter().map(|port| format!("ListenStream=127.0.0.1:{port}\n")).collect();
    let other = ctx.port();
    let exec = stand_in(&format!("report-and-answer {}", ctx.path("report")));
    let config = format!(
        "[a]\nListenStream=127.0.0.1:{other}\nAccept=yes\nExecStart=/bin/echo a\n[x]\n{lines}ExecStart={exec}\n"
    );
    let launch = ctx.launch(&config);
    let _daemon = launch.in_shell("exec \"$@\" <&- >&-").start();
    for _ in 0..2 {
        let _ = std::fs::remove_file(ctx.path("report"));
        assert!(talk(ports[0]).starts_with("reported"));
        let report = Report::wait(ctx, "report");
        assert_eq!(report.fds(), (0..15).collect::<Vec<_>>());
        for (fd, port) in (3..).zip(&ports) {
            let line = report.get(&format!("fd.{fd}")).unwrap();
            assert!(line.contains("cloexec=false") && line.ends_with(&format!(":{port}")), "fd {fd} is {line}");
        }
    }
}

fn trap_26_27_status_of_a_waiting_service(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nExecStart=/bin/sleep 30\n"));
    let _client = connect(port);
    wait_until("the service runs", || daemon.descendants().iter().any(|pid| proc_status(*pid, "Name") == "sleep"));
    let pid = daemon.descendants()[0];
    for name in ["SigBlk", "SigIgn"] {
        // 32 and 33 belong to the C library, which lets nobody touch them.
        let signals = u64::from_str_radix(&proc_status(pid, name), 16).unwrap() & !0x1_8000_0000;
        assert_eq!(signals, 0, "{name}");
    }
}

fn trap_30_supplementary_groups_are_dropped(ctx: &mut Ctx) {
    let (a, b) = (ctx.port(), ctx.port());
    let exec = "ExecStart=/bin/cat /proc/self/status";
    let config = format!(
        "[user]\nListenStream=127.0.0.1:{a}\nAccept=yes\nUser=nobody\n{exec}\n\
         [both]\nListenStream=127.0.0.1:{b}\nAccept=yes\nUser=nobody\nGroup=daemon\n{exec}\n"
    );
    let _daemon = ctx.launch(&config).wrapped(&["setpriv", "--groups=4,5,20"]).start();
    for port in [a, b] {
        let status = talk(port);
        let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
        for group in groups.split_whitespace() {
            assert!(!["4", "5", "20", "0"].contains(&group), "the daemon's groups stay: {groups}");
        }
        assert!(status.contains("Uid:\t65534\t65534\t65534\t65534"), "{status}");
    }
    assert!(talk(b).contains("Gid:\t1\t1\t1\t1"));
}

fn trap_31_reaps_orphans_as_pid_1(ctx: &mut Ctx) {
    let port = ctx.port();
    // Each connection leaves an orphan that ends a little later.
    let script = ctx.script("service", "( sleep 0.2 & ) ; echo done\n");
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart={script}\n");
    let wrapper = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let mut unshare = ctx.launch(&config).wrapped(&wrapper).start();
    for _ in 0..20 {
        assert!(talk(port).starts_with("done"));
    }
    let daemon = unshare.descendants()[0];
    wait_until("every orphan is reaped", || descendants(daemon).is_empty());
    assert_eq!(talk(port).trim(), "done");
    kill(daemon, libc::SIGTERM);
    assert!(unshare.wait().success(), "TERM ends also a daemon that is PID 1");
}

/// One SIGCHLD tells of a connection's program and of an orphan of it that ended right behind it.
fn trap_31_an_orphan_that_nobody_told_of(ctx: &mut Ctx) {
    let port = ctx.port();
    let script = ctx.script("service", "echo done\nsleep 60 & sleep 60\n");
    let daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart={script}\n"));
    for _ in 0..3 {
        let mut client = connect(port);
        assert_eq!(read_line(&mut client), "done");
        wait_until("the program and both of its children", || daemon.descendants().len() == 3);
        daemon.signal(libc::SIGSTOP);
        for pid in daemon.descendants() {
            kill(pid, libc::SIGKILL);
        }
        wait_until("all three have ended", || daemon.descendants().into_iter().all(|pid| !is_live(pid)));
        daemon.signal(libc::SIGCONT);
        wait_until("all three are reaped", || daemon.descendants().is_empty());
    }
}

fn trap_34_helpers_end_with_the_service(ctx: &mut Ctx) {
    let port = ctx.port();
    let pids = ctx.path("pids");
    // The helper ignores TERM; the main process ends at once.
    let script = ctx.script(
        "service",
        &format!(
            "( trap '' TERM; echo helper; while :; do sleep 1; done ) & echo $! >{pids}; echo $$ >>{pids}; sleep 1000\n"
        ),
    );
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nTimeoutStopSec=1\nExecStart={script}\n");
    let mut daemon = ctx.start(&config);
    let _client = connect(port);
    wait_until("the helper runs", || ctx.lines("pids").len() == 2);
    let pids: Vec<i32> = ctx.lines("pids").iter().map(|line| line.parse().unwrap()).collect();
    daemon.stop();
    wait_until("both are gone", || pids.iter().all(|pid| !is_live(*pid)));
}

fn trap_35_standard_error_is_not_the_clients(ctx: &mut Ctx) {
    let (a, b) = (ctx.port(), ctx.port());
    let script = ctx.script("service", "echo for-the-client; echo for-the-log >&2\n");
    let waiting = ctx.script("waiting", "echo from-the-wait-service >&2; exec sleep 30\n");
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{a}\nAccept=yes\nExecStart={script}\n\
         [y]\nListenStream=127.0.0.1:{b}\nStandardInput=socket\nExecStart={waiting}\n"
    );
    let daemon = ctx.start(&config);
    assert_eq!(talk(a), "for-the-client\n");
    daemon.wait_log("for-the-log");
    let _client = connect(b);
    daemon.wait_log("from-the-wait-service");
}

fn trap_36_clean_environment(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nEnvironment=NEST=warm \"FOOD=two nuts\"\nPassEnvironment=PASSED\n\
         ExecStart=/usr/bin/env\n"
    );
    let launch = ctx.launch(&config).env("SECRET", "hidden").env("PASSED", "through");
    let _daemon = launch.start();
    let environment = talk(port);
    for line in ["NEST=warm", "FOOD=two nuts", "PASSED=through"] {
        assert!(environment.lines().any(|have| have == line), "{line} is not in\n{environment}");
    }
    let of_user = ["HOME", "USER", "LOGNAME", "SHELL", "XDG_RUNTIME_DIR"];
    let allowed = ["PATH", "LANG", "TERM", "PROTO", "NEST", "FOOD", "PASSED"];
    for line in environment.lines() {
        let name = line.split('=').next().unwrap();
        let known = allowed.contains(&name)
            || of_user.contains(&name)
            || name.starts_with("TCP")
            || name.starts_with("REMOTE_");
        assert!(known, "{line} comes from nowhere");
    }
    assert!(environment.contains("PATH=/"), "a service needs a PATH:\n{environment}");
}

fn trap_48_five_hundred_instances(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!(
        "[x]\nListenStream={port}\nAccept=yes\nTriggerLimitBurst=10000\nPollLimitBurst=10000\nExecStart=/bin/echo here\n"
    );
    let daemon = ctx.start(&config);
    let fds = daemon.open_fds();
    for _ in 0..500 {
        assert_eq!(talk(port), "here\n");
    }
    wait_until("all are reaped", || daemon.descendants().is_empty());
    wait_until("all descriptors are closed", || daemon.open_fds() == fds);
}

/// A C library whose wall clock goes 19 years forth and back from one question to the next.
const JUMPS: &str = "#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int times;
    int result = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME) now->tv_sec += times++ & 1 ? 600000000 : -600000000;
    return result;
}
";

fn trap_49_wall_clock_that_jumps(ctx: &mut Ctx) {
    let (fails, runs, idle, day) = (ctx.port(), ctx.port(), ctx.port(), ctx.port());
    let (source, library) = (ctx.file("jumps.c", JUMPS), ctx.path("jumps.so"));
    output(Command::new("cc").args(["-shared", "-fPIC", "-o", &library, &source]));
    let tried = ctx.path("tried");
    let failing = ctx.script("failing", &format!("echo x >>{tried}\nexit 1\n"));
    let exec = stand_in("answer here");
    let config = format!(
        "[fails]\nListenStream=127.0.0.1:{fails}\nExecStart={failing}\n\
         [runs]\nListenStream=127.0.0.1:{runs}\nRuntimeMaxSec=5\nExecStart={exec}\n\
         [idle]\nListenStream=127.0.0.1:{idle}\nStopWhenIdleSec=1\nExecStart={exec}\n\
         [day]\nListenStream=127.0.0.1:{day}\nInternal=daytime\n"
    );
    let daemon = ctx.launch(&config).env("LD_PRELOAD", &library).start();
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", daemon.pid)).unwrap();
    if !maps.contains("jumps.so") {
        return ctx.skip("the program is linked statically: nothing comes between it and the clock");
    }
    let _client = connect(fails);
    let (first, second) = (talk(runs), talk(idle));
    assert_eq!(talk(runs), first, "its time is not over");
    daemon.cost(|| sleep_ms(5000)).assert_small();
    assert!((2..=8).contains(&ctx.lines("tried").len()), "{} tries in 5 s", ctx.lines("tried").len());
    wait_until("the end of its time", || talk(runs) != first);
    wait_until("the end of the idle one", || daemon.log().contains("why=idle"));
    assert_ne!(talk(idle), second);
    let told: std::collections::HashSet<String> = (0..4).map(|_| talk(day)).collect();
    assert!(told.len() > 1, "this is its clock: {told:?}");
}

fn trap_50_no_alarm_and_no_wall_clock_timer(ctx: &mut Ctx) {
    let (port, missing) = (ctx.port(), ctx.port());
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nTriggerLimitBurst=2\nExecStart=/bin/echo here\n\
         [y]\nListenStream=127.0.0.1:{missing}\nExecStart=/nowhere\n"
    );
    let calls = "trace=?alarm,setitimer,timer_create,timerfd_create,clock_nanosleep,?nanosleep,clock_gettime,?gettimeofday,?time";
    let daemon = ctx.launch(&config).strace("trace", &["-e", calls]).start();
    let _client = connect(missing);
    for _ in 0..4 {
        assert_eq!(talk(port), "here\n");
    }
    sleep_ms(500);
    drop(daemon);
    // at its own end strace may have half of a call in hand: ???(
    for line in ctx.lines("trace").iter().filter(|line| line.contains('(') && !line.contains("???(")) {
        let monotonic = line.contains("CLOCK_MONOTONIC") || line.contains("CLOCK_BOOTTIME");
        assert!(monotonic, "{line}");
    }
}

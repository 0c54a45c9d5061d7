//! How services are put to sleep. What keeps them awake is shown by `awake`, that nobody is lost meanwhile by `hammer`.

use crate::client::*;
use crate::daemon::{Daemon, is_live};
use crate::hammer::{Pauses, hammer, rounds, sleeper, talk_whole, tcp};
use crate::harness::{Ctx, Need::*, Test, service_file, sleep_ms, stand_in, wait_until, within};
use crate::test;
use std::time::Duration;

pub const TESTS: &[Test] = &[
    test!(nobody_is_lost_when_a_service_ends_by_itself),
    test!(no_datagram_is_lost_to_a_quiet_stop, Directive("StopWhenQuietSec")),
    test!(who_ignores_the_stop_is_killed, Directive("StopWhenIdleSec")),
    test!(workers_sleep_with_their_main_process, Directive("StopWhenIdleSec")),
    test!(workers_that_ignore_the_stop_are_killed, Directive("StopWhenIdleSec")),
    test!(a_sleep_is_no_failure_and_no_restart, Directive("StopWhenIdleSec")),
    test!(a_program_that_wakes_itself, Directive("StopWhenIdleSec"), File("/usr/bin/python3")),
    test!(a_frozen_service_goes_on_when_dormouse_quits, Directive("StopWhenIdleSec")),
    test!(no_look_at_all_when_the_kernel_tells_nothing, Directive("StopWhenIdleSec"), Prog("strace")),
];

/// The other way round: the service ends by itself, at once or a moment after its last client.
fn nobody_is_lost_when_a_service_ends_by_itself(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nTriggerLimitBurst=0\nPollLimitBurst=0\nExecStart={}\n",
        stand_in("leave here 20")
    );
    let daemon = ctx.start(&config);
    let mut pauses = Pauses::new();
    for round in 0..rounds(300) {
        talk_whole(port).unwrap_or_else(|fault| panic!("client {round}: {fault}\n{}", daemon.log()));
        std::thread::sleep(pauses.next(21));
    }
}

fn no_datagram_is_lost_to_a_quiet_stop(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!(
        "[x]\nListenDatagram=127.0.0.1:{port}\nStopWhenQuietSec=100ms\nTriggerLimitBurst=0\nExecStart={}\n",
        stand_in("udp heard 0")
    );
    let daemon = ctx.start(&config);
    // when the last one came is known to a look only
    hammer(&daemon, rounds(40), 200, &|| {
        let heard = udp_ask(port, "knock");
        if heard.starts_with("heard") { Ok(()) } else { Err(heard) }
    });
}

fn who_ignores_the_stop_is_killed(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = format!("/bin/sh -c \"trap '' TERM; exec {}\"\nTimeoutStopSec=1", stand_in("answer here"));
    let config = sleeper(300, &tcp(port), &exec).replacen("TimeoutStopSec=10\n", "", 1);
    let daemon = ctx.start(&config);
    for _ in 0..2 {
        talk_whole(port).unwrap();
        wait_until("it is killed", || daemon.descendants().is_empty());
    }
    assert!(daemon.log().contains("signal=KILL"), "{}", daemon.log());
    assert!(!daemon.log().contains("rest service=x"), "a sleep is no failure\n{}", daemon.log());
}

fn workers_sleep_with_their_main_process(ctx: &mut Ctx) {
    let port = ctx.port();
    let own = stand_in("answer here");
    let exec = ctx.script("workers", &format!("{own} &\n{own} &\n{own} &\nwait\n"));
    let daemon = ctx.start(&sleeper(300, &tcp(port), &exec));
    for _ in 0..3 {
        talk_whole(port).unwrap();
        wait_until("all four run", || daemon.descendants().len() == 4);
        wait_until("all four sleep", || daemon.descendants().is_empty());
    }
}

/// The main process ends when it is asked to, its workers do not: they have their time, and are killed.
fn workers_that_ignore_the_stop_are_killed(ctx: &mut Ctx) {
    let port = ctx.port();
    let own = stand_in("answer here");
    let exec = ctx.script("workers", &format!("(trap '' TERM; exec {own}) &\n(trap '' TERM; exec {own}) &\nwait\n"));
    let config = sleeper(300, &tcp(port), &format!("{exec}\nTimeoutStopSec=1")).replacen("TimeoutStopSec=10\n", "", 1);
    let daemon = ctx.start(&config);
    for _ in 0..2 {
        talk_whole(port).unwrap();
        let workers = daemon.descendants();
        wait_until("nobody is left", || !workers.iter().any(|pid| is_live(*pid)));
    }
    assert!(daemon.log().contains("signal=KILL"), "{}", daemon.log());
    assert!(!daemon.log().contains("rest service=x"), "a sleep is no failure\n{}", daemon.log());
    talk_whole(port).unwrap();
}

fn a_sleep_is_no_failure_and_no_restart(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = format!("/bin/sh -c \"trap 'exit 7' TERM; {} & wait\"\nRestart=always", stand_in("answer here"));
    let daemon = ctx.start(&sleeper(300, &tcp(port), &exec));
    for _ in 0..5 {
        talk_whole(port).unwrap();
        wait_until("it sleeps", || daemon.descendants().is_empty());
    }
    sleep_ms(500);
    assert!(daemon.descendants().is_empty());
    assert!(!daemon.log().contains("rest service=x"), "{}", daemon.log());
}

/// Dormouse goes at any moment, also between the two looks: nobody is left standing still.
fn a_frozen_service_goes_on_when_dormouse_quits(ctx: &mut Ctx) {
    let port = ctx.port();
    let mut daemon = ctx.start(&sleeper(100, &tcp(port), &stand_in("answer here")));
    let stopped = |daemon: &Daemon| {
        let state = |pid: &i32| crate::daemon::proc_status(*pid, "State").starts_with('T');
        daemon.descendants().iter().any(state)
    };
    for _ in 0..20 {
        talk_whole(port).unwrap();
        let seen = within(Duration::from_secs(20), || stopped(&daemon) || daemon.descendants().is_empty());
        assert!(seen);
    }
    talk_whole(port).unwrap();
    sleep_ms(99);
    let left = daemon.descendants();
    daemon.signal(libc::SIGQUIT);
    daemon.wait();
    sleep_ms(100);
    let stays = left.iter().find(|pid| crate::daemon::proc_status(**pid, "State").starts_with('T'));
    assert_eq!(stays, None, "somebody was left standing still");
    left.into_iter().for_each(|pid| crate::daemon::kill(pid, libc::SIGKILL));
}

/// Neither sock_diag nor /proc/net: such a configuration is refused at the start, with what would do instead.
fn no_look_at_all_when_the_kernel_tells_nothing(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = sleeper(300, &tcp(port), &stand_in("answer here"));
    let own = stand_in("without-netlink");
    let words: Vec<&str> = own.split(' ').collect();
    let options = ["-P", "/proc/net/tcp", "-e", "trace=?open,openat", "-e", "inject=?open,openat:error=ENOENT"];
    let (status, log) = ctx.launch(&config).strace("trace", &options).wrapped(&words).refused();
    assert_eq!(status.code(), Some(71), "{log}");
    assert!(log.contains("[x] StopWhenIdleSec=") && log.contains("StopWhenQuietSec="), "{log}");
}

/// What it leaves in its own queue as it ends would start it again for ever: FlushPending= holds after a sleep as well.
fn a_program_that_wakes_itself(ctx: &mut Ctx) {
    let path = ctx.path("own.sock");
    let program = format!("/usr/bin/python3 {}", service_file("own_client.py"));
    let config = format!("[x]\nListenStream={path}\nStopWhenIdleSec=1\nFlushPending=yes\nExecStart={program}\n");
    let daemon = ctx.start(&config);
    for runs in 1..3 {
        assert_eq!(unix_talk(&path).unwrap(), "here\n", "{}", daemon.log());
        wait_until("it is put to sleep", || daemon.log().matches("exit service=x").count() == runs);
        sleep_ms(2000);
        assert_eq!(daemon.log().matches("start service=x").count(), runs, "{}", daemon.log());
    }
}

//! Reload (SIGHUP) and upgrade (SIGUSR2): what changes, what stays, what is refused.

use crate::client::*;
use crate::daemon::{Daemon, is_live, kill};
use crate::harness::{Ctx, Need::*, PATIENCE, Test, dormouse as dormouse_path, sleep_ms, stand_in, wait_until};
use crate::test;
use std::io::Write;
use std::time::Duration;

pub const TESTS: &[Test] = &[
    test!(reload_keeps_sockets_and_children, Part("reload")),
    test!(reload_refuses_a_faulty_configuration, Part("reload")),
    test!(an_empty_configuration_is_refused, Part("reload")),
    test!(trap_12_configuration_gone_at_hup, Part("reload")),
    test!(reload_adds_and_removes_services, Part("reload")),
    test!(reload_during_a_reload_reads_again, Part("reload")),
    test!(an_upgrade_that_waits_for_a_reload_is_told_of_by_its_name, Part("reload")),
    test!(upgrade_keeps_sockets_and_children, Part("reload")),
    test!(upgrade_refuses_other_programs, Part("reload")),
    test!(upgrade_refuses_another_version_of_the_state, Part("reload")),
    test!(trap_16_queued_clients_are_not_reset, Part("reload")),
    test!(limits_apply_to_the_next_start, Part("reload")),
    test!(a_child_of_a_service_that_is_gone_goes_on, Part("reload")),
    test!(a_service_that_is_renamed_keeps_its_child, Part("reload")),
    test!(wait_becomes_nowait_while_a_child_runs, Part("reload")),
    test!(nowait_becomes_wait_while_children_run, Part("reload")),
    test!(a_running_service_keeps_its_time_limit, Part("reload")),
    test!(a_service_that_rests_goes_on_resting, Part("reload")),
    test!(a_connection_without_a_program_is_served_later, Part("reload")),
    test!(a_connection_that_waits_for_no_program_any_more_is_closed, Part("reload")),
    test!(more_sockets_than_before, Part("reload")),
    test!(options_follow_the_configuration, Part("reload")),
    test!(nothing_is_left_open, Part("reload")),
    test!(sockets_survive_a_state_that_cannot_be_read, Part("reload"), Part("adopt")),
];

/// Sends the signal and waits for the outcome; true if it was done.
pub fn order(daemon: &Daemon, signal: i32) -> bool {
    let count = |what: &str| daemon.log().matches(what).count();
    let done = || count(" done services=");
    let refused = || count(" refused why=");
    let before = (done(), refused());
    daemon.signal(signal);
    wait_until("the outcome of the order", || (done(), refused()) != before);
    done() > before.0
}

pub fn reload(daemon: &Daemon) {
    assert!(order(daemon, libc::SIGHUP), "{}", daemon.log());
}

pub fn one(port: u16, more: &str, exec: &str) -> String {
    format!("[x]\nListenStream=127.0.0.1:{port}\n{more}ExecStart={exec}\n")
}

fn reload_keeps_sockets_and_children(ctx: &mut Ctx) {
    let (port, held) = (ctx.port(), ctx.port());
    let config = |text: &str| {
        one(port, "", &stand_in("echo"))
            + &format!("[y]\nListenStream=127.0.0.1:{held}\nAccept=yes\nExecStart=/bin/echo {text}\n")
    };
    let daemon = ctx.start(&config("before"));
    let mut client = connect(port);
    exchange(&mut client, "one");
    let services = daemon.descendants();
    assert_eq!(talk(held), "before\n");
    ctx.file("dormouse.conf", &config("after"));
    reload(&daemon);
    assert_eq!(talk(held), "after\n");
    wait_until("the last one is reaped, and no child is lost", || daemon.descendants() == services);
    exchange(&mut client, "two");
    kill(services[0], libc::SIGKILL);
    wait_until("its end is seen", || !daemon.descendants().contains(&services[0]));
    assert_eq!(ask(port, "three\n"), "three\n", "and it is started again");
}

fn reload_refuses_a_faulty_configuration(ctx: &mut Ctx) {
    let port = ctx.port();
    let mut daemon = ctx.start(&one(port, "Accept=yes\n", "/bin/echo here"));
    let config = ctx.file("dormouse.conf", "[x]\nListenStrem=80\nExecStart=/bin/true\n");
    assert!(!order(&daemon, libc::SIGHUP));
    let (_, told) = crate::commands::dormouse(&["check", "-c", &config]);
    let log = daemon.log();
    for line in told.lines().filter(|line| !line.trim().is_empty()) {
        assert!(log.contains(line.trim_end()), "the log lacks \"{line}\":\n{log}");
    }
    assert_eq!(talk(port), "here\n", "the old one stays");
    assert!(daemon.alive());
}

/// An editor has emptied the file and is about to write it.
fn an_empty_configuration_is_refused(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&one(port, "Accept=yes\n", "/bin/echo here"));
    ctx.file("dormouse.conf", "");
    assert!(!order(&daemon, libc::SIGHUP));
    assert_eq!(talk(port), "here\n");
}

fn trap_12_configuration_gone_at_hup(ctx: &mut Ctx) {
    let port = ctx.port();
    let mut daemon = ctx.start(&one(port, "Accept=yes\n", "/bin/echo here"));
    std::fs::remove_file(ctx.path("dormouse.conf")).unwrap();
    daemon.signal(libc::SIGHUP);
    daemon.wait_log("dormouse.conf");
    assert_eq!(talk(port), "here\n");
    assert!(daemon.alive());
}

fn reload_adds_and_removes_services(ctx: &mut Ctx) {
    let (old, new, path) = (ctx.port(), ctx.port(), ctx.path("gone.sock"));
    let gone = format!("[p]\nListenStream={path}\nAccept=yes\nExecStart=/bin/echo old\n");
    let mut daemon = ctx.start(&(one(old, "Accept=yes\n", "/bin/echo old") + &gone));
    assert_eq!(unix_talk(&path).unwrap(), "old\n");
    ctx.file("dormouse.conf", &format!("[y]\nListenStream=127.0.0.1:{new}\nAccept=yes\nExecStart=/bin/echo new\n"));
    reload(&daemon);
    assert_eq!(talk(new), "new\n");
    assert!(try_connect(local(old), Duration::from_secs(1)).is_err());
    assert!(!std::path::Path::new(&path).exists(), "the file goes with the socket");
    assert!(daemon.alive());
    wait_until("the child of the last client ends", || daemon.descendants().is_empty());
}

fn reload_during_a_reload_reads_again(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = |number: usize| one(port, "Accept=yes\n", &format!("/bin/echo {number}"));
    let daemon = ctx.start(&config(0));
    for number in 1..=20 {
        // at once, since a half-written file may be a sound one
        std::fs::rename(ctx.file("next", &config(number)), ctx.path("dormouse.conf")).unwrap();
        daemon.signal(libc::SIGHUP);
    }
    wait_until("the last one holds", || talk(port) == "20\n");
}

fn an_upgrade_that_waits_for_a_reload_is_told_of_by_its_name(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&one(port, "Accept=yes\n", "/bin/echo here"));
    let both = |last: &str| {
        // it sees them in the same turn, and the smaller number first
        [libc::SIGSTOP, libc::SIGHUP, libc::SIGUSR2, libc::SIGCONT].iter().for_each(|signal| daemon.signal(*signal));
        daemon.wait_log(last);
        let outcomes = ["reload done", "upgrade done", "reload refused", "upgrade refused"];
        let log = daemon.log();
        let told = log.lines().filter_map(|line| outcomes.into_iter().find(|outcome| line.contains(outcome)));
        told.collect::<Vec<_>>()
    };
    assert_eq!(both("upgrade done"), ["reload done", "upgrade done"]);
    ctx.file("dormouse.conf", "[x]\nListenStrem=80\n");
    assert_eq!(both("upgrade refused")[2..], ["reload refused", "upgrade refused"]);
    assert_eq!(talk(port), "here\n");
}

/// A copy of the program in the test's folder, which the test may replace.
pub fn own_program(ctx: &Ctx) -> String {
    let path = ctx.path("dormouse");
    replace(&dormouse_path(), &path);
    path
}

/// Puts a new file in the place of a program, as a package manager does.
pub fn replace(new: &str, path: &str) {
    let beside = format!("{path}.new");
    // by another process: a descriptor of ours could be inherited by what a neighbour starts, and make the file busy
    output(std::process::Command::new("cp").args([new, &beside]));
    std::fs::rename(&beside, path).unwrap();
}

fn upgrade_keeps_sockets_and_children(ctx: &mut Ctx) {
    let port = ctx.port();
    let program = own_program(ctx);
    let mut daemon = ctx.launch(&one(port, "", &stand_in("echo"))).program(&program).start();
    let mut client = connect(port);
    exchange(&mut client, "one");
    let services = daemon.descendants();
    let inode = || std::fs::read_link(format!("/proc/{}/exe", daemon.pid)).unwrap();
    for _ in 0..2 {
        replace(&dormouse_path(), &program);
        assert!(inode().ends_with("dormouse (deleted)"), "{:?}", inode());
        assert!(order(&daemon, libc::SIGUSR2), "{}", daemon.log());
        assert!(inode().ends_with("dormouse"), "it runs the new file: {:?}", inode());
        assert_eq!(daemon.descendants(), services);
        exchange(&mut client, "two");
        assert_eq!(ask(port, "three\n"), "three\n");
    }
    std::fs::remove_file(&program).unwrap();
    reload(&daemon);
    exchange(&mut client, "a reload needs no file on the disk");
    assert!(daemon.alive());
}

fn upgrade_refuses_other_programs(ctx: &mut Ctx) {
    let port = ctx.port();
    let program = own_program(ctx);
    let daemon = ctx.launch(&one(port, "Accept=yes\n", "/bin/echo here")).program(&program).start();
    replace("/bin/true", &program);
    assert!(!order(&daemon, libc::SIGUSR2));
    assert!(daemon.log().contains("not a dormouse that can take over"), "{}", daemon.log());
    replace("/bin/false", &program);
    assert!(!order(&daemon, libc::SIGUSR2));
    replace(&ctx.file("text", "no program at all"), &program);
    assert!(!order(&daemon, libc::SIGUSR2));
    std::fs::remove_file(&program).unwrap();
    assert!(!order(&daemon, libc::SIGUSR2));
    assert_eq!(talk(port), "here\n");
    reload(&daemon);
    assert_eq!(talk(port), "here\n");
}

/// The test program as the checker of a Dormouse that is to come: the beginning of what that writes stays for ever.
pub fn check_for_another_version(part: &str) {
    let plan = part.split(' ').nth(2).expect("a descriptor");
    let mut plan = std::fs::File::options().write(true).open(format!("/proc/self/fd/{plan}")).unwrap();
    plan.write_all(&[&b"dormouse"[..], &u32::MAX.to_ne_bytes()].concat()).unwrap();
}

fn upgrade_refuses_another_version_of_the_state(ctx: &mut Ctx) {
    let port = ctx.port();
    let program = own_program(ctx);
    let mut daemon = ctx.launch(&one(port, "Accept=yes\n", "/bin/echo here")).program(&program).start();
    replace(&std::env::current_exe().unwrap().display().to_string(), &program);
    assert!(!order(&daemon, libc::SIGUSR2));
    let refusal = format!("the new program takes over state version {}, this one has ", u32::MAX);
    assert!(daemon.log().contains(&refusal), "{}", daemon.log());
    assert!(daemon.alive());
    assert_eq!(talk(port), "here\n");
    reload(&daemon);
    assert_eq!(talk(port), "here\n");
}

/// Clients that wait in the backlog of a busy service, with what they have sent.
fn trap_16_queued_clients_are_not_reset(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = ctx.script("service", &format!("sleep 2\nexec {}\n", stand_in("answer here")));
    let daemon = ctx.start(&one(port, "", &exec));
    let mut clients: Vec<_> = (0..20).map(|_| connect(port)).collect();
    for client in &mut clients {
        client.write_all(b"hello").unwrap();
    }
    for _ in 0..3 {
        reload(&daemon);
    }
    for client in clients {
        assert!(read_all(client).starts_with("here"));
    }
}

fn limits_apply_to_the_next_start(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = |limit: u32| one(port, &format!("Accept=yes\nMaxConnections={limit}\n"), "/bin/cat");
    let daemon = ctx.start(&config(2));
    let mut first = [connect(port), connect(port)];
    first.iter_mut().for_each(|client| exchange(client, "a"));
    assert_eq!(talk(port), "", "the third is too many");
    ctx.file("dormouse.conf", &config(3));
    reload(&daemon);
    let mut third = connect(port);
    exchange(&mut third, "b");
    assert_eq!(talk(port), "", "those from before the reload count");
    ctx.file("dormouse.conf", &config(1));
    reload(&daemon);
    first.iter_mut().for_each(|client| exchange(client, "who is served stays"));
    assert_eq!(talk(port), "");
    drop((first, third));
    wait_until("the children end", || daemon.descendants().is_empty());
    exchange(&mut connect(port), "c");
}

fn a_child_of_a_service_that_is_gone_goes_on(ctx: &mut Ctx) {
    let (port, other) = (ctx.port(), ctx.port());
    let both = format!(
        "{}[y]\nListenStream=127.0.0.1:{other}\nAccept=yes\nExecStart=/bin/cat\n",
        one(port, "", &stand_in("echo"))
    );
    let mut daemon = ctx.start(&both);
    let (mut x, mut y) = (connect(port), connect(other));
    exchange(&mut x, "one");
    let of_x = daemon.descendants()[0];
    exchange(&mut y, "one");
    let rest = ctx.port();
    ctx.file("dormouse.conf", &format!("[z]\nListenStream=127.0.0.1:{rest}\nAccept=yes\nExecStart=/bin/cat\n"));
    reload(&daemon);
    exchange(&mut x, "two");
    exchange(&mut y, "two");
    assert!(daemon.log().contains("gone service=x running=1, left alone"), "{}", daemon.log());
    drop(y);
    wait_until("an end is reaped", || daemon.descendants().len() == 1);
    assert_eq!(daemon.stop().code(), Some(0), "nobody waits for what is not ours any more");
    assert!(is_live(of_x));
    kill(of_x, libc::SIGKILL);
}

fn a_service_that_is_renamed_keeps_its_child(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = one(port, "", &stand_in("echo"));
    let daemon = ctx.start(&config);
    let mut client = connect(port);
    exchange(&mut client, "one");
    let services = daemon.descendants();
    ctx.file("dormouse.conf", &config.replace("[x]", "[renamed]"));
    reload(&daemon);
    exchange(&mut connect(port), "two");
    exchange(&mut client, "three");
    assert_eq!(daemon.descendants(), services, "there are not two acceptors");
}

fn wait_becomes_nowait_while_a_child_runs(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&one(port, "", &stand_in("answer wait 3")));
    assert!(talk(port).starts_with("wait"));
    ctx.file("dormouse.conf", &one(port, "Accept=yes\n", "/bin/echo nowait"));
    reload(&daemon);
    assert!(talk(port).starts_with("wait"), "the child that holds the socket goes on");
    assert!(talk(port).starts_with("wait"));
    wait_until("it ends", || daemon.descendants().is_empty());
    for _ in 0..3 {
        assert_eq!(talk(port), "nowait\n");
    }
    daemon.cost(|| sleep_ms(500)).assert_small();
}

fn nowait_becomes_wait_while_children_run(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&one(port, "Accept=yes\n", "/bin/cat"));
    let mut old = connect(port);
    exchange(&mut old, "one");
    ctx.file("dormouse.conf", &one(port, "", &stand_in("answer wait")));
    reload(&daemon);
    let first = talk(port);
    assert!(first.starts_with("wait"));
    exchange(&mut old, "two");
    drop(old);
    wait_until("the connection's child ends", || daemon.descendants().len() == 1);
    sleep_ms(200);
    assert_eq!(talk(port), first, "its end does not start a second one");
}

fn a_running_service_keeps_its_time_limit(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&one(port, "RuntimeMaxSec=2\nTimeoutStopSec=1\n", &stand_in("answer here")));
    assert!(talk(port).starts_with("here"));
    let start = std::time::Instant::now();
    while !daemon.descendants().is_empty() {
        reload(&daemon);
        sleep_ms(50);
        assert!(start.elapsed() < PATIENCE, "reloads do not begin its time anew");
    }
}

fn a_service_that_rests_goes_on_resting(ctx: &mut Ctx) {
    let port = ctx.port();
    let runs = ctx.path("runs");
    let exec = ctx.script("service", &format!("echo run >>{runs}\nsleep 0.1\nexit 1\n"));
    let daemon = ctx.start(&one(port, "", &exec));
    let _client = connect(port);
    for _ in 0..50 {
        reload(&daemon);
        sleep_ms(60);
    }
    let count = ctx.lines("runs").len();
    // 12 fit into a minute and a half, and a busy machine may take that long; each reload would start one more
    assert!((2..=12).contains(&count), "{count} runs: the pause does not end with a reload");
}

fn a_connection_without_a_program_is_served_later(ctx: &mut Ctx) {
    let port = ctx.port();
    let program = ctx.path("late");
    let daemon = ctx.start(&one(port, "Accept=yes\n", &format!("{program} here")));
    let client = connect(port);
    daemon.wait_log("failed at=exec");
    reload(&daemon);
    reload(&daemon);
    std::os::unix::fs::symlink("/bin/echo", &program).unwrap();
    assert_eq!(read_all(client), "here\n");
}

fn a_connection_that_waits_for_no_program_any_more_is_closed(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&one(port, "Accept=yes\n", &ctx.path("late")));
    let client = connect(port);
    daemon.wait_log("failed at=exec");
    ctx.file("dormouse.conf", &one(port, "", &stand_in("answer here")));
    reload(&daemon);
    assert_eq!(read_all(client), "");
    assert!(talk(port).starts_with("here"));
}

/// The new service hands over descriptors at numbers where ours used to be.
fn more_sockets_than_before(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&one(port, "Accept=yes\n", "/bin/cat"));
    let mut client = connect(port);
    exchange(&mut client, "one");
    let ports: Vec<u16> = (0..12).map(|_| ctx.port()).collect();
    let listens: String = ports.iter().map(|port| format!("ListenStream=127.0.0.1:{port}\n")).collect();
    let report = ctx.path("report");
    let many = format!("[many]\n{listens}ExecStart={}\n", stand_in(&format!("report-and-answer {report}")));
    ctx.file("dormouse.conf", &(one(port, "Accept=yes\n", "/bin/cat") + &many));
    reload(&daemon);
    assert!(talk(ports[0]).starts_with("reported"));
    let told = ctx.lines("report");
    for (fd, port) in (3..).zip(&ports) {
        let line = told.iter().find(|line| line.starts_with(&format!("fd.{fd}="))).expect("a descriptor");
        assert!(line.ends_with(&format!("127.0.0.1:{port}")), "{line}");
    }
    let more = told.iter().filter(|line| line.starts_with("fd.") && !line.starts_with("fd.1=")).count();
    assert!(more <= 3 + ports.len(), "{told:?}");
    exchange(&mut client, "two");
    exchange(&mut connect(port), "three");
}

fn options_follow_the_configuration(ctx: &mut Ctx) {
    let (port, report, path) = (ctx.port(), ctx.path("options"), ctx.path("x.sock"));
    let config = |more: &str| {
        let exec = stand_in(&format!("sockopts {report}"));
        one(port, more, &exec) + &format!("[p]\nListenStream={path}\nAccept=yes\n{more}ExecStart=/bin/echo here\n")
    };
    let daemon = ctx.start(&config("SocketMode=0600\n"));
    let value = |name: &str| {
        let _ = std::fs::remove_file(&report);
        talk(port);
        wait_until("it ends", || daemon.descendants().is_empty());
        ctx.lines("options").iter().find_map(|line| line.strip_prefix(&format!("3.{name}="))?.parse::<i32>().ok())
    };
    let mode = || std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap()) & 0o777;
    assert_eq!((value("KEEPALIVE"), value("FREEBIND"), mode()), (Some(0), Some(0), 0o600));
    std::fs::write(ctx.dir.join("dormouse.conf"), config("SocketMode=0660\nKeepAlive=yes\n")).unwrap();
    reload(&daemon);
    assert_eq!((value("KEEPALIVE"), value("FREEBIND"), mode()), (Some(1), Some(0), 0o660));
    std::fs::write(ctx.dir.join("dormouse.conf"), config("FreeBind=yes\n")).unwrap();
    reload(&daemon);
    assert_eq!(
        (value("KEEPALIVE"), value("FREEBIND")),
        (Some(0), Some(1)),
        "a new socket, since this one cannot change"
    );
    assert_eq!(unix_talk(&path).unwrap(), "here\n");
}

fn nothing_is_left_open(ctx: &mut Ctx) {
    let ports: Vec<u16> = (0..20).map(|_| ctx.port()).collect();
    let config: String = ports
        .iter()
        .map(|port| one(*port, "Accept=yes\n", "/bin/true").replace("[x]", &format!("[x{port}]")))
        .collect();
    let daemon = ctx.start(&config);
    reload(&daemon);
    sleep_ms(1000); // until its stack is given back
    let (fds, memory) = (daemon.open_fds(), daemon.private_dirty_kb());
    for _ in 0..10 {
        reload(&daemon);
        assert!(order(&daemon, libc::SIGUSR2));
    }
    ctx.file("dormouse.conf", "nonsense");
    for _ in 0..5 {
        assert!(!order(&daemon, libc::SIGHUP));
    }
    // what a refused check has used goes when its end has been told
    // what the first reload used may still have been closing when they were counted
    wait_until("all is closed", || daemon.open_fds() <= fds);
    wait_until("memory is given back", || daemon.private_dirty_kb() <= memory + 64);
}

/// What a new image does if the one before has left nonsense: the sockets are recognised by their addresses.
fn sockets_survive_a_state_that_cannot_be_read(ctx: &mut Ctx) {
    let port = ctx.port();
    let garbage = ctx.file("garbage", "nonsense");
    let shell = format!("export DORMOUSE_HANDOVER=\"resume $$ 8 9\"; exec \"$@\" 8<{garbage} 9<{garbage}");
    let launch = ctx.launch(&one(port, "Accept=yes\n", "/bin/echo here"));
    let pass = stand_in(&format!("pass tcp:{port} --"));
    let pass: Vec<&str> = pass.split(' ').collect();
    let mut daemon = launch.wrapped(&pass).in_shell(&shell).start();
    assert!(daemon.log().contains("sockets are kept"), "{}", daemon.log());
    assert!(daemon.log().contains("missing=0"), "{}", daemon.log());
    assert_eq!(talk(port), "here\n");
    reload(&daemon);
    assert_eq!(talk(port), "here\n");
    assert!(daemon.alive());
}

//! Shortages as they really happen: descriptors, processes, and what the limits of the process have to do with it.

use crate::client::*;
use crate::daemon::Daemon;
use crate::harness::{Ctx, Need::*, Test, dormouse as dormouse_path, sleep_ms, stand_in, wait_until};
use crate::test;
use std::process::Command;
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = &[
    test!(trap_04_no_descriptor_left, Prog("prlimit")),
    test!(trap_04_few_descriptors_from_the_start, Prog("prlimit")),
    test!(trap_04_no_descriptor_for_the_next_datagram_socket, Prog("prlimit")),
    test!(trap_25_a_million_descriptors_allowed, Prog("prlimit")),
    test!(trap_29_users_are_looked_up_at_start, Root, Prog("unshare")),
    test!(no_process_left, Root, Prog("prlimit"), Prog("setpriv")),
    test!(no_process_left_for_a_user, Root, Prog("prlimit"), Prog("setpriv")),
];

fn limit_descriptors(daemon: &Daemon, limit: u64) {
    let pid = daemon.pid.to_string();
    output(Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={limit}:4096")]));
}

/// Every number below the limit is taken, if need be by making the limit lower than what is open.
fn take_descriptors(daemon: &Daemon) {
    let folder = format!("/proc/{}/fd", daemon.pid);
    let numbers = std::fs::read_dir(&folder).unwrap().flatten();
    let highest = numbers.filter_map(|fd| fd.file_name().to_string_lossy().parse::<u64>().ok()).max().unwrap();
    let limit = (0..=highest).find(|fd| !std::path::Path::new(&format!("{folder}/{fd}")).exists());
    limit_descriptors(daemon, limit.unwrap_or(highest + 1));
}

/// The daemon's own limit falls to what it has open: accept says EMFILE until it rises again.
fn trap_04_no_descriptor_left(ctx: &mut Ctx) {
    let port = ctx.port();
    let mut daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart=/bin/echo here\n"));
    take_descriptors(&daemon);
    let clients: Vec<_> = (0..5).map(|_| connect(port)).collect();
    daemon.cost(|| sleep_ms(5000)).assert_small();
    assert!(daemon.alive());
    limit_descriptors(&daemon, 4096);
    for client in clients {
        assert_eq!(read_all(client), "here\n", "who waited is served");
    }
    assert_eq!(talk(port), "here\n");
}

/// A socket is handed over to the program of its peer when there is another one for all others, and not before.
fn trap_04_no_descriptor_for_the_next_datagram_socket(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&format!(
        "[x]\nListenDatagram=127.0.0.1:{port}\nReusePort=yes\nAccept=yes\nLimitNOFILE=1024\nExecStart=/bin/cat\n"
    ));
    take_descriptors(&daemon);
    let clients = [udp(), udp()];
    for client in &clients {
        client.connect(local(port)).unwrap(); // which tells it when nobody is there
        client.send(b"x").unwrap();
        daemon.wait_log("too many open files");
    }
    daemon.cost(|| sleep_ms(3000)).assert_small();
    limit_descriptors(&daemon, 4096);
    let [first, second] = &clients;
    assert_eq!(first.recv(&mut [0; 10]).expect("who waited is served"), 1);
    // what came meanwhile went to the first one's program: a client that hears nothing asks again
    second.send(b"x").expect("nobody has turned it away");
    assert_eq!(second.recv(&mut [0; 10]).expect("there is a socket for it"), 1);
}

fn trap_04_few_descriptors_from_the_start(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = stand_in("answer here 1");
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nExecStart={exec}\n");
    let _daemon = ctx.launch(&config).wrapped(&["prlimit", "--nofile=24"]).start();
    for _ in 0..50 {
        assert!(talk(port).starts_with("here"), "no descriptor is lost with a run");
    }
}

fn trap_25_a_million_descriptors_allowed(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart=/bin/echo here\n");
    if run(Command::new("prlimit").args(["--nofile=1000000:1000000", "true"])).status.code() != Some(0) {
        return ctx.skip("the limit of descriptors cannot be raised to a million");
    }
    let daemon = ctx.launch(&config).wrapped(&["prlimit", "--nofile=1000000:1000000"]).start();
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(talk(port), "here\n");
    }
    assert!(start.elapsed() < Duration::from_secs(10), "20 connections took {:?}", start.elapsed());
    assert!(daemon.cpu_ms() < 1000, "{} ms CPU", daemon.cpu_ms());
}

/// The user data base may be gone or unreadable when a service starts: the numbers were looked up before.
fn trap_29_users_are_looked_up_at_start(ctx: &mut Ctx) {
    let port = ctx.port();
    let passwd = ctx.file("passwd", "root:x:0:0::/root:/bin/sh\nsleeper:x:4242:4243::/:/bin/sh\n");
    let group = ctx.file("group", "root:x:0:\nsleepers:x:4243:\nfriends:x:4244:sleeper\n");
    let script = format!("mount --bind {passwd} /etc/passwd && mount --bind {group} /etc/group && exec \"$@\"");
    let config =
        format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nUser=sleeper\nExecStart=/bin/cat /proc/self/status\n");
    let _daemon = ctx.launch(&config).wrapped(&["unshare", "-m"]).in_shell(&script).start();
    std::fs::write(&passwd, "").unwrap();
    std::fs::write(&group, "").unwrap();
    let status = talk(port);
    assert!(status.contains("Uid:\t4242\t4242\t4242\t4242"), "{status}");
    assert!(status.contains("Gid:\t4243\t4243\t4243\t4243"), "{status}");
    assert!(status.contains("Groups:\t4243 4244") || status.contains("Groups:\t4244"), "{status}");
}

/// An ordinary user's process limit is reached: clone says EAGAIN until a process ends.
fn no_process_left(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = stand_in("answer here 1");
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nExecStart={exec}\n");
    shell(&format!("chmod 777 {}", ctx.dir.display()));
    let wrapper = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"];
    let reach = Command::new("setpriv").args(&wrapper[1..]).args(["test", "-x", &dormouse_path()]).status();
    if !reach.is_ok_and(|status| status.success()) {
        return ctx.skip("other users cannot reach the program");
    }
    let launch = ctx.launch(&config).wrapped(&wrapper);
    // The notification socket belongs to root; the daemon writes to it as somebody else.
    let daemon = launch.wrapped(&["prlimit", "--nproc=1:100"]).spawn();
    wait_until("the port to be open", || try_connect(local(port), Duration::from_secs(1)).is_ok());
    let client = connect(port);
    daemon.cost(|| sleep_ms(5000)).assert_small();
    let raise = ["prlimit", "--pid", &daemon.pid.to_string(), "--nproc=100:100"];
    output(Command::new("setpriv").args(&wrapper[1..]).args(raise));
    assert!(read_all(client).starts_with("here"), "the client was kept:\n{}", daemon.log());
}

/// The limit of the user that a service runs as: only execve(2) tells of it.
fn no_process_left_for_a_user(ctx: &mut Ctx) {
    let port = ctx.port();
    let user = "54322";
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nUser={user}\nGroup={user}\nExecStart=/bin/echo here\n"
    );
    let daemon = ctx.launch(&config).wrapped(&["prlimit", "--nproc=1:1"]).start();
    let id = |name: &str| format!("--{name}={user}");
    let sleep = || Command::new("setpriv").args([&id("reuid"), &id("regid"), "--clear-groups", "sleep", "60"]).spawn();
    let mut others = [sleep().unwrap(), sleep().unwrap()];
    let is_there = |pid: u32| crate::daemon::proc_status(pid as i32, "Uid").starts_with(user);
    wait_until("the user's processes", || others.iter().all(|other| is_there(other.id())));
    let client = connect(port);
    daemon.cost(|| sleep_ms(3000)).assert_small();
    for other in &mut others {
        other.kill().unwrap();
        other.wait().unwrap();
    }
    assert_eq!(read_all(client), "here\n");
    let log = daemon.log();
    assert!(log.contains("what=processes") && !log.contains("failed at="), "it is not the service that fails:\n{log}");
}

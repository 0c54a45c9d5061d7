//! Between exec and the loop the next image fails in one system call: it waits a little and goes on, with every socket
//! and connection, as nobody else holds them.

use crate::client::*;
use crate::daemon::Daemon;
use crate::forward::backend;
use crate::harness::{Ctx, Need::*, PATIENCE, Test, dormouse as dormouse_path, wait_until, within};
use crate::reload::reload;
use crate::test;
use crate::trace::Trace;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

pub const TESTS: &[Test] = &[
    test!(nothing_is_lost_by_a_shortage_after_exec, Prog("strace"), Part("reload"), Part("forward"), Part("internal")),
    test!(sockets_outlive_a_state_that_cannot_be_read, Prog("strace"), Part("reload"), Part("access"), Root),
    test!(what_cannot_be_changed_just_now_is_tried_again, Prog("strace"), Part("reload"), Part("local")),
    test!(queues_of_who_runs_are_left_alone, Prog("strace"), Part("reload")),
    test!(memory_is_watched_after_a_shortage, Prog("strace"), Part("reload"), Directive("EvictUnderPressure")),
    test!(no_memory_at_the_first_start, Prog("strace")),
];

/// Calls of the next image: a name, what stands in its line, and which of them. strace counts from before exec on, so
/// that the image before must make the same number of them in each reload: not so read(2), of signals, which come one
/// by one or together, and then a library could not be loaded.
const CALLS: &[(&str, &str, Which)] = &[
    ("mmap", "MAP_POPULATE", Which::First),
    ("mmap", "MAP_PRIVATE|MAP_ANONYMOUS, -1", Which::Last),
    ("pread64", "", Which::Last),
    ("openat", "\"/dev/null\"", Which::First),
    ("epoll_create1", "", Which::First),
    ("epoll_create1", "", Which::Last),
    ("signalfd4", "", Which::First),
    ("fstat", MEMORY_FILE, Which::Each),
    ("newfstatat", MEMORY_FILE, Which::Each),
    ("getsockopt", "", Which::Each),
    ("newfstatat", "x.sock\"", Which::First),
    ("newfstatat", "control.sock\"", Which::First),
    ("epoll_ctl", "EPOLL_CTL_ADD", Which::Each),
];

/// What memfd_create(2) has made, and no library is.
const MEMORY_FILE: &str = "S_IFREG|0777";

#[derive(Clone, Copy, PartialEq)]
enum Which {
    First,
    Last,
    Each,
}

/// Behind exec, which of the calls of a name these are, from 1 on as strace counts.
fn places(lines: &[String], name: &str, part: &str, which: Which) -> Vec<usize> {
    let call = format!(" {name}(");
    let begin = lines.iter().position(|line| line.contains(" execve(")).expect("an exec");
    let before = lines[..begin].iter().filter(|line| line.contains(&call)).count();
    let behind = lines[begin..].iter().filter(|line| line.contains(&call)).enumerate();
    let found: Vec<_> = behind.filter(|(_, line)| line.contains(part)).map(|(at, _)| before + at + 1).collect();
    match which {
        Which::First => found.first().copied().into_iter().collect(),
        Which::Last => found.last().copied().into_iter().collect(),
        Which::Each => found,
    }
}

/// A reload under strace, perhaps with a fault: an error, and which of the calls has it.
fn traced(ctx: &Ctx, daemon: &Daemon, name: &str, inject: Option<(&str, usize)>) -> Vec<String> {
    let mut options = vec!["-e".to_string(), format!("trace={name},execve")];
    let fault = |(error, at)| ["-e".into(), format!("inject={name}:error={error}:when={at}")];
    options.extend(inject.into_iter().flat_map(fault));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let trace = Trace::attach(daemon, &ctx.path("trace"), &options);
    reload(daemon);
    trace.end()
}

fn sockets(daemon: &Daemon) -> BTreeSet<String> {
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid)).unwrap().flatten();
    let targets = open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).map(|path| path.display().to_string());
    targets.filter(|target| target.starts_with("socket:")).collect()
}

/// What the kernel looks at for the daemon, in all its epoll sets.
fn watched(daemon: &Daemon) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fdinfo", daemon.pid)).unwrap().flatten();
    let texts = open.filter_map(|fd| std::fs::read_to_string(fd.path()).ok());
    texts.map(|text| text.lines().filter(|line| line.starts_with("tfd:")).count()).sum()
}

fn nothing_is_lost_by_a_shortage_after_exec(ctx: &mut Ctx) {
    let (queue, forwarded, echo) = (ctx.port(), ctx.port(), ctx.port());
    let behind = backend(|mut stream| {
        let mut bytes = [0; 100];
        while let Ok(length @ 1..) = stream.read(&mut bytes) {
            let _ = stream.write_all(&bytes[..length]);
        }
    });
    let path = ctx.path("x.sock");
    let daemon = ctx.start(&format!(
        "[queue]\nListenStream=127.0.0.1:{queue}\nStandardInput=null\nExecStart=/bin/sleep 1000\n\
         [forward]\nListenStream=127.0.0.1:{forwarded}\nConnectTo=127.0.0.1:{behind}\n\
         [echo]\nListenStream=127.0.0.1:{echo}\nAccept=yes\nInternal=echo\n\
         [file]\nListenStream={path}\nAccept=yes\nExecStart=/bin/echo here\n"
    ));
    let _waits = connect(queue);
    let mut clients: Vec<TcpStream> = [forwarded, echo].into_iter().map(connect).collect();
    clients.iter_mut().for_each(|client| exchange(client, "before"));
    reload(&daemon);
    let (mut open, children) = (sockets(&daemon), daemon.descendants());
    reload(&daemon);
    open = &open & &sockets(&daemon); // without what serves one reload
    let (all, mut faults) = (watched(&daemon), 0);
    for &(name, part, which) in CALLS {
        let lines = traced(ctx, &daemon, name, None);
        for at in places(&lines, name, part, which) {
            let lines = traced(ctx, &daemon, name, Some(("ENOMEM", at)));
            let Some(fault) = lines.iter().find(|line| line.contains("INJECTED")) else { continue };
            faults += 1;
            let lost: Vec<_> = open.difference(&sockets(&daemon)).cloned().collect();
            assert!(lost.is_empty(), "{lost:?} lost after {fault}\n{}", daemon.log());
            clients.iter_mut().for_each(|client| exchange(client, "behind"));
            assert_eq!(daemon.descendants(), children, "{fault}");
            assert!(
                within(PATIENCE, || watched(&daemon) == all),
                "{} of {all} are watched after {fault}",
                watched(&daemon)
            );
        }
    }
    assert!(faults >= 10, "{faults} faults"); // not all calls have the same name everywhere
    assert_eq!(unix_talk(&path).unwrap(), "here\n");
    assert!(daemon.log().contains("out of memory (ENOMEM); trying again"), "{}", daemon.log());
}

/// Nothing but the sockets is left then: they go to the listeners with their addresses, with those who wait in them,
/// and who serves one goes on.
fn sockets_outlive_a_state_that_cannot_be_read(ctx: &mut Ctx) {
    let (queue, ruled, path) = (ctx.port(), ctx.port(), ctx.path("x.sock"));
    let (rules, fifo) = ("IPAddressDeny=any\nIPAddressAllow=127.0.0.1", ctx.path("fifo"));
    let config = format!(
        "[queue]\nListenStream=127.0.0.1:{queue}\nStandardInput=null\nExecStart=/bin/sleep 1000\n\
         [ruled]\nListenStream=127.0.0.1:{ruled}\nListenDatagram=127.0.0.1:{ruled}\n{rules}\nExecStart=/bin/sleep 1000\n\
         [file]\nListenStream={path}\nListenFIFO={fifo}\nExecStart=/bin/sleep 1000\n"
    );
    let pid_file = ctx.path("pid");
    let launch = |ctx: &mut Ctx| ctx.launch(&config).arg("--pidfile").arg(&pid_file);
    let mut daemon = launch(ctx).start();
    let _waits = connect(queue);
    wait_until("it is served", || daemon.descendants().len() == 1);
    reload(&daemon);
    let (mut open, children) = (sockets(&daemon), daemon.descendants());
    let lines = traced(ctx, &daemon, "pread64", None);
    open = &open & &sockets(&daemon); // without what serves one reload
    let control = shell("awk '/control.sock/ {print $7}' /proc/thread-self/net/unix");
    open.remove(&format!("socket:[{}]", control.trim_end())); // that is made anew
    let place = *places(&lines, "pread64", "", Which::Last).first().expect("the state is read");
    let options = ["-e", "trace=pread64", "-e", &format!("inject=pread64:error=EIO:when={place}")];
    let trace = Trace::attach(&daemon, &ctx.path("trace"), &options);
    daemon.signal(libc::SIGHUP);
    wait_until("it goes on", || daemon.log().matches("ready services=").count() == 2);
    let lines = trace.end();
    assert!(daemon.log().contains("sockets are kept"), "{}", daemon.log());
    assert!(lines.iter().any(|line| line.contains("INJECTED")), "{}", lines.join("\n"));
    daemon.wait_log("why=background");
    assert_eq!(daemon.descendants(), children, "nobody is started a second time\n{}", daemon.log());
    let lost: Vec<_> = open.difference(&sockets(&daemon)).cloned().collect();
    assert!(lost.is_empty(), "{lost:?}\n{}", daemon.log());
    let (status, text) = launch(ctx).refused();
    assert!(status.code() == Some(71) && text.contains("held by process"), "its pid file is locked: {text}");
    daemon.stop();
    assert!(!std::path::Path::new(&pid_file).exists());
}

fn what_cannot_be_changed_just_now_is_tried_again(ctx: &mut Ctx) {
    let path = ctx.path("x.sock");
    let config = |mode| format!("[x]\nListenStream={path}\nSocketMode={mode}\nAccept=yes\nExecStart=/bin/echo here\n");
    let daemon = ctx.start(&config("0666"));
    ctx.file("dormouse.conf", &config("0600"));
    let lines = traced(ctx, &daemon, "fchmodat", Some(("ENOMEM", 1)));
    assert!(lines.iter().any(|line| line.contains("INJECTED")), "{}", lines.join("\n"));
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    wait_until("nobody else may connect", || mode() == 0o600);
    assert_eq!(unix_talk(&path).unwrap(), "here\n");
}

/// Who looks at a datagram before it takes it (MSG_PEEK) sees the first one, in a reload as well.
fn queues_of_who_runs_are_left_alone(ctx: &mut Ctx) {
    let (port, runs) = (ctx.port(), ctx.path("runs"));
    let exec = ctx.script(
        "service",
        &format!("dd bs=2000 count=1 2>/dev/null >>{runs}\n[ $(wc -l <{runs}) = 1 ] || sleep 1000\n"),
    );
    let config = format!("[x]\nListenDatagram=127.0.0.1:{port}\nStandardInput=socket\nExecStart={exec}\n");
    let trace = ctx.path("trace");
    let daemon = ctx.start(&config);
    for text in ["1\n", "2\n", "3\n"] {
        udp().send_to(text.as_bytes(), local(port)).unwrap();
    }
    wait_until("the second run goes on", || ctx.lines("runs").len() == 2);
    let trace = Trace::attach(&daemon, &trace, &["-e", "trace=setsockopt,execve"]);
    reload(&daemon);
    let lines = trace.end();
    assert!(lines.iter().any(|line| line.contains("execve(")), "{}", lines.join("\n"));
    assert!(!lines.iter().any(|line| line.contains("SO_PEEK_OFF")), "{}", lines.join("\n"));
}

fn memory_is_watched_after_a_shortage(ctx: &mut Ctx) {
    if std::fs::File::options().write(true).open("/proc/pressure/memory").is_err() {
        return ctx.skip("this kernel tells of no pressure");
    }
    let port = ctx.port();
    let daemon =
        ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nEvictUnderPressure=yes\nExecStart=/bin/sleep 1000\n"));
    let triggers = || shell(&format!("ls -l /proc/{}/fd", daemon.pid)).matches("pressure").count();
    assert_eq!(triggers(), 1);
    let lines = traced(ctx, &daemon, "openat", None);
    let place = *places(&lines, "openat", "pressure", Which::Last).first().expect("it is opened");
    let lines = traced(ctx, &daemon, "openat", Some(("ENOMEM", place)));
    assert!(lines.iter().any(|line| line.contains("pressure") && line.contains("INJECTED")), "{}", lines.join("\n"));
    assert_eq!(triggers(), 1, "{}", daemon.log());
}

/// A supervisor is told by the exit code, and its owner by a line; there is nothing to wait for.
fn no_memory_at_the_first_start(ctx: &mut Ctx) {
    let (trace, port) = (ctx.path("trace"), ctx.port());
    output(Command::new("strace").args(["-o", &trace, "-e", "trace=mmap", &dormouse_path(), "--version"]));
    let place = 1 + ctx.lines("trace").iter().position(|line| line.contains("MAP_POPULATE")).expect("a heap");
    let inject = format!("inject=mmap:error=ENOMEM:when={place}");
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart=/bin/echo here\n");
    let (status, told) = ctx.launch(&config).strace("faults", &["-e", "trace=mmap", "-e", &inject]).refused();
    assert_eq!((status.code(), told.as_str()), (Some(71), "dormouse: error: out of memory (ENOMEM)\n"));
}

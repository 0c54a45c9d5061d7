//! Between exec and the loop the next image fails in one system call: it waits a little and goes on, with every socket and
//! connection, as nobody else holds them.

use crate::client::*;
use crate::daemon::Daemon;
use crate::forward::backend;
use crate::harness::{Ctx, Need::*, Test, dormouse as dormouse_path};
use crate::reload::reload;
use crate::test;
use crate::trace::Trace;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

pub const TESTS: &[Test] = &[
    test!(nothing_is_lost_by_a_shortage_after_exec, Prog("strace"), Part("reload"), Part("forward"), Part("internal")),
    test!(no_memory_at_the_first_start, Prog("strace")),
];

/// Calls of the next image: a name, what stands in its line, and which of them. strace counts from before exec on, so that
/// the image before must make the same number of them in each reload: not so read(2), of signals, which come one by one or
/// together, and then a library could not be loaded.
const CALLS: &[(&str, &str, Which)] = &[
    ("mmap", "MAP_POPULATE", Which::First),
    ("mmap", "MAP_PRIVATE|MAP_ANONYMOUS, -1", Which::Last),
    ("pread64", "", Which::Last),
    ("openat", "\"/dev/null\"", Which::First),
    ("epoll_create1", "", Which::First),
    ("epoll_create1", "", Which::Last),
    ("signalfd4", "", Which::First),
    ("newfstatat", "x.sock\"", Which::First),
    ("newfstatat", "control.sock\"", Which::First),
    ("epoll_ctl", "EPOLL_CTL_ADD", Which::Each),
];

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

/// A reload under strace, perhaps with a fault.
fn traced(ctx: &Ctx, daemon: &Daemon, name: &str, inject: Option<usize>) -> Vec<String> {
    let mut options = vec!["-e".to_string(), format!("trace={name},execve")];
    options.extend(inject.into_iter().flat_map(|at| ["-e".into(), format!("inject={name}:error=ENOMEM:when={at}")]));
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
    let mut faults = 0;
    for &(name, part, which) in CALLS {
        let lines = traced(ctx, &daemon, name, None);
        for at in places(&lines, name, part, which) {
            let lines = traced(ctx, &daemon, name, Some(at));
            let Some(fault) = lines.iter().find(|line| line.contains("INJECTED")) else { continue };
            faults += 1;
            let lost: Vec<_> = open.difference(&sockets(&daemon)).cloned().collect();
            assert!(lost.is_empty(), "{lost:?} lost after {fault}\n{}", daemon.log());
            clients.iter_mut().for_each(|client| exchange(client, "behind"));
            assert_eq!(daemon.descendants(), children, "{fault}");
        }
    }
    assert!(faults >= 10, "{faults} faults"); // not all calls have the same name everywhere
    assert_eq!(unix_talk(&path).unwrap(), "here\n");
    assert!(daemon.log().contains("out of memory (ENOMEM); trying again"), "{}", daemon.log());
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

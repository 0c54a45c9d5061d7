//! The control socket: what can be seen and ordered, and that clients of it can do no harm.

use crate::client::*;
use crate::daemon::{Daemon, is_live, kill};
use crate::harness::{Ctx, Need::*, Test, dormouse as dormouse_path, sleep_ms, stand_in, wait_until};
use crate::test;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

pub const TESTS: &[Test] = &[
    test!(a_thousand_hostile_clients_change_nothing, Command("status")),
    test!(a_wrong_user_is_cut_off, Command("status"), Root, Prog("setpriv"), Prog("python3")),
    test!(idle_clients_are_cut_off_and_then_it_is_quiet, Command("status")),
    test!(a_watcher_that_takes_nothing_is_cut_off, Command("watch")),
    test!(many_services_are_answered_whole, Command("status")),
    test!(json_is_read_by_python, Command("status"), Prog("python3")),
    test!(refusals_are_counted_by_their_reason, Command("status")),
    test!(a_rest_says_why_and_until_when, Command("status")),
    test!(the_last_end_is_told_with_its_meaning, Command("status")),
    test!(watch_follows_and_history_remembers, Command("watch")),
    test!(metrics_are_read_by_the_reference_parser, Command("metrics"), Python("prometheus_client")),
    test!(stop_beats_restart, Command("stop")),
    test!(stop_of_connections_ends_them_all, Command("stop")),
    test!(pause_leaves_what_runs, Command("pause")),
    test!(start_says_why_it_cannot, Command("start")),
    test!(the_socket_is_private_and_goes_with_the_daemon, Command("status")),
    test!(a_second_daemon_does_not_steal_the_socket, Command("status")),
    test!(a_stale_socket_is_replaced, Command("status")),
    test!(control_off, Command("status")),
    test!(unknown_services_and_words, Command("status")),
];

fn echo(port: u16) -> String {
    format!("[echo]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart=/bin/echo here\nTriggerLimitBurst=0\n")
}

/// A connection to the control socket.
fn knock(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(daemon.control()).unwrap();
    stream.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    stream
}

/// The answer to a request, up to its last row.
fn answer(stream: &mut UnixStream, request: &str) -> String {
    stream.write_all(format!("{request}\n").as_bytes()).unwrap();
    let mut text = String::new();
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        text += &line;
        text.push('\n');
        if line.starts_with("ok") || line.starts_with("error") {
            break;
        }
    }
    text
}

fn a_thousand_hostile_clients_change_nothing(ctx: &mut Ctx) {
    let port = ctx.port();
    let mut daemon = ctx.start(&(echo(port) + &"#\n".repeat(3)));
    assert_eq!(talk(port), "here\n");
    let storm = |count: usize| {
        let mut left = Vec::new();
        for number in 0..count {
            let mut stream = UnixStream::connect(daemon.control()).unwrap();
            stream.set_write_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
            let _ = match number % 5 {
                0 => stream.write_all(&[0xff, 0, b'\n', 7].repeat(500)),
                1 => stream.write_all(b"stat"),
                2 => stream.write_all("status\nhistory\nwatch\n".repeat(100).as_bytes()),
                3 => stream.write_all("x".repeat(5000).as_bytes()),
                _ => Ok(()),
            }; // cut off in the middle is as good
            left.push(stream);
            if number % 50 == 0 {
                assert_eq!(talk(port), "here\n");
            }
        }
        let mut stream = knock(&daemon);
        assert!(answer(&mut stream, "status echo").contains("service name=\"echo\""), "who asks now is served");
        left
    };
    drop(storm(100));
    daemon.rest();
    let (before, fds) = (daemon.private_dirty_kb(), daemon.open_fds());
    let left = storm(1000);
    assert!(daemon.open_fds() <= fds + 10, "{} descriptors", daemon.open_fds());
    drop(left);
    wait_until("all of them are gone", || daemon.open_fds() <= fds);
    daemon.rest();
    let after = daemon.private_dirty_kb();
    assert!(after <= before + 8, "{before} kB before, {after} kB after");
    assert_eq!(talk(port), "here\n");
    assert!(daemon.alive());
    wait_until("the last service has ended", || daemon.descendants().is_empty());
    assert!(daemon.tell(&["status"]).contains("late allocations 0"));
}

fn a_wrong_user_is_cut_off(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&echo(port));
    let mode = |mode| std::fs::set_permissions(daemon.control(), PermissionsExt::from_mode(mode)).unwrap();
    let program = format!(
        "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect({:?})\n\
         try:\n s.send(b'stop echo\\nstatus\\n')\n print(s.recv(100))\nexcept OSError: print('cut')",
        daemon.control()
    );
    let nobody = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", &program]);
        run(&mut command)
    };
    assert!(!nobody().status.success(), "the mode keeps others out");
    mode(0o666);
    for _ in 0..20 {
        let said = String::from_utf8_lossy(&nobody().stdout).into_owned();
        assert!(said == "b''\n" || said == "cut\n", "nothing is told: {said}");
    }
    assert_eq!(talk(port), "here\n");
    assert!(daemon.tell(&["list"]).contains("echo"));
}

fn idle_clients_are_cut_off_and_then_it_is_quiet(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&echo(port));
    let fds = daemon.open_fds();
    let mut idle = knock(&daemon);
    let mut half = knock(&daemon);
    half.write_all(b"stat").unwrap();
    let mut watcher = knock(&daemon);
    watcher.write_all(b"watch\n").unwrap();
    wait_until("they are accepted", || daemon.open_fds() == fds + 3);
    assert_eq!(read_all(&mut idle), "");
    assert_eq!(read_all(&mut half), "");
    wait_until("only the watcher is left", || daemon.open_fds() == fds + 1);
    sleep_ms(300);
    let before = daemon.wakeups();
    sleep_ms(6000);
    assert_eq!(daemon.wakeups(), before, "a watcher that waits costs nothing");
    assert_eq!(talk(port), "here\n");
    assert!(read_line(&mut watcher).contains("what=accept"));
    drop(watcher);
    wait_until("it is gone, too", || daemon.open_fds() == fds);
}

fn a_watcher_that_takes_nothing_is_cut_off(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&echo(port));
    let fds = daemon.open_fds();
    let mut stream = knock(&daemon);
    stream.set_write_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    // enough requests to fill every buffer on the way back
    while stream.write_all("status\n".repeat(50).as_bytes()).is_ok() {}
    assert_eq!(talk(port), "here\n", "nobody else waits for it");
    daemon.cost(|| sleep_ms(1000)).assert_small();
    wait_until("it is cut off", || daemon.open_fds() == fds);
}

fn many_services_are_answered_whole(ctx: &mut Ctx) {
    use std::fmt::Write;
    let mut config = String::new();
    for number in 0..300 {
        let path = ctx.path(&format!("{number}.sock"));
        writeln!(config, "[service-{number}]\nListenStream={path}\nAccept=yes\nExecStart=/bin/true").unwrap();
    }
    let daemon = ctx.start(&config);
    let list = daemon.tell(&["list"]);
    assert_eq!(list.lines().count(), 301);
    assert!(list.contains("service-299"));
    let text = answer(&mut knock(&daemon), "status");
    assert_eq!(text.lines().filter(|line| line.starts_with("socket ")).count(), 300);
    assert!(text.lines().all(|line| !line.ends_with("...")), "no row was cut");
}

/// What python makes of `expression` over the JSON `d` that a command prints.
fn python(daemon: &Daemon, words: &[&str], expression: &str) -> String {
    let text = daemon.tell(words);
    let program = format!("import json, sys\nd = json.loads(sys.argv[1])\nprint({expression})");
    output(Command::new("/usr/bin/python3").args(["-c", &program, &text])).trim().to_string()
}

fn json_is_read_by_python(ctx: &mut Ctx) {
    let (port, other, path) = (ctx.port(), ctx.port(), ctx.path("ä \"quoted\".sock"));
    let config = format!(
        "{}[x]\nListenStream=127.0.0.1:{other}\nListenStream={path}\nExecStart={}\n",
        echo(port),
        stand_in("answer here")
    );
    let daemon = ctx.start(&config);
    assert_eq!(talk(port), "here\n");
    assert!(talk(other).starts_with("here"));
    wait_until("the connection's process has ended", || daemon.descendants().len() == 1);
    let status = |expression: &str| python(&daemon, &["status", "--json"], expression);
    assert_eq!(status("d['daemon']['pid']"), daemon.pid.to_string());
    assert_eq!(status("[s['name'] for s in d['services']]"), "['echo', 'x']");
    assert_eq!(status("d['services'][0]['counts']['accepted'], d['services'][0]['last']['status']"), "1 0");
    assert_eq!(status("d['services'][1]['last'], d['services'][1]['state']"), "None running");
    assert_eq!(status("d['services'][1]['processes'][0]['pid']"), daemon.descendants()[0].to_string());
    assert_eq!(status("d['services'][1]['processes'][0]['memory_kb'] > 0"), "True");
    assert_eq!(status("d['services'][1]['sockets'][1]['address'][-6:]"), "\".sock");
    assert_eq!(status("sum(d['services'][0]['starts']['buckets'])"), "1");
    assert_eq!(python(&daemon, &["list", "--json"], "[len(s['sockets']) for s in d]"), "[1, 2]");
    let history = daemon.tell(&["history", "--json", "echo"]);
    let first = history.lines().next().unwrap();
    let program = "import json, sys, time\ne = json.loads(sys.argv[1])\n\
        print(e['what'], e['service'], e['peer'], abs(e['time'] - time.time()) < 60)";
    let read = output(Command::new("/usr/bin/python3").args(["-c", program, first]));
    assert_eq!(read.trim(), "accept echo 127.0.0.1 True");
}

fn refusals_are_counted_by_their_reason(ctx: &mut Ctx) {
    let (port, denied) = (ctx.port(), ctx.port());
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nMaxConnections=1\nExecStart=/bin/cat\n\
         [y]\nListenStream=127.0.0.1:{denied}\nAccept=yes\nIPAddressDeny=any\nExecStart=/bin/cat\n"
    );
    let daemon = ctx.start(&config);
    let first = connect(port);
    wait_until("the first is served", || daemon.descendants().len() == 1);
    for _ in 0..3 {
        assert_eq!(read_all(connect(port)), "");
    }
    let status = daemon.tell(&["status", "x"]);
    assert!(status.contains("refused    3 (max-connections 3)"), "{status}");
    assert!(status.contains("current 1 of 1"), "{status}");
    drop(first);
    let list = daemon.tell(&["history", "x"]);
    assert!(list.contains("refuse service=x why=max-connections count=3 peer=127.0.0.1"), "{list}");
}

fn a_rest_says_why_and_until_when(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nExecStart=/bin/false\n"));
    let _client = connect(port);
    wait_until("it rests", || daemon.tell(&["list"]).contains("resting"));
    let mut status = String::new();
    wait_until("it rests for a while", || {
        status = daemon.tell(&["status", "x"]);
        status.starts_with("x: resting for ")
    });
    let first = status.lines().next().unwrap();
    assert!(first.contains("(until 2") && first.ends_with(": failure"), "{status}");
    assert!(status.contains("last end   status 1 (failure) after"), "{status}");
}

fn the_last_end_is_told_with_its_meaning(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = ctx.script("service", "read -r status\nexit $status\n");
    let more = "SuccessExitStatus=3\nAccept=yes\n";
    let daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\n{more}ExecStart={exec}\n"));
    assert_eq!(ask(port, "3\n"), "");
    wait_until("nothing is made up", || daemon.tell(&["status", "x"]).contains("status 3 after"));
    assert_eq!(ask(port, "75\n"), "");
    wait_until("it has ended", || daemon.tell(&["status", "x"]).contains("status 75 (temporary failure)"));
    let _client = connect(port);
    wait_until("it runs", || !daemon.descendants().is_empty());
    kill(daemon.descendants()[0], libc::SIGKILL);
    wait_until("it was killed", || daemon.tell(&["status", "x"]).contains("signal SIGKILL"));
}

fn watch_follows_and_history_remembers(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&echo(port));
    let mut command = Command::new(dormouse_path());
    command.args(["watch", "--control", &daemon.control(), "echo"]).stdout(Stdio::piped());
    let mut watch = command.spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    sleep_ms(500);
    assert_eq!(talk(port), "here\n");
    let seen: Vec<String> = lines.by_ref().take(2).map(Result::unwrap).collect();
    assert!(seen[0].contains("Z accept service=echo pid="), "{seen:?}");
    assert!(seen[1].contains("Z exit service=echo pid="), "{seen:?}");
    kill(watch.id() as i32, libc::SIGINT);
    assert!(!watch.wait().unwrap().success(), "an interruption ends it");
    for _ in 0..200 {
        assert_eq!(talk(port), "here\n");
    }
    wait_until("all of them have ended", || daemon.descendants().is_empty());
    let history = daemon.tell(&["history"]);
    assert_eq!(history.lines().count(), 256, "the ring is full, and no fuller");
}

fn metrics_are_read_by_the_reference_parser(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&echo(port));
    assert_eq!(talk(port), "here\n");
    let text = daemon.tell(&["metrics"]);
    let program = "import sys\nfrom prometheus_client.openmetrics.parser import text_string_to_metric_families as p\n\
        f = {m.name: m for m in p(sys.argv[1])}\n\
        print(f['dormouse_accepted'].type, f['dormouse_accepted'].samples[0].value)\n\
        print(f['dormouse_start_seconds'].type, f['dormouse_start_seconds'].samples[-1].value)";
    let read = output(Command::new("/usr/bin/python3").args(["-c", program, &text]));
    assert_eq!(read, "counter 1\nhistogram 1\n");
}

fn stop_beats_restart(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = stand_in("answer here");
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nRestart=always\nRestartSec=100ms\nExecStart={exec}\n");
    let daemon = ctx.start(&config);
    assert!(talk(port).starts_with("here"));
    daemon.tell(&["stop", "x"]);
    assert!(daemon.descendants().is_empty(), "stop returns when it has ended");
    sleep_ms(700);
    assert!(daemon.descendants().is_empty(), "and it stays ended");
    assert!(daemon.tell(&["list"]).contains("waiting"));
    assert!(talk(port).starts_with("here"));
    let first = daemon.descendants()[0];
    let said = daemon.tell(&["restart", "x"]);
    let second = daemon.descendants()[0];
    assert!(first != second && said.contains(&second.to_string()), "{said}");
}

fn stop_of_connections_ends_them_all(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart=/bin/cat\n"));
    let clients: Vec<_> = (0..3).map(|_| connect(port)).collect();
    wait_until("all are served", || daemon.descendants().len() == 3);
    let said = daemon.tell(&["stop", "x"]);
    assert!(said.contains('3') && said.contains("armed"), "{said}");
    for client in clients {
        assert_eq!(read_all(client), "");
    }
    assert_eq!(ask(port, "again\n"), "again\n");
}

fn pause_leaves_what_runs(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = stand_in("answer here");
    let mut daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nRestart=always\nExecStart={exec}\n"));
    assert!(talk(port).starts_with("here"));
    let pid = daemon.descendants()[0];
    let said = daemon.tell(&["pause", "x"]);
    assert!(said.contains("left alone"), "{said}");
    assert!(is_live(pid) && talk(port).starts_with("here"));
    daemon.tell(&["stop", "x"]);
    let client = connect(port);
    daemon.cost(|| sleep_ms(1000)).assert_small();
    assert!(daemon.descendants().is_empty(), "nobody wakes it");
    assert!(daemon.tell(&["status", "x"]).starts_with("x: paused\n"));
    assert_eq!(daemon.ask(&["start", "x"]).status.code(), Some(1));
    assert_eq!(daemon.ask(&["restart", "x"]).status.code(), Some(1));
    daemon.tell(&["pause", "x"]);
    daemon.tell(&["resume", "x"]);
    assert!(read_all(client).starts_with("here"), "who came meanwhile is served");
    assert!(daemon.alive());
}

fn start_says_why_it_cannot(ctx: &mut Ctx) {
    let (port, other) = (ctx.port(), ctx.port());
    let missing = ctx.file("program", "#!/bin/true\n");
    std::fs::set_permissions(&missing, PermissionsExt::from_mode(0o755)).unwrap();
    let config = format!("{}[x]\nListenStream=127.0.0.1:{other}\nExecStart={missing}\n", echo(port));
    let daemon = ctx.start(&config);
    std::fs::remove_file(&missing).unwrap();
    let out = daemon.ask(&["start", "x"]);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(1) && text.contains("program-missing"), "{text}");
    let out = daemon.ask(&["start", "echo"]);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(1) && text.contains("Accept=yes"), "{text}");
}

fn the_socket_is_private_and_goes_with_the_daemon(ctx: &mut Ctx) {
    let port = ctx.port();
    let mut daemon = ctx.start(&echo(port));
    let mode = std::fs::metadata(daemon.control()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    daemon.stop();
    assert!(!std::path::Path::new(&daemon.control()).exists());
}

fn a_second_daemon_does_not_steal_the_socket(ctx: &mut Ctx) {
    let (port, other) = (ctx.port(), ctx.port());
    let first = ctx.start(&echo(port));
    let mut second = ctx.start(&format!("[y]\nListenStream=127.0.0.1:{other}\nAccept=yes\nExecStart=/bin/echo y\n"));
    assert_eq!(talk(other), "y\n", "it works all the same");
    second.wait_log("the control socket");
    assert!(first.tell(&["list"]).contains("echo"));
    second.stop();
    assert!(first.tell(&["list"]).contains("echo"), "the file stays when the second one goes");
}

fn a_stale_socket_is_replaced(ctx: &mut Ctx) {
    let port = ctx.port();
    let mut first = ctx.start(&echo(port));
    first.kill();
    assert!(std::path::Path::new(&first.control()).exists());
    let second = ctx.start(&echo(port));
    assert!(second.tell(&["list"]).contains("echo"));
}

fn control_off(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.launch(&echo(port)).arg("--control").arg("off").start();
    assert_eq!(talk(port), "here\n");
    assert!(!std::path::Path::new(&daemon.control()).exists());
    assert_eq!(daemon.ask(&["list"]).status.code(), Some(1));
}

fn unknown_services_and_words(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&echo(port));
    for words in [
        &["status", "nobody"][..],
        &["status", "echo", "nobody"],
        &["history", "nobody"],
        &["watch", "nobody"],
        &["start", "nobody"],
        &["stop", "nobody"],
        &["restart", "nobody"],
        &["pause", "nobody"],
        &["resume", "echo\nstop"],
    ] {
        let out = daemon.ask(words);
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(1) && text.contains("no service"), "{words:?}: {text}");
    }
    assert_eq!(daemon.ask(&["metrics", "echo"]).status.code(), Some(2));
    let mut stream = knock(&daemon);
    for request in ["", "stop", "frob", "status nobody", "STATUS"] {
        assert!(answer(&mut stream, request).starts_with("error text=\""), "{request}");
    }
    assert!(answer(&mut stream, "status echo").ends_with("\nok\n"), "and the connection lives on");
}

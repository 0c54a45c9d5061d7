//! inetd.conf, and the name inetd: lines as they are, the habits of an inetd, and none of its storms.

use crate::client::*;
use crate::daemon::{Daemon, Launch, descendants, is_live};
use crate::harness::{Ctx, Need::*, PATIENCE, Test, dormouse, prog, sleep_ms, stand_in, wait_until};
use crate::test;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = &[
    test!(lines_are_served, Part("inetd"), Part("internal")),
    test!(arguments_are_passed_as_they_stand, Command("explain"), Part("inetd")),
    test!(faulty_lines_are_left_out_by_run_and_told_by_check, Part("inetd")),
    test!(both_families_of_openbsd, Part("inetd")),
    test!(starts_a_minute, Part("inetd"), Part("internal")),
    test!(trap_01_one_datagram_left_unread, Part("inetd")),
    test!(trap_02_nowait_starts_once_for_a_datagram, Part("inetd")),
    test!(trap_03_program_missing, Part("inetd")),
    test!(trap_03_program_dies_at_once, Part("inetd")),
    test!(trap_04_no_descriptor_left, Part("inetd"), Prog("prlimit")),
    test!(a_process_for_each_peer, Part("inetd")),
    test!(two_thousand_connections_at_once, Part("inetd")),
    test!(tcpmux_starts_services_by_name, Part("inetd"), Part("internal")),
    test!(tcpmux_takes_its_own_bytes_only, Part("inetd"), Part("internal")),
    test!(half_a_request_to_tcpmux_costs_nothing, Part("internal"), Part("local")),
    test!(connections_of_built_in_services_are_few_and_end, Part("inetd"), Part("internal")),
    test!(a_reload_keeps_built_in_connections, Part("inetd"), Part("internal"), Command("reload")),
    test!(a_reload_leaves_faulty_lines_out, Part("inetd"), Command("reload")),
    test!(the_name_inetd_and_its_options, Part("inetd")),
    test!(the_name_inetd_detaches, Part("inetd"), Part("detach"), Root),
    test!(an_ordinary_user_names_itself, Part("inetd"), Root, Prog("setpriv")),
    test!(sessions_outlive_inetd, Part("inetd")),
    test!(tftp_forks_and_leaves, Part("inetd"), Root, Tftp),
    test!(rsync_as_in_every_manual, Part("inetd"), Prog("rsync")),
];

/// Who the lines run their programs as.
fn user() -> String {
    output(Command::new("id").arg("-un")).trim().into()
}

/// A line whose program is the stand-in `words`.
fn line(head: &str, words: &str) -> String {
    let service = stand_in(words);
    let program = service.split(' ').next().unwrap();
    format!("{head} {} {program} {service}\n", user())
}

/// The daemon on an inetd.conf.
fn start(ctx: &Ctx, text: &str) -> Daemon {
    Launch::new(&ctx.dir, 900, Some(ctx.file("inetd.conf", text))).start()
}

fn lines_are_served(ctx: &mut Ctx) {
    let [nowait, wait, udp_port] = [ctx.port(), ctx.port(), ctx.port()];
    let text = [
        format!("{nowait} stream tcp nowait {} /bin/cat cat # a comment\n", user()),
        line(&format!("{wait} stream tcp wait"), "answer waiting 1"),
        line(&format!("127.0.0.1:{udp_port} dgram udp wait"), "udp heard 1"),
    ];
    let mut daemon = start(ctx, &text.concat());
    for _ in 0..3 {
        assert_eq!(ask(nowait, "hello\n"), "hello\n");
        assert!(talk(wait).starts_with("waiting"));
        assert!(udp_ask(udp_port, "hello").starts_with("heard"));
    }
    assert!(daemon.alive());
}

fn arguments_are_passed_as_they_stand(ctx: &mut Ctx) {
    let port = ctx.port();
    let text = format!(
        "{port} stream tcp nowait {} /bin/sh name -c echo\\040\"$0\"|cat 100% $HOME ; 'x y'\n{port} stream tcp nowait\n",
        user()
    );
    let file = ctx.file("inetd.conf", &text);
    let out = run(Command::new(dormouse()).args(["explain", "-c", &file, &format!("{port}/tcp")]));
    let shown = String::from_utf8_lossy(&out.stdout).into_owned();
    for (index, word) in ["name", "-c", "echo\\040\"$0\"|cat", "100%", "$HOME", ";", "'x", "y'"].iter().enumerate() {
        assert!(shown.contains(&format!("argv[{index}] {word}\n")), "{word}\n{shown}");
    }
}

fn faulty_lines_are_left_out_by_run_and_told_by_check(ctx: &mut Ctx) {
    let port = ctx.port();
    let text = format!(
        "7 stream tcp sometimes root /bin/cat cat\n\
         8 stream tcp nowait nobody-has-this-name /bin/cat cat\n\
         no-such-service stream tcp nowait root /bin/cat cat\n\
         {port} stream tcp nowait {} /bin/cat cat\n\
         {port} stream tcp nowait root /bin/echo a second time\n\
         9 stream\n\
         rstatd/1-3 dgram rpc/udp wait root /bin/cat cat\n",
        user()
    );
    let daemon = start(ctx, &text);
    assert_eq!(ask(port, "served\n"), "served\n");
    for what in
        ["sometimes", "nobody-has-this-name", "no-such-service", "a second time", "too few fields", "portmapper"]
    {
        assert!(daemon.log().contains(what), "{what} is not told:\n{}", daemon.log());
    }
    let (status, told) = crate::commands::dormouse(&["check", "-c", &ctx.path("inetd.conf")]);
    assert_eq!(status, 1, "{told}");
    assert!(told.contains("inetd.conf:1:14: error") && told.contains("the rest: 1 service"), "{told}");
    // two sockets, one of each family, and one fault
    let (_, told) = crate::commands::dormouse(&["check", "--dialect", "openbsd", "-c", &ctx.path("inetd.conf")]);
    assert_eq!(told.matches("service no-such-service in /etc/services").count(), 1, "{told}");
}

fn both_families_of_openbsd(ctx: &mut Ctx) {
    let port = ctx.port();
    let file = ctx.file("services", &line(&format!("{port} stream tcp wait"), "answer here 1"));
    let launch = Launch::new(&ctx.dir, 900, Some(file)).arg("--dialect").arg("openbsd");
    let _daemon = launch.start();
    assert!(talk(port).starts_with("here"));
    let v6 = std::net::SocketAddr::new("::1".parse().unwrap(), port);
    assert!(read_all(try_connect(v6, PATIENCE).unwrap()).starts_with("here"));
}

fn starts_a_minute(ctx: &mut Ctx) {
    let port = ctx.port();
    let _daemon = start(ctx, &format!("{port} stream tcp nowait.3 {} /bin/echo echo here\n", user()));
    for _ in 0..3 {
        assert_eq!(talk(port), "here\n");
    }
    let waiting = connect(port);
    waiting.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    assert!((&waiting).read(&mut [0]).is_err(), "the fourth waits for the minute to end");
    assert!(std::net::TcpListener::bind(local(port)).is_err(), "the port stays ours");
}

fn assert_calm(daemon: &Daemon, runs: impl Fn() -> usize, most: usize) {
    daemon.cost(|| std::thread::sleep(Duration::from_secs(5))).assert_small();
    assert!((1..=most).contains(&runs()), "{} starts in 5 s", runs());
}

/// A line whose program notes that it ran, then does `rest`.
fn noted(ctx: &Ctx, head: &str, rest: &str) -> String {
    let script = ctx.file("service", &format!("echo run >>{}\n{rest}\n", ctx.path("runs")));
    format!("{head} {} /bin/sh sh {script}\n", user())
}

fn trap_01_one_datagram_left_unread(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = start(ctx, &noted(ctx, &format!("{port} dgram udp wait"), "exit 0"));
    udp().send_to(b"x", local(port)).unwrap();
    assert_calm(&daemon, || ctx.lines("runs").len(), 8);
}

fn trap_02_nowait_starts_once_for_a_datagram(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = start(ctx, &noted(ctx, &format!("{port} dgram udp nowait"), "exit 0"));
    udp().send_to(b"x", local(port)).unwrap();
    assert_calm(&daemon, || ctx.lines("runs").len(), 1);
    let text = noted(ctx, "7008 dgram udp nowait", "exit 0");
    let file = ctx.file("other.inetd", &text);
    let (_, told) = crate::commands::dormouse(&["check", "--dialect", "openbsd", "--print", "-c", &file]);
    assert!(!told.contains("Accept=yes"), "elsewhere it means wait: {told}");
}

fn trap_03_program_missing(ctx: &mut Ctx) {
    let (port, program) = (ctx.port(), ctx.path("missing"));
    for flag in ["wait", "nowait"] {
        let daemon = start(ctx, &format!("{port} stream tcp {flag} {} {program} missing\n", user()));
        let _client = connect(port);
        daemon.cost(|| sleep_ms(3000)).assert_small();
        daemon.wait_log("start service=");
    }
}

fn trap_03_program_dies_at_once(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = start(ctx, &noted(ctx, &format!("{port} stream tcp wait"), "exit 0"));
    let _client = connect(port);
    assert_calm(&daemon, || ctx.lines("runs").len(), 8);
}

fn trap_04_no_descriptor_left(ctx: &mut Ctx) {
    let port = ctx.port();
    let text = format!("{port} stream tcp nowait {} /bin/echo echo here\n", user());
    let file = ctx.file("inetd.conf", &text);
    let daemon = Launch::new(&ctx.dir, 900, Some(file)).start();
    let pid = daemon.pid.to_string();
    let set = |limit: usize| {
        output(Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={limit}:4096")]));
    };
    set(3);
    let clients: Vec<_> = (0..5).map(|_| connect(port)).collect();
    daemon.cost(|| sleep_ms(3000)).assert_small();
    set(4096);
    for client in clients {
        assert_eq!(read_all(client), "here\n", "who waited is served");
    }
}

fn a_process_for_each_peer(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = start(ctx, &format!("{port} dgram udp nowait {} /bin/cat cat\n", user()));
    let ask = |client: &std::net::UdpSocket, text: &str| {
        client.send_to(text.as_bytes(), local(port)).unwrap();
        let mut buffer = [0; 100];
        let (length, from) = client.recv_from(&mut buffer).expect("an answer");
        assert_eq!((&buffer[..length], from), (text.as_bytes(), local(port)));
    };
    let [one, two] = [udp(), udp()];
    for round in 0..3 {
        ask(&one, &format!("one {round}"));
        ask(&two, &format!("two {round}"));
    }
    assert_eq!(daemon.descendants().len(), 2, "one for each peer");
    for pid in daemon.descendants() {
        crate::daemon::kill(pid, libc::SIGKILL);
    }
    wait_until("both have ended", || daemon.descendants().is_empty());
    ask(&one, "again");
}

/// Nothing is closed by a limit that nobody has asked for.
fn two_thousand_connections_at_once(ctx: &mut Ctx) {
    let port = ctx.port();
    let mut daemon = start(ctx, &format!("{port} stream tcp nowait {} /bin/cat cat\n", user()));
    let many = rustix::process::getrlimit(rustix::process::Resource::Nofile).current >= Some(3000);
    let count = if many { 2000 } else { 400 };
    let clients: Vec<_> = (0..count).map(|_| connect(port)).collect();
    for client in &clients {
        (&*client).write_all(b"hello\n").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
    }
    let limit = Duration::from_secs(120);
    for (index, client) in clients.into_iter().enumerate() {
        client.set_read_timeout(Some(limit)).unwrap();
        assert_eq!(read_all(client), "hello\n", "connection {index}");
    }
    assert!(daemon.alive());
}

const MUX: &str = "stream tcp nowait";

fn mux(ctx: &mut Ctx) -> (u16, Daemon) {
    let port = ctx.port();
    let user = user();
    let text = format!(
        "[tcpmux]\nListenStream=127.0.0.1:{port}\nInternal=tcpmux\n\
         [tcpmux/plain]\nAccept=yes\nExecStart=/bin/echo plain here\n\
         [tcpmux/+cat]\nAccept=yes\nExecStart=/bin/cat\n"
    );
    let native = ctx.file("a.conf", &text);
    let inetd = ctx.file("b.inetd", &format!("tcpmux/+who {MUX} {user} /bin/echo echo who here\n"));
    let launch = Launch::new(&ctx.dir, 900, Some(native)).arg("-c").arg(&inetd);
    (port, launch.start())
}

fn tcpmux_starts_services_by_name(ctx: &mut Ctx) {
    let (port, daemon) = mux(ctx);
    assert_eq!(ask(port, "plain\r\n"), "plain here\n");
    assert_eq!(ask(port, "WHO\r\n"), "+Go\r\nwho here\n");
    assert_eq!(ask(port, "help\r\n"), "plain\r\ncat\r\nwho\r\n");
    assert!(ask(port, "nothing\r\n").starts_with('-'));
    assert!(ask(port, &"x".repeat(300)).starts_with('-'));
    assert_eq!(ask(port, ""), "");
    let idle = connect(port);
    daemon.cost(|| sleep_ms(1000)).assert_small();
    drop(idle);
}

fn tcpmux_takes_its_own_bytes_only(ctx: &mut Ctx) {
    let (port, daemon) = mux(ctx);
    assert_eq!(ask(port, "cat\r\nand this is for cat\n"), "+Go\r\nand this is for cat\n");
    let mut client = connect(port);
    client.write_all(b"ca").unwrap();
    daemon.cost(|| sleep_ms(1500)).assert_small();
    client.write_all(b"t\r\nlate\n").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_all(client), "+Go\r\nlate\n");
}

/// A queue with half a request in it is readable, and stays so; one whose client has hung up is even at its end.
fn half_a_request_to_tcpmux_costs_nothing(ctx: &mut Ctx) {
    let (port, path) = (ctx.port(), ctx.path("mux"));
    let daemon = ctx.start(&format!(
        "[tcpmux]\nListenStream=127.0.0.1:{port}\nListenStream={path}\nInternal=tcpmux\n\
         [tcpmux/cat]\nAccept=yes\nExecStart=/bin/cat\n"
    ));
    assert_eq!(ask(port, "ca"), "", "nothing more can come");
    let mut local = UnixStream::connect(&path).unwrap();
    local.write_all(b"ca").unwrap();
    daemon.cost(|| sleep_ms(1000)).assert_small();
    local.write_all(b"t\r\nthis is for cat\n").unwrap();
    local.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_all(local), "this is for cat\n");
}

fn connections_of_built_in_services_are_few_and_end(ctx: &mut Ctx) {
    let (echo, daytime) = (ctx.port(), ctx.port());
    let config = format!(
        "[echo]\nListenStream=127.0.0.1:{echo}\nInternal=echo\n[time]\nListenStream=127.0.0.1:{daytime}\nInternal=daytime\n"
    );
    let mut daemon = ctx.start(&config);
    let clients: Vec<_> = (0..20).map(|_| connect(echo)).collect();
    daemon.cost(|| sleep_ms(1500)).assert_small();
    let text = "x".repeat(100_000);
    std::thread::scope(|scope| {
        let mut first = clients[0].try_clone().unwrap();
        scope.spawn(|| {
            (&clients[0]).write_all(text.as_bytes()).unwrap();
            clients[0].shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut back = String::new();
        first.read_to_string(&mut back).unwrap();
        assert_eq!(back.len(), text.len(), "more than fits into any queue comes back whole");
    });
    drop(clients);
    assert_eq!(ask(echo, "who waited is served\n"), "who waited is served\n");
    assert!(talk(daytime).ends_with("\r\n"));
    assert!(daemon.alive());
}

fn a_reload_keeps_built_in_connections(ctx: &mut Ctx) {
    let [echo, discard, chargen, mux] = [ctx.port(), ctx.port(), ctx.port(), ctx.port()];
    let line = |port: u16, name: &str| format!("[{name}]\nListenStream=127.0.0.1:{port}\nInternal={name}\n");
    let all = line(echo, "echo") + &line(chargen, "chargen") + &line(mux, "tcpmux");
    let daemon = ctx.start(&(line(discard, "discard") + &all));
    let [mut one, mut gone, mut two, mut three] = [echo, discard, chargen, mux].map(connect);
    let mut say = |word: &str| {
        one.write_all(word.as_bytes()).unwrap();
        assert_eq!(read_line(&mut one), word.trim());
    };
    say("one\n");
    three.write_all(b"he").unwrap();
    wait_until("all are connections", || daemon.log().contains("ready"));
    read_line(&mut two);
    ctx.file("dormouse.conf", &all);
    assert!(crate::reload::order(&daemon, libc::SIGHUP), "{}", daemon.log());
    say("two\n");
    assert_eq!(gone.read(&mut [0]).unwrap_or(0), 0, "its service is gone");
    three.write_all(b"lp\r\n").unwrap();
    assert_eq!(read_all(three), "", "nothing is served by name, and that is said");
    for number in 0..1000 {
        let text = read_line(&mut two);
        assert_eq!(text.trim_end_matches('\r').len(), 72, "line {number} after the reload: {text}");
    }
    drop((one, two));
    daemon.cost(|| sleep_ms(1000)).assert_small();
}

fn a_reload_leaves_faulty_lines_out(ctx: &mut Ctx) {
    let (old, new) = (ctx.port(), ctx.port());
    let entry = |port: u16, word: &str| format!("{port} stream tcp nowait {} /bin/echo echo {word}\n", user());
    let daemon = start(ctx, &entry(old, "before"));
    assert_eq!(talk(old), "before\n");
    ctx.file("inetd.conf", &(entry(old, "after") + "7 stream tcp sometimes root /bin/cat cat\n" + &entry(new, "new")));
    let told = daemon.ask(&["reload"]);
    let [out, err] = [told.stdout, told.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(told.status.success() && out.starts_with("reload done: services: 2;"), "{out}{err}");
    assert!(err.contains("inetd.conf:2:14: warning: \"sometimes\""), "who asks hears what is left out: {err}");
    assert_eq!((talk(old), talk(new)), ("after\n".into(), "new\n".into()));
    assert!(daemon.log().contains("sometimes"));
    ctx.file("inetd.conf", &entry(old, "after"));
    let told = String::from_utf8(daemon.ask(&["reload"]).stderr).unwrap();
    assert!(!told.contains("left out"), "{told}");
}

/// The program by the name inetd.
fn by_name(ctx: &Ctx, words: &[&str], log: &str) -> Command {
    let inetd = ctx.path("inetd");
    let _ = std::os::unix::fs::symlink(dormouse(), &inetd);
    let mut command = Command::new(&inetd);
    command.args(crate::harness::without_control()).args(words).stderr(std::fs::File::create(ctx.path(log)).unwrap());
    command
}

/// An inetd that is ended, with its children, when the test is over.
struct Inetd(Child);

impl Drop for Inetd {
    fn drop(&mut self) {
        let below = descendants(self.0.id() as i32);
        let _ = self.0.kill();
        let _ = self.0.wait();
        below.into_iter().for_each(|pid| crate::daemon::kill(pid, libc::SIGKILL));
    }
}

fn the_name_inetd_and_its_options(ctx: &mut Ctx) {
    let port = ctx.port();
    let file = ctx.file("services", &format!("{port} stream tcp nowait {} /usr/bin/env env\nbad line\n", user()));
    let words = ["-f", "-e", "-l", "-q", "5", "-R", "2", "-a", "127.0.0.1", "-E", &file];
    let mut command = by_name(ctx, &words, "log1");
    let _inetd = Inetd(command.env("KEPT", "through").spawn().unwrap());
    wait_until("the port opens", || ctx.lines("log1").iter().any(|line| line.contains("ready")));
    assert!(talk(port).contains("KEPT=through"), "-E");
    assert!(try_connect(std::net::SocketAddr::from(([127, 0, 0, 2], port)), PATIENCE).is_err(), "-a");
    assert!(!talk(port).is_empty());
    let third = connect(port);
    third.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    assert!((&third).read(&mut [0]).is_err(), "-R");
    let log = ctx.lines("log1").join("\n");
    assert!(log.contains("too few fields") && log.contains("accept service="), "-e and -l:\n{log}");
    let help = run(by_name(ctx, &["--help"], "log2").stdin(std::process::Stdio::null()));
    assert!(String::from_utf8_lossy(&help.stdout).contains("-R N"));
    let wrong = run(&mut by_name(ctx, &["--no-such-option"], "log3"));
    assert_eq!(wrong.status.code(), Some(2));
}

fn the_name_inetd_detaches(ctx: &mut Ctx) {
    let (port, pid_file) = (ctx.port(), ctx.path("inetd.pid"));
    let file = ctx.file("services", &format!("{port} stream tcp nowait root /bin/echo echo here\n"));
    let start = Instant::now();
    let status = by_name(ctx, &["-p", &pid_file, &file], "log1").status().unwrap();
    assert!(status.success() && start.elapsed() < PATIENCE, "it goes to the background");
    let pid: i32 = ctx.lines("inetd.pid")[0].trim().parse().unwrap();
    assert_eq!(talk(port), "here\n");
    crate::daemon::kill(pid, libc::SIGTERM);
    wait_until("it ends", || !is_live(pid));
    assert!(!std::path::Path::new(&pid_file).exists());
}

/// Without root a line can still say who it is for.
fn an_ordinary_user_names_itself(ctx: &mut Ctx) {
    let port = ctx.port();
    let file = ctx.file("services", &format!("{port} stream tcp nowait nobody /usr/bin/id id -un\n"));
    let inetd = ctx.path("inetd");
    std::os::unix::fs::symlink(dormouse(), &inetd).unwrap();
    let log = std::fs::File::create(ctx.path("log1")).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups", &inetd, "-f", "-e"]);
    command.args(crate::harness::without_control()).arg(&file);
    let _inetd = Inetd(command.stderr(log).spawn().unwrap());
    wait_until("it is ready", || ctx.lines("log1").iter().any(|line| line.contains("ready")));
    assert_eq!(talk(port), "nobody\n");
}

/// A session that is going on is nobody's business, least of all that of an inetd that is restarted.
fn sessions_outlive_inetd(ctx: &mut Ctx) {
    let port = ctx.port();
    let mut daemon = start(ctx, &format!("{port} stream tcp nowait {} /bin/cat cat\n", user()));
    let mut session = connect(port);
    exchange(&mut session, "one");
    assert!(daemon.stop().success());
    exchange(&mut session, "two");
}

/// tftpd answers in a child and leaves the socket: the next client is served at once.
fn tftp_forks_and_leaves(ctx: &mut Ctx) {
    let (port, tftpd) = (ctx.port(), prog("in.tftpd"));
    ctx.file("boot/kernel", "hello from tftpd\n");
    let boot = ctx.path("boot");
    let _daemon = start(ctx, &format!("{port} dgram udp wait root {tftpd} in.tftpd -s {boot} -u root -t 1\n"));
    for copy in ["one", "two", "three"] {
        let mut tftp = Command::new("tftp");
        tftp.current_dir(&ctx.dir).args(["-m", "binary", "127.0.0.1", &port.to_string(), "-c", "get", "kernel", copy]);
        output(&mut tftp);
        assert_eq!(ctx.lines(copy), ["hello from tftpd"]);
    }
}

fn rsync_as_in_every_manual(ctx: &mut Ctx) {
    let (port, rsync) = (ctx.port(), prog("rsync"));
    ctx.file("share/hello", "hello from rsync\n");
    let options = format!("use chroot = no\n[share]\npath = {}\n", ctx.path("share"));
    let options = ctx.file("rsyncd.conf", &options);
    let text = format!("{port} stream tcp nowait {} {rsync} rsync --daemon --config={options}\n", user());
    let _daemon = start(ctx, &text);
    let source = format!("rsync://127.0.0.1:{port}/share/hello");
    output(Command::new(&rsync).args(["-q", &source, &ctx.path("copy")]));
    assert_eq!(ctx.lines("copy"), ["hello from rsync"]);
}

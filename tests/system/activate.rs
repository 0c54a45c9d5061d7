//! `dormouse activate`: a service without any configuration.

use crate::client::*;
use crate::daemon::{descendants, kill};
use crate::harness::{Ctx, Need::*, Test, dormouse as dormouse_path, is_root, stand_in, wait_until};
use crate::listen_protocol::Report;
use crate::test;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

pub const TESTS: &[Test] = &[
    test!(t1_several_addresses_of_several_types, Command("activate")),
    test!(t1_datagram_and_seqpacket_options, Command("activate"), Part("local")),
    test!(t2_armed_again_when_the_service_ends, Command("activate")),
    test!(t2_once_becomes_the_service, Command("activate")),
    test!(t2_now_starts_at_once, Command("activate")),
    test!(t3_one_process_per_connection, Command("activate")),
    test!(t4_inetd_descriptors, Command("activate")),
    test!(t4_inetd_with_two_sockets_is_refused, Command("activate")),
    test!(t5_clean_environment, Command("activate")),
    test!(t5_children_end_with_the_tool, Command("activate")),
    test!(t6_one_name_for_all, Command("activate")),
    test!(t6_names_must_match_in_number, Command("activate")),
    test!(t6_sockets_that_were_given_come_first, Command("activate"), Part("local")),
    test!(unix_path_and_bad_address, Command("activate"), Part("local")),
];

/// `dormouse activate WORDS`, killed with what it started when the test ends.
struct Activate(Child);

impl Activate {
    fn start(ctx: &Ctx, words: &str) -> Activate {
        Activate::by(Command::new(dormouse_path()), ctx, words)
    }

    fn by(mut command: Command, ctx: &Ctx, words: &str) -> Activate {
        let log = std::fs::File::options().create(true).append(true).open(ctx.path("log")).unwrap();
        command.arg("activate").args(words.split(' ')).env("SECRET", "hidden").env("USERNAME", "not-to-be-copied");
        let child =
            command.current_dir(&ctx.dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Activate(child)
    }

    fn tcp(ctx: &Ctx, port: u16, words: &str) -> Activate {
        let tool = Activate::start(ctx, &format!("-l 127.0.0.1:{port} {words}"));
        wait_until("the port is open", || listening(port));
        tool
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }
}

/// Does anybody listen on this port? Asked without a connection, which would wake the service.
fn listening(port: u16) -> bool {
    let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
    let text: String = tables.iter().filter_map(|table| std::fs::read_to_string(table).ok()).collect();
    text.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.nth(1).is_some_and(|own| own.ends_with(&format!(":{port:04X}"))) && words.nth(1) == Some("0A")
    })
}

impl Drop for Activate {
    fn drop(&mut self) {
        let below = descendants(self.pid());
        let _ = self.0.kill();
        let _ = self.0.wait();
        for pid in below {
            kill(pid, libc::SIGKILL);
        }
    }
}

fn t1_several_addresses_of_several_types(ctx: &mut Ctx) {
    let (tcp, report) = (ctx.port(), ctx.path("report"));
    let words = format!("-l tcp:{tcp} -l udp:{tcp} {}", stand_in("listenfd"));
    let tool = Activate::start(ctx, &words);
    wait_until("the port is open", || listening(tcp));
    assert_eq!(talk(tcp).trim(), "count=2 udp=true left=false");
    drop((tool, report));
}

fn t1_datagram_and_seqpacket_options(ctx: &mut Ctx) {
    let port = ctx.port();
    let _tool = Activate::start(ctx, &format!("-d -l 127.0.0.1:{port} {}", stand_in("udp heard 1")));
    let client = udp();
    client.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    wait_until("an answer", || {
        let _ = client.send_to(b"x", local(port));
        client.recv(&mut [0; 100]).is_ok()
    });
    let (path, report) = (ctx.path("seq.sock"), ctx.path("report"));
    let _other = Activate::start(ctx, &format!("--seqpacket -l {path} {}", stand_in(&format!("report {report}"))));
    wait_until("the socket is there", || std::path::Path::new(&path).exists());
    let script = ctx.file(
        "client.py",
        "import socket, sys\ns = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\ns.connect(sys.argv[1])\n",
    );
    output(Command::new("/usr/bin/python3").args([&script, &path]));
    assert_eq!(Report::wait(ctx, "report").var("LISTEN_FDS"), Some("1"));
}

fn t2_armed_again_when_the_service_ends(ctx: &mut Ctx) {
    let port = ctx.port();
    let mut tool = Activate::tcp(ctx, port, &stand_in("answer here 1"));
    for _ in 0..3 {
        assert!(talk(port).starts_with("here"));
    }
    assert!(tool.0.try_wait().unwrap().is_none());
}

fn t2_once_becomes_the_service(ctx: &mut Ctx) {
    let port = ctx.port();
    let mut tool = Activate::tcp(ctx, port, &format!("--once {}", stand_in("answer here 1")));
    assert_eq!(talk(port).trim(), format!("here {}", tool.pid()), "the same process");
    let mut status = None;
    wait_until("its end", || {
        status = tool.0.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.unwrap().success());
    assert!(!listening(port));
}

fn t2_now_starts_at_once(ctx: &mut Ctx) {
    let port = ctx.port();
    let report = ctx.path("report");
    let _tool = Activate::start(
        ctx,
        &format!("--now -l 127.0.0.1:{port} {}", stand_in(&format!("report-and-answer {report}"))),
    );
    let report = Report::wait(ctx, "report");
    assert_eq!(report.var("LISTEN_PID"), report.get("pid"));
    assert!(talk(port).starts_with("reported"));
}

fn t3_one_process_per_connection(ctx: &mut Ctx) {
    let port = ctx.port();
    let tool = Activate::tcp(ctx, port, "-a --inetd /bin/cat");
    let mut clients: Vec<_> = (0..3).map(|_| connect(port)).collect();
    for client in &mut clients {
        std::io::Write::write_all(client, b"x\n").unwrap();
        assert_eq!(read_line(client), "x");
    }
    assert_eq!(descendants(tool.pid()).len(), 3);
    drop(clients);
    wait_until("all have ended", || descendants(tool.pid()).is_empty());
    assert_eq!(ask(port, "again\n"), "again\n");
}

fn t4_inetd_descriptors(ctx: &mut Ctx) {
    let port = ctx.port();
    let report = ctx.path("report");
    let _tool = Activate::tcp(ctx, port, &format!("--inetd {}", stand_in(&format!("report-and-answer {report}"))));
    assert!(talk(port).starts_with("reported"));
    let report = Report::wait(ctx, "report");
    report.assert_no_listen_variables();
    assert!(report.get("fd.0").unwrap().ends_with(&format!(":{port}")));
}

fn t4_inetd_with_two_sockets_is_refused(ctx: &mut Ctx) {
    let (a, b) = (ctx.port(), ctx.port());
    let words = format!("--inetd -l 127.0.0.1:{a} -l 127.0.0.1:{b} /bin/true");
    let (status, message) =
        crate::commands::dormouse(&[&["activate"], words.split(' ').collect::<Vec<_>>().as_slice()].concat());
    assert_eq!(status, 2, "{message}");
}

fn t5_clean_environment(ctx: &mut Ctx) {
    let port = ctx.port();
    let words = format!("-E NEST=warm -E SECRET --inetd -a {}", "/usr/bin/env");
    let _tool = Activate::tcp(ctx, port, &words);
    let environment = talk(port);
    assert!(environment.contains("NEST=warm\n") && environment.contains("SECRET=hidden\n"), "{environment}");
    assert!(!environment.contains("USERNAME="), "{environment}");
    let other = ctx.port();
    let mut ordinary = Command::new(dormouse_path());
    ordinary.env("SHELL", "/bin/sh").env("HOME", "/");
    if is_root() {
        ordinary.uid(65534).gid(65534);
    }
    let _second = Activate::by(ordinary, ctx, &format!("-l 127.0.0.1:{other} --inetd -a /usr/bin/env"));
    wait_until("the port is open", || listening(other));
    let environment = talk(other);
    for name in ["SECRET=", "SHELL="] {
        assert!(!environment.contains(name), "{environment}");
    }
    assert!(environment.contains("PATH=") && environment.contains("HOME=/\n"), "{environment}");
}

fn t5_children_end_with_the_tool(ctx: &mut Ctx) {
    let port = ctx.port();
    let tool = Activate::tcp(ctx, port, "-a --inetd /bin/cat");
    let mut client = connect(port);
    std::io::Write::write_all(&mut client, b"x\n").unwrap();
    assert_eq!(read_line(&mut client), "x");
    let children = descendants(tool.pid());
    kill(tool.pid(), libc::SIGTERM);
    wait_until("the child ends, too", || children.iter().all(|pid| !crate::daemon::is_live(*pid)));
}

fn t6_one_name_for_all(ctx: &mut Ctx) {
    let (a, b) = (ctx.port(), ctx.port());
    let words =
        format!("-l 127.0.0.1:{b} --fdname den {}", stand_in(&format!("report-and-answer {}", ctx.path("report"))));
    let _tool = Activate::tcp(ctx, a, &words);
    // The stand-in answers on its first descriptor, which is the first address.
    assert!(talk(a).starts_with("reported"));
    assert_eq!(Report::wait(ctx, "report").var("LISTEN_FDNAMES"), Some("den:den"));
}

fn t6_names_must_match_in_number(ctx: &mut Ctx) {
    let port = ctx.port();
    let words = format!("activate -l 127.0.0.1:{port} --fdname one:two /bin/true");
    let (status, message) = crate::commands::dormouse(&words.split(' ').collect::<Vec<_>>());
    assert_eq!(status, 2, "{message}");
}

fn t6_sockets_that_were_given_come_first(ctx: &mut Ctx) {
    let (given, own, report) = (ctx.port(), ctx.port(), ctx.path("report"));
    let words = format!(
        "{} tcp:{given} -- {} activate -l 127.0.0.1:{own} {}",
        stand_in("pass"),
        dormouse_path(),
        stand_in(&format!("report-and-answer {report}"))
    );
    let words: Vec<&str> = words.split(' ').collect();
    let tool = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let _tool = Activate(tool);
    wait_until("the port is open", || listening(own));
    assert!(talk(given).starts_with("reported"));
    let report = Report::wait(ctx, "report");
    assert_eq!((report.var("LISTEN_FDS"), report.var("LISTEN_PID")), (Some("2"), report.get("pid")));
    for (fd, port) in [(3, given), (4, own)] {
        let line = report.get(&format!("fd.{fd}")).unwrap();
        assert!(line.ends_with(&format!("127.0.0.1:{port}")), "fd {fd} is {line}");
    }
}

fn unix_path_and_bad_address(ctx: &mut Ctx) {
    let path = ctx.path("x.sock");
    let _tool = Activate::start(ctx, &format!("-l {path} {}", stand_in("answer here")));
    // the path is there a moment before somebody listens
    wait_until("somebody listens", || unix_talk(&path).is_ok_and(|answer| answer.starts_with("here")));
    let (status, message) = crate::commands::dormouse(&["activate", "-l", "not an address", "/bin/true"]);
    assert_eq!(status, 2, "{message}");
    assert!(message.contains("not an address"), "{message}");
}

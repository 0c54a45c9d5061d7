//! The same inetd.conf under the real inetds: what a child gets there, and what it gets from us. Every difference is in
//! a table with its reason, and a line of the table that no longer holds fails as well.
//!
//! The other programs are Debian's, unpacked by tests/run and not installed.

use crate::client::*;
use crate::daemon::descendants;
use crate::harness::{Ctx, Need::*, PATIENCE, Test, dormouse, stand_in, wait_until, within};
use crate::test;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub const TESTS: &[Test] = &[
    test!(as_busybox_inetd, Part("inetd"), Root, File("target/neighbours/busybox-inetd")),
    test!(as_openbsd_inetd, Part("inetd"), Root, File("target/neighbours/openbsd-inetd/usr/sbin/inetd")),
    test!(as_inetutils_inetd, Part("inetd"), Root, File("target/neighbours/inetutils-inetd/usr/sbin/inetutils-inetd")),
    test!(as_xinetd, Part("inetd"), Root, File("target/neighbours/xinetd/usr/sbin/xinetd")),
    test!(
        ftp_of_inetutils,
        Part("inetd"),
        Root,
        File("target/neighbours/inetutils-ftpd/usr/sbin/ftpd"),
        File("target/neighbours/inetutils-ftp/usr/bin/inetutils-ftp")
    ),
    test!(
        telnet_of_inetutils,
        Part("inetd"),
        Root,
        File("target/neighbours/inetutils-telnetd/usr/sbin/telnetd"),
        File("target/neighbours/inetutils-telnet/usr/bin/inetutils-telnet")
    ),
];

/// A file of an unpacked package.
pub fn neighbour(path: &str) -> String {
    format!("{}/target/neighbours/{path}", env!("CARGO_MANIFEST_DIR"))
}

pub const OPENBSD: &str = "openbsd-inetd/usr/sbin/inetd";
pub const INETUTILS: &str = "inetutils-inetd/usr/sbin/inetutils-inetd";

/// The lines that are compared: name, type, protocol, flag, user, group.
const LINES: [[&str; 6]; 6] = [
    ["nowait-root", "stream", "tcp", "nowait", "root", ""],
    ["nowait-user", "stream", "tcp", "nowait", "nobody", ""],
    ["nowait-root-group", "stream", "tcp", "nowait", "root", "daemon"],
    ["nowait-user-group", "stream", "tcp", "nowait", "nobody", "daemon"],
    ["wait-udp", "dgram", "udp", "wait", "root", ""],
    ["wait-tcp", "stream", "tcp", "wait", "nobody", ""],
];

/// Who it is, in which lines (all that begin so), what, and why it differs.
const DIFFERENCES: &[(&str, &str, &str, &str)] = &[
    ("", "nowait", "env", "the peer is told in REMOTE_* and TCP*: a clean set and what a server may want to know"),
    ("", "wait-udp", "env", "a clean set: PATH only"),
    ("", "wait-tcp", "env", "a clean set: PATH and what is known of the user"),
    ("busybox", "", "Groups", "it gives itself the group of root at its start, where we change nothing for root"),
    ("openbsd-inetd", "", "Groups", "it gives itself the group of root at its start, where we change nothing for root"),
    ("openbsd-inetd", "nowait-root-group", "Gid", "it passes over a group beside root; one that is written is meant"),
    ("inetutils-inetd", "nowait-root-group", "Gid", "it passes over a group beside root; one that is written is meant"),
    ("inetutils-inetd", "nowait-root-group", "Groups", "the same"),
    ("xinetd", "wait-udp tftp", "arguments", "it loses them where the flag NAMEINARGS comes after server_args"),
    ("xinetd", "", "Groups", "it looks the groups of a user up only with \"groups = yes\""),
];

/// A program that reads lines, and is ended with its children when it goes out of sight.
pub struct Running(Child);

impl Running {
    pub fn of(child: Child) -> Self {
        Self(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let below = descendants(self.0.id() as i32);
        let _ = self.0.kill();
        let _ = self.0.wait();
        below.into_iter().for_each(|pid| crate::daemon::kill(pid, libc::SIGKILL));
    }
}

/// What each line's child reports: by line, then by thing.
type Reports = BTreeMap<String, BTreeMap<String, String>>;

/// A line of which two programs are asked for the same.
pub struct Entry {
    /// Begins with what it is: nowait-tcp, wait-udp, ...
    pub name: String,
    pub port: u16,
    pub datagram: bool,
    pub v6: bool,
    /// The file into which the child reports.
    pub report: String,
}

/// Two programs that read the same lines.
pub struct Side {
    pub command: Command,
    pub entries: Vec<Entry>,
}

/// The words of a line's program; its report goes into the folder `to`.
fn words(to: &str, name: &str) -> Vec<String> {
    stand_in(&format!("inherited {to}/{name}")).split(' ').map(String::from).collect()
}

fn inetd_conf(to: &str, first_port: u16) -> String {
    let mut text = String::new();
    for (port, [name, kind, protocol, flag, user, group]) in (first_port..).zip(LINES) {
        let words = words(to, name);
        let owner = if group.is_empty() { user.to_string() } else { format!("{user}:{group}") };
        let (program, rest) = (&words[0], words[1..].join(" "));
        writeln!(text, "127.0.0.1:{port} {kind} {protocol} {flag} {owner} {program} argv0 {rest}").unwrap();
    }
    text
}

fn xinetd_conf(to: &str, first_port: u16) -> String {
    let mut text = String::from("defaults\n{\n log_type = FILE /dev/null\n}\n");
    for (port, [name, kind, protocol, flag, user, group]) in (first_port..).zip(LINES) {
        let words = words(to, name);
        let wait = if flag == "wait" { "yes" } else { "no" };
        let group = if group.is_empty() { String::new() } else { format!(" group = {group}\n") };
        let (program, rest) = (&words[0], words[1..].join(" "));
        writeln!(
            text,
            "service {name}\n{{\n type = UNLISTED\n socket_type = {kind}\n protocol = {protocol}\n port = {port}\n \
             wait = {wait}\n user = {user}\n{group} bind = 127.0.0.1\n flags = NAMEINARGS\n server = {program}\n \
             server_args = argv0 {rest}\n}}"
        )
        .unwrap();
    }
    text
}

/// Runs one side and calls each line once.
fn reports(ctx: &Ctx, side: Side, log: &str) -> Reports {
    let Side { mut command, entries } = side;
    let log_path = ctx.path(log);
    let log = std::fs::File::create(&log_path).unwrap();
    command
        .current_dir("/")
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("TERM", "dumb")
        .env("HOME", "/");
    command.env("LD_LIBRARY_PATH", neighbour("lib"));
    let _running =
        Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("the inetd starts"));
    let mut all = Reports::new();
    for Entry { name, port, datagram, v6, report } in entries {
        let address = if v6 { SocketAddr::from((Ipv6Addr::LOCALHOST, port)) } else { local(port) };
        if datagram {
            let client = UdpSocket::bind(if v6 { "[::1]:0" } else { "127.0.0.1:0" }).unwrap();
            wait_until("the datagram is read", || {
                let _ = client.send_to(b"x", address);
                within(Duration::from_millis(500), || Path::new(&report).exists())
            });
        } else {
            // the first client may still meet the other program's listener, in a child that is just being started
            wait_until(&format!("{name} serves a connection"), || {
                try_connect(address, PATIENCE).map(read_all).is_ok()
                    && within(Duration::from_millis(500), || Path::new(&report).exists())
            });
        }
        wait_until(&format!("{name} has reported"), || Path::new(&report).exists());
        let text = std::fs::read_to_string(&report).unwrap();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        all.insert(name, pairs.map(|(what, value)| (what.into(), value.replace(&log_path, "its log"))).collect());
    }
    all
}

/// A folder that children of any user can write to.
pub fn spool(ctx: &Ctx, name: &str) -> String {
    let path = ctx.path(name);
    std::fs::create_dir_all(&path).unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&path, everybody).unwrap();
    path
}

/// Runs the other program and ours, and holds the differences against the table. `complete`: those of this program are
/// all to be seen.
pub fn compare(ctx: &Ctx, peer: &str, theirs: Side, ours: Side, complete: bool) {
    let theirs = reports(ctx, theirs, "log-theirs");
    let ours = reports(ctx, ours, "log-ours");
    let mut unknown = Vec::new();
    let mut seen = BTreeSet::new();
    for (line, things) in &theirs {
        for (what, value) in things {
            let own = ours[line].get(what).map_or("", String::as_str);
            if own == value {
                continue;
            }
            let known = DIFFERENCES.iter().position(|(who, lines, thing, _)| {
                (who.is_empty() || *who == peer) && line.starts_with(lines) && thing == what
            });
            match known {
                Some(index) => _ = seen.insert(index),
                None => unknown.push(format!("{line} {what}\n  {peer}: {value}\n  ours: {own}")),
            }
        }
    }
    assert!(unknown.is_empty(), "differences without a reason:\n{}", unknown.join("\n"));
    for (index, (who, lines, what, _)) in
        DIFFERENCES.iter().enumerate().filter(|(_, row)| complete && row.0 == peer && !row.1.contains(' '))
    {
        assert!(seen.contains(&index), "{who} no longer differs in {what} of {lines}");
    }
}

/// Ours as an inetd.
pub fn own_inetd(ctx: &Ctx, dialect: &str, file: &str) -> Command {
    let inetd = ctx.path("inetd");
    let _ = std::os::unix::fs::symlink(dormouse(), &inetd);
    let mut command = Command::new(inetd);
    command.args(crate::harness::without_control()).args(["-f", "-e", "--dialect", dialect, file]);
    command
}

/// One of theirs: a program of the neighbours and its words before the file.
pub fn their_inetd(program: &str, words: &[&str], file: &str) -> Command {
    let mut command = Command::new(neighbour(program));
    command.args(words).arg(file);
    command
}

/// The lines of this file under a program and under ours.
fn lines(ctx: &mut Ctx, peer: &str, dialect: &str, theirs: impl Fn(&str) -> Command, conf: fn(&str, u16) -> String) {
    let first_port = ctx.port();
    for _ in 1..LINES.len() {
        ctx.port();
    }
    let entries = |to: &str| {
        let entry = |(port, [name, _, protocol, ..]): (u16, [&str; 6])| {
            let report = format!("{to}/{name}");
            Entry { name: name.into(), port, datagram: protocol == "udp", v6: false, report }
        };
        (first_port..).zip(LINES).map(entry).collect()
    };
    let (to, own_to) = (spool(ctx, "theirs"), spool(ctx, "ours"));
    let command = theirs(&ctx.file("theirs.conf", &conf(&to, first_port)));
    let own = own_inetd(ctx, dialect, &ctx.file("ours.conf", &inetd_conf(&own_to, first_port)));
    let ours = Side { command: own, entries: entries(&own_to) };
    compare(ctx, peer, Side { command, entries: entries(&to) }, ours, true);
}

fn as_busybox_inetd(ctx: &mut Ctx) {
    lines(ctx, "busybox", "busybox", |file| their_inetd("busybox-inetd", &["-f", "-e"], file), inetd_conf);
}

fn as_openbsd_inetd(ctx: &mut Ctx) {
    lines(ctx, "openbsd-inetd", "openbsd", |file| their_inetd(OPENBSD, &["-i"], file), inetd_conf);
}

fn as_inetutils_inetd(ctx: &mut Ctx) {
    lines(ctx, "inetutils-inetd", "inetutils", |file| their_inetd(INETUTILS, &["-d"], file), inetd_conf);
}

fn as_xinetd(ctx: &mut Ctx) {
    lines(ctx, "xinetd", "openbsd", xinetd, xinetd_conf);
}

/// xinetd with a file.
pub fn xinetd(file: &str) -> Command {
    let pid_file = format!("{file}.pid");
    their_inetd("xinetd/usr/sbin/xinetd", &["-dontfork", "-pidfile", &pid_file, "-f"], file)
}

/// Our inetd on a line for the program of an unpacked package.
fn serve(ctx: &Ctx, line: &str) -> Running {
    let inetd = ctx.path("inetd");
    std::os::unix::fs::symlink(dormouse(), &inetd).unwrap();
    let log = std::fs::File::create(ctx.path("log1")).unwrap();
    let mut command = Command::new(inetd);
    command.env("LD_LIBRARY_PATH", neighbour("lib"));
    command.args(crate::harness::without_control());
    Running(command.args(["-f", "-e", "-E", &ctx.file("services", line)]).stderr(log).spawn().unwrap())
}

/// Waits until the daemon says that it is ready.
fn wait_ready(ctx: &Ctx) {
    wait_until("it is ready", || ctx.lines("log1").iter().any(|line| line.contains("ready")));
}

fn ftp_of_inetutils(ctx: &mut Ctx) {
    let port = ctx.port();
    let ftpd = neighbour("inetutils-ftpd/usr/sbin/ftpd");
    let _inetd = serve(ctx, &format!("{port} stream tcp nowait root {ftpd} ftpd -l\n"));
    wait_ready(ctx);
    let ftp = neighbour("inetutils-ftp/usr/bin/inetutils-ftp");
    let line = format!("printf 'open 127.0.0.1 {port}\\nquit\\n' | LD_LIBRARY_PATH={} {ftp} -n -v", neighbour("lib"));
    let told = shell(&line);
    assert!(told.contains("220 ") && told.contains("221 "), "the greeting and the good bye:\n{told}");
}

fn telnet_of_inetutils(ctx: &mut Ctx) {
    let port = ctx.port();
    let telnetd = neighbour("inetutils-telnetd/usr/sbin/telnetd");
    let script = ctx.file("login", "#!/bin/sh\necho logged in\nexec sleep 1\n");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, executable).unwrap();
    let _inetd = serve(ctx, &format!("{port} stream tcp nowait root {telnetd} telnetd --exec-login={script}\n"));
    wait_ready(ctx);
    let telnet = neighbour("inetutils-telnet/usr/bin/inetutils-telnet");
    let lib = neighbour("lib");
    let told = shell(&format!("(sleep 3) | LD_LIBRARY_PATH={lib} {telnet} 127.0.0.1 {port} 2>&1 || true"));
    assert!(told.contains("logged in"), "{told}");
}

//! The lines that distributions ship (tests/corpus), each with a program of ours in the place of its own: what it gets
//! from the inetd whose dialect it is, and what from us. Differences need a reason, as in [`super::inetd_peers`].
//!
//! Arguments, users and flags stay as they are. Ports become free ones, and users that this machine lacks nobody. What
//! is built in has no child, and what is for addresses of another network no address here.

use crate::client::*;
use crate::harness::{Ctx, Need::*, PATIENCE, Test, dormouse, wait_until, without_control};
use crate::inetd_peers::*;
use crate::test;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;

pub const TESTS: &[Test] = &[
    test!(lines_for_busybox, Part("inetd"), Root, File("target/neighbours/busybox-inetd")),
    test!(lines_for_openbsd, Part("inetd"), Root, File("target/neighbours/openbsd-inetd/usr/sbin/inetd")),
    test!(lines_for_inetutils, Part("inetd"), Root, File("target/neighbours/inetutils-inetd/usr/sbin/inetutils-inetd")),
    test!(services_of_xinetd, Part("inetd"), Part("xinetd"), Root, File("target/neighbours/xinetd/usr/sbin/xinetd")),
    test!(access_of_xinetd, Part("xinetd"), Root, File("target/neighbours/xinetd/usr/sbin/xinetd")),
];

fn corpus(path: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/corpus/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn is_known(file: &str, name: &str) -> bool {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().any(|line| line.split(':').next() == Some(name))
}

/// A user field that this machine has.
fn user(field: &str) -> String {
    let (user, group) = field.split_once(['.', ':']).unwrap_or((field, "root"));
    let known = is_known("/etc/passwd", user) && is_known("/etc/group", group);
    if known { field.into() } else { "nobody".into() }
}

/// The program of a line: the test program by a name that tells where to report.
fn program(to: &str, line: usize) -> String {
    let path = format!("{to}/{line}.line");
    std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &path).unwrap();
    path
}

fn entry(to: &str, line: usize, flag: &str, protocol: &str, port: u16, name: &str) -> Entry {
    let flag = if flag.starts_with("nowait") { "nowait" } else { "wait" };
    Entry {
        name: format!("{flag}-{} {name}", &protocol[..3]),
        port,
        datagram: protocol.starts_with("udp"),
        v6: protocol.contains('6'),
        report: format!("{to}/{line}.report"),
    }
}

/// The lines of some files with our program, and what is to be asked.
fn inetd_lines(to: &str, first_port: u16, files: &[&str]) -> (String, Vec<Entry>) {
    let (mut text, mut entries) = (String::new(), Vec::new());
    for file in files {
        for line in corpus(&format!("inetd/{file}")).lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [service, kind, protocol, flag, owner, own, arguments @ ..] = &fields[..] else { continue };
            if *own == "internal" || service.starts_with("tcpmux") {
                continue;
            }
            let number = entries.len();
            let port = first_port + number as u16;
            let (owner, program) = (user(owner), program(to, number));
            let arguments = arguments.join(" ");
            text += &format!("{port} {kind} {protocol} {flag} {owner} {program} {arguments}\n");
            entries.push(entry(to, number, flag, protocol, port, &format!("{file}: {line}")));
        }
    }
    (text, entries)
}

/// More than the lines of any dialect.
const PORTS: u16 = 40;

fn lines(ctx: &mut Ctx, peer: &str, dialect: &str, files: &[&str], theirs: impl Fn(&str) -> Command) {
    if !ctx.own_net {
        return ctx.skip("its ports need a network namespace");
    }
    let first_port = ctx.port() + PORTS;
    let (to, own_to) = (spool(ctx, "theirs"), spool(ctx, "ours"));
    let (text, entries) = inetd_lines(&to, first_port, files);
    let (own_text, own_entries) = inetd_lines(&own_to, first_port, files);
    assert!((4..usize::from(PORTS)).contains(&entries.len()), "{text}");
    let command = theirs(&ctx.file("theirs.conf", &text));
    let own = own_inetd(ctx, dialect, &ctx.file("ours.conf", &own_text));
    compare(ctx, peer, Side { command, entries }, Side { command: own, entries: own_entries }, false);
}

fn lines_for_busybox(ctx: &mut Ctx) {
    let files = ["alpine.inetd", "buildroot.busybox.inetd", "openwrt.busybox.inetd"];
    lines(ctx, "busybox", "busybox", &files, |file| their_inetd("busybox-inetd", &["-f", "-e"], file));
}

fn lines_for_openbsd(ctx: &mut Ctx) {
    let files = ["debian.openbsd.inetd"];
    lines(ctx, "openbsd-inetd", "openbsd", &files, |file| their_inetd(OPENBSD, &["-i"], file));
}

fn lines_for_inetutils(ctx: &mut Ctx) {
    let files = ["inetutils.inetutils.inetd"];
    lines(ctx, "inetutils-inetd", "inetutils", &files, |file| their_inetd(INETUTILS, &["-d"], file));
}

/// The services of the folder xinetd.d, under its own defaults. Who may connect is another network's, so it is left
/// out.
fn services_of_xinetd(ctx: &mut Ctx) {
    let first_port = ctx.port();
    ctx.port();
    let text = |to: &str| {
        let mut text = corpus("xinetd/200-folder/box.xinetd").replace("includedir xinetd.d", "");
        text += &corpus("xinetd/200-folder/xinetd.d/rsync");
        text += &corpus("xinetd/200-folder/xinetd.d/tftp");
        let mut out = String::new();
        let mut number = 0;
        for line in text.lines() {
            match line.split_whitespace().next() {
                Some("only_from" | "no_access" | "log_type") => continue,
                // Debian's xinetd dies in libwrap when a datagram comes
                Some("flags") => out += &format!("{line} NOLIBWRAP\n"),
                Some("server") => {
                    out += &format!(" server = {}\n type = UNLISTED\n", program(to, number));
                    out += &format!(" port = {}\n", first_port + number as u16);
                    number += 1;
                }
                Some("protocol") => {}
                Some("socket_type") => {
                    let protocol = if line.contains("stream") { "tcp" } else { "udp" };
                    out += &format!("{line}\n protocol = {protocol}\n");
                }
                _ => out += &format!("{line}\n"),
            }
        }
        out
    };
    let entries = |to: &str| {
        let rsync = entry(to, 0, "nowait", "tcp6", first_port, "rsync");
        vec![rsync, entry(to, 1, "wait", "udp", first_port + 1, "tftp")]
    };
    let (to, own_to) = (spool(ctx, "theirs"), spool(ctx, "ours"));
    let command = xinetd(&ctx.file("theirs.xinetd", &text(&to)));
    let mut own = Command::new(dormouse());
    own.arg("run").args(without_control()).args(["-c", &ctx.file("ours.xinetd", &text(&own_to))]);
    let ours = Side { command: own, entries: entries(&own_to) };
    compare(ctx, "xinetd", Side { command, entries: entries(&to) }, ours, false);
}

/// Who may connect: lists, and a few to try. Those of names need a resolver, and ::1/128 is none of xinetd's strengths.
const ACCESS: [&str; 31] = [
    "only_from = 127.0.0.1",
    "only_from = 127.0.0.0",
    "only_from = 127.1.0.0",
    "only_from = 127.0.0.0/31",
    "only_from = 127.0.0.{1,3}",
    "only_from = 127.0.0.{0,1}",
    "only_from = 127.0.{0,1}",
    "only_from = 127.0.{1}",
    "only_from = 127.{0,5}",
    "only_from = 127.0.0.{2,1}\n no_access = 127.0.0.{1}",
    "only_from = 127.1",
    "only_from = 127.0",
    "only_from = 127.0.2",
    "only_from = 127.0.0",
    "only_from = 127.0.0.0\n no_access = 127.0.0.1",
    "only_from = 127.0.0.1\n no_access = 127.0.0.0",
    "only_from = 127.0.0.1\n no_access = 127.0.0.1",
    "only_from = 127.0.0.{1,2}\n no_access = 127.0.0.0/8",
    "only_from = 127.0.0.0/24 127.1.0.1\n no_access = 127.0.0.2/32",
    "only_from = 10.0.0.1 127.0.0.0/31\n no_access = 0.0.0.0",
    "only_from = 127.0.0.1\n only_from += 127.0.0.2",
    "only_from = 127.0.0.0\n only_from -= 127.0.0.0",
    "only_from = 0.0.0.0",
    "only_from = ::/0",
    "only_from = ::1 127.0.0.2",
    "only_from = ::1/127",
    "only_from =",
    "no_access = 127.0.0.0/24",
    "no_access = 0.0.0.0",
    "no_access = ::/0",
    "no_access = ::1",
];

/// Whom each list lets in.
fn let_in(ctx: &Ctx, mut command: Command, log: &str, first_port: u16) -> Vec<String> {
    let log = std::fs::File::create(ctx.path(log)).unwrap();
    let _running = Running::of(command.stderr(log).spawn().unwrap());
    let from = |source: IpAddr, port: u16| {
        let to = if source.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        connect_from(source, SocketAddr::new(to, port), PATIENCE)
    };
    let last = first_port + ACCESS.len() as u16 - 1;
    wait_until("the last port is open", || from(Ipv6Addr::LOCALHOST.into(), last).is_ok());
    let sources = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.1.1", "127.1.0.1", "::1"];
    let sources = sources.map(|source| source.parse::<IpAddr>().unwrap());
    (first_port..=last)
        .map(|port| {
            let served =
                sources.iter().filter(|source| from(**source, port).is_ok_and(|own| read_all(own) == "here\n"));
            served.map(|source| format!("{source} ")).collect()
        })
        .collect()
}

fn access_of_xinetd(ctx: &mut Ctx) {
    if !ctx.own_net {
        return ctx.skip("its ports need a network namespace");
    }
    let ports = [2000, 3000];
    let [theirs, ours] = ports.map(|first_port: u16| {
        let mut text = String::new();
        for (port, rule) in (first_port..).zip(ACCESS) {
            text += &format!(
                "service s{port}\n{{\n type = UNLISTED\n port = {port}\n socket_type = stream\n protocol = tcp\n"
            );
            text += &format!(" wait = no\n user = root\n server = /bin/echo\n server_args = here\n {rule}\n}}\n");
        }
        ctx.file(&format!("{first_port}.xinetd"), &text)
    });
    let mut command = xinetd(&theirs);
    command.env("LD_LIBRARY_PATH", neighbour("lib"));
    let theirs = let_in(ctx, command, "log-theirs", ports[0]);
    let mut command = Command::new(dormouse());
    command.arg("run").args(without_control()).args(["-c", &ours]);
    let ours = let_in(ctx, command, "log-ours", ports[1]);
    for (rule, (theirs, ours)) in ACCESS.iter().zip(theirs.iter().zip(&ours)) {
        assert_eq!(theirs, ours, "whom xinetd and we let in by {rule}");
    }
    assert!(theirs.iter().any(|all| all.len() > 50) && theirs.iter().any(String::is_empty), "{theirs:?}");
}

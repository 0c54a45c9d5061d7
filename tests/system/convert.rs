//! `convert`: other programs' files as native text, and what cannot be carried over as comments in it.

use crate::client::talk;
use crate::commands::dormouse;
use crate::harness::{Ctx, Need::*, Test, has_part};
use crate::test;

pub const TESTS: &[Test] = &[
    test!(convert_carries_everything_over, Command("convert"), Part("inetd")),
    test!(convert_reads_folders_of_every_form, Command("convert"), Part("units"), Part("xinetd")),
    test!(a_program_that_anybody_may_write_to),
];

fn convert_carries_everything_over(ctx: &mut Ctx) {
    let port = ctx.port();
    let text = format!("{port} stream tcp nowait.50 root /bin/echo echo here\n");
    let file = ctx.file("inetd.conf", &text);
    let (status, native) = dormouse(&["convert", "--dialect", "busybox", &file]);
    assert_eq!(status, 0, "{native}");
    assert!(native.contains("TriggerLimitBurst=50") && !native.contains('#'), "{native}");
    let _daemon = ctx.start(&native);
    assert_eq!(talk(port), "here\n");
    if has_part("xinetd") {
        let file = ctx.file("a.conf", "service echo\n{\n type = INTERNAL\n socket_type = stream\n wait = no\n}\n");
        let (status, native) = dormouse(&["convert", "--dialect", "xinetd", &file]);
        assert!(status == 0 && native.contains("Internal=echo"), "{native}");
    }
    let file = ctx.file("bad.conf", "x stream rpc/tcp wait root /bin/a a\n");
    let (status, native) = dormouse(&["convert", &file]);
    assert!(status == 78 && native.contains("# ") && native.contains("portmapper"), "{status}\n{native}");
}

fn convert_reads_folders_of_every_form(ctx: &mut Ctx) {
    ctx.file("all/web.socket", "[Socket]\nListenStream=80\n");
    ctx.file("all/web.service", "[Service]\nExecStart=/bin/cat\nProtectSystem=yes\nDescription=x\n");
    ctx.file("all/a.inetd", "7 stream tcp nowait root /bin/cat cat\n8 stream tcp sometimes root /bin/cat cat\n");
    let block = "{\n socket_type = stream\n wait = no\n user = root\n server = /bin/cat\n banner = /x\n}\n";
    ctx.file("all/b.xinetd", &format!("service ftp\n{block}service nobody-knows-it\n{{\n wait = no\n}}\n"));
    ctx.file("all/own.conf", "[own]\nListenStream=9\nExecStart=/bin/cat\n");
    let (status, native) = dormouse(&["convert", &ctx.path("all")]);
    assert_eq!(status, 78, "not all of it is carried over: {native}");
    let native = native.replace(&ctx.path("all"), "ALL");
    let lines: Vec<&str> = native.lines().filter(|line| line.starts_with('[') || line.starts_with("# ALL")).collect();
    let expected = [
        "[7/tcp]",
        "# ALL/a.inetd:2:14: warning: \"sometimes\" is not a wait flag of busybox; its service is left out",
        "# ALL/web.service:3:1: warning: [web] is less protected than under systemd: dormouse can't do ProtectSystem=",
        "[web]",
        "# ALL/b.xinetd:7:11: warning: banner is not carried out",
        "[ftp]",
        "# ALL/b.xinetd:9:1: warning: [nobody-knows-it] is left out: socket_type is missing",
    ];
    let found: Vec<&str> = expected.iter().filter(|line| lines.contains(line)).copied().collect();
    assert_eq!(found, expected, "{native}");
    assert!(!native.contains("[own]"), "it is native already: {native}");
    let file = ctx.file("again.conf", &native);
    let (status, told) = dormouse(&["check", "--print", "-c", &file]);
    assert_eq!(status, 0, "{told}");
}

fn a_program_that_anybody_may_write_to(ctx: &mut Ctx) {
    let program = ctx.file("program", "#!/bin/sh\n");
    let check = |ctx: &Ctx, mode: u32, user: &str| {
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let config = format!("[x]\nListenStream=7\n{user}ExecStart={program}\n");
        dormouse(&["check", "-c", &ctx.file("a.conf", &config)]).1
    };
    let told = check(ctx, 0o757, "");
    assert!(told.contains(&format!("anybody may write to {program}, which runs as root")), "{told}");
    for told in [check(ctx, 0o755, ""), check(ctx, 0o757, "User=nobody\n")] {
        assert!(!told.contains("anybody"), "{told}");
    }
}

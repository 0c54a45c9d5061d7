//! The test scripts of GNU inetutils that drive an inetd, unchanged, with ours in the place of theirs.
//!
//! tests/neighbours builds them, and the clients and servers that they use.

use crate::harness::{Ctx, Need::*, Test, dormouse, without_control};
use crate::test;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = &[
    test!(inetd_sh, Part("inetd"), Root, Prog("script"), File(TOOLS)),
    test!(tftp_sh, Part("inetd"), Root, Prog("script"), Prog("netstat"), File(TOOLS)),
    test!(telnet_localhost_sh, Part("inetd"), Root, Prog("script"), File(TOOLS)),
    test!(ftp_localhost_sh, Part("inetd"), Root, Prog("script"), Prog("netstat"), File(TOOLS)),
];

const FOLDER: &str = "target/neighbours/inetutils";
/// What is built last.
const TOOLS: &str = "target/neighbours/inetutils/tests/tools.sh";
/// How long a script may take: most of it is sleeping.
const LIMIT: Duration = Duration::from_secs(180);
/// The status by which a script says that it can't be run here.
const SKIPPED: i32 = 77;

fn inetd_sh(ctx: &mut Ctx) {
    script(ctx, "inetd.sh");
}

fn tftp_sh(ctx: &mut Ctx) {
    script(ctx, "tftp.sh");
}

fn telnet_localhost_sh(ctx: &mut Ctx) {
    script(ctx, "telnet-localhost.sh");
}

fn ftp_localhost_sh(ctx: &mut Ctx) {
    script(ctx, "ftp-localhost.sh");
}

/// Runs a script in a copy of its folder, on a terminal, which some of them want.
fn script(ctx: &mut Ctx, name: &str) {
    if !ctx.own_net {
        return ctx.skip("its ports need a network namespace");
    }
    symlink(dormouse(), ctx.path("inetd")).unwrap();
    let options = without_control().join(" ");
    let wrapper = format!("#!/bin/sh\nexec {} {options} --dialect inetutils \"$@\"\n", ctx.path("inetd"));
    let inetd = ctx.file("their-inetd", &wrapper);
    std::fs::set_permissions(&inetd, PermissionsExt::from_mode(0o755)).unwrap();
    let build = format!("{}/{FOLDER}", env!("CARGO_MANIFEST_DIR"));
    for part in ["src", "ftp", "ftpd", "telnet", "ifconfig"] {
        symlink(format!("{build}/{part}"), ctx.path(part)).unwrap();
    }
    assert!(Command::new("cp").args(["-r", &format!("{build}/tests"), &ctx.path("tests")]).status().unwrap().success());
    let log = std::fs::File::create(ctx.path("log1")).unwrap();
    let mut command = Command::new("script");
    command.current_dir(ctx.path("tests")).args(["-qec", &format!("sh ./{name}"), "/dev/null"]);
    command.env("INETD", &inetd).env("TEST_IPV4", "yes").env("TEST_IPV6", "yes");
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("{name} did not end in {} s", LIMIT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let told = ctx.lines("log1").join("\n");
    match status.code() {
        Some(SKIPPED) => ctx.skip(told.lines().last().unwrap_or("the script does not say why")),
        code => assert_eq!(code, Some(0), "{name}:\n{told}"),
    }
}

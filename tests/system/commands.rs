//! The commands that ask and answer: check, explain, help, and their exit codes.

use crate::client::{read_all, run, talk};
use crate::harness::{Ctx, Need::*, Test, dormouse as dormouse_path, stand_in};
use crate::test;
use crate::unix::bound_client;
use std::process::Command;

pub const TESTS: &[Test] = &[
    test!(check_accepts_a_sound_configuration, Part("access"), Part("local")),
    test!(check_shows_line_caret_and_expectation),
    test!(check_print_is_read_again_to_the_same, Part("print"), Part("access"), Part("local")),
    test!(check_tells_the_memory_ceiling, Part("access"), Part("local")),
    test!(check_of_a_missing_file),
    test!(check_warns_of_allow_without_deny, Part("access")),
    test!(run_refuses_a_faulty_configuration),
    test!(explain_names_the_outcome, Command("explain"), Part("exec")),
    test!(explain_names_each_variable, Command("explain"), Part("local")),
    test!(explain_shows_no_text_raw, Command("explain"), Part("exec")),
    test!(explain_of_an_unknown_service, Command("explain"), Part("access"), Part("local")),
    test!(help_fits_on_a_screen, Part("help"), Command("activate"), Command("explain")),
    test!(help_of_each_command, Part("help")),
    test!(version),
    test!(wrong_usage_is_2),
    test!(no_daemon_is_1, Command("status")),
    test!(no_colour_into_a_pipe),
    test!(convert_of_an_inetd_file, Command("convert")),
    test!(inetd_by_name_serves_an_inetd_file, Command("convert")),
];

/// Runs `dormouse WORDS`; its exit code, and both outputs.
pub fn dormouse(words: &[&str]) -> (i32, String) {
    let out = run(Command::new(dormouse_path()).args(words));
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    (out.status.code().unwrap_or(-1), text)
}

fn standard_output(words: &[&str]) -> String {
    let out = run(Command::new(dormouse_path()).args(words));
    assert!(out.status.success(), "{words:?}: {} {}", out.status, String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

const SOUND: &str = "[ssh]\nListenStream=22\nAccept=yes\nExecStart=/bin/cat -u\nMaxConnections=8\n\
    IPAddressDeny=any\nIPAddressAllow=192.168.0.0/16 fe80::/10\n\
    [wiki]\nListenStream=80\nListenStream=/run/wiki.sock\nExecStart=/bin/sh -c 'exec sleep 5'\nWorkingDirectory=/tmp\n\
    Environment=A=b \"C=d e\"\nRuntimeMaxSec=10min\n";

fn check_accepts_a_sound_configuration(ctx: &mut Ctx) {
    let file = ctx.file("sound.conf", SOUND);
    let (status, text) = dormouse(&["check", "-c", &file]);
    assert_eq!(status, 0, "{text}");
}

fn check_shows_line_caret_and_expectation(ctx: &mut Ctx) {
    let file = ctx.file("faulty.conf", "[x]\nListenStream=80\nAccept=perhaps\nExecStart=/bin/true\n");
    let (status, text) = dormouse(&["check", "-c", &file]);
    assert_eq!(status, 78, "{text}");
    assert!(text.contains("faulty.conf:3:8"), "file, line and column of the value:\n{text}");
    assert!(text.contains("Accept=perhaps") && text.contains('^'), "the line and a caret:\n{text}");
    assert!(text.contains("yes") && text.contains("no"), "what was expected:\n{text}");
}

fn check_print_is_read_again_to_the_same(ctx: &mut Ctx) {
    let file = ctx.file("sound.conf", SOUND);
    let printed = standard_output(&["check", "-c", &file, "--print"]);
    assert!(printed.contains("[ssh]") && printed.contains("[wiki]"), "{printed}");
    let again = ctx.file("again.conf", &printed);
    assert_eq!(standard_output(&["check", "-c", &again, "--print"]), printed);
}

fn check_tells_the_memory_ceiling(ctx: &mut Ctx) {
    let file = ctx.file("sound.conf", SOUND);
    let (_, text) = dormouse(&["check", "-c", &file]);
    let lower = text.to_lowercase();
    assert!(lower.contains("kb") || lower.contains("kib") || lower.contains("bytes"), "{text}");
}

fn check_of_a_missing_file(ctx: &mut Ctx) {
    let (status, text) = dormouse(&["check", "-c", &ctx.path("nowhere.conf")]);
    assert_eq!(status, 78, "{text}");
    assert!(text.contains("nowhere.conf"), "{text}");
    if !std::path::Path::new("/etc/dormouse.conf").exists() {
        let (status, text) = dormouse(&["check"]);
        assert!(status == 78 && text.contains("-c PATH names another"), "{text}");
    }
}

fn check_warns_of_allow_without_deny(ctx: &mut Ctx) {
    let text = "[x]\nListenStream=80\nAccept=yes\nExecStart=/bin/true\nIPAddressAllow=10.0.0.0/8\n";
    let (status, text) = dormouse(&["check", "-c", &ctx.file("allow.conf", text)]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("keeps nobody out"), "{text}");
}

fn run_refuses_a_faulty_configuration(ctx: &mut Ctx) {
    let (status, text) = ctx.launch("[x]\nListenStream=80\nNoSuchThing=1\nExecStart=/bin/true\n").refused();
    assert_eq!(status.code(), Some(78), "{text}");
    assert!(text.contains("NoSuchThing"), "{text}");
}

fn explain_names_the_outcome(ctx: &mut Ctx) {
    let text = "[x]\nListenStream=127.0.0.1:7\nListenDatagram=127.0.0.1:7\nExecStart=/bin/cat -u\nUMask=0077\n\
        LimitNOFILE=77\nCapabilityBoundingSet=CAP_CHOWN\nEnvironment=NEST=warm\n";
    let file = ctx.file("x.conf", text);
    let text = standard_output(&["explain", "-c", &file, "x"]);
    for word in ["LISTEN_FDS=2", "LISTEN_PID", "LISTEN_FDNAMES", "NEST=warm", "127.0.0.1:7", "/bin/cat", "3", "4"] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
    for line in ["  LimitNOFILE 77:77\n", "  CapabilityBoundingSet CAP_CHOWN\n", "  UMask 0077\n"] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

fn explain_names_each_variable(ctx: &mut Ctx) {
    let (port, path) = (ctx.port(), ctx.path("x.sock"));
    let config = format!(
        "[x]\nListenStream={path}\nListenStream=127.0.0.1:{port}\nAccept=yes\nEnvironment=NEST=warm\nExecStart=/usr/bin/env\n"
    );
    let _daemon = ctx.start(&config);
    let text = standard_output(&["explain", "-c", &ctx.file("x.conf", &config), "x"]);
    let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    for answer in [talk(port), read_all(bound_client(&ctx.path("own.sock"), &path))] {
        let names: Vec<&str> = answer.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
        assert!(names.len() > 5, "{answer}");
        for name in names {
            assert!(words.contains(&name), "{name} is not in\n{text}");
        }
    }
}

fn explain_shows_no_text_raw(ctx: &mut Ctx) {
    let variables = ctx.file("variables", "A=\"a\n  LISTEN_FDS=7\n\x1b[2Jb\u{202e}\"\n");
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{}\nEnvironmentFile={variables}\nExecStart=/bin/echo \"a\\nb\\x1b\"\n",
        ctx.port()
    );
    let text = standard_output(&["explain", "-c", &ctx.file("x.conf", &config), "x"]);
    assert!(text.contains("\n  A=a\\n  LISTEN_FDS=7\\n\\u{1b}[2Jb\\u{202e}\n"), "{text}");
    assert!(text.contains("argv[1] a\\nb\\u{1b}\n"), "{text}");
}

fn explain_of_an_unknown_service(ctx: &mut Ctx) {
    let file = ctx.file("sound.conf", SOUND);
    let (status, text) = dormouse(&["explain", "-c", &file, "wikki"]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("wikki"), "{text}");
}

fn help_fits_on_a_screen(_: &mut Ctx) {
    let text = standard_output(&["--help"]);
    assert!(text.lines().count() <= 24, "{} lines", text.lines().count());
    let widest = text.lines().max_by_key(|line| line.chars().count()).unwrap();
    assert!(widest.chars().count() <= 80, "{} columns: {widest}", widest.chars().count());
    for command in ["run", "check", "activate", "explain", "help"] {
        assert!(text.contains(command), "{command} is not in\n{text}");
    }
}

fn help_of_each_command(_: &mut Ctx) {
    for command in [
        "run", "check", "activate", "explain", "list", "status", "watch", "history", "metrics", "start", "stop",
        "restart", "pause", "resume", "reload", "upgrade", "convert",
    ] {
        let (status, text) = dormouse(&["help", command]);
        // What is not part of this build says so; everything else has its page.
        assert!(status == 0 || text.contains("this build"), "{command}: {text}");
        assert!(text.contains(command), "{command}: {text}");
    }
}

fn version(_: &mut Ctx) {
    assert!(standard_output(&["--version"]).contains(env!("CARGO_PKG_VERSION")));
}

fn wrong_usage_is_2(_: &mut Ctx) {
    for words in [&["no-such-command"][..], &["check", "--no-such-option"], &["run", "-c"], &["activate"], &["stop"]] {
        let (status, text) = dormouse(words);
        assert_eq!(status, 2, "{words:?}: {text}");
        assert!(!text.is_empty());
    }
}

fn no_daemon_is_1(ctx: &mut Ctx) {
    let (status, text) = dormouse(&["status", "--control", &ctx.path("nobody.sock")]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("nobody.sock"), "{text}");
}

fn no_colour_into_a_pipe(ctx: &mut Ctx) {
    let file = ctx.file("faulty.conf", "[x]\nListenStream=x\n");
    for words in [&["--help"][..], &["check", "-c", &file], &["help", "run"]] {
        let (_, text) = dormouse(words);
        assert!(!text.contains('\x1b'), "{words:?}: {text:?}");
    }
}

fn convert_of_an_inetd_file(ctx: &mut Ctx) {
    let text = "# services\nftp stream tcp nowait root /usr/sbin/ftpd ftpd -l\ntftp dgram udp wait nobody /usr/sbin/tftpd tftpd\n";
    let file = ctx.file("inetd.conf", text);
    let native = standard_output(&["convert", &file]);
    assert!(
        native.contains("ExecStart=") && native.contains("Accept=yes") && native.contains("ListenDatagram="),
        "{native}"
    );
    let again = ctx.file("converted.conf", &native);
    let (status, text) = dormouse(&["check", "-c", &again]);
    assert_eq!(status, 0, "{text}\n{native}");
}

fn inetd_by_name_serves_an_inetd_file(ctx: &mut Ctx) {
    let (port, waiting) = (ctx.port(), ctx.port());
    let user = crate::client::output(Command::new("id").arg("-un"));
    let user = user.trim();
    let own = stand_in("answer waiting 1");
    let program = own.split(' ').next().unwrap();
    let text = format!(
        "{port} stream tcp nowait {user} /bin/echo echo from inetd\n\
         {waiting} stream tcp wait {user} {program} system --as-service answer waiting 1\n"
    );
    let file = ctx.file("inetd.conf", &text);
    let inetd = ctx.path("inetd");
    std::os::unix::fs::symlink(dormouse_path(), &inetd).unwrap();
    let log = std::fs::File::create(ctx.path("log")).unwrap();
    let mut child =
        Command::new(&inetd).args(crate::harness::without_control()).args(["-i", &file]).stderr(log).spawn().unwrap();
    let served = crate::harness::within(crate::harness::PATIENCE, || {
        crate::client::try_connect(crate::client::local(port), crate::harness::PATIENCE).is_ok()
    });
    let answers = served.then(|| (crate::client::talk(port), crate::client::talk(waiting)));
    let _ = child.kill();
    let _ = child.wait();
    let (one, two) = answers.expect("the port opens");
    assert_eq!(one, "from inetd\n");
    assert!(two.starts_with("waiting"));
}

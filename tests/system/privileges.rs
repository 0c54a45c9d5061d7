//! Ids, limits, folders, outputs: each asked from the kernel by the service itself.

use crate::client::*;
use crate::harness::{Ctx, Need::*, Test, stand_in, wait_until};
use crate::test;

pub const TESTS: &[Test] = &[
    test!(user_group_and_supplementary_groups, Root),
    test!(user_alone_brings_its_groups, Root),
    test!(numeric_user, Root),
    test!(nice_and_oom_score, Root),
    test!(oom_score_may_rise_without_root),
    test!(what_is_not_allowed_is_done_as_far_as_it_goes, Root, Prog("setpriv"), Prog("prlimit")),
    test!(umask),
    test!(resource_limits),
    test!(no_new_privileges),
    test!(capability_bounding_set, Root),
    test!(ambient_capabilities, Root),
    test!(working_directory),
    test!(root_directory, Root, Prog("busybox")),
    test!(environment_file),
    test!(environment_file_that_comes_later, Part("reload")),
    test!(environment_files_by_pattern),
    test!(environment_file_as_systemd_reads_it, Prog("systemd-tmpfiles")),
    test!(unset_environment),
    test!(standard_output_to_a_file),
    test!(standard_output_appended),
    test!(standard_output_follows_no_link_of_the_service, Root),
    test!(standard_output_null_and_error_to_the_client),
    test!(standard_input_from_a_file),
    test!(step_that_fails_is_named),
    test!(stream_that_fails_is_named),
    test!(program_that_cannot_be_executed_is_named),
    test!(step_that_fails_as_root_is_named, Root),
    test!(unknown_user_is_a_fault_of_the_configuration),
];

/// The answer of one per-connection service.
fn answer(ctx: &mut Ctx, directives: &str, exec: &str) -> String {
    let port = ctx.port();
    let daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\n{directives}ExecStart={exec}\n"));
    let text = talk(port);
    assert!(!text.is_empty(), "the service said nothing; the log says:\n{}", daemon.log());
    text
}

/// /proc/self/status of a service, blanks made single.
fn status(ctx: &mut Ctx, directives: &str) -> String {
    answer(ctx, directives, "/bin/cat /proc/self/status").replace('\t', " ")
}

fn assert_line(text: &str, line: &str) {
    let found = text.lines().any(|have| have.split_whitespace().eq(line.split_whitespace()));
    assert!(found, "\"{line}\" is not in\n{text}");
}

fn user_group_and_supplementary_groups(ctx: &mut Ctx) {
    let text = status(ctx, "User=nobody\nGroup=daemon\nSupplementaryGroups=games mail\n");
    assert_line(&text, "Uid: 65534 65534 65534 65534");
    assert_line(&text, "Gid: 1 1 1 1");
    let groups = text.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
    let groups: Vec<&str> = groups.split_whitespace().collect();
    assert!(groups.contains(&"60") && groups.contains(&"8") && !groups.contains(&"0"), "{groups:?}");
    assert_line(&text, "CapEff: 0000000000000000");
}

fn user_alone_brings_its_groups(ctx: &mut Ctx) {
    let text = status(ctx, "User=daemon\n");
    assert_line(&text, "Uid: 1 1 1 1");
    assert_line(&text, "Gid: 1 1 1 1");
    let groups = text.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
    assert!(groups.split_whitespace().all(|group| group == "1"), "{groups}");
}

fn numeric_user(ctx: &mut Ctx) {
    let text = status(ctx, "User=1\nGroup=60\n");
    assert_line(&text, "Uid: 1 1 1 1");
    assert_line(&text, "Gid: 60 60 60 60");
}

fn nice_and_oom_score(ctx: &mut Ctx) {
    let may = "echo -300 >/proc/self/oom_score_adj && nice -n -5 true";
    if !run(std::process::Command::new("/bin/sh").args(["-c", may])).status.success() {
        return ctx.skip("root without CAP_SYS_RESOURCE or CAP_SYS_NICE");
    }
    let stat = answer(ctx, "Nice=-5\nOOMScoreAdjust=-300\n", "/bin/cat /proc/self/stat /proc/self/oom_score_adj");
    let nice = stat.rsplit(") ").next().unwrap().split(' ').nth(16).unwrap().to_string();
    assert_eq!(nice, "-5");
    assert_eq!(stat.lines().last(), Some("-300"));
}

fn oom_score_may_rise_without_root(ctx: &mut Ctx) {
    let stat = answer(ctx, "Nice=17\nOOMScoreAdjust=600\n", "/bin/cat /proc/self/stat /proc/self/oom_score_adj");
    assert_eq!(stat.rsplit(") ").next().unwrap().split(' ').nth(16), Some("17"));
    assert_eq!(stat.lines().last(), Some("600"));
}

/// As under systemd: the units of mpd and dbus ask for more than a container, or an ordinary user, is given.
fn what_is_not_allowed_is_done_as_far_as_it_goes(ctx: &mut Ctx) {
    let port = ctx.port();
    let directives = "Nice=-17\nOOMScoreAdjust=-300\nLimitNOFILE=300:9000\nLimitRTPRIO=40\nLimitFSIZE=infinity\n";
    let exec = "/bin/cat /proc/self/limits /proc/self/stat /proc/self/oom_score_adj";
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\n{directives}ExecStart={exec}\n");
    let ordinary = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--bounding-set=-all"];
    let bounds = ["prlimit", "--nofile=200:500", "--rtprio=0:0", "--fsize=1000000:2000000"];
    let launch = ctx.launch(&config).wrapped(&[&bounds[..], &ordinary[..]].concat());
    let daemon = launch.env("XDG_RUNTIME_DIR", "/nonexistent").spawn();
    daemon.wait_log("ready");
    let text = talk(port);
    for line in ["Max open files 300 500 files", "Max realtime priority 0 0", "Max file size 2000000 2000000 bytes"] {
        assert_line(&text, line);
    }
    assert_ne!(text.rsplit(") ").next().unwrap().split(' ').nth(16), Some("-17"), "{text}{}", daemon.log());
    assert!(!text.ends_with("\n-300\n"), "{text}");
}

fn umask(ctx: &mut Ctx) {
    assert_line(&status(ctx, "UMask=0027\n"), "Umask: 0027");
    assert_line(&status(ctx, ""), "Umask: 0022");
}

fn resource_limits(ctx: &mut Ctx) {
    let directives = "LimitNOFILE=200:300\nLimitCORE=0\nLimitFSIZE=1M\nLimitCPU=5min\nLimitAS=512M\nLimitNPROC=500\nLimitSTACK=4M:8M\n";
    let limits = answer(ctx, directives, "/bin/cat /proc/self/limits");
    for line in [
        "Max open files 200 300 files",
        "Max core file size 0 0 bytes",
        "Max file size 1048576 1048576 bytes",
        "Max cpu time 300 300 seconds",
        "Max address space 536870912 536870912 bytes",
        "Max processes 500 500 processes",
        "Max stack size 4194304 8388608 bytes",
    ] {
        assert_line(&limits, line);
    }
}

fn no_new_privileges(ctx: &mut Ctx) {
    assert_line(&status(ctx, "NoNewPrivileges=yes\n"), "NoNewPrivs: 1");
    assert_line(&status(ctx, ""), "NoNewPrivs: 0");
}

fn capability_bounding_set(ctx: &mut Ctx) {
    let text = status(ctx, "CapabilityBoundingSet=CAP_CHOWN CAP_NET_BIND_SERVICE\n");
    assert_line(&text, "CapBnd: 0000000000000401");
    assert_line(&text, "CapEff: 0000000000000401");
    let text = status(ctx, "CapabilityBoundingSet=~CAP_CHOWN\n");
    let set = text.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap().trim().to_string();
    assert_eq!(u64::from_str_radix(&set, 16).unwrap() & 1, 0, "{set}");
    assert!(u64::from_str_radix(&set, 16).unwrap() > 1, "{set}");
}

fn ambient_capabilities(ctx: &mut Ctx) {
    let text = status(ctx, "User=nobody\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n");
    assert_line(&text, "Uid: 65534 65534 65534 65534");
    assert_line(&text, "CapAmb: 0000000000000400");
    assert_line(&text, "CapEff: 0000000000000400");
}

fn working_directory(ctx: &mut Ctx) {
    let folder = ctx.path("nest");
    std::fs::create_dir(&folder).unwrap();
    let folder = std::fs::canonicalize(folder).unwrap().display().to_string();
    assert_eq!(answer(ctx, &format!("WorkingDirectory={folder}\n"), "/bin/pwd -P").trim(), folder);
    assert_eq!(answer(ctx, "", "/bin/pwd -P").trim(), "/");
}

fn root_directory(ctx: &mut Ctx) {
    let root = ctx.path("root");
    let busybox = crate::harness::prog("busybox");
    shell(&format!("mkdir -p {root}/bin {root}/only-here"));
    // A dynamically linked busybox needs its libraries inside; what ldd names is copied.
    shell(&format!(
        "cp {busybox} {root}/bin/busybox; for l in $(ldd {busybox} 2>/dev/null | grep -o '/[^ ]*' || true); do mkdir -p {root}$(dirname $l); cp $l {root}$l; done"
    ));
    let text = answer(ctx, &format!("RootDirectory={root}\n"), "/bin/busybox ls /");
    assert!(text.lines().any(|line| line == "only-here") && !text.lines().any(|line| line == "proc"), "{text}");
}

fn environment_file(ctx: &mut Ctx) {
    let file = ctx.file("env", "# a comment\nNEST=leaves\nFOOD=\"two nuts\"\nEMPTY=\n\nTAIL='a b'\n");
    let text = answer(ctx, &format!("Environment=NEST=grass COLOUR=grey\nEnvironmentFile={file}\n"), "/usr/bin/env");
    for line in ["NEST=leaves", "FOOD=two nuts", "EMPTY=", "TAIL=a b", "COLOUR=grey"] {
        assert_line(&text, line);
    }
    let missing = ctx.path("no-such-file");
    assert!(answer(ctx, &format!("EnvironmentFile=-{missing}\nEnvironment=A=b\n"), "/usr/bin/env").contains("A=b"));
}

/// As under systemd only the service suffers; and when something makes the file later, it starts without an operator.
fn environment_file_that_comes_later(ctx: &mut Ctx) {
    let (port, other, file) = (ctx.port(), ctx.port(), ctx.path("made-at-the-first-boot"));
    let one = |name: &str, port: u16, more: &str| {
        format!("[{name}]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart=/usr/bin/env\n{more}")
    };
    let late = format!("EnvironmentFile={file}\n");
    let daemon = ctx.start(&(one("late", port, &late) + &one("other", other, "")));
    assert!(daemon.log().contains(&format!("{file} is missing")), "{}", daemon.log());
    let client = connect(port);
    daemon.wait_log("service=late failed at=EnvironmentFile");
    assert!(talk(other).contains("PATH="), "{}", daemon.log());
    ctx.file("made-at-the-first-boot", "KEY=new\n");
    assert_line(&read_all(client), "KEY=new");
    daemon.wait_log("reload done");
}

fn environment_files_by_pattern(ctx: &mut Ctx) {
    for (name, text) in [("b.env", "A=b\n"), ("a.env", "A=a\nB=1\n"), (".c.env", "A=c\n"), ("d.envs", "A=d\n")] {
        ctx.file(name, text);
    }
    let text = answer(ctx, &format!("EnvironmentFile={}\n", ctx.path("*.env")), "/usr/bin/env");
    assert_line(&text, "A=b");
    assert_line(&text, "B=1");
    let none = ctx.path("no-*.env");
    assert!(answer(ctx, &format!("EnvironmentFile=-{none}\nEnvironment=A=b\n"), "/usr/bin/env").contains("A=b"));
}

/// systemd reads os-release(5) and environment files by the same rules; systemd-tmpfiles shows what it has read.
fn environment_file_as_systemd_reads_it(ctx: &mut Ctx) {
    let lines = "# don't set A=it's\nexport X=1\nID=--name=\"a b\" x \nVERSION_ID=\"a\" 'b'c\"d\nno line\n\
                VARIANT_ID=\\\"x\\ \nBUILD_ID = 'i t'  \r\n; IMAGE_ID=\"\n";
    for (name, text) in [("lines", lines), ("end", "BUILD_ID=b \\")] {
        read_by_both(ctx, name, text);
    }
}

fn read_by_both(ctx: &mut Ctx, folder: &str, text: &str) {
    let root = ctx.path(folder);
    std::fs::create_dir_all(format!("{root}/etc")).unwrap();
    std::fs::create_dir_all(format!("{root}/out")).unwrap();
    std::fs::write(format!("{root}/etc/os-release"), text).unwrap();
    let names = [("ID", 'o'), ("VERSION_ID", 'w'), ("VARIANT_ID", 'W'), ("BUILD_ID", 'B')];
    let lines: String = names.iter().map(|(name, letter)| format!("f /out/{name} - - - - %{letter}\n")).collect();
    let lines = ctx.file("tmpfiles.conf", &lines);
    output(std::process::Command::new("systemd-tmpfiles").args(["--create", &format!("--root={root}"), &lines]));
    let ours = answer(ctx, &format!("EnvironmentFile={root}/etc/os-release\n"), "/usr/bin/env");
    for (name, _) in names.into_iter().filter(|(name, _)| text.lines().any(|line| line.starts_with(name))) {
        let theirs = std::fs::read_to_string(format!("{root}/out/{name}")).unwrap();
        assert!(
            ours.lines().any(|line| line == format!("{name}={theirs}")),
            "{name}: theirs is [{theirs}], ours\n{ours}"
        );
    }
}

fn unset_environment(ctx: &mut Ctx) {
    let text = answer(ctx, "Environment=KEEP=1 DROP=2\nUnsetEnvironment=DROP\n", "/usr/bin/env");
    assert_line(&text, "KEEP=1");
    assert!(!text.contains("DROP="), "{text}");
}

fn standard_output_to_a_file(ctx: &mut Ctx) {
    let port = ctx.port();
    let file = ctx.file("out", "old\n");
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nStandardOutput=file:{file}\nExecStart=/bin/echo new\n"
    );
    let _daemon = ctx.start(&config);
    assert_eq!(talk(port), "");
    wait_until("the file is written", || ctx.lines("out") == ["new"]);
}

fn standard_output_appended(ctx: &mut Ctx) {
    let port = ctx.port();
    let (out, err) = (ctx.file("out", "old\n"), ctx.path("err"));
    let script = ctx.script("service", "echo new; echo bad >&2\n");
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nStandardOutput=append:{out}\nStandardError=append:{err}\nExecStart={script}\n"
    );
    let _daemon = ctx.start(&config);
    for count in 1..=2 {
        assert_eq!(talk(port), "");
        wait_until("the files grow", || ctx.lines("out").len() == 1 + count && ctx.lines("err").len() == count);
    }
}

/// Who may write to a folder of logs can put a link to somebody else's file there.
fn standard_output_follows_no_link_of_the_service(ctx: &mut Ctx) {
    let port = ctx.port();
    let theirs = ctx.file("theirs", "theirs\n");
    let out = ctx.path("out");
    std::os::unix::fs::symlink(&theirs, &out).unwrap();
    let of = |user| output(std::process::Command::new("chown").args(["-h", user, &out]));
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nUser=daemon\nStandardOutput=append:{out}\nExecStart=/bin/echo new\n"
    );
    of("daemon");
    let daemon = ctx.start(&config);
    let _client = connect(port);
    daemon.wait_log("StandardOutput");
    daemon.wait_log("ELOOP");
    assert_eq!(ctx.lines("theirs"), ["theirs"]);
    of("root");
    wait_until("root's is followed", || ctx.lines("theirs") == ["theirs", "new"]);
}

fn standard_output_null_and_error_to_the_client(ctx: &mut Ctx) {
    let script = ctx.script("service", "echo nothing; echo something >&2\n");
    assert_eq!(answer(ctx, "StandardOutput=null\nStandardError=socket\n", &script), "something\n");
}

fn standard_input_from_a_file(ctx: &mut Ctx) {
    let port = ctx.port();
    let (input, out) = (ctx.file("in", "from the file\n"), ctx.path("out"));
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nAccept=yes\nStandardInput=file:{input}\nStandardOutput=file:{out}\nExecStart=/bin/cat\n"
    );
    let _daemon = ctx.start(&config);
    assert_eq!(talk(port), "");
    wait_until("the copy", || ctx.lines("out") == ["from the file"]);
}

fn fails_with(ctx: &mut Ctx, directive: &str, words: &[&str]) {
    let port = ctx.port();
    let config =
        format!("[faulty]\nListenStream=127.0.0.1:{port}\nAccept=yes\n{directive}\nExecStart=/bin/echo here\n");
    let daemon = ctx.start(&config);
    let _client = connect(port);
    for word in ["faulty"].iter().chain(words) {
        daemon.wait_log(word);
    }
}

/// The step is told by the word that stands in the configuration, the reason by the kernel's name for it.
fn step_that_fails_is_named(ctx: &mut Ctx) {
    fails_with(ctx, "WorkingDirectory=/no/such/place", &["WorkingDirectory", "ENOENT"]);
}

/// Of the three streams, the one that could not be opened.
fn stream_that_fails_is_named(ctx: &mut Ctx) {
    fails_with(ctx, "StandardOutput=file:/no/such/place/file", &["StandardOutput", "ENOENT"]);
    fails_with(ctx, "StandardInput=file:/no/such/file", &["StandardInput", "ENOENT"]);
}

fn program_that_cannot_be_executed_is_named(ctx: &mut Ctx) {
    let text = ctx.file("text", "not a program");
    let port = ctx.port();
    let daemon = ctx.start(&format!("[faulty]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart={text}\n"));
    let _client = connect(port);
    daemon.wait_log("exec");
    daemon.wait_log("EACCES");
    daemon.wait_log(&text);
}

fn step_that_fails_as_root_is_named(ctx: &mut Ctx) {
    fails_with(ctx, "RootDirectory=/no/such/place", &["RootDirectory", "ENOENT"]);
    fails_with(ctx, "User=nobody\nWorkingDirectory=/root", &["WorkingDirectory", "EACCES"]);
}

fn unknown_user_is_a_fault_of_the_configuration(ctx: &mut Ctx) {
    let port = ctx.port();
    let config = format!("[x]\nListenStream=127.0.0.1:{port}\nUser=no-such-user\nExecStart={}\n", stand_in("answer x"));
    let (status, message) = ctx.launch(&config).refused();
    assert_eq!(status.code(), Some(78), "{message}");
    assert!(message.contains("no-such-user"), "{message}");
}

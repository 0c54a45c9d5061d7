//! Units and files of xinetd as they are: the folders of tests/corpus run for real, with a drop-in where this machine
//! differs.

use crate::client::*;
use crate::daemon::{Daemon, Launch};
use crate::harness::{Ctx, Need::*, Test, prog, service_file, sleep_ms, stand_in, wait_until};
use crate::listen_protocol::Report;
use crate::reload::order;
use crate::test;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

const UUIDD: &str = "/lib/systemd/system/uuidd.socket";
const RPCBIND: &str = "/lib/systemd/system/rpcbind.socket";

pub const TESTS: &[Test] = &[
    test!(gunicorn_units_run_unchanged, Root, Prog("gunicorn"), Part("units")),
    test!(ssh_units_run_unchanged, Root, Prog("sshd"), Prog("ssh"), Prog("ssh-keygen"), Part("units")),
    test!(agent_units_run_unchanged, Root, File("/usr/bin/python3"), Part("units")),
    test!(uuidd_as_debian_ships_it, Root, Prog("uuidd"), File(UUIDD), Part("units")),
    test!(
        rpcbind_as_debian_ships_it,
        Root,
        Prog("rpcbind"),
        Prog("rpcinfo"),
        File(RPCBIND),
        Part("units"),
        Directive("StopWhenIdleSec")
    ),
    test!(several_sockets_of_one_service, Part("units")),
    test!(drop_ins_replace_what_the_unit_says, Part("units")),
    test!(connections_have_names, Part("units")),
    test!(an_instance_of_a_template, Part("units")),
    test!(enabled_units_are_links, Part("units")),
    test!(links_have_their_own_drop_ins, Root, Part("units")),
    test!(folders_of_an_ordinary_user, Part("units"), Root, Prog("setpriv")),
    test!(folders_are_made_before_the_start, Root, Part("units")),
    test!(a_link_in_the_place_of_a_folder_gives_nothing_away, Root, Part("units")),
    test!(a_faulty_unit_keeps_no_other_down, Part("units")),
    test!(a_unit_that_becomes_faulty_keeps_its_sockets, Part("units"), Part("reload")),
    test!(a_unit_comes_with_its_names, Part("units"), Part("reload"), Root, Prog("unshare")),
    test!(a_service_of_xinetd, Part("xinetd"), Root),
    test!(xinetd_access, Part("xinetd"), Root),
    test!(what_xinetd_leaves_out_keeps_nobody_down, Part("xinetd"), Root),
];

/// A copy of a folder of units in the test's own, at `units`.
fn copy(ctx: &Ctx, name: &str) {
    let from = format!("{}/tests/corpus/units/{name}", env!("CARGO_MANIFEST_DIR"));
    shell(&format!("cp -a {from} {}", ctx.path("units")));
}

fn launch(ctx: &Ctx) -> Launch {
    Launch::new(&ctx.dir, 1, Some(ctx.path("units")))
}

fn start(ctx: &Ctx) -> Daemon {
    launch(ctx).start()
}

fn gunicorn_units_run_unchanged(ctx: &mut Ctx) {
    if !ctx.own_net {
        return ctx.skip("the port 8000 needs a network namespace");
    }
    copy(ctx, "100-myapp");
    let app = "import os\ndef app(environ, start):\n    start('200 OK', [])\n    return [b'uid %d' % os.getuid()]\n";
    ctx.file("app.py", app);
    let place = format!("[Service]\nWorkingDirectory={}\nExecStart=\n", ctx.dir.display());
    let exec = format!("ExecStart={} --workers 1 app:app\n", prog("gunicorn"));
    ctx.file("units/myapp.service.d/here.conf", &format!("{place}{exec}"));
    let daemon = start(ctx);
    assert!(daemon.descendants().is_empty(), "nothing runs before the first request");
    let user = output(Command::new("id").args(["-u", "www-data"]));
    for _ in 0..2 {
        assert!(http_get(8000, "/").ends_with(&format!("uid {}", user.trim())), "{}", daemon.log());
    }
    assert!(daemon.log().contains("PrivateTmp=, ProtectSystem="), "{}", daemon.log());
}

/// With /run empty, as after a boot: the unit makes sshd's folder by RuntimeDirectory=.
fn ssh_units_run_unchanged(ctx: &mut Ctx) {
    if !ctx.own_net {
        return ctx.skip("the port 22 needs a network namespace");
    }
    copy(ctx, "101-ssh");
    let (key, host) = (crate::serve::client_key(ctx), ctx.path("host_key"));
    output(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &host]));
    let options = format!("HostKey {host}\nUsePAM no\nPidFile none\nStrictModes no\nPermitRootLogin yes\n");
    let options = ctx.file("sshd_config", &options);
    let defaults = ctx.file("default-ssh", &format!("# options\nSSHD_OPTS=\"-f {options}\"\n"));
    ctx.file("units/ssh@.service.d/here.conf", &format!("[Service]\nEnvironmentFile={defaults}\n"));
    let launch = crate::serve::with_sleeper(ctx, launch(ctx));
    let daemon = launch.in_shell("rmdir /run/sshd; exec \"$@\"").start();
    for _ in 0..2 {
        assert_eq!(crate::serve::ssh(ctx, &key, 22, "echo hello").trim(), "hello", "{}", daemon.log());
    }
}

fn agent_units_run_unchanged(ctx: &mut Ctx) {
    copy(ctx, "102-agent");
    let exec = format!("/usr/bin/python3 {}", service_file("agent.py"));
    let path = ctx.path("run/agent.sock");
    let own = format!("[Socket]\nListenStream=\nListenStream={}/run/%p.sock\n", ctx.dir.display());
    ctx.file("units/agent.socket.d/here.conf", &own);
    ctx.file("units/agent.service.d/here.conf", &format!("[Service]\nExecStart=\nExecStart={exec}\n"));
    let _daemon = start(ctx);
    let socket = std::fs::metadata(&path).unwrap();
    let group = output(Command::new("getent").args(["group", "adm"]));
    let group: u32 = group.split(':').nth(2).unwrap().parse().unwrap();
    assert_eq!((socket.permissions().mode() & 0o7777, socket.uid(), socket.gid()), (0o660, 0, group));
    assert_eq!(std::fs::metadata(ctx.path("run")).unwrap().permissions().mode() & 0o7777, 0o750);
    assert_eq!(unix_talk(&path).unwrap(), "uid 0\n");
}

/// A unit of the machine in a folder of the test's own, with an empty /run of the daemon's and its clients' own.
fn shipped(ctx: &Ctx, unit: &str, drop_in: &str) -> Daemon {
    let name = unit.rsplit('/').next().unwrap();
    ctx.file(&format!("own/{name}.d/here.conf"), drop_in);
    std::os::unix::fs::symlink(unit, ctx.path(&format!("own/{name}"))).unwrap();
    let launch = Launch::new(&ctx.dir, 1, Some(ctx.path("own"))).wrapped(&["unshare", "-m"]);
    launch.in_shell("mount -t tmpfs -o mode=755 tmpfs /run && exec \"$@\"").start()
}

/// What a client says that runs where the daemon does.
fn beside(daemon: &Daemon, words: &[&str]) -> String {
    let target = format!("--target={}", daemon.pid);
    output(Command::new("nsenter").args([&target, "--mount"]).args(words))
}

fn uuidd_as_debian_ships_it(ctx: &mut Ctx) {
    let daemon = shipped(ctx, UUIDD, "");
    for _ in 0..2 {
        assert!(beside(&daemon, &["uuidd", "-r", "-n", "2"]).starts_with("List of UUIDs:\n"), "{}", daemon.log());
    }
    assert_eq!(daemon.log().matches("start service=uuidd").count(), 1, "{}", daemon.log());
}

/// Five sockets of three kinds for one service, which puts them in order by what they are, and not by their names.
fn rpcbind_as_debian_ships_it(ctx: &mut Ctx) {
    if !ctx.own_net {
        return ctx.skip("the port 111 needs a network namespace");
    }
    let sleep = "[X-Dormouse]\nStopWhenIdleSec=1\nStopWhenQuietSec=1\n";
    let daemon = shipped(ctx, RPCBIND, sleep);
    let asked: [&[&str]; 4] = [
        &["rpcinfo", "-T", "tcp", "127.0.0.1", "portmapper"],
        &["rpcinfo", "-T", "udp", "127.0.0.1", "portmapper"],
        &["rpcinfo", "-T", "tcp6", "::1", "rpcbind"],
        &["rpcinfo", "-T", "udp6", "::1", "rpcbind"],
    ];
    for (number, words) in asked.iter().enumerate() {
        assert!(beside(&daemon, words).contains("ready and waiting"), "{}", daemon.log());
        wait_until("it sleeps", || daemon.log().matches("why=idle").count() == number + 1);
    }
    assert!(beside(&daemon, &["rpcinfo"]).contains("/run/rpcbind.sock"), "the answer to a client on the unix socket");
}

fn several_sockets_of_one_service(ctx: &mut Ctx) {
    copy(ctx, "103-several");
    let (full, read_only) = (ctx.path("full.sock"), ctx.path("ro.sock"));
    for (name, path) in [("box", &full), ("box-ro", &read_only)] {
        let own = format!("[Socket]\nListenStream=\nListenStream={path}\n");
        ctx.file(&format!("units/{name}.socket.d/here.conf"), &own);
    }
    let exec = stand_in(&format!("report {}", ctx.path("report")));
    ctx.file("units/box.service.d/here.conf", &format!("[Service]\nExecStart=\nExecStart={exec}\n"));
    let daemon = start(ctx);
    let mode = |path: &str| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&full), mode(&read_only)), (0o600, 0o666), "each socket keeps its own mode");
    // A client of the second socket starts the service, which gets both.
    let _client = std::os::unix::net::UnixStream::connect(&read_only).unwrap();
    let report = Report::wait(ctx, "report");
    assert_eq!(report.var("LISTEN_FDNAMES"), Some("full:box-ro.socket"), "{}", daemon.log());
    assert!(report.get("fd.3").unwrap().ends_with(&full) && report.get("fd.4").unwrap().ends_with(&read_only));
}

fn drop_ins_replace_what_the_unit_says(ctx: &mut Ctx) {
    copy(ctx, "104-drop-ins");
    let (port, report) = (ctx.port(), ctx.path("report"));
    ctx.file("units/foo-bar.socket.d/90.conf", &format!("[Socket]\nListenStream=\nListenStream=127.0.0.1:{port}\n"));
    let exec = stand_in(&format!("report {report}"));
    ctx.file("units/foo-bar.service.d/90.conf", &format!("[Service]\nExecStart=\nExecStart={exec}\n"));
    let daemon = start(ctx);
    let _client = connect(port);
    let report = Report::wait(ctx, "report");
    assert_eq!((report.var("A"), report.var("B")), (Some("1"), Some("3")), "{}", daemon.log());
    assert_eq!(report.var("LISTEN_FDNAMES"), Some("foo-bar.socket"));
}

/// As systemd names the service of a connection: a number, our address, the client's.
fn connections_have_names(ctx: &mut Ctx) {
    copy(ctx, "107-connections");
    let (port, path) = (ctx.port(), ctx.path("own.sock"));
    let socket = format!("[Socket]\nListenStream=\nListenStream=127.0.0.1:{port}\nListenStream={path}\n");
    ctx.file("units/log.socket.d/here.conf", &socket);
    let daemon = start(ctx);
    for number in 0..2 {
        let client = connect(port);
        let own = client.local_addr().unwrap();
        let name = format!("{number}-127.0.0.1:{port}-{own}");
        let path = name.replace('-', "/");
        let expected = format!("{name} {path} /{path} log@{name}.service log@{name} log  %i\n");
        assert_eq!(read_all(client), expected, "{}", daemon.log());
    }
    let me = std::process::id();
    let user = output(Command::new("id").arg("-u"));
    assert!(unix_talk(&path).unwrap().starts_with(&format!("2-{me}-{} 2/", user.trim())));
}

fn an_instance_of_a_template(ctx: &mut Ctx) {
    let path = ctx.path("log-one-two");
    ctx.file("units/log@.socket", &format!("[Socket]\nListenStream={}/log-%i\n", ctx.dir.display()));
    let exec = ctx.script("service", "exec >\"$1\"; echo \"$2|$3|$LISTEN_FDNAMES\"\n");
    let exec = format!("{exec} {} %I '%i %n'", ctx.path("said"));
    ctx.file("units/log@.service", &format!("[Service]\nExecStart={exec}\n"));
    // Nothing has this name: the template is instantiated.
    let named = ctx.path("units/log@one-two.socket");
    let _daemon = Launch::new(&ctx.dir, 1, Some(named)).start();
    let _client = std::os::unix::net::UnixStream::connect(path).unwrap();
    wait_until("the service has spoken", || !ctx.lines("said").is_empty());
    assert_eq!(ctx.lines("said"), ["one/two|one-two log@one-two.service|log@one-two.socket"]);
}

/// A folder such as /etc/systemd/system/sockets.target.wants: its links lead to the units beside the others.
fn enabled_units_are_links(ctx: &mut Ctx) {
    let (port, other) = (ctx.port(), ctx.port());
    let exec = stand_in("report");
    for (name, port) in [("on", port), ("off", other)] {
        let socket = format!("[Socket]\nListenStream=127.0.0.1:{port}\nAccept=yes\n");
        ctx.file(&format!("lib/{name}.socket"), &socket);
        ctx.file(&format!("lib/{name}@.service"), &format!("[Service]\nExecStart={exec}\nStandardInput=socket\n"));
    }
    ctx.file("lib/sockets.target.wants/.keep", "");
    std::os::unix::fs::symlink("../on.socket", ctx.path("lib/sockets.target.wants/on.socket")).unwrap();
    let _daemon = Launch::new(&ctx.dir, 1, Some(ctx.path("lib/sockets.target.wants"))).start();
    assert!(talk(port).contains("pid="));
    assert!(std::net::TcpStream::connect(local(other)).is_err());
}

/// A folder of one's own with links to units of systemd's, of which one socket is for the service of another one.
fn links_have_their_own_drop_ins(ctx: &mut Ctx) {
    let (port, admin) = (ctx.port(), ctx.port());
    let exec = stand_in("report");
    ctx.file("lib/log.socket", &format!("[Socket]\nListenStream=127.0.0.1:{port}\n"));
    ctx.file("lib/log-admin.socket", &format!("[Socket]\nListenStream=127.0.0.1:{admin}\nService=log.service\n"));
    ctx.file("lib/log.service", &format!("[Service]\nExecStart={exec} OUT\n"));
    let report = format!("[Service]\nExecStart=\nExecStart={exec} {}\n", ctx.path("report"));
    ctx.file("own/log.service.d/here.conf", &report);
    for name in ["log", "log-admin"] {
        let unit = format!("/run/systemd/system/{name}.socket");
        std::os::unix::fs::symlink(unit, ctx.path(&format!("own/{name}.socket"))).unwrap();
    }
    let systemd = "mount -t tmpfs tmpfs /run && mkdir /run/systemd && cp -a LIB /run/systemd/system && exec \"$@\"";
    let launch = Launch::new(&ctx.dir, 1, Some(ctx.path("own"))).wrapped(&["unshare", "-m"]);
    let _daemon = launch.in_shell(&systemd.replace("LIB", &ctx.path("lib"))).start();
    let _client = connect(admin);
    assert_eq!(Report::wait(ctx, "report").var("LISTEN_FDNAMES"), Some("log.socket:log-admin.socket"));
}

fn folders_are_made_before_the_start(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = ctx.script("service", "stat -Lc '%a %U' $(echo $RUNTIME_DIRECTORY | tr : ' ') /run/deep /run/kept\n");
    ctx.file("units/a.socket", &format!("[Socket]\nListenStream=127.0.0.1:{port}\nAccept=yes\n"));
    let service = "StandardInput=socket\nUser=daemon\nRuntimeDirectory=one one/two deep/two kept/two link\nRuntimeDirectoryMode=0750\n";
    ctx.file("units/a@.service", &format!("[Service]\nExecStart={exec}\n{service}"));
    let launch = launch(ctx).wrapped(&["unshare", "-m"]);
    let daemon =
        launch.in_shell("mount -t tmpfs -o mode=755 tmpfs /run && cd /run && mkdir -m 711 kept real && ln -s real link && exec \"$@\"").start();
    for _ in 0..2 {
        assert_eq!(talk(port), "750 daemon\n".repeat(5) + "755 root\n711 root\n", "{}", daemon.log());
    }
}

/// Who has the folder above can put a link to somebody else's folder there, in the place of the last one or of one
/// above.
fn a_link_in_the_place_of_a_folder_gives_nothing_away(ctx: &mut Ctx) {
    let theirs = ctx.file("run/theirs/.keep", "").replace("/.keep", "");
    let moved = "mv /run/$1/$2 /run/$1/before && ln -s /run/theirs /run/$1/$2; echo done\n";
    let exec = ctx.script("service", moved);
    for (name, below) in [("last", ""), ("above", "/three")] {
        let port = ctx.port();
        ctx.file(&format!("{name}/a.socket"), &format!("[Socket]\nListenStream=127.0.0.1:{port}\nAccept=yes\n"));
        let service = "[Service]\nStandardInput=socket\nUser=daemon\nRuntimeDirectoryMode=0770\n";
        let folders = format!("RuntimeDirectory={name} {name}/two{below}\nExecStart={exec} {name} two\n");
        ctx.file(&format!("{name}/a@.service"), &[service, &folders].concat());
        let launch = Launch::new(&ctx.dir, 1, Some(ctx.path(name))).wrapped(&["unshare", "-m"]);
        let mount = format!("mount --bind {} /run && exec \"$@\"", ctx.path("run"));
        let daemon = launch.in_shell(&mount).start();
        assert_eq!(talk(port), "done\n", "{}", daemon.log());
        let _waits = connect(port);
        daemon.wait_log("ELOOP");
        assert_eq!(output(Command::new("stat").args(["-c", "%U %a", &theirs])), "root 755\n");
        assert_eq!(std::fs::read_dir(&theirs).unwrap().count(), 1);
    }
}

fn folders_of_an_ordinary_user(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = ctx.script(
        "service",
        "ls -d $RUNTIME_DIRECTORY $STATE_DIRECTORY $LOGS_DIRECTORY; echo $1; echo $HOME+$XDG_RUNTIME_DIR\n",
    );
    ctx.file("units/a.socket", &format!("[Socket]\nListenStream=127.0.0.1:{port}\nAccept=yes\n"));
    let service = "StandardInput=socket\nRuntimeDirectory=one\nStateDirectory=two/three\nLogsDirectory=four\n";
    ctx.file("units/a@.service", &format!("[Service]\nExecStart={exec} %t\n{service}"));
    let run = ctx.file("home/run/.keep", "").replace("/.keep", "");
    let home = run.replace("/run", "");
    output(Command::new("chown").args(["-R", "nobody", &home]));
    let launch = launch(ctx).wrapped(&["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    let daemon =
        launch.env("XDG_RUNTIME_DIR", &run).env("HOME", &home).env("XDG_STATE_HOME", &format!("{home}/s")).spawn();
    daemon.wait_log("ready");
    let text = talk(port);
    for path in [
        format!("\n{run}\n"),
        format!("{run}/one\n"),
        format!("{home}/s/two/three\n"),
        format!("{home}/s/log/four\n"),
        format!("{home}+{run}\n"),
    ] {
        assert!(text.contains(&path), "{path} is not in\n{text}{}", daemon.log());
    }
}

/// A unit that answers its name to each client of a port; `more` goes into the service.
fn answering(ctx: &Ctx, name: &str, port: u16, more: &str) {
    ctx.file(&format!("units/{name}.socket"), &format!("[Socket]\nListenStream=127.0.0.1:{port}\nAccept=yes\n"));
    let service = format!("[Service]\nExecStart=/bin/echo {name}\nStandardInput=socket\n{more}");
    ctx.file(&format!("units/{name}@.service"), &service);
}

const NOBODY: &str = "User=nobody-has-this-name\n";

/// One has no user on this machine, one a value that nobody understands, one the port of another, one is not there.
fn a_faulty_unit_keeps_no_other_down(ctx: &mut Ctx) {
    let [port, other, free] = [ctx.port(), ctx.port(), ctx.port()];
    answering(ctx, "a", port, "");
    answering(ctx, "b", free, NOBODY);
    answering(ctx, "c", other, "UMask=what\n");
    answering(ctx, "d", port, "");
    std::os::unix::fs::symlink("nowhere.socket", ctx.path("units/e.socket")).unwrap();
    ctx.file("units/f.socket", &format!("[Socket]\nListenStream={}\nService=g.service\n", ctx.path("f")));
    ctx.file("units/g.socket", "[Socket]\nListenStream=/run/g\nSocketMode=what\n");
    ctx.file("units/g.service", "[Service]\nExecStart=/bin/true\n");
    answering(ctx, "z", other, "");
    let daemon = start(ctx);
    assert_eq!((talk(port).as_str(), talk(other).as_str()), ("a\n", "z\n"), "{}", daemon.log());
    for what in
        ["there is no such user", "b@.service:4", "c@.service:4", "collides", "e.socket", "f.socket", "g.socket:3"]
    {
        let line = daemon.log().lines().find(|line| line.contains(what)).unwrap_or_default().to_owned();
        assert!(
            what == "b@.service:4" || line.ends_with("; its service is left out"),
            "{what}: {line}\n{}",
            daemon.log()
        );
    }
    let units = ctx.path("units");
    let status = |words: &[&str]| crate::commands::dormouse(words).0;
    let (code, told) = crate::commands::dormouse(&["check", "-c", &units]);
    assert!(code == 1 && told.contains("b@.service:4") && told.contains("the rest: 2 services"), "{code}: {told}");
    assert_eq!(status(&["check", "-c", &ctx.path("units/b.socket")]), 78, "of what was asked for there is no rest");
    assert_eq!(status(&["run", "-c", &ctx.path("units/b.socket")]), 78, "this one was asked for");
    for name in ["a.socket", "c.socket", "d.socket", "z.socket"] {
        std::fs::remove_file(format!("{units}/{name}")).unwrap();
    }
    assert_eq!(status(&["run", "-c", &units]), 78, "there is no other");
    assert_eq!(status(&["check", "-c", &units]), 78);
}

fn a_unit_that_becomes_faulty_keeps_its_sockets(ctx: &mut Ctx) {
    let [first, bad, new] = [ctx.port(), ctx.port(), ctx.port()];
    answering(ctx, "a", first, "");
    answering(ctx, "b", bad, NOBODY);
    let daemon = start(ctx);
    answering(ctx, "a", first, NOBODY);
    assert!(!order(&daemon, libc::SIGHUP), "{}", daemon.log());
    assert_eq!(talk(first), "a\n", "{}", daemon.log());
    answering(ctx, "a", first, "");
    answering(ctx, "c", new, "");
    assert!(order(&daemon, libc::SIGHUP), "the other fault is known: {}", daemon.log());
    assert_eq!(talk(new), "c\n");
    answering(ctx, "b", bad, "");
    assert!(order(&daemon, libc::SIGHUP));
    assert_eq!(talk(bad), "b\n", "and it comes when it is sound");
    answering(ctx, "b", bad, NOBODY);
    assert!(!order(&daemon, libc::SIGHUP), "but does not go any more");
    assert_eq!(talk(bad), "b\n");
}

/// A user and a port that get their names while the daemon runs. What has another fault waits for none.
fn a_unit_comes_with_its_names(ctx: &mut Ctx) {
    let [sound, user, port, bad] = [ctx.port(), ctx.port(), ctx.port(), ctx.port()];
    answering(ctx, "a", sound, "");
    answering(ctx, "b", user, "User=dormouse-late\n");
    answering(ctx, "c", port, "");
    ctx.file("units/c.socket", "[Socket]\nListenStream=127.0.0.1:dormouse-late\nAccept=yes\n");
    answering(ctx, "d", bad, "UMask=what\n");
    let [passwd, group, services] = ["passwd", "group", "services"].map(|name| {
        let text = std::fs::read_to_string(format!("/etc/{name}")).unwrap();
        ctx.file(&format!("etc/{name}"), &text);
        text
    });
    let etc = format!("mount --bind {} /etc && exec \"$@\"", ctx.path("etc"));
    let daemon = launch(ctx).wrapped(&["unshare", "-m"]).in_shell(&etc).start();
    assert_eq!(talk(sound), "a\n", "{}", daemon.log());
    let told = |what: &str| daemon.log().matches(what).count();
    let add_user = |ctx: &Ctx, name: &str| {
        // as useradd(8) does, and as slowly as where its fsync(2) takes a while
        let draft = ctx.file("etc/passwd+", &format!("{passwd}{name}:x:54321:54321::/:/bin/sh\n"));
        std::fs::rename(draft, ctx.path("etc/passwd")).unwrap();
        sleep_ms(100);
        std::fs::rename(ctx.file("etc/group+", &group), ctx.path("etc/group")).unwrap();
    };
    add_user(ctx, "dormouse-late");
    wait_until("the user is found", || told("reload done") > 0);
    assert_eq!(talk(user), "b\n", "{}", daemon.log());
    assert_eq!(told("reload begin"), 1, "once for all files: {}", daemon.log());
    // as an editor does
    ctx.file("etc/services", &format!("{services}dormouse-late {port}/tcp\n"));
    wait_until("the port is found", || told("reload done") == 2);
    assert_eq!(talk(port), "c\n", "{}", daemon.log());
    add_user(ctx, "dormouse-late");
    assert!(order(&daemon, libc::SIGHUP));
    assert_eq!(told("names in /etc"), 2, "{}", daemon.log());
    let watches =
        |fd: std::fs::DirEntry| std::fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().contains("inotify"));
    let mut open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid)).unwrap().flatten();
    assert!(!open.any(watches), "none is missing any more");
}

/// A daemon on a file of xinetd with one service, which answers a line.
fn xinetd(ctx: &mut Ctx, port: u16, more: &str) -> Daemon {
    let service = format!(
        "service x\n{{\n type = UNLISTED\n port = {port}\n protocol = tcp\n socket_type = stream\n wait = no\n \
         user = {}\n server = /bin/sh\n server_args = -c read$IFS\"line\";echo$IFS\"got\"$IFS$line;echo$IFS\"bad\">&2\n\
         {more}\n}}\n",
        output(Command::new("id").arg("-un")).trim()
    );
    ctx.file("etc/xinetd.d/x", &service);
    let main = ctx.file("etc/xinetd.conf", "defaults\n{\n instances = 60\n}\nincludedir xinetd.d\n");
    Launch::new(&ctx.dir, 1, Some(main)).start()
}

fn a_service_of_xinetd(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = xinetd(ctx, port, "");
    assert_eq!(ask(port, "hello\n"), "got hello\nbad\n", "0, 1 and 2 are the connection: {}", daemon.log());
}

/// A package's file whose user or service was never made, and a port that two want.
fn what_xinetd_leaves_out_keeps_nobody_down(ctx: &mut Ctx) {
    let port = ctx.port();
    let other = |name: &str, user: &str, more: &str| {
        format!("service {name}\n{{\n socket_type = stream\n wait = no\n user = {user}\n server = /bin/cat\n{more}}}\n")
    };
    ctx.file("etc/xinetd.d/a", &other("nobody-knows-it", "root", ""));
    ctx.file("etc/xinetd.d/b", &other("b", "nobody-has-this-name", " type = UNLISTED\n port = 1\n"));
    ctx.file("etc/xinetd.d/y", &other("y", "root", &format!(" type = UNLISTED\n port = {port}\n")));
    let daemon = xinetd(ctx, port, "");
    assert_eq!(ask(port, "hello\n"), "got hello\nbad\n", "{}", daemon.log());
    let main = ctx.path("etc/xinetd.conf");
    assert_eq!(crate::commands::dormouse(&["check", "-c", &main]).0, 1);
    for what in ["nobody-knows-it in /etc/services", "User=nobody-has-this-name: there is no such user", "collides"] {
        let line = daemon.log().lines().find(|line| line.contains(what)).unwrap_or_default().to_owned();
        assert!(line.ends_with("; its service is left out"), "{what}: {line}\n{}", daemon.log());
    }
}

fn xinetd_access(ctx: &mut Ctx) {
    let port = ctx.port();
    let _daemon = xinetd(ctx, port, "only_from = 127.0.0.0\n no_access = 127.0.0.2");
    assert_eq!(ask(port, "hello\n"), "got hello\nbad\n");
    let refused = connect_from("127.0.0.2".parse().unwrap(), local(port), crate::harness::PATIENCE);
    assert_eq!(refused.map(read_all).unwrap_or_default(), "");
}

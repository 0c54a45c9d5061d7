//! `dormouse reload` and `dormouse upgrade`, and how the outside sees them: clients of the control socket, the
//! supervisor, the pid file, ps.

use crate::client::*;
use crate::daemon::{is_live, kill};
use crate::harness::{Ctx, Need::*, PATIENCE, Test, dormouse as dormouse_path, sleep_ms, wait_until};
use crate::reload::{one, order, own_program, reload, replace};
use crate::test;
use std::os::unix::net::UnixDatagram;

pub const TESTS: &[Test] = &[
    test!(reload_and_upgrade_as_commands, Command("reload"), Command("upgrade")),
    test!(the_command_shows_what_check_shows, Command("reload")),
    test!(watchers_and_orders_outlive_a_reload, Command("reload"), Command("watch")),
    test!(what_was_counted_and_paused_stays, Command("reload"), Command("status")),
    test!(the_pid_file_stays_locked, Part("reload"), Part("detach")),
    test!(the_supervisor_is_told, Part("reload"), Part("notify")),
    test!(a_detached_daemon_with_relative_names, Part("reload"), Part("detach")),
    test!(a_control_socket_that_is_made_anew_has_new_clients, Command("reload"), Command("watch")),
    test!(the_name_of_the_process_stays, Part("reload")),
];

fn reload_and_upgrade_as_commands(ctx: &mut Ctx) {
    let port = ctx.port();
    let program = own_program(ctx);
    let config = |word: &str| one(port, "Accept=yes\n", &format!("/bin/echo {word}"));
    let daemon = ctx.launch(&config("before")).program(&program).start();
    ctx.file("dormouse.conf", &config("after"));
    assert!(daemon.tell(&["reload"]).starts_with("reload done: services: 1; sockets kept: 1"));
    assert_eq!(talk(port), "after\n", "it holds when the command ends");
    replace(&dormouse_path(), &program);
    assert!(daemon.tell(&["upgrade"]).starts_with("upgrade done"));
    assert_eq!(talk(port), "after\n");
    replace("/bin/true", &program);
    let out = daemon.ask(&["upgrade"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("upgrade refused"), "{out:?}");
    assert!(daemon.tell(&["status"]).contains("waiting"));
    assert_eq!(daemon.ask(&["reload", "x"]).status.code(), Some(2), "it is about all services");
}

/// Somebody has removed its file. Who is connected still is told from who comes then.
fn a_control_socket_that_is_made_anew_has_new_clients(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&one(port, "Accept=yes\n", "/bin/echo here"));
    let open = daemon.open_fds();
    let mut watch = daemon.begin(&["watch"]);
    wait_until("it is connected", || daemon.open_fds() > open);
    std::fs::remove_file(daemon.control()).unwrap();
    reload(&daemon);
    let mut list = daemon.begin(&["list"]);
    wait_until("an answer", || list.try_wait().unwrap().is_some());
    daemon.cost(|| sleep_ms(1000)).assert_small();
    assert!(watch.try_wait().unwrap().is_none(), "who watches goes on");
    kill(watch.id() as i32, libc::SIGKILL);
    watch.wait().unwrap();
}

fn the_command_shows_what_check_shows(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&one(port, "Accept=yes\n", "/bin/echo here"));
    let faulty = "[x]\nListenStrem=80\nExecStart=/bin/true\n[x]\nListenStream=nonsense\n";
    let config = ctx.file("dormouse.conf", faulty);
    let (code, told) = crate::commands::dormouse(&["check", "-c", &config]);
    let out = daemon.ask(&["reload"]);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!((code, out.status.code()), (78, Some(78)));
    assert!(text.contains("nothing has changed"), "{text}");
    for line in told.lines().filter(|line| !line.trim().is_empty()) {
        assert!(text.contains(line.trim_end()), "the answer lacks \"{line}\":\n{text}");
    }
    assert_eq!(talk(port), "here\n");
}

fn watchers_and_orders_outlive_a_reload(ctx: &mut Ctx) {
    let (port, slow) = (ctx.port(), ctx.port());
    let body = format!(
        "trap 'trap \"\" TERM; sleep 3; exit 0' TERM\n: >{}\nwhile :; do sleep 0.1; done\n",
        ctx.path("trapped")
    );
    let deaf = ctx.script("deaf", &body);
    let config = one(port, "Accept=yes\n", "/bin/echo here")
        + &format!("[slow]\nListenStream=127.0.0.1:{slow}\nTimeoutStopSec=10\nExecStart={deaf}\n");
    let daemon = ctx.start(&config);
    let mut watch = daemon.begin(&["watch"]);
    let mut lines = std::io::BufReader::new(watch.stdout.take().unwrap());
    let mut next = || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
        line
    };
    sleep_ms(300);
    let _client = connect(slow);
    assert!(next().contains("slow"));
    wait_until("TERM is caught", || std::path::Path::new(&ctx.path("trapped")).exists());
    let mut stop = daemon.begin(&["stop", "slow"]);
    assert!(next().contains("stop"));
    reload(&daemon);
    talk(port);
    let mut line = next();
    while line.contains(" exit ") {
        line = next(); // the stop has been faster
    }
    assert!(line.contains("accept") && line.contains('x'), "the watcher goes on: {line}");
    assert!(stop.wait().unwrap().success(), "who waits for an order is answered by the next image");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

fn what_was_counted_and_paused_stays(ctx: &mut Ctx) {
    let (port, other) = (ctx.port(), ctx.port());
    let config = one(port, "Accept=yes\n", "/bin/echo here")
        + &format!("[y]\nListenStream=127.0.0.1:{other}\nAccept=yes\nExecStart=/bin/echo there\n");
    let daemon = ctx.start(&config);
    for _ in 0..7 {
        talk(port);
    }
    daemon.tell(&["pause", "y"]);
    wait_until("all have ended", || daemon.descendants().is_empty());
    let seen = || (daemon.tell(&["metrics"]), daemon.tell(&["history"]).lines().count());
    let counted = |text: &str| {
        let lines = text.lines().filter(|line| line.contains("_total{") && !line.contains("seconds"));
        lines.map(String::from).collect::<Vec<_>>()
    };
    let before = seen();
    reload(&daemon);
    let after = seen();
    assert_eq!((counted(&before.0), before.1), (counted(&after.0), after.1));
    assert!(counted(&after.0).iter().any(|line| line.ends_with(" 7")), "{}", after.0);
    let up = |text: &str| -> f64 {
        let seconds = text.lines().find_map(|line| line.strip_prefix("dormouse_up_seconds "));
        seconds.unwrap().parse().unwrap()
    };
    assert!(up(&after.0) >= up(&before.0), "the process is the same one");
    let client = connect(other);
    sleep_ms(300);
    assert!(daemon.descendants().is_empty(), "a pause lasts over a reload");
    daemon.tell(&["resume", "y"]);
    assert_eq!(read_all(client), "there\n");
}

fn the_pid_file_stays_locked(ctx: &mut Ctx) {
    let (port, pidfile) = (ctx.port(), ctx.path("pid"));
    let config = one(port, "Accept=yes\n", "/bin/echo here");
    let mut daemon = ctx.launch(&config).arg("--pidfile").arg(&pidfile).start();
    for _ in 0..3 {
        reload(&daemon);
    }
    let (status, text) = ctx.launch(&config).arg("--pidfile").arg(&pidfile).refused();
    assert_eq!(status.code(), Some(71));
    assert!(text.contains(&format!("held by process {}", daemon.pid)), "{text}");
    assert_eq!(ctx.lines("pid"), [daemon.pid.to_string()]);
    daemon.stop();
    assert!(!std::path::Path::new(&pidfile).exists());
}

fn the_supervisor_is_told(ctx: &mut Ctx) {
    let port = ctx.port();
    let path = ctx.path("supervisor");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let config = one(port, "Accept=yes\n", "/usr/bin/env");
    let daemon = ctx.launch(&config).env("NOTIFY_SOCKET", &path).spawn();
    let next = || {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).expect("a notification");
        String::from_utf8_lossy(&buffer[..length]).lines().next().unwrap().to_string()
    };
    assert_eq!(next(), "READY=1");
    for _ in 0..2 {
        daemon.signal(libc::SIGHUP);
        assert_eq!((next(), next()), ("RELOADING=1".into(), "READY=1".into()));
    }
    ctx.file("dormouse.conf", "nonsense");
    daemon.signal(libc::SIGHUP);
    assert_eq!((next(), next()), ("RELOADING=1".into(), "READY=1".into()), "a refused one ends as well");
    let environment = talk(port);
    assert!(!environment.contains("NOTIFY_SOCKET") && !environment.contains("DORMOUSE"), "{environment}");
}

fn a_detached_daemon_with_relative_names(ctx: &mut Ctx) {
    let port = ctx.port();
    ctx.file("relative.conf", &one(port, "Accept=yes\n", "/bin/echo before"));
    let mut command = std::process::Command::new(dormouse_path());
    command.args(["run", "-c", "relative.conf", "-d", "--pidfile", "relative.pid"]).current_dir(&ctx.dir);
    assert!(run(&mut command).status.success());
    let pid: i32 = ctx.lines("relative.pid").first().expect("the pid").parse().unwrap();
    for word in ["after", "later"] {
        ctx.file("relative.conf", &one(port, "Accept=yes\n", &format!("/bin/echo {word}")));
        kill(pid, libc::SIGHUP);
        wait_until("the new configuration holds", || talk(port) == format!("{word}\n"));
        assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), std::path::Path::new("/"));
    }
    kill(pid, libc::SIGTERM);
    wait_until("it ends", || !is_live(pid));
    assert!(ctx.lines("relative.pid").is_empty());
}

fn the_name_of_the_process_stays(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&one(port, "Accept=yes\n", "/bin/true"));
    let seen = || {
        let read = |name: &str| std::fs::read(format!("/proc/{}/{name}", daemon.pid)).unwrap();
        (read("comm"), read("cmdline"))
    };
    let before = seen();
    reload(&daemon);
    assert!(order(&daemon, libc::SIGUSR2), "{}", daemon.log());
    assert_eq!(seen(), before);
}

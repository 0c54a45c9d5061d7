//! Memory, load, and what services tell of their end.

use crate::client::*;
use crate::daemon::Daemon;
use crate::harness::{Ctx, Need::*, Test, has_control, sleep_ms, stand_in, wait_until, within};
use crate::test;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

pub const TESTS: &[Test] = &[
    test!(who_announces_its_end_gets_nobody_new, Directive("NotifyAccess")),
    test!(only_the_main_process_may_announce, Directive("NotifyAccess")),
    test!(a_start_waits_for_memory, Directive("MemoryAvailableMin"), Root),
    test!(the_longest_idle_service_gives_way, Directive("EvictUnderPressure"), Root),
    test!(connected_services_give_way_last, Directive("EvictUnderPressure"), Root),
    test!(a_start_waits_for_the_load_to_fall, Directive("LoadMax")),
    test!(sleep_is_counted_and_told, Directive("StopWhenIdleSec")),
];

fn who_announces_its_end_gets_nobody_new(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = stand_in("announce here");
    let daemon = ctx.start(&format!(
        "[x]\nListenStream=127.0.0.1:{port}\nNotifyAccess=main\nTriggerLimitBurst=0\nExecStart={exec}\n"
    ));
    let mut last = String::new();
    for _ in 0..6 {
        let answer = talk(port);
        assert!(answer.starts_with("here") && answer != last, "each is served by an instance of its own: {answer}");
        last = answer;
    }
    assert!(daemon.log().contains("why=announced"), "{}", daemon.log());
    assert!(!daemon.log().contains("rest service=x"), "nothing of this is a failure\n{}", daemon.log());
}

fn only_the_main_process_may_announce(ctx: &mut Ctx) {
    let port = ctx.port();
    let exec = ctx.script("main", &format!("{}\nsleep 1000\n", stand_in("announce here")));
    let daemon = ctx.start(&format!("[x]\nListenStream=127.0.0.1:{port}\nNotifyAccess=main\nExecStart={exec}\n"));
    assert!(talk(port).starts_with("here"));
    daemon.wait_log("passed over");
    assert!(!daemon.log().contains("why=announced"), "{}", daemon.log());
}

/// A control group for the daemon and what it starts, with a limit. Removed at the end.
struct Group(PathBuf);

impl Group {
    fn new(ctx: &mut Ctx, limit: u64) -> Option<Group> {
        let name = ctx.dir.file_name().unwrap().to_owned();
        for (root, file) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let folder = PathBuf::from(root).join(&name);
            let made = fs::create_dir(&folder).is_ok();
            if made && fs::write(folder.join(file), limit.to_string()).is_ok() {
                return Some(Group(folder));
            }
            let _ = fs::remove_dir(&folder);
        }
        ctx.skip("no control group with a memory limit can be made here");
        None
    }

    fn start(&self, ctx: &mut Ctx, config: &str) -> Daemon {
        let script = format!("echo $$ >{}/cgroup.procs; exec \"$@\"", self.0.display());
        ctx.launch(config).in_shell(&script).start()
    }

    fn kills(&self) -> String {
        let text = ["memory.oom_control", "memory.events"].map(|file| fs::read_to_string(self.0.join(file)));
        let text: Vec<String> = text.into_iter().flatten().collect();
        text.iter().flat_map(|text| text.lines()).find(|line| line.starts_with("oom_kill ")).unwrap_or("?").into()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        within(Duration::from_secs(5), || fs::remove_dir(&self.0).is_ok());
    }
}

/// Three services of 20 MB each, where there is room for two.
fn three(ctx: &mut Ctx, more: &str) -> ([u16; 3], String) {
    let ports = [ctx.port(), ctx.port(), ctx.port()];
    let config = ports.iter().zip(["a", "b", "c"]).map(|(port, name)| {
        let exec = stand_in(&format!("fat {name} 18"));
        format!("[{name}]\nListenStream=127.0.0.1:{port}\nMemoryAvailableMin=22M\n{more}ExecStart={exec}\n")
    });
    let config = config.collect();
    (ports, config)
}

fn a_start_waits_for_memory(ctx: &mut Ctx) {
    let Some(group) = Group::new(ctx, 48 << 20) else { return };
    let (ports, config) = three(ctx, "");
    let mut daemon = group.start(ctx, &config);
    assert!(talk(ports[0]).starts_with("a ") && talk(ports[1]).starts_with("b "));
    let waiting = std::thread::spawn(move || talk(ports[2]));
    daemon.wait_log("rest service=c why=memory");
    sleep_ms(2500);
    assert!(!waiting.is_finished(), "there is no room");
    assert_eq!(daemon.descendants().len(), 2);
    assert_eq!(daemon.log().matches("rest service=c").count(), 1, "it is told once");
    crate::daemon::kill(daemon.descendants()[0], libc::SIGTERM);
    assert!(waiting.join().unwrap().starts_with("c "), "it goes on by itself");
    assert_eq!(group.kills(), "oom_kill 0");
    daemon.stop();
}

fn the_longest_idle_service_gives_way(ctx: &mut Ctx) {
    let Some(group) = Group::new(ctx, 48 << 20) else { return };
    let (ports, config) = three(ctx, "EvictUnderPressure=idle\nTriggerLimitBurst=0\n");
    let mut daemon = group.start(ctx, &config);
    for round in 0..4 {
        for (port, name) in ports.into_iter().zip(["a ", "b ", "c "]) {
            let answer = talk(port);
            assert!(answer.starts_with(name), "round {round}: {answer:?}\n{}", daemon.log());
            sleep_ms(30);
        }
    }
    assert!(daemon.log().contains("why=memory after="), "{}", daemon.log());
    assert_eq!(group.kills(), "oom_kill 0");
    daemon.stop();
}

fn connected_services_give_way_last(ctx: &mut Ctx) {
    let Some(group) = Group::new(ctx, 48 << 20) else { return };
    let ports = [ctx.port(), ctx.port(), ctx.port()];
    let rows = ports.iter().zip([("a", "hold-fat"), ("b", "fat b"), ("c", "fat c")]).map(|(port, (name, mode))| {
        let exec = stand_in(&format!("{mode} 18"));
        format!(
            "[{name}]\nListenStream=127.0.0.1:{port}\nMemoryAvailableMin=22M\nEvictUnderPressure=idle\nExecStart={exec}\n"
        )
    });
    let config: String = rows.collect();
    let mut daemon = group.start(ctx, &config);
    let _client = connect(ports[0]);
    wait_until("the first runs", || daemon.log().contains("start service=a"));
    sleep_ms(300);
    assert!(talk(ports[1]).starts_with("b "));
    assert!(talk(ports[2]).starts_with("c "));
    assert!(daemon.log().contains("stop service=b "), "{}", daemon.log());
    assert!(!daemon.log().contains("stop service=a "), "somebody is connected to it\n{}", daemon.log());
    assert_eq!(group.kills(), "oom_kill 0");
    daemon.stop();
}

/// The load is what it is here; the limits are one that it always reaches, and one that it never does.
fn a_start_waits_for_the_load_to_fall(ctx: &mut Ctx) {
    let (low, high) = (ctx.port(), ctx.port());
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    if load.starts_with("0.0") {
        return ctx.skip("nothing else runs on this machine");
    }
    let daemon = ctx.start(&format!(
        "[low]\nListenStream=127.0.0.1:{low}\nAccept=yes\nLoadMax=0.01\nExecStart=/bin/echo here\n\
         [high]\nListenStream=127.0.0.1:{high}\nAccept=yes\nLoadMax=9999\nExecStart=/bin/echo here\n"
    ));
    assert_eq!(talk(high), "here\n");
    let waiting = std::thread::spawn(move || connect(low));
    daemon.wait_log("rest service=low why=load");
    wait_until("nobody runs", || daemon.descendants().is_empty());
    drop(waiting.join());
}

fn sleep_is_counted_and_told(ctx: &mut Ctx) {
    let port = ctx.port();
    let daemon = ctx.start(&format!(
        "[x]\nListenStream=127.0.0.1:{port}\nStopWhenIdleSec=200ms\nExecStart={}\n",
        stand_in("fat here 10")
    ));
    assert!(talk(port).starts_with("here"));
    daemon.wait_log("why=idle after=0.");
    let log = daemon.log();
    let memory = log.split("memory=").nth(1).and_then(|rest| rest.split("kB").next()?.parse::<u64>().ok());
    // its own 10 MB and a little, not what it shares with this test
    assert!(memory.is_some_and(|kb| (10 << 10..14 << 10).contains(&kb)), "{log}");
    if !has_control() {
        return;
    }
    wait_until("it has ended", || daemon.descendants().is_empty());
    sleep_ms(10);
    let status = daemon.tell(&["status", "x"]);
    assert!(status.contains(" connections counted by sock_diag\n"), "{status}");
    let line = status.lines().find(|line| line.contains("asleep ")).unwrap_or_default();
    assert!(line.contains(" MB given back; "), "{status}");
    let json = daemon.tell(&["status", "--json", "x"]);
    assert!(json.contains(&format!("\"given_back_kb\":{}", memory.unwrap())), "{json}");
    assert!(talk(port).starts_with("here"));
    let status = daemon.tell(&["status", "x"]);
    assert!(status.contains("  slept ") && status.contains(" given back the last time\n"), "{status}");
    assert!(daemon.tell(&["metrics"]).contains("dormouse_given_back_bytes{service=\"x\"} 1"));
}

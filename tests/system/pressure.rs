//! Memory, load, and what services tell of their end.

use crate::client::*;
use crate::daemon::Daemon;
use crate::harness::{Ctx, Need::*, Test, has_control, sleep_ms, stand_in, wait_until, within};
use crate::test;
use crate::trace::Trace;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

pub const TESTS: &[Test] = &[
    test!(who_announces_its_end_gets_nobody_new, Directive("NotifyAccess")),
    test!(only_the_main_process_may_announce, Directive("NotifyAccess")),
    test!(a_start_waits_for_memory, Directive("MemoryAvailableMin"), Root, Prog("unshare")),
    test!(the_longest_idle_service_gives_way, Directive("EvictUnderPressure"), Root, Prog("unshare")),
    test!(who_has_just_begun_does_not_give_way, Directive("EvictUnderPressure"), Root, Prog("unshare")),
    test!(files_that_are_cached_are_no_want, Directive("MemoryAvailableMin"), Root, Prog("unshare")),
    test!(starts_at_once_wait_for_each_other, Directive("EvictUnderPressure"), Root, Prog("unshare")),
    test!(connected_services_give_way_last, Directive("EvictUnderPressure"), Root, Prog("unshare")),
    test!(connected_services_give_way_where_they_may, Directive("EvictUnderPressure"), Root, Prog("unshare")),
    test!(services_give_way_when_the_kernel_tells_of_pressure, Directive("EvictUnderPressure"), Root),
    test!(a_control_group_that_goes_away, Directive("EvictUnderPressure"), Root, Prog("unshare")),
    test!(asleep_without_a_system_call, Directive("EvictUnderPressure"), Prog("strace")),
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

/// A control group with a limit, for what is started in it. Removed at the end.
struct Group(PathBuf);

impl Group {
    fn new(ctx: &mut Ctx, name: &str, limit: u64) -> Option<Group> {
        let name = format!("{}-{name}", ctx.dir.file_name().unwrap().display());
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

    /// A group within this one, without a limit of its own.
    fn within(&self) -> Group {
        let folder = self.0.join("within");
        fs::create_dir(&folder).unwrap();
        Group(folder)
    }

    /// The beginning of a shell command line that enters the group.
    fn enter(&self) -> String {
        format!("echo $$ >{}/cgroup.procs; ", self.0.display())
    }

    /// The daemon in it, which does not see how the machine fares: others may be short of memory while the test runs.
    fn start(&self, ctx: &mut Ctx, config: &str) -> Daemon {
        let script = self.enter() + "mount -t tmpfs none /proc/pressure; exec \"$@\"";
        ctx.launch(config).wrapped(&["unshare", "-m"]).in_shell(&script).start()
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

/// Held by tests whose services give way: pressure that one of them makes is that of the whole machine.
static GIVES_WAY: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    GIVES_WAY.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Services that answer at once.
const FAT: [&str; 3] = ["fat a", "fat b", "fat c"];

/// Three services of 20 MB each, where there is room for two.
fn three(ctx: &mut Ctx, modes: [&str; 3], more: &str) -> ([u16; 3], String) {
    let ports = [ctx.port(), ctx.port(), ctx.port()];
    let config = ports.iter().zip(["a", "b", "c"].into_iter().zip(modes)).map(|(port, (name, mode))| {
        let exec = stand_in(&format!("{mode} 18"));
        format!("[{name}]\nListenStream=127.0.0.1:{port}\nMemoryAvailableMin=22M\n{more}ExecStart={exec}\n")
    });
    let config = config.collect();
    (ports, config)
}

fn a_start_waits_for_memory(ctx: &mut Ctx) {
    let Some(group) = Group::new(ctx, "48M", 48 << 20) else { return };
    let inner = group.within(); // as a supervisor may have it: the limit is further up
    let (ports, config) = three(ctx, FAT, "");
    let mut daemon = inner.start(ctx, &config);
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
    let _alone = alone();
    let Some(group) = Group::new(ctx, "48M", 48 << 20) else { return };
    let (ports, config) = three(ctx, FAT, "EvictUnderPressure=idle\nTriggerLimitBurst=0\n");
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

/// MinRunSec=: the one that is idle for longest has not run for so long.
fn who_has_just_begun_does_not_give_way(ctx: &mut Ctx) {
    let _alone = alone();
    let Some(group) = Group::new(ctx, "48M", 48 << 20) else { return };
    let (ports, config) = three(ctx, FAT, "EvictUnderPressure=idle\n");
    let mut daemon = group.start(ctx, &config.replacen("MemoryAvailableMin", "MinRunSec=1h\nMemoryAvailableMin", 1));
    for (port, name) in ports.into_iter().zip(["a ", "b ", "c "]) {
        assert!(talk(port).starts_with(name), "{}", daemon.log());
        sleep_ms(30);
    }
    assert!(daemon.log().contains("stop service=b "), "{}", daemon.log());
    assert!(!daemon.log().contains("stop service=a "), "{}", daemon.log());
    assert_eq!(group.kills(), "oom_kill 0");
    daemon.stop();
}

/// What files are kept in counts as room: the kernel gives it back as soon as somebody wants it.
fn files_that_are_cached_are_no_want(ctx: &mut Ctx) {
    if shell(&format!("stat -f -c %T {}", ctx.dir.display())).starts_with("tmpfs") {
        return ctx.skip("the folder of the tests lies in memory");
    }
    let Some(group) = Group::new(ctx, "48M", 48 << 20) else { return };
    let (ports, config) = three(ctx, FAT, "");
    let mut daemon = group.start(ctx, &config);
    let file = ctx.path("file");
    shell(&format!("{}dd if=/dev/zero of={file} bs=1M count=64 conv=fsync 2>/dev/null", group.enter()));
    let used = ["memory.usage_in_bytes", "memory.current"].map(|file| fs::read_to_string(group.0.join(file)));
    let used = used.into_iter().flatten().find_map(|text| text.trim_end().parse::<u64>().ok());
    assert!(used.is_some_and(|bytes| bytes > 40 << 20), "{used:?} bytes are in use");
    assert!(talk(ports[0]).starts_with("a "));
    assert!(!daemon.log().contains("why=memory"), "{}", daemon.log());
    daemon.stop();
}

/// Three knocks in one moment: what a service is still going to take counts as well.
fn starts_at_once_wait_for_each_other(ctx: &mut Ctx) {
    let _alone = alone();
    let Some(group) = Group::new(ctx, "48M", 48 << 20) else { return };
    let (ports, config) = three(ctx, FAT, "EvictUnderPressure=idle\nTriggerLimitBurst=0\n");
    let mut daemon = group.start(ctx, &config);
    for round in 0..2 {
        let clients = ports.map(|port| std::thread::spawn(move || talk(port)));
        for (client, name) in clients.into_iter().zip(["a ", "b ", "c "]) {
            let answer = client.join().unwrap();
            assert!(answer.starts_with(name), "round {round}: {answer:?}\n{}", daemon.log());
        }
        daemon.descendants().into_iter().for_each(|pid| crate::daemon::kill(pid, libc::SIGTERM));
        wait_until("all have ended", || daemon.descendants().is_empty());
    }
    assert_eq!(group.kills(), "oom_kill 0", "{}", daemon.log());
    daemon.stop();
}

fn connected_services_give_way_last(ctx: &mut Ctx) {
    let _alone = alone();
    let Some(group) = Group::new(ctx, "48M", 48 << 20) else { return };
    let (ports, config) = three(ctx, ["hold-fat", "fat b", "fat c"], "EvictUnderPressure=idle\n");
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

/// EvictUnderPressure=yes: one of those that somebody is connected to, when no other is left.
fn connected_services_give_way_where_they_may(ctx: &mut Ctx) {
    let _alone = alone();
    let Some(group) = Group::new(ctx, "48M", 48 << 20) else { return };
    let (ports, config) = three(ctx, ["hold-fat", "hold-fat", "fat c"], "EvictUnderPressure=yes\n");
    let mut daemon = group.start(ctx, &config);
    let mut clients = Vec::new();
    for (number, port) in ports[..2].iter().enumerate() {
        clients.push(connect(*port));
        let fat = |pid: &i32| {
            let resident = crate::daemon::proc_status(*pid, "VmRSS");
            resident.trim_end_matches(" kB").parse::<u64>().is_ok_and(|kb| kb > 18 << 10)
        };
        wait_until("it takes its memory", || daemon.descendants().iter().filter(|pid| fat(pid)).count() == number + 1);
    }
    assert!(talk(ports[2]).starts_with("c "));
    let gone = |name: &str| daemon.log().contains(&format!("stop service={name} "));
    assert!(gone("a") != gone("b") && !gone("c"), "{}", daemon.log());
    let (lost, kept) = if gone("a") { (0, 1) } else { (1, 0) };
    let kept = &clients[kept];
    kept.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut byte = [0];
    let waits = kept.peek(&mut byte).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    assert!(waits, "the other one keeps its client");
    assert_eq!(read_all(clients.swap_remove(lost)), "");
    assert_eq!(group.kills(), "oom_kill 0");
    daemon.stop();
}

/// Real pressure: a group with little memory that reads more than it can keep, again and again.
fn services_give_way_when_the_kernel_tells_of_pressure(ctx: &mut Ctx) {
    let _alone = alone();
    if fs::File::options().write(true).open("/proc/pressure/memory").is_err() {
        return ctx.skip("this kernel tells of no pressure");
    }
    if shell(&format!("stat -f -c %T {}", ctx.dir.display())).starts_with("tmpfs") {
        return ctx.skip("the folder of the tests lies in memory");
    }
    let Some(small) = Group::new(ctx, "small", 4 << 20) else { return };
    let ports = [ctx.port(), ctx.port(), ctx.port()];
    let config: String = ["a", "b", "c"]
        .iter()
        .zip(ports)
        .map(|(name, port)| {
            let evict = if *name == "c" { "no" } else { "idle" };
            let exec = stand_in(&format!("answer {name}"));
            format!("[{name}]\nListenStream=127.0.0.1:{port}\nEvictUnderPressure={evict}\nExecStart={exec}\n")
        })
        .collect();
    let daemon = ctx.start(&config);
    for (port, name) in ports.into_iter().zip(["a ", "b ", "c "]) {
        assert!(talk(port).starts_with(name));
        sleep_ms(1200);
    }
    let read = |name: &str| {
        let file = ctx.path(name);
        let line = format!("{}dd if=/dev/zero of={file} bs=1M count=24; while :; do cat {file}; done", small.enter());
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &line]).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Process(command.spawn().unwrap())
    };
    let readers = [read("big1"), read("big2")];
    let told = |name: &str| daemon.log().find(&format!("stop service={name} ")).unwrap_or(usize::MAX);
    let both = within(Duration::from_secs(60), || told("a").max(told("b")) != usize::MAX);
    let pressure = fs::read_to_string("/proc/pressure/memory").unwrap();
    assert!(both, "{pressure}{}", daemon.log());
    assert!(told("a") < told("b") && told("c") == usize::MAX, "the longest idle one first\n{}", daemon.log());
    assert!(daemon.log().contains("why=memory"), "{}", daemon.log());
    sleep_ms(1000);
    let before = daemon.wakeups();
    sleep_ms(4000);
    assert_eq!(daemon.wakeups(), before, "nobody is left who could give way: the pressure wakes nobody");
    drop(readers);
    for (port, name) in ports.into_iter().zip(["a ", "b ", "c "]) {
        assert!(talk(port).starts_with(name));
    }
}

/// The trigger lies in a control group of version 2 that somebody removes. Its limit is made up: here the controller
/// may belong to version 1.
fn a_control_group_that_goes_away(ctx: &mut Ctx) {
    let (port, mounted) = (ctx.port(), ctx.path("mounted"));
    let name = format!("dormouse-test-{}", std::process::id());
    let script = format!(
        "mkdir {mounted} && mount -t cgroup2 none {mounted} && mkdir -p {mounted}/{name} &&
         mount -t tmpfs none /sys/fs/cgroup && cd /sys/fs/cgroup && ln -s {mounted}/{name}/memory.pressure . &&
         echo 100000000 >memory.max && echo 0 >memory.current && echo inactive_file 0 >memory.stat &&
         cd / && exec \"$@\""
    );
    let config = format!(
        "[x]\nListenStream=127.0.0.1:{port}\nMemoryAvailableMin=1M\nEvictUnderPressure=yes\nExecStart={}\n",
        stand_in("answer here")
    );
    let daemon = ctx.launch(&config).wrapped(&["unshare", "-m"]).in_shell(&script).start();
    let triggers = || shell(&format!("ls -l /proc/{}/fd", daemon.pid)).matches("memory.pressure").count();
    if triggers() == 0 {
        return ctx.skip("no control group of version 2 tells of pressure here");
    }
    assert!(talk(port).starts_with("here"));
    let cost = daemon.cost(|| {
        fs::remove_dir(format!("/proc/{}/root{mounted}/{name}", daemon.pid)).unwrap();
        sleep_ms(3000);
    });
    cost.assert_small();
    assert_eq!(triggers(), 0, "nothing more is to be heard from it");
    assert!(talk(port).starts_with("here"));
}

/// A process group of the test, ended with it.
struct Process(std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        // SAFETY: a plain system call on the group that this child leads.
        unsafe { libc::kill(-(self.0.id() as i32), libc::SIGKILL) };
        let _ = self.0.wait();
    }
}

/// Every condition at once: whatever a service would be watched for, nothing is when all of them sleep.
fn asleep_without_a_system_call(ctx: &mut Ctx) {
    let _alone = alone();
    let (a, b, fifo) = (ctx.port(), ctx.port(), ctx.path("fifo"));
    let all = "MemoryAvailableMin=1M\nEvictUnderPressure=yes\nLoadMax=9999\n";
    let daemon = ctx.start(&format!(
        "[a]\nListenStream=127.0.0.1:{a}\nStopWhenIdleSec=300ms\nStopWhenQuietSec=300ms\n{all}ExecStart={}\n\
         [b]\nListenDatagram=127.0.0.1:{b}\nStopWhenQuietSec=300ms\n{all}ExecStart={}\n\
         [c]\nListenFIFO={fifo}\nStopWhenQuietSec=300ms\n{all}ExecStart=/bin/cat\nStandardInput=socket\n",
        stand_in("answer here"),
        stand_in("udp heard 0"),
    ));
    for round in 1..3 {
        assert!(talk(a).starts_with("here") && udp_ask(b, "x").starts_with("heard"));
        fs::write(&fifo, "x").unwrap();
        // the first may sleep by now
        wait_until("the last one has started", || daemon.log().matches("start service=c ").count() >= round);
        wait_until("all of them sleep", || daemon.descendants().is_empty());
    }
    sleep_ms(6000); // windows of the limits close
    Trace::assert_silent(&daemon, &ctx.path("trace"), || sleep_ms(5000));
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

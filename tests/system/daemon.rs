//! Starting the daemon, watching what it costs, and ending it with everything that it started.

use crate::harness::{PATIENCE, dormouse as dormouse_path, has_control, has_part, wait_until, within};
use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// A daemon that is about to be started.
pub struct Launch {
    dir: PathBuf,
    number: usize,
    config: Option<String>,
    wrapper: Vec<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    stderr: Option<Stdio>,
    program: String,
}

pub struct Daemon {
    pub pid: i32,
    child: Child,
    dir: PathBuf,
    log: PathBuf,
    control: String,
}

/// CPU time and log bytes over a stretch of time.
pub struct Cost {
    pub cpu_ms: u64,
    pub log_bytes: u64,
    pub wall_ms: u64,
}

impl Cost {
    /// The budget under stress: under 1 % CPU (plus 30 ms for the work itself) and under 1 KB of log a second.
    pub fn assert_small(&self) {
        let cpu_limit = self.wall_ms / 100 + 30;
        assert!(self.cpu_ms <= cpu_limit, "{} ms CPU in {} ms", self.cpu_ms, self.wall_ms);
        let log_limit = self.wall_ms * 1024 / 1000;
        assert!(self.log_bytes <= log_limit, "{} bytes of log in {} ms", self.log_bytes, self.wall_ms);
    }
}

impl Launch {
    pub fn new(dir: &Path, number: usize, config: Option<String>) -> Launch {
        let (wrapper, arguments, environment) = (Vec::new(), Vec::new(), Vec::new());
        Launch {
            dir: dir.into(),
            number,
            config,
            wrapper,
            arguments,
            environment,
            stderr: None,
            program: dormouse_path(),
        }
    }

    /// Words in front of the daemon's own: a program that executes what follows, keeping its pid.
    pub fn wrapped(mut self, words: &[&str]) -> Launch {
        self.wrapper.extend(words.iter().map(|word| (*word).to_string()));
        self
    }

    /// A shell command line in front, which ends in `exec "$@"`.
    pub fn in_shell(self, script: &str) -> Launch {
        self.wrapped(&["/bin/sh", "-c", script, "sh"])
    }

    /// The daemon (not its children) under strace from its first instruction; the trace goes to the file `name`.
    pub fn strace(self, name: &str, options: &[&str]) -> Launch {
        let trace = self.dir.join(name).display().to_string();
        self.wrapped(&["strace", "-D", "-qq", "-o", &trace]).wrapped(options)
    }

    pub fn arg(mut self, word: &str) -> Launch {
        self.arguments.push(word.into());
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Launch {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub fn stderr(mut self, stderr: Stdio) -> Launch {
        self.stderr = Some(stderr);
        self
    }

    /// Another path of the program.
    pub fn program(mut self, path: &str) -> Launch {
        self.program = path.into();
        self
    }

    fn control(&self) -> String {
        self.dir.join("control.sock").display().to_string()
    }

    fn command(&mut self) -> Command {
        let mut words = std::mem::take(&mut self.wrapper);
        words.extend([self.program.clone(), "run".into()]);
        if let Some(config) = &self.config {
            words.extend(["-c".to_string(), config.clone()]);
        }
        if has_control() {
            words.extend(["--control".to_string(), self.control()]);
        }
        words.append(&mut self.arguments);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null());
        for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID", "NOTIFY_SOCKET"] {
            command.env_remove(name);
        }
        command.envs(self.environment.drain(..));
        command
    }

    /// Starts the daemon without waiting for readiness.
    pub fn spawn(mut self) -> Daemon {
        let log = self.dir.join(format!("log{}", self.number));
        let stderr = self.stderr.take().unwrap_or_else(|| {
            Stdio::from(File::options().create(true).append(true).open(&log).expect("the log file"))
        });
        let mut command = self.command();
        let child = command.stderr(stderr).spawn().expect("the daemon (or its wrapper) starts");
        let pid = child.id() as i32;
        Daemon { pid, child, control: self.control(), dir: self.dir, log }
    }

    /// Starts the daemon and waits for its READY=1, or for its word in the log where it sends none.
    pub fn start(self) -> Daemon {
        let path = self.dir.join(format!("notify{}", self.number));
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).expect("a notification socket");
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut daemon = self.env("NOTIFY_SOCKET", &path.display().to_string()).spawn();
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 512];
        loop {
            if let Ok(length) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if text.lines().any(|line| line == "READY=1") {
                    return daemon;
                }
            }
            if !has_part("notify") && daemon.log().contains("ready services=") {
                return daemon;
            }
            if let Some(status) = daemon.child.try_wait().unwrap() {
                panic!("the daemon ended before it was ready: {status}\n{}", daemon.log());
            }
            assert!(Instant::now() < deadline, "no READY=1 came; the log says:\n{}", daemon.log());
        }
    }

    /// Starts the daemon where it must refuse: waits for its end and returns its status and messages.
    pub fn refused(self) -> (ExitStatus, String) {
        let mut daemon = self.spawn();
        let status = daemon.wait();
        (status, daemon.log())
    }
}

impl Daemon {
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub fn log_bytes(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |meta| meta.len())
    }

    pub fn wait_log(&self, text: &str) {
        let found = within(PATIENCE, || self.log().contains(text));
        assert!(found, "the log never said \"{text}\":\n{}", self.log());
    }

    pub fn alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// CPU time of the daemon's own process so far.
    pub fn cpu_ms(&self) -> u64 {
        if let Ok(text) = fs::read_to_string(format!("/proc/{}/schedstat", self.pid)) {
            let first = text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
            return first.unwrap_or(0) / 1_000_000;
        }
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
        let ticks: u64 = [11, 12].iter().filter_map(|&i| fields.get(i)?.parse::<u64>().ok()).sum();
        ticks * 10
    }

    /// What the daemon costs while `work` runs.
    pub fn cost(&self, work: impl FnOnce()) -> Cost {
        let (cpu, log, start) = (self.cpu_ms(), self.log_bytes(), Instant::now());
        work();
        let wall_ms = start.elapsed().as_millis() as u64;
        Cost { cpu_ms: self.cpu_ms() - cpu, log_bytes: self.log_bytes() - log, wall_ms }
    }

    /// The value of one line of /proc/PID/status.
    pub fn status_line(&self, name: &str) -> String {
        proc_status(self.pid, name)
    }

    /// How often the daemon went to sleep: a wake-up adds one.
    pub fn wakeups(&self) -> u64 {
        self.status_line("voluntary_ctxt_switches").parse().unwrap()
    }

    /// Waits until it has slept through half a second: for a quarter of one it stays awake after work, and then lets go
    /// of memory.
    pub fn rest(&self) {
        let (mut since, mut last) = (Instant::now(), self.wakeups());
        wait_until("the daemon to come to rest", || {
            let wakeups = self.wakeups();
            if wakeups != last || !self.status_line("State").starts_with('S') {
                (since, last) = (Instant::now(), wakeups);
            }
            since.elapsed().as_millis() >= 500
        });
    }

    pub fn open_fds(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).map_or(0, Iterator::count)
    }

    /// Memory that nobody else has, in kB.
    pub fn private_dirty_kb(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Live processes below the daemon, zombies included.
    pub fn descendants(&self) -> Vec<i32> {
        descendants(self.pid)
    }

    pub fn signal(&self, signal: i32) {
        kill(self.pid, signal);
    }

    /// Waits for the daemon's end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the daemon's end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// SIGTERM, and the end that follows.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.wait()
    }

    /// SIGKILL to the daemon alone; its children live on.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The path of the control socket.
    pub fn control(&self) -> String {
        self.control.clone()
    }

    /// `dormouse WORDS` against this daemon's control socket.
    pub fn ask(&self, words: &[&str]) -> Output {
        let (verb, rest) = words.split_first().unwrap();
        let mut command = Command::new(dormouse_path());
        command.arg(verb).args(["--control", &self.control]).args(rest);
        crate::client::run(command.current_dir(&self.dir))
    }

    /// [`Daemon::ask`] that goes on; its output is a pipe.
    pub fn begin(&self, words: &[&str]) -> Child {
        let (verb, rest) = words.split_first().unwrap();
        let mut command = Command::new(dormouse_path());
        command.arg(verb).args(["--control", &self.control]).args(rest).stdout(Stdio::piped());
        command.current_dir(&self.dir).spawn().unwrap()
    }

    /// The standard output of [`Daemon::ask`], which must succeed.
    pub fn tell(&self, words: &[&str]) -> String {
        let out = self.ask(words);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{words:?}: {} {text} {}", out.status, String::from_utf8_lossy(&out.stderr));
        text
    }
}

impl Drop for Daemon {
    /// Ends the daemon and what is left below it, each by its pid.
    fn drop(&mut self) {
        let below = self.descendants();
        self.kill();
        for pid in below {
            kill(pid, libc::SIGKILL);
        }
    }
}

pub fn kill(pid: i32, signal: i32) {
    if pid > 1 {
        // SAFETY: a plain system call; the tests only pass pids that they started, never 0 or a negative group.
        unsafe { libc::kill(pid, signal) };
    }
}

pub fn proc_status(pid: i32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_string()
}

/// All processes below `root`, children first level first.
pub fn descendants(root: i32) -> Vec<i32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse::<i32>().ok());
        parents.extend(parent.map(|parent| (pid, parent)));
    }
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let above = found[next];
        found.extend(parents.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
        next += 1;
    }
    found.remove(0);
    found
}

/// The session of a process, 0 where its leader is outside of our pid namespace.
pub fn session_of(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(3)?.parse().ok()).unwrap_or(-1)
}

/// Is there a live process (not a zombie) with this pid?
pub fn is_live(pid: i32) -> bool {
    let state = proc_status(pid, "State");
    !state.is_empty() && !state.starts_with('Z')
}

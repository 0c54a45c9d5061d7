//! strace, attached to a running daemon (and not to its children): to watch it, or to make system calls fail.

use crate::daemon::{Daemon, kill};
use crate::harness::wait_until;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

pub struct Trace {
    strace: Child,
    file: PathBuf,
}

impl Trace {
    /// Attaches; returns when the daemon is under trace.
    pub fn attach(daemon: &Daemon, file: &str, options: &[&str]) -> Trace {
        let mut command = Command::new("strace");
        command.args(["-qq", "-ttt", "-o", file, "-p", &daemon.pid.to_string()]).args(options);
        let strace = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut trace = Trace { strace, file: file.into() };
        wait_until("strace to attach", || {
            assert!(trace.strace.try_wait().unwrap().is_none(), "strace {options:?} ended at once");
            daemon.status_line("TracerPid") != "0"
        });
        // The attachment itself interrupts the system call in which the daemon sleeps.
        crate::harness::sleep_ms(300);
        trace
    }

    /// What was seen so far, one system call a line, behind its time.
    pub fn lines(&self) -> Vec<String> {
        let text = std::fs::read(&self.file).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().map(String::from).collect()
    }

    /// Detaches and returns all that was seen.
    pub fn end(mut self) -> Vec<String> {
        self.detach();
        self.lines()
    }

    /// Asserts that the daemon, when it has come to rest, makes no system call while something is done.
    pub fn assert_silent(daemon: &Daemon, file: &str, work: impl FnOnce()) {
        let trace = Trace::attach(daemon, file, &[]);
        daemon.rest(); // it was woken by that
        let before = trace.lines().len();
        work();
        let seen = trace.lines()[before..].to_vec();
        trace.end();
        assert!(seen.is_empty(), "{}", seen.join("\n"));
    }

    fn detach(&mut self) {
        if self.strace.try_wait().is_ok_and(|status| status.is_none()) {
            kill(self.strace.id() as i32, libc::SIGINT);
            let _ = self.strace.wait();
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.detach();
    }
}

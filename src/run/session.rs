//! Signals to whole sessions. A child leads a session of its own; what it starts stays in it unless it asks to leave,
//! so the session stands for what systemd keeps in a control group.

use core::mem::MaybeUninit;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};

use crate::logging::say;
use crate::sys::environment::page_bytes;
use crate::sys::process::{send_signal, session_of};

/// Stops a process without asking it.
const SIGSTOP: u8 = 19;

/// What /proc tells of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// Process id.
    pub(super) pid: i32,
    /// Parent.
    pub(super) parent: i32,
    /// Session.
    pub(super) session: i32,
    /// It has ended, and its parent has not taken notice yet.
    pub(super) zombie: bool,
    /// It stands still (SIGSTOP, or a debugger).
    pub(super) stopped: bool,
    /// CPU time of it and of the children it has reaped, in clock ticks.
    pub(super) cpu: u64,
    /// Resident memory in pages.
    pub(super) resident: u64,
}

impl Process {
    /// Resident memory in kB; what it shares counts in full.
    pub(super) fn resident_kb(&self) -> u64 {
        self.resident.saturating_mul((page_bytes() / 1024) as u64)
    }
}

/// CPU time that the processes of a session have used, in clock ticks.
pub(super) fn cpu(session: i32) -> u64 {
    let mut cpu: u64 = 0;
    for_each_of(&mut |of| of == session, &mut |process| {
        cpu = cpu.saturating_add(process.cpu);
        true
    });
    cpu
}

/// Memory of the processes of a session in kB: their share of all pages. Where the kernel tells only what is resident,
/// pages that they share count for each.
pub(super) fn memory_kb(session: i32) -> u64 {
    let mut kb: u64 = 0;
    for_each_of(&mut |of| of == session, &mut |process| {
        kb = kb.saturating_add(share_kb(process.pid).unwrap_or_else(|| process.resident_kb()));
        true
    });
    kb
}

/// A process's proportional share of all pages, from /proc/PID/smaps_rollup (proc_pid_smaps(5), Linux 4.14).
fn share_kb(pid: i32) -> Option<u64> {
    let mut text = [0; 512];
    let text = read_of(pid, "smaps_rollup", &mut text)?;
    let line = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"Pss:"))?;
    let word = line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())?;
    core::str::from_utf8(word).ok()?.parse().ok()
}

/// The beginning of a file of a process.
fn read_of<'a>(pid: i32, file: &str, text: &'a mut [u8]) -> Option<&'a [u8]> {
    use core::fmt::Write;
    let mut path = heapless::String::<40>::new();
    write!(path, "/proc/{pid}/{file}\0").ok()?;
    let path = core::ffi::CStr::from_bytes_with_nul(path.as_bytes()).ok()?;
    let file = open_in(CWD, path, OFlags::empty()).ok()?;
    let length = rustix::io::read(&file, &mut *text).ok()?;
    text.get(..length)
}

/// Sends SIGSTOP to the processes of a session of which a thread does not stand still yet. True: all of them do.
pub(super) fn make_stand_still(session: i32) -> bool {
    let mut still = true;
    for_each_of(&mut |of| of == session, &mut |process| {
        if !process.zombie && !stands_still(process) {
            still = false;
            let _ = send_signal(process.pid, SIGSTOP); // ESRCH: it has just ended
        }
        true
    });
    still
}

/// Whether every thread of a process stands still.
fn stands_still(process: Process) -> bool {
    let mut still = process.stopped;
    if still {
        let mut path = heapless::String::<32>::new();
        let _ = core::fmt::Write::write_fmt(&mut path, format_args!("/proc/{}/task\0", process.pid)); // 23 bytes at most
        let path = core::ffi::CStr::from_bytes_with_nul(path.as_bytes()).unwrap_or(c"/proc");
        for_each_number(path, &mut |thread| {
            still = self::process(thread).is_none_or(|thread| thread.stopped || thread.zombie);
            still
        });
    }
    still
}

/// Whether a process of this session is alive. Zombies do not count: they hold nothing, and their parent may be slow.
pub(super) fn is_alive(session: i32) -> bool {
    let mut alive = false;
    for_each_of(&mut |of| of == session, &mut |process| {
        alive = !process.zombie;
        !alive
    });
    alive
}

/// Sends signals, in this order, to every process of a session. Where /proc cannot be read, for want of descriptors for
/// example, to those at least that are still in its first process group.
pub(super) fn signal_session(signals: &[u8], session: i32) {
    if !signal_sessions(signals, &mut |of| of == session) && session > 1 {
        for &signal in signals {
            let _ = send_signal(-session, signal); // ESRCH: it has just ended
        }
    }
}

/// Sends signals, in this order, to every process of the sessions that `wanted` names. One look at /proc finds those
/// that have left the session's first process group. False: /proc cannot be read.
pub(super) fn signal_sessions(signals: &[u8], wanted: &mut dyn FnMut(i32) -> bool) -> bool {
    let mut seen = false;
    for_each_number(c"/proc", &mut |pid| {
        seen = true;
        if session_of(pid).is_some_and(&mut *wanted) {
            for &signal in signals {
                let _ = send_signal(pid, signal); // ESRCH: it has just ended
            }
        }
        true
    });
    if !seen {
        say!(Warn, "stop: /proc cannot be read, so only process groups are signalled");
    }
    seen
}

/// Calls `act` for each process of the machine until it says false. Takes no memory.
pub(super) fn for_each_process(act: &mut dyn FnMut(Process) -> bool) {
    for_each_of(&mut |_| true, act);
}

/// The same for those whose session `wanted` names. To ask for the session is one system call; to read what /proc tells
/// of a process costs many times that.
pub(super) fn for_each_of(wanted: &mut dyn FnMut(i32) -> bool, act: &mut dyn FnMut(Process) -> bool) {
    for_each_number(c"/proc", &mut |pid| {
        let wanted = session_of(pid).is_some_and(&mut *wanted);
        wanted.then(|| process(pid)).flatten().is_none_or(&mut *act)
    });
}

/// Calls `act` for each number that is the name of something in a folder of /proc, until it says false.
#[inline(never)] // the buffer must not lie in the frame of the loop, which lasts
fn for_each_number(folder: &core::ffi::CStr, act: &mut dyn FnMut(i32) -> bool) {
    const NAMES_BYTES: usize = 2048;
    let Ok(proc) = open_in(CWD, folder, OFlags::DIRECTORY) else { return };
    let mut names = [MaybeUninit::uninit(); NAMES_BYTES];
    let mut folder = RawDir::new(&proc, &mut names);
    while let Some(Ok(entry)) = folder.next() {
        let number = entry.file_name().to_str().ok().and_then(|name| name.parse().ok());
        if number.is_some_and(|number| !act(number)) {
            return;
        }
    }
}

/// One process or thread, from /proc/PID/stat (proc_pid_stat(5)); a thread has such a file too, which is not listed.
pub(super) fn process(pid: i32) -> Option<Process> {
    parse(pid, read_of(pid, "stat", &mut [0; 512])?)
}

/// The name stands in parentheses and can hold anything, so the fields are counted from the last one.
fn parse(pid: i32, text: &[u8]) -> Option<Process> {
    let end = text.iter().rposition(|&byte| byte == b')')?;
    let rest = core::str::from_utf8(text.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    // fields 14 to 17: own user and system time, and those of children; a child that is still to be reaped counts
    let mut numbers = fields.skip(7).map(|field| field.parse::<u64>().unwrap_or(0));
    let cpu = (0..4).fold(0, |sum: u64, _| sum.saturating_add(numbers.next().unwrap_or(0)));
    let resident = numbers.nth(6).unwrap_or(0);
    let (zombie, stopped) = (matches!(state, "Z" | "X"), matches!(state, "T" | "t"));
    Some(Process { pid, parent, session, zombie, stopped, cpu, resident })
}

/// Opens something for reading.
pub(super) fn open_in(folder: impl AsFd, path: &core::ffi::CStr, flags: OFlags) -> Result<OwnedFd, rustix::io::Errno> {
    openat(folder, path, flags | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text =
            b"77 (a) b (c)) T 12 70 66 0 -1 4194304 1 2 3 4 100 20 3 1 20 0 1 0 999 4096 55 18446744073709551615";
        let (zombie, stopped) = (false, true);
        let process = Process { pid: 77, parent: 12, session: 66, zombie, stopped, cpu: 124, resident: 55 };
        assert_eq!(parse(77, text), Some(process));
        assert_eq!(parse(77, b"77 (a"), None);
    }

    #[test]
    fn a_session_that_stands_still_is_seen() {
        use std::os::unix::process::CommandExt;
        let mut command = std::process::Command::new("/bin/sleep");
        let mut child = command.arg("60").process_group(0).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // it is in our session, which runs: look at the one process
        let stands = || process(pid).is_some_and(stands_still);
        assert!(!stands());
        send_signal(pid, SIGSTOP).unwrap();
        assert!((0..1000).any(|_| {
            crate::sys::clock::pause_ms(2);
            stands()
        }));
        let own = process(i32::try_from(std::process::id()).unwrap()).unwrap().session;
        assert!(process(i32::try_from(std::process::id()).unwrap()).is_some_and(|own| !stands_still(own)));
        assert!(cpu(own) < u64::MAX && memory_kb(own) > 100);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn this_process_is_found() {
        let own = i32::try_from(std::process::id()).unwrap();
        let mut found = None;
        for_each_process(&mut |process| {
            found = Some(process).filter(|process| process.pid == own).or(found);
            true
        });
        // the session is 0 where its leader is outside of our pid namespace
        assert!(found.is_some_and(|process| process.session >= 0 && process.parent >= 0));
    }
}

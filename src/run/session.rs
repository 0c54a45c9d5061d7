//! Signals to whole sessions. A child leads a session of its own; what it starts stays in it unless it asks to leave,
//! so the session stands for what systemd keeps in a control group.

use core::mem::MaybeUninit;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};

use crate::sys::process::send_signal;

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
}

/// Whether a process of this session is alive. Zombies do not count: they hold nothing, and their parent may be slow.
pub(super) fn is_alive(session: i32) -> bool {
    let mut alive = false;
    for_each_process(&mut |process| {
        alive = process.session == session && !process.zombie;
        !alive
    });
    alive
}

/// Sends `signal` to every process of the sessions that `wanted` names. One look at /proc finds those that have left
/// the session's first process group.
pub(super) fn signal_sessions(signal: u8, wanted: &mut dyn FnMut(i32) -> bool) {
    let mut seen = false;
    for_each_process(&mut |process| {
        seen = true;
        if wanted(process.session) {
            let _ = send_signal(process.pid, signal); // ESRCH: it has just ended
        }
        true
    });
    if !seen {
        log::warn!("stop: /proc cannot be read, so no process was found to signal");
    }
}

/// Calls `act` for each process of the machine until it says false. Takes no memory.
#[inline(never)] // the buffer must not lie in the frame of the loop, which lasts
pub(super) fn for_each_process(act: &mut dyn FnMut(Process) -> bool) {
    const NAMES_BYTES: usize = 2048;
    let Ok(proc) = open_in(CWD, c"/proc", OFlags::DIRECTORY) else { return };
    let mut names = [MaybeUninit::uninit(); NAMES_BYTES];
    let mut folder = RawDir::new(&proc, &mut names);
    while let Some(Ok(entry)) = folder.next() {
        let number = entry.file_name().to_str().ok().and_then(|name| name.parse::<i32>().ok());
        if let Some(process) = number.and_then(process)
            && !act(process)
        {
            return;
        }
    }
}

/// One process, from /proc/PID/stat (proc_pid_stat(5)).
pub(super) fn process(pid: i32) -> Option<Process> {
    use core::fmt::Write;
    let mut path = heapless::String::<32>::new();
    write!(path, "/proc/{pid}/stat\0").ok()?;
    let path = core::ffi::CStr::from_bytes_with_nul(path.as_bytes()).ok()?;
    let file = open_in(CWD, path, OFlags::empty()).ok()?;
    let mut text = [0; 512];
    let length = rustix::io::read(&file, &mut text).ok()?;
    parse(pid, text.get(..length)?)
}

/// The name stands in parentheses and can hold anything, so the fields are counted from the last one.
fn parse(pid: i32, text: &[u8]) -> Option<Process> {
    let end = text.iter().rposition(|&byte| byte == b')')?;
    let rest = core::str::from_utf8(text.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Process { pid, parent, session, zombie })
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
        let text = b"77 (a) b (c)) S 12 70 66 0 -1 4194304";
        assert_eq!(parse(77, text), Some(Process { pid: 77, parent: 12, session: 66, zombie: false }));
        assert_eq!(parse(77, b"77 (a"), None);
    }

    #[test]
    fn this_process_is_found() {
        let own = i32::try_from(std::process::id()).unwrap();
        let mut found = None;
        for_each_process(&mut |process| {
            found = Some(process).filter(|process| process.pid == own).or(found);
            true
        });
        assert!(found.is_some_and(|process| process.session > 0 && process.parent >= 0));
    }
}

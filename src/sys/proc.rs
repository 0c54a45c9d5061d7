//! What the files of /proc tell (proc(5)), and those of control groups. Takes no memory.

use core::ffi::CStr;
use core::fmt::Write;
use core::mem::MaybeUninit;

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::Errno;

use super::clock::{self, Tick};
use super::environment::{page_bytes, ticks_per_second};
use super::process::session_of;
use crate::text::{self, Line, LineIn};

/// What /proc tells of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// Parent.
    pub parent: i32,
    /// Session.
    pub session: i32,
    /// It has ended, and its parent has not taken notice yet.
    pub zombie: bool,
    /// It stands still (SIGSTOP, or a debugger).
    pub stopped: bool,
    /// CPU time in clock ticks.
    pub cpu: u64,
    /// CPU time of the children that it has reaped, in clock ticks.
    pub cpu_of_ended: u64,
    /// When it was started, in clock ticks since the boot, suspended time included.
    pub started: u64,
    /// Resident memory in pages.
    pub resident: u64,
}

impl Process {
    /// One process or thread, from /proc/PID/stat (proc_pid_stat(5)); a thread has such a file too, which is not
    /// listed.
    #[must_use]
    pub fn read(pid: i32) -> Option<Self> {
        Self::parse(pid, read(c_str(&path(pid, "/stat")), &mut [0; 512])?)
    }

    /// The name stands in parentheses and can hold anything, so the fields are counted from the last one.
    fn parse(pid: i32, text: &[u8]) -> Option<Self> {
        let end = text.iter().rposition(|&byte| byte == b')')?;
        let mut fields = words(text.get(end + 1..)?);
        let state = fields.next()?;
        let parent = text::number(fields.next()?, 10)?;
        let session = text::number(fields.nth(1)?, 10)?;
        let mut ahead = |skip| fields.nth(skip).and_then(|field| text::number(field, 10)).unwrap_or(0_u64);
        // fields 14 to 17: own user and system time, and those of children; then the start, and the pages
        let cpu = ahead(7).saturating_add(ahead(0));
        let cpu_of_ended = ahead(0).saturating_add(ahead(0));
        let (started, resident) = (ahead(4), ahead(1));
        let (zombie, stopped) = (matches!(state, b"Z" | b"X"), matches!(state, b"T" | b"t"));
        Some(Self { pid, parent, session, zombie, stopped, cpu, cpu_of_ended, started, resident })
    }

    /// When it was started, as the clock of the loop tells it, which is now at `now`.
    #[must_use]
    pub fn since(&self, now: Tick) -> Tick {
        let age = clock::since_boot_ms().saturating_sub(self.started.saturating_mul(1000) / ticks_per_second() as u64);
        Tick(now.since_ms(Tick(age)))
    }

    /// Resident memory in kB; what it shares counts in full.
    #[must_use]
    pub fn resident_kb(&self) -> u64 {
        self.resident.saturating_mul((page_bytes() / 1024) as u64)
    }

    /// Memory in kB: its share of all pages, from /proc/PID/smaps_rollup (proc_pid_smaps(5), Linux 4.14), or where the
    /// kernel does not tell that, what is resident.
    #[must_use]
    pub fn memory_kb(&self) -> u64 {
        let share = read(c_str(&path(self.pid, "/smaps_rollup")), &mut [0; 512]).and_then(|text| field(text, b"Pss:"));
        share.unwrap_or_else(|| self.resident_kb())
    }

    /// Whether every thread of it stands still.
    #[must_use]
    pub fn stands_still(&self) -> bool {
        let mut still = self.stopped;
        if still {
            for_each_number(c_str(&path(self.pid, "/task")), &mut |thread| {
                still = Self::read(thread).is_none_or(|thread| thread.stopped || thread.zombie);
                still
            });
        }
        still
    }
}

/// Calls `act` for each process of the machine whose session `wanted` names, until it says false. To ask for the
/// session is one system call; to read what /proc tells of a process costs many times that. False: /proc cannot be
/// read.
pub fn for_each_of(wanted: &mut dyn FnMut(i32) -> bool, act: &mut dyn FnMut(Process) -> bool) -> bool {
    for_each_number(c"/proc", &mut |pid| {
        let wanted = session_of(pid).is_some_and(&mut *wanted);
        wanted.then(|| Process::read(pid)).flatten().is_none_or(&mut *act)
    })
}

/// Calls `act` for each number that is the name of something in a folder, until it says false. False: the folder cannot
/// be read, or has no such name, as /proc where nothing is mounted.
#[inline(never)] // the buffer must not lie in the frame of the loop, which lasts
pub fn for_each_number(folder: &CStr, act: &mut dyn FnMut(i32) -> bool) -> bool {
    const NAMES_BYTES: usize = 2048;
    let Ok(folder) = open(folder, OFlags::DIRECTORY) else { return false };
    let mut names = [MaybeUninit::uninit(); NAMES_BYTES];
    let mut entries = RawDir::new(&folder, &mut names);
    let mut told = false;
    while let Some(Ok(entry)) = entries.next() {
        let Some(number) = text::number(entry.file_name().to_bytes(), 10) else { continue };
        told = true;
        if !act(number) {
            break;
        }
    }
    told
}

/// `/proc/PID` and what follows, which is short, NUL-ended.
#[must_use]
pub fn path(pid: i32, rest: &str) -> Line<48> {
    let mut path = Line::new();
    let _ = write!(path, "/proc/{pid}{rest}\0"); // a line takes everything
    path
}

/// The path by which a file that we have open can be reached, NUL-ended.
#[must_use]
pub fn of_descriptor(file: &OwnedFd) -> Line<32> {
    let mut path = Line::new();
    let _ = write!(path, "/proc/self/fd/{}\0", file.as_raw_fd()); // 25 bytes at most
    path
}

/// A path that ends with a NUL.
#[must_use]
pub fn c_str(path: &LineIn) -> &CStr {
    CStr::from_bytes_with_nul(path.as_bytes()).unwrap_or_default()
}

/// Opens something for reading.
///
/// # Errors
/// Those of open(2).
pub fn open(path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat(CWD, path, flags | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// The beginning of a file; `None` if it cannot be read.
pub fn read<'a>(path: &CStr, text: &'a mut [u8]) -> Option<&'a [u8]> {
    let length = rustix::io::read(open(path, OFlags::empty()).ok()?, &mut *text).ok()?;
    text.get(..length)
}

/// The number behind a label at the beginning of a line.
#[must_use]
pub fn field(text: &[u8], label: &[u8]) -> Option<u64> {
    text.split(|&byte| byte == b'\n').find_map(|line| number(line.strip_prefix(label)?))
}

/// The number that a text begins with, after blanks.
#[must_use]
pub fn number(text: &[u8]) -> Option<u64> {
    text::number(words(text).next()?, 10)
}

/// The words of a text.
pub fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text =
            b"77 (a) b (c)) T 12 70 66 0 -1 4194304 1 2 3 4 100 20 3 1 20 0 1 0 999 4096 55 18446744073709551615";
        let (zombie, stopped, cpu, cpu_of_ended, started) = (false, true, 120, 4, 999);
        let process =
            Process { pid: 77, parent: 12, session: 66, zombie, stopped, cpu, cpu_of_ended, started, resident: 55 };
        assert_eq!(Process::parse(77, text), Some(process));
        assert_eq!(Process::parse(77, b"77 (a"), None);
    }

    #[test]
    fn fields_are_found_by_their_label() {
        let text = b"MemTotal:       24683540 kB\nMemFree:        17466900 kB\nMemAvailable:   23728360 kB\n";
        assert_eq!(field(text, b"MemAvailable:"), Some(23_728_360));
        assert_eq!(field(text, b"Available:"), None);
        assert_eq!(number(b"max\n"), None);
        assert_eq!(number(b"50331648\n"), Some(50_331_648));
    }

    #[test]
    fn this_process_is_found() {
        let own = i32::try_from(std::process::id()).unwrap();
        let mut found = None;
        for_each_of(&mut |_| true, &mut |process| {
            found = Some(process).filter(|process| process.pid == own).or(found);
            true
        });
        // the session is 0 where its leader is outside of our pid namespace
        assert!(found.is_some_and(|process| process.session >= 0 && process.parent >= 0));
        assert!(found.is_some_and(|process| process.memory_kb() > 100 && !process.stands_still()));
    }
}

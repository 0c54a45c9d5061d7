//! Going to the background, and the pid file.
//!
//! The starting process stays until the daemon has its sockets open, so that a start script sees the truth: it ends
//! with 0 when the daemon is ready, otherwise with the daemon's exit code. Until then the daemon keeps the terminal as
//! its standard error, and the reason of a failure appears there.

use crate::cli::exit;
use crate::plan::FIRST_OWN_FD;
use crate::sys::errno::Why;
use crate::sys::process::above;
use crate::sys::{file, fork, stdio};
use crate::text::Line;
use core::ffi::CStr;
use core::fmt;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, fcntl_lock, fstat, ftruncate, open, stat, unlink};
use rustix::io::{Errno, pread, pwrite, read};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Flock, FlockType, WaitOptions, chdir, fcntl_getlk, getpid, setsid, waitpid};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Bytes in the path of a pid file, from the root, with its NUL; a longer one is refused.
const PID_PATH_BYTES: usize = 256;

/// Which process returned from [`detach`].
#[derive(Debug)]
pub enum Side {
    /// The one that was started. It has nothing left to do but to end with this code.
    Starter(u8),
    /// The daemon, in a session of its own. It says when it is ready.
    Daemon(Waiting),
}

/// The daemon's way to tell its starter how the start went. Dropped without a word it tells of a failure, code
/// [`exit::SYSTEM`].
#[derive(Debug)]
#[must_use]
pub struct Waiting {
    starter: OwnedFd,
}

/// Splits off the daemon: two forks with setsid(2) between them, so that it never gets a controlling terminal.
///
/// In the daemon standard input and output are /dev/null. Only for a process with one thread, before locks are taken
/// (they do not pass on to a child) and before anything is opened that must have one owner only.
///
/// # Errors
/// What pipe(2) or fork(2) said, and which of them.
pub fn detach() -> Result<Side, DetachError> {
    let failed = |what| move |why| DetachError { what, why };
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(failed("make a pipe"))?;
    if let Some(child) = fork::fork().map_err(failed("fork"))? {
        drop(writer);
        // Gone at once; it only leaves its child to init.
        let _ = waitpid(Some(child), WaitOptions::empty());
        return Ok(Side::Starter(listen(&reader)));
    }
    drop(reader);
    // From here an error is told to the starter.
    let waiting = Waiting { starter: writer };
    let split = setsid().map_err(failed("start a session")).and_then(|_| fork::fork().map_err(failed("fork")));
    match split {
        Ok(None) => {}
        Ok(Some(_)) => fork::exit(exit::DONE),
        Err(error) => {
            let _ = stdio::write_all(stdio::stderr(), format!("dormouse: {error}\n").as_bytes());
            waiting.fail(exit::SYSTEM);
            fork::exit(exit::SYSTEM);
        }
    }
    for standard in [0, 1] {
        stdio::discard(standard).map_err(failed("open /dev/null"))?;
    }
    Ok(Side::Daemon(waiting))
}

/// The exit code that the daemon sends.
fn listen(reader: &OwnedFd) -> u8 {
    let mut code = [exit::SYSTEM];
    loop {
        match read(reader, &mut code) {
            Ok(1) => return code[0],
            Err(Errno::INTR) => {}
            _ => {
                let text = b"dormouse: the daemon ended during its start; its log may tell why\n";
                let _ = stdio::write_all(stdio::stderr(), text);
                return exit::SYSTEM;
            }
        }
    }
}

impl Waiting {
    /// All sockets are open: changes to `/`, lets go of the terminal, and the starter ends with 0.
    ///
    /// To be called when no relative path is needed any more and the log is on its final target.
    ///
    /// # Errors
    /// /dev/null cannot be opened (open(2)); the starter is told then that the start has failed.
    pub fn ready(self) -> Result<(), Errno> {
        chdir(c"/")?;
        stdio::discard(2)?;
        // A starter that was interrupted does not matter.
        let _ = rustix::io::write(&self.starter, &[exit::DONE]);
        Ok(())
    }

    /// The start has failed and the reason is written: the starter ends with `code`.
    pub fn fail(self, code: u8) {
        let _ = rustix::io::write(&self.starter, &[code]);
    }
}

/// The process could not go to the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetachError {
    what: &'static str,
    why: Errno,
}

impl fmt::Display for DetachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} to go to the background: {}", self.what, Why(self.why))
    }
}

/// The pid file, locked by this process from [`PidFile::lock`] to its end.
///
/// The lock (fcntl(2)) makes the difference between a daemon that lives and a file that was left behind; its owner's
/// number comes from the kernel and not from the file.
#[derive(Debug)]
pub struct PidFile {
    file: OwnedFd,
    /// From the root, since the daemon changes to another directory. Not on the heap, which is given back at the seal.
    path: heapless::Vec<u8, PID_PATH_BYTES>,
}

impl PidFile {
    /// Opens or creates the file and locks it; what an ended daemon left there is kept until [`PidFile::write`].
    ///
    /// To be called in the daemon (a child does not inherit the lock), before its sockets are opened.
    ///
    /// # Errors
    /// Another process holds the lock, the file is not a pid file, or a system call failed.
    pub fn lock(path: &Path) -> Result<Self, PidFileError> {
        let failed = |what| PidFileError { path: path.to_owned(), what };
        let call = |why| failed(PidFileFault::System(why));
        let path = whole(path).map_err(call)?;
        let name = CStr::from_bytes_with_nul(&path).unwrap_or_default();
        // Between open and lock another instance can end and remove the file: then it is a file without a name that
        // is locked here. The next turn creates a new one.
        for _ in 0..8 {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let file = open(name, flags, Mode::from_raw_mode(0o644)).map_err(call)?;
            // Out of the way, if the limit allows, before it is locked: closing any descriptor of it gives the lock up.
            let file = above(file, FIRST_OWN_FD);
            let ours = fstat(&file).map_err(call)?;
            if FileType::from_raw_mode(ours.st_mode) != FileType::RegularFile || !is_pid_or_empty(file.as_fd()) {
                return Err(failed(PidFileFault::Foreign));
            }
            match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::ACCESS) => return Err(failed(PidFileFault::Held(holder(file.as_fd())))),
                Err(why) => return Err(call(why)),
            }
            if stat(name).is_ok_and(|named| named.st_ino == ours.st_ino && named.st_dev == ours.st_dev) {
                return Ok(Self { file, path });
            }
        }
        Err(call(Errno::AGAIN))
    }

    /// The pid file that an earlier image of this process has locked.
    ///
    /// # Errors
    /// NAMETOOLONG.
    pub fn resume(file: OwnedFd, path: &Path) -> Result<Self, Errno> {
        Ok(Self { file, path: whole(path)? })
    }

    /// Writes the number of this process. To be called when the sockets are open, before [`Waiting::ready`].
    ///
    /// # Errors
    /// As write(2): `ENOSPC`, ...
    pub fn write(&self) -> Result<(), Errno> {
        let mut line = Line::<16>::new();
        line.push_decimal(u64::from(getpid().as_raw_nonzero().get().unsigned_abs()));
        line.end(b'\n');
        ftruncate(&self.file, 0)?;
        let written = pwrite(&self.file, line.as_bytes(), 0)?;
        if written == line.as_bytes().len() { Ok(()) } else { Err(Errno::NOSPC) }
    }

    /// Removes the file at the end of the daemon. Allocates nothing.
    ///
    /// # Errors
    /// As unlink(2).
    pub fn remove(self) -> Result<(), Errno> {
        // The lock is held until the file is closed: nobody can have taken it in the meantime.
        unlink(CStr::from_bytes_with_nul(&self.path).unwrap_or_default())
    }
}

/// The path from the root, with its NUL.
fn whole(path: &Path) -> Result<heapless::Vec<u8, PID_PATH_BYTES>, Errno> {
    let path = file::absolute(path).ok_or(Errno::NOENT)?;
    let mut whole = heapless::Vec::from_slice(path.as_os_str().as_bytes()).map_err(|_| Errno::NAMETOOLONG)?;
    whole.push(0).map_err(|_| Errno::NAMETOOLONG)?;
    Ok(whole)
}

impl AsFd for PidFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Keeps a mistyped `--pidfile /etc/passwd` from doing harm.
fn is_pid_or_empty(file: BorrowedFd<'_>) -> bool {
    let mut text = [0; 32];
    let len = pread(file, &mut text, 0).unwrap_or(text.len());
    len < text.len() && text[..len].trim_ascii().iter().all(u8::is_ascii_digit)
}

/// The process that holds the lock; `None` if it is in another namespace or has just ended.
fn holder(file: BorrowedFd<'_>) -> Option<i32> {
    let lock = fcntl_getlk(file, &Flock::from(FlockType::WriteLock)).ok()??;
    Some(lock.pid?.as_raw_nonzero().get())
}

/// Why there is no pid file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PidFileError {
    /// The path as it was given.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: PidFileFault,
}

/// See [`PidFileError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PidFileFault {
    /// Another process, whose number is given where it is known, has locked it.
    Held(Option<i32>),
    /// It holds something else than a number.
    Foreign,
    /// A system call failed.
    System(Errno),
}

impl fmt::Display for PidFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.to_string_lossy();
        match self.what {
            PidFileFault::Held(Some(pid)) => {
                write!(f, "the pid file {path} is held by process {pid}: stop that one first, or name another file")
            }
            PidFileFault::Held(None) => {
                write!(f, "the pid file {path} is held by another process: stop that one first, or name another file")
            }
            PidFileFault::Foreign => {
                write!(
                    f,
                    "{path} is not a pid file and was left as it is: expected no file, or one that holds a number"
                )
            }
            PidFileFault::System(why) => write!(f, "cannot open and lock the pid file {path}: {}", Why(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::process::{Command, Stdio};

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("dormouse-detach-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    #[test]
    fn a_stale_pid_file_is_replaced_and_removed_at_the_end() {
        let path = scratch("stale");
        fs::write(&path, "4194304999\n").unwrap();
        let file = PidFile::lock(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "4194304999\n");
        file.write().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        file.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_second_instance_learns_who_was_first() {
        let path = scratch("held");
        let file = PidFile::lock(&path).unwrap();
        // The lock is per process, so the second instance must be one.
        let Some(child) = fork::fork().unwrap() else {
            let held = PidFile::lock(&path).is_err_and(|error| {
                error.what == PidFileFault::Held(rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get()))
            });
            fork::exit(u8::from(!held));
        };
        let (_, status) = waitpid(Some(child), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
        file.remove().unwrap();
    }

    #[test]
    fn other_files_are_left_alone() {
        let path = scratch("foreign");
        fs::write(&path, "root:x:0:0:root:/root:/bin/sh\n").unwrap();
        let error = PidFile::lock(&path).unwrap_err();
        assert_eq!(error.what, PidFileFault::Foreign);
        assert!(error.to_string().contains("is not a pid file"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "root:x:0:0:root:/root:/bin/sh\n");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        assert_eq!(PidFile::lock(&path).unwrap_err().what, PidFileFault::System(Errno::LOOP));
        fs::remove_file(&path).unwrap();
        let error = PidFile::lock(Path::new("/nonexistent/x.pid")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot open and lock the pid file /nonexistent/x.pid: no such file or directory (ENOENT)"
        );
    }

    /// Runs this test program again, alone in its process, with `test` as the one that detaches.
    fn starter(test: &str, path: &Path) -> std::process::Output {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("detach::tests::{test}"), "--nocapture", "--test-threads=1"])
            .env("DORMOUSE_TEST_PATH", path)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The path that [`starter`] gave; `None` in the process that runs all tests, which must not detach.
    fn path_of_test() -> Option<PathBuf> {
        std::env::var_os("DORMOUSE_TEST_PATH").map(PathBuf::from)
    }

    #[test]
    fn daemon_that_gets_ready() {
        let Some(path) = path_of_test() else { return };
        match detach().unwrap() {
            Side::Starter(code) => fork::exit(code),
            Side::Daemon(waiting) => {
                let file = PidFile::lock(&path).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(200));
                file.write().unwrap();
                waiting.ready().unwrap();
                // Long enough to be looked at by the test.
                std::thread::sleep(std::time::Duration::from_secs(20));
                fork::exit(0);
            }
        }
    }

    #[test]
    fn the_starter_ends_with_0_when_the_daemon_is_ready() {
        let path = scratch("ready");
        let output = starter("daemon_that_gets_ready", &path);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let pid: i32 = fs::read_to_string(&path).unwrap().trim().parse().unwrap();
        let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
        for name in ["fd/0", "fd/1", "fd/2"] {
            assert_eq!(link(name), Path::new("/dev/null"));
        }
        assert_eq!(link("cwd"), Path::new("/"));
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
        let (session, terminal) = (fields[3], fields[4]);
        assert_ne!(session, pid.to_string(), "a session leader could get a terminal");
        assert_eq!(terminal, "0");
        assert_eq!(PidFile::lock(&path).unwrap_err().what, PidFileFault::Held(Some(pid)));
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL)
            .unwrap();
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn daemon_that_fails() {
        let Some(_) = path_of_test() else { return };
        match detach().unwrap() {
            Side::Starter(code) => fork::exit(code),
            Side::Daemon(waiting) => {
                stdio::write_all(stdio::stderr(), b"dormouse: the reason\n").unwrap();
                waiting.fail(exit::CONFIG);
                fork::exit(exit::CONFIG);
            }
        }
    }

    #[test]
    fn a_failed_start_shows_its_reason_and_code() {
        let output = starter("daemon_that_fails", Path::new("/"));
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("dormouse: the reason\n"), "{output:?}");
    }

    #[test]
    fn daemon_that_dies() {
        let Some(_) = path_of_test() else { return };
        match detach().unwrap() {
            Side::Starter(code) => fork::exit(code),
            Side::Daemon(_waiting) => fork::exit(0),
        }
    }

    #[test]
    fn a_daemon_that_dies_is_a_failure() {
        let output = starter("daemon_that_dies", Path::new("/"));
        assert_eq!(output.status.code(), Some(71), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("ended during its start"), "{output:?}");
    }
}

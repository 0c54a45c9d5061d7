//! From one program image to the next: reload and upgrade.
//!
//! A process that runs for years never reads a configuration: it starts this program once more as a *checker*, with the
//! same command line and folder. The checker writes the plan that it made, or what is wrong. Then the process executes
//! the same program file itself and stays the same process, with its children, locks and pending signals; the new
//! image takes the plan from the checker's file, and what was going on from a second one ([`codec`]).
//!
//! Which part an image has to play stands in the variable [`VARIABLE`]: `check PID PLAN PROGRAM` or
//! `resume PID STATE PLAN`. PID is the daemon, so that the variable means nothing anywhere else; STATE and PLAN are
//! descriptors; PROGRAM is the path that an upgrade will execute.

pub mod codec;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;

use crate::limits::PAUSES;
use crate::sys::{environment, file, patience};
use crate::text;

/// The variable that tells the part.
pub const VARIABLE: &str = "DORMOUSE_HANDOVER";
/// The version of the state. It changes with the meaning of any record: two images understand each other only if
/// theirs are equal, and the older one finds out before it lets go.
pub const VERSION: u32 = 15;

/// What this process is to do.
#[derive(Debug)]
pub enum Part {
    /// To start from nothing.
    Fresh,
    /// To check the configuration for a running daemon.
    Check {
        /// Where the plan is to be written, over the units that the daemon has left out, see
        /// [`crate::config::Tolerance::Known`].
        plan: OwnedFd,
        /// What an upgrade executes.
        program: PathBuf,
    },
    /// To go on where the image before has stopped.
    Resume {
        /// What was going on.
        state: OwnedFd,
        /// The checked plan.
        plan: OwnedFd,
    },
}

impl Part {
    /// Takes the variable, so that nobody sees it, and the descriptors in it. What makes no sense is a fresh start.
    pub fn take() -> Self {
        let Some(text) = environment::value(VARIABLE) else { return Self::Fresh };
        environment::remove(VARIABLE);
        Self::parse(text).unwrap_or(Self::Fresh)
    }

    fn parse(text: &OsStr) -> Option<Self> {
        let mut words = text.as_bytes().splitn(4, |&byte| byte == b' ');
        let part = words.next()?;
        let mut number = || text::number::<i32>(words.next()?, 10);
        let (pid, first) = (number()?, number()?);
        let last = words.next()?;
        let take = |number| environment::reclaim(number, 3).ok();
        let is = |process: rustix::process::Pid| process.as_raw_nonzero().get() == pid;
        match part {
            b"check" if rustix::process::getppid().is_some_and(is) => {
                Some(Self::Check { plan: take(first)?, program: OsStr::from_bytes(last).into() })
            }
            b"resume" if is(rustix::process::getpid()) => {
                let plan = text::number(last, 10)?;
                Some(Self::Resume { state: take(first)?, plan: take(plan)? })
            }
            _ => None,
        }
    }
}

/// An image that follows another waits for what is short just now: there is no way back from it, and nobody else holds
/// the sockets. Called before anything takes memory.
pub fn be_patient() {
    if cfg!(feature = "reload")
        && environment::value(VARIABLE).is_some_and(|part| part.as_bytes().starts_with(b"resume"))
    {
        patience::set(PAUSES);
    }
}

/// The program that an upgrade will execute: the path that led to this image. A relative one counts from the folder in
/// which the process was started. Called before the folder changes.
pub fn own_path() -> PathBuf {
    let path = OsStr::from_bytes(environment::executed_path().to_bytes());
    // by a descriptor (fexecve(3)): the path leads nowhere by now
    let is_in = |path: &PathBuf, folder: &str| path.as_os_str().as_bytes().starts_with(folder.as_bytes());
    let lasting = |path: &PathBuf| !is_in(path, "/proc/") && !is_in(path, "/dev/fd/");
    let told = file::absolute(Path::new(path)).filter(lasting);
    told.or_else(|| file::link(Path::new("/proc/self/exe"))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_a_fresh_start() {
        for text in ["", "check", "resume 1 2", "resume 1 3 4", "check 1 3 /bin/x", "check x y z", "dance 1 2 3"] {
            assert!(Part::parse(OsStr::new(text)).is_none(), "{text}");
        }
    }

    #[test]
    fn descriptors_of_our_own_are_not_taken() {
        let file = rustix::fs::memfd_create(c"x", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let (pid, number) = (std::process::id(), rustix::fd::AsRawFd::as_raw_fd(&file));
        assert!(Part::parse(OsStr::new(&format!("resume {pid} {number} {number}"))).is_none());
    }

    #[test]
    fn the_path_is_absolute() {
        assert!(own_path().is_absolute());
    }
}

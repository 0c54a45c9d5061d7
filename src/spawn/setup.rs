//! What a child does to itself, in order. Everything here runs between clone and exec: system calls only.

use core::ffi::CStr;
use core::fmt::Write;
use rustix::fd::AsRawFd;
use rustix::fs::{Access, OFlags};
use rustix::io::Errno;
use rustix::process::PidfdFlags;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{Start, StartFailed, files, gets_descriptors};
use crate::limits::GROUPS;
use crate::plan::steps::{Reader, Stage, Step};
use crate::plan::{FIRST_FD, Policy, Stdio};
use crate::sys::clock::{self, Tick};
use crate::sys::process::{self, Image, Sharing};
use crate::sys::signal;
use crate::text::Line;

/// What the child needs to know.
pub(super) struct Child<'a> {
    pub(super) start: &'a Start<'a>,
    pub(super) policy: &'a Policy,
    pub(super) sharing: Sharing,
    pub(super) pidfd_ids: bool,
    /// Leads a session of its own; not where we ourselves become the program.
    pub(super) own_session: bool,
}

/// How long the child may take.
pub(super) struct Limit {
    /// What it is doing.
    pub(super) reached: Stage,
    /// When its time began to run, if it does.
    pub(super) begun: Option<Tick>,
}

impl Limit {
    /// Nothing was done yet.
    pub(super) const fn new() -> Self {
        Self { reached: Stage::CLONE, begun: None }
    }
}

impl Child<'_> {
    /// Becomes the program. Returns only when a step fails; `limit` is kept up to date.
    pub(super) fn run(&self, image: &mut Image<'_>, limit: &mut Limit) -> StartFailed {
        match self.prepare(image, limit) {
            Err(failed) => failed,
            Ok(()) => StartFailed { stage: Stage::EXEC, errno: image.execute() },
        }
    }

    fn prepare(&self, image: &mut Image<'_>, limit: &mut Limit) -> Result<(), StartFailed> {
        // first of all: until then the descriptor table may be the parent's
        at(Stage::DESCRIPTORS, self.take_descriptors())?;
        if self.own_session {
            at(Stage::SESSION, rustix::process::setsid().map(drop))?;
        }
        at(Stage::STDIO, self.standard_descriptors())?;
        at(Stage::DESCRIPTORS, self.listen_descriptors())?;
        for (stage, step) in Reader::new(self.start.plan.arena.get(self.policy.steps)) {
            limit.reached = stage;
            match step {
                Step::Open(..) | Step::Root(_) | Step::Directory(..) | Step::Folder(..) | Step::Await(_) => {
                    self.set(limit)
                }
                _ => {}
            }
            at(stage, carry_out(&step))?;
        }
        limit.reached = Stage::EXEC;
        if self.start.service.remote {
            self.set(limit);
        }
        if gets_descriptors(self.start) {
            image.set_own_variables(self.identity().as_bytes());
        }
        signal::unblock_all();
        Ok(())
    }

    /// From here on the child may have to wait, and the parent with it, but not for ever.
    fn set(&self, limit: &mut Limit) {
        if self.own_session && limit.begun.is_none() {
            limit.begun = Some(clock::now());
            process::end_if_late();
        }
    }

    /// Leaves the parent's table, or moves the sockets to 3, 4, ... in the copy. No target can be a source: the parent
    /// keeps its own descriptors above the numbers that are handed over.
    fn take_descriptors(&self) -> Result<(), Errno> {
        if self.sharing == Sharing::MemoryAndDescriptors {
            let count = u32::try_from(self.start.sockets.len()).unwrap_or(u32::MAX);
            return process::unshare_descriptors_from(FIRST_FD.unsigned_abs().saturating_add(count));
        }
        if gets_descriptors(self.start) {
            for (place, socket) in (FIRST_FD..).zip(self.start.sockets) {
                process::install_descriptor(socket.as_raw_fd(), place)?;
            }
        }
        Ok(())
    }

    fn standard_descriptors(&self) -> Result<(), Errno> {
        for (place, stdio) in (0..).zip(&self.policy.stdio) {
            match stdio {
                Stdio::Inherit | Stdio::File => {}
                Stdio::Null if place == 0 => {} // our own is /dev/null
                Stdio::Null => process::install_file(c"/dev/null", OFlags::RDWR, place)?,
                Stdio::Socket => {
                    if let Some(socket) = self.start.sockets.first() {
                        process::install_descriptor(socket.as_raw_fd(), place)?;
                    }
                }
                Stdio::Log => match self.start.log {
                    Some(log) => process::install_descriptor(log.as_raw_fd(), place)?,
                    None if place == 2 => {}
                    None => process::install_descriptor(2, place)?,
                },
            }
        }
        Ok(())
    }

    /// Opens 3, 4, ... over exec, blocking or not as configured: the flag belongs to the open file, so whoever had the
    /// socket before may have changed it. An accepted connection has its flag from accept4(2).
    fn listen_descriptors(&self) -> Result<(), Errno> {
        let places = FIRST_FD..;
        if gets_descriptors(self.start) && self.sharing == Sharing::MemoryAndDescriptors {
            for (place, _) in places.zip(self.start.sockets) {
                process::install_descriptor(place, place)?;
            }
        }
        if self.start.connection.is_none() {
            for socket in self.start.sockets {
                // the number is still good: the table was copied, or the socket is in its place
                process::set_nonblocking(socket.as_raw_fd(), self.policy.nonblocking)?;
            }
        }
        Ok(())
    }

    /// LISTEN_PID, and LISTEN_PIDFDID where the kernel has it: known only here.
    fn identity(&self) -> Line<64> {
        let pid = rustix::process::getpid();
        let mut text = Line::new();
        let _ = write!(text, "LISTEN_PID={pid}\0"); // 22 bytes at most
        if self.pidfd_ids
            && let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            && let Ok(status) = rustix::fs::fstat(&pidfd)
        {
            let _ = write!(text, "LISTEN_PIDFDID={}\0", status.st_ino); // 36 bytes at most
        }
        text
    }
}

/// Names the stage of an error.
fn at(stage: Stage, result: Result<(), Errno>) -> Result<(), StartFailed> {
    result.map_err(|errno| StartFailed { stage, errno })
}

fn carry_out(step: &Step<'_>) -> Result<(), Errno> {
    match *step {
        Step::Umask(mask) => {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(u32::from(mask)));
            Ok(())
        }
        Step::Open(fd, mode, path) => files::open(i32::from(fd), mode, path),
        Step::Copy(from, to) => process::install_descriptor(i32::from(from), i32::from(to)),
        Step::Groups(bytes) => set_groups(bytes),
        Step::Group(id) => {
            let id = rustix::process::Gid::from_raw(id);
            rustix::thread::set_thread_res_gid(id, id, id)
        }
        Step::User(id) => {
            let id = rustix::process::Uid::from_raw(id);
            rustix::thread::set_thread_res_uid(id, id, id)
        }
        Step::Directory(optional, path) => match rustix::process::chdir(path) {
            Err(Errno::NOENT) if optional => rustix::process::chdir(c"/"),
            result => result,
        },
        Step::ParentDeath(signal) => process::set_parent_death_signal(signal),
        _ if !cfg!(feature = "exec") => Err(Errno::NOSYS), // no list has the others
        Step::Limit(resource, soft, hard) => process::set_limit(resource, soft, hard),
        Step::Nice(value) => where_allowed(rustix::process::setpriority_process(None, i32::from(value))),
        Step::OomScore(text) => where_allowed(write_file(c"/proc/self/oom_score_adj", text)),
        Step::Root(path) => rustix::process::chroot(path).and_then(|()| rustix::process::chdir(c"/")),
        Step::Bounding(keep) => limit_bounding_set(keep),
        Step::KeepCapabilities => rustix::thread::set_keep_capabilities(true),
        Step::Ambient(set) => raise_ambient(set),
        Step::Await(path) => rustix::fs::access(path, Access::EXISTS).and(Err(Errno::AGAIN)),
        Step::Folder(mode, uid, gid, path) => files::make_folder(mode, uid, gid, path),
        Step::NoNewPrivileges => rustix::thread::set_no_new_privs(true),
    }
}

/// What root may do outside of containers only, or where /proc is, and a service can do without: it is no error.
fn where_allowed(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::PERM | Errno::ACCESS | Errno::ROFS | Errno::NOENT) => Ok(()),
        result => result,
    }
}

fn write_file(path: &CStr, text: &[u8]) -> Result<(), Errno> {
    use rustix::fs::{Mode, OFlags};
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text).map(drop)
}

fn set_groups(bytes: &[u8]) -> Result<(), Errno> {
    let mut groups = [rustix::process::Gid::ROOT; GROUPS];
    let mut count = 0;
    for (group, id) in groups.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *group = rustix::process::Gid::from_raw(u32::from_ne_bytes(*id));
        count += 1;
    }
    rustix::thread::set_thread_groups(groups.get(..count).unwrap_or(&[]))
}

/// Drops what is not to be kept from the bounding set, up to the last capability that the kernel knows.
fn limit_bounding_set(keep: u64) -> Result<(), Errno> {
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if keep & (1 << number) != 0 {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Err(Errno::INVAL) => break, // past the last one
            result => result?,
        }
    }
    Ok(())
}

/// Ambient capabilities must be permitted and inheritable first (capabilities(7)).
fn raise_ambient(set: u64) -> Result<(), Errno> {
    let all = CapabilitySet::from_bits_retain(set);
    let now = rustix::thread::capabilities(None)?;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: all | now.effective,
            permitted: all | now.permitted,
            inheritable: all | now.inheritable,
        },
    )?;
    // by number: the iterator of the set brings the names of all of them, 1 kB
    for number in (0..64).filter(|number| set & (1 << number) != 0) {
        rustix::thread::configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(1 << number), true)?;
    }
    Ok(())
}

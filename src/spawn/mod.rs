//! From a decision to a running program: everything between clone and exec.
//!
//! All that can be prepared is prepared by the parent: arguments, environment, descriptors. The child runs on the
//! parent's memory ([`crate::sys::process::clone_child`]) and makes system calls only: no allocation, no log, no lock.
//! When one of them fails it leaves the [`Stage`] and the errno in that memory and ends; the parent reads them when
//! clone returns. Where memory is not shared (emulators of user programs turn vfork into fork) the same words come
//! through a pipe.

mod environment;
mod files;
mod setup;

pub use environment::Connection;
use environment::Variables;
use setup::Limit;

use core::ffi::CStr;
use core::fmt::Write;
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::limits::{EXECUTE_MS, SERVICE_LISTENERS};
use crate::peer::Peer;
use crate::plan::steps::Stage;
use crate::plan::{FIRST_FD, NotifyAccess, Plan, Policy, ServiceSpec};
use crate::sys::clock::{self, Tick};
use crate::sys::process::{ChildStack, Image, Sharing, clone_child};
use crate::sys::socket::credentials;
use crate::text::Line;

/// The abstract name of the socket that services send their messages to (sd_notify(3)), without the NUL or `@` in
/// front. It is the same for the whole life of the process, over an exec as well.
pub fn notify_name() -> Line<32> {
    let mut name = Line::new();
    let _ = write!(name, "dormouse/{}", std::process::id()); // a line takes everything
    name
}

/// What is to be started, with what.
pub struct Start<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The service, a row of it.
    pub service: &'a ServiceSpec,
    /// Sockets to hand over, in order.
    pub sockets: &'a [BorrowedFd<'a>],
    /// Which of the service's listeners they are, one bit each; with Accept=yes the first.
    pub present: u64,
    /// What is said of the connection, with Accept=yes.
    pub connection: Option<Connection<'a>>,
    /// Where [`Stdio::Log`] leads; `None`: to our standard error.
    pub log: Option<BorrowedFd<'a>>,
}

/// A start that failed: where and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartFailed {
    /// What was being done.
    pub stage: Stage,
    /// Why it failed.
    pub errno: Errno,
}

/// What starts children: their stack, and what the kernel has turned out to be able to.
#[repr(C)] // what is written, the upper end of the stack, comes last
pub struct Spawner {
    stack: ChildStack,
    without_descriptor_sharing: bool,
    without_memory_sharing: bool,
    pidfd_ids: bool,
    unnotified: bool,
}

impl Spawner {
    /// A spawner that expects everything from the kernel.
    pub const NEW: Self = Self {
        stack: ChildStack::NEW,
        without_descriptor_sharing: false,
        without_memory_sharing: false,
        pidfd_ids: false,
        unnotified: false,
    };

    /// Nobody receives the messages of children: they do not get NOTIFY_SOCKET.
    pub fn keep_unnotified(&mut self) {
        self.unnotified = true;
    }

    /// Tells children the inode of their pidfd (LISTEN_PIDFDID, sd_listen_fds(3)); only sound on a kernel whose pidfds
    /// have inodes of their own.
    pub fn tell_pidfd_ids(&mut self) {
        self.pidfd_ids = true;
    }

    /// Starts a program and gives its process id.
    ///
    /// # Errors
    /// The [`Stage`] that failed; the child, if there was one, is gone and reaped.
    pub fn start(&mut self, start: &Start<'_>) -> Result<i32, StartFailed> {
        let policy = policy(start);
        let mut variables = Variables::new();
        let mut image = Image::new(program(start));
        self.fill(start, policy, &mut variables, &mut image)?;
        self.launch(start, policy, &mut image)
    }

    /// Becomes the program itself, with the same process id. Returns only when that fails; what was done before stays.
    pub fn become_program(&self, start: &Start<'_>) -> StartFailed {
        let policy = policy(start);
        let mut variables = Variables::new();
        let mut image = Image::new(program(start));
        let (sharing, pidfd_ids) = (Sharing::Nothing, self.pidfd_ids);
        match self.fill(start, policy, &mut variables, &mut image) {
            Ok(()) => setup::Child { start, policy, sharing, pidfd_ids, own_session: false }
                .run(&mut image, &mut Limit::new()),
            Err(failed) => failed,
        }
    }

    /// Runs `child` in a child process until it executes a program, or ends with the status that it returns; gives its
    /// process id. See [`clone_child`].
    ///
    /// # Errors
    /// EAGAIN (too many processes), ENOMEM.
    pub fn run_child(&mut self, child: &mut dyn FnMut() -> u8) -> Result<i32, Errno> {
        let sharing = if self.without_memory_sharing { Sharing::Nothing } else { Sharing::Memory };
        clone_child(&mut self.stack, sharing, child)
    }

    /// Puts arguments and environment together.
    fn fill<'a>(
        &self,
        start: &Start<'a>,
        policy: &Policy,
        variables: &'a mut Variables,
        image: &mut Image<'a>,
    ) -> Result<(), StartFailed> {
        let arena = start.plan.arena;
        let mut argv = arena.get(start.service.argv);
        let mut named = true;
        if let Some(connection) = &start.connection {
            if start.service.has_instance {
                named = variables.put_words(argv, connection, process_behind(start, connection));
                argv = &[];
            }
            variables.describe(connection);
        }
        if gets_descriptors(start) {
            let bits =
                core::iter::successors(Some(start.present), |bits| Some(bits >> 1)).take_while(|&bits| bits != 0);
            let present = bits.enumerate().filter(|(_, bits)| bits & 1 == 1);
            variables.listen(start.sockets.len(), present.map(|(index, _)| start.service.fd_name(arena, index)));
        }
        if policy.sleep.notify() != NotifyAccess::None && !self.unnotified {
            variables.notify(notify_name().as_str());
        }
        let whole = named
            && image.arguments(argv)
            && image.arguments(variables.words())
            && image.variables(arena.get(policy.environment))
            && image.variables_at(variables.all());
        if whole { Ok(()) } else { Err(StartFailed { stage: Stage::EXEC, errno: Errno::TOOBIG }) }
    }

    /// Clones, and again in a humbler way where the kernel cannot do what was asked.
    fn launch(&mut self, start: &Start<'_>, policy: &Policy, image: &mut Image<'_>) -> Result<i32, StartFailed> {
        loop {
            let sharing = self.sharing(start);
            let child = setup::Child { start, policy, sharing, pidfd_ids: self.pidfd_ids, own_session: true };
            match self.clone_once(&child, image) {
                // a sandbox that does not know the call says EPERM
                Err(StartFailed {
                    stage: Stage::DESCRIPTORS | Stage::CLONE,
                    errno: Errno::NOSYS | Errno::INVAL | Errno::PERM,
                }) if sharing == Sharing::MemoryAndDescriptors => self.without_descriptor_sharing = true,
                outcome => return outcome,
            }
        }
    }

    /// Sharing the descriptor table avoids copying it, but only what lies at 3, 4, ... in our own table can stay.
    fn sharing(&self, start: &Start<'_>) -> Sharing {
        let in_place = (FIRST_FD..).zip(start.sockets).all(|(place, socket)| socket.as_raw_fd() == place);
        if self.without_memory_sharing {
            Sharing::Nothing
        } else if self.without_descriptor_sharing || !in_place || start.log.is_some() {
            Sharing::Memory
        } else {
            Sharing::MemoryAndDescriptors
        }
    }

    fn clone_once(&mut self, child: &setup::Child<'_>, image: &mut Image<'_>) -> Result<i32, StartFailed> {
        let pipe = if child.sharing == Sharing::Nothing { pipe_with(PipeFlags::CLOEXEC).ok() } else { None };
        let mut report = Report { arrived: false, limit: Limit::new(), failed: None };
        let unseen = (child.sharing == Sharing::Nothing).then(clock::now); // when its time begins to run
        let pid = clone_child(&mut self.stack, child.sharing, &mut || {
            report.arrived = true;
            let failed = child.run(image, &mut report.limit);
            report.failed = Some(failed);
            if let Some((_, write)) = &pipe {
                let _ = rustix::io::write(write, &encode(failed)); // nobody else to tell
            }
            EXIT_NOT_STARTED
        })
        .map_err(|errno| StartFailed { stage: Stage::CLONE, errno })?;
        if let Some((read, write)) = pipe {
            drop(write);
            report.failed = read_failure(&read);
        } else if !report.arrived {
            self.without_memory_sharing = true;
        }
        match report.failed {
            Some(failed) => {
                reap(pid, WaitOptions::empty());
                Err(failed)
            }
            None if report.limit.begun.or(unseen).is_some_and(|begun| is_late(pid, begun)) => {
                Err(StartFailed { stage: report.limit.reached, errno: Errno::TIMEDOUT })
            }
            None => Ok(pid),
        }
    }
}

/// Exit status of a child that could not execute its program; seen by nobody, since the parent reaps it at once.
const EXIT_NOT_STARTED: u8 = 127;

/// What the child leaves in the parent's memory.
struct Report {
    arrived: bool,
    limit: Limit,
    failed: Option<StartFailed>,
}

/// A failure as five bytes for the pipe.
fn encode(failed: StartFailed) -> [u8; 5] {
    let [a, b, c, d] = failed.errno.raw_os_error().to_ne_bytes();
    [failed.stage.0, a, b, c, d]
}

/// Waits until the child has executed (the pipe is closed) or has failed.
fn read_failure(pipe: &OwnedFd) -> Option<StartFailed> {
    let mut bytes = [0; 5];
    loop {
        match rustix::io::read(pipe, &mut bytes) {
            Ok(5) => {
                let [stage, a, b, c, d] = bytes;
                let errno = Errno::from_raw_os_error(i32::from_ne_bytes([a, b, c, d]));
                return Some(StartFailed { stage: Stage(stage), errno });
            }
            Err(Errno::INTR) => {}
            Ok(_) | Err(_) => return None,
        }
    }
}

/// Takes away a child that is about to end. False: it has not ended.
fn reap(pid: i32, options: WaitOptions) -> bool {
    let Some(pid) = Pid::from_raw(pid) else { return false };
    loop {
        match waitpid(Some(pid), options) {
            Err(Errno::INTR) => {}
            result => return matches!(result, Ok(Some(_))),
        }
    }
}

/// Whether a child that took too long was killed, and is gone.
fn is_late(pid: i32, begun: Tick) -> bool {
    const DYING_MS: u32 = 50; // it lets go of our memory a moment before it can be reaped
    if clock::now().since_ms(begun) < EXECUTE_MS {
        return false;
    }
    clock::pause_ms(DYING_MS);
    reap(pid, WaitOptions::NOHANG)
}

/// The process at the other end of a unix connection, when it connected; 0 where that is not known.
fn process_behind(start: &Start<'_>, connection: &Connection<'_>) -> u32 {
    let (Peer::Unix { .. }, [socket, ..]) = (connection.peer, start.sockets) else { return 0 };
    credentials(*socket).map_or(0, |peer| peer.pid)
}

/// Whether the child gets its sockets as descriptors from 3 on.
fn gets_descriptors(start: &Start<'_>) -> bool {
    !start.service.fd_names.is_empty()
}

fn policy<'a>(start: &Start<'a>) -> &'a Policy {
    &start.plan.policies[usize::from(start.service.policy)]
}

const _: () = assert!(SERVICE_LISTENERS <= 64, "the sockets of a service are a set of bits");

fn program<'a>(start: &Start<'a>) -> &'a CStr {
    CStr::from_bytes_with_nul(start.plan.arena.get(start.service.program)).unwrap_or(c"/")
}

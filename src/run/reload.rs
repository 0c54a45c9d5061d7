//! Reload and upgrade without losing a connection. The checker, a child, reads the new configuration while the loop
//! goes on; then this process executes the program once more and stays itself. See [`crate::handover`].
//!
//! Until exec has succeeded nothing has changed: whatever fails before, the answer is no and everything goes on.

use core::ffi::CStr;
use core::fmt::{self, Write};
use heapless::Vec;
use rustix::event::epoll::EventFlags;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create, openat, tell};
use rustix::io::{Errno, fcntl_dupfd_cloexec, pread, pwrite};

use super::end::End;
use super::state::About;
use super::stop::SIGKILL;
use super::{Server, Tick, Token};
use crate::handover::codec::{Codec, Descriptor, Writer};
use crate::handover::{VARIABLE, VERSION};
use crate::limits::{CHECK_OUTPUT_BYTES, CHECK_TIMEOUT_MS, COMMAND_LINE_BYTES, NAMES_MS, SERVICE_LISTENERS};
use crate::logging::{LeftOut, say};
use crate::open::names;
use crate::plan::FIRST_OWN_FD;
use crate::plan::image::{VERSION_BYTES, version_of};
use crate::sys::environment::variables;
use crate::sys::errno::Why as Words;
use crate::sys::proc::{self, c_str, of_descriptor};
use crate::sys::process::{self, Image, above, install_descriptor, send_signal};
use crate::sys::signal;
use crate::text::{Line, worded};

worded! {
    /// What is asked for, as the log says it.
    pub enum Kind {
        /// The configuration anew, the same program.
        Reload = "reload",
        /// The configuration anew, and the program that is on the disk now.
        Upgrade = "upgrade",
    }
}

/// A check that is going on.
pub(super) struct Checker {
    kind: Kind,
    pid: i32,
    begun: Tick,
    /// When it has had its time.
    deadline: Tick,
    /// Asked for once more: the files may have changed after they were read.
    again: Option<Kind>,
    /// The program that checks, and that will be executed.
    program: OwnedFd,
    /// What it writes to standard output and error.
    output: OwnedFd,
    /// The plan that it makes.
    plan: OwnedFd,
}

/// Why the answer is no.
pub(super) enum Refusal {
    /// Something was tried and failed.
    Failed(&'static str, Errno),
    /// The checker has said why.
    Faulty,
    /// It did not end well.
    Ended(End),
    /// The program at the path takes over from this version only.
    Version(u32),
    /// One of ours.
    Because(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(what, errno) => write!(f, "{what}: {}", Words(*errno)),
            Self::Faulty => f.write_str("the configuration is faulty"),
            Self::Ended(end) => write!(f, "the check ended with {end}"),
            Self::Version(version) => {
                write!(f, "the new program takes over state version {version}, this one has {VERSION}; restart instead")
            }
            Self::Because(text) => f.write_str(text),
        }
    }
}

impl Server {
    /// A signal asks for a reload or upgrade. While one is going on it is done again afterwards: the files may have
    /// changed after they were read.
    pub(super) fn on_reload_signal(&mut self, kind: Kind) {
        if let Some(checker) = &mut self.checker {
            let upgrade = kind == Kind::Upgrade || checker.again == Some(Kind::Upgrade);
            checker.again = Some(if upgrade { Kind::Upgrade } else { Kind::Reload });
        } else {
            let _ = self.request_reload(kind); // the log has the answer
        }
    }

    /// Begins to reload or upgrade; the loop goes on meanwhile. The outcome is written to the log, and told to clients
    /// of the control socket that wait for it.
    ///
    /// # Errors
    /// Why it cannot even begin.
    pub(super) fn request_reload(&mut self, kind: Kind) -> Result<(), Refusal> {
        let result = if !cfg!(feature = "reload") {
            Err(Refusal::Because("it is not part of this build"))
        } else if self.checker.is_some() {
            Err(Refusal::Because("another one is going on; ask again"))
        } else if self.stopping {
            Err(Refusal::Because("the program is about to end"))
        } else if self.plan.own.program.is_empty() {
            Err(Refusal::Because("there is no configuration file to read"))
        } else {
            self.start_checker(kind)
        };
        match result {
            Ok(checker) => {
                say!(Info, "{} begin pid={}", kind.word(), checker.pid);
                let _ = self.notify.reloading("reading the configuration"); // nobody may be listening
                self.due_at(checker.deadline);
                self.checker = Some(checker);
                Ok(())
            }
            Err(refusal) => {
                say!(Error, "{} refused why=\"{refusal}\"; nothing has changed", kind.word());
                Err(refusal)
            }
        }
    }

    /// Watches the names of this machine, if something is left out for one of them; `before`: as the image before did,
    /// so that nothing is missed which has come meanwhile.
    pub fn watch_names(&mut self, before: Option<OwnedFd>) {
        if cfg!(feature = "reload") && self.plan.own.awaits_names {
            self.names = before.or_else(|| names::watch().ok()).filter(|names| {
                Token::Names.watch(&self.epoll, names.as_fd(), EventFlags::IN | EventFlags::ET).is_ok()
            });
        }
    }

    /// Names of this machine may have changed. Who adds a user writes several files: all are looked at together.
    pub(super) fn on_names(&mut self) {
        if self.names_due == Tick::NEVER {
            self.names_due = self.now.after_ms(NAMES_MS);
            self.due_at(self.names_due);
        }
    }

    /// If names have changed, what is left out may be served now.
    pub(super) fn look_at_names(&mut self) {
        if self.now < self.names_due {
            return self.due_at(self.names_due);
        }
        self.names_due = Tick::NEVER;
        if self.names.as_ref().is_some_and(names::drain) {
            say!(Info, "names in /etc have changed, and some were missing");
            self.on_reload_signal(Kind::Reload);
        }
    }

    fn start_checker(&mut self, kind: Kind) -> Result<Checker, Refusal> {
        let failed = |what| move |errno| Refusal::Failed(what, errno);
        let arena = &self.plan.arena;
        let path = CStr::from_bytes_with_nul(arena.get(self.plan.own.program)).unwrap_or(c"");
        let folder = CStr::from_bytes_with_nul(arena.get(self.plan.own.folder)).unwrap_or(c"/");
        let path_now = if kind == Kind::Upgrade { path } else { c"/proc/self/exe" };
        let program = openat(CWD, path_now, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let program = program.map(high).map_err(failed("opening the program"))?;
        let plan = memory_file(c"dormouse-plan").map_err(failed("memfd_create"))?;
        let _ = pwrite(&plan, arena.get(self.plan.own.left_out), 0); // without it the checker is stricter
        let output = memory_file(c"dormouse-check").map_err(failed("memfd_create"))?;
        // the kernel refuses what a talkative checker writes beyond this
        ftruncate(&output, CHECK_OUTPUT_BYTES as u64).map_err(failed("ftruncate"))?;
        let _ = fcntl_add_seals(&output, SealFlags::GROW | SealFlags::SHRINK);
        let mut line = [0; COMMAND_LINE_BYTES];
        let line = command_line(&mut line)?;
        let mut head = Line::<MARKER_BYTES>::new();
        let _ = write!(head, "{VARIABLE}=check {} {} ", self.main_pid, plan.as_raw_fd()); // short numbers
        let mut part: Vec<u8, { MARKER_BYTES + 4096 }> = Vec::new();
        if ![head.as_bytes(), path.to_bytes_with_nul()].iter().all(|piece| part.extend_from_slice(piece).is_ok()) {
            return Err(Refusal::Because("the path of the program is too long"));
        }
        let executable = of_descriptor(&program);
        let mut image = image(c_str(&executable), line, &part, None)?;
        let mut problem = None;
        let pid = self.tables.spawner.run_child(&mut || {
            let _ = rustix::process::setsid(); // a terminal's signals are not for it
            let _ = process::set_parent_death_signal(SIGKILL);
            process::end_if_late();
            let _ = rustix::process::chdir(folder); // relative names are not found then, and it says so
            let ready = process::install_file(c"/dev/null", OFlags::RDWR, 0)
                .and_then(|()| install_descriptor(output.as_raw_fd(), 1))
                .and_then(|()| install_descriptor(output.as_raw_fd(), 2))
                .and_then(|()| install_descriptor(plan.as_raw_fd(), plan.as_raw_fd()));
            signal::unblock_all();
            problem = Some(ready.err().unwrap_or_else(|| image.execute()));
            NOT_STARTED
        });
        let pid = pid.map_err(failed("starting the check"))?;
        if let Some(errno) = problem {
            // its end is reaped like that of any orphan
            return Err(Refusal::Failed("executing the program", errno));
        }
        let (begun, deadline) = (self.now, self.now.after_ms(CHECK_TIMEOUT_MS));
        Ok(Checker { kind, pid, begun, deadline, again: None, program, output, plan })
    }

    /// A child has ended: whether it was the checker.
    pub(super) fn on_checker_end(&mut self, pid: i32, end: End) -> bool {
        let ours = self.checker.take_if(|checker| cfg!(feature = "reload") && checker.pid == pid);
        let Some(checker) = ours else { return false };
        self.on_checked(checker, end);
        true
    }

    #[inline(never)] // its buffers would lie on the stack whenever a child ends
    fn on_checked(&mut self, checker: Checker, end: End) {
        if let Some(kind) = checker.again {
            // the next image finds it as well: what is pending outlives exec
            let signal = if kind == Kind::Upgrade { SIGUSR2 } else { SIGHUP };
            let _ = send_signal(self.main_pid.cast_signed(), signal); // to ourselves
        }
        let refusal = match self.judge(&checker, end) {
            Ok(()) => self.hand_over(&checker), // returns only if it fails
            Err(refusal) => refusal,
        };
        let mut text = [0; CHECK_OUTPUT_BYTES];
        tell_log(checker.kind, told(&checker.output, &mut text));
        let word = checker.kind.word();
        say!(Error, "{word} refused why=\"{refusal}\"; nothing has changed");
        self.faults = Some(checker.output);
        self.answer_reload("error", format_args!("{word} refused: {refusal}; nothing has changed"));
        if !self.stopping {
            let _ = self.notify.ready("the configuration is as before"); // nobody may be listening
        }
    }

    /// Whether the checker is content, and its program understands us.
    fn judge(&self, checker: &Checker, end: End) -> Result<(), Refusal> {
        if self.stopping {
            return Err(Refusal::Because("the program is about to end"));
        }
        match end {
            End::Status(0) => {}
            End::Status(crate::cli::exit::CONFIG) => return Err(Refusal::Faulty),
            End::Signal(SIGKILL, _) if self.now >= checker.deadline => {
                return Err(Refusal::Because("the check took too long"));
            }
            end => return Err(Refusal::Ended(end)),
        }
        let mut start = [0; VERSION_BYTES];
        let found = pread(&checker.plan, &mut start, 0).ok().and_then(|_| version_of(&start));
        match found {
            Some(VERSION) => Ok(()),
            Some(other) => Err(Refusal::Version(other)),
            None => Err(Refusal::Because("the program on the disk is not a dormouse that can take over")),
        }
    }

    /// The checker has had its time.
    pub(super) fn check_deadline(&mut self) {
        let checker = self.checker.as_ref().filter(|_| cfg!(feature = "reload"));
        let Some(&Checker { pid, deadline, .. }) = checker else { return };
        if self.now >= deadline {
            let _ = send_signal(pid, SIGKILL); // ESRCH: about to be reaped, which is all that is waited for
        } else {
            self.due_at(deadline);
        }
    }

    /// Becomes the next image of this process. Returns only if that fails; then nothing has changed.
    #[inline(never)] // its buffers are no part of the frame in which children are reaped
    fn hand_over(&mut self, checker: &Checker) -> Refusal {
        if let Err(errno) = self.has_spare_descriptors() {
            return Refusal::Failed("descriptors for the program", errno);
        }
        let mut text = [0; CHECK_OUTPUT_BYTES];
        tell_log(checker.kind, told(&checker.output, &mut text));
        self.tables.throttle.flush(Tick::NEVER, LeftOut::report);
        self.collect_arrivals();
        self.thaw_all(); // a look that is going on is taken again
        let (control, control_file, last_client) = self.kept_control();
        let about = About {
            kind: checker.kind,
            begun: checker.begun,
            since: self.since,
            control,
            control_file,
            last_client,
            notifications: Descriptor::of(self.notifications.as_ref()),
            pid_file: Descriptor::of(self.pid_file.as_ref()),
            names: Descriptor::of(self.names.as_ref()),
            faults: Descriptor::of(Some(&checker.output)),
            name: process::name(),
        };
        let state = memory_file(c"dormouse-state").and_then(|file| {
            let mut writer = Writer::new(file);
            self.put_state(&about, &mut Codec::To(&mut writer));
            writer.finish()
        });
        let state = match state {
            Ok(state) => state,
            Err(errno) => return Refusal::Failed("writing the state", errno),
        };
        let _ = fcntl_add_seals(&checker.plan, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK);
        let _ = rustix::fs::seek(&checker.plan, rustix::fs::SeekFrom::Start(0));
        let kept = |inheritable| {
            let mut to = Codec::Inheritable(inheritable);
            self.put_state(&about, &mut to);
            to.put([&state, &checker.plan].map(|file| Descriptor(file.as_raw_fd())));
        };
        kept(true);
        let refusal = self.become_image(checker, &state);
        kept(false);
        let _ = rustix::process::chdir(c"/");
        refusal
    }

    /// Whether the next image gets the descriptors that it cannot do without: there is no way back from it. It keeps
    /// the low numbers free for children, and has a few of its own.
    fn has_spare_descriptors(&self) -> Result<(), Errno> {
        const OWN: usize = 8;
        let low = self.plan.most_listeners();
        let mut spare: Vec<OwnedFd, { SERVICE_LISTENERS + OWN }> = Vec::new();
        for _ in 0..low + OWN {
            let _ = spare.push(fcntl_dupfd_cloexec(&self.signals, 3)?); // there is room, see above
        }
        Ok(())
    }

    fn become_image(&self, checker: &Checker, state: &OwnedFd) -> Refusal {
        let mut line = [0; COMMAND_LINE_BYTES];
        let line = match command_line(&mut line) {
            Ok(line) => line,
            Err(refusal) => return refusal,
        };
        let mut part = Line::<MARKER_BYTES>::new();
        let (state, plan) = (state.as_raw_fd(), checker.plan.as_raw_fd());
        let _ = write!(part, "{VARIABLE}=resume {} {state} {plan}\0", self.main_pid); // short numbers
        let notify = self.notify.variable();
        let executable = of_descriptor(&checker.program);
        let folder = CStr::from_bytes_with_nul(self.plan.arena.get(self.plan.own.folder)).unwrap_or(c"/");
        match image(c_str(&executable), line, part.as_bytes(), notify.as_deref()) {
            Ok(mut image) => {
                let _ = rustix::process::chdir(folder); // relative names on the command line count from there
                Refusal::Failed("executing the program", image.execute())
            }
            Err(refusal) => refusal,
        }
    }
}

/// Asks for a reload.
const SIGHUP: u8 = signal::number(libc::SIGHUP);
/// Asks for an upgrade.
const SIGUSR2: u8 = signal::number(libc::SIGUSR2);
/// Exit status of a child that could not execute the checker; only seen where memory is not shared.
const NOT_STARTED: u8 = 127;
/// Bytes of the variable that tells an image its part, without a path: a few numbers.
const MARKER_BYTES: usize = 64;

/// A file in memory, out of the way of the descriptors that children get.
fn memory_file(name: &CStr) -> Result<OwnedFd, Errno> {
    memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).map(high)
}

/// Moves it there, if the limit of descriptors allows.
fn high(fd: OwnedFd) -> OwnedFd {
    above(fd, FIRST_OWN_FD)
}

/// Our own words, each with its NUL.
fn command_line(buffer: &mut [u8; COMMAND_LINE_BYTES]) -> Result<&[u8], Refusal> {
    let file = proc::open(c"/proc/self/cmdline", OFlags::empty());
    let length = file.and_then(|file| rustix::io::read(&file, &mut buffer[..]));
    let length = length.map_err(|errno| Refusal::Failed("reading /proc/self/cmdline", errno))?;
    match buffer.get(..length) {
        Some(line) if length < COMMAND_LINE_BYTES => Ok(line),
        _ => Err(Refusal::Because("our own command line is too long")),
    }
}

/// The program with our own words and environment, and one or two variables more.
fn image<'a>(path: &'a CStr, line: &'a [u8], part: &'a [u8], notify: Option<&'a [u8]>) -> Result<Image<'a>, Refusal> {
    let mut image = Image::new(path);
    let mut whole = image.arguments(line) && image.variables(part) && notify.is_none_or(|word| image.variables(word));
    whole &= variables().fold(true, |whole, variable| whole & image.variables(variable.to_bytes_with_nul()));
    if whole { Ok(image) } else { Err(Refusal::Because("our own command line or environment is too long")) }
}

/// What the checker has written, as far as there was room.
fn told<'a>(output: &OwnedFd, buffer: &'a mut [u8]) -> &'a [u8] {
    // the file description is shared with it, and so is the position
    let written = usize::try_from(tell(output).unwrap_or(0)).unwrap_or(0);
    let length = pread(output, &mut *buffer, 0).unwrap_or(0);
    buffer.get(..written.min(length)).unwrap_or(&[])
}

/// The checker's lines, to the log; a bounded number.
fn tell_log(kind: Kind, text: &[u8]) {
    const LINES: usize = 40;
    for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).take(LINES) {
        say!(Warn, "{}: {}", kind.word(), core::str::from_utf8(line).unwrap_or("?"));
    }
}

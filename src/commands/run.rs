//! `dormouse run`: holds the sockets.
//!
//! The same program plays two more parts for a daemon that reloads, see [`crate::handover`]: it checks the new
//! configuration, and it goes on where the image before has stopped.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;

use super::ask::control_path;
use super::daemon::{self, Origin, Reserved};
use super::{context, read};
use crate::cli::{self, Options, exit};
use crate::config::Tolerance;
use crate::detach::{PidFile, Side, Waiting, detach};
use crate::handover::{self, Part};
use crate::logging::{self, say};
use crate::notify::Notify;
use crate::plan::PlanTables;
use crate::run::{Resume, Server};
use crate::sys::errno::Why;
use crate::sys::file;
use crate::sys::process::{descriptor_limit, set_descriptor_limit};
use crate::{limits, seal};

/// Where the pid file of a detached inetd is if nobody says otherwise; start scripts look for it there.
const INETD_PID_FILE: &str = "/var/run/inetd.pid";

/// Reads, opens, says that it is ready, seals, and runs until it is told to end.
#[inline(never)] // the frames of the other commands are no part of the daemon's stack
pub(super) fn run(options: Options) -> u8 {
    let part = if cfg!(feature = "reload") { Part::take() } else { Part::Fresh };
    let part = match part {
        Part::Check { plan, program } => return check(&options, &plan, &program),
        part => part,
    };
    if matches!(part, Part::Fresh) {
        daemon::close_the_rest(&options);
    }
    let waiting = if cfg!(feature = "detach") && options.detach && matches!(part, Part::Fresh) {
        match detach() {
            Ok(Side::Starter(code)) => return code,
            Ok(Side::Daemon(waiting)) => Some(waiting),
            Err(error) => return cli::refuse(&error, exit::SYSTEM),
        }
    } else {
        None
    };
    let mut server = match start(options, part, waiting) {
        Ok(server) => server,
        Err(code) => return code,
    };
    seal::seal();
    server.run();
    if let Some(pid_file) = server.release_pid_file() {
        let _ = pid_file.remove(); // ENOENT: somebody was faster
    }
    exit::DONE
}

/// Makes the plan for a daemon that is running, and says what is wrong as `check` does.
fn check(options: &Options, file: &OwnedFd, program: &Path) -> u8 {
    log::set_max_level(log::max_level().min(log::LevelFilter::Warn)); // the daemon tells the rest when it goes on
    let made = daemon::plan(&mut read(options, known(file)), &context(options)).and_then(|plan| {
        remember(plan, program)?;
        let plan = plan.plan();
        if plan.services.is_empty() {
            // more likely a file that is just being written than the wish to close everything
            return Err(cli::refuse(&"no service is configured; to close all sockets, stop dormouse", exit::CONFIG));
        }
        daemon::capable(&plan)?;
        plan.write_image(file, handover::VERSION)
            .map_err(|errno| cli::refuse(&format_args!("writing the plan: {}", Why(errno)), exit::SYSTEM))
    });
    made.err().unwrap_or(exit::DONE)
}

/// Where the plan is to be written stands which units the daemon has left out.
fn known(file: &OwnedFd) -> Tolerance {
    let mut paths = vec![0; limits::ARENA_BYTES];
    let length = rustix::io::pread(file, &mut paths[..], 0).unwrap_or(0);
    paths.truncate(length);
    Tolerance::Known(String::from_utf8(paths).unwrap_or_default())
}

/// Stores what a later reload needs. The texts are short; without room for them there is no reload.
fn remember(plan: &mut PlanTables, program: &Path) -> Result<(), u8> {
    if !cfg!(feature = "reload") {
        return Ok(());
    }
    let folder = file::current_folder().unwrap_or_else(|| "/".into());
    let mut store = |path: &Path| plan.arena.store(&[path.as_os_str().as_bytes(), b"\0"].concat());
    match (store(&folder), store(program)) {
        (Ok(folder), Ok(program)) => {
            (plan.own.folder, plan.own.program) = (folder, program);
            Ok(())
        }
        _ => {
            let most = limits::ARENA_BYTES;
            Err(cli::refuse(&format_args!("the texts of all services need more than {most} bytes"), exit::CONFIG))
        }
    }
}

/// Everything that allocates; what it needs on the way is freed when it returns.
#[inline(never)] // what lies in its frame is given back before the loop
fn start(options: Options, part: Part, waiting: Option<Waiting>) -> Result<Server, u8> {
    let started = match part {
        Part::Resume { state, plan } if cfg!(feature = "reload") => {
            return without_limit(|| resume(&options, state, plan));
        }
        _ => prepare(&options),
    };
    match started {
        Ok((mut server, reserved)) => {
            logging::seal(options.log);
            drop(reserved);
            announce(&mut server, waiting)?;
            Ok(server)
        }
        Err(code) => {
            if let Some(waiting) = waiting {
                waiting.fail(code);
            }
            Err(code)
        }
    }
}

fn prepare(options: &Options) -> Result<(Server, Reserved), u8> {
    let notify = Notify::take(options.notify_fd)
        .map_err(|errno| cli::refuse(&format_args!("--notify-fd: {}", Why(errno)), exit::USAGE))?;
    let pid_file = match pid_file(options) {
        Some(path) => Some(PidFile::lock(&path).map_err(|error| cli::refuse(&error, exit::SYSTEM))?),
        None => None,
    };
    match open(options, notify, pid_file.as_ref()) {
        Ok((mut server, reserved)) => {
            if let Some(pid_file) = pid_file {
                server.hold_pid_file(pid_file);
            }
            Ok((server, reserved))
        }
        Err(code) => {
            if let Some(pid_file) = pid_file {
                let _ = pid_file.remove(); // nobody is behind it
            }
            Err(code)
        }
    }
}

/// Where the pid file is to be.
fn pid_file(options: &Options) -> Option<PathBuf> {
    if !cfg!(feature = "detach") {
        return None;
    }
    let usual = options.inetd.by_name && options.detach && rustix::process::geteuid().is_root();
    options.pidfile.clone().or_else(|| usual.then(|| PathBuf::from(INETD_PID_FILE)))
}

/// From the configuration to open sockets.
fn open(options: &Options, notify: Notify, pid_file: Option<&PidFile>) -> Result<(Server, Reserved), u8> {
    let program = if cfg!(feature = "reload") { handover::own_path() } else { PathBuf::new() };
    let plan = daemon::plan(&mut read(options, Tolerance::Lenient), &context(options))?;
    remember(plan, &program)?;
    let plan = daemon::settle(plan)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(limits::UMASK));
    let (mut server, reserved) = daemon::server(plan, notify, &mut Origin::Fresh)?;
    if let Some(path) = control(options) {
        server.open_control(&path, 0);
    }
    if let Some(pid_file) = pid_file {
        pid_file.write().map_err(|errno| cli::refuse(&format_args!("the pid file: {}", Why(errno)), exit::SYSTEM))?;
    }
    let _ = rustix::process::chdir(c"/"); // no relative path is needed from here on
    Ok((server, reserved))
}

/// Where the control socket is to be.
fn control(options: &Options) -> Option<CString> {
    if !cfg!(feature = "control") {
        return None;
    }
    absolute(&control_path(&options.control)?)
}

/// A path that stays the same wherever we go.
fn absolute(path: &Path) -> Option<CString> {
    CString::new(file::absolute(path)?.into_os_string().into_encoded_bytes()).ok()
}

/// Runs a step for which the soft limit of descriptors does not hold: there is no way back from it, and the old image
/// could not know how many the new configuration takes.
fn without_limit<T>(step: impl FnOnce() -> T) -> T {
    let Ok((before, most)) = descriptor_limit() else { return step() };
    set_descriptor_limit(most, most);
    let result = step();
    if descriptor_limit() == Ok((most, most)) {
        set_descriptor_limit(before, most); // what is open stays open
    }
    result
}

/// Goes on with what the image before has left. Its log is sealed at once: standard error may lead nowhere.
fn resume(options: &Options, state: OwnedFd, plan: OwnedFd) -> Result<Server, u8> {
    let notify = Notify::take(None).unwrap_or_default(); // nothing to go wrong without a descriptor
    let plan = daemon::checked_plan(&plan, || read(options, Tolerance::Lenient), &context(options))?;
    if plan.own.program.is_empty() {
        remember(plan, &handover::own_path())?; // it was read anew
    }
    let plan = daemon::settle(plan)?;
    let low = daemon::reserve(plan)?;
    logging::seal(options.log);
    let mut origin = Resume::read(&state).map_or(Origin::Lost, |resume| Origin::Resume(Box::new(resume)));
    drop(state);
    let mut held = None;
    if let Origin::Resume(resume) = &origin {
        resume.restore_name();
        held = pid_file(options).and_then(|path| resume.pid_file(&path));
    }
    let (mut server, reserved) = daemon::server(plan, notify, &mut origin)?;
    if let Some(path) = control(options) {
        match &mut origin {
            Origin::Resume(resume) => server.resume_control(resume, &path),
            _ => server.open_control(&path, 0),
        }
    }
    // not before the image's other descriptors are closed: with one of this file its lock would go
    let lock = || PidFile::lock(&pid_file(options)?).ok();
    if let Some(pid_file) = held.or_else(lock) {
        server.hold_pid_file(pid_file);
    }
    let _ = rustix::process::chdir(c"/"); // no relative path is needed from here on
    drop((low, reserved));
    match origin {
        Origin::Resume(resume) => server.resumed(*resume),
        _ => server.ready(),
    }
    Ok(server)
}

/// Every socket is open, or is waited for: tells the starter and the supervisor.
fn announce(server: &mut Server, waiting: Option<Waiting>) -> Result<(), u8> {
    if let Some(waiting) = waiting
        && let Err(errno) = waiting.ready()
    {
        say!(Error, "going to the background: {}", Why(errno));
        return Err(exit::SYSTEM);
    }
    server.ready();
    Ok(())
}

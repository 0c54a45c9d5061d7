//! `dormouse run`: holds the sockets.

use super::ask::control_path;
use super::daemon::Reserved;
use super::{child_log, daemon, read};
use crate::cli::{self, Options, exit};
use crate::detach::{PidFile, Side, Waiting, detach};
use crate::logging;
use crate::notify::Notify;
use crate::plan::compile::Context;
use crate::run::Server;
use crate::sys::errno::Why;
use crate::sys::memory;
use crate::{limits, seal};
use std::ffi::CString;
use std::path::Path;

/// Reads, opens, says that it is ready, seals, and runs until it is told to end.
pub(super) fn run(options: Options) -> u8 {
    let waiting = if cfg!(feature = "detach") && options.detach {
        match detach() {
            Ok(Side::Starter(code)) => return code,
            Ok(Side::Daemon(waiting)) => Some(waiting),
            Err(error) => {
                cli::complain(&error);
                return exit::SYSTEM;
            }
        }
    } else {
        None
    };
    let (mut server, pid_file) = match start(options, waiting) {
        Ok(started) => started,
        Err(code) => return code,
    };
    if !seal::seal() {
        log::debug!("blocks of the start-up heap that are kept={}", seal::live_blocks());
    }
    memory::forget_program_pages();
    memory::forget_stack();
    server.run();
    if let Some(pid_file) = pid_file {
        let _ = pid_file.remove(); // ENOENT: somebody was faster
    }
    exit::DONE
}

/// Everything that allocates; what it needs on the way is freed when it returns.
#[inline(never)] // what lies in its frame is given back before the loop
fn start(options: Options, waiting: Option<Waiting>) -> Result<(Server, Option<PidFile>), u8> {
    match prepare(&options) {
        Ok((mut server, reserved, pid_file)) => {
            logging::seal(options.log);
            drop(reserved);
            announce(&mut server, waiting)?;
            Ok((server, pid_file))
        }
        Err(code) => {
            if let Some(waiting) = waiting {
                waiting.fail(code);
            }
            Err(code)
        }
    }
}

fn prepare(options: &Options) -> Result<(Server, Reserved, Option<PidFile>), u8> {
    let notify = Notify::take(options.notify_fd).map_err(|errno| {
        cli::complain(&format_args!("--notify-fd: {}", Why(errno)));
        exit::USAGE
    })?;
    let pid_file = match options.pidfile.as_ref().filter(|_| cfg!(feature = "detach")) {
        Some(path) => Some(PidFile::lock(path).map_err(|error| {
            cli::complain(&error);
            exit::SYSTEM
        })?),
        None => None,
    };
    match open(options, notify, pid_file.as_ref()) {
        Ok((server, reserved)) => Ok((server, reserved, pid_file)),
        Err(code) => {
            if let Some(pid_file) = pid_file {
                let _ = pid_file.remove(); // nobody is behind it
            }
            Err(code)
        }
    }
}

/// From the configuration to open sockets.
fn open(options: &Options, notify: Notify, pid_file: Option<&PidFile>) -> Result<(Server, Reserved), u8> {
    let mut draft = read(&options.config);
    let context =
        Context { log: child_log(options.log), keep_streams: false, fd_names: Vec::new(), parent_death: None };
    let plan = daemon::plan(&mut draft, &context)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(limits::UMASK));
    let (mut server, reserved) = daemon::server(plan, notify)?;
    let control = control_path(&options.control).filter(|_| cfg!(feature = "control"));
    if let Some(path) = control.as_deref().and_then(absolute) {
        server.open_control(&path);
    }
    if let Some(pid_file) = pid_file {
        pid_file.write().map_err(|errno| {
            cli::complain(&format_args!("the pid file: {}", Why(errno)));
            exit::SYSTEM
        })?;
    }
    let _ = rustix::process::chdir(c"/"); // no relative path is needed from here on
    Ok((server, reserved))
}

/// A path that stays the same wherever we go.
fn absolute(path: &Path) -> Option<CString> {
    CString::new(std::path::absolute(path).ok()?.into_os_string().into_encoded_bytes()).ok()
}

/// Every socket is open, or is waited for: tells the starter and the supervisor.
fn announce(server: &mut Server, waiting: Option<Waiting>) -> Result<(), u8> {
    if let Some(waiting) = waiting
        && let Err(errno) = waiting.ready()
    {
        log::error!("going to the background: {}", Why(errno));
        return Err(exit::SYSTEM);
    }
    server.ready();
    Ok(())
}

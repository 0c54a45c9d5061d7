//! `dormouse activate`: tries a service without any configuration, as systemd-socket-activate(1) does; but re-arms when
//! the service ends, and sockets of several kinds can stand side by side.
//!
//! The command line becomes a draft like that of a file, and takes the same way.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

use super::daemon;
use super::say::Say;
use crate::cli::{self, Activate, Options, exit};
use crate::config::{self, Draft, Place, ServiceDraft};
use crate::limits::CHILDREN;
use crate::logging::{self, Target, say};
use crate::notify::Notify;
use crate::open::{self, adopt};
use crate::plan::Plan;
use crate::plan::compile::Context;
use crate::seal;
use crate::spawn::{Spawner, Start};
use crate::sys::errno::Why;
use crate::sys::{environment, file};
use crate::text::add;

/// What a child keeps of our environment.
const KEPT: &str = "TERM PATH USER HOME";
/// SIGTERM: children end with us.
const TERM: u8 = 15;

/// Holds the sockets of `-l` for one program.
#[inline(never)] // its frame must not be part of the caller of the loop
pub(super) fn activate(options: Options) -> u8 {
    daemon::close_the_rest(&options);
    match prepare(&options) {
        Err(code) => code,
        Ok(plan) if options.activate.once => once(plan, options.activate.now),
        Ok(plan) => serve(plan, options),
    }
}

#[inline(never)] // what lies in its frame is given back before the loop
fn prepare(options: &Options) -> Result<&'static Plan, u8> {
    let asked = &options.activate;
    let inherited = adopt::describe();
    let names = cli::resolve_names(&asked.names, inherited.len() + asked.listen.len())
        .map_err(|error| cli::refuse(&error, exit::USAGE))?;
    let context = Context {
        log: Target::Stderr,
        keep_streams: true,
        fd_names: names.into_iter().map(str::to_owned).collect(),
        parent_death: (!asked.once).then_some(TERM),
    };
    let mut draft = draft(asked, inherited)?;
    let plan = daemon::plan(&mut draft, &context);
    plan.and_then(daemon::settle).map_err(|code| if code == exit::CONFIG { exit::USAGE } else { code })
}

/// The command line as a draft with one service.
fn draft(asked: &Activate, inherited: Vec<Option<(&'static str, String)>>) -> Result<Draft, u8> {
    let mut lines = String::new();
    for socket in inherited {
        let Some((directive, address)) = socket else {
            return Err(cli::refuse(&Say::NoAddress.text(), exit::USAGE));
        };
        line(&mut lines, directive, &address);
    }
    for listen in &asked.listen {
        line(&mut lines, listen.kind.directive().name(), text(&listen.address)?);
    }
    line(&mut lines, "Accept", if asked.accept { "yes" } else { "no" });
    if asked.inetd || asked.accept {
        // without --inetd it is descriptor 3, and the streams stay ours
        line(&mut lines, "StandardInput", if asked.inetd { "socket" } else { "null" });
    }
    if asked.inetd {
        line(&mut lines, "StandardOutput", "socket");
    }
    line(&mut lines, "PassEnvironment", KEPT);
    for (name, value) in &asked.environment {
        let name = text(name)?;
        match value {
            Some(value) => {
                let mut quoted = String::new();
                config::quote(&[name, "=", text(value)?].concat(), true, &mut quoted);
                line(&mut lines, "Environment", &quoted);
            }
            None => line(&mut lines, "PassEnvironment", name),
        }
    }
    for limit in ["TriggerLimitBurst", "PollLimitBurst"] {
        line(&mut lines, limit, "0");
    }
    if asked.accept {
        line(&mut lines, "MaxConnections", &CHILDREN.to_string());
    }
    line(&mut lines, "ExecStart", &command(asked)?);
    Ok(assemble(&lines))
}

/// Adds a directive, ended by what no word of a command line can hold.
fn line(lines: &mut String, directive: &str, value: &str) {
    add(lines, &[directive, "=", value, "\0"]);
}

/// Sets the directives; a fault shows the directive as if it stood in a file.
fn assemble(lines: &str) -> Draft {
    let mut draft = Draft::default();
    let file = draft.sources.add("command line", lines.replace('\0', "\n"));
    let mut service = ServiceDraft::new("activate");
    for (line, (directive, value)) in (1..).zip(lines.split('\0').filter_map(|line| line.split_once('='))) {
        let column = u32::try_from(directive.len() + 2).unwrap_or(0);
        let len = u32::try_from(value.chars().count()).unwrap_or(0);
        if let Err(fault) = service.assign(directive, value, Place { file, line, column, len }) {
            draft.faults.push(fault);
        }
    }
    draft.services.push(service);
    config::check(&mut draft);
    draft
}

/// The program as ExecStart=: found as a shell would find it, its words taken as they are.
fn command(asked: &Activate) -> Result<String, u8> {
    let Some(first) = asked.program.first() else { return Err(exit::USAGE) };
    let path =
        find(first).ok_or_else(|| cli::refuse(&Say::ProgramMissing.with(&[&first.to_string_lossy()]), exit::NO))?;
    let words = asked.program.iter().map(|word| text(word)).collect::<Result<Vec<_>, _>>()?;
    Ok(config::command_line(&path, &mut words.into_iter()))
}

/// The absolute path of a program; a bare name is looked up in PATH.
fn find(program: &OsStr) -> Option<String> {
    let found = |path: &Path| file::is_program(path).then(|| file::absolute(path)?.into_os_string().into_string().ok());
    if program.as_encoded_bytes().contains(&b'/') {
        return found(Path::new(program)).flatten();
    }
    let path = environment::value("PATH").map_or(config::PROGRAM_PATH.as_bytes(), OsStr::as_bytes);
    path.split(|&byte| byte == b':').find_map(|folder| found(&Path::new(OsStr::from_bytes(folder)).join(program)))?
}

fn text(word: &OsStr) -> Result<&str, u8> {
    word.to_str().ok_or_else(|| cli::refuse(&Say::NotText.with(&[&word.to_string_lossy()]), exit::USAGE))
}

fn serve(plan: &'static Plan, options: Options) -> u8 {
    let now = options.activate.now;
    drop(options);
    let (mut server, reserved) = match daemon::server(plan, Notify::default(), &mut daemon::Origin::Fresh) {
        Ok(server) => server,
        Err(code) => return code,
    };
    logging::seal(Target::Stderr);
    drop(reserved);
    server.ready();
    seal::seal();
    if now {
        server.start_all();
    }
    server.run();
    exit::DONE
}

/// Waits for the first traffic and becomes the program.
#[inline(never)] // the same
fn once(plan: &'static Plan, now: bool) -> u8 {
    let sockets = match open_all(plan) {
        Ok(sockets) => sockets,
        Err(code) => return code,
    };
    let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
    let mut asked: Vec<_> = sockets.iter().map(|socket| PollFd::from_borrowed_fd(*socket, PollFlags::IN)).collect();
    while !now && poll(&mut asked, None) == Err(Errno::INTR) {}
    let Some(service) = plan.services.first() else { return exit::SYSTEM };
    let present = (1 << sockets.len()) - 1;
    let start = Start { plan, service, sockets: &sockets, present, connection: None, log: None };
    let spawner = Box::new(Spawner::NEW);
    let failed = spawner.become_program(&start);
    let (stage, why) = (failed.stage.name(), Why(failed.errno));
    cli::refuse(&Say::NotBecome.with(&[stage, &why.to_string()]), exit::SYSTEM)
}

/// All sockets in their order, above the descriptors that the program gets them at.
fn open_all(plan: &Plan) -> Result<Vec<OwnedFd>, u8> {
    let mut adopted = daemon::adopt(plan)?;
    let reserved = daemon::reserve(plan)?;
    let mut sockets = Vec::new();
    for row in 0..plan.listeners.len() {
        let socket = match adopted.iter().position(|adopted| adopted.listener == row) {
            Some(index) => adopted.swap_remove(index).opened.socket,
            None => {
                let opened = open::open(plan, row, &mut |warning| say!(Warn, "{warning}"));
                opened.map_err(|error| cli::refuse(&error, exit::SYSTEM))?.socket
            }
        };
        sockets.push(socket);
    }
    drop(reserved);
    Ok(sockets)
}

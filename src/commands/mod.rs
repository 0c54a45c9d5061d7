//! The commands: each tells its story from the stations it passes through.

mod activate;
mod ask;
mod check;
mod convert;
mod daemon;
mod explain;
mod run;
mod say;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::cli::{self, Command, Options, exit};
use crate::config::{self, Code, Draft, Inetd, Tolerance};
use crate::logging;
use crate::open::adopt;
use crate::plan::compile::Context;
use crate::sys::{file, signal, stdio};

/// Where the configuration is if nobody says otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/dormouse.conf";

/// The program: what the words of the command line ask for, the program's name first. The exit code.
pub fn main(words: Vec<OsString>) -> u8 {
    if stdio::guard().is_err() {
        return exit::SYSTEM;
    }
    signal::prepare();
    match parse(words) {
        Ok(options) => dispatch(options),
        Err(code) => code,
    }
}

#[inline(never)] // what lies in its frame is no part of the daemon's stack
fn parse(words: Vec<OsString>) -> Result<Options, u8> {
    let inherited = adopt::offered() > 0;
    if inherited && !cfg!(feature = "adopt") {
        return Err(cli::refuse(&"taking over sockets (LISTEN_FDS) is not part of this build", exit::USAGE));
    }
    let mut words = words.into_iter();
    // in a statement of its own: no word may live on behind the seal
    let by_name = words.next().is_some_and(|name| cfg!(feature = "inetd") && file::name(name.as_ref()) == "inetd");
    let words = words.collect();
    let parsed = if by_name { cli::parse_inetd(words) } else { cli::parse(words, inherited) };
    let options = parsed.map_err(|error| cli::refuse(&error, exit::USAGE))?;
    logging::init(options.level);
    Ok(options)
}

fn dispatch(options: Options) -> u8 {
    match options.command {
        Command::Run => run::run(options),
        Command::Check => check::check(&options),
        Command::Activate if cfg!(feature = "activate") => activate::activate(options),
        Command::Explain if cfg!(feature = "explain") => explain::explain(&options),
        Command::Convert if cfg!(feature = "inetd") => convert::convert(&options),
        Command::Help if cfg!(feature = "inetd") && options.inetd.by_name => cli::print(&cli::usage_inetd()),
        Command::Help if cfg!(feature = "help") => cli::print(&options.topic.map_or_else(cli::usage, cli::help)),
        command if cfg!(feature = "control") && command.asks() => ask::ask(&options),
        Command::Version => cli::print(cli::VERSION_TEXT),
        // what is not part of this build has been refused as a command
        _ => exit::USAGE,
    }
}

/// Reads the configuration of `-c`, or the default one.
fn read(options: &Options, tolerance: Tolerance) -> Draft {
    let folder = || file::current_folder()?.into_os_string().into_string().ok();
    let stays = cfg!(feature = "inetd") && options.inetd.by_name && !options.detach;
    let folder = if stays { folder() } else { None };
    let inetd = Inetd { asked: options.inetd.clone(), tolerance, folder };
    let default = [PathBuf::from(DEFAULT_CONFIG)];
    if !options.config.is_empty() {
        return config::read_as(&options.config, &inetd);
    }
    let mut draft = config::read_as(&default, &inetd);
    for fault in draft.faults.iter_mut().filter(|fault| fault.code == Code::FileMissing) {
        "-c PATH names another file or folder".clone_into(&mut fault.hint);
    }
    draft
}

/// Says on standard error what is wrong with a draft. True: it cannot be used.
fn report(draft: &Draft) -> bool {
    let text = draft.report();
    if !text.is_empty() {
        // a closed standard error is nobody's fault, and one that nobody reads must not keep the sockets closed
        let _ = stdio::write_patiently(stdio::stderr(), text.as_bytes());
    }
    draft.is_faulty()
}

/// What the plan depends on besides the draft: where children's lines go that are meant for the log.
const fn context(options: &Options) -> Context {
    Context { log: options.log, keep_streams: false, fd_names: Vec::new(), parent_death: None }
}

//! The commands: each tells its story from the stations it passes through.

mod activate;
mod ask;
mod check;
mod daemon;
mod explain;
mod run;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::cli::{self, Command, Options, exit};
use crate::config::{self, Draft};
use crate::logging::{self, Target};
use crate::open::adopt;
use crate::plan::ChildLog;
use crate::sys::{signal, stdio};

/// Where the configuration is if nobody says otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/dormouse.conf";

/// The program: what the words of the command line ask for, the program's name first. The exit code.
pub fn main(words: Vec<OsString>) -> u8 {
    if stdio::guard().is_err() {
        return exit::SYSTEM;
    }
    signal::prepare();
    let options = match cli::parse(words.into_iter().skip(1), adopt::offered() > 0) {
        Ok(options) => options,
        Err(error) => {
            cli::complain(&error);
            return exit::USAGE;
        }
    };
    logging::init(options.level);
    dispatch(options)
}

fn dispatch(options: Options) -> u8 {
    match options.command {
        Command::Run => run::run(options),
        Command::Check => check::check(&options),
        Command::Activate if cfg!(feature = "activate") => activate::activate(options),
        Command::Explain if cfg!(feature = "explain") => explain::explain(&options),
        Command::Help if cfg!(feature = "help") => cli::print(&options.topic.map_or_else(cli::usage, cli::help)),
        Command::List
        | Command::Status
        | Command::Watch
        | Command::History
        | Command::Metrics
        | Command::Start
        | Command::Stop
        | Command::Restart
        | Command::Pause
        | Command::Resume
        | Command::Reload
        | Command::Upgrade
            if cfg!(feature = "control") =>
        {
            ask::ask(&options)
        }
        Command::Version => cli::print(concat!("dormouse ", env!("CARGO_PKG_VERSION"), "\n")),
        // what is not part of this build has been refused as a command
        _ => exit::USAGE,
    }
}

/// Reads the configuration of `-c`, or the default one.
fn read(paths: &[PathBuf]) -> Draft {
    if paths.is_empty() { config::read(&[PathBuf::from(DEFAULT_CONFIG)]) } else { config::read(paths) }
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

/// Where children's lines go that are meant for the log.
const fn child_log(target: Target) -> ChildLog {
    match target {
        Target::Stderr => ChildLog::Stderr,
        Target::Syslog => ChildLog::Syslog,
        Target::Kmsg => ChildLog::Kmsg,
    }
}

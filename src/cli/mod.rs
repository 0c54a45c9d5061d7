//! The command line: argv becomes [`Options`], or an error that tells what was found and what was expected.
//!
//! First station of the data flow. Reading it makes no system call and knows nothing of configurations: the address of
//! a socket stays text here. [`print()`] and [`refuse`] write the texts for the user.

pub mod exit;
mod help;
mod inetd;
mod output;
mod parse;
mod say;
mod table;
#[cfg(test)]
#[cfg(feature = "all")]
mod tests;

pub use help::{help, usage};
pub use inetd::{Dialect, parse_inetd};
pub use output::{print, refuse};
pub use parse::{clean, parse, resolve_names, word};
pub use table::{COMMANDS, Command, CommandRow, NONE, OPTIONS, OptionRow, PARTS, VERSION_TEXT, usage_inetd};
#[cfg(not(debug_assertions))]
pub(crate) use table::{PACKED, WHOLE};

use crate::logging::Target;
use log::LevelFilter;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// The program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The command line, understood and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What is to be done.
    pub command: Command,
    /// `-c`: files and folders in their order; empty means the default place.
    pub config: Vec<PathBuf>,
    /// `-d` of run.
    pub detach: bool,
    /// `--pidfile`.
    pub pidfile: Option<PathBuf>,
    /// `--notify-fd`: a number from 3.
    pub notify_fd: Option<i32>,
    /// `--log`, or its default: syslog with `-d`, otherwise standard error.
    pub log: Target,
    /// `--log-level`, `-v` and `-q` together.
    pub level: LevelFilter,
    /// `--print`.
    pub print: bool,
    /// NAME of explain and of the commands that ask the daemon, PATH of convert.
    pub names: Vec<OsString>,
    /// `--control`.
    pub control: Control,
    /// `--json`.
    pub json: bool,
    /// What is said of inetd.conf.
    pub inetd: Inetd,
    /// What `activate` is to do.
    pub activate: Activate,
    /// COMMAND of `help COMMAND`, or the command that was given beside `--help`; `None`: the overview.
    pub topic: Option<Command>,
}

/// `--control`: where the control socket is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Control {
    /// Where it always is.
    #[default]
    Default,
    /// Nowhere.
    Off,
    /// There.
    Path(PathBuf),
}

impl Control {
    fn of(word: OsString) -> Self {
        if word == "off" { Self::Off } else { Self::Path(PathBuf::from(word)) }
    }
}

/// How inetd.conf is to be read, and what an inetd's own options add to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inetd {
    /// Called by the name `inetd`: every file that is named is an inetd.conf, even without a dialect, and the habits
    /// are those of an inetd.
    pub by_name: bool,
    /// `--dialect`: every file that is named is an inetd.conf, unless it ends as a unit file does.
    pub dialect: Option<Dialect>,
    /// `--dialect xinetd`: every file that is named is one of xinetd, unless its name tells otherwise.
    pub xinetd: bool,
    /// `-a`: where lines without an address listen.
    pub address: Option<String>,
    /// `-q`: Backlog= of each line.
    pub backlog: Option<u32>,
    /// `-R`: starts a minute of lines that say nothing of it; 0: no limit.
    pub rate: Option<u32>,
    /// `-E`: children get the whole environment of Dormouse.
    pub keep_environment: bool,
}

/// The options of `activate`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activate {
    /// `-l` in their order. Empty only if the process was given sockets in LISTEN_FDS.
    pub listen: Vec<Listen>,
    /// `-a`: one process per connection. All sockets of `listen` are of a kind that accepts then.
    pub accept: bool,
    /// `--inetd`: descriptors 0 and 1 instead of 3. Without `accept` at most one socket is in `listen`.
    pub inetd: bool,
    /// `--fdname`: each 1 to 255 bytes of printable ASCII. See [`resolve_names`].
    pub names: Vec<String>,
    /// `-E`: a name with a value, or without one to pass on our own variable.
    pub environment: Vec<(OsString, Option<OsString>)>,
    /// `--now`: does not wait for traffic.
    pub now: bool,
    /// `--once`: replaces this process by the program, as systemd-socket-activate does.
    pub once: bool,
    /// PROG and its arguments; never empty.
    pub program: Vec<OsString>,
}

/// One `-l`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The kind of the socket.
    pub kind: Kind,
    /// The address without its prefix, as in ListenStream=; never empty.
    pub address: OsString,
}

/// The kind of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SOCK_STREAM.
    Stream,
    /// SOCK_DGRAM.
    Datagram,
    /// SOCK_SEQPACKET.
    SequentialPacket,
    /// A FIFO in the file system, fifo(7).
    Fifo,
}

/// Why the command line is not understood. `Display` gives the whole text without the program's name: what was found,
/// what was expected, an example, where to read more; lines are separated but not ended by `\n`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError {
    pub(crate) text: String,
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

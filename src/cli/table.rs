//! The commands and options as data: the parser, `--help` and `help COMMAND` read the same rows. The texts of the help
//! are kept apart and packed.
#![allow(clippy::cast_possible_truncation, reason = "there are few commands")]

use super::VERSION;
use super::inetd::USAGE;
use super::say::Say;
use crate::packed::{self, nth, packed};

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Command {
    /// Holds the sockets and starts the services.
    #[default]
    Run,
    /// Reports the faults of a configuration.
    Check,
    /// Tries a service without a configuration.
    Activate,
    /// Shows what a child would get.
    Explain,
    /// What is held and what runs, a line for each service.
    List,
    /// The same with everything that is known.
    Status,
    /// Events as they happen.
    Watch,
    /// Events that are kept in memory.
    History,
    /// The counters as OpenMetrics.
    Metrics,
    /// Starts a service now.
    Start,
    /// Ends a service.
    Stop,
    /// Both.
    Restart,
    /// Looks away from the sockets of a service.
    Pause,
    /// Looks at them again.
    Resume,
    /// Takes the configuration that is on the disk now.
    Reload,
    /// Takes the program that is on the disk now as well.
    Upgrade,
    /// Prints another program's configuration in the native form.
    Convert,
    /// Tells how to use a command.
    Help,
    /// Prints the version.
    Version,
}

impl Command {
    /// Whether it asks a running daemon.
    pub const fn asks(self) -> bool {
        ASK & bit(self) != 0
    }

    /// Whether it orders the services that are named.
    pub(super) const fn orders(self) -> bool {
        ORDERS & bit(self) != 0
    }
}

/// One command.
#[derive(Debug, Clone, Copy)]
pub struct CommandRow {
    /// Its word on the command line.
    pub word: &'static str,
    /// What it is; `None` for a command that is not part of this build.
    pub command: Option<Command>,
    /// Its place in the table.
    index: u8,
}

impl CommandRow {
    /// What may follow the word.
    pub fn synopsis(&self) -> &'static str {
        part(3 * usize::from(self.index))
    }

    /// What it does, in one line of at most 52 bytes.
    pub fn line(&self) -> &'static str {
        part(3 * usize::from(self.index) + 1)
    }

    /// What else `help COMMAND` tells.
    pub fn details(&self) -> &'static str {
        part(3 * usize::from(self.index) + 2)
    }
}

/// Makes [`PARTS`] and [`VERSION_TEXT`] from one list of names.
macro_rules! parts {
    ($($name:literal)*) => {
        /// The parts of the program that a build may leave out (`[features]` of Cargo.toml), and whether this one has them.
        pub const PARTS: [(&str, bool); [$($name),*].len()] = [$(($name, cfg!(feature = $name))),*];

        /// What `--version` prints: the version, and the parts that a build may leave out and this one has.
        pub const VERSION_TEXT: &str = packed::joined!(
            "dormouse ", VERSION, "\nparts:", $(packed::told(cfg!(feature = $name), concat!(" ", $name)),)* "\n",
        );
    };
}

parts! {
    "access" "activate" "adopt" "control" "detach" "exec" "explain" "forward" "help" "idle" "inetd" "internal" "local"
    "notify" "pressure" "print" "reload" "suggest" "takeover" "units" "xinetd"
}

/// The commands in the order of the help text.
pub static COMMANDS: [CommandRow; ROWS.len()] = {
    let mut rows = [CommandRow { word: "", command: None, index: 0 }; ROWS.len()];
    let mut at = 0;
    while at < ROWS.len() {
        rows[at] = CommandRow { word: ROWS[at].word, command: ROWS[at].command, index: at as u8 };
        at += 1;
    }
    rows
};

/// One command with its texts.
struct Row {
    word: &'static str,
    synopsis: &'static str,
    line: &'static str,
    details: &'static str,
    command: Option<Command>,
}

const ROWS: [Row; 18] = [
    command(
        Command::Run,
        true,
        ["run", "[-c PATH]...", "hold the sockets, start services on demand (default)"],
        "Stays in the foreground unless -d is given; TERM and INT end it.\n\
         Exit codes: 0 done, 2 usage, 71 a system call failed, 78 faulty configuration.\n",
    ),
    command(
        Command::Check,
        true,
        ["check", "[-c PATH]... [--print]", "report every fault of the configuration"],
        "Exit codes: 0 it is sound, 78 run would not start, 1 run would serve it without\n\
         what is faulty: units of a folder, services of inetd and xinetd.\n",
    ),
    command(
        Command::Activate,
        cfg!(feature = "activate"),
        ["activate", "-l ADDR... [OPTION]... [--] PROG ARG...", "try a service without any configuration"],
        "ADDR is as in ListenStream=: a port, HOST:PORT, [IP6]:PORT, a path or @NAME.\n\
         tcp: udp: unix: unixgram: seqpacket: or fifo: before it gives its type.\n\
         What follows PROG belongs to PROG. Example:\n  dormouse activate -l 8080 -a --inetd cat\n",
    ),
    command(
        Command::Explain,
        cfg!(feature = "explain"),
        ["explain", "[-c PATH]... NAME", "show the descriptors, environment and ids of a child"],
        "Exit codes: 0 done, 1 no such service, 78 faulty configuration.\n",
    ),
    command(
        Command::Convert,
        cfg!(feature = "inetd"),
        ["convert", "[--dialect NAME] PATH...", "print inetd.conf, xinetd or units in the native form"],
        "PATH is a .socket or .service file, one of xinetd, an inetd.conf, or a folder of them.\n\
         What could not be carried over stands in a comment. The files are not changed.\n\
         Exit codes: 0 done, 78 something could not be carried over.\n",
    ),
    command(Command::Help, cfg!(feature = "help"), ["help", "[COMMAND]", "tell more about a command"], ""),
    asking(
        Command::List,
        ["list", "[--json]", "show the services: state, counts, addresses"],
        "STATE: waiting, running, stopping, resting (until a known time) or paused.\n\
         --json prints an array of the objects that status --json has in \"services\".\n",
    ),
    asking(
        Command::Status,
        ["status", "[--json] [NAME]...", "show all about services, or about Dormouse itself"],
        "--json prints {\"daemon\": {...}, \"services\": [...]}, where a service has its own\n\
         members, the objects \"counts\", \"starts\" and \"last\" (null: never ended), and the\n\
         arrays \"sockets\" and \"processes\". More members may come; those that are there\n\
         keep their meaning. What ends in _ms or _us is an age or a duration.\n",
    ),
    asking(Command::Watch, ["watch", "[--json] [NAME]", "show events as they happen, until interrupted"], EVENTS),
    asking(Command::History, ["history", "[--json] [NAME]", "show the past events that are kept in memory"], EVENTS),
    asking(
        Command::Metrics,
        ["metrics", "", "print the counters as OpenMetrics text"],
        "For a textfile collector, or behind a service with Accept=yes.\n",
    ),
    asking(Command::Start, ["start", "NAME...", "start a service with Accept=no without a client"], ORDER),
    asking(Command::Stop, ["stop", "NAME...", "end a service; its sockets stay armed"], ORDER),
    asking(Command::Restart, ["restart", "NAME...", "end a service and start it again"], ORDER),
    asking(Command::Pause, ["pause", "NAME...", "disarm the sockets; clients wait in them"], ORDER),
    asking(Command::Resume, ["resume", "NAME...", "arm the sockets again"], ORDER),
    reloading(Command::Reload, ["reload", "", "switch to the configuration as it is on disk now"]),
    reloading(Command::Upgrade, ["upgrade", "", "switch to the program and configuration on disk"]),
];

const EVENTS: &str = "--json prints an object a line: \"time\" (seconds of 1970), \"service\", \"what\"...\n";
const RELOAD: &str = "The configuration is read as a whole first; a faulty one changes nothing. Sockets with\n\
                      the same address stay open with their queues, running processes go on, and new\n\
                      limits hold from the next start. A service that is gone leaves what runs alone.\n\
                      Exit codes: 0 done, 1 refused, or no daemon is there, 78 faulty configuration.\n";
const ORDER: &str = "Exit codes: 0 done, 1 no such service, it failed, or no daemon is there.\n";

/// A command: whether it is built in, its word, what may follow, what it does, and what else there is to tell.
const fn command(command: Command, is_built_in: bool, texts: [&'static str; 3], details: &'static str) -> Row {
    let [word, synopsis, line] = texts;
    let command = if is_built_in { Some(command) } else { None };
    Row { word, synopsis: told(synopsis), line: told(line), details: told(details), command }
}

/// One that asks the daemon.
const fn asking(asked: Command, texts: [&'static str; 3], details: &'static str) -> Row {
    command(asked, cfg!(feature = "control"), texts, details)
}

/// One that lets the daemon begin anew.
const fn reloading(asked: Command, texts: [&'static str; 3]) -> Row {
    command(asked, cfg!(feature = "control") && cfg!(feature = "reload"), texts, RELOAD)
}

/// A text that only the help shows.
const fn told(text: &'static str) -> &'static str {
    if cfg!(feature = "help") { text } else { "" }
}

/// Names an option for the parser, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Id {
    Config,
    Print,
    Control,
    Json,
    Dialect,
    Detach,
    Pidfile,
    NotifyFd,
    Listen,
    Accept,
    Datagram,
    SeqPacket,
    Inetd,
    FdName,
    SetEnv,
    Now,
    Once,
    Log,
    LogLevel,
    Verbose,
    Quiet,
    Help,
    Version,
}

/// In the place of a letter; no word of a command line holds it.
pub const NONE: u8 = 0;

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct OptionRow {
    /// The letter after one dash; [`NONE`] if it has none.
    pub short: u8,
    /// The word after two dashes; if it takes an argument, a blank and what that stands for.
    pub usage: &'static str,
    /// The commands that take it: bit 1 << [`Command`].
    pub commands: u32,
    pub(super) id: Id,
}

impl OptionRow {
    /// The word after two dashes.
    pub fn long(&self) -> &'static str {
        self.usage.split(' ').next().unwrap_or_default()
    }

    /// What its argument stands for; empty if it takes none.
    pub fn argument(&self) -> &'static str {
        self.usage.split(' ').nth(1).unwrap_or_default()
    }

    /// What it does, in one line of at most 52 bytes.
    pub fn line(&self) -> &'static str {
        part(3 * ROWS.len() + self.id as usize)
    }

    /// Whether `command` takes it.
    #[must_use]
    pub const fn is_for(&self, command: Command) -> bool {
        self.commands & bit(command) != 0
    }
}

const fn bit(command: Command) -> u32 {
    1 << command as u8
}

const RUN: u32 = bit(Command::Run);
const CHECK: u32 = bit(Command::Check);
const ACTIVATE: u32 = if cfg!(feature = "activate") { bit(Command::Activate) } else { 0 };
const EXPLAIN: u32 = if cfg!(feature = "explain") { bit(Command::Explain) } else { 0 };
const CONVERT: u32 = if cfg!(feature = "inetd") { bit(Command::Convert) } else { 0 };
const DIALECT: u32 = if cfg!(feature = "inetd") { RUN | CHECK | EXPLAIN | CONVERT } else { 0 };
const ALL: u32 = u32::MAX;
const DETACH: u32 = if cfg!(feature = "detach") { RUN } else { 0 };
const NOTIFY: u32 = if cfg!(feature = "notify") { RUN } else { 0 };
const PRINT: u32 = if cfg!(feature = "print") { CHECK } else { 0 };
const HELP: u32 = if cfg!(feature = "help") { ALL } else { 0 };
/// Those that can answer in JSON.
const JSON: u32 = bit(Command::List) | bit(Command::Status) | bit(Command::Watch) | bit(Command::History);
/// Those that order something.
const ORDERS: u32 =
    bit(Command::Start) | bit(Command::Stop) | bit(Command::Restart) | bit(Command::Pause) | bit(Command::Resume);
/// Those that ask a running daemon.
const ASK: u32 = JSON | ORDERS | bit(Command::Metrics) | bit(Command::Reload) | bit(Command::Upgrade);

const fn row(short: u8, usage: &'static str, commands: u32, id: Id, line: &'static str) -> (OptionRow, &'static str) {
    (OptionRow { short, usage, commands, id }, told(line))
}

/// Those that take `--control`.
const CONTROL: u32 = if cfg!(feature = "control") { RUN | ASK } else { 0 };

/// The options in the order of the help text.
pub static OPTIONS: [OptionRow; LINES.len()] = {
    let mut rows = [LINES[0].0; LINES.len()];
    let mut at = 0;
    while at < LINES.len() {
        assert!(LINES[at].0.id as usize == at);
        rows[at] = LINES[at].0;
        at += 1;
    }
    rows
};

/// The same with what each does.
const LINES: [(OptionRow, &str); 23] = [
    row(b'c', "config PATH", RUN | CHECK | EXPLAIN, Id::Config, "file or folder to read (/etc/dormouse.conf)"),
    row(NONE, "print", PRINT, Id::Print, "write the configuration in the native form"),
    row(NONE, "control PATH|off", CONTROL, Id::Control, "the control socket (/run/dormouse.sock)"),
    row(NONE, "json", JSON, Id::Json, "print JSON, for programs"),
    row(NONE, "dialect NAME", DIALECT, Id::Dialect, "busybox, openbsd, freebsd, inetutils or xinetd"),
    row(b'd', "detach", DETACH, Id::Detach, "go to the background when all sockets are open"),
    row(NONE, "pidfile FILE", DETACH, Id::Pidfile, "write the process id there, and lock it"),
    row(NONE, "notify-fd N", NOTIFY, Id::NotifyFd, "write a newline there when ready (s6)"),
    row(b'l', "listen ADDR", ACTIVATE, Id::Listen, "listen there (repeatable)"),
    row(b'a', "accept", ACTIVATE, Id::Accept, "start PROG once per connection"),
    row(b'd', "datagram", ACTIVATE, Id::Datagram, "datagram sockets"),
    row(NONE, "seqpacket", ACTIVATE, Id::SeqPacket, "sequential packet sockets"),
    row(NONE, "inetd", ACTIVATE, Id::Inetd, "the socket is descriptor 0 and 1, not 3"),
    row(NONE, "fdname NAME[:NAME]...", ACTIVATE, Id::FdName, "names for LISTEN_FDNAMES"),
    row(b'E', "setenv NAME[=VALUE]", ACTIVATE, Id::SetEnv, "set or pass on a variable (repeatable)"),
    row(NONE, "now", ACTIVATE, Id::Now, "start PROG at once"),
    row(NONE, "once", ACTIVATE, Id::Once, "become PROG, do not wait for its end"),
    row(NONE, "log stderr|syslog|kmsg", RUN, Id::Log, "where the log goes (stderr; with -d syslog)"),
    row(NONE, "log-level LEVEL", RUN | ACTIVATE, Id::LogLevel, "error, warn, info (default), debug or trace"),
    row(b'v', "verbose", RUN | ACTIVATE, Id::Verbose, "one level more (repeatable)"),
    row(b'q', "quiet", RUN | ACTIVATE, Id::Quiet, "one level less (repeatable)"),
    row(b'h', "help", HELP, Id::Help, "print this help"),
    row(b'V', "version", ALL, Id::Version, "print the version and the parts of this build"),
];

/// The help texts: three for each command, one for each option, that of `inetd`. Behind them stand those of errors.
const TEXT_COUNT: usize = 3 * ROWS.len() + LINES.len() + 1;

/// All of them, each with its end.
const TEXTS: &([u8; 1 << 13], usize) = &{
    let mut pieces = ["\0"; 2 * TEXT_COUNT + Say::ALL.len()];
    let mut index = 0;
    while index < TEXT_COUNT {
        let (row, option) = (index / 3, index.saturating_sub(3 * ROWS.len()));
        pieces[2 * index] = match index % 3 {
            _ if index == TEXT_COUNT - 1 => USAGE,
            _ if row >= ROWS.len() => LINES[option].1,
            0 => ROWS[row].synopsis,
            1 => ROWS[row].line,
            _ => ROWS[row].details,
        };
        index += 1;
    }
    index = 0;
    while index < Say::ALL.len() {
        pieces[2 * TEXT_COUNT + index] = Say::ALL[index];
        index += 1;
    }
    packed::join(&pieces)
};

/// The same. Other texts are packed behind it.
const TEXT: &str = packed::text(TEXTS);

packed! {
    pub(crate) PACKED (WHOLE) = TEXT, after [0; crate::packed::SLOTS], None; fn texts
}

/// One of the help texts.
fn part(index: usize) -> &'static str {
    nth(texts(), index)
}

/// One of the texts of errors.
pub(super) fn said(index: usize) -> &'static str {
    part(TEXT_COUNT + index)
}

/// The help text of `inetd`.
#[must_use]
pub fn usage_inetd() -> String {
    part(TEXT_COUNT - 1).to_owned()
}

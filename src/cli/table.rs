//! The commands and options as data: the parser, `--help` and `help COMMAND` read the same rows. The texts of the help
//! are kept apart and packed.
#![allow(clippy::cast_possible_truncation, reason = "there are few commands")]

use super::VERSION;
use super::inetd::USAGE;
use super::say::Say;
use crate::packed::{self, nth, packed};

/// Makes [`Command`], [`COMMANDS`] and their texts from one list: word, what may follow it, what the command does in
/// one line of at most 52 bytes, what else `help COMMAND` tells.
macro_rules! commands {
    ($(@$built:expr => $($command:ident $word:literal, $synopsis:literal, $line:literal, $details:expr;)*)*) => {
        /// What is to be done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Command {
            $($(#[doc = $line] $command,)*)*
            /// Prints the version.
            Version,
        }

        /// The commands in the order of the help text.
        pub static COMMANDS: [CommandRow; Command::Version as usize] = [$($(CommandRow {
            word: $word,
            command: if $built { Some(Command::$command) } else { None },
            index: Command::$command as u8,
        },)*)*];

        const COMMAND_TEXTS: &[&str] = &[$($(told($synopsis), "\0", told($line), "\0", told($details), "\0",)*)*];
    };
}

/// Makes `Id`, [`OPTIONS`] and their texts from one list: letter, word and argument, commands, and what the option
/// does.
macro_rules! options {
    ($($id:ident $short:expr, $usage:literal, $commands:expr, $line:literal;)*) => {
        /// Names an option for the parser, in the order of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Id { $($id,)* }

        /// The options in the order of the help text.
        pub static OPTIONS: [OptionRow; [$(Id::$id),*].len()] =
            [$(OptionRow { short: $short, usage: $usage, commands: $commands, id: Id::$id },)*];

        const OPTION_TEXTS: &[&str] = &[$(told($line), "\0",)*];
    };
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
        /// The parts of the program that a build may leave out (`[features]` of Cargo.toml), and whether this one has
        /// them.
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

commands! {
    @true =>
    Run "run", "[-c PATH]...", "hold the sockets, start services on demand (default)",
        "Stays in the foreground unless -d is given; TERM and INT end it.\n\
         Exit codes: 0 done, 2 usage, 71 a system call failed, 78 faulty configuration.\n";
    Check "check", "[-c PATH]... [--print]", "report every fault of the configuration",
        "Exit codes: 0 it is sound, 78 run would not start, 1 run would serve it without\n\
         what is faulty: units of a folder, services of inetd and xinetd.\n";
    @cfg!(feature = "activate") =>
    Activate "activate", "-l ADDR... [OPTION]... [--] PROG ARG...", "try a service without any configuration",
        "ADDR is as in ListenStream=: a port, HOST:PORT, [IP6]:PORT, a path or @NAME.\n\
         tcp: udp: unix: unixgram: seqpacket: or fifo: before it gives its type.\n\
         What follows PROG belongs to PROG. Example:\n  dormouse activate -l 8080 -a --inetd cat\n";
    @cfg!(feature = "explain") =>
    Explain "explain", "[-c PATH]... NAME", "show the descriptors, environment and ids of a child",
        "Exit codes: 0 done, 1 no such service, 78 faulty configuration.\n";
    @cfg!(feature = "inetd") =>
    Convert "convert", "[--dialect NAME] PATH...", "print inetd.conf, xinetd or units in the native form",
        "PATH is a .socket or .service file, one of xinetd, an inetd.conf, or a folder of them.\n\
         What could not be carried over stands in a comment. The files are not changed.\n\
         Exit codes: 0 done, 78 something could not be carried over.\n";
    @cfg!(feature = "help") =>
    Help "help", "[COMMAND]", "tell more about a command", "";
    @cfg!(feature = "control") =>
    List "list", "[--json]", "show the services: state, counts, addresses",
        "STATE: waiting, running, stopping, resting (until a known time) or paused.\n\
         --json prints an array of the objects that status --json has in \"services\".\n";
    Status "status", "[--json] [NAME]...", "show all about services, or about Dormouse itself",
        "--json prints {\"daemon\": {...}, \"services\": [...]}, where a service has its own\n\
         members, the objects \"counts\", \"starts\" and \"last\" (null: never ended), and the\n\
         arrays \"sockets\" and \"processes\". More members may come; those that are there\n\
         keep their meaning. What ends in _ms or _us is an age or a duration.\n";
    Watch "watch", "[--json] [NAME]", "show events as they happen, until interrupted", EVENTS;
    History "history", "[--json] [NAME]", "show the past events that are kept in memory", EVENTS;
    Metrics "metrics", "", "print the counters as OpenMetrics text",
        "For a textfile collector, or behind a service with Accept=yes.\n";
    Start "start", "NAME...", "start a service with Accept=no without a client", ORDER;
    Stop "stop", "NAME...", "end a service; its sockets stay armed", ORDER;
    Restart "restart", "NAME...", "end a service and start it again", ORDER;
    Pause "pause", "NAME...", "disarm the sockets; clients wait in them", ORDER;
    Resume "resume", "NAME...", "arm the sockets again", ORDER;
    @cfg!(feature = "control") && cfg!(feature = "reload") =>
    Reload "reload", "", "switch to the configuration as it is on disk now", RELOAD;
    Upgrade "upgrade", "", "switch to the program and configuration on disk", RELOAD;
}

const EVENTS: &str = "--json prints an object a line: \"time\" (seconds of 1970), \"service\", \"what\"...\n";
const RELOAD: &str = "The configuration is read as a whole first; a faulty one changes nothing. Sockets with\n\
                      the same address stay open with their queues, running processes go on, and new\n\
                      limits hold from the next start. A service that is gone leaves what runs alone.\n\
                      Exit codes: 0 done, 1 refused, or no daemon is there, 78 faulty configuration.\n";
const ORDER: &str = "Exit codes: 0 done, 1 no such service, it failed, or no daemon is there.\n";

/// A text that only the help shows.
const fn told(text: &'static str) -> &'static str {
    if cfg!(feature = "help") { text } else { "" }
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
        part(3 * COMMANDS.len() + self.id as usize)
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

/// Those that take `--control`.
const CONTROL: u32 = if cfg!(feature = "control") { RUN | ASK } else { 0 };

options! {
    Config b'c', "config PATH", RUN | CHECK | EXPLAIN, "file or folder to read (/etc/dormouse.conf)";
    Print NONE, "print", PRINT, "write the configuration in the native form";
    Control NONE, "control PATH|off", CONTROL, "the control socket (/run/dormouse.sock)";
    Json NONE, "json", JSON, "print JSON, for programs";
    Dialect NONE, "dialect NAME", DIALECT, "busybox, openbsd, freebsd, inetutils or xinetd";
    Detach b'd', "detach", DETACH, "go to the background when all sockets are open";
    Pidfile NONE, "pidfile FILE", DETACH, "write the process id there, and lock it";
    NotifyFd NONE, "notify-fd N", NOTIFY, "write a newline there when ready (s6)";
    Listen b'l', "listen ADDR", ACTIVATE, "listen there (repeatable)";
    Accept b'a', "accept", ACTIVATE, "start PROG once per connection";
    Datagram b'd', "datagram", ACTIVATE, "datagram sockets";
    SeqPacket NONE, "seqpacket", ACTIVATE, "sequential packet sockets";
    Inetd NONE, "inetd", ACTIVATE, "the socket is descriptor 0 and 1, not 3";
    FdName NONE, "fdname NAME[:NAME]...", ACTIVATE, "names for LISTEN_FDNAMES";
    SetEnv b'E', "setenv NAME[=VALUE]", ACTIVATE, "set or pass on a variable (repeatable)";
    Now NONE, "now", ACTIVATE, "start PROG at once";
    Once NONE, "once", ACTIVATE, "become PROG, do not wait for its end";
    Log NONE, "log stderr|syslog|kmsg", RUN, "where the log goes (stderr; with -d syslog)";
    LogLevel NONE, "log-level LEVEL", RUN | ACTIVATE, "error, warn, info (default), debug or trace";
    Verbose b'v', "verbose", RUN | ACTIVATE, "one level more (repeatable)";
    Quiet b'q', "quiet", RUN | ACTIVATE, "one level less (repeatable)";
    Help b'h', "help", HELP, "print this help";
    Version b'V', "version", ALL, "print the version and the parts of this build";
}

/// The help texts: three for each command, one for each option, that of `inetd`. Behind them stand those of errors.
const TEXT_COUNT: usize = 3 * COMMANDS.len() + OPTIONS.len() + 1;

/// All of them, each with its end.
const TEXTS: &([u8; 1 << 13], usize) = &packed::join(&[COMMAND_TEXTS, OPTION_TEXTS, &[USAGE, "\0"], Say::ALL]);

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

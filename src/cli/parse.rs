//! argv -> [`Options`].

use super::say::Say;
use super::table::{COMMANDS, Command, CommandRow, Id, OPTIONS, OptionRow};
use super::{Activate, Control, Inetd, Kind, Listen, Options, UsageError};
use crate::limits::FD_NAME_BYTES;
use crate::logging::Target;
use crate::packed::fill;
use crate::text::{nearest, number};
use lexopt::Arg;
use log::LevelFilter;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

type Result<T> = std::result::Result<T, UsageError>;

/// The highest descriptor number that makes sense for `--notify-fd` (the kernel's `NR_OPEN`).
const FD_MAX: i32 = 1 << 20;

/// Understands the words after the program's name.
///
/// `inherited`: the process was given sockets in LISTEN_FDS, so that `activate` needs no `-l`.
///
/// # Errors
/// The text for the user; the exit code is [`super::exit::USAGE`].
#[inline(never)] // its frame must not be part of the loop's caller
pub fn parse(mut words: Vec<OsString>, inherited: bool) -> Result<Options> {
    let mut options = Options::default();
    if let Some(first) = words.first().filter(|first| !first.as_bytes().starts_with(b"-")) {
        options.command = command(first)?;
        words.remove(0);
    }
    let mut given = Given { options, ..Given::default() };
    let mut parser = lexopt::Parser::from_args(words);
    loop {
        let row = match parser.next() {
            Ok(None) => break,
            Ok(Some(Arg::Short(short))) => given.find("-", short.encode_utf8(&mut [0; 4]))?,
            Ok(Some(Arg::Long(long))) => given.find("--", long)?,
            Ok(Some(Arg::Value(word))) => {
                if given.operand(word)? {
                    // What follows PROG belongs to PROG.
                    if let Ok(rest) = parser.raw_args() {
                        given.options.activate.program.extend(rest);
                    }
                    break;
                }
                continue;
            }
            Err(error) => {
                let (say, option) = about(&error);
                return fail(say, &[option], given.options.command);
            }
        };
        let value = if row.argument().is_empty() {
            OsString::new()
        } else {
            let Ok(value) = parser.value() else {
                return fail(Say::NeedsArgument, &[row.long(), row.argument()], given.options.command);
            };
            value
        };
        given.take(row, value)?;
    }
    given.finish(inherited)
}

/// The names of `count` sockets: one name serves for all, none gives an empty list.
///
/// # Errors
/// Another number of names than sockets: libsystemd would refuse the whole list then (sd_listen_fds_with_names(3)).
pub fn resolve_names(names: &[String], count: usize) -> Result<Vec<&str>> {
    match names {
        [] => Ok(Vec::new()),
        [one] => Ok(vec![one.as_str(); count]),
        many if many.len() == count => Ok(many.iter().map(String::as_str).collect()),
        many => {
            let (found, expected) = (many.len().to_string(), count.to_string());
            fail(Say::NamesCount, &[&found, &expected], Command::Activate)
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            command: Command::Run,
            config: Vec::new(),
            detach: false,
            pidfile: None,
            notify_fd: None,
            log: Target::Stderr,
            level: LevelFilter::Info,
            print: false,
            names: Vec::new(),
            control: Control::Default,
            json: false,
            inetd: Inetd::default(),
            activate: Activate::default(),
            topic: None,
        }
    }
}

/// What was read so far, with that which only makes sense at the end.
#[derive(Default)]
struct Given {
    options: Options,
    log: Option<Target>,
    listen: Vec<OsString>,
    kind: Option<Kind>,
    help: bool,
    version: bool,
}

impl Given {
    /// The row of an option that the command takes. `dashes` tells whether `name` is its letter or its word.
    fn find(&self, dashes: &str, name: &str) -> Result<&'static OptionRow> {
        let command = self.options.command;
        let is_it = |row: &OptionRow| if dashes == "-" { name.as_bytes() == [row.short] } else { row.long() == name };
        if let Some(row) = OPTIONS.iter().find(|row| row.is_for(command) && is_it(row)) {
            return Ok(row);
        }
        let shown = clean(name.as_ref());
        let mut arguments = [word(command), dashes, &*shown, ""];
        let say = if let Some(other) = OPTIONS.iter().find(|row| is_it(row)) {
            let Some(taker) = COMMANDS.iter().find(|row| row.command.is_some_and(|command| other.is_for(command)))
            else {
                return Err(Say::OptionNotInBuild.error(&arguments));
            };
            arguments[3] = taker.word;
            Say::TakenBy
        } else {
            match nearest(name, &mut OPTIONS.iter().filter(|row| row.is_for(command)).map(OptionRow::long)) {
                Some(near) if dashes == "--" => {
                    arguments[3] = near;
                    Say::MeantOption
                }
                _ => Say::NotTaken,
            }
        };
        fail(say, &arguments, command)
    }

    /// Takes a word that is not an option; true if it is PROG.
    fn operand(&mut self, found: OsString) -> Result<bool> {
        let options = &mut self.options;
        match options.command {
            Command::Activate => {
                if found.is_empty() {
                    return fail(Say::EmptyProgram, &[], Command::Activate);
                }
                options.activate.program.push(found);
                return Ok(true);
            }
            Command::Explain | Command::Watch | Command::History if options.names.is_empty() => {
                options.names.push(found)
            }
            Command::Status | Command::Convert => options.names.push(found),
            command if command.orders() => options.names.push(found),
            Command::Help if options.topic.is_none() => options.topic = Some(command(&found)?),
            _ => {
                let known = COMMANDS.iter().any(|row| found == row.word);
                let path = found.as_encoded_bytes().iter().any(|byte| b"/.".contains(byte))
                    && matches!(options.command, Command::Run | Command::Check);
                let say = match known {
                    true => Say::UnexpectedCommand,
                    false if path => Say::UnexpectedPath,
                    false => Say::Unexpected,
                };
                return fail(say, &[&clean(&found)], options.command);
            }
        }
        Ok(false)
    }

    /// Takes an option.
    fn take(&mut self, row: &OptionRow, value: OsString) -> Result<()> {
        let command = self.options.command;
        if !row.argument().is_empty() && value.is_empty() {
            return fail(Say::EmptyArgument, &[row.long(), row.argument()], command);
        }
        let options = &mut self.options;
        match row.id {
            Id::Config => options.config.push(PathBuf::from(value)),
            Id::Detach => options.detach = true,
            Id::Pidfile => options.pidfile = Some(PathBuf::from(value)),
            Id::NotifyFd if cfg!(feature = "notify") => options.notify_fd = Some(notify_fd(&value)?),
            Id::Log => self.log = Some(target(&value)?),
            Id::LogLevel => options.level = level(&value, command)?,
            Id::Verbose => options.level = shift(options.level, 1),
            Id::Quiet => options.level = shift(options.level, -1),
            Id::Print => options.print = true,
            Id::Control if cfg!(feature = "control") => options.control = Control::of(value),
            Id::Json => options.json = true,
            Id::Dialect if cfg!(feature = "inetd") => {
                let known = options.inetd.set_dialect(&value);
                if !known {
                    return bad("dialect", &value, Say::Dialects, command);
                }
            }
            Id::Help => self.help = true,
            Id::Version => self.version = true,
            id if cfg!(feature = "activate") => self.take_for_activate(id, value)?,
            _ => {}
        }
        Ok(())
    }

    /// Takes an option that only activate has.
    fn take_for_activate(&mut self, id: Id, value: OsString) -> Result<()> {
        let activate = &mut self.options.activate;
        match id {
            Id::Listen => self.listen.push(value),
            Id::Accept => activate.accept = true,
            Id::Datagram => self.set_kind(Kind::Datagram)?,
            Id::SeqPacket => self.set_kind(Kind::SequentialPacket)?,
            Id::Inetd => activate.inetd = true,
            Id::FdName => activate.names = fd_names(&value)?,
            Id::SetEnv => activate.environment.push(variable(value)?),
            Id::Now => activate.now = true,
            Id::Once => activate.once = true,
            _ => {}
        }
        Ok(())
    }

    fn set_kind(&mut self, kind: Kind) -> Result<()> {
        if self.kind.is_some_and(|other| other != kind) {
            return fail(Say::TwoKinds, &[], Command::Activate);
        }
        self.kind = Some(kind);
        Ok(())
    }

    /// Checks what belongs together.
    fn finish(mut self, inherited: bool) -> Result<Options> {
        let mut options = self.options;
        if self.version {
            return Ok(Options { command: Command::Version, ..options });
        }
        if self.help {
            // `dormouse --help` is the overview, `dormouse check --help` tells of check.
            let topic = if options.command == Command::Run { None } else { Some(options.command) };
            return Ok(Options { command: Command::Help, topic: options.topic.or(topic), ..options });
        }
        options.log = self.log.unwrap_or(if options.detach { Target::Syslog } else { Target::Stderr });
        if options.detach && options.log == Target::Stderr {
            return fail(Say::LogDetached, &[], Command::Run);
        }
        let needed = match options.command {
            Command::Explain => Some((Say::NeedsName, "ssh")),
            command if command.orders() => Some((Say::NeedsName, "web")),
            Command::Convert => Some((Say::NeedsPath, "/etc/inetd.conf")),
            _ => None,
        };
        let asks = cfg!(any(feature = "control", feature = "explain", feature = "inetd"));
        if let Some((say, example)) = needed.filter(|_| asks && options.names.is_empty()) {
            return fail(say, &[word(options.command), example], options.command);
        }
        if cfg!(feature = "activate") && options.command == Command::Activate {
            let kind = self.kind.unwrap_or(Kind::Stream);
            for address in self.listen.drain(..) {
                options.activate.listen.push(listen(address, kind)?);
            }
            check_activate(&options.activate, inherited)?;
        }
        Ok(options)
    }
}

fn check_activate(activate: &Activate, inherited: bool) -> Result<()> {
    let datagrams = activate.listen.iter().any(|listen| matches!(listen.kind, Kind::Datagram | Kind::Fifo));
    let faults = [
        (activate.program.is_empty(), Say::NoProgram),
        (activate.listen.is_empty() && !inherited, Say::NoAddress),
        (activate.accept && datagrams, Say::AcceptKind),
        (activate.accept && activate.now, Say::AcceptNow),
        (activate.accept && activate.once, Say::AcceptOnce),
        (activate.inetd && !activate.accept && activate.listen.len() > 1, Say::InetdSockets),
        (activate.inetd && !activate.names.is_empty(), Say::InetdNames),
    ];
    match faults.into_iter().find(|(is_so, _)| *is_so) {
        Some((_, say)) => fail(say, &[], Command::Activate),
        None => Ok(()),
    }
}

/// The command of a word.
fn command(found: &OsStr) -> Result<Command> {
    match COMMANDS.iter().find(|row| found == row.word) {
        Some(CommandRow { command: Some(command), .. }) => Ok(*command),
        Some(row) => Err(Say::CommandNotInBuild.error(&[row.word])),
        None => {
            let mut here = COMMANDS.iter().filter(|row| row.command.is_some()).map(|row| row.word);
            let shown = clean(found);
            let near = nearest(&shown, &mut here);
            let say = if near.is_some() { Say::MeantCommand } else { Say::Unknown };
            let mut error = say.error(&[&shown, near.unwrap_or_default()]);
            error.text.push_str(Say::TryHelp.text());
            Err(error)
        }
    }
}

/// One `-l`: an address, perhaps behind the name of a type.
fn listen(word: OsString, default: Kind) -> Result<Listen> {
    const PREFIXES: [(&[u8], Kind, Say); 6] = [
        (b"tcp:", Kind::Stream, Say::Port),
        (b"udp:", Kind::Datagram, Say::Port),
        (b"unix:", Kind::Stream, Say::Path),
        (b"unixgram:", Kind::Datagram, Say::Path),
        (b"seqpacket:", Kind::SequentialPacket, Say::Path),
        (b"fifo:", Kind::Fifo, Say::Fifo),
    ];
    let bytes = word.as_bytes();
    let Some((prefix, kind, expected)) = PREFIXES.iter().find(|(prefix, ..)| bytes.starts_with(prefix)) else {
        return Ok(Listen { kind: default, address: word });
    };
    let address = &bytes[prefix.len()..];
    let fits = match address {
        [b'/', ..] => !matches!(expected, Say::Port),
        [] | [b'@'] => false,
        [b'@', ..] => matches!(expected, Say::Path),
        _ => matches!(expected, Say::Port),
    };
    if !fits {
        return bad("listen", &word, *expected, Command::Activate);
    }
    Ok(Listen { kind: *kind, address: OsString::from_vec(address.to_vec()) })
}

fn fd_names(value: &OsStr) -> Result<Vec<String>> {
    let fits =
        |name: &[u8]| (1..=FD_NAME_BYTES).contains(&name.len()) && name.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let mut names = Vec::new();
    for name in value.as_bytes().split(|&byte| byte == b':') {
        if !fits(name) {
            return bad("fdname", value, Say::Names, Command::Activate);
        }
        names.push(String::from_utf8_lossy(name).into_owned());
    }
    Ok(names)
}

fn variable(word: OsString) -> Result<(OsString, Option<OsString>)> {
    let bytes = word.as_bytes();
    match bytes.iter().position(|&byte| byte == b'=') {
        Some(0) => bad("setenv", &word, Say::Variable, Command::Activate),
        Some(at) => {
            let part = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
            Ok((part(&bytes[..at]), Some(part(&bytes[at + 1..]))))
        }
        None => Ok((word, None)),
    }
}

fn notify_fd(value: &OsStr) -> Result<i32> {
    match number(value.as_bytes(), 10) {
        Some(fd @ 3..=FD_MAX) => Ok(fd),
        _ => bad("notify-fd", value, Say::Descriptor, Command::Run),
    }
}

fn target(value: &OsStr) -> Result<Target> {
    match value.as_bytes() {
        b"stderr" => Ok(Target::Stderr),
        b"syslog" => Ok(Target::Syslog),
        b"kmsg" => Ok(Target::Kmsg),
        _ => bad("log", value, Say::Targets, Command::Run),
    }
}

const LEVELS: [(&str, LevelFilter); 5] = [
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
    ("trace", LevelFilter::Trace),
];

fn level(value: &OsStr, command: Command) -> Result<LevelFilter> {
    match LEVELS.iter().find(|(word, _)| value == *word) {
        Some((_, level)) => Ok(*level),
        None => bad("log-level", value, Say::Levels, command),
    }
}

/// The level `by` steps more or less talkative, between error and trace.
fn shift(level: LevelFilter, by: isize) -> LevelFilter {
    let at = LEVELS.iter().position(|(_, other)| *other == level).unwrap_or(2);
    LEVELS[at.saturating_add_signed(by).min(LEVELS.len() - 1)].1
}

/// The only error that reading words one by one can have; lexopt's own text would bring the code that shows any text.
pub(super) fn about(error: &lexopt::Error) -> (Say, &str) {
    match error {
        lexopt::Error::UnexpectedValue { option, .. } => (Say::NoArgument, option),
        _ => (Say::NotUnderstood, ""),
    }
}

/// The word of a command.
pub fn word(command: Command) -> &'static str {
    COMMANDS.iter().find(|row| row.command == Some(command)).map_or("dormouse", |row| row.word)
}

/// At most 200 bytes of a word, with control characters and what is no UTF-8 as `\xNN`.
pub fn clean(word: &OsStr) -> String {
    let mut line = crate::text::Line::<200>::new();
    line.push_bytes(word.as_bytes());
    line.as_str().to_owned()
}

/// The error, and where to read more.
fn fail<T>(say: Say, arguments: &[&str], command: Command) -> Result<T> {
    let mut error = say.error(arguments);
    error.text.push_str(&fill(Say::TryHelpOf.text(), &[word(command)]));
    Err(error)
}

/// An argument of an option that is not what was expected.
fn bad<T>(option: &str, found: &OsStr, expected: Say, command: Command) -> Result<T> {
    fail(Say::Bad, &[option, &clean(found), expected.text()], command)
}

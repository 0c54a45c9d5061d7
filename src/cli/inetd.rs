//! The command line of an inetd: when the program is called by that name it takes what busybox and OpenBSD inetd take,
//! so that an image only changes a symlink.

use super::parse::{about, clean};
use super::say::Say;
use super::table::Command;
use super::{Control, Inetd, Options, UsageError};
use crate::logging::Target;
use lexopt::Arg;
use log::LevelFilter;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Where inetd.conf is if nobody says otherwise.
const DEFAULT_FILE: &str = "/etc/inetd.conf";

/// Whose inetd.conf it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Dialect {
    /// busybox inetd.
    #[default]
    Busybox,
    /// OpenBSD's inetd, and Debian's package of it.
    Openbsd,
    /// FreeBSD's inetd.
    Freebsd,
    /// The inetd of GNU inetutils.
    Inetutils,
}

impl Dialect {
    const ALL: [Self; 4] = [Self::Busybox, Self::Openbsd, Self::Freebsd, Self::Inetutils];
    /// Their names for `--dialect`, in the order of the type.
    pub const NAMES: [&'static str; 4] = ["busybox", "openbsd", "freebsd", "inetutils"];

    /// The dialect of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == name)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl Inetd {
    /// Takes the value of `--dialect`; false: nobody knows it.
    pub(super) fn set_dialect(&mut self, name: &OsStr) -> bool {
        self.dialect = name.to_str().and_then(Dialect::from_name); // none for xinetd
        self.xinetd = name == "xinetd";
        self.xinetd || self.dialect.is_some()
    }
}

/// The help text, see [`super::usage_inetd`].
pub(super) const USAGE: &str = "\
Usage: inetd [-dEefil] [-q N] [-R N] [-a ADDRESS] [-p PIDFILE] [OPTION]... [FILE]...

Reads inetd.conf and holds the sockets of its services.

  -d              stay in the foreground, tell everything on standard error
  -f, -i          stay in the foreground
  -e              log to standard error (with -f or -i)
  -E              children get the whole environment
  -l              log each connection
  -q N            connections that may wait at a socket
  -R N            starts of a service in a minute (no limit)
  -a ADDRESS      listen there where a line names no address
  -p PIDFILE      where the process id goes (/var/run/inetd.pid when detached)
  --dialect NAME  busybox (default), openbsd, freebsd or inetutils
  --control PATH  the control socket (/run/dormouse.sock), or off
The long options of GNU inetutils are taken as well: --debug, --environment, --pidfile, --rate.
";

/// Understands the words after the name.
///
/// # Errors
/// The text for the user; the exit code is [`super::exit::USAGE`].
pub fn parse_inetd(words: Vec<OsString>) -> Result<Options, UsageError> {
    let mut parser = lexopt::Parser::from_args(words);
    let mut inetd = Inetd { by_name: true, ..Inetd::default() };
    let mut options = Options { detach: true, log: Target::Syslog, ..Options::default() };
    loop {
        let argument = parser.next().map_err(|error| {
            let (say, option) = about(&error);
            say.error(&[option])
        })?;
        let Some(argument) = argument else { break };
        match argument {
            Arg::Short('d') | Arg::Long("debug") => {
                (options.detach, options.log, options.level) = (false, Target::Stderr, LevelFilter::Debug);
            }
            Arg::Short('f' | 'i') => options.detach = false,
            Arg::Short('e') => options.log = Target::Stderr,
            Arg::Short('E') | Arg::Long("environment") => inetd.keep_environment = true,
            Arg::Short('l') => options.level = LevelFilter::Debug,
            Arg::Short('q') => inetd.backlog = Some(number(&mut parser, "-q")?),
            Arg::Short('R') | Arg::Long("rate") => inetd.rate = Some(number(&mut parser, "-R")?),
            Arg::Short('a') => inetd.address = Some(word(&mut parser, "-a", "an address")?),
            Arg::Short('p') | Arg::Long("pidfile") => {
                options.pidfile = Some(PathBuf::from(word(&mut parser, "-p", "a path")?))
            }
            Arg::Long("dialect") => {
                let name = word(&mut parser, "--dialect", "a name")?;
                if !inetd.set_dialect(name.as_ref()) {
                    return Err(Say::Bad.error(&["dialect", &clean(name.as_ref()), Say::Dialects.text()]));
                }
            }
            Arg::Long("control") => {
                options.control = Control::of(word(&mut parser, "--control", "a path, or off")?.into());
            }
            Arg::Short('h') | Arg::Long("help") => options.command = Command::Help,
            Arg::Short('V') | Arg::Long("version") => options.command = Command::Version,
            Arg::Value(file) => options.config.push(PathBuf::from(file)),
            Arg::Short(letter) => return Err(unknown("-", letter.encode_utf8(&mut [0; 4]))),
            Arg::Long(word) => return Err(unknown("--", word)),
        }
    }
    if options.config.is_empty() {
        options.config.push(PathBuf::from(DEFAULT_FILE));
    }
    if !cfg!(feature = "detach") && options.command == Command::Run && (options.detach || options.pidfile.is_some()) {
        return Err(Say::InetdDetach.error(&[]));
    }
    if options.detach {
        options.log = Target::Syslog; // standard error leads nowhere from there
    }
    options.inetd = inetd;
    Ok(options)
}

fn unknown(dashes: &str, name: &str) -> UsageError {
    Say::InetdNotTaken.error(&[dashes, &clean(name.as_ref())])
}

fn number(parser: &mut lexopt::Parser, option: &str) -> Result<u32, UsageError> {
    let word = word(parser, option, "a number")?;
    crate::text::number(&word, 10).ok_or_else(|| Say::InetdNumber.error(&[option, &clean(word.as_ref())]))
}

fn word(parser: &mut lexopt::Parser, option: &str, expected: &str) -> Result<String, UsageError> {
    let word = parser.value().ok().and_then(|word| word.into_string().ok()).filter(|word| !word.is_empty());
    word.ok_or_else(|| Say::InetdNeeds.error(&[option, expected]))
}

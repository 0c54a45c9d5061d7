//! What a directive is: the shape of one row of the table in [`super::table`].
//!
//! The table is the only list of directives. The reader, `--print`, `explain`, the unit reader and the man page are all
//! fed from it, so that they can't differ. Nothing here reads a value: that is [`super::value`].

use core::ops::Range;

use super::address::Kind;
pub use super::table::Id;
use super::table::{NAMES, TABLE};

/// One directive. See also [`Id::name`], [`Id::default_text`] and [`Id::help`]. Packed: there are many.
#[derive(Debug, Clone, Copy)]
#[repr(Rust, packed)]
pub struct Directive {
    /// The part of the manual that it belongs to.
    pub group: Group,
    /// The form of its value. There are fewer of them than directives.
    pub syntax: &'static Syntax,
    /// Known, but not part of this build: using it is an error.
    pub later: bool,
}

/// The part of the manual that a directive belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The sockets and their options, systemd.socket(5).
    Sockets,
    /// Who may connect.
    Access,
    /// The program and its surroundings, systemd.service(5), systemd.exec(5), systemd.kill(5).
    Service,
    /// What systemd has no name for.
    New,
}

/// The form of a value. All numbers are inclusive ranges; nothing is ever cut to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// yes, no and their synonyms: [`Number`](super::Value::Number) 1 or 0.
    Bool,
    /// One word of a list with blanks between: its index.
    Choice(&'static str),
    /// A whole number.
    Uint(u32, u32),
    /// A whole number with sign.
    Int(i32, i32),
    /// A time span up to so many seconds, systemd.time(7). A bare number is in seconds. With [`u32::MAX`] there is no
    /// maximum, and `infinity` is [`INFINITY`](super::INFINITY).
    Span(u32),
    /// A time span where 0 means `infinity`, as systemd reads its timeouts.
    Timeout,
    /// Bytes up to a maximum, with K, M, G or T (base 1024). With [`u32::MAX`] there is none.
    Size(u32),
    /// Permission bits in octal.
    Mode,
    /// A socket address, systemd.socket(5); each line adds one.
    Listen(Kind),
    /// The address of a backend.
    Backend,
    /// Addresses with prefix lengths and the names that stand for them, systemd.resource-control(5).
    Prefixes,
    /// A user or group, by name or number.
    Name,
    /// Several users or groups.
    Names,
    /// One printable word of at most so many bytes.
    Word(u8),
    /// A name in LISTEN_FDNAMES, sd_listen_fds(3).
    FdName,
    /// An absolute path.
    Path,
    /// An absolute path or `~`, with `-` in front when it may be missing.
    Directory,
    /// Several absolute paths.
    Paths,
    /// Several folders below one that the directive stands for: relative paths.
    Folders,
    /// One absolute path a line, with `-` in front when the file may be missing.
    EnvironmentFile,
    /// A command line, systemd.service(5).
    Command,
    /// `NAME=VALUE` words.
    Assignments,
    /// Names of variables.
    Variables,
    /// Names of variables or `NAME=VALUE` words.
    Unset,
    /// A resource limit, `soft:hard` or one number for both.
    Limit(Unit),
    /// A signal, by name or number.
    Signal,
    /// Exit statuses and signals, by name or number.
    ExitStatuses,
    /// Capabilities, capabilities(7); `~` in front turns the list round.
    Capabilities,
    /// What standard input is.
    Input,
    /// What standard output or standard error is.
    Output,
    /// A type of service, by name or number.
    Tos,
}

/// The unit of a resource limit, getrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A count without unit.
    Count,
    /// Bytes, with K, M, G or T (base 1024).
    Bytes,
    /// A time span in seconds.
    Seconds,
    /// A time span in microseconds.
    Microseconds,
    /// A nice level with sign (-20 to +19), or the raw limit 1 to 40.
    Nice,
}

impl Id {
    /// Its row in the table.
    pub fn row(self) -> &'static Directive {
        &TABLE[self as usize]
    }

    /// The form of its value.
    pub fn syntax(self) -> Syntax {
        *self.row().syntax
    }

    /// Its name, as the user writes it.
    pub fn name(self) -> &'static str {
        self.text(0)
    }

    /// The value when it is not set, in canonical text. Empty: nothing, or a later station decides.
    pub fn default_text(self) -> &'static str {
        self.text(1)
    }

    /// Whether [`Id::default_text`] has something to say.
    pub fn has_default(self) -> bool {
        !self.place(1).is_empty()
    }

    fn text(self, which: usize) -> &'static str {
        NAMES.get(self.place(which)).unwrap_or_default()
    }

    /// Where its name (0) or default (1) is in [`NAMES`]: both are asked for many times for each service.
    fn place(self, which: usize) -> Range<usize> {
        let at = 2 * self as usize + which;
        usize::from(BEGINS[at])..usize::from(BEGINS[at + 1]) - 1
    }

    /// The directive of exactly this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|id| NAMES.as_bytes().get(id.place(0)) == Some(name.as_bytes()))
    }
}

/// Where the name and the default of each directive begin in [`NAMES`]; each ends with one byte. The last one is the
/// end.
static BEGINS: [u16; 2 * Id::ALL.len() + 1] = {
    let (text, mut begins) = (NAMES.as_bytes(), [0; 2 * Id::ALL.len() + 1]);
    let (mut row, mut at) = (1, 0);
    assert!(text.len() <= u16::MAX as usize);
    while at < text.len() {
        // a name holds no blank, a default may
        if text[at] == if row % 2 == 1 { b' ' } else { b'\n' } {
            #[allow(clippy::cast_possible_truncation, reason = "see the assertion")]
            let begin = at as u16 + 1;
            begins[row] = begin;
            row += 1;
        }
        at += 1;
    }
    begins
};

/// How the reader of a value takes its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Plain,
    /// `%%` is a percent sign.
    Percent,
    /// That, and quotes and escapes too.
    Words,
    /// That, and `%i` is the name of a connection.
    Command,
}

impl Syntax {
    /// How its text is taken.
    pub fn form(self) -> Form {
        match self {
            Self::Path | Self::Directory | Self::EnvironmentFile => Form::Percent,
            Self::Input | Self::Output | Self::Listen(_) | Self::Backend => Form::Percent,
            Self::Assignments | Self::Variables | Self::Unset => Form::Words,
            Self::Names | Self::Paths | Self::Folders => Form::Words,
            Self::Command => Form::Command,
            _ => Form::Plain,
        }
    }

    /// Whether a further line adds to the lines before it, instead of taking their place.
    pub fn is_list(self) -> bool {
        let others = || matches!(self, Self::Listen(_) | Self::Prefixes | Self::ExitStatuses | Self::Capabilities);
        self.form() == Form::Words || self == Self::EnvironmentFile || others()
    }
}

//! Random command lines, made of the words of the tables.
//!
//! Whatever they are, there are options or an error that can be shown; and an argument means the same behind `=`,
//! behind its letter, and as a word of its own.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::random::Random;
use dormouse::cli::{self, COMMANDS, OPTIONS};

/// Arguments and other words.
const WORDS: [&[u8]; 32] = [
    b"",
    b"-",
    b"--",
    b"---",
    b"-=",
    b"/",
    b"web",
    b"@",
    b"off",
    b"tcp:",
    b"tcp:80",
    b"udp:[::1]:53",
    b"unix:/run/x",
    b"unixgram:@x",
    b"fifo:@x",
    b"seqpacket:80",
    b"0",
    b"3",
    b"1048577",
    b"99999999999999999999",
    b"stderr",
    b"syslog",
    b"debug",
    b"trace",
    b"busybox",
    b"xinetd",
    b"A=b",
    b"a:b:",
    b"\xff\xfe",
    b"\x1b[2J",
    "\u{202e}\u{e4}".as_bytes(),
    b"\n",
];

/// One piece of a command line: an option with its argument, if it has one, or a word.
enum Piece {
    Option(u8, &'static str, Option<OsString>),
    Word(OsString),
}

/// How options and arguments are put together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `--long VALUE`
    Apart,
    /// `--long=VALUE`
    Joined,
    /// `-sVALUE`, where there is a letter.
    Short,
}

/// Reads one command line in every form; panics when something is wrong with it.
pub fn round(random: &mut Random) {
    let command = &COMMANDS[random.below(COMMANDS.len())];
    let is_command = random.below(8) > 0;
    let first = if is_command { OsString::from(command.word) } else { word(random) };
    let pieces: Vec<Piece> = (0..random.below(6)).map(|_| piece(random)).collect();
    let inherited = random.below(4) == 0;
    let read = |form| {
        let words = [first.clone()].into_iter().chain(pieces.iter().flat_map(|piece| piece.words(form)));
        cli::parse(words.collect(), inherited)
    };
    let apart = read(Form::Apart);
    // behind "--", and the program of activate, everything stays as it stands
    if is_command && !pieces.iter().any(|piece| matches!(piece, Piece::Word(_))) {
        assert_eq!(apart, read(Form::Joined));
        assert_eq!(apart.as_ref().ok(), read(Form::Short).as_ref().ok()); // an error has the letter
    }
    check(apart);
    // without this part nobody calls it, and its texts are missing
    if cli::PARTS.contains(&("inetd", true)) {
        let words = pieces.iter().flat_map(|piece| piece.words(Form::Short));
        check(cli::parse_inetd(words.collect()));
    }
}

/// An error is a text without anything that could steer a terminal.
fn check(parsed: Result<cli::Options, cli::UsageError>) {
    let Err(error) = parsed else { return };
    let text = error.to_string();
    assert!(!text.is_empty() && !text.ends_with('\n'), "{text:?}");
    let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!text.contains(steers) && text.lines().count() < 4, "{text:?}");
}

fn word(random: &mut Random) -> OsString {
    match random.below(8) {
        0 => OsString::from(COMMANDS[random.below(COMMANDS.len())].word),
        1 => {
            let option = ["--", OPTIONS[random.below(OPTIONS.len())].long()].concat();
            let length = option.len() - random.below(3);
            OsString::from(&option[..length])
        }
        2 => {
            let (one, two) = (WORDS[random.below(WORDS.len())], WORDS[random.below(WORDS.len())]);
            OsString::from_vec([one, two].concat())
        }
        _ => OsStr::from_bytes(WORDS[random.below(WORDS.len())]).to_owned(),
    }
}

fn piece(random: &mut Random) -> Piece {
    if random.below(4) == 0 {
        return Piece::Word(word(random));
    }
    let row = &OPTIONS[random.below(OPTIONS.len())];
    let takes = !row.argument().is_empty();
    Piece::Option(row.short, row.long(), takes.then(|| word(random)))
}

impl Piece {
    fn words(&self, form: Form) -> Vec<OsString> {
        let (short, long, value) = match self {
            Self::Word(word) => return vec![word.clone()],
            Self::Option(short, long, value) => (*short, long, value),
        };
        let long = [b"--", long.as_bytes()].concat();
        let Some(value) = value.as_ref().map(|value| value.as_bytes()) else { return vec![OsString::from_vec(long)] };
        // an empty argument has no other form, and "=" before one belongs to the option
        let has_letter = short != cli::NONE && !value.is_empty() && value[0] != b'=';
        match form {
            Form::Joined => vec![OsString::from_vec([&long, &b"="[..], value].concat())],
            Form::Short if has_letter => vec![OsString::from_vec([&[b'-', short][..], value].concat())],
            _ => vec![OsString::from_vec(long), OsStr::from_bytes(value).to_owned()],
        }
    }
}

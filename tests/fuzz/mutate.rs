//! Damaged texts: the golden cases of a reader with random pieces put in, taken out and doubled.
//!
//! After each of them the report is free of control characters, and what could be read is printed in the native form,
//! which reads back to the same.

use std::fs;
use std::path::{Path, PathBuf};

use dormouse::config;

/// Marsaglia's xorshift, 64 bits; not zero.
pub struct Random(pub u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).unwrap_or(0)
    }
}

/// What is fed.
#[derive(Clone, Copy)]
pub enum Reader {
    Native,
    Units,
    Xinetd,
}

/// A file below the folder that is read, and its content.
type File = (PathBuf, Vec<u8>);

/// Pieces that mean something to one of the readers.
const PIECES: [&[u8]; 38] = [
    b"\n",
    b"=",
    b"[",
    b"]",
    b"\\",
    b"\\\n",
    b"\"",
    b"'",
    b"%",
    b"%i",
    b"%I",
    b"%n",
    b"%t/",
    b"%%",
    b"$",
    b"${",
    b"\\u",
    b"\\x",
    b"#",
    b";",
    b":",
    b"/",
    b"..",
    b"~",
    b"\t",
    b"\r",
    b"\0",
    b"\xff",
    b"{",
    b"}",
    b" += ",
    b" -= ",
    b" = ",
    b"[X-Dormouse]\n",
    b"[Service]\n",
    b"Accept=yes\n",
    b"99999999999999999999",
    "\u{202e}\u{e4}".as_bytes(),
];

impl Reader {
    /// The golden cases below the folder `tests`: each a set of files that are read together.
    pub fn seeds(self, tests: &Path) -> Vec<Vec<File>> {
        let folder = match self {
            Self::Native => "config",
            Self::Units => "corpus/units",
            Self::Xinetd => "corpus/xinetd",
        };
        let mut cases: Vec<PathBuf> =
            fs::read_dir(tests.join(folder)).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        cases.sort();
        cases.iter().map(|case| files(case)).filter(|files| !files.is_empty()).collect()
    }

    /// Reads one damaged case; panics when something is wrong with it, and leaves the files in `folder`.
    pub fn round(self, seeds: &[Vec<File>], random: &mut Random, folder: &Path) {
        let mut files = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(6) {
            let index = random.below(files.len());
            damage(&mut files[index].1, random);
        }
        let _ = fs::remove_dir_all(folder);
        for (path, text) in &files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap_or(folder)).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        let draft = config::read(&[folder.to_owned()]);
        let report = draft.report();
        assert!(!report.contains(['\u{1b}', '\r', '\0', '\u{202e}']), "{report}");
        let printed = config::print(&draft);
        let again = config::read_text("again", printed.as_bytes());
        assert_eq!(printed, config::print(&again), "what is printed reads back");
    }
}

/// Puts a piece in, takes some bytes out, or doubles some.
fn damage(text: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(text.len() + 1);
    let end = (at + random.below(12)).min(text.len());
    let new = match random.below(4) {
        0 => vec![random.below(256).to_le_bytes()[0]],
        1 => text[at..end].repeat(2),
        _ => PIECES[random.below(PIECES.len())].to_vec(),
    };
    text.splice(at..end, new);
}

/// The files of a case, by their paths below the folder that is read.
fn files(case: &Path) -> Vec<File> {
    let mut found = Vec::new();
    let mut folders = Vec::new();
    if case.is_dir() {
        folders.push(case.to_owned());
    } else if case.extension().is_some_and(|end| end == "conf" || end == "xinetd") {
        found.push((PathBuf::from(case.file_name().unwrap_or_default()), fs::read(case).unwrap_or_default()));
    }
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if let (Ok(below), Ok(text)) = (path.strip_prefix(case), fs::read(&path)) {
                found.push((below.to_owned(), text));
            }
        }
    }
    // Long ones hide the damage.
    found.retain(|(_, text)| text.len() < 6_000);
    found.sort();
    found
}

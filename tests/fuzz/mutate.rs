//! Damaged texts: the golden cases of a reader with random pieces put in, taken out and doubled.
//!
//! After each of them the report is free of control characters, and what could be read is printed in the native form,
//! which reads back to the same, and gives the same plan.

use std::fs;
use std::path::{Path, PathBuf};

use crate::content::content;
use crate::random::Random;
use dormouse::cli::{self, Dialect};
use dormouse::config::{self, Draft, Fault, Inetd, Tolerance};
use dormouse::logging::Target;
use dormouse::plan::PlanTables;
use dormouse::plan::compile::{Context, compile};

/// The dialects of inetd.conf; none of them: the disagreements are told.
const DIALECTS: [Option<Dialect>; 5] =
    [None, Some(Dialect::Busybox), Some(Dialect::Openbsd), Some(Dialect::Freebsd), Some(Dialect::Inetutils)];

impl Random {
    /// How inetd.conf is read.
    fn form(&mut self) -> Inetd {
        let tolerance = if self.below(2) == 0 { Tolerance::Lenient } else { Tolerance::Strict };
        let asked = cli::Inetd { dialect: DIALECTS[self.below(DIALECTS.len())], ..cli::Inetd::default() };
        Inetd { asked, tolerance, ..Inetd::default() }
    }
}

/// What is fed.
#[derive(Clone, Copy)]
pub enum Reader {
    Native,
    Units,
    Xinetd,
    Inetd,
}

/// A file below the folder that is read, and its content.
type File = (PathBuf, Vec<u8>);

/// Pieces that mean something to one of the readers.
const PIECES: [&[u8]; 46] = [
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
    b" stream tcp nowait ",
    b" dgram udp wait ",
    b" internal",
    b".5",
    b"/3/2/1",
    b"tcpmux/+",
    b",sndbuf=1k",
    b"[::1]:",
    "\u{202e}\u{e4}".as_bytes(),
];

impl Reader {
    /// The golden cases below the folder `tests`: each a set of files that are read together.
    pub fn seeds(self, tests: &Path) -> Vec<Vec<File>> {
        let (folders, end): (&[_], _) = match self {
            Self::Native => (&["config"], "conf"),
            Self::Units => (&["corpus/units"], "units"),
            Self::Xinetd => (&["corpus/xinetd"], "xinetd"),
            Self::Inetd => (&["config", "corpus/inetd"], "inetd"),
        };
        let entries =
            folders.iter().flat_map(|folder| fs::read_dir(tests.join(folder)).into_iter().flatten().flatten());
        let mut cases: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        cases.retain(|path| path.is_dir() || path.extension().is_some_and(|own| own == end));
        cases.sort();
        cases.iter().map(|case| files(case)).filter(|files| !files.is_empty()).collect()
    }

    /// Reads one damaged case; panics when something is wrong with it, and leaves the files in `folder`.
    pub fn round(self, seeds: &[Vec<File>], random: &mut Random, folder: &Path, plans: &mut Plans) {
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
        let mut draft = config::read_as(&[folder.to_owned()], &random.form());
        let report = draft.report();
        assert!(!report.contains(['\u{1b}', '\r', '\0', '\u{202e}']), "{report}");
        let printed = config::print(&draft);
        let mut again = config::read_text("again", printed.as_bytes());
        assert_eq!(printed, config::print(&again), "what is printed reads back");
        assert_eq!(content(&draft), content(&again), "and means the same");
        plans.compare(&mut draft, &mut again);
    }
}

/// Two plans. They are large, so they are made once, and on a stack that has room for them.
pub struct Plans([Box<PlanTables>; 2]);

impl Plans {
    /// Calls `work` with them.
    pub fn with(work: impl FnOnce(&mut Self) + Send) {
        std::thread::scope(|scope| {
            let body = || work(&mut Self([Box::new(PlanTables::EMPTY), Box::new(PlanTables::EMPTY)]));
            let thread = std::thread::Builder::new().stack_size(64 << 20).spawn_scoped(scope, body);
            if let Err(panic) = thread.expect("a thread").join() {
                std::panic::resume_unwind(panic);
            }
        });
    }

    /// Makes the plans of both drafts; if neither is refused, nobody can tell them apart.
    fn compare(&mut self, draft: &mut Draft, again: &mut Draft) {
        let all = |draft: &Draft| draft.units_left_out().is_empty() && !draft.faults.iter().any(Fault::is_left_out);
        let whole = |draft: &Draft| !draft.is_faulty() && all(draft);
        let usable = whole(draft) && whole(again);
        for (plan, draft) in self.0.iter_mut().zip([&mut *draft, &mut *again]) {
            let context =
                Context { log: Target::Stderr, keep_streams: false, fd_names: Vec::new(), parent_death: None };
            plan.truncate([0; 5]);
            compile(draft, plan, &context); // faulty or not, as check does
        }
        if usable && whole(draft) && whole(again) {
            let [one, two] = &self.0;
            assert_eq!(rows(one), rows(two), "the plans differ");
            assert!(one.arena.bytes() == two.arena.bytes(), "the texts of the plans differ");
        }
    }
}

/// Everything in a plan but its texts.
fn rows(plan: &PlanTables) -> String {
    format!("{:?}\n{:?}\n{:?}\n{:?}", plan.services, plan.listeners, plan.policies, plan.sockets)
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
    } else {
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

//! Texts for users that are made from the tables of the program: directives, commands, options and capacities in the
//! man pages, the completions and the README. What a person wrote stands round them, between marks:
//!
//! ```text
//! begin NAME    (behind the file's own sign for a comment)
//! end NAME
//! ```
//!
//! `UPDATE_GOLDEN=1 cargo test --test generated` writes what is between the marks anew; otherwise a difference fails.
//! A check that needs a program is reported as ignored where the program is missing.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test ends at the first surprise")]

mod completion;
mod mdoc;
mod readme;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// What can go wrong.
type Outcome = Result<(), Failed>;

/// Where the marks of a file are, and what belongs between them.
struct Block {
    file: &'static str,
    /// Before and after `begin NAME` and `end NAME`.
    comment: (&'static str, &'static str),
    name: &'static str,
    make: fn() -> String,
}

const MDOC: (&str, &str) = (".\\\" ", "");
const HTML: (&str, &str) = ("<!-- ", " -->");
const SHELL: (&str, &str) = ("# ", "");
const CONF_5: &str = "configs/man/dormouse.conf.5";
const DORMOUSE_8: &str = "configs/man/dormouse.8";
const BASH: &str = "configs/completion/dormouse.bash";
const ZSH: &str = "configs/completion/_dormouse";

static BLOCKS: [Block; 11] = [
    Block { file: CONF_5, comment: MDOC, name: "sockets", make: mdoc::sockets },
    Block { file: CONF_5, comment: MDOC, name: "access", make: mdoc::access },
    Block { file: CONF_5, comment: MDOC, name: "service", make: mdoc::service },
    Block { file: CONF_5, comment: MDOC, name: "new", make: mdoc::new },
    Block { file: DORMOUSE_8, comment: MDOC, name: "synopsis", make: mdoc::synopsis },
    Block { file: DORMOUSE_8, comment: MDOC, name: "commands", make: mdoc::commands },
    Block { file: DORMOUSE_8, comment: MDOC, name: "options", make: mdoc::options },
    Block { file: BASH, comment: SHELL, name: "tables", make: completion::bash },
    Block { file: ZSH, comment: SHELL, name: "tables", make: completion::zsh },
    Block { file: "README.md", comment: HTML, name: "directives", make: readme::directives },
    Block { file: "README.md", comment: HTML, name: "capacities", make: readme::capacities },
];

fn main() {
    let whole = cfg!(feature = "all");
    let trial = |block: &'static Block| {
        let name = format!("{} {}", block.file, block.name);
        Trial::ignorable_test(name, move || {
            if !whole {
                return Ok(Completion::ignored_with("parts of the program are left out of this build"));
            }
            compare(block).map(|()| Completion::Completed)
        })
    };
    let mut trials: Vec<Trial> = BLOCKS.iter().map(trial).collect();
    for page in [CONF_5, DORMOUSE_8] {
        trials.push(with("mandoc", format!("{page} is clean under mandoc"), move || mdoc::lint(page)));
    }
    if whole {
        trials.push(with("bash", format!("{BASH} completes"), || completion::try_bash(BASH)));
        trials.push(with("zsh", format!("{ZSH} is read by zsh"), || completion::try_zsh(ZSH)));
    }
    // The tests that write a file must not do so side by side.
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit();
}

/// A test that needs a program.
fn with(program: &'static str, name: String, test: impl FnOnce() -> Outcome + Send + 'static) -> Trial {
    Trial::ignorable_test(name, move || {
        if !has(program) {
            return Ok(Completion::ignored_with(format!("no program {program}")));
        }
        test().map(|()| Completion::Completed)
    })
}

fn has(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').any(|folder| Path::new(folder).join(program).is_file())
}

fn compare(block: &Block) -> Outcome {
    let text = fs::read_to_string(block.file)?;
    let mark = |word: &str| [block.comment.0, word, " ", block.name, block.comment.1, "\n"].concat();
    let (begin, end) = (mark("begin"), mark("end"));
    let wrong = || format!("{} must have the lines {begin:?} and {end:?}, in this order", block.file);
    let (before, rest) = text.split_once(&begin).ok_or_else(wrong)?;
    let (found, after) = rest.split_once(&end).ok_or_else(wrong)?;
    let made = (block.make)();
    if found == made {
        return Ok(());
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return Ok(fs::write(block.file, [before, &begin, &made, &end, after].concat())?);
    }
    let line = found.lines().zip(made.lines()).position(|(found, made)| found != made);
    let line = line.unwrap_or_else(|| found.lines().count().min(made.lines().count()));
    let show = |text: &str| text.lines().nth(line).unwrap_or("(nothing)").to_owned();
    Err(format!(
        "{}, block {}, line {}:\n  found    {}\n  expected {}\nUPDATE_GOLDEN=1 writes it anew",
        block.file,
        block.name,
        line + 1,
        show(found),
        show(&made)
    )
    .into())
}

/// Runs a program; its output must be empty and its status 0, unless `expected` is its output.
fn expect(program: &str, arguments: &[&str], expected: &str) -> Outcome {
    let Output { status, stdout, stderr } = Command::new(program).args(arguments).output()?;
    let found = [stdout, stderr].concat();
    let found = String::from_utf8_lossy(&found);
    if status.success() && found == expected {
        return Ok(());
    }
    Err(format!("{program}: {status}\n--- expected\n{expected}--- found\n{found}").into())
}

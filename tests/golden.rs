//! Golden cases of the configuration reader: `tests/config/NNN-name.conf` is read, its faults are compared with
//! `NNN-name.ok` (no file: no faults) and, when it can be used, its canonical text with `NNN-name.print`. The folders
//! of tests/corpus/units hold unit files, those of tests/corpus/xinetd files of xinetd; they have the same. So have
//! files of inetd.conf (`*.inetd`); those of tests/corpus/inetd are what distributions ship.
//!
//! `UPDATE_GOLDEN=1 cargo test --test golden` writes the files anew; read the difference before committing it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod content;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use content::content;
use dormouse::cli::{self, Dialect};
use dormouse::config::{self, Code, Draft, Inetd, Place, ServiceDraft};

/// The cases: configuration files and folders, sorted.
fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = ["tests/config", "tests/corpus/inetd", "tests/corpus/units", "tests/corpus/xinetd"]
        .iter()
        .filter(|folder| cfg!(feature = "inetd") || !folder.ends_with("inetd"))
        .filter(|folder| cfg!(feature = "units") || !folder.ends_with("units"))
        .filter(|folder| cfg!(feature = "xinetd") || !folder.ends_with("xinetd"))
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() || path.extension().is_some_and(is_case))
        .collect();
    cases.sort();
    assert!(cases.len() > 20);
    cases
}

/// Whether a file that ends so is a case.
fn is_case(end: &OsStr) -> bool {
    let inetd = cfg!(feature = "inetd") && end == "inetd";
    inetd || end == "conf" || end == "xinetd"
}

/// `NNN-name.DIALECT.inetd` is read with `--dialect`, other files without.
fn read(path: &Path) -> Draft {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let dialect = name.rsplit('.').nth(1).and_then(Dialect::from_name);
    config::read_as(
        &[path.to_owned()],
        &Inetd { asked: cli::Inetd { dialect, ..cli::Inetd::default() }, ..Inetd::default() },
    )
}

/// Compares a text with a golden file; a text that is empty has none.
fn compare(path: &Path, end: &str, text: &str) -> Result<(), String> {
    let golden = path.with_extension(end);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let _ = fs::remove_file(&golden);
        if !text.is_empty() {
            fs::write(&golden, text).unwrap();
        }
        return Ok(());
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    if expected == text {
        return Ok(());
    }
    Err(format!("{} differs.\n--- expected\n{expected}--- found\n{text}", golden.display()))
}

#[test]
#[cfg_attr(not(feature = "all"), ignore = "the texts are those of the whole program")]
fn faults_and_canonical_text() {
    let mut wrong = Vec::new();
    for path in cases() {
        let draft = read(&path);
        wrong.extend(compare(&path, "ok", &draft.report()).err());
        let text = if draft.is_faulty() { String::new() } else { config::print(&draft) };
        wrong.extend(compare(&path, "print", &text).err());
    }
    assert!(wrong.is_empty(), "{}\nUPDATE_GOLDEN=1 writes them anew", wrong.join("\n"));
}

#[test]
fn canonical_text_reads_back() {
    for path in cases() {
        let draft = read(&path);
        let text = config::print(&draft);
        let again = config::read_text("again", text.as_bytes());
        assert_eq!(content(&draft), content(&again), "{}", path.display());
        assert_eq!(text, config::print(&again));
    }
}

/// A message that no case shows is one that nobody has read.
#[test]
#[cfg_attr(not(feature = "all"), ignore = "the messages are those of the whole program")]
fn every_message_has_a_case() {
    let mut seen: BTreeSet<Code> = cases().iter().flat_map(|path| read(path).faults).map(|fault| fault.code).collect();
    seen.extend(read(Path::new("tests/config/missing.conf")).faults.iter().map(|fault| fault.code));
    seen.extend(config::read_text("big", &vec![b'#'; 5 << 20]).faults.iter().map(|fault| fault.code));
    // A file can't have it: there the backslash continues the line.
    let fault = ServiceDraft::new("a").assign("ExecStart", "/bin/a \\", Place::default());
    seen.insert(fault.unwrap_err().code);
    // Units that are named, not found in a folder.
    for path in
        ["111-more/x@.socket", "105-instances/masked.socket", "103-several/lonely.service", "110-faults/c.socket"]
    {
        let draft = read(&Path::new("tests/corpus/units").join(path));
        assert!(draft.services.is_empty());
        seen.extend(draft.faults.iter().map(|fault| fault.code));
    }
    seen.extend(writable().faults.iter().map(|fault| fault.code));
    // The plan's own are those of a machine, and smaller builds have two more.
    seen.extend([Code::NotInBuild, Code::LocalNotInBuild, Code::DirectiveNotInBuild]);
    let unseen: Vec<_> = Code::ALL.iter().filter(|code| **code < Code::NoUser && !seen.contains(code)).collect();
    assert!(unseen.is_empty(), "no golden case shows {unseen:?}");
}

/// A folder and a file in it that anybody may write to.
fn writable() -> Draft {
    let everybody = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    let number = std::thread::current().id();
    let folder = std::env::temp_dir().join(format!("dormouse-writable-{}-{number:?}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.conf"), "[a]\nListenStream=7\nExecStart=/bin/cat\n").unwrap();
    fs::set_permissions(folder.join("a.conf"), everybody(0o646)).unwrap();
    fs::set_permissions(&folder, everybody(0o777)).unwrap();
    let draft = config::read(std::slice::from_ref(&folder));
    fs::remove_dir_all(&folder).unwrap();
    draft
}

#[test]
#[cfg_attr(not(feature = "help"), ignore = "there are no hints")]
fn what_anybody_may_write_to_is_told() {
    let report = writable().report();
    let lines: Vec<_> = report.lines().map(|line| line.rsplit_once('/').map_or(line, |(_, end)| end)).collect();
    let hint = "      = hint: chmod o-w; it should belong to root";
    let warning = ": warning: anybody may write here, and so decide what is run";
    let [folder, first, file, second] = lines[..] else { panic!("{report}") };
    assert!(folder.ends_with(warning) && file == format!("a.conf{warning}"), "{report}");
    assert_eq!((first, second), (hint, hint), "{report}");
}

/// Every directive is set in the case that is about all of them, unless this version refuses it.
#[test]
fn every_directive_has_a_case() {
    let draft = read(Path::new("tests/config/002-everything.conf"));
    let unset: Vec<_> = config::Id::ALL
        .iter()
        .filter(|id| !id.row().later && !draft.services.iter().any(|service| service.is_set(**id)))
        .collect();
    assert!(unset.is_empty(), "{unset:?}");
}

//! Files: what is read, in which order and as what.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::check;
use super::draft::Draft;
use super::fault::{Place, count, tell};
use super::inetd::{self, Inetd};
use super::message::Code;
use super::{native, unit_files, xinetd};
use crate::limits;
use crate::sys::errno::Why;
use crate::sys::file;

/// The readers of all forms; what they have seen counts for the files that follow.
struct Readers<'a> {
    native: native::Reader,
    units: unit_files::Reader<'a>,
    xinetd: xinetd::Reader,
    inetd: &'a Inetd,
}

/// Reads files, and the `*.conf`, `*.socket`, `*.inetd` and `*.xinetd` of folders in the order of their names, and
/// checks what they say.
///
/// Never fails: what is wrong is in [`Draft::faults`].
pub fn read(paths: &[PathBuf]) -> Draft {
    read_as(paths, &Inetd::default())
}

/// As [`read`], with what the command line says of inetd.conf.
pub fn read_as(paths: &[PathBuf], inetd: &Inetd) -> Draft {
    let mut draft = Draft::default();
    let mut readers = Readers {
        native: native::Reader::default(),
        units: unit_files::Reader::new(&inetd.tolerance),
        xinetd: xinetd::Reader::default(),
        inetd,
    };
    for path in paths {
        if file::kind(path) == Some(FileType::Directory) {
            if file::is_open_to_all(path) {
                push(&mut draft, path, Code::FileWritable, "");
            }
            match folder(path, &["conf", "socket", "inetd", "xinetd"]) {
                Ok(files) if files.is_empty() => push(&mut draft, path, Code::FolderEmpty, ""),
                Ok(files) => files.iter().for_each(|file| read_file(&mut draft, &mut readers, file, false)),
                Err(why) => push(&mut draft, path, Code::FileMissing, &Why(why).to_string()),
            }
        } else {
            read_file(&mut draft, &mut readers, path, true);
        }
    }
    if cfg!(feature = "xinetd") {
        readers.xinetd.finish(&mut draft);
    }
    finish(&mut draft);
    draft
}

/// Checks what was read, and leaves out what is to be left out.
fn finish(draft: &mut Draft) {
    let read = draft.faults.len();
    check::check(draft);
    draft.leave_out(read);
}

/// Reads one text of the native form under a name, and checks it: for tests and for configuration that is built in.
pub fn read_text(name: &str, text: &[u8]) -> Draft {
    let mut draft = Draft::default();
    if let Some((file, text)) = take(&mut draft, name, text) {
        native::Reader::default().read(&mut draft, file, &text);
    }
    finish(&mut draft);
    draft
}

/// The files of a folder that end in one of these, sorted. Hidden ones are left out, as a shell's `*` does.
pub(super) fn folder(path: &Path, ends: &[&str]) -> Result<Vec<PathBuf>, Errno> {
    let of_xinetd = cfg!(feature = "xinetd") && file::name(path) == xinetd::FOLDER;
    file::sorted(path, &|entry| {
        let hidden = file::name(entry).as_encoded_bytes().starts_with(b".");
        let fits = || ends.iter().any(|end| file::ends_in(entry, end));
        of_xinetd && xinetd::is_included(entry) || !hidden && fits()
    })
}

/// What a file is written in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Native,
    Unit,
    Xinetd,
    Inetd,
}

/// The form of a file: its name tells, and the command line for files that it names.
fn form(path: &Path, inetd: &Inetd, named: bool) -> Form {
    let ends = |end| file::ends_in(path, end);
    let name = file::name(path);
    let of_xinetd = file::name(file::above(path)) == xinetd::FOLDER;
    let asked = named && inetd.asked.xinetd && name != "inetd.conf";
    if ends("socket") || ends("service") {
        Form::Unit
    } else if ends("xinetd") || name == "xinetd.conf" || of_xinetd || asked {
        Form::Xinetd
    } else if ends("inetd") || name == "inetd.conf" || named && (inetd.asked.by_name || inetd.asked.dialect.is_some()) {
        Form::Inetd
    } else {
        Form::Native
    }
}

/// Reads one file. `named`: the user gave it, it was not found in a folder.
fn read_file(draft: &mut Draft, readers: &mut Readers, path: &Path, named: bool) {
    let missing = |draft: &mut Draft, what| push(draft, path, Code::NotInBuild, what);
    match form(path, readers.inetd, named) {
        Form::Unit if cfg!(feature = "units") => readers.units.read(draft, path, named),
        Form::Unit => missing(draft, "unit files"),
        Form::Xinetd if cfg!(feature = "xinetd") => {
            if let Some((file, text)) = load(draft, path) {
                readers.xinetd.read(draft, file, &text, file::above(path), 0);
            }
        }
        Form::Xinetd => missing(draft, "files of xinetd"),
        Form::Inetd if cfg!(feature = "inetd") => {
            if let Some(bytes) = bytes(draft, path) {
                let (file, text) = keep(draft, &path.to_string_lossy(), &bytes);
                inetd::Reader::new(readers.inetd, file).read(draft, &text);
            }
        }
        Form::Inetd => missing(draft, "inetd.conf"),
        // who asks for other programs' files in a folder has no use for ours
        Form::Native if readers.inetd.asked.by_name && !named => {}
        Form::Native => {
            if let Some((file, text)) = load(draft, path) {
                readers.native.read(draft, file, &text);
            }
        }
    }
}

/// The content of a file and its number in the sources; what is wrong with it is a fault.
pub(super) fn load(draft: &mut Draft, path: &Path) -> Option<(u32, Rc<str>)> {
    bytes(draft, path).and_then(|bytes| take(draft, &path.to_string_lossy(), &bytes))
}

/// The content of a file.
fn bytes(draft: &mut Draft, path: &Path) -> Option<Vec<u8>> {
    let (code, argument) = match file::read(path, limits::CONFIG_FILE_BYTES) {
        Ok(bytes) => {
            if file::is_open_to_all(path) {
                push(draft, path, Code::FileWritable, "");
            }
            return Some(bytes);
        }
        Err(Errno::FBIG) => (Code::FileBig, limits::CONFIG_FILE_BYTES.to_string()),
        Err(why) => (Code::FileMissing, Why(why).to_string()),
    };
    push(draft, path, code, &argument);
    None
}

/// Keeps the content of a file. What is no text in it becomes a character that says so.
fn keep(draft: &mut Draft, name: &str, bytes: &[u8]) -> (u32, Rc<str>) {
    // Editors on other systems put a byte order mark first.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text: Rc<str> = std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes).into(), Rc::from);
    (draft.sources.add(name, text.clone()), text)
}

/// Keeps the content of a file, unless it is no text.
fn take(draft: &mut Draft, name: &str, bytes: &[u8]) -> Option<(u32, Rc<str>)> {
    if bytes.len() > limits::CONFIG_FILE_BYTES {
        push(draft, Path::new(name), Code::FileBig, &limits::CONFIG_FILE_BYTES.to_string());
        return None;
    }
    let (file, text) = keep(draft, name, bytes);
    let nul = bytes.iter().position(|byte| *byte == 0);
    let other = std::str::from_utf8(bytes).err().map(|error| error.valid_up_to());
    let bad = nul.map(|at| (Code::FileNul, at)).or(other.map(|at| (Code::FileNotUtf8, at)));
    let Some((code, at)) = bad else { return Some((file, text)) };
    let line = count(bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1);
    tell(&mut draft.faults, code, Place::line(file, line), &[]);
    None
}

/// A fault about a file as a whole.
pub(super) fn push(draft: &mut Draft, path: &Path, code: Code, argument: &str) {
    let file = draft.sources.add(&path.to_string_lossy(), "");
    tell(&mut draft.faults, code, Place::line(file, 0), &[argument]);
}

//! Files: what is read, in which order and as what.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::check;
use super::draft::Draft;
use super::fault::{Fault, Place, count};
use super::message::Code;
use super::{native, unit_files, xinetd};
use crate::limits;
use crate::sys::errno::Why;
use crate::sys::file;

/// The readers of all forms; what they have seen counts for the files that follow.
#[derive(Default)]
struct Readers {
    native: native::Reader,
    units: unit_files::Reader,
    xinetd: xinetd::Reader,
}

/// Reads files, and the `*.conf` and `*.socket` of folders in the order of their names, and checks what they say.
///
/// Never fails: what is wrong is in [`Draft::faults`].
pub fn read(paths: &[PathBuf]) -> Draft {
    let mut draft = Draft::default();
    let mut readers = Readers::default();
    for path in paths {
        if path.is_dir() {
            match folder(path, &["conf", "socket", "xinetd"]) {
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
    check::check(&mut draft);
    draft
}

/// Reads one text of the native form under a name, and checks it: for tests and for configuration that is built in.
pub fn read_text(name: &str, text: &[u8]) -> Draft {
    let mut draft = Draft::default();
    if let Some((file, text)) = take(&mut draft, name, text) {
        native::Reader::default().read(&mut draft, file, &text);
    }
    check::check(&mut draft);
    draft
}

/// The files of a folder that end in one of these, sorted. Hidden ones are left out, as a shell's `*` does.
pub(super) fn folder(path: &Path, ends: &[&str]) -> Result<Vec<PathBuf>, Errno> {
    let mut files = Vec::new();
    for name in file::names(path)? {
        let entry = path.join(&name);
        let of_xinetd = path.ends_with(xinetd::FOLDER) && xinetd::is_included(&entry);
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if of_xinetd || !hidden && entry.extension().is_some_and(|end| ends.iter().any(|known| end == *known)) {
            let index = files.partition_point(|earlier| *earlier < entry);
            files.insert(index, entry);
        }
    }
    Ok(files)
}

/// Reads one file in the form that its name tells. `named`: the user gave it, it was not found in a folder.
fn read_file(draft: &mut Draft, readers: &mut Readers, path: &Path, named: bool) {
    if path.extension().is_some_and(|end| end == "socket" || end == "service") {
        return match cfg!(feature = "units") {
            true => readers.units.read(draft, path, named),
            false => push(draft, path, Code::NotInBuild, "unit files"),
        };
    }
    let above = path.parent().unwrap_or(Path::new(""));
    let of_xinetd = path.ends_with("xinetd.conf") || path.extension().is_some_and(|end| end == "xinetd");
    let of_xinetd = of_xinetd || above.ends_with(xinetd::FOLDER);
    if of_xinetd && !cfg!(feature = "xinetd") {
        return push(draft, path, Code::NotInBuild, "files of xinetd");
    }
    match load(draft, path) {
        Some((file, text)) if of_xinetd => {
            readers.xinetd.read(draft, file, &text, above, 0);
        }
        Some((file, text)) => readers.native.read(draft, file, &text),
        None => {}
    }
}

/// The content of a file and its number in the sources; what is wrong with it is a fault.
pub(super) fn load(draft: &mut Draft, path: &Path) -> Option<(u32, String)> {
    let (code, argument) = match file::read(path, limits::CONFIG_FILE_BYTES) {
        Ok(bytes) => return take(draft, &path.to_string_lossy(), &bytes),
        Err(Errno::FBIG) => (Code::FileBig, limits::CONFIG_FILE_BYTES.to_string()),
        Err(why) => (Code::FileMissing, Why(why).to_string()),
    };
    push(draft, path, code, &argument);
    None
}

/// Keeps the content of a file, unless it is no text.
fn take(draft: &mut Draft, name: &str, bytes: &[u8]) -> Option<(u32, String)> {
    if bytes.len() > limits::CONFIG_FILE_BYTES {
        push(draft, Path::new(name), Code::FileBig, &limits::CONFIG_FILE_BYTES.to_string());
        return None;
    }
    // Editors on other systems put a byte order mark first.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    let file = draft.sources.add(name, &text);
    let nul = bytes.iter().position(|byte| *byte == 0);
    let other = std::str::from_utf8(bytes).err().map(|error| error.valid_up_to());
    let bad = nul.map(|at| (Code::FileNul, at)).or(other.map(|at| (Code::FileNotUtf8, at)));
    let Some((code, at)) = bad else { return Some((file, text.into_owned())) };
    let line = count(bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1);
    draft.faults.push(Fault::new(code, Place { file, line, ..Place::default() }, &[]));
    None
}

/// A fault about a file as a whole.
pub(super) fn push(draft: &mut Draft, path: &Path, code: Code, argument: &str) {
    let file = draft.sources.add(&path.to_string_lossy(), "");
    draft.faults.push(Fault::new(code, Place { file, ..Place::default() }, &[argument]));
}

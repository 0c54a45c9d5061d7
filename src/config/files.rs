//! Files: the one place of this station that asks the system for anything, and it only reads.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::check;
use super::draft::Draft;
use super::fault::{Fault, Place, count};
use super::message::Code;
use super::native::Reader;
use crate::limits;
use crate::sys::errno::Why;
use crate::sys::file;

/// Reads files, and the `*.conf` of folders in the order of their names, and checks what they say.
///
/// Never fails: what is wrong is in [`Draft::faults`].
pub fn read(paths: &[PathBuf]) -> Draft {
    let mut draft = Draft::default();
    let mut reader = Reader::default();
    for path in paths {
        if path.is_dir() {
            match folder(path) {
                Ok(files) if files.is_empty() => push(&mut draft, path, Code::FolderEmpty, ""),
                Ok(files) => files.iter().for_each(|file| read_file(&mut draft, &mut reader, file)),
                Err(why) => push(&mut draft, path, Code::FileMissing, &Why(why).to_string()),
            }
        } else {
            read_file(&mut draft, &mut reader, path);
        }
    }
    check::check(&mut draft);
    draft
}

/// Reads one text of the native form under a name, and checks it: for tests and for configuration that is built in.
pub fn read_text(name: &str, text: &[u8]) -> Draft {
    let mut draft = Draft::default();
    take(&mut draft, &mut Reader::default(), name, text);
    check::check(&mut draft);
    draft
}

/// The configuration files of a folder, sorted. Hidden ones are left out, as a shell's `*` does.
fn folder(path: &Path) -> Result<Vec<PathBuf>, Errno> {
    let mut files = Vec::new();
    for name in file::names(path)? {
        let entry = path.join(&name);
        if !name.as_encoded_bytes().starts_with(b".")
            && entry.extension().is_some_and(|end| end == "conf" || end == "socket")
        {
            let index = files.partition_point(|earlier| *earlier < entry);
            files.insert(index, entry);
        }
    }
    Ok(files)
}

fn read_file(draft: &mut Draft, reader: &mut Reader, path: &Path) {
    if path.extension().is_some_and(|end| end == "socket" || end == "service") {
        return push(draft, path, Code::UnitFile, "");
    }
    match file::read(path, limits::CONFIG_FILE_BYTES) {
        Ok(bytes) => take(draft, reader, &path.to_string_lossy(), &bytes),
        Err(Errno::FBIG) => push(draft, path, Code::FileBig, &limits::CONFIG_FILE_BYTES.to_string()),
        Err(why) => push(draft, path, Code::FileMissing, &Why(why).to_string()),
    }
}

/// Takes the content of a file in, unless it is no text.
fn take(draft: &mut Draft, reader: &mut Reader, name: &str, bytes: &[u8]) {
    if bytes.len() > limits::CONFIG_FILE_BYTES {
        return push(draft, Path::new(name), Code::FileBig, &limits::CONFIG_FILE_BYTES.to_string());
    }
    // Editors on other systems put a byte order mark first.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    let file = draft.sources.add(name, &text);
    let nul = bytes.iter().position(|byte| *byte == 0);
    let other = std::str::from_utf8(bytes).err().map(|error| error.valid_up_to());
    let bad = nul.map(|at| (Code::FileNul, at)).or(other.map(|at| (Code::FileNotUtf8, at)));
    let Some((code, at)) = bad else { return reader.read(draft, file, &text) };
    let line = count(bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1);
    draft.faults.push(Fault::new(code, Place { file, line, ..Place::default() }, &[]));
}

/// A fault about a file as a whole.
fn push(draft: &mut Draft, path: &Path, code: Code, argument: &str) {
    let file = draft.sources.add(&path.to_string_lossy(), "");
    draft.faults.push(Fault::new(code, Place { file, ..Place::default() }, &[argument]));
}

//! Whole files and folders, for what is read before the loop: with errors as numbers, and without the C library's heap.

use core::mem::MaybeUninit;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir, openat};
use rustix::io::Errno;

/// The content of a file of at most `most` bytes.
///
/// # Errors
/// Those of open(2) and read(2); EFBIG for a larger one.
pub fn read(path: &Path, most: usize) -> Result<Vec<u8>, Errno> {
    const PIECE_BYTES: usize = 4096;
    let file = openat(CWD, path.as_os_str().as_bytes(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::new();
    while bytes.len() <= most {
        let used = bytes.len();
        bytes.resize(used + PIECE_BYTES.min(most + 1 - used), 0);
        let len = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut bytes[used..]))?;
        bytes.truncate(used + len);
        if len == 0 {
            return Ok(bytes);
        }
    }
    Err(Errno::FBIG)
}

/// Whether anybody may write to a file, or add files to a folder. What is neither does not count.
pub fn is_open_to_all(path: &Path) -> bool {
    let kind = |mode| FileType::from_raw_mode(mode);
    rustix::fs::stat(path.as_os_str().as_bytes()).is_ok_and(|found| {
        matches!(kind(found.st_mode), FileType::RegularFile | FileType::Directory) && found.st_mode & 0o002 != 0
    })
}

/// The names in a folder, in no order.
///
/// # Errors
/// Those of open(2) and getdents(2).
pub fn names(path: &Path) -> Result<Vec<OsString>, Errno> {
    let folder =
        openat(CWD, path.as_os_str().as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let mut entries = RawDir::new(&folder, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_are_read_whole() {
        let folder = std::env::temp_dir().join(format!("dormouse-file-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("a");
        std::fs::write(&path, vec![b'x'; 10_000]).unwrap();
        assert_eq!(read(&path, 20_000).unwrap().len(), 10_000);
        assert_eq!(read(&path, 10_000).unwrap().len(), 10_000);
        assert_eq!(read(&path, 9_999), Err(Errno::FBIG));
        assert_eq!(names(&folder).unwrap(), ["a"]);
        assert_eq!(names(&path), Err(Errno::NOTDIR));
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(read(&path, 1), Err(Errno::NOENT));
    }
}

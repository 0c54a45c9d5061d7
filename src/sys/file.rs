//! Whole files and folders, for what is read before the loop: with errors as numbers, without the C library's heap, and
//! with a part only of the code that std brings along.

use core::ffi::CStr;
use core::mem::MaybeUninit;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType, OFlags, RawDir, access, readlinkat_raw, statat};
use rustix::io::Errno;

use super::proc;

/// The content of a file of at most `most` bytes.
///
/// # Errors
/// Those of open(2) and read(2); EFBIG for a larger one.
pub fn read(path: &Path, most: usize) -> Result<Vec<u8>, Errno> {
    const PIECE_BYTES: usize = 4096;
    let file = proc::open(&terminated(path)?, OFlags::empty())?;
    let (mut piece, mut bytes) = ([MaybeUninit::<u8>::uninit(); PIECE_BYTES], Vec::new());
    while bytes.len() <= most {
        let (read, _) = match rustix::io::read(&file, &mut piece[..]) {
            Err(Errno::INTR) => continue,
            read => read?,
        };
        if read.is_empty() {
            return Ok(bytes);
        }
        bytes.extend_from_slice(read);
    }
    Err(Errno::FBIG)
}

/// The text of a file of the kernel, as those of /proc; empty if it is not there or is no text.
#[must_use]
pub fn text(path: &str) -> String {
    const MOST_BYTES: usize = 1 << 20;
    read(Path::new(path), MOST_BYTES).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

/// What a path leads to, by way of its links; `None` if there is nothing.
#[must_use]
pub fn kind(path: &Path) -> Option<FileType> {
    kind_at(path, AtFlags::empty())
}

/// What is at a path: a link is one.
#[must_use]
pub fn own_kind(path: &Path) -> Option<FileType> {
    kind_at(path, AtFlags::SYMLINK_NOFOLLOW)
}

/// A path as the kernel takes it; rustix would make it so in a copy of its code for each call.
fn terminated(path: &Path) -> Result<CString, Errno> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)
}

fn kind_at(path: &Path, flags: AtFlags) -> Option<FileType> {
    let found = statat(CWD, &*terminated(path).ok()?, flags).ok()?;
    Some(FileType::from_raw_mode(found.st_mode))
}

/// Whether a path leads to a file that we may execute.
#[must_use]
pub fn is_program(path: &Path) -> bool {
    kind(path) == Some(FileType::RegularFile)
        && terminated(path).is_ok_and(|path| access(&*path, Access::EXEC_OK).is_ok())
}

/// Whether a file lies on a file system that another machine or program answers for, which may be gone (statfs(2)).
#[must_use]
pub fn is_remote(path: &Path) -> bool {
    /// NFS, SMB, CIFS, SMB2, 9P, AFS, Ceph, Coda, FUSE and what is mounted when it is used.
    const SERVED: [u32; 10] = [
        0x6969,
        0x517B,
        0xFF53_4D42,
        0xFE53_4D42,
        0x0102_1997,
        0x5346_414F,
        0x00C3_6400,
        0x7375_7245,
        0x6573_5546,
        0x0187,
    ];
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "differs between processors"
    )]
    let served = |found: rustix::fs::StatFs| SERVED.contains(&(found.f_type as u32));
    terminated(path).and_then(|path| rustix::fs::statfs(&*path)).is_ok_and(served)
}

/// Whether anybody may write to a file, or add files to a folder. What is neither does not count.
#[must_use]
pub fn is_open_to_all(path: &Path) -> bool {
    terminated(path).and_then(|path| statat(CWD, &*path, AtFlags::empty())).is_ok_and(|found| {
        let kind = FileType::from_raw_mode(found.st_mode);
        matches!(kind, FileType::RegularFile | FileType::Directory) && found.st_mode & 0o002 != 0
    })
}

/// Where a symbolic link leads to, readlink(2); `None` if it is none.
#[must_use]
pub fn link(path: &Path) -> Option<PathBuf> {
    let mut buffer = [MaybeUninit::uninit(); 4096]; // PATH_MAX
    let (target, _) = readlinkat_raw(CWD, &*terminated(path).ok()?, &mut buffer).ok()?;
    Some(OsString::from_vec(target.to_vec()).into())
}

/// The folder from which relative paths count, getcwd(2); `None` if it was removed or cannot be reached from the root.
#[must_use]
pub fn current_folder() -> Option<PathBuf> {
    let mut buffer = [0; 4096]; // PATH_MAX
    // SAFETY: it writes at most so many bytes, the last of them a NUL; if it fails, none. The C library's would bring
    // malloc.
    unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    let path = CStr::from_bytes_until_nul(&buffer).ok().filter(|path| path.to_bytes().starts_with(b"/"))?;
    Some(OsString::from_vec(path.to_bytes().to_vec()).into())
}

/// The path from the root; `None` if it cannot be told or is empty.
#[must_use]
pub fn absolute(path: &Path) -> Option<PathBuf> {
    match path.as_os_str().as_bytes() {
        [] => None,
        [b'/', ..] => Some(path.to_owned()),
        relative => {
            let relative = relative.strip_prefix(b"./").unwrap_or(relative);
            let mut whole = current_folder()?.into_os_string().into_vec();
            for part in [b"/", relative] {
                whole.extend_from_slice(part);
            }
            Some(OsString::from_vec(whole).into())
        }
    }
}

/// The last part of a path; empty for the root. It and the next two take a path as a word: the iterator over its parts
/// is a kilobyte of flash.
#[must_use]
pub fn name(path: &Path) -> &OsStr {
    OsStr::from_bytes(split(path).1)
}

/// The folder of what is at a path; empty for a single name.
#[must_use]
pub fn above(path: &Path) -> &Path {
    Path::new(OsStr::from_bytes(split(path).0))
}

/// Whether a name ends in a dot and this word, and has something before it.
#[must_use]
pub fn ends_in(path: &Path, end: &str) -> bool {
    let stem = split(path).1.strip_suffix(end.as_bytes()).and_then(|name| name.strip_suffix(b"."));
    stem.is_some_and(|stem| !stem.is_empty())
}

fn split(path: &Path) -> (&[u8], &[u8]) {
    let path = without_slashes(path.as_os_str().as_bytes());
    let start = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (folder, name) = path.split_at(start);
    let above = without_slashes(folder);
    (if above.is_empty() { folder.get(..1).unwrap_or_default() } else { above }, name)
}

fn without_slashes(mut path: &[u8]) -> &[u8] {
    while let [front @ .., b'/'] = path {
        path = front;
    }
    path
}

/// The paths in a folder that fit, in the order of their names.
///
/// # Errors
/// Those of [`names`].
pub fn sorted(folder: &Path, fits: &dyn Fn(&Path) -> bool) -> Result<Vec<PathBuf>, Errno> {
    let mut files: Vec<PathBuf> = Vec::new();
    for path in names(folder)?.iter().map(|name| folder.join(name)).filter(|path| fits(path)) {
        let index = files.partition_point(|earlier| earlier.as_os_str() < path.as_os_str());
        files.insert(index, path);
    }
    Ok(files)
}

/// The names in a folder, in no order.
///
/// # Errors
/// Those of open(2) and getdents(2).
pub fn names(path: &Path) -> Result<Vec<OsString>, Errno> {
    let folder = proc::open(&terminated(path)?, OFlags::DIRECTORY)?;
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
    fn paths_are_taken_apart_as_by_the_standard_library() {
        for path in ["", "/", "//", "a", "/a", "a/b", "/a/b.c", "a/b.c/", "/a//b.d//", "a/.b", "a/b.", "/a.b.c/d.e.f"] {
            let path = Path::new(path);
            assert_eq!(name(path), path.file_name().unwrap_or_default(), "{path:?}");
            assert_eq!(above(path).as_os_str(), path.parent().unwrap_or(Path::new("")).as_os_str(), "{path:?}");
            for end in ["b", "c", "d", "f"] {
                assert_eq!(ends_in(path, end), path.extension().is_some_and(|known| known == end), "{path:?}");
            }
        }
    }

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
        std::os::unix::fs::symlink("a", folder.join("b")).unwrap();
        assert_eq!(link(&folder.join("b")).unwrap(), Path::new("a"));
        assert_eq!((link(&path), kind(&folder)), (None, Some(FileType::Directory)));
        assert_eq!(kind(&folder.join("b")), Some(FileType::RegularFile));
        assert_eq!(own_kind(&folder.join("b")), Some(FileType::Symlink));
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!((kind(&path), own_kind(&path)), (None, None));
        assert_eq!(read(&path, 1), Err(Errno::NOENT));
    }

    #[test]
    fn a_path_becomes_absolute() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(current_folder().as_deref(), Some(here.as_path()));
        for (path, whole) in [("/a/b", "/a/b".into()), ("a", here.join("a")), ("./a", here.join("a"))] {
            assert_eq!(absolute(Path::new(path)), Some(whole));
        }
        assert_eq!(absolute(Path::new("")), None);
        assert!(text("/proc/self/comm").ends_with('\n') && text("/proc/nothing").is_empty());
    }
}

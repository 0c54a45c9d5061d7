//! Rows of plain data in a file, as they lie in memory: written by one process and read by another that runs the very
//! same program file, so that both have the same layout. Nothing is parsed and nothing is converted.

use core::mem::MaybeUninit;
use heapless::Vec;
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;

use super::process::last_errno;

/// Which program file a process runs: device, inode, size, and when it was last written and changed.
pub type Program = [u64; 7];

/// The program file of this process (/proc/self/exe, proc(5)).
///
/// # Errors
/// Those of stat(2): ENOENT without /proc.
#[allow(
    clippy::unnecessary_cast,
    clippy::cast_sign_loss,
    reason = "the fields differ between processors; only compared"
)]
pub fn program() -> Result<Program, Errno> {
    let file = rustix::fs::stat(c"/proc/self/exe")?;
    Ok([
        file.st_dev as u64,
        file.st_ino as u64,
        file.st_size as u64,
        file.st_mtime as u64,
        file.st_mtime_nsec as u64,
        file.st_ctime as u64,
        file.st_ctime_nsec as u64,
    ])
}

/// Proof that rows come from the program that reads them.
#[derive(Debug)]
pub struct SameProgram(());

impl SameProgram {
    /// The proof, if `writer` is what [`program`] said in the process that wrote the rows.
    ///
    /// # Errors
    /// INVAL: it is not; and those of [`program`].
    pub fn prove(writer: &Program) -> Result<Self, Errno> {
        if program()? == *writer { Ok(Self(())) } else { Err(Errno::INVAL) }
    }
}

/// Writes rows to a file. `T` must hold no pointer and no descriptor.
///
/// # Errors
/// As write(2).
pub fn write_rows<T: Copy + 'static>(file: BorrowedFd<'_>, rows: &[T]) -> Result<(), Errno> {
    let bytes = size_of_val(rows);
    let mut done = 0;
    while done < bytes {
        // SAFETY: the kernel reads from a live slice, at most to its end; bytes between the fields are no concern of
        // it.
        let written =
            unsafe { libc::write(file.as_raw_fd(), rows.as_ptr().cast::<u8>().add(done).cast(), bytes - done) };
        done += progress(written)?;
    }
    Ok(())
}

/// Reads `count` rows of [`write_rows`] in the place of those in `rows`.
///
/// # Errors
/// As read(2); EOVERFLOW: more than the table holds; NODATA: the file ends before. The table is empty then.
pub fn read_rows<T: Copy + 'static, const N: usize>(
    file: BorrowedFd<'_>,
    _proof: &SameProgram,
    count: usize,
    rows: &mut Vec<T, N>,
) -> Result<(), Errno> {
    rows.clear();
    let room: &mut [MaybeUninit<T>] = rows.spare_capacity_mut().get_mut(..count).ok_or(Errno::OVERFLOW)?;
    let bytes = size_of_val(room);
    let mut done = 0;
    while done < bytes {
        // SAFETY: the kernel writes into memory that is exclusively borrowed, at most to its end.
        let read =
            unsafe { libc::read(file.as_raw_fd(), room.as_mut_ptr().cast::<u8>().add(done).cast(), bytes - done) };
        done += progress(read)?;
    }
    // SAFETY: `count` rows fit and each byte of them was filled. The proof says that they were written as rows by this
    // very program, so that they are valid values of the same type.
    unsafe { rows.set_len(count) };
    Ok(())
}

/// Bytes that a call has moved.
fn progress(result: isize) -> Result<usize, Errno> {
    match usize::try_from(result) {
        Ok(0) => Err(Errno::NODATA),
        Ok(bytes) => Ok(bytes),
        Err(_) if last_errno() == Errno::INTR => Ok(0),
        Err(_) => Err(last_errno()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;
    use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};

    #[test]
    fn rows_come_back_and_broken_files_are_refused() {
        let file = memfd_create(c"rows", MemfdFlags::CLOEXEC).unwrap();
        write_rows(file.as_fd(), &[(1_u8, 2_u64), (3, 4)]).unwrap();
        let proof = SameProgram::prove(&program().unwrap()).unwrap();
        let mut rows: Vec<(u8, u64), 4> = Vec::new();
        seek(&file, SeekFrom::Start(0)).unwrap();
        read_rows(file.as_fd(), &proof, 2, &mut rows).unwrap();
        assert_eq!(rows, [(1, 2), (3, 4)]);
        assert_eq!(read_rows(file.as_fd(), &proof, 5, &mut rows), Err(Errno::OVERFLOW));
        assert_eq!(read_rows(file.as_fd(), &proof, 1, &mut rows), Err(Errno::NODATA));
        assert!(rows.is_empty());
    }

    #[test]
    fn another_program_proves_nothing() {
        let mut other = program().unwrap();
        other[2] += 1;
        assert!(SameProgram::prove(&other).is_err());
    }
}

//! Memory that only the start needed.

use core::ffi::{c_int, c_void};
use core::ptr;
use rustix::io::Errno;

use super::process::last_errno;

/// Lets go of the pages of the program file (and of shared libraries) that have been read so far: the reader of
/// configurations will not run again. Pages that the loop needs come back from the page cache one by one, without a
/// read from the disk. Only segments that cannot be written are touched: their pages are those of the file.
pub fn forget_program_pages() {
    extern "C" fn each(object: *mut libc::dl_phdr_info, _: usize, _: *mut c_void) -> c_int {
        // SAFETY: dl_iterate_phdr(3) passes a valid description of a loaded object; its headers are readable.
        let (base, headers) = unsafe {
            let object = &*object;
            (object.dlpi_addr, core::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)))
        };
        for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0)
        {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::unnecessary_cast,
                reason = "addresses of this processor"
            )]
            forget((base + header.p_vaddr) as usize, header.p_memsz as usize);
        }
        0
    }
    // SAFETY: the callback has the right type and does not keep what it is given.
    unsafe { libc::dl_iterate_phdr(Some(each), ptr::null_mut()) };
}

/// Pages that are filled from the front with what stays to the end of the program.
pub struct Pages {
    next: *mut u8,
    left: usize,
}

impl Pages {
    /// So many bytes, more if the alignment of the rows asks for it.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub fn map(bytes: usize) -> Result<Self, Errno> {
        const ALIGNMENT_BYTES: usize = 128; // what may be lost between eight kinds of rows
        let left = bytes + ALIGNMENT_BYTES;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new private mapping touches no other memory.
        let next = unsafe { libc::mmap(ptr::null_mut(), left, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if next == libc::MAP_FAILED { Err(last_errno()) } else { Ok(Self { next: next.cast(), left }) }
    }

    /// A copy of these rows; an empty list if there is no room left for them.
    pub fn keep<T: Copy>(&mut self, rows: &[T]) -> &'static [T] {
        let (skip, bytes) = (self.next.align_offset(align_of::<T>()), size_of_val(rows));
        let Some(left) = skip.checked_add(bytes).and_then(|used| self.left.checked_sub(used)) else { return &[] };
        // SAFETY: the place is aligned, lies within the mapping, which stays for ever, and is given out once.
        unsafe {
            let place = self.next.add(skip).cast::<T>();
            place.copy_from_nonoverlapping(rows.as_ptr(), rows.len());
            self.next = place.cast::<u8>().add(bytes);
            self.left = left;
            core::slice::from_raw_parts(place, rows.len())
        }
    }
}

/// Lets go of the pages of a value that nobody can reach any more.
pub fn forget_value<T>(value: &'static mut T) {
    forget((&raw mut *value).addr(), size_of::<T>());
}

/// Lets go of the stack below the caller: reading a configuration goes deeper than the loop ever does.
#[inline(never)] // the frame must be the lowest one
pub fn forget_stack() {
    const DEEPEST_BYTES: usize = 128 * 1024;
    let page = rustix::param::page_size();
    let here = 0_u8;
    // what is below this frame belongs to the call of madvise
    const CALL_BYTES: usize = 512;
    let end = ((&raw const here).addr() - CALL_BYTES) / page * page;
    let start: *mut c_void = ptr::with_exposed_provenance_mut(end - DEEPEST_BYTES);
    // SAFETY: nothing is alive below the stack pointer, and the kernel keeps other mappings 1 MB away from the stack.
    // What was never touched is not mapped; ENOMEM tells so, and the rest is done.
    unsafe { libc::madvise(start, DEEPEST_BYTES, libc::MADV_DONTNEED) };
}

/// Whole pages only: those at the ends may hold something else.
fn forget(start: usize, length: usize) {
    let page = rustix::param::page_size();
    let first = start.next_multiple_of(page);
    let end = (start + length) / page * page;
    if first < end {
        let pages: *mut c_void = ptr::with_exposed_provenance_mut(first);
        // SAFETY: either a private mapping of a file that nobody can write to, whose next access reads the same bytes
        // again, or a value that nobody reads again.
        unsafe { libc::madvise(pages, end - first, libc::MADV_DONTNEED) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_kept_side_by_side_until_the_pages_are_full() {
        let mut pages = Pages::map(100).unwrap();
        let bytes = pages.keep(b"abc");
        let numbers = pages.keep(&[1_u64, 2]);
        assert_eq!((bytes, numbers), (&b"abc"[..], &[1, 2][..]));
        assert!(numbers.as_ptr().is_aligned() && numbers.as_ptr().addr() - bytes.as_ptr().addr() <= 8);
        assert!(pages.keep(&[0_u8; 300]).is_empty());
        assert_eq!(pages.keep(&[7_u8]), [7]);
    }

    #[test]
    fn what_nobody_reads_costs_no_pages() {
        let value: &'static mut [u64; 4096] = Box::leak(Box::new([5; 4096]));
        let middle = &raw const value[2048];
        forget_value(value);
        // SAFETY: the allocation was leaked; what is there now is up to the kernel, and any number is a valid u64.
        assert_eq!(unsafe { middle.read_volatile() }, 0);
    }
}

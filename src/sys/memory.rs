//! Memory that only the start needs, and memory that stays.

use core::ptr;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

use super::environment::page_bytes;

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
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new private mapping touches no other memory.
        let next = unsafe { mmap_anonymous(ptr::null_mut(), left, protection, MapFlags::PRIVATE) }?;
        Ok(Self { next: next.cast(), left })
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
    let (start, length) = whole_pages((&raw mut *value).addr(), size_of::<T>());
    // SAFETY: nobody reads the value again.
    let _ = unsafe { madvise(ptr::with_exposed_provenance_mut(start), length, Advice::LinuxDontNeed) };
}

/// What lies in these bytes in whole pages: those at the ends may hold something else.
fn whole_pages(start: usize, length: usize) -> (usize, usize) {
    let page = page_bytes();
    let first = start.next_multiple_of(page);
    (first, ((start + length) / page * page).saturating_sub(first))
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

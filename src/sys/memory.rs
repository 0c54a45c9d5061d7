//! Memory that only the start needed.

use core::ffi::{c_int, c_void};
use core::ptr;

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
            forget(base + header.p_vaddr, header.p_memsz);
        }
        0
    }
    // SAFETY: the callback has the right type and does not keep what it is given.
    unsafe { libc::dl_iterate_phdr(Some(each), ptr::null_mut()) };
}

/// Lets go of the stack below the caller: reading a configuration goes deeper than the loop ever does.
#[inline(never)] // the frame must be the lowest one
pub fn forget_stack() {
    const DEEPEST_BYTES: usize = 128 * 1024;
    let page = rustix::param::page_size();
    let here = 0_u8;
    // the page below this frame belongs to the call of madvise
    let end = ((&raw const here).addr() / page - 1) * page;
    let start: *mut c_void = ptr::with_exposed_provenance_mut(end - DEEPEST_BYTES);
    // SAFETY: nothing is alive below the stack pointer, and the kernel keeps other mappings 1 MB away from the stack.
    // What was never touched is not mapped; ENOMEM tells so, and the rest is done.
    unsafe { libc::madvise(start, DEEPEST_BYTES, libc::MADV_DONTNEED) };
}

/// Whole pages only: those at the ends may hold something else.
#[allow(clippy::cast_possible_truncation, clippy::useless_conversion, reason = "addresses of this processor")]
fn forget(start: impl Into<u64>, length: impl Into<u64>) {
    let page = rustix::param::page_size();
    let (start, length) = (start.into() as usize, length.into() as usize);
    let first = start.next_multiple_of(page);
    let end = (start + length) / page * page;
    if first < end {
        let pages: *mut c_void = ptr::with_exposed_provenance_mut(first);
        // SAFETY: a private mapping of a file that nobody can write to: the next access reads the same bytes again.
        unsafe { libc::madvise(pages, end - first, libc::MADV_DONTNEED) };
    }
}

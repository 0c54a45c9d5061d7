//! Waiting, with as little memory as can be.

use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::mm::{Advice, madvise};

use super::environment::page_bytes;

/// What only the start needed and the first [`wait`] lets go of: reading a configuration runs other functions than the
/// loop, and goes deeper. What the loop needs comes back from the page cache, without a read from the disk.
pub struct Ballast {
    start: usize,
    length: usize,
}

impl Ballast {
    /// Lets go of the stack below the caller, and finds the pages of the program file.
    pub fn find() -> Self {
        const WAIT_BYTES: usize = 512;
        let page = page_bytes();
        forget_stack(page);
        let (start, length) = program(page);
        // The kernel maps the 64 kB around a page that is asked for, but not beyond its mapping. With an advice of its
        // own (which changes nothing else for pages that are there) `wait` has its own.
        let code = wait as *const () as usize;
        let (first, end) = (code / page * page, (code + WAIT_BYTES).next_multiple_of(page));
        if start <= first && end <= start + length {
            // SAFETY: this advice changes no content.
            let _ = unsafe { madvise(ptr::with_exposed_provenance_mut(first), end - first, Advice::Random) };
        }
        Self { start, length }
    }
}

/// epoll_wait(2), before which the ballast is dropped: until the first client comes, this function is all that is there
/// of the program.
///
/// # Errors
/// Those of epoll_wait(2).
#[inline(never)] // see above
pub fn wait<'b>(
    set: BorrowedFd<'_>,
    buffer: &'b mut [MaybeUninit<Event>],
    timeout: Option<&Timespec>,
    ballast: &mut Option<Ballast>,
) -> Result<&'b [Event], Errno> {
    if let Some(Ballast { start, length }) = ballast.take() {
        // SAFETY: the mapping of a file that nobody can write to; whoever reads it next finds the same bytes.
        let _ = unsafe { madvise(ptr::with_exposed_provenance_mut(start), length, Advice::LinuxDontNeed) };
    }
    epoll::wait(set, buffer, timeout).map(|(events, _)| &*events)
}

/// Where this program is mapped without the right to write: its first segments, as far as they lie side by side (a hole
/// between them may hold something else). Whole pages.
fn program(page: usize) -> (usize, usize) {
    extern "C" fn first(object: *mut libc::dl_phdr_info, _: usize, found: *mut c_void) -> c_int {
        // SAFETY: dl_iterate_phdr(3) passes a valid description of a loaded object, whose headers are readable, and the
        // pointer that it was given.
        let (base, headers, found) = unsafe {
            let object = &*object;
            let headers = core::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum));
            (object.dlpi_addr, headers, &mut *found.cast::<Mapped>())
        };
        let page = found.page;
        for segment in headers.iter().filter(|header| header.p_type == libc::PT_LOAD) {
            #[allow(clippy::cast_possible_truncation, clippy::unnecessary_cast, reason = "addresses of this processor")]
            let (from, bytes) = ((base + segment.p_vaddr) as usize, segment.p_memsz as usize);
            let start = from / page * page;
            if segment.p_flags & libc::PF_W != 0 || found.end != 0 && start > found.end {
                break;
            }
            if found.end == 0 {
                found.start = start;
            }
            found.end = (from + bytes).next_multiple_of(page);
        }
        1 // no other object: the first one is the program
    }
    let mut found = Mapped { page, start: 0, end: 0 };
    // SAFETY: the callback has the right type, and what it is given lives as long as the call.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut found).cast()) };
    (found.start, found.end - found.start)
}

/// What [`program`] looks for.
struct Mapped {
    page: usize,
    start: usize,
    end: usize,
}

/// Lets go of the stack below the caller.
#[inline(never)] // the frame must be the lowest one
fn forget_stack(page: usize) {
    const DEEPEST_BYTES: usize = 128 * 1024;
    let here = 0_u8;
    // what is below this frame belongs to the call of madvise
    const CALL_BYTES: usize = 1024;
    let end = ((&raw const here).addr() - CALL_BYTES) / page * page;
    let start = ptr::with_exposed_provenance_mut(end - DEEPEST_BYTES);
    // SAFETY: nothing is alive below the stack pointer, and the kernel keeps other mappings 1 MB away from the stack.
    // What was never touched is not mapped; ENOMEM tells so, and the rest is done.
    let _ = unsafe { madvise(start, DEEPEST_BYTES, Advice::LinuxDontNeed) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;

    #[test]
    fn the_program_lies_in_the_ballast_and_goes_on_without_it() {
        let page = page_bytes();
        let (start, length) = program(page);
        let code = wait as *const () as usize;
        assert!((start..start + length).contains(&code) && start % page == 0 && length % page == 0);
        let (set, pipe) = (epoll::create(epoll::CreateFlags::CLOEXEC).unwrap(), rustix::pipe::pipe().unwrap());
        epoll::add(&set, &pipe.0, epoll::EventData::new_u64(7), epoll::EventFlags::IN).unwrap();
        let mut buffer = [MaybeUninit::uninit(); 2];
        let mut ballast = Some(Ballast { start, length });
        let none = Timespec::default();
        assert!(wait(set.as_fd(), &mut buffer, Some(&none), &mut ballast).unwrap().is_empty());
        assert!(ballast.is_none());
        rustix::io::write(&pipe.1, b"x").unwrap();
        let events = wait(set.as_fd(), &mut buffer, None, &mut ballast).unwrap();
        assert_eq!(events.iter().map(|event| event.data.u64()).collect::<Vec<_>>(), [7]);
    }
}

//! Waiting, with as little memory as can be, and looking without waiting.

use core::mem::MaybeUninit;
use core::ops::Range;
use core::ptr;
use rustix::event::epoll::{self, Event};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::mm::{Advice, madvise};

use super::environment::{auxiliary, page_bytes};

/// Memory that only work needs, and that is let go when there is none: the pages of the program file, which come
/// back from the page cache without a read from the disk, and the stack below the loop.
pub struct Ballast {
    program: Program,
    /// The next wait drops it.
    idle: bool,
}

/// The mappings of the program file that nobody writes to, in whole pages; those that it does not have are empty. What
/// lies between two of them is not ours.
type Program = [Range<usize>; 3];

/// It stays for so long after the last event.
const QUIET: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

impl Ballast {
    /// Finds it; the first wait drops what the start has left.
    pub fn find() -> Self {
        const WAIT_BYTES: usize = 512;
        let page = page_bytes();
        let program = program();
        // The kernel maps the 64 kB around a page that is asked for, but not beyond its mapping. With an advice of its
        // own (which changes nothing else for pages that are there) `wait` has its own.
        let code = wait as *const () as usize;
        let (first, end) = (code / page * page, (code + WAIT_BYTES).next_multiple_of(page));
        if program.iter().any(|part| part.start <= first && end <= part.end) {
            // SAFETY: this advice changes no content.
            let _ = unsafe { madvise(ptr::with_exposed_provenance_mut(first), end - first, Advice::Random) };
        }
        Self { program, idle: true }
    }

    /// epoll_wait(2); an event ends it, the timeout, or, after work, a quarter of a second without any. In the last
    /// case, and at the end of the start, the next call drops the ballast first.
    ///
    /// # Errors
    /// Those of epoll_wait(2).
    pub fn wait<'b>(
        &mut self,
        set: BorrowedFd<'_>,
        buffer: &'b mut [MaybeUninit<Event>],
        timeout: Option<&Timespec>,
    ) -> Result<&'b [Event], Errno> {
        let long = timeout.is_none_or(|timeout| timeout.tv_sec > 0 || timeout.tv_nsec > QUIET.tv_nsec);
        let quiet = Some(&QUIET).filter(|_| long && !self.idle);
        if self.idle {
            forget_stack();
        }
        let events = wait(set, buffer, quiet.or(timeout), self.idle.then_some(&self.program))?;
        self.idle = events.is_empty() && quiet.is_some();
        Ok(events)
    }
}

/// epoll_wait(2). What is to be dropped is dropped before: until something happens this function is all that is there
/// of the program.
///
/// # Errors
/// Those of epoll_wait(2).
#[inline(never)] // see above
pub fn wait<'b>(
    set: BorrowedFd<'_>,
    buffer: &'b mut [MaybeUninit<Event>],
    timeout: Option<&Timespec>,
    program: Option<&Program>,
) -> Result<&'b [Event], Errno> {
    if let Some(program) = program {
        for Range { start, end } in program {
            if start < end {
                // SAFETY: the mapping of a file that nobody can write to; whoever reads it next finds the same bytes.
                let _ =
                    unsafe { madvise(ptr::with_exposed_provenance_mut(*start), end - start, Advice::LinuxDontNeed) };
            }
        }
    }
    epoll::wait(set, buffer, timeout).map(|(events, _)| &*events)
}

/// What poll(2) tells of a descriptor at this moment: what is asked for, errors and a hang-up. Nothing where it fails.
pub fn ready(fd: BorrowedFd<'_>, asked: PollFlags) -> PollFlags {
    let mut fd = [PollFd::from_borrowed_fd(fd, asked)];
    let _ = poll(&mut fd, Some(&Timespec::default())); // see above
    fd[0].revents()
}

/// Where this program is mapped without the right to write: its first segments.
fn program() -> Program {
    // SAFETY: the kernel tells where the headers of the program are, and how many; they are mapped as long as it runs.
    let headers = unsafe {
        let first = ptr::with_exposed_provenance::<Header>(auxiliary(libc::AT_PHDR, 0));
        if first.is_null() { &[] } else { core::slice::from_raw_parts(first, auxiliary(libc::AT_PHNUM, 0)) }
    };
    // one of them tells of themselves; without it the program lies where it was linked to
    let own = headers.iter().find(|header| header.p_type == libc::PT_PHDR);
    let base = own.map_or(0, |own| headers.as_ptr().addr().wrapping_sub(number(own.p_vaddr)));
    let page = page_bytes();
    let segments = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let mut found: Program = [0..0, 0..0, 0..0];
    for (segment, part) in segments.take_while(|segment| segment.p_flags & libc::PF_W == 0).zip(&mut found) {
        let from = base.wrapping_add(number(segment.p_vaddr));
        *part = from / page * page..(from + number(segment.p_memsz)).next_multiple_of(page);
    }
    found
}

#[cfg(target_pointer_width = "32")]
type Header = libc::Elf32_Phdr;
#[cfg(target_pointer_width = "64")]
type Header = libc::Elf64_Phdr;

#[cfg(target_pointer_width = "32")]
type Word = u32;
#[cfg(target_pointer_width = "64")]
type Word = u64;

/// An address or size of this processor.
#[allow(clippy::cast_possible_truncation, reason = "it has that width")]
const fn number(word: Word) -> usize {
    word as usize
}

/// Lets go of the stack below the caller.
#[inline(never)] // the frame must be the lowest one
fn forget_stack() {
    const DEEPEST_BYTES: usize = 128 * 1024;
    let here = 0_u8;
    // what is below this frame belongs to the call of madvise
    const CALL_BYTES: usize = 1024;
    let page = page_bytes();
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
        let mut ballast = Ballast { program: program(), idle: true };
        let code = wait as *const () as usize;
        assert!(ballast.program.iter().any(|part| part.contains(&code)));
        assert!(ballast.program.iter().all(|part| part.start.is_multiple_of(page) && part.end.is_multiple_of(page)));
        let (set, pipe) = (epoll::create(epoll::CreateFlags::CLOEXEC).unwrap(), rustix::pipe::pipe().unwrap());
        epoll::add(&set, &pipe.0, epoll::EventData::new_u64(7), epoll::EventFlags::IN).unwrap();
        let mut buffer = [MaybeUninit::uninit(); 2];
        let none = Timespec::default();
        assert!(ballast.wait(set.as_fd(), &mut buffer, Some(&none)).unwrap().is_empty());
        assert!(!ballast.idle, "a deadline is work");
        assert!(ballast.wait(set.as_fd(), &mut buffer, None).unwrap().is_empty(), "it waits for quiet");
        assert!(ballast.idle);
        rustix::io::write(&pipe.1, b"x").unwrap();
        let events = ballast.wait(set.as_fd(), &mut buffer, None).unwrap();
        assert_eq!(events.iter().map(|event| event.data.u64()).collect::<Vec<_>>(), [7]);
        assert!(!ballast.idle);
    }
}

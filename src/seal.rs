//! The allocator seal: memory is taken while the program starts, and never again.
//!
//! Until [`seal`] the heap is a row of mapped chunks that are filled from one end. Nothing is given back, since a
//! start-up is short and a command shorter: the compiler then leaves out all that would free something. The seal unmaps
//! the chunks, so the parser's memory is gone before the first client comes; what goes on behind it keeps nothing
//! there. Debug builds, which the tests run, count blocks and end the program if one lives at the seal. Afterwards an
//! allocation is a bug: it ends the program in debug builds and is served but counted otherwise ([`late_allocations`],
//! must be 0).
#![allow(unsafe_code)]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::sys::patience;

/// Bytes of the first chunk, which is enough for a few services, and of the others; a larger request gets a chunk of
/// its own size. The pages of a chunk are there at once: taking them one by one, as they are touched, would be a fifth
/// of the start-up.
const CHUNK_BYTES: [usize; 2] = [32 * 1024, 128 * 1024];
/// What stands at the beginning of each chunk.
const HEADER_BYTES: usize = 32;

static SEALED: AtomicBool = AtomicBool::new(false);
static LATE: AtomicUsize = AtomicUsize::new(0);
static HEAP: Heap =
    Heap { locked: AtomicBool::new(false), state: UnsafeCell::new(State { chunk: ptr::null_mut(), used: 0, live: 0 }) };

/// The global allocator of the program.
pub struct StartupHeap;

struct Heap {
    locked: AtomicBool,
    state: UnsafeCell<State>,
}

// SAFETY: `state` is only touched between `lock` and `unlock`.
unsafe impl Sync for Heap {}

struct State {
    /// The chunk in use; each begins with a [`Header`] that leads to the one before.
    chunk: *mut u8,
    /// Bytes used in it.
    used: usize,
    /// Blocks given out and not returned; counted in debug builds.
    live: usize,
}

#[derive(Clone, Copy)]
struct Header {
    previous: *mut u8,
    size: usize,
}

/// Ends the time of allocations, and returns the start-up heap to the kernel.
pub fn seal() {
    SEALED.store(true, Ordering::Release);
    patience::set(0); // the loop never waits
    if live_blocks() > 0 {
        bug(b"dormouse: bug: a block of the start-up heap is alive at the seal\n");
    }
    HEAP.with(|state| {
        while !state.chunk.is_null() {
            // SAFETY: every chunk begins with its header and was mapped with that size; nothing lives in it.
            state.chunk = unsafe {
                let header = state.chunk.cast::<Header>().read();
                let _ = munmap(state.chunk.cast(), header.size); // it cannot fail for what was mapped
                header.previous
            };
        }
    });
}

/// Allocations since the seal.
pub fn late_allocations() -> usize {
    LATE.load(Ordering::Relaxed)
}

/// Blocks of the start-up heap that are still in use, in debug builds; otherwise 0.
fn live_blocks() -> usize {
    HEAP.with(|state| state.live)
}

impl Heap {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        while self.locked.swap(true, Ordering::Acquire) {
            core::hint::spin_loop();
        }
        // SAFETY: the lock is held, so this is the only reference.
        let result = act(unsafe { &mut *self.state.get() });
        self.locked.store(false, Ordering::Release);
        result
    }
}

impl State {
    fn allocate(&mut self, layout: Layout) -> *mut u8 {
        let fits = |used: usize, size: usize| {
            let at = used.checked_next_multiple_of(layout.align())?;
            let end = at.checked_add(layout.size())?;
            (end <= size).then_some((at, end))
        };
        // SAFETY: a chunk begins with its header.
        let size = if self.chunk.is_null() { 0 } else { unsafe { self.chunk.cast::<Header>().read().size } };
        let place = fits(self.used, size).or_else(|| {
            let needed = layout.size().checked_add(layout.align())?.checked_add(HEADER_BYTES)?;
            let size = needed.max(CHUNK_BYTES[usize::from(!self.chunk.is_null())]);
            self.map(size).then(|| fits(HEADER_BYTES, size)).flatten()
        });
        let Some((at, end)) = place else { return ptr::null_mut() };
        self.used = end;
        self.live += usize::from(cfg!(debug_assertions));
        // SAFETY: `at` lies in the chunk.
        unsafe { self.chunk.add(at) }
    }

    fn map(&mut self, size: usize) -> bool {
        // SAFETY: a new private mapping touches no other memory; the header is written into it.
        unsafe {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
            let chunk = loop {
                match mmap_anonymous(ptr::null_mut(), size, protection, flags) {
                    Ok(chunk) => break chunk,
                    Err(_) if patience::pause() > 0 => {}
                    Err(_) => return false,
                }
            };
            chunk.cast::<Header>().write(Header { previous: self.chunk, size });
            self.chunk = chunk.cast();
        }
        self.used = HEADER_BYTES;
        true
    }

    /// Whether a block is the last one of the chunk in use.
    fn is_last(&self, block: *mut u8, size: usize) -> bool {
        !self.chunk.is_null() && block.wrapping_add(size) == self.chunk.wrapping_add(self.used)
    }
}

// SAFETY: blocks are aligned as asked, do not overlap and stay mapped until the seal finds none alive.
unsafe impl GlobalAlloc for StartupHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if SEALED.load(Ordering::Acquire) {
            refuse();
        }
        let block = HEAP.with(|state| state.allocate(layout));
        if block.is_null() {
            give_up();
        }
        block
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {
        if cfg!(debug_assertions) {
            HEAP.with(|state| state.live = state.live.saturating_sub(1));
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let grown = HEAP.with(|state| {
            // SAFETY: `is_last` says that there is a chunk.
            let last = state.is_last(block, layout.size())
                && state.used - layout.size() + new_size <= unsafe { state.chunk.cast::<Header>().read().size };
            if last {
                state.used = state.used - layout.size() + new_size;
            }
            last
        });
        if grown {
            return block;
        }
        // SAFETY: the alignment is that of a valid layout; the caller checked the new size.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(new_size, layout.align())) };
        if !new.is_null() {
            // SAFETY: two blocks that do not overlap, each at least that large.
            unsafe {
                ptr::copy_nonoverlapping(block, new, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
        }
        new
    }
}

/// The start cannot go on without memory: the exit code is that of a failed system call.
#[cold]
fn give_up() {
    const TEXT: &[u8] = b"dormouse: error: out of memory (ENOMEM)\n";
    // SAFETY: a valid buffer; nothing is cleaned up, as nothing is there yet that outlives the process.
    unsafe {
        libc::write(2, TEXT.as_ptr().cast(), TEXT.len());
        libc::_exit(71);
    }
}

/// An allocation after the seal: a bug.
#[cold]
fn refuse() {
    LATE.fetch_add(1, Ordering::Relaxed);
    // a panic has its own message to tell
    if cfg!(debug_assertions) && !std::thread::panicking() {
        bug(b"dormouse: bug: an allocation after the seal\n");
    }
}

fn bug(text: &[u8]) {
    if cfg!(debug_assertions) {
        // SAFETY: a valid buffer; abort ends the process.
        unsafe {
            libc::write(2, text.as_ptr().cast(), text.len());
            libc::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_do_not_overlap_and_the_last_one_grows_in_place() {
        let heap = StartupHeap;
        let layout = Layout::from_size_align(100, 16).unwrap();
        // SAFETY: valid layouts; each block is freed with the layout it has then.
        unsafe {
            let first = heap.alloc(layout);
            let second = heap.alloc(layout);
            assert!(second >= first.add(100) && second.addr().is_multiple_of(16));
            first.write_bytes(1, 100);
            second.write_bytes(2, 100);
            assert_eq!(heap.realloc(second, layout, 1000), second);
            let moved = heap.realloc(first, layout, 300);
            assert_ne!(moved, first);
            assert_eq!(moved.add(99).read(), 1);
            let large = heap.alloc(Layout::from_size_align(3 * CHUNK_BYTES[1], 64).unwrap());
            assert!(!large.is_null() && large.addr().is_multiple_of(64));
            assert_eq!(live_blocks(), 3);
            heap.dealloc(large, Layout::from_size_align(3 * CHUNK_BYTES[1], 64).unwrap());
            heap.dealloc(second, Layout::from_size_align(1000, 16).unwrap());
            heap.dealloc(moved, Layout::from_size_align(300, 16).unwrap());
            assert_eq!(live_blocks(), 0);
        }
    }
}

//! Waiting for a user, a group, a port or a machine by its name: inotify(7) says when one of their files is another
//! one.
//!
//! Watched only while something is left out because such a name is missing.

use core::mem::MaybeUninit;
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;

use crate::plan::FIRST_OWN_FD;
use crate::sys::process::above;

/// Where names are looked up, see [`crate::sys::users`].
const FILES: [&[u8]; 4] = [b"passwd", b"group", b"services", b"hosts"];
/// Bytes of events in one read(2). One has 16 bytes and a name.
const EVENTS_BYTES: usize = 1024;

/// Starts to watch, with a descriptor that no child gets by number.
///
/// # Errors
/// ENOSYS: this kernel has no inotify; EMFILE, ENFILE. Then only a reload tells.
pub fn watch() -> Result<OwnedFd, Errno> {
    let events = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    // programs that change them write another file and give it the name, people write into it
    add_watch(&events, c"/etc", WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE)?;
    Ok(above(events, FIRST_OWN_FD))
}

/// Reads all that has come. True: such a file has been written. News that was lost counts as such.
#[inline(never)] // the buffer must not lie in the frame of the loop, which lasts
pub fn drain(events: &OwnedFd) -> bool {
    let mut buffer = [MaybeUninit::uninit(); EVENTS_BYTES];
    let mut events = Reader::new(events, &mut buffer);
    let mut news = false;
    // EAGAIN: that was all
    while let Ok(event) = events.next() {
        news |= event.file_name().is_none_or(|name| FILES.contains(&name.to_bytes()));
    }
    news
}

//! What this process was started with: variables that must not be passed on, descriptors that were handed over.

use rustix::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_getfd};

/// Removes a variable from our own environment, so that no child sees it. Only before the loop: the program has one
/// thread there and nobody holds a pointer into the environment.
pub fn remove(name: &str) {
    // SAFETY: this program is single-threaded, so nobody reads the environment at the same time.
    unsafe { std::env::remove_var(name) }
}

/// Looks at the inherited descriptor `number` without taking it over.
///
/// # Errors
/// EBADF: no such descriptor.
pub fn borrow_inherited(number: RawFd) -> Result<BorrowedFd<'static>, Errno> {
    if number < 3 {
        return Err(Errno::BADF);
    }
    // SAFETY: only used for questions to the kernel, which says EBADF where there is none; it is not one of our own.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_getfd(borrowed).map(|_| borrowed)
}

/// Closes every descriptor from 3 on that was open when we were started and is not one of ours (ours have
/// `FD_CLOEXEC`), so that none of them reaches a child or lies where a child's belong. Where /proc is missing the
/// first 1024 numbers are looked at.
pub fn close_inherited() {
    let listed = std::fs::read_dir("/proc/self/fd").map(|entries| {
        let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        names.collect::<Vec<RawFd>>()
    });
    for number in listed.unwrap_or_else(|_| (3..1024).collect()) {
        if let Ok(inherited) = borrow_inherited(number)
            && fcntl_getfd(inherited).is_ok_and(|flags| !flags.contains(FdFlags::CLOEXEC))
        {
            // SAFETY: it was open before this program ran and has not been taken over, so nothing here owns it.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
}

/// Takes over the inherited descriptor `number` and moves it to `least` or above, with `FD_CLOEXEC` (trap: a
/// descriptor that a parent meant for us can lie where our own are about to go).
///
/// # Errors
/// EBADF: no such descriptor, or one with `FD_CLOEXEC`, which is one of our own and not inherited. EMFILE.
pub fn take_descriptor(number: RawFd, least: RawFd) -> Result<OwnedFd, Errno> {
    if number < 3 {
        return Err(Errno::BADF);
    }
    // SAFETY: only borrowed for a question to the kernel, which says EBADF where there is none.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    if fcntl_getfd(borrowed)?.contains(FdFlags::CLOEXEC) {
        return Err(Errno::BADF);
    }
    let moved = fcntl_dupfd_cloexec(borrowed, least)?;
    // SAFETY: it is open (asked above) and inherited, so nothing in this process owns it yet; everything that we
    // open ourselves has FD_CLOEXEC.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
    Ok(moved)
}

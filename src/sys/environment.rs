//! What this process was started with: variables that must not be passed on, descriptors that were handed over.

use core::ffi::{CStr, c_char, c_int};
use core::ops::Range;
use rustix::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_getfd, fcntl_setfd};
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::proc;
use super::process::close_range;

/// Our own environment, `NAME=VALUE` each (environ(7)). Takes no memory.
pub fn variables() -> impl Iterator<Item = &'static CStr> {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    let mut index = 0;
    core::iter::from_fn(move || {
        // SAFETY: the array ends with a null pointer, where this iterator stops. Its strings lie where the kernel put
        // them or are never freed, and nobody changes it at the same time: the program has one thread.
        let text = unsafe {
            let next = if environ.is_null() { return None } else { *environ.add(index) };
            (!next.is_null()).then(|| CStr::from_ptr(next))?
        };
        index += 1;
        Some(text)
    })
}

/// The path by which the kernel executed this program (getauxval(3), `AT_EXECFN`): as the caller gave it or found it
/// in PATH, symbolic links and all. Empty where the kernel does not tell.
pub fn executed_path() -> &'static CStr {
    // SAFETY: the value is null or the address of a NUL-ended string on the initial stack, which stays.
    unsafe {
        let path = libc::getauxval(libc::AT_EXECFN) as *const c_char;
        if path.is_null() { c"" } else { CStr::from_ptr(path) }
    }
}

/// Bytes of a page of memory (`AT_PAGESZ`).
pub fn page_bytes() -> usize {
    auxiliary(libc::AT_PAGESZ, 4096)
}

/// Clock ticks in a second, in which /proc tells CPU time (`AT_CLKTCK`).
pub fn ticks_per_second() -> usize {
    auxiliary(libc::AT_CLKTCK, 100)
}

/// A number that the kernel has handed over at the start (getauxval(3)); by the C library, which has it anyway.
pub(super) fn auxiliary(kind: libc::c_ulong, usual: usize) -> usize {
    // SAFETY: takes no pointer; an unknown kind gives 0.
    match unsafe { libc::getauxval(kind) } {
        0 => usual,
        value => usize::try_from(value).unwrap_or(usual),
    }
}

/// The words of the command line, as the C library hands them to `main`.
///
/// # Safety
/// `words` points to `count` pointers to NUL-ended strings.
pub unsafe fn arguments(count: c_int, words: *const *const c_char) -> Vec<OsString> {
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: by the contract above.
    let word = |index| unsafe { CStr::from_ptr(*words.add(index)) };
    (0..count).map(|index| OsString::from_vec(word(index).to_bytes().to_vec())).collect()
}

/// The value of a variable of our own environment.
pub fn value(name: &str) -> Option<&'static OsStr> {
    variables().find_map(|variable| value_of(name, variable))
}

/// The value of a variable of our own environment, if it is text.
pub fn text(name: &str) -> Option<&'static str> {
    value(name)?.to_str()
}

/// A folder of the system, or where an ordinary user with a session has what lies in it, if it is one of /run,
/// /var/lib, /var/cache, /var/log and /etc (systemd.exec(5), RuntimeDirectory=).
pub fn folder(system: &str) -> Cow<'_, str> {
    own_folder(system).map_or(Cow::Borrowed(system), Cow::Owned)
}

fn own_folder(system: &str) -> Option<String> {
    let run = text("XDG_RUNTIME_DIR").filter(|_| !rustix::process::geteuid().is_root())?;
    let (name, usual, end) = match system {
        "/run" => return Some(run.to_owned()),
        "/var/lib" => ("XDG_STATE_HOME", "/.local/state", ""),
        "/var/cache" => ("XDG_CACHE_HOME", "/.cache", ""),
        "/var/log" => ("XDG_STATE_HOME", "/.local/state", "/log"),
        "/etc" => ("XDG_CONFIG_HOME", "/.config", ""),
        _ => return None,
    };
    let home = || Some([text("HOME")?, usual].concat());
    Some(text(name).map(str::to_owned).or_else(home)? + end)
}

fn value_of<'a>(name: &str, variable: &'a CStr) -> Option<&'a OsStr> {
    let value = variable.to_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
    Some(OsStr::from_bytes(value))
}

/// Removes a variable from our own environment, so that no child sees it. Only before the loop: the program has one
/// thread there and nobody walks through the environment.
pub fn remove(name: &str) {
    unsafe extern "C" {
        static environ: *mut *const c_char;
    }
    // SAFETY: the array ends with a null pointer and lies where the kernel or the C library may write; this program has
    // one thread, so nobody reads it at the same time. The strings stay.
    unsafe {
        let (mut from, mut to) = (environ, environ);
        while !from.is_null() {
            let variable = *from;
            *to = variable;
            if variable.is_null() {
                break;
            }
            if value_of(name, CStr::from_ptr(variable)).is_none() {
                to = to.add(1);
            }
            from = from.add(1);
        }
    }
}

/// Looks at the inherited descriptor `number` without taking it over.
///
/// # Errors
/// EBADF: no such descriptor.
pub fn borrow_inherited(number: RawFd) -> Result<BorrowedFd<'static>, Errno> {
    with_flags(number).map(|(borrowed, _)| borrowed)
}

fn with_flags(number: RawFd) -> Result<(BorrowedFd<'static>, FdFlags), Errno> {
    if number < 3 {
        return Err(Errno::BADF);
    }
    // SAFETY: only used for questions to the kernel, which says EBADF where there is none; it is not one of our own.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    Ok((borrowed, fcntl_getfd(borrowed)?))
}

/// The descriptors from 3 on that were open when we were started and are not ours yet (ours have `FD_CLOEXEC`). Where
/// /proc is missing the first 1024 numbers are looked at.
pub fn inherited() -> Vec<RawFd> {
    let mut numbers = Vec::new();
    let told = proc::for_each_number(c"/proc/self/fd", &mut |number| {
        numbers.push(number);
        true
    });
    if !told {
        numbers.extend(3..1024);
    }
    numbers.retain(|&number| with_flags(number).is_ok_and(|(_, flags)| !flags.contains(FdFlags::CLOEXEC)));
    numbers
}

/// Closes every inherited descriptor but those below `first` and `kept`, so that none of them reaches a child or lies
/// where a child's belong (close_range(2)). Only before anything of ours is opened.
pub fn close_inherited_from(first: RawFd, kept: Option<RawFd>) {
    let kept = kept.filter(|kept| *kept >= first);
    let ranges = match kept {
        Some(kept) => [first..kept, kept.saturating_add(1)..RawFd::MAX],
        None => [first..RawFd::MAX, 0..0],
    };
    let close = |range: Range<RawFd>| close_range(range.start.unsigned_abs(), range.end.unsigned_abs() - 1, 0).is_ok();
    if !ranges.into_iter().filter(|range| !range.is_empty()).all(close) {
        close_all(inherited().into_iter().filter(|number| *number >= first && Some(*number) != kept));
    }
}

/// Closes every descriptor of [`inherited`].
pub fn close_inherited() {
    close_all(inherited().into_iter());
}

/// Closes the inherited descriptor `number`, if it is one.
pub fn forsake(number: RawFd) {
    let inherited = with_flags(number).is_ok_and(|(_, flags)| !flags.contains(FdFlags::CLOEXEC));
    close_all(inherited.then_some(number).into_iter());
}

fn close_all(numbers: impl Iterator<Item = RawFd>) {
    for number in numbers {
        // SAFETY: it was open before this program ran and has not been taken over, so nothing here owns it.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    }
}

/// Takes over the inherited descriptor `number`, with `FD_CLOEXEC`; one below `least` is moved there or above (trap: a
/// descriptor that a parent meant for us can lie where our own are about to go).
///
/// # Errors
/// EBADF: no such descriptor, or one with `FD_CLOEXEC`, which is one of our own and not inherited. EMFILE, ENOMEM: it
/// is as it was, and may be taken over later.
pub fn reclaim(number: RawFd, least: RawFd) -> Result<OwnedFd, Errno> {
    let (borrowed, flags) = with_flags(number)?;
    if flags.contains(FdFlags::CLOEXEC) {
        return Err(Errno::BADF);
    }
    let moved = if number < least { Some(fcntl_dupfd_cloexec(borrowed, least)?) } else { None };
    fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: it is open (asked above) and was inherited, so nothing in this process owns it yet; everything that we
    // open ourselves has FD_CLOEXEC.
    let taken = unsafe { OwnedFd::from_raw_fd(number) };
    Ok(moved.unwrap_or(taken))
}

/// Lets a descriptor stay open over the next exec, or not.
///
/// # Errors
/// None for an open descriptor.
pub fn set_inheritable(fd: BorrowedFd<'_>, inheritable: bool) -> Result<(), Errno> {
    fcntl_setfd(fd, if inheritable { FdFlags::empty() } else { FdFlags::CLOEXEC })
}

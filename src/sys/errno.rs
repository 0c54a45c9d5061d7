//! The text of an error number without taking memory.

use core::ffi::CStr;
use rustix::io::Errno;

/// The last error number that Linux has (errno(3), EHWPOISON; 1133 on MIPS counts differently and has them all below).
const LAST: i32 = if cfg!(any(target_arch = "mips", target_arch = "mips64")) { 168 } else { 133 };

/// What an error number means, in the words of the C library ("Address already in use"). Takes no memory, so that it
/// can be used after the seal; the `Display` of [`std::io::Error`] can't.
pub fn text(errno: Errno) -> &'static str {
    let number = errno.raw_os_error();
    if !(1..=LAST).contains(&number) {
        return "unknown error";
    }
    // SAFETY: for a known number both musl and glibc give a text of their own read-only data (no locale is set), which
    // is never changed or freed.
    let text = unsafe { CStr::from_ptr(libc::strerror(number)) };
    text.to_str().unwrap_or("unknown error")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_unknown_numbers_have_a_text() {
        assert_eq!(text(Errno::NOENT), "No such file or directory");
        assert_eq!(text(Errno::from_raw_os_error(4000)), "unknown error");
    }
}

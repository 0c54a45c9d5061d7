//! Users, groups and services of the system, by the C library (getpwnam(3), getgrnam(3), getgrouplist(3)). Only before
//! the seal: these calls read files and allocate.

use core::ffi::CStr;
use std::ffi::CString;

/// What the system says of a user (passwd(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Login name.
    pub name: String,
    /// Home folder.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// Looks a user up by name, or by number where `name` is one that no user bears as a name.
pub fn user(name: &str) -> Option<User> {
    let text = CString::new(name).ok()?;
    // SAFETY: a NUL-ended name; the result is read before the next call, and there is no other thread.
    let mut entry = unsafe { libc::getpwnam(text.as_ptr()) };
    if entry.is_null() {
        let uid = name.parse().ok()?;
        // SAFETY: as above.
        entry = unsafe { libc::getpwuid(uid) };
    }
    if entry.is_null() {
        return None;
    }
    // SAFETY: a non-null result points to a valid entry whose strings are NUL-ended or null.
    Some(unsafe {
        let entry = &*entry;
        User {
            uid: entry.pw_uid,
            gid: entry.pw_gid,
            name: owned(entry.pw_name),
            home: owned(entry.pw_dir),
            shell: owned(entry.pw_shell),
        }
    })
}

/// Looks a group up by name, or takes a number as it is.
pub fn group(name: &str) -> Option<u32> {
    let text = CString::new(name).ok()?;
    // SAFETY: a NUL-ended name; the result is read before the next call, and there is no other thread.
    let entry = unsafe { libc::getgrnam(text.as_ptr()) };
    if entry.is_null() {
        return name.parse().ok();
    }
    // SAFETY: a non-null result points to a valid entry.
    Some(unsafe { (*entry).gr_gid })
}

/// The groups of a user with primary group `gid`, that one included (getgrouplist(3)).
pub fn groups_of(name: &str, gid: u32) -> Vec<u32> {
    let Ok(text) = CString::new(name) else { return vec![gid] };
    let mut count: libc::c_int = 64;
    loop {
        let mut groups = vec![0; usize::try_from(count).unwrap_or(64)];
        // SAFETY: `groups` has room for `count` numbers; the call writes at most that many and says how many it needs.
        let result = unsafe { libc::getgrouplist(text.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) };
        if result >= 0 {
            groups.truncate(usize::try_from(count).unwrap_or(0));
            return groups;
        }
        if usize::try_from(count).map_or(true, |needed| needed <= groups.len()) {
            return vec![gid];
        }
    }
}

/// The port of a service of services(5), in host byte order; `protocol` is `tcp` or `udp`.
pub fn service_port(name: &str, protocol: &CStr) -> Option<u16> {
    let text = CString::new(name).ok()?;
    // SAFETY: two NUL-ended strings; the result is read before the next call, and there is no other thread.
    let entry = unsafe { libc::getservbyname(text.as_ptr(), protocol.as_ptr()) };
    if entry.is_null() {
        return None;
    }
    // SAFETY: a non-null result points to a valid entry; s_port holds 16 bits in network byte order.
    let port = unsafe { (*entry).s_port };
    u16::try_from(port).ok().map(u16::from_be)
}

/// # Safety
/// `text` is null or points to a NUL-ended string.
unsafe fn owned(text: *const libc::c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: by the contract above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_by_name_and_by_number() {
        let root = user("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(user("0").unwrap(), root);
        assert_eq!(group("root"), Some(0));
        assert!(groups_of("root", 0).contains(&0));
        assert_eq!(user("no such user"), None);
        assert_eq!(group("12345"), Some(12345));
    }
}

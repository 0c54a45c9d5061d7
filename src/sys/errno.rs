//! Words for error numbers, without memory: `no such file or directory (ENOENT)`.
//!
//! The C library's strerror(3) costs more flash than this table and speaks differently on each libc.

use core::fmt;
use rustix::io::Errno;

/// Makes the numbers, and one piece of text with a line per number: no pointers, two bytes per row.
macro_rules! table {
    ($($constant:ident $name:literal $text:literal)*) => {
        const NUMBERS: &[u16] = &[$(number(Errno::$constant)),*];
        const LINES: &str = concat!($($name, " ", $text, "\n"),*);
    };
}

table! {
    PERM "EPERM" "not permitted"
    NOENT "ENOENT" "no such file or directory"
    SRCH "ESRCH" "no such process"
    INTR "EINTR" "interrupted by a signal"
    IO "EIO" "input/output error"
    NXIO "ENXIO" "no such device or nobody at the other end"
    TOOBIG "E2BIG" "arguments and environment are too long"
    NOEXEC "ENOEXEC" "not a program for this machine (or a script without #!)"
    BADF "EBADF" "descriptor is not open"
    CHILD "ECHILD" "no child"
    AGAIN "EAGAIN" "not available right now"
    NOMEM "ENOMEM" "out of memory"
    ACCESS "EACCES" "permission denied"
    FAULT "EFAULT" "bad address in memory"
    BUSY "EBUSY" "busy"
    EXIST "EEXIST" "exists already"
    XDEV "EXDEV" "on another file system"
    NODEV "ENODEV" "no such device"
    NOTDIR "ENOTDIR" "a part of the path is not a directory"
    ISDIR "EISDIR" "is a directory"
    INVAL "EINVAL" "invalid value"
    NFILE "ENFILE" "too many open files in the system"
    MFILE "EMFILE" "too many open files in this process"
    NOTTY "ENOTTY" "not a terminal, or not for this kind of file"
    TXTBSY "ETXTBSY" "program file is being written"
    FBIG "EFBIG" "file is too large"
    NOSPC "ENOSPC" "no space left"
    SPIPE "ESPIPE" "cannot seek"
    ROFS "EROFS" "read-only file system"
    PIPE "EPIPE" "nobody reads at the other end"
    RANGE "ERANGE" "out of range"
    DEADLK "EDEADLK" "would deadlock"
    NAMETOOLONG "ENAMETOOLONG" "name is too long"
    NOSYS "ENOSYS" "not in this kernel"
    NOTEMPTY "ENOTEMPTY" "directory is not empty"
    LOOP "ELOOP" "too many symbolic links, or one that is not followed"
    NODATA "ENODATA" "no data"
    TIME "ETIME" "time is over"
    PROTO "EPROTO" "protocol error"
    BADMSG "EBADMSG" "bad message"
    OVERFLOW "EOVERFLOW" "value is too large"
    ILSEQ "EILSEQ" "invalid character"
    LIBBAD "ELIBBAD" "a shared library is damaged"
    USERS "EUSERS" "too many users"
    NOTSOCK "ENOTSOCK" "not a socket"
    DESTADDRREQ "EDESTADDRREQ" "destination address needed"
    MSGSIZE "EMSGSIZE" "message is too long"
    PROTOTYPE "EPROTOTYPE" "wrong type of socket"
    NOPROTOOPT "ENOPROTOOPT" "socket option not in this kernel"
    PROTONOSUPPORT "EPROTONOSUPPORT" "protocol not in this kernel"
    SOCKTNOSUPPORT "ESOCKTNOSUPPORT" "type of socket not in this kernel"
    OPNOTSUPP "EOPNOTSUPP" "not supported"
    AFNOSUPPORT "EAFNOSUPPORT" "address family not in this kernel"
    ADDRINUSE "EADDRINUSE" "address is in use"
    ADDRNOTAVAIL "EADDRNOTAVAIL" "address is not on this machine"
    NETDOWN "ENETDOWN" "network is down"
    NETUNREACH "ENETUNREACH" "network is unreachable"
    CONNABORTED "ECONNABORTED" "connection aborted"
    CONNRESET "ECONNRESET" "connection reset by the peer"
    NOBUFS "ENOBUFS" "no buffer space"
    ISCONN "EISCONN" "connected already"
    NOTCONN "ENOTCONN" "not connected"
    TIMEDOUT "ETIMEDOUT" "timed out"
    CONNREFUSED "ECONNREFUSED" "connection refused"
    HOSTDOWN "EHOSTDOWN" "host is down"
    HOSTUNREACH "EHOSTUNREACH" "no route to host"
    ALREADY "EALREADY" "under way already"
    INPROGRESS "EINPROGRESS" "under way"
    STALE "ESTALE" "stale file handle"
    DQUOT "EDQUOT" "disk quota exceeded"
    CANCELED "ECANCELED" "cancelled"
    NOTSUP "ENOTSUP" "not supported"
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "error numbers are 1 to 4095")]
const fn number(e: Errno) -> u16 {
    e.raw_os_error() as u16
}

/// Name and text of `e`.
fn find(e: Errno) -> Option<(&'static str, &'static str)> {
    let at = NUMBERS.iter().position(|&known| known == number(e))?;
    LINES.lines().nth(at)?.split_once(' ')
}

/// The symbol, `"ENOENT"`; `"errno"` for one that is not in the table (errno(3)).
#[must_use]
pub fn name(e: Errno) -> &'static str {
    find(e).map_or("errno", |(name, _)| name)
}

/// Plain words, `"no such file or directory"`; `"unknown error"` for one that is not in the table.
#[must_use]
pub fn text(e: Errno) -> &'static str {
    find(e).map_or("unknown error", |(_, text)| text)
}

/// Prints words and symbol: `no such file or directory (ENOENT)`; `unknown error (errno 4095)` if not in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Why(pub Errno);

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text(self.0))?;
        f.write_str(" (")?;
        f.write_str(name(self.0))?;
        if find(self.0).is_none() {
            f.write_str(" ")?;
            fmt::Display::fmt(&number(self.0), f)?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_unknown() {
        assert_eq!((name(Errno::NOENT), text(Errno::NOENT)), ("ENOENT", "no such file or directory"));
        assert_eq!(Why(Errno::ADDRINUSE).to_string(), "address is in use (EADDRINUSE)");
        assert_eq!(Why(Errno::from_raw_os_error(4000)).to_string(), "unknown error (errno 4000)");
    }

    #[test]
    fn the_table_has_a_line_for_each_number() {
        assert_eq!(NUMBERS.len(), LINES.lines().count());
        for line in LINES.lines() {
            let (name, text) = line.split_once(' ').unwrap();
            assert!(name.starts_with('E') && !text.is_empty(), "{line}");
        }
    }

    #[test]
    fn the_names_agree_with_the_c_library() {
        for (constant, word) in
            [(libc::EACCES, "EACCES"), (libc::EMFILE, "EMFILE"), (libc::EADDRNOTAVAIL, "EADDRNOTAVAIL")]
        {
            assert_eq!(name(Errno::from_raw_os_error(constant)), word);
        }
    }
}

//! Socket calls with an address or option given as bytes, as the plan stores them.
//!
//! rustix has these calls with one Rust type for each address family and option. Here one table of bytes serves all
//! of them, vsock and unknown options included.

use core::ffi::{c_int, c_void};
use libc::socklen_t;
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, socket_with};

use super::process::check;
use crate::limits::{FILTER_INSTRUCTIONS, UNIX_PATH_BYTES};

/// `AF_UNIX`.
pub const UNIX: u16 = AddressFamily::UNIX.as_raw();

/// Bytes of the longest socket address (`struct sockaddr_storage`, socket(7)).
pub const ADDRESS_BYTES: usize = 128;

/// A socket of an address family (`AF_*`) by number, `FD_CLOEXEC` set from birth (socket(2)).
///
/// # Errors
/// As socket(2): EAFNOSUPPORT where the kernel lacks the family, EMFILE, ENFILE, ENOBUFS.
pub fn socket(family: u16, kind: SocketType, nonblocking: bool) -> Result<OwnedFd, Errno> {
    let mut flags = SocketFlags::CLOEXEC;
    flags.set(SocketFlags::NONBLOCK, nonblocking);
    socket_with(AddressFamily::from_raw(family), kind, flags, None)
}

/// A `sockaddr_un` as bytes.
pub type Unix = heapless::Vec<u8, { size_of::<u16>() + UNIX_PATH_BYTES + 1 }>;

/// The address of a unix socket: a path and the NUL behind it, or a NUL and the name behind it (unix(7)).
///
/// # Errors
/// ENAMETOOLONG.
pub fn unix(parts: [&[u8]; 2]) -> Result<Unix, Errno> {
    let mut address = Unix::from(UNIX.to_ne_bytes());
    let whole = parts.iter().all(|part| address.extend_from_slice(part).is_ok());
    if whole { Ok(address) } else { Err(Errno::NAMETOOLONG) }
}

/// bind(2) to a `sockaddr` given as bytes.
///
/// # Errors
/// As bind(2).
pub fn bind(socket: BorrowedFd<'_>, address: &[u8]) -> Result<(), Errno> {
    let (at, len) = (address.as_ptr().cast(), socklen(address));
    // SAFETY: the kernel reads `len` bytes from `at`, which is a live slice of that length; it demands no alignment.
    check(unsafe { libc::bind(socket.as_raw_fd(), at, len) }.into())
}

/// connect(2) to a `sockaddr` given as bytes.
///
/// # Errors
/// As connect(2).
pub fn connect(socket: BorrowedFd<'_>, address: &[u8]) -> Result<(), Errno> {
    let (at, len) = (address.as_ptr().cast(), socklen(address));
    // SAFETY: as in `bind`.
    check(unsafe { libc::connect(socket.as_raw_fd(), at, len) }.into())
}

/// Sends a message to a `sockaddr` given as bytes, without waiting (sendto(2)).
///
/// # Errors
/// As sendto(2).
pub fn send_to(socket: BorrowedFd<'_>, message: &[u8], address: &[u8]) -> Result<(), Errno> {
    let flags = (SendFlags::DONTWAIT | SendFlags::NOSIGNAL).bits().cast_signed();
    let (at, len) = (address.as_ptr().cast(), socklen(address));
    // SAFETY: as in `bind`, and the kernel reads a message of its length.
    let sent = unsafe { libc::sendto(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), flags, at, len) };
    if sent < 0 { Err(super::process::last_errno()) } else { Ok(()) }
}

/// The address a socket is bound to, in `buffer` (getsockname(2)). Returns the bytes used.
///
/// # Errors
/// As getsockname(2).
pub fn name<'a>(socket: BorrowedFd<'_>, buffer: &'a mut [u8; ADDRESS_BYTES]) -> Result<&'a [u8], Errno> {
    let mut len = socklen(buffer);
    // SAFETY: the kernel writes at most `len` bytes to the buffer, which is that long, and sets `len`.
    check(unsafe { libc::getsockname(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), &raw mut len) }.into())?;
    Ok(&buffer[..(len as usize).min(ADDRESS_BYTES)])
}

/// Sets a socket option (setsockopt(2)) whose value is given as bytes.
///
/// # Errors
/// As setsockopt(2).
pub fn set_option(socket: BorrowedFd<'_>, level: u16, name: u16, value: &[u8]) -> Result<(), Errno> {
    let (at, len) = (value.as_ptr().cast(), socklen(value));
    // SAFETY: the kernel reads `len` bytes from `at`, which is a live slice of that length. Options whose value holds
    // a pointer are not set this way, see `attach_filter`; a plan can't name them.
    unsafe { set(socket.as_raw_fd(), level.into(), name.into(), at, len) }
}

/// Sets an option whose value is an `int`; what is too large for one becomes the largest.
///
/// # Errors
/// As setsockopt(2).
pub fn set_number(socket: BorrowedFd<'_>, level: i32, name: i32, value: usize) -> Result<(), Errno> {
    set_int(socket, level, name, i32::try_from(value).unwrap_or(i32::MAX))
}

fn set_int(socket: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> Result<(), Errno> {
    let number = |value: i32| u16::try_from(value).unwrap_or(u16::MAX);
    set_option(socket, number(level), number(name), &value.to_ne_bytes())
}

/// Each look at a queue (`MSG_PEEK`) begins behind the one before, or, as usual, at its head (socket(7),
/// `SO_PEEK_OFF`).
///
/// # Errors
/// EOPNOTSUPP: not with sockets of this kind, or not before Linux 4.7 (UDP).
pub fn look_on(socket: BorrowedFd<'_>, on: bool) -> Result<(), Errno> {
    set_int(socket, libc::SOL_SOCKET, libc::SO_PEEK_OFF, if on { 0 } else { -1 })
}

/// Reads an option whose value is an `int` (getsockopt(2)).
///
/// # Errors
/// As getsockopt(2).
pub fn option(socket: BorrowedFd<'_>, level: i32, name: i32) -> Result<i32, Errno> {
    words(socket, level, name).map(|([value], _)| value.cast_signed())
}

/// Whether the interface that a socket is bound to (`SO_BINDTODEVICE`, socket(7)) does not exist any more.
pub fn has_lost_interface(socket: BorrowedFd<'_>) -> bool {
    const NAME_WORDS: usize = libc::IF_NAMESIZE / size_of::<u32>(); // less is EINVAL
    words::<NAME_WORDS>(socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE).is_err_and(|errno| errno == Errno::NODEV)
}

/// Bytes that were sent and have not arrived yet (`SIOCOUTQ`, tcp(7)); 0 where the kernel cannot tell.
pub fn queued(socket: BorrowedFd<'_>) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes an int to the pointer, which is valid during the call. The C library's own ioctl would
    // bring its translations of other requests.
    let told = unsafe { libc::syscall(libc::SYS_ioctl, socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if told == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}

/// Connections that wait to be accepted; `None`: this is no TCP listener (tcp(7), `TCP_INFO`: `tcpi_unacked`).
pub fn waiting(listener: BorrowedFd<'_>) -> Option<u32> {
    const UNACKED: usize = 6;
    let (words, whole) = words::<{ UNACKED + 1 }>(listener, libc::IPPROTO_TCP, libc::TCP_INFO).ok()?;
    Some(words[UNACKED]).filter(|_| whole)
}

/// Packets that the kernel has dropped at this socket: turned away by its filter, or its queue was full. `None`: not
/// known, before Linux 4.12 and for what is not a socket (`SO_MEMINFO`, linux/sock_diag.h: `SK_MEMINFO_DROPS`).
pub fn drops(socket: BorrowedFd<'_>) -> Option<u32> {
    const SO_MEMINFO: i32 = 55;
    const DROPS: usize = 8;
    let (words, whole) = words::<{ DROPS + 1 }>(socket, libc::SOL_SOCKET, SO_MEMINFO).ok()?;
    Some(words[DROPS]).filter(|_| whole)
}

/// Who is at the other end of a unix connection (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The process that connected; 0: it is in a pid namespace that we do not see.
    pub pid: u32,
    /// Its effective user id.
    pub uid: u32,
    /// Its effective group id.
    pub gid: u32,
}

/// Who connected to this unix socket.
///
/// # Errors
/// As getsockopt(2); EINVAL from a kernel that does not tell.
pub fn credentials(socket: BorrowedFd<'_>) -> Result<Credentials, Errno> {
    match words(socket, libc::SOL_SOCKET, libc::SO_PEERCRED)? {
        ([pid, uid, gid], true) => Ok(Credentials { pid, uid, gid }),
        _ => Err(Errno::INVAL),
    }
}

/// The words of an option, and whether the kernel has filled all of them.
fn words<const N: usize>(socket: BorrowedFd<'_>, level: i32, name: i32) -> Result<([u32; N], bool), Errno> {
    let mut words = [0_u32; N];
    let whole = socklen_t::try_from(size_of_val(&words)).map_err(|_| Errno::INVAL)?;
    let mut len = whole;
    let (fd, at) = (socket.as_raw_fd(), words.as_mut_ptr().cast());
    // SAFETY: the kernel writes at most `len` bytes, which is the size of `words`, and sets `len`.
    unsafe { get(fd, level, name, at, &mut len) }?;
    Ok((words, len == whole))
}

/// Attaches a classic BPF program, `struct sock_filter` each as bytes, and locks it: neither we nor a child that gets
/// the socket can take it off (`SO_ATTACH_FILTER` and `SO_LOCK_FILTER`, socket(7)).
///
/// # Errors
/// EINVAL for a program that the kernel does not accept; ENOMEM above net.core.optmem_max; EPERM for a socket that is
/// locked, and without CAP_NET_ADMIN on kernels that ask for it (seen with Linux 6.18).
pub fn attach_filter(socket: BorrowedFd<'_>, program: &[u8]) -> Result<(), Errno> {
    let len = u16::try_from(program.len() / size_of::<libc::sock_filter>()).map_err(|_| Errno::INVAL)?;
    let filter = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    let (at, size) = ((&raw const filter).cast(), size_of_val(&filter));
    let size = socklen_t::try_from(size).map_err(|_| Errno::INVAL)?;
    let fd = socket.as_raw_fd();
    // SAFETY: the kernel copies `size` bytes of the header, then `len` instructions of the program (whatever its
    // alignment), both alive during the call. It does not write through the pointer.
    unsafe { set(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, at, size) }?;
    set_number(socket, libc::SOL_SOCKET, libc::SO_LOCK_FILTER, 1)
}

/// Whether a socket has this filter already: one that an earlier Dormouse has locked cannot be attached again.
#[inline(never)] // its buffer is no part of the loop's own frame
pub fn has_filter(socket: BorrowedFd<'_>, program: &[u8]) -> bool {
    let mut found = [0; FILTER_INSTRUCTIONS * size_of::<libc::sock_filter>()];
    let mut len = socklen_t::try_from(FILTER_INSTRUCTIONS).unwrap_or(0); // this option counts them
    let (fd, at) = (socket.as_raw_fd(), found.as_mut_ptr().cast());
    // SAFETY: the kernel writes at most `len` instructions, for which there is room, and sets `len`.
    let told = unsafe { get(fd, libc::SOL_SOCKET, libc::SO_GET_FILTER, at, &mut len) };
    let whole = found.get(..len as usize * size_of::<libc::sock_filter>());
    told.is_ok() && whole == Some(program)
}

/// Locks the filter of a socket, if it has one.
pub fn lock_filter(socket: BorrowedFd<'_>) {
    // asked with no room for it the kernel tells how long it is
    if words(socket, libc::SOL_SOCKET, libc::SO_GET_FILTER) != Ok(([], true)) {
        let _ = set_number(socket, libc::SOL_SOCKET, libc::SO_LOCK_FILTER, 1); // a FIFO has none
    }
}

/// Length of a slice for the socket calls; what is too long for any of them becomes too long for the kernel.
fn socklen(bytes: &[u8]) -> socklen_t {
    socklen_t::try_from(bytes.len()).unwrap_or(socklen_t::MAX)
}

/// setsockopt(2).
///
/// # Safety
/// What is at `at` is as long as told, and pointers in it are valid.
unsafe fn set(fd: RawFd, level: c_int, name: c_int, at: *const c_void, len: socklen_t) -> Result<(), Errno> {
    // The C library's translates times where a long has 32 bits, and no option of ours holds one. i686 has the call
    // under this number since Linux 4.3.
    #[cfg(not(target_arch = "x86"))]
    // SAFETY: by the contract above.
    return check(unsafe { libc::syscall(libc::SYS_setsockopt, fd, level, name, at, len) });
    #[cfg(target_arch = "x86")]
    // SAFETY: by the contract above.
    return check(unsafe { libc::setsockopt(fd, level, name, at, len) }.into());
}

/// getsockopt(2); as with [`set`].
///
/// # Safety
/// There is room for `len` bytes at `at`.
unsafe fn get(fd: RawFd, level: c_int, name: c_int, at: *mut c_void, len: &mut socklen_t) -> Result<(), Errno> {
    #[cfg(not(target_arch = "x86"))]
    // SAFETY: by the contract above.
    return check(unsafe { libc::syscall(libc::SYS_getsockopt, fd, level, name, at, &raw mut *len) });
    #[cfg(target_arch = "x86")]
    // SAFETY: by the contract above.
    return check(unsafe { libc::getsockopt(fd, level, name, at, &raw mut *len) }.into());
}

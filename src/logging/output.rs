//! Where lines go: standard error, syslogd, the kernel's log. None of them blocks or allocates; a line that cannot be
//! written at once is lost, and it is the caller who counts it.

use crate::sys::clock::{Tick, now};
use crate::sys::wait::ready;
use crate::sys::{socket, stdio};
use core::ffi::CStr;
use rustix::event::PollFlags;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketType, send};

/// Pause between two tries to open what is not there.
const RETRY_MS: u64 = 1_000;

/// Standard error.
///
/// Its O_NONBLOCK flag belongs to all processes that share it, children included, so it must stay as it is. A pipe or
/// terminal is opened once more through /proc instead, which gives a flag of our own. Where that is not possible (no
/// /proc, not our terminal), poll(2) is asked before each line: another writer can be faster then and fill the pipe,
/// and the line waits for the reader.
pub(super) struct Stderr {
    own: Option<OwnedFd>,
    is_socket: bool,
    /// The last line got through in part only, so the next one must begin a new line.
    torn: bool,
}

impl Stderr {
    pub(super) const fn new() -> Self {
        Self { own: None, is_socket: false, torn: false }
    }

    /// Looks what standard error is.
    pub(super) fn open(&mut self) {
        self.open_as(stdio::stderr(), c"/proc/self/fd/2");
    }

    fn open_as(&mut self, fd: BorrowedFd<'_>, path: &CStr) {
        let kind = fstat(fd).map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode));
        self.is_socket = kind == FileType::Socket;
        // A file is not opened again: it would get a position of its own. A pipe without a reader cannot be.
        if matches!(kind, FileType::Fifo | FileType::CharacterDevice) {
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            self.own = open(path, flags, Mode::empty()).ok();
        }
    }

    /// Writes `line`, which ends with a newline and is not longer than PIPE_BUF. False: it is lost.
    pub(super) fn write(&mut self, line: &[u8]) -> bool {
        self.write_to(stdio::stderr(), line)
    }

    fn write_to(&mut self, fd: BorrowedFd<'_>, line: &[u8]) -> bool {
        if self.torn && self.put(fd, b"\n").is_ok() {
            self.torn = false;
        }
        match self.put(fd, line) {
            Ok(written) if written == line.len() => true,
            Ok(_) => {
                self.torn = true;
                false
            }
            Err(_) => false,
        }
    }

    fn put(&self, fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
        if self.is_socket {
            return send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
        match &self.own {
            Some(own) => rustix::io::write(own, bytes),
            None if is_writable(fd) => rustix::io::write(fd, bytes),
            None => Err(Errno::AGAIN),
        }
    }
}

/// Whether a short write would succeed at once, and somebody is there to read it.
pub(super) fn is_writable(fd: BorrowedFd<'_>) -> bool {
    ready(fd, PollFlags::OUT) == PollFlags::OUT
}

/// The socket of syslogd.
pub(super) struct Syslog {
    /// Another path than /dev/log, in tests.
    pub(super) path: Option<&'static CStr>,
    socket: Option<OwnedFd>,
    /// syslogd listens on a stream socket, where a NUL ends each line.
    is_stream: bool,
    retry_at: Tick,
}

impl Syslog {
    pub(super) const fn new() -> Self {
        Self { path: None, socket: None, is_stream: false, retry_at: Tick(0) }
    }

    /// Sends `line`, which has no newline but one byte NUL at its end. False: it is lost.
    pub(super) fn write(&mut self, line: &[u8]) -> bool {
        if let Some(socket) = &self.socket {
            match self.send(socket.as_fd(), line) {
                Ok(()) => return true,
                // It does not keep up. On a stream, too: nothing of this line went out.
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM | Errno::INTR) => return false,
                // It was started anew, or the stream is broken in the middle of a line.
                Err(_) => self.socket = None,
            }
        }
        self.open();
        self.socket.as_ref().is_some_and(|socket| self.send(socket.as_fd(), line).is_ok())
    }

    /// Connects, if the last try is long enough ago.
    pub(super) fn open(&mut self) {
        let now = now();
        if self.socket.is_some() || now < self.retry_at {
            return;
        }
        self.retry_at = now.after_ms(RETRY_MS);
        let Ok(address) = socket::unix([self.path.unwrap_or(c"/dev/log").to_bytes_with_nul(), &[]]) else { return };
        for kind in [SocketType::DGRAM, SocketType::STREAM] {
            let Ok(made) = socket::socket(socket::UNIX, kind, true) else { return };
            match socket::connect(made.as_fd(), &address) {
                Ok(()) => {
                    self.is_stream = kind == SocketType::STREAM;
                    self.socket = Some(made);
                    return;
                }
                Err(Errno::PROTOTYPE) => {}
                Err(_) => return,
            }
        }
    }

    fn send(&self, socket: BorrowedFd<'_>, line: &[u8]) -> Result<(), Errno> {
        let line = if self.is_stream { line } else { line.strip_suffix(b"\0").unwrap_or(line) };
        let sent = send(socket, line, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
        // Part of a line on a stream: the rest would be taken for a line of its own.
        if sent == line.len() { Ok(()) } else { Err(Errno::PIPE) }
    }
}

/// The kernel's log.
pub(super) struct Kmsg {
    /// Another path than /dev/kmsg, in tests.
    path: Option<&'static CStr>,
    file: Option<OwnedFd>,
    retry_at: Tick,
}

impl Kmsg {
    pub(super) const fn new() -> Self {
        Self { path: None, file: None, retry_at: Tick(0) }
    }

    /// Writes `line` as one record. False: it is lost.
    pub(super) fn write(&mut self, line: &[u8]) -> bool {
        let _ = self.open();
        self.file.as_ref().is_some_and(|file| rustix::io::write(file, line) == Ok(line.len()))
    }

    /// Opens it, if the last try is long enough ago.
    pub(super) fn open(&mut self) -> Result<(), Errno> {
        let now = now();
        if self.file.is_none() && now >= self.retry_at {
            self.retry_at = now.after_ms(RETRY_MS);
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            self.file = Some(open(self.path.unwrap_or(c"/dev/kmsg"), flags, Mode::empty())?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsRawFd;
    use rustix::net::{AddressFamily, SocketFlags};
    use rustix::pipe::{PipeFlags, pipe_with};
    use std::ffi::CString;
    use std::io::Read;
    use std::os::unix::net::{UnixDatagram, UnixListener};
    use std::path::PathBuf;

    fn path_of(fd: &OwnedFd) -> CString {
        CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap()
    }

    fn scratch(name: &str) -> (PathBuf, &'static CStr) {
        let path = std::env::temp_dir().join(format!("dormouse-log-{}-{name}", std::process::id()));
        let text = CString::new(path.to_str().unwrap()).unwrap();
        (path, Box::leak(text.into_boxed_c_str()))
    }

    #[test]
    fn a_full_pipe_loses_lines_and_does_not_block() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        for reopened in [true, false] {
            let mut stderr = Stderr::new();
            if reopened {
                stderr.open_as(writer.as_fd(), &path_of(&writer));
                assert!(stderr.own.is_some());
            }
            let line = [b'x'; 512];
            let written = (0..1000).take_while(|_| stderr.write_to(writer.as_fd(), &line)).count();
            assert!((8..1000).contains(&written), "{written}");
            let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
            assert!(!flags.contains(OFlags::NONBLOCK), "the shared flag must stay");
            let mut drain = vec![0; 1 << 20];
            rustix::io::read(&reader, drain.as_mut_slice()).unwrap();
            assert!(stderr.write_to(writer.as_fd(), b"y\n"));
            rustix::io::read(&reader, drain.as_mut_slice()).unwrap();
        }
    }

    #[test]
    fn a_pipe_without_reader_loses_lines() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut stderr = Stderr::new();
        stderr.open_as(writer.as_fd(), &path_of(&writer));
        drop(reader);
        assert!(!stderr.write_to(writer.as_fd(), b"x\n"));
        assert!(!Stderr::new().write_to(writer.as_fd(), b"x\n"));
    }

    #[test]
    fn a_full_disk_loses_lines() {
        let full = open(c"/dev/full", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let mut stderr = Stderr::new();
        stderr.open_as(full.as_fd(), &path_of(&full));
        assert!(!stderr.write_to(full.as_fd(), b"x\n"));
    }

    #[test]
    fn a_socket_as_standard_error_does_not_block() {
        let (fd, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        let mut stderr = Stderr::new();
        stderr.open_as(fd.as_fd(), &path_of(&fd));
        assert!(stderr.is_socket);
        assert!(stderr.write_to(fd.as_fd(), b"hello\n"));
        let mut text = [0; 6];
        rustix::io::read(&theirs, &mut text).unwrap();
        assert_eq!(&text, b"hello\n");
        let written = (0..100_000).take_while(|_| stderr.write_to(fd.as_fd(), &[b'x'; 512])).count();
        assert!(written < 100_000);
    }

    #[test]
    fn a_torn_line_is_closed_by_the_next_one() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut stderr = Stderr::new();
        stderr.torn = true;
        assert!(stderr.write_to(writer.as_fd(), b"x\n"));
        let mut text = [0; 8];
        let len = rustix::io::read(&reader, &mut text).unwrap();
        assert_eq!(&text[..len], b"\nx\n");
    }

    #[test]
    fn syslogd_may_be_absent_and_start_anew() {
        let (path, text) = scratch("dgram");
        let mut syslog = Syslog { path: Some(text), ..Syslog::new() };
        assert!(!syslog.write(b"<30>x: lost\0"));
        let first = UnixDatagram::bind(&path).unwrap();
        assert!(!syslog.write(b"<30>x: too early for a second try\0"));
        syslog.retry_at = Tick(0);
        assert!(syslog.write(b"<30>x: one\0"));
        let mut buffer = [0; 64];
        let len = first.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"<30>x: one");
        drop(first);
        std::fs::remove_file(&path).unwrap();
        let second = UnixDatagram::bind(&path).unwrap();
        syslog.retry_at = Tick(0);
        assert!(syslog.write(b"<30>x: two\0"));
        let len = second.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"<30>x: two");
        let written = (0..10_000).take_while(|_| syslog.write(b"<30>x: flood\0")).count();
        assert!(written < 10_000, "a syslogd that does not read must not block us");
        assert!(syslog.socket.is_some());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn syslogd_may_listen_on_a_stream() {
        let (path, text) = scratch("stream");
        let daemon = UnixListener::bind(&path).unwrap();
        let mut syslog = Syslog { path: Some(text), ..Syslog::new() };
        assert!(syslog.write(b"<30>x: one\0"));
        assert!(syslog.write(b"<30>x: two\0"));
        let (mut client, _) = daemon.accept().unwrap();
        drop(syslog);
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"<30>x: one\0<30>x: two\0");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_kernel_log_takes_one_record_per_write() {
        let (path, text) = scratch("kmsg");
        let mut kmsg = Kmsg { path: Some(text), ..Kmsg::new() };
        assert_eq!(kmsg.open(), Err(Errno::NOENT));
        assert!(!kmsg.write(b"<6>x: lost\n"));
        std::fs::write(&path, b"").unwrap();
        kmsg.retry_at = Tick(0);
        assert!(kmsg.write(b"<6>x: one\n"));
        assert_eq!(std::fs::read(&path).unwrap(), b"<6>x: one\n");
        std::fs::remove_file(&path).unwrap();
    }
}

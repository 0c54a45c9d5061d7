//! Readiness: telling the supervisor that all sockets are open.
//!
//! Two protocols: a message on the socket NOTIFY_SOCKET (sd_notify(3)), and a newline on a descriptor that is then
//! closed (s6: notification-fd). Nothing here blocks, and after [`Notify::take`] nothing allocates.

use crate::logging::say;
use crate::plan::FIRST_OWN_FD;
use crate::sys::environment;
use crate::sys::errno::Why;
use crate::sys::process::above;
use crate::sys::socket;
use crate::sys::wait::ready;
use crate::text::Line;
use rustix::event::PollFlags;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::SocketType;
use std::os::unix::ffi::OsStrExt;

/// Where readiness is told; small, made once before the seal.
#[derive(Debug, Default)]
pub struct Notify {
    /// With the address of the supervisor.
    socket: Option<(OwnedFd, socket::Unix)>,
    fd: Option<OwnedFd>,
}

impl Notify {
    /// Takes the variable NOTIFY_SOCKET (and removes it, so that no child sees it) and the descriptor of `--notify-fd`
    /// (and marks it, so that no child gets it). Only before the loop; allocates.
    ///
    /// # Errors
    /// `EBADF`: the descriptor is not open, not inherited (close-on-exec), or 0, 1 or 2. A NOTIFY_SOCKET that cannot be
    /// used is warned about and passed over.
    pub fn take(fd: Option<i32>) -> Result<Self, Errno> {
        let mut notify = Self::default();
        if !cfg!(feature = "notify") {
            environment::remove("NOTIFY_SOCKET");
            return Ok(notify);
        }
        if let Some(address) = environment::value("NOTIFY_SOCKET") {
            environment::remove("NOTIFY_SOCKET");
            match connect(address.as_bytes()) {
                Ok(socket) => notify.socket = Some(socket),
                Err(why) => say!(
                    Warn,
                    "cannot use NOTIFY_SOCKET={}: {}; expected a path from the root, or @NAME",
                    address.to_string_lossy(),
                    Why(why)
                ),
            }
        }
        notify.fd = fd.map(|number| environment::reclaim(number, 3)).transpose()?;
        Ok(notify)
    }

    /// The variable NOTIFY_SOCKET as [`Notify::take`] has found it, with its NUL, for the next image of this process.
    pub fn variable(&self) -> Option<heapless::Vec<u8, 128>> {
        const NAME: &[u8] = b"NOTIFY_SOCKET=";
        let (_, address) = self.socket.as_ref()?;
        let mut text = heapless::Vec::from_slice(NAME).ok()?;
        match address.get(size_of::<u16>()..)? {
            [0, name @ ..] => [b"@", name, &[0]].iter().try_for_each(|part| text.extend_from_slice(part)),
            path => text.extend_from_slice(path),
        }
        .ok()?;
        Some(text)
    }

    /// All sockets are open: `READY=1` with `status` (may be empty), and a newline on the descriptor, which is closed
    /// by that. Also the end of a reload, where only the message is sent.
    ///
    /// # Errors
    /// What the supervisor did not take: `EAGAIN` (it does not read), `ECONNREFUSED` (it is gone), `EPIPE`, ...
    pub fn ready(&mut self, status: &str) -> Result<(), Errno> {
        let fd = self.fd.take().filter(|_| cfg!(feature = "notify"));
        let by_fd = fd.map_or(Ok(()), |fd| {
            if ready(fd.as_fd(), PollFlags::OUT) == PollFlags::OUT {
                rustix::io::write(&fd, b"\n").map(drop)
            } else {
                Err(Errno::AGAIN)
            }
        });
        self.send("READY=1", status, None)?;
        by_fd
    }

    /// The end has begun: `STOPPING=1` with `status` (may be empty).
    ///
    /// # Errors
    /// As [`Notify::ready`].
    pub fn stopping(&self, status: &str) -> Result<(), Errno> {
        self.send("STOPPING=1", status, None)
    }

    /// A reload has begun: `RELOADING=1` with the monotonic time in microseconds, which systemd asks for with it.
    /// [`Notify::ready`] ends it.
    ///
    /// # Errors
    /// As [`Notify::ready`].
    pub fn reloading(&self, status: &str) -> Result<(), Errno> {
        self.send("RELOADING=1", status, Some(crate::sys::clock::now().0.saturating_mul(1000)))
    }

    fn send(&self, state: &str, status: &str, monotonic_us: Option<u64>) -> Result<(), Errno> {
        let Some((socket, address)) = self.socket.as_ref().filter(|_| cfg!(feature = "notify")) else { return Ok(()) };
        let mut message = Line::<256>::new();
        message.push_str(state);
        if let Some(us) = monotonic_us {
            message.push_str("\nMONOTONIC_USEC=");
            message.push_decimal(us);
        }
        if !status.is_empty() {
            message.push_str("\nSTATUS=");
            message.push_escaped(status);
        }
        socket::send_to(socket.as_fd(), message.as_bytes(), address)
    }
}

/// A socket for the address, which is a path or `@` and an abstract name.
fn connect(address: &[u8]) -> Result<(OwnedFd, socket::Unix), Errno> {
    let to = match address {
        [b'/', ..] => socket::unix([address, &[0]])?,
        [b'@', name @ ..] if !name.is_empty() => socket::unix([&[0], name])?,
        _ => return Err(Errno::AFNOSUPPORT),
    };
    Ok((above(socket::socket(socket::UNIX, SocketType::DGRAM, true)?, FIRST_OWN_FD), to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::IntoRawFd;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    fn to(address: &[u8]) -> Notify {
        Notify { socket: Some(connect(address).unwrap()), fd: None }
    }

    fn receive(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 300];
        let len = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }

    #[test]
    #[cfg_attr(not(feature = "notify"), ignore = "this build tells no supervisor")]
    fn messages_arrive_at_a_path() {
        let path = std::env::temp_dir().join(format!("dormouse-notify-{}", std::process::id()));
        let supervisor = UnixDatagram::bind(&path).unwrap();
        let mut notify = to(path.as_os_str().as_bytes());
        assert_eq!(notify.variable().unwrap(), format!("NOTIFY_SOCKET={}\0", path.display()).as_bytes());
        notify.ready("3 sockets\nMAINPID=1").unwrap();
        assert_eq!(receive(&supervisor), "READY=1\nSTATUS=3 sockets\\x0aMAINPID=1");
        notify.stopping("").unwrap();
        assert_eq!(receive(&supervisor), "STOPPING=1");
        notify.reloading("").unwrap();
        assert!(receive(&supervisor).starts_with("RELOADING=1\nMONOTONIC_USEC="));
        drop(supervisor);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(notify.stopping(""), Err(Errno::NOENT));
    }

    #[test]
    #[cfg_attr(not(feature = "notify"), ignore = "this build tells no supervisor")]
    fn an_abstract_address_and_a_supervisor_that_does_not_read() {
        let name = format!("dormouse-notify-{}", std::process::id());
        let supervisor = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let notify = to(format!("@{name}").as_bytes());
        assert_eq!(notify.variable().unwrap(), format!("NOTIFY_SOCKET=@{name}\0").as_bytes());
        let stuck = (0..10_000).find_map(|_| notify.stopping("").err());
        assert_eq!(stuck, Some(Errno::AGAIN));
        assert_eq!(receive(&supervisor), "STOPPING=1");
    }

    #[test]
    fn bad_addresses_are_refused() {
        for address in [&b""[..], b"@", b"relative", b"vsock:2:1"] {
            assert_eq!(connect(address).unwrap_err(), Errno::AFNOSUPPORT);
        }
        assert_eq!(connect(&[b'/'; 200]).unwrap_err(), Errno::NAMETOOLONG);
    }

    #[test]
    #[cfg_attr(not(feature = "notify"), ignore = "this build tells no supervisor")]
    fn the_descriptor_gets_a_newline_and_is_closed() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut notify = Notify::take(Some(writer.into_raw_fd())).unwrap();
        notify.ready("x").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(rustix::io::read(&reader, &mut buffer), Ok(1));
        assert_eq!(buffer[0], b'\n');
        assert_eq!(rustix::io::read(&reader, &mut buffer), Ok(0));
        notify.ready("again, after a reload").unwrap();
    }

    #[test]
    #[cfg_attr(not(feature = "notify"), ignore = "this build tells no supervisor")]
    fn a_supervisor_that_is_gone_is_no_signal() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        let mut notify = Notify { socket: None, fd: Some(writer) };
        assert_eq!(notify.ready(""), Err(Errno::AGAIN));
    }
}

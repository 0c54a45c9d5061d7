//! The variables that differ from start to start: who is connected (systemd.exec(5) REMOTE_ADDR, and the UCSPI set).

use core::ffi::CStr;
use core::fmt::{self, Write};

use crate::limits::START_TEXT_BYTES;
use crate::peer::{Address, Peer};

/// What is said of a connection.
pub struct Connection<'a> {
    /// The client.
    pub peer: &'a Peer,
    /// Our end.
    pub local: &'a Peer,
    /// Connections alive from the same source, this one included.
    pub number: u32,
}

/// Variables as text, each with its NUL.
pub struct Variables {
    bytes: [u8; START_TEXT_BYTES],
    used: usize,
}

impl Variables {
    /// No variables.
    pub const EMPTY: Self = Self { bytes: [0; START_TEXT_BYTES], used: 0 };

    /// Adds LISTEN_FDS and LISTEN_FDNAMES (sd_listen_fds(3)) for `count` sockets.
    pub fn listen<'a>(&mut self, count: usize, names: impl Iterator<Item = &'a str> + Clone) {
        self.set("LISTEN_FDS", format_args!("{count}"));
        self.set("LISTEN_FDNAMES", format_args!("{}", Joined(names)));
    }

    /// Adds NOTIFY_SOCKET (sd_notify(3)) for an abstract name.
    pub fn notify(&mut self, name: &str) {
        self.set("NOTIFY_SOCKET", format_args!("@{name}"));
    }

    /// Adds what a child may know of its connection.
    pub fn describe(&mut self, connection: &Connection<'_>) {
        let Connection { peer, local, number } = connection;
        match peer {
            Peer::Internet { port, .. } => {
                let address = Address(peer);
                self.set("REMOTE_ADDR", format_args!("{address}"));
                self.set("REMOTE_PORT", format_args!("{port}"));
                self.set("PROTO", format_args!("TCP"));
                self.set("TCPREMOTEIP", format_args!("{address}"));
                self.set("TCPREMOTEPORT", format_args!("{port}"));
                if let Peer::Internet { port, .. } = local {
                    self.set("TCPLOCALIP", format_args!("{}", Address(local)));
                    self.set("TCPLOCALPORT", format_args!("{port}"));
                }
                self.set("TCPCONNNUM", format_args!("{number}"));
            }
            Peer::Unix { uid, gid, path } => {
                self.set("PROTO", format_args!("IPC"));
                self.set("IPCREMOTEEUID", format_args!("{uid}"));
                self.set("IPCREMOTEEGID", format_args!("{gid}"));
                if !path.is_empty() {
                    self.set("REMOTE_ADDR", format_args!("{}", Address(peer)));
                    self.set("IPCREMOTEPATH", format_args!("{}", Address(peer)));
                }
                self.set("IPCCONNNUM", format_args!("{number}"));
            }
            Peer::Vsock { port, .. } => {
                self.set("REMOTE_ADDR", format_args!("{}", Address(peer)));
                self.set("REMOTE_PORT", format_args!("{port}"));
            }
            Peer::Unknown => {}
        }
    }

    /// Adds one variable; one that does not fit as a whole is left out.
    fn set(&mut self, name: &str, value: fmt::Arguments<'_>) {
        let start = self.used;
        let written = self.write_str(name).and_then(|()| self.write_char('=')).and_then(|()| self.write_fmt(value));
        // an address with a NUL in it must not turn into a second variable
        let whole = written.is_ok() && !self.bytes[start..self.used].contains(&0);
        if !whole || self.write_char('\0').is_err() {
            self.used = start;
        }
    }

    /// The variables one by one.
    pub fn iter(&self) -> impl Iterator<Item = &CStr> {
        strings(&self.bytes[..self.used])
    }
}

impl Write for Variables {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.used + text.len();
        self.bytes.get_mut(self.used..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.used = end;
        Ok(())
    }
}

/// Names joined by colons.
struct Joined<I>(I);

impl<'a, I: Iterator<Item = &'a str> + Clone> fmt::Display for Joined<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.clone().enumerate() {
            f.write_str(if index == 0 { "" } else { ":" })?;
            f.write_str(name)?;
        }
        Ok(())
    }
}

/// The NUL-ended strings that lie side by side in `bytes`.
pub fn strings(bytes: &[u8]) -> impl Iterator<Item = &CStr> {
    bytes.split_inclusive(|&byte| byte == 0).filter_map(|string| CStr::from_bytes_with_nul(string).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(peer: &Peer, local: &Peer) -> Vec<String> {
        let mut variables = Variables::EMPTY;
        variables.describe(&Connection { peer, local, number: 3 });
        variables.iter().map(|variable| variable.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_tcp_peer_is_told_in_both_dialects() {
        let peer = Peer::Internet { ip: "192.0.2.1".parse().unwrap(), scope: 0, port: 40000 };
        let local = Peer::Internet { ip: "::1".parse().unwrap(), scope: 0, port: 22 };
        assert_eq!(
            described(&peer, &local),
            [
                "REMOTE_ADDR=192.0.2.1",
                "REMOTE_PORT=40000",
                "PROTO=TCP",
                "TCPREMOTEIP=192.0.2.1",
                "TCPREMOTEPORT=40000",
                "TCPLOCALIP=::1",
                "TCPLOCALPORT=22",
                "TCPCONNNUM=3"
            ]
        );
    }

    #[test]
    fn a_unix_peer_is_told_by_its_user() {
        let mut path = heapless::Vec::new();
        path.extend_from_slice(b"@me").unwrap();
        let peer = Peer::Unix { uid: 1000, gid: 100, path };
        assert_eq!(
            described(&peer, &Peer::Unknown),
            [
                "PROTO=IPC",
                "IPCREMOTEEUID=1000",
                "IPCREMOTEEGID=100",
                "REMOTE_ADDR=@me",
                "IPCREMOTEPATH=@me",
                "IPCCONNNUM=3"
            ]
        );
    }

    #[test]
    fn there_are_as_many_names_as_descriptors() {
        let mut variables = Variables::EMPTY;
        variables.listen(3, ["web.socket", "b", "c"].into_iter());
        let told: Vec<_> = variables.iter().collect();
        assert_eq!(told, [c"LISTEN_FDS=3", c"LISTEN_FDNAMES=web.socket:b:c"]);
    }

    #[test]
    fn the_longest_values_fit() {
        let ip = "1111:2222:3333:4444:5555:6666:7777:8888".parse().unwrap();
        let end = Peer::Internet { ip, scope: u32::MAX, port: u16::MAX };
        assert_eq!(described(&end, &end).len(), 8);
        let path = heapless::Vec::from_slice(&[b'x'; 108]).unwrap();
        assert_eq!(described(&Peer::Unix { uid: u32::MAX, gid: u32::MAX, path }, &end).len(), 6);
    }

    #[test]
    fn an_address_cannot_smuggle_a_variable() {
        let path = heapless::Vec::from_slice(b"@a\0LD_PRELOAD=x").unwrap();
        let told = described(&Peer::Unix { uid: 1, gid: 1, path }, &Peer::Unknown);
        assert_eq!(told, ["PROTO=IPC", "IPCREMOTEEUID=1", "IPCREMOTEEGID=1", "IPCCONNNUM=3"]);
    }
}

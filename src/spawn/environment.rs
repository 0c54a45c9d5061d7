//! The variables that differ from start to start: who is connected (systemd.exec(5) REMOTE_ADDR, and the UCSPI set).

use crate::config::{INSTANCE_ENDS, INSTANCE_START};
use crate::limits::{INSTANCE_BYTES, START_TEXT_BYTES};
use crate::peer::{Address, Peer};
use crate::text::{DECIMAL_BYTES, Line, decimal};

/// What is said of a connection.
pub struct Connection<'a> {
    /// The client.
    pub peer: &'a Peer,
    /// Our end.
    pub local: &'a Peer,
    /// Connections alive from the same source, this one included.
    pub number: u32,
    /// Connections of the service before this one.
    pub before: u64,
}

/// Variables as text, each with its NUL. Put together for each start, so they are copied and not formatted, and the
/// buffer is not cleared first: that costs the caches more than the few bytes that most starts need.
pub struct Variables {
    bytes: heapless::Vec<u8, START_TEXT_BYTES>,
    /// Bytes at the beginning that are words of the command line.
    words: usize,
    /// Where each variable starts.
    starts: heapless::Vec<u16, VARIABLES>,
}

/// The name that systemd gives to a connection (systemd.socket(5), Accept=): its number, our address, the client's; on
/// a unix socket the client's process, 0 if not known, and its user.
fn instance(connection: &Connection<'_>, pid: u32) -> Line<INSTANCE_BYTES> {
    let Connection { peer, local, before, .. } = *connection;
    let mut name = Line::new();
    name.push_decimal(before);
    let mut end = |end: &Peer, port: u16| {
        let mut address = AddressText::new();
        Address(end).append_to(&mut address);
        name.push_str("-");
        name.push_str(address.as_str());
        name.push_str(":");
        name.push_decimal(port.into());
    };
    match (peer, local) {
        (Peer::Internet { port: remote, .. }, Peer::Internet { port, .. }) => {
            end(local, *port);
            end(peer, *remote);
        }
        (Peer::Unix { uid, .. }, _) => {
            for number in [pid, *uid] {
                name.push_str("-");
                name.push_decimal(number.into());
            }
        }
        _ => {}
    }
    name
}

/// The most variables that one start has: those of a connection, of its descriptors and NOTIFY_SOCKET.
const VARIABLES: usize = 12;

const _: () = assert!(START_TEXT_BYTES <= u16::MAX as usize);

/// Room for any address of a peer: the path of a unix socket is the longest.
type AddressText = Line<160>;

impl Variables {
    /// No variables.
    pub const fn new() -> Self {
        Self { bytes: heapless::Vec::new(), words: 0, starts: heapless::Vec::new() }
    }

    /// Takes the words of a command line, each with its NUL, and puts the name of the connection in; `pid` is the
    /// process behind a unix one. To be called first. False: they do not fit.
    pub fn put_words(&mut self, argv: &[u8], connection: &Connection<'_>, pid: u32) -> bool {
        let name = instance(connection, pid);
        let mut rest = argv;
        let mut whole = true;
        while let [first, tail @ ..] = rest {
            if let Some([end, after @ ..]) = rest.strip_prefix(&INSTANCE_START)
                && INSTANCE_ENDS.contains(end)
            {
                let dash = if *end == INSTANCE_ENDS[1] { b'/' } else { b'-' };
                for byte in name.as_bytes() {
                    whole &= self.push(&[if *byte == b'-' { dash } else { *byte }]);
                }
                rest = after;
            } else {
                whole &= self.push(&[*first]);
                rest = tail;
            }
        }
        self.words = self.bytes.len();
        whole
    }

    /// The words that were taken.
    pub fn words(&self) -> &[u8] {
        &self.bytes[..self.words]
    }

    /// Adds LISTEN_FDS and LISTEN_FDNAMES (sd_listen_fds(3)) for `count` sockets.
    pub fn listen<'a>(&mut self, count: usize, names: impl Iterator<Item = &'a str>) {
        self.number("LISTEN_FDS=", count as u64);
        let start = self.bytes.len();
        let mut whole = self.push(b"LISTEN_FDNAMES=");
        for (index, name) in names.enumerate() {
            whole &= self.push(if index == 0 { b"" } else { b":" }) && self.push(name.as_bytes());
        }
        self.close(start, whole);
    }

    /// Adds NOTIFY_SOCKET (sd_notify(3)) for an abstract name.
    pub fn notify(&mut self, name: &str) {
        self.set("NOTIFY_SOCKET=@", name.as_bytes());
    }

    /// Adds what a child may know of its connection.
    pub fn describe(&mut self, connection: &Connection<'_>) {
        let Connection { peer, local, number, .. } = connection;
        let mut address = AddressText::new();
        Address(peer).append_to(&mut address);
        let address = address.as_bytes();
        match peer {
            Peer::Internet { port, .. } => {
                self.set("REMOTE_ADDR=", address);
                self.number("REMOTE_PORT=", (*port).into());
                // xinetd's name for it
                self.set("REMOTE_HOST=", address);
                self.set("PROTO=TCP", b"");
                self.set("TCPREMOTEIP=", address);
                self.number("TCPREMOTEPORT=", (*port).into());
                if let Peer::Internet { port, .. } = local {
                    let mut address = AddressText::new();
                    Address(local).append_to(&mut address);
                    self.set("TCPLOCALIP=", address.as_bytes());
                    self.number("TCPLOCALPORT=", (*port).into());
                }
                self.number("TCPCONNNUM=", (*number).into());
            }
            Peer::Unix { uid, gid, path } => {
                self.set("PROTO=IPC", b"");
                self.number("IPCREMOTEEUID=", (*uid).into());
                self.number("IPCREMOTEEGID=", (*gid).into());
                // one with a NUL in it must not turn into a second variable
                if !path.is_empty() && !path.contains(&0) {
                    self.set("REMOTE_ADDR=", address);
                    self.set("IPCREMOTEPATH=", address);
                }
                self.number("IPCCONNNUM=", (*number).into());
            }
            Peer::Vsock { port, .. } => {
                self.set("REMOTE_ADDR=", address);
                self.number("REMOTE_PORT=", (*port).into());
            }
            Peer::Unknown => {}
        }
    }

    fn number(&mut self, name: &str, value: u64) {
        self.set(name, decimal(value, &mut [0; DECIMAL_BYTES]));
    }

    /// Adds one variable; `name` has its `=`. One that does not fit as a whole is left out.
    fn set(&mut self, name: &str, value: &[u8]) {
        let start = self.bytes.len();
        let whole = self.push(name.as_bytes()) && self.push(value);
        self.close(start, whole);
    }

    fn push(&mut self, text: &[u8]) -> bool {
        self.bytes.extend_from_slice(text).is_ok()
    }

    fn close(&mut self, start: usize, whole: bool) {
        let at = u16::try_from(start).unwrap_or_default(); // the text is shorter than that
        if !whole || !self.push(b"\0") || self.starts.push(at).is_err() {
            self.bytes.truncate(start);
        }
    }

    /// The variables, NUL-ended, and where each of them starts.
    pub fn all(&self) -> (&[u8], &[u16]) {
        (&self.bytes, &self.starts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::strings;
    use core::ffi::CStr;

    fn described(peer: &Peer, local: &Peer) -> Vec<String> {
        let mut variables = Variables::new();
        variables.describe(&Connection { peer, local, number: 3, before: 0 });
        all(&variables).map(|variable| variable.to_str().unwrap().to_owned()).collect()
    }

    fn all(variables: &Variables) -> impl Iterator<Item = &CStr> {
        let (bytes, starts) = variables.all();
        starts.iter().map(|start| CStr::from_bytes_until_nul(&bytes[usize::from(*start)..]).unwrap())
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
                "REMOTE_HOST=192.0.2.1",
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
    fn words_get_the_name_of_the_connection() {
        let words = |peer: &Peer, local: &Peer| {
            let mut variables = Variables::new();
            let argv = "log\0--x=\u{fdd0}.\0\u{fdd1}\0end\0".as_bytes();
            let connection = Connection { peer, local, number: 3, before: 7 };
            assert!(variables.put_words(argv, &connection, 12));
            variables.listen(1, ["a"].into_iter());
            assert_eq!(all(&variables).count(), 2);
            strings(variables.words()).map(|word| word.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        let internet = |ip: &str, port| Peer::Internet { ip: ip.parse().unwrap(), scope: 0, port };
        let (client, ours) = (internet("192.0.2.1", 40000), internet("192.0.2.9", 22));
        let name = "7-192.0.2.9:22-192.0.2.1:40000";
        assert_eq!(words(&client, &ours), format!("log --x={name}. {} end", name.replace('-', "/")));
        let v6 = (internet("fd00::1", 40000), internet("fd00::9", 22));
        assert!(words(&v6.0, &v6.1).contains("--x=7-fd00::9:22-fd00::1:40000. "));
        let unix = Peer::Unix { uid: 1000, gid: 100, path: heapless::Vec::new() };
        assert_eq!(words(&unix, &Peer::Unknown), "log --x=7-12-1000. 7/12/1000 end");
        let mut variables = Variables::new();
        let argv = "log\0\u{fdfa}\u{fdd0}\0\u{fdcf}\0";
        let connection = Connection { peer: &client, local: &ours, number: 3, before: 7 };
        assert!(variables.put_words(argv.as_bytes(), &connection, 12));
        let put: Vec<_> = strings(variables.words()).map(|word| word.to_str().unwrap().to_owned()).collect();
        assert_eq!(put.join("|"), argv.replace('\0', "|").trim_end_matches('|').replace('\u{fdd0}', name));
        let mut variables = Variables::new();
        let long = "\u{fdd0}".repeat(100);
        let connection = Connection { peer: &client, local: &ours, number: 1, before: 1 };
        assert!(!variables.put_words(long.as_bytes(), &connection, 0), "it does not fit");
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
        let mut variables = Variables::new();
        variables.listen(3, ["web.socket", "b", "c"].into_iter());
        let told: Vec<_> = all(&variables).collect();
        assert_eq!(told, [c"LISTEN_FDS=3", c"LISTEN_FDNAMES=web.socket:b:c"]);
    }

    #[test]
    fn the_longest_values_fit() {
        let ip = "1111:2222:3333:4444:5555:6666:7777:8888".parse().unwrap();
        let end = Peer::Internet { ip, scope: u32::MAX, port: u16::MAX };
        assert_eq!(described(&end, &end).len(), 9);
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

//! A whole daemon, and everything that a stranger can send to it: requests to the control socket, messages as of a
//! service (sd_notify(3)), bytes for the built-in services, connections that are forwarded.
//!
//! After all that it is the same process, answers every request, has as many descriptors as before, tells the backend
//! who came, and ends when it is asked to.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use crate::random::Random;
use rustix::fd::AsFd;
use rustix::io::IoSlice;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Words of requests, and pieces that damage them.
const PIECES: [&[u8]; 24] = [
    b"status",
    b"history",
    b"watch",
    b"start",
    b"stop",
    b"restart",
    b"pause",
    b"resume",
    b" discard",
    b" mux",
    b" slept",
    b" tcpmux/cat",
    b" nobody",
    b" ",
    b"\n",
    b"\r\n",
    b"\0",
    b"\xff",
    b"STOPPING=1\n",
    b"READY=1\n",
    b"MAINPID=1\n",
    b"cat\r\n",
    b"help\r\n",
    b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

pub struct Doors {
    folder: PathBuf,
    daemon: Child,
    log: BufReader<ChildStderr>,
    backend: UnixListener,
    descriptors: usize,
}

impl Doors {
    /// Starts a daemon whose sockets are in a folder.
    pub fn open(program: &Path, folder: &Path) -> Self {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).expect("a folder");
        let place = folder.display();
        let mut text = String::new();
        for name in ["echo", "discard", "chargen", "daytime", "time", "tcpmux"] {
            text += &format!("[{name}]\nListenStream={place}/{name}\nInternal={name}\nTriggerLimitBurst=0\n");
        }
        text += "[tcpmux/cat]\nAccept=yes\nExecStart=/bin/cat\n[tcpmux/+true]\nAccept=yes\nExecStart=/bin/true\n";
        text += &format!("[slept]\nListenStream={place}/slept\nExecStart=/bin/sleep 1000\nNotifyAccess=all\n");
        text += &format!("[back]\nListenStream={place}/front\nConnectTo={place}/back\nSendProxyV2=yes\n");
        text += "MaxConnections=1000\nTriggerLimitBurst=0\n";
        std::fs::write(folder.join("conf"), text).expect("a file");
        let backend = UnixListener::bind(folder.join("back")).expect("a backend");
        let mut command = Command::new(program);
        command.arg("run").arg("-c").arg(folder.join("conf")).arg("--control").arg(folder.join("control"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut daemon = command.spawn().expect("the program");
        let mut log = BufReader::new(daemon.stderr.take().expect("its log"));
        let mut line = String::new();
        while !line.contains("ready ") {
            line.clear();
            assert!(log.read_line(&mut line).expect("a line") > 0, "it has ended");
        }
        let mut doors = Self { folder: folder.to_owned(), daemon, log, backend, descriptors: 0 };
        doors.descriptors = doors.descriptors();
        doors
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.daemon.id())).map_or(0, Iterator::count)
    }

    fn connect(&self, name: &str) -> UnixStream {
        let stream = UnixStream::connect(self.folder.join(name)).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream
    }

    /// Sends something to one of the doors.
    pub fn round(&mut self, random: &mut Random) {
        match random.below(4) {
            0 => self.ask(random),
            1 => self.announce(random),
            2 => self.knock(random),
            _ => self.forward(random),
        }
    }

    /// Damaged requests; whole ones, of which each gets its answer.
    fn ask(&self, random: &mut Random) {
        let mut client = self.connect("control");
        let text = bytes(random);
        let _ = client.write_all(&text); // it may have cut us off
        if random.below(2) == 0 {
            return;
        }
        let mut client = self.connect("control");
        client.write_all(b"status echo\nhistory nobody\n").expect("requests");
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        while !answer.ends_with(b"error text=\"no service nobody\"\n") {
            let length = client.read(&mut piece).expect("an answer");
            assert!(length > 0, "it has hung up behind {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&piece[..length]);
        }
        let text = String::from_utf8(answer).expect("text");
        assert!(text.starts_with("daemon ") && text.contains("\nservice name=\"echo\" ") && text.contains("\nok\n"));
    }

    /// A message of nobody that has to be listened to, with descriptors.
    fn announce(&self, random: &mut Random) {
        let from = socket(AddressFamily::UNIX, SocketType::DGRAM, None).expect("a socket");
        let name = format!("dormouse/{}", self.daemon.id());
        let to = SocketAddrUnix::new_abstract_name(name.as_bytes()).expect("a name");
        let text = bytes(random);
        let fds = vec![from.as_fd(); random.below(20)];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(20))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let _ = sendmsg_addr(&from, &to, &[IoSlice::new(&text)], &mut control, SendFlags::DONTWAIT);
    }

    /// Something for a built-in service.
    fn knock(&self, random: &mut Random) {
        const NAMES: [&str; 6] = ["echo", "discard", "chargen", "daytime", "time", "tcpmux"];
        let name = NAMES[random.below(NAMES.len())];
        let mut client = self.connect(name);
        let text = bytes(random);
        if client.write_all(&text).is_ok() && name == "echo" {
            let mut back = vec![0; text.len()];
            client.read_exact(&mut back).expect("the same bytes");
            assert_eq!(back, text);
        }
    }

    /// A client with an address of its own: the backend is told of it.
    fn forward(&self, random: &mut Random) {
        let client = socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
        let name: Vec<u8> = (0..=random.below(107)).map(|_| random.number().to_le_bytes()[0]).collect();
        let own = SocketAddrUnix::new_abstract_name(&name).expect("a name");
        if bind(&client, &own).is_err() {
            return; // somebody has it
        }
        let front = self.folder.join("front");
        connect(&client, &SocketAddrUnix::new(front.as_os_str().as_encoded_bytes()).expect("a path"))
            .expect("a connection");
        let (mut backend, _) = self.backend.accept().expect("the forwarded connection");
        backend.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let text = bytes(random);
        assert_eq!(rustix::io::write(&client, &text), Ok(text.len()));
        let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8\0".to_vec();
        expected.extend_from_slice(&name);
        expected.resize(16 + 108, 0);
        expected.extend_from_slice(front.as_os_str().as_encoded_bytes());
        expected.resize(16 + 216, 0);
        expected.extend_from_slice(&text);
        let mut found = vec![0; expected.len()];
        backend.read_exact(&mut found).expect("the header and the text");
        assert_eq!(found, expected);
    }

    /// Ends it.
    pub fn close(mut self) {
        let end = Instant::now() + PATIENCE;
        let most = self.descriptors + 2; // a pipe lies ready for the next connection that is forwarded
        while self.descriptors() > most {
            assert!(Instant::now() < end, "descriptors are left open");
            std::thread::sleep(Duration::from_millis(10)); // until it has seen the end of our connections
        }
        let pid = rustix::process::Pid::from_raw(self.daemon.id().cast_signed()).expect("its number");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
        let mut log = String::new();
        let _ = self.log.read_to_string(&mut log).expect("the rest of its log");
        let code = self.daemon.wait().expect("its end").code();
        assert_eq!(code, Some(0), "{log}");
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Some bytes: pieces of requests, or anything.
fn bytes(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.below(12) {
        match random.below(6) {
            0 => bytes.extend_from_slice(&random.number().to_le_bytes()),
            1 => bytes.push(b'\n'),
            _ => bytes.extend_from_slice(PIECES[random.below(PIECES.len())]),
        }
    }
    bytes
}

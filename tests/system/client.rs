//! Clients with a deadline on everything.

use crate::harness::PATIENCE;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Runs a program to its end; kills it (and panics) when [`PATIENCE`] is over.
pub fn run(command: &mut Command) -> Output {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut stdout = child.stdout.take().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let out = std::thread::spawn(move || read_bytes(&mut stdout));
    let err = std::thread::spawn(move || read_bytes(&mut stderr));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("{command:?} did not end in {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() }
}

/// The standard output of a program that must succeed.
pub fn output(command: &mut Command) -> String {
    let out = run(command);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{command:?}: {}\n{text}{}", out.status, String::from_utf8_lossy(&out.stderr));
    text
}

/// [`output`] of a shell command line.
pub fn shell(line: &str) -> String {
    output(Command::new("/bin/sh").args(["-ec", line]))
}

fn read_bytes(from: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = from.read_to_end(&mut bytes);
    bytes
}

pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

pub fn try_connect(address: SocketAddr, limit: Duration) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

pub fn connect(port: u16) -> TcpStream {
    try_connect(local(port), PATIENCE).unwrap_or_else(|error| panic!("connect to port {port}: {error}"))
}

/// A connection from the local address `source`.
pub fn connect_from(source: IpAddr, to: SocketAddr, limit: Duration) -> std::io::Result<TcpStream> {
    let family = if to.is_ipv4() { rustix::net::AddressFamily::INET } else { rustix::net::AddressFamily::INET6 };
    let flags = rustix::net::SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, rustix::net::SocketType::STREAM, flags, None).map_err(io_error)?;
    rustix::net::bind(&socket, &SocketAddr::new(source, 0)).map_err(io_error)?;
    rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Send, Some(limit))
        .map_err(io_error)?;
    rustix::net::connect(&socket, &to).map_err(io_error)?;
    let stream = TcpStream::from(owned(socket));
    stream.set_read_timeout(Some(limit))?;
    Ok(stream)
}

fn io_error(error: rustix::io::Errno) -> std::io::Error {
    std::io::Error::from_raw_os_error(error.raw_os_error())
}

/// The descriptor as std knows it: rustix is built without std here.
pub fn owned(fd: rustix::fd::OwnedFd) -> std::os::fd::OwnedFd {
    // SAFETY: the number comes out of its only owner.
    unsafe { std::os::fd::OwnedFd::from_raw_fd(rustix::fd::IntoRawFd::into_raw_fd(fd)) }
}

/// The descriptor as rustix knows it.
pub fn borrowed(of: &impl AsRawFd) -> rustix::fd::BorrowedFd<'_> {
    // SAFETY: the borrow lasts no longer than the owner's.
    unsafe { rustix::fd::BorrowedFd::borrow_raw(of.as_raw_fd()) }
}

/// All that the other side sends until it closes.
pub fn read_all(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        // A connection that was closed with our bytes unread is a close, too.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the other side neither answered nor closed: {error}"),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One line from a connection that stays open.
pub fn read_line(stream: &mut impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).expect("a line in time") == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8_lossy(&line).into_owned()
}

/// Sends a line over a connection that stays open, and gets it back.
pub fn exchange(client: &mut TcpStream, word: &str) {
    writeln!(client, "{word}").unwrap();
    assert_eq!(read_line(client), word);
}

/// Connects and reads until the other side closes.
pub fn talk(port: u16) -> String {
    read_all(connect(port))
}

/// Connects, sends `text`, ends the sending side, reads until the other side closes.
pub fn ask(port: u16, text: &str) -> String {
    let mut stream = connect(port);
    stream.write_all(text.as_bytes()).unwrap();
    let _ = stream.shutdown(Shutdown::Write);
    read_all(stream)
}

pub fn http_get(port: u16, path: &str) -> String {
    let mut stream = connect(port);
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    read_all(stream)
}

/// The answer to a connection on a unix socket, or the error.
pub fn unix_talk(path: &str) -> std::io::Result<String> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    (&stream).read_to_string(&mut text)?;
    Ok(text)
}

pub fn udp() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends one datagram and returns the answer.
pub fn udp_ask(port: u16, text: &str) -> String {
    let socket = udp();
    socket.send_to(text.as_bytes(), local(port)).unwrap();
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).expect("an answer by datagram");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// Closes a connection by RST.
pub fn reset(stream: TcpStream) {
    let linger = Some(Duration::ZERO);
    rustix::net::sockopt::set_socket_linger(borrowed(&stream), linger).unwrap();
    drop(stream);
}

/// A pipe whose ends do not survive an exec.
pub fn pipe() -> (std::fs::File, std::fs::File) {
    let mut ends = [0; 2];
    // SAFETY: the array has room for the two descriptors, which are owned by nobody else.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (std::fs::File::from_raw_fd(ends[0]), std::fs::File::from_raw_fd(ends[1]))
    }
}

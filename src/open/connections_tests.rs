//! Real connections of each family: what the kernel tells of them, and what is left of those that ended.

use super::*;
use rustix::fd::{AsFd, OwnedFd};
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

fn owned(fd: impl Into<std::os::fd::OwnedFd>) -> OwnedFd {
    let fd: std::os::fd::OwnedFd = fd.into();
    crate::sys::testing::owned(std::os::fd::IntoRawFd::into_raw_fd(fd))
}

/// Both ways of asking agree; what ends meanwhile has ended for the second look.
fn last(listener: &OwnedFd) -> Last {
    let mut buffer = [0; socket::ADDRESS_BYTES];
    let name = socket::name(listener.as_fd(), &mut buffer).unwrap();
    let before = by_proc(name).unwrap();
    // those that are queued in a unix socket are not shown
    let shown = address::family(name) != address::UNIX || !crate::open::is_readable(listener.as_fd());
    if let (Ok(diag), true) = (by_sock_diag(name), shown) {
        let near = |a: u32, b: u32| a.abs_diff(b) < 1000;
        let agrees = |proc| matches!((diag, proc), (Last::Ago(a), Last::Ago(b)) if near(a, b)) || diag == proc;
        let after = by_proc(name).unwrap();
        assert!(agrees(before) || agrees(after), "{before:?} {diag:?} {after:?}");
    }
    last_connection(listener.as_fd()).unwrap()
}

fn connected(listener: &OwnedFd) -> bool {
    last(listener) == Last::Now
}

/// The last steps of an end are the kernel's, on a busy machine a moment later.
fn soon_unconnected(listener: &OwnedFd) -> bool {
    (0..5000).any(|_| {
        let ended = !connected(listener);
        if !ended {
            std::thread::sleep(Duration::from_millis(1));
        }
        ended
    })
}

fn tcp(address: &str) {
    let Ok(listener) = TcpListener::bind(address) else { return }; // a machine without IPv6
    let port = listener.local_addr().unwrap().port();
    let kept = owned(listener.try_clone().unwrap());
    assert!(!connected(&kept));
    let mut client = TcpStream::connect(("127.0.0.1", port)).or_else(|_| TcpStream::connect(("::1", port))).unwrap();
    assert!(connected(&kept), "queued");
    client.shutdown(Shutdown::Write).unwrap();
    assert!(connected(&kept), "queued and half closed");
    let (server, _) = listener.accept().unwrap();
    assert!(connected(&kept), "half closed by the client");
    drop(server);
    assert!(soon_unconnected(&kept), "closed by the service");
    let _ = client.write(b"x");
    drop(client);
    let client = TcpStream::connect(("127.0.0.1", port)).or_else(|_| TcpStream::connect(("::1", port))).unwrap();
    let (server, _) = listener.accept().unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    assert!(connected(&kept), "half closed by the service");
    drop((client, server));
    assert!(soon_unconnected(&kept));
    assert!(matches!(last(&kept), Last::Ago(ms) if ms < 5_000), "closed by the service first: {:?}", last(&kept));
}

#[test]
fn tcp_connections_count_from_the_queue_until_they_are_closed() {
    for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
        tcp(address);
    }
}

#[test]
fn another_address_or_port_does_not_count() {
    let [one, other] = ["127.0.0.1:0", "127.0.0.1:0"].map(|address| TcpListener::bind(address).unwrap());
    let _client = TcpStream::connect(other.local_addr().unwrap()).unwrap();
    assert!(!connected(&owned(one)));
    let same_port = TcpListener::bind(("127.0.0.2", other.local_addr().unwrap().port())).unwrap();
    assert!(!connected(&owned(same_port)));
}

#[test]
fn unix_connections_are_found_by_the_name_of_their_listener() {
    let folder = std::env::temp_dir().join(format!("dormouse connections {}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let abstract_name = SocketAddr::from_abstract_name(format!("dormouse-connections-{}", std::process::id())).unwrap();
    let listeners = [
        UnixListener::bind(folder.join("a b")).unwrap(),
        UnixListener::bind(folder.join("b")).unwrap(),
        UnixListener::bind_addr(&abstract_name).unwrap(),
    ];
    for listener in &listeners {
        let kept = owned(listener.try_clone().unwrap());
        assert!(!connected(&kept));
        let client = UnixStream::connect_addr(&listener.local_addr().unwrap()).unwrap();
        assert!(connected(&kept), "queued");
        let (server, _) = listener.accept().unwrap();
        assert!(connected(&kept), "taken");
        drop(client);
        assert!(connected(&kept), "the service has its end still");
        drop(server);
        assert!(!connected(&kept));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn other_kinds_cannot_be_told() {
    let vsock = [40_u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!((by_sock_diag(&vsock), by_proc(&vsock)), (Err(Errno::AFNOSUPPORT), Err(Errno::AFNOSUPPORT)));
    for family in FAMILIES {
        assert!(method(family).is_some() || family == address::INET6, "{family}");
    }
    assert_eq!(method(40), None);
}

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(16 + body.len()).unwrap();
    let mut bytes = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], body].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn read(piece: &[u8]) -> (Last, Result<bool, Errno>) {
    let mut last = Last::Unknown;
    let result = answer(piece, &mut last, &mut |body| now_if(body == b"this"));
    (last, result)
}

#[test]
fn an_answer_is_read_to_its_end() {
    let (other, this) = (message(20, b"other"), message(20, b"this"));
    let (done, refused) = (message(3, &[0; 4]), message(2, &(-2_i32).to_ne_bytes()));
    assert_eq!(read(&[other.clone(), this].concat()), (Last::Now, Ok(true)));
    assert_eq!(read(&[other.clone(), done].concat()), (Last::Unknown, Ok(true)));
    assert_eq!(read(&other), (Last::Unknown, Ok(false)));
    assert_eq!(read(&refused).1, Err(Errno::NOENT));
    assert_eq!(read(&message(3, &(-2_i32).to_ne_bytes())).1, Err(Errno::NOENT), "a dump that failed");
    assert_eq!(read(&message(2, &i32::MIN.to_ne_bytes())).1, Err(Errno::PROTO));
    assert_eq!(Last::Ago(5).or(Last::Ago(3)), Last::Ago(3));
}

/// Whatever comes, reading it ends and does not panic.
#[test]
fn garbage_ends() {
    let local = [2, 0, 0, 80, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let local = Local::of(&local).unwrap();
    let mut seed = 0x9e37_79b9_u32;
    for round in 0..20_000 {
        let bytes: Vec<u8> = (0..round % 300)
            .map(|_| {
                seed ^= seed << 13;
                seed ^= seed >> 17;
                seed ^= seed << 5;
                // small numbers make lengths that fit
                let [.., byte, _, _] = seed.to_le_bytes();
                if seed & 0x700 == 0 { byte } else { byte & 0x13 }
            })
            .collect();
        let mut last = Last::Unknown;
        let _ = answer(&bytes, &mut last, &mut |entry| local.in_diag(entry).or(now_if(has_name(entry, b"/run/x\0"))));
        assert!(!has_name(&bytes, b"/run/x"), "{bytes:?}");
        let _ = local.in_line(&bytes);
        let _ = is_unix_line(&bytes, b"/run/x\0");
        let _ = Local::of(&bytes);
    }
    for byte in [0, 1, 2, 4, 16, 255] {
        for len in 0..64 {
            let _ = read(&vec![byte; len]);
        }
    }
}

#[test]
fn lines_of_proc_are_matched_whole() {
    let line = b"0000000000000000: 00000003 00000000 00000000 0001 03 12345 /run/a.sock";
    assert!(is_unix_line(line, b"/run/a.sock\0"));
    assert!(!is_unix_line(line, b"/a.sock\0"));
    assert!(!is_unix_line(b"0: 2 0 00010000 0001 01 7 /run/a.sock", b"/run/a.sock"), "the listener itself");
    assert!(is_unix_line(b"0: 2 0 0 0001 02     7 @name", b"\0name"), "queued");
    assert!(!is_unix_line(b"0: 2 0 0 0001 03 7 /x /run/a.sock", b"/run/a.sock"), "the end of another path");
}

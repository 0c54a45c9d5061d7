//! Which inherited socket goes to which listener.

use super::*;
use crate::plan::testing::with_plan;
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::net::bind;
use std::net::{TcpListener, UdpSocket};

/// A second descriptor of a socket of the standard library, in the type that the program uses.
fn copy(socket: &impl std::os::fd::AsRawFd) -> OwnedFd {
    // Without `unsafe`: taken from ourselves as from any other process.
    let pid = rustix::process::getpid();
    let this = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    rustix::process::pidfd_getfd(this, socket.as_raw_fd(), rustix::process::PidfdGetfdFlags::empty()).unwrap()
}

fn assigned(plan: &Plan, sockets: Vec<(&str, OwnedFd)>) -> (Vec<Adopted>, Vec<String>) {
    let mut closed = Vec::new();
    let sockets = sockets.into_iter().map(|(name, socket)| (name.to_owned(), socket)).collect();
    let adopted = assign(plan, sockets, &mut |(name, errno)| closed.push(format!("{name} {errno:?}")));
    (adopted, closed)
}

#[test]
fn a_socket_goes_to_its_address_then_to_its_name() {
    let (first, second) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let datagram = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = first.local_addr().unwrap().to_string();
    let web = [("ListenStream", &*listen), ("ListenDatagram", "127.0.0.1:9")];
    let other = [("ListenStream", "127.0.0.1:9"), ("FileDescriptorName", "door")];
    with_plan(&[("web", &web), ("other", &other)], |plan, _| {
        let inherited = vec![
            // The name says `other`, the address `web`.
            ("door", copy(&first)),
            ("door", copy(&second)),
            ("web.socket", copy(&datagram)),
            ("stranger", copy(&datagram)),
        ];
        let (adopted, closed) = assigned(plan, inherited);
        let mut rows: Vec<_> = adopted.iter().map(|one| one.listener).collect();
        rows.sort_unstable();
        assert_eq!((rows, closed), (vec![0, 1, 2], vec!["stranger None".to_owned()]));
        let same = |row, socket: &TcpListener| {
            let one = adopted.iter().find(|one| one.listener == row).unwrap();
            let mut buffer = [0; socket::ADDRESS_BYTES];
            address::ip(socket::name(one.opened.socket.as_fd(), &mut buffer).unwrap()).unwrap().1
                == socket.local_addr().unwrap().port()
        };
        assert!(same(0, &first) && same(2, &second));
    });
}

#[test]
#[cfg_attr(not(feature = "access"), ignore = "this build does not ask who may connect")]
fn a_socket_that_nobody_listens_on_yet_is_made_to_listen_and_to_block() {
    let made = socket::socket(address::INET, rustix::net::SocketType::STREAM, true).unwrap();
    bind(&made, &core::net::SocketAddrV4::new(core::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let deny = if crate::sys::testing::may_filter() { "10.0.0.0/8" } else { "" };
    with_plan(&[("web", &[("ListenStream", "127.0.0.1:9"), ("IPAddressDeny", deny)])], |plan, _| {
        let (adopted, closed) = assigned(plan, vec![("web", made)]);
        assert_eq!(closed, [""; 0]);
        let socket = &adopted[0].opened.socket;
        assert!(sockopt::socket_acceptconn(socket).unwrap());
        assert!(!fcntl_getfl(socket).unwrap().contains(OFlags::NONBLOCK));
    });
}

#[test]
fn a_connection_is_not_a_listener() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    with_plan(&[("web", &[("ListenStream", "127.0.0.1:9")])], |plan, _| {
        let (adopted, closed) = assigned(plan, vec![("web", copy(&client))]);
        assert!(adopted.is_empty());
        assert_eq!(closed.len(), 1);
    });
}

#[test]
#[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
fn unix_sockets_and_fifos_are_known_by_their_path() {
    let folder = std::env::temp_dir().join(format!("dormouse-adopt-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (path, fifo) = (folder.join("socket"), folder.join("fifo"));
    let listen = [
        ("ListenFIFO", fifo.to_str().unwrap()),
        ("ListenStream", path.to_str().unwrap()),
        ("ListenStream", "@adopt-x"),
    ];
    with_plan(&[("x", &listen)], |plan, _| {
        let open = |row| super::super::open(plan, row, &mut |error| panic!("{error}")).unwrap().socket;
        let (adopted, closed) = assigned(plan, vec![("", open(2)), ("", open(1)), ("", open(0))]);
        assert_eq!(adopted.iter().map(|one| one.listener).collect::<Vec<_>>(), [2, 1, 0]);
        assert_eq!(closed, [""; 0]);
    });
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
#[cfg_attr(not(all(feature = "adopt", feature = "local")), ignore = "this build takes over no sockets")]
fn what_a_parent_hands_over_is_taken_and_the_variables_are_gone() {
    let folder = std::env::temp_dir().join(format!("dormouse-adopt-parent-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let script = "mkfifo fifo other && export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=x:stranger LISTEN_PIDFDID=1 && \
        exec \"$0\" --ignored --exact open::adopt::tests::child 3<>fifo 4<>other";
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new("sh").arg("-c").arg(script).arg(program).current_dir(&folder).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
#[ignore = "started by the test above, with descriptors 3 and 4"]
fn child() {
    let fifo = std::env::current_dir().unwrap().join("fifo");
    with_plan(&[("x", &[("ListenFIFO", fifo.to_str().unwrap())])], |plan, _| {
        // there is no descriptor so high: it stays as it was
        assert_eq!(environment::reclaim(3, i32::MAX).unwrap_err(), Errno::INVAL);
        let mut closed = Vec::new();
        let adopted = adopt(plan, 20, &mut |(name, errno)| closed.push((name.to_owned(), errno)));
        assert_eq!(closed, [("stranger".to_owned(), None)]);
        assert_eq!(adopted.len(), 1);
        let socket = &adopted[0].opened.socket;
        assert!(rustix::fd::AsRawFd::as_raw_fd(socket) >= 20);
        assert!(rustix::io::fcntl_getfd(socket).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        assert!(VARIABLES.iter().all(|name| std::env::var_os(name).is_none()));
        assert!(environment::reclaim(3, 20).is_err() && environment::reclaim(4, 20).is_err());
    });
}

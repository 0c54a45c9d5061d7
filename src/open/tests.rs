//! Real sockets: loopback, temporary folders, network namespaces where the machine allows them.

use super::*;
use crate::plan::testing::with_plan;
use crate::sys::testing;
use rustix::io::{FdFlags, fcntl_getfd};
use rustix::net::{Shutdown, shutdown, sockopt};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;

/// Opens a listener that must need no warning. A process that another test has just forked holds what was let go until
/// it executes its program.
fn open_well(plan: &Plan, listener: usize) -> Opened {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        match open(plan, listener, &mut |error| panic!("{error}")) {
            Err(error) if error.may_free() && std::time::Instant::now() < end => crate::sys::clock::pause_ms(10),
            opened => return opened.unwrap(),
        }
    }
}

fn fails(plan: &Plan, listener: usize) -> OpenError {
    open(plan, listener, &mut |error| panic!("{error}")).unwrap_err()
}

/// A port that was free a moment ago, on all addresses.
fn free_port() -> u16 {
    TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port()
}

/// One service with these directives.
fn with(directives: &[(&str, &str)], test: impl FnOnce(&Plan) + Send) {
    with_plan(&[("x", directives)], |plan, faults| {
        assert_eq!(faults, []);
        test(plan);
    });
}

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dormouse-open-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn permissions(path: &str) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_tcp_port_listens_blocks_and_stays_ours() {
    let port = free_port();
    with(&[("ListenStream", &port.to_string()), ("BindIPv6Only", "both")], |plan| {
        let opened = open_well(plan, 0);
        assert!(sockopt::socket_acceptconn(&opened.socket).unwrap());
        assert!(sockopt::socket_reuseaddr(&opened.socket).unwrap());
        assert_eq!(fcntl_getfd(&opened.socket).unwrap(), FdFlags::CLOEXEC);
        assert!(!rustix::fs::fcntl_getfl(&opened.socket).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        TcpStream::connect(("::1", port)).unwrap();
        let second = fails(plan, 0);
        assert_eq!(second.to_string(), "bind: address is in use (EADDRINUSE)");
        assert!(second.may_free() && !second.may_appear());
        assert_eq!(holder::find(plan, 0).unwrap().pid.cast_unsigned(), std::process::id());
    });
}

#[test]
fn an_ipv6_only_port_leaves_ipv4_to_others() {
    let port = free_port();
    with(&[("ListenStream", &port.to_string()), ("BindIPv6Only", "ipv6-only"), ("Accept", "yes")], |plan| {
        let opened = open_well(plan, 0);
        assert!(rustix::fs::fcntl_getfl(&opened.socket).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
        TcpStream::connect(("::1", port)).unwrap();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        TcpListener::bind(("0.0.0.0", port)).unwrap();
    });
}

#[test]
fn a_kernel_without_ipv6_gets_ipv4() {
    let port = free_port();
    let (bare, explicit) = (port.to_string(), format!("[::1]:{port}"));
    let listen = [("ListenStream", &*bare), ("ListenStream", &explicit), ("BindIPv6Only", "both"), ("IPTOS", "16")];
    with(&listen, |plan| {
        testing::without_ipv6();
        let opened = open_well(plan, 0);
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(fails(plan, 1), OpenError { step: Step::Socket, errno: Errno::AFNOSUPPORT });
        shutdown(&opened.socket, Shutdown::Both).unwrap();
        assert!(restore(plan, 0, opened.socket.as_fd()));
        TcpStream::connect(("127.0.0.1", port)).unwrap();
    });
}

#[test]
fn nobody_can_share_a_udp_port() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    with(&[("ListenDatagram", &address)], |plan| {
        assert!(fails(plan, 0).may_free());
        assert_eq!(holder::find(plan, 0).unwrap().pid.cast_unsigned(), std::process::id());
        drop(socket);
        let opened = open_well(plan, 0);
        assert!(!sockopt::socket_reuseaddr(&opened.socket).unwrap());
        UdpSocket::bind(&address).unwrap_err();
    });
}

#[test]
fn an_option_that_cannot_be_set_is_a_warning_unless_it_protects() {
    let listen = format!("127.0.0.1:{}", free_port());
    with(
        &[("ListenStream", &listen), ("TCPCongestion", "no-such"), ("IPTTL", "5"), ("ReceiveBuffer", "64K")],
        |plan| {
            let mut warnings = Vec::new();
            open(plan, 0, &mut |error| warnings.push(error.to_string())).unwrap();
            assert_eq!(warnings, ["TCPCongestion=: no such file or directory (ENOENT)"]);
        },
    );
    with(&[("ListenStream", &listen), ("BindToDevice", "no-such0")], |plan| {
        let error = fails(plan, 0);
        assert_eq!(error.to_string(), "BindToDevice=: no such device (ENODEV)");
        assert!(error.may_appear());
    });
}

#[test]
#[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
fn a_unix_socket_has_its_mode_and_its_folders_theirs() {
    let folder = Folder::new("mode");
    let (path, link) = (folder.path("a/b/socket"), folder.path("c/link"));
    let directives = [
        ("ListenStream", &*path),
        ("SocketMode", "0620"),
        ("DirectoryMode", "0711"),
        ("RemoveOnStop", "yes"),
        ("Symlinks", &link),
    ];
    with(&directives, |plan| {
        let opened = open_well(plan, 0);
        assert_eq!((permissions(&path), permissions(&folder.path("a/b"))), (0o620, 0o711));
        UnixStream::connect(&link).unwrap();
        remove(plan, 0, opened.identity);
        assert!(!std::fs::exists(&path).unwrap() && std::fs::symlink_metadata(&link).is_err());
    });
}

#[test]
#[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
fn an_owner_is_set_before_the_mode() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = Folder::new("owner");
    for (listen, path) in [("ListenStream", folder.path("socket")), ("ListenFIFO", folder.path("fifo"))] {
        with(&[(listen, &path), ("SocketUser", "54321"), ("SocketGroup", "12345"), ("SocketMode", "0640")], |plan| {
            let _opened = open_well(plan, 0);
            let file = std::fs::metadata(&path).unwrap();
            assert_eq!((file.uid(), file.gid(), permissions(&path)), (54321, 12345, 0o640));
        });
    }
}

#[test]
#[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
fn a_socket_that_nobody_holds_is_replaced_and_a_live_one_is_not() {
    let folder = Folder::new("stale");
    let path = folder.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    for kind in ["ListenStream", "ListenDatagram", "ListenSequentialPacket"] {
        with(&[(kind, &path)], |plan| {
            assert_eq!(fails(plan, 0).step, Step::InUse);
            assert_eq!(holder::find(plan, 0).unwrap().pid.cast_unsigned(), std::process::id());
        });
    }
    drop(listener);
    for kind in ["ListenStream", "ListenDatagram", "ListenSequentialPacket"] {
        // Each finds what the one before has left.
        with(&[(kind, &path)], |plan| drop(open_well(plan, 0)));
    }
    with(&[("ListenStream", &path)], |plan| {
        let _opened = open_well(plan, 0);
        UnixStream::connect(&path).unwrap();
    });
}

#[test]
#[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
fn a_full_backlog_is_not_stale() {
    let folder = Folder::new("full");
    let path = folder.path("socket");
    with(&[("ListenStream", &path), ("Backlog", "0")], |plan| {
        let _opened = open_well(plan, 0);
        let _queued = UnixStream::connect(&path).unwrap();
        assert_eq!(fails(plan, 0).step, Step::InUse);
        assert!(std::fs::metadata(&path).unwrap().file_type().is_socket());
    });
}

#[test]
#[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
fn a_file_in_the_way_is_left_alone() {
    let folder = Folder::new("file");
    let (path, target) = (folder.path("socket"), folder.path("target"));
    std::fs::write(&path, "precious").unwrap();
    with(&[("ListenStream", &path)], |plan| assert_eq!(fails(plan, 0).step, Step::NotASocket));
    with(&[("ListenFIFO", &path)], |plan| assert_eq!(fails(plan, 0).step, Step::NotAFifo));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    // A link to a stale socket is not the socket.
    drop(UnixListener::bind(&target).unwrap());
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    with(&[("ListenStream", &path)], |plan| assert_eq!(fails(plan, 0).step, Step::NotASocket));
    with(&[("ListenFIFO", &path)], |plan| assert_eq!(fails(plan, 0).step, Step::NotAFifo));
    assert!(std::fs::metadata(&target).unwrap().file_type().is_socket());
}

#[test]
#[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
fn only_our_own_file_and_links_are_removed() {
    let folder = Folder::new("remove");
    let (path, link, other) = (folder.path("socket"), folder.path("link"), folder.path("other"));
    std::fs::write(&other, "precious").unwrap();
    let links = format!("{link} {other}");
    with(&[("ListenStream", &path), ("RemoveOnStop", "yes"), ("Symlinks", &links)], |plan| {
        std::os::unix::fs::symlink("/nowhere", &link).unwrap();
        let mut warnings = Vec::new();
        let opened = open(plan, 0, &mut |error| warnings.push(error.to_string())).unwrap();
        assert_eq!(warnings, ["Symlinks=: exists already (EEXIST)"]);
        assert_eq!(std::fs::read_link(&link).unwrap().to_str(), Some(&*path));
        std::fs::remove_file(&path).unwrap();
        let _theirs = UnixListener::bind(&path).unwrap();
        remove(plan, 0, opened.identity);
        UnixStream::connect(&path).unwrap();
        assert_eq!(std::fs::read(&other).unwrap(), b"precious");
    });
}

#[test]
#[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
fn an_abstract_name_is_ours_alone() {
    let name = format!("@dormouse-open-{}", std::process::id());
    with(&[("ListenStream", &name)], |plan| {
        let opened = open_well(plan, 0);
        assert!(fails(plan, 0).may_free());
        assert_eq!(holder::find(plan, 0).unwrap().pid.cast_unsigned(), std::process::id());
        drop(opened);
        open_well(plan, 0);
    });
}

#[test]
#[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
fn a_fifo_has_no_end_of_file() {
    let folder = Folder::new("fifo");
    let path = folder.path("a/fifo");
    with(&[("ListenFIFO", &path), ("SocketMode", "0622"), ("RemoveOnStop", "yes"), ("NonBlocking", "yes")], |plan| {
        let opened = open_well(plan, 0);
        assert_eq!(permissions(&path), 0o622);
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().write_all(b"hello").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(rustix::io::read(&opened.socket, &mut buffer[..]), Ok(5));
        assert_eq!(rustix::io::read(&opened.socket, &mut buffer[..]), Err(Errno::AGAIN));
        // One that is there is used.
        let again = open_well(plan, 0);
        assert_eq!(again.identity, opened.identity);
        remove(plan, 0, opened.identity);
        assert!(!std::fs::exists(&path).unwrap());
    });
}

/// Does a TCP client with this source address get through to a port of this machine?
fn connects(source: &str, port: u16) -> bool {
    let source: core::net::IpAddr = source.parse().unwrap();
    let target = if source.is_ipv4() { "127.0.0.1" } else { "::1" }.parse().unwrap();
    let (from, to) = (address::inet(source, 0, 0), address::inet(target, port, 0));
    let client = socket::socket(address::family(&from), SocketType::STREAM, true).unwrap();
    socket::bind(client.as_fd(), &from).unwrap();
    assert_eq!(socket::connect(client.as_fd(), &to), Err(Errno::INPROGRESS));
    let mut asked = [rustix::event::PollFd::new(&client, rustix::event::PollFlags::OUT)];
    let wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    rustix::event::poll(&mut asked, Some(&wait)).unwrap() > 0 && sockopt::socket_error(&client).unwrap().is_ok()
}

#[test]
#[cfg_attr(not(feature = "access"), ignore = "this build does not ask who may connect")]
fn a_filter_holds_in_the_kernel() {
    let port = free_port();
    let listen = port.to_string();
    let access = [("IPAddressDeny", "127.0.0.2 127.0.1.0/24 ::1"), ("IPAddressAllow", "127.0.1.7")];
    let directives = [&[("ListenStream", &*listen), ("ListenDatagram", &listen)], &access[..]].concat();
    with(&directives, |plan| {
        if !testing::may_filter() {
            return;
        }
        let (_tcp, udp) = (open_well(plan, 0), open_well(plan, 1));
        assert!(["127.0.0.1", "127.0.0.3", "127.0.1.7"].iter().all(|source| connects(source, port)));
        assert!(!["127.0.0.2", "127.0.1.8", "::1"].iter().any(|source| connects(source, port)));
        for (source, target, wanted) in [
            ("127.0.0.2:0", "127.0.0.1", false),
            ("127.0.1.9:0", "127.0.0.1", false),
            ("[::1]:0", "::1", false),
            ("127.0.1.7:0", "127.0.0.1", true),
            ("127.0.0.9:0", "127.0.0.1", true),
        ] {
            UdpSocket::bind(source).unwrap().send_to(b"knock", (target, port)).unwrap();
            let mut asked = [rustix::event::PollFd::new(&udp.socket, rustix::event::PollFlags::IN)];
            let came = rustix::event::poll(&mut asked, Some(&rustix::event::Timespec::default())).unwrap() > 0;
            assert_eq!(came, wanted, "{source}");
            if came {
                rustix::net::recv(&udp.socket, &mut [0_u8; 16][..], rustix::net::RecvFlags::empty()).unwrap();
            }
        }
        let detach = socket::set_option(
            udp.socket.as_fd(),
            libc::SOL_SOCKET.try_into().unwrap(),
            libc::SO_DETACH_FILTER.try_into().unwrap(),
            &[0; 4],
        );
        assert_eq!(detach, Err(Errno::PERM), "whoever gets the socket can't take the filter off");
    });
}

#[test]
fn an_address_and_an_interface_may_come_late() {
    let listen = [("ListenStream", "10.9.8.7:80"), ("ListenStream", "[fe80::7%late0]:80")];
    with(&[&listen[..], &[("Accept", "yes")]].concat(), |plan| {
        if !testing::own_network() {
            return;
        }
        let socket = watch::open().unwrap();
        let error = fails(plan, 0);
        assert_eq!(error.to_string(), "bind: address is not on this machine (EADDRNOTAVAIL)");
        assert!(error.may_appear() && !error.may_free());
        assert_eq!(fails(plan, 1), OpenError { step: Step::Interface, errno: Errno::NODEV });
        assert!(!watch::drain(&socket), "nothing has happened yet");
        assert!(testing::run("ip address add 10.9.8.7/32 dev lo"));
        assert!(watch::drain(&socket));
        open_well(plan, 0);
        assert!(testing::run("ip link add late0 type bridge") && testing::run("ip link set late0 up"));
        assert!(testing::run("ip address add fe80::7/64 dev late0 nodad"));
        assert!(watch::drain(&socket) && !watch::drain(&socket));
        let first = open_well(plan, 1);
        drop(first);
        // Gone and back with another index.
        assert!(testing::run("ip link del late0") && testing::run("ip link add late0 type bridge"));
        assert!(testing::run("ip link set late0 up") && testing::run("ip address add fe80::7/64 dev late0 nodad"));
        let opened = open_well(plan, 1);
        assert!(sockopt::socket_acceptconn(&opened.socket).unwrap());
    });
}

#[test]
fn a_tcp_listener_that_was_shut_down_heals_on_the_same_descriptor() {
    let listen = format!("127.0.0.1:{}", free_port());
    with(&[("ListenStream", &listen)], |plan| {
        let opened = open_well(plan, 0);
        let childs = opened.socket.try_clone().unwrap();
        assert!(!is_shut_down(opened.socket.as_fd()));
        for how in [Shutdown::Read, Shutdown::Both] {
            shutdown(&childs, how).unwrap();
            assert!(is_shut_down(opened.socket.as_fd()), "{how:?}");
            TcpStream::connect(&listen).unwrap_err();
            assert!(restore(plan, 0, opened.socket.as_fd()) && !is_shut_down(childs.as_fd()));
            TcpStream::connect(&listen).unwrap();
        }
    });
}

#[test]
#[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
fn a_unix_listener_that_was_shut_down_is_made_anew() {
    let folder = Folder::new("revive");
    let (path, datagram) = (folder.path("socket"), folder.path("datagram"));
    with(&[("ListenStream", &path), ("ListenDatagram", &datagram)], |plan| {
        for how in [Shutdown::Read, Shutdown::Both] {
            let opened = open_well(plan, 0);
            // The child still has it.
            let childs = opened.socket.try_clone().unwrap();
            shutdown(&childs, how).unwrap();
            assert!(is_shut_down(opened.socket.as_fd()), "{how:?}");
            assert!(!restore(plan, 0, opened.socket.as_fd()));
            let again = open_well(plan, 0);
            assert!(!is_shut_down(again.socket.as_fd()));
            UnixStream::connect(&path).unwrap();
        }
        let opened = open_well(plan, 1);
        shutdown(&opened.socket, Shutdown::Both).unwrap();
        assert!(is_shut_down(opened.socket.as_fd()));
        assert!(!restore(plan, 1, opened.socket.as_fd()));
        drop(opened);
        let again = open_well(plan, 1);
        UnixDatagram::unbound().unwrap().send_to(b"knock", &datagram).unwrap();
        assert!(!is_shut_down(again.socket.as_fd()));
    });
}

#[test]
fn a_udp_socket_that_was_shut_down_is_made_anew() {
    let listen = format!("127.0.0.1:{}", free_port());
    with(&[("ListenDatagram", &listen)], |plan| {
        let opened = open_well(plan, 0);
        let _ = shutdown(&opened.socket, Shutdown::Both); // ENOTCONN, but done all the same
        assert!(is_shut_down(opened.socket.as_fd()));
        assert!(!restore(plan, 0, opened.socket.as_fd()));
        assert!(fails(plan, 0).may_free(), "a child still has it");
        drop(opened);
        let again = open_well(plan, 0);
        assert!(!is_shut_down(again.socket.as_fd()));
    });
}

#[test]
#[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
fn a_client_of_a_live_listener_is_not_lost_to_the_question() {
    let folder = Folder::new("question");
    let path = folder.path("socket");
    with(&[("ListenStream", &path)], |plan| {
        let opened = open_well(plan, 0);
        let mut client = UnixStream::connect(&path).unwrap();
        assert!(!is_shut_down(opened.socket.as_fd()));
        let served = rustix::net::accept(&opened.socket).unwrap();
        rustix::io::write(&served, b"hello").unwrap();
        drop(served);
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    });
}

#[test]
#[cfg_attr(
    not(all(feature = "access", feature = "local")),
    ignore = "this build has internet sockets only, or lets everybody in"
)]
fn nothing_that_runs_after_the_seal_takes_memory() {
    let folder = Folder::new("memory");
    let (path, fifo, link) = (folder.path("a/socket"), folder.path("fifo"), folder.path("b/link"));
    let port = free_port().to_string();
    let late = format!("[fe80::1%no-such0]:{port}");
    let listen = [("ListenStream", &*port), ("ListenDatagram", &port), ("ListenStream", &late)];
    let deny = if testing::may_filter() { "10.0.0.0/8" } else { "" };
    let common = [("IPAddressDeny", deny), ("TCPCongestion", "no-such"), ("RemoveOnStop", "yes")];
    let user = rustix::process::geteuid().as_raw().to_string();
    let local = [("ListenStream", &*path), ("Symlinks", &link), ("SocketMode", "0600"), ("SocketUser", &user)];
    let services = [
        ("a", &[&listen[..], &common].concat()[..]),
        ("b", &[&local[..], &common].concat()),
        ("c", &[("ListenFIFO", &fifo)]),
    ];
    with_plan(&services, |plan, faults| {
        assert_eq!(faults, []);
        let before = testing::allocations();
        let mut text = heapless::String::<256>::new();
        let mut lost = 0;
        for listener in 0..plan.listeners.len() {
            match open(plan, listener, &mut |_| lost += 1) {
                Ok(opened) => {
                    let _ = shutdown(&opened.socket, Shutdown::Both);
                    let _ = is_shut_down(opened.socket.as_fd());
                    let kept = restore(plan, listener, opened.socket.as_fd()).then_some(opened);
                    let again = kept.map_or_else(|| open(plan, listener, &mut |_| lost += 1), Ok);
                    let _ = holder::find(plan, listener);
                    remove(plan, listener, again.map(|again| again.identity).unwrap_or_default());
                }
                Err(error) => core::fmt::Write::write_fmt(&mut text, format_args!("{error}")).unwrap(),
            }
        }
        let _ = watch::open().map(|socket| watch::drain(&socket));
        assert_eq!(testing::allocations(), before);
        assert_eq!((&*text, lost), ("looking up the interface: no such device (ENODEV)", 2));
    });
}

//! Unix sockets and fifos: paths, owners, modes, and what already lies at the path.

use crate::client::*;
use crate::harness::{Ctx, Need::*, PATIENCE, Test, service_file, stand_in, wait_until, which};
use crate::test;
use std::fs;
use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::process::Command;

pub const TESTS: &[Test] = &[
    test!(trap_40_regular_file_is_never_deleted),
    test!(trap_40_stale_socket_is_replaced),
    test!(trap_40_live_socket_is_not_stolen),
    test!(trap_40_live_socket_is_taken_when_it_is_left),
    test!(trap_40_symlink_is_not_followed_to_delete),
    test!(owner_group_and_mode, Root, Prog("setpriv"), File("/usr/bin/python3")),
    test!(mode_and_folder_mode),
    test!(remove_on_stop),
    test!(path_stays_without_remove_on_stop),
    test!(symlinks),
    test!(abstract_name),
    test!(datagram),
    test!(sequential_packets),
    test!(fifo_wakes_a_service),
    test!(fifo_poison_input),
    test!(allow_users, Root, Prog("setpriv"), File("/usr/bin/python3")),
    test!(allow_groups, Root, Prog("setpriv"), File("/usr/bin/python3")),
    test!(a_client_outside_of_our_pid_namespace_is_known, Root, Prog("unshare")),
    test!(socket_user_implies_the_users_group, Root),
];

pub fn mode(path: &str) -> u32 {
    fs::symlink_metadata(path).map_or(0, |meta| meta.mode() & 0o7777)
}

/// A client that is bound to a path of its own.
pub fn bound_client(own: &str, to: &str) -> UnixStream {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socket_with};
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    bind(&socket, &SocketAddrUnix::new(own).unwrap()).unwrap();
    connect(&socket, &SocketAddrUnix::new(to).unwrap()).unwrap();
    let stream = UnixStream::from(owned(socket));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn echo_here(path: &str, more: &str) -> String {
    format!("[x]\nListenStream={path}\nAccept=yes\n{more}ExecStart=/bin/echo here\n")
}

fn trap_40_regular_file_is_never_deleted(ctx: &mut Ctx) {
    let (path, port) = (ctx.file("x.sock", "precious"), ctx.port());
    let other = format!("[y]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart=/bin/echo other\n");
    let mut daemon = ctx.launch(&(echo_here(&path, "RemoveOnStop=yes\n") + &other)).spawn();
    wait_until("the daemon serves the rest, or has refused", || {
        !daemon.alive() || try_connect(local(port), PATIENCE).is_ok()
    });
    assert!(daemon.log().contains("x.sock"), "{}", daemon.log());
    if daemon.alive() {
        daemon.stop();
    }
    assert_eq!(ctx.lines("x.sock"), ["precious"]);
}

fn trap_40_stale_socket_is_replaced(ctx: &mut Ctx) {
    let path = ctx.path("x.sock");
    drop(UnixListener::bind(&path).unwrap());
    let _daemon = ctx.start(&echo_here(&path, ""));
    assert_eq!(unix_talk(&path).unwrap(), "here\n");
}

fn trap_40_live_socket_is_not_stolen(ctx: &mut Ctx) {
    let (path, port) = (ctx.path("x.sock"), ctx.port());
    let holder = UnixListener::bind(&path).unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    let other = format!("[y]\nListenStream=127.0.0.1:{port}\nAccept=yes\nExecStart=/bin/echo other\n");
    let mut daemon = ctx.launch(&(echo_here(&path, "") + &other)).spawn();
    wait_until("the daemon serves the rest", || try_connect(local(port), PATIENCE).is_ok());
    crate::harness::sleep_ms(1500);
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode, "the path still leads to its holder");
    assert!(daemon.log().contains("x.sock"), "{}", daemon.log());
    daemon.cost(|| crate::harness::sleep_ms(2000)).assert_small();
    assert!(daemon.alive());
    drop(holder);
}

fn trap_40_live_socket_is_taken_when_it_is_left(ctx: &mut Ctx) {
    let path = ctx.path("x.sock");
    let holder = UnixListener::bind(&path).unwrap();
    let daemon = ctx.start(&echo_here(&path, ""));
    drop(holder);
    let mut answer = String::new();
    wait_until("the daemon takes the path", || {
        answer = unix_talk(&path).unwrap_or_default();
        answer == "here\n"
    });
    drop(daemon);
}

fn trap_40_symlink_is_not_followed_to_delete(ctx: &mut Ctx) {
    let (target, path) = (ctx.file("precious", "precious"), ctx.path("x.sock"));
    std::os::unix::fs::symlink(&target, &path).unwrap();
    let mut daemon = ctx.launch(&echo_here(&path, "")).spawn();
    wait_until("the daemon says that the path is taken", || daemon.log().contains("x.sock") || !daemon.alive());
    assert_eq!(ctx.lines("precious"), ["precious"]);
}

/// Only the owner can use the agent; the service learns who its client is.
fn owner_group_and_mode(ctx: &mut Ctx) {
    let path = ctx.path("agent.sock");
    let exec = format!("/usr/bin/python3 {}", service_file("agent.py"));
    let config = format!(
        "[agent]\nListenStream={path}\nSocketUser=nobody\nSocketGroup=daemon\nSocketMode=0600\nExecStart={exec}\n"
    );
    let daemon = ctx.start(&config);
    let meta = fs::metadata(&path).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (65534, 1, 0o600));
    assert!(daemon.descendants().is_empty());
    let client = ctx.file(
        "client.py",
        "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\nprint(s.recv(99).decode())\n",
    );
    let as_user = |uid: &str| {
        let mut setpriv = Command::new("setpriv");
        setpriv.args([
            &format!("--reuid={uid}"),
            "--regid=65534",
            "--clear-groups",
            "/usr/bin/python3",
            &client,
            &path,
        ]);
        run(&mut setpriv)
    };
    let refused = as_user("54321");
    assert!(!refused.status.success(), "another user cannot connect");
    assert!(daemon.descendants().is_empty(), "and wakes nobody");
    let out = as_user("65534");
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "uid 65534", "{}", String::from_utf8_lossy(&out.stderr));
}

fn mode_and_folder_mode(ctx: &mut Ctx) {
    let path = ctx.path("deep/er/x.sock");
    let _daemon = ctx.start(&echo_here(&path, "SocketMode=0640\nDirectoryMode=0710\n"));
    assert_eq!(mode(&path), 0o640);
    assert_eq!((mode(&ctx.path("deep")), mode(&ctx.path("deep/er"))), (0o710, 0o710));
    assert_eq!(unix_talk(&path).unwrap(), "here\n");
}

fn remove_on_stop(ctx: &mut Ctx) {
    let (path, link) = (ctx.path("x.sock"), ctx.path("link.sock"));
    let mut daemon = ctx.start(&echo_here(&path, &format!("RemoveOnStop=yes\nSymlinks={link}\n")));
    assert_eq!(unix_talk(&link).unwrap(), "here\n");
    assert!(daemon.stop().success());
    assert!(fs::symlink_metadata(&path).is_err() && fs::symlink_metadata(&link).is_err());
}

fn path_stays_without_remove_on_stop(ctx: &mut Ctx) {
    let path = ctx.path("x.sock");
    let mut daemon = ctx.start(&echo_here(&path, ""));
    assert!(daemon.stop().success());
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
}

fn symlinks(ctx: &mut Ctx) {
    let (path, one, two) = (ctx.path("x.sock"), ctx.path("one.sock"), ctx.path("two.sock"));
    let _daemon = ctx.start(&echo_here(&path, &format!("Symlinks={one} {two}\n")));
    for link in [&one, &two] {
        assert_eq!(fs::read_link(link).unwrap().display().to_string(), path);
        assert_eq!(unix_talk(link).unwrap(), "here\n");
    }
}

fn abstract_name(ctx: &mut Ctx) {
    let name = format!("dormouse-test-{}-{}", std::process::id(), ctx.port());
    let _daemon = ctx.start(&echo_here(&format!("@{name}"), ""));
    let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
    let stream = UnixStream::connect_addr(&address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(read_all(stream), "here\n");
}

fn datagram(ctx: &mut Ctx) {
    let (path, out) = (ctx.path("x.sock"), ctx.path("out"));
    let script = format!("import socket\nopen('{out}', 'ab').write(socket.socket(fileno=3).recv(99))\n");
    let script = ctx.file("service.py", &script);
    let _daemon = ctx.start(&format!("[x]\nListenDatagram={path}\nExecStart=/usr/bin/python3 {script}\n"));
    let client = UnixDatagram::unbound().unwrap();
    client.send_to(b"one\n", &path).unwrap();
    wait_until("the first datagram is read", || ctx.lines("out") == ["one"]);
    client.send_to(b"two\n", &path).unwrap();
    wait_until("the second datagram is read", || ctx.lines("out") == ["one", "two"]);
}

fn sequential_packets(ctx: &mut Ctx) {
    let path = ctx.path("x.sock");
    let config = format!("[x]\nListenSequentialPacket={path}\nAccept=yes\nExecStart=/bin/echo here\n");
    let _daemon = ctx.start(&config);
    let script = "import socket, sys\ns = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\ns.settimeout(15)\n\
        s.connect(sys.argv[1])\nprint(s.recv(99).decode())\n";
    let script = ctx.file("client.py", script);
    let python = which("python3").unwrap_or("/usr/bin/python3".into());
    assert_eq!(output(Command::new(python).args([&script, &path])).trim(), "here");
}

fn fifo_wakes_a_service(ctx: &mut Ctx) {
    let (path, out) = (ctx.path("fifo"), ctx.path("out"));
    let script = ctx.script("service", &format!("read line <&3; echo \"$line\" >>{out}\n"));
    let daemon = ctx.start(&format!("[x]\nListenFIFO={path}\nSocketMode=0600\nExecStart={script}\n"));
    assert!(fs::metadata(&path).unwrap().file_type().is_fifo());
    assert_eq!(mode(&path), 0o600);
    for (count, word) in (1..).zip(["one", "two"]) {
        let mut fifo = fs::File::options().write(true).open(&path).unwrap();
        writeln!(fifo, "{word}").unwrap();
        drop(fifo);
        wait_until("the line is read", || ctx.lines("out").len() == count);
        wait_until("the service has ended", || daemon.descendants().is_empty());
    }
    daemon.cost(|| crate::harness::sleep_ms(2000)).assert_small();
}

fn fifo_poison_input(ctx: &mut Ctx) {
    let (path, runs) = (ctx.path("fifo"), ctx.path("runs"));
    let script = ctx.script("service", &format!("echo run >>{runs}; exit 1\n"));
    let daemon = ctx.start(&format!("[x]\nListenFIFO={path}\nExecStart={script}\n"));
    let mut fifo = fs::File::options().write(true).open(&path).unwrap();
    fifo.write_all(b"poison\n").unwrap();
    daemon.cost(|| crate::harness::sleep_ms(5000)).assert_small();
    assert!((1..=8).contains(&ctx.lines("runs").len()), "{} runs", ctx.lines("runs").len());
}

/// What a client with these ids reads at the path; nothing when it is turned away.
fn talk_as(ctx: &Ctx, path: &str, user: u32, group: u32, more: &str) -> String {
    let script = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.settimeout(15)\n\
        s.connect(sys.argv[1])\ntry:\n    print('got', s.recv(99).decode())\n\
        except ConnectionResetError:\n    print('got')\n";
    let script = ctx.file("client.py", script);
    let mut setpriv = Command::new("setpriv");
    setpriv.args([&format!("--reuid={user}"), &format!("--regid={group}"), more, "/usr/bin/python3", &script, path]);
    output(&mut setpriv).trim().strip_prefix("got").unwrap().trim().to_string()
}

fn allow_users(ctx: &mut Ctx) {
    let path = ctx.path("x.sock");
    let _daemon = ctx.start(&echo_here(&path, "AllowUsers=nobody 54322\n"));
    assert_eq!(talk_as(ctx, &path, 65534, 65534, "--clear-groups"), "here");
    assert_eq!(talk_as(ctx, &path, 54322, 65534, "--clear-groups"), "here", "a number needs no name");
    assert_eq!(talk_as(ctx, &path, 54321, 65534, "--clear-groups"), "");
    assert_eq!(talk_as(ctx, &path, 0, 0, "--clear-groups"), "", "root is let in by name only");
}

fn allow_groups(ctx: &mut Ctx) {
    let path = ctx.path("x.sock");
    let _daemon = ctx.start(&echo_here(&path, "AllowUsers=root\nAllowGroups=nogroup root\n"));
    assert_eq!(talk_as(ctx, &path, 60000, 65534, "--clear-groups"), "here", "by its group");
    assert_eq!(talk_as(ctx, &path, 0, 60000, "--clear-groups"), "here", "by its user");
    assert_eq!(talk_as(ctx, &path, 60000, 60000, "--clear-groups"), "");
    assert_eq!(talk_as(ctx, &path, 60000, 60000, "--groups=0"), "", "only its effective group counts");
}

/// As in a container whose socket lies in a folder of the host: the kernel tells the user, and 0 for the process.
fn a_client_outside_of_our_pid_namespace_is_known(ctx: &mut Ctx) {
    let path = ctx.path("x.sock");
    let wrapper = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let daemon = ctx.launch(&echo_here(&path, "AllowUsers=root\n")).wrapped(&wrapper).start();
    assert_eq!(unix_talk(&path).unwrap(), "here\n", "{}", daemon.log());
}

fn socket_user_implies_the_users_group(ctx: &mut Ctx) {
    let path = ctx.path("x.sock");
    let config = format!("[x]\nListenStream={path}\nSocketUser=nobody\nExecStart={}\n", stand_in("answer here 1"));
    let _daemon = ctx.start(&config);
    let meta = fs::metadata(&path).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (65534, 65534));
}

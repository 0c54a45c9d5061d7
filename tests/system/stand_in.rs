//! The test program as a small service or wrapper: `system --as-service MODE ARGUMENTS...`.
//!
//! A service takes its socket from descriptor 3 if `LISTEN_FDS` is there, from descriptor 0 otherwise, and knows
//! nothing about dormouse: the kernel's interface and the two variables are all that it relies on.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{FromRawFd, IntoRawFd, RawFd};
use std::os::unix::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::Command;

pub fn run(words: &[String]) {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["answer", text] => answer(text, 0),
        ["answer", text, times] => answer(text, times.parse().unwrap()),
        ["echo"] => echo(),
        ["hold"] => hold(),
        ["unfilter", text] => answer(&format!("{text} {}", unfilter()), 0),
        ["never"] => std::thread::sleep(std::time::Duration::from_secs(1000)),
        ["pour", mb] => pour(mb.parse().unwrap()),
        ["udp", text, times] => udp(text, times.parse().unwrap()),
        ["listenfd"] => listenfd(),
        ["report", file] => write_whole(file, &report()),
        ["report-and-answer", file] => {
            write_whole(file, &report());
            answer("reported", 1);
        }
        ["inherited", file] => inherited(file),
        ["report"] => print!("{}", report()),
        ["sockopts", file] => sockopts(file),
        ["shutdown", state, text] => shutdown_once(state, text, libc::SHUT_RDWR),
        ["shutdown-half", state, text] => shutdown_once(state, text, libc::SHUT_RD),
        ["nonblocking", text] => leave_nonblocking(text),
        ["daemonise", text] => daemonise(text),
        ["daemon", text] => daemon(text),
        ["pass", ref rest @ ..] => pass(rest),
        ["without-ipv6", ref rest @ ..] => without_family(libc::AF_INET6, rest),
        ["without-netlink", ref rest @ ..] => without_family(libc::AF_NETLINK, rest),
        ["without-call", number, ref rest @ ..] => without_call(number.parse().unwrap(), rest),
        ["fat", text, mb] => {
            let memory = std::hint::black_box(vec![1_u8; mb.parse::<usize>().unwrap() << 20]);
            answer(text, 0);
            drop(memory);
        }
        ["hold-fat", mb] => {
            let memory = std::hint::black_box(vec![1_u8; mb.parse::<usize>().unwrap() << 20]);
            hold();
            drop(memory);
        }
        ["announce", text] => announce(text),
        ["leave", text, ms] => leave(text, ms.parse().unwrap()),
        ["burn", text] => burn(text),
        _ => panic!("no such mode: {words:?}"),
    }
}

fn listener() -> RawFd {
    if std::env::var_os("LISTEN_FDS").is_some() { 3 } else { 0 }
}

/// Replaces a file at once: the test may look at any time, and the next instance may already write.
fn write_whole(file: &str, text: &str) {
    let new = format!("{file}.{}", std::process::id());
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}

/// Accepts on any kind of stream listener.
fn accept(fd: RawFd) -> Option<std::fs::File> {
    // SAFETY: no address is asked for, and the new descriptor has no other owner.
    unsafe {
        let connection = libc::accept(fd, std::ptr::null_mut(), std::ptr::null_mut());
        (connection >= 0).then(|| std::fs::File::from_raw_fd(connection))
    }
}

/// Answers each connection with `text` and the own pid; ends after `times` of them, never if zero.
fn answer(text: &str, times: u32) {
    let mut served = 0;
    while times == 0 || served < times {
        let mut connection = accept(listener()).expect("a connection");
        let _ = writeln!(connection, "{text} {}", std::process::id());
        served += 1;
    }
}

/// Answers once, tells that it is about to end, and takes its time for it.
fn announce(text: &str) {
    answer(text, 1);
    let name = std::env::var("NOTIFY_SOCKET").expect("somebody who wants to know");
    let address = <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name[1..]).unwrap();
    let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
    socket.send_to_addr(b"STATUS=tired\nSTOPPING=1", &address).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(600));
}

/// Answers as [`answer`] does, and ends when nobody has come for some time.
fn leave(text: &str, ms: i32) {
    let mut asked = libc::pollfd { fd: listener(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one structure that lives during the call.
    while unsafe { libc::poll(&raw mut asked, 1, ms) } > 0 {
        answer(text, 1);
    }
}

/// Serves connections one after the other until they close; never ends.
fn echo() {
    loop {
        let mut connection = accept(listener()).expect("a connection");
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = connection.read(&mut buffer) {
                if length == 0 || connection.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
        });
    }
}

/// Sends each connection so many MB, in packets of 16 kB where its kind has packets, and closes it.
fn pour(mb: usize) {
    while let Some(mut connection) = accept(listener()) {
        std::thread::spawn(move || (0..mb * 64).try_for_each(|_| connection.write_all(&[b'x'; 16 << 10])));
    }
}

/// Accepts and keeps every connection open.
fn hold() {
    let mut held = Vec::new();
    while let Some(connection) = accept(listener()) {
        held.push(connection);
    }
}

/// After the first connection uses the processor for a few seconds without any connection, then answers as usual.
fn burn(text: &str) {
    drop(accept(listener()));
    let start = std::time::Instant::now();
    while start.elapsed().as_secs() < 6 {
        std::hint::black_box(0);
    }
    answer(text, 0);
}

fn udp(text: &str, times: u32) {
    // SAFETY: the descriptor is the socket that we were given; nothing else in this process owns it.
    let socket = unsafe { UdpSocket::from_raw_fd(listener()) };
    let mut served = 0;
    while times == 0 || served < times {
        let mut buffer = [0; 2048];
        let (length, peer) = socket.recv_from(&mut buffer).expect("a datagram");
        let reply = format!("{text} {} {}", std::process::id(), String::from_utf8_lossy(&buffer[..length]));
        let _ = socket.send_to(reply.as_bytes(), peer);
        served += 1;
    }
}

/// What the `listenfd` crate makes of our environment, as an answer to the first connection.
fn listenfd() {
    let mut found = listenfd::ListenFd::from_env();
    let count = found.len();
    let first = found.take_tcp_listener(0).expect("the first is a TCP listener").expect("and was not taken");
    let second = if count > 1 { found.take_udp_socket(1).is_ok() } else { false };
    let (mut connection, _) = first.accept().unwrap();
    let left = std::env::var_os("LISTEN_FDS").is_some();
    writeln!(connection, "count={count} udp={second} left={left}").unwrap();
}

/// Tries to take the address rules off the socket that we were given, in three ways.
fn unfilter() -> String {
    let mut all = [libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0xffff }];
    let program = libc::sock_fprog { len: 1, filter: all.as_mut_ptr() };
    let zero = 0_i32;
    let (filter, number) = ((&raw const program).cast(), (&raw const zero).cast());
    let ways = [
        ("detach", libc::SO_DETACH_FILTER, number, 4),
        ("attach", libc::SO_ATTACH_FILTER, filter, size_of_val(&program) as u32),
        ("unlock", libc::SO_LOCK_FILTER, number, 4),
    ];
    let mut text = String::new();
    for (name, option, value, size) in ways {
        // SAFETY: the values, and the program with its only step, live until the kernel has copied them.
        let done = unsafe { libc::setsockopt(listener(), libc::SOL_SOCKET, option, value, size) == 0 };
        let errno = std::io::Error::last_os_error().raw_os_error();
        let outcome = if done {
            "done"
        } else if errno == Some(libc::EPERM) {
            "EPERM"
        } else {
            "other"
        };
        write!(text, "{name}={outcome} ").unwrap();
    }
    text
}

/// The protocol variables, and every open descriptor with its target and flags; one `name=value` a line.
fn report() -> String {
    let mut text = String::new();
    let (pid, session) = (rustix::process::getpid(), rustix::process::getsid(None).unwrap());
    writeln!(text, "pid={}\nsid={}", pid.as_raw_nonzero(), session.as_raw_nonzero()).unwrap();
    for (name, value) in std::env::vars() {
        writeln!(text, "env.{name}={value}").unwrap();
    }
    for fd in 0..256 {
        let Ok(target) = std::fs::read_link(format!("/proc/self/fd/{fd}")) else { continue };
        // SAFETY: fcntl with these commands only reads.
        let (flags, status) = unsafe { (libc::fcntl(fd, libc::F_GETFD), libc::fcntl(fd, libc::F_GETFL)) };
        let cloexec = flags & libc::FD_CLOEXEC != 0;
        let nonblock = status & libc::O_NONBLOCK != 0;
        writeln!(text, "fd.{fd}={} cloexec={cloexec} nonblock={nonblock} {}", target.display(), address(fd)).unwrap();
    }
    text
}

/// The file into which this process reports, if it was executed by a path that ends in `.line`: as the program of a
/// line whose arguments are not ours to choose.
pub fn line_of_corpus() -> Option<String> {
    // SAFETY: the kernel has put a string there that stays.
    let path = unsafe { std::ffi::CStr::from_ptr(libc::getauxval(libc::AT_EXECFN) as *const libc::c_char) };
    path.to_str().ok()?.strip_suffix(".line").map(|path| format!("{path}.report"))
}

/// Writes all that a child of an inetd has inherited into `file`, a thing a line, then takes what woke us, and ends.
pub fn inherited(file: &str) {
    let read = |path: &str| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let status = read("/proc/self/status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or("").split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let mut text = String::new();
    let arguments = read("/proc/self/cmdline").replace('\0', " ");
    writeln!(text, "arguments={}", arguments.replace(file, "FILE")).unwrap();
    for name in ["Uid", "Gid", "Groups", "Umask", "SigBlk", "NoNewPrivs"] {
        writeln!(text, "{name}={}", field(name)).unwrap();
    }
    // 32 and 33 are the C library's own: who asks it, as the others do, cannot give them their default again
    const RESERVED: u64 = 3 << 31;
    let ignored = u64::from_str_radix(&field("SigIgn"), 16).unwrap() & !RESERVED;
    writeln!(text, "SigIgn={ignored:016x}").unwrap();
    let limits = read("/proc/self/limits");
    let limits = limits.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    writeln!(text, "limits={}", limits.collect::<Vec<_>>().join(", ")).unwrap();
    let kind = |fd: RawFd| {
        let target = std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()?.display().to_string();
        // SAFETY: fcntl with this command only reads.
        let nonblocking = unsafe { libc::fcntl(fd, libc::F_GETFL) } & libc::O_NONBLOCK != 0;
        let end = if nonblocking { " nonblocking" } else { "" };
        Some(format!("{fd} {}{end}", target.split(':').next().unwrap_or_default()))
    };
    writeln!(text, "descriptors={}", (0..256).filter_map(kind).collect::<Vec<_>>().join(", ")).unwrap();
    writeln!(text, "folder={}", std::env::current_dir().unwrap_or_default().display()).unwrap();
    let own = rustix::process::getsid(None).ok() == Some(rustix::process::getpid());
    writeln!(text, "own session={own}").unwrap();
    let names: Vec<_> = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    writeln!(text, "env={}", names.join(" ")).unwrap();
    write_whole(file, &text);
    let mut byte = [0_u8; 1];
    // SAFETY: reads at most one byte into `byte`; on a listening socket it fails at once.
    if unsafe { libc::recv(0, byte.as_mut_ptr().cast(), 1, libc::MSG_DONTWAIT) } < 0 {
        drop(accept(0)); // with one process for each connection there is nothing to accept
    }
}

/// The local address of an internet or unix socket, as far as std can tell.
fn address(fd: RawFd) -> String {
    // SAFETY: the value is not dropped, so the descriptor stays open; asking for the address is harmless on any.
    let tcp = std::mem::ManuallyDrop::new(unsafe { TcpListener::from_raw_fd(fd) });
    // SAFETY: as above.
    let unix = std::mem::ManuallyDrop::new(unsafe { std::os::unix::net::UnixListener::from_raw_fd(fd) });
    if let Ok(address) = tcp.local_addr() {
        return address.to_string();
    }
    unix.local_addr().ok().and_then(|a| a.as_pathname().map(|p| p.display().to_string())).unwrap_or_default()
}

/// The integer options that the tests look at: name, level, number.
const OPTIONS: &[(&str, i32, i32)] = &[
    ("KEEPALIVE", libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    ("KEEPIDLE", libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
    ("KEEPINTVL", libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
    ("KEEPCNT", libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
    ("NODELAY", libc::IPPROTO_TCP, libc::TCP_NODELAY),
    ("DEFER_ACCEPT", libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT),
    ("PRIORITY", libc::SOL_SOCKET, libc::SO_PRIORITY),
    ("RCVBUF", libc::SOL_SOCKET, libc::SO_RCVBUF),
    ("SNDBUF", libc::SOL_SOCKET, libc::SO_SNDBUF),
    ("IP_TOS", libc::IPPROTO_IP, libc::IP_TOS),
    ("IP_TTL", libc::IPPROTO_IP, libc::IP_TTL),
    ("MARK", libc::SOL_SOCKET, libc::SO_MARK),
    ("REUSEADDR", libc::SOL_SOCKET, libc::SO_REUSEADDR),
    ("REUSEPORT", libc::SOL_SOCKET, libc::SO_REUSEPORT),
    ("FREEBIND", libc::IPPROTO_IP, libc::IP_FREEBIND),
    ("TRANSPARENT", libc::IPPROTO_IP, libc::IP_TRANSPARENT),
    ("BROADCAST", libc::SOL_SOCKET, libc::SO_BROADCAST),
    ("PASSCRED", libc::SOL_SOCKET, libc::SO_PASSCRED),
    ("PKTINFO", libc::IPPROTO_IP, libc::IP_PKTINFO),
    ("V6ONLY", libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
    ("V6_RECVPKTINFO", libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    ("LOCK_FILTER", libc::SOL_SOCKET, libc::SO_LOCK_FILTER),
    ("ACCEPTCONN", libc::SOL_SOCKET, libc::SO_ACCEPTCONN),
    ("TYPE", libc::SOL_SOCKET, libc::SO_TYPE),
];

/// Writes the options of the given sockets (`FD.NAME=VALUE`) into `file`, then takes what woke us, and ends.
fn sockopts(file: &str) {
    let count: RawFd = std::env::var("LISTEN_FDS").map_or(1, |text| text.parse().unwrap());
    let mut text = String::new();
    for fd in listener()..listener() + count {
        for (name, level, option) in OPTIONS {
            let (mut value, mut size) = (0i32, 4u32);
            let to = (&raw mut value).cast();
            // SAFETY: the kernel writes at most the four bytes of `value`.
            if unsafe { libc::getsockopt(fd, *level, *option, to, &raw mut size) } == 0 {
                writeln!(text, "{fd}.{name}={value}").unwrap();
            }
        }
        for (name, level, option) in [
            ("CONGESTION", libc::IPPROTO_TCP, libc::TCP_CONGESTION),
            ("DEVICE", libc::SOL_SOCKET, libc::SO_BINDTODEVICE),
        ] {
            let (mut value, mut size) = ([0u8; 64], 64u32);
            // SAFETY: the kernel writes at most the bytes of `value`.
            if unsafe { libc::getsockopt(fd, level, option, value.as_mut_ptr().cast(), &raw mut size) } == 0 {
                let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
                writeln!(text, "{fd}.{name}={}", String::from_utf8_lossy(&value[..end])).unwrap();
            }
        }
    }
    write_whole(file, &text);
    let mut byte = [0u8];
    // SAFETY: reads at most one byte into `byte`; on a listening socket it fails at once.
    if unsafe { libc::recv(listener(), byte.as_mut_ptr().cast(), 1, libc::MSG_DONTWAIT) } < 0 {
        answer("options", 1);
    }
}

/// The first time shuts the socket down and ends; from the second time on serves.
fn shutdown_once(state: &str, text: &str, how: libc::c_int) {
    let mut byte = [0_u8];
    // SAFETY: writes at most one byte into `byte`; on a listening socket it fails at once.
    let is_listening = unsafe { libc::recv(listener(), byte.as_mut_ptr().cast(), 1, libc::MSG_PEEK) } < 0;
    if std::fs::metadata(state).is_ok() {
        return if is_listening { answer(text, 0) } else { udp(text, 0) };
    }
    std::fs::write(state, "").unwrap();
    drop(accept(listener()));
    // SAFETY: as above, and a plain system call on the socket that we were given.
    unsafe {
        libc::recv(listener(), byte.as_mut_ptr().cast(), 1, 0);
        libc::shutdown(listener(), how);
    }
}

/// Says whether the listener was non-blocking, serves one connection, and leaves the listener non-blocking.
fn leave_nonblocking(text: &str) {
    // SAFETY: plain system calls on the socket that we were given.
    let before = unsafe { libc::fcntl(listener(), libc::F_GETFL) };
    let was = before & libc::O_NONBLOCK != 0;
    answer(&format!("{text} nonblocking={was}"), 1);
    // SAFETY: as above.
    unsafe { libc::fcntl(listener(), libc::F_SETFL, before | libc::O_NONBLOCK) };
}

/// Leaves a copy of itself in a session of its own with the listener, and ends with status 0.
#[allow(clippy::zombie_processes)] // It ends at once, so nobody is left who could wait.
fn daemonise(text: &str) {
    let own = std::env::current_exe().unwrap();
    let mut copy = Command::new("setsid");
    copy.arg(own).args(["--as-service", "answer", text]);
    copy.spawn().expect("setsid starts");
}

/// Goes into the background as daemon(3) does: who was started has ended before the session is left.
fn daemon(text: &str) {
    // SAFETY: this process has one thread so far; the parent ends at once, and the child goes on as it would have.
    unsafe {
        if libc::fork() != 0 {
            libc::_exit(0);
        }
        libc::usleep(20_000);
        libc::setsid();
    }
    answer(text, 0);
}

/// `pass [-n NAMES] tcp:PORT udp:PORT unix:PATH... -- PROGRAM ARGUMENTS...`: opens the sockets and executes the program
/// with them on 3, 4, ... and `LISTEN_*`, as a supervisor with socket activation does.
fn pass(words: &[&str]) {
    let end = words.iter().position(|word| *word == "--").unwrap();
    let mut names = None;
    let mut sockets = Vec::new();
    for word in &words[..end] {
        let (kind, rest) = word.split_once(':').unwrap();
        match kind {
            "names" => names = Some(rest.to_string()),
            "tcp" => sockets.push(TcpListener::bind(format!("127.0.0.1:{rest}")).unwrap().into_raw_fd()),
            "udp" => sockets.push(UdpSocket::bind(format!("127.0.0.1:{rest}")).unwrap().into_raw_fd()),
            _ => sockets.push(std::os::unix::net::UnixListener::bind(rest).unwrap().into_raw_fd()),
        }
    }
    let high: Vec<RawFd> = sockets.iter().map(|fd| duplicate(*fd)).collect();
    for (place, fd) in (3..).zip(&high) {
        // SAFETY: what lies on these low numbers are our own sockets, which have been duplicated above them.
        unsafe { libc::dup2(*fd, place) };
    }
    let mut command = Command::new(words[end + 1]);
    command.args(&words[end + 2..]).env("LISTEN_FDS", high.len().to_string());
    command.env("LISTEN_PID", std::process::id().to_string());
    if let Some(names) = names {
        command.env("LISTEN_FDNAMES", names);
    }
    panic!("exec: {}", command.exec());
}

fn duplicate(fd: RawFd) -> RawFd {
    // SAFETY: makes a new descriptor above all that we use.
    unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 100) }
}

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const GIVE: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const fn step(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Executes a program on a kernel that, as far as it can see, lacks an address family: socket(2) is EAFNOSUPPORT.
fn without_family(family: i32, words: &[&str]) {
    let first_argument = if cfg!(target_endian = "little") { 16 } else { 20 };
    filtered(
        &mut [
            step(LOAD, 0, 0, 0),
            step(EQUAL, 0, 3, libc::SYS_socket as u32),
            step(LOAD, 0, 0, first_argument),
            step(EQUAL, 0, 1, family as u32),
            step(GIVE, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32),
            step(GIVE, 0, 0, libc::SECCOMP_RET_ALLOW),
        ],
        words,
    );
}

/// Executes a program in a sandbox that does not allow a system call: it is EPERM.
fn without_call(number: u32, words: &[&str]) {
    filtered(
        &mut [
            step(LOAD, 0, 0, 0),
            step(EQUAL, 0, 1, number),
            step(GIVE, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
            step(GIVE, 0, 0, libc::SECCOMP_RET_ALLOW),
        ],
        words,
    );
}

/// Executes a program under a filter of system calls (seccomp(2)).
fn filtered(filter: &mut [libc::sock_filter], words: &[&str]) {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its steps live until the kernel has copied them.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
    panic!("exec: {}", Command::new(words[0]).args(&words[1..]).exec());
}

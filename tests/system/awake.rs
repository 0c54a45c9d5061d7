//! What keeps a service awake: a client that is silent on a connection that it keeps, one that has closed its sending
//! side, one that still waits in the queue, and one that takes its time over a download. Each of them on every kind of
//! socket, seen by sock_diag and through /proc/net.

use crate::client::{borrowed, owned};
use crate::daemon::Daemon;
use crate::hammer::By;
use crate::harness::{Ctx, Need, Need::*, PATIENCE, sleep_ms, stand_in, trial, wait_until};
use libtest_mimic::Trial;
use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, connect, shutdown, socket_with};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Ipv4,
    Ipv6,
    /// A socket of both families, asked by IPv4.
    DualStack,
    Unix,
    SequentialPacket,
}

const KINDS: [(Kind, &str); 5] = [
    (Kind::Ipv4, "ipv4"),
    (Kind::Ipv6, "ipv6"),
    (Kind::DualStack, "dual_stack"),
    (Kind::Unix, "unix"),
    (Kind::SequentialPacket, "seqpacket"),
];

/// The services, and what each of them executes.
const SERVICES: [(&str, &str); 4] = [("kept", "echo"), ("half", "hold"), ("queued", "never"), ("download", "pour 64")];
/// What the last one sends.
const DOWNLOAD_BYTES: usize = 64 << 20;
const IDLE_MS: u64 = 300;

/// A test for each kind of socket and each way of counting.
pub fn table() -> impl Iterator<Item = Trial> {
    const NEEDS: &[Need] = &[Directive("StopWhenIdleSec")];
    [By::SockDiag, By::Proc].into_iter().flat_map(|by| {
        KINDS.into_iter().map(move |(kind, word)| {
            let name = format!("awake::clients_keep_awake_{word}_{}", by.word());
            trial(name, NEEDS, move |ctx| clients_keep_awake(ctx, kind, by))
        })
    })
}

impl Kind {
    fn listen(self, at: &At) -> String {
        match (self, at) {
            (Self::Ipv4, At::Port(port)) => format!("ListenStream=127.0.0.1:{port}"),
            (Self::Ipv6, At::Port(port)) => format!("ListenStream=[::1]:{port}"),
            (_, At::Port(port)) => format!("ListenStream={port}"),
            (Self::SequentialPacket, At::Path(path)) => format!("ListenSequentialPacket={path}"),
            (_, At::Path(path)) => format!("ListenStream={path}"),
        }
    }

    fn connect(self, at: &At) -> File {
        let (family, kind) = match self {
            Self::Ipv4 | Self::DualStack => (AddressFamily::INET, SocketType::STREAM),
            Self::Ipv6 => (AddressFamily::INET6, SocketType::STREAM),
            Self::Unix => (AddressFamily::UNIX, SocketType::STREAM),
            Self::SequentialPacket => (AddressFamily::UNIX, SocketType::SEQPACKET),
        };
        let client = socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
        let timeout = rustix::net::sockopt::Timeout::Recv;
        rustix::net::sockopt::set_socket_timeout(&client, timeout, Some(PATIENCE)).unwrap();
        match at {
            At::Port(port) if self == Self::Ipv6 => {
                connect(&client, &SocketAddr::from((Ipv6Addr::LOCALHOST, *port))).unwrap();
            }
            At::Port(port) => connect(&client, &SocketAddr::from((Ipv4Addr::LOCALHOST, *port))).unwrap(),
            At::Path(path) => connect(&client, &SocketAddrUnix::new(path.as_str()).unwrap()).unwrap(),
        }
        File::from(owned(client))
    }
}

/// Where a service listens.
enum At {
    Port(u16),
    Path(String),
}

/// Sends a word and waits for its echo, one packet each.
fn echo(client: &mut File, text: &str) {
    client.write_all(text.as_bytes()).unwrap();
    let mut buffer = [0; 64];
    let length = client.read(&mut buffer).unwrap();
    assert_eq!(String::from_utf8_lossy(&buffer[..length]), text);
}

/// Holds everything open for five times the idle time; no service must end or change.
fn stays_awake(daemon: &Daemon) {
    let before = daemon.descendants();
    assert_eq!(before.len(), SERVICES.len(), "{}", daemon.log());
    sleep_ms(IDLE_MS * 5);
    assert_eq!(daemon.descendants(), before, "{}", daemon.log());
}

fn clients_keep_awake(ctx: &mut Ctx, kind: Kind, by: By) {
    if matches!(kind, Kind::Ipv6 | Kind::DualStack) && TcpListener::bind("[::1]:0").is_err() {
        return ctx.skip("no IPv6 here");
    }
    let places: Vec<At> = SERVICES
        .map(|(name, _)| match kind {
            Kind::Unix | Kind::SequentialPacket => At::Path(ctx.path(name)),
            _ => At::Port(ctx.port()),
        })
        .into();
    let config: String = SERVICES
        .iter()
        .zip(&places)
        .map(|((name, mode), at)| {
            let listen = kind.listen(at);
            format!("[{name}]\n{listen}\nStopWhenIdleSec={IDLE_MS}ms\nExecStart={}\n", stand_in(mode))
        })
        .collect();
    let launch = ctx.launch(&config);
    let daemon = by.launch(launch);
    let mut clients: Vec<File> = places.iter().map(|at| kind.connect(at)).collect();
    wait_until("all of them run", || daemon.descendants().len() == SERVICES.len());
    let [kept, half, _, download] = &mut clients[..] else { panic!("four clients") };
    shutdown(borrowed(half), Shutdown::Write).unwrap();
    let mut piece = vec![0; 64 << 10];
    let mut got = download.read(&mut piece).unwrap();
    for text in ["one", "two"] {
        echo(kept, text);
        stays_awake(&daemon);
    }
    echo(kept, "three");
    while let length @ 1.. = download.read(&mut piece).unwrap() {
        got += length;
    }
    assert_eq!(got, DOWNLOAD_BYTES, "the download is whole");
    drop(clients);
    // who holds a connection, or never takes it, still has it; the others sleep
    wait_until("those whose clients have gone are put to sleep", || daemon.descendants().len() <= 2);
}

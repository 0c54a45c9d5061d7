//! A table that is full: who comes waits, and nobody is lost.

#![allow(clippy::indexing_slicing)]

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

use super::state::About;
use super::*;
use crate::config::read_text;
use crate::handover::codec::{Codec, Field, Writer};
use crate::limits::CHILDREN;
use crate::plan::FIRST_OWN_FD;
use crate::plan::compile::compile;
use crate::plan::testing::{CONTEXT, with_tables};

/// Runs `test` with a server of these services, the listener of each at an abstract name: `full`, the process, its own.
fn with_server(services: &[(&str, &str)], test: impl FnOnce(&mut Server) + Send) {
    let text: String =
        services.iter().map(|(name, rest)| format!("[{name}]\nListenStream={}\n{rest}\n", at(name))).collect();
    with_tables(|tables| {
        let mut draft = read_text("full.conf", text.as_bytes());
        compile(&mut draft, tables, &CONTEXT);
        assert!(!draft.is_faulty(), "{}", draft.report());
        let (plan, tables) = (Box::leak(Box::new(tables.plan())), Box::leak(Box::new(Room::EMPTY)).tables());
        for _ in plan.listeners {
            assert!(tables.listeners.push(Listener::CLOSED).is_ok());
        }
        let mut server = Server::new(plan, tables, Notify::default()).unwrap();
        server.open_all();
        assert_eq!(server.missing(), 0);
        test(&mut server);
    });
}

fn at(name: &str) -> String {
    format!("@full-{}-{name}", std::process::id())
}

fn connect(name: &str) -> UnixStream {
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(&at(name)[1..]).unwrap()).unwrap()
}

/// As many children as there is room for; none of them is a process.
fn fill(server: &mut Server) {
    let (now, never) = (server.now, Tick::NEVER);
    while server.tables.children.push(Child::new(i32::MAX, 0, now, never)).is_ok() {}
    assert_eq!(server.tables.children.len(), CHILDREN);
}

fn rests(server: &Server, service: usize) -> bool {
    matches!(server.phase(service), Phase::Resting(until, Why::Scarce) if until > server.now)
}

#[test]
#[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
fn clients_wait_for_a_child_to_end() {
    let services = [("each", "Accept=yes\nExecStart=/bin/cat"), ("one", "ExecStart=/bin/cat")];
    with_server(&services, |server| {
        let _clients = ["each", "one"].map(connect);
        fill(server);
        server.on_connection(0, 0, server.policy(0).unwrap());
        server.start_service(1, Cause::Knock);
        for service in [0, 1] {
            assert!(rests(server, service), "{:?}", server.phase(service));
            assert!(server.is_waited_for(service), "nobody has taken the client");
            assert_eq!(server.tables.children.len(), CHILDREN);
        }
        server.tables.children.clear();
        for service in [0, 1] {
            server.on_rested(service, Why::Scarce);
            assert_eq!(server.phase(service), Phase::Waiting);
            assert_eq!(server.tables.listeners[service].watch, Watch::Armed);
        }
    });
}

#[test]
#[cfg_attr(not(feature = "local"), ignore = "this build has internet sockets only")]
fn a_connection_that_waits_for_its_program_goes_on_waiting() {
    with_server(&[("parked", "Accept=yes\nExecStart=/bin/cat")], |server| {
        let _client = connect("parked");
        let (connection, address) = rustix::net::acceptfrom(&server.tables.opened(0).unwrap().socket).unwrap();
        let peer = crate::peer::Peer::of(address, &connection);
        server.park(0, 0, connection, peer);
        fill(server);
        server.on_rested(0, Why::Failure);
        assert!(rests(server, 0) && server.tables.parked.len() == 1);
    });
}

/// The image before may have had room for more.
#[test]
#[cfg_attr(not(all(feature = "local", feature = "reload")), ignore = "this build has no image after another")]
fn a_service_whose_process_finds_no_room_is_watched() {
    with_server(&[("kept", "ExecStart=/bin/cat")], |server| {
        let child = Child::new(i32::MAX - 1, 0, server.now, Tick::NEVER);
        assert!(server.runs_already(0, child));
        let mut state = Writer::new(rustix::fs::memfd_create(c"state", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        server.put_state(&About::BLANK, &mut Codec::To(&mut state));
        let mut resume = Resume::read(&state.finish().unwrap()).unwrap();
        resume.services(server.plan);
        server.tables.children.clear();
        fill(server);
        server.resume(&mut resume, FIRST_OWN_FD);
        assert_eq!(server.phase(0), Phase::Waiting);
        server.open_all();
        assert_eq!(server.tables.listeners[0].watch, Watch::Armed);
    });
}

#[test]
#[cfg_attr(not(all(feature = "local", feature = "internal")), ignore = "this build has no such service")]
fn what_starts_no_child_goes_on() {
    with_server(&[("echo", "Accept=yes\nInternal=echo")], |server| {
        let _client = connect("echo");
        fill(server);
        server.on_connection(0, 0, server.policy(0).unwrap());
        assert_eq!((server.phase(0), server.tables.internal.len()), (Phase::Waiting, 1));
    });
}

//! The state: what is written comes back; what is broken is nothing, and never a panic.

#![allow(clippy::indexing_slicing)]

use super::*;
use crate::handover::codec::{Writer, is_zero};
use crate::plan::Plan;
use crate::plan::testing::with_plan;
use crate::sys::process;
use crate::text::{HASH_START, hash};
use core::iter::empty;
use rustix::fs::{MemfdFlags, memfd_create};

/// The same bytes with the hash that belongs to them.
fn vouched(mut bytes: Vec<u8>) -> Vec<u8> {
    let (all, end) = bytes.split_last_chunk_mut().unwrap();
    *end = hash(HASH_START, all).to_ne_bytes();
    bytes
}

/// The bytes of a state with a bit of everything, written by a server of its own.
fn written() -> Vec<u8> {
    let mut bytes = Vec::new();
    let directives: &[(&str, &str)] = &[("ListenStream", "127.0.0.1:9"), ("ListenDatagram", "/run/x")];
    with_plan(&[("web", directives), ("log", &[("ListenStream", "@log")])], |plan, _| {
        bytes = bytes_of(plan);
    });
    bytes
}

fn bytes_of(plan: &Plan) -> Vec<u8> {
    let mut file = Writer::new(memfd_create(c"state", MemfdFlags::CLOEXEC).unwrap());
    let to = &mut Codec::To(&mut file);
    to.put(VERSION);
    let (kind, begun, since) = (Kind::Upgrade, Tick(5), Tick(4));
    let pid_file = Descriptor(64);
    to.put(About { kind, begun, since, pid_file, name: process::name(), ..About::BLANK });
    for (spec, phase) in plan.services.iter().zip([Phase::Running(7), Phase::Resting(Tick::NEVER, Why::Program)]) {
        let state = ServiceState { phase, accepted: 3_000_000_000_000, ..ServiceState::NEW };
        put_kept(to, state, plan.arena.get(spec.name), &[]);
    }
    to.put(false);
    let (kind, identity, marks) = (SocketKind::Datagram, Identity { device: 1, inode: 2 }, marks(plan, 1));
    put_kept(
        to,
        KeptListener { service: 1, row: 2, kind, identity, marks, descriptor: Descriptor(35) },
        b"/run/x",
        b"",
    );
    to.put(false);
    let (stage, timed_out, end) = (Life::Left, true, End::Signal(9, true));
    let (since, deadline, source) = (Tick(1), Tick(2), Source([8; 16]));
    to.put_list([Child { pid: 7, session: 6, service: 0, stage, timed_out, end, since, deadline, source }].into_iter());
    to.put_list([KeptForeign { pid: 7, descriptor: Descriptor(40) }].into_iter());
    to.put_list(empty::<KeptParked>());
    let deadline = Tick(9);
    let internal =
        KeptInternal { service: 1, listener: 2, descriptor: Descriptor(42), deadline, position: 5, blocked: true };
    to.put_list([internal].into_iter());
    let side = |socket, pipe, held| KeptSide { socket, pipe, held, ended: true, passed_on: false, broken: false };
    let sides = [side(Descriptor(50), [51, 52].map(Descriptor), 7), side(Descriptor::BLANK, [Descriptor::BLANK; 2], 0)];
    let source = Source([8; 16]);
    to.put_list([KeptForward { service: 1, stage: Stage::Waiting, source, deadline, sides }].into_iter());
    put_kept(
        to,
        KeptOutput { log: Target::Syslog, read: Descriptor(41), write: Descriptor::BLANK },
        b"web",
        b"half a li",
    );
    to.put(false);
    to.put_list(empty::<Rate>());
    to.put(1_u32);
    to.put_list([Event::of(What::Stop, 7)].into_iter());
    to.put(false);
    let file = file.finish().unwrap();
    let mut bytes = vec![0; 1 << 16];
    let length = pread(&file, bytes.as_mut_slice(), 0).unwrap();
    bytes.truncate(length);
    bytes
}

#[test]
fn a_service_to_which_nothing_has_happened_is_all_zero() {
    assert!(is_zero(&ServiceState::NEW));
    assert!(!is_zero(&ServiceState { phase: Phase::Paused, ..ServiceState::NEW }));
}

#[test]
#[cfg_attr(not(feature = "all"), ignore = "a state has rows of all parts")]
fn what_is_written_comes_back() {
    let bytes = written();
    let state = State::parse(&bytes).unwrap();
    assert_eq!((state.about.kind, state.about.pid_file), (Kind::Upgrade, Descriptor(64)));
    let [web, log] = &state.services[..] else { panic!("two services") };
    assert_eq!((&web.first[..], web.row.phase, web.row.accepted), (&b"web"[..], Phase::Running(7), 3_000_000_000_000));
    assert_eq!((&log.first[..], log.row.phase), (&b"log"[..], Phase::Resting(Tick::NEVER, Why::Program)));
    assert_eq!(state.listeners[0].first, b"/run/x");
    assert_eq!(state.listeners[0].row.identity, Identity { device: 1, inode: 2 });
    let child = &state.children[0];
    assert_eq!((child.stage, child.timed_out, child.end), (Life::Left, true, End::Signal(9, true)));
    assert_eq!((child.pid, child.session), (7, 6));
    assert_eq!((state.internal[0].position, state.internal[0].blocked), (5, true));
    let [client, backend] = &state.forwards[0].sides;
    assert_eq!(
        (state.forwards[0].stage, client.pipe, client.held, backend.socket),
        (Stage::Waiting, [51, 52].map(Descriptor), 7, Descriptor::BLANK)
    );
    assert_eq!((state.outputs[0].row.write, &state.outputs[0].second[..]), (Descriptor::BLANK, &b"half a li"[..]));
}

#[test]
#[cfg_attr(not(feature = "all"), ignore = "a state has rows of all parts")]
fn a_state_that_is_not_as_it_was_written_is_refused() {
    let bytes = written();
    for length in 0..bytes.len() {
        assert!(State::parse(&bytes[..length]).is_none(), "{length} of {} bytes", bytes.len());
        let mut changed = bytes.clone();
        changed[length] ^= 1;
        assert!(State::parse(&changed).is_none(), "byte {length} is another one");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(State::parse(&longer).is_none());
}

#[test]
#[cfg_attr(not(feature = "all"), ignore = "a state has rows of all parts")]
fn other_versions_and_other_files_are_refused() {
    let mut bytes = written();
    assert!(State::parse(&vouched(bytes.clone())).is_some());
    bytes[0] = bytes[0].wrapping_add(1);
    assert!(State::parse(&vouched(bytes)).is_none());
    assert!(State::parse(b"[web]\nListenStream=80\n").is_none());
}

#[test]
#[cfg_attr(not(feature = "all"), ignore = "a state has rows of all parts")]
fn broken_bytes_never_panic() {
    let bytes = written();
    let mut seed = 1_u64;
    for _ in 0..20_000 {
        let mut broken = bytes.clone();
        for _ in 0..3 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = usize::try_from(seed >> 33).unwrap() % broken.len();
            broken[at] = u8::try_from(seed >> 24 & 0xff).unwrap();
        }
        let _ = State::parse(&vouched(broken));
    }
}

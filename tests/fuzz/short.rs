//! The short run, the same in every run: no damaged text ends a reader. `tests/fuzz/Cargo.toml` tells of the long one.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "../content.rs"]
mod content;
mod doors;
mod mutate;
#[path = "../../src/sys/random.rs"]
mod random;
mod words;

use doors::Doors;
use mutate::{Plans, Reader};
use random::Random;
use std::path::Path;

fn run(reader: Reader, rounds: usize) {
    let seeds = reader.seeds(Path::new("tests"));
    let folder = std::env::temp_dir().join(format!("dormouse-fuzz-{}-{}", std::process::id(), reader as u8));
    let mut random = Random(88_172_645_463_325_252);
    Plans::with(|plans| {
        for _ in 0..rounds {
            reader.round(&seeds, &mut random, &folder, plans);
        }
    });
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn native() {
    run(Reader::Native, 500);
}

#[test]
fn units() {
    run(Reader::Units, 1_000);
}

#[test]
fn xinetd() {
    run(Reader::Xinetd, 1_000);
}

#[test]
fn inetd() {
    run(Reader::Inetd, 1_000);
}

#[test]
fn command_lines() {
    let mut random = Random(88_172_645_463_325_252);
    (0..20_000).for_each(|_| words::round(&mut random));
}

#[test]
#[cfg_attr(not(feature = "all"), ignore = "a door of each kind")]
fn a_daemon() {
    let folder = std::env::temp_dir().join(format!("dormouse-fuzz-{}", std::process::id()));
    let mut random = Random(88_172_645_463_325_252);
    let mut doors = Doors::open(Path::new(env!("CARGO_BIN_EXE_dormouse")), &folder);
    (0..2_000).for_each(|_| doors.round(&mut random));
    doors.close();
}

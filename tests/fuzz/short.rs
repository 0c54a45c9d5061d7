//! The short run, the same in every run: no damaged text ends a reader. `tests/fuzz/Cargo.toml` tells of the long one.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "../content.rs"]
mod content;
mod mutate;
#[path = "../../src/sys/random.rs"]
mod random;

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

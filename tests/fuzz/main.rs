//! The long run: one reader, some minutes. It ends at the first text that a reader does not survive, and leaves it.

#[path = "../content.rs"]
mod content;
mod mutate;
#[path = "../../src/sys/random.rs"]
mod random;

use mutate::{Plans, Reader};
use random::Random;
use std::time::{Duration, Instant};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| words.get(index).and_then(|word| word.parse::<u64>().ok());
    let reader = match words.first().map(String::as_str) {
        Some("native") => Some(Reader::Native),
        Some("units") => Some(Reader::Units),
        Some("xinetd") => Some(Reader::Xinetd),
        Some("inetd") => Some(Reader::Inetd),
        _ => None,
    };
    let (Some(reader), Some(minutes)) = (reader, number(1)) else {
        eprintln!("usage: fuzz native|units|xinetd|inetd MINUTES [SEED]");
        std::process::exit(2);
    };
    let mut random = Random(number(2).unwrap_or(0x9E37_79B9_7F4A_7C15));
    let seeds = reader.seeds(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")));
    let folder = std::env::temp_dir().join(format!("dormouse-fuzz-{}", std::process::id()));
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let mut rounds = 0u64;
    Plans::with(|plans| {
        while Instant::now() < end {
            reader.round(&seeds, &mut random, &folder, plans);
            rounds += 1;
        }
    });
    let _ = std::fs::remove_dir_all(&folder);
    println!("{rounds} rounds");
}

//! The long run: one reader, some minutes. It ends at the first text that a reader does not survive, and leaves it.
//! With `words` these are command lines, with `doors` whatever comes to the sockets of a daemon (the program named by
//! DORMOUSE).

#[path = "../content.rs"]
mod content;
mod doors;
mod mutate;
#[path = "../../src/sys/random.rs"]
mod random;
mod words;

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
    let work = words.first().map_or("", String::as_str);
    let (true, Some(minutes)) = (reader.is_some() || matches!(work, "words" | "doors"), number(1)) else {
        eprintln!("usage: fuzz native|units|xinetd|inetd|words|doors MINUTES [SEED]");
        std::process::exit(2);
    };
    let mut random = Random(number(2).unwrap_or(0x9E37_79B9_7F4A_7C15));
    let folder = std::env::temp_dir().join(format!("dormouse-fuzz-{}", std::process::id()));
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let mut rounds = 0u64;
    let mut repeat = |round: &mut dyn FnMut(&mut Random)| {
        while Instant::now() < end {
            round(&mut random);
            rounds += 1;
        }
    };
    match reader {
        Some(reader) => {
            let seeds = reader.seeds(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")));
            Plans::with(|plans| repeat(&mut |random| reader.round(&seeds, random, &folder, plans)));
        }
        None if work == "words" => repeat(&mut words::round),
        None => {
            let program = std::env::var_os("DORMOUSE").expect("DORMOUSE= with the path of the program");
            let mut doors = doors::Doors::open(program.as_ref(), &folder);
            repeat(&mut |random| doors.round(random));
            doors.close();
        }
    }
    let _ = std::fs::remove_dir_all(&folder);
    println!("{rounds} rounds");
}

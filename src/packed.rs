//! Texts that are packed at compile time: messages and help, which most runs never show.
//!
//! Each bit is predicted from the word it belongs to and the up to three bytes before it, and coded by how likely it
//! was (a context model with an arithmetic coder), so that English takes a third of its room. The packer runs in the
//! compiler; the program has the reader only. A text is unpacked as a whole, into `.bss`, when it is first asked for.
//! That takes some milliseconds and [`MODEL_BYTES`] of heap, so a text that is packed must not be asked for after the
//! seal. What the model has learned from one text it knows in those that are packed behind it.
//!
//! Builds with debug assertions have their texts plain, which spares them the time of the packer. In the others the
//! compiler warns of a constant that takes it more than four million calls and turns of loops: so a bit costs few of
//! them here, and what was learned from one text is a constant of its own.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "arithmetic on parts of a hash, of an interval and of a chance"
)]

use crate::text;

/// Weights of the model, one for a bit in its context; contexts that meet in one slot only pack a little worse.
pub(crate) const SLOTS: usize = 1 << 16;
/// What a bit is predicted from: nothing, the last one, two and three bytes, and the word so far.
const CONTEXTS: usize = 5;
/// Bytes of a text at most, packed.
#[cfg_attr(debug_assertions, allow(dead_code, reason = "texts are plain then"))]
pub(crate) const PACKED_BYTES: usize = 1 << 14;
/// The heap that unpacking takes.
pub const MODEL_BYTES: usize = size_of::<[i16; SLOTS]>();

/// What is known of the next bit, and the coder's interval. Both sides go through the same states.
struct Coder<'a> {
    /// For each slot the binary logarithm of the odds of a one, in 1/128, and in the last four bits how often it was
    /// used.
    weights: &'a mut [i16; SLOTS],
    /// The last four bytes.
    history: u32,
    /// A hash of the letters since the last other character.
    word: u32,
    /// A one and the bits of this byte so far.
    node: u32,
    low: u32,
    high: u32,
}

impl<'a> Coder<'a> {
    const fn new(weights: &'a mut [i16; SLOTS]) -> Self {
        Self { weights, history: 0, word: 0, node: 1, low: 0, high: u32::MAX }
    }

    /// The slots of the next bit, one for each context (a hash of it and the bits since), and how likely a one is, 1 to
    /// 65535 parts of 65536: the odds 2^x, with a straight line between whole powers.
    const fn foresee(&self) -> ([u16; CONTEXTS], u32) {
        let contexts = [0, self.history & 0xff, self.history & 0xffff, self.history & 0xff_ffff, self.word];
        let (mut slots, mut sum, mut at) = ([0; CONTEXTS], 0, 0);
        while at < CONTEXTS {
            let node = self.node + 256 * at as u32;
            let hash = ((contexts[at] as u64 * 0x9e37_79b1) ^ (node as u64 * 0x85eb_ca6b)) as u32;
            slots[at] = (((hash ^ hash >> 15) as u64 * 0x2c1b_3c6d) as u32 >> 16) as u16;
            sum += (self.weights[slots[at] as usize] >> 4) as i32;
            at += 1;
        }
        let octaves = if sum < 0 { -sum } else { sum } as u32;
        let rest = if octaves < 10 << 7 { ((256 - (octaves & 127)) << 7) >> (octaves >> 7) } else { 24 };
        (slots, if sum < 0 { rest } else { 65536 - rest })
    }

    /// The point that parts the interval: up to it the next bit is a one.
    const fn middle(&self, chance: u32) -> u32 {
        self.low + (((self.high - self.low) as u64 * chance as u64) >> 16) as u32
    }

    /// Takes a bit: narrows the interval and learns, the less the more is known. The bytes that are certain then are
    /// `ready` one after the other.
    const fn take(&mut self, bit: bool, chance: u32, slots: &[u16; CONTEXTS]) {
        let middle = self.middle(chance);
        if bit {
            self.high = middle
        } else {
            self.low = middle + 1
        }
        let error = if bit { 65536 - chance as i32 } else { -(chance as i32) };
        let mut at = 0;
        while at < CONTEXTS {
            let weight = &mut self.weights[slots[at] as usize];
            let uses = *weight & 15;
            let step = error * (155 - 8 * uses as i32) / 65536;
            *weight = (*weight as i32 + (step << 4) + (uses < 15) as i32) as i16;
            at += 1;
        }
        self.node = self.node << 1 | bit as u32;
        if self.node > 255 {
            let byte = self.node & 255;
            let is_letter = (byte as u8).is_ascii_alphabetic();
            self.word = if is_letter { self.word.wrapping_add(byte).wrapping_mul(0x2f0b_4c47) } else { 0 };
            (self.history, self.node) = (self.history << 8 | byte, 1);
        }
    }

    /// Shifts the next byte of the packed text out, when it is certain.
    const fn ready(&mut self) -> Option<u8> {
        if (self.low ^ self.high) >> 24 != 0 {
            return None;
        }
        let byte = (self.high >> 24) as u8;
        (self.low, self.high) = (self.low << 8, self.high << 8 | 255);
        Some(byte)
    }
}

/// The pieces of all lists one after the other, and how many bytes they are.
pub(crate) const fn join<const N: usize>(mut lists: &[&[&str]]) -> ([u8; N], usize) {
    let mut out = ([0; N], 0);
    while let [first, rest @ ..] = lists {
        let mut pieces = *first;
        while let [piece, rest @ ..] = pieces {
            let mut bytes = piece.as_bytes();
            while let [byte, rest @ ..] = bytes {
                out.0[out.1] = *byte;
                (out.1, bytes) = (out.1 + 1, rest);
            }
            pieces = rest;
        }
        lists = rest;
    }
    out
}

/// What was joined.
pub(crate) const fn text<const N: usize>(joined: &'static ([u8; N], usize)) -> &'static str {
    match core::str::from_utf8(joined.0.split_at(joined.1).0) {
        Ok(text) => text,
        Err(_) => "",
    }
}

/// A packed text: the bytes, how many of them count, and what the model knows then.
pub(crate) type Whole = ([u8; PACKED_BYTES], usize, [i16; SLOTS]);

/// Packs a text with a model that has `learned`.
#[cfg_attr(debug_assertions, allow(dead_code, reason = "texts are plain then"))]
pub(crate) const fn pack(learned: &[i16; SLOTS], text: &[u8]) -> Whole {
    let mut weights = *learned;
    let (bytes, len) = pack_one(&mut weights, text);
    (bytes, len, weights)
}

const fn pack_one(weights: &mut [i16; SLOTS], text: &[u8]) -> ([u8; PACKED_BYTES], usize) {
    let mut coder = Coder::new(weights);
    let mut out = ([0; PACKED_BYTES], 0);
    let mut bits = 0;
    while bits < text.len() * 8 {
        let bit = text[bits >> 3] << (bits & 7) & 128 != 0;
        let (slots, chance) = coder.foresee();
        coder.take(bit, chance, &slots);
        while let Some(byte) = coder.ready() {
            out.0[out.1] = byte;
            out.1 += 1;
        }
        bits += 1;
    }
    // Enough of a number within the interval; zeros follow.
    out.0[out.1] = (coder.low >> 24) as u8 + 1;
    (out.0, out.1 + 1)
}

/// The first bytes of an array.
pub(crate) const fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let mut at = 0;
    while at < N {
        out[at] = bytes[at];
        at += 1;
    }
    out
}

/// A text that the compiler joins from several.
macro_rules! joined {
    ($($piece:expr),* $(,)?) => {{
        const JOINED: ([u8; 1 << 11], usize) = $crate::packed::join(&[&[$($piece),*]]);
        const BYTES: &[u8; JOINED.1] = &$crate::packed::first(&JOINED.0);
        match core::str::from_utf8(BYTES) {
            Ok(text) => text,
            Err(_) => "",
        }
    }};
}
pub(crate) use joined;

/// A packed text.
#[cfg_attr(debug_assertions, allow(dead_code, reason = "texts are plain then"))]
pub(crate) struct Packed {
    pub(crate) bytes: &'static [u8],
    /// How long it is.
    pub(crate) len: usize,
    /// The one that it is packed behind.
    pub(crate) before: Option<&'static Self>,
}

#[cfg_attr(debug_assertions, allow(dead_code, reason = "texts are plain then"))]
impl Packed {
    /// Fills `text` with it.
    pub(crate) fn unpack(&self, text: &mut [u8]) {
        let Ok(mut weights) = vec![0; SLOTS].into_boxed_slice().try_into() else { return };
        let weights: &mut Box<[i16; SLOTS]> = &mut weights;
        if let Some(before) = self.before {
            unpack_one(weights, before.bytes, &mut vec![0; before.len]);
        }
        unpack_one(weights, self.bytes, text);
    }
}

#[inline(never)]
fn unpack_one(weights: &mut [i16; SLOTS], packed: &[u8], text: &mut [u8]) {
    let mut coder = Coder::new(weights);
    let mut packed = packed.iter();
    let mut number = 0;
    let mut take = |number: &mut u32| *number = *number << 8 | u32::from(packed.next().copied().unwrap_or(0));
    for _ in 0..4 {
        take(&mut number);
    }
    for byte in text {
        for _ in 0..8 {
            let (slots, chance) = coder.foresee();
            let bit = number <= coder.middle(chance);
            *byte = *byte << 1 | u8::from(bit);
            coder.take(bit, chance, &slots);
            while coder.ready().is_some() {
                take(&mut number);
            }
        }
    }
}

/// A constant text which is stored packed, behind another one if there is one, and a function that gives it.
macro_rules! packed {
    ($vis:vis $packed:ident ($whole:ident) = $text:expr, after $learned:expr, $before:expr; fn $name:ident) => {
        #[cfg(not(debug_assertions))]
        #[allow(long_running_const_eval, reason = "some seconds")]
        $vis const $whole: $crate::packed::Whole = $crate::packed::pack(&$learned, $text.as_bytes());

        #[cfg(not(debug_assertions))]
        $vis static $packed: $crate::packed::Packed = {
            static BYTES: [u8; $whole.1] = $crate::packed::first(&$whole.0);
            $crate::packed::Packed { bytes: &BYTES, len: $text.len(), before: $before }
        };

        fn $name() -> &'static str {
            #[cfg(not(debug_assertions))]
            {
                $crate::sys::cell::large! {
                    static PLAIN: $crate::sys::cell::Filled<[u8; $text.len()]> = $crate::sys::cell::Filled::new([0; $text.len()]);
                }
                let plain = PLAIN.get(|plain| $packed.unpack(plain));
                core::str::from_utf8(plain).unwrap_or_default()
            }
            #[cfg(debug_assertions)]
            $text
        }
    };
}
pub(crate) use packed;

/// What ends each of several texts that are packed together. A character: to look for a text takes another searcher.
const END: char = '\0';

/// Text number `index` of several.
pub(crate) fn nth(text: &str, index: usize) -> &str {
    text.split(END).nth(index).unwrap_or_default()
}

/// Declares texts by name, each for the builds that need it: an enumeration, and as `PIECES` the texts with their ends.
macro_rules! texts {
    ($(#[$meta:meta])* enum $name:ident { $(@$built:expr => $($text:ident $line:expr;)*)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy)]
        #[repr(u8)]
        pub(super) enum $name { $($($text,)*)* }

        impl $name {
            const PIECES: &[&str] = &[$($($crate::packed::told($built, $line), "\0",)*)*];
        }
    };
}
pub(crate) use texts;

/// The text, or none in a build without the part that tells it.
pub(crate) const fn told(is_built_in: bool, text: &'static str) -> &'static str {
    if is_built_in { text } else { "" }
}

/// `template` with `{0}`, `{1}`, ... replaced by the arguments. Any other brace stays as it is.
pub(crate) fn fill(template: &str, arguments: &[&str]) -> String {
    let mut parts = template.split('{');
    let mut out = String::from(parts.next().unwrap_or_default());
    for part in parts {
        let found = part
            .split_once('}')
            .and_then(|(number, rest)| Some((arguments.get(text::number::<usize>(number, 10)?)?, rest)));
        let [first, second] = found.map_or(["{", part], |(argument, rest)| [argument, rest]);
        out.push_str(first);
        out.push_str(second);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(text: &[u8]) -> usize {
        packed_behind(&[0; SLOTS], None, text).0.bytes.len()
    }

    fn packed_behind(learned: &[i16; SLOTS], before: Option<&'static Packed>, text: &[u8]) -> (Packed, [i16; SLOTS]) {
        let (bytes, len, learned) = pack(learned, text);
        let packed = Packed { bytes: bytes[..len].to_vec().leak(), len: text.len(), before };
        let mut out = vec![0; text.len()];
        packed.unpack(&mut out);
        assert_eq!(out, text);
        (packed, learned)
    }

    #[test]
    fn any_text_comes_back() {
        assert_eq!(packed(b""), 1);
        packed(b"a");
        packed(&[0; 5000]);
        packed(&[255; 5000]);
        packed(&(0..=255).collect::<Vec<u8>>());
        // a generator of numbers that no model foretells (xorshift)
        let mut state = 1u32;
        let noise = std::iter::repeat_with(|| {
            for (left, by) in [(true, 13), (false, 17), (true, 5)] {
                state ^= if left { state << by } else { state >> by };
            }
            state.to_le_bytes()[1]
        });
        packed(&noise.take(9000).collect::<Vec<u8>>());
    }

    #[test]
    fn prose_takes_less_than_half() {
        let prose = include_str!("packed.rs");
        let len = packed(prose.as_bytes());
        assert!(len * 2 < prose.len(), "{len} of {}", prose.len());
        let (first, learned) = packed_behind(&[0; SLOTS], None, prose.as_bytes());
        let (second, _) = packed_behind(&learned, Some(Box::leak(Box::new(first))), prose.as_bytes());
        assert!(second.bytes.len() * 4 < len * 3, "what was learned once is known: {} of {len}", second.bytes.len());
    }
}

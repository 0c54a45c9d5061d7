//! Text without memory: a line in a fixed buffer, and decimal numbers for the way between clone and exec.
//!
//! Nothing here fails or allocates. What does not fit into a line is cut and the cut is shown.

use core::ffi::CStr;
use core::fmt;
use core::ops::{Deref, DerefMut};

/// What stands at the end of a line that was too long.
const CUT: &[u8] = b"...";

/// Digits of the largest number that [`decimal`] writes.
pub const DECIMAL_BYTES: usize = 20;

/// A line of at most `N` bytes that takes formatted text (`write!` never fails on it).
///
/// What does not fit is left out and the line then ends with `...`; `N` must be at least 4.
pub type Line<const N: usize> = LineIn<[u8; N]>;

/// A line in a buffer of any length: what is done with lines is compiled once.
pub struct LineIn<B: ?Sized = [u8]> {
    len: usize,
    cut: bool,
    bytes: B,
}

impl<const N: usize> Default for Line<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Line<N> {
    /// An empty line.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(N > CUT.len()) };
        Self { bytes: [0; N], len: 0, cut: false }
    }
}

impl<const N: usize> Deref for Line<N> {
    type Target = LineIn;

    fn deref(&self) -> &LineIn {
        self
    }
}

impl<const N: usize> DerefMut for Line<N> {
    fn deref_mut(&mut self) -> &mut LineIn {
        self
    }
}

impl LineIn {
    /// Empties the line.
    pub const fn clear(&mut self) {
        self.len = 0;
        self.cut = false;
    }

    /// Appends `text` as it is. Use it for words of our own only; foreign text goes through [`Line::push_escaped`].
    pub fn push_str(&mut self, text: &str) {
        self.append(text.as_bytes());
    }

    /// Appends `text` with control characters, invisible marks of writing direction and line separators as `\xNN`, so
    /// that it can neither start a new line nor steer a terminal.
    pub fn push_escaped(&mut self, text: &str) {
        let mut plain = 0;
        for (at, c) in text.char_indices().filter(|&(_, c)| is_unsafe(c)) {
            self.push_str(&text[plain..at]);
            plain = at + c.len_utf8();
            for &byte in &text.as_bytes()[at..plain] {
                self.push_hex(byte);
            }
        }
        self.push_str(&text[plain..]);
    }

    /// Appends foreign bytes: as [`Line::push_escaped`], and what is not UTF-8 as `\xNN` as well.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.utf8_chunks() {
            self.push_escaped(chunk.valid());
            for &byte in chunk.invalid() {
                self.push_hex(byte);
            }
        }
    }

    /// Ends the line with `byte`, which must be ASCII; cuts the line if there is no room left for it.
    pub fn end(&mut self, byte: u8) {
        if self.len == self.bytes.len() {
            self.cut_to(self.len - 1 - CUT.len());
        }
        self.copy(&[byte]);
        self.cut = true;
    }

    /// Appends `value` in decimal.
    pub fn push_decimal(&mut self, value: u64) {
        self.push_ascii(decimal(value, &mut [0; DECIMAL_BYTES]));
    }

    /// Appends letters and digits of our own, of which it is known that they are ASCII.
    pub fn push_ascii(&mut self, text: &[u8]) {
        debug_assert!(text.is_ascii());
        self.append(text);
    }

    /// A writer for `write!` that escapes what it gets as [`Line::push_escaped`] does.
    pub const fn escaped(&mut self) -> Escaped<'_> {
        Escaped(self)
    }

    /// The text so far.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The bytes so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Whether nothing was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether something did not fit.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.cut
    }

    fn push_hex(&mut self, byte: u8) {
        let [.., high, low] = hexadecimal(byte.into());
        self.append(&[b'\\', b'x', high, low]);
    }

    /// Appends UTF-8, or as much of it as there is room for, and then the mark.
    fn append(&mut self, text: &[u8]) {
        if self.cut || self.copy(text) {
            return;
        }
        self.copy(&text[..floor(text, self.bytes.len() - self.len)]);
        self.cut_to(self.bytes.len() - CUT.len());
        self.cut = true;
    }

    /// Leaves out what is behind `end`, not inside a character, and puts the mark there.
    fn cut_to(&mut self, end: usize) {
        self.len = floor(&self.bytes[..self.len], end);
        self.copy(CUT);
    }

    /// False: there is no room for it.
    fn copy(&mut self, bytes: &[u8]) -> bool {
        let Some(room) = self.bytes.get_mut(self.len..self.len + bytes.len()) else { return false };
        room.copy_from_slice(bytes);
        self.len += bytes.len();
        true
    }
}

impl fmt::Write for LineIn {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push_str(text);
        Ok(())
    }
}

/// See [`Line::escaped`].
pub struct Escaped<'a>(&'a mut LineIn);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_escaped(text);
        Ok(())
    }
}

/// Shown bytes, as [`Line::push_bytes`] has them; what is longer than the address of a socket is cut.
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Line::<{ 4 * 108 }>::new();
        line.push_bytes(self.0);
        f.write_str(line.as_str())
    }
}

/// The parts with `between` between them. That of the standard library is five times as much code.
#[must_use]
pub fn join(parts: &[impl AsRef<str>], between: &str) -> String {
    let mut out = String::new();
    for (index, part) in parts.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { between });
        out.push_str(part.as_ref());
    }
    out
}

/// Adds several parts to a text: one function instead of a copy of it for each number of parts.
#[inline(never)]
pub fn add(out: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| out.push_str(part));
}

/// Whether `c` could forge a line, steer a terminal, or turn the reading direction of what follows.
const fn is_unsafe(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The largest end of a whole character in `text` that is not above `at`.
fn floor(text: &[u8], at: usize) -> usize {
    let mut end = at.min(text.len());
    // A continuation byte of UTF-8 is 10xxxxxx.
    while end > 0 && end < text.len() && text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    end
}

/// Letters that must be changed, added, left out or swapped to make one word of the other, for "did you mean".
#[cfg(feature = "suggest")]
use strsim::osa_distance as edits;

/// Without the feature `suggest` all words are too far from each other.
#[cfg(not(feature = "suggest"))]
const fn edits(_: &str, _: &str) -> usize {
    usize::MAX
}

/// The word that `text` is probably a slip of: the same but for case, or few enough edits away. Takes memory.
pub fn nearest<'a>(text: &str, words: &mut dyn Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = text.to_ascii_lowercase();
    let mut most = (lower.chars().count() / 3).clamp(1, 4) + 1;
    let mut nearest = None;
    for word in words.filter(|_| cfg!(feature = "suggest")) {
        let known = word.to_ascii_lowercase();
        // a name that was cut short is one edit away
        let short = lower.len() > 4 && known.starts_with(&lower) && known != lower;
        let distance = if short { 1 } else { edits(&lower, &known) };
        if distance < most {
            (most, nearest) = (distance, Some(word));
        }
    }
    nearest
}

/// Writes `value` in decimal and gives its digits, which are the last ones of `room`.
///
/// Makes no call, so it is fit for the child before exec.
pub fn decimal(value: u64, room: &mut [u8; DECIMAL_BYTES]) -> &[u8] {
    let (mut rest, mut start) = (value, DECIMAL_BYTES);
    for (at, place) in room.iter_mut().enumerate().rev() {
        // a processor of 32 bits divides 64 of them slowly, and hardly any number has more
        let [digit, ..] = if let Ok(small) = u32::try_from(rest) {
            rest = (small / 10).into();
            u64::from(small % 10).to_le_bytes()
        } else {
            let last = rest % 10;
            rest /= 10;
            last.to_le_bytes()
        };
        *place = b'0' + digit;
        start = at;
        if rest == 0 {
            break;
        }
    }
    room.get(start..).unwrap_or_default()
}

/// Adds a number with at least `width` digits.
pub fn padded(value: u64, width: usize, out: &mut String) {
    let mut room = [b'0'; DECIMAL_BYTES];
    let digits = decimal(value, &mut room).len();
    let shown = &room[DECIMAL_BYTES - digits.max(width).min(DECIMAL_BYTES)..];
    out.push_str(core::str::from_utf8(shown).unwrap_or_default());
}

/// Adds a number whose last `places` digits stand behind the point: 61250 with 3 of them is `61.250`.
pub fn fraction(number: u64, places: u32, out: &mut String) {
    let one = 10_u64.pow(places);
    padded(number / one, 1, out);
    out.push('.');
    padded(number % one, places as usize, out);
}

/// Four hexadecimal digits.
pub fn hexadecimal(value: u16) -> [u8; 4] {
    [12, 8, 4, 0].map(|shift| b"0123456789abcdef"[usize::from(value >> shift & 15)])
}

/// The number that these digits are, with nothing before, between or behind them. All numbers are read here: the
/// standard library has a copy for each type.
#[must_use]
pub fn number<T: TryFrom<u64>>(text: impl AsRef<[u8]>, base: u32) -> Option<T> {
    T::try_from(digits(text.as_ref(), base)?).ok()
}

fn digits(text: &[u8], base: u32) -> Option<u64> {
    let add = |sum: u64, byte: &u8| sum.checked_mul(base.into())?.checked_add(char::from(*byte).to_digit(base)?.into());
    if text.is_empty() { None } else { text.iter().try_fold(0, add) }
}

/// What stands before the last `mark`, which is ASCII, and behind it. As `str::rsplit_once`, but without its search for
/// characters of any length.
pub fn split_last(text: &str, mark: u8) -> Option<(&str, &str)> {
    let at = text.bytes().rposition(|byte| byte == mark)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// The last part of a path.
pub fn base_name(path: &str) -> &str {
    split_last(path, b'/').map_or(path, |(_, name)| name)
}

/// The NUL-ended strings that lie side by side in `bytes`.
pub fn strings(bytes: &[u8]) -> impl Iterator<Item = &CStr> {
    bytes.split_inclusive(|&byte| byte == 0).filter_map(|string| CStr::from_bytes_with_nul(string).ok())
}

/// Declares an enumeration each of whose values has a word, as it stands in the log and in answers.
macro_rules! worded {
    ($(#[$doc:meta])* $public:vis enum $name:ident { $($(#[$about:meta])* $value:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        $public enum $name { $($(#[$about])* $value),* }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$value),*];

            /// Its word.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$value => $word),* }
            }
        }
    };
}
pub(crate) use worded;

/// What [`hash`] begins with.
pub const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a of some bytes, behind others that have become `before`.
pub fn hash(before: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(before, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;

    #[test]
    fn foreign_bytes_steer_nothing_and_are_cut() {
        assert_eq!(Shown("/run/é\n\u{202e}".as_bytes()).to_string(), "/run/é\\x0a\\xe2\\x80\\xae");
        assert_eq!(Shown(b"\xff\\").to_string(), "\\xff\\");
        assert!(Shown(&[b'x'; 999]).to_string().ends_with("x..."));
    }

    #[test]
    fn parts_are_joined() {
        assert_eq!(join(&["a", "", "b"], ", "), "a, , b");
        assert_eq!(join(&[String::new()], ":") + &join(&[""; 0], ":"), "");
    }

    #[test]
    fn a_line_takes_formatted_text() {
        let mut line = Line::<32>::new();
        assert!(line.is_empty());
        let (service, pid) = ("web", 12);
        write!(line, "start service={service} pid={pid}").unwrap();
        assert_eq!(line.as_str(), "start service=web pid=12");
        line.clear();
        line.push_decimal(u64::MAX);
        assert_eq!(line.as_str(), "18446744073709551615");
    }

    #[test]
    fn what_does_not_fit_is_cut_and_marked() {
        let mut line = Line::<8>::new();
        line.push_str("12345678");
        assert_eq!(line.as_str(), "12345678");
        assert!(!line.is_cut());
        line.push_str("9");
        assert_eq!(line.as_str(), "12345...");
        line.push_str("x");
        assert_eq!(line.as_str(), "12345...");
        assert!(line.is_cut());
        line.clear();
        line.push_str("ab");
        assert_eq!(line.as_str(), "ab");
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        for lead in 0..8 {
            let mut line = Line::<8>::new();
            for _ in 0..lead {
                line.push_str("x");
            }
            line.push_str("äöü€🐭");
            assert!(line.is_cut());
            assert!(line.as_str().ends_with("..."), "{}", line.as_str());
            assert!(core::str::from_utf8(line.as_bytes()).is_ok());
        }
    }

    #[test]
    fn the_smallest_line_is_the_mark_alone() {
        let mut line = Line::<4>::new();
        line.push_str("€€");
        assert_eq!(line.as_str(), "...");
        line.end(b'\n');
        assert_eq!(line.as_str(), "...\n");
    }

    #[test]
    fn the_end_of_a_line_always_finds_room() {
        for (text, ended) in
            [("ab", "ab\n"), ("1234567", "1234567\n"), ("12345678", "1234...\n"), ("123456789", "1234...\n")]
        {
            let mut line = Line::<8>::new();
            line.push_str(text);
            line.end(b'\n');
            assert_eq!(line.as_str(), ended);
            line.push_str("x");
            assert_eq!(line.as_str(), ended);
        }
    }

    #[test]
    fn foreign_text_cannot_forge_a_line() {
        let mut line = Line::<64>::new();
        line.push_bytes(b"a\ndormouse: \x1b[2J\r\x7f\xff\xc3\xa4\xc2\x9b");
        assert_eq!(line.as_str(), r"a\x0adormouse: \x1b[2J\x0d\x7f\xffä\xc2\x9b");
        line.clear();
        let (foreign, tab) = ("a\u{202e}b\u{2028}", '\t');
        write!(line.escaped(), "{foreign}-{tab}").unwrap();
        assert_eq!(line.as_str(), r"a\xe2\x80\xaeb\xe2\x80\xa8-\x09");
    }

    #[test]
    fn numbers_are_digits_alone() {
        assert_eq!(
            (number(b"007", 10), number(b"0755", 8), number(b"fF", 16)),
            (Some(7u8), Some(0o755u16), Some(255u8))
        );
        assert_eq!(number(b"18446744073709551615", 10), Some(u64::MAX));
        for text in ["", "+1", "-1", " 1", "1 ", "1a", "256", "18446744073709551616"] {
            assert_eq!(number::<u8>(text, 10), None, "{text}");
        }
    }

    #[test]
    fn decimal_writes_each_number() {
        for value in [0, 1, 9, 10, 99, 100, 4_294_967_295, 4_294_967_296, u64::MAX] {
            let mut room = [0; DECIMAL_BYTES];
            assert_eq!(core::str::from_utf8(decimal(value, &mut room)).unwrap(), value.to_string());
        }
    }
}

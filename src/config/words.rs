//! Words: how systemd splits a value, takes quotes away and reads backslash escapes (systemd.syntax(7)).
//!
//! A word remembers the bytes that it came from, so that a fault can point at it. Variables stay unexpanded here.

use std::ops::Range;

use super::message::Code;
use super::problem::{Parsed, Problem, fail};

/// What stands for `%i` in a word: the name of a connection, put in at each start. Unicode keeps it free for such uses.
pub const INSTANCE: char = '\u{fdd0}';
/// The same for `%I`, where each `-` is a slash.
pub const INSTANCE_PATH: char = '\u{fdd1}';

/// How the two lie in a text: these bytes, then one of those that end them.
pub const INSTANCE_START: [u8; 2] = [0xef, 0xb7];
/// The last byte of [`INSTANCE`] and of [`INSTANCE_PATH`]; other characters begin as they do.
pub const INSTANCE_ENDS: [u8; 2] = [0x90, 0x91];
const _: () = assert!(INSTANCE as u32 == 0xfdd0 && INSTANCE_PATH as u32 == 0xfdd1);

/// How often a word asks for the name of a connection.
pub fn instances(word: &str) -> usize {
    let is_one = |bytes: &&[u8]| bytes.starts_with(&INSTANCE_START) && INSTANCE_ENDS.contains(&bytes[2]);
    word.as_bytes().windows(3).filter(is_one).count()
}

/// One word of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The word without quotes and escapes.
    pub text: String,
    /// The bytes of the value that it came from, quotes included.
    pub at: Range<usize>,
    /// Whether any of it was quoted or escaped.
    pub quoted: bool,
}

/// Splits at blanks; takes quotes, backslash escapes and `%%` away.
///
/// Errors: a quote without end, an unknown escape, a `%` specifier, an escape that makes no text.
pub fn split(text: &str) -> Parsed<Vec<Word>> {
    split_all(Cursor { text, at: 0, instances: false })
}

/// As [`split`], with `%i` and `%I` for the name of a connection.
pub(super) fn split_command(text: &str) -> Parsed<Vec<Word>> {
    split_all(Cursor { text, at: 0, instances: true })
}

fn split_all(mut rest: Cursor<'_>) -> Parsed<Vec<Word>> {
    let mut words = Vec::new();
    loop {
        while rest.peek().is_some_and(is_blank) {
            rest.next();
        }
        if rest.peek().is_none() {
            return Ok(words);
        }
        words.push(word(&mut rest)?);
    }
}

/// The stretches between blanks, for values without quotes.
pub(super) fn plain(text: &str) -> impl Iterator<Item = Range<usize>> {
    let base = text.as_ptr() as usize;
    text.split(is_blank).filter(|word| !word.is_empty()).map(move |word| {
        let start = word.as_ptr() as usize - base;
        start..start + word.len()
    })
}

/// The place of a word in a list that has one blank between its words.
pub(super) fn index(list: &str, word: &str) -> Option<usize> {
    list.split(' ').position(|known| known == word)
}

/// The word at a place of such a list; empty when it has fewer.
pub(super) fn nth(list: &str, index: usize) -> &str {
    list.split(' ').nth(index).unwrap_or_default()
}

/// Blanks between words.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// A place in a text.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
    /// Connections have names here.
    instances: bool,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    /// Moves on to what may mean something, and tells what lies before it.
    fn run(&mut self) -> &[u8] {
        let rest = &self.text.as_bytes()[self.at..];
        let plain = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\\' | b'"' | b'\'' | b'%');
        let run = rest.iter().position(|byte| !plain(byte)).unwrap_or(rest.len());
        self.at += run;
        &rest[..run]
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }
}

fn add(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Reads one word; the cursor stands on its first character.
fn word(rest: &mut Cursor) -> Parsed<Word> {
    let start = rest.at;
    let mut bytes = Vec::new();
    let mut quote = None;
    let mut quoted = false;
    loop {
        let run = rest.run();
        bytes.extend_from_slice(run);
        let at = rest.at;
        match rest.next() {
            None => match quote {
                Some((_, at)) => return fail(Problem::new(Code::OpenQuote, at..rest.at, &[])),
                None => break,
            },
            Some('\\') => {
                quoted = true;
                escape(rest, at, &mut bytes)?;
            }
            Some(c @ ('"' | '\'')) if quote.is_none() => (quote, quoted) = (Some((c, at)), true),
            Some(c) if quote.is_some_and(|(open, _)| open == c) => quote = None,
            Some(c) if is_blank(c) && quote.is_none() => {
                rest.at = at;
                break;
            }
            Some('%') => percent(rest, at, &mut bytes)?,
            Some(c) => add(&mut bytes, c), // within quotes
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Word { text, at: start..rest.at, quoted }),
        Err(_) => fail(Problem::new(Code::NotText, start..rest.at, &[])),
    }
}

/// One escape after its backslash at `start`.
fn escape(rest: &mut Cursor, start: usize, out: &mut Vec<u8>) -> Parsed<()> {
    let simple = match rest.next() {
        None => return fail(Problem::new(Code::LoneBackslash, start..rest.at, &[])),
        Some('a') => 7,
        Some('b') => 8,
        Some('f') => 12,
        Some('n') => b'\n',
        Some('r') => b'\r',
        Some('t') => b'\t',
        Some('v') => 11,
        Some('s') => b' ',
        Some(c @ ('\\' | '"' | '\'' | ';')) => c as u8,
        Some('x') => return number(rest, start, 2, 16, out),
        Some('u') => return number(rest, start, 4, 16, out),
        Some('U') => return number(rest, start, 8, 16, out),
        Some('0'..='7') => {
            rest.at -= 1;
            return number(rest, start, 3, 8, out);
        }
        Some(_) => {
            return fail(Problem::new(Code::BadEscape, start..rest.at, &[&rest.text[start..rest.at]]));
        }
    };
    out.push(simple);
    Ok(())
}

/// The digits of `\xHH`, `\nnn`, `\uHHHH` or `\UHHHHHHHH`. Up to three of them make a byte, more a character.
fn number(rest: &mut Cursor, start: usize, digits: usize, radix: u32, out: &mut Vec<u8>) -> Parsed<()> {
    let mut value = Some(0);
    for _ in 0..digits {
        let digit = rest.peek().and_then(|c| c.to_digit(radix));
        if digit.is_some() {
            rest.next();
        }
        value = value.zip(digit).and_then(|(value, digit): (u32, _)| value.checked_mul(radix)?.checked_add(digit));
    }
    match value.filter(|value| *value != 0) {
        Some(value) if digits > 3 => match char::from_u32(value) {
            Some(c) => add(out, c),
            None => return bad_escape(rest, start),
        },
        Some(value) => match u8::try_from(value) {
            Ok(byte) => out.push(byte),
            Err(_) => return bad_escape(rest, start),
        },
        None => return bad_escape(rest, start),
    }
    Ok(())
}

fn bad_escape(rest: &Cursor, start: usize) -> Parsed<()> {
    fail(Problem::new(Code::BadEscape, start..rest.at, &[&rest.text[start..rest.at]]))
}

/// `%%` is a percent sign; the specifiers of systemd.unit(5) have no meaning in the native form.
fn percent(rest: &mut Cursor, start: usize, out: &mut Vec<u8>) -> Parsed<()> {
    let meant = match rest.next() {
        Some('%') => '%',
        Some('i') if rest.instances => INSTANCE,
        Some('I') if rest.instances => INSTANCE_PATH,
        _ => return fail(Problem::new(Code::Specifier, start..rest.at, &[&rest.text[start..rest.at]])),
    };
    add(out, meant);
    Ok(())
}

/// `%%` made one, in a value without quotes.
pub(super) fn unpercent(text: &str) -> Parsed<String> {
    let mut out = Vec::new();
    let mut rest = Cursor { text, at: 0, instances: false };
    loop {
        let at = rest.at;
        match rest.next() {
            None => return Ok(String::from_utf8(out).unwrap_or_default()),
            Some('%') => percent(&mut rest, at, &mut out)?,
            Some(c) => add(&mut out, c),
        }
    }
}

/// A word in a form that [`split`] reads back: as it is, or in double quotes (`always`, or when needed) with escapes.
pub fn quote(text: &str, always: bool, out: &mut String) {
    let plain = |c: char| !(c.is_control() || matches!(c, ' ' | '"' | '\'' | '\\' | ';' | '|' | '&' | '<' | '>'));
    let bare = !always && !text.is_empty() && text.chars().all(plain);
    if !bare {
        out.push('"');
    }
    for c in text.chars() {
        match c {
            '%' => out.push_str("%%"),
            INSTANCE => out.push_str("%i"),
            INSTANCE_PATH => out.push_str("%I"),
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                out.push_str("\\u");
                for shift in [12, 8, 4, 0] {
                    out.extend(char::from_digit((c as u32 >> shift) & 15, 16));
                }
            }
            c => out.push(c),
        }
    }
    if !bare {
        out.push('"');
    }
}

/// A value of ExecStart= that runs a program with these words as its argv, all taken as they are.
pub fn command_line(program: &str, argv: &mut dyn Iterator<Item = &str>) -> String {
    let mut out = String::from(":@");
    quote(program, true, &mut out);
    for word in argv {
        out.push(' ');
        quote(word, false, &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        split(text).unwrap().into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn quotes_and_escapes_as_systemd_reads_them() {
        assert_eq!(texts(r#"a  "b c" 'd "e'  f"#), ["a", "b c", "d \"e", "f"]);
        assert_eq!(texts(r#"-o"x y"z '' """#), ["-ox yz", "", ""]);
        assert_eq!(texts(r"\t\n\s\x41\101\u00e4\U0001F600 \xc3\xa4"), ["\t\n AA\u{e4}\u{1f600}", "\u{e4}"]);
        assert_eq!(texts(r#"'it\'s' "\"" \\ \;"#), ["it's", "\"", "\\", ";"]);
        assert_eq!(texts("100%% \t"), ["100%"]);
        assert!(texts("  ").is_empty());
    }

    #[test]
    fn words_know_where_they_stand() {
        let words = split(r#"ab "c d" e"#).unwrap();
        assert_eq!(words.iter().map(|word| word.at.clone()).collect::<Vec<_>>(), [0..2, 3..8, 9..10]);
    }

    #[test]
    fn what_is_quoted_reads_back() {
        for text in ["", "a", "a b", "\"'\\", ";", "%n", "$x", "\n\t\r\u{1b}\u{7f}\u{85}", "\u{a0}\u{e4}\u{1f600}"] {
            let mut quoted = String::new();
            quote(text, false, &mut quoted);
            assert_eq!(texts(&quoted), [text], "{quoted}");
        }
    }
}

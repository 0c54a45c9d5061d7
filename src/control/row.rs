//! Writes rows into a fixed buffer.

use crate::limits::CONTROL_ROW_BYTES;
use crate::text::{Line, LineIn, hexadecimal};
use core::fmt::{self, Write};

/// One row of an answer, with its newline. What does not fit is cut, and the cut is shown.
#[derive(Default)]
pub struct Row(Line<CONTROL_ROW_BYTES>);

impl Row {
    /// A row of this kind without fields.
    #[must_use]
    pub fn new(kind: &str) -> Self {
        let mut row = Self::default();
        row.0.push_str(kind);
        row
    }

    /// Adds a word of our own: letters, digits and dashes.
    pub fn word(&mut self, key: &str, word: &str) -> &mut Self {
        self.key(key);
        self.0.push_str(word);
        self
    }

    /// Adds `yes` or `no`.
    pub fn flag(&mut self, key: &str, value: bool) -> &mut Self {
        self.word(key, if value { "yes" } else { "no" })
    }

    /// Adds a number.
    pub fn number(&mut self, key: &str, value: u64) -> &mut Self {
        self.key(key);
        self.0.push_decimal(value);
        self
    }

    /// Adds a number whose key is made of two parts, dashes in it turned into `_`.
    pub fn counter(&mut self, group: &str, word: &str, value: u32) -> &mut Self {
        self.0.push_str(" ");
        self.0.push_str(group);
        for part in word.split_inclusive('-') {
            let bare = part.strip_suffix('-');
            self.0.push_str(bare.unwrap_or(part));
            self.0.push_str(if bare.is_some() { "_" } else { "=" });
        }
        self.0.push_decimal(value.into());
        self
    }

    /// Adds a list of numbers.
    pub fn list(&mut self, key: &str, values: impl IntoIterator<Item = u64>) -> &mut Self {
        self.key(key);
        let mut separator = "";
        for value in values {
            self.0.push_str(separator);
            self.0.push_decimal(value);
            separator = ",";
        }
        self
    }

    /// Adds a text, quoted.
    pub fn text(&mut self, key: &str, value: &dyn fmt::Display) -> &mut Self {
        self.key(key);
        self.0.push_str("\"");
        let _ = write!(Quoted(&mut self.0), "{value}"); // a line takes everything
        self.0.push_str("\"");
        self
    }

    /// The row with its newline.
    pub fn end(&mut self) -> &[u8] {
        self.0.end(b'\n');
        self.0.as_bytes()
    }

    fn key(&mut self, key: &str) {
        self.0.push_str(" ");
        self.0.push_str(key);
        self.0.push_str("=");
    }
}

/// Escapes what is written through it.
struct Quoted<'a>(&'a mut LineIn);

impl Write for Quoted<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().for_each(|c| escape(c, &mut |byte| self.0.push_ascii(&[byte])));
        Ok(())
    }
}

/// Gives a character as JSON has it within quotes (RFC 8259, section 7), and nothing that could steer a terminal:
/// ASCII.
pub fn escape(c: char, put: &mut dyn FnMut(u8)) {
    match u8::try_from(c) {
        Ok(byte @ (b'"' | b'\\')) => [b'\\', byte].into_iter().for_each(put),
        Ok(byte @ b' '..=b'~') => put(byte),
        _ => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                b"\\u".iter().chain(&hexadecimal(*unit)).for_each(|byte| put(*byte));
            }
        }
    }
}

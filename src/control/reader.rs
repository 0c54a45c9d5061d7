//! Reads rows. For the side that asks: it may take memory.

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number or a word, as it stands.
    Bare(&'a str),
    /// What stands between the quotes, with its escapes.
    Quoted(&'a str),
}

impl Value<'_> {
    /// The text without escapes.
    #[must_use]
    pub fn to_text(self) -> String {
        let mut text = String::new();
        self.push_to(&mut text);
        text
    }

    /// The number that it is.
    #[must_use]
    pub fn number(self) -> Option<u64> {
        let Self::Bare(text) = self else { return None };
        crate::text::number(text, 10)
    }

    /// Appends the text without escapes. Takes no memory but what `out` needs.
    pub fn push_to(self, out: &mut String) {
        out.extend(self.chars());
    }
}

impl<'a> Value<'a> {
    /// The characters of the text without escapes.
    pub fn chars(self) -> impl Iterator<Item = char> + 'a {
        let (mut rest, escapes) = match self {
            Self::Bare(text) => (text.chars(), false),
            Self::Quoted(text) => (text.chars(), true),
        };
        let units = core::iter::from_fn(move || {
            let mut c = rest.next()?;
            if c == '\\' && escapes {
                c = rest.next().unwrap_or(c);
                if c == 'u' {
                    let digits = rest.as_str().get(..4)?;
                    rest = rest.as_str().get(4..)?.chars();
                    return crate::text::number(digits, 16);
                }
            }
            u16::try_from(u32::from(c)).ok() // rows are ASCII
        });
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

/// The fields of a row, in their order. What cannot be read ends it.
pub struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    /// The kind of a row, without its newline, and its fields.
    #[must_use]
    pub fn of(row: &'a str) -> (&'a str, Self) {
        let (kind, rest) = row.split_once(' ').unwrap_or((row, ""));
        (kind, Self(rest))
    }
}

/// The value of a field of a row.
#[must_use]
pub fn field<'a>(row: &'a str, key: &str) -> Option<Value<'a>> {
    Fields::of(row).1.find(|(found, _)| *found == key).map(|(_, value)| value)
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, rest) = self.0.split_once('=')?;
        let (value, rest) = if let Some(text) = rest.strip_prefix('"') {
            let mut escaped = false;
            let end = text.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            let end = end.unwrap_or(text.len());
            (Value::Quoted(&text[..end]), text.get(end + 1..).unwrap_or(""))
        } else {
            let (word, rest) = rest.split_once(' ').map_or((rest, ""), |(word, _)| (word, &rest[word.len()..]));
            (Value::Bare(word), rest)
        };
        self.0 = rest.trim_ascii_start();
        Some((key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Row;
    use super::*;

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let hostile = "a \"b\"\\ c=d\n\x1b[2J\u{7f}ä🐭";
        let mut row = Row::new("service");
        row.text("name", &hostile).word("state", "trigger-limit").number("pid", 0).list("buckets", [1, 20]);
        row.text("empty", &"").flag("open", false);
        let text = String::from_utf8(row.end().to_vec()).unwrap();
        assert!(text.is_ascii() && text.ends_with("\n") && text.matches('\n').count() == 1, "{text}");
        let (kind, fields) = Fields::of(text.trim_end());
        let fields: Vec<(&str, String)> = fields.map(|(key, value)| (key, value.to_text())).collect();
        let expected = [
            ("name", hostile),
            ("state", "trigger-limit"),
            ("pid", "0"),
            ("buckets", "1,20"),
            ("empty", ""),
            ("open", "no"),
        ];
        assert_eq!(kind, "service");
        assert_eq!(fields, expected.map(|(key, value)| (key, value.to_owned())));
    }

    #[test]
    fn a_row_that_was_cut_can_be_read() {
        let mut row = Row::new("socket");
        row.text("address", &"x".repeat(2000)).number("pid", 1);
        let bytes = row.end();
        assert!(bytes.ends_with(b"...\n"));
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let (_, mut fields) = Fields::of(text.trim_end());
        assert!(fields.next().is_some_and(|(key, value)| key == "address" && value.to_text().ends_with("...")));
        assert!(fields.next().is_none());
    }

    #[test]
    fn garbage_ends_without_harm() {
        for row in ["", "a", "a b", "a b=", "a =", "a b=\"", "a b=\"\\", "a b=\"\\u12\" c", "a b=\"x\"c=d"] {
            let (_, fields) = Fields::of(row);
            for (_, value) in fields {
                let _ = value.to_text();
            }
        }
    }
}

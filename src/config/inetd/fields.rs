//! A line in its fields: words between blanks, with quotes in two of the dialects.

use std::ops::Range;

use crate::cli::Dialect;
use crate::config::message::Code;
use crate::config::problem::{Parsed, Problem, fail};
use crate::config::words::is_blank;

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    /// Its text without quotes.
    pub(super) text: String,
    /// The bytes of the line that it came from.
    pub(super) at: Range<usize>,
}

/// Splits a line. FreeBSD knows quotes at the beginning of a field, inetutils anywhere in it, the others none.
pub(super) fn split(line: &str, dialect: Dialect) -> Parsed<Vec<Field>> {
    let mut fields: Vec<Field> = Vec::new();
    let mut quote: Option<(char, usize)> = None;
    let mut inside = false;
    for (at, c) in line.char_indices() {
        let opens = matches!(c, '"' | '\'')
            && match dialect {
                Dialect::Busybox | Dialect::Openbsd => false,
                Dialect::Freebsd => !inside,
                Dialect::Inetutils => true,
            };
        let blank = is_blank(c) && quote.is_none();
        if !blank && !inside {
            fields.push(Field { text: String::new(), at: at..at });
        }
        inside = !blank;
        let Some(field) = fields.last_mut().filter(|_| inside) else { continue };
        field.at.end = at + c.len_utf8();
        match quote {
            Some((open, _)) if open == c => quote = None,
            None if opens => quote = Some((c, at)),
            _ => field.text.push(c),
        }
    }
    match quote {
        Some((_, at)) => fail(Problem::new(Code::OpenQuote, at..line.len(), &[])),
        None => Ok(fields),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str, dialect: Dialect) -> Vec<String> {
        split(line, dialect).unwrap().into_iter().map(|field| field.text).collect()
    }

    #[test]
    fn quotes_are_read_as_the_dialect_has_them() {
        let line = "a\t \"b c\" x'y z' \"\"";
        assert_eq!(texts(line, Dialect::Busybox), ["a", "\"b", "c\"", "x'y", "z'", "\"\""]);
        assert_eq!(texts(line, Dialect::Freebsd), ["a", "b c", "x'y", "z'", ""]);
        assert_eq!(texts(line, Dialect::Inetutils), ["a", "b c", "xy z", ""]);
        assert!(split("a 'b", Dialect::Freebsd).is_err());
        assert!(split("a b'", Dialect::Freebsd).is_ok());
        assert!(texts(" \t", Dialect::Openbsd).is_empty());
        assert_eq!(split(" ab  c", Dialect::Busybox).unwrap()[1].at, 5..6);
    }
}

//! A fault in a value that does not know yet where its value stands in a file.
//!
//! The parsers of values see one text and count in bytes of it; who called them knows the file. This keeps places out
//! of the parsers, so that the same ones serve files and the command line.

use std::ops::Range;

use super::fault::{Fault, Place};
use super::message::Code;

/// A fault and the bytes of the value that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// First and last byte + 1 in the text that was parsed; `None`: it is about the directive, not its value.
    pub at: Option<Range<usize>>,
    /// The fault; its place is not filled in.
    pub fault: Fault,
}

impl Problem {
    /// A message about some bytes of the value.
    #[inline(never)]
    pub fn new(code: Code, at: Range<usize>, arguments: &[&str]) -> Box<Self> {
        Box::new(Self { at: Some(at), fault: Fault::new(code, Place::default(), arguments) })
    }

    /// A message about the directive.
    pub fn directive(code: Code, name: &str) -> Box<Self> {
        Box::new(Self { at: None, fault: Fault::new(code, Place::default(), &[name]) })
    }

    /// A message about a whole text, which is also its first argument.
    #[inline(never)]
    pub fn about(code: Code, text: &str) -> Box<Self> {
        Self::new(code, 0..text.len(), &[text])
    }

    /// The same, said about a text that begins `by` bytes later.
    #[must_use]
    #[inline(never)]
    pub fn moved(mut self: Box<Self>, by: usize) -> Box<Self> {
        self.at = self.at.take().map(|at| at.start + by..at.end + by);
        self
    }

    /// The same with this text after `expected:`.
    #[must_use]
    pub fn with_expected(mut self: Box<Self>, expected: String) -> Box<Self> {
        self.fault.expected = expected;
        self
    }

    /// The same with this text after `hint:`.
    #[must_use]
    pub fn with_hint(mut self: Box<Self>, hint: String) -> Box<Self> {
        self.fault.hint = hint;
        self
    }
}

/// What a parser gives back.
pub type Parsed<T> = Result<T, Box<Problem>>;

/// Shorthand for the error side.
pub(super) fn fail<T>(problem: Box<Problem>) -> Parsed<T> {
    Err(problem)
}

/// The error that [`Problem::about`] makes.
pub(super) fn wrong<T>(code: Code, text: &str) -> Parsed<T> {
    fail(Problem::about(code, text))
}

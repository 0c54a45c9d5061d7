//! How the state is written: values one after the other, numbers in native byte order, texts with their length in
//! front, lists with a mark before each row that says that there is one. Each value has one function for both ways, so
//! that they cannot differ: a writer takes what it is given, a reader puts something else in its place. Behind the last
//! value stands a hash of all of them, without which nothing is believed. The writer takes no memory; the reader runs
//! before the seal and never panics: where there is no value it gives a blank one.

use core::mem::discriminant;
use rustix::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use rustix::io::{Errno, write};

use crate::logging::insist;
use crate::peer::Source;
use crate::sys::clock::Tick;
use crate::sys::environment::{borrow_inherited, reclaim, set_inheritable};
use crate::text::{HASH_START, hash};

/// Bytes that are collected for one write(2).
const BUFFER_BYTES: usize = 1024;

/// A way for values.
pub enum Codec<'a> {
    /// To a file: they are written.
    To(&'a mut Writer),
    /// From what a [`Writer`] has finished: others are put in their place.
    From(&'a [u8]),
    /// Nowhere, but all descriptors stay open over the next exec, or not.
    Inheritable(bool),
    /// Nowhere; true as long as nothing but zeros would be written.
    Zeros(bool),
}

impl<'a> Codec<'a> {
    /// Reads what a [`Writer`] has finished; `None`: these are other bytes.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (bytes, end) = bytes.split_last_chunk()?;
        (hash(HASH_START, bytes).to_ne_bytes() == *end).then_some(Self::From(bytes))
    }

    /// These bytes go this way.
    fn pass(&mut self, bytes: &mut [u8]) {
        match self {
            Self::To(writer) => writer.push(bytes),
            Self::From(_) => {
                if let Some(read) = self.take(bytes.len()) {
                    bytes.copy_from_slice(read);
                }
            }
            Self::Inheritable(_) => {}
            Self::Zeros(zeros) => *zeros &= bytes.iter().all(|&byte| byte == 0),
        }
    }

    /// Puts in one value.
    pub fn put(&mut self, mut value: impl Field) {
        value.pass(self);
    }

    /// Puts in a list.
    pub fn put_list(&mut self, rows: impl Iterator<Item: Field>) {
        for row in rows {
            self.put(true);
            self.put(row);
        }
        self.put(false);
    }

    /// Puts in bytes, the length (u16) in front; what is longer than that is cut.
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.put(length);
        bytes.iter().take(length.into()).for_each(|&byte| self.put(byte));
    }

    /// The next value.
    pub fn get<T: Field>(&mut self) -> T {
        let mut value = T::BLANK;
        value.pass(self);
        value
    }

    /// The next bytes that were put in with their length.
    pub fn get_bytes(&mut self) -> &'a [u8] {
        let length = self.get::<u16>();
        self.take(length.into()).unwrap_or_default()
    }

    /// A list, each row by `get`.
    pub fn list<T>(&mut self, get: impl Fn(&mut Self) -> T) -> Vec<T> {
        let mut rows = Vec::new();
        while self.get() {
            rows.push(get(self));
        }
        rows
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let Self::From(left) = self else { return None };
        let (bytes, rest) = left.split_at_checked(length)?;
        *left = rest;
        Some(bytes)
    }
}

/// What can be written and read.
pub trait Field: Clone {
    /// What is there before something is read.
    const BLANK: Self;
    /// Goes this way.
    fn pass(&mut self, by: &mut Codec<'_>);
}

/// Writes values to a file.
pub struct Writer {
    file: OwnedFd,
    buffer: heapless::Vec<u8, BUFFER_BYTES>,
    /// Of all that was written.
    hash: u64,
    failed: Option<Errno>,
}

impl Writer {
    /// Writes to this file, from where it stands.
    pub const fn new(file: OwnedFd) -> Self {
        Self { file, buffer: heapless::Vec::new(), hash: HASH_START, failed: None }
    }

    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.buffer.push(byte).is_err() {
                self.flush();
                let _ = self.buffer.push(byte); // there is room: it was emptied
            }
        }
    }

    fn flush(&mut self) {
        let mut rest = self.buffer.as_slice();
        self.hash = hash(self.hash, rest);
        while !rest.is_empty() && self.failed.is_none() {
            match write(self.file.as_fd(), rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or(&[]),
                Err(Errno::INTR) => {}
                Err(errno) => self.failed = Some(errno),
            }
        }
        self.buffer.clear();
    }

    /// Writes what is left, with a hash of everything behind it, and gives the file back.
    ///
    /// # Errors
    /// The first that write(2) gave.
    pub fn finish(mut self) -> Result<OwnedFd, Errno> {
        self.flush();
        self.push(&self.hash.to_ne_bytes());
        self.flush();
        self.failed.map_or(Ok(self.file), Err)
    }
}

macro_rules! numbers {
    ($($number:ty)*) => {
        $(impl Field for $number {
            const BLANK: Self = 0;

            #[inline(never)] // the code of a record is longer with the branches of its fields in it
            fn pass(&mut self, by: &mut Codec<'_>) {
                let mut bytes = self.to_ne_bytes();
                by.pass(&mut bytes);
                *self = Self::from_ne_bytes(bytes);
            }
        })*
    };
}
numbers!(u8 u16 u32 u64 i32);

impl<T: Field, const N: usize> Field for [T; N] {
    const BLANK: Self = [T::BLANK; N];

    fn pass(&mut self, by: &mut Codec<'_>) {
        self.iter_mut().for_each(|value| value.pass(by));
    }
}

/// Makes an enumeration without data a [`Field`]: its position among all values, which need not be told if it has
/// `ALL`.
macro_rules! words {
    ($($type:ident)*) => {
        $(impl $crate::handover::codec::Field for $type {
            const BLANK: Self = Self::ALL[0];

            #[inline(never)]
            fn pass(&mut self, by: &mut $crate::handover::codec::Codec<'_>) {
                $crate::handover::codec::word(self, &Self::ALL, by);
            }
        })*
    };
    ($type:ident { $first:ident $(, $word:ident)* $(,)? }) => {
        impl $crate::handover::codec::Field for $type {
            const BLANK: Self = Self::$first;

            #[inline(never)]
            fn pass(&mut self, by: &mut $crate::handover::codec::Codec<'_>) {
                match self { Self::$first $(| Self::$word)* => {} } // none is missing below
                $crate::handover::codec::word(self, &[Self::$first $(, Self::$word)*], by);
            }
        }
    };
}
pub(crate) use words;

/// Goes as the position of its variant among all; one that was read has the data from there.
pub fn word<T: Copy>(value: &mut T, words: &[T], by: &mut Codec<'_>) {
    let is = |word: &T| discriminant(word) == discriminant(value);
    let before = words.iter().position(is).unwrap_or(0);
    let position = choose(before, words.len(), by);
    if let Some(word) = words.get(position).filter(|_| position != before) {
        *value = *word;
    }
}

/// One of so many, by its number.
#[inline(never)]
fn choose(before: usize, count: usize, by: &mut Codec<'_>) -> usize {
    let mut number = u8::try_from(before).unwrap_or(0);
    number.pass(by);
    if usize::from(number) < count { number.into() } else { before }
}

impl Field for bool {
    const BLANK: Self = false;

    #[inline(never)]
    fn pass(&mut self, by: &mut Codec<'_>) {
        *self = choose(usize::from(*self), 2, by) == 1;
    }
}

impl Field for Tick {
    const BLANK: Self = Self(0);

    fn pass(&mut self, by: &mut Codec<'_>) {
        self.0.pass(by);
    }
}

impl Field for Source {
    const BLANK: Self = Self([0; 16]);

    fn pass(&mut self, by: &mut Codec<'_>) {
        by.pass(&mut self.0);
    }
}

/// A descriptor that the next image gets, by its number; -1: there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor(pub RawFd);

impl Descriptor {
    /// The number of one that may be there.
    pub fn of(fd: Option<impl AsFd>) -> Self {
        fd.map_or(Self::BLANK, |fd| Self(fd.as_fd().as_raw_fd()))
    }

    /// Takes it over, at the number `least` or above. `None`: it was not inherited.
    pub fn reclaim(self, least: RawFd) -> Option<OwnedFd> {
        insist(|| reclaim(self.0, least)).ok()
    }
}

impl Field for Descriptor {
    const BLANK: Self = Self(-1);

    #[inline(never)]
    fn pass(&mut self, by: &mut Codec<'_>) {
        self.0.pass(by);
        if let Codec::Inheritable(yes) = *by {
            let _ = borrow_inherited(self.0).and_then(|fd| set_inheritable(fd, yes)); // it is open, or none
        }
    }
}

/// Whether nothing but zeros would be written of a value.
pub fn is_zero(value: &impl Field) -> bool {
    let mut zeros = Codec::Zeros(true);
    zeros.put(value.clone());
    matches!(zeros, Codec::Zeros(true))
}

/// Makes a structure a [`Field`]: all its fields in this order. One that is missing here does not compile.
macro_rules! record {
    ($type:ident: $($field:ident)*) => {
        impl $crate::handover::codec::Field for $type {
            const BLANK: Self = Self { $($field: $crate::handover::codec::Field::BLANK),* };

            #[inline(never)]
            fn pass(&mut self, by: &mut $crate::handover::codec::Codec<'_>) {
                let Self { $($field),* } = self;
                $($field.pass(by);)*
            }
        }
    };
}
pub(crate) use record;

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, memfd_create};

    #[derive(Clone, Debug, PartialEq)]
    struct Row {
        number: u32,
        yes: bool,
    }
    record!(Row: number yes);

    fn written(act: impl FnOnce(&mut Codec<'_>)) -> Vec<u8> {
        let mut writer = Writer::new(memfd_create(c"state", MemfdFlags::CLOEXEC).unwrap());
        act(&mut Codec::To(&mut writer));
        let file = writer.finish().unwrap();
        let mut bytes = vec![0; 1 << 20];
        let length = rustix::io::pread(&file, bytes.as_mut_slice(), 0).unwrap();
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn values_come_back_in_their_order() {
        let long = vec![b'x'; 3000];
        let bytes = written(|to| {
            to.put(Row { number: 70_000, yes: true });
            to.put_bytes(&long);
            to.put(Tick::NEVER);
        });
        let mut reader = Codec::read(&bytes).unwrap();
        assert_eq!(reader.get::<Row>(), Row { number: 70_000, yes: true });
        assert_eq!(reader.get_bytes(), &long[..]);
        assert_eq!(reader.get::<Tick>(), Tick::NEVER);
        assert_eq!((reader.get::<u8>(), reader.get::<bool>()), (0, false), "there is nothing more");
    }

    #[test]
    fn one_bit_is_not_nothing() {
        assert!(is_zero(&Row { number: 0, yes: false }));
        assert!(!is_zero(&Row { number: 1 << 31, yes: false }));
        assert!(!is_zero(&Row { number: 0, yes: true }));
    }

    #[test]
    fn what_is_not_as_it_was_written_is_nothing() {
        let bytes = written(|to| to.put_bytes(b"text"));
        assert!(Codec::read(&bytes).is_some());
        for length in 0..bytes.len() {
            assert!(Codec::read(&bytes[..length]).is_none(), "{length} bytes of it");
        }
        for bit in 0..8 * bytes.len() {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Codec::read(&changed).is_none(), "without bit {bit}");
        }
        assert!(Codec::read(&[&bytes[..], &[0]].concat()).is_none());
    }

    #[test]
    fn what_another_version_has_written_never_panics() {
        let of = |bytes: &[u8]| written(|to| bytes.iter().for_each(|&byte| to.put(byte)));
        let (long, word, list) = (of(&[4, 0, b'x']), of(&[2, 1]), of(&[1, 7, 0, 1, 8]));
        assert_eq!(Codec::read(&long).unwrap().get_bytes(), b"");
        assert!(!Codec::read(&word).unwrap().get::<bool>());
        assert_eq!(Codec::read(&list).unwrap().list(Codec::get::<u16>), [7, 0]);
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let full = rustix::fs::open(c"/dev/full", rustix::fs::OFlags::WRONLY, rustix::fs::Mode::empty()).unwrap();
        let mut writer = Writer::new(full);
        writer.push(&[1]);
        assert_eq!(writer.finish().err(), Some(Errno::NOSPC));
    }
}

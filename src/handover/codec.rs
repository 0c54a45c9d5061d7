//! How the state is written: values one after the other, numbers in native byte order, lists with their length in
//! front. The writer takes no memory; the reader runs before the seal, believes nothing and never panics.

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, write};

use crate::peer::Source;
use crate::sys::clock::Tick;

/// Bytes that are collected for one write(2).
const BUFFER_BYTES: usize = 1024;

/// Writes values to a file.
pub struct Writer {
    file: OwnedFd,
    buffer: heapless::Vec<u8, BUFFER_BYTES>,
    failed: Option<Errno>,
}

impl Writer {
    /// Writes to this file, from where it stands.
    pub const fn new(file: OwnedFd) -> Self {
        Self { file, buffer: heapless::Vec::new(), failed: None }
    }

    /// Writes one value.
    pub fn put(&mut self, value: &impl Field) {
        value.put(self);
    }

    /// Writes bytes, the length (u16) in front; what is longer than that is cut.
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.put(&length);
        for &byte in bytes.iter().take(usize::from(length)) {
            self.push(byte);
        }
    }

    fn push(&mut self, byte: u8) {
        if self.buffer.push(byte).is_err() {
            self.flush();
            let _ = self.buffer.push(byte); // there is room: it was emptied
        }
    }

    fn flush(&mut self) {
        let mut rest = self.buffer.as_slice();
        while !rest.is_empty() && self.failed.is_none() {
            match write(self.file.as_fd(), rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or(&[]),
                Err(Errno::INTR) => {}
                Err(errno) => self.failed = Some(errno),
            }
        }
        self.buffer.clear();
    }

    /// Writes what is left and gives the file back.
    ///
    /// # Errors
    /// The first that write(2) gave.
    pub fn finish(mut self) -> Result<OwnedFd, Errno> {
        self.flush();
        self.failed.map_or(Ok(self.file), Err)
    }
}

/// Reads values from bytes.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next value; `None`: the bytes end before, or it has no such value.
    pub fn get<T: Field>(&mut self) -> Option<T> {
        T::get(self)
    }

    /// The next bytes of [`Writer::put_bytes`].
    pub fn get_bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.get::<u16>()?;
        let (bytes, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        Some(bytes)
    }
}

/// What can be written and read.
pub trait Field: Sized {
    /// Writes it.
    fn put(&self, to: &mut Writer);
    /// Reads it; `None`: the bytes end before, or there is no such value.
    fn get(from: &mut Reader<'_>) -> Option<Self>;
}

impl Field for u8 {
    fn put(&self, to: &mut Writer) {
        to.push(*self);
    }

    fn get(from: &mut Reader<'_>) -> Option<Self> {
        let (byte, rest) = from.0.split_first()?;
        from.0 = rest;
        Some(*byte)
    }
}

impl<T: Field + Copy + Default, const N: usize> Field for [T; N] {
    fn put(&self, to: &mut Writer) {
        self.iter().for_each(|value| to.put(value));
    }

    fn get(from: &mut Reader<'_>) -> Option<Self> {
        let mut values = [T::default(); N];
        for value in &mut values {
            *value = from.get()?;
        }
        Some(values)
    }
}

macro_rules! numbers {
    ($($number:ty)*) => {
        $(impl Field for $number {
            fn put(&self, to: &mut Writer) {
                self.to_ne_bytes().put(to);
            }

            fn get(from: &mut Reader<'_>) -> Option<Self> {
                from.get().map(Self::from_ne_bytes)
            }
        })*
    };
}
numbers!(u16 u32 u64 i32);

impl Field for bool {
    fn put(&self, to: &mut Writer) {
        to.push(u8::from(*self));
    }

    fn get(from: &mut Reader<'_>) -> Option<Self> {
        from.get::<u8>().filter(|&byte| byte < 2).map(|byte| byte == 1)
    }
}

impl Field for Tick {
    fn put(&self, to: &mut Writer) {
        to.put(&self.0);
    }

    fn get(from: &mut Reader<'_>) -> Option<Self> {
        from.get().map(Self)
    }
}

impl Field for Source {
    fn put(&self, to: &mut Writer) {
        to.put(&self.0);
    }

    fn get(from: &mut Reader<'_>) -> Option<Self> {
        from.get().map(Self)
    }
}

/// Makes a structure a [`Field`]: all its fields in this order. One that is missing here does not compile.
macro_rules! record {
    ($type:ident { $($field:ident),* $(,)? }) => {
        impl $crate::handover::codec::Field for $type {
            fn put(&self, to: &mut $crate::handover::codec::Writer) {
                let Self { $($field),* } = self;
                $(to.put($field);)*
            }

            fn get(from: &mut $crate::handover::codec::Reader<'_>) -> Option<Self> {
                Some(Self { $($field: from.get()?),* })
            }
        }
    };
}
pub(crate) use record;

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, memfd_create};

    #[derive(Debug, PartialEq)]
    struct Row {
        number: u32,
        yes: bool,
    }
    record!(Row { number, yes });

    fn written(act: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::new(memfd_create(c"state", MemfdFlags::CLOEXEC).unwrap());
        act(&mut writer);
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
            to.put(&Row { number: 70_000, yes: true });
            to.put_bytes(&long);
            to.put(&Tick::NEVER);
        });
        let mut reader = Reader(&bytes);
        assert_eq!(reader.get(), Some(Row { number: 70_000, yes: true }));
        assert_eq!(reader.get_bytes(), Some(&long[..]));
        assert_eq!(reader.get(), Some(Tick::NEVER));
        assert_eq!(reader.get::<u8>(), None);
    }

    #[test]
    fn what_ends_too_early_is_nothing() {
        let bytes = written(|to| to.put_bytes(b"text"));
        for length in 0..bytes.len() {
            assert_eq!(Reader(&bytes[..length]).get_bytes(), None);
        }
        assert_eq!(Reader(&[2]).get::<bool>(), None);
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let full = rustix::fs::open(c"/dev/full", rustix::fs::OFlags::WRONLY, rustix::fs::Mode::empty()).unwrap();
        let mut writer = Writer::new(full);
        writer.put(&1_u8);
        assert_eq!(writer.finish().err(), Some(Errno::NOSPC));
    }
}

//! Socket options as bytes: what a plan stores in [`SocketSpec::options`](super::SocketSpec::options).
//!
//! One record after the other, in the order in which they are set: directive (u8), flags (u8), level (u16), name (u16),
//! length of the value (u8), value. Numbers in native byte order.

/// The socket isn't opened when the option can't be set: without it the socket would be reached by others than asked.
/// Without this flag the failure is worth a warning (systemd does the same).
pub const REQUIRED: u8 = 1;
/// When it can be set the next record is skipped, when not the next one is tried in its place.
pub const OR_NEXT: u8 = 2;

/// Bytes in front of the value.
const HEAD: usize = 7;

/// One socket option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The directive that asks for it, as [`crate::config::Id`] numbers them.
    pub directive: u8,
    /// [`REQUIRED`], [`OR_NEXT`].
    pub flags: u8,
    /// Level of setsockopt(2), `SOL_*` or `IPPROTO_*`.
    pub level: u16,
    /// Name of setsockopt(2).
    pub name: u16,
    /// Value of setsockopt(2), at most 255 bytes.
    pub value: &'a [u8],
}

impl Record<'_> {
    /// Whether it sets this option, `level` and `name` of setsockopt(2).
    pub fn sets(&self, level: i32, name: i32) -> bool {
        (i32::from(self.level), i32::from(self.name)) == (level, name)
    }

    /// Adds the record to a list. A value of more than 255 bytes (none is) would be cut.
    pub fn push(&self, list: &mut Vec<u8>) {
        let len = u8::try_from(self.value.len()).unwrap_or(u8::MAX);
        list.extend([self.directive, self.flags]);
        list.extend(self.level.to_ne_bytes());
        list.extend(self.name.to_ne_bytes());
        list.push(len);
        list.extend(&self.value[..usize::from(len)]);
    }
}

/// The records of a list. What is not a whole record ends it.
pub fn records(mut list: &[u8]) -> impl Iterator<Item = Record<'_>> {
    core::iter::from_fn(move || {
        let (head, rest) = list.split_first_chunk::<HEAD>()?;
        let value = rest.get(..usize::from(head[6]))?;
        list = &rest[value.len()..];
        let [directive, flags, ..] = *head;
        let (level, name) = (u16::from_ne_bytes([head[2], head[3]]), u16::from_ne_bytes([head[4], head[5]]));
        Some(Record { directive, flags, level, name, value })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_gives_back_what_was_put_in() {
        let first = Record { directive: 3, flags: REQUIRED, level: 0xffff, name: 0x1001, value: b"eth0" };
        let second = Record { directive: 4, flags: 0, level: 6, name: 1, value: &[] };
        let mut list = Vec::new();
        first.push(&mut list);
        second.push(&mut list);
        assert!(records(&list).eq([first, second]));
        assert!(records(&list[..list.len() - 1]).eq([first]));
    }
}

//! Where the plan keeps its strings and lists: one block of bytes, filled before the seal, only read afterwards.
//!
//! A [`Span`] names a piece by offset and length instead of by address, so that a plan can be written to a file and
//! read back by another program image (reload, upgrade), and so that equal pieces are stored once.

use crate::limits::ARENA_BYTES;

/// A piece of the arena. The default is the empty piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    at: u32,
    len: u32,
}

impl Span {
    /// Nothing.
    pub const EMPTY: Self = Self { at: 0, len: 0 };

    /// Nothing in it?
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Bytes in it.
    pub const fn len(self) -> usize {
        self.len as usize
    }
}

/// The arena is full: the configuration needs more than [`ARENA_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaFull;

/// Pieces that are remembered, to find equal ones: neighbours in a configuration are alike, and looking through all of
/// them would make the start-up quadratic.
const REMEMBERED: usize = 32;

/// The block of bytes.
#[repr(C)] // see PlanTables
pub struct Arena {
    used: u32,
    /// The pieces stored or found last, the latest first.
    latest: [Span; REMEMBERED],
    bytes: [u8; ARENA_BYTES],
}

impl Arena {
    /// An empty arena.
    pub const EMPTY: Self = Self { bytes: [0; ARENA_BYTES], used: 0, latest: [Span::EMPTY; REMEMBERED] };

    /// Forgets what was stored since [`Arena::used`] was this.
    pub fn truncate(&mut self, used: usize) {
        self.used = u32::try_from(used).map_or(self.used, |used| used.min(self.used));
        self.latest = [Span::EMPTY; REMEMBERED]; // they may be of what was cut off
    }

    /// Stores `piece` and says where. An equal piece that is already there is used again, so that 500 services with
    /// the same environment store it once.
    ///
    /// # Errors
    /// [`ArenaFull`]; then nothing has changed.
    pub fn store(&mut self, piece: &[u8]) -> Result<Span, ArenaFull> {
        if piece.is_empty() {
            return Ok(Span::default());
        }
        let known = self.latest.iter().position(|known| known.len() == piece.len() && self.get(*known) == piece);
        let span = match known {
            Some(place) => self.latest[place],
            None => self.add(piece)?,
        };
        self.remember(span, known.unwrap_or(REMEMBERED - 1));
        Ok(span)
    }

    /// Stores `piece` without looking for an equal one: it is a name or an address, which there is once.
    ///
    /// # Errors
    /// [`ArenaFull`]; then nothing has changed.
    pub fn add(&mut self, piece: &[u8]) -> Result<Span, ArenaFull> {
        let len = u32::try_from(piece.len()).map_err(|_| ArenaFull)?;
        let at = self.used;
        let end = at.checked_add(len).filter(|&end| end as usize <= ARENA_BYTES).ok_or(ArenaFull)?;
        self.bytes[at as usize..end as usize].copy_from_slice(piece);
        self.used = end;
        Ok(Span { at, len })
    }

    /// Puts a piece in front of the others; the one at `place` makes room.
    fn remember(&mut self, piece: Span, place: usize) {
        self.latest.copy_within(..place, 1);
        self.latest[0] = piece;
    }

    fn get(&self, span: Span) -> &[u8] {
        let at = span.at as usize;
        self.bytes.get(at..at + span.len as usize).unwrap_or(&[])
    }

    /// All bytes in use.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.used()).unwrap_or(&[])
    }

    /// Room for `used` bytes, to be filled by the caller; what was there before is gone. `None`: more than fits.
    pub fn refill(&mut self, used: u32) -> Option<&mut [u8]> {
        let room = self.bytes.get_mut(..used as usize)?;
        self.used = used;
        self.latest = [Span::EMPTY; REMEMBERED];
        Some(room)
    }

    /// Bytes in use.
    pub const fn used(&self) -> usize {
        self.used as usize
    }
}

/// What an arena holds.
#[derive(Clone, Copy, Debug)]
pub struct Texts(pub(super) &'static [u8]);

impl Texts {
    /// The bytes of a piece. A span that its arena never gave out yields nothing.
    #[inline(never)] // it is called in 70 places
    pub fn get(self, span: Span) -> &'static [u8] {
        self.0.get(span.at as usize..).and_then(|rest| rest.get(..span.len as usize)).unwrap_or_default()
    }

    /// The bytes of a piece as text; what is not UTF-8 yields `?`.
    pub fn text(self, span: Span) -> &'static str {
        core::str::from_utf8(self.get(span)).unwrap_or("?")
    }

    /// All bytes.
    pub const fn bytes(self) -> &'static [u8] {
        self.0
    }

    /// Bytes in use.
    pub const fn used(self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_pieces_are_stored_once() {
        let mut arena = Box::new(Arena::EMPTY);
        let first = arena.store(b"PATH=/bin\0").unwrap();
        let second = arena.store(b"PATH=/bin\0").unwrap();
        assert_eq!(first, second);
        assert_eq!(arena.used(), 10);
        assert_eq!(Texts(Box::leak(arena).bytes()).get(second), b"PATH=/bin\0");
    }

    #[test]
    fn a_piece_that_is_used_again_and_again_is_not_forgotten() {
        let mut arena = Box::new(Arena::EMPTY);
        let common = arena.store(b"common").unwrap();
        for number in 0..4 * REMEMBERED {
            assert_ne!(arena.store(&number.to_le_bytes()).unwrap(), common);
            assert_eq!(arena.store(b"common").unwrap(), common);
        }
    }

    #[test]
    fn a_full_arena_refuses_and_keeps_what_it_has() {
        let mut arena = Box::new(Arena::EMPTY);
        let name = arena.store(b"name").unwrap();
        assert_eq!(arena.store(&vec![1; ARENA_BYTES]), Err(ArenaFull));
        assert_eq!((arena.used(), Texts(Box::leak(arena).bytes()).get(name)), (4, &b"name"[..]));
    }
}

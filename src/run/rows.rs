//! Tables of parts that a build may leave out. Such a table has no rows then, and the compiler knows: what is done with
//! a row is left out as well, wherever that is written.

use core::ops::{Deref, DerefMut};
use heapless::Vec;

/// At most `N` rows; 0: the part is not built in.
pub struct Rows<T, const N: usize>(Vec<T, N>);

/// The rows of a table.
pub(super) const fn rows(is_built_in: bool, most: usize) -> usize {
    if is_built_in { most } else { 0 }
}

impl<T, const N: usize> Rows<T, N> {
    /// No rows.
    pub(super) const NONE: Self = Self(Vec::new());

    pub(super) fn is_full(&self) -> bool {
        N == 0 || self.0.is_full()
    }

    /// # Errors
    /// There is no room; the row comes back.
    pub(super) fn push(&mut self, row: T) -> Result<(), T> {
        if N == 0 { Err(row) } else { self.0.push(row) }
    }

    pub(super) fn clear(&mut self) {
        if N > 0 {
            self.0.clear();
        }
    }

    /// The last row takes its place. The index must be that of a row.
    pub(super) fn swap_remove(&mut self, index: usize) -> T {
        self.0.swap_remove(index)
    }

    pub(super) fn retain(&mut self, wanted: impl FnMut(&T) -> bool) {
        if N > 0 {
            self.0.retain(wanted);
        }
    }
}

impl<T, const N: usize> Deref for Rows<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        if N == 0 { &[] } else { &self.0 }
    }
}

impl<T, const N: usize> DerefMut for Rows<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        if N == 0 { &mut [] } else { &mut self.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_left_out_has_no_rows() {
        let mut none = Rows::<u8, { rows(false, 4) }>::NONE;
        assert_eq!((none.push(7), none.is_full(), none.len()), (Err(7), true, 0));
        none.retain(|_| false);
        none.clear();
        assert!(none.iter_mut().next().is_none());
    }

    #[test]
    fn rows_come_and_go() {
        let mut some = Rows::<u8, { rows(true, 4) }>::NONE;
        assert!((1..=4).all(|row| some.push(row).is_ok()));
        assert_eq!((some.push(5), some.is_full()), (Err(5), true));
        assert_eq!((some.swap_remove(0), &some[..]), (1, &[4, 2, 3][..]));
        some.retain(|&row| row != 2);
        assert_eq!(some[..], [4, 3]);
        some.clear();
        assert!(some.is_empty());
    }
}

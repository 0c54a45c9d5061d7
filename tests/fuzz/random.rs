//! Numbers that are the same in every run, so that a failure can be repeated.

/// Marsaglia's xorshift, 64 bits; not zero.
pub struct Random(pub u64);

impl Random {
    /// A number from 0 on.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).unwrap_or(0)
    }
}

//! What the kernel sends over netlink(7).

/// The messages of one piece: the kind of each, and what lies behind its header. One that is cut comes as it is.
pub(super) fn messages(mut piece: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    core::iter::from_fn(move || {
        let (&[a, b, c, d, low, high, ..], rest) = piece.split_first_chunk::<16>()?;
        // a length of less than the header would not end
        let len = (u32::from_ne_bytes([a, b, c, d]) as usize).max(16);
        piece = len.checked_next_multiple_of(4).and_then(|len| piece.get(len..)).unwrap_or(&[]);
        Some((u16::from_ne_bytes([low, high]), rest.get(..len - 16).unwrap_or(rest)))
    })
}

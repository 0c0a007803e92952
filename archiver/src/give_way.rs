//! Work on many bytes by which nobody who waits for the processor is held up.

/// Bytes that are worked on at once: some tens of microseconds.
const PIECE_BYTES: usize = 64 << 10;

/// The bytes in pieces. Between two of them, other threads may have the processor.
pub(crate) fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(PIECE_BYTES).inspect(|_piece| std::thread::yield_now())
}

#[cfg(test)]
mod tests {
    use crate::layout::TableDigest;

    #[test]
    fn a_digest_in_pieces_is_the_same() {
        for len in [0, 1, super::PIECE_BYTES, 3 * super::PIECE_BYTES + 5] {
            let bytes: Vec<u8> = (0..len).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
            assert_eq!(TableDigest::of_giving_way(&bytes), TableDigest::of(&bytes));
        }
    }
}

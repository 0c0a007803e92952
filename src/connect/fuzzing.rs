//! The way in for a fuzzer: bytes as a client might send them.

use super::{exchange, read, watch, write};
use replication::{DEFAULT_DATABASE, RequestId};

/// Decodes one request; the first byte chooses its kind. Must not panic, whatever the bytes.
pub fn request(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    let id = RequestId { node: 0, boot: 0, counter: 0 };
    match kind % 4 {
        0 => drop(read::Read::decode(body)),
        1 => drop(write::decode(body, DEFAULT_DATABASE, id)),
        2 => drop(watch::decode(body)),
        _ => drop(exchange::negotiate(body)),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_kind_takes_any_bytes() {
        for kind in 0..=u8::MAX {
            super::request(&[kind, 0x0a, 0xff, 0xff, 0xff]);
        }
        super::request(&[]);
    }
}

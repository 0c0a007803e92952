//! The bytes of each message, and that no other bytes are read.

use super::*;
use proptest::prelude::*;

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn content(digest: u8, bytes: u64) -> Content {
    Content { digest: Digest([digest; 32]), bytes }
}

fn sample() -> Offer {
    Offer {
        lineage: Lineage {
            id: LineageId([1; 16]),
            epoch: 2,
            parent: Some((LineageId([3; 16]), Versionstamp::new(4, 5))),
        },
        applied: Applied {
            version: 6,
            term: 7,
            time_ms: 8,
            hash: ContentHash::from_bytes([9; 32]),
            stamp: Versionstamp::new(10, 11),
        },
        manifest: content(12, 13),
        tables: vec![content(14, 15), content(16, 17)],
    }
}

fn each() -> Vec<(Message, Vec<u8>)> {
    let number = |n: u8| [n, 0, 0, 0, 0, 0, 0, 0];
    let stamp = |version: u8, order: u8| [0, 0, 0, 0, 0, 0, 0, version, 0, order];
    let offered = [
        &[1, 1][..],
        &[1; 16],
        &[2, 0, 0, 0, 1],
        &[3; 16],
        &stamp(4, 5),
        &number(6),
        &number(7),
        &number(8),
        &[9; 32],
        &stamp(10, 11),
        &[12; 32],
        &number(13),
        b"\x02\0\0\0",
        &[14; 32],
        &number(15),
        &[16; 32],
        &number(17),
    ];
    let wants = vec![Want { file: 1, from: 2 }, Want { file: 3, from: 0 }];
    let chunk = Message::Chunk { file: 1, offset: 2, bytes: Bytes::from_static(b"bytes") };
    let damaged = Message::Refusal(Reason::Damaged(Digest([7; 32])));
    vec![
        (Message::Offer(sample()), offered.concat()),
        (
            Message::Want(wants),
            b"\x01\x02\x02\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
        ),
        (chunk, b"\x01\x03\x01\0\0\0\x02\0\0\0\0\0\0\0bytes".to_vec()),
        (Message::Whole, b"\x01\x04".to_vec()),
        (Message::Refusal(Reason::Foreign), b"\x01\x05\x01".to_vec()),
        (Message::Refusal(Reason::Behind), b"\x01\x05\x02".to_vec()),
        (Message::Refusal(Reason::Diverged), b"\x01\x05\x03".to_vec()),
        (Message::Refusal(Reason::NoRoom), b"\x01\x05\x04".to_vec()),
        (damaged, [&b"\x01\x05\x05"[..], &[7; 32]].concat()),
        (Message::Refusal(Reason::Failed), b"\x01\x05\x06".to_vec()),
        (Message::Busy, b"\x01\x06".to_vec()),
    ]
}

/// A body with a checksum that is right.
fn sealed(body: &[u8]) -> Bytes {
    [body, &crc32fast::hash(body).to_le_bytes()].concat().into()
}

#[test]
fn the_format_is_frozen() -> TestResult {
    for (message, body) in each() {
        assert_eq!(message.encode(), sealed(&body), "{message:?}");
        assert_eq!(Message::decode(&sealed(&body))?, message);
    }
    Ok(())
}

#[test]
fn every_cut_and_every_flipped_byte_is_refused() {
    for (message, _) in each() {
        let bytes = message.encode();
        for at in 0..bytes.len() {
            assert!(Message::decode(&bytes.slice(..at)).is_err(), "{message:?} cut at {at}");
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 0x10;
            assert!(Message::decode(&flipped.into()).is_err(), "{message:?} flipped at {at}");
        }
    }
}

#[test]
fn what_nobody_says_is_refused_though_its_checksum_is_right() {
    let spoiled = |spoil: fn(&mut Offer)| {
        let mut offer = sample();
        spoil(&mut offer);
        Message::Offer(offer).encode()
    };
    let wants = |files: [u32; 2]| Message::Want(files.map(|file| Want { file, from: 0 }).to_vec()).encode();
    let chunk =
        |offset: u64| Message::Chunk { file: 0, offset, bytes: Bytes::from_static(b"bytes") }.encode();
    let cases = [
        (spoiled(|offer| offer.tables.reverse()), "tables in order"),
        (spoiled(|offer| offer.tables[1] = offer.tables[0]), "each table once"),
        (spoiled(|offer| offer.manifest.bytes = 0), "a manifest with bytes"),
        (spoiled(|offer| offer.lineage.epoch = 1 << 20), "an epoch of 20 bits"),
        (wants([1, 1]), "each file once"),
        (wants([2, 1]), "files in order"),
        (chunk(u64::MAX), "a chunk that ends"),
        (sealed(b"\x02\x04"), "format 1"),
        (sealed(b"\x01\x00"), "a kind"),
        (sealed(b"\x01\x07"), "a kind that is known"),
        (sealed(b"\x01\x04\x00"), "an end"),
        (sealed(b"\x01\x05\x00"), "a reason"),
        (sealed(b"\x01\x02\xff\xff\xff\xff"), "as many files as it says"),
        (sealed(&[&b"\x01\x03"[..], &[0; 12]].concat()), "a chunk with bytes"),
        (sealed(&[&b"\x01\x03"[..], &vec![0; 13 + CHUNK_BYTES_MAX]].concat()), "a chunk within its bound"),
        (Bytes::new(), "a message"),
    ];
    for (bytes, wanted) in cases {
        assert!(Message::decode(&bytes).is_err(), "wanted {wanted}");
    }
}

#[test]
fn the_name_of_a_table_is_its_digest_and_no_other_name_is() {
    let digest = Digest([0xab; 32]);
    let name = format!("{}.tbl", "ab".repeat(32));
    assert_eq!(digest.table_name(), name);
    assert_eq!(Digest::of_table_name(&name), Some(digest));
    let wrong = [
        name.to_uppercase(),
        name.replace("ab.tbl", "aB.tbl"),
        format!("+{}", &name[1..]),
        name.replace(".tbl", ".tmp"),
    ];
    for name in wrong {
        assert_eq!(Digest::of_table_name(&name), None, "{name}");
    }
}

proptest! {
    #[test]
    fn any_body_is_read_or_refused(kind in 0..8u8, body in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = sealed(&[&[1, kind], &body[..]].concat());
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }
}

use super::*;
use proptest::prelude::*;

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn identity(node: u64) -> Identity {
    Identity {
        node: NodeId(node),
        cluster: ClusterId([0xc1; 16]),
        lineage: LineageId([0x11; 16]),
        format: Range { oldest: 2, newest: 4 },
    }
}

fn hello(from: u64, to: u64) -> Hello {
    Hello { protocol: PROTOCOL, identity: identity(from), to: NodeId(to), channel: Channel::Heartbeat }
}

/// What stands behind the header, once that was checked.
fn body(bytes: &[u8]) -> Result<&[u8], Malformed> {
    let mut rest = Decoder::new(bytes);
    let (len, checksum) = decode_header(&rest.array("header")?)?;
    let body = rest.take(len, "body")?;
    rest.finish()?;
    check_body(body, checksum)?;
    Ok(body)
}

#[test]
fn the_format_is_frozen() {
    let mut expected = b"CAIRNPER\x3d\0".to_vec();
    expected.extend_from_slice(&[0x96, 0x63, 0xc8, 0x09]);
    expected.extend_from_slice(&[1, 0, 1, 0, 2, 0, 0, 0, 4, 0, 0, 0]);
    expected.extend_from_slice(&[0xc1; 16]);
    expected.extend_from_slice(&[0x11; 16]);
    expected.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2]);
    assert_eq!(hello(1, 2).encode(), expected);
    let welcome = Reply::Welcome { node: NodeId(2), protocol: 1 }.encode();
    assert_eq!(welcome[HEADER_LEN..], [1, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    let refused = Reply::Refused { node: NodeId(2), reason: "no".to_owned() }.encode();
    assert_eq!(refused[HEADER_LEN..], [2, 2, 0, 0, 0, 0, 0, 0, 0, b'n', b'o']);
}

#[test]
fn words_survive_their_bytes() -> TestResult {
    for channel in Channel::ALL {
        let said = Hello { channel, ..hello(3, 4) };
        assert_eq!(Hello::decode(body(&said.encode())?)?, said);
    }
    let replies = [
        Reply::Welcome { node: NodeId(7), protocol: 1 },
        Reply::Refused { node: NodeId(7), reason: "this node is of another cluster".to_owned() },
    ];
    for reply in replies {
        assert_eq!(Reply::decode(body(&reply.encode())?)?, reply);
    }
    Ok(())
}

#[test]
fn what_a_later_release_adds_is_passed_over() -> TestResult {
    let said = hello(1, 2).encode();
    let longer = [body(&said)?, b"and more"].concat();
    assert_eq!(Hello::decode(&longer)?, hello(1, 2));
    Ok(())
}

#[test]
fn a_reason_is_short_and_one_line() -> TestResult {
    let reason = format!("two\nlines {}", "é".repeat(REASON_LEN_MAX));
    let Reply::Refused { reason, .. } =
        Reply::decode(body(&Reply::Refused { node: NodeId(1), reason }.encode())?)?
    else {
        return Err("a refusal".into());
    };
    assert!(reason.starts_with("two lines é") && reason.len() <= REASON_LEN_MAX);
    assert!(!reason.contains('\u{fffd}'), "cut between characters");
    Ok(())
}

#[test]
fn who_belongs_together_talks() {
    assert_eq!(judge(&identity(2), &hello(1, 2)), Ok(1));
    let mut newer = hello(1, 2);
    newer.protocol = Range { oldest: 1, newest: 9 };
    newer.identity.format = Range { oldest: 4, newest: 9 };
    assert_eq!(judge(&identity(2), &newer), Ok(1), "the newest that both know");
}

/// What is wrong with a hello.
type Change = fn(&mut Hello);

#[test]
fn who_does_not_belong_here_is_told_why() {
    let refused = |change: Change| {
        let mut hello = hello(1, 2);
        change(&mut hello);
        judge(&identity(2), &hello).expect_err("it is refused")
    };
    let cases: [(Change, &str); 7] = [
        (
            |hello| hello.protocol = Range { oldest: 2, newest: 3 },
            "speaks peer protocols 1 to 1, node 1 2 to 3",
        ),
        (|hello| hello.identity.cluster = ClusterId([9; 16]), "node 1 of cluster 0909"),
        (|hello| hello.identity.lineage = LineageId([9; 16]), "node 1 of lineage 0909"),
        (
            |hello| hello.identity.format = Range { oldest: 5, newest: 6 },
            "node 2 knows feature levels 2 to 4, node 1 5 to 6",
        ),
        (
            |hello| hello.identity.format = Range { oldest: 1, newest: 1 },
            "knows feature levels 2 to 4, node 1 1 to 1",
        ),
        (|hello| hello.to = NodeId(3), "node 2 is at the address of node 3"),
        (|hello| hello.identity.node = NodeId(2), "two nodes have the id 2"),
    ];
    for (change, words) in cases {
        let reason = refused(change);
        assert!(reason.contains(words), "{reason}");
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let whole = hello(1, 2).encode();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(body(&bytes).is_err(), "bit {bit}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _body = body(&bytes);
        let _hello = Hello::decode(&bytes);
        let _reply = Reply::decode(&bytes);
    }
}

use super::*;
use replication::DEFAULT_DATABASE;

type TestResult = Result<(), Error>;

const REQUEST: RequestId = RequestId { node: 1, boot: 2, counter: 3 };
const BIGINT_1: &[u8] = b"\xff\x0fZ\x10\x01\0\0\0\0\0\0\0";
const INT_1: &[u8] = b"\xff\x10I\x02";

fn value(encoding: i32, data: &[u8]) -> Option<pb::KvValue> {
    Some(pb::KvValue { data: data.to_vec(), encoding })
}

fn set(key: &[u8], data: &[u8]) -> pb::Mutation {
    mutation_of(pb::MutationType::MSet, key, value(1, data))
}

fn mutation_of(kind: pb::MutationType, key: &[u8], value: Option<pb::KvValue>) -> pb::Mutation {
    pb::Mutation { key: key.to_vec(), value, mutation_type: kind.into(), ..Default::default() }
}

fn decode_mutations(mutations: Vec<pb::Mutation>) -> Result<AtomicWrite, Error> {
    let message = pb::AtomicWrite { mutations, ..Default::default() };
    decode(&message.encode_to_vec(), DEFAULT_DATABASE, REQUEST)
}

fn decode_one(mutation: pb::Mutation) -> Result<MutationKind, Error> {
    decode_mutations(vec![mutation])?.mutations.pop().map(|m| m.kind).ok_or(Error::InvalidMutation)
}

fn decode_check(key: &[u8], versionstamp: &[u8]) -> Result<Vec<Check>, Error> {
    let check = pb::Check { key: key.to_vec(), versionstamp: versionstamp.to_vec() };
    let message = pb::AtomicWrite { checks: vec![check], ..Default::default() };
    decode(&message.encode_to_vec(), DEFAULT_DATABASE, REQUEST).map(|write| write.checks)
}

#[test]
fn a_check_wants_absence_or_ten_bytes() -> TestResult {
    assert_eq!(decode_check(b"k", b"")?[0].stamp, None);
    assert_eq!(decode_check(b"k", &[0; 10])?[0].stamp, Some(Versionstamp::ZERO));
    for len in [1, 9, 11] {
        assert_eq!(decode_check(b"k", &vec![1; len]), Err(Error::InvalidVersionstamp), "{len}");
    }
    assert!(decode_check(&[1; READ_KEY_LEN_MAX], b"").is_ok());
    assert_eq!(decode_check(&[1; READ_KEY_LEN_MAX + 1], b""), Err(Error::KeyTooLong));
    assert_eq!(decode_check(b"", b""), Err(Error::KeyEmpty));
    Ok(())
}

#[test]
fn every_kind_is_read_with_its_operands() -> TestResult {
    use pb::MutationType as Kind;
    let seven = || value(2, &7u64.to_le_bytes());
    assert_eq!(decode_one(mutation_of(Kind::MDelete, b"k", None))?, MutationKind::Delete);
    assert_eq!(decode_one(mutation_of(Kind::MSum, b"k", seven()))?, MutationKind::Sum(Sum::U64(7)));
    assert_eq!(decode_one(mutation_of(Kind::MMin, b"k", seven()))?, MutationKind::Min(7));
    assert_eq!(decode_one(mutation_of(Kind::MMax, b"k", seven()))?, MutationKind::Max(7));
    let stored = StoredValue { encoding: Encoding::Bytes, bytes: b"v".to_vec() };
    let suffixed = mutation_of(Kind::MSetSuffixVersionstampedKey, b"k", value(3, b"v"));
    let expected = MutationKind::SetSuffixed { value: stored, expire_at_ms: None };
    assert_eq!(decode_one(suffixed)?, expected);
    Ok(())
}

#[test]
fn v8_sums_are_typed_with_their_bounds() -> TestResult {
    let sum = |operand: &[u8], min: &[u8], max: &[u8]| {
        let mut mutation = mutation_of(pb::MutationType::MSum, b"k", value(1, operand));
        (mutation.sum_min, mutation.sum_max, mutation.sum_clamp) = (min.to_vec(), max.to_vec(), true);
        decode_one(mutation)
    };
    let one = || replication::BigInt::from(1);
    let bigint = Sum::BigInt { operand: one(), min: Some(one()), max: None, clamp: true };
    assert_eq!(sum(BIGINT_1, BIGINT_1, b"")?, MutationKind::Sum(bigint));
    let number = Sum::Number { operand: 1.0, min: None, max: Some(1.0), clamp: true };
    assert_eq!(sum(INT_1, b"", INT_1)?, MutationKind::Sum(number));
    assert_eq!(sum(INT_1, BIGINT_1, b""), Err(Error::Refused(Refusal::SumBoundTypes)));
    assert_eq!(sum(BIGINT_1, b"", INT_1), Err(Error::Refused(Refusal::SumBoundTypes)));
    for operand in [&b""[..], b"\xff\x0f", b"\xff\x0fo{\0", b"hello"] {
        assert_eq!(sum(operand, b"", b""), Err(Error::Refused(Refusal::SumParameters)), "{operand:?}");
    }
    Ok(())
}

#[test]
fn operands_of_the_wrong_type_are_refused_in_known_words() {
    let one = |kind, encoding, data: &[u8]| decode_one(mutation_of(kind, b"k", value(encoding, data)));
    let non_u64 = |operation| Err(Error::Refused(Refusal::NonU64Operand(operation)));
    assert_eq!(one(pb::MutationType::MMin, 1, INT_1), non_u64(Operation::Min));
    assert_eq!(one(pb::MutationType::MMax, 3, b"12345678"), non_u64(Operation::Max));
    assert_eq!(one(pb::MutationType::MSum, 3, b"1"), Err(Error::Refused(Refusal::SumParameters)));
    assert_eq!(one(pb::MutationType::MSet, 2, b"1234567"), Err(Error::InvalidLe64));
    assert_eq!(one(pb::MutationType::MSet, 4, b""), Err(Error::UnknownEncoding(4)));
    assert_eq!(one(pb::MutationType::MSet, -1, b""), Err(Error::UnknownEncoding(-1)));
    assert_eq!(one(pb::MutationType::MUnspecified, 1, b""), Err(Error::InvalidMutation));
    let mut bounded = mutation_of(pb::MutationType::MSum, b"k", value(2, &[0; 8]));
    bounded.sum_max = INT_1.to_vec();
    assert_eq!(decode_one(bounded), Err(Error::BoundsOnU64));
    let unknown = pb::Mutation { mutation_type: 7, ..set(b"k", b"v") };
    assert_eq!(decode_one(unknown), Err(Error::InvalidMutation));
    let valueless = pb::Mutation { value: None, ..set(b"k", b"v") };
    assert_eq!(decode_one(valueless), Err(Error::InvalidMutation));
}

#[test]
fn expiry_is_a_time_or_never() -> TestResult {
    for (at, expected) in [(0, None), (-1, None), (1, Some(1)), (i64::MAX, Some(i64::MAX.unsigned_abs()))] {
        match decode_one(pb::Mutation { expire_at_ms: at, ..set(b"k", b"v") })? {
            MutationKind::Set { expire_at_ms, .. } => assert_eq!(expire_at_ms, expected, "{at}"),
            other => panic!("a set became {other:?}"),
        }
    }
    let negative = pb::Mutation { expire_at_ms: -2, ..set(b"k", b"v") };
    assert_eq!(decode_one(negative), Err(Error::InvalidExpireAt));
    Ok(())
}

#[test]
fn every_limit_holds_at_its_edge() {
    let key = vec![b'k'; WRITE_KEY_LEN_MAX];
    assert!(decode_one(set(&key, b"v")).is_ok());
    assert_eq!(decode_one(set(&[&key[..], b"k"].concat(), b"v")), Err(Error::KeyTooLong));
    assert_eq!(decode_one(set(b"", b"v")), Err(Error::KeyEmpty));
    assert!(decode_one(set(b"k", &vec![0; VALUE_LEN_MAX])).is_ok());
    assert_eq!(decode_one(set(b"k", &vec![0; VALUE_LEN_MAX + 1])), Err(Error::ValueTooLong));
    let suffixed = |len| {
        let kind = pb::MutationType::MSetSuffixVersionstampedKey;
        decode_one(mutation_of(kind, &vec![b'k'; len], value(1, b"v")))
    };
    assert!(suffixed(0).is_ok());
    assert!(suffixed(WRITE_KEY_LEN_MAX - SUFFIX_LEN).is_ok());
    assert_eq!(suffixed(WRITE_KEY_LEN_MAX - SUFFIX_LEN + 1), Err(Error::KeyTooLong));
    let mut long_bound = mutation_of(pb::MutationType::MSum, b"k", value(1, INT_1));
    long_bound.sum_min = vec![0; VALUE_LEN_MAX + 1];
    assert_eq!(decode_one(long_bound), Err(Error::ValueTooLong));
}

#[test]
fn counts_and_totals_are_bounded() {
    assert!(decode_mutations(vec![set(b"k", b""); MUTATIONS_MAX]).is_ok());
    assert_eq!(decode_mutations(vec![set(b"k", b""); MUTATIONS_MAX + 1]), Err(Error::TooManyMutations));
    let full = set(b"k", &vec![0; VALUE_LEN_MAX - 1]);
    assert_eq!(WRITE_LEN_MAX % VALUE_LEN_MAX, VALUE_LEN_MAX / 2);
    let mut exact = vec![full; WRITE_LEN_MAX / VALUE_LEN_MAX];
    exact.push(set(b"k", &vec![0; VALUE_LEN_MAX / 2 - 1]));
    assert!(decode_mutations(exact.clone()).is_ok());
    exact.push(set(b"k", b""));
    assert_eq!(decode_mutations(exact), Err(Error::WriteTooLarge));
    let checks = |count| {
        let check = pb::Check { key: b"k".to_vec(), versionstamp: Vec::new() };
        let message = pb::AtomicWrite { checks: vec![check; count], ..Default::default() };
        decode(&message.encode_to_vec(), DEFAULT_DATABASE, REQUEST)
    };
    assert!(checks(CHECKS_MAX).is_ok());
    assert_eq!(checks(CHECKS_MAX + 1), Err(Error::TooManyChecks));
}

#[test]
fn an_enqueue_is_refused_since_nobody_would_deliver_it() {
    let message = pb::AtomicWrite {
        mutations: vec![set(b"k", b"v")],
        enqueues: vec![pb::Enqueue::default()],
        ..Default::default()
    };
    assert_eq!(decode(&message.encode_to_vec(), DEFAULT_DATABASE, REQUEST), Err(Error::EnqueueUnsupported));
}

#[test]
fn a_cut_message_is_refused() {
    let bytes =
        pb::AtomicWrite { mutations: vec![set(b"key", b"value")], ..Default::default() }.encode_to_vec();
    for cut in 1..bytes.len() {
        assert!(
            matches!(decode(&bytes[..cut], DEFAULT_DATABASE, REQUEST), Err(Error::InvalidProtobuf(_))),
            "cut at {cut}"
        );
    }
}

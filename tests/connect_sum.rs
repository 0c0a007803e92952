//! Sum, min and max over a socket: types, bounds, expiry, and the words of each refusal.

use crate::support::client::Session;
use crate::support::messages::{
    BYTES, V8, mutation, on_u64, set, set_u64, set_until, set_v8, sum_v8, v8_bigint, v8_number, value,
    wire_format_16,
};
use crate::support::{Server, TestResult};
use denokv_proto::datapath::{self as pb, MutationType};

const RANGE: &str = "The result of a Sum operation would exceed its range limit";

async fn stored(session: &Session, key: &[u8]) -> TestResult<Option<(i32, Vec<u8>)>> {
    Ok(session.get(key).await?.map(|entry| (entry.encoding, entry.value)))
}

fn bounded(operand: &[u8], min: &[u8], max: &[u8], clamp: bool) -> pb::Mutation {
    pb::Mutation { sum_min: min.to_vec(), sum_max: max.to_vec(), sum_clamp: clamp, ..sum_v8(b"k", operand) }
}

#[tokio::test]
async fn u64_operands_store_wrap_and_compare() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    for (kind, operand, expected) in [
        (MutationType::MSum, 5, 5),
        (MutationType::MSum, u64::MAX, 4),
        (MutationType::MMax, 9, 9),
        (MutationType::MMax, 1, 9),
        (MutationType::MMin, 3, 3),
        (MutationType::MMin, 8, 3),
    ] {
        session.commit(vec![on_u64(kind, b"k", operand)]).await?;
        let found = session.get(b"k").await?.map(|entry| (entry.encoding, entry.value));
        assert_eq!(found, Some((2, u64::to_le_bytes(expected).to_vec())), "{kind:?} {operand}");
    }
    session.commit(vec![sum_v8(b"k", &v8_bigint(4))]).await?;
    assert_eq!(stored(&session, b"k").await?, Some((2, 7u64.to_le_bytes().to_vec())));
    Ok(())
}

#[tokio::test]
async fn numbers_and_bigints_add_in_any_wire_format() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    session.commit(vec![sum_v8(b"n", &wire_format_16(&v8_number(1.5)))]).await?;
    session.commit(vec![sum_v8(b"n", b"\xff\x0eI\x04")]).await?;
    assert_eq!(stored(&session, b"n").await?, Some((V8, v8_number(3.5))));
    session.commit(vec![set_v8(b"i", &wire_format_16(&v8_bigint(-3)))]).await?;
    session.commit(vec![sum_v8(b"i", &v8_bigint(1))]).await?;
    assert_eq!(stored(&session, b"i").await?, Some((V8, v8_bigint(-2))));
    session.commit(vec![sum_v8(b"i", &v8_bigint(2))]).await?;
    assert_eq!(stored(&session, b"i").await?, Some((V8, v8_bigint(0))));
    Ok(())
}

#[tokio::test]
async fn a_bound_clamps_or_refuses_the_whole_write() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    for of in [&(|n: i32| v8_number(n.into())) as &dyn Fn(i32) -> Vec<u8>, &|n| v8_bigint(n.into())] {
        session.commit(vec![set_v8(b"k", &of(8)), set(b"other", b"before")]).await?;
        let over = bounded(&of(5), b"", &of(10), false);
        session.refused(vec![set(b"other", b"after"), over], RANGE).await?;
        session.refused(vec![bounded(&of(-9), &of(0), b"", false)], RANGE).await?;
        assert_eq!(stored(&session, b"k").await?, Some((V8, of(8))));
        assert_eq!(stored(&session, b"other").await?, Some((BYTES, b"before".to_vec())));
        session.commit(vec![bounded(&of(5), &of(0), &of(10), true)]).await?;
        assert_eq!(stored(&session, b"k").await?, Some((V8, of(10))));
        session.commit(vec![bounded(&of(-50), &of(0), &of(10), true)]).await?;
        assert_eq!(stored(&session, b"k").await?, Some((V8, of(0))));
    }
    Ok(())
}

#[tokio::test]
async fn types_that_do_not_go_together_are_refused_in_known_words() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    session
        .commit(vec![
            set_u64(b"u", 1),
            set_v8(b"n", &v8_number(1.0)),
            set_v8(b"i", &v8_bigint(1)),
            set_v8(b"s", b"\xff\x0f\"\x01a"),
            set(b"b", b"x"),
        ])
        .await?;
    let sum = MutationType::MSum;
    for (bad, text) in [
        (on_u64(sum, b"n", 1), "Failed to perform 'sum' mutation on a non-U64 value in the database"),
        (
            on_u64(MutationType::MMin, b"b", 1),
            "Failed to perform 'min' mutation on a non-U64 value in the database",
        ),
        (
            on_u64(MutationType::MMax, b"i", 1),
            "Failed to perform 'max' mutation on a non-U64 value in the database",
        ),
        (sum_v8(b"u", &v8_number(1.0)), "Cannot sum KvU64 with Number"),
        (sum_v8(b"n", &v8_bigint(1)), "Cannot sum Number with BigInt"),
        (sum_v8(b"i", &v8_number(1.0)), "Cannot sum BigInt with Number"),
        (sum_v8(b"u", &v8_bigint(-1)), "Cannot sum KvU64 with BigInt"),
        (sum_v8(b"s", &v8_number(1.0)), "unsupported value type"),
        (sum_v8(b"b", &v8_number(1.0)), "unsupported value type"),
        (sum_v8(b"n", b"not v8"), "Some of the parameters are not valid V8 values"),
        (mutation(sum, b"n", value(BYTES, b"1")), "Some of the parameters are not valid V8 values"),
        (
            mutation(MutationType::MMin, b"u", value(V8, &v8_number(1.0))),
            "Failed to perform 'min' mutation on a non-U64 operand",
        ),
        (
            mutation(MutationType::MMax, b"u", value(BYTES, b"1")),
            "Failed to perform 'max' mutation on a non-U64 operand",
        ),
        (
            bounded(&v8_number(1.0), &v8_bigint(1), b"", true),
            "Min/max parameters have different types than the operand",
        ),
    ] {
        session.refused(vec![set(b"b", b"changed"), bad], text).await?;
    }
    assert_eq!(stored(&session, b"b").await?, Some((BYTES, b"x".to_vec())));
    Ok(())
}

#[tokio::test]
async fn a_sum_starts_anew_after_an_expiry_and_clears_it_before() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    let until = |key: &[u8]| {
        let expiry = server.clock.now_ms() + 1_000;
        pb::Mutation { value: value(2, &10u64.to_le_bytes()), ..set_until(key, b"", expiry) }
    };
    session.commit(vec![until(b"gone"), until(b"kept")]).await?;
    session.commit(vec![on_u64(MutationType::MSum, b"kept", 1)]).await?;
    server.clock.advance(1_000);
    session.commit(vec![on_u64(MutationType::MSum, b"gone", 1)]).await?;
    let le = |n: u64| n.to_le_bytes().to_vec();
    assert_eq!(stored(&session, b"gone").await?, Some((2, le(1))));
    assert_eq!(stored(&session, b"kept").await?, Some((2, le(11))));
    Ok(())
}

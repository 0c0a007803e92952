//! Malformed and oversized requests: refused in known words, and nothing is changed.

use crate::support::client::{Session, call};
use crate::support::messages::{BYTES, LE64, V8, check, get, mutation, range, set, value};
use crate::support::{Server, TestResult};
use cairn::connect::limits::{BODY_LEN_MAX, VALUE_LEN_MAX, WRITE_KEY_LEN_MAX};
use denokv_proto::datapath::{self as pb, MutationType};
use hyper::Method;

#[tokio::test]
async fn every_limit_of_a_write_has_its_words_and_changes_nothing() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    let long = vec![b'k'; WRITE_KEY_LEN_MAX + 1];
    let refused =
        async |bad: pb::Mutation, text: &str| session.refused(vec![set(b"k", b"v"), bad], text).await;
    refused(set(&long, b""), "A key exceeds the key size limit.").await?;
    refused(set(b"", b""), "A key must not be empty.").await?;
    refused(set(b"k", &vec![0; VALUE_LEN_MAX + 1]), "A value exceeds the value size limit.").await?;
    let of = |encoding, data: &[u8]| mutation(MutationType::MSet, b"k", value(encoding, data));
    refused(of(0, b""), "The value encoding 0 is unknown.").await?;
    refused(of(9, b""), "The value encoding 9 is unknown.").await?;
    refused(of(LE64, b"1234567"), "A value of the 64-bit integer encoding must have 8 bytes.").await?;
    let invalid = "Invalid mutation kind or arguments.";
    refused(mutation(MutationType::MSet, b"k", None), invalid).await?;
    refused(mutation(MutationType::MUnspecified, b"k", value(BYTES, b"")), invalid).await?;
    refused(pb::Mutation { mutation_type: 6, ..set(b"k", b"") }, invalid).await?;
    refused(pb::Mutation { expire_at_ms: -2, ..set(b"k", b"") }, "Invalid mutation expire at.").await?;
    session
        .refused(vec![set(b"k", b""); 1001], "Too many mutations / enqueues included in atomic write.")
        .await?;
    let large = set(b"k", &vec![0; VALUE_LEN_MAX]);
    session.refused(vec![large; 13], "The total size of the atomic write is too large.").await?;
    assert_eq!(session.get(b"k").await?, None);
    Ok(())
}

#[tokio::test]
async fn checks_are_limited_too() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    let write = async |checks: Vec<pb::Check>| {
        session.call("atomic_write", &pb::AtomicWrite { checks, ..Default::default() }).await
    };
    write(vec![check(b"k", b""); 101]).await?.refused(400, "Too many checks included in atomic write.")?;
    write(vec![check(b"k", b"123")]).await?.refused(400, "Invalid versionstamp.")?;
    write(vec![check(&[b'k'; 2050], b"")]).await?.refused(400, "A key exceeds the key size limit.")?;
    let output: pb::AtomicWriteOutput = write(vec![check(&[b'k'; 2049], b""); 100]).await?.message()?;
    assert_eq!(output.status, i32::from(pb::AtomicWriteStatus::AwSuccess));
    Ok(())
}

#[tokio::test]
async fn an_enqueue_is_refused_and_nothing_of_its_write_is_there() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    let enqueues = vec![pb::Enqueue { payload: b"message".to_vec(), ..Default::default() }];
    let write = pb::AtomicWrite { mutations: vec![set(b"k", b"v")], enqueues, ..Default::default() };
    session.call("atomic_write", &write).await?.refused(
        400,
        "This server cannot deliver queue messages yet, so it does not accept them: nothing was written.",
    )?;
    assert_eq!(session.get(b"k").await?, None);
    Ok(())
}

#[tokio::test]
async fn every_limit_of_a_read_has_its_words() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    let refused = async |ranges: Vec<pb::ReadRange>, text: &str| {
        session.call("snapshot_read", &pb::SnapshotRead { ranges }).await?.refused(400, text)
    };
    refused(vec![get(b"k"); 11], "Too many read ranges requested in one read request.").await?;
    let invalid = "The read range limit of the snapshot read request is invalid.";
    refused(vec![range(b"a", b"b", 0, false)], invalid).await?;
    refused(vec![range(b"a", b"b", -1, false)], invalid).await?;
    let total = "The total number of entries requested across read ranges in the read request is too large.";
    refused(vec![range(b"a", b"b", 1001, false)], total).await?;
    refused(vec![range(b"a", b"b", 500, false), range(b"a", b"b", 501, true)], total).await?;
    refused(vec![range(&[1; 2050], b"b", 1, false)], "A key exceeds the key size limit.").await?;
    Ok(())
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    for method in ["snapshot_read", "atomic_write", "watch"] {
        for body in [&b"\x0a"[..], b"\x0a\x7f", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"{}"] {
            let answer = session.bytes(method, body).await?;
            assert_eq!(answer.status, 400, "{method} {body:?}");
            assert!(answer.text().starts_with("Request protobuf is invalid: "), "{}", answer.text());
        }
    }
    let watch = pb::Watch { keys: vec![pb::WatchKey { key: b"k".to_vec() }; 11] };
    session.call("watch", &watch).await?.refused(400, "Too many keys watched in a single watch request.")?;
    Ok(())
}

#[tokio::test]
async fn a_body_over_its_bound_is_refused_before_it_is_read() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    let text = "The request body is too large: at most 2097152 bytes are accepted.";
    session.bytes("atomic_write", vec![0; BODY_LEN_MAX + 1]).await?.refused(413, text)?;
    call(&server, Method::POST, "/", &[], vec![0; BODY_LEN_MAX + 1]).await?.refused(413, text)?;
    Ok(())
}

#[tokio::test]
async fn a_write_at_every_limit_at_once_is_taken() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    let longest = vec![b'k'; WRITE_KEY_LEN_MAX];
    let data = vec![7; VALUE_LEN_MAX];
    let mutations = (0..12u8).map(|n| mutation(MutationType::MSet, &[n], value(V8, &data)));
    let mut mutations: Vec<_> = mutations.collect();
    mutations.push(set(&longest, b"v"));
    session.commit(mutations).await?;
    assert_eq!(session.range(range(b"", b"\xff", 1000, false)).await?.len(), 13);
    assert!(session.get(&longest).await?.is_some());
    Ok(())
}

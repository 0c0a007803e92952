//! `snapshot_read` over a socket.

use crate::support::client::Session;
use crate::support::messages::{get, npm_get, range, set, set_until};
use crate::support::{Server, TestResult};
use denokv_proto::datapath as pb;

fn keys(entries: &[pb::KvEntry]) -> Vec<&[u8]> {
    entries.iter().map(|entry| entry.key.as_slice()).collect()
}

#[tokio::test]
async fn ranges_end_before_their_end_and_run_both_ways() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    session.commit([b"a", b"b", b"c", b"d"].map(|key| set(key, b"v")).to_vec()).await?;
    for (start, end, limit, reverse, expected) in [
        (b"a", b"c", 10, false, &[b"a", b"b"][..]),
        (b"a", b"c", 10, true, &[b"b", b"a"]),
        (b"a", b"e", 2, false, &[b"a", b"b"]),
        (b"a", b"e", 2, true, &[b"d", b"c"]),
        (b"c", b"c", 10, false, &[]),
        (b"d", b"a", 10, false, &[]),
    ] {
        let found = session.range(range(start, end, limit, reverse)).await?;
        assert_eq!(keys(&found), expected, "{start:?} {end:?} {limit} {reverse}");
    }
    Ok(())
}

#[tokio::test]
async fn a_get_finds_its_key_and_none_beside_it() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    session.commit(vec![set(b"\x02a\0\x02b\0", b"child"), set(b"\x02b\0", b"other")]).await?;
    let parent = b"\x02a\0";
    assert_eq!(session.range(get(parent)).await?, vec![]);
    // What `@deno/kv` asks for is a range; it looks at the key of what it gets.
    assert_eq!(keys(&session.range(npm_get(parent)).await?), [b"\x02a\0\x02b\0"]);
    session.commit(vec![set(parent, b"parent")]).await?;
    for asked in [get(parent), npm_get(parent)] {
        let found = session.range(asked).await?;
        assert_eq!((keys(&found), found[0].value.as_slice()), (vec![&parent[..]], &b"parent"[..]));
    }
    Ok(())
}

#[tokio::test]
async fn answers_come_in_the_order_and_number_of_the_ranges_from_one_snapshot() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    let stamp = session.commit(vec![set(b"a", b"1"), set(b"b", b"2")]).await?;
    let ranges = vec![get(b"b"), get(b"none"), range(b"a", b"z", 100, false), get(b"a"), get(b"b")];
    let read = pb::SnapshotRead { ranges };
    let output: pb::SnapshotReadOutput = session.call("snapshot_read", &read).await?.message()?;
    let found: Vec<_> = output.ranges.iter().map(|range| keys(&range.values)).collect();
    assert_eq!(found, [vec![&b"b"[..]], vec![], vec![b"a", b"b"], vec![b"a"], vec![b"b"]]);
    assert!(output.ranges.iter().flat_map(|range| &range.values).all(|entry| entry.versionstamp == stamp));
    let nothing: pb::SnapshotReadOutput = session.bytes("snapshot_read", "").await?.message()?;
    assert!(nothing.ranges.is_empty() && nothing.status == 1);
    Ok(())
}

#[tokio::test]
async fn an_eventual_read_says_that_it_is_one_and_how_old_it_may_be() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    session.commit(vec![set(b"a", b"1")]).await?;
    let read = pb::SnapshotRead { ranges: vec![get(b"a")] };
    let strong = session.call("snapshot_read", &read).await?;
    assert_eq!(strong.headers.get("x-cairn-staleness-ms"), None);
    let eventual = session.call("eventual/snapshot_read", &read).await?;
    assert_eq!(eventual.headers["x-cairn-staleness-ms"], "0", "one node is never behind");
    let (strong, eventual): (pb::SnapshotReadOutput, pb::SnapshotReadOutput) =
        (strong.message()?, eventual.message()?);
    assert_eq!(strong.ranges, eventual.ranges);
    assert!(strong.read_is_strongly_consistent && !eventual.read_is_strongly_consistent);
    let refused = session.bytes("eventual/atomic_write", "").await?;
    refused.refused(404, "Resource not found.")
}

#[tokio::test]
async fn an_expired_entry_is_hidden_from_every_read() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    let expiry = server.clock.now_ms() + 1_000;
    session.commit(vec![set_until(b"a", b"v", expiry), set(b"b", b"v")]).await?;
    server.clock.advance(999);
    assert!(session.get(b"a").await?.is_some());
    server.clock.advance(1);
    assert_eq!(session.get(b"a").await?, None);
    assert!(session.range(npm_get(b"a")).await?.is_empty());
    for reverse in [false, true] {
        assert_eq!(keys(&session.range(range(b"", b"\xff", 1, reverse)).await?), [b"b"]);
        assert_eq!(keys(&session.range(range(b"", b"\xff", 1000, reverse)).await?), [b"b"]);
    }
    Ok(())
}

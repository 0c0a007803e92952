//! The socket: both versions of HTTP, Deno's own client, bytes that are neither, and the end.

use crate::support::client::{Session, call, exchange, request, send_h2, whole};
use crate::support::messages::set;
use crate::support::remote::connect;
use crate::support::{PATIENCE, Server, TOKEN, TestResult, within};
use anyhow::Context;
use denokv_proto::{
    AtomicWrite, Check, Consistency, Database, KvValue, Mutation, MutationKind, ReadRange,
    SnapshotReadOptions, WatchKeyOutput,
};
use futures::StreamExt;
use hyper::Method;
use std::num::NonZeroU32;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn one(key: &[u8], kind: MutationKind) -> AtomicWrite {
    let mutations = vec![Mutation { key: key.to_vec(), kind, expire_at: None }];
    AtomicWrite { checks: Vec::new(), mutations, enqueues: Vec::new() }
}

#[tokio::test]
async fn denos_own_client_writes_reads_checks_and_watches() -> TestResult {
    let server = Server::start().await?;
    let kv = connect(&server)?;
    let mut watch = kv.watch(vec![b"k".to_vec()]);
    let first = within(watch.next()).await?.context("no message")??;
    assert!(matches!(first[..], [WatchKeyOutput::Changed { entry: None }]));
    let committed = within(kv.atomic_write(one(b"k", MutationKind::Set(KvValue::U64(7))))).await??;
    let stamp = committed.context("committed")?.versionstamp;
    let told = within(watch.next()).await?.context("no message")??;
    let [WatchKeyOutput::Changed { entry: Some(entry) }] = &told[..] else {
        anyhow::bail!("not told: {told:?}")
    };
    assert_eq!(entry.versionstamp, stamp);
    let mut checked = one(b"k", MutationKind::Delete);
    checked.checks = vec![Check { key: b"k".to_vec(), versionstamp: None }];
    assert!(within(kv.atomic_write(checked)).await??.is_none(), "the key is there");
    let limit = NonZeroU32::new(1).context("1 is not 0")?;
    let range = ReadRange { start: b"k".to_vec(), end: b"k\0".to_vec(), limit, reverse: false };
    let options = SnapshotReadOptions { consistency: Consistency::Strong };
    let read = within(kv.snapshot_read(vec![range], options)).await??;
    assert!(matches!(read[0].entries[0].value, KvValue::U64(7)));
    Ok(())
}

#[tokio::test]
async fn a_5xx_is_never_the_answer_to_a_write_that_cannot_succeed() -> TestResult {
    let server = Server::start().await?;
    let kv = connect(&server)?;
    let bad = one(b"k", MutationKind::Min(KvValue::Bytes(b"x".to_vec())));
    // Deno's client repeats a 5xx for ever, so that this would not end.
    let refused = within(kv.atomic_write(bad)).await?;
    let text = refused.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(text.contains("status=400") && text.contains("non-U64 operand"), "{text}");
    Ok(())
}

#[tokio::test]
async fn http_2_is_spoken_on_the_same_port() -> TestResult {
    let server = Server::start().await?;
    let bearer = format!("Bearer {TOKEN}");
    let body = r#"{"supportedVersions":[1]}"#;
    let asked = request(&server, Method::POST, "/", &[("authorization", &bearer)], body)?;
    let answer = whole(send_h2(server.addr, asked).await?).await?.json()?;
    assert_eq!(answer["endpoints"][0]["url"], format!("http://{}/v2", server.addr));
    assert_eq!(exchange(&server, body).await?.json()?["version"], 1);
    Ok(())
}

#[tokio::test]
async fn bytes_that_are_no_http_break_their_connection_alone() -> TestResult {
    let server = Server::start().await?;
    for garbage in [&b"\0\0\0\0\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nNO\r\n\r\n", b"GET / SMTP\r\n\r\n"] {
        let mut stream = TcpStream::connect(server.addr).await?;
        stream.write_all(garbage).await?;
        let mut answer = Vec::new();
        // It ends, with or without a word.
        let ended = within(stream.read_to_end(&mut answer)).await?;
        assert!(ended.is_err() || answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");
    }
    assert_eq!(call(&server, Method::GET, "/healthz", &[], "").await?.text(), "ok\n");
    Ok(())
}

#[tokio::test]
async fn health_readiness_and_metrics_answer_without_a_token() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    session.commit(vec![set(b"k", b"v")]).await?;
    assert_eq!(call(&server, Method::GET, "/healthz", &[], "").await?.text(), "ok\n");
    assert_eq!(call(&server, Method::GET, "/readyz", &[], "").await?.text(), "ready\n");
    let metrics = call(&server, Method::GET, "/metrics", &[], "").await?.text();
    for line in [
        "cairn_requests_total{endpoint=\"AtomicWrite\",status=\"200\"} 1",
        "cairn_engine_commits_total 1",
        "# EOF",
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line} is not in\n{metrics}");
    }
    Ok(())
}

#[tokio::test]
async fn a_full_disk_is_not_ready_and_says_why() -> TestResult {
    let options = engine::Options { disk_reserve_bytes: Some(1 << 60), ..Default::default() };
    let server = Server::with(options).await?;
    let session = Session::open(&server, 3).await?;
    let write =
        denokv_proto::datapath::AtomicWrite { mutations: vec![set(b"k", b"v")], ..Default::default() };
    assert_eq!(session.call("atomic_write", &write).await?.status, 429);
    let ready = call(&server, Method::GET, "/readyz", &[], "").await?;
    assert_eq!(ready.status, 503);
    assert!(ready.text().starts_with("writes are stopped: "), "{}", ready.text());
    Ok(())
}

#[tokio::test]
async fn a_silent_connection_does_not_hold_up_a_stop() -> TestResult {
    let server = Server::start().await?;
    let silent = TcpStream::connect(server.addr).await?;
    assert_eq!(exchange(&server, "").await?.status, 200, "the silent one was accepted before this one");
    assert_eq!(server.stop().await?, cairn::server::Drained::Fully);
    drop(silent);
    Ok(())
}

#[tokio::test]
async fn a_stop_answers_what_runs_and_lets_idle_clients_go() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    let mut idle = TcpStream::connect(server.addr).await?;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    let mut head = [0; 15];
    within(idle.read_exact(&mut head)).await??;
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    let writes: Vec<_> = (0..20u8)
        .map(|n| {
            let session = session.clone();
            tokio::spawn(async move { session.commit(vec![set(&[n], b"v")]).await })
        })
        .collect();
    let engine = server.engine.clone();
    let stopped = tokio::time::timeout(PATIENCE, server.stop()).await??;
    assert_eq!(stopped, cairn::server::Drained::Fully);
    let newest = engine.applied().stamp;
    for write in writes {
        // One that came too late was not connected or told so; none is lost.
        if let Ok(stamp) = write.await? {
            assert!(stamp.as_slice() <= newest.as_bytes().as_slice());
        }
    }
    Ok(())
}

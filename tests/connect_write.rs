//! `atomic_write` over a socket.

use crate::support::client::Session;
use crate::support::messages::{check, delete, range, set, set_until};
use crate::support::{Server, TestResult};
use anyhow::Context;
use denokv_proto::datapath::{self as pb, MutationType};
use engine::Options;

#[tokio::test]
async fn an_empty_write_succeeds_with_a_stamp_above_all_before() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    let mut stamps = Vec::new();
    for _ in 0..3 {
        stamps.push(session.commit(Vec::new()).await?);
        stamps.push(session.commit(vec![set(b"k", b"v")]).await?);
    }
    assert!(stamps.iter().all(|stamp| stamp.len() == 10));
    assert!(stamps.is_sorted_by(|a, b| a < b), "{stamps:?}");
    Ok(())
}

#[tokio::test]
async fn failed_checks_are_named_and_nothing_is_applied() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    let old = session.commit(vec![set(b"a", b"1")]).await?;
    let new = session.commit(vec![set(b"a", b"2")]).await?;
    let checks =
        vec![check(b"a", &new), check(b"a", &old), check(b"b", b""), check(b"a", b""), check(b"b", &[0; 10])];
    let write = pb::AtomicWrite { checks, mutations: vec![set(b"b", b"x")], ..Default::default() };
    let output = session.write(&write).await?;
    assert_eq!(output.status, i32::from(pb::AtomicWriteStatus::AwCheckFailure));
    assert_eq!((output.failed_checks, output.versionstamp), (vec![1, 3, 4], vec![]));
    assert_eq!(session.get(b"b").await?, None);
    let checks = vec![check(b"a", &new), check(b"b", b"")];
    let write = pb::AtomicWrite { checks, mutations: vec![set(b"b", b"x")], ..Default::default() };
    assert_eq!(session.write(&write).await?.status, i32::from(pb::AtomicWriteStatus::AwSuccess));
    Ok(())
}

#[tokio::test]
async fn later_mutations_see_earlier_ones() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    session
        .commit(vec![set(b"a", b"1"), delete(b"a"), set(b"b", b"1"), set(b"b", b"2"), delete(b"c")])
        .await?;
    assert_eq!(session.get(b"a").await?, None);
    assert_eq!(session.get(b"b").await?.map(|entry| entry.value), Some(b"2".to_vec()));
    Ok(())
}

#[tokio::test]
async fn an_expired_key_is_absent_to_checks() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    let expiry = server.clock.now_ms() + 1_000;
    let stamp = session.commit(vec![set_until(b"k", b"v", expiry)]).await?;
    server.clock.advance(1_000);
    let write = |versionstamp: &[u8]| pb::AtomicWrite {
        checks: vec![check(b"k", versionstamp)],
        mutations: vec![set(b"k", b"again")],
        ..Default::default()
    };
    let still_there = session.write(&write(&stamp)).await?;
    assert_eq!(still_there.failed_checks, vec![0]);
    let absent = session.write(&write(b"")).await?;
    assert_eq!(absent.status, i32::from(pb::AtomicWriteStatus::AwSuccess));
    server.clock.advance(10_000);
    assert!(session.get(b"k").await?.is_some(), "a plain set clears the expiry");
    Ok(())
}

#[tokio::test]
async fn a_suffixed_key_ends_in_the_stamp_of_its_write() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    let mut suffixed = set(b"\x02log\0", b"v");
    suffixed.mutation_type = MutationType::MSetSuffixVersionstampedKey.into();
    let stamp = session.commit(vec![suffixed.clone()]).await?;
    let digits: String = stamp.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = [&b"\x02log\0\x02"[..], digits.as_bytes(), b"\0"].concat();
    let found = session.range(range(b"\x02log\0", b"\x02log\xff", 10, false)).await?;
    let entry = found.first().context("the key is there")?;
    assert_eq!((found.len(), &entry.key, &entry.versionstamp), (1, &key, &stamp));
    suffixed.key = vec![b'k'; 2048 - 22];
    session.commit(vec![suffixed.clone()]).await?;
    suffixed.key.push(b'k');
    session.refused(vec![suffixed], "A key exceeds the key size limit.").await
}

#[tokio::test]
async fn a_full_disk_is_a_429_and_reads_go_on() -> TestResult {
    let options = Options { disk_reserve_bytes: Some(1 << 60), ..Options::default() };
    let server = Server::with(options).await?;
    let session = Session::open(&server, 3).await?;
    let write = pb::AtomicWrite { mutations: vec![set(b"k", b"v")], ..Default::default() };
    let answer = session.call("atomic_write", &write).await?;
    assert_eq!(answer.status, 429);
    assert!(answer.text().starts_with("writes are stopped: "), "{}", answer.text());
    assert_eq!(session.get(b"k").await?, None);
    Ok(())
}

#[tokio::test]
async fn many_writers_lose_no_increment() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    let add = crate::support::messages::on_u64(MutationType::MSum, b"n", 1);
    let writers = (0..16).map(|_| {
        let (session, add) = (session.clone(), add.clone());
        async move {
            for _ in 0..10 {
                session.commit(vec![add.clone()]).await?;
            }
            TestResult::Ok(())
        }
    });
    futures::future::try_join_all(writers).await?;
    let found = session.get(b"n").await?.context("the counter is there")?;
    assert_eq!(found.value, 160u64.to_le_bytes());
    Ok(())
}

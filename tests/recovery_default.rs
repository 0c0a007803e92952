//! The content of the default database is replaced while it is served, and what it was can be had again.

use crate::recovery_standby::follow;
use crate::rig::cluster::Cluster;
use crate::rig::server::{Serve, Server, cairn, run, succeed};
use crate::rig::{TOKEN, TestResult, http, now_ms, until, writes};
use anyhow::{Context, ensure};
use cairn::bench::client::{Client, Http, Session};
use denokv_proto::datapath as pb;
use prost::Message;
use std::path::Path;
use std::thread::JoinHandle;

async fn put(client: &mut Client, key: &str, value: &str) -> TestResult<String> {
    let stamp = writes::commit(client, vec![writes::set(&writes::key(&[key]), value.as_bytes())]).await?;
    Ok(stamp.to_string())
}

async fn value(client: &mut Client, key: &str) -> TestResult<Option<String>> {
    let entry = client.get(&writes::key(&[key])).await?;
    Ok(entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()))
}

/// Restores a database of an archive into a cluster that serves, once the archive holds the point.
fn restore_into(server: &Server, archive: &str, at: &str, in_place: &str) -> TestResult<String> {
    until("the point can be restored", || {
        let live = ["--into", &server.url, "--token", TOKEN, "--in-place", in_place];
        let ended = run(cairn().args(["restore", "--from", archive, "--at", at]).args(live))?;
        let too_early =
            ["the archive reaches", "does not hold", "no archive", "nothing in the archive can be restored"];
        let waits = too_early.iter().any(|words| ended.stderr.contains(words));
        ensure!(ended.code == Some(0) || waits, "{}", ended.stderr);
        Ok((ended.code == Some(0)).then_some(ended.stdout))
    })
}

/// Serves what a restore of a point brings back, and reads two keys there.
async fn restored(archive: &str, at: &str, how: &[&str]) -> TestResult<[Option<String>; 2]> {
    let folder = tempfile::tempdir()?;
    let to = folder.path().join("data");
    let mut restore = cairn();
    restore.args(["restore", "--from", archive, "--at", at, "--to"]).arg(&to).args(how);
    succeed(&mut restore)?;
    let server = Serve::on(&to).flag("--archive", "none").start()?;
    let mut client = server.connect().await?;
    let values = [value(&mut client, "last").await?, value(&mut client, "later").await?];
    drop(client);
    server.stop()?;
    Ok(values)
}

/// A watch of a key of the default database, which ends with the thread.
fn watch(server: &Server, key: &str) -> TestResult<JoinHandle<TestResult<u16>>> {
    let bearer = |token: &str| format!("Bearer {token}");
    let exchange = [("authorization", bearer(TOKEN)), ("content-type", "application/json".to_owned())];
    let headers: Vec<(&str, &str)> = exchange.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let told = http::send(server.address(), "POST", "/", &headers, br#"{"supportedVersions":[3]}"#)?.body;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    let field = |name: &str| told[name].as_str().map(str::to_owned).context("a field of the exchange");
    let (token, id, address) = (bearer(&field("token")?), field("databaseId")?, server.address().to_owned());
    let body = pb::Watch { keys: vec![pb::WatchKey { key: writes::key(&[key]) }] }.encode_to_vec();
    Ok(std::thread::spawn(move || {
        let headers = [
            ("authorization", token.as_str()),
            ("x-denokv-version", "3"),
            ("x-denokv-database-id", id.as_str()),
        ];
        Ok(http::send(&address, "POST", "/v2/watch", &headers, &body)?.status)
    }))
}

async fn reads_through_a_standby(data: &Path, archive: &str, expected: &str) -> TestResult {
    let standby = follow(data, archive)?;
    let mut reader = Session::open(&standby.url, TOKEN, Http::One).await?.connect().await?;
    let bound_ms = now_ms() + 30_000;
    while value(&mut reader, "last").await?.as_deref() != Some(expected) {
        ensure!(now_ms() < bound_ms, "the standby follows: {}", standby.log.text());
        tokio::task::yield_now().await;
    }
    drop(reader);
    standby.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_database_is_replaced_in_place_and_what_it_was_comes_back() -> TestResult {
    let (data, store, aside) = (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
    let archive = format!("file://{}", store.path().display());
    let serve = || Serve::on(data.path()).flag("--archive", &archive).start();
    let server = serve()?;
    let mut client = server.connect().await?;
    for number in 0..50 {
        put(&mut client, &format!("key{number}"), "first").await?;
    }
    let early = put(&mut client, "last", "first").await?;
    put(&mut client, "last", "second").await?;
    put(&mut client, "later", "second").await?;
    let watched = watch(&server, "last")?;

    // Whoever reads meanwhile sees the old content, and then the new one, whole.
    let (url, into, from) = (server.url.clone(), archive.clone(), early.clone());
    let seen = tokio::spawn(async move {
        let mut reader = Session::open(&url, TOKEN, Http::One).await?.connect().await?;
        let mut seen = Vec::new();
        while seen.last() != Some(&Some("first".to_owned())) {
            let now = value(&mut reader, "last").await?;
            if seen.last() != Some(&now) {
                seen.push(now);
            }
        }
        assert_eq!(value(&mut reader, "key0").await?.as_deref(), Some("first"), "all of it is there");
        assert_eq!(value(&mut reader, "later").await?, None, "and nothing of the old content");
        TestResult::Ok(seen)
    });
    let told = tokio::task::block_in_place(|| restore_into(&server, &into, &from, "default"))?;
    ensure!(told.contains("replaced the content of default by 51 rows"), "{told}");
    assert_eq!(seen.await??, [Some("second".to_owned()), Some("first".to_owned())]);
    until("the watch ends, so that its client asks again", || Ok(watched.is_finished().then_some(())))?;

    // Tokens and connections of before go on, and so does a server that starts anew.
    put(&mut client, "new", "third").await?;
    assert_eq!(value(&mut client, "last").await?.as_deref(), Some("first"));
    drop(client);
    server.stop()?;
    let server = serve()?;
    let mut client = server.connect().await?;
    assert_eq!(value(&mut client, "new").await?.as_deref(), Some("third"));
    assert_eq!(value(&mut client, "later").await?, None);
    let late = put(&mut client, "last", "fourth").await?;

    // The recovery point brings back what it was, into a directory and into the cluster.
    let was = told.lines().last().and_then(|line| line.split("--at ").nth(1)).context("a recovery point")?;
    let (first, second, fourth) =
        (Some("first".to_owned()), Some("second".to_owned()), Some("fourth".to_owned()));
    let of_default = ["--database", "default"];
    assert_eq!(restored(&archive, was, &of_default).await?, [second.clone(), second.clone()]);
    assert_eq!(
        restored(&archive, was, &[]).await?,
        [second.clone(), second.clone()],
        "and all of the cluster"
    );
    assert_eq!(restored(&archive, &early, &of_default).await?, [first, None]);
    until("the last write is in the archive", || {
        let end = run(cairn()
            .args(["restore", "--from", &archive, "--at", &late, "--to"])
            .arg(aside.path().join("late")))?;
        Ok((end.code == Some(0)).then_some(()))
    })?;
    assert_eq!(restored(&archive, "latest", &of_default).await?, [fourth.clone(), None]);
    assert_eq!(restored(&archive, "latest", &[]).await?, [fourth, None]);
    reads_through_a_standby(&aside.path().join("standby"), &archive, "fourth").await?;
    let id = "00000000-0000-8000-8000-000000000001";
    let told = tokio::task::block_in_place(|| restore_into(&server, &archive, was, id))?;
    ensure!(told.contains("replaced the content of default by 52 rows"), "{told}");
    assert_eq!(value(&mut client, "later").await?.as_deref(), Some("second"));
    let listed = succeed(cairn().args(["db", "list", "--url", &server.url, "--token", TOKEN]))?.stdout;
    assert_eq!(listed.lines().count(), 2, "the default database is listed once: {listed}");
    drop(client);
    server.stop()
}

/// Reads through a node until the value is the expected one: a node learns of a replacement by its replica of the catalog.
async fn comes_to_show(client: &mut Client, key: &str, expected: Option<&str>) -> TestResult {
    let bound_ms = now_ms() + 30_000;
    while value(client, key).await?.as_deref() != expected {
        ensure!(now_ms() < bound_ms, "the node comes to show {key} as {expected:?}");
        tokio::task::yield_now().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_of_a_cluster_follows_a_replacement_and_a_seal() -> TestResult {
    let (folder, store) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let archive = format!("file://{}", store.path().display());
    let cluster = Cluster::archiving(folder.path(), 3, &archive, &[])?;
    let mut client = cluster.connect(0).await?;
    let early = put(&mut client, "k", "first").await?;
    put(&mut client, "k", "second").await?;
    put(&mut client, "later", "second").await?;
    let told = until("the point can be restored", || {
        let live = ["--into", &cluster.url(1), "--token", TOKEN, "--in-place", "default"];
        let ended = run(cairn().args(["restore", "--from", &archive, "--at", &early]).args(live))?;
        Ok((ended.code == Some(0)).then_some(ended.stdout))
    })?;
    ensure!(told.contains("replaced the content of default by 1 rows"), "{told}");
    for position in 0..3 {
        let mut client = cluster.connect(position).await?;
        comes_to_show(&mut client, "k", Some("first")).await?;
        comes_to_show(&mut client, "later", None).await?;
        put(&mut client, &format!("node{position}"), "v").await?;
    }
    let operate = |position: usize, what: &[&str]| {
        succeed(cairn().args(what).args(["--url", &cluster.url(position), "--token", TOKEN]))
    };
    operate(1, &["cluster", "seal", "--reason", "moved"])?;
    for position in 0..3 {
        let mut client = cluster.connect(position).await?;
        let refused =
            put(&mut client, "late", "v").await.expect_err("no node acknowledges a write after the end");
        ensure!(refused.to_string().contains("sealed"), "{refused:#}");
    }
    operate(2, &["cluster", "unseal"])?;
    let bound_ms = now_ms() + 30_000;
    while put(&mut client, "late", "v").await.is_err() {
        ensure!(now_ms() < bound_ms, "the cluster takes writes again");
        tokio::task::yield_now().await;
    }
    Ok(())
}

//! A standby that follows the archive of a server, serves what it has, and takes over.

use crate::rig::server::{Serve, Server, cairn, run, succeed};
use crate::rig::{TOKEN, TestResult, now_ms, until, writes};
use anyhow::{Context, ensure};
use cairn::bench::client::{Error, Http, Session};
use std::path::Path;

/// Starts a standby of an archive.
pub(crate) fn follow(data: &Path, archive: &str) -> TestResult<Server> {
    let mut command = cairn();
    command.args([
        "standby",
        "serve",
        "--from",
        archive,
        "--access-token",
        TOKEN,
        "--addr",
        "127.0.0.1:0",
        "--data",
    ]);
    command.arg(data);
    Serve::of(command).start()
}

#[tokio::test]
async fn a_standby_follows_serves_reads_refuses_writes_and_takes_over() -> TestResult {
    let (data, store, aside) = (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
    let archive = format!("file://{}", store.path().display());
    let server = Serve::on(data.path()).flag("--archive", &archive).start()?;
    let mut client = server.connect().await?;
    let key = writes::key(&["k"]);
    writes::commit(&mut client, vec![writes::set(&key, b"first")]).await?;
    until("something is in the archive", || {
        let listed = run(cairn().args(["pitr", "list", "--from", &archive]))?;
        Ok((listed.code == Some(0)).then_some(()))
    })?;
    let standby = follow(aside.path(), &archive)?;
    let mut reader = Session::open(&standby.url, TOKEN, Http::One).await?.connect().await?;
    for round in 0..5 {
        let value = format!("value {round}");
        let stamp = writes::commit(&mut client, vec![writes::set(&key, value.as_bytes())]).await?;
        let bound_ms = now_ms() + 30_000;
        loop {
            let entry = reader.get(&key).await?;
            if let Some(entry) = entry.filter(|entry| entry.value == value.as_bytes()) {
                assert_eq!(
                    writes::stamp_of(&entry.versionstamp)?,
                    stamp,
                    "each commit has the stamp that it had"
                );
                break;
            }
            ensure!(now_ms() < bound_ms, "the standby follows: {}", standby.log.text());
            tokio::task::yield_now().await;
        }
    }
    let refused = writes::commit(&mut reader, vec![writes::set(&key, b"mine")]).await;
    let refused = refused.expect_err("a write is refused");
    match refused.downcast_ref::<Error>() {
        Some(Error::Status { status: 403, text }) => assert!(text.contains("standby"), "{text}"),
        other => panic!("a write is refused with 403: {other:?}"),
    }
    drop((client, reader));
    // While it follows, it is nothing that can be served or promoted.
    let serve = run(cairn().args(["serve", "--archive", "none", "--data"]).arg(aside.path()))?;
    assert_eq!(serve.code, Some(2), "{}", serve.stderr);
    assert!(serve.stderr.contains("is a standby"), "{}", serve.stderr);
    server.stop()?;
    standby.stop()?;
    let told = succeed(cairn().args(["standby", "promote", "--from", &archive, "--data"]).arg(aside.path()))?;
    ensure!(told.stdout.contains("goes on from"), "{}", told.stdout);
    let promoted = Serve::on(aside.path()).flag("--archive", "none").start()?;
    let mut client = promoted.connect().await?;
    let entry = client.get(&key).await?.context("it is there")?;
    assert_eq!(entry.value, b"value 4");
    let stamp = writes::commit(&mut client, vec![writes::set(&key, b"after")]).await?;
    assert!(stamp > writes::stamp_of(&entry.versionstamp)?);
    drop(client);
    promoted.stop()?;
    let again = run(cairn().args(["standby", "promote", "--from", &archive, "--data"]).arg(aside.path()))?;
    assert_eq!(again.code, Some(2), "it is no standby any more: {}", again.stderr);
    Ok(())
}

//! A standby that follows the archive of a server, serves what it has, and takes over.

use crate::rig::server::{Serve, Server, cairn, run, succeed};
use crate::rig::{TOKEN, TestResult, http, now_ms, until, writes};
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

/// Waits until something can be restored of the catalog and of the data.
fn both_groups_are_in(archive: &str) -> TestResult {
    until("both groups are in the archive", || {
        let listed = run(cairn().args(["pitr", "list", "--json", "--from", archive]))?;
        let listing: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap_or_default();
        let has_windows =
            |one: &&serde_json::Value| one["windows"].as_array().is_some_and(|all| !all.is_empty());
        let lineages = listing["lineages"].as_array();
        Ok(lineages.filter(|all| all.iter().filter(has_windows).count() == 2).map(drop))
    })
}

#[tokio::test]
async fn a_standby_follows_serves_reads_refuses_writes_and_takes_over() -> TestResult {
    let (data, store, aside) = (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
    let archive = format!("file://{}", store.path().display());
    let server = Serve::on(data.path()).flag("--archive", &archive).start()?;
    let mut client = server.connect().await?;
    let key = writes::key(&["k"]);
    writes::commit(&mut client, vec![writes::set(&key, b"first")]).await?;
    both_groups_are_in(&archive)?;
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
    let promote = |how: &[&str]| {
        run(cairn().args(["standby", "promote", "--from", &archive, "--data"]).arg(aside.path()).args(how))
    };
    let unsure = promote(&[])?;
    assert_eq!(unsure.code, Some(2), "{}", unsure.stderr);
    assert!(unsure.stderr.contains("--cluster") && unsure.stderr.contains("--force"), "{}", unsure.stderr);
    let nobody = promote(&["--cluster", "http://127.0.0.1:9", "--token", TOKEN])?;
    assert_eq!(nobody.code, Some(2), "{}", nobody.stderr);
    assert!(nobody.stderr.contains("cannot reach"), "{}", nobody.stderr);
    let told = promote(&["--force"])?;
    ensure!(told.code == Some(0) && told.stdout.contains("goes on from"), "{}{}", told.stdout, told.stderr);
    ensure!(told.stdout.contains("committed at") && told.stdout.contains("not sealed"), "{}", told.stdout);
    let promoted = Serve::on(aside.path()).flag("--archive", "none").start()?;
    let mut client = promoted.connect().await?;
    let entry = client.get(&key).await?.context("it is there")?;
    assert_eq!(entry.value, b"value 4");
    let stamp = writes::commit(&mut client, vec![writes::set(&key, b"after")]).await?;
    assert!(stamp > writes::stamp_of(&entry.versionstamp)?);
    drop(client);
    promoted.stop()?;
    let again = promote(&["--force"])?;
    assert_eq!(again.code, Some(2), "it is no standby any more: {}", again.stderr);
    Ok(())
}

/// Writes one key after the other until that is refused. Returns how many were acknowledged, and the refusal.
async fn write_until_refused(url: String) -> TestResult<(u32, Error)> {
    let mut client = Session::open(&url, TOKEN, Http::One).await?.connect().await?;
    let mut acknowledged = 0;
    loop {
        let key = writes::key(&[&format!("{acknowledged:06}")]);
        match writes::commit(&mut client, vec![writes::set(&key, b"v")]).await {
            Ok(_stamp) => acknowledged += 1,
            Err(error) => return Ok((acknowledged, error.downcast()?)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_sealed_and_everything_it_acknowledged_is_in_the_promoted_standby() -> TestResult {
    let (data, store, aside) = (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
    let archive = format!("file://{}", store.path().display());
    let serve = || Serve::on(data.path()).flag("--archive", &archive).start();
    let server = serve()?;
    let mut client = server.connect().await?;
    let key = writes::key(&["first"]);
    writes::commit(&mut client, vec![writes::set(&key, b"v")]).await?;
    both_groups_are_in(&archive)?;
    follow(aside.path(), &archive)?.stop()?;

    // Promoted while a client writes: what it was told is there, and then it is told why not.
    let writer = tokio::spawn(write_until_refused(server.url.clone()));
    let asked = ["--cluster", server.url.as_str(), "--token", TOKEN];
    let told = tokio::task::block_in_place(|| {
        succeed(
            cairn().args(["standby", "promote", "--from", &archive, "--data"]).arg(aside.path()).args(asked),
        )
    })?;
    ensure!(told.stdout.contains("everything that it acknowledged is here"), "{}", told.stdout);
    let (acknowledged, refusal) = writer.await??;
    match &refusal {
        Error::Status { status: 403, text } => assert!(text.contains("sealed"), "{text}"),
        Error::Status { status: 409, text } => assert!(text.contains("unknown"), "it was under way: {text}"),
        other => panic!("a write is refused: {other}"),
    }
    assert!(acknowledged > 0);
    let promoted = Serve::on(aside.path()).flag("--archive", "none").start()?;
    let mut reader = promoted.connect().await?;
    for number in 0..acknowledged {
        let number_key = writes::key(&[&format!("{number:06}")]);
        assert!(
            reader.get(&number_key).await?.is_some(),
            "write {number} of {acknowledged} was acknowledged"
        );
    }
    writes::commit(&mut reader, vec![writes::set(&writes::key(&["after"]), b"v")]).await?;
    drop(reader);
    promoted.stop()?;

    let late = writes::commit(&mut client, vec![writes::set(&key, b"late")]).await;
    match late.expect_err("a write after the end is refused").downcast_ref::<Error>() {
        Some(Error::Status { status: 403, text }) => assert!(text.contains("Nothing was written"), "{text}"),
        other => panic!("a write after the end is refused with 403: {other:?}"),
    }

    // The old side says so wherever it is asked, and goes on only when somebody wants that.
    let address = server.address().to_owned();
    assert_eq!(http::get(&address, "/readyz")?.status, 503);
    let operate = |what: &[&str]| {
        let node = ["--url", server.url.as_str(), "--token", TOKEN];
        Ok::<_, anyhow::Error>(succeed(cairn().args(what).args(node))?.stdout)
    };
    ensure!(operate(&["cluster", "status"])?.contains("sealed, takes no writes"), "it is shown");
    let refused = run(cairn().args(["db", "create", "x", "--url", &server.url, "--token", TOKEN]))?;
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("cluster is sealed"), "{}", refused.stderr);
    operate(&["cluster", "unseal"])?;
    let fork = writes::key(&["fork"]);
    let forked = writes::commit(&mut client, vec![writes::set(&fork, b"v")]).await?;
    until("the fork is in the archive", || {
        let status = operate(&["archive", "status", "--json"])?;
        let all: serde_json::Value = serde_json::from_str(&status)?;
        let shipped = all[1]["shipped"].as_str().context("a versionstamp")?;
        Ok((shipped >= forked.to_string().as_str()).then_some(()))
    })?;

    // After its next start it hears of the promotion from the archive, and ships no more.
    drop(client);
    server.stop()?;
    let mut server = serve()?;
    let mut client = server.connect().await?;
    writes::commit(&mut client, vec![writes::set(&fork, b"w")]).await?;
    let ended = "cairn_archive_ended{group=\"1\"";
    until("it says that it ships no more", || {
        let metrics = http::get(server.address(), "/metrics")?.body;
        let line = metrics.lines().find(|line| line.starts_with(ended)).map(str::to_owned);
        Ok(line.filter(|line| line.ends_with(" 1")))
    })?;
    assert!(server.log.text().contains("was promoted"), "{}", server.log.text());
    let ready = http::get(server.address(), "/readyz")?;
    assert_eq!(ready.status, 503, "{}", ready.body);
    drop(client);
    // It has said so as an error, and again at its end.
    ensure!(server.terminate()?.success(), "it stops: {}", server.log.text());

    // The fork is told of, and not chosen.
    let verified = succeed(cairn().args(["verify", "--from", &archive]))?.stdout;
    ensure!(verified.contains("fork: group 1"), "{verified}");
    let listed = succeed(cairn().args(["pitr", "list", "--from", &archive]))?.stdout;
    ensure!(listed.contains("ended at") && listed.contains("is a fork"), "{listed}");
    let back = aside.path().join("back");
    succeed(cairn().args(["restore", "--from", &archive, "--at", "latest", "--to"]).arg(&back))?;
    let restored = Serve::on(&back).flag("--archive", "none").start()?;
    let mut reader = restored.connect().await?;
    assert!(reader.get(&fork).await?.is_none(), "it is on the other history");
    assert!(reader.get(&writes::key(&["000000"])).await?.is_some());
    drop(reader);
    restored.stop()
}

//! What an operator sees when an archive cannot be used, is damaged, or does not fit: one line each, and nothing lost.

use crate::rig::s3::{CREDENTIALS, S3};
use crate::rig::server::{Serve, Server, cairn, run, succeed};
use crate::rig::small_disk::SmallDisk;
use crate::rig::{TOKEN, TestResult, http, until, writes};
use anyhow::{Context, ensure};
use cairn::bench::client::{Client, Http, Session};
use std::path::{Path, PathBuf};
use std::process::Command;

const WRONG: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "cairn-nobody"), ("AWS_SECRET_ACCESS_KEY", "cairn-nobody-secret")];
/// MiB of the disk that a restore does not fit on.
const DISK_MIB: u32 = 16;
/// Values of this many bytes are written until there are more than the small disk holds.
const VALUE_BYTES: usize = 60 << 10;

async fn put(client: &mut Client, key: &str, value: &[u8]) -> TestResult<String> {
    Ok(writes::commit(client, vec![writes::set(&writes::key(&[key]), value)]).await?.to_string())
}

fn restore(archive: &str, at: &str, to: &Path, credentials: &[(&str, &str)]) -> Command {
    let mut command = cairn();
    command.args(["restore", "--from", archive, "--at", at, "--to"]).arg(to);
    command.envs(credentials.iter().copied());
    command
}

/// A command that must be refused in one line, with exit code 2.
fn refused(command: &mut Command, words: &[&str]) -> TestResult {
    let ended = run(command)?;
    ensure!(ended.code == Some(2), "exit code {:?}: {}", ended.code, ended.stderr);
    ensure!(ended.stderr.lines().count() == 1, "one line: {}", ended.stderr);
    for word in words {
        ensure!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
    Ok(())
}

/// Waits until the archive holds a versionstamp.
fn archived(archive: &str, stamp: &str, credentials: &[(&str, &str)]) -> TestResult {
    until("the write is in the archive", || {
        let aside = tempfile::tempdir()?;
        let to = aside.path().join("to");
        Ok((run(&mut restore(archive, stamp, &to, credentials))?.code == Some(0)).then_some(()))
    })
}

/// What a metric says at most, of all groups and targets.
fn metric(server: &Server, name: &str) -> TestResult<Option<f64>> {
    let metrics = http::get(server.address(), "/metrics")?.body;
    let lines = metrics.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    let values = lines.filter_map(|line| line.split_whitespace().last()?.parse().ok());
    Ok(values.max_by(f64::total_cmp))
}

#[tokio::test]
async fn wrong_credentials_and_a_missing_bucket_are_said_and_cost_nothing() -> TestResult {
    let (store, data, aside) = (S3::weed()?, tempfile::tempdir()?, tempfile::tempdir()?);
    let archive = store.archive("trouble");
    // SeaweedFS makes a bucket when somebody may put into it; moto does not.
    let other = S3::moto()?;
    let elsewhere = other.archive("trouble").replace("s3://archive/", "s3://no-such-bucket/");
    let serve = |archive: &str, credentials| {
        Serve::on(data.path()).flag("--archive", archive).envs(credentials).start()
    };
    let to = aside.path().join("to");
    refused(&mut restore(&archive, "latest", &to, &WRONG), &["403", "AWS_SECRET_ACCESS_KEY"])?;
    refused(&mut restore(&elsewhere, "latest", &to, &CREDENTIALS), &["no-such-bucket", "Make the bucket"])?;
    assert!(!to.exists(), "nothing was made");

    // Right, wrong, of another bucket, and right again: it serves all the time, and in the end nothing is missing.
    let mut last = String::new();
    for (round, (place, credentials, said)) in [
        (&archive, &CREDENTIALS, None),
        (&archive, &WRONG, Some("AWS_SECRET_ACCESS_KEY")),
        (&elsewhere, &CREDENTIALS, Some("Make the bucket")),
        (&archive, &CREDENTIALS, None),
    ]
    .into_iter()
    .enumerate()
    {
        let mut server = serve(place, credentials)?;
        let mut client = server.connect().await?;
        last = put(&mut client, &format!("round{round}"), b"v").await?;
        match said {
            None => archived(place, &last, credentials)?,
            Some(word) => {
                let line = until("it says that it cannot ship", || {
                    let lines = server.log.lines();
                    Ok(lines.into_iter().find(|line| line.contains("cannot ship to the archive")))
                })?;
                ensure!(line.contains(word), "{word}: {line}");
                until("the metric says so", || {
                    Ok((metric(&server, "cairn_archive_failing")? == Some(1.0)).then_some(()))
                })?;
                assert_eq!(http::get(server.address(), "/readyz")?.status, 200, "clients are served");
            }
        }
        drop(client);
        // It has warned, and says at its end that something is not in the archive yet.
        ensure!(server.terminate()?.success(), "it stops: {}", server.log.text());
    }
    succeed(&mut restore(&archive, &last, &to, &CREDENTIALS))?;
    let restored = Serve::on(&to).flag("--archive", "none").start()?;
    let mut client = restored.connect().await?;
    for round in 0..4 {
        let key = writes::key(&[&format!("round{round}")]);
        assert!(client.get(&key).await?.is_some(), "the write of round {round}");
    }
    drop(client);
    restored.stop()
}

fn a_segment(archive: &Path) -> TestResult<PathBuf> {
    for lineage in std::fs::read_dir(archive.join("lineages"))? {
        let folder = lineage?.path().join("groups/1/segments");
        if let Some(segment) = std::fs::read_dir(folder).into_iter().flatten().next() {
            return Ok(segment?.path());
        }
    }
    anyhow::bail!("there is a segment")
}

#[tokio::test]
async fn a_server_verifies_its_archive_on_its_own_and_says_when_it_is_damaged() -> TestResult {
    let (data, store) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let archive = format!("file://{}", store.path().display());
    let mut server =
        Serve::on(data.path()).flag("--archive", &archive).flag("--verify-every", "200ms").start()?;
    let mut client = server.connect().await?;
    let last = put(&mut client, "k", b"v").await?;
    archived(&archive, &last, &[])?;
    let good = || metric(&server, "cairn_archive_verified_time_seconds");
    let first = until("it was verified", || Ok(good()?.filter(|at| *at > 0.0)))?;
    until("it is verified again", || Ok(good()?.filter(|at| *at > first)))?;
    assert_eq!(metric(&server, "cairn_archive_problems")?, Some(0.0));

    let segment = a_segment(store.path())?;
    let whole = std::fs::read(&segment)?;
    let mut altered = whole.clone();
    *altered.last_mut().context("it has bytes")? ^= 1;
    std::fs::write(&segment, altered)?;
    until("the damage is found", || Ok(metric(&server, "cairn_archive_problems")?.filter(|n| *n > 0.0)))?;
    let stands = good()?;
    let name = segment.file_name().context("it has a name")?.to_string_lossy().into_owned();
    let log = server.log.text();
    ensure!(log.contains("the archive is damaged") && log.contains(&name), "it names the object: {log}");
    std::fs::write(&segment, whole)?;
    until("it is sound again", || Ok(metric(&server, "cairn_archive_problems")?.filter(|n| *n == 0.0)))?;
    assert!(good()? >= stands, "the time goes on only from here");
    drop(client);
    ensure!(server.terminate()?.success(), "it stops: {}", server.log.text());
    Ok(())
}

#[tokio::test]
async fn a_database_is_found_where_the_catalog_had_it_at_the_point() -> TestResult {
    let (data, store, aside) = (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
    let archive = format!("file://{}", store.path().display());
    let server = Serve::on(data.path()).flag("--archive", &archive).start()?;
    let operate = |what: &[&str]| {
        let node = ["--url", server.url.as_str(), "--token", TOKEN, "--json"];
        let told = succeed(cairn().args(what).args(node))?.stdout;
        Ok::<serde_json::Value, anyhow::Error>(serde_json::from_str(&told)?)
    };
    let made = operate(&["db", "create", "shop"])?;
    let field = |name: &str| made[name].as_str().map(str::to_owned).context("a field");
    let (path, token) = (field("path")?, field("token")?);
    let mut shop =
        Session::open(&format!("{}{path}", server.url), &token, Http::One).await?.connect().await?;
    let early = put(&mut shop, "k", b"first").await?;
    put(&mut shop, "k", b"second").await?;
    // The catalog is quiet from here on, and other data is not.
    let mut client = server.connect().await?;
    let mut last = put(&mut client, "other", b"v").await?;
    archived(&archive, &last, &[])?;
    let end = end_of(&archive)?;
    operate(&["db", "delete", "shop"])?;
    last = put(&mut client, "other", b"w").await?;
    archived(&archive, &last, &[])?;

    for (at, value) in [(early.as_str(), "first"), (end.as_str(), "second")] {
        let to = aside.path().join(value);
        succeed(restore(&archive, at, &to, &[]).args(["--database", "shop"]))?;
        let restored = Serve::on(&to).flag("--archive", "none").flag("--access-token", TOKEN).start()?;
        let mut back =
            Session::open(&format!("{}{path}", restored.url), &token, Http::One).await?.connect().await?;
        let entry = back.get(&writes::key(&["k"])).await?.context("it is there")?;
        assert_eq!(String::from_utf8_lossy(&entry.value), value, "at {at}, under its id and token");
        let mut default = restored.connect().await?;
        assert!(default.get(&writes::key(&["other"])).await?.is_none(), "and nothing of another database");
        drop((back, default));
        restored.stop()?;
    }
    let to = aside.path().join("gone");
    for (at, name) in [("latest", "shop"), (end.as_str(), "market")] {
        refused(
            restore(&archive, at, &to, &[]).args(["--database", name]),
            &[&format!("there was no database {name}")],
        )?;
    }
    assert!(!to.exists(), "nothing was made");
    drop((client, shop));
    server.stop()
}

/// The time at which the archive of group 1 ends.
fn end_of(archive: &str) -> TestResult<String> {
    let listed = succeed(cairn().args(["pitr", "list", "--json", "--from", archive]))?.stdout;
    let listing: serde_json::Value = serde_json::from_str(&listed)?;
    let lineage = listing["lineages"].as_array().and_then(|all| all.iter().find(|one| one["group"] == 1));
    let windows = lineage.and_then(|one| one["windows"].as_array()).context("windows")?;
    let time = windows.last().and_then(|window| window["last"]["time"].as_str());
    Ok(time.context("a window")?.to_owned())
}

#[tokio::test]
async fn a_restore_that_does_not_fit_is_refused_and_one_that_runs_out_of_disk_is_never_served() -> TestResult
{
    let (data, store, aside) = (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
    let (small, larger) = (aside.path().join("small"), aside.path().join("larger"));
    let Some(_small) = SmallDisk::mount(&small, DISK_MIB)? else { return Ok(()) };
    let Some(_larger) = SmallDisk::mount(&larger, DISK_MIB * 5 / 2)? else { return Ok(()) };
    let archive = format!("file://{}", store.path().display());
    let server = Serve::on(data.path()).flag("--archive", &archive).start()?;
    let mut client = server.connect().await?;
    let mut last = String::new();
    let (values, mut noise) = (2 * (DISK_MIB as usize) * (1 << 20) / VALUE_BYTES, 1_u64);
    for number in 0..values {
        let mut value = vec![0; VALUE_BYTES];
        for piece in value.chunks_mut(8) {
            // Xorshift: what does not compress.
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            piece.copy_from_slice(&noise.to_le_bytes()[..piece.len()]);
        }
        last = put(&mut client, &format!("{number:04}"), &value).await?;
    }
    archived(&archive, &last, &[])?;
    drop(client);
    server.stop()?;

    // What does not fit by far is refused before anything is fetched.
    let to = small.join("to");
    refused(&mut restore(&archive, &last, &to, &[]), &["bytes", "are free", "another directory"])?;
    ensure!(!to.join("groups").exists(), "nothing was fetched");
    // Objects fit here, and what is made of them does not.
    let to = larger.join("to");
    let full = run(&mut restore(&archive, &last, &to, &[]))?;
    ensure!(full.code == Some(2), "exit code {:?}: {}", full.code, full.stderr);
    ensure!(
        full.stderr.lines().count() == 1 && full.stderr.contains("are free on the disk"),
        "{}",
        full.stderr
    );
    refused(cairn().args(["serve", "--archive", "none", "--data"]).arg(&to), &["did not finish"])?;
    let elsewhere = aside.path().join("elsewhere");
    succeed(&mut restore(&archive, &last, &elsewhere, &[]))?;
    Ok(())
}

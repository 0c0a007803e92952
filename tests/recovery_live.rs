//! A database of an archive taken into a cluster that serves; copies and checks of an archive; what is refused.

use crate::rig::server::{Serve, Server, cairn, run, succeed};
use crate::rig::{TOKEN, TestResult, until, writes};
use anyhow::{Context, ensure};
use cairn::bench::client::{Client, Http, Session};
use std::path::Path;
use std::process::Command;

fn start(data: &Path, archive: &str) -> TestResult<Server> {
    Serve::on(data).flag("--archive", archive).flag("--checkpoint-interval", "1s").start()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = cairn();
    command.args(arguments);
    command
}

/// The last versionstamp that a restore can reach.
fn end_of(archive: &str) -> TestResult<String> {
    let listed = succeed(&mut command(&["pitr", "list", "--json", "--from", archive]))?;
    let listing: serde_json::Value = serde_json::from_str(&listed.stdout)?;
    let lineage = listing["lineages"].as_array().and_then(|all| all.iter().find(|one| one["group"] == 1));
    let windows = lineage.and_then(|one| one["windows"].as_array()).context("windows")?;
    let last = windows.last().and_then(|window| window["last"]["versionstamp"].as_str());
    Ok(last.context("a window")?.to_owned())
}

async fn put(client: &mut Client, key: &str, value: &[u8]) -> TestResult<String> {
    let stamp = writes::commit(client, vec![writes::set(&writes::key(&[key]), value)]).await?;
    Ok(stamp.to_string())
}

fn wait_for(archive: &str, stamp: &str) -> TestResult {
    until("the write is in the archive", || {
        Ok(end_of(archive).ok().filter(|end| end.as_str() >= stamp).map(drop))
    })
}

/// A command that must be refused in one line, with exit code 2.
fn refused(command: &mut Command, word: &str) -> TestResult {
    let ended = run(command)?;
    ensure!(ended.code == Some(2), "exit code {:?}: {}", ended.code, ended.stderr);
    ensure!(ended.stderr.lines().count() == 1, "one line: {}", ended.stderr);
    ensure!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    Ok(())
}

#[tokio::test]
async fn a_database_of_the_archive_is_taken_in_as_new_and_in_place() -> TestResult {
    let (data, store) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let archive = format!("file://{}", store.path().display());
    let server = start(data.path(), &archive)?;
    let mut client = server.connect().await?;
    for number in 0..50 {
        put(&mut client, &format!("key{number}"), b"first").await?;
    }
    let early = put(&mut client, "last", b"first").await?;
    put(&mut client, "last", b"second").await?;
    let late = put(&mut client, "later", b"second").await?;
    wait_for(&archive, &late)?;
    let restore = |at: &str, how: [&str; 2]| {
        let live = ["--into", &server.url, "--token", TOKEN];
        command(&[&["restore", "--from", &archive, "--at", at, how[0], how[1]][..], &live].concat())
    };
    let told = succeed(&mut restore(&early, ["--as-new", "copy"]))?.stdout;
    ensure!(told.contains("loaded 51 rows as copy"), "{told}");
    let field = |name: &str| {
        let line = told.lines().find(|line| line.trim_start().starts_with(name));
        line.and_then(|line| line.split_whitespace().last()).map(str::to_owned).context("a field")
    };
    let (url, token) = (format!("{}{}", server.url, field("path")?), field("access token")?);
    let mut copy = Session::open(&url, &token, Http::One).await?.connect().await?;
    let value = copy.get(&writes::key(&["last"])).await?.context("the key is there")?.value;
    assert_eq!(value, b"first");
    assert!(copy.get(&writes::key(&["later"])).await?.is_none());
    // The database that it came from is as it was.
    let value = client.get(&writes::key(&["last"])).await?.context("the key is there")?.value;
    assert_eq!(value, b"second");

    let told = succeed(&mut restore(&late, ["--in-place", "copy"]))?.stdout;
    ensure!(told.contains("replaced the content of copy by 52 rows"), "{told}");
    let mut copy = Session::open(&url, &token, Http::One).await?.connect().await?;
    let value = copy.get(&writes::key(&["later"])).await?.context("the key is there")?.value;
    assert_eq!(value, b"second", "under the same id and token");

    refused(&mut restore(&late, ["--as-new", "copy"]), "there is a database called copy")?;
    refused(&mut restore(&late, ["--in-place", "nowhere"]), "there is no database nowhere")?;
    refused(&mut restore("ffffffffffffffffffff", ["--as-new", "other"]), "the archive reaches")?;
    let bare = tempfile::tempdir()?;
    let without = Serve::on(bare.path()).flag("--archive", "none").start()?;
    let replace = ["restore", "--from", &archive, "--at", &late, "--in-place", "default", "--token", TOKEN];
    refused(command(&replace).args(["--into", &without.url]), "no archive could bring the old content")?;
    without.stop()?;
    let listed = succeed(&mut command(&["db", "list", "--url", &server.url, "--token", TOKEN]))?.stdout;
    assert_eq!(listed.lines().count(), 3, "nothing is left of what was refused: {listed}");
    server.stop()
}

#[tokio::test]
async fn an_archive_is_copied_checked_and_read_in_part() -> TestResult {
    let (data, store, aside) = (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
    let archive = format!("file://{}", store.path().display());
    let server = start(data.path(), &archive)?;
    let mut client = server.connect().await?;
    let mut last = String::new();
    for number in 0..20 {
        last = put(&mut client, &format!("key{number}"), b"value").await?;
    }
    wait_for(&archive, &last)?;
    let to = aside.path().join("copy");
    let copied = succeed(command(&["pitr", "sync", "--from", &archive, "--to"]).arg(&to))?.stdout;
    ensure!(copied.starts_with("copied "), "{copied}");
    drop(client);
    server.stop()?;
    let again = succeed(command(&["pitr", "sync", "--from", &archive, "--to"]).arg(&to))?.stdout;
    let copy = format!("file://{}", to.display());
    assert_eq!(end_of(&copy)?, end_of(&archive)?, "{again}");
    for how in ["--fast", "--deep", "--full"] {
        let position = format!("1:{last}");
        let verified = succeed(&mut command(&["verify", "--from", &copy, how, "--position", &position]))?;
        ensure!(verified.stdout.contains("objects"), "{how}: {}", verified.stdout);
    }
    let behind =
        run(&mut command(&["verify", "--from", &copy, "--fast", "--position", "1:00000fffffffffff0000"]))?;
    assert_eq!(behind.code, Some(1));
    assert!(behind.stdout.contains("was shipped, and the archive ends at"), "{}", behind.stdout);
    let part = aside.path().join("part");
    succeed(
        command(&["pitr", "checkout", "--from", &copy, "--at", &last, "--database", "default", "--to"])
            .arg(&part),
    )?;
    let served = Serve::on(&part).flag("--archive", "none").start()?;
    let value = served.connect().await?.get(&writes::key(&["key7"])).await?.context("it is there")?.value;
    assert_eq!(value, b"value");
    served.stop()
}

#[tokio::test]
async fn what_cannot_be_restored_is_one_line_and_changes_nothing() -> TestResult {
    let (data, store, aside) = (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
    let archive = format!("file://{}", store.path().display());
    let server = start(data.path(), &archive)?;
    let mut client = server.connect().await?;
    let last = put(&mut client, "k", b"v").await?;
    wait_for(&archive, &last)?;
    drop(client);
    server.stop()?;
    let to = aside.path().join("to");
    let restore = |at: &str, more: &[&str]| {
        let mut command = command(&["restore", "--from", &archive, "--at", at, "--to"]);
        command.arg(&to).args(more);
        command
    };
    refused(&mut restore("ffffffffffffffffffff", &[]), "the archive reaches")?;
    refused(&mut restore("2020-01-01T00:00:00Z", &[]), "the archive reaches")?;
    refused(&mut restore(&last, &["--group", "9"]), "does not hold")?;
    refused(&mut restore(&last, &["--prefix", "xyz"]), "hexadecimal")?;
    refused(&mut restore(&last, &["--identity", "/nowhere/at/all"]), "identity file")?;
    refused(&mut restore(&last, &["--as-new", "x"]), "--into")?;
    assert!(!to.exists(), "nothing was made");
    let live = run(command(&["restore", "--from", &archive, "--at", &last, "--to"]).arg(data.path()))?;
    assert_eq!(live.code, Some(2), "{}", live.stderr);
    assert!(live.stderr.contains("is not empty"), "{}", live.stderr);
    let nobody = ["restore", "--from", &archive, "--at", &last, "--as-new", "x", "--token", TOKEN];
    refused(command(&nobody).args(["--into", "http://127.0.0.1:9"]), "127.0.0.1:9")?;
    // A token in the environment is no wish to restore into a cluster.
    succeed(restore(&last, &[]).env("DENO_KV_ACCESS_TOKEN", TOKEN))?;
    Ok(())
}

#[tokio::test]
async fn a_newest_segment_that_is_gone_is_missed_when_the_cluster_is_asked() -> TestResult {
    let (data, store) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let archive = format!("file://{}", store.path().display());
    let server = Serve::on(data.path()).flag("--archive", &archive).start()?;
    let url = server.url.clone();
    let mut client = server.connect().await?;
    let mut last = String::new();
    for _ in 0..3 {
        last = put(&mut client, "k", b"v").await?;
        wait_for(&archive, &last)?;
    }
    until("the cluster has recorded that it was shipped", || {
        let status =
            succeed(&mut command(&["archive", "status", "--json", "--url", &url, "--token", TOKEN]))?.stdout;
        Ok(status.contains(&last).then_some(()))
    })?;
    let shown = succeed(&mut command(&["archive", "status", "--url", &url, "--token", TOKEN]))?.stdout;
    ensure!(shown.contains(&archive) && shown.contains(&last), "{shown}");
    let verify = |more: &[&str]| run(command(&["verify", "--fast", "--from", &archive]).args(more));
    let asked = ["--cluster", url.as_str(), "--token", TOKEN];
    assert_eq!(verify(&asked)?.code, Some(0), "it is sound");

    let newest = newest_segment(store.path())?;
    std::fs::remove_file(&newest)?;
    assert_eq!(verify(&[])?.code, Some(0), "an archive alone cannot know that it was longer");
    let missed = verify(&asked)?;
    assert_eq!(missed.code, Some(1), "{}", missed.stdout);
    ensure!(missed.stdout.contains(&format!("recorded that {last} was shipped")), "{}", missed.stdout);

    let other = tempfile::tempdir()?;
    let elsewhere = format!("file://{}", other.path().display());
    refused(command(&["verify", "--fast", "--from", &elsewhere]).args(asked), "the cluster ships to")?;
    refused(command(&["verify", "--fast", "--from", &archive]).args(["--cluster", &url]), "--token")?;
    drop(client);
    server.stop()?;
    refused(command(&["verify", "--fast", "--from", &archive]).args(asked), "cannot reach")
}

/// The file of the last segment of group 1.
fn newest_segment(archive: &Path) -> TestResult<std::path::PathBuf> {
    let lineages = archive.join("lineages");
    let mut segments = Vec::new();
    for lineage in std::fs::read_dir(lineages)? {
        let folder = lineage?.path().join("groups/1/segments");
        for segment in std::fs::read_dir(folder).into_iter().flatten() {
            segments.push(segment?.path());
        }
    }
    segments.sort();
    segments.pop().context("there are segments")
}

//! What cannot work is refused, in one line that says why, and changes nothing.

use crate::rig::server::{Ended, Serve, cairn, run, succeed};
use crate::rig::{TestResult, until, writes};
use anyhow::Context;
use cairn::bench::client::Error;
use engine::Versionstamp;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One line on standard error, and the exit code of bad input.
fn assert_refused(ended: &Ended, what: &str) {
    assert_eq!(ended.code, Some(2), "{what}: {ended:?}");
    assert_eq!(ended.stderr.trim_end().lines().count(), 1, "{what}: {}", ended.stderr);
    assert_eq!(ended.stdout, "", "{what}");
}

#[test]
fn a_wrong_command_line_is_one_line_and_changes_nothing() -> TestResult {
    let folder = tempfile::tempdir()?;
    let stamp = "00000000000000010000";
    let commands: &[&[&str]] = &[
        &["serve", "--addr", "nowhere"],
        &["serve", "--addr", "127.0.0.1:99999"],
        &["serve", "--archive", "ftp://somewhere/else"],
        &["serve", "--archive", "relative/path"],
        &["serve", "--archive", "s3://bucket/prefix?colour=red"],
        &["serve", "--disk-reserve", "a lot"],
        &["serve", "--history", "-1h"],
        &["serve", "--log-format", "poetry"],
        &["serve", "--access-token", "short"],
        &["serve", "--config", "absent.toml"],
        &["serve", "--nonsense"],
        &["serve", "--data"],
        &["nonsense"],
        &["restore"],
        &["restore", "--from", "file:///nowhere", "--at", "yesterday", "--to", "new"],
        &["restore", "--from", "file:///nowhere", "--at", "0123", "--to", "new"],
        &["restore", "--from", "nonsense", "--at", stamp, "--to", "new"],
        &["pitr", "list", "--from", "nonsense"],
        &["import", "--sqlite", "absent.sqlite3"],
        &["bench", "read", "--token", "t", "--url", "https://127.0.0.1:1"],
        &["bench", "read", "--token", "t", "--clients", "0"],
        &["bench", "dance", "--token", "t"],
    ];
    for command in commands {
        let ended = run(cairn().current_dir(folder.path()).args(*command))?;
        assert_refused(&ended, &command.join(" "));
        let left: Vec<_> = std::fs::read_dir(folder.path())?.collect();
        assert!(left.is_empty(), "{} left {left:?}", command.join(" "));
    }
    Ok(())
}

#[test]
fn a_second_process_on_the_same_directory_is_refused() -> TestResult {
    let data = tempfile::tempdir()?;
    let server = Serve::on(data.path()).start()?;
    let second = run(cairn().args(["serve", "--addr", "127.0.0.1:0", "--data"]).arg(data.path()))?;
    assert!(second.code.is_some_and(|code| code != 0), "{second:?}");
    assert!(second.stderr.contains("in use"), "{}", second.stderr);
    server.stop()
}

#[test]
fn a_taken_port_is_refused() -> TestResult {
    let (one, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let server = Serve::on(one.path()).start()?;
    let second = run(cairn().args(["serve", "--addr", server.address(), "--data"]).arg(other.path()))?;
    assert!(second.code.is_some_and(|code| code != 0), "{second:?}");
    assert!(second.stderr.contains(server.address()), "{}", second.stderr);
    server.stop()
}

/// Fills a directory with some commits and ends its server; returns the last stamp.
async fn written(data: &Path, flags: &[(&str, &str)]) -> TestResult<Versionstamp> {
    let serve = flags.iter().fold(Serve::on(data), |serve, (name, value)| serve.flag(name, value));
    let server = serve.start()?;
    let mut client = server.connect().await?;
    let mut last = Versionstamp::ZERO;
    for count in 0..50 {
        let key = writes::key(&["k", &count.to_string()]);
        last = writes::commit(&mut client, vec![writes::set(&key, &[b'v'; 500])]).await?;
    }
    drop(client);
    server.stop()?;
    Ok(last)
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_its_name_and_the_offset() -> TestResult {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    written(&data, &[("--archive", "none")]).await?;
    let engine = data.join("groups/1");
    let files: Vec<_> = files_in(&engine)?.into_iter().filter(|(_, bytes)| used(bytes) > 0).collect();
    assert!(
        files.len() >= 2,
        "a manifest and a log at least: {:?}",
        files.iter().map(|f| &f.0).collect::<Vec<_>>()
    );
    for (path, bytes) in files {
        let mut damaged = bytes.clone();
        damaged[used(&bytes) / 2] ^= 0x40;
        std::fs::write(&path, &damaged)?;
        let ended = run(cairn().args(["serve", "--addr", "127.0.0.1:0", "--data"]).arg(&data))?;
        std::fs::write(&path, &bytes)?;
        let name = path.file_name().context("a file has a name")?.to_string_lossy().into_owned();
        assert!(ended.code.is_some_and(|code| code != 0), "{name} is damaged: {ended:?}");
        let last = ended.stderr.lines().last().unwrap_or_default();
        let says = |word: &str| last.contains(word);
        assert!(says(&format!("{name}: byte ")) && says("expected"), "{name}: {last}");
    }
    Serve::on(&data).flag("--archive", "none").start()?.stop()
}

/// How far a file is written: up to its last byte that is not zero.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

fn files_in(folder: &Path) -> TestResult<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(files_in(&entry.path())?);
        } else {
            files.insert(entry.path(), std::fs::read(entry.path())?);
        }
    }
    Ok(files)
}

fn restore(archive: &Path, at: &str, to: &Path) -> std::process::Command {
    let mut command = cairn();
    command.args(["restore", "--from", &format!("file://{}", archive.display()), "--at", at]);
    command.arg("--to").arg(to);
    command
}

/// An archive with some commits and a checkpoint in it, and its last stamp.
async fn archived(folder: &Path) -> TestResult<(PathBuf, Versionstamp)> {
    let archive = folder.join("archive");
    let url = format!("file://{}", archive.display());
    let flags = [("--archive", url.as_str()), ("--checkpoint-interval", "1s")];
    let last = written(&folder.join("data"), &flags).await?;
    Ok((archive, last))
}

#[tokio::test]
async fn a_restore_into_a_directory_that_is_not_empty_is_refused() -> TestResult {
    let folder = tempfile::tempdir()?;
    let (archive, last) = archived(folder.path()).await?;
    let to = folder.path().join("to");
    std::fs::create_dir(&to)?;
    std::fs::write(to.join("precious"), "do not touch")?;
    assert_refused(&run(&mut restore(&archive, &last.to_string(), &to))?, "not empty");
    assert_eq!(files_in(&to)?, BTreeMap::from([(to.join("precious"), b"do not touch".to_vec())]));
    Ok(())
}

#[tokio::test]
async fn a_target_that_cannot_be_reached_is_refused_and_the_window_is_named() -> TestResult {
    let folder = tempfile::tempdir()?;
    let (archive, last) = archived(folder.path()).await?;
    let beyond = Versionstamp::new(last.version() + 1000, 0).to_string();
    for at in ["ffffffffffffffffffff", &beyond, "1999-12-31T23:59:59Z", "2999-01-01T00:00:00Z"] {
        let to = folder.path().join("to");
        let ended = run(&mut restore(&archive, at, &to))?;
        assert_refused(&ended, at);
        assert!(ended.stderr.contains(&last.to_string()), "--at {at}: the window is named: {}", ended.stderr);
        assert!(!to.exists(), "--at {at} leaves nothing behind");
    }
    Ok(())
}

#[tokio::test]
async fn an_archive_with_a_missing_or_altered_object_is_refused_or_gives_the_same_data() -> TestResult {
    let folder = tempfile::tempdir()?;
    let (archive, last) = archived(folder.path()).await?;
    let whole = folder.path().join("whole");
    succeed(&mut restore(&archive, &last.to_string(), &whole))?;
    let expected = data_of(&whole).await?;
    assert_eq!(expected.len(), 50);
    let (mut tried, mut refused) = (0, 0);
    for (path, bytes) in files_in(&archive)? {
        let mut altered = bytes.clone();
        if let Some(byte) = altered.get_mut(bytes.len() / 2) {
            *byte ^= 1;
        }
        for damage in [None, Some(&altered)] {
            match damage {
                None => std::fs::remove_file(&path)?,
                Some(altered) => std::fs::write(&path, altered)?,
            }
            tried += 1;
            let to = folder.path().join(format!("to-{tried}"));
            let ended = run(&mut restore(&archive, &last.to_string(), &to))?;
            if ended.code == Some(0) {
                assert_eq!(data_of(&to).await?, expected, "without {}", path.display());
            } else {
                refused += 1;
                if to.exists() {
                    let served = run(cairn().args(["serve", "--archive", "none", "--data"]).arg(&to))?;
                    assert_refused(&served, "an unfinished restore is served");
                }
            }
            std::fs::write(&path, &bytes)?;
        }
    }
    assert!(refused > 0, "of {tried} damages at least one matters");
    Ok(())
}

/// All entries of a data directory, as its server gives them.
async fn data_of(data: &Path) -> TestResult<Vec<denokv_proto::datapath::KvEntry>> {
    let server = Serve::on(data).flag("--archive", "none").start()?;
    let mut client = server.connect().await?;
    let entries = writes::list(&mut client, &[0], &[0xff]).await?;
    drop(client);
    server.stop()?;
    Ok(entries)
}

#[tokio::test]
async fn near_a_full_disk_writes_stop_with_a_4xx_and_reads_go_on() -> TestResult {
    let data = tempfile::tempdir()?;
    written(data.path(), &[]).await?;
    let mut server = Serve::on(data.path()).flag("--disk-reserve", "900TiB").spawn()?;
    until("it serves", || {
        anyhow::ensure!(server.is_alive()?, "it serves near a full disk: {}", server.log.text());
        Ok(server.find_url().then_some(()))
    })?;
    let mut client = server.connect().await?;
    let key = writes::key(&["k", "7"]);
    let refused = writes::commit(&mut client, vec![writes::set(&key, b"new")]).await;
    let refused = refused.expect_err("a write is refused");
    match refused.downcast_ref::<Error>() {
        Some(Error::Status { status: 429, text }) => assert!(text.contains("writes are stopped"), "{text}"),
        other => panic!("a write is refused with 429: {other:?}"),
    }
    let entry = client.get(&key).await?.context("reads go on")?;
    assert_eq!(entry.value, [b'v'; 500], "and nothing was changed");
    assert!(server.terminate()?.success());

    let server = Serve::on(data.path()).start()?;
    let mut client = server.connect().await?;
    writes::commit(&mut client, vec![writes::set(&key, b"new")]).await?;
    Ok(())
}

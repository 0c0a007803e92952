//! What cannot work in a cluster is refused, in one line that says why, with exit code 2, and changes nothing.

use crate::rig::server::{Ended, Serve, Server, cairn, run};
use crate::rig::{TOKEN, TestResult, until};
use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One line on standard error, and the exit code of bad input.
fn assert_refused(ended: &Ended, words: &str) {
    assert_eq!(ended.code, Some(2), "{words}: {ended:?}");
    // The log may say more; the last line is the refusal.
    let last = ended.stderr.trim_end().lines().last().unwrap_or_default();
    assert!(last.starts_with("cairn: ") && last.contains(words), "{words}: {}", ended.stderr);
    assert_eq!(ended.stdout, "", "{words}");
}

/// An address of this machine at which nothing listens.
fn free_address() -> TestResult<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// `cairn serve` as a node of a cluster that is to end by itself.
fn serve(data: &Path, flags: &[&str]) -> Command {
    let mut command = cairn();
    command.args(["serve", "--addr", "127.0.0.1:0", "--archive", "none", "--data"]).arg(data).args(flags);
    command.env("DENO_KV_ACCESS_TOKEN", TOKEN).env("RUST_LOG", "error");
    command
}

/// A node that serves, reachable for others at `peer`.
fn node(data: &Path, peer: &str, join: Option<&Server>) -> TestResult<Server> {
    let serve =
        Serve::on(data).flag("--archive", "none").flag("--disk-reserve", "1MiB").flag("--peer-addr", peer);
    match join {
        Some(other) => serve.flag("--join", &other.url).start(),
        None => serve.start(),
    }
}

/// Every file below a directory, but for the lock.
fn files_in(folder: &Path) -> TestResult<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_in(&path)?);
        } else if path.file_name().is_some_and(|name| name != "LOCK") {
            files.insert(path.clone(), std::fs::read(path)?);
        }
    }
    Ok(files)
}

fn copy(from: &Path, to: &Path) -> TestResult {
    for (path, bytes) in files_in(from)? {
        let to = to.join(path.strip_prefix(from)?);
        std::fs::create_dir_all(to.parent().context("a file is in a directory")?)?;
        std::fs::write(to, bytes)?;
    }
    Ok(())
}

fn ask(server: &Server, arguments: &[&str]) -> TestResult<Ended> {
    run(cairn().args(arguments).args(["--url", &server.url, "--token", TOKEN]))
}

fn nodes(server: &Server) -> TestResult<usize> {
    let shown = ask(server, &["cluster", "status", "--json"])?;
    let status: serde_json::Value = serde_json::from_str(&shown.stdout).with_context(|| shown.stderr)?;
    Ok(status["nodes"].as_array().context("a status has nodes")?.len())
}

#[test]
fn a_wrong_command_line_is_refused_before_anything_is_opened() -> TestResult {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    for (flags, words) in [
        (&["--join", "http://127.0.0.1:1"][..], "say --peer-addr too"),
        (&["--peer-addr", "127.0.0.1:1", "--join", "127.0.0.1:2"], "expected http://"),
        (&["--peer-addr", "127.0.0.1:1", "--join", "http://a:1,http://a:1"], "http://a:1 is named twice"),
        (&["--peer-addr", "here"], "peer-addr: expected <ip>:<port>"),
        (&["--peer-addr", "0.0.0.0:4513"], "say --peer-advertise too"),
        (&["--groups", "0"], "groups: expected 1 to 256"),
        (&["--learner"], "a learner joins a cluster"),
        (&["--region", "a b"], "region: expected"),
        (&["--heartbeat", "100ms"], "election: expected at least 3 heartbeats"),
    ] {
        assert_refused(&run(&mut serve(&data, flags))?, words);
    }
    assert!(!data.exists());
    for (arguments, words) in [
        (
            &["cluster", "status", "--url", "ftp://a", "--token", "t"][..],
            "is not of the form http://host:port",
        ),
        (
            &["cluster", "status", "--token", "t", "--url", "http://127.0.0.1:1"],
            "cannot reach http://127.0.0.1:1",
        ),
        (&["cluster", "status"], "say --token"),
        (&["cluster", "promote", "x"], "invalid value 'x'"),
        (&["db", "create", "shop", "--token", "t", "--url", "http://127.0.0.1:1"], "cannot reach"),
        (&["cluster", "force-new", "--data", "absent"], "Say --accept-loss"),
        (&["cluster", "force-new", "--data", "absent", "--accept-loss"], "absent is not a directory"),
    ] {
        assert_refused(&run(cairn().args(arguments))?, words);
    }
    Ok(())
}

#[test]
fn a_join_that_cannot_be_is_refused_by_the_cluster_or_before_it() -> TestResult {
    let folder = tempfile::tempdir()?;
    let first_peer = free_address()?;
    let first = node(&folder.path().join("first"), &first_peer, None)?;
    let join = |name: &str, peer: &str, more: &[&str]| {
        let flags = [&["--peer-addr", peer, "--join", first.url.as_str()], more].concat();
        run(&mut serve(&folder.path().join(name), &flags))
    };
    let nobody = free_address()?;
    let unreachable = join("a", &free_address()?, &["--peer-advertise", &nobody])?;
    assert_refused(&unreachable, &format!("node 1 cannot reach {nobody}"));
    let taken = join("b", &free_address()?, &["--peer-advertise", &first_peer])?;
    assert_refused(&taken, &format!("{first_peer} is the address of node 1"));
    let stranger = join("c", &free_address()?, &["--access-token", "another-token-of-mine"])?;
    assert_refused(&stranger, "Invalid access token");
    let url = format!("http://{nobody}");
    let flags = ["--peer-addr", &free_address()?, "--join", &url].map(str::to_owned);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    assert_refused(&run(&mut serve(&folder.path().join("d"), &flags))?, &format!("cannot reach {url}"));
    for name in ["a", "b", "c", "d"] {
        assert!(!folder.path().join(name).join("groups").exists(), "{name} has no data");
    }
    assert_eq!(nodes(&first)?, 1, "nobody was let in");
    first.stop()
}

#[test]
fn data_of_another_cluster_or_of_its_own_does_not_join() -> TestResult {
    let folder = tempfile::tempdir()?;
    let first = node(&folder.path().join("first"), &free_address()?, None)?;
    let (other, other_peer) = (folder.path().join("other"), free_address()?);
    node(&other, &other_peer, None)?.stop()?;
    let before = files_in(&other)?;
    let flags = ["--peer-addr", &other_peer, "--join", first.url.as_str()];
    assert_refused(&run(&mut serve(&other, &flags))?, "the data directory belongs to cluster");
    assert_eq!(files_in(&other)?, before);
    let identity = other.join("cluster");
    let kept = std::fs::read(&identity)?;
    std::fs::remove_file(&identity)?;
    let before = files_in(&other)?;
    assert_refused(&run(&mut serve(&other, &flags))?, "holds data of its own");
    assert_eq!(files_in(&other)?, before);
    std::fs::write(&identity, kept)?;
    node(&other, &other_peer, None)?.stop()?;
    first.stop()
}

#[test]
fn a_directory_of_a_newer_format_is_left_alone() -> TestResult {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    node(&data, &free_address()?, None)?.stop()?;
    std::fs::write(data.join("cluster"), b"CAIRNCLU\x02\0 what a newer version wrote")?;
    let before = files_in(&data)?;
    assert_refused(&run(&mut serve(&data, &[]))?, "has format 2");
    let force = run(cairn().args(["cluster", "force-new", "--accept-loss", "--data"]).arg(&data))?;
    assert_refused(&force, "has format 2");
    assert_eq!(files_in(&data)?, before);
    Ok(())
}

#[test]
fn a_copied_directory_does_not_become_a_second_node_of_the_same_id() -> TestResult {
    let folder = tempfile::tempdir()?;
    let (data, copied) = (folder.path().join("data"), folder.path().join("copied"));
    let peer = free_address()?;
    node(&data, &peer, None)?.stop()?;
    copy(&data, &copied)?;
    let original = node(&data, &peer, None)?;
    let before = files_in(&copied)?;
    let second = run(&mut serve(&copied, &["--peer-addr", &free_address()?]))?;
    assert_refused(&second, "two nodes cannot have one id");
    assert_eq!(files_in(&copied)?, before);
    original.stop()
}

#[test]
fn a_node_of_a_lineage_that_was_given_up_is_refused() -> TestResult {
    let folder = tempfile::tempdir()?;
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let (one_peer, two_peer) = (free_address()?, free_address()?);
    let first = node(&one, &one_peer, None)?;
    let second = node(&two, &two_peer, Some(&first))?;
    until("the second node votes", || {
        let shown = ask(&first, &["cluster", "status"])?;
        ensure!(shown.code == Some(0), "{}", shown.stderr);
        Ok((shown.stdout.matches("voter").count() >= 2).then_some(()))
    })?;
    second.kill()?;
    first.kill()?;
    let forced = cairn().args(["cluster", "force-new", "--accept-loss", "--data"]).arg(&one).output()?;
    ensure!(forced.status.success(), "{}", String::from_utf8_lossy(&forced.stderr));
    let first = node(&one, &one_peer, None)?;
    assert_eq!(nodes(&first)?, 1, "the survivor is alone");
    let before = files_in(&two)?;
    let flags = ["--peer-addr", &two_peer, "--join", first.url.as_str()];
    assert_refused(&run(&mut serve(&two, &flags))?, "the cluster was begun anew");
    assert_eq!(files_in(&two)?, before);
    // Emptied, it joins as a new node.
    std::fs::remove_dir_all(&two)?;
    let second = node(&two, &two_peer, Some(&first))?;
    assert_eq!(nodes(&first)?, 2);
    drop(second);
    drop(first);
    Ok(())
}

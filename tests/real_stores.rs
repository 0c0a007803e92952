//! Real servers pass the suite that every object store must pass.

use crate::rig::rclone::RemoteControl;
use crate::rig::s3::{CREDENTIALS, S3, WRITER};
use crate::rig::server::{cairn, run, succeed};
use crate::rig::sftp::OpenSsh;
use crate::rig::{TestResult, peers};
use archiver::store::conformance::{Lacks, run_but};
use std::collections::BTreeMap;

/// Set in the child that runs the suite: the URL of the store.
const CHILD: &str = "CAIRN_TEST_STORE_URL";

/// Set beside it: what the store is known to lack.
const LACKS: &str = "CAIRN_TEST_STORE_LACKS";

/// The library reads credentials from the environment, which a test shares with all others: the suite
/// runs in a process of its own.
fn conforms(url: &str) -> TestResult {
    conforms_with(url, &CREDENTIALS)
}

/// The same but for what it lacks.
fn conforms_but(url: &str, lacks: &str) -> TestResult {
    conforms_with(url, &[&CREDENTIALS[..], &[(LACKS, lacks)]].concat())
}

/// The same with other variables.
fn conforms_with(url: &str, variables: &[(&str, &str)]) -> TestResult {
    let mut child = std::process::Command::new(std::env::current_exe()?);
    child.args(["--exact", "real_stores::the_store_named_in_the_environment_conforms", "--nocapture"]);
    let ended = succeed(child.env(CHILD, url).envs(variables.iter().copied()))?;
    anyhow::ensure!(ended.stdout.contains("the store conforms"), "the suite ran: {}", ended.stdout);
    Ok(())
}

#[test]
fn moto_conforms() -> TestResult {
    conforms_but(&S3::moto()?.archive(""), "no upload")
}

#[test]
fn seaweedfs_conforms() -> TestResult {
    conforms(&S3::weed()?.archive("a/prefix"))
}

#[test]
fn rclone_serving_s3_conforms() -> TestResult {
    conforms_but(&S3::rclone()?.archive("a/prefix"), "multipart")
}

#[test]
fn openssh_conforms() -> TestResult {
    let server = OpenSsh::start()?;
    conforms(&server.archive("a/directory"))?;
    let left = std::fs::read_dir(server.data().join("a/directory/.tmp"))?.count();
    anyhow::ensure!(left == 0, "{left} temporary files are left");
    Ok(())
}

#[test]
fn rclone_conforms_started_by_us_or_by_somebody() -> TestResult {
    let directory = tempfile::tempdir()?;
    let remote = directory.path().join("kv").display().to_string();
    let program = peers::program("venv/bin/rclone")?.display().to_string();
    conforms_with(&format!("rclone:///{remote}"), &[("CAIRN_RCLONE", &program)])?;
    let control = RemoteControl::start()?;
    let url = format!("rclone://{}/{remote}", control.address());
    conforms_with(&url, &control.credentials())?;
    let wrong = [("CAIRN_RCLONE_USER", "tests"), ("CAIRN_RCLONE_PASSWORD", "wrong")];
    let refused = conforms_with(&url, &wrong).err().map(|error| error.to_string()).unwrap_or_default();
    anyhow::ensure!(refused.contains("401"), "a wrong password is refused: {refused}");
    Ok(())
}

/// What `cairn store probe` says: the result of each check, by its name.
/// Writers that race for one name may leave it behind on a server that ends their writes late, as rclone does: with
/// `races`, that one object may be left.
fn probed(url: &str, races: bool) -> TestResult<BTreeMap<String, String>> {
    let ended = succeed(cairn().args(["store", "probe", "--json", url]).envs(CREDENTIALS))?;
    let report: serde_json::Value = serde_json::from_str(&ended.stdout)?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let left: Vec<String> = report["left"].as_array().into_iter().flatten().map(text).collect();
    let raced = races && matches!(left.as_slice(), [one] if one.ends_with("/once"));
    anyhow::ensure!(left.is_empty() || raced, "{report:#}");
    let checks = report["checks"].as_array().cloned().unwrap_or_default();
    println!("{}: {}", report["location"], report["checks"]);
    let mut results: BTreeMap<String, String> =
        checks.iter().map(|check| (text(&check["check"]), text(&check["result"]))).collect();
    if raced {
        results.insert("remove".to_owned(), "works".to_owned());
    }
    Ok(results)
}

#[test]
fn a_probe_says_what_each_server_can_do_and_leaves_nothing() -> TestResult {
    let directory = tempfile::tempdir()?;
    let (weed, moto, rclone, openssh) = (S3::weed()?, S3::moto()?, S3::rclone()?, OpenSsh::start()?);
    // Where servers differ, nothing of ours relies on it.
    for (url, create_once, multipart) in [
        (format!("file://{}", directory.path().display()), "works", "works"),
        (weed.archive("probed"), "works", "works"),
        (moto.archive("probed"), "works", "works"),
        (rclone.archive("probed"), "differs", "unsupported"),
        (openssh.archive("probed"), "works", "works"),
    ] {
        let mut results = probed(&url, create_once == "differs")?;
        for (check, expected) in [("create once", create_once), ("multipart", multipart)] {
            let result = results.remove(check);
            anyhow::ensure!(result.as_deref() == Some(expected), "{url}: {check}: {result:?}");
        }
        let others = results.len() == 6 && results.values().all(|result| result == "works");
        anyhow::ensure!(others, "{url}: {results:?}");
    }
    Ok(())
}

#[test]
fn a_probe_of_who_may_only_put_says_so_and_names_what_it_leaves() -> TestResult {
    let server = S3::weed()?;
    let ended = succeed(cairn().args(["store", "probe", &server.archive("probed")]).envs(WRITER))?;
    let refused = ended.stdout.lines().filter(|line| line.contains("refused")).count();
    let left = ended.stdout.lines().filter(|line| line.starts_with("left behind: probe-")).count();
    anyhow::ensure!((refused, left) == (4, 8), "{}", ended.stdout);
    let ended = run(cairn().args(["store", "probe", "s3://b?nonsense=1"]))?;
    anyhow::ensure!(ended.code == Some(2) && ended.stderr.lines().count() == 1, "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn a_host_that_is_not_known_or_shows_another_key_is_refused() -> TestResult {
    let (server, other) = (OpenSsh::start()?, OpenSsh::start()?);
    let folder = tempfile::tempdir()?;
    let known_hosts = folder.path().join("known_hosts");
    let keys = |server: &OpenSsh| std::fs::read_to_string(server.data().with_file_name("host.pub"));
    let port = |server: &OpenSsh| server.archive("x").split([':', '/']).nth(4).map(str::to_owned);
    for known in
        [String::new(), format!("[127.0.0.1]:{} {}", port(&server).unwrap_or_default(), keys(&other)?)]
    {
        std::fs::write(&known_hosts, known)?;
        let store = archiver::store::open(&server.archive_known_in("x", &known_hosts))?;
        let error = store.put("a", bytes::Bytes::new()).await.err();
        let said = error.as_ref().map(|error| format!("{:#}", anyhow::Error::new(error.clone())));
        let said = said.unwrap_or_default();
        anyhow::ensure!(said.contains("known_hosts") && !said.contains('\n'), "{said}");
        anyhow::ensure!(error.is_some_and(|error| !error.is_transient()), "it is not tried again: {said}");
    }
    anyhow::ensure!(!server.data().join("x").exists(), "nothing was written");
    Ok(())
}

#[test]
fn a_store_without_its_secret_does_not_conform() -> TestResult {
    let server = S3::weed()?;
    let mut child = std::process::Command::new(std::env::current_exe()?);
    child.args(["--exact", "real_stores::the_store_named_in_the_environment_conforms"]);
    child.env(CHILD, server.archive("")).envs(CREDENTIALS).env("AWS_SECRET_ACCESS_KEY", "wrong");
    anyhow::ensure!(run(&mut child)?.code != Some(0), "the suite can fail");
    Ok(())
}

#[tokio::test]
async fn the_store_named_in_the_environment_conforms() -> TestResult {
    if let Ok(url) = std::env::var(CHILD) {
        let store = archiver::store::open(&url)?;
        let lacks = match std::env::var(LACKS).as_deref() {
            Ok("multipart") => Some(Lacks::Multipart),
            Ok("no upload") => Some(Lacks::NoUpload),
            _ => None,
        };
        run_but(&*store, lacks).await.map_err(anyhow::Error::msg)?;
        println!("the store conforms");
    }
    Ok(())
}

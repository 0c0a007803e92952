//! Real servers pass the suite that every object store must pass.

use crate::rig::TestResult;
use crate::rig::s3::{CREDENTIALS, S3};
use crate::rig::server::{run, succeed};
use crate::rig::sftp::OpenSsh;

/// Set in the child that runs the suite: the URL of the store.
const CHILD: &str = "CAIRN_TEST_STORE_URL";

/// The library reads credentials from the environment, which a test shares with all others: the suite
/// runs in a process of its own.
fn conforms(url: &str) -> TestResult {
    let mut child = std::process::Command::new(std::env::current_exe()?);
    child.args(["--exact", "real_stores::the_store_named_in_the_environment_conforms", "--nocapture"]);
    let ended = succeed(child.env(CHILD, url).envs(CREDENTIALS))?;
    anyhow::ensure!(ended.stdout.contains("the store conforms"), "the suite ran: {}", ended.stdout);
    Ok(())
}

#[test]
fn moto_conforms() -> TestResult {
    conforms(&S3::moto()?.archive(""))
}

#[test]
fn seaweedfs_conforms() -> TestResult {
    conforms(&S3::weed()?.archive("a/prefix"))
}

#[test]
fn rclone_serving_s3_conforms() -> TestResult {
    conforms(&S3::rclone()?.archive("a/prefix"))
}

#[test]
fn openssh_conforms() -> TestResult {
    let server = OpenSsh::start()?;
    conforms(&server.archive("a/directory"))?;
    let left = std::fs::read_dir(server.data().join("a/directory/.tmp"))?.count();
    anyhow::ensure!(left == 0, "{left} temporary files are left");
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
        archiver::store::conformance::run(&*store).await.map_err(anyhow::Error::msg)?;
        println!("the store conforms");
    }
    Ok(())
}

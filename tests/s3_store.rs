//! Real S3 servers pass the suite that every object store must pass.

use crate::rig::TestResult;
use crate::rig::s3::{CREDENTIALS, S3};
use crate::rig::server::{run, succeed};

/// Set in the child that runs the suite: the URL of the store.
const CHILD: &str = "CAIRN_TEST_STORE_URL";

/// The library reads credentials from the environment, which a test shares with all others: the suite
/// runs in a process of its own.
fn conforms(server: &S3, prefix: &str) -> TestResult {
    let mut child = std::process::Command::new(std::env::current_exe()?);
    child.args(["--exact", "s3_store::the_store_named_in_the_environment_conforms", "--nocapture"]);
    let ended = succeed(child.env(CHILD, server.archive(prefix)).envs(CREDENTIALS))?;
    anyhow::ensure!(ended.stdout.contains("the store conforms"), "the suite ran: {}", ended.stdout);
    Ok(())
}

#[test]
fn moto_conforms() -> TestResult {
    conforms(&S3::moto()?, "")
}

#[test]
fn seaweedfs_conforms() -> TestResult {
    conforms(&S3::weed()?, "a/prefix")
}

#[test]
fn a_store_without_its_secret_does_not_conform() -> TestResult {
    let server = S3::weed()?;
    let mut child = std::process::Command::new(std::env::current_exe()?);
    child.args(["--exact", "s3_store::the_store_named_in_the_environment_conforms"]);
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

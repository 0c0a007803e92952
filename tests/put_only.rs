//! The right to put objects is all that archiving needs, and an idle database asks nothing.
//!
//! Three nodes archive to SeaweedFS as somebody whose policy allows PutObject and giving uploads up, and nothing else;
//! half way the leader dies. What passes between them and the server is counted on its way.

use crate::rig::cluster::Cluster;
use crate::rig::meter::Meter;
use crate::rig::s3::{CREDENTIALS, S3, WRITER};
use crate::rig::server::{cairn, run};
use crate::rig::writes::{commit, key, set};
use crate::rig::{PATIENCE, TestResult, count_from, until, until_within};
use engine::Versionstamp;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Longer than the time after which a checkpoint is made, which is the last thing before rest.
const QUIET: Duration = Duration::from_secs(5);
/// Two groups, whose shipper changes once or twice, and two questions.
const READS_MAX: u64 = 8;
/// Between two writes.
const PAUSE: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_right_to_put_is_enough_through_a_leader_change_and_idle_nothing_is_asked() -> TestResult {
    let seconds = Duration::from_secs(u64::try_from(count_from("CAIRN_TEST_PUT_ONLY_SECONDS", 15)?)?);
    let server = S3::weed()?;
    let meter = Meter::before(server.address()).await?;
    let url = S3::archive_at(&meter.address, "put-only");
    let folder = tempfile::tempdir()?;
    let mut environment = WRITER.to_vec();
    environment.push(("CAIRN_CHECKPOINT_INTERVAL", "2s"));
    let mut cluster = Cluster::archiving(folder.path(), 3, &url, &environment)?;
    may_only_put(&url)?;
    let before = meter.methods();
    let (leader, start) = (cluster.leader()?, Instant::now());
    let via = cluster.live().find(|position| *position != leader).expect("three nodes run");
    let mut client = cluster.connect(via).await?;
    let (mut writes, mut last) = (0_u64, None);
    let mut alive = true;
    while start.elapsed() < seconds {
        last = Some(
            commit(&mut client, vec![set(&key(&["k", &(writes % 100).to_string()]), &writes.to_be_bytes())])
                .await?,
        );
        writes += 1;
        if alive && start.elapsed() > seconds / 2 {
            cluster.kill(leader)?;
            alive = false;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let last = last.expect("something was written");
    wait_until_archived(&server.archive("put-only"), last)?;
    let asked = |method: &str| {
        let count = |methods: &BTreeMap<String, u64>| methods.get(method).copied().unwrap_or(0);
        count(&meter.methods()) - count(&before)
    };
    // Who begins to ship asks once for the last checkpoint of each group and whether its lineage has ended, is refused, and goes on.
    assert!(asked("GET") <= READS_MAX, "{} reads were tried", asked("GET"));
    assert_eq!(asked("DELETE") + asked("HEAD"), 0, "nothing else is tried: {:?}", meter.methods());
    let idle = idle_bytes(&meter, seconds).await?;
    assert_eq!(idle, 0, "an idle database asks nothing");
    let puts = asked("PUT");
    println!(
        "put-only: {writes} writes in {} s through a leader change, all in the archive after {puts} puts; \
         then 0 requests in {} s",
        seconds.as_secs(),
        seconds.as_secs()
    );
    Ok(())
}

/// The credentials are as weak as this test says.
fn may_only_put(url: &str) -> TestResult {
    let mut list = cairn();
    let ended = run(list.args(["pitr", "list", "--from", url]).envs(WRITER))?;
    anyhow::ensure!(ended.stderr.contains("AccessDenied"), "who may only put cannot list: {ended:?}");
    Ok(())
}

/// Waits until somebody who may read can restore a stamp.
fn wait_until_archived(url: &str, stamp: Versionstamp) -> TestResult {
    until(&format!("{stamp} is in the archive"), || {
        let to = tempfile::tempdir()?;
        let mut restore = cairn();
        restore.args(["restore", "--from", url, "--group", "1", "--at", &stamp.to_string(), "--to"]);
        restore.arg(to.path());
        Ok((run(restore.envs(CREDENTIALS))?.code == Some(0)).then_some(()))
    })
}

/// Waits for rest, then counts what is sent for so long.
async fn idle_bytes(meter: &Meter, seconds: Duration) -> TestResult<u64> {
    let (mut seen, mut since) = (meter.bytes(), Instant::now());
    until_within(PATIENCE, "nothing is sent any more", || {
        let bytes = meter.bytes();
        if bytes != seen {
            (seen, since) = (bytes, Instant::now());
        }
        Ok((since.elapsed() > QUIET).then_some(()))
    })?;
    // Not a wait for something to happen: nothing may happen for so long.
    tokio::time::sleep(seconds).await;
    Ok(meter.bytes() - seen)
}

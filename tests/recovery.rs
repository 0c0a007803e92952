//! Point-in-time recovery against a model that keeps every state.
//!
//! Three nodes take random atomic writes while they archive; half way their leader dies, and later the oldest quarter of
//! history is pruned. Then the archive is restored at random stamps and at wall-clock times, and each restored database must
//! equal the model: every key, value, stamp and expiry, and nothing else. What was pruned is refused, naming what is there.

use crate::rig::cluster::Cluster;
use crate::rig::model::{self, Entry, Expected, State};
use crate::rig::s3::{CREDENTIALS, S3};
use crate::rig::server::{cairn, run, succeed};
use crate::rig::sftp::OpenSsh;
use crate::rig::{TestResult, count_from, now_ms, seed, stores, until, writes};
use archiver::Archive as Kept;
use archiver::job::{Job, JobKind};
use archiver::prune::{plan, prune};
use archiver::retention::Policy;
use cairn::bench::client::{Client, Error};
use cairn::bench::random::SplitMix;
use denokv_proto::datapath::AtomicWriteStatus;
use engine::{Direction, Engine, Env, Options, Versionstamp};
use jiff::Timestamp;
use std::path::Path;

const NODES: usize = 3;
/// The group of the default database.
const GROUP: u64 = 1;

/// The model right after one commit.
struct Point {
    stamp: Versionstamp,
    state: State,
    /// When the write was sent and when its answer came, in Unix milliseconds: the commit's own time
    /// lies between the two, both inclusive.
    sent_ms: u64,
    answered_ms: u64,
}

/// An archive: its URL and what a command needs in its environment to reach it.
struct Archive<'a> {
    url: String,
    credentials: &'a [(&'a str, &'a str)],
}

#[tokio::test]
async fn a_file_archive_gives_back_every_state() -> TestResult {
    let archive = tempfile::tempdir()?;
    let url = format!("file://{}", archive.path().display());
    check_recovery("recovery from file://", &Archive { url, credentials: &[] }).await
}

#[tokio::test]
async fn a_bucket_of_seaweedfs_gives_back_every_state() -> TestResult {
    let s3 = S3::weed()?;
    let archive = Archive { url: s3.archive("some/prefix"), credentials: &CREDENTIALS };
    check_recovery("recovery from seaweedfs", &archive).await
}

#[tokio::test]
async fn a_bucket_of_moto_gives_back_every_state() -> TestResult {
    let s3 = S3::moto()?;
    let archive = Archive { url: s3.archive(""), credentials: &CREDENTIALS };
    check_recovery("recovery from moto", &archive).await
}

#[tokio::test]
async fn a_directory_that_rclone_serves_gives_back_every_state() -> TestResult {
    let s3 = S3::rclone()?;
    let archive = Archive { url: s3.archive("some/prefix"), credentials: &CREDENTIALS };
    check_recovery("recovery from rclone serve s3", &archive).await
}

#[tokio::test]
async fn a_directory_over_sftp_gives_back_every_state() -> TestResult {
    let server = OpenSsh::start()?;
    let archive = Archive { url: server.archive("kv"), credentials: &[] };
    check_recovery("recovery from openssh", &archive).await
}

async fn check_recovery(name: &str, archive: &Archive<'_>) -> TestResult {
    let mut random = SplitMix(seed(name)?);
    let folder = tempfile::tempdir()?;
    let environment = [archive.credentials, &[("CAIRN_CHECKPOINT_INTERVAL", "1s")]].concat();
    let mut cluster = Cluster::archiving(folder.path(), NODES, &archive.url, &environment)?;
    let (history, kept_from) = write_history(&mut cluster, archive, &mut random).await?;
    let last = history.last().expect("there are commits").stamp;
    wait_until_archived(archive, last)?;
    for position in cluster.live().collect::<Vec<_>>() {
        cluster.stop(position)?;
    }

    let (restores, times) = (count_from("CAIRN_TEST_RESTORES", 25)?, times()?);
    let (mut equal, mut refused) = (0, 0);
    while equal < restores {
        let point = &history[index_below(&mut random, history.len())];
        if point.stamp < kept_from {
            refused += 1;
            is_refused(archive, point.stamp)?;
        } else {
            restored_equals(archive, &point.stamp.to_string(), point)?;
            equal += 1;
        }
    }
    is_refused(archive, history[0].stamp)?;
    // The state that the archive begins with is known by its stamp, not since when it was.
    let quiet = |pair: &&[Point]| pair[0].stamp > kept_from && pair[1].sent_ms > pair[0].answered_ms + 1;
    let quiet: Vec<_> = history.windows(2).filter(quiet).collect();
    assert!(quiet.len() >= times, "time passed between {} commits", quiet.len());
    for pair in quiet.iter().take(times) {
        let time = Timestamp::from_millisecond(i64::try_from(pair[0].answered_ms + 1)?)?;
        restored_equals(archive, &time.to_string(), &pair[0])?;
    }
    restored_equals(archive, "latest", history.last().expect("there are commits"))?;
    println!(
        "{name}: after a leader's death and a prune {equal} restores to versionstamps and {times} to times, all equal to \
         the model; {refused} to what was pruned, all refused"
    );
    Ok(())
}

/// A point that was given up is refused in one line that says what there is.
fn is_refused(archive: &Archive<'_>, stamp: Versionstamp) -> TestResult {
    let to = tempfile::tempdir()?;
    let ended = run(&mut restore(archive, &stamp.to_string(), to.path()))?;
    let said = ended.stderr.contains("the archive reaches") && ended.stderr.lines().count() == 1;
    anyhow::ensure!(ended.code == Some(2) && said, "--at {stamp}: {ended:?}");
    anyhow::ensure!(std::fs::read_dir(to.path())?.next().is_none(), "--at {stamp}: nothing is left there");
    Ok(())
}

/// Removes the oldest points from the archive, so that those after `keep_ms` stay; returns the first stamp that is kept.
async fn prune_before(archive: &Archive<'_>, keep_ms: u64) -> TestResult<Versionstamp> {
    let kept = Kept::plain(stores::open(&archive.url, archive.credentials)?);
    let now_ms = now_ms();
    let policy = Policy {
        grace_ms: 0,
        ..Policy::new(now_ms.saturating_sub(keep_ms), archiver::retention::Kept::default())
    };
    let planned = plan(&kept, GROUP, now_ms, &policy).await?;
    let below = planned.first().map(|planned| planned.removal.below).unwrap_or(Versionstamp::ZERO);
    let pruned = prune(&kept, GROUP, now_ms, &policy, &Job::unwatched(JobKind::Prune)).await?;
    anyhow::ensure!(pruned.objects > 0 && pruned.refused == 0, "something is old: {pruned:?}");
    Ok(below)
}

/// Moments of rest between commits, for each wall-clock time that is restored to: half of the history is pruned.
const GAPS: usize = 3;

/// How many wall-clock times to restore to.
fn times() -> TestResult<usize> {
    count_from("CAIRN_TEST_TIMES", 10)
}

fn index_below(random: &mut SplitMix, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).expect("below a usize")
}

/// Makes random writes, one after the other, checking each outcome, with checkpoints in between.
async fn write_history(
    cluster: &mut Cluster,
    archive: &Archive<'_>,
    random: &mut SplitMix,
) -> TestResult<(Vec<Point>, Versionstamp)> {
    let leader = cluster.leader()?;
    let via = cluster.live().find(|position| *position != leader).expect("three nodes run");
    let mut client = cluster.connect(via).await?;
    let mut kept_from = Versionstamp::ZERO;
    let (commits, times) = (count_from("CAIRN_TEST_COMMITS", 200)?, times()?);
    let mut state = State::new();
    let mut history: Vec<Point> = Vec::new();
    let mut checkpoints = 0;
    while history.len() < commits {
        if history.len().is_multiple_of((commits / (GAPS * times)).max(1)) {
            // Time must pass here, so that a restore to a time between two commits can be told
            // from one to either of them.
            let quiet_until = now_ms() + 3;
            until("the clock moves on", || Ok((now_ms() > quiet_until).then_some(())))?;
        }
        if history.len() / (commits / 4) > checkpoints {
            checkpoints += 1;
            wait_for_checkpoints(archive, checkpoints)?;
            match checkpoints {
                2 => cluster.kill(leader)?,
                // By then the first checkpoint was there.
                3 => kept_from = prune_before(archive, history[commits / 2 - 1].answered_ms).await?,
                _ => {}
            }
        }
        let sent_ms = now_ms();
        let attempt = model::draw(random, &state, sent_ms);
        if let Some(stamp) = perform(&mut client, &attempt, history.len()).await? {
            let answered_ms = now_ms();
            model::apply(&mut state, &attempt.write, stamp, sent_ms);
            history.push(Point { stamp, state: state.clone(), sent_ms, answered_ms });
        }
    }
    assert!(history.is_sorted_by(|a, b| a.stamp < b.stamp), "stamps only grow");
    assert!(kept_from > history[0].stamp, "the first point was pruned");
    Ok((history, kept_from))
}

/// Sends a write, compares the answer with what must come of it, and returns the stamp if it committed.
async fn perform(
    client: &mut Client,
    attempt: &model::Attempt,
    commits: usize,
) -> TestResult<Option<Versionstamp>> {
    let answer = client.atomic_write(&attempt.write).await;
    let output = match (answer, &attempt.expected) {
        (Err(Error::Status { status: 400, .. }), Expected::Refused) => return Ok(None),
        (answer, expected) => {
            assert_ne!(expected, &Expected::Refused, "after {commits} commits: {answer:?}");
            answer?
        }
    };
    let committed = output.status == AtomicWriteStatus::AwSuccess as i32;
    match &attempt.expected {
        Expected::FailedChecks(failed) => {
            assert!(!committed, "after {commits} commits: checks {failed:?} must fail");
            assert_eq!(&output.failed_checks, failed, "after {commits} commits");
            Ok(None)
        }
        _ => {
            assert!(committed, "after {commits} commits: {:?} failed", output.failed_checks);
            writes::stamp_of(&output.versionstamp).map(Some)
        }
    }
}

/// Waits until the archive has this many checkpoints.
fn wait_for_checkpoints(archive: &Archive<'_>, wanted: usize) -> TestResult {
    until(&format!("checkpoint {wanted} is in the archive"), || {
        let mut list = cairn();
        list.args(["pitr", "list", "--json", "--from", &archive.url])
            .envs(archive.credentials.iter().copied());
        let ended = run(&mut list)?;
        // Before the first commit is shipped there is nothing to list.
        let Ok(listing) = serde_json::from_str::<serde_json::Value>(&ended.stdout) else { return Ok(None) };
        let found = listing["lineages"][0]["windows"][0]["checkpoints"].as_u64().unwrap_or(0);
        Ok((found >= wanted as u64).then_some(()))
    })
}

/// Waits until a restore can reach a stamp.
fn wait_until_archived(archive: &Archive<'_>, stamp: Versionstamp) -> TestResult {
    until(&format!("{stamp} is in the archive"), || {
        let to = tempfile::tempdir()?;
        Ok((run(&mut restore(archive, &stamp.to_string(), to.path()))?.code == Some(0)).then_some(()))
    })
}

fn restore(archive: &Archive<'_>, at: &str, to: &Path) -> std::process::Command {
    let mut command = cairn();
    command.args(["restore", "--from", &archive.url, "--at", at, "--to"]).arg(to);
    // The model is of the default database: the catalog has its own stamps, and rests at other times.
    command.args(["--group", "1"]);
    command.envs(archive.credentials.iter().copied());
    command
}

/// Restores, opens what came, and compares all of it with the model.
fn restored_equals(archive: &Archive<'_>, at: &str, point: &Point) -> TestResult {
    let to = tempfile::tempdir()?;
    succeed(&mut restore(archive, at, to.path()))?;
    let (engine, _) = Engine::open(Env::real(), &to.path().join("groups/1"), Options::default())?;
    // Time goes on without commits, so the clock of what came may be later than that of its last
    // commit; read it at the commit's time, as somebody did who read right after the write.
    let snapshot = engine.snapshot().at_time(point.answered_ms);
    assert!(engine.applied().time_ms >= point.sent_ms, "--at {at}: the clock does not go back");
    assert_eq!(engine.applied().stamp, point.stamp, "--at {at}: the last commit");
    let prefix = 1_u32.to_be_bytes();
    let found = snapshot.range(&prefix, &2_u32.to_be_bytes(), Direction::Forward)?;
    let found = found.map(|entry| entry.map(|entry| in_the_models_words(&entry, prefix.len())));
    let found: State = found.collect::<engine::Result<_>>()?;
    assert_eq!(
        found,
        model::visible(&point.state, point.answered_ms),
        "--at {at}: the data at {}",
        point.stamp
    );
    engine.close()?;
    Ok(())
}

fn in_the_models_words(entry: &engine::KeyValue, prefix: usize) -> (Vec<u8>, Entry) {
    let value = &entry.value;
    let (stamp, expire_at_ms) = (value.stamp, value.expire_at_ms);
    (entry.key[prefix..].to_vec(), Entry { value: value.bytes.to_vec(), stamp, expire_at_ms })
}

use super::*;
use crate::testing::{FakeClock, TestResult, engine, set, write};
use engine::fs::sim::{Faults, Sim};
use engine::{Options, Versionstamp};
use futures::future::join_all;
use replication::{Check, DEFAULT_DATABASE, engine_key};

struct Rig {
    disk: Sim,
    engine: Engine,
    hub: Hub,
    sequencer: Sequencer,
    pipeline: Pipeline,
}

fn rig(options: Options) -> Result<Rig, Box<dyn std::error::Error>> {
    let (disk, clock) = (Sim::new(), FakeClock::at(1_000));
    let engine = engine(&disk, &clock, options)?;
    let hub = Hub::default();
    let serving = ServingClock::new(clock, 0);
    let (sequencer, pipeline) = start(engine.clone(), serving, hub.clone(), WriteMetrics::default())?;
    Ok(Rig { disk, engine, hub, sequencer, pipeline })
}

fn committed(outcome: Result<Outcome, WriteError>) -> Result<Versionstamp, String> {
    match outcome {
        Ok(Outcome::Committed(stamp)) => Ok(stamp),
        other => Err(format!("not committed: {other:?}")),
    }
}

async fn every_write_gets_a_stamp_of_its_own_and_is_visible_once_answered() -> TestResult {
    let rig = rig(Options::default())?;
    let writes = (0..200u32).map(|n| {
        let sequencer = &rig.sequencer;
        async move { sequencer.write(set(&n.to_be_bytes(), b"v"), 100).await }
    });
    let mut stamps = Vec::new();
    for (n, outcome) in (0..200u32).zip(join_all(writes).await) {
        let stamp = committed(outcome)?;
        let key = engine_key(DEFAULT_DATABASE, &n.to_be_bytes());
        let found = rig.engine.snapshot().get(&key)?.map(|value| value.stamp);
        assert_eq!(found, Some(stamp));
        stamps.push(stamp);
    }
    stamps.sort_unstable();
    stamps.dedup();
    assert_eq!(stamps.len(), 200);
    Ok(())
}

#[tokio::test]
async fn a_write_whose_checks_fail_costs_no_sync() -> TestResult {
    let rig = rig(Options::default())?;
    committed(rig.sequencer.write(set(b"k", b"v"), 10).await)?;
    let (syncs, applied) = (rig.disk.counts().syncs, rig.engine.applied());
    let absent = |key: &[u8]| Check { key: key.to_vec(), stamp: None };
    let failing = write(vec![absent(b"other"), absent(b"k")], Vec::new());
    assert_eq!(rig.sequencer.write(failing, 10).await, Ok(Outcome::ChecksFailed(vec![1])));
    assert_eq!((rig.disk.counts().syncs, rig.engine.applied()), (syncs, applied));
    Ok(())
}

async fn after_a_failed_sync_the_outcome_is_unknown_and_nothing_more_is_taken() -> TestResult {
    let rig = rig(Options::default())?;
    committed(rig.sequencer.write(set(b"k", b"v"), 10).await)?;
    rig.disk.set_faults(Faults { stop_at_sync: Some(1), ..Faults::default() });
    let outcome = rig.sequencer.write(set(b"k", b"w"), 10).await;
    assert!(matches!(outcome, Err(WriteError::Unknown(_))), "{outcome:?}");
    let mut state = rig.sequencer.state();
    state.wait_for(|state| matches!(state, State::Failed(_))).await?;
    let outcome = rig.sequencer.write(set(b"k", b"x"), 10).await;
    assert_eq!(outcome, Err(WriteError::Stopping));
    let key = engine_key(DEFAULT_DATABASE, b"k");
    let seen = rig.engine.snapshot().get(&key)?.map(|value| value.bytes);
    assert_eq!(seen.as_deref(), Some(&b"\x03v"[..]), "what was not synced is not shown");
    Ok(())
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_stops_nothing() -> TestResult {
    let rig = rig(Options { disk_reserve_bytes: Some(1 << 60), ..Options::default() })?;
    for _ in 0..2 {
        let outcome = rig.sequencer.write(set(b"k", b"v"), 10).await;
        assert!(matches!(outcome, Err(WriteError::DiskFull { .. })), "{outcome:?}");
    }
    assert!(matches!(&*rig.sequencer.state().borrow(), State::DiskFull { .. }));
    assert_eq!(rig.engine.snapshot().get(&engine_key(DEFAULT_DATABASE, b"k"))?, None);
    Ok(())
}

async fn closing_answers_what_was_taken_and_refuses_the_rest() -> TestResult {
    let Rig { sequencer, pipeline, engine, .. } = rig(Options::default())?;
    let taken: Vec<_> = (0..50u32)
        .map(|n| {
            let sequencer = sequencer.clone();
            tokio::spawn(async move { sequencer.write(set(&n.to_be_bytes(), b"v"), 10).await })
        })
        .collect();
    tokio::task::spawn_blocking(|| pipeline.close()).await?;
    for outcome in join_all(taken).await {
        match outcome? {
            Ok(Outcome::Committed(stamp)) => assert!(stamp <= engine.applied().stamp),
            other => assert_eq!(other, Err(WriteError::Stopping)),
        }
    }
    assert_eq!(sequencer.write(set(b"late", b"v"), 10).await, Err(WriteError::Stopping));
    Ok(())
}

#[tokio::test]
async fn a_woken_watch_sees_the_write_that_woke_it() -> TestResult {
    let rig = rig(Options::default())?;
    let key = engine_key(DEFAULT_DATABASE, b"k");
    let subscription = rig.hub.subscribe(vec![key.clone()]).ok_or("full")?;
    let writer = rig.sequencer.clone();
    let write = tokio::spawn(async move { writer.write(set(b"k", b"v"), 10).await });
    subscription.woken().await;
    let seen = rig.engine.snapshot().get(&key)?.map(|value| value.stamp);
    assert_eq!(seen, Some(committed(write.await?)?));
    Ok(())
}

#[tokio::test]
async fn a_mark_is_durable_once_recorded() -> TestResult {
    let rig = rig(Options::default())?;
    let mark = Mark { name: b"shipped".to_vec(), value: b"7".to_vec() };
    rig.sequencer.record(mark).await?;
    assert_eq!(rig.engine.mark(b"shipped"), Some(b"7".to_vec()));
    assert!(rig.disk.counts().syncs > 0);
    Ok(())
}

/// The same on a runtime of one thread, where every write is queued, and of two, where a lone write
/// commits itself.
macro_rules! queued_and_alone {
    ($($name:ident),+ $(,)?) => {
        mod queued {
            $(#[tokio::test]
            async fn $name() -> super::TestResult {
                super::$name().await
            })+
        }

        mod alone {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() -> super::TestResult {
                super::$name().await
            })+
        }
    };
}

queued_and_alone!(
    every_write_gets_a_stamp_of_its_own_and_is_visible_once_answered,
    after_a_failed_sync_the_outcome_is_unknown_and_nothing_more_is_taken,
    closing_answers_what_was_taken_and_refuses_the_rest,
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_write_commits_itself_and_one_that_finds_another_committing_waits() -> TestResult {
    let rig = rig(Options::default())?;
    committed(rig.sequencer.write(set(b"a", b"v"), 10).await)?;
    assert_eq!(rig.sequencer.queue.capacity(), QUEUE_COMMANDS_MAX, "nothing was queued");
    let (reply, answer) = oneshot::channel();
    let mark = Mark { name: b"m".to_vec(), value: b"1".to_vec() };
    let leading = rig.sequencer.lead.lock();
    let given_back = rig.sequencer.commit_here(Command::Progress { mark, reply });
    drop(leading);
    let command = given_back.err().ok_or("another one was committing")?;
    assert!(rig.sequencer.commit_here(command).is_ok());
    assert_eq!(answer.await?, Ok(()));
    Ok(())
}

//! What is stopped: two engines in one process, on one disk, that commit, append, flush, compact, seal, reopen and make
//! checkpoints as a seed says.

use crate::support::{Model, small};
use engine::env::sim::{SimClock, SimRandom};
use engine::fs::sim::{Counts, Sim};
use engine::{Engine, Env, Options, Record, Versionstamp, WriteBatch};
use std::path::PathBuf;

const STEPS: u64 = 90;
/// Engines in the process.
const ENGINES: u64 = 2;

/// One engine of a run, up to where the disk stopped.
pub(super) struct Node {
    pub(super) dir: PathBuf,
    /// Every commit that was tried, in order.
    pub(super) model: Model,
    /// How many of them, from the first on, were acknowledged.
    pub(super) acknowledged: usize,
}

/// A copy that was begun.
pub(super) struct Copied {
    /// Of which engine.
    pub(super) node: usize,
    pub(super) dir: PathBuf,
    /// The last commit in it, once it was acknowledged.
    pub(super) done: Option<Versionstamp>,
}

/// A run of the workload up to where the disk stopped.
pub(super) struct Run {
    pub(super) nodes: Vec<Node>,
    pub(super) copies: Vec<Copied>,
}

/// Runs until the disk stops, or to the end.
pub(super) fn workload(env: &Env, clock: &SimClock, seed: u64) -> Run {
    let node = |n| Node { dir: format!("/data/{n}").into(), model: Model::default(), acknowledged: 0 };
    let mut run = Run { nodes: (0..ENGINES).map(node).collect(), copies: Vec::new() };
    // A stopped disk is what ends most runs: its error says nothing that the check needs.
    let _stopped = steps(env, clock, &SimRandom::new(seed), &mut run);
    run
}

/// What a run without faults does to the disk.
pub(super) fn measure(seed: u64) -> (Counts, Sim) {
    let (env, disk, clock) = engine::env::sim::env(seed);
    let run = workload(&env, &clock, seed);
    for node in &run.nodes {
        assert!(node.acknowledged * 2 > node.model.commits.len(), "a run without faults comes to its end");
    }
    assert!(run.copies.iter().all(|copy| copy.done.is_some()), "and so do its checkpoints");
    (disk.counts(), disk)
}

pub(super) fn options() -> Options {
    Options { history_ms: 2_000, segment_age_ms_max: 4_000, ..small() }
}

fn open(env: &Env, node: &Node) -> engine::Result<Engine> {
    Engine::open(env.clone(), &node.dir, options()).map(|(engine, _)| engine)
}

fn steps(env: &Env, clock: &SimClock, random: &SimRandom, run: &mut Run) -> engine::Result<()> {
    let mut engines = run.nodes.iter().map(|node| open(env, node)).collect::<engine::Result<Vec<_>>>()?;
    for _ in 0..STEPS {
        clock.advance(random.below(300));
        let at = usize::from(small_number(random.below(ENGINES)));
        let (mut engine, node) = (engines.remove(at), &mut run.nodes[at]);
        match random.below(24) {
            0 | 1 => engine.flush()?,
            2 | 3 => {
                engine.compact()?;
            }
            4 => engine.seal_segment()?,
            choice @ (5 | 6) => {
                if choice == 6 {
                    engine.close()?;
                }
                drop(engine);
                engine = open(env, node)?;
            }
            7 => copy(&engine, at, node, &mut run.copies)?,
            8..=10 => append(&engine, random, node)?,
            _ => commit(&engine, random, node)?,
        }
        // Not always: what begins in one call may end in another, as segments do that were left in a commit.
        if random.below(4) > 0 {
            engine.maintain()?;
        }
        engines.insert(at, engine);
    }
    Ok(())
}

/// Makes a checkpoint. What it holds is durable, whether it was synced before or not.
fn copy(engine: &Engine, at: usize, node: &mut Node, copies: &mut Vec<Copied>) -> engine::Result<()> {
    let dir = PathBuf::from(format!("/copies/{}", copies.len()));
    copies.push(Copied { node: at, dir: dir.clone(), done: None });
    let checkpoint = engine.checkpoint(&dir)?;
    if let Some(copied) = copies.last_mut() {
        copied.done = Some(checkpoint.applied.stamp);
    }
    node.acknowledged = node.model.commits.len();
    Ok(())
}

/// Writes a record without syncing it, as a state machine does whose own log holds it already.
fn append(engine: &Engine, random: &SimRandom, node: &mut Node) -> engine::Result<()> {
    let applied = engine.applied();
    let (version, time_ms) = (engine.next_version(), applied.time_ms.max(engine.env().clock.now_ms()));
    let batches = vec![(0, random_batch(random)?), (3, random_batch(random)?)];
    let mut record = Record { version, term: 0, time_ms, hash: applied.hash, batches, marks: Vec::new() };
    record.hash = record.hash_after(applied.hash);
    for (stamp, batch) in record.commits() {
        node.model.commit(stamp, time_ms, batch);
    }
    engine.append(&record)?;
    engine.publish(version);
    Ok(())
}

fn commit(engine: &Engine, random: &SimRandom, node: &mut Node) -> engine::Result<()> {
    let batch = random_batch(random)?;
    let stamp = Versionstamp::new(engine.next_version(), 0);
    let time_ms = engine.applied().time_ms.max(engine.env().clock.now_ms());
    node.model.commit(stamp, time_ms, &batch);
    let acknowledged = engine.commit(batch)?;
    assert_eq!(acknowledged, stamp);
    // One sync makes everything before it durable too.
    node.acknowledged = node.model.commits.len();
    Ok(())
}

fn random_batch(random: &SimRandom) -> engine::Result<WriteBatch> {
    let mut batch = WriteBatch::new();
    for _ in 0..=random.below(3) {
        let key = [b'k', small_number(random.below(12))];
        match random.below(7) {
            0 => batch.delete(&key)?,
            6 => batch.delete_prefix(&key[..usize::from(small_number(random.below(3)))])?,
            choice => {
                let expire_at_ms = (choice == 1).then(|| 1_000_000 + random.below(20_000));
                let value: Vec<u8> = (0..=random.below(600)).map(small_number).collect();
                batch.put(&key, &value, expire_at_ms)?;
            }
        }
    }
    Ok(batch)
}

fn small_number(n: u64) -> u8 {
    u8::try_from(n % 251).expect("below 251")
}

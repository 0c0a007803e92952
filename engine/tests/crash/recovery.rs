//! What must be there after the power went: every acknowledged commit, nothing that is not a prefix of the commit
//! order, and every finished checkpoint, whole.

use super::workload::{Copied, Node, Run, options, workload};
use crate::support::{Model, check, last};
use engine::env::sim::{self, SimRandom};
use engine::fs::sim::{Faults, Sim, Unsynced};
use engine::{Engine, Env, WriteBatch};
use std::error::Error;
use std::path::Path;

/// Old stamps that are read after each crash.
const STAMPS_READ: usize = 6;
/// Operations of a recovery, about: it is cut short at one of them.
const RECOVERY_OPS: u64 = 24;

type Checked<T = ()> = Result<T, Box<dyn Error>>;

/// Runs the workload under `faults`, cuts the power, and checks what recovery finds.
pub(super) fn crash_and_check(seed: u64, faults: Faults, unsynced: Unsynced) -> Checked {
    let (env, disk, clock) = sim::env(seed);
    disk.set_faults(faults);
    let run = workload(&env, &clock, seed);
    disk.crash(unsynced);
    clock.advance(1);
    cut_recovery_short(&env, &disk, &run, seed, unsynced);
    let held = check_all(&env, &run)?;
    disk.crash(Unsynced::Lost);
    let again = check_all(&env, &run)?;
    if held != again {
        return Err(format!("recovery found {held:?} commits, and then {again:?}").into());
    }
    run.nodes.iter().zip(held).try_for_each(|(node, held)| goes_on(&env, node, node.model.prefix(held)))
}

/// The power goes once more while the engines recover.
fn cut_recovery_short(env: &Env, disk: &Sim, run: &Run, seed: u64, unsynced: Unsynced) {
    let point = match unsynced {
        Unsynced::Torn(point) | Unsynced::Reordered(point) => point,
        _ => return,
    };
    let random = SimRandom::new(seed ^ point);
    disk.set_faults(Faults { stop_at_op: Some(1 + random.below(RECOVERY_OPS)), ..Faults::default() });
    for node in &run.nodes {
        // Whether it succeeded or not: it is stopped, and what counts is what the next one finds.
        let _stopped = Engine::open(env.clone(), &node.dir, options());
    }
    disk.crash(unsynced);
}

fn check_all(env: &Env, run: &Run) -> Checked<Vec<usize>> {
    let in_node = |node: &Node, error: Box<dyn Error>| format!("{}: {error}", node.dir.display());
    let held = run.nodes.iter().map(|node| check_recovered(env, node).map_err(|error| in_node(node, error)));
    let held = held.collect::<Result<Vec<_>, _>>()?;
    for copy in &run.copies {
        check_copy(env, copy, &run.nodes[copy.node].model)
            .map_err(|error| format!("{}: {error}", copy.dir.display()))?;
    }
    Ok(held)
}

/// Checks that what is there is a prefix of the commits, with all that were acknowledged; returns its length.
fn check_recovered(env: &Env, node: &Node) -> Checked<usize> {
    let (engine, _) = Engine::open(env.clone(), &node.dir, options())?;
    let prefix = prefix_at(&engine, &node.model)?;
    let held = prefix.commits.len();
    if held < node.acknowledged {
        return Err(format!("{} commits were acknowledged, {held} are there", node.acknowledged).into());
    }
    check(&engine.snapshot(), &prefix)?;
    let readable = prefix.commits.iter().filter(|(stamp, _)| *stamp >= engine.horizon());
    let readable: Vec<_> = readable.map(|(stamp, _)| *stamp).collect();
    for stamp in readable.iter().rev().step_by(readable.len().div_ceil(STAMPS_READ).max(1)) {
        check(&engine.snapshot_at(*stamp)?, &prefix)?;
    }
    engine.verify()?;
    Ok(held)
}

/// The commits up to the last one that an engine holds, which must be one that was tried.
fn prefix_at(engine: &Engine, model: &Model) -> Checked<Model> {
    let end = last(&engine.applied());
    let held = model.commits.iter().take_while(|(stamp, _)| *stamp <= end).count();
    let prefix = model.prefix(held);
    match prefix.commits.last() {
        Some((stamp, _)) if *stamp != end => {
            Err(format!("the last commit is {end}, which was never tried").into())
        }
        _ => Ok(prefix),
    }
}

/// A finished checkpoint opens alone and holds what it said; one that was cut short is refused, or is whole.
fn check_copy(env: &Env, copy: &Copied, model: &Model) -> Checked {
    let opened = Engine::open(env.clone(), &copy.dir, options());
    let (engine, _) = match (opened, copy.done) {
        (Ok((engine, recovery)), Some(_)) if !recovery.created => (engine, recovery),
        (Ok(_), Some(_)) => return Err("a finished checkpoint is gone".into()),
        (Err(error), Some(_)) => return Err(error.into()),
        (Ok((_, recovery)), None) if recovery.created => return Ok(()),
        (Ok(opened), None) => opened,
        (Err(_refused), None) => return Ok(()),
    };
    if copy.done.is_some_and(|stamp| stamp != last(&engine.applied())) {
        return Err("a checkpoint does not end where it said".into());
    }
    check(&engine.snapshot(), &prefix_at(&engine, model)?)?;
    Ok(engine.verify()?)
}

/// A recovered engine takes further commits, and keeps them.
fn goes_on(env: &Env, node: &Node, mut model: Model) -> Checked {
    let open = || Engine::open(env.clone(), Path::new(&node.dir), options()).map(|(engine, _)| engine);
    let engine = open()?;
    let mut batch = WriteBatch::new();
    batch.put(b"after", b"the crash", None)?;
    let stamp = engine.commit(batch.clone())?;
    model.commit(stamp, engine.applied().time_ms, &batch);
    drop(engine);
    check(&open()?.snapshot(), &model)
}

//! The power goes at every operation of a receiver: its directory is then a whole checkpoint or none, and the next try
//! brings it to an end.

use super::*;
use engine::Checkpoint;
use engine::fs::Fs;
use engine::fs::sim::{Faults, Unsynced};

/// What a crash may leave of unsynced writes.
fn leftovers(point: u64) -> Vec<Unsynced> {
    let reordered = (0..4).map(|seed| Unsynced::Reordered(point << 8 | seed));
    [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(point)].into_iter().chain(reordered).collect()
}

/// What a receiver has, and what it is sent.
struct Before {
    /// It has received a snapshot of this one, and not switched to it.
    earlier: Option<Node>,
    leader: Node,
}

impl Before {
    fn follower(&self) -> Result<Node, Box<dyn std::error::Error>> {
        let follower = Node::empty(2)?;
        if let Some(earlier) = &self.earlier {
            transfer(earlier.outgoing()?, follower.destination(), Fault::default()).whole()?;
        }
        Ok(follower)
    }

    /// Whether what an engine holds is one of the snapshots.
    fn is_one(&self, engine: &Engine) -> engine::Result<bool> {
        let held = content(engine)?;
        let earlier = self.earlier.as_ref().map(|node| content(&node.engine)).transpose()?;
        Ok(held == content(&self.leader.engine)? || Some(held) == earlier)
    }
}

/// Receives until the power goes at operation `op`.
fn crash_at(before: &Before, op: u64, unsynced: Unsynced) -> TestResult {
    let mut follower = before.follower()?;
    let leader = &before.leader;
    follower.disk.set_faults(Faults { stop_at_op: Some(op), ..Faults::default() });
    let stopped = transfer(leader.outgoing()?, follower.destination(), Fault::default());
    follower.disk.crash(unsynced);
    follower.engine = Engine::open(follower.env.clone(), Path::new(LIVE), options())?.0;
    let dir = Path::new(INCOMING);
    let is_whole = follower.disk.exists(&dir.join(Checkpoint::MANIFEST))?;
    if stopped.received.is_ok() && !is_whole {
        return Err("a snapshot that was received is gone".into());
    }
    if is_whole {
        let env = Env { fs: Arc::new(follower.disk.fork()), ..follower.env.clone() };
        let (engine, _) = Engine::open(env, dir, options())?;
        engine.verify()?;
        if !before.is_one(&engine)? {
            return Err("a checkpoint with a manifest is not what was sent".into());
        }
    }
    let mut tries = 0;
    let received = loop {
        match transfer(leader.outgoing()?, follower.destination(), Fault::default()).whole() {
            Ok((received, _)) => break received,
            // Bytes that a crash tore are found out at the end of their file.
            Err(Error::Part(_) | Error::Refused(Reason::Failed)) if tries < 3 => tries += 1,
            Err(error) => return Err(error.into()),
        }
    };
    follower.switch(&received)?;
    follower.engine.verify()?;
    if content(&follower.engine)? != content(&leader.engine)? {
        return Err("what was received is not what was sent".into());
    }
    Ok(())
}

fn crash_everywhere(before: &Before) -> Result<u64, Box<dyn std::error::Error>> {
    let follower = before.follower()?;
    follower.disk.set_faults(Faults::default());
    transfer(before.leader.outgoing()?, follower.destination(), Fault::default()).whole()?;
    let ops = follower.disk.counts().ops;
    assert!(ops > 20, "{ops} operations");
    let mut crashes = 0;
    // The last one stops after everything.
    for op in 1..=ops + 1 {
        for unsynced in leftovers(op) {
            crash_at(before, op, unsynced)
                .map_err(|error| format!("operation {op}, {unsynced:?}: {error}"))?;
            crashes += 1;
        }
    }
    Ok(crashes)
}

#[test]
fn the_power_may_go_at_any_operation() -> TestResult {
    let crashes = crash_everywhere(&Before { earlier: None, leader: Node::with_keys(1, 0..40)? })?;
    println!("{crashes} crashes of a receiver: a whole checkpoint or none");
    Ok(())
}

#[test]
fn the_power_may_go_while_a_received_snapshot_is_replaced() -> TestResult {
    let (earlier, leader) = (Node::with_keys(1, 0..20)?, Node::with_keys(1, 10..50)?);
    let crashes = crash_everywhere(&Before { earlier: Some(earlier), leader })?;
    println!("{crashes} crashes of a receiver: the old checkpoint, the new one, or none");
    Ok(())
}

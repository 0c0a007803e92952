//! What arrives is what was sent, and only what is lacking travels.

use super::*;
use engine::fs::Fs;

#[test]
fn a_snapshot_arrives_whole_and_opens_as_the_same_engine() -> TestResult {
    let (leader, mut follower) = (Node::with_keys(1, 0..300)?, Node::empty(2)?);
    let outgoing = leader.outgoing()?;
    let tables = outgoing.offer().tables.len();
    assert!(tables >= 4, "{tables} tables");
    let bytes = outgoing.offer().bytes();
    let (received, moved) = transfer(outgoing, follower.destination(), Fault::default()).whole()?;
    assert_eq!(moved, Moved { total: bytes, held: 0, moved: bytes });
    assert_eq!(received.checkpoint.applied, leader.engine.applied());
    let names: Vec<_> = follower.disk.read_dir(Path::new(INCOMING))?;
    assert_eq!(names, ["manifest", "tables", "wal"]);
    follower.switch(&received)?;
    follower.engine.verify()?;
    assert_eq!(content(&follower.engine)?, content(&leader.engine)?);
    assert_eq!(follower.engine.lineage(), LINEAGE);
    assert!(!leader.disk.exists(Path::new(OUTGOING))?, "what was sent is removed");
    Ok(())
}

#[test]
fn only_the_tables_that_the_follower_lacks_travel() -> TestResult {
    let (leader, mut follower) = (Node::with_keys(1, 0..300)?, Node::empty(2)?);
    let first = leader.outgoing()?;
    let held: Vec<_> = first.offer().tables.clone();
    let (received, _) = transfer(first, follower.destination(), Fault::default()).whole()?;
    follower.switch(&received)?;
    leader.put(300..340)?;
    let second = leader.outgoing()?;
    let lacking = second.offer().tables.iter().filter(|table| !held.contains(table));
    let lacking = lacking.map(|table| table.bytes).sum::<u64>() + second.offer().manifest.bytes;
    let total = second.offer().bytes();
    assert!(lacking * 2 < total, "{lacking} of {total} bytes are new");
    let into = Destination::in_place_of(&follower.engine, Path::new("/groups/1.r2"));
    let (received, moved) = transfer(second, into, Fault::default()).whole()?;
    assert_eq!(moved, Moved { total, held: total - lacking, moved: lacking });
    follower.switch(&received)?;
    follower.engine.verify()?;
    assert_eq!(content(&follower.engine)?, content(&leader.engine)?);
    Ok(())
}

#[test]
fn a_damaged_table_is_not_reused_where_tables_are_checked() -> TestResult {
    let (leader, mut follower) = (Node::with_keys(1, 0..200)?, Node::empty(2)?);
    let (received, _) = transfer(leader.outgoing()?, follower.destination(), Fault::default()).whole()?;
    follower.switch(&received)?;
    let outgoing = leader.outgoing()?;
    let (damaged, manifest) = (outgoing.offer().tables[1], outgoing.offer().manifest);
    let table = received.dir.join("tables").join(damaged.digest.table_name());
    follower.disk.flip_bit(&table, damaged.bytes / 2, 3)?;
    let into = Destination::in_place_of(&follower.engine, Path::new("/groups/1.r2")).checking_all();
    let (received, moved) = transfer(outgoing, into, Fault::default()).whole()?;
    assert_eq!(moved.moved, damaged.bytes + manifest.bytes, "what is damaged alone travels");
    follower.switch(&received)?;
    follower.engine.verify()?;
    Ok(())
}

#[test]
fn a_rate_is_kept_and_none_is_no_limit() -> TestResult {
    let leader = Node::with_keys(1, 0..200)?;
    let bytes = leader.outgoing()?.offer().bytes();
    let time_of = |per_s: u64| -> Result<Duration, Box<dyn std::error::Error>> {
        let into = Node::empty(2)?.destination();
        let (outcome, took) = transfer_at(leader.outgoing()?, into, Fault::default(), Rate::new(per_s));
        outcome.whole()?;
        Ok(took)
    };
    assert!(time_of(0)? < Duration::from_millis(1));
    for per_s in [100_000, 1_000_000] {
        let ms = time_of(per_s)?.as_millis();
        let due_ms = u128::from(bytes) * 1_000 / u128::from(per_s);
        assert!((due_ms * 9 / 10 - 100..=due_ms).contains(&ms), "{bytes} bytes at {per_s} a second: {ms} ms");
    }
    Ok(())
}

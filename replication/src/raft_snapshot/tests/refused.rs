//! What must not be taken is refused by name, on both sides, and changes nothing.

use super::*;
use engine::fs::sim::Faults;

/// Tries a transfer that must fail before anything is written.
fn refused(leader: &Node, follower: &Node, into: Destination) -> Result<(Error, Error), Error> {
    let before = follower.disk.files();
    let Outcome { sent, received, .. } = transfer(leader.outgoing()?, into, Fault::default());
    assert_eq!(follower.disk.files(), before);
    let (Err(sent), Err(received)) = (sent, received) else { panic!("it was not refused") };
    Ok((sent, received))
}

#[test]
fn another_lineage_is_refused() -> TestResult {
    let leader = Node::with_keys(1, 0..2)?;
    let (env, disk, _clock) = engine::env::sim::env(2);
    let (engine, _) = Engine::open(env.clone(), Path::new(LIVE), options())?;
    let follower = Node { env, disk, engine };
    follower.put(0..1)?;
    let (sent, received) = refused(&leader, &follower, follower.destination())?;
    assert!(matches!(received, Error::Foreign { offered, .. } if offered == LINEAGE.id), "{received}");
    assert!(matches!(sent, Error::Refused(Reason::Foreign)), "{sent}");
    assert!(!received.is_transient() && !sent.is_transient());
    Ok(())
}

#[test]
fn an_older_snapshot_is_refused_unless_the_log_reaches_back_to_it() -> TestResult {
    let (leader, follower) = (Node::with_keys(1, 0..2)?, Node::with_keys(2, 0..3)?);
    let (sent, received) = refused(&leader, &follower, follower.destination())?;
    assert!(matches!(received, Error::Behind { offered: 2, needed: 3 }), "{received}");
    assert!(matches!(sent, Error::Refused(Reason::Behind)), "{sent}");
    let into = follower.destination().from_version(2);
    transfer(leader.outgoing()?, into, Fault::default()).whole()?;
    Ok(())
}

#[test]
fn another_history_at_the_same_position_is_refused() -> TestResult {
    let (leader, follower) = (Node::with_keys(1, 0..2)?, Node::with_keys(2, 1..3)?);
    let (sent, received) = refused(&leader, &follower, follower.destination())?;
    assert!(matches!(received, Error::Diverged { version: 2 }), "{received}");
    assert!(matches!(sent, Error::Refused(Reason::Diverged)), "{sent}");
    Ok(())
}

#[test]
fn a_full_disk_is_seen_before_anything_is_asked_for_and_leaves_the_reserve() -> TestResult {
    let (leader, follower) = (Node::with_keys(1, 0..200)?, Node::empty(2)?);
    let bytes = leader.outgoing()?.offer().bytes();
    let used: u64 = follower.disk.files().iter().map(|(_, len)| len).sum();
    // Room for the offer as well.
    let capacity = used + bytes + 4_096;
    follower.disk.set_faults(Faults { capacity: Some(capacity), ..Faults::default() });
    let into = follower.destination().keeping_free(8_192);
    let Outcome { sent, received, moved, .. } = transfer(leader.outgoing()?, into, Fault::default());
    let (Err(sent), Err(received)) = (sent, received) else { panic!("there was no room") };
    assert!(matches!(received, Error::NoRoom { needed, .. } if needed == bytes), "{received}");
    assert!(matches!(sent, Error::Refused(Reason::NoRoom)), "{sent}");
    assert!(received.is_transient() && sent.is_transient());
    assert_eq!(moved.moved, 0);
    transfer(leader.outgoing()?, follower.destination(), Fault::default()).whole()?;
    Ok(())
}

#[test]
fn a_disk_that_fills_up_meanwhile_ends_the_transfer_and_what_came_is_kept() -> TestResult {
    let (leader, follower) = (Node::with_keys(1, 0..200)?, Node::empty(2)?);
    let total = leader.outgoing()?.offer().bytes();
    let used: u64 = follower.disk.files().iter().map(|(_, len)| len).sum();
    // Its own look at the space says that all is well: somebody else takes it.
    let into = follower.destination();
    let half = Faults { capacity: Some(used + total / 2), ..Faults::default() };
    let Outcome { sent, received, .. } = transfer_filling(&leader, into, &follower, half)?;
    let (Err(sent), Err(received)) = (sent, received) else { panic!("there was no room") };
    assert!(matches!(&received, Error::Disk(error) if error.is_disk_full()), "{received}");
    assert!(matches!(sent, Error::Refused(Reason::NoRoom)), "{sent}");
    follower.disk.set_faults(Faults::default());
    let (_, moved) = transfer(leader.outgoing()?, follower.destination(), Fault::default()).whole()?;
    assert!(moved.held > total / 3, "{moved:?}");
    Ok(())
}

/// A transfer during which the disk gets `faults` once the first chunk is there.
fn transfer_filling(
    leader: &Node,
    into: Destination,
    follower: &Node,
    faults: Faults,
) -> Result<Outcome, Error> {
    let outgoing = leader.outgoing()?;
    let disk = follower.disk.clone();
    Ok(sim::run(1, async move {
        let (mut left, mut right, messages) = stream(Fault::default());
        let sender = runtime::spawn(async move {
            let sent = send(&outgoing, &mut left, &Rate::new(1_000_000), &Progress::default()).await;
            drop(left);
            sent
        });
        let progress = Arc::new(Progress::default());
        let watched = Arc::clone(&progress);
        runtime::spawn(async move {
            while watched.get().moved == 0 {
                runtime::sleep(Duration::from_millis(1)).await;
            }
            disk.set_faults(faults);
        });
        let received = receive(&into, &mut right, &progress).await;
        drop(right);
        let sent = sender.await.expect("the sender does not panic");
        let messages = messages.load(std::sync::atomic::Ordering::SeqCst);
        Outcome { sent, received, moved: progress.get(), messages }
    }))
}

#[test]
fn a_table_that_is_damaged_at_the_sender_is_named_on_both_sides_and_never_gets_its_name() -> TestResult {
    let (leader, follower) = (Node::with_keys(1, 0..200)?, Node::empty(2)?);
    let outgoing = leader.outgoing()?;
    let damaged = outgoing.offer().tables[1];
    let table = Path::new(LIVE).join("tables").join(damaged.digest.table_name());
    leader.disk.flip_bit(&table, damaged.bytes / 3, 1)?;
    let Outcome { sent, received, .. } = transfer(outgoing, follower.destination(), Fault::default());
    let (Err(sent), Err(received)) = (sent, received) else { panic!("the damage was not seen") };
    assert!(matches!(received, Error::Damaged(digest) if digest == damaged.digest), "{received}");
    assert!(matches!(sent, Error::Refused(Reason::Damaged(digest)) if digest == damaged.digest), "{sent}");
    let files = follower.incoming_files();
    assert!(!files.iter().any(|(name, _)| name.contains(&damaged.digest.to_string())), "{files:?}");
    assert!(!files.iter().any(|(name, _)| name.ends_with("manifest")), "{files:?}");
    Ok(())
}

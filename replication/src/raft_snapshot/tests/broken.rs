//! Streams that break or alter a message: the next try goes on where this one ended.

use super::*;

#[test]
fn a_stream_may_break_at_any_message_and_the_next_try_goes_on() -> TestResult {
    let leader = Node::with_keys(1, 0..150)?;
    let whole = transfer(leader.outgoing()?, Node::empty(2)?.destination(), Fault::default());
    let messages = whole.messages;
    let total = whole.whole()?.1.moved;
    assert!(messages > 8, "{messages} messages");
    let mut resumed = 0;
    for cut in 1..=messages {
        let mut follower = Node::empty(2)?;
        let fault = Fault { cut: Some(cut), ..Fault::default() };
        let broken = transfer(leader.outgoing()?, follower.destination(), fault);
        let sent = broken.sent.err().ok_or(format!("cut at {cut} of {messages}: the sender was not told"))?;
        assert!(sent.is_transient(), "{sent}");
        // The last message is only that it is there.
        assert_eq!(broken.received.is_ok(), cut == messages, "cut at {cut} of {messages}");
        let (received, moved) =
            transfer(leader.outgoing()?, follower.destination(), Fault::default()).whole()?;
        let manifest = leader.outgoing()?.offer().manifest.bytes;
        assert!(moved.moved <= total - broken.moved.moved + manifest, "cut at {cut}: {moved:?}");
        resumed += u32::from(broken.moved.moved > 0);
        follower.switch(&received)?;
        assert_eq!(content(&follower.engine)?, content(&leader.engine)?, "cut at {cut}");
    }
    assert!(resumed > 4);
    Ok(())
}

#[test]
fn a_stream_that_breaks_after_each_chunk_comes_to_an_end_all_the_same() -> TestResult {
    let (leader, follower) = (Node::with_keys(1, 0..150)?, Node::empty(2)?);
    // Offer, want, one chunk.
    let fault = Fault { cut: Some(4), ..Fault::default() };
    let mut tries = 0;
    loop {
        let tried = transfer(leader.outgoing()?, follower.destination(), fault);
        tries += 1;
        if tried.received.is_ok() {
            break;
        }
        assert!(tries < 40, "it makes no headway");
    }
    assert!(tries > 6, "{tries} tries");
    Ok(())
}

#[test]
fn an_altered_message_is_refused_and_nothing_of_it_is_kept() -> TestResult {
    let leader = Node::with_keys(1, 0..100)?;
    let messages = transfer(leader.outgoing()?, Node::empty(2)?.destination(), Fault::default()).messages;
    for flip in 1..=messages {
        let mut follower = Node::empty(2)?;
        let fault = Fault { flip: Some(flip), ..Fault::default() };
        let altered = transfer(leader.outgoing()?, follower.destination(), fault);
        let errors = [altered.sent.err(), altered.received.err()];
        assert!(
            errors.iter().flatten().any(|error| matches!(error, Error::Malformed(_))),
            "message {flip} of {messages}: {errors:?}"
        );
        let (received, _) = transfer(leader.outgoing()?, follower.destination(), Fault::default()).whole()?;
        follower.switch(&received)?;
        assert_eq!(content(&follower.engine)?, content(&leader.engine)?, "message {flip}");
    }
    Ok(())
}

#[test]
fn what_another_snapshot_left_is_removed_and_what_helps_is_kept() -> TestResult {
    let (leader, follower) = (Node::with_keys(1, 0..150)?, Node::empty(2)?);
    let fault = Fault { cut: Some(6), ..Fault::default() };
    let broken = transfer(leader.outgoing()?, follower.destination(), fault);
    assert!(broken.received.is_err());
    assert_eq!(offered_version(&follower.disk, Path::new(INCOMING))?, Some(150));
    // New tables in place of some of the old ones.
    leader.put(0..150)?;
    let outgoing = leader.outgoing()?;
    let offer = outgoing.offer().clone();
    let stale = |name: &str| {
        name.contains(".tbl") && !offer.tables.iter().any(|table| name.contains(&table.digest.to_string()))
    };
    assert!(
        follower.incoming_files().iter().any(|(name, _)| stale(name)),
        "the test has something to remove"
    );
    transfer(outgoing, follower.destination(), Fault { cut: Some(3), ..Fault::default() });
    let left = follower.incoming_files();
    assert!(!left.iter().any(|(name, _)| stale(name)), "{left:?}");
    assert_eq!(offered_version(&follower.disk, Path::new(INCOMING))?, Some(offer.applied.version));
    transfer(leader.outgoing()?, follower.destination(), Fault::default()).whole()?;
    assert_eq!(offered_version(&follower.disk, Path::new(INCOMING))?, None);
    Ok(())
}

#[test]
fn a_side_that_falls_silent_is_given_up() -> TestResult {
    let (leader, follower) = (Node::with_keys(1, 0..2)?, Node::empty(2)?);
    let (outgoing, into) = (leader.outgoing()?, follower.destination());
    sim::run(1, async move {
        let (mut left, _silent) = pair();
        let sent = send(&outgoing, &mut left, &Rate::new(0), &Progress::default()).await;
        assert!(matches!(sent, Err(Error::Broken(_))), "{sent:?}");
        let (mut right, _silent) = pair();
        let received = receive(&into, &mut right, &Progress::default()).await;
        assert!(matches!(received, Err(Error::Broken(_))), "{received:?}");
        assert!(sim::elapsed() >= 2 * SILENCE_MAX && sim::elapsed() < 3 * SILENCE_MAX);
    });
    Ok(())
}

//! One example for each promise, kept and broken.

use super::*;

#[test]
fn a_history_that_holds_holds() -> Result<(), Violation> {
    let mut story = Story::new();
    let first = story.write(vec![], vec![set("a", 1), sum("n", 5)]);
    story.read(Level::Strong, &["a", "n", "x"], first);
    let check = Check { key: b"a".to_vec(), stamp: Some(first) };
    story.write(vec![check.clone()], vec![set("a", 2), sum("n", 5)]);
    story.write(vec![check], vec![delete("n")]);
    story.read(EVENTUAL, &["a", "n"], first);
    story.read(Level::At(first), &["a", "n"], first);
    story.read(Level::Strong, &["a", "n"], Versionstamp::MAX);
    let verdict = story.check()?;
    let expected = Verdict {
        committed: 2,
        resolved: 0,
        checks_failed: 1,
        strong: 2,
        eventual: 1,
        at_stamp: 1,
        watched: 0,
    };
    assert_eq!(verdict, expected);
    Ok(())
}

#[test]
fn a_lost_write_is_found_and_one_without_an_answer_may_be_either() -> Result<(), Violation> {
    let mut story = Story::new();
    let (happened, write) = story.begin(vec![], vec![set("a", 1)]);
    story.apply(write);
    story.recorder.answered(&happened, 0, Written::Unknown);
    let (_never, _) = story.begin(vec![], vec![set("a", 2)]);
    assert_eq!(story.check()?.resolved, 1);

    let (lost, _) = story.begin(vec![], vec![set("a", 3)]);
    story.recorder.answered(&lost, 0, Written::Committed(Versionstamp::new(9, 0)));
    assert!(matches!(story.check(), Err(Violation::Lost { .. })));
    Ok(())
}

#[test]
fn a_write_that_happens_twice_or_against_its_answer_is_found() {
    let mut story = Story::new();
    let (open, write) = story.begin(vec![], vec![sum("n", 1)]);
    let outcome = story.apply(write.clone());
    story.recorder.answered(&open, 0, outcome);
    let mut denied = Story::new();
    let (open, other) = denied.begin(vec![], vec![sum("n", 1)]);
    denied.apply(other);
    denied.recorder.answered(&open, 0, Written::Not);
    assert!(matches!(denied.check(), Err(Violation::Happened { .. })));

    story.apply(write);
    assert!(matches!(story.check(), Err(Violation::Twice { .. })));
}

#[test]
fn an_answer_with_another_stamp_and_a_note_of_nobody_are_found() {
    let mut story = Story::new();
    let (open, first) = story.begin(vec![], vec![]);
    story.apply(first);
    story.recorder.answered(&open, 0, Written::Committed(Versionstamp::new(1, 7)));
    assert!(matches!(story.check(), Err(Violation::OtherStamp { .. })));

    let mut story = Story::new();
    story.apply(write(77, vec![], vec![]));
    assert!(matches!(story.check(), Err(Violation::NobodyWrote { .. })));
}

#[test]
fn half_a_write_is_found() {
    let mut story = Story::new();
    story.write(vec![], vec![set("a", 1), set("b", 1)]);
    let mut last = story.toy.last();
    last.rows.retain(|row| row.key != key("b"));
    let found = check(&story.recorder.events(), &last);
    assert!(matches!(found, Err(Violation::OtherEnd { .. })), "{found:?}");
}

#[test]
fn a_write_whose_checks_do_not_hold_at_its_place_is_found() {
    let mut story = Story::new();
    let (open, mut write) = story.begin(vec![Check { key: b"a".to_vec(), stamp: None }], vec![set("a", 2)]);
    story.write(vec![], vec![set("a", 1)]);
    write.checks.clear();
    let outcome = story.apply(write);
    story.recorder.answered(&open, 0, outcome);
    let found = story.check();
    assert!(matches!(found, Err(Violation::Impossible { .. })), "{found:?}");
}

#[test]
fn a_strong_read_may_miss_what_is_under_way_and_nothing_else() -> Result<(), Violation> {
    let mut story = Story::new();
    let first = story.write(vec![], vec![set("a", 1)]);
    let (open, write) = story.begin(vec![], vec![set("a", 2)]);
    let outcome = story.apply(write);
    story.read(Level::Strong, &["a"], first);
    story.read(Level::Strong, &["a"], Versionstamp::MAX);
    story.recorder.answered(&open, 0, outcome);
    story.check()?;
    story.read(EVENTUAL, &["a"], first);
    story.check()?;
    story.read(Level::Strong, &["a"], first);
    let found = story.check();
    assert!(matches!(found, Err(Violation::NoSuchState { .. })), "{found:?}");
    Ok(())
}

#[test]
fn what_one_reader_has_seen_nobody_unsees() {
    for level in [Level::Strong, EVENTUAL] {
        let mut story = Story::new();
        let first = story.write(vec![], vec![set("a", 1)]);
        let (_open, write) = story.begin(vec![], vec![set("a", 2)]);
        story.apply(write);
        story.read(level, &["a"], Versionstamp::MAX);
        story.read(Level::Strong, &["a"], first);
        let found = story.check();
        assert!(matches!(found, Err(Violation::NoSuchState { .. })), "{found:?}");
    }
}

#[test]
fn a_read_of_the_future_is_found() {
    for level in [Level::Strong, EVENTUAL] {
        let mut story = Story::new();
        let invoked = story.recorder.moment(0);
        let completed = story.recorder.moment(0);
        story.write(vec![], vec![set("a", 1)]);
        let (selections, seen) = story.seen(&["a"], Versionstamp::MAX);
        let mut events = story.recorder.events();
        let action = Action::Read { level, selections, seen };
        events.push(Event { client: 1, node: 1, invoked, completed: Some(completed), action });
        let found = check(&events, &story.toy.last());
        assert!(matches!(found, Err(Violation::NoSuchState { .. })), "{found:?}");
    }
}

#[test]
fn a_read_across_two_states_is_found() {
    let mut story = Story::new();
    let first = story.write(vec![], vec![set("a", 1), set("b", 1)]);
    story.write(vec![], vec![set("a", 2), set("b", 2)]);
    let (selections, mut seen) = story.seen(&["a", "b"], first);
    seen.rows[1] = story.seen(&["b"], Versionstamp::MAX).1.rows.remove(0);
    let invoked = story.recorder.moment(0);
    story.recorder.read(1, 1, invoked, 0, Action::Read { level: EVENTUAL, selections, seen });
    let found = story.check();
    assert!(matches!(found, Err(Violation::NoSuchState { .. })), "{found:?}");
}

#[test]
fn a_read_at_a_stamp_shows_neither_the_one_before_nor_the_one_after() -> Result<(), Violation> {
    let mut story = Story::new();
    let stamps: Vec<_> = (0..3).map(|value| story.write(vec![], vec![set("a", value)])).collect();
    story.read(Level::At(stamps[1]), &["a"], stamps[1]);
    story.check()?;
    for wrong in [stamps[0], stamps[2]] {
        let events = story.recorder.events().len();
        story.read(Level::At(stamps[1]), &["a"], wrong);
        let found = story.check();
        assert!(matches!(found, Err(Violation::NoSuchState { .. })), "{found:?} of {events}");
    }
    Ok(())
}

#[test]
fn a_stale_read_that_says_how_stale_is_held_to_it() -> Result<(), Violation> {
    let mut story = Story::new();
    let first = story.write(vec![], vec![set("a", 1)]);
    let (open, write) = story.begin(vec![], vec![set("a", 2)]);
    let outcome = story.apply(write);
    story.recorder.answered(&open, 1000, outcome);
    for (staleness_ns, holds) in [(1100, true), (900, false)] {
        let invoked = story.recorder.moment(2000);
        let (selections, seen) = story.seen(&["a"], first);
        let level = Level::Eventual { staleness_ns: Some(staleness_ns) };
        story.recorder.read(1, 1, invoked, 2000, Action::Read { level, selections, seen });
        assert_eq!(story.check().is_ok(), holds, "{staleness_ns} ns");
    }
    Ok(())
}

#[test]
fn writes_in_another_order_than_they_were_made_are_found() {
    let mut story = Story::new();
    let (one, first) = story.begin(vec![], vec![set("a", 1)]);
    let (two, second) = story.begin(vec![], vec![set("b", 1)]);
    let (second, first) = (story.apply(second), story.apply(first));
    story.recorder.answered(&one, 0, first);
    story.recorder.answered(&two, 0, second);
    let mut events = story.recorder.events();
    // Said to have begun after the other, whose stamp is above, had been answered.
    events[1].invoked.order = 100;
    events[1].completed = Some(Moment { order: 101, at_ns: 0 });
    let found = check(&events, &story.toy.last());
    assert!(matches!(found, Err(Violation::OutOfOrder { .. })), "{found:?}");
}

#[test]
fn a_watch_goes_forward_and_ends_with_the_last_value() -> Result<(), Violation> {
    let mut story = Story::new();
    let open = story.recorder.watch(1, 1, 0, vec![key("a")]);
    story.recorder.said(&open, story.message(&["a"], Versionstamp::MAX));
    let stamps: Vec<_> = (0..3).map(|value| story.write(vec![], vec![set("a", value)])).collect();
    story.recorder.said(&open, story.message(&["a"], stamps[1]));
    story.check()?;
    let mut backwards = story.recorder.events();
    let Action::Watch { messages, .. } = &mut backwards[0].action else { panic!("the first is the watch") };
    messages.push(story.message(&["a"], stamps[0]));
    let found = check(&backwards, &story.toy.last());
    assert!(matches!(found, Err(Violation::NoSuchState { .. })), "{found:?}");
    story.recorder.drained(&open);
    let found = story.check();
    assert!(matches!(found, Err(Violation::Skipped { .. })), "{found:?}");
    story.recorder.said(&open, story.message(&["a"], stamps[2]));
    assert_eq!(story.check()?.watched, 3);
    Ok(())
}

#[test]
fn a_watch_that_begins_with_what_was_is_found() {
    let mut story = Story::new();
    story.write(vec![], vec![set("a", 1)]);
    let open = story.recorder.watch(1, 1, 0, vec![key("a")]);
    story.recorder.said(&open, story.message(&["a"], Versionstamp::ZERO));
    let found = story.check();
    assert!(matches!(found, Err(Violation::NoSuchState { .. })), "{found:?}");
}

#[test]
fn checks_that_failed_must_be_able_to() {
    let mut story = Story::new();
    let stamp = story.write(vec![], vec![set("a", 1)]);
    let (open, _) = story.begin(vec![Check { key: b"a".to_vec(), stamp: Some(stamp) }], vec![]);
    story.recorder.answered(&open, 0, Written::ChecksFailed(vec![0]));
    let found = story.check();
    assert!(matches!(found, Err(Violation::NoSuchState { .. })), "{found:?}");
}

#[test]
fn a_refusal_must_have_a_reason() -> Result<(), Violation> {
    let mut story = Story::new();
    let text = StoredValue { encoding: crate::Encoding::Bytes, bytes: b"no number".to_vec() };
    let kind = MutationKind::Set { value: text, expire_at_ms: None };
    story.write(vec![], vec![Mutation { key: b"t".to_vec(), kind }]);
    story.write(vec![], vec![sum("t", 1)]);
    assert_eq!(story.check()?.committed, 1);
    let (open, _) = story.begin(vec![], vec![sum("n", 1)]);
    story.recorder.answered(&open, 0, Written::Refused);
    assert!(matches!(story.check(), Err(Violation::NoSuchState { .. })));
    Ok(())
}

#[test]
fn a_total_that_changes_is_found() -> Result<(), Violation> {
    let mut story = Story::new();
    story.write(vec![], vec![set("m1", 60), set("m2", 40)]);
    let accounts = Selection::prefix(&key("m"));
    let read = |story: &Story| {
        let invoked = story.recorder.moment(0);
        let rows = vec![story.toy.rows(&accounts, Versionstamp::MAX, 0)];
        let seen = Seen { stamp: None, time_ms: None, rows };
        let action = Action::Read { level: Level::Strong, selections: vec![accounts.clone()], seen };
        story.recorder.read(1, 1, invoked, 0, action);
    };
    read(&story);
    assert_eq!(conserved::check(&story.recorder.events(), &accounts, 100)?, 1);
    story.write(vec![], vec![set("m1", 50)]);
    read(&story);
    let found = conserved::check(&story.recorder.events(), &accounts, 100);
    assert!(matches!(found, Err(Violation::NotConserved { total: 90, .. })), "{found:?}");
    story.check()?;
    Ok(())
}

#[test]
fn a_violation_names_the_events() {
    let mut story = Story::new();
    story.write(vec![], vec![set("a", 1)]);
    story.read(Level::Strong, &["a"], Versionstamp::ZERO);
    let words = story.check().expect_err("the read is stale").to_string();
    assert_eq!(
        words,
        "no such state: strong read of client 2 at node 2 from #2 (0 ms) to #3 (0 ms) fits no state from \
         00000000000000010000 to before ffffffffffffffffffff: at the earliest, \\x00\\x00\\x00\\x01a is missing, \
         which 00000000000000010000 wrote"
    );
}

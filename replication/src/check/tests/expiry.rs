//! What expires is there until its time, by the clock that is told.

use super::*;

fn expiring(name: &str, expire_at_ms: u64) -> Mutation {
    let kind = MutationKind::Set { value: StoredValue::u64(1), expire_at_ms: Some(expire_at_ms) };
    Mutation { key: name.as_bytes().to_vec(), kind }
}

/// A write at a time.
fn write_at(story: &mut Story, time_ms: u64, checks: Vec<Check>, mutations: Vec<Mutation>) -> Written {
    let (open, write) = story.begin(checks, mutations);
    let outcome = written(&story.toy.write(time_ms, vec![write])[0]);
    story.recorder.answered(&open, 0, outcome.clone());
    outcome
}

#[test]
fn what_has_expired_is_absent_to_checks_sums_and_reads() -> Result<(), Violation> {
    let mut story = Story::new();
    write_at(&mut story, 10, vec![], vec![expiring("a", 20)]);
    let absent = vec![Check { key: b"a".to_vec(), stamp: None }];
    let early = write_at(&mut story, 19, absent.clone(), vec![]);
    assert_eq!(early, Written::ChecksFailed(vec![0]));
    assert!(matches!(write_at(&mut story, 20, absent, vec![sum("a", 5)]), Written::Committed(_)));
    story.check()?;
    Ok(())
}

#[test]
fn a_read_is_held_to_the_time_it_tells_and_may_show_either_when_it_tells_none() -> Result<(), Violation> {
    let mut story = Story::new();
    write_at(&mut story, 10, vec![], vec![expiring("a", 20)]);
    let read = |time_ms: Option<u64>, shown_at_ms: u64| {
        let mut events = story.recorder.events();
        let selections = vec![Selection::key(&key("a"))];
        let rows = vec![story.toy.rows(&selections[0], Versionstamp::MAX, shown_at_ms)];
        let seen = Seen { stamp: None, time_ms, rows };
        let action = Action::Read { level: Level::Strong, selections, seen };
        let invoked = story.recorder.moment(0);
        let completed = Some(story.recorder.moment(0));
        events.push(Event { client: 1, node: 1, invoked, completed, action });
        check(&events, &story.toy.last())
    };
    for shown_at_ms in [19, 20] {
        read(Some(shown_at_ms), shown_at_ms)?;
        read(None, shown_at_ms)?;
    }
    assert!(matches!(read(Some(20), 19), Err(Violation::NoSuchState { .. })));
    assert!(matches!(read(Some(19), 20), Err(Violation::NoSuchState { .. })));
    Ok(())
}

#[test]
fn a_check_may_have_failed_at_any_time_before_the_next_commit() -> Result<(), Violation> {
    let mut story = Story::new();
    write_at(&mut story, 10, vec![], vec![expiring("a", 20)]);
    let Written::Committed(stamp) = write_at(&mut story, 11, vec![], vec![expiring("b", 20)]) else {
        panic!("it has no checks");
    };
    let present = vec![Check { key: b"b".to_vec(), stamp: Some(stamp) }];
    // At 25 nothing else has been committed since 11.
    assert_eq!(write_at(&mut story, 25, present, vec![]), Written::ChecksFailed(vec![0]));
    story.check()?;
    Ok(())
}

#[test]
fn a_clock_that_falls_is_found() {
    let mut story = Story::new();
    write_at(&mut story, 10, vec![], vec![]);
    write_at(&mut story, 20, vec![], vec![]);
    let mut last = story.toy.last();
    last.times_ms.insert(2, 9);
    let found = check(&story.recorder.events(), &last);
    assert!(matches!(found, Err(Violation::ClockFell { .. })), "{found:?}");
}

#[test]
fn without_a_clock_a_check_of_what_expires_may_hold_or_not_unless_its_stamp_is_another() {
    let mut story = Story::new();
    let Written::Committed(stamp) = write_at(&mut story, 10, vec![], vec![expiring("a", 20), set("b", 1)])
    else {
        panic!("it has no checks");
    };
    let of = |name: &str, stamp| Check { key: name.as_bytes().to_vec(), stamp };
    let mut last = story.toy.last();
    (last.time_ms, last.times_ms) = (None, Default::default());
    let failed_only_second = |first: Check| {
        let write = write(9, vec![first, of("b", None)], vec![]);
        let mut events = story.recorder.events();
        let (invoked, completed) = (story.recorder.moment(0), Some(story.recorder.moment(0)));
        let action = Action::Write { id: 9, write, outcome: Written::ChecksFailed(vec![1]) };
        events.push(Event { client: 1, node: 1, invoked, completed, action });
        check(&events, &last)
    };
    assert!(failed_only_second(of("a", Some(stamp))).is_ok());
    assert!(failed_only_second(of("a", None)).is_ok());
    let other = failed_only_second(of("a", Some(Versionstamp::new(7, 7))));
    assert!(matches!(other, Err(Violation::NoSuchState { .. })), "{other:?}");
}

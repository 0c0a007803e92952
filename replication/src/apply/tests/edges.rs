//! Clocks, marks and the bounds that keep a record within the log.

use super::*;
use crate::testing::REQUEST;
use engine::write_batch::{KEY_LEN_MAX, VALUE_LEN_MAX};

#[test]
fn the_clock_never_falls_and_what_is_due_is_absent_from_then_on() -> TestResult {
    let mut history = History::new();
    history.step(&Entry::Tick { time_ms: 100 })?;
    let entry = batch_at(
        50,
        [
            write(vec![], vec![set_until(b"due", b"x", Some(100)), set_until(b"later", b"x", Some(101))]),
            write(vec![absent(b"due"), absent(b"later")], vec![]),
        ],
    );
    let application = history.step(&entry)?;
    assert_eq!(application.record.time_ms, 100);
    assert_eq!(application.outcomes[1], Outcome::ChecksFailed(vec![1]));
    history.step(&Entry::Tick { time_ms: 101 })?;
    assert_eq!(read(&history, b"later"), None);
    Ok(())
}

#[test]
fn a_tick_and_a_mark_change_no_data_and_no_hash() -> TestResult {
    let mut history = History::new();
    history.step(&batch_at(1, [write(vec![], vec![set(b"k", b"v")])]))?;
    let hash = history.applied.hash;
    let tick = history.step(&Entry::Tick { time_ms: 2 })?;
    assert_eq!((tick.record.version, tick.record.time_ms, tick.record.hash), (2, 2, hash));
    let mark = Mark { name: b"archive".to_vec(), value: b"1".to_vec() };
    let progress = history.step(&Entry::Progress { time_ms: 3, request: REQUEST, mark: mark.clone() })?;
    assert_eq!((progress.record.marks, progress.record.hash), (vec![mark], hash));
    Ok(())
}

#[test]
fn the_end_of_a_database_takes_all_of_it_and_nothing_else() -> TestResult {
    let mut history = History::new();
    let of = |database, key: &[u8]| AtomicWrite {
        database: DatabaseNumber(database),
        ..write(vec![], vec![set(key, b"v")])
    };
    history.step(&batch_at(1, [of(0, b"a"), of(1, b"a"), of(1, b"\xff"), of(2, b"a"), of(256, b"a")]))?;
    let end =
        |database| Entry::DeleteDatabase { time_ms: 2, request: REQUEST, database: DatabaseNumber(database) };
    let ended = history.step(&end(1))?;
    assert_eq!((ended.outcomes.len(), ended.record.batches.len()), (0, 1));
    assert_eq!(history.applied.stamp, Versionstamp::new(2, 0));
    let left =
        |history: &History| -> Vec<_> { history.view(Versionstamp::MAX, 2).entries().into_keys().collect() };
    let expected = [0, 2, 256].map(|database| engine_key(DatabaseNumber(database), b"a"));
    assert_eq!(left(&history), expected);
    let system = history.step(&end(0))?;
    assert_eq!((system.record.batches.len(), left(&history).len()), (0, 3), "the system's own is left alone");
    Ok(())
}

#[test]
fn a_mark_that_no_record_can_hold_is_left_out() -> TestResult {
    for (name, value) in [(0, 0), (MARK_NAME_LEN_MAX + 1, 0), (1, MARK_VALUE_LEN_MAX + 1)] {
        let mark = Mark { name: vec![b'n'; name], value: vec![b'v'; value] };
        let application = History::new().step(&Entry::Progress { time_ms: 1, request: REQUEST, mark })?;
        assert_eq!(application.record.marks, []);
        application.record.encode(&mut Vec::new());
    }
    Ok(())
}

#[test]
fn keys_and_values_that_the_engine_cannot_hold_are_refused() -> TestResult {
    let mut history = History::new();
    let longest = vec![b'k'; KEY_LEN_MAX - 4];
    let too_long = vec![b'k'; KEY_LEN_MAX - 3];
    let value = StoredValue { encoding: Encoding::Bytes, bytes: vec![] };
    let suffixed = MutationKind::SetSuffixed { value, expire_at_ms: None };
    let entry = batch_at(
        1,
        [
            write(vec![absent(&too_long)], vec![set(&longest, b"v")]),
            write(vec![], vec![set(&too_long, b"v")]),
            write(vec![], vec![mutation(&longest, suffixed)]),
            write(vec![], vec![set(b"k", &vec![0; VALUE_LEN_MAX])]),
            write(vec![], vec![set(b"", b"v")]),
        ],
    );
    let application = history.step(&entry)?;
    let expected = [
        Outcome::Committed(Versionstamp::new(1, 0)),
        Outcome::Refused(Refusal::KeyTooLong),
        Outcome::Refused(Refusal::KeyTooLong),
        Outcome::Refused(Refusal::ValueTooLong),
        Outcome::Committed(Versionstamp::new(1, 4)),
    ];
    assert_eq!(application.outcomes, expected);
    Ok(())
}

#[test]
fn a_batch_never_becomes_a_record_that_the_log_cannot_hold() -> TestResult {
    const VALUE_BYTES: usize = 4 << 20;
    let mut history = History::new();
    let value = vec![0; VALUE_BYTES];
    let large = |key| set(&[key], &value);
    let fits = RESOLVED_BYTES_MAX / VALUE_BYTES - 1;
    let mut writes: Vec<_> = (0..30).map(|key| write(vec![], vec![large(key)])).collect();
    writes.push(write(vec![], vec![set(b"small", b"v")]));
    writes.push(write(vec![], (0..30).map(large).collect()));
    let application = history.step(&Entry::Batch { time_ms: 2, writes })?;
    for (index, outcome) in application.outcomes[..30].iter().enumerate() {
        let committed = matches!(outcome, Outcome::Committed(_));
        assert_eq!(committed, index < fits, "write {index}: {outcome:?}");
    }
    assert_eq!(application.outcomes[30], Outcome::Committed(Versionstamp::new(1, 30)));
    assert_eq!(application.outcomes[31], Outcome::Refused(Refusal::TooLarge));
    let mut bytes = Vec::new();
    application.record.encode(&mut bytes);
    assert!(bytes.len() <= RESOLVED_BYTES_MAX + (1 << 10));
    Ok(())
}

#[test]
fn rewriting_one_key_many_times_needs_the_room_of_one() -> TestResult {
    let mut history = History::new();
    let value = vec![0; 1 << 20];
    let mutations = (0..200).map(|_| set(b"k", &value)).collect();
    let application = history.step(&batch_at(1, [write(vec![], mutations)]))?;
    assert_eq!(application.outcomes, [Outcome::Committed(Versionstamp::new(1, 0))]);
    Ok(())
}

#[test]
fn writes_after_the_last_order_are_refused() -> TestResult {
    let mut history = History::new();
    let writes = vec![write(vec![], vec![]); WRITES_MAX + 2];
    let application = history.step(&Entry::Batch { time_ms: 1, writes })?;
    assert_eq!(application.record.batches.len(), WRITES_MAX);
    assert!(matches!(application.outcomes[WRITES_MAX - 1], Outcome::Committed(_)));
    let refused = Outcome::Refused(Refusal::BatchFull);
    assert_eq!(application.outcomes[WRITES_MAX..], [refused.clone(), refused]);
    let mut bytes = Vec::new();
    application.record.encode(&mut bytes);
    assert_eq!(Record::decode(&bytes)?, application.record);
    Ok(())
}

/// Reads nothing but failures.
struct BrokenDisk;

impl State for BrokenDisk {
    fn stamp_of(&self, _key: &[u8]) -> engine::Result<Option<Versionstamp>> {
        Err(engine::Error::Stopped { reason: "broken".to_owned() })
    }

    fn get(&self, _key: &[u8]) -> engine::Result<Option<Value>> {
        Err(engine::Error::Stopped { reason: "broken".to_owned() })
    }
}

#[test]
fn a_failing_disk_stops_apply_instead_of_answering() {
    let applied = History::new().applied;
    for broken in [write(vec![absent(b"k")], vec![]), write(vec![], vec![add(b"k", 1)])] {
        assert!(apply(&BrokenDisk, &applied, 1, &batch_at(1, [broken])).is_err());
    }
}

//! Apply on arbitrary entries: it never panics, and what it gives is whole, ordered and repeatable.
//!
//! A first byte below 64 reads the rest as one encoded entry, any other shapes entries from it.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use cairn_fuzz::memory::Memory;
use cairn_fuzz::shape::EntryShape;
use engine::{Record, Versionstamp};
use replication::{Application, Check, Entry, Outcome, apply, clock_ms};

/// Entries that one input shapes, at most.
const ENTRIES_MAX: usize = 16;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut memory = Memory::default();
    for entry in entries(bytes) {
        let application = apply_to(&memory, &entry);
        check_outcomes(&entry, &application);
        check_repeats(&memory, &entry, &application);
        check_all_or_nothing(&memory, &entry, &application);
        memory.write(&application.record);
    }
});

fn entries(bytes: &[u8]) -> Vec<Entry> {
    match bytes.split_first() {
        None => Vec::new(),
        Some((0..64, bytes)) => Entry::decode(bytes).into_iter().collect(),
        Some((_, bytes)) => {
            let mut rest = Unstructured::new(bytes);
            let shapes = std::iter::from_fn(|| {
                (!rest.is_empty()).then(|| EntryShape::arbitrary(&mut rest).ok()).flatten()
            });
            shapes.take(ENTRIES_MAX).map(Entry::from).collect()
        }
    }
}

fn apply_to(memory: &Memory, entry: &Entry) -> Application {
    let state = memory.at(clock_ms(&memory.applied, entry));
    apply(&state, &memory.applied, memory.applied.version + 1, entry).expect("memory does not fail")
}

/// The commits of the record are exactly the writes that say so, in order.
fn check_outcomes(entry: &Entry, application: &Application) {
    let writes = if let Entry::Batch { writes, .. } = entry { writes.len() } else { 0 };
    assert_eq!(application.outcomes.len(), writes, "one outcome for each write");
    if let Entry::DeleteDatabase { .. } = entry {
        assert!(application.record.batches.len() <= 1, "one deletion");
        return;
    }
    let committed = application.outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Committed(stamp) => Some(*stamp),
        _ => None,
    });
    assert!(committed.eq(application.record.commits().map(|(stamp, _)| stamp)), "the survivors alone");
    for (order, outcome) in application.outcomes.iter().enumerate() {
        if let Outcome::Committed(stamp) = outcome {
            assert_eq!(usize::from(stamp.order()), order, "a write keeps its order");
        }
    }
}

/// The entry and the record have one encoding, and applying again gives the same.
fn check_repeats(memory: &Memory, entry: &Entry, application: &Application) {
    let mut payload = Vec::new();
    entry.encode(&mut payload);
    let read = Entry::decode(&payload).expect("what was encoded is read");
    let mut again = Vec::new();
    read.encode(&mut again);
    assert_eq!(again, payload, "an entry has one encoding");
    assert_eq!(apply_to(memory, &read), *application, "apply depends on its arguments alone");
    let mut bytes = Vec::new();
    application.record.encode(&mut bytes);
    assert_eq!(Record::decode(&bytes).expect("a record is read"), application.record);
}

/// A write that did not happen leaves no trace: one that only fails a check does as well in its place.
fn check_all_or_nothing(memory: &Memory, entry: &Entry, application: &Application) {
    let Entry::Batch { time_ms, writes } = entry else { return };
    let mut writes = writes.clone();
    for (write, outcome) in writes.iter_mut().zip(&application.outcomes) {
        if !matches!(outcome, Outcome::Committed(_)) {
            write.checks = vec![Check { key: b"never".to_vec(), stamp: Some(Versionstamp::MAX) }];
        }
    }
    let without = apply_to(memory, &Entry::Batch { time_ms: *time_ms, writes });
    assert_eq!(without.record, application.record, "what is refused leaves nothing");
}

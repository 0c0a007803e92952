//! What a caller can get wrong: one clear error each, and nothing changed.

use crate::TestResult;
use crate::support::{Model, check, small};
use engine::env::sim;
use engine::fs::sim::Sim;
use engine::record::{BATCH_LEN_MAX, MARK_NAME_LEN_MAX, MARK_VALUE_LEN_MAX, RECORD_LEN_MAX};
use engine::write_batch::{KEY_LEN_MAX, VALUE_LEN_MAX};
use engine::{
    ContentHash, Direction, Engine, Env, Error, History, Mark, Op, Options, Record, Versionstamp, WriteBatch,
};
use std::path::Path;

const DIR: &str = "/data";

/// An engine with one commit, at stamp 1.
fn engine() -> Result<(Engine, Env, Sim, Model), Box<dyn std::error::Error>> {
    let (env, disk, _clock) = sim::env(1);
    let (engine, _) = Engine::open(env.clone(), Path::new(DIR), small())?;
    let mut model = Model::default();
    let batch = batch(&[(b"k", 3)])?;
    let stamp = engine.commit(batch.clone())?;
    model.commit(stamp, engine.applied().time_ms, &batch);
    Ok((engine, env, disk, model))
}

fn batch(puts: &[(&[u8], usize)]) -> Result<WriteBatch, engine::OpError> {
    let mut batch = WriteBatch::new();
    puts.iter().try_for_each(|(key, len)| batch.put(key, &vec![7; *len], None))?;
    Ok(batch)
}

/// A record that follows, with these batches.
fn record(engine: &Engine, batches: Vec<(u16, WriteBatch)>) -> Record {
    let applied = engine.applied();
    let mut record = Record {
        version: engine.next_version(),
        term: 0,
        time_ms: applied.time_ms,
        hash: applied.hash,
        batches,
        marks: Vec::new(),
    };
    record.hash = record.hash_after(applied.hash);
    record
}

fn said<T>(result: engine::Result<T>) -> String {
    result.err().map_or_else(|| "no error".to_owned(), |error| error.to_string())
}

#[test]
fn operations_over_the_limits_leave_a_batch_as_it_was() -> TestResult {
    let mut batch = batch(&[(b"k", 1)])?;
    let before = batch.clone();
    let (long_key, long_value) = (vec![1; KEY_LEN_MAX + 1], vec![1; VALUE_LEN_MAX + 1]);
    let cases = [
        (batch.put(b"", b"v", None), "a key of 0 bytes is outside 1..=65535"),
        (batch.put(&long_key, b"v", None), "a key of 65536 bytes is outside 1..=65535"),
        (batch.delete(b""), "a key of 0 bytes is outside 1..=65535"),
        (batch.delete(&long_key), "a key of 65536 bytes is outside 1..=65535"),
        (batch.delete_prefix(&long_key), "a prefix of 65536 bytes is over 65535"),
        (batch.put(b"k", &long_value, None), "a value of 67108865 bytes is over 67108864"),
    ];
    for (result, expected) in cases {
        assert_eq!(result.err().map(|error| error.to_string()).as_deref(), Some(expected));
    }
    assert_eq!(batch, before);
    batch.put(&long_key[1..], b"at the limit", None)?;
    assert_eq!(
        batch.ops().last(),
        Some(Op::Put { key: &long_key[1..], value: b"at the limit", expire_at_ms: None })
    );
    Ok(())
}

#[test]
fn what_cannot_be_written_is_refused_and_changes_nothing() -> TestResult {
    let (engine, env, disk, mut model) = engine()?;
    let too_large = batch(&[(b"a", VALUE_LEN_MAX), (b"b", VALUE_LEN_MAX)])?;
    assert!(too_large.as_bytes().len() > BATCH_LEN_MAX);
    let over = format!("a record of {} bytes is over {RECORD_LEN_MAX}", 68 + too_large.as_bytes().len());
    let with_mark = |name_len, value_len| {
        let mark = Mark { name: vec![b'n'; name_len], value: vec![b'v'; value_len] };
        Record { marks: vec![mark], ..record(&engine, Vec::new()) }
    };
    let one = || batch(&[(b"x", 1)]);
    let many = || (0..=u16::MAX).map(|order| (order, WriteBatch::new())).collect::<Vec<_>>();
    let foreign_hash =
        Record { hash: ContentHash::from_bytes([1; 32]), ..record(&engine, vec![(0, one()?)]) };
    let before = Record { version: 1, ..record(&engine, vec![(0, one()?)]) };
    let early = Record { time_ms: 0, ..record(&engine, vec![(0, one()?)]) };
    let cases = [
        (said(engine.commit(WriteBatch::new())), "a batch without operations has nothing to commit"),
        (said(engine.commit_unsynced(WriteBatch::new())), "a batch without operations has nothing to commit"),
        (said(engine.commit(too_large.clone())), &over),
        (said(engine.commit_unsynced(too_large.clone())), &over),
        (said(engine.append(&record(&engine, vec![(0, too_large)]))), &over),
        (
            said(engine.append(&record(&engine, vec![(3, one()?), (3, one()?)]))),
            "record 2 cannot be written: the orders of its batches do not rise",
        ),
        (
            said(engine.append(&record(&engine, many()))),
            "record 2 cannot be written: it holds more than 65,535 batches",
        ),
        (
            said(engine.append(&with_mark(0, 1))),
            "record 2 cannot be written: the name of a mark has 1 to 64 bytes",
        ),
        (
            said(engine.append(&with_mark(MARK_NAME_LEN_MAX + 1, 1))),
            "record 2 cannot be written: the name of a mark has 1 to 64 bytes",
        ),
        (
            said(engine.append(&with_mark(1, MARK_VALUE_LEN_MAX + 1))),
            "record 2 cannot be written: the value of a mark has at most 65,535 bytes",
        ),
        (
            said(engine.append(&foreign_hash)),
            "record 2 does not follow record 1: its content hash does not follow from its commits",
        ),
        (said(engine.append(&before)), "record 1 does not follow record 1: its version is not above"),
        (said(engine.append(&early)), "record 2 does not follow record 1: its clock falls"),
    ];
    let ops = disk.counts().ops;
    for (error, expected) in cases {
        assert_eq!(error, expected);
    }
    assert_eq!((engine.applied().version, engine.stopped()), (1, None));
    assert_eq!(disk.counts().ops, ops, "the disk was not asked for anything");
    let fine = record(&engine, vec![(0, WriteBatch::new()), (9, one()?)]);
    engine.append(&fine)?;
    fine.commits().for_each(|(stamp, batch)| model.commit(stamp, fine.time_ms, batch));
    engine.sync()?;
    drop(engine);
    check(&Engine::open(env, Path::new(DIR), small())?.0.snapshot(), &model)
}

#[test]
fn one_refused_batch_fails_no_other_of_its_group() -> TestResult {
    let (engine, ..) = engine()?;
    let too_large = batch(&[(b"a", VALUE_LEN_MAX), (b"b", VALUE_LEN_MAX)])?;
    let refused = || {
        (0..20)
            .all(|_| engine.commit(WriteBatch::new()).is_err() && engine.commit(too_large.clone()).is_err())
    };
    let committed = |thread: u8| {
        let commit = |n: u8| engine.commit(batch(&[(&[thread, n], 9)])?);
        (0..50).map(commit).collect::<engine::Result<Vec<_>>>()
    };
    std::thread::scope(|scope| -> TestResult {
        let refusing = scope.spawn(refused);
        let committing: Vec<_> = (0..4).map(|thread| scope.spawn(move || committed(thread))).collect();
        for thread in committing {
            assert_eq!(thread.join().map_err(|_panic| "a writer panicked")??.len(), 50);
        }
        assert!(refusing.join().map_err(|_panic| "the refused one panicked")?, "each of them is refused");
        Ok(())
    })?;
    assert_eq!(engine.statistics().commits, 1 + 4 * 50);
    Ok(())
}

#[test]
fn reads_of_what_cannot_be_there_say_so() -> TestResult {
    let (engine, ..) = engine()?;
    let snapshot = engine.snapshot();
    for direction in [Direction::Forward, Direction::Reverse] {
        assert_eq!(said(snapshot.range(b"k", b"j", direction)), "a range starts after its end");
        assert_eq!(snapshot.range(b"k", b"k", direction)?.count(), 0);
        assert_eq!(snapshot.range(b"k", b"k\0", direction)?.count(), 1);
    }
    for key in [&b""[..], &vec![b'k'; KEY_LEN_MAX + 1]] {
        assert!(
            snapshot.get(key)?.is_none() && snapshot.newest_stamp(key)?.is_none(),
            "no such key can be written"
        );
    }
    let above = Versionstamp::new(2, 0);
    assert_eq!(
        said(engine.snapshot_at(above)),
        format!("versionstamp {above} is above the newest, {}", Versionstamp::last_of(1))
    );
    Ok(())
}

#[test]
fn a_stamp_below_the_horizon_is_refused_with_the_horizon() -> TestResult {
    let (env, _disk, clock) = sim::env(1);
    let (engine, _) = Engine::open(env, Path::new(DIR), Options { history_ms: 0, ..small() })?;
    for n in 0..60u8 {
        engine.commit(batch(&[(&[n % 3], 90)])?)?;
        clock.advance(10);
        engine.flush()?;
        while engine.compact()? == engine::Progress::Worked {}
    }
    let (first, horizon) = (Versionstamp::new(1, 0), engine.horizon());
    assert!(first < horizon);
    assert_eq!(
        said(engine.snapshot_at(first)),
        format!("versionstamp {first} is below the horizon {horizon}: its history is no longer kept")
    );
    Ok(())
}

#[test]
fn rules_of_history_that_cannot_be_kept_leave_the_old_ones() -> TestResult {
    let (engine, ..) = engine()?;
    let rule = |prefix: &[u8]| (prefix.to_vec(), History { ms: 0, bytes_max: 0 });
    let many = (0..=1_024u32).map(|n| rule(&n.to_be_bytes())).collect();
    for rules in [vec![rule(b"")], vec![rule(b"a"), rule(b"a")], vec![rule(&vec![1; KEY_LEN_MAX + 1])], many]
    {
        let error = engine.set_histories(rules).err().ok_or("refused")?;
        assert!(matches!(error, Error::Option { name: "histories", .. }), "{error}");
        assert_eq!(engine.stopped(), None);
    }
    engine.set_histories(vec![rule(b"a"), rule(b"ab")])?;
    Ok(())
}

#[test]
fn a_checkpoint_needs_an_empty_directory_and_leaves_another_alone() -> TestResult {
    let (engine, _, disk, _) = engine()?;
    let to = Path::new("/copy");
    engine.checkpoint(to)?;
    let files = disk.files();
    for taken in [to, Path::new(DIR)] {
        let error = said(engine.checkpoint(taken));
        assert_eq!(
            error,
            format!("{} is not a data directory: a checkpoint needs an empty directory", taken.display())
        );
    }
    assert_eq!(disk.files(), files);
    assert_eq!(engine.stopped(), None);
    Ok(())
}

#[test]
fn options_out_of_range_are_refused_with_the_range_before_anything_is_created() {
    let with = |change: fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        options
    };
    let cases = [
        (with(|o| o.memtable_bytes_max = 0), "memtable_bytes_max", "1 KiB to 1 GiB"),
        (with(|o| o.memtable_bytes_max = (1 << 30) + 1), "memtable_bytes_max", "1 KiB to 1 GiB"),
        (with(|o| o.block_cache_bytes = (1 << 40) + 1), "block_cache_bytes", "0 to 1 TiB"),
        (with(|o| o.block_bytes = 63), "block_bytes", "64 bytes to 1 MiB"),
        (with(|o| o.block_bytes = (1 << 20) + 1), "block_bytes", "64 bytes to 1 MiB"),
        (with(|o| o.table_bytes = 1023), "table_bytes", "1 KiB to 1 GiB"),
        (with(|o| o.table_bytes = (1 << 30) + 1), "table_bytes", "1 KiB to 1 GiB"),
        (with(|o| o.level0_tables_max = 0), "level0_tables_max", "1 to 64"),
        (with(|o| o.level0_tables_max = 65), "level0_tables_max", "1 to 64"),
        (with(|o| o.level1_bytes = 1), "level1_bytes", "1 KiB to 1 TiB"),
        (with(|o| o.level1_bytes = (1 << 40) + 1), "level1_bytes", "1 KiB to 1 TiB"),
        (with(|o| o.segment_bytes_max = 1), "segment_bytes_max", "4 KiB to 1 GiB"),
        (with(|o| o.segment_bytes_max = (1 << 30) + 1), "segment_bytes_max", "4 KiB to 1 GiB"),
        (with(|o| o.segment_age_ms_max = 0), "segment_age_ms_max", "1 ms to 24 h"),
        (with(|o| o.segment_age_ms_max = u64::MAX), "segment_age_ms_max", "1 ms to 24 h"),
        (with(|o| o.history_ms = u64::MAX), "history_ms", "0 to 100 years"),
        (with(|o| o.disk_reserve_bytes = Some(u64::MAX)), "disk_reserve_bytes", "0 to 1 EiB"),
    ];
    for (options, name, range) in cases {
        let (env, disk, _clock) = sim::env(1);
        let error = said(Engine::open(env, Path::new(DIR), options));
        assert_eq!(error, format!("option {name} is out of range: {range}"));
        assert!(disk.files().is_empty());
    }
}

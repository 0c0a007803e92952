//! A scrub finds every damaged table, reads each live one once a pass, and only those.

use crate::TestResult;
use crate::support::small;
use engine::env::sim;
use engine::fs::sim::{Faults, Sim};
use engine::{Engine, Error, Progress, Scrub, Scrubbed, WriteBatch};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn put(engine: &Engine, keys: std::ops::Range<u8>) -> engine::Result<()> {
    for key in keys {
        let mut batch = WriteBatch::new();
        batch.put(&[key], &[key; 300], None)?;
        engine.commit_unsynced(batch)?;
    }
    engine.flush()
}

fn engine() -> Result<(Engine, Sim), Box<dyn std::error::Error>> {
    let (env, disk, _clock) = sim::env(1);
    let (engine, _) = Engine::open(env, Path::new("/data"), small())?;
    for first in [0, 40, 80] {
        put(&engine, first..first + 40)?;
    }
    while engine.compact()? == Progress::Worked {}
    Ok((engine, disk))
}

fn tables(disk: &Sim) -> Vec<(PathBuf, u64)> {
    disk.files()
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|suffix| suffix == "tbl"))
        .collect()
}

/// Steps to the end of a pass: bytes read, and what was found.
fn pass(engine: &Engine, scrub: &mut Scrub, bytes_max: usize) -> (u64, Vec<(PathBuf, Error)>) {
    let (mut bytes, mut found) = (0, Vec::new());
    loop {
        match engine.scrub(scrub, bytes_max) {
            Scrubbed::Read(read) => {
                assert!(read <= bytes_max);
                bytes += read as u64;
            }
            Scrubbed::Damaged { path, error, .. } => found.push((path, error)),
            Scrubbed::Pass => return (bytes, found),
        }
    }
}

#[test]
fn a_pass_reads_every_live_table_once_and_finds_nothing_where_nothing_is() -> TestResult {
    let (engine, disk) = engine()?;
    let total: u64 = tables(&disk).iter().map(|(_, len)| len).sum();
    assert!(tables(&disk).len() > 4);
    let mut scrub = Scrub::default();
    for bytes_max in [100, 4_096, 1 << 20] {
        let (bytes, found) = pass(&engine, &mut scrub, bytes_max);
        assert_eq!((bytes, found.len()), (total, 0));
    }
    Ok(())
}

#[test]
fn every_damaged_table_is_found_with_its_file_and_the_pass_goes_on() -> TestResult {
    let (engine, disk) = engine()?;
    let tables = tables(&disk);
    let damaged: BTreeSet<_> = [0, 2, tables.len() - 1].map(|at| tables[at].clone()).into();
    for (path, len) in &damaged {
        disk.flip_bit(path, len / 2, 5)?;
    }
    for _ in 0..2 {
        let (_, found) = pass(&engine, &mut Scrub::default(), 500);
        let files: BTreeSet<_> = found.iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(files, damaged.iter().map(|(path, _)| path.clone()).collect());
        assert_eq!(found.len(), damaged.len());
        for (path, error) in found {
            let is_named = matches!(&error, Error::Damaged { path: named, .. } if *named == path);
            assert!(is_named, "{error}");
        }
    }
    assert!(engine.stopped().is_none(), "to look is not to stop");
    Ok(())
}

#[test]
fn every_flipped_bit_of_a_table_is_found() -> TestResult {
    let (engine, disk) = engine()?;
    let (path, len) = tables(&disk).remove(1);
    for offset in 0..len {
        let bit = u8::try_from(offset % 8)?;
        disk.flip_bit(&path, offset, bit)?;
        let (_, found) = pass(&engine, &mut Scrub::default(), 1 << 20);
        assert_eq!(found.len(), 1, "byte {offset}");
        disk.flip_bit(&path, offset, bit)?;
    }
    Ok(())
}

#[test]
fn a_table_that_cannot_be_read_is_damage() -> TestResult {
    let (engine, disk) = engine()?;
    disk.set_faults(Faults { fail_read: Some(3), ..Faults::default() });
    let (_, found) = pass(&engine, &mut Scrub::default(), 700);
    assert!(matches!(&found[..], [(_, Error::Io { action: "read", .. })]), "{found:?}");
    assert_eq!(pass(&engine, &mut Scrub::default(), 700).1.len(), 0);
    Ok(())
}

#[test]
fn a_table_that_is_compacted_away_meanwhile_is_not_reported_and_new_ones_are_read() -> TestResult {
    let (engine, disk) = engine()?;
    let before = tables(&disk);
    let mut scrub = Scrub::default();
    // It is in the middle of some table.
    assert!(matches!(engine.scrub(&mut scrub, 10), Scrubbed::Read(10)));
    for _ in 0..6 {
        put(&engine, 0..120)?;
        while engine.compact()? == Progress::Worked {}
    }
    let gone = before.iter().filter(|(path, _)| !tables(&disk).iter().any(|(now, _)| now == path)).count();
    assert_eq!(gone, before.len(), "the test has replaced every table");
    disk.set_faults(Faults { fail_read: Some(1), ..Faults::default() });
    assert!(matches!(engine.scrub(&mut scrub, 10), Scrubbed::Read(0)), "what is not live cannot be damaged");
    assert_eq!(disk.counts().reads, 1, "it was read");
    let (_, found) = pass(&engine, &mut scrub, 500);
    assert_eq!(found.len(), 0);
    let (bytes, found) = pass(&engine, &mut scrub, 500);
    assert_eq!((bytes, found.len()), (tables(&disk).iter().map(|(_, len)| len).sum(), 0));
    Ok(())
}

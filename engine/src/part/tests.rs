use super::*;
use crate::env::sim::{self, SimRandom};
use crate::fs::sim::Sim;
use crate::fs::{Fs, read_file};
use crate::testing::TestResult;
use crate::{Direction, Engine, Env, Error, Options, Random, Versionstamp, WriteBatch};
use bytes::Bytes;
use std::ops::Range;

const FILE_BYTES_MAX: u64 = 1 << 30;
const COPY: &str = "/copy";

fn options() -> Options {
    Options {
        memtable_bytes_max: 256 << 10,
        table_bytes: 256 << 10,
        level1_bytes: 512 << 10,
        block_bytes: 1 << 10,
        disk_reserve_bytes: Some(0),
        ..Options::default()
    }
}

fn key(database: u64, number: u64) -> Vec<u8> {
    format!("db{database:02}/{number:03}").into_bytes()
}

fn marker(database: u64) -> Vec<u8> {
    format!("<secret of {database:02}>").into_bytes()
}

/// One write: mostly a put, of bytes that do not shrink with the marker of the database in them.
fn change(random: &SimRandom, batch: &mut WriteBatch) -> TestResult {
    let (database, number) = (random.below(40), random.below(60));
    match random.below(60) {
        0 => batch.delete_prefix(format!("db{database:02}/").as_bytes())?,
        1 => batch.delete_prefix(format!("db{:02}/0", database).as_bytes())?,
        2..8 => batch.delete(&key(database, number))?,
        _ => {
            let mut value = vec![0; usize::try_from(100 + random.below(500))?];
            random.fill(&mut value);
            let marker = marker(database);
            value[..marker.len()].copy_from_slice(&marker);
            batch.put(&key(database, number), &value, None)?;
        }
    }
    Ok(())
}

/// An engine with several levels, its stamps, and a checkpoint of it.
fn filled(env: &Env, seed: u64) -> Result<(Engine, Vec<Versionstamp>), Box<dyn std::error::Error>> {
    let (random, mut stamps) = (SimRandom::new(seed), Vec::new());
    let (engine, _) = Engine::open(env.clone(), Path::new("/data"), options())?;
    for _ in 0..400 {
        let mut batch = WriteBatch::new();
        for _ in 0..8 {
            change(&random, &mut batch)?;
        }
        stamps.push(engine.commit(batch)?);
        engine.maintain()?;
        engine.compact()?;
    }
    engine.checkpoint(Path::new(COPY))?;
    Ok((engine, stamps))
}

fn manifest(disk: &Sim) -> std::io::Result<Vec<u8>> {
    read_file(disk, &Path::new(COPY).join(Checkpoint::MANIFEST), FILE_BYTES_MAX)
}

/// Gives a table what it asks for; which ranges those were.
fn bring(table: &mut Table, file: &[u8]) -> Result<Vec<Range<u64>>, Error> {
    let mut read = Vec::new();
    loop {
        let missing = table.missing()?;
        if missing.is_empty() {
            return Ok(read);
        }
        for range in missing {
            let at = |offset: u64| usize::try_from(offset).map_or(file.len(), |at| at.min(file.len()));
            let (start, end) = (at(range.start), at(range.end));
            table.add(&range, Bytes::copy_from_slice(&file[start..end]))?;
            read.push(range);
        }
    }
}

/// Takes a part into a directory; how many bytes were read.
fn narrow(env: &Env, disk: &Sim, part: &Part, to: &Path) -> Result<u64, Box<dyn std::error::Error>> {
    let tables = to.join(Checkpoint::TABLES);
    disk.create_dir_all(&tables)?;
    let (mut written, mut read) = (Vec::new(), 0);
    for (name, _) in part.tables() {
        let path = Path::new(COPY).join(Checkpoint::TABLES).join(&name);
        let file = read_file(disk, &path, FILE_BYTES_MAX)?;
        let mut table = part.table(&name, &path).ok_or("a table of the part")?;
        read += bring(&mut table, &file)?.iter().map(|range| range.end - range.start).sum::<u64>();
        written.extend(table.write(&env.fs, &tables, &options())?);
    }
    let names: Vec<String> = written.iter().map(Narrowed::name).collect();
    assert!(disk.read_dir(&tables)?.iter().all(|name| names.contains(name)), "nothing unfinished is left");
    disk.create(&to.join(Checkpoint::MANIFEST))?.write_at(&part.manifest(written, 9), 0)?;
    Ok(read)
}

fn wanted() -> [Vec<Vec<u8>>; 5] {
    let of = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    [of(&["db07/"]), of(&["db11/", "db30/", "db12/01"]), of(&["db00/", "db39/"]), of(&["none"]), of(&["db"])]
}

#[test]
fn a_part_has_every_version_of_its_keys_and_no_byte_of_another() -> TestResult {
    for seed in 1..4 {
        let (env, disk, _clock) = sim::env(seed);
        let (engine, stamps) = filled(&env, seed)?;
        let manifest = manifest(&disk)?;
        let whole = Checkpoint::of_manifest(&manifest)?;
        assert!(whole.tables.len() > 2, "{} tables", whole.tables.len());
        for (number, prefixes) in wanted().into_iter().enumerate() {
            let part = Part::of_manifest(&manifest, &prefixes)?;
            let to = Path::new("/part").join(number.to_string());
            let read = narrow(&env, &disk, &part, &to)?;
            let all: u64 = part.tables().map(|(_, bytes)| bytes).sum();
            assert!(number > 0 || read < all / 2, "{read} of {all} bytes");
            let named = Checkpoint::of_manifest(&part.manifest(Vec::new(), 0))?;
            assert_eq!((named.applied, named.lineage, named.tables.len()), (whole.applied, whole.lineage, 0));
            let is_other = |at: &u64| !prefixes.iter().any(|prefix| key(*at, 10).starts_with(prefix));
            let others: Vec<Vec<u8>> = (0..40).filter(is_other).map(marker).collect();
            for name in disk.read_dir(&to.join(Checkpoint::TABLES))? {
                let file = read_file(&disk, &to.join(Checkpoint::TABLES).join(name), FILE_BYTES_MAX)?;
                for other in &others {
                    assert!(
                        !file.windows(other.len()).any(|bytes| bytes == other),
                        "{prefixes:?}: {other:?}"
                    );
                }
            }
            let (found, _) = Engine::open(env.clone(), &to, options())?;
            assert_eq!((found.applied(), found.lineage()), (whole.applied, whole.lineage));
            assert_eq!(found.horizon(), engine.horizon());
            for at in stamps.iter().filter(|at| **at >= engine.horizon()).step_by(37).chain(stamps.last()) {
                let rows = |engine: &Engine| -> Result<Vec<crate::KeyValue>, Error> {
                    engine.snapshot_at(*at)?.all(Direction::Forward).collect()
                };
                let mut expected = rows(&engine)?;
                expected.retain(|row| prefixes.iter().any(|prefix| row.key.starts_with(prefix)));
                assert_eq!(rows(&found)?, expected, "{prefixes:?} at {at}");
            }
            // Each table has the digest in its name.
            let mut scrub = crate::Scrub::default();
            loop {
                match found.scrub(&mut scrub, 1 << 20) {
                    crate::Scrubbed::Read(_) => {}
                    crate::Scrubbed::Pass => break,
                    damaged => return Err(format!("{damaged:?}").into()),
                }
            }
            found.close()?;
        }
        assert!(Part::of_manifest(&manifest[..40], &[]).is_err());
    }
    Ok(())
}

#[test]
fn a_flipped_bit_in_any_block_that_is_used_is_found_and_named() -> TestResult {
    let (env, disk, _clock) = sim::env(5);
    let (_engine, _) = filled(&env, 5)?;
    let random = SimRandom::new(6);
    let part = Part::of_manifest(&manifest(&disk)?, &wanted()[1])?;
    let (to, mut found) = (Path::new("/to"), 0);
    disk.create_dir_all(to)?;
    for (name, bytes) in part.tables() {
        let path = Path::new(COPY).join(Checkpoint::TABLES).join(&name);
        let file = read_file(&disk, &path, FILE_BYTES_MAX)?;
        let mut sound = part.table(&name, &path).ok_or("a table")?;
        bring(&mut sound, &file)?;
        let (_, blocks) = sound.found.as_ref().ok_or("an index")?;
        let trailer = bytes - crate::table::footer::TRAILER_LEN as u64..bytes;
        let used = blocks.iter().map(crate::table::select::Named::range).chain([0..16, trailer]);
        for range in used {
            let mut file = file.clone();
            let at = usize::try_from(range.start + random.below(range.end - range.start))?;
            file[at] ^= 1 << random.below(8);
            let mut table = part.table(&name, &path).ok_or("a table")?;
            let failed = match bring(&mut table, &file) {
                Ok(_) => table.write(&env.fs, to, &options()).map(drop),
                Err(error) => Err(error),
            };
            match failed {
                Err(Error::Damaged { path: named, offset, .. }) => {
                    assert!(named == path && range.contains(&offset), "{offset}, and byte {at} of {range:?}");
                }
                other => return Err(format!("byte {at} of {range:?}: {other:?}").into()),
            }
            found += 1;
        }
        for cut in [file.len() - 1, file.len() / 2, 15, 0] {
            let mut table = part.table(&name, &path).ok_or("a table")?;
            assert!(matches!(bring(&mut table, &file[..cut]), Err(Error::Damaged { .. })), "cut at {cut}");
        }
    }
    assert!(found > 30, "{found}");
    assert_eq!(disk.read_dir(to)?, Vec::<String>::new(), "and no table is left");
    Ok(())
}

#[test]
fn a_sound_block_from_somewhere_else_is_refused() -> TestResult {
    let (env, disk, _clock) = sim::env(7);
    let (_engine, _) = filled(&env, 7)?;
    let part = Part::of_manifest(&manifest(&disk)?, &[b"db".to_vec()])?;
    let mut refused = 0;
    for (name, _) in part.tables() {
        let path = Path::new(COPY).join(Checkpoint::TABLES).join(&name);
        let file = read_file(&disk, &path, FILE_BYTES_MAX)?;
        let mut table = part.table(&name, &path).ok_or("a table")?;
        bring(&mut table, &file)?;
        let (_, blocks) = table.found.as_mut().ok_or("an index")?;
        let Some(last) = blocks.len().checked_sub(1).filter(|last| *last > 0) else { continue };
        // As if the index named the blocks in another order.
        let (first, second) = (blocks[0].clone(), blocks[last].clone());
        blocks[0] = first.naming(&second);
        let written = table.write(&env.fs, Path::new(COPY), &options());
        assert!(
            matches!(&written, Err(Error::Damaged { offset, .. }) if *offset == second.range().start),
            "{written:?}"
        );
        refused += 1;
    }
    assert!(refused > 3);
    Ok(())
}

//! Every bit of every file of a small database, flipped one at a time, in three states: closed, idle (open, with
//! nothing that is not sealed), and after a crash.
//!
//! A flip is caught: the error names the file, and an offset that leads to the flip; or it has no effect, and
//! stands where that is certain:
//!
//! - in the space after the last frame of a log segment, which is reserved and not read as anything;
//! - in a last frame that only says that all before it is durable: a seal, or a manifest's mark. Without it
//!   the file looks as if a crash had cut it short right there, and nothing is lost.
//!
//! After a crash more remains: what stands above the greatest durable mark of its file, which the last sync made durable
//! and nothing says so. With a bit flipped it looks like a torn write. Without the last edits of the manifest the log is
//! replayed instead, and the answers are the same. Without the last record of the log the database is what it was
//! one record before.

use crate::TestResult;
use crate::support::{Model, check, in_parallel, small};
use engine::env::sim::{self, SimClock};
use engine::fs::read_file;
use engine::fs::sim::{Faults, Sim, Unsynced};
use engine::{Engine, Env, Error, Progress, WriteBatch};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DIR: &str = "/data";
/// Bits per byte.
const BITS: u64 = 8;
/// In the test command one bit in this many is flipped; a prime, so that every bit of a byte has its turn.
const STRIDE: u64 = 13;

/// A database at rest, and what is in it.
struct Database {
    state: &'static str,
    env: Env,
    disk: Sim,
    model: Model,
    /// Whether a record may be lost that no later frame says to be durable.
    crashed: bool,
}

fn open(env: &Env) -> engine::Result<Engine> {
    Engine::open(env.clone(), Path::new(DIR), small()).map(|(engine, _)| engine)
}

fn put(engine: &Engine, model: &mut Model, key: &[u8], value: &[u8]) -> TestResult {
    let mut batch = WriteBatch::new();
    batch.put(key, value, None)?;
    let stamp = engine.commit(batch.clone())?;
    model.commit(stamp, engine.applied().time_ms, &batch);
    Ok(())
}

/// An open database with its disk, its clock and what is in it.
type Filled = (Engine, Env, Sim, SimClock, Model);

/// Tables in two levels, of both codecs, and a log.
fn filled() -> Result<Filled, Box<dyn std::error::Error>> {
    let (env, disk, clock) = sim::env(5);
    let engine = open(&env)?;
    let mut model = Model::default();
    for round in 0..6u8 {
        for n in 0..12u8 {
            put(&engine, &mut model, &[n], &[round; 90])?;
        }
        engine.flush()?;
        if round == 3 {
            while engine.compact()? == Progress::Worked {}
        }
    }
    put(&engine, &mut model, b"in the log", b"alone")?;
    put(&engine, &mut model, b"in the log", b"again")?;
    Ok((engine, env, disk, clock, model))
}

fn databases() -> Result<Vec<Database>, Box<dyn std::error::Error>> {
    let mut databases = Vec::new();
    for state in ["closed", "idle", "crashed"] {
        let (engine, env, disk, clock, model) = filled()?;
        match state {
            "closed" => engine.close()?,
            "idle" => {
                clock.advance(60_000);
                while engine.maintain()? == Progress::Worked {}
                // What the open engine does not hold in memory alone: its process is killed.
                disk.crash(Unsynced::Kept);
            }
            _ => disk.crash(Unsynced::Lost),
        }
        databases.push(Database { state, env, disk, model, crashed: state == "crashed" });
    }
    Ok(databases)
}

/// What a flip came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Caught,
    NoEffect,
    LooksTorn,
}

/// What the frames of a file say (FORMAT.md).
#[derive(Debug, Default)]
struct Framed {
    /// The greatest of the offsets below which a frame says that the file is durable.
    durable: u64,
    /// Where the last frame stands.
    last: Range<u64>,
    last_kind: u8,
    last_payload_len: usize,
}

fn framed(bytes: &[u8]) -> Framed {
    let number = |at: usize| bytes[at..at + 4].iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
    let mut framed = Framed::default();
    let mut offset = 32;
    while bytes.get(offset..offset + 24).is_some_and(|header| header[12] != 0) {
        let len = usize::try_from(number(offset + 4)).expect("a short payload");
        let end = (offset + 24 + len).next_multiple_of(8);
        framed.durable = framed.durable.max(number(offset + 16));
        (framed.last, framed.last_kind) = (offset as u64..end as u64, bytes[offset + 12]);
        framed.last_payload_len = len;
        offset = end;
    }
    framed
}

impl Database {
    /// Every bit of every file, or a sample of them: file, offset, bit.
    fn flips(&self, stride: u64) -> Vec<(PathBuf, u64, u8)> {
        let of_file = |(path, len): (PathBuf, u64)| {
            let bit = |at: u64| (path.clone(), at / BITS, (at % BITS) as u8);
            (0..len * BITS).map(bit).collect::<Vec<_>>()
        };
        let all = self.disk.files().into_iter().flat_map(of_file);
        all.step_by(usize::try_from(stride).expect("a small stride")).collect()
    }

    fn flip(&self, path: &Path, offset: u64, bit: u8) -> Result<Outcome, String> {
        let disk = self.disk.fork();
        disk.flip_bit(path, offset, bit).map_err(|error| error.to_string())?;
        let env = Env { fs: Arc::new(disk), ..self.env.clone() };
        match self.read(&env) {
            Ok(Outcome::NoEffect) if self.says_nothing(path, offset)? => Ok(Outcome::NoEffect),
            Ok(Outcome::LooksTorn) if self.is_last_record(path, offset)? => Ok(Outcome::LooksTorn),
            Ok(other) => Err(format!("{other:?} is not explained")),
            Err(error) => match error.downcast::<Error>().map(|error| *error) {
                Ok(Error::Damaged { path: named, offset: at, .. }) if named == path && names(at, offset) => {
                    Ok(Outcome::Caught)
                }
                Ok(error) => Err(format!("not named: {error}")),
                Err(wrong) => Err(format!("a wrong answer: {wrong}")),
            },
        }
    }

    /// Opens the database, reads all of it in every way, and verifies it.
    fn read(&self, env: &Env) -> Result<Outcome, Box<dyn std::error::Error>> {
        let engine = open(env)?;
        let held = engine.snapshot().stamp();
        let count = self.model.commits.iter().filter(|(stamp, _)| *stamp <= held).count();
        check(&engine.snapshot(), &self.model.prefix(count))?;
        engine.verify()?;
        match self.model.commits.len() - count {
            0 => Ok(Outcome::NoEffect),
            1 => Ok(Outcome::LooksTorn),
            lost => Err(format!("{lost} commits are gone").into()),
        }
    }

    fn framed(&self, path: &Path) -> Result<Framed, String> {
        let bytes = read_file(&self.disk, path, 1 << 20).map_err(|error| error.to_string())?;
        Ok(framed(&bytes))
    }

    /// Whether what stands there is known to say nothing that is not said elsewhere.
    fn says_nothing(&self, path: &Path, offset: u64) -> Result<bool, String> {
        const SEAL: u8 = 3;
        if is_table(path) {
            return Ok(false);
        }
        let framed = self.framed(path)?;
        let is_mark = framed.last_payload_len == 0 || (is_log(path) && framed.last_kind == SEAL);
        let nothing = offset >= framed.last.end || (is_mark && framed.last.contains(&offset));
        Ok(nothing || (self.crashed && offset >= framed.durable))
    }

    /// Whether it is in the last record of a log that is not sealed.
    fn is_last_record(&self, path: &Path, offset: u64) -> Result<bool, String> {
        const RECORD: u8 = 2;
        if !self.crashed || !is_log(path) {
            return Ok(false);
        }
        let framed = self.framed(path)?;
        let is_there = framed.last.contains(&offset) && framed.last_kind == RECORD;
        Ok(is_there && offset >= framed.durable)
    }
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "wal")
}

fn is_table(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tbl")
}

/// Whether an error's offset leads to a flip: it is where the frame, block or field starts that holds it. What a frame's
/// header or a preamble says is found to be wrong once it was read.
fn names(named: u64, flipped: u64) -> bool {
    const HEADER_LEN: u64 = 24;
    named <= flipped + HEADER_LEN
}

#[test]
fn every_flipped_bit_is_reported_with_its_file_or_provably_changes_nothing() -> TestResult {
    let stride = if std::env::var_os("CAIRN_FLIPS_ALL").is_some() { 1 } else { STRIDE };
    let mut total = 0;
    for database in databases()? {
        let flips = database.flips(stride);
        let outcomes = in_parallel(&flips, |(path, offset, bit)| {
            let outcome = database.flip(path, *offset, *bit);
            outcome.map_err(|error| format!("{}, byte {offset}, bit {bit}: {error}", path.display()))
        });
        let outcomes = outcomes
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("{}: {error}", database.state))?;
        let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
        let [caught, no_effect, torn] = [Outcome::Caught, Outcome::NoEffect, Outcome::LooksTorn].map(count);
        assert!(caught > outcomes.len() / 4 && (torn > 0) == database.crashed, "{outcomes:?}");
        total += outcomes.len();
        println!(
            "{}: {} flips, {caught} named, {no_effect} without effect, {torn} as a torn last record, 0 unexplained",
            database.state,
            outcomes.len(),
        );
    }
    println!("{total} flips in all");
    Ok(())
}

#[test]
fn a_bit_that_flips_on_its_way_from_the_disk_is_never_a_wrong_answer() -> TestResult {
    let closed = databases()?.into_iter().next().ok_or("the closed one")?;
    let disk = closed.disk.fork();
    disk.set_faults(Faults::default());
    closed.read(&Env { fs: Arc::new(disk.clone()), ..closed.env.clone() })?;
    let reads = disk.counts().reads;
    let mut caught = 0;
    for read in 1..=reads {
        let disk = closed.disk.fork();
        disk.set_faults(Faults { flip_read: Some(read), ..Faults::default() });
        match closed.read(&Env { fs: Arc::new(disk), ..closed.env.clone() }) {
            Ok(outcome) => assert_eq!(outcome, Outcome::NoEffect, "read {read}"),
            Err(error) => match error.downcast::<Error>().map(|error| *error) {
                Ok(Error::Damaged { .. }) => caught += 1,
                other => return Err(format!("read {read}: {other:?}").into()),
            },
        }
    }
    assert!(reads > 10 && caught * 2 > reads, "{caught} of {reads} reads");
    Ok(())
}

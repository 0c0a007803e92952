//! Seeds in which nothing may be wrong: those that were wrong once, fixed ones, and fresh ones.

use crate::rig::{self, Case, TestResult, counted, run, run_all, run_archived, run_case};
use replication::sim::trial::Trial;
use std::time::Duration;

/// Seeds that have failed once, one a line, with `archive` behind those that had one, and with what it was.
const FAILED_ONCE: &str = include_str!("seeds.txt");
/// The first fixed seed.
const FIXED: u64 = 1;
/// How many there are.
const FIXED_COUNT: u64 = 6;
/// How long fresh seeds are tried unless the environment says otherwise, in seconds.
const FRESH_S: u64 = 30;

fn failed_once() -> TestResult<Vec<Case>> {
    let lines = FAILED_ONCE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let case = |line: &str| {
        let mut words = line.split_whitespace();
        let seed = words.next().unwrap_or_default().parse()?;
        Ok(Case { trial: Trial::of(seed), is_archived: words.next() == Some("archive") })
    };
    lines.map(case).collect()
}

#[test]
fn nothing_is_wrong_in_seeds_that_failed_once_in_fixed_and_in_fresh_ones() -> TestResult {
    if let Some(seed) = rig::number("CAIRN_SIM_SEED")? {
        let mut case = Case::of(seed);
        case.is_archived = rig::number("CAIRN_SIM_ARCHIVE")?.map_or(case.is_archived, |archive| archive > 0);
        let report = run_case(&case)??;
        println!("seed {seed}: {report:?}");
        return Ok(());
    }
    let again = failed_once()?;
    let count = u64::try_from(again.len())?;
    let (old, fixed) = (counted(0, count), counted(FIXED, FIXED_COUNT));
    let seconds = rig::number("CAIRN_SIM_SECONDS")?.unwrap_or(FRESH_S);
    let first = rig::number("CAIRN_SIM_FRESH")?;
    if let Some(first) = first {
        println!("simulation: fresh seeds from CAIRN_SIM_FRESH={first} on, for {seconds} s");
    }
    let fresh = counted(first.unwrap_or(0), u64::MAX);
    let end_ns = rig::now_ns() + u64::try_from(Duration::from_secs(seconds).as_nanos())?;
    let next = || {
        let known = old().and_then(|place| again.get(usize::try_from(place).ok()?).cloned());
        let is_time = || first.is_some() && rig::now_ns() < end_ns;
        known.or_else(|| fixed().or_else(|| is_time().then(&fresh).flatten()).map(Case::of))
    };
    let tally = run_all(next)?;
    println!("simulation: {tally}");
    assert!(tally.seeds >= count + FIXED_COUNT, "all known seeds are tried");
    let of_archive = ["segment", "checkpoint", "bucket fault", "removed object", "restore compared"];
    for kind in ["process kill", "power cut", "part", "replaced"].into_iter().chain(of_archive) {
        assert!(tally.count(kind) > 0, "no {kind} in any seed: the trials are too tame");
    }
    Ok(())
}

#[test]
fn a_seed_does_the_same_each_time() -> TestResult {
    let mut trial = Trial::of(3);
    trial.torment = Duration::from_secs(15);
    for is_archived in [false, true] {
        let run = || if is_archived { run_archived(&trial, None) } else { run(&trial) };
        let (one, other) = (run()??, run()??);
        assert_eq!(one.trace, other.trace);
        assert_eq!(one.verdict, other.verdict);
        assert_eq!(one.noted, other.noted);
    }
    Ok(())
}

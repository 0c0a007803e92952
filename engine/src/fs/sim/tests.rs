use super::*;
use crate::fs::read_file;

type TestResult = Result<(), Box<dyn std::error::Error>>;

const DIR: &str = "/d";
const FILE: &str = "/d/file";

fn disk_with(path: &str) -> Result<(Sim, Arc<dyn File>), io::Error> {
    let sim = Sim::new();
    sim.create_dir_all(Path::new(DIR))?;
    let file = sim.create(Path::new(path))?;
    Ok((sim, file))
}

/// A disk with files that are durable and empty.
fn disk_with_all(names: &[&str]) -> Result<(Sim, Vec<Arc<dyn File>>), io::Error> {
    let sim = Sim::new();
    sim.create_dir_all(Path::new(DIR))?;
    let files = names.iter().map(|name| sim.create(&Path::new(DIR).join(name))).collect::<Result<_, _>>()?;
    sim.sync_dir(Path::new(DIR))?;
    Ok((sim, files))
}

fn read(sim: &Sim, name: &str) -> io::Result<Vec<u8>> {
    read_file(sim, &Path::new(DIR).join(name), 1 << 20)
}

fn names(sim: &Sim) -> io::Result<Vec<String>> {
    sim.read_dir(Path::new(DIR))
}

#[test]
fn the_simulation_passes_the_conformance_suite() -> TestResult {
    crate::fs::conformance::all(&Sim::new(), Path::new("/conformance"))
}

#[test]
fn a_crash_keeps_what_was_synced_and_loses_the_rest() -> TestResult {
    let (sim, file) = disk_with(FILE)?;
    file.write_at(b"kept", 0)?;
    file.sync()?;
    sim.sync_dir(Path::new(DIR))?;
    file.write_at(b"lost", 0)?;
    sim.create(Path::new("/d/unsynced"))?;
    sim.crash(Unsynced::Lost);
    assert_eq!(read(&sim, "file")?, b"kept");
    assert_eq!(names(&sim)?, ["file"]);
    assert!(file.write_at(b"x", 0).is_err(), "a handle of the boot before is dead");
    Ok(())
}

#[test]
fn a_torn_crash_keeps_whole_sectors_of_some_writes() -> TestResult {
    let mut seen = BTreeSet::new();
    for seed in 0..64 {
        let (sim, files) = disk_with_all(&["file"])?;
        files[0].allocate(2048)?;
        files[0].sync()?;
        files[0].write_at(&[1; 1024], 512)?;
        sim.crash(Unsynced::Torn(seed));
        let bytes = read(&sim, "file")?;
        let sectors: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
        assert!(bytes.chunks(512).all(|sector| sector.iter().all(|b| *b == sector[0])));
        seen.insert(sectors);
    }
    assert_eq!(seen.len(), 4, "neither, either or both of the two sectors");
    Ok(())
}

#[test]
fn a_torn_crash_keeps_a_journals_prefix_of_the_names() -> TestResult {
    let mut seen = BTreeSet::new();
    for seed in 0..64 {
        let (sim, _) = disk_with_all(&["a"])?;
        sim.rename(Path::new("/d/a"), Path::new("/d/b"))?;
        sim.create(Path::new("/d/c"))?;
        sim.remove(Path::new("/d/b"))?;
        sim.crash(Unsynced::Torn(seed));
        seen.insert(names(&sim)?.concat());
    }
    assert_eq!(seen, BTreeSet::from(["a", "b", "bc", "c"].map(String::from)));
    Ok(())
}

#[test]
fn a_reordered_crash_keeps_a_later_write_of_one_file_without_an_earlier_one_of_another() -> TestResult {
    let mut seen = BTreeSet::new();
    for seed in 0..256 {
        let (sim, files) = disk_with_all(&["early", "late"])?;
        files[0].write_at(b"1", 0)?;
        files[1].write_at(b"2", 0)?;
        sim.crash(Unsynced::Reordered(seed));
        seen.insert((read(&sim, "early")?, read(&sim, "late")?));
    }
    assert!(seen.contains(&(Vec::new(), b"2".to_vec())), "the later write alone");
    assert_eq!(seen.len(), 4, "and every other mixture: {seen:?}");
    Ok(())
}

#[test]
fn a_reordered_crash_keeps_a_later_write_of_a_file_without_an_earlier_one_of_it() -> TestResult {
    let keeps_later_alone = |seed| -> Result<bool, io::Error> {
        let (sim, files) = disk_with_all(&["file"])?;
        for at in 0..4 {
            files[0].write_at(&[7; 512], at * 512)?;
        }
        sim.crash(Unsynced::Reordered(seed));
        let bytes = read(&sim, "file")?;
        let kept: Vec<bool> = bytes.chunks(512).map(|sector| sector[0] == 7).collect();
        assert!(kept.len() <= 4);
        Ok(kept == [false, false, true, true])
    };
    let found = (0..256).map(keeps_later_alone).collect::<Result<Vec<_>, _>>()?;
    assert!(found.contains(&true) && found.contains(&false));
    Ok(())
}

#[test]
fn a_reordered_crash_keeps_a_name_without_the_bytes_or_an_earlier_name() -> TestResult {
    let mut seen = BTreeSet::new();
    for seed in 0..256 {
        let (sim, _) = disk_with_all(&[])?;
        let file = sim.create(Path::new("/d/file.new"))?;
        file.write_at(b"bytes", 0)?;
        sim.rename(Path::new("/d/file.new"), Path::new(FILE))?;
        sim.create(Path::new("/d/other"))?;
        sim.crash(Unsynced::Reordered(seed));
        let bytes = read(&sim, "file").unwrap_or_default();
        seen.insert((names(&sim)?.join(" "), bytes.len()));
    }
    for possible in [("file other", 0), ("file other", 5), ("other", 0), ("file", 0)] {
        let (names, len) = possible;
        assert!(seen.contains(&(names.to_owned(), len)), "{possible:?} among {seen:?}");
    }
    Ok(())
}

#[test]
fn a_killed_process_loses_nothing_that_it_wrote() -> TestResult {
    let (sim, file) = disk_with(FILE)?;
    file.write_at(b"unsynced", 0)?;
    sim.crash(Unsynced::Kept);
    assert_eq!(read(&sim, "file")?, b"unsynced");
    Ok(())
}

#[test]
fn what_a_killed_process_did_not_sync_a_later_crash_may_take() -> TestResult {
    let (sim, file) = disk_with(FILE)?;
    sim.sync_dir(Path::new(DIR))?;
    file.write_at(b"synced", 0)?;
    file.sync()?;
    file.write_at(b"unsynced", 0)?;
    let lock = sim.lock(Path::new("/d/LOCK"))?;
    sim.kill();
    assert!(file.sync().is_err(), "its handles are dead");
    assert!(sim.lock(Path::new("/d/LOCK")).is_ok(), "and so are its locks");
    drop(lock);
    assert_eq!(read(&sim, "file")?, b"unsynced");
    sim.crash(Unsynced::Lost);
    assert_eq!(read(&sim, "file")?, b"synced");
    Ok(())
}

#[test]
fn an_ignored_sync_is_answered_and_not_done() -> TestResult {
    for faults in [
        Faults { ignore_syncs_of: Some("file"), ..Faults::default() },
        Faults { ignore_sync: Some(1), ..Faults::default() },
    ] {
        let (sim, file) = disk_with(FILE)?;
        sim.sync_dir(Path::new(DIR))?;
        sim.set_faults(faults);
        file.write_at(b"gone", 0)?;
        file.sync()?;
        sim.crash(Unsynced::Lost);
        assert_eq!(read(&sim, "file")?, b"");
    }
    Ok(())
}

#[test]
fn a_full_disk_refuses_growth_and_takes_rewrites() -> TestResult {
    let (sim, file) = disk_with(FILE)?;
    sim.set_faults(Faults { capacity: Some(4), ..Faults::default() });
    file.write_at(b"four", 0)?;
    assert_eq!(file.write_at(b"x", 4).map_err(|e| e.kind()), Err(ErrorKind::StorageFull));
    assert_eq!(file.allocate(5).map_err(|e| e.kind()), Err(ErrorKind::StorageFull));
    file.write_at(b"FOUR", 0)?;
    assert_eq!(sim.space(Path::new("/"))?.available, 0);
    Ok(())
}

#[test]
fn after_the_stop_nothing_works_until_the_crash() -> TestResult {
    let (sim, file) = disk_with(FILE)?;
    sim.set_faults(Faults { stop_at_sync: Some(2), ..Faults::default() });
    file.sync()?;
    assert!(file.sync().is_err());
    assert!(file.write_at(b"x", 0).is_err() && sim.exists(Path::new(DIR)).is_err());
    sim.crash(Unsynced::Kept);
    assert!(sim.exists(Path::new(FILE))?);
    Ok(())
}

#[test]
fn the_operation_at_which_the_power_goes_may_have_happened() -> TestResult {
    for (unsynced, expected) in [(Unsynced::Kept, &b"half way"[..]), (Unsynced::Lost, b"")] {
        let (sim, files) = disk_with_all(&["file"])?;
        sim.set_faults(Faults { stop_at_op: Some(1), ..Faults::default() });
        assert!(files[0].write_at(b"half way", 0).is_err());
        sim.crash(unsynced);
        assert_eq!(read(&sim, "file")?, expected);

        let (sim, _) = disk_with_all(&["file"])?;
        sim.set_faults(Faults { stop_at_op: Some(1), ..Faults::default() });
        assert!(sim.remove(Path::new(FILE)).is_err());
        sim.crash(unsynced);
        assert_eq!(sim.exists(Path::new(FILE))?, unsynced == Unsynced::Lost);
    }
    Ok(())
}

#[test]
fn a_failed_write_has_written_a_part_and_the_next_one_works() -> TestResult {
    let (sim, file) = disk_with(FILE)?;
    sim.set_faults(Faults { fail_op: Some(2), ..Faults::default() });
    file.write_at(b"....", 0)?;
    assert!(file.write_at(b"abcd", 0).is_err());
    assert_eq!(read(&sim, "file")?, b"ab..");
    file.write_at(b"efgh", 0)?;
    assert_eq!(read(&sim, "file")?, b"efgh");
    Ok(())
}

#[test]
fn a_failed_sync_makes_nothing_durable() -> TestResult {
    let (sim, files) = disk_with_all(&["file"])?;
    sim.set_faults(Faults { fail_op: Some(2), ..Faults::default() });
    files[0].write_at(b"bytes", 0)?;
    assert!(files[0].sync().is_err());
    sim.crash(Unsynced::Lost);
    assert_eq!(read(&sim, "file")?, b"");
    Ok(())
}

#[test]
fn one_read_fails_and_one_brings_a_flipped_bit() -> TestResult {
    let (sim, file) = disk_with(FILE)?;
    file.write_at(&[0; 9], 0)?;
    sim.set_faults(Faults { fail_read: Some(2), flip_read: Some(3), ..Faults::default() });
    let mut buf = [0; 9];
    let mut ones = || -> io::Result<u32> {
        file.read_exact_at(&mut buf, 0)?;
        Ok(buf.iter().map(|byte| byte.count_ones()).sum())
    };
    assert_eq!((ones()?, ones().is_err(), ones()?, ones()?), (0, true, 1, 0));
    assert_eq!(sim.counts().reads, 4);
    Ok(())
}

#[test]
fn a_flipped_bit_stays_flipped() -> TestResult {
    let (sim, file) = disk_with(FILE)?;
    file.write_at(&[0; 4], 0)?;
    sim.flip_bit(Path::new(FILE), 2, 3)?;
    assert_eq!(read(&sim, "file")?, [0, 0, 8, 0]);
    assert!(sim.flip_bit(Path::new(FILE), 4, 0).is_err(), "no such byte");
    Ok(())
}

#[test]
fn a_fork_is_another_disk_with_the_same_files() -> TestResult {
    let (sim, file) = disk_with(FILE)?;
    file.write_at(b"both", 0)?;
    let fork = sim.fork();
    file.write_at(b"one!", 0)?;
    fork.crash(Unsynced::Lost);
    assert_eq!((read(&sim, "file")?, read(&fork, "file")?), (b"one!".to_vec(), b"both".to_vec()));
    Ok(())
}

#[test]
fn each_sync_says_what_it_made_durable() -> TestResult {
    let (sim, file) = disk_with(FILE)?;
    sim.set_faults(Faults::default());
    file.write_at(b"1234", 0)?;
    file.set_len(2)?;
    file.sync()?;
    file.sync()?;
    sim.sync_dir(Path::new(DIR))?;
    let said: Vec<_> = sim.synced().iter().map(|s| (s.is_dir, s.is_first, s.changes, s.cuts)).collect();
    assert_eq!(said, [(false, true, 2, true), (false, false, 0, false), (true, true, 1, false)]);
    Ok(())
}

#[test]
fn a_file_without_a_name_is_gone_once_nobody_has_it_open() -> TestResult {
    let (sim, file) = disk_with(FILE)?;
    sim.remove(Path::new(FILE))?;
    sim.sync_dir(Path::new(DIR))?;
    file.write_at(b"still", 0)?;
    assert_eq!(sim.state.lock().inodes.len(), 1);
    drop(file);
    assert_eq!(sim.state.lock().inodes.len(), 0);
    Ok(())
}

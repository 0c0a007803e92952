use super::*;
use engine::fs::read_file;

type TestResult = Result<(), Box<dyn std::error::Error>>;

const DIR: &str = "/data";
const PATH: &str = "/data/file";

fn disk_with_file(bytes: &[u8]) -> Result<(Disk, BootFs, Arc<dyn File>), io::Error> {
    let disk = Disk::default();
    let fs = disk.boot();
    fs.create_dir_all(Path::new(DIR))?;
    let file = fs.create(Path::new(PATH))?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    fs.sync_dir(Path::new(DIR))?;
    Ok((disk, fs, file))
}

fn read(fs: &BootFs) -> io::Result<Vec<u8>> {
    read_file(fs, Path::new(PATH), 1 << 20)
}

#[test]
fn a_process_has_a_disk_that_passes_the_suite() -> TestResult {
    engine::fs::conformance::all(&Disk::default().boot(), Path::new("/conformance"))
}

#[test]
fn what_a_dead_process_does_has_no_effect() -> TestResult {
    let (disk, dead, file) = disk_with_file(b"before")?;
    disk.take_away();
    disk.kill();
    let alive = disk.boot();
    assert!(file.write_at(b"after!", 0).is_err() && file.sync().is_err() && file.set_len(0).is_err());
    assert!(dead.remove(Path::new(PATH)).is_err() && dead.create(Path::new("/data/other")).is_err());
    assert!(dead.rename(Path::new(PATH), Path::new("/data/other")).is_err());
    assert!(dead.remove_dir_all(Path::new(DIR)).is_err() && dead.open(Path::new(PATH)).is_err());
    assert_eq!(read(&alive)?, b"before");
    Ok(())
}

#[test]
fn after_a_failed_sync_nothing_more_of_the_file_becomes_durable() -> TestResult {
    let (disk, fs, file) = disk_with_file(b"old")?;
    disk.fail(Failure { operation: Operation::Sync, of: "file", after: 1 });
    file.sync()?;
    file.write_at(b"new", 0)?;
    assert!(file.sync().is_err());
    assert!(file.sync().is_ok(), "a second try is answered");
    assert_eq!(read(&fs)?, b"new");
    disk.take_away();
    disk.crash(Unsynced::Lost);
    let fs = disk.boot();
    assert_eq!(read(&fs)?, b"old");
    let file = fs.open_rw(Path::new(PATH))?;
    file.write_at(b"new", 0)?;
    file.sync()?;
    disk.take_away();
    disk.crash(Unsynced::Lost);
    assert_eq!(read(&disk.boot())?, b"new", "the next process can sync it");
    assert_eq!(disk.counters().failed_syncs, 1);
    Ok(())
}

#[test]
fn only_the_operation_that_was_meant_fails() -> TestResult {
    let (disk, fs, file) = disk_with_file(b"old")?;
    disk.fail(Failure { operation: Operation::Write, of: "elsewhere", after: 0 });
    file.write_at(b"new", 0)?;
    disk.fail(Failure { operation: Operation::Read, of: "", after: 0 });
    file.write_at(b"NEW", 0)?;
    assert!(read(&fs).is_err());
    assert_eq!(read(&fs)?, b"NEW", "once");
    assert_eq!(disk.counters(), DiskCounters { failed_reads: 1, ..DiskCounters::default() });
    Ok(())
}

#[test]
fn a_full_disk_stays_full_over_a_crash() -> TestResult {
    let (disk, _fs, file) = disk_with_file(&[1; 100])?;
    disk.set_free(Some(50));
    assert_eq!(file.write_at(&[2; 100], 100).map_err(|e| e.kind()), Err(ErrorKind::StorageFull));
    disk.take_away();
    disk.crash(Unsynced::Lost);
    let fs = disk.boot();
    assert_eq!(fs.space(Path::new(DIR))?.available, 50);
    disk.set_free(None);
    fs.open_rw(Path::new(PATH))?.write_at(&[2; 100], 100)?;
    assert_eq!(disk.counters().full, 1);
    Ok(())
}

#[test]
fn a_bit_is_flipped_where_it_is_said_to_be() -> TestResult {
    let (disk, fs, _file) = disk_with_file(&[0; 64])?;
    let mut random = SplitMix(1);
    assert_eq!(disk.flip_bit("nothing like it", &mut random), None);
    let (path, offset) = disk.flip_bit("data", &mut random).ok_or("there is a file")?;
    let bytes = read_file(&fs, &path, 64)?;
    let flipped: Vec<_> = (0_u64..).zip(&bytes).filter(|(_, byte)| **byte != 0).collect();
    assert_eq!(flipped.len(), 1);
    assert!(flipped[0].0 == offset && flipped[0].1.count_ones() == 1);
    Ok(())
}

#[test]
fn a_wiped_disk_is_empty_and_works() -> TestResult {
    let (disk, _fs, _file) = disk_with_file(b"old")?;
    disk.take_away();
    disk.wipe();
    assert_eq!(disk.files(), []);
    let fs = disk.boot();
    assert!(!fs.exists(Path::new(DIR))?);
    fs.create_dir_all(Path::new(DIR))?;
    fs.create(Path::new(PATH))?;
    Ok(())
}

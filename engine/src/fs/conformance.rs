//! What every [`Fs`] must do, as one suite that each implementation passes.

use super::{Fs, read_file};
use std::error::Error;
use std::io::ErrorKind;
use std::path::Path;

type Checked = Result<(), Box<dyn Error>>;

/// Runs the suite below `dir`, an empty directory.
///
/// # Errors
///
/// What the file system answered where the suite wanted success.
///
/// # Panics
///
/// When an answer is not the one that is promised.
pub fn all(fs: &dyn Fs, dir: &Path) -> Checked {
    bytes_come_back(fs, &dir.join("bytes"))?;
    names_are_taken_once(fs, &dir.join("names"))?;
    a_link_outlives_the_first_name(fs, &dir.join("links"))?;
    lengths_grow_with_zeros_and_cut(fs, &dir.join("lengths"))?;
    one_lock_at_a_time(fs, &dir.join("locks"))
}

fn bytes_come_back(fs: &dyn Fs, dir: &Path) -> Checked {
    fs.create_dir_all(&dir.join("a/b"))?;
    fs.create_dir_all(&dir.join("a/b"))?;
    let path = dir.join("a/b/file");
    let file = fs.create(&path)?;
    assert!(file.is_empty()?);
    file.write_at(b"hello", 0)?;
    file.write_at(b"world", 7)?;
    file.sync()?;
    fs.sync_dir(&dir.join("a/b"))?;
    assert_eq!(read_file(fs, &path, 100)?, b"hello\0\0world");
    assert_eq!(read_file(fs, &path, 11).map_err(|e| e.kind()), Err(ErrorKind::InvalidData));
    let mut buf = [0; 8];
    assert_eq!(fs.open(&path)?.read_at(&mut buf, 10)?, 2);
    assert_eq!(fs.open(&path)?.read_at(&mut buf, 12)?, 0);
    assert_eq!(file.read_exact_at(&mut buf, 6).map_err(|e| e.kind()), Err(ErrorKind::UnexpectedEof));
    assert!(fs.open(&path)?.write_at(b"x", 0).is_err(), "a file opened for reading takes no writes");
    fs.open_rw(&path)?.write_at(b"J", 0)?;
    assert_eq!(read_file(fs, &path, 100)?, b"Jello\0\0world");
    assert!(fs.space(&path)?.total > 0);
    Ok(())
}

fn names_are_taken_once(fs: &dyn Fs, dir: &Path) -> Checked {
    fs.create_dir_all(dir)?;
    let (a, b) = (dir.join("a"), dir.join("b"));
    fs.create(&a)?.write_at(b"a", 0)?;
    assert_eq!(fs.create(&a).map_err(|e| e.kind()).err(), Some(ErrorKind::AlreadyExists));
    fs.create(&b)?.write_at(b"b", 0)?;
    assert_eq!(fs.read_dir(dir)?, ["a", "b"]);
    fs.rename(&a, &b)?;
    assert_eq!(fs.read_dir(dir)?, ["b"]);
    assert_eq!(read_file(fs, &b, 9)?, b"a");
    assert!(!fs.exists(&a)? && fs.exists(&b)? && fs.exists(dir)?);
    for missing in [fs.open(&a).err(), fs.open_rw(&a).err(), fs.remove(&a).err(), fs.read_dir(&a).err()] {
        assert_eq!(missing.map(|e| e.kind()), Some(ErrorKind::NotFound));
    }
    fs.remove(&b)?;
    assert!(fs.read_dir(dir)?.is_empty());
    fs.create(&a)?;
    fs.remove_dir_all(dir)?;
    fs.remove_dir_all(dir)?;
    assert!(!fs.exists(dir)?);
    Ok(())
}

fn a_link_outlives_the_first_name(fs: &dyn Fs, dir: &Path) -> Checked {
    fs.create_dir_all(dir)?;
    let (a, b) = (dir.join("a"), dir.join("b"));
    let open = fs.create(&a)?;
    open.write_at(b"shared", 0)?;
    fs.hard_link(&a, &b)?;
    assert_eq!(fs.hard_link(&a, &b).map_err(|e| e.kind()), Err(ErrorKind::AlreadyExists));
    fs.remove(&a)?;
    assert_eq!(read_file(fs, &b, 9)?, b"shared");
    fs.remove(&b)?;
    let mut buf = [0; 6];
    open.read_exact_at(&mut buf, 0)?;
    assert_eq!(&buf, b"shared", "an open file outlives its names");
    Ok(())
}

fn lengths_grow_with_zeros_and_cut(fs: &dyn Fs, dir: &Path) -> Checked {
    fs.create_dir_all(dir)?;
    let path = dir.join("file");
    let file = fs.create(&path)?;
    file.write_at(b"123456", 0)?;
    file.set_len(3)?;
    file.set_len(5)?;
    assert_eq!(read_file(fs, &path, 9)?, b"123\0\0");
    file.allocate(8)?;
    assert_eq!(read_file(fs, &path, 9)?, b"123\0\0\0\0\0");
    file.allocate(4)?;
    assert_eq!(file.len()?, 8, "reserving less than the length keeps the length");
    Ok(())
}

fn one_lock_at_a_time(fs: &dyn Fs, dir: &Path) -> Checked {
    fs.create_dir_all(dir)?;
    let path = dir.join("LOCK");
    let held = fs.lock(&path)?;
    assert_eq!(fs.lock(&path).map_err(|e| e.kind()).err(), Some(ErrorKind::WouldBlock));
    drop(held);
    fs.lock(&path)?;
    Ok(())
}

//! Files of the real schema, and files that are something else.

use super::*;
use crate::import::testing::{Database, SCHEMA_SQL};

type TestResult = Result<(), Box<dyn std::error::Error>>;

const NOW_MS: u64 = 1_000;

fn refusal(path: &Path) -> String {
    match Source::open(path).and_then(|source| source.check(NOW_MS, false)) {
        Ok(found) => format!("taken: {found:?}"),
        Err(error) => format!("{:#}", anyhow::Error::new(error)),
    }
}

#[test]
fn rows_are_counted_and_what_has_expired_is_told_apart() -> TestResult {
    let database = Database::new()?;
    database.put(b"a", b"\xff\x0fT", 1, -1)?;
    database.put(b"b", b"x", 3, 1_000)?;
    database.put(b"c", b"x", 3, 1_001)?;
    let path = database.close()?;
    let found = Source::open(&path)?.check(NOW_MS, false)?;
    assert_eq!(found, Imported { rows: 2, skipped_expired: 1, queue_messages: 0 });
    Ok(())
}

#[test]
fn an_open_log_beside_the_file_is_part_of_it() -> TestResult {
    let database = Database::new()?;
    database.put(b"in the log", b"x", 3, -1)?;
    assert!(is_filled(&beside(database.path(), "-wal")));
    let source = Source::open(database.path())?;
    assert_eq!(source.check(NOW_MS, false)?.rows, 1);
    database.put(b"later", b"x", 3, -1)?;
    assert_eq!(source.check(NOW_MS, false)?.rows, 1, "the snapshot does not move");
    Ok(())
}

#[test]
fn the_log_that_a_crash_left_is_part_of_the_file() -> TestResult {
    let database = Database::new()?;
    database.put(b"in the log", b"x", 3, -1)?;
    let crashed = tempfile::tempdir()?;
    let copy = crashed.path().join("kv ?#%.sqlite3");
    std::fs::copy(database.path(), &copy)?;
    std::fs::copy(beside(database.path(), "-wal"), beside(&copy, "-wal"))?;
    assert_eq!(Source::open(&copy)?.check(NOW_MS, false)?.rows, 1);
    Ok(())
}

#[test]
fn reading_leaves_nothing_beside_a_file_that_was_closed() -> TestResult {
    let database = Database::new()?;
    database.put(b"k", b"x", 3, -1)?;
    let path = database.close()?;
    let before = std::fs::read(&*path)?;
    Source::open(&path)?.check(NOW_MS, false)?;
    let names = std::fs::read_dir(path.parent().ok_or("no directory")?)?.count();
    assert_eq!((names, std::fs::read(&*path)?), (1, before));
    Ok(())
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() -> TestResult {
    let database = Database::new()?;
    let path = database.close()?;
    let source = Source::open(&path)?;
    std::fs::write(beside(&path, "-wal"), b"x")?;
    let checked = source.check(NOW_MS, false);
    assert!(matches!(checked, Err(ImportError::Changed { .. })), "{checked:?}");
    Ok(())
}

#[test]
fn a_rollback_journal_is_refused() -> TestResult {
    let path = Database::new()?.close()?;
    std::fs::write(beside(&path, "-journal"), b"x")?;
    assert!(refusal(&path).contains("unfinished transaction"));
    Ok(())
}

#[test]
fn undelivered_messages_are_refused_unless_they_may_be_left_out() -> TestResult {
    let database = Database::new()?;
    database.execute("insert into queue values (1, 'a', x'00', '[]', x'00')")?;
    database.execute("insert into queue_running values (1, 'b', x'00', '[]', x'00')")?;
    let path = database.close()?;
    assert!(refusal(&path).starts_with("2 queued messages are undelivered"), "{}", refusal(&path));
    assert_eq!(Source::open(&path)?.check(NOW_MS, true)?.queue_messages, 2);
    Ok(())
}

#[test]
fn a_row_that_cannot_be_stored_is_named_by_its_key() -> TestResult {
    let cases: [(&[u8], Vec<u8>, i64, &str); 5] = [
        (b"\x02k\0", vec![0; 65_537], 1, "026b00 has a value of 65537 bytes: values have at most 65536"),
        (b"\x02k\0", vec![0], 9, "026b00 has a value of unknown encoding 9"),
        (b"\x02k\0", vec![0], 2, "026b00 has a u64 of 1 bytes instead of 8"),
        (b"", vec![0], 1, "(empty) has a key of 0 bytes: keys have 1 to 2048"),
        (&[7; 2049], vec![0], 1, "07... has a key of 2049 bytes: keys have 1 to 2048"),
    ];
    for (key, value, encoding, text) in cases {
        let database = Database::new()?;
        database.put(b"\x01", b"fine", 3, -1)?;
        database.put(key, &value, encoding, -1)?;
        let refusal = refusal(&database.close()?);
        assert!(refusal.starts_with("the row with key ") && refusal.ends_with(text), "{refusal}");
    }
    let database = Database::new()?;
    database.execute("insert into kv (k, v, v_encoding, version) values (x'6b', 'text', 1, 1)")?;
    assert_eq!(refusal(&database.close()?), "the row with key 6b has a v that is not a blob");
    Ok(())
}

#[test]
fn what_is_no_database_of_deno_is_refused() -> TestResult {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("file");
    assert!(refusal(&path).starts_with("cannot read"));
    for content in [&b""[..], b"SQLite format", b"not a database, but long enough for a header"] {
        std::fs::write(&path, content)?;
        assert!(refusal(&path).ends_with("it is no SQLite file"), "{}", refusal(&path));
    }
    std::fs::write(&path, [&MAGIC[..], &[0xab; 500]].concat())?;
    assert!(refusal(&path).contains("as an SQLite database: "), "{}", refusal(&path));
    let cases = [
        ("create table other (x)", "it has no schema version"),
        (&SCHEMA_SQL.replace("(0, 3)", "(0, 2)"), "open it once with a newer Deno"),
        (&SCHEMA_SQL.replace("(0, 3)", "(0, 4)"), "its schema 4 is newer than 3"),
        (&SCHEMA_SQL.replace("expiration_ms", "expires"), "its table kv has no column expiration_ms"),
        (&SCHEMA_SQL.replace("create table queue(", "create table q("), "its table queue has no column data"),
    ];
    for (sql, reason) in cases {
        let database = Database::with_schema(sql)?;
        let refusal = refusal(&database.close()?);
        assert!(
            refusal.contains("is not a database of Deno or denokv: ") && refusal.ends_with(reason),
            "{refusal}"
        );
    }
    Ok(())
}

#[test]
fn a_file_with_a_damaged_page_is_refused() -> TestResult {
    let database = Database::new()?;
    for key in 0..500u16 {
        database.put(&[b"key", &key.to_be_bytes()[..]].concat(), &[1; 100], 3, -1)?;
    }
    let path = database.close()?;
    let mut bytes = std::fs::read(&*path)?;
    let page = 4096 * 9;
    bytes[page..page + 4096].fill(0xee);
    std::fs::write(&*path, bytes)?;
    assert!(refusal(&path).contains("as an SQLite database: "), "{}", refusal(&path));
    Ok(())
}

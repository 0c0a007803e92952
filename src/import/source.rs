//! The SQLite file: opened without writing to it, and checked from end to end.
//!
//! - The connection holds one read transaction for its whole life: all that is read is one snapshot.
//! - A write-ahead log beside the file is part of it. Without one the file is opened as immutable, which
//!   needs no lock file beside it; that it did not change meanwhile is checked after each pass.
//! - A rollback journal beside it means that it is not whole, and it is refused.

use super::Imported;
use super::error::ImportError;
use super::row::{COLUMNS, Row};
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What every SQLite file starts with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// The newest schema of Deno and `denokv`, written since Deno 1.36.
const SCHEMA: i64 = 3;
/// The tables that are read, with the columns that must be there.
const TABLES: [(&str, &[&str]); 3] = [
    ("kv", &["k", "v", "v_encoding", "version", "expiration_ms"]),
    ("queue", &["data"]),
    ("queue_running", &["data"]),
];

/// A file that is being imported.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    connection: Connection,
    /// Length and time of change of a file opened as immutable.
    opened_as: Option<(u64, SystemTime)>,
}

impl Source {
    /// Opens a file and checks that it is a database of Deno or `denokv`.
    ///
    /// # Errors
    ///
    /// When it is not, or cannot be read.
    pub fn open(path: &Path) -> Result<Source, ImportError> {
        let path = path.canonicalize().map_err(io_error(path))?;
        check_magic(&path)?;
        if is_filled(&beside(&path, "-journal")) {
            return Err(ImportError::HotJournal { path });
        }
        let has_log = is_filled(&beside(&path, "-wal"));
        let opened_as = if has_log { None } else { Some(fingerprint(&path)?) };
        let connection = connect(&path, opened_as.is_some()).map_err(sqlite_error(&path))?;
        let source = Source { path, connection, opened_as };
        source.check_schema()?;
        Ok(source)
    }

    /// Reads everything and says what an import at `now_ms` brings in.
    ///
    /// # Errors
    ///
    /// The first row that cannot be stored; undelivered messages unless `skip_queue`.
    pub fn check(&self, now_ms: u64, skip_queue: bool) -> Result<Imported, ImportError> {
        let queue_messages = self.count("queue")? + self.count("queue_running")?;
        if queue_messages > 0 && !skip_queue {
            return Err(ImportError::QueueMessages { messages: queue_messages });
        }
        let mut found = Imported { queue_messages, ..Imported::default() };
        self.each_row(|row| {
            if row.is_expired(now_ms) {
                found.skipped_expired += 1;
            } else {
                found.rows += 1;
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads every row in the order of the keys, checking each.
    pub(super) fn each_row(
        &self,
        mut visit: impl FnMut(Row<'_>) -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        let failed = || sqlite_error(&self.path);
        let select = format!("select {COLUMNS} from kv order by k");
        let mut statement = self.connection.prepare(&select).map_err(failed())?;
        let mut rows = statement.query([]).map_err(failed())?;
        while let Some(row) = rows.next().map_err(failed())? {
            visit(Row::read(row).map_err(failed())??)?;
        }
        self.check_unchanged()
    }

    fn check_unchanged(&self) -> Result<(), ImportError> {
        let Some(opened_as) = self.opened_as else { return Ok(()) };
        let grew = ["-wal", "-journal"].iter().any(|suffix| is_filled(&beside(&self.path, suffix)));
        if grew || fingerprint(&self.path)? != opened_as {
            return Err(ImportError::Changed { path: self.path.clone() });
        }
        Ok(())
    }

    fn check_schema(&self) -> Result<(), ImportError> {
        match self.schema()? {
            Some(SCHEMA) => {}
            None => return Err(self.not_deno_kv("it has no schema version")),
            Some(older) if older < SCHEMA => {
                let reason =
                    format!("its schema {older} is older than {SCHEMA}: open it once with a newer Deno");
                return Err(self.not_deno_kv(&reason));
            }
            Some(newer) => {
                return Err(self.not_deno_kv(&format!("its schema {newer} is newer than {SCHEMA}")));
            }
        }
        for (table, columns) in TABLES {
            let found = self.columns(table)?;
            if let Some(missing) = columns.iter().find(|column| !found.iter().any(|name| name == *column)) {
                return Err(self.not_deno_kv(&format!("its table {table} has no column {missing}")));
            }
        }
        Ok(())
    }

    fn schema(&self) -> Result<Option<i64>, ImportError> {
        if self.columns("migration_state")?.is_empty() {
            return Ok(None);
        }
        let select = "select version from migration_state where k = 0";
        let version = self.connection.query_row(select, [], |row| row.get(0)).optional();
        version.map_err(sqlite_error(&self.path))
    }

    /// The columns of a table; none when there is no such table. A view is no table.
    fn columns(&self, table: &str) -> Result<Vec<String>, ImportError> {
        let select = "select info.name from sqlite_schema, pragma_table_info(sqlite_schema.name) as info
            where sqlite_schema.type = 'table' and sqlite_schema.name = ?";
        let failed = || sqlite_error(&self.path);
        let mut statement = self.connection.prepare(select).map_err(failed())?;
        let names = statement.query_map([table], |row| row.get(0)).map_err(failed())?;
        names.collect::<Result<_, _>>().map_err(failed())
    }

    fn count(&self, table: &str) -> Result<u64, ImportError> {
        let select = format!("select count(*) from {table}");
        let count: i64 =
            self.connection.query_row(&select, [], |row| row.get(0)).map_err(sqlite_error(&self.path))?;
        Ok(count.unsigned_abs())
    }

    fn not_deno_kv(&self, reason: &str) -> ImportError {
        ImportError::NotDenoKv { path: self.path.clone(), reason: reason.to_owned() }
    }
}

fn check_magic(path: &Path) -> Result<(), ImportError> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(io_error(path))?;
    file.take(MAGIC.len() as u64).read_to_end(&mut start).map_err(io_error(path))?;
    if start != MAGIC {
        let reason = "it is no SQLite file".to_owned();
        return Err(ImportError::NotDenoKv { path: path.to_path_buf(), reason });
    }
    Ok(())
}

fn connect(path: &Path, immutable: bool) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri(path, immutable), flags)?;
    connection.execute_batch("pragma query_only = on; pragma trusted_schema = off; begin;")?;
    // The snapshot is taken by the first read, not by `begin`.
    connection.query_row("select count(*) from sqlite_schema", [], |_row| Ok(()))?;
    Ok(connection)
}

/// The path as a URI, in which every byte that could mean something is escaped.
fn uri(path: &Path, immutable: bool) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte))
            }
            other => uri.push_str(&format!("%{other:02x}")),
        }
    }
    uri.push_str(if immutable { "?immutable=1" } else { "?mode=ro" });
    uri
}

/// The name of a file that SQLite keeps beside a database.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string().into_vec();
    name.extend_from_slice(suffix.as_bytes());
    PathBuf::from(std::ffi::OsString::from_vec(name))
}

fn is_filled(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.len() > 0)
}

fn fingerprint(path: &Path) -> Result<(u64, SystemTime), ImportError> {
    let metadata = path.metadata().map_err(io_error(path))?;
    Ok((metadata.len(), metadata.modified().map_err(io_error(path))?))
}

fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> ImportError {
    move |source| ImportError::Io { path: path.to_path_buf(), source }
}

fn sqlite_error(path: &Path) -> impl FnOnce(rusqlite::Error) -> ImportError {
    move |source| ImportError::Sqlite { path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests;

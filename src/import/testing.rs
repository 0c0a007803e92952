//! What tests of imports share: files as Deno and `denokv` make them.

use rusqlite::{Connection, params};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The tables after the last migration of `denokv`.
pub(crate) const SCHEMA_SQL: &str = "
create table migration_state(k integer not null primary key, version integer not null);
create table data_version (k integer primary key, version integer not null, seq integer not null default 0);
insert into data_version (k, version) values (0, 0);
create table kv (
  k blob primary key, v blob not null, v_encoding integer not null, version integer not null,
  seq integer not null default 0, expiration_ms integer not null default -1
) without rowid;
create index kv_expiration_ms_idx on kv (expiration_ms);
create table queue(
  ts integer not null, id text not null, data blob not null, backoff_schedule text not null,
  keys_if_undelivered blob not null, primary key (ts, id)
);
create table queue_running(
  deadline integer not null, id text not null, data blob not null, backoff_schedule text not null,
  keys_if_undelivered blob not null, primary key (deadline, id)
);
insert into migration_state values (0, 3);
";

/// A file that something has open, as Deno has it: with a write-ahead log.
pub(crate) struct Database {
    connection: Connection,
    path: PathBuf,
    dir: TempDir,
}

impl Database {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Self::with_schema(SCHEMA_SQL)
    }

    pub(crate) fn with_schema(sql: &str) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("kv.sqlite3");
        let connection = Connection::open(&path)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.execute_batch(sql)?;
        Ok(Self { connection, path, dir })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn put(&self, key: &[u8], value: &[u8], encoding: i64, expiry: i64) -> anyhow::Result<()> {
        let insert = "insert into kv (k, v, v_encoding, version, expiration_ms) values (?, ?, ?, 7, ?)";
        self.connection.execute(insert, params![key, value, encoding, expiry])?;
        Ok(())
    }

    pub(crate) fn execute(&self, sql: &str) -> anyhow::Result<()> {
        Ok(self.connection.execute_batch(sql)?)
    }

    /// Closes the file, which takes its log in.
    pub(crate) fn close(self) -> anyhow::Result<Closed> {
        self.connection.close().map_err(|(_, error)| error)?;
        Ok(Closed { path: self.path, _dir: self.dir })
    }
}

/// A file that nothing has open. It goes when this is dropped.
pub(crate) struct Closed {
    path: PathBuf,
    _dir: TempDir,
}

impl Deref for Closed {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

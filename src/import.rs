//! Bringing in the current content of a Deno or `denokv` SQLite file.
//!
//! - Every row is checked before the first is written: a file that cannot come in whole changes nothing.
//! - Both passes read one snapshot of the file, so that a Deno that is using it does no harm.
//! - Rows are committed as new, under fresh versionstamps, so that a client that holds an old one
//!   conflicts. Values keep their bytes, and their expiry.
//! - An import that stops half way leaves [`UNFINISHED_MARK`], and only `merge` goes on from there.

pub mod error;
mod load;
mod row;
pub mod source;
#[cfg(test)]
pub(crate) mod testing;

pub use error::ImportError;
pub use source::Source;

use engine::{Clock, Engine};
use std::fmt;
use std::path::Path;

/// The mark of a database into which an import has begun and not ended; its value is the file's name.
pub const UNFINISHED_MARK: &[u8] = b"import";

/// What an import may do, and whom it tells.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// Write into a database that has content, over what has the same keys.
    pub merge: bool,
    /// Leave undelivered queue messages out instead of refusing the file.
    pub skip_queue: bool,
    /// Called with the rows that are durable so far, and all there are.
    pub progress: Option<&'a dyn Fn(u64, u64)>,
}

impl Options<'_> {
    fn tell(&self, done: u64, all: u64) {
        if let Some(progress) = self.progress {
            progress(done, all);
        }
    }
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { merge, skip_queue, progress: _ } = self;
        f.debug_struct("Options")
            .field("merge", merge)
            .field("skip_queue", skip_queue)
            .finish_non_exhaustive()
    }
}

/// What came in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Rows that are in the database now.
    pub rows: u64,
    /// Rows that had expired and were left out.
    pub skipped_expired: u64,
    /// Queue messages that were left out.
    pub queue_messages: u64,
}

/// Imports a file into the default database of an engine that nobody else uses.
///
/// # Errors
///
/// See [`ImportError`]; [`ImportError::changed_nothing`] says whether anything was written.
pub fn import_sqlite(
    engine: &Engine,
    clock: &dyn Clock,
    file: &Path,
    options: Options<'_>,
) -> Result<Imported, ImportError> {
    let source = Source::open(file)?;
    let checked = source.check(clock.now_ms(), options.skip_queue)?;
    import_checked(engine, clock, &source, checked, options)
}

/// Imports a file that [`Source::check`] has found whole, into an engine that nobody else uses.
///
/// # Errors
///
/// See [`ImportError`].
pub fn import_checked(
    engine: &Engine,
    clock: &dyn Clock,
    source: &Source,
    checked: Imported,
    options: Options<'_>,
) -> Result<Imported, ImportError> {
    load::refuse_content(engine, clock.now_ms(), options.merge)?;
    load::load(engine, clock, source, checked, options)
}

/// The file whose import into this engine has not ended, if one has begun.
pub fn unfinished(engine: &Engine) -> Option<String> {
    engine.mark(UNFINISHED_MARK).map(|file| String::from_utf8_lossy(&file).into_owned())
}

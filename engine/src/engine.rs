//! OUTLINE, being written elsewhere: signatures are final, bodies are not.
use crate::wal::Segment;
use crate::*;
use std::path::Path;

/// The engine: cheap to clone (an Arc inside), Send + Sync.
#[derive(Clone, Debug)]
pub struct Engine {}

/// Where the log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /** last record's version; 0 at start */
    pub version: u64,
    /** its term */
    pub term: u64,
    /** its clock */
    pub time_ms: u64,
    /** content hash after it */
    pub hash: ContentHash,
    /** stamp of the last commit; ZERO at start */
    pub stamp: Versionstamp,
}

/// What open found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /** created new */
    pub created: bool,
    /** records replayed from WAL */
    pub records: u64,
    /** bytes of a torn tail that were dropped, with file and offset */
    pub torn: Option<(std::path::PathBuf, u64, u64)>,
}

/// What one maintenance step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /** call again at once */
    Worked,
    /** nothing to do now */
    Idle,
}

/// A durable self-contained copy: `dir/manifest` and `dir/tables/<digest>.tbl` (hard links).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /** what it holds */
    pub applied: Applied,
    /** whose history */
    pub lineage: Lineage,
    /** table files: (file name `<64 hex of BLAKE3 of the file>.tbl`, bytes) */
    pub tables: Vec<(String, u64)>,
}

/// Numbers that say why it is slow; all since open unless named otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /** records */
    pub records: u64,
    /** commits */
    pub commits: u64,
    /** WAL bytes */
    pub wal_bytes: u64,
    /** syncs */
    pub syncs: u64,
    /** flushes */
    pub flushes: u64,
    /** compactions */
    pub compactions: u64,
    /** bytes written by flush */
    pub flushed_bytes: u64,
    /** bytes written by compaction */
    pub compacted_bytes: u64,
    /** now */
    pub memtable_bytes: u64,
    /** now */
    pub table_bytes: u64,
    /** tables per level, now */
    pub tables: Vec<u64>,
    /** block cache hits */
    pub cache_hits: u64,
    /** misses */
    pub cache_misses: u64,
    /** free disk now */
    pub disk_available_bytes: u64,
    /** sealed segments kept, now */
    pub segments: u64,
}

impl Engine {
    /// Opens or creates. A fresh directory gets a new lineage of epoch 0 without parent.
    pub fn open(_env: Env, _dir: &Path, _options: Options) -> Result<(Engine, Recovery)> {
        todo!()
    }
    /// Syncs and seals the log, stops; later calls fail with Stopped.
    pub fn close(&self) -> Result<()> {
        todo!()
    }
    /// Newest appended record.
    pub fn applied(&self) -> Applied {
        todo!()
    }
    /// Current lineage.
    pub fn lineage(&self) -> Lineage {
        todo!()
    }
    /// Durably opens a child lineage (epoch + 1, parent = current at applied stamp) with this id.
    pub fn begin_lineage(&self, _id: LineageId) -> Result<Lineage> {
        todo!()
    }
    /// Version for the next log entry on a single node: applied + 1, or (epoch, 1) at the start of a lineage.
    pub fn next_version(&self) -> u64 {
        todo!()
    }
    /// Newest value of a mark.
    pub fn mark(&self, _name: &[u8]) -> Option<Vec<u8>> {
        todo!()
    }
    /// Writes one WAL record (not synced) and its entries to the memtable; not visible to `snapshot` until `publish`.
    /// Applies back-pressure. Record.version must be above applied, time_ms must not fall; record.hash is checked by debug_assert.
    /// DiskFull changes nothing.
    pub fn append(&self, _record: &Record) -> Result<()> {
        todo!()
    }
    /// Makes everything appended before the call durable; returns the version. A failure stops the engine for good.
    pub fn sync(&self) -> Result<u64> {
        todo!()
    }
    /// Makes records up to version visible to `snapshot`.
    pub fn publish(&self, _version: u64) {
        todo!()
    }
    /// Embedded use: group commit. Stamps, appends, syncs, publishes. Many threads share one sync.
    pub fn commit(&self, _batch: WriteBatch) -> Result<Versionstamp> {
        todo!()
    }
    /// Everything appended, visible or not (for apply).
    pub fn newest(&self) -> Snapshot {
        todo!()
    }
    /// Newest published stamp, at the time of its record.
    pub fn snapshot(&self) -> Snapshot {
        todo!()
    }
    /// At any stamp from the horizon to the newest published; reads expiry at that stamp's own time.
    pub fn snapshot_at(&self, _at: Versionstamp) -> Result<Snapshot> {
        todo!()
    }
    /// Oldest readable stamp.
    pub fn horizon(&self) -> Versionstamp {
        todo!()
    }
    /// One bounded step of flush, compaction, sealing, clean-up. A loop in background.rs calls it.
    pub fn maintain(&self) -> Result<Progress> {
        todo!()
    }
    /// Seals the active segment now if it holds records.
    pub fn seal_segment(&self) -> Result<()> {
        todo!()
    }
    /// Sealed segments still on disk, oldest first.
    pub fn sealed_segments(&self) -> Vec<Segment> {
        todo!()
    }
    /// The engine deletes no segment with records above this version, flushed or not; None = keep none for the archive.
    pub fn keep_segments_after(&self, _version: Option<u64>) {
        todo!()
    }
    /// Flushes, then hard-links tables and writes a manifest into `to` (must not exist or be empty). Opens alone with Engine::open.
    pub fn checkpoint(&self, _to: &Path) -> Result<Checkpoint> {
        todo!()
    }
    /// Numbers.
    pub fn statistics(&self) -> Statistics {
        todo!()
    }
}

/// Starts the maintenance thread (the only file that starts threads); stops when dropped.
pub mod background {
    use crate::*;
    /** guard */
    #[derive(Debug)]
    pub struct Background {}
    /** starts it */
    pub fn start(_engine: &Engine) -> Background {
        todo!()
    }
}

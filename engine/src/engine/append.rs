//! The way of a record into the log, the memtable and the readers' sight.

use super::{Appender, Core};
use crate::Applied;
use crate::entry::Presence;
use crate::erasure::{self, Erasure, Erasures};
use crate::lineage::Lineage;
use crate::manifest::edit::Edit;
use crate::manifest::set_mark;
use crate::memtable::Memtable;
use crate::times::Point;
use crate::versionstamp::{epoch_of, version_of};
use crate::view::SealedMemtable;
use crate::wal::Sealing;
use crate::{Env, Error, LineageId, Op, Record, Result, WriteBatch};
use std::io;
use std::sync::Arc;

/// The budget hears of a memtable's growth when it is one part in this many of a full one.
const MEMORY_PARTS: u64 = 4_096;

impl Core {
    /// Refuses what would need more of the disk than its reserve leaves.
    pub(super) fn check_room(&self) -> Result<()> {
        self.running()?;
        self.disk.check()
    }

    pub(super) fn append(&self, record: &Record) -> Result<()> {
        self.check_room()?;
        self.append_agreed(record)
    }

    pub(super) fn append_agreed(&self, record: &Record) -> Result<()> {
        self.running()?;
        record.check()?;
        self.make_room(record.batches.iter().map(|(_, batch)| batch.as_bytes().len() as u64).sum())?;
        let mut appender = self.appender.lock();
        hash_follows(&appender.applied, record)?;
        self.append_locked(&mut appender, record, self.env.clock.now_ms())?;
        self.unpublished.lock().push_back(appender.applied);
        self.seal_what_is_full(&mut appender)
    }

    fn append_locked(&self, appender: &mut Appender, record: &Record, now_ms: u64) -> Result<()> {
        self.running()?;
        follows(&appender.applied, record)?;
        let erasures: Vec<Erasure> = erasure::of_record(record).collect();
        self.room_for(&erasures)?;
        appender.log.append(record, now_ms).map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull => self.disk.full(),
            _ => self.stop_on(Error::io("append to the log in", &self.dir)(error)),
        })?;
        insert(&appender.memtable, record);
        // One point per change of the clock: most records find the one before's.
        if appender.applied.version == 0 || appender.applied.time_ms != record.time_ms {
            self.times.write().push(Point { version: record.version, time_ms: record.time_ms });
        }
        if !erasures.is_empty() {
            self.change_view(|view| {
                let mut all = Erasures::clone(&view.erasures);
                all.extend(erasures);
                view.erasures = Arc::new(all);
            });
        }
        appender.applied = appender.applied.after(record);
        for mark in &record.marks {
            set_mark(&mut appender.marks, mark.name.clone(), mark.value.clone());
        }
        self.counters.appended(record);
        self.pressure.written(now_ms);
        self.count_memory(appender);
        Ok(())
    }

    fn seal_what_is_full(&self, appender: &mut Appender) -> Result<()> {
        if appender.memtable.bytes() as u64 >= self.memtable_bytes_max() {
            self.seal_memtable(appender);
        }
        let segment_bytes = appender.log.active_bytes();
        // While the segment before is being sealed, this one may grow: nobody waits for the disk here.
        let parts = if appender.log.is_ending() { 2 } else { 1 };
        let full = self.options.segment_bytes_max.saturating_mul(parts);
        if segment_bytes >= full {
            self.begin_segment(appender)?;
        }
        Ok(())
    }

    fn room_for(&self, erasures: &[Erasure]) -> Result<()> {
        if erasures.is_empty() {
            return Ok(());
        }
        let bytes = erasures.iter().map(|erasure| erasure.prefix.len()).sum();
        let view = self.view.load();
        if view.erasures.has_room(erasures.len(), bytes) {
            return Ok(());
        }
        Err(Error::ErasuresFull { waiting: view.erasures.len() })
    }

    /// Starts a new memtable, so that the full one can be flushed.
    pub(super) fn seal_memtable(&self, appender: &mut Appender) {
        let (end, marks) = (appender.applied, appender.marks.clone());
        let active = Arc::new(Memtable::new());
        let memtable = std::mem::replace(&mut appender.memtable, Arc::clone(&active));
        let bytes = memtable.bytes() as u64;
        appender.memtable_counted = 0;
        self.account.change(|amounts| {
            amounts.active = 0;
            amounts.sealed += bytes;
        });
        self.change_view(|view| {
            view.active = active;
            view.sealed.push(Arc::new(SealedMemtable { memtable, end, marks }));
        });
        self.budget.work.happened();
    }

    /// Tells the budget what the memtable has grown by, when that is worth telling.
    fn count_memory(&self, appender: &mut Appender) {
        let bytes = appender.memtable.bytes() as u64;
        if (bytes - appender.memtable_counted) * MEMORY_PARTS >= self.memtable_bytes_max() {
            appender.memtable_counted = bytes;
            self.account.change(|amounts| amounts.active = bytes);
        }
    }

    /// A memtable this large is sealed, in bytes.
    fn memtable_bytes_max(&self) -> u64 {
        self.budget.memory().seal_bytes().min(self.options.memtable_bytes_max as u64)
    }

    pub(super) fn seal_segment(&self) -> Result<()> {
        self.running()?;
        {
            let mut appender = self.appender.lock();
            if appender.log.active_holds_records() {
                self.begin_segment(&mut appender)?;
            }
        }
        self.seal_ending()
    }

    /// Goes on to the next segment of the log.
    fn begin_segment(&self, appender: &mut Appender) -> Result<()> {
        let sealing = Sealing { lineage: appender.lineage.id, salt: salt(&self.env) };
        match appender.log.begin_next(sealing) {
            Err(error) if error.is_disk_full() => {
                // Nothing was sealed; the active segment goes on until there is room.
                let error = self.disk.full();
                tracing::warn!(error = &error as &dyn std::error::Error, "no room for another log segment");
                Ok(())
            }
            begun => {
                self.budget.work.happened();
                begun.map_err(|error| self.stop_on(error))
            }
        }
    }

    /// Goes on to the next segment when the first commit of the active one has waited long enough.
    pub(super) fn seal_by_age(&self) -> Result<()> {
        {
            let mut appender = self.appender.lock();
            let now_ms = self.env.clock.now_ms();
            let due = appender.log.first_commit_ms().is_some_and(|first| {
                // A clock that was set back must not put sealing off.
                now_ms < first || now_ms - first >= self.options.segment_age_ms_max
            });
            if due {
                self.begin_segment(&mut appender)?;
            }
        }
        self.seal_ending()
    }

    pub(super) fn publish(&self, version: u64) {
        let mut unpublished = self.unpublished.lock();
        let shown = unpublished.partition_point(|applied| applied.version <= version);
        if let Some(last) = unpublished.drain(..shown).next_back() {
            *self.published.write() = last;
        }
    }

    /// Appends, syncs and publishes batches as one record; the stamp of the nth is `(version, n)`.
    pub(super) fn commit_group(&self, batches: Vec<WriteBatch>) -> Result<u64> {
        self.check_room()?;
        self.make_room(batches.iter().map(|batch| batch.as_bytes().len() as u64).sum())?;
        let version = {
            let mut appender = self.appender.lock();
            self.append_batches(&mut appender, batches)?;
            self.unpublished.lock().push_back(appender.applied);
            self.seal_what_is_full(&mut appender)?;
            appender.applied.version
        };
        self.sync()?;
        self.publish(version);
        Ok(version)
    }

    /// Appends and publishes one batch, and all that was appended before it.
    pub(super) fn commit_unsynced(&self, batch: WriteBatch) -> Result<u64> {
        self.check_room()?;
        self.make_room(batch.as_bytes().len() as u64)?;
        let mut appender = self.appender.lock();
        self.append_batches(&mut appender, vec![batch])?;
        {
            let mut unpublished = self.unpublished.lock();
            unpublished.clear();
            *self.published.write() = appender.applied;
        }
        self.seal_what_is_full(&mut appender)?;
        Ok(appender.applied.version)
    }

    fn append_batches(&self, appender: &mut Appender, batches: Vec<WriteBatch>) -> Result<()> {
        let now_ms = self.env.clock.now_ms();
        let record = record_of(appender, batches, now_ms);
        self.append_locked(appender, &record, now_ms)
    }

    pub(super) fn begin_lineage(&self, id: LineageId) -> Result<Lineage> {
        self.running()?;
        let mut appender = self.appender.lock();
        let parent = appender.lineage;
        let stamp = appender.applied.stamp;
        let lineage = Lineage { id, epoch: parent.epoch + 1, parent: Some((parent.id, stamp)) };
        self.manifest.lock().commit(vec![Edit::Lineage(lineage)]).map_err(|error| self.stop_on(error))?;
        appender.lineage = lineage;
        self.begin_segment(&mut appender)?;
        appender.log.finish_ending().map_err(|error| self.stop_on(error))?;
        Ok(lineage)
    }

    pub(super) fn close(&self) -> Result<()> {
        self.running()?;
        let mut appender = self.appender.lock();
        let closed = appender.log.close().map_err(|error| self.stop_on(error));
        // Losing this race means that another failure stopped the engine first.
        let _first = self.stopped.set("it was closed".to_owned());
        closed
    }
}

/// A random salt for a new file.
pub(super) fn salt(env: &Env) -> u64 {
    let mut salt = [0; 8];
    env.random.fill(&mut salt);
    u64::from_le_bytes(salt)
}

/// The record after the last one, with these batches.
fn record_of(appender: &Appender, batches: Vec<WriteBatch>, now_ms: u64) -> Record {
    let applied = appender.applied;
    let epoch = appender.lineage.epoch;
    let first_of_lineage = applied.version == 0 || epoch_of(applied.version) < epoch;
    let mut record = Record {
        version: if first_of_lineage { version_of(epoch, 1) } else { applied.version + 1 },
        term: applied.term,
        time_ms: applied.time_ms.max(now_ms),
        hash: applied.hash,
        batches: (0..=u16::MAX).zip(batches).collect(),
        marks: Vec::new(),
    };
    record.hash = record.hash_after(applied.hash);
    record
}

fn follows(applied: &Applied, record: &Record) -> Result<()> {
    let refuse =
        |reason| Err(Error::OutOfOrder { version: record.version, applied: applied.version, reason });
    if record.version <= applied.version {
        return refuse("its version is not above");
    }
    if record.time_ms < applied.time_ms {
        return refuse("its clock falls");
    }
    Ok(())
}

/// A log whose content hash did not follow could not be opened again.
fn hash_follows(applied: &Applied, record: &Record) -> Result<()> {
    if record.version > applied.version && record.hash != record.hash_after(applied.hash) {
        let reason = "its content hash does not follow from its commits";
        return Err(Error::OutOfOrder { version: record.version, applied: applied.version, reason });
    }
    Ok(())
}

pub(super) fn insert(memtable: &Memtable, record: &Record) {
    let mut inserter = memtable.inserter();
    for (stamp, batch) in record.commits() {
        for op in batch.ops() {
            match op {
                Op::Put { key, value, expire_at_ms } => {
                    inserter.insert(key, stamp, Presence::Put { expire_at_ms }, value);
                }
                Op::Delete { key } => inserter.insert(key, stamp, Presence::Delete, &[]),
                // Erasures stand beside the memtables.
                Op::DeletePrefix { .. } => {}
            }
        }
    }
}

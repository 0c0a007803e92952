//! The way of a record into the log, the memtable and the readers' sight.

use super::{Appender, Core};
use crate::Applied;
use crate::entry::Presence;
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
use std::sync::atomic::Ordering;

impl Core {
    pub(super) fn append(&self, record: &Record) -> Result<()> {
        self.running()?;
        self.make_room()?;
        let mut appender = self.appender.lock();
        self.append_locked(&mut appender, record)
    }

    fn append_locked(&self, appender: &mut Appender, record: &Record) -> Result<()> {
        self.running()?;
        follows(&appender.applied, record)?;
        self.disk.check()?;
        let now_ms = self.env.clock.now_ms();
        appender.log.append(record, now_ms).map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull => self.disk.full(),
            _ => self.stop_on(Error::io("append to the log in", &self.dir)(error)),
        })?;
        let memtable = self.view.load().active.clone();
        insert(&memtable, record);
        appender.applied = appender.applied.after(record);
        for mark in &record.marks {
            set_mark(&mut appender.marks, mark.name.clone(), mark.value.clone());
        }
        self.times.write().push(Point { version: record.version, time_ms: record.time_ms });
        self.unpublished.lock().push_back(appender.applied);
        self.counters.appended(record);
        if memtable.bytes() >= self.options.memtable_bytes_max {
            self.seal_memtable(appender);
        }
        if appender.log.active_bytes() >= self.options.segment_bytes_max {
            self.seal_segment_locked(appender)?;
        }
        Ok(())
    }

    /// Starts a new memtable, so that the full one can be flushed.
    pub(super) fn seal_memtable(&self, appender: &Appender) {
        let (end, marks) = (appender.applied, appender.marks.clone());
        self.change_view(|view| {
            let memtable = std::mem::replace(&mut view.active, Arc::new(Memtable::new()));
            view.sealed.push(Arc::new(SealedMemtable { memtable, end, marks }));
        });
    }

    pub(super) fn seal_segment(&self) -> Result<()> {
        self.running()?;
        let mut appender = self.appender.lock();
        if appender.log.active_holds_records() { self.seal_segment_locked(&mut appender) } else { Ok(()) }
    }

    fn seal_segment_locked(&self, appender: &mut Appender) -> Result<()> {
        let sealing = Sealing { lineage: appender.lineage.id, salt: salt(&self.env) };
        match appender.log.seal(sealing) {
            Err(error) if error.is_disk_full() => {
                // Nothing was sealed; the active segment goes on until there is room.
                let error = self.disk.full();
                tracing::warn!(error = &error as &dyn std::error::Error, "no room for another log segment");
                Ok(())
            }
            sealed => sealed.map_err(|error| self.stop_on(error)),
        }
    }

    /// Seals the active segment when its first commit has waited long enough.
    pub(super) fn seal_by_age(&self) -> Result<()> {
        let mut appender = self.appender.lock();
        let now_ms = self.env.clock.now_ms();
        let due = appender.log.first_commit_ms().is_some_and(|first| {
            // A clock that was set back must not put sealing off.
            now_ms < first || now_ms - first >= self.options.segment_age_ms_max
        });
        if due { self.seal_segment_locked(&mut appender) } else { Ok(()) }
    }

    pub(super) fn sync(&self) -> Result<u64> {
        self.running()?;
        let (handle, version) = {
            let appender = self.appender.lock();
            (appender.log.sync_handle(), appender.applied.version)
        };
        handle.sync().map_err(|error| self.stop_on(Error::io("sync the log in", &self.dir)(error)))?;
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(version)
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
        self.running()?;
        self.make_room()?;
        let version = {
            let mut appender = self.appender.lock();
            let record = self.record_of(&appender, batches);
            self.append_locked(&mut appender, &record)?;
            record.version
        };
        self.sync()?;
        self.publish(version);
        Ok(version)
    }

    fn record_of(&self, appender: &Appender, batches: Vec<WriteBatch>) -> Record {
        let applied = appender.applied;
        let epoch = appender.lineage.epoch;
        let first_of_lineage = applied.version == 0 || epoch_of(applied.version) < epoch;
        let mut record = Record {
            version: if first_of_lineage { version_of(epoch, 1) } else { applied.version + 1 },
            term: applied.term,
            time_ms: applied.time_ms.max(self.env.clock.now_ms()),
            hash: applied.hash,
            batches: (0..=u16::MAX).zip(batches).collect(),
            marks: Vec::new(),
        };
        record.hash = record.hash_after(applied.hash);
        record
    }

    pub(super) fn begin_lineage(&self, id: LineageId) -> Result<Lineage> {
        self.running()?;
        let mut appender = self.appender.lock();
        let parent = appender.lineage;
        let stamp = appender.applied.stamp;
        let lineage = Lineage { id, epoch: parent.epoch + 1, parent: Some((parent.id, stamp)) };
        self.manifest.lock().commit(vec![Edit::Lineage(lineage)]).map_err(|error| self.stop_on(error))?;
        appender.lineage = lineage;
        self.seal_segment_locked(&mut appender)?;
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

fn follows(applied: &Applied, record: &Record) -> Result<()> {
    let refuse =
        |reason| Err(Error::OutOfOrder { version: record.version, applied: applied.version, reason });
    if record.version <= applied.version {
        return refuse("its version is not above");
    }
    if record.time_ms < applied.time_ms {
        return refuse("its clock falls");
    }
    debug_assert_eq!(record.hash, record.hash_after(applied.hash), "the content hash follows");
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
            }
        }
    }
}

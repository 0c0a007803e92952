//! The part of shipping that is about checkpoints: when, which tables, and in which order.

use super::mark::LastCheckpoint;
use super::source::Position;
use super::upload::{self, Upload};
use super::{REUSE_WITHIN_MS, Shipper, Step};
use crate::checkpoint::{Before, Checkpoint};
use crate::error::blocking;
use crate::layout::{Digest, Kind, TableDigest};
use crate::{Result, store};
use engine::Versionstamp;
use std::collections::BTreeSet;

impl Shipper {
    pub(super) fn checkpoint_is_due(&self) -> bool {
        let (last_stamp, last_ms) = match &self.mark.checkpoint {
            Some(last) => (last.name.stamp, last.made_ms),
            None => (Versionstamp::ZERO, self.mark.begun_ms),
        };
        let aged = self.now_ms().saturating_sub(last_ms) >= self.settings.checkpoint_interval_ms;
        let grown = self.mark.bytes_since_checkpoint >= self.settings.checkpoint_bytes;
        self.mark.position.stamp > last_stamp && (aged || grown)
    }

    pub(super) async fn begin_checkpoint(&mut self) -> Result<Step> {
        let reuse = self.reusable_tables().await?;
        self.announce().await?;
        let (engine, scratch, fs) =
            (self.engine.clone(), self.settings.scratch.clone(), self.engine.env().fs.clone());
        // What is committed from here on must still be in the log when the checkpoint is done.
        if !self.mark.rooted {
            self.consume(self.engine.applied().version);
        }
        let (manifest, made) = blocking(move || upload::make(&engine, &*fs, &scratch)).await?;
        if !self.mark.rooted {
            self.mark.position = Position::from(made.applied);
        }
        let checkpoint = Checkpoint {
            lineage: self.lineage.into(),
            group: self.settings.group,
            applied: made.applied,
            made_ms: self.now_ms(),
            before: self.before(),
            tables: upload::tables(&made)?,
            manifest,
        };
        self.upload = Some(Upload::new(checkpoint, &reuse));
        self.tell(|_| {});
        Ok(Step::CheckpointBegun)
    }

    /// What the archive holds before a checkpoint that is made now.
    fn before(&self) -> Before {
        match (self.mark.rooted, self.mark.gap_after) {
            (true, _) => Before::Shipped,
            (false, None) => Before::Nothing,
            (false, Some(after)) => Before::Gap(after),
        }
    }

    /// Tables that need no upload: those of the last checkpoint, if it is young and still there.
    async fn reusable_tables(&mut self) -> Result<BTreeSet<TableDigest>> {
        self.find_last_checkpoint().await?;
        let young = |last: &LastCheckpoint| self.now_ms().saturating_sub(last.made_ms) <= REUSE_WITHIN_MS;
        let reusable =
            self.known_tables.as_ref().filter(|_| self.mark.checkpoint.as_ref().is_some_and(young));
        Ok(reusable.cloned().unwrap_or_default())
    }

    /// Once after a start: learns which tables the last checkpoint names. Returns whether shipping can go
    /// on from where it stood: not when somebody emptied the archive meanwhile.
    pub(super) async fn find_last_checkpoint(&mut self) -> Result<bool> {
        let (None, Some(last)) = (&self.known_tables, self.mark.checkpoint) else { return Ok(true) };
        let object = self.name(Kind::Checkpoint(self.settings.group, last.name));
        let (tables, found) = match self.store.get(&object, crate::checkpoint::OBJECT_BYTES_MAX).await {
            Ok(bytes) => (Checkpoint::decode(&bytes).map(|found| found.tables).unwrap_or_default(), true),
            Err(error) if error.is_transient() => return Err(error.into()),
            Err(store::Error::NotFound { .. }) => (Vec::new(), false),
            // Shipping may be allowed to put and nothing else: then every table is put again.
            Err(_) => (Vec::new(), true),
        };
        self.known_tables = Some(tables.iter().map(|table| table.digest).collect());
        if !found {
            self.announced = false;
            self.mark.checkpoint = None;
            self.start_over("the last checkpoint is not in the archive any more");
        }
        Ok(found)
    }

    /// Uploads the next table of the checkpoint, or, after the last one, what names them.
    pub(super) async fn continue_upload(&mut self) -> Result<Step> {
        let Some(upload) = &self.upload else { return Ok(Step::Idle) };
        if let Some(table) = upload.next() {
            let (fs, scratch) = (self.engine.env().fs.clone(), self.settings.scratch.clone());
            let bytes = blocking(move || upload::read_table(&*fs, &scratch, &table)).await?;
            self.put(Kind::Table(self.settings.group, table.name()), bytes).await?;
            if let Some(upload) = &mut self.upload {
                upload.done(&table);
            }
            self.tell(|_| {});
            return Ok(Step::Table);
        }
        let checkpoint = upload.checkpoint().clone();
        let bytes = checkpoint.encode();
        let name = checkpoint.name(Digest::of(&bytes), false);
        self.put(Kind::Checkpoint(self.settings.group, name), bytes.into()).await?;
        let before = self.mark.clone();
        self.mark.checkpoint = Some(LastCheckpoint { name, made_ms: checkpoint.made_ms });
        self.mark.rooted = true;
        self.mark.gap_after = None;
        self.mark.bytes_since_checkpoint = 0;
        if let Err(error) = self.record().await {
            self.mark = before;
            return Err(error);
        }
        self.known_tables = Some(checkpoint.tables.iter().map(|table| table.digest).collect());
        self.upload = None;
        let (fs, scratch) = (self.engine.env().fs.clone(), self.settings.scratch.clone());
        blocking(move || upload::clean(&*fs, &scratch)).await?;
        self.tell(|_| {});
        Ok(Step::Checkpoint(name.stamp))
    }
}

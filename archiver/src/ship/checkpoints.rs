//! The part of shipping that is about checkpoints: when, which tables, and in which order.

use super::known::Known;
use super::mark::LastCheckpoint;
use super::source::Position;
use super::upload::{self, Put, Upload, Uploaded};
use super::{REUSE_WITHIN_MS, Shipper, Step};
use crate::checkpoint::{Before, Checkpoint};
use crate::error::blocking;
use crate::job::{Job, JobKind, Outcome};
use crate::layout::{Digest, Kind};
use crate::{Result, runtime, store};
use engine::Versionstamp;
use std::time::Duration;

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
        self.asked_for_end = false;
        self.refuse_after_end().await?;
        self.confirm_last_checkpoint().await?;
        self.announce().await?;
        let (engine, scratch, fs) =
            (self.engine().clone(), self.settings.scratch.clone(), self.engine().env().fs.clone());
        // What is committed from here on must still be in the log when the checkpoint is done.
        if !self.mark.rooted {
            self.consume(self.engine().applied().version);
        }
        let owner = self.owner();
        let made = blocking(move || {
            let known = Known::load(&*fs, &scratch, owner);
            upload::make(&engine, &*fs, &scratch).map(|(manifest, made)| (manifest, made, known))
        });
        let (manifest, made, known) = made.await?;
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
        let newest = self.mark.checkpoint.map(|last| (last.name.digest, last.made_ms));
        let reuse = known.reusable(newest, self.now_ms());
        self.known = Some(known);
        self.upload = Some(Upload::new(checkpoint, &reuse, self.begin_job()));
        self.tell(|_| {});
        Ok(Step::CheckpointBegun)
    }

    fn begin_job(&self) -> Job {
        let subject = || format!("{} group {}", self.store.location(), self.settings.group);
        let begun = self.settings.jobs.as_ref().map(|jobs| jobs.begin(JobKind::Backup, subject()));
        let job = begun.unwrap_or_else(|| Job::unwatched(JobKind::Backup));
        job.set_bytes_per_s_max(self.settings.table_bytes_per_s_max);
        job
    }

    /// What the archive holds before a checkpoint that is made now.
    fn before(&self) -> Before {
        match (self.mark.rooted, self.mark.gap_after) {
            (true, _) => Before::Shipped,
            (false, None) => Before::Nothing,
            (false, Some(after)) => Before::Gap(after),
        }
    }

    /// Once after a start: asks whether the last checkpoint is still there. Returns whether shipping can go on from where
    /// it stood: not when somebody emptied the archive meanwhile.
    pub(super) async fn confirm_last_checkpoint(&mut self) -> Result<bool> {
        let Some(last) = self.mark.checkpoint.filter(|_| !self.confirmed) else { return Ok(true) };
        let object = self.name(Kind::Checkpoint(self.settings.group, last.name));
        // No object is empty: one that is there is refused as too large, unread.
        match self.store.get(&object, 0).await {
            Err(error) if error.is_transient() => return Err(error.into()),
            Err(store::Error::NotFound { .. }) => {}
            // Shipping may be allowed to put and nothing else.
            Ok(_) | Err(_) => {
                self.confirmed = true;
                return Ok(true);
            }
        }
        self.confirmed = true;
        self.announced = false;
        self.mark.checkpoint = None;
        let (fs, scratch) = (self.engine().env().fs.clone(), self.settings.scratch.clone());
        blocking(move || Known::forget(&*fs, &scratch)).await?;
        self.start_over("the last checkpoint is not in the archive any more");
        Ok(false)
    }

    /// Waits for the next table of the checkpoint, or, after the last one, puts what names them. With `wait` it gives up
    /// after that time, while tables go on.
    pub(super) async fn continue_upload(&mut self, wait: Option<Duration>) -> Result<Step> {
        let put = Put {
            store: self.store.clone(),
            fs: self.engine().env().fs.clone(),
            scratch: self.settings.scratch.clone(),
            recipients: self.settings.recipients.clone(),
            lineage: self.lineage.into(),
            group: self.settings.group,
        };
        let rooted = self.mark.rooted;
        let Some(upload) = &mut self.upload else { return Ok(Step::Idle) };
        if rooted && let Err(cancelled) = upload.job().checkpoint() {
            upload.job().end(Outcome::Cancelled);
            self.upload = None;
            self.tell(|_| {});
            return Err(cancelled);
        }
        upload.fill(&put);
        let next = upload.next();
        let next = match wait {
            Some(wait) => runtime::timeout(wait, next).await,
            None => Some(next.await),
        };
        match next {
            None => Ok(Step::Idle),
            Some(Some(done)) => self.table_is_put(done?).await.map(|()| Step::Table),
            Some(None) => self.finish_checkpoint().await,
        }
    }

    async fn table_is_put(&mut self, Uploaded { table }: Uploaded) -> Result<()> {
        self.has_put(table.stored_bytes());
        let now_ms = self.now_ms();
        if let Some(known) = &mut self.known {
            known.put(table, now_ms);
        }
        self.tell(|_| {});
        self.save_known().await
    }

    async fn save_known(&self) -> Result<()> {
        let Some(known) = self.known.clone() else { return Ok(()) };
        let (fs, scratch) = (self.engine().env().fs.clone(), self.settings.scratch.clone());
        blocking(move || known.save(&*fs, &scratch)).await
    }

    async fn finish_checkpoint(&mut self) -> Result<Step> {
        let Some(upload) = &self.upload else { return Ok(Step::Idle) };
        let job = upload.job().clone();
        job.phase("manifest");
        let (checkpoint, recipients): (Checkpoint, _) =
            (upload.checkpoint(), self.settings.recipients.clone());
        let made = checkpoint.clone();
        let sealed = !recipients.is_nobody();
        let bytes = blocking(move || recipients.seal(checkpoint.encode().into())).await?;
        let name = made.name(Digest::of(&bytes), sealed);
        self.put(Kind::Checkpoint(self.settings.group, name), bytes).await?;
        let mut mark = self.mark.clone();
        mark.checkpoint = Some(LastCheckpoint { name, made_ms: made.made_ms });
        mark.rooted = true;
        mark.gap_after = None;
        mark.bytes_since_checkpoint = 0;
        self.record(mark).await?;
        self.upload = None;
        job.end(Outcome::Done(format!("checkpoint at {}", name.stamp)));
        if let Some(known) = &mut self.known {
            known.named(name.digest, &made.tables, made.made_ms);
        }
        self.save_known().await?;
        let (fs, scratch) = (self.engine().env().fs.clone(), self.settings.scratch.clone());
        blocking(move || upload::clean(&*fs, &scratch)).await?;
        self.tell(|_| {});
        Ok(Step::Checkpoint(name.stamp))
    }
}

const _: () =
    assert!(2 * REUSE_WITHIN_MS <= crate::retention::GRACE_MS, "a table is reused while pruning leaves it");

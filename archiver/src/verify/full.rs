//! A restore of the end of every group, and a look at what came out.
//!
//! - What is restored has the content hash that the archive says, and every table and block of it is read.
//! - Where the newest checkpoint is not the only way to the end, the oldest start is replayed as well, and both must hold
//!   the same rows. That is the one check that sees a checkpoint which is whole and wrong.

use super::{Report, verify_all};
use crate::catalog::{self, Catalog, History};
use crate::error::blocking;
use crate::job::Job;
use crate::restore::{self, Destination, PlanError, Point, Scope, Wanted};
use crate::{Archive, Error, Result};
use engine::{Direction, Engine};
use std::path::PathBuf;

/// Verifies every byte, then restores the end of every lineage below `destination`, where nothing is left behind.
///
/// # Errors
///
/// As [`verify_all`], and what the disk says; what is wrong with the archive is in the report.
pub async fn verify_by_restoring(
    archive: &Archive,
    destination: &Destination,
    positions: &[super::Position],
    job: &Job,
) -> Result<Report> {
    let mut report = verify_all(archive, super::Depth::Deep, positions, job).await?;
    for catalog in &catalog::read_all(archive).await? {
        for history in &catalog.lineages {
            let restorer = Restorer { archive, catalog, history, destination, job };
            let checked = restorer.check().await;
            restorer.clean().await?;
            if let Some((object, reason)) = checked? {
                report.problem(object, reason);
            }
        }
    }
    Ok(report)
}

struct Restorer<'a> {
    archive: &'a Archive,
    catalog: &'a Catalog,
    history: &'a History,
    destination: &'a Destination,
    job: &'a Job,
}

impl Restorer<'_> {
    /// What is wrong, if anything is.
    async fn check(&self) -> Result<Option<(String, String)>> {
        let object = format!("lineage {} group {}", self.history.folder, self.catalog.group);
        if self.history.windows().is_empty() {
            return Ok(None);
        }
        self.job.phase("restoring");
        let newest = match self.digest("newest", Vec::new()).await {
            Ok(digest) => digest,
            Err(error) => return wrong(object, error).map(Some),
        };
        let mut stamps: Vec<_> = self.history.checkpoints.iter().map(|entry| entry.name.stamp).collect();
        if self.history.empty_start().is_none() && !stamps.is_empty() {
            stamps.remove(0);
        }
        if stamps.is_empty() {
            return Ok(None);
        }
        match self.digest("oldest", stamps).await {
            Ok(oldest) if oldest == newest => Ok(None),
            Ok(_) => Ok(Some((object, "its checkpoints do not hold what its segments say".to_owned()))),
            // The oldest start does not reach the end: there is a hole, which is told elsewhere.
            Err(Error::Plan(PlanError::Unreachable { .. } | PlanError::Damaged { .. })) => Ok(None),
            Err(error) => wrong(object, error).map(Some),
        }
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.destination.dir.join(name)
    }

    /// Restores the end and returns a digest of all rows.
    async fn digest(&self, name: &str, without: Vec<engine::Versionstamp>) -> Result<[u8; 32]> {
        let group = self.catalog.group;
        let lineage = Some(self.history.folder.id);
        let wanted = Wanted { point: Point::Latest, lineage, without, scope: Scope::All };
        let plans = [(group, restore::plan(self.catalog, &wanted)?)];
        let to = Destination { dir: self.dir(name), ..self.destination.clone() };
        let unwatched = Job::unwatched(self.job.kind());
        self.job.checkpoint()?;
        restore::run(self.archive, &plans, &to, &unwatched).await?;
        let dir = to.dir.join("groups").join(group.to_string());
        blocking(move || {
            let (engine, _recovery) = Engine::open(to.env.clone(), &dir, to.options.clone())?;
            engine.verify()?;
            let digest = rows(&engine)?;
            engine.close()?;
            Ok(digest)
        })
        .await
    }

    async fn clean(&self) -> Result<()> {
        let dirs = [self.dir("newest"), self.dir("oldest")];
        let fs = self.destination.env.fs.clone();
        blocking(move || {
            dirs.iter().try_for_each(|dir| fs.remove_dir_all(dir).map_err(Error::io("remove", dir)))
        })
        .await
    }
}

/// What is wrong with the archive, as opposed to: why it cannot be looked at.
fn wrong(object: String, error: Error) -> Result<(String, String)> {
    match error {
        Error::Damaged { .. }
        | Error::Missing { .. }
        | Error::Fork { .. }
        | Error::Differs { .. }
        | Error::Plan(_)
        | Error::Engine(engine::Error::Damaged { .. } | engine::Error::Missing { .. }) => {
            Ok((object, format!("its end cannot be restored: {}", crate::error::with_causes(&error))))
        }
        other => Err(other),
    }
}

/// A digest of every row: key, versionstamp, value, expiry.
fn rows(engine: &Engine) -> Result<[u8; 32]> {
    let mut digest = blake3::Hasher::new();
    for entry in engine.snapshot().all(Direction::Forward) {
        let entry = entry?;
        let expires = entry.value.expire_at_ms.unwrap_or(u64::MAX);
        for field in [&entry.key[..], &entry.value.bytes[..], entry.value.stamp.as_bytes()] {
            digest.update(&(field.len() as u64).to_le_bytes()).update(field);
        }
        digest.update(&expires.to_le_bytes());
    }
    Ok(*digest.finalize().as_bytes())
}

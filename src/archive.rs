//! The archive of a served database: where it is, shipping to it, and whether the database is behind it.
//!
//! - Shipping never stands in the way of a write: an archive that cannot be reached is waited for.
//! - Progress goes through the write pipeline, as a log entry of its own.
//! - A database that lacks commits which its archive holds under the same lineage is not served: it would
//!   give their versionstamps again.

use crate::config::{self, Settings};
use crate::data_dir::DataDir;
use crate::database::Database;
use crate::metrics::ArchiveLag;
use archiver::layout::{Kind, LineageFolder, Name};
use archiver::ship::{ProgressLog, ProgressMark, Shipper, Status};
use archiver::store::local::Local;
use archiver::store::retry::Retrying;
use archiver::store::{self, ObjectStore};
use async_trait::async_trait;
use engine::{Engine, Mark, Versionstamp};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The one data group.
const GROUP: u64 = 1;
/// How long a start waits for the archive to say what it holds.
const ASK: Duration = Duration::from_secs(10);
/// How long a stop waits for the last commits to be shipped.
const LAST_SHIPPING: Duration = Duration::from_secs(10);

/// The database lacks commits that its archive holds. Restore them, or give them up.
#[derive(Debug, thiserror::Error)]
#[error(
    "this directory ends at versionstamp {ours}, and its archive {location} holds commits up to {archived}: restore \
     the archive into another directory, or give them up with cairn recover --accept-loss"
)]
pub struct Behind {
    /// The last commit in the directory.
    pub ours: Versionstamp,
    /// The last commit found in the archive.
    pub archived: Versionstamp,
    /// The archive.
    pub location: String,
}

/// Opens the archive that the settings name; `None` when there is none. Sends no request.
///
/// # Errors
///
/// When the URL is wrong, or the directory has no absolute path.
pub fn open(settings: &Settings, dir: &DataDir) -> Result<Option<Arc<dyn ObjectStore>>, store::Error> {
    match &settings.archive {
        config::Archive::Nowhere => Ok(None),
        config::Archive::At(url) => store::open(url).map(Some),
        config::Archive::Beside => {
            let path = std::path::absolute(dir.archive()).map_err(|error| store::Error::Url {
                reason: format!("cannot find {}: {error}", dir.archive().display()),
            })?;
            Ok(Some(Arc::new(Retrying::new(Arc::new(Local::new(path))))))
        }
    }
}

/// Refuses a database that is behind its archive. An archive that does not answer, or may only be
/// written to, is no reason not to serve.
///
/// # Errors
///
/// [`Behind`] with both ends.
pub async fn refuse_if_behind(engine: &Engine, store: &dyn ObjectStore) -> Result<(), Behind> {
    let ours = engine.applied().stamp;
    match tokio::time::timeout(ASK, last_archived(engine, store)).await {
        Ok(Ok(Some(archived))) if archived > ours => {
            Err(Behind { ours, archived, location: store.location() })
        }
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => {
            tracing::info!(
                archive = store.location(), error = %crate::connect::errors::Chain(&error),
                "cannot ask the archive whether it is ahead"
            );
            Ok(())
        }
        Err(_elapsed) => {
            tracing::info!(
                archive = store.location(),
                "the archive does not say in time whether it is ahead"
            );
            Ok(())
        }
    }
}

/// The last commit of the engine's lineage in the archive, after what is known to be there.
async fn last_archived(engine: &Engine, store: &dyn ObjectStore) -> store::Result<Option<Versionstamp>> {
    let lineage = engine.lineage();
    let mark = engine.mark(&ProgressMark::name(GROUP)).and_then(|mark| ProgressMark::decode(&mark).ok());
    let known = mark.filter(|mark| mark.lineage() == lineage.id).map_or(Versionstamp::ZERO, |m| m.shipped());
    let folder =
        format!("{}{}/groups/{GROUP}/segments/", archiver::layout::LINEAGES, LineageFolder::from(lineage));
    let mut after = format!("{folder}{known}");
    let mut last = None;
    loop {
        let page = store.list(&folder, Some(&after)).await?;
        let names = page.objects.iter().filter_map(|object| Name::parse(&object.name));
        let lasts = names.filter_map(|name| match name.kind {
            Kind::Segment(GROUP, segment) => Some(segment.last),
            _ => None,
        });
        last = last.max(lasts.max());
        match page.objects.last() {
            Some(object) if page.more => after.clone_from(&object.name),
            _ => return Ok(last),
        }
    }
}

#[async_trait]
impl ProgressLog for Database {
    async fn record(&self, mark: Mark) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(Database::record(self, mark).await?)
    }
}

/// Shipping in the background.
#[derive(Debug)]
pub struct Shipping {
    stop: watch::Sender<bool>,
    task: JoinHandle<Shipper>,
    status: watch::Receiver<Status>,
}

impl Shipping {
    /// Starts to ship. Call it inside the runtime, before the engine is maintained, so that no segment is
    /// removed that has not been shipped.
    ///
    /// # Errors
    ///
    /// When the engine cannot seal its log.
    pub fn start(
        engine: Engine,
        store: Arc<dyn ObjectStore>,
        settings: &Settings,
        dir: &DataDir,
        database: Database,
    ) -> archiver::Result<Shipping> {
        let settings = archiver::ship::Settings {
            group: GROUP,
            checkpoint_interval_ms: settings.checkpoint_interval_ms,
            ..archiver::ship::Settings::new(dir.scratch())
        };
        let mut shipper = Shipper::new(engine, store, settings, Arc::new(database))?;
        let status = shipper.status();
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(async move {
            shipper.run(stopping).await;
            shipper
        });
        Ok(Shipping { stop, task, status })
    }

    /// How shipping goes, now and later.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// How far the archive is behind, for metrics.
    pub fn lag(&self) -> Arc<dyn Fn() -> ArchiveLag + Send + Sync> {
        let status = self.status.clone();
        Arc::new(move || ArchiveLag::from(&*status.borrow()))
    }

    /// Ships what is committed and ends. The write pipeline must still be open.
    pub async fn finish(self) {
        self.stop.send_replace(true);
        match self.task.await {
            Ok(mut shipper) => {
                if !shipper.drain(LAST_SHIPPING).await {
                    tracing::warn!("the last commits are not in the archive yet: the next start ships them");
                }
            }
            Err(error) => tracing::error!(%error, "shipping ended before"),
        }
    }
}

impl From<&Status> for ArchiveLag {
    fn from(status: &Status) -> Self {
        Self {
            backlog_bytes: status.backlog_bytes,
            shipped_time_ms: status.shipped_ms,
            objects: status.objects,
            gaps: status.gaps,
            failing: status.error.is_some(),
        }
    }
}

#[cfg(test)]
mod tests;

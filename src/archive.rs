//! The archive of a served database: where it is, shipping to it, and for how long it is kept.
//!
//! - Shipping never stands in the way of a write: an archive that cannot be reached is waited for.
//! - Progress goes through the write pipeline, as a log entry of its own.
//! - Only what is kept beside the data, or is said to be kept for some time, is ever removed.

mod behind;
mod follow;
mod pruning;

pub use behind::{Behind, refuse_if_behind};

use crate::config::{self, DEFAULT_LOCAL_RETENTION_MS, Settings};
use crate::data_dir::{self, DataDir};
use crate::database::Database;
use crate::metrics::ArchiveLag;
use archiver::Archive;
use archiver::job::Jobs;
use archiver::ship::{Keep, ProgressLog, Shipper, Status};
use archiver::store::{self, ObjectStore};
use async_trait::async_trait;
use engine::Mark;
use follow::Follower;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The one data group.
const GROUP: u64 = 1;
/// How long a stop waits for the last commits to be shipped.
const LAST_SHIPPING: Duration = Duration::from_secs(10);

/// Opens the archive that the settings name; `None` when there is none. Sends no request.
///
/// # Errors
///
/// When the URL is wrong, or the directory has no absolute path.
pub fn open(settings: &Settings) -> Result<Option<Arc<dyn ObjectStore>>, store::Error> {
    match &settings.archive {
        config::Archive::Nowhere => Ok(None),
        config::Archive::At(url) => store::open(url).map(Some),
        config::Archive::Beside => {
            let path = data_dir::archive_in(&settings.data);
            let path = std::path::absolute(&path).map_err(|error| store::Error::Url {
                reason: format!("cannot find {}: {error}", path.display()),
            })?;
            store::url::open_local(path).map(Some)
        }
    }
}

/// For how long the archive is kept; `None` when nothing is removed from it.
pub fn kept_ms(settings: &Settings) -> Option<u64> {
    match (&settings.archive, settings.archive_retention_ms) {
        (_, Some(ms)) => Some(ms),
        (config::Archive::Beside, None) => Some(DEFAULT_LOCAL_RETENTION_MS),
        (config::Archive::At(_) | config::Archive::Nowhere, None) => None,
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
    task: JoinHandle<Option<Shipper>>,
    status: watch::Receiver<Status>,
}

impl Shipping {
    /// Starts to ship. Call it inside the runtime, before the engines are maintained, so that no segment is removed that
    /// has not been shipped.
    pub fn start(
        store: Arc<dyn ObjectStore>,
        settings: &Settings,
        dir: &DataDir,
        database: Database,
        jobs: Jobs,
    ) -> Shipping {
        let how = archiver::ship::Settings {
            group: GROUP,
            jobs: Some(jobs.clone()),
            checkpoint_interval_ms: settings.checkpoint_interval_ms,
            ..archiver::ship::Settings::new(dir.scratch())
        };
        let (stop, stopping) = watch::channel(false);
        if let Some(keep_ms) = kept_ms(settings) {
            let clock = database.clock().clone();
            tokio::spawn(pruning::run(
                Archive::plain(Arc::clone(&store)),
                clock,
                keep_ms,
                jobs,
                stopping.clone(),
            ));
        }
        let (told, status) = watch::channel(Status::default());
        let follower = Follower { database, store, how, keep: Keep::new(), status: told };
        follower.keep();
        Shipping { stop, task: tokio::spawn(follower.run(stopping)), status }
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
            Ok(None) => {}
            Ok(Some(mut shipper)) => {
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
            failing: status.is_failing(),
        }
    }
}

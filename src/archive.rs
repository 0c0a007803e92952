//! The archive of a served database: where it is, shipping to it, and for how long it is kept.
//!
//! - Shipping never stands in the way of a write: an archive that cannot be reached is waited for, and what is sent there is read,
//!   hashed, signed and encrypted on threads of its own that give way to those that answer clients.
//! - Progress goes through the write pipeline, as a log entry of its own.
//! - Only what is kept beside the data, or is said to be kept for some time, is ever removed.

mod behind;
mod pruning;
mod replica;
mod report;
mod verifying;

pub use behind::{Behind, refuse_if_behind};
pub use report::{ArchiveReports, ArchiveStatus};
pub use verifying::Verified;

use crate::config::Settings;
use crate::config::archive::Where;
use crate::data_dir::{self, DataDir};
use crate::database::Database;
use crate::metrics::ArchiveLag;
use archiver::job::Jobs;
use archiver::ship::{Follower, Keep, Shipper, Status, follow};
use archiver::store::{self, ObjectStore};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a stop waits for the last commits to be shipped.
const LAST_SHIPPING: Duration = Duration::from_secs(10);
/// How much the archive's threads give way: while others want the processor, they get about a tenth of it.
const NICE: i32 = 10;

/// Opens the archives that the settings name. Sends no request.
///
/// # Errors
///
/// When a URL is wrong or named twice, or the directory has no absolute path.
pub fn open(settings: &Settings) -> Result<Vec<Arc<dyn ObjectStore>>, store::Error> {
    let urls = match &settings.archive.at {
        Where::Nowhere => return Ok(Vec::new()),
        Where::At(urls) => urls,
        Where::Beside => {
            let path = data_dir::archive_in(&settings.data);
            let path = std::path::absolute(&path).map_err(|error| store::Error::Url {
                reason: format!("cannot find {}: {error}", path.display()),
            })?;
            return Ok(vec![store::url::open_local(path)?]);
        }
    };
    let mut stores: Vec<Arc<dyn ObjectStore>> = Vec::new();
    for url in urls {
        let opened = store::open(url)?;
        let place = opened.location();
        if stores.iter().any(|other| is_one_place(&other.location(), &place)) {
            let reason = format!("archive {place} is named twice: name each place once");
            return Err(store::Error::Url { reason });
        }
        stores.push(opened);
    }
    Ok(stores)
}

/// Whether two locations are the same.
fn is_one_place(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

/// Shipping in the background: every group to every target.
#[derive(Debug)]
pub struct Shipping {
    threads: Threads,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Option<Shipper>>>,
    shown: Vec<Shown>,
    verified: Verified,
}

/// The archive's own threads: one that drives all requests, and others for what blocks.
#[derive(Debug)]
struct Threads(Option<Runtime>);

impl Threads {
    fn start() -> std::io::Result<Threads> {
        let give_way = || {
            if let Err(error) = rustix::process::nice(NICE) {
                tracing::debug!(%error, "the archive's threads do not give way");
            }
        };
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        threads.worker_threads(1).thread_name("archive").on_thread_start(give_way).enable_all();
        Ok(Threads(Some(threads.build()?)))
    }

    fn handle(&self) -> &Handle {
        self.0.as_ref().expect("only a drop takes it").handle()
    }
}

impl Drop for Threads {
    /// What still runs is left to end with the process: a runtime must not wait inside another.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// How shipping of a group to a target goes.
#[derive(Debug, Clone)]
struct Shown {
    group: u64,
    target: String,
    status: watch::Receiver<Status>,
}

impl Shipping {
    /// Starts to ship. Call it before the engines are maintained, so that no segment is removed that has not been shipped.
    ///
    /// # Errors
    ///
    /// When the system gives it no threads.
    pub fn start(
        stores: &[Arc<dyn ObjectStore>],
        settings: &Settings,
        dir: &DataDir,
        groups: &[Database],
        jobs: &Jobs,
    ) -> std::io::Result<Shipping> {
        // Where a checkpoint was linked before there were several targets.
        if let Err(error) = std::fs::remove_dir_all(dir.scratch().join("checkpoint")) {
            tracing::debug!(%error, "there is no checkpoint of an earlier version");
        }
        let (stop, stopping) = watch::channel(false);
        let verified = Verified::default();
        let threads = Threads::start()?;
        let runtime = threads.handle().clone();
        let _here = runtime.enter();
        let mut shipping = Shipping { threads, stop, tasks: Vec::new(), shown: Vec::new(), verified };
        for database in groups {
            let replica: Arc<dyn follow::Replica> = Arc::new(database.clone());
            let (tell, ships) = watch::channel(follow::ships_now(&*replica));
            let group = database.group().id().0;
            let how = archiver::ship::Settings {
                group,
                node: database.group().status().node.0,
                interval_ms: settings.archive.interval_ms,
                checkpoint_interval_ms: settings.archive.checkpoint_interval_ms,
                table_bytes_per_s_max: settings.archive.table_bytes_per_s_max,
                recipients: settings.archive.recipients.clone(),
                jobs: Some(jobs.clone()),
                ..archiver::ship::Settings::new(dir.scratch())
            };
            let keep = Keep::new();
            let followers: Vec<Follower> = stores
                .iter()
                .map(|store| {
                    let (told, status) = watch::channel(Status::default());
                    shipping.shown.push(Shown { group, target: store.location(), status });
                    Follower {
                        replica: Arc::clone(&replica),
                        store: Arc::clone(store),
                        how: how.clone(),
                        keep: keep.clone(),
                        ships: ships.clone(),
                        status: told,
                    }
                })
                .collect();
            // What every target needs is known before any of them moves on.
            followers.iter().for_each(Follower::keep);
            shipping
                .tasks
                .extend(followers.into_iter().map(|follower| tokio::spawn(follower.run(stopping.clone()))));
            tokio::spawn(follow::look(replica, tell, stopping.clone()));
            if group == replication::GroupId::FIRST.0 {
                let verified = &shipping.verified;
                verifying::start(stores, settings, groups, ships.clone(), verified, jobs, &stopping);
            }
            pruning::start(stores, settings, database, ships, jobs, &stopping);
        }
        Ok(shipping)
    }

    /// When each archive was last verified and found sound, for metrics.
    pub const fn verified(&self) -> &Verified {
        &self.verified
    }

    /// How shipping of the first data group to the first target goes, now and later.
    pub fn status(&self) -> Option<watch::Receiver<Status>> {
        let shown = self.shown.iter().find(|shown| shown.group == replication::GroupId::FIRST.0);
        shown.map(|shown| shown.status.clone())
    }

    /// How far each archive is behind, for metrics.
    pub fn lag(&self) -> Arc<dyn Fn() -> Vec<ArchiveLag> + Send + Sync> {
        let shown = self.shown.clone();
        Arc::new(move || shown.iter().map(ArchiveLag::from).collect())
    }

    /// Ships what is committed and ends. The write pipeline must still be open.
    pub async fn finish(self) {
        self.stop.send_replace(true);
        let drain = |task: JoinHandle<Option<Shipper>>| {
            self.threads.handle().spawn(async move {
                match task.await? {
                    None => Ok(true),
                    Some(mut shipper) => Ok(shipper.drain(LAST_SHIPPING).await),
                }
            })
        };
        let draining: Vec<_> = self.tasks.into_iter().map(drain).collect();
        let drained = futures::future::join_all(draining).await;
        let drained = drained.into_iter().map(|ended| {
            ended.and_then(|drained| drained).unwrap_or_else(|error| {
                tracing::error!(%error, "shipping ended before");
                true
            })
        });
        if drained.filter(|drained| !drained).count() > 0 {
            tracing::warn!("the last commits are not in the archive yet: the next start ships them");
        }
    }
}

impl From<&Shown> for ArchiveLag {
    fn from(shown: &Shown) -> Self {
        let status = shown.status.borrow();
        Self {
            group: shown.group,
            target: shown.target.clone(),
            backlog_bytes: status.backlog_bytes,
            behind_entries: status.committed.version().saturating_sub(status.shipped.version()),
            behind_since_ms: status.backlog_since_ms,
            shipped_time_ms: status.shipped_ms,
            checkpoint_time_ms: status.checkpoint_ms.unwrap_or(0),
            objects: status.objects,
            bytes: status.bytes,
            gaps: status.gaps,
            failing: status.is_failing(),
            ended: status.ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;
    use crate::config::archive::ArchiveFlags;
    use std::error::Error;

    fn open_all(urls: &[&str]) -> Result<usize, Box<dyn Error>> {
        let archive = urls.iter().map(|url| (*url).to_owned()).collect();
        let archives = ArchiveFlags { archive, ..ArchiveFlags::default() };
        Ok(open(&Settings::resolve(Flags { archives, ..Flags::default() })?)?.len())
    }

    #[test]
    fn the_threads_of_an_archive_give_way() -> Result<(), Box<dyn Error>> {
        let own = rustix::process::getpriority_process(None)?;
        let threads = Threads::start()?;
        let task = threads.handle().spawn(async { rustix::process::getpriority_process(None) });
        let blocks = threads.handle().spawn_blocking(|| rustix::process::getpriority_process(None));
        for asked in [task, blocks] {
            assert_eq!(futures::executor::block_on(asked)??, (own + NICE).min(19), "the least is 19");
        }
        Ok(())
    }

    #[test]
    fn two_targets_alike_are_refused() -> Result<(), Box<dyn Error>> {
        assert_eq!(open_all(&[])?, 1, "beside the data");
        assert_eq!(open_all(&["none"])?, 0);
        assert_eq!(open_all(&["file:///a/b", "file:///a/c"])?, 2);
        for (one, other) in [("file:///a/b", "file:///a/b"), ("file:///a/b", "file://localhost/a/b/")] {
            let said = open_all(&[one, other]).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains("named twice"), "{one} and {other}: {said}");
        }
        Ok(())
    }
}

//! What an operator can ask of a cluster, through any of its nodes.
//!
//! - A command changes the catalog by one atomic write, then the [`steward`](super::steward) is told.
//! - A decision that another one overtook is made again on what is there then.

mod databases;
mod loading;
mod nodes;
mod sealing;

pub use databases::{CreatedDatabase, DatabaseStatus};
pub use loading::{LOAD_ROWS_MAX, LoadRow, Loaded, Ready, RecoveryStatus};
pub use nodes::{GroupLineage, JoinAnswer, JoinRequest, MemberPlace, NodeChange, RegionStatus};
pub use sealing::SealedGroup;

use super::identity::Identity;
use super::seam::{Cluster, ClusterError};
use crate::catalog::{self, CatalogError, Change, View};
use engine::Random;
use replication::{Outcome, ServingClock};
use std::sync::Arc;
use tokio::sync::Notify;

/// How often a decision is made anew when others overtake it.
const DECISIONS_MAX: usize = 32;

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The catalog does not allow it, or cannot be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The cluster did not do it.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// It would do harm. Change what is there first.
    #[error("{0}")]
    Refused(String),
}

/// What is said to who wants to change a sealed cluster.
fn words(reason: &str) -> String {
    format!("the cluster is sealed: {reason}; cairn cluster unseal lets it go on")
}

/// The result of a command.
pub type Result<T> = std::result::Result<T, OperatorError>;

/// Carries out commands. Clones are the same operator.
#[derive(Debug, Clone)]
pub struct Operator {
    cluster: Arc<dyn Cluster>,
    identity: Arc<Identity>,
    clock: ServingClock,
    random: Arc<dyn Random>,
    changed: Arc<Notify>,
}

impl Operator {
    /// An operator that works through this node.
    pub fn new(
        cluster: Arc<dyn Cluster>,
        identity: Identity,
        clock: ServingClock,
        random: Arc<dyn Random>,
    ) -> Operator {
        Operator { cluster, identity: Arc::new(identity), clock, random, changed: Arc::default() }
    }

    /// The node's cluster.
    pub fn cluster(&self) -> &Arc<dyn Cluster> {
        &self.cluster
    }

    /// Who the node is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The time that commands are stamped with, Unix milliseconds.
    pub(super) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Wakes the steward when something was changed.
    pub(super) fn changed(&self) -> Arc<Notify> {
        self.changed.clone()
    }

    /// Decides on the newest catalog and writes the change; returns what was decided.
    ///
    /// # Errors
    ///
    /// When the decision is a refusal, or the change has no outcome.
    pub(super) async fn change<T: Send>(
        &self,
        decide: impl Fn(&View<'_>) -> catalog::Result<(T, Option<Change>)> + Send,
    ) -> Result<T> {
        for _ in 0..DECISIONS_MAX {
            self.cluster.catalog_barrier().await?;
            let (decided, change) = decide(&View::new(&self.cluster.catalog()))?;
            let Some(change) = change else { return Ok(decided) };
            if let Some(seal) = self.seal_here() {
                return Err(OperatorError::Refused(words(&seal.reason)));
            }
            let write = change.into_write(self.cluster.request_id());
            match self.cluster.write_catalog(write).await? {
                Outcome::Committed(_) => {
                    self.changed.notify_one();
                    // Sealed meanwhile: it may be after the end.
                    return match self.seal_here() {
                        Some(seal) => Err(ClusterError::Unknown(words(&seal.reason)).into()),
                        None => Ok(decided),
                    };
                }
                Outcome::ChecksFailed(_) => {}
                Outcome::Refused(refusal) => return Err(ClusterError::Failed(refusal.to_string()).into()),
            }
        }
        Err(ClusterError::Unavailable("the catalog changes too often".to_owned()).into())
    }

    /// Looks at the newest catalog.
    async fn look<T>(&self, look: impl FnOnce(&View<'_>) -> catalog::Result<T> + Send) -> Result<T> {
        self.cluster.catalog_barrier().await?;
        Ok(look(&View::new(&self.cluster.catalog()))?)
    }
}

#[cfg(test)]
mod tests;

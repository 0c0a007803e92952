//! Commands that end what a cluster writes, so that another one can go on from it.

use super::{Operator, OperatorError, Result};
use crate::catalog::CatalogError;
use crate::cluster::seam::ClusterError;
use crate::sealed::{self, REASON_LEN_MAX, Seal};
use replication::{GroupId, Outcome};
use serde::{Deserialize, Serialize};

/// A group that was sealed, or let go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedGroup {
    /// The group.
    pub group: u64,
    /// The commit that did it: everything that was ever acknowledged stands before it.
    pub versionstamp: String,
}

impl Operator {
    /// Seals every group: no write is acknowledged from then on. Asked for again, it answers anew.
    ///
    /// # Errors
    ///
    /// When the reason is too long, or a group has no leader; what was sealed stays so: ask again, or undo it.
    pub async fn seal(&self, reason: &str) -> Result<Vec<SealedGroup>> {
        if reason.is_empty() || reason.len() > REASON_LEN_MAX {
            let rule = format!("give a reason of 1 to {REASON_LEN_MAX} bytes");
            return Err(CatalogError::Invalid(rule).into());
        }
        let seal = Seal { since_ms: self.clock.now_ms(), reason: reason.to_owned() };
        // The catalog last: what databases there are is asked of it until then.
        self.write_seals(Some(&seal)).await
    }

    /// Lets every group take writes again.
    ///
    /// # Errors
    ///
    /// When a group has no leader: ask again.
    pub async fn unseal(&self) -> Result<Vec<SealedGroup>> {
        self.write_seals(None).await
    }

    async fn write_seals(&self, seal: Option<&Seal>) -> Result<Vec<SealedGroup>> {
        let mut groups = self.cluster.groups();
        groups.sort_by_key(|group| (*group == GroupId::CATALOG, *group));
        let mut done = Vec::new();
        for group in groups {
            let unknown = || ClusterError::Failed(format!("this node does not hold group {group}"));
            let lineage = self.cluster.lineage(group).ok_or_else(unknown)?.id;
            let write = sealed::write(self.cluster.request_id(), lineage, seal);
            match self.cluster.write_seal(group, write).await? {
                Outcome::Committed(stamp) => {
                    done.push(SealedGroup { group: group.0, versionstamp: stamp.to_string() });
                }
                Outcome::ChecksFailed(_) => {
                    return Err(ClusterError::Failed("a write without checks failed".to_owned()).into());
                }
                Outcome::Refused(refusal) => return Err(OperatorError::Refused(refusal.to_string())),
            }
        }
        Ok(done)
    }

    /// Why the cluster takes no writes, as this node knows; `None` when it does.
    pub(super) fn seal_here(&self) -> Option<Seal> {
        let lineage = self.cluster.lineage(GroupId::CATALOG)?.id;
        sealed::of(&self.cluster.catalog(), lineage)
    }
}

#[cfg(test)]
mod tests {
    use crate::cluster::testing::alone;
    use crate::testing::TestResult;

    #[tokio::test]
    async fn a_sealed_cluster_says_why_takes_no_command_and_goes_on_when_it_is_let() -> TestResult {
        let (_cluster, operator, _clock) = alone()?;
        assert!(operator.seal("").await.is_err() && operator.seal(&"x".repeat(201)).await.is_err());
        let sealed = operator.seal("moved to us-east").await?;
        assert_eq!(sealed.iter().map(|done| done.group).collect::<Vec<_>>(), [1, 2, 0]);
        assert_eq!(operator.status().await?.sealed.as_deref(), Some("moved to us-east"));
        let refused = operator.create_database("shop").await;
        let said = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains("sealed: moved to us-east") && said.contains("cairn cluster unseal"), "{said}");
        operator.unseal().await?;
        assert_eq!(operator.status().await?.sealed, None);
        operator.create_database("shop").await?;
        Ok(())
    }
}

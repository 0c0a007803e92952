//! A served group as the archiver sees it.

use crate::database::Database;
use archiver::ship::chosen::{Candidate, View};
use archiver::ship::{ProgressLog, Replica};
use async_trait::async_trait;
use engine::{Engine, Mark};
use replication::{GroupStatus, Member, Role};
use std::error::Error;

#[async_trait]
impl ProgressLog for Database {
    async fn record(&self, mark: Mark) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(Database::record(self, mark).await?)
    }
}

#[async_trait]
impl Replica for Database {
    fn group(&self) -> u64 {
        Database::group(self).id().0
    }

    fn engine(&self) -> Engine {
        Database::engine(self)
    }

    fn view(&self) -> View {
        view(&Database::group(self).status())
    }
}

fn view(status: &GroupStatus) -> View {
    let candidate = |member: &Member| Candidate {
        node: member.node.0,
        is_voter: member.is_voter,
        is_leader: member.node == status.node,
        lag: member.lag,
        silent_ms: member.silent_ms,
    };
    View {
        node: status.node.0,
        leads: status.role == Role::Leader,
        members: status.members.iter().map(candidate).collect(),
    }
}

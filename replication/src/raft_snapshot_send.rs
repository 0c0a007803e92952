//! Sends a Raft snapshot to a follower that needs one.

use crate::raft::Vote;
use crate::transport::Transport;
use crate::{GroupId, NodeId};
use std::sync::Arc;

/// Makes and sends checkpoints.
#[derive(Debug, Clone)]
pub(crate) struct Sender {}

impl Sender {
    pub(crate) async fn send(
        &self,
        _t: &Arc<dyn Transport>,
        _to: NodeId,
        _group: GroupId,
        _vote: Vote,
    ) -> Result<Vote, String> {
        Err("not yet".to_owned())
    }
}

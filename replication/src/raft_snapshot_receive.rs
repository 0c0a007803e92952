//! Takes a Raft snapshot that a leader sends.
use crate::NodeId;
use crate::group::Core;
use crate::raft::Vote;
use crate::transport::Duplex;
use std::sync::Arc;
pub(crate) async fn receive(_core: &Arc<Core>, _from: NodeId, _vote: Vote, _duplex: Duplex) {}

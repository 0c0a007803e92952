//! Puts a received Raft snapshot in the place of a replica's engine.

use crate::raft::LogId;
use crate::replica::Replica;
use std::io;
use std::path::PathBuf;

/// A checkpoint that was received whole.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) dir: PathBuf,
}

/// Knows where replicas live.
#[derive(Debug)]
pub(crate) struct Installer {}

impl Installer {
    pub(crate) async fn install(
        &self,
        _replica: &Replica,
        _position: Option<LogId>,
        _incoming: Incoming,
    ) -> io::Result<()> {
        Err(io::Error::other("not yet"))
    }
}

//! A program without a cluster's intelligence, to test what is done to machines.
//!
//! A process counts the starts of its machine in a file, answers calls, and says that it cannot go on when it is told so
//! or its disk fails. Who belongs to the cluster is known to all at once.

use super::host::{Boot, Position, Program};
use crate::runtime::sleep;
use crate::transport::{Duplex, Service};
use crate::{Change, NodeId};
use async_trait::async_trait;
use bytes::Bytes;
use engine::fs::{Fs, read_file};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

const FILE: &str = "/data/groups/starts";

/// The program: who belongs to the cluster, and whether with a vote.
#[derive(Debug, Default, Clone)]
pub(crate) struct Toy {
    pub(crate) members: Arc<Mutex<BTreeMap<NodeId, bool>>>,
}

/// A process.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) node: NodeId,
    pub(crate) starts: u64,
    fs: Arc<dyn Fs>,
    cannot_go_on: Arc<Notify>,
}

struct Silent;

#[async_trait]
impl Service for Silent {
    async fn answer(&self, _from: NodeId, _request: Bytes) -> Bytes {
        Bytes::new()
    }

    async fn stream(&self, _from: NodeId, _header: Bytes, _duplex: Duplex) {}
}

impl Process {
    pub(crate) fn cannot_go_on(&self) {
        self.cannot_go_on.notify_one();
    }

    /// Writes how often the machine has started, durably.
    pub(crate) fn write(&self) -> std::io::Result<()> {
        let file = self.fs.open_rw(Path::new(FILE)).or_else(|_| self.fs.create(Path::new(FILE)))?;
        file.write_at(&self.starts.to_le_bytes(), 0)?;
        file.sync()?;
        self.fs.sync_dir(Path::new("/data/groups"))
    }
}

#[async_trait]
impl Program for Toy {
    type Process = Process;

    async fn start(&self, boot: Boot) -> Result<Process, String> {
        let fs = boot.env.fs;
        fs.create_dir_all(Path::new("/data/groups")).map_err(|error| error.to_string())?;
        let starts = match read_file(&*fs, Path::new(FILE), 8) {
            Ok(bytes) => bytes.try_into().map_or(0, u64::from_le_bytes),
            Err(_missing) => 0,
        };
        let process = Process { node: boot.node, starts: starts + 1, fs, cannot_go_on: Arc::default() };
        process.write().map_err(|error| error.to_string())?;
        boot.endpoint.listen(&boot.peer.address, Arc::new(Silent));
        if !boot.joins {
            self.members.lock().insert(boot.node, true);
        }
        Ok(process)
    }

    async fn close(&self, _process: Process) {
        sleep(Duration::from_millis(10)).await;
    }

    async fn failure(&self, process: Process) -> String {
        loop {
            let told =
                crate::runtime::timeout(Duration::from_millis(50), process.cannot_go_on.notified()).await;
            if told.is_ok() || process.write().is_err() {
                return "it was told so, or its disk failed".to_owned();
            }
        }
    }

    async fn change(&self, _process: Process, change: Change) -> Result<(), String> {
        let mut members = self.members.lock();
        match change {
            Change::Add(node, _) => drop(members.insert(node, false)),
            Change::Promote(node) => *members.get_mut(&node).ok_or("it is no member")? = true,
            Change::Remove(node) => drop(members.remove(&node)),
            Change::Transfer(_) => {}
        }
        Ok(())
    }

    async fn probe(&self, process: Process) -> Result<(), String> {
        process.write().map_err(|error| error.to_string())
    }

    fn position(&self, _process: &Process) -> Position {
        vec![(1, engine::ContentHash::from_bytes([0; 32]))]
    }
}

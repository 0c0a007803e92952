//! How a client asks a node.

use crate::AtomicWrite;
use crate::check::{Last, Message, Seen, Selection, Written};
use async_trait::async_trait;
use engine::Versionstamp;

/// What a read asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// All that was acknowledged before.
    Strong,
    /// What the node has.
    Eventual,
    /// The state at a stamp that the client has seen.
    At(Versionstamp),
}

/// What a read showed.
#[derive(Debug, Clone)]
pub struct Shown {
    /// It.
    pub seen: Seen,
    /// How old it is at most, in milliseconds, by the node's own words.
    pub staleness_ms: Option<u64>,
}

/// A watch that is open.
#[async_trait]
pub trait Watching: Send {
    /// What it says next, its moment left at zero; `None` when it has ended.
    async fn next(&mut self) -> Option<Message>;
}

/// Reaches nodes. A call to a node that is down, or goes down, comes back without an answer.
#[async_trait]
pub trait Client: Send + Sync + 'static {
    /// The nodes there are, up or not; at least one.
    fn nodes(&self) -> Vec<u64>;

    /// Does a write, or says what is known of it.
    async fn write(&self, node: u64, write: AtomicWrite) -> Written;

    /// Reads ranges in one snapshot; `None` when it failed.
    async fn read(&self, node: u64, ask: Ask, selections: Vec<Selection>) -> Option<Shown>;

    /// Watches keys of the engine; the first message says what is there.
    async fn watch(&self, node: u64, keys: Vec<Vec<u8>>) -> Option<Box<dyn Watching>>;

    /// Everything, by a strong read.
    async fn last(&self, node: u64) -> Option<Last>;
}

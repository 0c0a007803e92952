//! Progress recorded straight into the engine, for an engine that nobody else appends to meanwhile.

use super::ProgressLog;
use async_trait::async_trait;
use engine::{Engine, Mark, Record};

/// Appends progress itself, where no sequencer or Raft log stands before the engine. Not for an engine
/// that others append to at the same time.
#[derive(Debug, Clone)]
pub struct Direct(pub Engine);

#[async_trait]
impl ProgressLog for Direct {
    async fn record(&self, mark: Mark) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let engine = self.0.clone();
        let append = move || {
            let applied = engine.applied();
            let record = Record {
                version: engine.next_version(),
                term: applied.term,
                time_ms: applied.time_ms,
                hash: applied.hash,
                batches: Vec::new(),
                marks: vec![mark],
            };
            engine.append(&record)?;
            let version = engine.sync()?;
            engine.publish(version);
            Ok(())
        };
        match crate::runtime::spawn_blocking(append).await {
            Ok(appended) => appended,
            Err(ended) => {
                ended.resume_panic();
                Err(Box::new(crate::Error::Stopped))
            }
        }
    }
}

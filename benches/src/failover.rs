//! How long a cluster takes no write after its leader was killed.
//!
//! - The clock starts when the kill has been sent; only writes that begin after it count.
//! - On every survivor a fresh write begins every [`PROBE_MS`], each on its own, whatever became of the ones
//!   before: a client that hangs on one attempt must not hide that the cluster is back.

use anyhow::bail;
use cairn::bench::target::{Connection, Target};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Between two writes on one survivor, in milliseconds: the resolution of the result.
pub const PROBE_MS: u64 = 5;
/// After this the cluster is taken for lost.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The time from `killed` until a write that began later was acknowledged by any of `survivors`.
///
/// # Errors
///
/// When there is none within 30 s.
pub async fn first_acknowledged<T>(survivors: Vec<T>, killed: Instant) -> anyhow::Result<Duration>
where
    T: Target + Send + Sync + 'static,
{
    let survivors: Vec<_> = survivors.into_iter().map(Arc::new).collect();
    let mut probes = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(PROBE_MS));
    let mut number = 0_u64;
    while killed.elapsed() < WAIT_MAX {
        tokio::select! {
            _tick = ticks.tick() => for survivor in &survivors {
                number += 1;
                probes.spawn(probe(survivor.clone(), number));
            },
            Some(done) = probes.join_next() => if matches!(done, Ok(true)) {
                return Ok(killed.elapsed());
            },
        }
    }
    bail!("no write was acknowledged within {WAIT_MAX:?} of the kill")
}

/// Whether one write was acknowledged.
async fn probe<T: Target>(survivor: Arc<T>, number: u64) -> bool {
    let key = format!("failover/{number}").into_bytes();
    match survivor.connect().await {
        Ok(mut connection) => connection.put(key, b"1".to_vec()).await.is_ok(),
        Err(_) => false,
    }
}

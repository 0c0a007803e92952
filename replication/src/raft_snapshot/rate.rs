//! A bound on the bytes that snapshots send in a second.
//!
//! - A bucket of tokens that fills with time, up to what one tenth of a second gives.
//! - Who sends takes the tokens first and waits until the debt is paid: transfers that share a rate share it by what they
//!   take.
//! - The clock is the runtime's, which never falls.

use crate::runtime::{self, Instant};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A bucket holds what this part of a second gives.
const BUCKETS_PER_S: u64 = 10;
/// No wait is longer, whatever the rate: a rate that is raised is felt soon.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A rate that transfers share.
#[derive(Debug)]
pub struct Rate {
    bytes_per_s_max: AtomicU64,
    bucket: Mutex<Option<Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    tokens: i64,
    filled: Instant,
}

impl Rate {
    /// At most so many bytes a second; 0 is no limit.
    pub fn new(bytes_per_s_max: u64) -> Self {
        Self { bytes_per_s_max: AtomicU64::new(bytes_per_s_max), bucket: Mutex::new(None) }
    }

    /// Changes the rate, for those too that share it now; 0 is no limit.
    pub fn set(&self, bytes_per_s_max: u64) {
        self.bytes_per_s_max.store(bytes_per_s_max, Ordering::Relaxed);
    }

    /// Waits until `bytes` may be sent.
    pub async fn take(&self, bytes: usize) {
        let per_s = self.bytes_per_s_max.load(Ordering::Relaxed);
        if per_s == 0 {
            return;
        }
        let wait = self.charge(bytes, per_s, runtime::now());
        if !wait.is_zero() {
            runtime::sleep(wait.min(WAIT_MAX)).await;
        }
    }

    fn charge(&self, bytes: usize, per_s: u64, now: Instant) -> Duration {
        let size = signed(per_s / BUCKETS_PER_S);
        let mut bucket = self.bucket.lock();
        let bucket = bucket.get_or_insert(Bucket { tokens: size, filled: now });
        let passed = openraft_rt::Instant::saturating_duration_since(&now, bucket.filled);
        bucket.filled = now;
        let new = passed.as_nanos() * u128::from(per_s) / 1_000_000_000;
        bucket.tokens = bucket.tokens.saturating_add(i64::try_from(new).unwrap_or(i64::MAX)).min(size);
        bucket.tokens = bucket.tokens.saturating_sub(signed(bytes as u64));
        wait(bucket.tokens, per_s)
    }
}

/// How long it takes until a debt is paid.
fn wait(tokens: i64, per_s: u64) -> Duration {
    let debt = u128::from(tokens.min(0).unsigned_abs());
    Duration::from_nanos(u64::try_from(debt * 1_000_000_000 / u128::from(per_s)).unwrap_or(u64::MAX))
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

//! A bound on the bytes that flushes and compactions write in a second.
//!
//! - A bucket of tokens that fills with the clock, up to what one tenth of a second gives.
//! - A step that may begin is charged afterwards for what it wrote, so the bucket can be in debt by one step.
//! - Flushes go first: they may begin as long as the debt is less than one bucket, compactions only without debt.
//! - Nobody sleeps here: who may not begin tries again later.

use parking_lot::{Mutex, MutexGuard};

/// A bucket holds what this part of a second gives.
const BUCKETS_PER_S: u64 = 10;
/// A bucket holds at least this many bytes, so that a step fits.
const BUCKET_BYTES_MIN: u64 = 64 << 10;

/// Who wants to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A memtable has to go: writers wait for it.
    Flush,
    /// The levels get a better shape.
    Compaction,
}

/// The tokens.
#[derive(Debug)]
pub(crate) struct IoLimit {
    bytes_per_s_max: u64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: i64,
    filled_ms: u64,
}

impl IoLimit {
    /// A limit; 0 is none.
    pub(crate) fn new(bytes_per_s_max: u64) -> Self {
        let bucket = Bucket { tokens: signed(bucket_bytes(bytes_per_s_max)), filled_ms: 0 };
        Self { bytes_per_s_max, bucket: Mutex::new(bucket) }
    }

    /// Whether a step may begin now.
    pub(crate) fn allows(&self, purpose: Purpose, now_ms: u64) -> bool {
        if self.bytes_per_s_max == 0 {
            return true;
        }
        let size = signed(bucket_bytes(self.bytes_per_s_max));
        let bucket = self.filled(now_ms);
        match purpose {
            Purpose::Flush => bucket.tokens > -size,
            Purpose::Compaction => bucket.tokens > 0,
        }
    }

    /// Takes the tokens for what a step wrote.
    pub(crate) fn charge(&self, bytes: u64, now_ms: u64) {
        if self.bytes_per_s_max > 0 {
            let mut bucket = self.filled(now_ms);
            bucket.tokens = bucket.tokens.saturating_sub(signed(bytes));
        }
    }

    /// The bucket with what came into it since it was looked at.
    fn filled(&self, now_ms: u64) -> MutexGuard<'_, Bucket> {
        let size = signed(bucket_bytes(self.bytes_per_s_max));
        let mut bucket = self.bucket.lock();
        // A clock that was set back gives nothing for that time.
        let passed_ms = now_ms.saturating_sub(bucket.filled_ms);
        bucket.filled_ms = now_ms;
        let new = u128::from(self.bytes_per_s_max) * u128::from(passed_ms) / 1_000;
        let new = i64::try_from(new).unwrap_or(i64::MAX);
        bucket.tokens = bucket.tokens.saturating_add(new).min(size);
        bucket
    }
}

fn bucket_bytes(bytes_per_s_max: u64) -> u64 {
    (bytes_per_s_max / BUCKETS_PER_S).max(BUCKET_BYTES_MIN)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes steps of 10,000 bytes until the limit says no.
    fn steps(limit: &IoLimit, purpose: Purpose, now_ms: u64) -> u64 {
        let mut bytes = 0;
        while limit.allows(purpose, now_ms) {
            limit.charge(10_000, now_ms);
            bytes += 10_000;
        }
        bytes
    }

    #[test]
    fn what_is_written_in_a_second_is_about_what_was_configured() {
        let limit = IoLimit::new(1_000_000);
        steps(&limit, Purpose::Compaction, 0);
        let second: u64 = (1..=1_000).map(|ms| steps(&limit, Purpose::Compaction, ms)).sum();
        assert!((990_000..=1_010_000).contains(&second), "{second} bytes");
    }

    #[test]
    fn a_pause_saves_up_no_more_than_one_bucket() {
        let limit = IoLimit::new(1_000_000);
        steps(&limit, Purpose::Compaction, 0);
        assert_eq!(steps(&limit, Purpose::Compaction, 3_600_000), 100_000);
    }

    #[test]
    fn a_flush_goes_on_where_a_compaction_has_to_wait() {
        let limit = IoLimit::new(1_000_000);
        steps(&limit, Purpose::Compaction, 0);
        assert!(!limit.allows(Purpose::Compaction, 0));
        assert_eq!(steps(&limit, Purpose::Flush, 0), 100_000);
        assert!(!limit.allows(Purpose::Compaction, 50), "the flush is paid for first");
    }

    #[test]
    fn no_limit_is_no_limit_and_a_clock_set_back_gives_nothing() {
        let limit = IoLimit::new(0);
        limit.charge(u64::MAX, 0);
        assert!(limit.allows(Purpose::Compaction, 0));
        let limit = IoLimit::new(1_000_000);
        steps(&limit, Purpose::Compaction, 10_000);
        assert!(!limit.allows(Purpose::Compaction, 5_000));
        assert!(limit.allows(Purpose::Compaction, 5_020));
    }
}

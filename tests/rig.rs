//! What the end-to-end tests share: real servers, real clients, and bounded waiting.
//!
//! - Every process that a test starts is dead when the test ends, however it ends.
//! - Nothing waits without a bound, and nothing waits for time alone: see [`until`].
//! - Every server listens on a free port of 127.0.0.1, so that tests run side by side.

pub(crate) mod balancer;
pub(crate) mod cluster;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod meter;
pub(crate) mod model;
pub(crate) mod output;
pub(crate) mod peers;
pub(crate) mod rclone;
pub(crate) mod s3;
pub(crate) mod server;
pub(crate) mod sftp;
pub(crate) mod small_disk;
pub(crate) mod stores;
pub(crate) mod tls;
pub(crate) mod writes;

use std::time::{Duration, Instant};

/// The result of a test: any error fails it.
pub(crate) type TestResult<T = ()> = anyhow::Result<T>;

/// The access token of every server under test.
pub(crate) const TOKEN: &str = "an-access-token-for-tests";

/// How long a process may take to start or to stop before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Tries until there is a value; fails after [`PATIENCE`], naming what never came.
pub(crate) fn until<T>(what: &str, attempt: impl FnMut() -> TestResult<Option<T>>) -> TestResult<T> {
    until_within(PATIENCE, what, attempt)
}

/// Tries until there is a value; fails after `bound`, naming what never came.
pub(crate) fn until_within<T>(
    bound: Duration,
    what: &str,
    mut attempt: impl FnMut() -> TestResult<Option<T>>,
) -> TestResult<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt()? {
            return Ok(value);
        }
        anyhow::ensure!(start.elapsed() < bound, "not within {bound:?}: {what}");
        // The pause between two looks at the condition, not a guess at when it will hold.
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The wall clock, in Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    engine::Env::real().clock.now_ms()
}

/// A seed of this run: the variable `CAIRN_TEST_SEED`, or a fresh one; printed, so that it can be set.
pub(crate) fn seed(test: &str) -> TestResult<u64> {
    let seed = match std::env::var("CAIRN_TEST_SEED") {
        Ok(text) => text.parse()?,
        Err(_) => now_ms(),
    };
    println!("{test}: CAIRN_TEST_SEED={seed}");
    Ok(seed)
}

/// How often to do something: the variable, or this many times.
pub(crate) fn count_from(variable: &str, default: usize) -> TestResult<usize> {
    Ok(std::env::var(variable).map_or(Ok(default), |text| text.parse())?)
}

//! Clients that each ask, wait for the answer, check it and ask again, for a fixed time.
//!
//! - A request is counted when it began and ended inside the measured window.
//! - Reads meet only keys that exist: call [`fill`] before.
//! - The sequence of keys is a function of the client's number, so that two servers get the same.
//! - What a server speaks is hidden behind [`Target`], so that the same clients load any of them.

use super::client::{Error, Result};
use super::cpu;
use super::random::SplitMix;
use super::target::{Connection, Target};
use denokv_proto::{KeyPart, encode_key};
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// The longest latency that is told from longer ones, in microseconds, inclusive.
const LATENCY_US_MAX: u64 = 60_000_000;
/// Clients that write the keys before a measurement, at most.
const FILL_CLIENTS_MAX: u32 = 64;

/// What the clients ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One key at a time, each of them present.
    Read,
    /// One key at a time, without checks.
    Write,
    /// Half reads, half writes, drawn at random (the mix of YCSB's workload A).
    Mixed,
}

/// One measurement to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// What the clients ask for.
    pub mode: Mode,
    /// How many clients, each with its own connection; at least 1.
    pub clients: u32,
    /// The length of each value, in bytes, at most 65,536.
    pub value_bytes: usize,
    /// How many keys the clients choose from, all equally likely; at least 1.
    pub keys: u64,
    /// How long to run before the window opens.
    pub warm_up: Duration,
    /// How long the window stays open.
    pub duration: Duration,
    /// The processes whose processor time is read and added up, when they are on this machine.
    pub server_pids: Vec<u32>,
}

/// What a measurement found.
#[derive(Debug)]
pub struct Outcome {
    /// Latencies of reads, in microseconds.
    pub reads: Histogram<u64>,
    /// Latencies of writes, in microseconds.
    pub writes: Histogram<u64>,
    /// The measured length of the window.
    pub elapsed: Duration,
    /// Processor time that the server used inside the window, when it could be read.
    pub server_cpu: Option<Duration>,
    /// Processor time that this process used inside the window, when it could be read.
    pub client_cpu: Option<Duration>,
}

/// Runs the clients and measures. Client `n` is connected to the target `n` modulo their number.
///
/// # Errors
///
/// The first error of any client: a wrong answer, a refusal or a lost connection.
///
/// # Panics
///
/// If there is no target.
pub async fn run<T: Target>(targets: &[T], load: &Load) -> Result<Outcome> {
    let workers = connect(targets, load.clients, load).await?;
    let opens = Instant::now() + load.warm_up;
    let closes = opens + load.duration;
    let mut running = JoinSet::new();
    for worker in workers {
        running.spawn(worker.run(opens, closes));
    }
    tokio::time::sleep_until(opens.into()).await;
    let (opened, server_before, client_before) = (Instant::now(), server_cpu(load), client_cpu());
    tokio::time::sleep_until(closes.into()).await;
    let (elapsed, server_after, client_after) = (opened.elapsed(), server_cpu(load), client_cpu());

    let (mut reads, mut writes) = (histogram(), histogram());
    while let Some(joined) = running.join_next().await {
        let (r, w) = joined.map_err(|e| Error::Protocol(format!("a client stopped: {e}")))??;
        merge(&mut reads, &r);
        merge(&mut writes, &w);
    }
    let between = |before: Option<Duration>, after: Option<Duration>| after?.checked_sub(before?);
    Ok(Outcome {
        reads,
        writes,
        elapsed,
        server_cpu: between(server_before, server_after),
        client_cpu: between(client_before, client_after),
    })
}

/// Writes every key of a load once, so that its reads find them.
///
/// # Errors
///
/// As [`run`].
///
/// # Panics
///
/// If there is no target.
pub async fn fill<T: Target>(targets: &[T], load: &Load) -> Result<()> {
    let clients = FILL_CLIENTS_MAX.min(u32::try_from(load.keys).unwrap_or(u32::MAX));
    let mut running = JoinSet::new();
    for (first, mut worker) in (0_u64..).zip(connect(targets, clients, load).await?) {
        running.spawn(async move {
            let mut key = first;
            while key < worker.keys {
                worker.write(key).await?;
                key += u64::from(clients);
            }
            Ok::<(), Error>(())
        });
    }
    while let Some(joined) = running.join_next().await {
        joined.map_err(|e| Error::Protocol(format!("a client stopped: {e}")))??;
    }
    Ok(())
}

async fn connect<T: Target>(targets: &[T], clients: u32, load: &Load) -> Result<Vec<Worker<T::Connection>>> {
    assert!(!targets.is_empty(), "a load needs a target");
    let mut workers = Vec::new();
    for (number, target) in (0..clients).zip(targets.iter().cycle()) {
        workers.push(Worker::new(target.connect().await?, number, load));
    }
    Ok(workers)
}

/// Of all servers together; not known when that of one is not.
fn server_cpu(load: &Load) -> Option<Duration> {
    if load.server_pids.is_empty() {
        return None;
    }
    load.server_pids.iter().map(|pid| cpu::used_by(*pid)).sum()
}

fn client_cpu() -> Option<Duration> {
    cpu::used_by(std::process::id())
}

/// One client with its own connection.
struct Worker<C> {
    connection: C,
    random: SplitMix,
    value: Vec<u8>,
    mode: Mode,
    keys: u64,
    reads: Histogram<u64>,
    writes: Histogram<u64>,
}

impl<C: Connection> Worker<C> {
    fn new(connection: C, number: u32, load: &Load) -> Self {
        let mut random = SplitMix(u64::from(number) << 32);
        let value = (0..load.value_bytes).map(|_| random.next_u64().to_le_bytes()[0]).collect();
        let (mode, keys) = (load.mode, load.keys);
        Self { connection, random, value, mode, keys, reads: histogram(), writes: histogram() }
    }

    async fn run(mut self, opens: Instant, closes: Instant) -> Result<(Histogram<u64>, Histogram<u64>)> {
        loop {
            let key = self.random.below(self.keys);
            let reading = match self.mode {
                Mode::Read => true,
                Mode::Write => false,
                Mode::Mixed => self.random.below(2) == 0,
            };
            let began = Instant::now();
            if reading {
                self.read(key).await?;
            } else {
                self.write(key).await?;
            }
            let ended = Instant::now();
            if ended >= closes {
                return Ok((self.reads, self.writes));
            }
            if began >= opens {
                let histogram = if reading { &mut self.reads } else { &mut self.writes };
                let micros = u64::try_from((ended - began).as_micros()).unwrap_or(u64::MAX);
                histogram.saturating_record(micros);
            }
        }
    }

    async fn read(&mut self, key: u64) -> Result<()> {
        match self.connection.get(&key_of(key)).await? {
            Some(value) if value.len() == self.value.len() => Ok(()),
            Some(value) => Err(Error::Protocol(format!("key {key} has {} bytes", value.len()))),
            None => Err(Error::Protocol(format!("key {key} is absent"))),
        }
    }

    async fn write(&mut self, key: u64) -> Result<()> {
        // A value of its own for each write: no server may take it for one that it has.
        let fresh = self.random.next_u64().to_le_bytes();
        for (byte, new) in self.value.iter_mut().zip(fresh) {
            *byte = new;
        }
        self.connection.put(key_of(key), self.value.clone()).await
    }
}

/// The encoded key `["bench", number]`, ten digits, so that all have one length.
fn key_of(number: u64) -> Vec<u8> {
    let parts = vec![KeyPart::String("bench".to_owned()), KeyPart::String(format!("{number:010}"))];
    encode_key(&denokv_proto::Key(parts)).expect("a key of two short parts is within every limit")
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(LATENCY_US_MAX, 3).expect("three digits up to a minute are valid bounds")
}

fn merge(into: &mut Histogram<u64>, from: &Histogram<u64>) {
    into.add(from).expect("all histograms have the same bounds");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_numbers_and_have_one_length() {
        let keys: Vec<_> = [0, 9, 10, 999_999, 1_000_000].into_iter().map(key_of).collect();
        assert!(keys.is_sorted());
        assert!(keys.iter().all(|key| key.len() == keys[0].len()));
    }
}

//! Clients that each ask, wait for the answer, check it and ask again, for a fixed time.
//!
//! - A request is counted when it began and ended inside the measured window.
//! - Reads meet only keys that exist: all keys are written before the window opens.
//! - The sequence of keys is a function of the client's number, so that two servers get the same.

use super::client::{Client, Error, Result, Session};
use super::cpu;
use super::random::SplitMix;
use denokv_proto::datapath::{
    AtomicWrite, AtomicWriteStatus, KvValue, Mutation, MutationType, ValueEncoding,
};
use denokv_proto::{KeyPart, encode_key};
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// The longest latency that is told from longer ones, in microseconds, inclusive.
const LATENCY_US_MAX: u64 = 60_000_000;
/// Keys written in one atomic write before the measurement; with values of 64 KiB this is under
/// the 800 KiB that an atomic write may have.
const FILL_KEYS_PER_WRITE: u64 = 10;

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
    /// The process whose processor time is read, when it is on this machine.
    pub server_pid: Option<u32>,
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

/// Fills the keys, runs the clients and measures.
///
/// # Errors
///
/// The first error of any client: a wrong answer, a refusal or a lost connection.
pub async fn run(session: &Session, load: &Load) -> Result<Outcome> {
    if load.mode != Mode::Write {
        fill(session, load).await?;
    }
    let mut clients = Vec::new();
    for number in 0..load.clients {
        clients.push(session.connect().await.map(|client| Worker::new(client, number, load))?);
    }
    let opens = Instant::now() + load.warm_up;
    let closes = opens + load.duration;
    let mut running = JoinSet::new();
    for worker in clients {
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

fn server_cpu(load: &Load) -> Option<Duration> {
    load.server_pid.and_then(cpu::used_by)
}

fn client_cpu() -> Option<Duration> {
    cpu::used_by(std::process::id())
}

/// Writes every key once.
async fn fill(session: &Session, load: &Load) -> Result<()> {
    let mut worker = Worker::new(session.connect().await?, load.clients, load);
    let mut next = 0;
    while next < load.keys {
        let until = load.keys.min(next + FILL_KEYS_PER_WRITE);
        worker.write(next..until).await?;
        next = until;
    }
    Ok(())
}

/// One client with its own connection.
struct Worker {
    client: Client,
    random: SplitMix,
    value: Vec<u8>,
    mode: Mode,
    keys: u64,
    reads: Histogram<u64>,
    writes: Histogram<u64>,
}

impl Worker {
    fn new(client: Client, number: u32, load: &Load) -> Self {
        let mut random = SplitMix(u64::from(number) << 32);
        let value = (0..load.value_bytes).map(|_| random.next_u64().to_le_bytes()[0]).collect();
        let (mode, keys) = (load.mode, load.keys);
        Self { client, random, value, mode, keys, reads: histogram(), writes: histogram() }
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
                self.write(key..key + 1).await?;
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
        match self.client.get(&key_of(key)).await? {
            Some(entry) if entry.value.len() == self.value.len() => Ok(()),
            Some(entry) => Err(Error::Protocol(format!("key {key} has {} bytes", entry.value.len()))),
            None => Err(Error::Protocol(format!("key {key} is absent"))),
        }
    }

    async fn write(&mut self, keys: std::ops::Range<u64>) -> Result<()> {
        // A value of its own for each write: no server may take it for one that it has.
        let fresh = self.random.next_u64().to_le_bytes();
        for (byte, new) in self.value.iter_mut().zip(fresh) {
            *byte = new;
        }
        let mutations = keys.map(|key| set(key_of(key), self.value.clone())).collect();
        let write = AtomicWrite { mutations, ..AtomicWrite::default() };
        let output = self.client.atomic_write(&write).await?;
        if output.status == AtomicWriteStatus::AwSuccess as i32 && output.versionstamp.len() == 10 {
            return Ok(());
        }
        Err(Error::Protocol(format!("a write without checks has status {}", output.status)))
    }
}

/// The encoded key `["bench", number]`, ten digits, so that all have one length.
fn key_of(number: u64) -> Vec<u8> {
    let parts = vec![KeyPart::String("bench".to_owned()), KeyPart::String(format!("{number:010}"))];
    encode_key(&denokv_proto::Key(parts)).expect("a key of two short parts is within every limit")
}

/// A mutation that sets a plain byte value without expiry.
pub fn set(key: Vec<u8>, value: Vec<u8>) -> Mutation {
    Mutation {
        key,
        value: Some(KvValue { data: value, encoding: ValueEncoding::VeBytes as i32 }),
        mutation_type: MutationType::MSet as i32,
        ..Mutation::default()
    }
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

//! What a call and a stream message between two nodes cost over the loopback interface, both ends in this process.
//!
//! `cargo run --release -p cairn-replication --example transport_calls [seconds per row]`

use async_trait::async_trait;
use bytes::Bytes;
use engine::LineageId;
use replication::transport::tcp::{Identity, Options, Range, Tcp};
use replication::transport::{Channel, Duplex, Service, Transport};
use replication::{ClusterId, NodeId};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

type Measured = Result<(), Box<dyn Error + Send + Sync>>;

const FIRST: NodeId = NodeId(1);
const SECOND: NodeId = NodeId(2);
const MESSAGE_LEN: usize = 100;
const LONG_LEN: usize = 1 << 20;
const WITHIN: Duration = Duration::from_secs(10);

/// Answers and sends back what it gets.
struct Mirror;

#[async_trait]
impl Service for Mirror {
    async fn answer(&self, _from: NodeId, request: Bytes) -> Bytes {
        request
    }

    async fn stream(&self, _from: NodeId, header: Bytes, mut duplex: Duplex) {
        while let Some(message) = duplex.receiver.recv().await {
            if !header.is_empty() && duplex.sender.send(message).await.is_err() {
                return;
            }
        }
    }
}

async fn start(node: NodeId) -> Result<(Tcp, String), Box<dyn Error + Send + Sync>> {
    let identity = Identity {
        node,
        cluster: ClusterId([1; 16]),
        lineage: LineageId([1; 16]),
        format: Range { oldest: 1, newest: 1 },
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    Ok((Tcp::start(Options { identity, tls: None }, listener, Arc::new(Mirror)), address))
}

/// What this process has used so far.
struct Used {
    at: Instant,
    cpu_us: f64,
    writes: u64,
}

impl Used {
    #[expect(clippy::disallowed_methods, reason = "it measures time")]
    fn now() -> Result<Used, Box<dyn Error + Send + Sync>> {
        let mut cpu_ns = 0;
        for task in std::fs::read_dir("/proc/self/task")? {
            let stat = std::fs::read_to_string(task?.path().join("schedstat"))?;
            cpu_ns += stat.split(' ').next().ok_or("a field")?.parse::<u64>()?;
        }
        let io = std::fs::read_to_string("/proc/self/io")?;
        let writes = io.lines().find_map(|line| line.strip_prefix("syscw: ")).ok_or("syscw")?.parse()?;
        Ok(Used { at: Instant::now(), cpu_us: cpu_ns as f64 / 1_000.0, writes })
    }

    fn report(&self, what: &str, count: u64) -> Measured {
        let now = Used::now()?;
        let (seconds, count) = ((now.at - self.at).as_secs_f64(), count as f64);
        println!(
            "{what:<34} {:>10.0} /s {:>8.2} µs CPU each {:>6.2} writes each",
            count / seconds,
            (now.cpu_us - self.cpu_us) / count,
            (now.writes - self.writes) as f64 / count,
        );
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "it measures time")]
async fn calls(tcp: &Tcp, callers: usize, time: Duration) -> Measured {
    let (used, count, end) = (Used::now()?, Arc::new(AtomicU64::new(0)), Instant::now() + time);
    let tasks: Vec<_> = (0..callers)
        .map(|_caller| {
            let (tcp, count) = (tcp.clone(), count.clone());
            tokio::spawn(async move {
                let request = Bytes::from(vec![7; MESSAGE_LEN]);
                while Instant::now() < end {
                    tcp.call(SECOND, Channel::Log, request.clone(), WITHIN).await?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Measured::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    used.report(&format!("calls of {MESSAGE_LEN} B, {callers} at once"), count.load(Ordering::Relaxed))
}

#[expect(clippy::disallowed_methods, reason = "it measures time")]
async fn there_and_back(tcp: &Tcp, under_way: usize, time: Duration) -> Measured {
    let mut duplex = tcp.open(SECOND, Channel::Log, Bytes::from_static(b"echo")).await?;
    let (used, end, message) = (Used::now()?, Instant::now() + time, Bytes::from(vec![7; MESSAGE_LEN]));
    for _ in 0..under_way {
        duplex.sender.send(message.clone()).await?;
    }
    let mut count = 0;
    while Instant::now() < end {
        duplex.receiver.recv().await.ok_or("the stream ended")?;
        duplex.sender.send(message.clone()).await?;
        count += 1;
    }
    used.report(&format!("stream echoes of {MESSAGE_LEN} B, {under_way} at once"), count)
}

#[expect(clippy::disallowed_methods, reason = "it measures time")]
async fn one_way(tcp: &Tcp, len: usize, time: Duration) -> Measured {
    let duplex = tcp.open(SECOND, Channel::Snapshot, Bytes::new()).await?;
    let (used, end, message) = (Used::now()?, Instant::now() + time, Bytes::from(vec![7; len]));
    let mut count = 0;
    while Instant::now() < end {
        duplex.sender.send(message.clone()).await?;
        count += 1;
    }
    used.report(&format!("stream messages of {len} B, one way"), count)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Measured {
    tokio::spawn(measure()).await?
}

async fn measure() -> Measured {
    let seconds = std::env::args().nth(1).map_or(Ok(3.0), |seconds| seconds.parse())?;
    let time = Duration::from_secs_f64(seconds);
    let ((first, _), (_second, address)) = (start(FIRST).await?, start(SECOND).await?);
    first.set_address(SECOND, address);
    for callers in [1, 16, 64, 256] {
        calls(&first, callers, time).await?;
    }
    for under_way in [1, 8] {
        there_and_back(&first, under_way, time).await?;
    }
    one_way(&first, MESSAGE_LEN, time).await?;
    one_way(&first, LONG_LEN, time).await
}

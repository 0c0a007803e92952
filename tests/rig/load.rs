//! Clients that load a cluster and take down all they saw, for the checker of histories.
//!
//! - Each client asks one node at a time, one request at a time, and goes to the next node when its own does not answer.
//!   Nothing is sent twice: every write has an id of its own.
//! - A write that was answered with a 5xx must never have happened, for Deno's client sends such a write again.
//! - The accounts' sum is the same in every state, from the first write on.

mod draw;
mod figures;
mod wire;

pub(crate) use figures::Figures;

use super::{TOKEN, TestResult, writes};
use anyhow::Context;
use cairn::bench::client::{Client, Error, Http, Session};
use cairn::bench::random::SplitMix;
use draw::{ACCOUNTS, Request};
use replication::check::{
    self, Action, Event, Last, Level, Recorder, Row, Seen, Verdict, Written, conserved,
};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long a client waits for a connection before it tries the next node.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long a client waits for an answer before it gives up and goes to the next node.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The pause before the next attempt when no node can be reached.
const PAUSE: Duration = Duration::from_millis(5);

/// Clients at work.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    urls: Mutex<Vec<String>>,
    recorder: Recorder,
    began: Instant,
    stop: AtomicBool,
    ids: AtomicU64,
    figures: Mutex<Figures>,
}

/// What clients saw, and how they were served.
#[derive(Debug)]
pub(crate) struct History {
    events: Vec<Event>,
    /// How they were served.
    pub(crate) figures: Figures,
}

impl Load {
    /// Sets up the accounts and starts clients of the nodes at these URLs.
    pub(crate) async fn start(urls: Vec<String>, clients: u64, seed: u64) -> TestResult<Load> {
        let shared = Arc::new(Shared {
            urls: Mutex::new(urls),
            recorder: Recorder::default(),
            began: Instant::now(),
            stop: AtomicBool::new(false),
            ids: AtomicU64::new(1),
            figures: Mutex::new(Figures::default()),
        });
        let mut first = Worker::new(shared.clone(), 0, seed);
        let mut client = Session::open(&shared.url(0), TOKEN, Http::One).await?.connect().await?;
        let written = first.write(&mut client, draw::open_accounts(shared.id())).await;
        anyhow::ensure!(matches!(written, Ok(Written::Committed(_))), "the accounts are opened: {written:?}");
        let mut running = JoinSet::new();
        for number in 1..=clients {
            running.spawn(Worker::new(shared.clone(), number, seed ^ number << 32).run());
        }
        Ok(Load { shared, clients: running })
    }

    /// Tells the clients of one more node.
    pub(crate) fn add(&self, url: String) {
        self.shared.urls().push(url);
    }

    /// Writes that were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.shared.figures().acknowledged()
    }

    /// Waits until a write has been refused with a 4xx, or something else has happened.
    pub(crate) async fn refused_or_moved(
        &self,
        mut moved: impl FnMut() -> TestResult<bool>,
        within: Duration,
    ) -> TestResult {
        let arrived = async {
            while self.shared.figures().refused.is_empty() && !moved()? {
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        };
        tokio::time::timeout(within, arrived).await.context("a full leader refuses no write")?
    }

    /// Ends the clients once their last requests are answered, or not.
    pub(crate) async fn stop(mut self) -> TestResult<History> {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended?;
        }
        let mut figures = self.shared.figures().clone();
        figures.elapsed = self.shared.began.elapsed();
        Ok(History { events: self.shared.recorder.events(), figures })
    }
}

impl History {
    /// Compares what clients saw with what is there in the end.
    pub(crate) async fn judge(&self, client: &mut Client) -> TestResult<Verdict> {
        anyhow::ensure!(self.figures.wrong.is_empty(), "wrong answers: {:?}", self.figures.wrong);
        let conserved = conserved::check(&self.events, &draw::accounts(), draw::SUM)?;
        anyhow::ensure!(conserved > 0, "nobody saw all {ACCOUNTS} accounts");
        self.judge_rows(self.rows(client).await?)
    }

    /// Compares what clients saw with these rows.
    pub(crate) fn judge_rows(&self, rows: Vec<Row>) -> TestResult<Verdict> {
        Ok(check::check(&self.events, &Last { rows, ..Last::default() })?)
    }

    /// Everything that is there.
    pub(crate) async fn rows(&self, client: &mut Client) -> TestResult<Vec<Row>> {
        writes::list(client, &[1], &[0xff]).await?.into_iter().map(wire::row).collect()
    }
}

impl Shared {
    fn urls(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.urls.lock().expect("nobody panics while holding the URLs")
    }

    /// Where a client goes that has counted so far.
    fn url(&self, count: usize) -> String {
        let urls = self.urls();
        urls[count % urls.len()].clone()
    }

    /// The number of the node there, for people.
    fn node(&self, count: usize) -> u64 {
        u64::try_from(count % self.urls().len()).expect("a few nodes") + 1
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).expect("a test ends within 500 years")
    }

    fn id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    fn figures(&self) -> std::sync::MutexGuard<'_, Figures> {
        self.figures.lock().expect("nobody panics while holding the figures")
    }
}

struct Worker {
    shared: Arc<Shared>,
    number: u64,
    node: usize,
    random: SplitMix,
}

impl Worker {
    fn new(shared: Arc<Shared>, number: u64, seed: u64) -> Worker {
        let node = usize::try_from(number).expect("a few clients");
        Worker { shared, number, node, random: SplitMix(seed) }
    }

    async fn run(mut self) {
        let mut connection = None;
        while !self.shared.stop.load(Ordering::Relaxed) {
            let mut client = match connection.take() {
                Some(client) => client,
                None => match self.connect().await {
                    Some(client) => client,
                    None => {
                        self.node += 1;
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                },
            };
            match tokio::time::timeout(ANSWER_WITHIN, self.step(&mut client)).await {
                Ok(Ok(())) => connection = Some(client),
                // Whatever happened to the request, the connection is of no more use.
                Ok(Err(Error::Protocol(what))) => self.shared.figures().wrong.push(what),
                Ok(Err(_)) | Err(_) => {
                    self.shared.figures().broken += 1;
                    self.node += 1;
                }
            }
        }
    }

    async fn connect(&self) -> Option<Client> {
        let connect = async {
            let session = Session::open(&self.shared.url(self.node), TOKEN, Http::One).await?;
            session.connect().await
        };
        tokio::time::timeout(CONNECT_WITHIN, connect).await.ok()?.ok()
    }

    /// One thing to do. An error means that the connection is of no more use.
    async fn step(&mut self, client: &mut Client) -> Result<(), Error> {
        let id = self.shared.id();
        match draw::draw(&mut self.random, self.number, id) {
            Request::Write(write) => self.write(client, write).await.map(drop),
            Request::Read(keys, strong) => self.read(client, keys, strong).await.map(drop),
            Request::Transfer { from, to, amount } => {
                let keys = draw::pair(from, to);
                let Some(seen) = self.read(client, keys, true).await? else { return Ok(()) };
                match draw::transfer(id, &seen, from, to, amount) {
                    Some(write) => self.write(client, write).await.map(drop),
                    None => Ok(()),
                }
            }
        }
    }

    /// Sends a write and takes down what comes of it. An error means that its outcome is not known.
    async fn write(&mut self, client: &mut Client, write: draw::Write) -> Result<Written, Error> {
        let shared = self.shared.clone();
        let message = wire::write(&write.write);
        let node = self.shared.node(self.node);
        let open = shared.recorder.write(self.number, node, shared.now_ns(), write.id, write.write);
        let outcome = match client.atomic_write(&message).await {
            Ok(output) => wire::written(&output)?,
            Err(Error::Status { status, text }) => {
                self.refused(status, &text);
                if status == 409 { Written::Unknown } else { Written::Not }
            }
            Err(error) => return Err(error),
        };
        shared.recorder.answered(&open, shared.now_ns(), outcome.clone());
        if matches!(outcome, Written::Committed(_)) {
            shared.figures().acknowledge(shared.began.elapsed());
        }
        Ok(outcome)
    }

    /// Reads and takes down what is shown; `None` when the server refuses.
    async fn read(
        &mut self,
        client: &mut Client,
        keys: draw::Keys,
        strong: bool,
    ) -> Result<Option<Seen>, Error> {
        let shared = self.shared.clone();
        let invoked = shared.recorder.moment(shared.now_ns());
        let read = wire::read(&keys);
        let answer = match strong {
            true => client.snapshot_read(&read).await.map(|output| (output, Level::Strong)),
            false => client.eventual_read(&read).await.map(|(output, staleness_ms)| {
                let staleness_ns = staleness_ms.map(|ms| ms.saturating_mul(1_000_000));
                (output, Level::Eventual { staleness_ns })
            }),
        };
        let (output, level) = match answer {
            Ok(answer) => answer,
            Err(Error::Status { status, text }) => {
                self.refused(status, &text);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let rows = output.ranges.into_iter().map(|range| range.values.into_iter().map(wire::row).collect());
        let rows =
            rows.collect::<TestResult<Vec<Vec<_>>>>().map_err(|error| Error::Protocol(error.to_string()))?;
        let seen = Seen { stamp: None, time_ms: None, rows };
        let action = Action::Read { level, selections: wire::selections(&keys), seen: seen.clone() };
        let node = self.shared.node(self.node);
        shared.recorder.read(self.number, node, invoked, shared.now_ns(), action);
        shared.figures().reads += 1;
        Ok(Some(seen))
    }

    fn refused(&self, status: u16, text: &str) {
        match status {
            400..=404 => self.shared.figures().wrong.push(format!("{status} {text}")),
            _ => self.shared.figures().refuse(status, text),
        }
    }
}

/// Waits, with a bound, until clients have had this many more writes acknowledged.
pub(crate) async fn more_writes(load: &Load, more: usize, within: Duration) -> TestResult {
    let wanted = load.acknowledged() + more;
    let arrived = async {
        while load.acknowledged() < wanted {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(within, arrived)
        .await
        .with_context(|| format!("no {more} more writes within {within:?}"))
}

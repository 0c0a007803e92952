//! The one bucket, as the machines reach it: far away, at times slow, at times not at all.
//!
//! - A request takes time on its way there and on its way back. Who is killed meanwhile never learns whether it was done.
//! - What a store may do wrong is drawn by [`Sim`]; here a request is done twice, the second time later than others, and a
//!   machine is cut off from the bucket.
//! - A day passes only when nothing is on its way: no request lasts for hours.

use archiver::layout::{Kind, Name};
use archiver::store::sim::{Chaos, Fault, Sim};
use archiver::store::{Error, Object, ObjectStore, Page, Result, Tag, Upload};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use replication::runtime::sim::{self, Machine, clock, spawn_on};
use replication::runtime::sleep;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// A way to the bucket, in milliseconds.
const WAY_MS: u64 = 30;
/// The same when it is slow.
const SLOW_MS: u64 = 3_000;
/// How long a machine that is cut off waits before it gives up, in milliseconds.
const SILENCE_MS: u64 = 5_000;
/// How often a request is done twice, in a million.
const DOUBLED: u64 = 20_000;
/// How much later the second time is, at most, in milliseconds.
const LATER_MS: u64 = 5_000;

/// What a store does wrong and yet keeps its promises: every object that it says is there is.
const HONEST: [Fault; 4] = [Fault::Unreachable, Fault::AnswerLost, Fault::Late, Fault::Refused];
/// What a store does wrong against its promises.
const DISHONEST: [Fault; 4] = [Fault::Unreachable, Fault::AnswerLost, Fault::Cut, Fault::Lied];

/// The bucket. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Bucket {
    sim: Sim,
    weather: Arc<Mutex<Weather>>,
}

#[derive(Debug, Default)]
struct Weather {
    way_ms: u64,
    /// How much later it is here than the time of the simulation says.
    later_ms: u64,
    cut_off: BTreeSet<Machine>,
    /// Requests that are on their way, the second times of doubled ones among them.
    on_their_way: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("nobody answers")]
struct Silence;

/// A request on its way, until it is dropped.
struct Travelling(Bucket);

impl Travelling {
    fn begin(bucket: &Bucket) -> Self {
        bucket.weather.lock().on_their_way += 1;
        Self(bucket.clone())
    }
}

impl Drop for Travelling {
    fn drop(&mut self) {
        self.0.weather.lock().on_their_way -= 1;
    }
}

impl Bucket {
    /// What is in it, to look at.
    pub(super) fn content(&self) -> &Sim {
        &self.sim
    }

    /// All is well.
    pub(super) fn heal(&self) {
        self.sim.set_chaos(None);
        self.sim.set_down(false);
        self.sim.set_listings(0, false);
        self.sim.arrive();
        let mut weather = self.weather.lock();
        (weather.way_ms, weather.cut_off) = (WAY_MS, BTreeSet::new());
    }

    /// Draws how the bucket is from now on.
    pub(super) fn change(&self, machines: &[Machine], lies: bool) {
        self.heal();
        match sim::below(8) {
            0 => self.sim.set_down(true),
            1 => self.weather.lock().way_ms = SLOW_MS,
            2 => self.sim.set_listings(1 + sim::below(20_000), sim::chance(500_000)),
            3 => {
                let cut_off = machines.iter().copied().filter(|_| sim::chance(500_000)).collect();
                self.weather.lock().cut_off = cut_off;
            }
            4..=6 => {
                let faults = if lies { &DISHONEST } else { &HONEST };
                self.sim.set_chaos(Some(Chaos::new(sim::random_u64(), 50 + sim::below(400), faults)));
            }
            _ => {}
        }
    }

    /// Whether nothing is on its way; then late writes arrive, and a day may pass.
    pub(super) fn is_quiet(&self) -> bool {
        self.sim.arrive();
        self.weather.lock().on_their_way == 0
    }

    /// What time it is here, Unix milliseconds.
    pub(super) fn now_ms(&self) -> u64 {
        clock::wall_ms(Machine::WORLD) + self.weather.lock().later_ms
    }

    /// So much time passes here.
    pub(super) fn pass(&self, by_ms: u64) {
        self.weather.lock().later_ms += by_ms;
    }

    /// One way, there or back.
    async fn travel(&self) {
        let way_ms = self.weather.lock().way_ms.max(1);
        sleep(Duration::from_micros(sim::below(way_ms * 1_000))).await;
    }

    /// A request: there, done, and back.
    async fn request<T>(&self, action: &str, done: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let _travelling = Travelling::begin(self);
        if self.weather.lock().cut_off.contains(&sim::current()) {
            sleep(Duration::from_millis(sim::below(SILENCE_MS))).await;
            sim::note("bucket fault", 0, 0);
            let (action, location) = (action.to_owned(), self.location());
            return Err(Error::Unreachable { action, location, source: Arc::new(Silence) });
        }
        self.travel().await;
        self.sim.set_now_ms(self.now_ms());
        let before = self.sim.faulty();
        let done = done.await;
        if self.sim.faulty() > before {
            sim::note("bucket fault", 0, 0);
        }
        self.travel().await;
        done
    }

    /// Does it again later, now and then.
    fn perhaps_again(&self, again: impl Future<Output = ()> + Send + 'static) {
        if sim::chance(DOUBLED) {
            let travelling = Travelling::begin(self);
            spawn_on(Machine::WORLD, async move {
                sleep(Duration::from_millis(sim::below(LATER_MS))).await;
                sim::note("bucket fault", 0, 0);
                again.await;
                drop(travelling);
            });
        }
    }
}

/// Counts what has arrived, by its kind.
fn note(name: &str) {
    match Name::parse(name).map(|name| name.kind) {
        Some(Kind::Segment(..)) => sim::note("segment", 0, 0),
        Some(Kind::Checkpoint(..)) => sim::note("checkpoint", 0, 0),
        Some(Kind::Table(..)) => sim::note("table", 0, 0),
        _ => {}
    }
}

#[async_trait]
impl ObjectStore for Bucket {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.request("write", async {
            self.sim.put(name, bytes.clone()).await?;
            note(name);
            let (sim, name) = (self.sim.clone(), name.to_owned());
            // Whatever is said to the second one, nobody hears it.
            self.perhaps_again(async move { sim.put(&name, bytes).await.unwrap_or_default() });
            Ok(())
        })
        .await
    }

    async fn get(&self, name: &str, len_max: u64) -> Result<Bytes> {
        self.request("read", self.sim.get(name, len_max)).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.request("read", self.sim.get_range(name, range)).await
    }

    async fn create(&self, name: &str, bytes: Bytes) -> Result<bool> {
        self.request("write", self.sim.create(name, bytes)).await
    }

    async fn begin(&self, name: &str, part_bytes: u64) -> Result<Upload> {
        self.request("begin", self.sim.begin(name, part_bytes)).await
    }

    async fn part(&self, upload: &Upload, number: u32, bytes: Bytes) -> Result<Tag> {
        self.request("write", self.sim.part(upload, number, bytes)).await
    }

    async fn complete(&self, upload: &Upload, tags: &[Tag]) -> Result<()> {
        self.request("write", self.sim.complete(upload, tags)).await
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        self.request("give up", self.sim.abort(upload)).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Page> {
        let page = self.request("list", self.sim.list(prefix, start_after)).await?;
        let objects: Vec<Object> = page.objects;
        Ok(Page { objects, more: page.more })
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.request("remove", async {
            self.sim.delete(name).await?;
            sim::note("removed object", 0, 0);
            let (sim, name) = (self.sim.clone(), name.to_owned());
            self.perhaps_again(async move { sim.delete(&name).await.unwrap_or_default() });
            Ok(())
        })
        .await
    }

    fn location(&self) -> String {
        self.sim.location()
    }
}

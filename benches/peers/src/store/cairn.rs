//! cairn-engine with its defaults, and no history to keep, as its peers keep none.

use super::{CACHE_BYTES, Durability, Order, Store, read};
use crate::keys::Key;
use anyhow::Result;
use engine::background::{self, Background};
use engine::{Direction, Engine, Env, Options, WriteBatch};
use std::path::Path;
use std::time::Duration;

pub struct Cairn {
    engine: Engine,
    durability: Durability,
    _background: Background,
}

impl Cairn {
    pub fn open(dir: &Path, durability: Durability) -> Result<Self> {
        let options = Options {
            block_cache_bytes: CACHE_BYTES,
            history_ms: 0,
            disk_reserve_bytes: Some(0),
            ..Options::default()
        };
        let (engine, _) = Engine::open(Env::real(), dir, options)?;
        let background = background::start(&engine);
        Ok(Self { engine, durability, _background: background })
    }
}

impl Store for Cairn {
    fn commit(&self, writes: &[(Key, &[u8])]) -> Result<()> {
        let mut batch = WriteBatch::new();
        for (key, value) in writes {
            batch.put(key, value, None)?;
        }
        match self.durability {
            Durability::Synced => self.engine.commit(batch)?,
            Durability::Unsynced => self.engine.commit_unsynced(batch)?,
        };
        Ok(())
    }

    fn get(&self, key: &Key) -> Result<Option<usize>> {
        Ok(self.engine.snapshot().get(key)?.map(|value| read(&value.bytes)))
    }

    fn scan(&self, start: &Key, count: usize, order: Order) -> Result<usize> {
        let snapshot = self.engine.snapshot();
        let range = match order {
            Order::Rising => snapshot.range(start, &[0xff; 17], Direction::Forward)?,
            Order::Falling => {
                let mut end = start.to_vec();
                end.push(0);
                snapshot.range(&[0], &end, Direction::Reverse)?
            }
        };
        let mut bytes = 0;
        for entry in range.take(count) {
            let entry = entry?;
            bytes += entry.key.len() + read(&entry.value.bytes);
        }
        Ok(bytes)
    }

    fn settle(&self) -> Result<()> {
        self.engine.flush()?;
        let work = || {
            let statistics = self.engine.statistics();
            let busy = statistics.memory.working > 0;
            (statistics.flushes, statistics.compactions, statistics.tables, statistics.segments, busy)
        };
        // Idle is when nothing has changed for a while, and no flush or compaction is under way.
        let mut before = work();
        let mut same = 0;
        while same < 10 {
            std::thread::sleep(Duration::from_millis(100));
            let now = work();
            same = if now == before && !now.4 { same + 1 } else { 0 };
            before = now;
        }
        Ok(())
    }

    fn describe(&self) -> Option<String> {
        Some(format!("{:#?}", self.engine.statistics()))
    }
}

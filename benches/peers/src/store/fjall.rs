//! fjall 3: its defaults, and `persist` after each commit where that has to be durable.

use super::{CACHE_BYTES, Durability, MEMTABLE_BYTES, Order, Store, read};
use crate::keys::Key;
use anyhow::Result;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::path::Path;
use std::time::Duration;

pub struct Fjall {
    database: Database,
    keyspace: Keyspace,
    durability: Durability,
}

impl Fjall {
    pub fn open(dir: &Path, durability: Durability) -> Result<Self> {
        let database = Database::builder(dir).cache_size(CACHE_BYTES).worker_threads(2).open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let keyspace = database.keyspace("bench", options)?;
        Ok(Self { database, keyspace, durability })
    }
}

impl Store for Fjall {
    fn commit(&self, writes: &[(Key, &[u8])]) -> Result<()> {
        match writes {
            [(key, value)] => {
                self.keyspace.insert(*key, *value)?;
                if self.durability == Durability::Synced {
                    self.database.persist(PersistMode::SyncData)?;
                }
            }
            _ => {
                let mode = (self.durability == Durability::Synced).then_some(PersistMode::SyncData);
                let mut batch = self.database.batch().durability(mode);
                for (key, value) in writes {
                    batch.insert(&self.keyspace, *key, *value);
                }
                batch.commit()?;
            }
        }
        Ok(())
    }

    fn get(&self, key: &Key) -> Result<Option<usize>> {
        Ok(self.keyspace.get(key)?.map(|value| read(&value)))
    }

    fn scan(&self, start: &Key, count: usize, order: Order) -> Result<usize> {
        let mut bytes = 0;
        let mut take = |entry: fjall::Guard| -> Result<()> {
            let (key, value) = entry.into_inner()?;
            bytes += key.len() + read(&value);
            Ok(())
        };
        match order {
            Order::Rising => self.keyspace.range(*start..).take(count).try_for_each(&mut take)?,
            Order::Falling => self.keyspace.range(..=*start).rev().take(count).try_for_each(&mut take)?,
        }
        Ok(bytes)
    }

    fn settle(&self) -> Result<()> {
        self.keyspace.rotate_memtable_and_wait()?;
        let work = || (self.database.compactions_completed(), self.keyspace.table_count());
        let mut before = work();
        let mut same = 0;
        while same < 10 {
            std::thread::sleep(Duration::from_millis(100));
            let now = work();
            let busy = self.database.active_compactions() > 0 || self.database.outstanding_flushes() > 0;
            same = if now == before && !busy { same + 1 } else { 0 };
            before = now;
        }
        Ok(())
    }
}

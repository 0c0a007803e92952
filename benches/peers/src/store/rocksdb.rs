//! RocksDB 11: block cache, memtable, a bloom filter of 10 bits a key, and the settings that its tuning guide
//! gives for a general store (lz4, zstd at the bottom, dynamic level sizes are its default).

use super::{CACHE_BYTES, Durability, MEMTABLE_BYTES, Order, Store, read};
use crate::keys::Key;
use anyhow::Result;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, IteratorMode, Options, ReadOptions,
    WaitForCompactOptions, WriteBatch, WriteOptions,
};
use std::path::Path;

pub struct Rocks {
    db: DB,
    durability: Durability,
}

impl Rocks {
    pub fn open(dir: &Path, durability: Durability) -> Result<Self> {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&Cache::new_lru_cache(usize::try_from(CACHE_BYTES)?));
        table.set_block_size(4 << 10);
        table.set_bloom_filter(10.0, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&table);
        options.set_write_buffer_size(usize::try_from(MEMTABLE_BYTES)?);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_bottommost_compression_type(DBCompressionType::Zstd);
        options.increase_parallelism(2);
        Ok(Self { db: DB::open(&options, dir)?, durability })
    }

    fn write_options(&self) -> WriteOptions {
        let mut options = WriteOptions::default();
        options.set_sync(self.durability == Durability::Synced);
        options
    }
}

impl Store for Rocks {
    fn commit(&self, writes: &[(Key, &[u8])]) -> Result<()> {
        match writes {
            [(key, value)] => self.db.put_opt(key, value, &self.write_options())?,
            _ => {
                let mut batch = WriteBatch::default();
                for (key, value) in writes {
                    batch.put(key, value);
                }
                self.db.write_opt(batch, &self.write_options())?;
            }
        }
        Ok(())
    }

    fn get(&self, key: &Key) -> Result<Option<usize>> {
        Ok(self.db.get_pinned(key)?.map(|value| read(&value)))
    }

    fn scan(&self, start: &Key, count: usize, order: Order) -> Result<usize> {
        let mut iterator = self.db.raw_iterator_opt(ReadOptions::default());
        match order {
            Order::Rising => iterator.seek(start),
            Order::Falling => iterator.seek_for_prev(start),
        }
        let mut bytes = 0;
        for _ in 0..count {
            let Some((key, value)) = iterator.item() else { break };
            bytes += key.len() + read(value);
            match order {
                Order::Rising => iterator.next(),
                Order::Falling => iterator.prev(),
            }
        }
        iterator.status()?;
        Ok(bytes)
    }

    fn settle(&self) -> Result<()> {
        let mut options = WaitForCompactOptions::default();
        options.set_flush(true);
        self.db.wait_for_compact(&options)?;
        // Touches the store, so that a wait that returned early shows as an error.
        self.db.iterator(IteratorMode::Start).next().transpose()?;
        Ok(())
    }
}

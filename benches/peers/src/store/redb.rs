//! redb 4: a transaction per commit; without sync it has `Durability::None`, and settling is one durable commit.

use super::{CACHE_BYTES, Order, Store, read};
use crate::keys::Key;
use anyhow::Result;
use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use std::path::Path;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("bench");

pub struct Redb {
    database: Database,
    durability: Durability,
}

impl Redb {
    pub fn open(dir: &Path, durability: super::Durability) -> Result<Self> {
        let mut builder = Database::builder();
        builder.set_cache_size(usize::try_from(CACHE_BYTES)?);
        let database = builder.create(dir.join("bench.redb"))?;
        let transaction = database.begin_write()?;
        transaction.open_table(TABLE)?;
        transaction.commit()?;
        let durability = match durability {
            super::Durability::Synced => Durability::Immediate,
            super::Durability::Unsynced => Durability::None,
        };
        Ok(Self { database, durability })
    }
}

impl Store for Redb {
    fn commit(&self, writes: &[(Key, &[u8])]) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(self.durability)?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in writes {
                table.insert(&key[..], *value)?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn get(&self, key: &Key) -> Result<Option<usize>> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        Ok(table.get(&key[..])?.map(|value| read(value.value())))
    }

    fn scan(&self, start: &Key, count: usize, order: Order) -> Result<usize> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        let mut bytes = 0;
        match order {
            Order::Rising => {
                for entry in table.range(&start[..]..)?.take(count) {
                    let (key, value) = entry?;
                    bytes += key.value().len() + read(value.value());
                }
            }
            Order::Falling => {
                for entry in table.range(..=&start[..])?.rev().take(count) {
                    let (key, value) = entry?;
                    bytes += key.value().len() + read(value.value());
                }
            }
        }
        Ok(bytes)
    }

    fn settle(&self) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        Ok(transaction.commit()?)
    }
}

//! LMDB through heed: a map of 64 GiB; without sync it has `NO_SYNC`, and settling is one sync. Its cache is the
//! operating system's, without bound.
#![expect(unsafe_code, reason = "opening a memory map is unsafe: nobody else opens the file of this bench")]

use super::{Durability, Order, Store, read};
use crate::keys::Key;
use anyhow::Result;
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, WithoutTls};
use std::ops::Bound;
use std::path::Path;

const MAP_BYTES: usize = 64 << 30;

pub struct Lmdb {
    env: Env<WithoutTls>,
    database: Database<'static, Bytes, Bytes>,
}

impl Lmdb {
    pub fn open(dir: &Path, durability: Durability) -> Result<Self> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(MAP_BYTES).max_readers(256);
        if durability == Durability::Unsynced {
            // SAFETY: a crash of the machine may damage the file, which no run of this bench opens again.
            unsafe { options.flags(EnvFlags::NO_SYNC) };
        }
        // SAFETY: the directory is fresh and this process's own, so the map has no other writer.
        let env = unsafe { options.open(dir)? };
        let created = env.create_databases_and_commit(env.write_txn()?, |opener, transaction| {
            opener.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
        })?;
        let database = created.unwrap_commit();
        Ok(Self { env, database })
    }
}

impl Store for Lmdb {
    fn commit(&self, writes: &[(Key, &[u8])]) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        for (key, value) in writes {
            self.database.put(&mut transaction, key, value)?;
        }
        Ok(transaction.commit()?)
    }

    fn get(&self, key: &Key) -> Result<Option<usize>> {
        let transaction = self.env.read_txn()?;
        Ok(self.database.get(&transaction, key)?.map(read))
    }

    fn scan(&self, start: &Key, count: usize, order: Order) -> Result<usize> {
        let transaction = self.env.read_txn()?;
        let mut bytes = 0;
        let mut take = |entry: heed::Result<(&[u8], &[u8])>| -> Result<()> {
            let (key, value) = entry?;
            bytes += key.len() + read(value);
            Ok(())
        };
        match order {
            Order::Rising => {
                self.database
                    .range(&transaction, &(Bound::Included(&start[..]), Bound::Unbounded))?
                    .take(count)
                    .try_for_each(&mut take)?;
            }
            Order::Falling => {
                self.database
                    .rev_range(&transaction, &(Bound::Unbounded, Bound::Included(&start[..])))?
                    .take(count)
                    .try_for_each(&mut take)?;
            }
        }
        Ok(bytes)
    }

    fn settle(&self) -> Result<()> {
        Ok(self.env.force_sync()?)
    }
}

//! Counts what goes into a table, and checks that it comes in order.

use super::Handle;
use super::footer::Footer;
use super::hidden::Gather;
use crate::Versionstamp;
use crate::entry::{Entry, Version, compare};
use crate::horizon::Horizons;
use crate::write_batch::KEY_LEN_MAX;
use bytes::Bytes;
use std::cmp::Ordering;
use std::sync::Arc;

/// What the entries so far come to.
#[derive(Debug)]
pub(super) struct Tally {
    entries: u64,
    keys: u64,
    deletes: u64,
    content_bytes: u64,
    first_stamp: Versionstamp,
    last_stamp: Versionstamp,
    first_key: Bytes,
    last: Option<(Bytes, Versionstamp)>,
    expiries: Vec<u64>,
    hidden: Gather,
}

impl Tally {
    /// Of no entries.
    pub(super) fn new() -> Self {
        Self {
            entries: 0,
            keys: 0,
            deletes: 0,
            content_bytes: 0,
            first_stamp: Versionstamp::MAX,
            last_stamp: Versionstamp::ZERO,
            first_key: Bytes::new(),
            last: None,
            expiries: Vec::new(),
            hidden: Gather::default(),
        }
    }

    /// Counts hidden versions by the prefixes that have a horizon of their own; before the first entry.
    pub(super) fn count_hidden_under(&mut self, horizons: Arc<Horizons>) {
        self.hidden = Gather::under(horizons);
    }

    /// The key and stamp of the last entry.
    pub(super) fn last(&self) -> Option<(&Bytes, Versionstamp)> {
        self.last.as_ref().map(|(key, stamp)| (key, *stamp))
    }

    /// Counts an entry; whether its key is a new one.
    pub(super) fn add(&mut self, entry: &Entry) -> bool {
        assert!((1..=KEY_LEN_MAX).contains(&entry.key.len()), "a key has 1 to 65,535 bytes");
        let bytes = (entry.key.len() + entry.version.value_len()) as u64;
        let new_key = match &self.last {
            None => {
                self.first_key = entry.key.clone();
                true
            }
            Some((key, stamp)) => {
                let order = compare((key, *stamp), (&entry.key, entry.stamp));
                assert!(order == Ordering::Less, "entries come in rising order");
                let new_key = *key != entry.key;
                if !new_key {
                    self.hidden.add(key, *stamp, bytes);
                }
                new_key
            }
        };
        self.entries += 1;
        self.keys += u64::from(new_key);
        self.content_bytes += bytes;
        match entry.version {
            Version::Delete => self.deletes += 1,
            Version::Put { expire_at_ms, .. } => self.expiries.extend(expire_at_ms),
        }
        self.first_stamp = self.first_stamp.min(entry.stamp);
        self.last_stamp = self.last_stamp.max(entry.stamp);
        self.last = Some((entry.key.clone(), entry.stamp));
        new_key
    }

    /// The footer of a table of these entries.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub(super) fn finish(mut self, top_index: Handle, filter: Option<Handle>) -> Footer {
        let (last_key, _) = self.last.expect("a table holds at least one entry");
        let middle = self.expiries.len() / 2;
        let half_expired_ms = match self.expiries.is_empty() {
            true => 0,
            false => *self.expiries.select_nth_unstable(middle).1,
        };
        Footer {
            entries: self.entries,
            keys: self.keys,
            deletes: self.deletes,
            expiring: self.expiries.len() as u64,
            half_expired_ms,
            content_bytes: self.content_bytes,
            first_stamp: self.first_stamp,
            last_stamp: self.last_stamp,
            first_key: self.first_key,
            last_key,
            top_index,
            filter,
            hidden: self.hidden.finish(),
        }
    }
}

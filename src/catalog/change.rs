//! A change of the catalog: what must still hold, and what is written then.

use replication::{
    AtomicWrite, Check, Encoding, Mutation, MutationKind, RequestId, SYSTEM_DATABASE, StoredValue,
};

use super::view::Found;
use engine::Versionstamp;

/// Checks and mutations of the system's own keyspace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    checks: Vec<Check>,
    mutations: Vec<Mutation>,
}

impl Change {
    /// Only if this row is still as it was found.
    #[must_use]
    pub(super) fn if_still<T>(self, key: &[u8], found: &Found<T>) -> Self {
        self.if_stamp(key, Some(found.stamp))
    }

    /// Only if there is still no row.
    #[must_use]
    pub(super) fn if_absent(self, key: &[u8]) -> Self {
        self.if_stamp(key, None)
    }

    /// Only if the row still has this stamp; `None` is no row.
    #[must_use]
    pub(super) fn if_stamp(mut self, key: &[u8], stamp: Option<Versionstamp>) -> Self {
        self.checks.push(Check { key: key.to_vec(), stamp });
        self
    }

    /// Sets a row.
    #[must_use]
    pub(super) fn set(mut self, key: &[u8], bytes: Vec<u8>) -> Self {
        let value = StoredValue { encoding: Encoding::Bytes, bytes };
        self.mutations
            .push(Mutation { key: key.to_vec(), kind: MutationKind::Set { value, expire_at_ms: None } });
        self
    }

    /// Sets a number.
    #[must_use]
    pub(super) fn set_u64(mut self, key: &[u8], number: u64) -> Self {
        let kind = MutationKind::Set { value: StoredValue::u64(number), expire_at_ms: None };
        self.mutations.push(Mutation { key: key.to_vec(), kind });
        self
    }

    /// Removes a row.
    #[must_use]
    pub(super) fn delete(mut self, key: &[u8]) -> Self {
        self.mutations.push(Mutation { key: key.to_vec(), kind: MutationKind::Delete });
        self
    }

    /// The change as an atomic write.
    pub fn into_write(self, request: RequestId) -> AtomicWrite {
        AtomicWrite { request, database: SYSTEM_DATABASE, checks: self.checks, mutations: self.mutations }
    }
}

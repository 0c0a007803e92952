//! Commands that fill a database with what a restore has brought back, while the cluster serves.
//!
//! - Rows are committed as new, in bounded writes: a client that holds an old versionstamp of one conflicts, which is safe.
//! - Writing the same rows again changes nothing that anybody can see, so an answer that got lost is asked for again.

use super::databases::{DatabaseStatus, status_of};
use super::{CreatedDatabase, Operator, OperatorError, Result};
use crate::catalog::{self, CatalogError, NewDatabase};
use crate::cluster::seam::ClusterError;
use engine::codec::{Decoder, Malformed};
use replication::{AtomicWrite, Encoding, Mutation, MutationKind, Outcome, StoredValue};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Rows in one write, at most.
pub const LOAD_ROWS_MAX: usize = 1_000;
/// What stands for no expiry.
const NEVER: u64 = u64::MAX;

/// Rows that were written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// How many.
    pub rows: usize,
}

/// A database that was filled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    /// It.
    pub database: DatabaseStatus,
    /// Where the archive holds what it was before, if it replaced something.
    pub recovery_point: Option<RecoveryStatus>,
}

/// Where the archive holds what a database was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryStatus {
    /// In this group.
    pub group: u64,
    /// At this versionstamp.
    pub versionstamp: String,
}

/// A row on its way into a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadRow {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: StoredValue,
    /// When it expires, Unix milliseconds.
    pub expire_at_ms: Option<u64>,
}

impl LoadRow {
    /// Appends it to the body of a request: key length u32, key, encoding u8, expiry u64 (all ones without one), value length u32,
    /// value; little-endian.
    ///
    /// # Panics
    ///
    /// If key or value are over 4 GiB.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |bytes: &[u8]| {
            let len = u32::try_from(bytes.len()).expect("keys and values are bounded");
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(bytes);
        };
        put(&self.key);
        let (encoding, expires) = (self.value.encoding.as_byte(), self.expire_at_ms.unwrap_or(NEVER));
        out.push(encoding);
        out.extend_from_slice(&expires.to_le_bytes());
        let len = u32::try_from(self.value.bytes.len()).expect("keys and values are bounded");
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&self.value.bytes);
    }

    /// Reads the rows of a request.
    ///
    /// # Errors
    ///
    /// Where they are not what [`encode`](Self::encode) writes, or too many.
    pub fn decode_all(body: &[u8]) -> std::result::Result<Vec<LoadRow>, Malformed> {
        let mut rest = Decoder::new(body);
        let mut rows = Vec::new();
        while !rest.is_empty() {
            rest.ensure(rows.len() < LOAD_ROWS_MAX, "at most 1,000 rows")?;
            let key_len = rest.u32("length of a key")? as usize;
            let key = rest.take(key_len, "a key")?.to_vec();
            let start = rest.clone();
            let encoding = Encoding::from_byte(rest.u8("encoding")?);
            let encoding = encoding.ok_or_else(|| start.malformed("an encoding that is known"))?;
            let expires = rest.u64("expiry")?;
            let len = rest.u32("length of a value")? as usize;
            let bytes = rest.take(len, "a value")?.to_vec();
            let value = StoredValue { encoding, bytes };
            rows.push(LoadRow { key, value, expire_at_ms: (expires != NEVER).then_some(expires) });
        }
        Ok(rows)
    }

    fn into_mutation(self) -> Mutation {
        let kind = MutationKind::Set { value: self.value, expire_at_ms: self.expire_at_ms };
        Mutation { key: self.key, kind }
    }
}

impl Operator {
    /// Makes a database that nobody sees, to be filled; without a name, one that is to replace another.
    ///
    /// # Errors
    ///
    /// As [`create_database`](Self::create_database).
    pub async fn begin_loading(&self, name: Option<&str>) -> Result<CreatedDatabase> {
        let name_of = |id: Uuid| name.map_or_else(|| format!("restoring-{id}"), str::to_owned);
        let (groups, now_ms) = (self.identity.groups, self.clock.now_ms());
        let (id, token) = self.new_secrets();
        let token_digest = *blake3::hash(token.as_bytes()).as_bytes();
        let new = NewDatabase { id, name: name_of(id), token_digest };
        let begin = |view: &catalog::View<'_>| {
            let (row, change) = catalog::begin_loading(view, &new, groups, now_ms)?;
            Ok((row, Some(change)))
        };
        let row = self.change(begin).await?;
        Ok(CreatedDatabase::new(id, row, token))
    }

    /// Writes rows to a database that is being loaded.
    ///
    /// # Errors
    ///
    /// When the body is not rows, nothing is being loaded under this id, or the write was refused.
    pub async fn load(&self, id: Uuid, body: &[u8]) -> Result<Loaded> {
        let invalid = |malformed: Malformed| CatalogError::Invalid(format!("the rows: {malformed}"));
        let rows = LoadRow::decode_all(body).map_err(invalid)?;
        let row = self.look(|view| catalog::loading(view, id)).await?;
        let count = rows.len();
        if count == 0 {
            return Ok(Loaded { rows: 0 });
        }
        let mutations = rows.into_iter().map(LoadRow::into_mutation).collect();
        let request = self.cluster.request_id();
        let write = AtomicWrite { request, database: row.number, checks: Vec::new(), mutations };
        match self.cluster.write_data(row.group, write, body.len()).await? {
            Outcome::Committed(_) => Ok(Loaded { rows: count }),
            Outcome::ChecksFailed(_) => {
                Err(ClusterError::Failed("a write without checks failed".to_owned()).into())
            }
            Outcome::Refused(refusal) => Err(OperatorError::Refused(refusal.to_string())),
        }
    }

    /// Shows what was loaded: under its own name, or in the place of the content of another database.
    ///
    /// # Errors
    ///
    /// When nothing is being loaded under this id, or there is nothing to replace.
    pub async fn finish_loading(&self, id: Uuid, replaces: Option<&str>) -> Result<Ready> {
        let now_ms = self.clock.now_ms();
        let Some(name) = replaces else {
            let finish = |view: &catalog::View<'_>| {
                let (row, change) = catalog::finish_loading(view, id)?;
                Ok((row, Some(change)))
            };
            let row = self.change(finish).await?;
            return Ok(Ready { database: status_of(id, row), recovery_point: None });
        };
        let stamp_of = |group| self.cluster.applied_stamp(group);
        let replace = |view: &catalog::View<'_>| {
            let (target, row, point, change) = catalog::replace(view, id, name, now_ms, stamp_of)?;
            Ok(((target, row, point), Some(change)))
        };
        let (target, row, point) = self.change(replace).await?;
        // The steward removes the old content, once every node has heard of this and no write to it can be under way.
        let recovery_point =
            Some(RecoveryStatus { group: point.group.0, versionstamp: point.stamp.to_string() });
        Ok(Ready { database: status_of(target, row), recovery_point })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::steward::{LAST_WRITES_MS, Steward};
    use crate::cluster::testing::{FakeCluster, alone};

    type TestResult = std::result::Result<(), Box<dyn std::error::Error>>;

    fn row(key: &str, expire_at_ms: Option<u64>) -> LoadRow {
        let value = StoredValue { encoding: Encoding::Bytes, bytes: key.as_bytes().to_vec() };
        LoadRow { key: key.as_bytes().to_vec(), value, expire_at_ms }
    }

    fn body(rows: &[LoadRow]) -> Vec<u8> {
        let mut out = Vec::new();
        rows.iter().for_each(|row| row.encode(&mut out));
        out
    }

    #[test]
    fn rows_survive_their_bytes_and_every_cut_is_refused() -> TestResult {
        let rows = [row("a", None), row("bc", Some(7))];
        let bytes = body(&rows);
        assert_eq!(LoadRow::decode_all(&bytes)?, rows);
        let first = body(&rows[..1]).len();
        for cut in (1..bytes.len()).filter(|cut| *cut != first) {
            assert!(LoadRow::decode_all(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let many = body(&vec![row("k", None); LOAD_ROWS_MAX + 1]);
        assert!(LoadRow::decode_all(&many).is_err());
        Ok(())
    }

    #[tokio::test]
    async fn a_database_is_seen_once_it_is_loaded_and_never_before() -> TestResult {
        let (_cluster, operator, _clock) = alone()?;
        let made = operator.begin_loading(Some("shop")).await?;
        let id: Uuid = made.id.parse()?;
        assert_eq!(operator.load(id, &body(&[row("a", None), row("b", None)])).await?, Loaded { rows: 2 });
        assert!(operator.load(id, b"no rows").await.is_err());
        assert_eq!(operator.databases().await?.len(), 1, "only the default one is listed");
        let ready = operator.finish_loading(id, None).await?;
        assert_eq!((ready.database.name.as_str(), ready.recovery_point), ("shop", None));
        assert_eq!(operator.databases().await?.len(), 2);
        assert!(operator.load(id, &body(&[row("c", None)])).await.is_err(), "it is served now");
        Ok(())
    }

    #[tokio::test]
    async fn a_replacement_ends_the_old_content_and_says_where_it_is() -> TestResult {
        let (cluster, operator, clock) = alone()?;
        let shop = operator.create_database("shop").await?;
        let made = operator.begin_loading(None).await?;
        let id: Uuid = made.id.parse()?;
        operator.load(id, &body(&[row("a", None)])).await?;
        assert!(operator.finish_loading(id, Some("nowhere")).await.is_err());
        let ready = operator.finish_loading(id, Some("shop")).await?;
        assert_eq!((&ready.database.id, ready.database.group), (&shop.id, made.group));
        assert_eq!(ready.recovery_point.map(|point| point.group), Some(shop.group));
        let looks = |cluster: &FakeCluster| cluster.state(|state| state.deleted.clone());
        assert_eq!(looks(&cluster), [], "a node that has not heard of it may serve it still");
        clock.set(1_000 + LAST_WRITES_MS);
        let mut steward = Steward::new(operator, None);
        steward.look().await;
        assert_eq!(looks(&cluster), [(shop.group, 2)]);
        Ok(())
    }
}

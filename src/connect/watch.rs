//! `watch`: a stream of frames that says how some keys stand whenever one of them changed.
//!
//! - A frame is a u32 little-endian length and a `WatchOutput`; length 0 is a ping, sent at once and then
//!   every [`PING_MS`].
//! - Each message is one snapshot of all keys and calls each of them changed, as `denokv` does: Deno
//!   takes a key that is called unchanged for one that is absent, and tells what changed by the
//!   versionstamps. Changes between two messages may never be seen.
//! - An expiry is a change: a timer waits for the next one.
//! - The stream ends cleanly when the server stops, when stored data cannot be read, and when the content of the database was
//!   replaced by other content: who asks again sees that.

use super::errors::Error;
use super::keyspace::Keyspaces;
use super::limits::{EXPIRY_LATE_MS_MAX, PING_MS, WATCHED_KEYS_MAX, WRITE_KEY_LEN_MAX};
use super::{read, write};
use crate::catalog::DatabasePlace;
use crate::database::Database;
use bytes::{BufMut, Bytes, BytesMut};
use denokv_proto::datapath as pb;
use engine::Versionstamp;
use futures::stream::{self, BoxStream, StreamExt};
use prost::Message;
use replication::{DatabaseNumber, Subscription, engine_key};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use uuid::Uuid;

/// Reads a watch request and checks it against the limits.
///
/// # Errors
///
/// 400 with what is wrong.
pub fn decode(body: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let message = pb::Watch::decode(body)?;
    if message.keys.len() > WATCHED_KEYS_MAX {
        return Err(Error::TooManyWatchedKeys);
    }
    message
        .keys
        .into_iter()
        .map(|key| write::key_len(&key.key, WRITE_KEY_LEN_MAX).map(|()| key.key))
        .collect()
}

/// Where a watched database is.
#[derive(Debug)]
pub struct Place {
    keyspaces: Arc<dyn Keyspaces>,
    id: Uuid,
    was: DatabasePlace,
    moves: Subscription,
}

impl Place {
    /// The database with this id, which was found to be here.
    ///
    /// # Errors
    ///
    /// 429 when too many watches are open.
    pub fn new(keyspaces: Arc<dyn Keyspaces>, id: Uuid, was: DatabasePlace) -> Result<Place, Error> {
        let moves = keyspaces.moves(id).ok_or(Error::TooManyWatches)?;
        Ok(Place { keyspaces, id, was, moves })
    }

    fn is_left(&self) -> bool {
        self.keyspaces.place(self.id) != Some(self.was)
    }
}

/// One watch, as far as it has told its client.
#[derive(Debug)]
pub struct Watch {
    database: Database,
    number: DatabaseNumber,
    keys: Vec<Vec<u8>>,
    subscription: Subscription,
    /// How each key stood in the last message; `None` before the first.
    told: Option<Vec<Option<Versionstamp>>>,
    next_expiry_ms: Option<u64>,
    pings: Interval,
    stopping: watch::Receiver<bool>,
    /// `None` when the database can never move.
    place: Option<Place>,
}

impl Watch {
    /// Starts to watch keys of the database with this number, until `stopping` is true.
    ///
    /// # Errors
    ///
    /// 429 when too many watches are open.
    pub fn new(
        database: Database,
        number: DatabaseNumber,
        keys: Vec<Vec<u8>>,
        stopping: watch::Receiver<bool>,
    ) -> Result<Watch, Error> {
        let engine_keys = keys.iter().map(|key| engine_key(number, key)).collect();
        let subscription = database.subscribe(engine_keys).ok_or(Error::TooManyWatches)?;
        let mut pings = tokio::time::interval(Duration::from_millis(PING_MS));
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Watch {
            database,
            number,
            keys,
            subscription,
            told: None,
            next_expiry_ms: None,
            pings,
            stopping,
            place: None,
        })
    }

    /// Ends when the database is no longer where it was.
    #[must_use]
    pub fn until_moved(mut self, place: Place) -> Watch {
        self.place = Some(place);
        self
    }

    /// The frames, until the server stops.
    pub fn frames(self) -> BoxStream<'static, Bytes> {
        stream::unfold(self, |mut watch| async move { watch.next().await.map(|bytes| (bytes, watch)) })
            .boxed()
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            // Also before the first message: it may have moved before the subscription.
            if self.place.as_ref().is_some_and(Place::is_left) {
                return None;
            }
            if self.told.is_none() {
                self.pings.tick().await;
                let first = self.message()?;
                return Some([ping(), first].concat().into());
            }
            let expiry = self.next_expiry();
            tokio::select! {
                biased;
                _stopped = self.stopping.wait_for(|stopping| *stopping) => return None,
                () = moved(self.place.as_ref()) => continue,
                () = self.subscription.woken() => {}
                () = expiry => {}
                _now = self.pings.tick() => return Some(ping()),
            }
            let message = self.message()?;
            if !message.is_empty() {
                return Some(message);
            }
        }
    }

    /// A frame with how all keys stand; empty when none changed, `None` when it cannot be known.
    fn message(&mut self) -> Option<Bytes> {
        let snapshot = self.database.snapshot();
        let mut next_expiry_ms = None;
        let mut stamps = Vec::with_capacity(self.keys.len());
        let mut keys = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            let value = snapshot.get(&engine_key(self.number, key)).map_err(Error::from).ok()?;
            let stamp = value.as_ref().map(|value| value.stamp);
            let expiry = value.as_ref().and_then(|value| value.expire_at_ms);
            next_expiry_ms = [next_expiry_ms, expiry].into_iter().flatten().min();
            let entry = value.map(|value| read::entry(key.clone(), &value));
            let entry_if_changed = entry.transpose().ok()?;
            keys.push(pb::WatchKeyOutput { changed: true, entry_if_changed });
            stamps.push(stamp);
        }
        self.next_expiry_ms = next_expiry_ms;
        if self.told.as_ref() == Some(&stamps) {
            return Some(Bytes::new());
        }
        self.told = Some(stamps);
        Some(frame(&pb::WatchOutput { status: pb::SnapshotReadStatus::SrSuccess.into(), keys }))
    }

    /// Completes when the next expiry may be due; never when none is.
    fn next_expiry(&self) -> impl Future<Output = ()> + use<> {
        let wait_ms = self.next_expiry_ms.map(|at| {
            // In short steps, since the wall clock may be set while we wait.
            at.saturating_sub(self.database.clock().now_ms()).min(EXPIRY_LATE_MS_MAX)
        });
        async move {
            match wait_ms {
                Some(ms) => tokio::time::sleep_until(Instant::now() + Duration::from_millis(ms)).await,
                None => std::future::pending().await,
            }
        }
    }
}

/// Completes when a database may have moved; never when it cannot.
async fn moved(place: Option<&Place>) {
    match place {
        Some(place) => place.moves.woken().await,
        None => std::future::pending().await,
    }
}

fn ping() -> Bytes {
    Bytes::from_static(&[0; 4])
}

fn frame(output: &pb::WatchOutput) -> Bytes {
    let len = output.encoded_len();
    let mut bytes = BytesMut::with_capacity(4 + len);
    bytes.put_u32_le(u32::try_from(len).expect("ten values of 64 KiB are far below 4 GiB"));
    output.encode(&mut bytes).expect("the buffer grows");
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(keys: &[&[u8]]) -> Vec<u8> {
        let keys = keys.iter().map(|key| pb::WatchKey { key: key.to_vec() }).collect();
        pb::Watch { keys }.encode_to_vec()
    }

    #[test]
    fn every_limit_holds_at_its_edge() {
        assert_eq!(decode(&request(&[&b"k"[..]; 10])).map(|keys| keys.len()), Ok(10));
        assert_eq!(decode(&request(&[&b"k"[..]; 11])), Err(Error::TooManyWatchedKeys));
        assert!(decode(&request(&[&[1; WRITE_KEY_LEN_MAX]])).is_ok());
        assert_eq!(decode(&request(&[&[1; WRITE_KEY_LEN_MAX + 1]])), Err(Error::KeyTooLong));
        assert_eq!(decode(&request(&[&b""[..]])), Err(Error::KeyEmpty));
        assert!(matches!(decode(b"\x0a\x05"), Err(Error::InvalidProtobuf(_))));
    }

    #[test]
    fn a_frame_is_a_length_and_a_message() -> Result<(), prost::DecodeError> {
        let output = pb::WatchOutput { status: 1, keys: vec![pb::WatchKeyOutput::default(); 2] };
        let bytes = frame(&output);
        assert_eq!(bytes[..4], u32::try_from(bytes.len() - 4).unwrap_or(0).to_le_bytes());
        assert_eq!(pb::WatchOutput::decode(&bytes[4..])?, output);
        Ok(())
    }
}

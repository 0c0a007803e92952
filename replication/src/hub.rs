//! Who waits for which key: apply tells it what was written, watches are woken by it.
//!
//! - A watch that is told many times before it looks is woken once; it compares stamps itself.
//! - Dropping a [`Subscription`] ends it. Nothing is queued for anyone.
//! - Told after the commit is published, so that a woken watch always sees it.

use crate::bugs::{self, Bug};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// The most subscriptions at once.
pub const SUBSCRIPTIONS_MAX: usize = 100_000;

/// Keys and their subscribers. Clones are the same hub.
#[derive(Debug, Clone, Default)]
pub struct Hub {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Engine keys.
    waiting: Mutex<HashMap<Vec<u8>, Vec<Arc<Notify>>>>,
    subscriptions: AtomicUsize,
}

/// A wish to be woken when one of some keys is written.
#[derive(Debug)]
pub struct Subscription {
    hub: Hub,
    keys: Vec<Vec<u8>>,
    woken: Arc<Notify>,
}

impl Hub {
    /// Subscribes to engine keys; `None` when [`SUBSCRIPTIONS_MAX`] are open.
    pub fn subscribe(&self, mut keys: Vec<Vec<u8>>) -> Option<Subscription> {
        keys.sort_unstable();
        keys.dedup();
        let open = self.shared.subscriptions.fetch_add(1, Ordering::Relaxed);
        if open >= SUBSCRIPTIONS_MAX {
            self.shared.subscriptions.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let woken = Arc::new(Notify::new());
        let mut waiting = self.shared.waiting.lock();
        for key in &keys {
            waiting.entry(key.clone()).or_default().push(woken.clone());
        }
        drop(waiting);
        Some(Subscription { hub: self.clone(), keys, woken })
    }

    /// Subscriptions open now.
    pub fn subscriptions(&self) -> usize {
        self.shared.subscriptions.load(Ordering::Relaxed)
    }

    /// Wakes those who wait for one of these engine keys.
    pub fn tell<'a>(&self, keys: impl IntoIterator<Item = &'a [u8]>) {
        if bugs::seeded_at_times(Bug::WatchDeaf, 4) {
            return;
        }
        let waiting = self.shared.waiting.lock();
        if waiting.is_empty() {
            return;
        }
        for woken in keys.into_iter().filter_map(|key| waiting.get(key)).flatten() {
            // Leaves a permit, so that a watch that is not waiting yet sees it.
            woken.notify_one();
        }
    }

    /// Wakes those who wait for an engine key that begins with `prefix`.
    pub fn tell_prefix(&self, prefix: &[u8]) {
        let waiting = self.shared.waiting.lock();
        let under = waiting.iter().filter(|(key, _)| key.starts_with(prefix));
        under.flat_map(|(_, subscribers)| subscribers).for_each(|woken| woken.notify_one());
    }
}

impl Subscription {
    /// Waits until a key was written since the last call.
    pub async fn woken(&self) {
        self.woken.notified().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut waiting = self.hub.shared.waiting.lock();
        for key in self.keys.drain(..) {
            if let Entry::Occupied(mut subscribers) = waiting.entry(key) {
                subscribers.get_mut().retain(|other| !Arc::ptr_eq(other, &self.woken));
                if subscribers.get().is_empty() {
                    subscribers.remove();
                }
            }
        }
        self.hub.shared.subscriptions.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn only_those_who_wait_for_a_key_are_woken_and_only_once() -> Result<(), &'static str> {
        let hub = Hub::default();
        let both = hub.subscribe(vec![b"a".to_vec(), b"b".to_vec(), b"a".to_vec()]).ok_or("full")?;
        let other = hub.subscribe(vec![b"c".to_vec()]).ok_or("full")?;
        hub.tell([&b"a"[..], b"b", b"a", b"x"]);
        assert_eq!(both.woken().now_or_never(), Some(()));
        assert_eq!(both.woken().now_or_never(), None);
        assert_eq!(other.woken().now_or_never(), None);
        Ok(())
    }

    #[test]
    fn a_deleted_prefix_wakes_all_who_wait_for_its_keys() -> Result<(), &'static str> {
        let hub = Hub::default();
        let waits = |key: &[u8]| hub.subscribe(vec![key.to_vec()]).ok_or("full");
        let (inside, itself, outside) = (waits(b"ab")?, waits(b"a")?, waits(b"b")?);
        hub.tell_prefix(b"a");
        let woken = [&inside, &itself, &outside].map(|waiting| waiting.woken().now_or_never());
        assert_eq!(woken, [Some(()), Some(()), None]);
        Ok(())
    }

    #[test]
    fn a_dropped_subscription_leaves_nothing_behind() -> Result<(), &'static str> {
        let hub = Hub::default();
        let first = hub.subscribe(vec![b"a".to_vec()]).ok_or("full")?;
        let second = hub.subscribe(vec![b"a".to_vec(), b"b".to_vec()]).ok_or("full")?;
        drop(first);
        hub.tell([&b"a"[..]]);
        assert_eq!(second.woken().now_or_never(), Some(()));
        drop(second);
        assert_eq!(hub.subscriptions(), 0);
        assert!(hub.shared.waiting.lock().is_empty());
        Ok(())
    }
}

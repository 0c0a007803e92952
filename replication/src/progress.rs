//! How far this replica has applied, and who waits for it to get further.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::oneshot;

/// An index that only grows.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    index: AtomicU64,
    waiting: Mutex<BTreeMap<u64, Vec<oneshot::Sender<()>>>>,
}

impl Progress {
    pub(crate) fn at(index: u64) -> Self {
        Self { index: AtomicU64::new(index), waiting: Mutex::default() }
    }

    /// The index reached.
    pub(crate) fn index(&self) -> u64 {
        self.index.load(Ordering::Acquire)
    }

    /// Says that `index` has been reached.
    pub(crate) fn reach(&self, index: u64) {
        self.index.fetch_max(index, Ordering::AcqRel);
        let mut waiting = self.waiting.lock();
        if waiting.first_key_value().is_none_or(|(first, _)| *first > index) {
            return;
        }
        let later = waiting.split_off(&(index + 1));
        let reached = std::mem::replace(&mut *waiting, later);
        drop(waiting);
        // Who went away need not know.
        reached.into_values().flatten().for_each(|waiting| {
            let _told_or_gone = waiting.send(());
        });
    }

    /// Waits until `index` has been reached.
    pub(crate) async fn wait_for(&self, index: u64) {
        let reached = {
            let mut waiting = self.waiting.lock();
            if self.index() >= index {
                return;
            }
            let (sender, reached) = oneshot::channel();
            waiting.entry(index).or_default().push(sender);
            reached
        };
        // The sender is dropped with everything else alone.
        let _reached_or_ended = reached.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn whoever_waits_is_woken_when_the_index_is_reached_and_not_before() {
        let progress = Progress::at(3);
        assert_eq!(progress.wait_for(3).now_or_never(), Some(()));
        let mut fifth = Box::pin(progress.wait_for(5));
        assert_eq!(fifth.as_mut().now_or_never(), None);
        progress.reach(4);
        assert_eq!(fifth.as_mut().now_or_never(), None);
        progress.reach(7);
        assert_eq!(fifth.as_mut().now_or_never(), Some(()));
        progress.reach(6);
        assert_eq!(progress.index(), 7);
    }
}

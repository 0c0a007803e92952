use super::*;
use crate::runtime::{self, Rt};
use openraft_rt::AsyncRuntime;
use std::sync::atomic::AtomicBool;
use std::task::Wake;

#[derive(Debug, Default)]
struct Noted {
    name: u32,
    order: Arc<Mutex<Vec<u32>>>,
    woken: AtomicBool,
}

impl Wake for Noted {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        self.order.lock().push(self.name);
    }
}

fn poll<F: Future + Unpin>(future: &mut F, noted: &Arc<Noted>) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(&Waker::from(noted.clone())))
}

#[test]
fn waiters_are_woken_in_the_order_in_which_they_came() {
    let order = Arc::<Mutex<Vec<u32>>>::default();
    let (sender, receiver) = channel(0);
    let mut receivers: Vec<_> = (0..100).map(|_| receiver.clone()).collect();
    let mut waiting: Vec<_> = receivers.iter_mut().map(Receiver::changed).collect();
    let names: Vec<u32> = (0..100).map(|name| name * 37 % 100).collect();
    let noted: Vec<_> = names
        .iter()
        .map(|&name| Arc::new(Noted { name, order: order.clone(), ..Noted::default() }))
        .collect();
    for (waiter, noted) in waiting.iter_mut().zip(&noted) {
        assert!(poll(waiter, noted).is_pending());
    }
    // Asking again does not lose the place.
    assert!(poll(&mut waiting[3], &noted[3]).is_pending());
    assert!(sender.send(1).is_ok());
    assert_eq!(*order.lock(), names);
}

#[test]
fn a_waiter_that_was_dropped_leaves_nothing_behind() {
    let (sender, mut receiver) = channel(0);
    for _ in 0..3 {
        let noted = Arc::new(Noted::default());
        let mut waiting = receiver.changed();
        assert!(poll(&mut waiting, &noted).is_pending());
        drop(waiting);
        assert_eq!(Arc::strong_count(&noted), 1, "its waker is kept by nobody");
        assert!(sender.0.line.lock().wakers.is_empty());
    }
}

#[test]
fn the_last_value_is_seen_before_the_end() {
    let (sender, mut receiver) = channel(0);
    let noted = Arc::new(Noted::default());
    assert!(sender.send(1).is_ok());
    drop(sender);
    assert_eq!(poll(&mut receiver.changed(), &noted), Poll::Ready(Ok(())));
    assert_eq!(*receiver.borrow(), 1);
    assert_eq!(poll(&mut receiver.changed(), &noted), Poll::Ready(Err(RecvError(()))));
}

#[test]
fn the_last_sender_wakes_who_waits() {
    let (sender, mut receiver) = channel(0);
    let (other, noted) = (sender.clone(), Arc::new(Noted::default()));
    let mut waiting = receiver.changed();
    assert!(poll(&mut waiting, &noted).is_pending());
    drop(sender);
    assert!(!noted.woken.load(Ordering::SeqCst));
    drop(other);
    assert!(noted.woken.load(Ordering::SeqCst));
    assert_eq!(poll(&mut waiting, &noted), Poll::Ready(Err(RecvError(()))));
}

#[test]
fn a_value_that_nobody_watches_is_given_back() {
    let (sender, receiver) = channel(0);
    drop(receiver);
    assert_eq!(sender.send(1), Err(SendError(1)));
    assert_eq!(*sender.borrow(), 0);
    assert_eq!(sender.send_replace(2), 0);
    let mut late = sender.subscribe();
    assert!(poll(&mut late.changed(), &Arc::default()).is_pending(), "what was there has been seen");
}

/// The line is held while somebody comes to wait and a sender raises the version and finds nobody in the line.
#[test]
fn who_comes_while_a_sender_looks_at_the_line_sees_the_new_version() {
    for _ in 0..20 {
        let ((sender, mut receiver), begun) = (channel(0), AtomicBool::new(false));
        let line = sender.0.line.lock();
        let saw = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                begun.store(true, Ordering::SeqCst);
                poll(&mut receiver.changed(), &Arc::default()).is_ready()
            });
            // Most rounds give it the time to come as far as the lock.
            while !begun.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            (0..50).for_each(|_| std::thread::yield_now());
            sender.0.version.fetch_add(1, Ordering::SeqCst);
            assert!(line.wakers.is_empty(), "the sender wakes nobody");
            drop(line);
            waiter.join().unwrap()
        });
        assert!(saw, "it would wait for ever");
    }
}

/// Each side waits for the other, through two watches: a lost wake-up, and it stands still.
#[test]
fn no_wake_up_is_lost_between_threads() {
    const ROUNDS: u64 = 20_000;
    let counted = Rt::new(2).block_on(async {
        let ((ping, mut pinged), (pong, mut ponged)) = (channel(0_u64), channel(0_u64));
        let answer = runtime::spawn(async move {
            while pinged.changed().await.is_ok() {
                let value = *pinged.borrow();
                pong.send_replace(value);
            }
        });
        let mut counted = 0;
        for round in 1..=ROUNDS {
            ping.send_replace(round);
            let seen = runtime::timeout(
                std::time::Duration::from_secs(30),
                ponged.wait_for(|value| *value == round),
            );
            counted += u64::from(matches!(seen.await, Ok(Ok(_))));
        }
        drop(ping);
        assert_eq!(answer.await, Ok(()));
        counted
    });
    assert_eq!(counted, ROUNDS);
}

/// Many threads set, many watch: everybody sees the last value.
#[test]
fn every_watcher_sees_the_last_value() {
    const SENDERS: u64 = 4;
    const EACH: u64 = 5_000;
    Rt::new(4).block_on(async {
        let (sender, receiver) = channel(0_u64);
        let watchers: Vec<_> = (0..4)
            .map(|_| {
                let mut receiver = receiver.clone();
                runtime::spawn(async move { receiver.wait_for(|value| *value == SENDERS * EACH).await })
            })
            .collect();
        for _ in 0..SENDERS {
            let sender = sender.clone();
            runtime::spawn(async move {
                for _ in 0..EACH {
                    sender.send_if_modified(|value| {
                        *value += 1;
                        true
                    });
                    tokio::task::yield_now().await;
                }
            });
        }
        for watcher in watchers {
            let seen = runtime::timeout(std::time::Duration::from_secs(60), watcher).await;
            assert_eq!(seen, Ok(Ok(Ok(SENDERS * EACH))));
        }
    });
}

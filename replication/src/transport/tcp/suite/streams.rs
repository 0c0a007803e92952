//! Messages in order, each way.

use super::{Checked, LOOK, Network, Pair, SECOND};
use crate::transport::{Duplex, MESSAGE_LEN_MAX, STREAM_MESSAGES_MAX};
use bytes::Bytes;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

/// Messages each way: many more than wait anywhere.
const MESSAGES: usize = 3 * STREAM_MESSAGES_MAX;
/// How long a sender must be stuck to count as held back.
const STUCK: Duration = Duration::from_millis(200);

/// Short ones, and now and then a long one.
fn message(number: usize) -> Bytes {
    let len = if number.is_multiple_of(512) { 300_000 } else { 8 + number % 500 };
    number.to_be_bytes().into_iter().cycle().take(len).collect()
}

pub(super) async fn messages_keep_their_order_and_end(network: &dyn Network) -> Checked {
    let pair = Pair::start(network).await;
    let (ours, theirs) = pair.open(network, b"both ways").await?;
    let (ours, theirs) = (split(ours), split(theirs));
    let (there, back) = futures::join!(send_and_read(ours.0, theirs.1), send_and_read(theirs.0, ours.1));
    assert_eq!((there, back), (MESSAGES, MESSAGES), "every message came, and then the end");
    Ok(())
}

fn split(duplex: Duplex) -> (Sender<Bytes>, tokio::sync::mpsc::Receiver<Bytes>) {
    (duplex.sender, duplex.receiver)
}

/// Sends everything, and reads it at the other end: how many came, in order.
async fn send_and_read(sender: Sender<Bytes>, mut receiver: tokio::sync::mpsc::Receiver<Bytes>) -> usize {
    let sending = async {
        for number in 0..MESSAGES {
            sender.send(message(number)).await.expect("the other side reads");
        }
        drop(sender);
    };
    let reading = async {
        let mut count = 0;
        while let Some(found) = receiver.recv().await {
            assert_eq!(found, message(count), "message {count} in its place");
            count += 1;
        }
        count
    };
    futures::join!(sending, reading).1
}

pub(super) async fn who_does_not_read_stops_its_sender_alone(network: &dyn Network) -> Checked {
    let pair = Pair::start(network).await;
    let (ours, mut theirs) = pair.open(network, b"slow").await?;
    let sent = fill(network, &ours.sender).await;
    assert!((1..=STREAM_MESSAGES_MAX).contains(&sent), "{sent} messages wait");
    pair.call(Bytes::from_static(b"a call on the same channel")).await?;
    let (_other_ours, other_theirs) = pair.open(network, b"another").await?;
    drop(other_theirs);
    for number in 0..sent {
        assert_eq!(theirs.receiver.recv().await, Some(message(number)), "what waited is all there");
    }
    ours.sender.send(message(sent)).await?;
    assert_eq!(theirs.receiver.recv().await, Some(message(sent)), "and it goes on");
    Ok(())
}

/// Sends until nothing goes any more: how many went.
async fn fill(network: &dyn Network, sender: &Sender<Bytes>) -> usize {
    let (mut sent, mut stuck) = (0, Duration::ZERO);
    while stuck < STUCK && sent <= STREAM_MESSAGES_MAX {
        match sender.try_send(message(sent)) {
            Ok(()) => (sent, stuck) = (sent + 1, Duration::ZERO),
            Err(TrySendError::Full(_)) => {
                network.pause(LOOK).await;
                stuck += LOOK;
            }
            Err(TrySendError::Closed(_)) => panic!("the other side only does not read"),
        }
    }
    sent
}

pub(super) async fn who_stops_reading_ends_its_sender(network: &dyn Network) -> Checked {
    let pair = Pair::start(network).await;
    let (mut ours, theirs) = pair.open(network, b"one way").await?;
    let (their_sender, their_receiver) = split(theirs);
    drop(their_receiver);
    ours.sender.closed().await;
    their_sender.send(message(1)).await?;
    assert_eq!(ours.receiver.recv().await, Some(message(1)), "the other direction goes on");
    drop(their_sender);
    assert_eq!(ours.receiver.recv().await, None);
    Ok(())
}

pub(super) async fn a_message_too_long_ends_both_directions(network: &dyn Network) -> Checked {
    let pair = Pair::start(network).await;
    let (mut ours, mut theirs) = pair.open(network, b"too long").await?;
    let longest = Bytes::from(vec![1; MESSAGE_LEN_MAX]);
    ours.sender.send(longest.clone()).await?;
    assert_eq!(theirs.receiver.recv().await, Some(longest));
    ours.sender.send(vec![1; MESSAGE_LEN_MAX + 1].into()).await?;
    assert_eq!(theirs.receiver.recv().await, None);
    assert_eq!(ours.receiver.recv().await, None);
    theirs.sender.closed().await;
    ours.sender.closed().await;
    Ok(())
}

pub(super) async fn a_dead_node_ends_streams_at_both_ends(network: &dyn Network) -> Checked {
    let pair = Pair::start(network).await;
    let (mut ours, mut theirs) = pair.open(network, b"until death").await?;
    ours.sender.send(message(1)).await?;
    assert_eq!(theirs.receiver.recv().await, Some(message(1)));
    network.stop(SECOND).await;
    assert_eq!(ours.receiver.recv().await, None);
    ours.sender.closed().await;
    assert_eq!(theirs.receiver.recv().await, None);
    theirs.sender.closed().await;
    Ok(())
}

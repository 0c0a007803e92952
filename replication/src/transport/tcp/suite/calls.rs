//! One request, one answer.

use super::{Checked, Echo, FIRST, LOOK, Network, PATIENCE, Pair, SECOND};
use crate::NodeId;
use crate::transport::{Channel, MESSAGE_LEN_MAX, TransportError};
use bytes::Bytes;
use futures::future::{join_all, try_join};
use std::time::Duration;

/// Calls at once.
const CALLS: u32 = 200;

/// A request of its own length and content for each number.
fn request(number: u32) -> Bytes {
    let len = 4 + (number as usize * 7_919) % 40_000;
    number.to_be_bytes().into_iter().cycle().take(len).collect()
}

pub(super) async fn answers_match_requests(network: &dyn Network) -> Checked {
    let pair = Pair::start(network).await;
    for channel in Channel::ALL {
        let calls = (0..CALLS).map(|number| pair.first.call(SECOND, channel, request(number), PATIENCE));
        for (number, answer) in (0..).zip(join_all(calls).await) {
            assert_eq!(answer?, Echo::answer_to(FIRST, &request(number)), "request {number}");
        }
    }
    Ok(())
}

pub(super) async fn both_sides_ask_at_once(network: &dyn Network) -> Checked {
    let pair = Pair::start(network).await;
    let there = pair.first.call(SECOND, Channel::Log, request(1), PATIENCE);
    let back = pair.second.call(FIRST, Channel::Log, request(2), PATIENCE);
    let (there, back) = try_join(there, back).await?;
    assert_eq!(there, Echo::answer_to(FIRST, &request(1)));
    assert_eq!(back, Echo::answer_to(SECOND, &request(2)));
    Ok(())
}

pub(super) async fn what_is_too_long_is_refused(network: &dyn Network) -> Checked {
    let pair = Pair::start(network).await;
    let too_long = Bytes::from(vec![0; MESSAGE_LEN_MAX + 1]);
    assert_eq!(pair.call(too_long.clone()).await, Err(TransportError::TooLong(MESSAGE_LEN_MAX + 1)));
    let opened = pair.first.open(SECOND, Channel::Log, too_long).await;
    assert!(matches!(opened, Err(TransportError::TooLong(_))));
    let longest = Bytes::from(vec![7; MESSAGE_LEN_MAX - 8]);
    assert_eq!(pair.call(longest.clone()).await?, Echo::answer_to(FIRST, &longest));
    let answer_too_long = Bytes::from(vec![7; MESSAGE_LEN_MAX]);
    assert!(pair.call(answer_too_long).await.is_err(), "who asked is told, and does not wait");
    Ok(())
}

pub(super) async fn an_unknown_node_has_no_address(network: &dyn Network) -> Checked {
    let pair = Pair::start(network).await;
    let unknown = NodeId(99);
    let called = pair.first.call(unknown, Channel::Log, Bytes::new(), PATIENCE).await;
    assert_eq!(called, Err(TransportError::NoAddress(unknown)));
    let opened = pair.first.open(unknown, Channel::Log, Bytes::new()).await;
    assert_eq!(opened.err(), Some(TransportError::NoAddress(unknown)));
    Ok(())
}

pub(super) async fn no_answer_in_time_is_an_error(network: &dyn Network) -> Checked {
    let pair = Pair::start_silent(network, Some(b's')).await;
    let within = Duration::from_millis(40);
    let called = pair.first.call(SECOND, Channel::Log, Bytes::from_static(b"silence"), within).await;
    assert_eq!(called, Err(TransportError::TimedOut { node: SECOND, within_ms: 40 }));
    assert_eq!(pair.call(request(3)).await?, Echo::answer_to(FIRST, &request(3)), "others are answered");
    Ok(())
}

pub(super) async fn a_dead_node_fails_calls_until_it_is_back(network: &dyn Network) -> Checked {
    let pair = Pair::start_silent(network, Some(b's')).await;
    pair.call(request(1)).await?;
    let waiting = pair.call(Bytes::from_static(b"silence"));
    let (broken, ()) = futures::join!(waiting, network.stop(SECOND));
    assert!(broken.is_err(), "who waits for an answer that cannot come is told");
    let within = Duration::from_millis(500);
    let called = pair.first.call(SECOND, Channel::Log, request(2), within).await;
    assert!(matches!(called, Err(TransportError::Unreachable { .. } | TransportError::TimedOut { .. })));
    let (echo, _opened) = Echo::new(None);
    let _back = network.start(SECOND, echo).await;
    while pair.first.call(SECOND, Channel::Log, request(3), within).await.is_err() {
        network.pause(LOOK).await;
    }
    Ok(())
}

pub(super) async fn a_forgotten_node_is_not_answered(network: &dyn Network) -> Checked {
    let pair = Pair::start(network).await;
    pair.second.call(FIRST, Channel::Log, request(1), PATIENCE).await?;
    pair.call(request(1)).await?;
    pair.first.forget(SECOND);
    assert_eq!(pair.call(request(2)).await, Err(TransportError::NoAddress(SECOND)));
    for channel in Channel::ALL {
        let within = Duration::from_millis(500);
        let called = pair.second.call(FIRST, channel, request(3), within).await;
        assert!(called.is_err(), "a node that was forgotten is answered");
    }
    Ok(())
}

//! What every [`Transport`] must do, as one suite that each implementation passes.
//!
//! A check ends when it holds, and waits where it must; whoever runs the suite bounds its time.

mod calls;
mod streams;

use crate::NodeId;
use crate::transport::{Channel, Duplex, Service, Transport, TransportError};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

type Checked = Result<(), Box<dyn Error>>;

/// Longer than any answer takes that comes.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(5);

/// Nodes that can be begun and ended at will.
#[async_trait]
pub trait Network: Send + Sync {
    /// Starts a node that `service` answers for. It learns where the running nodes are, and they where it is.
    async fn start(&self, node: NodeId, service: Arc<dyn Service>) -> Arc<dyn Transport>;

    /// Ends a node: its connections break, and nobody answers at its address until it is started again.
    async fn stop(&self, node: NodeId);

    /// Lets time go by.
    async fn pause(&self, time: Duration);
}

/// Runs the suite; `network` makes one without nodes for each check.
///
/// # Errors
///
/// What the transport answered where the suite wanted success.
///
/// # Panics
///
/// When an answer is not the one that is promised.
pub async fn all(mut network: impl FnMut() -> Box<dyn Network>) -> Checked {
    calls::answers_match_requests(&*network()).await?;
    calls::both_sides_ask_at_once(&*network()).await?;
    calls::what_is_too_long_is_refused(&*network()).await?;
    calls::an_unknown_node_has_no_address(&*network()).await?;
    calls::no_answer_in_time_is_an_error(&*network()).await?;
    calls::a_dead_node_fails_calls_until_it_is_back(&*network()).await?;
    calls::a_forgotten_node_is_not_answered(&*network()).await?;
    streams::messages_keep_their_order_and_end(&*network()).await?;
    streams::who_does_not_read_stops_its_sender_alone(&*network()).await?;
    streams::who_stops_reading_ends_its_sender(&*network()).await?;
    streams::a_message_too_long_ends_both_directions(&*network()).await?;
    streams::a_dead_node_ends_streams_at_both_ends(&*network()).await
}

/// Answers each request with itself and who asked; the streams that were opened are for the check.
struct Echo {
    /// Requests that begin with this byte are never answered.
    silent_on: Option<u8>,
    opened: mpsc::UnboundedSender<(NodeId, Bytes, Duplex)>,
}

/// Streams that others opened.
type Opened = Mutex<mpsc::UnboundedReceiver<(NodeId, Bytes, Duplex)>>;

impl Echo {
    fn new(silent_on: Option<u8>) -> (Arc<Echo>, Opened) {
        let (opened, streams) = mpsc::unbounded_channel();
        (Arc::new(Echo { silent_on, opened }), Mutex::new(streams))
    }

    fn answer_to(from: NodeId, request: &Bytes) -> Bytes {
        [&from.0.to_be_bytes()[..], request].concat().into()
    }
}

#[async_trait]
impl Service for Echo {
    async fn answer(&self, from: NodeId, request: Bytes) -> Bytes {
        if self.silent_on.is_some() && request.first() == self.silent_on.as_ref() {
            std::future::pending::<()>().await;
        }
        Echo::answer_to(from, &request)
    }

    async fn stream(&self, from: NodeId, header: Bytes, duplex: Duplex) {
        // A check that is over looks at no stream.
        let _over = self.opened.send((from, header, duplex));
    }
}

/// Two nodes of which the second one echoes.
struct Pair {
    first: Arc<dyn Transport>,
    second: Arc<dyn Transport>,
    opened: Opened,
}

const FIRST: NodeId = NodeId(1);
const SECOND: NodeId = NodeId(2);

impl Pair {
    async fn start(network: &dyn Network) -> Pair {
        Pair::start_silent(network, None).await
    }

    async fn start_silent(network: &dyn Network, silent_on: Option<u8>) -> Pair {
        let (echo, _none) = Echo::new(None);
        let first = network.start(FIRST, echo).await;
        let (echo, opened) = Echo::new(silent_on);
        let second = network.start(SECOND, echo).await;
        Pair { first, second, opened }
    }

    async fn call(&self, request: Bytes) -> Result<Bytes, TransportError> {
        self.first.call(SECOND, Channel::Log, request, PATIENCE).await
    }

    /// Opens a stream: its two ends, of the first node and of the second.
    async fn open(
        &self,
        network: &dyn Network,
        header: &'static [u8],
    ) -> Result<(Duplex, Duplex), Box<dyn Error>> {
        let ours = self.first.open(SECOND, Channel::Log, Bytes::from_static(header)).await?;
        loop {
            let opened = self.opened.lock().try_recv();
            match opened {
                Ok((from, found, theirs)) => {
                    assert_eq!((from, &found[..]), (FIRST, header));
                    return Ok((ours, theirs));
                }
                Err(mpsc::error::TryRecvError::Empty) => network.pause(LOOK).await,
                Err(error @ mpsc::error::TryRecvError::Disconnected) => return Err(error.into()),
            }
        }
    }
}

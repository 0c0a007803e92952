//! openraft's messages over a [`Transport`].
//!
//! - Entries go over one ordered stream for each session of replication, many on the way at once. Heartbeats, votes and
//!   pre-votes have a connection of their own, so that entries never hold them up.
//! - A pre-vote is asked for over the network like a vote: openraft's default would grant it.
//! - The bound on how long a call may take is openraft's own.

use crate::home::{Home, send_snapshot};
use crate::message::{Answer, Header, Request};
use crate::raft::{LogId, Peer, TypeConfig, Vote};
use crate::replica::Replica;
use crate::runtime::{self, AbortOnDrop};
use crate::state_machine::SnapshotData;
use crate::transport::{Channel, Duplex, Transport, TransportError};
use crate::{GroupId, NodeId};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use openraft::AnyError;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// How many times openraft's bound on a call an answer on a stream may take: entries wait for disks.
const STREAM_PATIENCE: u32 = 20;

/// Reaches the other members of one group.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    transport: Arc<dyn Transport>,
    group: GroupId,
    home: Arc<Home>,
    replica: Arc<Replica>,
}

impl Network {
    pub(crate) const fn new(
        transport: Arc<dyn Transport>,
        group: GroupId,
        home: Arc<Home>,
        replica: Arc<Replica>,
    ) -> Self {
        Self { transport, group, home, replica }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, peer: &Peer) -> Client {
        let node = NodeId(target);
        if !peer.address.is_empty() {
            self.transport.set_address(node, peer.address.clone());
        }
        Client { network: self.clone(), node }
    }
}

/// Reaches one member of one group.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    network: Network,
    node: NodeId,
}

impl Client {
    async fn call(&self, channel: Channel, request: &Request, within: Duration) -> Result<Answer, Error> {
        let bytes = request.encode(self.network.group);
        let answer =
            self.network.transport.call(self.node, channel, bytes, within).await.map_err(unreachable)?;
        match Answer::decode(&answer) {
            Ok(Answer::Failed(reason)) => Err(failed(reason)),
            Ok(answer) => Ok(answer),
            Err(malformed) => Err(failed(malformed)),
        }
    }

    async fn append(&self, request: AppendEntriesRequest<TypeConfig>, option: &RPCOption) -> AppendResult {
        let channel = if request.entries.is_empty() { Channel::Heartbeat } else { Channel::Log };
        match self.call(channel, &Request::Append(request), option.soft_ttl()).await? {
            Answer::Append(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }
}

type Error = RPCError<TypeConfig>;
type AppendResult = Result<AppendEntriesResponse<TypeConfig>, Error>;
type StreamItem = Result<StreamAppendResult<TypeConfig>, Error>;

fn unreachable(error: TransportError) -> Error {
    match error {
        TransportError::TimedOut { .. } => RPCError::Network(NetworkError::new(&error)),
        error => RPCError::Unreachable(Unreachable::new(&error)),
    }
}

fn failed(reason: impl ToString) -> Error {
    RPCError::Network(NetworkError::new(&AnyError::error(reason.to_string())))
}

fn unexpected(answer: &Answer) -> Error {
    failed(format!("the answer does not belong to the request: {answer:?}"))
}

impl RaftNetworkV2<TypeConfig> for Client {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> AppendResult {
        self.append(request, &option).await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, StreamItem>, Error>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        let session = Session { client: self.clone(), option, state: State::Idle(Box::pin(input)) };
        let answers = stream::unfold(session, |mut session| async move {
            let item = session.next().await?;
            if matches!(item, Ok(Ok(_))) {
                return Some((item, session));
            }
            session.state = State::Ended;
            Some((item, session))
        });
        Box::pin(async move { Ok(answers.boxed()) })
    }

    async fn vote(&mut self, request: VoteRequest<TypeConfig>, option: RPCOption) -> VoteResult {
        voted(self.call(Channel::Heartbeat, &Request::Vote(request), option.soft_ttl()).await?)
    }

    async fn pre_vote(&mut self, request: VoteRequest<TypeConfig>, option: RPCOption) -> VoteResult {
        voted(self.call(Channel::Heartbeat, &Request::PreVote(request), option.soft_ttl()).await?)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        _snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let Network { transport, group, home, replica } = &self.network;
        let sent = send_snapshot(home, replica, transport, (self.node, *group), vote);
        let (cancel, sent) = (std::pin::pin!(cancel), std::pin::pin!(sent));
        match futures::future::select(cancel, sent).await {
            futures::future::Either::Left((closed, _)) => Err(StreamingError::Closed(closed)),
            futures::future::Either::Right((Ok(vote), _)) => Ok(SnapshotResponse { vote }),
            futures::future::Either::Right((Err(reason), _)) => {
                Err(StreamingError::Unreachable(Unreachable::new(&AnyError::error(reason))))
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Error> {
        match self.call(Channel::Heartbeat, &Request::TakeOver(request), option.soft_ttl()).await? {
            Answer::Done => Ok(Ok(())),
            other => Err(unexpected(&other)),
        }
    }
}

type VoteResult = Result<VoteResponse<TypeConfig>, Error>;

fn voted(answer: Answer) -> VoteResult {
    match answer {
        Answer::Voted { vote, granted, last } => Ok(VoteResponse::new(vote, last, granted)),
        other => Err(unexpected(&other)),
    }
}

type Requests = std::pin::Pin<Box<dyn Stream<Item = AppendEntriesRequest<TypeConfig>> + Send>>;

/// One run of requests to append. Those without entries at its beginning (heartbeats are only that) are calls; with the
/// first entries a stream is opened, and everything goes over it from then on.
struct Session {
    client: Client,
    option: RPCOption,
    state: State,
}

enum State {
    Idle(Requests),
    Streaming { answers: tokio::sync::mpsc::Receiver<bytes::Bytes>, sent: Sent, _pump: AbortOnDrop<()> },
    Ended,
}

/// The ends of the requests on the way: the position before the first entry, and that of the last.
type Sent = Arc<Mutex<VecDeque<(Option<LogId>, Option<LogId>)>>>;

impl Session {
    async fn next(&mut self) -> Option<StreamItem> {
        if let State::Idle(requests) = &mut self.state {
            let first = requests.next().await?;
            if first.entries.is_empty() {
                let ends = ends_of(&first);
                let answer = self.client.append(first, &self.option).await;
                return Some(answer.map(|response| response.into_stream_result(ends.0, ends.1)));
            }
            let State::Idle(rest) = std::mem::replace(&mut self.state, State::Ended) else { return None };
            if let Err(error) = self.begin(first, rest).await {
                return Some(Err(error));
            }
        }
        self.answer().await
    }

    async fn begin(&mut self, first: AppendEntriesRequest<TypeConfig>, rest: Requests) -> Result<(), Error> {
        let network = &self.client.network;
        let header = Header::Append(network.group).encode();
        let opened = network.transport.open(self.client.node, Channel::Log, header).await;
        let Duplex { sender, receiver } = opened.map_err(unreachable)?;
        let (sent, group) = (Sent::default(), network.group);
        let noted = Arc::clone(&sent);
        let mut requests = stream::once(async { first }).chain(rest).boxed();
        let pump = runtime::spawn(async move {
            while let Some(request) = requests.next().await {
                noted.lock().push_back(ends_of(&request));
                if sender.send(Request::Append(request).encode(group)).await.is_err() {
                    break;
                }
            }
        });
        self.state = State::Streaming { answers: receiver, sent, _pump: pump.abort_on_drop() };
        Ok(())
    }

    async fn answer(&mut self) -> Option<StreamItem> {
        let State::Streaming { answers, sent, .. } = &mut self.state else { return None };
        let patience = self.option.soft_ttl() * STREAM_PATIENCE;
        let bytes = loop {
            match runtime::timeout(patience, answers.recv()).await {
                Ok(Some(bytes)) => break bytes,
                Ok(None) if sent.lock().is_empty() => return None,
                Ok(None) => return Some(Err(failed("the stream of entries broke"))),
                // Nothing on the way: nothing to wait for but more entries.
                Err(_elapsed) if sent.lock().is_empty() => {}
                Err(_elapsed) => return Some(Err(failed("no answer on the stream of entries"))),
            }
        };
        let (before, last) = sent.lock().pop_front()?;
        Some(match Answer::decode(&bytes) {
            Ok(Answer::Append(AppendEntriesResponse::Conflict)) if before.is_none() => {
                Err(failed("a conflict with the beginning of the log"))
            }
            Ok(Answer::Append(response)) => Ok(response.into_stream_result(before, last)),
            Ok(Answer::Failed(reason)) => Err(failed(reason)),
            Ok(other) => Err(unexpected(&other)),
            Err(malformed) => Err(failed(malformed)),
        })
    }
}

fn ends_of(request: &AppendEntriesRequest<TypeConfig>) -> (Option<LogId>, Option<LogId>) {
    let last = request.entries.last().map(|entry| entry.id);
    (request.prev_log_id, last.or(request.prev_log_id))
}

/// The result of an append on a stream, as an answer.
pub(crate) fn answer_of(result: StreamAppendResult<TypeConfig>) -> Answer {
    Answer::Append(match result {
        Ok(matching) => AppendEntriesResponse::PartialSuccess(matching),
        Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
        Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
    })
}

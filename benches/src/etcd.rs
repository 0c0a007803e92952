//! A small client of etcd's v3 API: gRPC over HTTP/2 without TLS, with the four messages that a load needs.
//!
//! - One request at a time on each [`Client`]; clients may share a connection, as etcd's own client does.
//! - Nothing is retried. An answer with any gRPC status but 0 is an error.
//! - The field numbers are those of etcd's `rpc.proto` and `kv.proto`, version 3.4; what is not used is left out.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use cairn::bench::client::{Error, Result};
use cairn::bench::target::{Connection, Target};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{HeaderMap, Method, Request, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpStream;

/// The longest answer that is read, in bytes: far above one value.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Bytes before a gRPC message: one says whether it is compressed, four its length.
const PREFIX_BYTES: usize = 5;

/// One member of an etcd cluster.
#[derive(Debug)]
pub struct Member {
    address: String,
    /// Connections that the clients share in turn; empty when each has its own.
    shared: Vec<SendRequest<Full<Bytes>>>,
    next: AtomicUsize,
}

/// One client of a member.
#[derive(Debug)]
pub struct Client {
    address: String,
    sender: SendRequest<Full<Bytes>>,
}

/// What a member says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Its own id.
    pub member: u64,
    /// The id of the leader that it knows, or 0.
    pub leader: u64,
    /// How far it has applied the log.
    pub applied: u64,
}

impl Member {
    /// A member at `host:port`. Clients share `connections`; with 0 each has its own.
    ///
    /// # Errors
    ///
    /// When nobody listens there.
    pub async fn open(address: &str, connections: usize) -> Result<Member> {
        let mut shared = Vec::new();
        for _ in 0..connections {
            shared.push(open(address).await?);
        }
        Ok(Member { address: address.to_owned(), shared, next: AtomicUsize::new(0) })
    }
}

impl Target for Member {
    type Connection = Client;

    async fn connect(&self) -> Result<Client> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let sender = match self.shared.get(number % self.shared.len().max(1)) {
            Some(shared) => shared.clone(),
            None => open(&self.address).await?,
        };
        Ok(Client { address: self.address.clone(), sender })
    }
}

impl Connection for Client {
    async fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let request = RangeRequest { key: key.to_vec() };
        let answer: RangeResponse = self.call("etcdserverpb.KV/Range", &request).await?;
        Ok(answer.kvs.into_iter().next().map(|entry| entry.value))
    }

    async fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<()> {
        let answer: PutResponse = self.call("etcdserverpb.KV/Put", &PutRequest { key, value }).await?;
        match answer.header {
            Some(header) if header.revision > 0 => Ok(()),
            _ => Err(Error::Protocol("a put without a revision".to_owned())),
        }
    }
}

impl Client {
    /// Asks the member how it stands.
    ///
    /// # Errors
    ///
    /// When the connection fails or the member refuses.
    pub async fn status(&mut self) -> Result<Status> {
        let answer: StatusResponse = self.call("etcdserverpb.Maintenance/Status", &StatusRequest {}).await?;
        let member = answer.header.map_or(0, |header| header.member_id);
        Ok(Status { member, leader: answer.leader, applied: answer.raft_applied_index })
    }

    async fn call<A: Message + Default>(&mut self, method: &str, message: &impl Message) -> Result<A> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{}/{method}", self.address))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(Full::new(framed(message)))
            .map_err(|e| Error::Protocol(e.to_string()))?;
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        if !head.status.is_success() {
            return Err(Error::Status { status: head.status.as_u16(), text: method.to_owned() });
        }
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|e| Error::Body(e.to_string()))?;
        // An answer that is an error may have no body and its status in the head.
        check_status(body.trailers().unwrap_or(&head.headers))?;
        unframed(body.to_bytes())
    }
}

async fn open(address: &str) -> Result<SendRequest<Full<Bytes>>> {
    let failed = |source| Error::Connect { address: address.to_owned(), source };
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // A connection that ends tells its requests so; its own result says nothing more.
    tokio::spawn(async move { connection.await.ok() });
    Ok(sender)
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("a message is far below 4 GiB"));
    message.encode(&mut frame).expect("a growing buffer takes any message");
    frame.freeze()
}

fn unframed<A: Message + Default>(mut body: Bytes) -> Result<A> {
    let broken = |what: &str| Error::Protocol(format!("a gRPC answer {what}"));
    if body.len() < PREFIX_BYTES {
        return Err(broken("without a message"));
    }
    let (compressed, length) = (body.get_u8(), body.get_u32());
    if compressed != 0 || usize::try_from(length) != Ok(body.len()) {
        return Err(broken("with a frame of another length, or compressed"));
    }
    A::decode(body).map_err(|e| Error::Protocol(e.to_string()))
}

fn check_status(headers: &HeaderMap) -> Result<()> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text("grpc-status") {
        "0" => Ok(()),
        status => Err(Error::Protocol(format!("gRPC status {status}: {}", text("grpc-message")))),
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    member_id: u64,
    #[prost(int64, tag = "3")]
    revision: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct PutResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
}

/// Without `serializable` (field 7) a range is read linearizably.
#[derive(Clone, PartialEq, Eq, Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct KeyValue {
    #[prost(bytes = "vec", tag = "5")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, Eq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(uint64, tag = "4")]
    leader: u64,
    #[prost(uint64, tag = "7")]
    raft_applied_index: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_its_frame_and_a_wrong_frame_is_refused() -> Result<()> {
        let message = PutRequest { key: b"k".to_vec(), value: b"value".to_vec() };
        let frame = framed(&message);
        assert_eq!(&frame[..], b"\0\0\0\0\x0a\x0a\x01k\x12\x05value");
        assert_eq!(unframed::<PutRequest>(frame.clone())?, message);
        for wrong in [frame.slice(..4), frame.slice(..frame.len() - 1), Bytes::from_static(b"\x01\0\0\0\0")] {
            assert!(unframed::<PutRequest>(wrong).is_err());
        }
        Ok(())
    }

    #[test]
    fn only_status_zero_is_an_answer() {
        let with = |status: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", status.parse().expect("digits are a header value"));
            check_status(&headers)
        };
        assert!(with("0").is_ok());
        assert!(with("14").is_err() && check_status(&HeaderMap::new()).is_err());
    }
}

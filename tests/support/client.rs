//! A KV Connect client that sends what it is told, right or wrong, over either version of HTTP.

use super::{Server, TOKEN, TestResult, within};
use anyhow::{Context, ensure};
use bytes::Bytes;
use denokv_proto::datapath as pb;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> TestResult<serde_json::Value> {
        ensure!(self.status == StatusCode::OK, "{}: {}", self.status, self.text());
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// The message in a 200.
    pub fn message<M: Message + Default>(&self) -> TestResult<M> {
        ensure!(self.status == StatusCode::OK, "{}: {}", self.status, self.text());
        let content_type = self.headers.get("content-type").context("no content type")?;
        ensure!(content_type == "application/x-protobuf", "{content_type:?}");
        Ok(M::decode(self.body.clone())?)
    }

    /// Fails unless it is this status with exactly this text.
    pub fn refused(&self, status: u16, text: &str) -> TestResult {
        ensure!(self.status.as_u16() == status && self.text() == text, "{}: {}", self.status, self.text());
        Ok(())
    }
}

/// Sends one request over HTTP/1.1 and returns the head of the answer.
pub async fn send(addr: SocketAddr, request: Request<Full<Bytes>>) -> TestResult<Response<Incoming>> {
    let stream = TcpStream::connect(addr).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(within(sender.send_request(request)).await??)
}

/// Sends one request over HTTP/2 with prior knowledge and returns the head of the answer.
pub async fn send_h2(addr: SocketAddr, request: Request<Full<Bytes>>) -> TestResult<Response<Incoming>> {
    let stream = TcpStream::connect(addr).await?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(within(sender.send_request(request)).await??)
}

/// The whole of an answer.
pub async fn whole(response: Response<Incoming>) -> TestResult<Answer> {
    let (head, body) = response.into_parts();
    let body = within(body.collect()).await??.to_bytes();
    Ok(Answer { status: head.status, headers: head.headers, body })
}

/// Builds a request as a client on the same machine would.
pub fn request(
    server: &Server,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> TestResult<Request<Full<Bytes>>> {
    let uri = format!("http://{}{path}", server.addr);
    let mut request = Request::builder().method(method).uri(uri).header("host", server.addr.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Ok(request.body(Full::new(body.into()))?)
}

/// Sends one request and returns the whole answer.
pub async fn call(
    server: &Server,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> TestResult<Answer> {
    whole(send(server.addr, request(server, method, path, headers, body)?).await?).await
}

/// Exchanges metadata with the right token.
pub async fn exchange(server: &Server, body: &str) -> TestResult<Answer> {
    let authorization = format!("Bearer {TOKEN}");
    call(server, Method::POST, "/", &[("authorization", &authorization)], body.to_owned()).await
}

/// A client that has exchanged metadata.
#[derive(Debug, Clone)]
pub struct Session {
    addr: SocketAddr,
    pub headers: Vec<(String, String)>,
}

impl Session {
    /// Offers one version and takes what the server says.
    pub async fn open(server: &Server, version: u64) -> TestResult<Session> {
        let answer = exchange(server, &format!("{{\"supportedVersions\":[{version}]}}")).await?.json()?;
        ensure!(answer["version"] == version, "{answer}");
        let token = answer["token"].as_str().context("no token")?;
        let id = answer["databaseId"].as_str().context("no database id")?.to_owned();
        let mut headers = vec![("authorization".to_owned(), format!("Bearer {token}"))];
        if version == 1 {
            headers.push(("x-transaction-domain-id".to_owned(), id));
        } else {
            headers.push(("x-denokv-version".to_owned(), version.to_string()));
            headers.push(("x-denokv-database-id".to_owned(), id));
        }
        Ok(Session { addr: server.addr, headers })
    }

    /// The same with another header, or without it.
    pub fn with(&self, name: &str, value: Option<&str>) -> Session {
        let mut headers: Vec<_> = self.headers.iter().filter(|(n, _)| n != name).cloned().collect();
        headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        Session { addr: self.addr, headers }
    }

    fn request(&self, method: &str, body: Bytes) -> TestResult<Request<Full<Bytes>>> {
        let uri = format!("http://{}/v2/{method}", self.addr);
        let mut request = Request::post(uri).header("host", self.addr.to_string());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        Ok(request.body(Full::new(body))?)
    }

    /// Sends bytes to a method of the data path.
    pub async fn bytes(&self, method: &str, body: impl Into<Bytes>) -> TestResult<Answer> {
        whole(send(self.addr, self.request(method, body.into())?).await?).await
    }

    /// Sends a message to a method of the data path.
    pub async fn call(&self, method: &str, message: &impl Message) -> TestResult<Answer> {
        self.bytes(method, message.encode_to_vec()).await
    }

    /// Writes; the answer must be 200.
    pub async fn write(&self, write: &pb::AtomicWrite) -> TestResult<pb::AtomicWriteOutput> {
        self.call("atomic_write", write).await?.message()
    }

    /// Writes mutations that must be committed; returns the versionstamp.
    pub async fn commit(&self, mutations: Vec<pb::Mutation>) -> TestResult<Vec<u8>> {
        let output = self.write(&pb::AtomicWrite { mutations, ..Default::default() }).await?;
        ensure!(output.status == i32::from(pb::AtomicWriteStatus::AwSuccess), "{output:?}");
        Ok(output.versionstamp)
    }

    /// Writes mutations that must be refused with 400 and exactly this text.
    pub async fn refused(&self, mutations: Vec<pb::Mutation>, text: &str) -> TestResult {
        let write = pb::AtomicWrite { mutations, ..Default::default() };
        self.call("atomic_write", &write).await?.refused(400, text)
    }

    /// Reads one range.
    pub async fn range(&self, range: pb::ReadRange) -> TestResult<Vec<pb::KvEntry>> {
        let read = pb::SnapshotRead { ranges: vec![range] };
        let mut output: pb::SnapshotReadOutput = self.call("snapshot_read", &read).await?.message()?;
        ensure!(output.ranges.len() == 1 && output.status == 1, "{output:?}");
        Ok(output.ranges.remove(0).values)
    }

    /// Reads one key as Deno does.
    pub async fn get(&self, key: &[u8]) -> TestResult<Option<pb::KvEntry>> {
        Ok(self.range(super::messages::get(key)).await?.pop())
    }

    /// Starts a watch over HTTP/2.
    pub async fn watch(&self, keys: &[&[u8]]) -> TestResult<Frames> {
        let keys = keys.iter().map(|key| pb::WatchKey { key: key.to_vec() }).collect();
        let body = pb::Watch { keys }.encode_to_vec();
        let response = send_h2(self.addr, self.request("watch", body.into())?).await?;
        ensure!(response.status() == StatusCode::OK, "{}", response.status());
        let content_type = response.headers().get("content-type").context("no content type")?;
        ensure!(content_type == "application/octet-stream", "{content_type:?}");
        Ok(Frames { body: response.into_body(), read: Vec::new() })
    }
}

/// The frames of a watch.
#[derive(Debug)]
pub struct Frames {
    body: Incoming,
    read: Vec<u8>,
}

impl Frames {
    /// The next frame; empty for a ping, `None` at a clean end.
    pub async fn frame(&mut self) -> TestResult<Option<Vec<u8>>> {
        loop {
            if let Some((len, rest)) = self.read.split_first_chunk::<4>() {
                let len = u32::from_le_bytes(*len) as usize;
                if rest.len() >= len {
                    let frame = rest[..len].to_vec();
                    self.read.drain(..4 + len);
                    return Ok(Some(frame));
                }
            }
            match within(self.body.frame()).await? {
                Some(frame) => self.read.extend_from_slice(&frame?.into_data().unwrap_or_default()),
                None => {
                    ensure!(self.read.is_empty(), "the stream ended inside a frame");
                    return Ok(None);
                }
            }
        }
    }

    /// The next message, past any ping.
    pub async fn message(&mut self) -> TestResult<pb::WatchOutput> {
        loop {
            let frame = self.frame().await?.context("the watch ended")?;
            if !frame.is_empty() {
                let output = pb::WatchOutput::decode(frame.as_slice())?;
                ensure!(output.status == 1, "{output:?}");
                return Ok(output);
            }
        }
    }
}

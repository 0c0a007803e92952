//! A small KV Connect client: one connection, one request at a time, nothing retried.
//!
//! Nothing is retried because a measurement must show failures and a test must know whether a
//! write was acknowledged: [`Error`] after a write means that its outcome is unknown.

use bytes::Bytes;
use denokv_proto::datapath::{
    AtomicWrite, AtomicWriteOutput, KvEntry, ReadRange, SnapshotRead, SnapshotReadOutput, SnapshotReadStatus,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::{http1, http2};
use hyper::{Method, Request, Response, Uri, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use serde::Deserialize;
use tokio::net::TcpStream;

/// The longest answer that is read, in bytes, inclusive: a full read of 1000 values of 64 KiB.
const ANSWER_BYTES_MAX: usize = 80 << 20;

/// What went wrong with one request. Nothing is retried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is not one this client can use. Give another.
    #[error("the URL `{url}` is not of the form http://host:port/: {reason}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody listens there. Start the server.
    #[error("cannot connect to {address}")]
    Connect {
        /// Host and port.
        address: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The connection failed: the outcome of a write is unknown. Open another.
    #[error("the connection failed")]
    Connection(#[from] hyper::Error),
    /// The body broke off or was too long: the outcome of a write is unknown. Open another.
    #[error("cannot read the answer's body: {0}")]
    Body(String),
    /// The server refused.
    #[error("the server answered {status}: {text}")]
    Status {
        /// The HTTP status code.
        status: u16,
        /// The body, as text.
        text: String,
    },
    /// The server broke the protocol.
    #[error("the answer breaks the protocol: {0}")]
    Protocol(String),
}

/// A result of this client.
pub type Result<T> = std::result::Result<T, Error>;

/// The version of HTTP to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http {
    /// HTTP/1.1 with keep-alive, as `@deno/kv` in Node does.
    One,
    /// HTTP/2 without TLS, with prior knowledge, as Deno does.
    Two,
}

/// Where a server is and how to be let in: the outcome of a metadata exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    address: String,
    http: Http,
    path: String,
    /// Where reads may be eventual, when the server says so.
    eventual_path: Option<String>,
    token: String,
    database_id: String,
    version: u8,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    version: u8,
    database_id: String,
    endpoints: Vec<Endpoint>,
    token: String,
}

#[derive(Deserialize)]
struct Endpoint {
    url: String,
    consistency: String,
}

impl Session {
    /// Performs the metadata exchange with the server at `url`.
    ///
    /// # Errors
    ///
    /// When the URL is no use, nobody listens, or the server refuses the token.
    pub async fn open(url: &str, access_token: &str, http: Http) -> Result<Session> {
        let (address, path) = split_url(url)?;
        let mut sender = Sender::open(&address, http).await?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(target(&address, &path, http))
            .header(header::AUTHORIZATION, format!("Bearer {access_token}"))
            .header(header::HOST, &address)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from_static(br#"{"supportedVersions":[2,3]}"#)))
            .map_err(|e| Error::Protocol(e.to_string()))?;
        let body = sender.send(request).await?.into_body();
        let metadata: Metadata =
            serde_json::from_slice(&body).map_err(|e| Error::Protocol(format!("metadata: {e}")))?;
        let strong = metadata.endpoints.iter().find(|endpoint| endpoint.consistency == "strong");
        let endpoint = strong.ok_or_else(|| Error::Protocol("no strong endpoint".to_owned()))?;
        let (address, path) = match endpoint.url.strip_prefix('/') {
            Some(path) => (address, format!("/{path}")),
            None => split_url(&endpoint.url)?,
        };
        let path = path.trim_end_matches('/').to_owned();
        let eventual = metadata.endpoints.iter().find(|endpoint| endpoint.consistency == "eventual");
        let eventual_path = eventual.filter(|endpoint| endpoint.url.starts_with('/'));
        Ok(Session {
            address,
            http,
            path,
            eventual_path: eventual_path.map(|endpoint| endpoint.url.trim_end_matches('/').to_owned()),
            token: metadata.token,
            database_id: metadata.database_id,
            version: metadata.version,
        })
    }

    /// Opens a connection to the strong endpoint.
    ///
    /// # Errors
    ///
    /// When nobody listens there.
    pub async fn connect(&self) -> Result<Client> {
        let sender = Sender::open(&self.address, self.http).await?;
        let template = |path: &str, method: &str| {
            Request::builder()
                .method(Method::POST)
                .uri(target(&self.address, &format!("{path}/{method}"), self.http))
                .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
                .header(header::HOST, &self.address)
                .header(header::CONTENT_TYPE, "application/x-protobuf")
                .header("x-denokv-version", self.version.to_string())
                .header("x-denokv-database-id", &self.database_id)
                .body(())
                .map_err(|e| Error::Protocol(e.to_string()))
        };
        Ok(Client {
            sender,
            has_read_status: self.version >= 3,
            read: template(&self.path, "snapshot_read")?,
            read_eventually: match &self.eventual_path {
                Some(path) => template(path, "snapshot_read")?,
                None => template(&self.path, "snapshot_read")?,
            },
            write: template(&self.path, "atomic_write")?,
        })
    }
}

/// One connection to a server.
#[derive(Debug)]
pub struct Client {
    sender: Sender,
    /// Versions below 3 know no status of a read.
    has_read_status: bool,
    /// What every read looks like, without its body.
    read: Request<()>,
    /// What every eventual read looks like, without its body.
    read_eventually: Request<()>,
    /// What every write looks like, without its body.
    write: Request<()>,
}

impl Client {
    /// Reads ranges from one snapshot.
    ///
    /// # Errors
    ///
    /// When the connection fails, the server refuses, or the answer is not one for this request.
    pub async fn snapshot_read(&mut self, read: &SnapshotRead) -> Result<SnapshotReadOutput> {
        let request = with_body(&self.read, read);
        let answer = self.sender.send(request).await?;
        self.read_output(read, answer.into_body())
    }

    /// Reads ranges from one snapshot, which may be of the past; with how old it is at most, in milliseconds, where the
    /// server says so. A server without eventual reads gives a strong one.
    ///
    /// # Errors
    ///
    /// As [`Client::snapshot_read`].
    pub async fn eventual_read(&mut self, read: &SnapshotRead) -> Result<(SnapshotReadOutput, Option<u64>)> {
        let request = with_body(&self.read_eventually, read);
        let answer = self.sender.send(request).await?;
        let header = answer.headers().get("x-cairn-staleness-ms");
        let staleness_ms = header.and_then(|value| value.to_str().ok()?.parse().ok());
        Ok((self.read_output(read, answer.into_body())?, staleness_ms))
    }

    fn read_output(&self, read: &SnapshotRead, body: Bytes) -> Result<SnapshotReadOutput> {
        let output: SnapshotReadOutput = decode(body)?;
        let whole = output.ranges.len() == read.ranges.len();
        if !whole || (self.has_read_status && output.status != SnapshotReadStatus::SrSuccess as i32) {
            return Err(Error::Protocol(format!("a read with status {}", output.status)));
        }
        Ok(output)
    }

    /// Reads one key.
    ///
    /// # Errors
    ///
    /// As [`Client::snapshot_read`].
    pub async fn get(&mut self, key: &[u8]) -> Result<Option<KvEntry>> {
        let end = [key, &[0]].concat();
        let range = ReadRange { start: key.to_vec(), end, limit: 1, reverse: false };
        let mut output = self.snapshot_read(&SnapshotRead { ranges: vec![range] }).await?;
        Ok(output.ranges.pop().and_then(|mut range| range.values.pop()))
    }

    /// Performs an atomic write. A failed check is an answer, not an error.
    ///
    /// # Errors
    ///
    /// When the server refuses, or when the connection fails: then the outcome is unknown.
    pub async fn atomic_write(&mut self, write: &AtomicWrite) -> Result<AtomicWriteOutput> {
        let request = with_body(&self.write, write);
        decode(self.sender.send(request).await?.into_body())
    }
}

fn with_body(template: &Request<()>, message: &impl Message) -> Request<Full<Bytes>> {
    template.clone().map(|()| Full::new(Bytes::from(message.encode_to_vec())))
}

fn decode<M: Message + Default>(body: Bytes) -> Result<M> {
    M::decode(body).map_err(|e| Error::Protocol(e.to_string()))
}

#[derive(Debug)]
enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    async fn open(address: &str, http: Http) -> Result<Sender> {
        let failed = |source| Error::Connect { address: address.to_owned(), source };
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let io = TokioIo::new(stream);
        // A connection that ends tells its requests so; its own result says nothing more.
        Ok(match http {
            Http::One => {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(async move { connection.await.ok() });
                Sender::One(sender)
            }
            Http::Two => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(async move { connection.await.ok() });
                Sender::Two(sender)
            }
        })
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>> {
        let response = match self {
            Sender::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Two(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (head, body) = response.into_parts();
        let status = head.status;
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|e| Error::Body(e.to_string()))?.to_bytes();
        if status.is_success() {
            return Ok(Response::from_parts(head, body));
        }
        Err(Error::Status { status: status.as_u16(), text: String::from_utf8_lossy(&body).into_owned() })
    }
}

/// The request target: HTTP/2 wants the scheme and the authority as well.
fn target(address: &str, path: &str, http: Http) -> String {
    match http {
        Http::One => path.to_owned(),
        Http::Two => format!("http://{address}{path}"),
    }
}

/// Host with port, and path without the slash at its end (unless it is all there is).
fn split_url(url: &str) -> Result<(String, String)> {
    let wrong = |reason: &str| Error::Url { url: url.to_owned(), reason: reason.to_owned() };
    let uri = url.parse::<Uri>().map_err(|e| wrong(&e.to_string()))?;
    if uri.scheme_str() != Some("http") {
        return Err(wrong("this client speaks plain http alone"));
    }
    let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
    let address = match authority.port_u16() {
        Some(_) => authority.as_str().to_owned(),
        None => format!("{authority}:80"),
    };
    Ok((address, uri.path().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_an_address_and_a_path() -> Result<()> {
        let of = |address: &str, path: &str| (address.to_owned(), path.to_owned());
        assert_eq!(split_url("http://127.0.0.1:4512")?, of("127.0.0.1:4512", "/"));
        assert_eq!(split_url("http://localhost/v2")?, of("localhost:80", "/v2"));
        Ok(())
    }

    #[test]
    fn a_url_of_another_kind_is_refused() {
        for url in ["https://127.0.0.1:4512", "127.0.0.1:4512", "/v2", "", "http://"] {
            assert!(matches!(split_url(url), Err(Error::Url { .. })), "{url}");
        }
    }
}

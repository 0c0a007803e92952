//! Requests to rclone's remote control, one connection each.

use super::super::{Error, Result};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RANGE};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one piece of an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(128);
/// The longest answer that is no object: a listing of a million objects.
const ANSWER_LEN_MAX: usize = 256 << 20;
/// Between the parts of a form. No header of ours holds it, and the file comes last, to its own end.
const BOUNDARY: &str = "cairn-5d1f0a3c9b7e4862";

/// Pieces of a body; an error cuts the request off.
pub(super) type Body = BoxStream<'static, Result<Bytes>>;

/// A running remote control.
#[derive(Debug, Clone)]
pub(super) struct Control {
    /// Host and port.
    pub(super) address: String,
    /// The value of the header that says who asks; `None` where nobody has to.
    pub(super) authorization: Option<String>,
}

/// What it answered other than what was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It did not answer.
    #[error("{0}")]
    Unreachable(String),
    /// It said no.
    #[error("rclone answered {status}: {message}")]
    Said { status: u16, message: String },
    /// Sorted already.
    #[error(transparent)]
    Store(#[from] Error),
}

pub(super) type Outcome<T> = std::result::Result<T, Failure>;

impl Failure {
    /// Whether it says that an object or a directory is not there.
    pub(super) fn is_absent(&self) -> bool {
        let said = ["not found", "is a directory not a file", "no such file"];
        matches!(self, Self::Said { message, .. } if said.iter().any(|word| message.contains(word)))
    }
}

fn lost(error: impl std::fmt::Display) -> Failure {
    Failure::Unreachable(error.to_string())
}

impl Control {
    /// Calls a function of the remote control.
    pub(super) async fn call(
        &self,
        function: &str,
        arguments: &serde_json::Value,
    ) -> Outcome<serde_json::Value> {
        let request =
            self.request(Method::POST, &format!("/{function}")).header(CONTENT_TYPE, "application/json");
        let body = Bytes::from(arguments.to_string());
        let body = stream::once(async move { Ok(body) }).boxed();
        let answer = collect(self.send(request, body).await?, ANSWER_LEN_MAX).await?;
        serde_json::from_slice(&answer)
            .map_err(|error| lost(format!("rclone gave an answer that is no JSON: {error}")))
    }

    /// Writes the file `name` in a directory of a remote.
    pub(super) async fn upload(&self, remote: &str, directory: &str, name: &str, body: Body) -> Outcome<()> {
        let path = format!("/operations/uploadfile?fs={}&remote={}", encoded(remote), encoded(directory));
        let request = self.request(Method::POST, &path);
        let request = request.header(CONTENT_TYPE, format!("multipart/form-data; boundary={BOUNDARY}"));
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let end = format!("\r\n--{BOUNDARY}--\r\n");
        let form = stream::once(async move { Ok(Bytes::from(head)) })
            .chain(body)
            .chain(stream::once(async move { Ok(Bytes::from(end)) }));
        collect(self.send(request, form.boxed()).await?, ANSWER_LEN_MAX).await.map(drop)
    }

    /// Reads an object, or a range of it, of at most `len_max` bytes; `None` when it is longer.
    pub(super) async fn download(
        &self,
        remote: &str,
        name: &str,
        range: Option<Range<u64>>,
        len_max: u64,
    ) -> Outcome<Option<Bytes>> {
        let mut request = self.request(Method::GET, &format!("/%5B{}%5D/{name}", encoded_path(remote)));
        if let Some(range) = &range {
            request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        }
        let response = self.send(request, stream::empty().boxed()).await?;
        if range.is_some() && !matches!(response.status().as_u16(), 206 | 416) {
            return Err(Failure::Said { status: 200, message: "it does not know ranges".to_owned() });
        }
        if response.status().as_u16() == 416 {
            return Ok(Some(Bytes::new()));
        }
        let len_max = usize::try_from(len_max).unwrap_or(usize::MAX);
        match collect(response, len_max).await {
            Err(Failure::Said { status: TOO_LONG, .. }) => Ok(None),
            read => read.map(Some),
        }
    }

    fn request(&self, method: Method, path: &str) -> hyper::http::request::Builder {
        let request = Request::builder().method(method).uri(path).header(HOST, &self.address);
        match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }

    async fn send(&self, request: hyper::http::request::Builder, body: Body) -> Outcome<Response<Incoming>> {
        let body = StreamBody::new(body.map(|piece| piece.map(Frame::data)));
        let request = request.body(body).map_err(lost)?;
        let late = |_elapsed| lost("rclone did not answer in time");
        let stream =
            timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.address)).await.map_err(late)?.map_err(lost)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to rclone ended");
            }
        });
        let response = sender.send_request(request).await.map_err(|error| {
            // An error of the body is what cut the request off.
            let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<Error>());
            source.map_or_else(|| lost(&error), |error| Failure::Store(error.clone()))
        })?;
        let status = response.status();
        if status.is_success() || status.as_u16() == 416 {
            return Ok(response);
        }
        let said = collect(response, ANSWER_LEN_MAX).await?;
        let message = serde_json::from_slice::<serde_json::Value>(&said)
            .ok()
            .and_then(|answer| answer["error"].as_str().map(str::to_owned))
            .unwrap_or_else(|| String::from_utf8_lossy(&said).trim().to_owned());
        Err(Failure::Said { status: status.as_u16(), message })
    }
}

/// Not a status of HTTP: the answer is longer than allowed.
const TOO_LONG: u16 = 0;

/// The whole body of an answer, of at most `len_max` bytes.
async fn collect(response: Response<Incoming>, len_max: usize) -> Outcome<Bytes> {
    let mut body = response.into_body();
    let mut bytes = bytes::BytesMut::new();
    loop {
        let frame = timeout(ANSWER_TIMEOUT, body.frame()).await;
        let Some(frame) = frame.map_err(|_elapsed| lost("rclone stopped in the middle of an answer"))? else {
            return Ok(bytes.freeze());
        };
        if let Some(data) = frame.map_err(lost)?.data_ref() {
            if bytes.len() + data.len() > len_max {
                return Err(Failure::Said {
                    status: TOO_LONG,
                    message: format!("more than {len_max} bytes"),
                });
            }
            bytes.extend_from_slice(data);
        }
    }
}

fn percent(text: &str, plain: impl Fn(u8) -> bool) -> String {
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}

fn encoded(text: &str) -> String {
    percent(text, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~'))
}

fn encoded_path(text: &str) -> String {
    percent(text, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'/'))
}

/// How an error of the remote control is told.
pub(super) fn sort(action: String, location: String, failure: Failure) -> Error {
    match failure {
        Failure::Store(error) => error,
        Failure::Said { status, .. } if (400..500).contains(&status) && !matches!(status, 408 | 429) => {
            Error::Refused { action, location, source: Arc::new(failure) }
        }
        Failure::Said { .. } | Failure::Unreachable(_) => {
            Error::Unreachable { action, location, source: Arc::new(failure) }
        }
    }
}

//! Asks a node's admin API: one request on one connection.

use super::ADMIN_PATH;
use crate::config::ConfigError;
use crate::tls::trust::Trust;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, Uri, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How long a node may take to take a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a node may take to answer: longer than it waits for a leader itself.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// What went wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL cannot be used. Give another.
    #[error("the URL '{url}' is not of the form http://host:port or https://host:port")]
    Url {
        /// As given.
        url: String,
    },
    /// The CA to believe cannot be used. Give another.
    #[error(transparent)]
    Trust(#[from] ConfigError),
    /// Nobody answers there. Start the node, or give another URL.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// What the system says.
        reason: String,
    },
    /// The connection failed after the request was sent: it may have been done. Look, and ask again.
    #[error("the connection to {url} failed: {reason}")]
    Broken {
        /// Where.
        url: String,
        /// What the system says.
        reason: String,
    },
    /// The node refused.
    #[error("{text}")]
    Refused {
        /// The status.
        status: u16,
        /// Its words.
        text: String,
    },
}

impl ClientError {
    /// Whether what was asked for cannot be, however often it is asked.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            ClientError::Url { .. } | ClientError::Trust(_) | ClientError::Refused { status: 400..=499, .. }
        )
    }
}

/// A connection, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A node's admin API.
#[derive(Debug, Clone)]
pub struct Client {
    url: String,
    authority: String,
    token: String,
    /// Whom to believe; `None` when it speaks plain http.
    trust: Option<Trust>,
}

#[derive(serde::Deserialize)]
struct Answered {
    error: String,
}

impl Client {
    /// The API of the node at `url`, for who has the access token. Over https the CA in this file is believed, or those of
    /// the system when there is none.
    ///
    /// # Errors
    ///
    /// When the URL or the file cannot be used.
    pub fn new(url: &str, token: &str, ca: Option<&Path>) -> Result<Client, ClientError> {
        let wrong = || ClientError::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_invalid| wrong())?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let (trust, default_port) = match uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => (Some(Trust::of(ca)?), 443),
            _ => return Err(wrong()),
        };
        let authority = authority.ok_or_else(wrong)?;
        let port = authority.port_u16().unwrap_or(default_port);
        let authority = format!("{}:{port}", authority.host());
        let url = url.trim_end_matches('/').to_owned();
        Ok(Client { url, authority, token: token.to_owned(), trust })
    }

    /// Asks for something.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// Asks with a body.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).expect("strings and numbers are always JSON");
        self.call(method, path, body.into()).await
    }

    /// Asks with a body of bytes.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn send_bytes<T: DeserializeOwned>(&self, path: &str, body: Bytes) -> Result<T, ClientError> {
        self.call(Method::POST, path, body).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let stream = self.connect().await?;
        let request = Request::builder()
            .method(method)
            .uri(format!("{ADMIN_PATH}{path}"))
            .header(header::HOST, &self.authority)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.broken(&error))?;
        let answered = tokio::time::timeout(ANSWER_WITHIN, self.exchange(stream, request)).await;
        let (status, body) = answered.map_err(|elapsed| self.broken(&elapsed))??;
        if status != 200 {
            let text = match serde_json::from_slice(&body) {
                Ok(Answered { error }) => error,
                Err(_plain) => String::from_utf8_lossy(&body).trim().to_owned(),
            };
            return Err(ClientError::Refused { status, text });
        }
        serde_json::from_slice(&body).map_err(|error| self.broken(&error))
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, ClientError> {
        let unreachable = |reason: String| ClientError::Unreachable { url: self.url.clone(), reason };
        match tokio::time::timeout(CONNECT_WITHIN, self.connect_securely()).await {
            Ok(connected) => connected.map_err(unreachable),
            Err(_elapsed) => Err(unreachable(format!("no answer within {} s", CONNECT_WITHIN.as_secs()))),
        }
    }

    async fn connect_securely(&self) -> Result<Box<dyn Stream>, String> {
        let stream = TcpStream::connect(&self.authority).await.map_err(|error| error.to_string())?;
        let host = self.authority.rsplit_once(':').map_or(self.authority.as_str(), |(host, _port)| host);
        match &self.trust {
            None => Ok(Box::new(stream)),
            Some(trust) => Ok(Box::new(trust.connect(host, stream).await?)),
        }
    }

    async fn exchange(
        &self,
        stream: Box<dyn Stream>,
        request: Request<Full<Bytes>>,
    ) -> Result<(u16, Bytes), ClientError> {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(&error))?;
        let connection = tokio::spawn(connection);
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| self.broken(&error))?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| self.broken(&*error))?;
            Ok((status, body.to_bytes()))
        };
        let answer = answer.await;
        connection.abort();
        answer
    }

    fn broken(&self, error: &(dyn std::error::Error + 'static)) -> ClientError {
        let reason = crate::connect::errors::Chain(error).to_string();
        ClientError::Broken { url: self.url.clone(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_cannot_be_used_is_refused() {
        for url in ["", "here", "ftp://a:1", "http://", "http://user@a:1", "//a:1"] {
            assert!(matches!(Client::new(url, "t", None), Err(ClientError::Url { .. })), "{url}");
        }
        for (url, authority) in [
            ("http://a:1", "a:1"),
            ("http://a/", "a:80"),
            ("http://[::1]:2", "[::1]:2"),
            ("https://a", "a:443"),
        ] {
            let client = Client::new(url, "t", None).map(|client| client.authority);
            assert_eq!(client.ok().as_deref(), Some(authority), "{url}");
        }
    }

    #[test]
    fn only_what_cannot_be_is_final() {
        let refused = |status| ClientError::Refused { status, text: String::new() };
        assert!(refused(409).is_final() && !refused(503).is_final());
        let unreachable = ClientError::Unreachable { url: String::new(), reason: String::new() };
        assert!(!unreachable.is_final());
    }
}

//! `denokv_remote`, the client inside Deno, over HTTP/2 as Deno speaks it.

use super::client::{send_h2, whole};
use super::{Server, TOKEN, TestResult};
use bytes::Bytes;
use deno_error::JsErrorBox;
use denokv_remote::{MetadataEndpoint, Remote, RemotePermissions, RemoteResponse, RemoteTransport};
use futures::{Stream, StreamExt};
use http_body_util::{BodyStream, Full};
use hyper::Request;
use hyper::body::Incoming;
use hyper::http::{HeaderMap, StatusCode};
use url::Url;

/// Lets it go anywhere.
#[derive(Clone)]
pub struct Anywhere;

impl RemotePermissions for Anywhere {
    fn check_net_url(&self, _url: &Url) -> Result<(), JsErrorBox> {
        Ok(())
    }
}

/// One HTTP/2 connection per request.
#[derive(Clone)]
pub struct Http2;

pub struct Answer(Incoming);

fn failed(error: impl std::fmt::Display) -> JsErrorBox {
    JsErrorBox::generic(error.to_string())
}

impl RemoteTransport for Http2 {
    type Response = Answer;

    async fn post(
        &self,
        url: Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(Url, StatusCode, Answer), JsErrorBox> {
        let mut request = Request::post(url.as_str()).body(Full::new(body)).map_err(failed)?;
        *request.headers_mut() = headers;
        let port = url.port().ok_or_else(|| failed("no port"))?;
        // A task, because the trait wants a future that may be shared between threads.
        let sent = tokio::spawn(send_h2(([127, 0, 0, 1], port).into(), request));
        let response = sent.await.map_err(failed)?.map_err(failed)?;
        Ok((url, response.status(), Answer(response.into_body())))
    }
}

impl RemoteResponse for Answer {
    async fn bytes(self) -> Result<Bytes, JsErrorBox> {
        let read = tokio::spawn(whole(hyper::Response::new(self.0)));
        Ok(read.await.map_err(failed)?.map_err(failed)?.body)
    }

    async fn text(self) -> Result<String, JsErrorBox> {
        Ok(String::from_utf8_lossy(&self.bytes().await?).into_owned())
    }

    fn stream(self) -> impl Stream<Item = Result<Bytes, JsErrorBox>> + Send + Sync {
        BodyStream::new(self.0)
            .map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default()).map_err(failed))
    }
}

/// Deno's client, connected to the server.
pub fn connect(server: &Server) -> TestResult<Remote<Anywhere, Http2>> {
    let url = Url::parse(&format!("http://{}", server.addr))?;
    let endpoint = MetadataEndpoint { url, access_token: TOKEN.to_owned() };
    Ok(Remote::new(Http2, Anywhere, endpoint))
}

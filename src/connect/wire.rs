//! Bodies: requests read whole within a bound, answers whole or as a stream of frames.
//!
//! Content types are exact, because `@deno/kv` compares them.

use super::errors::Error;
use super::limits::BODY_LEN_MAX;
use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");
const METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The header that says how old the state in an eventual answer may be.
pub const STALENESS_HEADER: &str = "x-cairn-staleness-ms";

/// The body of an answer.
pub enum Body {
    /// All of it; `None` once it was handed over.
    Whole(Option<Bytes>),
    /// Piece by piece, until the stream ends.
    Stream(BoxStream<'static, Bytes>),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Body::Whole(_) => "Body::Whole",
            Body::Stream(_) => "Body::Stream",
        })
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Body::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Body::Stream(stream) => {
                Poll::Ready(ready!(stream.poll_next_unpin(cx)).map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Body::Stream(_) => SizeHint::default(),
        }
    }
}

fn whole(status: StatusCode, content_type: HeaderValue, bytes: Bytes) -> Response<Body> {
    let body = Body::Whole((!bytes.is_empty()).then_some(bytes));
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// 200 with a protobuf message.
pub fn protobuf(message: &impl prost::Message) -> Response<Body> {
    whole(StatusCode::OK, PROTOBUF, message.encode_to_vec().into())
}

/// Says in the answer how old the state it shows may be, in milliseconds; `unknown` when nobody can tell.
#[must_use]
pub fn with_staleness(mut response: Response<Body>, staleness_ms: Option<u64>) -> Response<Body> {
    let value = staleness_ms.map_or(HeaderValue::from_static("unknown"), HeaderValue::from);
    response.headers_mut().insert(STALENESS_HEADER, value);
    response
}

/// 200 with JSON.
pub fn json(text: String) -> Response<Body> {
    whole(StatusCode::OK, JSON, text.into())
}

/// Plain text.
pub fn text(status: StatusCode, text: String) -> Response<Body> {
    whole(status, TEXT, text.into())
}

/// 200 with metrics as Prometheus reads them.
pub fn metrics(text: String) -> Response<Body> {
    whole(StatusCode::OK, METRICS, text.into())
}

/// 200 with a stream of bytes that ends when `stream` does.
pub fn stream(stream: BoxStream<'static, Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::Stream(stream));
    response.headers_mut().insert(CONTENT_TYPE, OCTET_STREAM);
    response
}

/// The answer to a refused request. `allow` names the methods of a path that has others.
pub fn refusal(error: &Error, allow: Option<&'static str>) -> Response<Body> {
    let mut response = text(error.status(), error.to_string());
    if let (StatusCode::METHOD_NOT_ALLOWED, Some(allow)) = (error.status(), allow) {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// Reads a body whole.
///
/// # Errors
///
/// 413 when it is over [`BODY_LEN_MAX`], 400 when the connection fails before its end.
pub async fn read_body<B>(mut body: B) -> Result<Bytes, Error>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let bound = BODY_LEN_MAX as u64;
    if body.size_hint().lower() > bound {
        return Err(Error::BodyTooLarge);
    }
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(data) = frame.map_err(|_broken| Error::BodyBroken)?.into_data() else { continue };
        if first.len() + joined.len() + data.len() > BODY_LEN_MAX {
            return Err(Error::BodyTooLarge);
        }
        // Most bodies come as one frame, which is passed on without a copy.
        if first.is_empty() && joined.is_empty() {
            first = data;
        } else {
            joined.extend_from_slice(&std::mem::take(&mut first));
            joined.extend_from_slice(&data);
        }
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn chunks(sizes: &'static [usize]) -> Body {
        Body::Stream(stream::iter(sizes.iter().map(|len| Bytes::from(vec![7; *len]))).boxed())
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_bound_and_not_beyond() -> TestResult {
        assert_eq!(read_body(Body::Whole(None)).await?.len(), 0);
        assert_eq!(read_body(chunks(&[3, 0, 4, 5])).await?, vec![7; 12]);
        assert_eq!(read_body(chunks(&[BODY_LEN_MAX])).await?.len(), BODY_LEN_MAX);
        assert_eq!(read_body(chunks(&[BODY_LEN_MAX, 1])).await, Err(Error::BodyTooLarge));
        let announced = Body::Whole(Some(vec![0; BODY_LEN_MAX + 1].into()));
        assert_eq!(read_body(announced).await, Err(Error::BodyTooLarge));
        Ok(())
    }
}

//! Sends the body of a request evenly, at the rate that the job has whose request it is.
//!
//! A table that goes out as fast as it can takes the processors, the disk and the network from those who serve clients for a
//! tenth of a second, however long the pause before the next one is.
//!
//! - It stands below what signs: a body is signed as a whole, and only then cut in pieces. What is signed of it is its digest, which
//!   is taken off the runtime's threads, and gives way.
//! - Whose request it is, a task says around its call ([`at`]). What is sent without that, as segments are, is not held up.
//! - A body is never sent so slowly that its request runs out of time.

use crate::give_way;
use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use sha2::{Digest, Sha256};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Bytes that go out at once.
const PIECE_BYTES: usize = 128 << 10;
/// The longest that a body is spread over.
const SPREAD_MAX: Duration = Duration::from_secs(30);

tokio::task_local! {
    static BYTES_PER_S: u64;
}

/// Awaits `call` with the bodies that it sends spread evenly, at so many bytes a second.
pub async fn at<F: Future>(bytes_per_s: u64, call: F) -> F::Output {
    BYTES_PER_S.scope(bytes_per_s.max(1), call).await
}

/// The digest of a payload, as a signature has it.
#[derive(Debug)]
pub(super) struct Digested(String);

/// The digest of what is to be sent evenly; `None` when it is sent as it is, and digested on the way.
pub(super) async fn digested(bytes: &Bytes) -> Option<Digested> {
    let is_even = BYTES_PER_S.try_with(|_bytes_per_s| ()).is_ok() && bytes.len() > PIECE_BYTES;
    if !is_even {
        return None;
    }
    let bytes = bytes.clone();
    let digest = tokio::task::spawn_blocking(move || {
        let mut hasher = Sha256::new();
        give_way::pieces(&bytes).for_each(|piece| hasher.update(piece));
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    });
    // A runtime that ends runs no task: then nothing is sent either.
    digest.await.ok().map(Digested)
}

impl Intercept for Digested {
    fn name(&self) -> &'static str {
        "Digested"
    }

    fn modify_before_signing(
        &self,
        _context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(PayloadSigningOverride::Precomputed(self.0.clone()));
        Ok(())
    }
}

/// A client whose requests of a task that said so are sent evenly.
#[derive(Debug)]
pub(super) struct Smooth(pub(super) SharedHttpClient);

impl HttpClient for Smooth {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector(self.0.http_connector(settings, components)))
    }
}

#[derive(Debug)]
struct Connector(SharedHttpConnector);

impl HttpConnector for Connector {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        if let Ok(bytes_per_s) = BYTES_PER_S.try_with(|bytes_per_s| *bytes_per_s)
            && let Some(len) = request.body().bytes().map(<[u8]>::len).filter(|len| *len > PIECE_BYTES)
        {
            let whole = std::mem::replace(request.body_mut(), SdkBody::taken());
            *request.body_mut() = SdkBody::from_body_1_x(Even::new(whole, len, bytes_per_s));
        }
        self.0.call(request)
    }
}

/// A body in pieces.
struct Even {
    whole: SdkBody,
    /// What was taken of it and is not sent yet.
    taken: Bytes,
    /// Bytes that are not sent yet.
    left: usize,
    pause: Duration,
    /// When the next piece is due.
    due: Pin<Box<Sleep>>,
}

impl Even {
    fn new(whole: SdkBody, len: usize, bytes_per_s: u64) -> Even {
        let pieces = u32::try_from(len.div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX).max(1);
        let seconds = as_f64(len) / as_f64(bytes_per_s);
        let spread = Duration::try_from_secs_f64(seconds).unwrap_or(SPREAD_MAX).min(SPREAD_MAX);
        let due = Box::pin(tokio::time::sleep(Duration::ZERO));
        Even { whole, taken: Bytes::new(), left: len, pause: spread / pieces, due }
    }
}

fn as_f64(bytes: impl TryInto<u32>) -> f64 {
    f64::from(bytes.try_into().unwrap_or(u32::MAX))
}

impl Body for Even {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.taken.is_empty() {
            match ready!(Pin::new(&mut self.whole).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => self.taken = bytes,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        ready!(self.due.as_mut().poll(context));
        // Whoever was held up does not catch up in a burst.
        let next = self.due.deadline().max(Instant::now()) + self.pause;
        self.due.as_mut().reset(next);
        let piece = PIECE_BYTES.min(self.taken.len());
        self.left = self.left.saturating_sub(piece);
        Poll::Ready(Some(Ok(Frame::data(self.taken.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test(start_paused = true)]
    async fn a_body_is_spread_over_the_time_that_its_rate_gives_it() {
        for (len, bytes_per_s, least_ms, most_ms) in [
            (1 << 20, 1 << 20, 870, 1_010),
            (1 << 20, 4 << 20, 210, 260),
            // A request must not run out of time.
            (1 << 20, 1_000, 26_000, 30_100),
            (PIECE_BYTES + 1, u64::MAX, 0, 10),
        ] {
            let begun = Instant::now();
            let mut body = Even::new(SdkBody::from(vec![7; len]), len, bytes_per_s);
            let (mut sent, mut pieces) = (0, 0);
            while let Some(frame) = body.frame().await {
                let piece = frame.ok().and_then(|frame| frame.into_data().ok()).unwrap_or_default();
                assert!(!piece.is_empty() && piece.len() <= PIECE_BYTES, "a piece has {} bytes", piece.len());
                sent += piece.len();
                pieces += 1;
            }
            assert_eq!((sent, pieces), (len, len.div_ceil(PIECE_BYTES)));
            assert!(body.is_end_stream());
            let took_ms = begun.elapsed().as_millis();
            assert!((least_ms..=most_ms).contains(&took_ms), "{len} at {bytes_per_s}: {took_ms} ms");
        }
    }
}

//! Server-sent events: an answer that is written as it comes. See
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Body, Response};
use crate::shutdown::Shutdown;

/// A comment is sent where nothing else was for so long, so that nobody between takes the connection for dead.
pub const PING_EVERY: Duration = Duration::from_secs(15);

/// The comment.
pub const PING: Bytes = Bytes::from_static(b": ping\n\n");

/// What OpenAI's clients end a stream by.
pub const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// An event with JSON in it.
#[must_use]
pub fn event(value: &impl Serialize) -> Bytes {
    let mut text = b"data: ".to_vec();
    // What is serialised here has string keys and no failing part, and JSON has no line breaks.
    serde_json::to_writer(&mut text, value).ok();
    text.extend_from_slice(b"\n\n");
    text.into()
}

/// How long after the end of a request's time its answer is kept for a client that does not read: the error that the time is
/// over should reach one that does.
const GRACE: Duration = Duration::from_secs(1);

/// How long an answer may be written.
pub struct Limit {
    /// Where the task that watches is counted.
    pub shutdown: Shutdown,
    /// The end of the request's time.
    pub deadline: Instant,
}

/// An answer that was given up before its end. The connection is cut, so that nobody takes it for whole.
#[derive(Debug, thiserror::Error)]
#[error("the answer was given up before its end")]
pub struct GivenUp;

type Pieces = BoxStream<'static, Bytes>;

/// The pieces that are still to come; none once they were given up.
#[derive(Clone)]
struct Shared(Arc<Mutex<Option<Pieces>>>);

impl Shared {
    fn take(&self) -> Option<Pieces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The next piece. A panic in it gives up the answer, and ends neither the connection nor its other requests.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, GivenUp>>> {
        let mut pieces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(inner) = pieces.as_mut() else {
            return Poll::Ready(Some(Err(GivenUp)));
        };
        let polled = catch_unwind(AssertUnwindSafe(|| inner.poll_next_unpin(cx)));
        polled.map_or_else(
            |_| {
                tracing::error!("a panic in the middle of an answer, contained");
                *pieces = None;
                Poll::Ready(Some(Err(GivenUp)))
            },
            |polled| polled.map(|piece| piece.map(|bytes| Ok(Frame::data(bytes)))),
        )
    }
}

/// The client's end of it: where it is dropped, nobody takes the pieces any more.
struct Held(Shared, CancellationToken);

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.take());
        self.1.cancel();
    }
}

/// An answer of the given type in pieces; each is sent at once, and made when the client takes it. `next` gives the next one with
/// the state for the one after. Where the client leaves, the state is dropped; so it is soon after the request's time where the
/// client stays and does not read.
#[must_use]
pub fn response<S, F, Fut>(media_type: &'static str, limit: Limit, state: S, next: F) -> Response
where
    S: Send + 'static,
    F: FnMut(S) -> Fut + Send + 'static,
    Fut: Future<Output = Option<(Bytes, S)>> + Send + 'static,
{
    let pieces = Shared(Arc::new(Mutex::new(Some(stream::unfold(state, next).boxed()))));
    let (watched, left) = (pieces.clone(), CancellationToken::new());
    let held = Held(pieces, left.clone());
    limit.shutdown.spawn(async move {
        tokio::select! {
            () = left.cancelled() => {}
            () = tokio::time::sleep_until(limit.deadline + GRACE) => drop(watched.take()),
        }
    });
    let frames = stream::poll_fn(move |cx| held.0.poll(cx));
    let mut response = Response::new(Body::Right(StreamBody::new(frames.boxed())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

//! Server-sent events: an answer that is written as it comes. See
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde::Serialize;

use super::{Body, Response};

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

/// An answer of the given type in pieces; each is sent at once. `next` gives the next one with the state for the one after;
/// where the client leaves, the state is dropped.
#[must_use]
pub fn response<S, F, Fut>(media_type: &'static str, state: S, next: F) -> Response
where
    S: Send + 'static,
    F: FnMut(S) -> Fut + Send + 'static,
    Fut: Future<Output = Option<(Bytes, S)>> + Send + 'static,
{
    let frames = stream::unfold(state, next).map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
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

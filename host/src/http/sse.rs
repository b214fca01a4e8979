//! Server-sent events: an answer that is written as it comes. See
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

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

/// Pieces that are made before the client takes them: enough that neither waits for the other.
const PIECES_AHEAD: usize = 4;

/// Who makes the pieces of an answer, and for how long.
pub struct Maker {
    /// Where its task is counted, so that the end of the node waits for it.
    pub shutdown: Shutdown,
    /// When the request's time is over: then what the client has not taken is given up, and with it all that was held for it.
    pub deadline: Instant,
}

/// A piece of an answer, or that it is whole.
enum Part {
    Piece(Bytes),
    Whole,
}

/// An answer that was given up before its end. The connection is cut, so that nobody takes it for whole.
#[derive(Debug, thiserror::Error)]
#[error("the answer was given up before its end")]
pub struct GivenUp;

/// An answer of the given type in pieces; each is sent at once. `next` gives the next one with the state for the one after, on
/// a task of its own: where the client leaves, or does not read until its time is over, the state is dropped.
#[must_use]
pub fn response<S, F, Fut>(media_type: &'static str, maker: Maker, state: S, mut next: F) -> Response
where
    S: Send + 'static,
    F: FnMut(S) -> Fut + Send + 'static,
    Fut: Future<Output = Option<(Bytes, S)>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    maker.shutdown.spawn(async move {
        let mut state = state;
        loop {
            let made = tokio::select! {
                biased;
                () = sender.closed() => return,
                made = next(state) => made,
            };
            let Some((piece, rest)) = made else {
                break;
            };
            state = rest;
            let sent = tokio::time::timeout_at(maker.deadline, sender.send(Part::Piece(piece))).await;
            // The error that the time is over has room, or the client does not read at all.
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
        sender.send(Part::Whole).await.ok();
    });
    let frames = stream::unfold(Some(receiver), |receiver| async {
        let mut receiver: mpsc::Receiver<Part> = receiver?;
        match receiver.recv().await {
            Some(Part::Piece(bytes)) => Some((Ok(Frame::data(bytes)), Some(receiver))),
            Some(Part::Whole) => None,
            None => Some((Err(GivenUp), None)),
        }
    });
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

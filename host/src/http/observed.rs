//! The last of an answer: its event is kept before the client has all of it.

use futures_util::FutureExt;
use futures_util::stream::{self, BoxStream, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use selvedge_plugin::value::Finish;

use super::sse::GivenUp;
use super::{Body, Response, full};
use crate::config::Full;
use crate::observe::{Noted, Queue};

/// A request whose answer has not begun. Where it is dropped, since the client left, that is an event.
pub(super) struct Unanswered(Option<Noted>);

impl Unanswered {
    pub(super) fn new(noted: Noted) -> Self {
        Self(Some(noted))
    }

    /// The answer, whose event is kept before it is sent; of one in pieces, before the end of it is. `refused` is what is
    /// answered instead where no request may go without its event, and this one's cannot be kept.
    pub(super) async fn answer(
        mut self,
        queue: &Queue,
        response: Response,
        refused: impl FnOnce() -> Response,
    ) -> Response {
        let Some(noted) = self.0.take() else {
            return response;
        };
        if !noted.is_begun() {
            return response;
        }
        noted.answered(response.status().as_u16());
        let (head, body) = response.into_parts();
        let body = match body {
            Body::Left(whole) => {
                // It is there already, in one piece.
                let bytes = whole.collect().await.unwrap_or_else(|never| match never {});
                let bytes = bytes.to_bytes();
                noted.sent(&bytes);
                if noted.end().await.is_err() && queue.options().full == Full::Refuse {
                    return refused();
                }
                full(bytes)
            }
            Body::Right(pieces) => Body::Right(watched(pieces, noted, queue.options().full)),
        };
        Response::from_parts(head, body)
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(noted) = &self.0 {
            noted.break_off(Finish::Cancelled);
        }
    }
}

type Piece = Result<Frame<bytes::Bytes>, GivenUp>;
type Pieces = StreamBody<BoxStream<'static, Piece>>;

/// An answer in pieces that is noted as it is sent.
struct Watched {
    pieces: Pieces,
    noted: Noted,
    policy: Full,
    /// The piece behind the one that was given last, where it was there already.
    ahead: Option<Piece>,
    over: bool,
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Nothing comes of it where its end was noted.
        self.noted.break_off(Finish::Cancelled);
    }
}

fn watched(pieces: Pieces, noted: Noted, policy: Full) -> Pieces {
    let watched = Watched {
        pieces,
        noted,
        policy,
        ahead: None,
        over: false,
    };
    StreamBody::new(stream::unfold(watched, Watched::next).boxed())
}

impl Watched {
    async fn next(mut self) -> Option<(Piece, Self)> {
        if self.over {
            return None;
        }
        let piece = match self.ahead.take() {
            Some(piece) => Some(piece),
            None => self.pieces.next().await,
        };
        match piece {
            Some(Ok(frame)) => {
                if let Some(bytes) = frame.data_ref() {
                    self.noted.sent(bytes);
                }
                // A client takes `[DONE]` for the end, so the event is kept before that is sent.
                match self.pieces.next().now_or_never() {
                    Some(None) if self.end().await => return Some((Err(GivenUp), self)),
                    Some(Some(piece)) => self.ahead = Some(piece),
                    Some(None) | None => {}
                }
                Some((Ok(frame), self))
            }
            Some(Err(error)) => {
                self.over = true;
                self.noted.break_off(Finish::Error);
                Some((Err(error), self))
            }
            None => self.end().await.then_some((Err(GivenUp), self)),
        }
    }

    /// The answer is over. Whether the client must not take it for whole, since nobody keeps its event.
    async fn end(&mut self) -> bool {
        self.over = true;
        let lost = self.noted.end().await.is_err();
        lost && self.policy == Full::Refuse
    }
}

//! A request's body on its way: read within its limit and its time. What nobody read of it is thrown away before the answer goes
//! out, within bounds, so that its sender gets to see that. Next: `form`, a body in parts.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{Version, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::pipeline::ClientFault;

/// How much of a body that nobody wants is still read: what a form or a file may have by default, twice.
const DRAIN_LEN_MAX: usize = 64 << 20;

/// How long that may take: an answer waits for it.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

/// A body that is coming in.
#[derive(Debug)]
pub struct Coming {
    incoming: Incoming,
    state: State,
    /// Whether its sender waits to be told that it is wanted, which it is by the first that asks for some of it.
    asks_first: bool,
}

/// How far a body has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody has asked for it.
    Untouched,
    /// Some was asked for.
    Begun,
    /// It ended or broke off, or it was too slow: there is nothing to wait for.
    Over,
}

impl Coming {
    /// The body behind a head.
    #[must_use]
    pub fn new(head: &Parts, incoming: Incoming) -> Self {
        let expects = head.headers.get(header::EXPECT);
        let expects = expects.is_some_and(|expects| expects.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        Self {
            incoming,
            state: State::Untouched,
            asks_first: expects && head.version > Version::HTTP_10,
        }
    }

    /// The whole body.
    ///
    /// # Errors
    ///
    /// Where it is longer than `len_max`, does not come within `time_max`, or breaks off.
    pub async fn read(&mut self, len_max: usize, time_max: Duration) -> Result<Bytes, ClientFault> {
        if self.size_hint().lower() > len_max as u64 {
            return Err(ClientFault::BodyTooLarge { max: len_max });
        }
        self.within(time_max, async |body| body.read_all(len_max).await)
            .await
    }

    /// Reads something of it; where that takes longer than `time_max`, nothing more is waited for.
    ///
    /// # Errors
    ///
    /// Those of `read`, or that it was too slow.
    pub async fn within<T, E: From<ClientFault>>(
        &mut self,
        time_max: Duration,
        read: impl AsyncFnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        if let Ok(read) = tokio::time::timeout(time_max, read(self)).await {
            return read;
        }
        self.state = State::Over;
        Err(ClientFault::BodyTimeout(time_max).into())
    }

    async fn read_all(&mut self, len_max: usize) -> Result<Bytes, ClientFault> {
        let mut bytes = BytesMut::new();
        while let Some(frame) = self.frame().await {
            let frame = frame.map_err(|error| ClientFault::BodyBroken(error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > len_max {
                return Err(ClientFault::BodyTooLarge { max: len_max });
            }
            // Most bodies are one frame, which is then not copied.
            if bytes.is_empty() && self.is_end_stream() {
                return Ok(data);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.freeze())
    }

    /// Throws away what is left of it: a client that still sends sees no answer before, HTTP/1 would close the connection, and
    /// HTTP/2 reset the stream. Whether all of it came changes nothing for the answer. Who waits to be asked for it has sent none.
    pub async fn drain(&mut self) {
        let is_held_back = self.asks_first && self.state == State::Untouched;
        if is_held_back || self.state == State::Over || self.is_end_stream() {
            return;
        }
        let rest = async {
            let mut len = 0;
            while let Some(Ok(frame)) = self.frame().await {
                len += frame.data_ref().map_or(0, Bytes::len);
                if len > DRAIN_LEN_MAX {
                    return;
                }
            }
        };
        tokio::time::timeout(DRAIN_TIME_MAX, rest).await.ok();
    }
}

impl Body for Coming {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.state == State::Untouched {
            self.state = State::Begun;
        }
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.state = State::Over;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

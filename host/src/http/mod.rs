//! HTTP: listeners, connections, bodies, dialects and answers. The only module that uses hyper.
//!
//! `listener` accepts, `connection` serves one `stream`, `handle` one request; `dialect` decodes and encodes; `respond` is the
//! only place where an error becomes a status; `sse` writes what comes bit by bit; `observed` sees what was sent.

pub mod body;
pub mod call;
pub mod connection;
pub mod cors;
pub mod dialect;
pub mod docs;
pub mod encoding;
pub mod form;
pub mod handle;
pub mod listener;
mod observed;
mod proxy;
pub mod respond;
mod socket_file;
pub mod sse;
pub mod stream;
pub mod tls;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http_body_util::{Either, Full, StreamBody};
use hyper::body::Frame;

/// The body of an answer: whole, or as it comes.
pub type Body = Either<Full<Bytes>, StreamBody<BoxStream<'static, Result<Frame<Bytes>, sse::GivenUp>>>>;

/// A whole body.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Body::Left(Full::new(bytes.into()))
}

/// An answer.
pub type Response = http::Response<Body>;

//! HTTP: listeners, connections, bodies, dialects and answers. The only module that uses hyper.
//!
//! `listener` accepts, `connection` serves one socket, `handle` one request; `dialect` decodes and encodes; `respond` is the
//! only place where an error becomes a status.

pub mod body;
pub mod connection;
pub mod dialect;
pub mod handle;
pub mod listener;
pub mod respond;

/// The body of an answer.
pub type Body = http_body_util::Full<bytes::Bytes>;

/// An answer.
pub type Response = http::Response<Body>;

//! Wire dialects: each decodes a body into a model's input and encodes the answer as its clients expect it.

pub mod endpoint;
pub mod node;
pub mod openai;
pub mod tensors;

use std::sync::Arc;
use std::time::Instant;

use selvedge_model::{InferError, Input};
use serde_json::Value;

use super::handle::{Received, plugin_request};
use crate::generation::{Endpoint, EndpointState, Ready};
use crate::pipeline::{self, Answer, ClientFault, HostFault, RequestError};
use crate::router::Dialect;

/// An endpoint that serves, or why it does not.
///
/// # Errors
///
/// Where its model or one of its plugins could not be loaded.
pub fn ready(endpoint: &Endpoint) -> Result<&Arc<Ready>, RequestError> {
    match &endpoint.state {
        EndpointState::Ready(ready) => Ok(ready),
        EndpointState::Broken(reasons) => {
            let (endpoint, reason) = (endpoint.name.as_ref().to_owned(), reasons.join("; "));
            Err(HostFault::Unavailable { endpoint, reason }.into())
        }
    }
}

/// Runs a request through an endpoint within what is left of its time.
///
/// # Errors
///
/// Where the pipeline ends in one, or the time is over.
pub async fn run(
    endpoint: &Ready,
    received: &Received,
    dialect: Dialect,
    decode: impl FnOnce(&[u8]) -> Result<Input, RequestError>,
) -> Result<Answer, RequestError> {
    let request = plugin_request(received, &endpoint.name, dialect);
    let deadline = tokio::time::Instant::from_std(received.since + endpoint.timeout);
    let pipeline = pipeline::run(endpoint, request, |request| decode(&request.body));
    let answer = tokio::time::timeout_at(deadline, pipeline).await;
    answer.unwrap_or_else(|_| Err(HostFault::Timeout(endpoint.timeout).into()))
}

/// A body as JSON.
///
/// # Errors
///
/// What is wrong with it, and at which byte.
pub fn parse(body: &[u8]) -> Result<Value, ClientFault> {
    serde_json::from_slice(body).map_err(|error| ClientFault::NotJson {
        at: offset_of(body, error.line(), error.column()),
        message: error.to_string(),
    })
}

/// The byte at a line and column, as `serde_json` counts them.
fn offset_of(body: &[u8], line: usize, column: usize) -> usize {
    let before: usize = body
        .split(|byte| *byte == b'\n')
        .take(line.saturating_sub(1))
        .map(|line| line.len() + 1)
        .sum();
    (before + column.saturating_sub(1)).min(body.len())
}

/// Seconds since 1970, for `created`.
#[must_use]
pub fn unix_seconds(at: Instant) -> u64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    now.saturating_sub(at.elapsed()).as_secs()
}

/// Refuses vectors with values that JSON has no form for, such as NaN.
///
/// # Errors
///
/// Which input's vector it is.
pub fn check_finite(vectors: &[Vec<f32>]) -> Result<(), InferError> {
    match vectors
        .iter()
        .position(|vector| vector.iter().any(|value| !value.is_finite()))
    {
        Some(index) => Err(InferError::Failed(format!(
            "the vector of input {index} has values that are no numbers"
        ))),
        None => Ok(()),
    }
}

//! Wire dialects: each decodes a body into a model's input and encodes the answer as its clients expect it.

pub mod chat;
pub mod endpoint;
pub mod messages;
pub mod node;
pub mod oip;
pub mod ollama;
pub mod openai;
pub mod tensors;

use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_model::{InferError, Input};
use selvedge_plugin::value::{Finish, Request, Usage};
use serde_json::Value;

use super::call::Call;
use super::handle::{Received, plugin_request};
use super::sse;
use crate::aside::aside;
use crate::generation::{Endpoint, EndpointState, Ready};
use crate::pipeline::completed::Completed;
use crate::pipeline::generate::{Running, Told};
use crate::pipeline::order::{Order, Prompt, tokens_of};
use crate::pipeline::params::Params;
use crate::pipeline::{self, Answer, ClientFault, HostFault, RequestError};
use crate::router::Dialect;

/// An endpoint that serves, for a request of about so many tokens that may use it. Once a request.
///
/// # Errors
///
/// Where its model or one of its plugins could not be loaded, or the caller may not use it, or has used too much of it.
pub fn enter<'a>(endpoint: &'a Endpoint, call: &Call, estimate: u64) -> Result<&'a Arc<Ready>, RequestError> {
    match &endpoint.state {
        EndpointState::Ready(ready) => {
            call.enter(ready, estimate)?;
            Ok(ready)
        }
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
    endpoint: &Arc<Ready>,
    received: &Received,
    dialect: Dialect,
    decode: impl FnOnce(&[u8]) -> Result<Input, RequestError>,
) -> Result<Answer, RequestError> {
    let request = admit(endpoint, received, dialect)?;
    let deadline = received.time(endpoint).deadline;
    let used = |usage: Usage| {
        let (prompt, completion) = (usage.prompt_tokens, usage.completion_tokens);
        received.call.count(prompt.into(), 0, completion.into());
        received.call.noted.used(usage);
    };
    let pipeline = pipeline::run(endpoint, request, |request| decode(&request.body), used);
    let answer = tokio::time::timeout_at(deadline, pipeline).await;
    answer.unwrap_or_else(|_| Err(HostFault::Timeout(endpoint.timeout).into()))
}

/// The plugins' view of a request, which is an event from here on where its endpoint has observers.
fn admit(endpoint: &Arc<Ready>, received: &Received, dialect: Dialect) -> Result<Arc<Request>, RequestError> {
    let noted = &received.call.noted;
    if noted.refuses(endpoint) {
        return Err(HostFault::Unobserved.into());
    }
    let request = plugin_request(received, &endpoint.name, dialect);
    noted.begin(endpoint, &request);
    received.call.timed(&request.timings);
    Ok(request)
}

/// Takes a request that generates text to its first words, within what is left of its time.
///
/// # Errors
///
/// Where the pipeline ends in one, the time is over, or a limit has not so many tokens left as the answers may take.
pub async fn generate(
    endpoint: &Arc<Ready>,
    received: &Received,
    dialect: Dialect,
    decode: impl FnOnce(&[u8]) -> Result<Order, RequestError>,
) -> Result<Timed, RequestError> {
    let request = admit(endpoint, received, dialect)?;
    let time = received.time(endpoint);
    let claim = |prompt: &Prompt, params: &Params| {
        let tokens = tokens_of(prompt, params, endpoint.backend.context_max());
        received.call.claim(tokens)
    };
    let start = Running::start(endpoint, request, |request| decode(&request.body), claim);
    let running = tokio::time::timeout_at(time.deadline, start).await;
    let running = running.unwrap_or_else(|_| Err(HostFault::Timeout(endpoint.timeout).into()))?;
    Ok(Timed {
        call: Arc::clone(&received.call),
        running,
        time,
    })
}

/// A running request with the end of its time.
pub struct Timed {
    // Dropped before the call, which is told what the plugins on the stream took.
    running: Running,
    call: Arc<Call>,
    time: Time,
}

/// However it ends, its tokens are counted.
impl Drop for Timed {
    fn drop(&mut self) {
        let counts = self.running.counts();
        let [prompt, cached, completion] =
            [counts.prompt, counts.cached, counts.completion].map(|count| count as u64);
        self.call.count(prompt, cached, completion);
    }
}

impl Timed {
    /// All answers, within the request's time.
    ///
    /// # Errors
    ///
    /// Where the pipeline ends in one, or the time is over.
    pub async fn complete(&mut self) -> Result<Completed, RequestError> {
        let complete = tokio::time::timeout_at(self.time.deadline, self.running.complete()).await;
        self.call.noted.used(self.running.counts().usage());
        let completed = complete.unwrap_or_else(|_| Err(HostFault::Timeout(self.time.max).into()))?;
        if let Some(choice) = completed.choices.first() {
            self.call.noted.finished(choice.finish);
        }
        Ok(completed)
    }

    /// Waits for the first words, within the request's time.
    ///
    /// # Errors
    ///
    /// Where the pipeline ends in one, or the time is over.
    pub async fn settle(&mut self) -> Result<(), RequestError> {
        let settle = tokio::time::timeout_at(self.time.deadline, self.running.settle()).await;
        if !matches!(settle, Ok(Ok(()))) {
            self.call.noted.used(self.running.counts().usage());
        }
        settle.unwrap_or_else(|_| Err(HostFault::Timeout(self.time.max).into()))
    }

    /// What comes next.
    ///
    /// # Errors
    ///
    /// Where the model fails, or the time is over.
    pub async fn next(&mut self) -> Result<Next, RequestError> {
        let quiet_at = tokio::time::Instant::now() + sse::PING_EVERY;
        loop {
            if let Some(told) = self.running.take() {
                if let Told::End { choice: 0, finish } = told {
                    self.call.noted.finished(finish);
                }
                return Ok(Next::Told(told));
            }
            if self.running.is_over() {
                self.call.noted.used(self.running.counts().usage());
                return Ok(Next::End);
            }
            let wait = tokio::time::timeout_at(self.time.deadline.min(quiet_at), self.running.wait()).await;
            if wait.is_err() && quiet_at < self.time.deadline {
                return Ok(Next::Quiet);
            }
            // From here on a plugin may be at work, which only the end of the request may interrupt.
            let advance = tokio::time::timeout_at(self.time.deadline, self.running.advance()).await;
            let advanced = advance.unwrap_or_else(|_| Err(HostFault::Timeout(self.time.max).into()));
            if advanced.is_err() {
                self.call.noted.used(self.running.counts().usage());
                self.call.noted.finished(Finish::Error);
            }
            advanced?;
        }
    }

    /// Its time.
    #[must_use]
    pub fn time(&self) -> Time {
        self.time
    }

    /// How long its answer may be written.
    #[must_use]
    pub fn limit(&self, received: &Received) -> sse::Limit {
        sse::Limit {
            shutdown: received.shutdown.clone(),
            deadline: self.time.deadline,
        }
    }

    /// The request.
    #[must_use]
    pub fn running(&self) -> &Running {
        &self.running
    }
}

/// What a request that is being answered comes to next.
pub enum Next {
    /// Something to tell.
    Told(Told),
    /// Nothing for a while: a sign of life is due.
    Quiet,
    /// Nothing any more.
    End,
}

/// Why a text ended, in OpenAI's words, which Ollama's are too.
#[must_use]
pub fn finish_name(finish: Finish) -> &'static str {
    match finish {
        Finish::Length => "length",
        Finish::ContentFilter => "content_filter",
        Finish::ToolCalls => "tool_calls",
        Finish::Stop | Finish::Cancelled | Finish::Error => "stop",
    }
}

/// The time that a request has.
#[derive(Debug, Clone, Copy)]
pub struct Time {
    /// Its end.
    pub deadline: tokio::time::Instant,
    /// How long it is, from when its head was read.
    pub max: Duration,
}

impl Time {
    fn new(since: Instant, max: Duration) -> Self {
        let deadline = tokio::time::Instant::from_std(since + max);
        Self { deadline, max }
    }

    /// Does the request's work on so many bytes; where they are many, in its turn.
    ///
    /// # Errors
    ///
    /// Where the time is over before it is its turn.
    pub async fn aside<T>(self, len: usize, work: impl FnOnce() -> T) -> Result<T, HostFault> {
        let done = tokio::time::timeout_at(self.deadline, aside(len, work)).await;
        done.map_err(|_| HostFault::Timeout(self.max))
    }
}

impl Received {
    /// Its time on an endpoint.
    #[must_use]
    pub fn time(&self, endpoint: &Ready) -> Time {
        Time::new(self.since, endpoint.timeout)
    }

    /// What `read` makes of the body. Of a long one nothing should be left to be walked or dropped behind it.
    ///
    /// # Errors
    ///
    /// What `read` finds wrong with it; or the time is over.
    pub async fn read<T>(
        &self,
        read: impl FnOnce(&[u8]) -> Result<T, ClientFault>,
    ) -> Result<T, RequestError> {
        let time = Time::new(self.since, self.time_max);
        Ok(time.aside(self.body.len(), || read(&self.body)).await??)
    }
}

/// A body as JSON.
///
/// # Errors
///
/// What is wrong with it, and at which byte.
pub fn parse(body: &[u8]) -> Result<Value, ClientFault> {
    serde_json::from_slice(body).map_err(|error| not_json(body, &error))
}

/// A body that is not JSON, for the reason that its reader gives.
fn not_json(body: &[u8], error: &serde_json::Error) -> ClientFault {
    ClientFault::NotJson {
        at: offset_of(body, error.line(), error.column()),
        message: error.to_string(),
    }
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

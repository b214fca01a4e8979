//! Spans on their way to a collector by OTLP over HTTP: what OpenTelemetry's library wrote is sent by the client that other
//! servers are called with.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;

use super::client::{self, Client};

/// Bytes of an answer that are read: it says how many spans were not taken, and why.
const ANSWER_LEN_MAX: usize = 64 << 10;

/// Sends what it is given. The library asks it from a thread of its own, which blocks; the work is done on the executor.
pub struct Collector {
    client: Client,
    executor: Handle,
    time_max: Duration,
    cause: Cause,
}

/// Why the last request came to nothing; the library says only that one did.
#[derive(Debug, Clone, Default)]
pub struct Cause(Arc<Mutex<Option<String>>>);

impl Cause {
    /// It, where there is one that was not taken yet.
    #[must_use]
    pub fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, error: &HttpError) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }
}

impl Collector {
    /// A client whose requests take so long at most, from the connection to the last byte; `cause` is told why one comes to
    /// nothing. Must be called on the executor.
    ///
    /// # Errors
    ///
    /// Where TLS cannot be set up.
    pub fn new(time_max: Duration, cause: Cause) -> Result<Self, String> {
        Ok(Self {
            client: client::client(time_max, None)?,
            executor: Handle::current(),
            time_max,
            cause,
        })
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector")
            .field("time_max", &self.time_max)
            .finish_non_exhaustive()
    }
}

impl HttpClient for Collector {
    // As `async_trait` writes it, by which the library has it.
    fn send_bytes<'a, 'async_trait>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'a: 'async_trait,
        Self: 'async_trait,
    {
        let (client, time_max) = (self.client.clone(), self.time_max);
        let sent = async move { tokio::time::timeout(time_max, send(client, request)).await? };
        Box::pin(async move {
            let answer = self.executor.spawn(sent).await?;
            answer.inspect_err(|error| self.cause.set(error))
        })
    }
}

/// Sends a request, and waits for all of its answer; of a refusal, for its head.
async fn send(client: Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let answer = client.request(request.map(Full::new)).await;
    let answer = answer.map_err(|error| super::last_cause(&error))?;
    let (head, body) = answer.into_parts();
    let body = if head.status.is_success() {
        Limited::new(body, ANSWER_LEN_MAX).collect().await?.to_bytes()
    } else {
        Bytes::new()
    };
    Ok(Response::from_parts(head, body))
}

//! Other servers as models: asked in their own words, heard word by word, given up in time.
//!
//! `client` makes connections, `openai` and `ollama` know what each kind is asked and says, `answer` reads what comes. A call
//! is made again only before its first word; where its [`Words`] are dropped, its connection is closed. It knows none of the
//! dialects that our own clients speak.

mod answer;
mod client;
pub mod collector;
mod error;
pub mod fetch;
mod granted;
mod ollama;
mod openai;
pub mod own;
mod said;

pub use error::{UpstreamError, UpstreamFault};
pub use granted::Granted;
pub use ollama::OPTIONS;
pub use said::Said;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use selvedge_model::{Task, Text};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::config::{self, UpstreamKind};
use crate::pipeline::RequestError;
use crate::pipeline::order::Prompt;
use crate::pipeline::params::Params;
use crate::telemetry::calls::Outgoing;
use answer::Answer;
use client::Client;

/// The pause before a call is made again; twice as long each time.
const PAUSE: Duration = Duration::from_millis(50);

/// Bytes of a refusal that are read, and how long that may take.
const REFUSAL_MAX: (usize, Duration) = (64 << 10, Duration::from_secs(2));

/// Bytes of an answer that comes whole: 2,048 vectors of 3,072 numbers.
const ANSWER_LEN_MAX: usize = 64 << 20;

/// When one that does not say may be asked again.
const PATIENCE: Duration = Duration::from_secs(1);

/// What an upstream says, as it says it; after an error nothing comes.
pub type Words = BoxStream<'static, Result<Said, RequestError>>;

/// Another server's model. Clones share its connections.
#[derive(Clone)]
pub struct Upstream {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    options: config::Upstream,
    /// With `/v1` where an `openai` one has no path, and no slash at its end.
    base: String,
    headers: HeaderMap,
    client: Client,
    calls: Arc<Semaphore>,
}

impl Upstream {
    /// An upstream as it is configured. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// Where the URL, the key or the authorities cannot be used.
    pub fn new(name: &str, options: &config::Upstream) -> Result<Self, String> {
        let mut base = options.url.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().map_err(|error| format!("`url`: {error}"))?;
        if options.kind == UpstreamKind::Openai && uri.path().len() <= 1 {
            base.push_str("/v1");
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(own::CDN_LOOP, own::mark());
        let agent = concat!("selvedge/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        if let Some(key) = &options.api_key {
            let value = HeaderValue::try_from(format!("Bearer {}", key.reveal()));
            let mut value = value.map_err(|_| "`api_key` has characters that no header may have")?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(Self {
            shared: Arc::new(Shared {
                name: name.to_owned(),
                base,
                headers,
                client: client::client(options.connect_timeout.0, options.ca.as_deref())?,
                calls: Arc::new(Semaphore::new(options.calls_max)),
                options: options.clone(),
            }),
        })
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What it does.
    #[must_use]
    pub fn task(&self) -> Task {
        self.shared.options.task
    }

    /// How it is configured.
    #[must_use]
    pub fn options(&self) -> &config::Upstream {
        &self.shared.options
    }

    /// Calls that are open.
    #[must_use]
    pub fn running(&self) -> usize {
        self.shared.options.calls_max - self.shared.calls.available_permits()
    }

    /// Asks for text, and waits for the first word of it.
    ///
    /// # Errors
    ///
    /// Where the order asks for what it does not know, or no word came in time and number of tries.
    pub async fn generate(&self, prompt: &Prompt, params: &Params) -> Result<Words, RequestError> {
        let model = &self.shared.options.model;
        // One answer a call, since not every server gives several. They have seeds in order, as ours do.
        let ask = |choice: usize| {
            let mut params = params.clone();
            if let Some(seed) = params.given.get("seed").and_then(Value::as_i64) {
                let seed = seed.wrapping_add(i64::try_from(choice).unwrap_or_default());
                params.given.insert("seed".to_owned(), seed.into());
            }
            async move {
                let (path, body) = match self.shared.options.kind {
                    UpstreamKind::Openai => openai::request(model, prompt, &params),
                    UpstreamKind::Ollama => ollama::request(model, prompt, &params)?,
                };
                self.words(path, &body, choice).await
            }
        };
        let calls = futures_util::future::try_join_all((0..params.count).map(ask)).await?;
        Ok(stream::select_all(calls).boxed())
    }

    /// Asks for vectors, one a text, in order, with the number of tokens.
    ///
    /// # Errors
    ///
    /// Where a text is in a form that it does not take, or no answer came in time and number of tries.
    pub async fn embed(&self, texts: &[Text]) -> Result<(Vec<Vec<f32>>, usize), RequestError> {
        let model = &self.shared.options.model;
        let (path, body) = match self.shared.options.kind {
            UpstreamKind::Openai => openai::embed_request(model, texts),
            UpstreamKind::Ollama => ollama::embed_request(model, texts)?,
        };
        let (_call, deadline, body) = (self.place()?, self.deadline(), written(&body));
        // All of it is its first word.
        let answer = self.tried(deadline, deadline.1, || async {
            let body = self.post(path, body.clone()).await?.into_body();
            let bytes = Limited::new(body, ANSWER_LEN_MAX).collect().await;
            let bytes = bytes.map_err(|error| UpstreamFault::BrokeOff(error.to_string()))?;
            serde_json::from_slice::<Value>(&bytes.to_bytes())
                .map_err(|error| UpstreamFault::Garbage(error.to_string()))
        });
        let answer = answer.await?;
        let read = match self.shared.options.kind {
            UpstreamKind::Openai => openai::read_embeddings(&answer),
            UpstreamKind::Ollama => ollama::read_embeddings(&answer),
        };
        match read {
            Some((vectors, tokens)) if vectors.len() == texts.len() => Ok((vectors, tokens)),
            _ => {
                let why = format!("it holds no {} vectors", texts.len());
                Err(self.error(UpstreamFault::Garbage(why)))
            }
        }
    }

    async fn words(&self, path: &'static str, body: &Value, choice: usize) -> Result<Words, RequestError> {
        let (call, deadline, body) = (self.place()?, self.deadline(), written(body));
        let kind = self.shared.options.kind;
        let first_word = self.shared.options.first_token_timeout.0;
        let answer = self.tried(deadline, first_word, || async {
            let response = self.post(path, body.clone()).await?;
            let call = Arc::clone(&call);
            let mut answer = Answer::new(response.into_body(), kind, choice, deadline, call);
            answer.settle().await?;
            Ok(answer)
        });
        let state = (answer.await?, self.clone());
        let next = |(mut answer, upstream): (Answer, Self)| async move {
            let said = answer.next().await?;
            let said = said.map_err(|fault| upstream.error(fault));
            Some((said, (answer, upstream)))
        };
        Ok(stream::unfold(state, next).boxed())
    }

    /// A place among the calls that may be open.
    fn place(&self) -> Result<Arc<OwnedSemaphorePermit>, RequestError> {
        let place = Arc::clone(&self.shared.calls).try_acquire_owned();
        let max = self.shared.options.calls_max;
        place
            .map(Arc::new)
            .map_err(|_| self.error(UpstreamFault::Full { max }))
    }

    /// When a call that is made now must be over, and how long that is.
    fn deadline(&self) -> (Instant, Duration) {
        let time_max = self.shared.options.timeout.0;
        (Instant::now() + time_max, time_max)
    }

    /// Makes a call until it comes to its first word, fails in a way that is no accident, or has had its tries.
    async fn tried<T, F>(
        &self,
        (deadline, time_max): (Instant, Duration),
        first_word_max: Duration,
        mut call: impl FnMut() -> F,
    ) -> Result<T, RequestError>
    where
        F: Future<Output = Result<T, UpstreamFault>>,
    {
        let options = &self.shared.options;
        let (mut left, mut pause) = (options.retries, PAUSE);
        loop {
            let first_word = Instant::now() + first_word_max;
            let fault = match timeout_at(deadline.min(first_word), call()).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(fault)) => fault,
                Err(_) if first_word < deadline => {
                    UpstreamFault::FirstTokenTimeout(options.first_token_timeout.0)
                }
                Err(_) => UpstreamFault::Timeout(time_max),
            };
            if left == 0 || !fault.may_pass() || Instant::now() + pause >= deadline {
                return Err(self.error(fault));
            }
            tracing::info!(upstream = self.name(), %fault, "a call failed before its first word, and is made again");
            tokio::time::sleep(pause).await;
            (left, pause) = (left - 1, pause * 2);
        }
    }

    /// Sends a request, and waits for the head of an answer that is one.
    async fn post(&self, path: &str, body: Bytes) -> Result<Response<Incoming>, UpstreamFault> {
        let shared = &self.shared;
        let request = Request::post(format!("{}{path}", shared.base)).body(Full::new(body));
        let mut request = request.map_err(|error| UpstreamFault::Unreachable(error.to_string()))?;
        *request.headers_mut() = shared.headers.clone();
        let call = Outgoing::begin(&mut request);
        let response = match shared.client.request(request).await {
            Ok(response) => response,
            Err(error) => {
                call.failed(granted::failure(&error).code());
                let cause = last_cause(&error);
                return Err(match error.is_connect() {
                    true => UpstreamFault::Unreachable(cause),
                    false => UpstreamFault::BrokeOff(cause),
                });
            }
        };
        call.answered(response.status());
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refusal(response).await)
    }

    fn error(&self, kind: UpstreamFault) -> RequestError {
        let upstream = self.shared.name.clone();
        UpstreamError { upstream, kind }.into()
    }
}

fn written(body: &Value) -> Bytes {
    body.to_string().into()
}

/// What an error comes down to; the rest says only that a client met it.
fn last_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// What an answer with another status than 200 means.
async fn refusal(response: Response<Incoming>) -> UpstreamFault {
    let (status, headers) = (response.status(), response.headers());
    let seconds = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    if matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        let retry_after = seconds.map_or(PATIENCE, Duration::from_secs);
        return UpstreamFault::Busy { status, retry_after };
    }
    let body = Limited::new(response.into_body(), REFUSAL_MAX.0).collect();
    let body = timeout_at(Instant::now() + REFUSAL_MAX.1, body).await;
    let bytes = body
        .ok()
        .and_then(Result::ok)
        .map(http_body_util::Collected::to_bytes);
    let body = bytes.unwrap_or_default();
    let found: Value = serde_json::from_slice(&body).unwrap_or_default();
    let error = &found["error"];
    let text = |key: &str| error[key].as_str().map(cut);
    let message = match error {
        Value::Null => cut(String::from_utf8_lossy(&body).trim()),
        error => cut(&openai::message(error)),
    };
    match status.as_u16() {
        400 | 413 | 422 => UpstreamFault::Refused {
            status,
            message,
            code: text("code"),
            param: text("param"),
        },
        _ => UpstreamFault::Failed { status, message },
    }
}

/// What another server said, bounded.
fn cut(text: &str) -> String {
    text.chars().take(500).collect()
}

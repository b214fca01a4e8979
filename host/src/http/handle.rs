//! One request, from its head to its answer: id, route, body, pipeline, answer; bounded in time, and a panic stays in it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request};
use hyper::body::Incoming;

use super::dialect::{chat, endpoint, node, ollama, openai};
use super::{Response, body, full, respond};
use crate::app::App;
use crate::pipeline::{ClientFault, HostFault, RequestError};
use crate::router::{Dialect, Miss, Ollama, Route};
use crate::shutdown::Shutdown;

/// The longest request id that is taken over from a client.
const REQUEST_ID_LEN_MAX: usize = 128;

/// Answers a request. Never fails: every error is an answer.
pub async fn request(app: &App, request: Request<Incoming>) -> Response {
    let started = Instant::now();
    let (parts, incoming) = request.into_parts();
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let id = request_id(&parts.headers);
    let dialect = Dialect::of(&path);
    let outcome = contained(route(app, parts, incoming, &id)).await;
    let mut response = outcome.unwrap_or_else(|error| respond::error(dialect, &error, &id));
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", id);
    }
    if method == Method::HEAD {
        *response.body_mut() = full("");
    }
    let (status, micros) = (response.status().as_u16(), started.elapsed().as_micros());
    tracing::debug!(target: "access", %id, %method, path, status, micros);
    response
}

async fn route(app: &App, parts: Parts, incoming: Incoming, id: &str) -> Result<Response, RequestError> {
    let path = parts.uri.path().to_owned();
    let Some(generation) = app.generation() else {
        return match path.as_str() {
            "/healthz" => Ok(node::live()),
            "/readyz" => Ok(node::starting()),
            _ => Err(HostFault::Starting.into()),
        };
    };
    let route = generation
        .router
        .find(&parts.method, &path)
        .map_err(|miss| match miss {
            Miss::Path => ClientFault::UnknownPath(path.clone()),
            Miss::Method { allow } => ClientFault::Method { allow },
        })?;
    match route {
        Route::Live => Ok(node::live()),
        Route::Ready => Ok(node::ready(app, &generation)),
        Route::Models => Ok(openai::models(app, &generation)),
        Route::Model(name) => openai::model(app, &generation, name),
        Route::Endpoint(index) => {
            let endpoint = &generation.endpoints[index];
            let time_max = endpoint.timeout.min(app.config().server.request_timeout.0);
            endpoint::answer(endpoint, received(app, parts, incoming, id, time_max).await?).await
        }
        Route::Chat | Route::Completions => {
            let time_max = app.config().server.request_timeout.0;
            let received = received(app, parts, incoming, id, time_max).await?;
            let kind = if route == Route::Chat {
                chat::Kind::Chat
            } else {
                chat::Kind::Completion
            };
            chat::answer(&generation, kind, received).await
        }
        Route::Ollama(path) => match path {
            Ollama::Root => Ok(ollama::root()),
            Ollama::Version => Ok(ollama::version()),
            Ollama::Tags => Ok(ollama::tags(&generation)),
            Ollama::Ps => Ok(ollama::ps(&generation)),
            Ollama::Show | Ollama::Generate | Ollama::Chat | Ollama::Embed | Ollama::Embeddings => {
                let time_max = app.config().server.request_timeout.0;
                let received = received(app, parts, incoming, id, time_max).await?;
                ollama::post(&generation, path, received).await
            }
        },
        Route::Embeddings => {
            let time_max = app.config().server.request_timeout.0;
            openai::embeddings(&generation, received(app, parts, incoming, id, time_max).await?).await
        }
    }
}

/// A request whose body is here.
pub struct Received {
    /// Its id.
    pub id: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: bytes::Bytes,
    /// When its head was read, from which time is counted.
    pub since: Instant,
    /// Where tasks that outlive the answer's head are counted.
    pub shutdown: Shutdown,
}

async fn received(
    app: &App,
    parts: Parts,
    incoming: Incoming,
    id: &str,
    time_max: Duration,
) -> Result<Received, RequestError> {
    let since = Instant::now();
    // Ollama takes any, and those who use it with curl send what curl sends.
    if Dialect::of(parts.uri.path()) != Dialect::Ollama {
        check_media_type(&parts.headers)?;
    }
    // A client that asks first has not sent a body that is refused by its length, and need not.
    let asks_first = parts.headers.contains_key(http::header::EXPECT);
    let refused = if asks_first {
        body::Refused::Leave
    } else {
        body::Refused::Drain
    };
    let body = body::read(incoming, app.config().server.body_size_max.0, time_max, refused).await?;
    Ok(Received {
        id: id.to_owned(),
        headers: parts.headers,
        body,
        since,
        shutdown: app.shutdown().clone(),
    })
}

/// JSON, or nothing said.
fn check_media_type(headers: &HeaderMap) -> Result<(), ClientFault> {
    let Some(value) = headers.get(http::header::CONTENT_TYPE) else {
        return Ok(());
    };
    let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
    let essence = value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    Err(ClientFault::MediaType(value))
}

/// The client's id where it is sane, else one of ours: unique on this node, and in order.
fn request_id(headers: &HeaderMap) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let given = headers.get("x-request-id").and_then(|id| id.to_str().ok());
    let sane = |id: &&str| {
        (1..=REQUEST_ID_LEN_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if let Some(id) = given.filter(sane) {
        return id.to_owned();
    }
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    format!(
        "req-{:x}-{:x}",
        now.as_micros(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// What a future answers; a panic in it is its error, so that neither the connection nor the node ends with it.
async fn contained<T>(future: impl Future<Output = Result<T, RequestError>>) -> Result<T, RequestError> {
    let outcome = AssertUnwindSafe(future).catch_unwind().await;
    outcome.unwrap_or_else(|panic| Err(HostFault::Panic(panic_message(&*panic)).into()))
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}

/// The plugins' view of a request.
#[must_use]
pub fn plugin_request(
    received: &Received,
    endpoint: &Arc<str>,
    dialect: Dialect,
) -> Arc<selvedge_plugin::value::Request> {
    let headers = received.headers.iter();
    let headers = headers.map(|(name, value)| {
        (
            name.as_str().to_owned(),
            bytes::Bytes::copy_from_slice(value.as_bytes()),
        )
    });
    Arc::new(selvedge_plugin::value::Request {
        id: received.id.clone(),
        endpoint: Arc::clone(endpoint),
        dialect: dialect.name(),
        principal: None,
        headers: headers.collect(),
        body: received.body.clone(),
        attributes: selvedge_plugin::value::Attributes::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::{contained, respond};
    use crate::pipeline::Fault;
    use crate::router::Dialect;

    #[tokio::test]
    async fn a_panic_ends_its_request_only_and_tells_the_client_nothing_of_it() {
        let bug = async {
            tokio::task::yield_now().await;
            let none: Option<()> = None;
            none.ok_or(()).expect("an invariant nobody thought of");
            Ok(())
        };
        let error = contained(bug).await.expect_err("it panicked");
        assert!(matches!(error.fault, Fault::Host(_)), "{error:?}");
        assert!(
            error.to_string().contains("an invariant nobody thought of"),
            "{error}"
        );
        let answer = respond::error(Dialect::Endpoint, &error, "req-1");
        assert_eq!(answer.status(), 500);
        let body = http_body_util::BodyExt::collect(answer.into_body())
            .await
            .expect("a whole body");
        let text = String::from_utf8(body.to_bytes().to_vec()).expect("JSON");
        assert!(!text.contains("invariant") && text.contains("req-1"), "{text}");
    }

    #[tokio::test]
    async fn what_does_not_panic_passes() {
        assert_eq!(contained(async { Ok(7) }).await.ok(), Some(7));
    }
}

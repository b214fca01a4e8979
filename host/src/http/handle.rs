//! One request, from its head to its answer: id, route, body, pipeline, answer; bounded in time, and a panic stays in it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use http::header::{IF_NONE_MATCH, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use selvedge_plugin::value::Part;
use tracing::Instrument;

use super::body::Coming;
use super::call::{Call, Followed};
use super::dialect::{chat, endpoint, enter, node, oip, ollama, openai};
use super::encoding::Encoding;
use super::observed::Unanswered;
use super::{Response, cors, docs, form, full, respond};
use crate::app::App;
use crate::edge;
use crate::edge::address::Peer;
use crate::generation::{Endpoint, Generation};
use crate::observe::Noted;
use crate::pipeline::order::{ANSWER_TOKENS, TOKEN_LEN};
use crate::pipeline::{ClientFault, HostFault, RequestError};
use crate::reload;
use crate::router::{self, Dialect, Miss, Ollama, OpenInference, Route};
use crate::shutdown::Shutdown;
use crate::upstream::own;

/// The longest request id that is taken over from a client.
const REQUEST_ID_LEN_MAX: usize = 128;

/// Which listener a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one for everybody.
    Public,
    /// The operators'.
    Admin,
}

/// A request on its way.
struct Arrived<'a> {
    app: &'a Arc<App>,
    generation: &'a Arc<Generation>,
    call: Arc<Call>,
    parts: Parts,
    body: &'a mut Coming,
}

/// Answers a request. Never fails: every error is an answer.
pub async fn request(
    app: &Arc<App>,
    side: Side,
    peer: Peer,
    request: Request<Incoming>,
) -> http::Response<Followed> {
    let (parts, incoming) = request.into_parts();
    let mut body = Coming::new(&parts, incoming);
    let generation = app.generation();
    let edge = generation.as_ref().map(|generation| &generation.edge);
    let address = edge.map_or(peer, |edge| edge.address(peer, &parts.headers));
    let method = parts.method.clone();
    let (id, noted) = (request_id(&parts.headers), Noted::new(app.queue().clone()));
    let call = Arc::new(Call::new(id, address, &parts, noted));
    let unanswered = Unanswered::new(call.noted.clone());
    let origin = parts.headers.get(ORIGIN).cloned();
    let outcome = match &generation {
        Some(generation) => {
            let (call, span) = (Arc::clone(&call), call.span.clone());
            let arrived = Arrived {
                app,
                generation,
                call,
                parts,
                body: &mut body,
            };
            contained(answer(arrived, side)).instrument(span).await
        }
        None => starting(&parts),
    };
    body.drain().await;
    let response = outcome.unwrap_or_else(|error| respond::error(call.dialect, &error, &call.id));
    let unkept = || respond::error(call.dialect, &HostFault::Unobserved.into(), &call.id);
    let mut response = unanswered.answer(app.queue(), response, unkept).await;
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&call.id) {
        headers.insert("x-request-id", id);
    }
    if let (Some(generation), Some(origin)) = (&generation, &origin) {
        cors::open(&generation.config.server.cors, origin, headers);
    }
    if method == Method::HEAD {
        *response.body_mut() = full("");
    }
    call.answered(response)
}

/// What is answered before there is a generation.
fn starting(parts: &Parts) -> Result<Response, RequestError> {
    match parts.uri.path() {
        "/healthz" => Ok(node::live()),
        "/readyz" => Ok(node::starting()),
        "/v2/health/live" => Ok(oip::live()),
        _ => Err(HostFault::Starting.into()),
    }
}

async fn answer(arrived: Arrived<'_>, side: Side) -> Result<Response, RequestError> {
    let (app, generation, parts) = (arrived.app, arrived.generation, &arrived.parts);
    if let Some(preflight) = cors::preflight(&generation.config.server.cors, &parts.method, &parts.headers) {
        return Ok(preflight);
    }
    let path = parts.uri.path().to_owned();
    let found = match side {
        Side::Public => generation.router.find(&parts.method, &path),
        Side::Admin => router::find_admin(&parts.method, &path),
    };
    // Which paths there are is told to those who may know, and asking for others is counted as well.
    admit(generation, found.as_ref().ok(), parts, &arrived.call)?;
    if own::is_own(&parts.headers) {
        return Err(ClientFault::Loop.into());
    }
    let route = found.map_err(|miss| match miss {
        Miss::Path => ClientFault::UnknownPath(path.clone()),
        Miss::Method { allow } => ClientFault::Method { allow },
    })?;
    let known = parts.headers.get(IF_NONE_MATCH).cloned();
    // What is broken, and where it lies, is not for strangers.
    let told = match side {
        Side::Public if generation.edge.asks() => node::Told::State,
        _ => node::Told::All,
    };
    match route {
        Route::Live => Ok(node::live()),
        Route::Ready => Ok(node::ready(app, generation, told)),
        Route::Document => Ok(docs::document(&generation.document, known.as_ref())),
        Route::Docs => Ok(docs::page(known.as_ref())),
        Route::Metrics => Ok(node::metrics(app, generation)),
        Route::Reload => Ok(respond::json(StatusCode::OK, &reload::ask(app).await?)),
        Route::Models => Ok(openai::models(app, generation)),
        Route::Model(name) => openai::model(app, generation, name),
        Route::Endpoint(index) => own_path(arrived, &generation.endpoints[index]).await,
        Route::Chat => chat::answer(generation, chat::Kind::Chat, received(arrived, None).await?).await,
        Route::Completions => {
            chat::answer(generation, chat::Kind::Completion, received(arrived, None).await?).await
        }
        Route::Embeddings => openai::embeddings(generation, received(arrived, None).await?).await,
        Route::Ollama(Ollama::Root) => Ok(ollama::root()),
        Route::Ollama(Ollama::Version) => Ok(ollama::version()),
        Route::Ollama(Ollama::Tags) => Ok(ollama::tags(generation)),
        Route::Ollama(Ollama::Ps) => Ok(ollama::ps(generation)),
        Route::Ollama(path) => ollama::post(generation, path, received(arrived, None).await?).await,
        Route::OpenInference(path) if path.has_body() => {
            oip::post(generation, path, received(arrived, None).await?).await
        }
        Route::OpenInference(path) => oip::get(app, generation, path),
    }
}

/// Answers on an endpoint's own path. Which endpoint it is stands in the head: a caller who may not use it, or has used too much
/// of it, or comes to one that is broken, is told so before anything of the body is kept.
async fn own_path(arrived: Arrived<'_>, endpoint: &Endpoint) -> Result<Response, RequestError> {
    let estimate = estimate(&arrived.parts.headers, Some(endpoint));
    let ready = enter(endpoint, &arrived.call, estimate)?;
    let received = received(arrived, Some(endpoint)).await?;
    endpoint::answer(ready, received).await
}

/// Lets a request through, by where it comes from, who sends it, and how much of it there was; before its body is read. Where
/// there is no route, nothing answers it.
fn admit(
    generation: &Generation,
    route: Option<&Route<'_>>,
    parts: &Parts,
    call: &Call,
) -> Result<(), RequestError> {
    if route.is_some_and(is_for_everybody) {
        return Ok(());
    }
    let edge = &generation.edge;
    let endpoint = match route {
        Some(Route::Endpoint(index)) => Some(&generation.endpoints[*index]),
        _ => None,
    };
    let estimate = estimate(&parts.headers, endpoint);
    // Before anybody is asked who they are, so that those count too who cannot say; they take no tokens.
    if let Some(admission) = edge.admit_address(call.address, 0)? {
        call.admit(admission);
    }
    let principal = edge.authenticate(&parts.headers, call.address)?;
    if let Some(principal) = &principal {
        call.identify(Arc::clone(principal));
    }
    call.claim(estimate)?;
    let Some(principal) = principal else {
        return Ok(());
    };
    if matches!(route, Some(Route::Metrics | Route::Reload)) && !principal.may(edge::ADMIN) {
        let scope = edge::ADMIN.to_owned();
        return Err(ClientFault::Forbidden { scope }.into());
    }
    if let Some(admission) = edge.admit_principal(&principal, estimate)? {
        call.admit(admission);
    }
    Ok(())
}

/// Whether a path answers everybody, as often as they ask: whether the node lives, and the page, which itself tells nothing; the
/// document that it reads asks for a key like anything else.
fn is_for_everybody(route: &Route<'_>) -> bool {
    matches!(
        route,
        Route::Live
            | Route::Ready
            | Route::Docs
            | Route::Ollama(Ollama::Root)
            | Route::OpenInference(OpenInference::Live | OpenInference::Ready)
    )
}

/// About how many tokens a request will take, as far as its head tells; more exactly when its body is here, and settled when it
/// ends. Files cost none.
fn estimate(headers: &HeaderMap, endpoint: Option<&Endpoint>) -> u64 {
    if endpoint.is_some_and(|endpoint| endpoint.uploads.is_some()) {
        return ANSWER_TOKENS;
    }
    let len = headers.get(http::header::CONTENT_LENGTH);
    let len = len.and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
    estimate_of(len.unwrap_or_default())
}

/// English has four bytes a token, and an answer is as long as many models answer where nobody says.
fn estimate_of(len: u64) -> u64 {
    len / TOKEN_LEN + ANSWER_TOKENS
}

/// A request whose body is here.
pub struct Received {
    /// What is known of it.
    pub call: Arc<Call>,
    /// Its id.
    pub id: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; of a form, its JSON.
    pub body: bytes::Bytes,
    /// The parts of a form.
    pub parts: Arc<[Part]>,
    /// About how many tokens it will take.
    pub estimate: u64,
    /// When its head was read, from which time is counted.
    pub since: Instant,
    /// How long it may take, as far as is known before its endpoint is.
    pub time_max: Duration,
    /// Where tasks that outlive the answer's head are counted.
    pub shutdown: Shutdown,
}

/// Reads a request's body: on an endpoint's own path a form where it takes uploads, else what the dialect has.
async fn received(arrived: Arrived<'_>, endpoint: Option<&Endpoint>) -> Result<Received, RequestError> {
    let Arrived {
        app,
        generation,
        call,
        parts: Parts { headers, .. },
        body,
    } = arrived;
    let encoding = Encoding::of(&headers)?;
    let server = &generation.config.server;
    let len_max = server.body_size_max.0;
    let time_max = endpoint.map_or(server.request_timeout.0, |endpoint| endpoint.timeout);
    let (body, parts) = if let Some(uploads) = endpoint.and_then(|endpoint| endpoint.uploads.as_ref()) {
        check_form(&headers, encoding)?;
        let bounds = form::Bounds {
            caller: call.who().to_string().into(),
            uploads,
            text_len_max: len_max,
            time_max,
        };
        let form = form::read(&headers, body, app.spool(), &bounds).await?;
        (form.body, form.parts)
    } else {
        // Ollama takes any, and those who use it with curl send what curl sends; so does Triton, where a body may be tensors too.
        if !matches!(call.dialect, Dialect::Ollama | Dialect::OpenInference) {
            check_media_type(&headers)?;
        }
        let body = body.read(len_max, time_max).await?;
        (encoding.unpack(body, len_max).await?, Arc::default())
    };
    let estimate = estimate_of(body.len() as u64);
    call.expect(estimate);
    Ok(Received {
        id: call.id.clone(),
        since: call.since,
        time_max,
        call,
        estimate,
        headers,
        body,
        parts,
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
    Err(ClientFault::MediaType {
        given: value,
        wanted: "application/json",
    })
}

/// A form, and not packed: what is in it mostly is already.
fn check_form(headers: &HeaderMap, encoding: Encoding) -> Result<(), ClientFault> {
    if !form::is_form(headers) {
        let given = headers.get(http::header::CONTENT_TYPE);
        let given = given.map_or_else(String::new, |given| {
            String::from_utf8_lossy(given.as_bytes()).into_owned()
        });
        let wanted = "multipart/form-data";
        return Err(ClientFault::MediaType { given, wanted });
    }
    match encoding {
        Encoding::Plain => Ok(()),
        _ => Err(ClientFault::BadForm(
            "its body is packed; send it as it is".to_owned(),
        )),
    }
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
        principal: received
            .call
            .principal()
            .map(|principal| principal.name.to_string()),
        headers: headers.collect(),
        body: received.body.clone(),
        parts: Arc::clone(&received.parts),
        attributes: selvedge_plugin::value::Attributes::default(),
        timings: selvedge_plugin::value::Timings::default(),
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

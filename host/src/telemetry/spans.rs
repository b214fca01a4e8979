//! The spans of a node's own work: a request, its steps, a delivery to an observer. `calls` has those of calls to other servers.
//!
//! They say what was done and how it ended, in the words of <https://opentelemetry.io/docs/specs/semconv/http/>, and nothing of
//! what was said. Where nobody takes them there are none: a span whose target no layer wants costs a comparison.

use std::collections::HashMap;

use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Version};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use selvedge_plugin::value::Event;
use selvedge_plugin::{CallError, Stage};
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::Step;
use super::traces::TARGET;
use crate::edge::address::Peer;

/// Bytes that are told of what a client may make as long as it likes, such as a path.
const TEXT_LEN_MAX: usize = 1024;

/// Bytes of a caller's `tracestate` that are taken along, as many as the standard asks for
/// (<https://www.w3.org/TR/trace-context/#tracestate-limits>); a longer one is left out, since each span and each call has it.
const STATE_LEN_MAX: usize = 512;

/// The span of a request from an address, in its caller's trace where the headers name one.
#[must_use]
pub fn request(head: &Parts, address: Peer) -> Span {
    let method = Spoken::of(&head.method);
    let span = tracing::info_span!(
        target: TARGET,
        "request",
        otel.name = method.in_name(),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method.told(),
        http.request.method_original = method.original(),
        url.path = cut(head.uri.path()),
        network.protocol.version = version(head.version),
        client.address = %address,
        http.response.status_code = Empty,
        selvedge.request_id = Empty,
        selvedge.endpoint = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
    );
    if !span.is_disabled() {
        let caller = TraceContextPropagator::new().extract(&Caller(&head.headers));
        // It was made in the line above, so nothing has entered it.
        span.set_parent(caller).ok();
    }
    span
}

/// Where a caller says what its trace is.
struct Caller<'a>(&'a HeaderMap);

impl Extractor for Caller<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(key)?.to_str().ok()?;
        (key != "tracestate" || value.len() <= STATE_LEN_MAX).then_some(value)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

/// How a request ended.
#[derive(Debug)]
pub struct End<'a> {
    /// Its id.
    pub id: &'a str,
    /// The endpoint that answered, empty where none did.
    pub endpoint: &'a str,
    /// Its status, 499 where its client left.
    pub status: u16,
    /// Tokens of the prompt and of the answer.
    pub tokens: (u64, u64),
}

/// Notes on a request's span how it ended.
pub fn ended(span: &Span, method: &Method, end: &End<'_>) {
    if span.is_disabled() {
        return;
    }
    if !end.endpoint.is_empty() {
        let method = Spoken::of(method).in_name();
        span.context()
            .span()
            .update_name(format!("{method} {}", end.endpoint));
    }
    span.record("selvedge.request_id", end.id);
    span.record("selvedge.endpoint", end.endpoint);
    // Signed, since that is what numbers are in OTLP.
    span.record("http.response.status_code", i64::from(end.status));
    let (input, output) = end.tokens;
    if input + output > 0 {
        span.record("gen_ai.usage.input_tokens", input.cast_signed());
        span.record("gen_ai.usage.output_tokens", output.cast_signed());
    }
    if end.status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
    self::end(span);
}

/// Ends a span now. What is told as its end is when it was left last, which work that goes on outside of it would be behind.
pub fn end(span: &Span) {
    span.in_scope(|| ());
}

/// The span of a step, within the current one.
#[must_use]
pub fn step(step: Step) -> Span {
    tracing::info_span!(target: TARGET, "step", otel.name = step.name())
}

/// The span of a delivery to an observer, `ENDPOINT/PLUGIN`: a trace of its own, since it may have events of many, and is linked
/// to that of each which is known.
#[must_use]
pub fn delivery(observer: &str, plugin: &str, events: &[Event]) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        parent: None,
        "delivery",
        otel.name = plugin,
        otel.kind = "consumer",
        otel.status_code = Empty,
        error.type = Empty,
        selvedge.stage = Stage::Observe.name(),
        selvedge.observer = observer,
        selvedge.events = i64::try_from(events.len()).unwrap_or(i64::MAX),
    );
    if !span.is_disabled() {
        for traceparent in events.iter().filter_map(|event| event.traceparent.as_ref()) {
            let known = HashMap::from([("traceparent".to_owned(), traceparent.clone())]);
            let context = TraceContextPropagator::new().extract(&known);
            span.add_link(context.span().span_context().clone());
        }
    }
    span
}

/// Notes on a delivery's span why it failed.
pub fn not_taken(span: &Span, error: &CallError) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", error.fault.code());
}

/// The current span as `traceparent` has it; none where it is not traced.
#[must_use]
pub fn traceparent() -> Option<String> {
    let span = Span::current();
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let span = context.span();
    let known = span.span_context();
    (known.is_valid() && known.is_sampled())
        .then(|| format!("00-{}-{}-01", known.trace_id(), known.span_id()))
}

/// The trace that a span is of, in hexadecimal; none where it is not traced.
#[must_use]
pub fn trace_id(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| context.trace_id().to_string())
}

/// A method as spans tell it: a client may invent thousands, and whoever keeps spans counts by them.
#[derive(Clone, Copy)]
pub(super) enum Spoken<'a> {
    /// One of HTTP's own (RFC 9110), or `PATCH` (RFC 5789).
    Known(&'a str),
    /// Another word.
    Other(&'a str),
}

impl<'a> Spoken<'a> {
    pub(super) fn of(method: &'a Method) -> Self {
        match method.as_str() {
            known @ ("CONNECT" | "DELETE" | "GET" | "HEAD" | "OPTIONS" | "PATCH" | "POST" | "PUT"
            | "TRACE") => Self::Known(known),
            other => Self::Other(other),
        }
    }

    /// In a span's name.
    pub(super) fn in_name(self) -> &'a str {
        match self {
            Self::Known(method) => method,
            Self::Other(_) => "HTTP",
        }
    }

    /// As `http.request.method`.
    pub(super) fn told(self) -> &'a str {
        match self {
            Self::Known(method) => method,
            Self::Other(_) => "_OTHER",
        }
    }

    /// As `http.request.method_original`, where that is to be said.
    fn original(self) -> Option<&'a str> {
        match self {
            Self::Known(_) => None,
            Self::Other(method) => Some(cut(method)),
        }
    }
}

/// As `network.protocol.version` has it.
fn version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_LEN_MAX)]
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, Method};
    use opentelemetry::propagation::Extractor;

    use super::{Caller, STATE_LEN_MAX, Spoken, TEXT_LEN_MAX, cut};

    #[test]
    fn a_method_that_a_client_invented_is_told_apart_from_those_of_http() {
        let told = |method: &str| {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let spoken = Spoken::of(&method);
            format!("{} {} {:?}", spoken.in_name(), spoken.told(), spoken.original())
        };
        assert_eq!(told("POST"), "POST POST None");
        assert_eq!(told("post"), "HTTP _OTHER Some(\"post\")");
        assert_eq!(told("BREW"), "HTTP _OTHER Some(\"BREW\")");
    }

    #[test]
    fn a_caller_s_state_is_taken_along_where_it_is_short() {
        let state = |len: usize| {
            let head = [
                ("traceparent", "00-1-2-01".to_owned()),
                ("tracestate", format!("a={}", "b".repeat(len))),
            ];
            let head =
                head.map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value")));
            let headers = HeaderMap::from_iter(head);
            let caller = Caller(&headers);
            (
                caller.get("traceparent").is_some(),
                caller.get("tracestate").is_some(),
            )
        };
        assert_eq!(state(STATE_LEN_MAX - 2), (true, true));
        assert_eq!(state(STATE_LEN_MAX - 1), (true, false));
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let long = format!("a{}", "ü".repeat(TEXT_LEN_MAX));
        assert_eq!(cut(&long).len(), TEXT_LEN_MAX - 1);
        assert_eq!(cut("/short"), "/short");
    }
}

//! Traces: a span for each request, one for each of its stages, and one for each call of a plugin; sent by OTLP. A caller's trace
//! goes on in them (<https://www.w3.org/TR/trace-context/>), and theirs in the upstream that does the work.
//!
//! Where nobody takes them there are none: a span whose target no layer wants costs a comparison. Spans say what was done and how
//! it ended, in the words of <https://opentelemetry.io/docs/specs/semconv/http/>, and nothing of what was said.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider,
};
use tracing::Span;
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};

use super::Step;
use crate::config::Telemetry;

/// The target of every span here, by which the log leaves them out. The plugin host's have it as well.
pub const TARGET: &str = selvedge_plugin::SPANS;

/// How long the last spans may take to be sent when the node ends.
const END_TIME_MAX: Duration = Duration::from_secs(5);

/// Sends spans, in batches, from a thread of its own.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins to take spans. Must be called on the executor. Nothing is connected yet, and nothing that fails to be sent holds a
    /// request up.
    ///
    /// # Errors
    ///
    /// Where the address or a header cannot be used.
    pub fn start(endpoint: &str, options: &Telemetry) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &options.headers {
            let header = name
                .parse::<HeaderName>()
                .ok()
                .zip(value.reveal().parse::<HeaderValue>().ok());
            let (name, value) = header.ok_or_else(|| format!("headers.{name}: is no header"))?;
            headers.insert(name, value);
        }
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(options.timeout.0)
            .with_metadata(MetadataMap::from_headers(headers))
            .build()
            .map_err(|error| format!("otlp: {error}"))?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(options.queue_spans_max)
            .with_max_export_batch_size(options.queue_spans_max.min(512))
            .build();
        let processor = BatchSpanProcessor::builder(exporter)
            .with_batch_config(batches)
            .build();
        let sampler = Sampler::TraceIdRatioBased(options.sample_ratio);
        let resource = Resource::builder().with_service_name(options.service_name.clone());
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(Sampler::ParentBased(Box::new(sampler)))
            .with_resource(resource.build())
            .build();
        Ok(Self(provider))
    }

    /// What takes spans from the program.
    #[must_use]
    pub fn layer<S>(&self) -> OpenTelemetryLayer<S, SdkTracer>
    where
        S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("selvedge"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
    }

    /// Sends what waits, within 5 s. Blocks.
    pub fn end(&self) {
        if let Err(error) = self.0.shutdown_with_timeout(END_TIME_MAX) {
            tracing::warn!(%error, "the last spans are lost");
        }
    }
}

/// The span of a request, in its caller's trace where the headers name one.
#[must_use]
pub fn request(method: &Method, path: &str, headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "request",
        otel.name = method.as_str(),
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        http.request.method = %method,
        url.path = path,
        http.response.status_code = tracing::field::Empty,
        selvedge.request_id = tracing::field::Empty,
        selvedge.endpoint = tracing::field::Empty,
        gen_ai.usage.input_tokens = tracing::field::Empty,
        gen_ai.usage.output_tokens = tracing::field::Empty,
    );
    if !span.is_disabled() {
        let caller = TraceContextPropagator::new().extract(&Headers(headers));
        // It was made in the line above, so nothing has entered it.
        span.set_parent(caller).ok();
    }
    span
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
}

/// The span of a step, within the current one.
#[must_use]
pub fn step(step: Step) -> Span {
    tracing::info_span!(target: TARGET, "step", otel.name = step.name())
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

/// Writes the current span's context into the headers of a call, so that the trace goes on there.
pub fn inject(headers: &mut HeaderMap) {
    let span = Span::current();
    if !span.is_disabled() {
        TraceContextPropagator::new().inject_context(&span.context(), &mut HeadersMut(headers));
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct HeadersMut<'a>(&'a mut HeaderMap);

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (key.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            self.0.insert(name, value);
        }
    }
}

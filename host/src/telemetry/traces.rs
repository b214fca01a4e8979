//! Where traces go: spans are taken from the program and sent by OTLP, in batches, from a thread of the library's. `spans` and
//! `calls` make them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, SpanData,
};
use tracing::Metadata;
use tracing_opentelemetry::OpenTelemetryLayer;

use crate::config::{OtlpProtocol, Telemetry};
use crate::upstream::collector::{Cause, Collector};

/// The target of every span, by which the log leaves them out. The plugin host's have it as well.
pub const TARGET: &str = selvedge_plugin::SPANS;

/// How long the last spans may take to be sent when the node ends.
const END_TIME_MAX: Duration = Duration::from_secs(5);

/// Where a collector takes spans over HTTP, if not said otherwise
/// (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>).
const HTTP_PATH: &str = "/v1/traces";

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
        let cause = Cause::default();
        let exporter = match options.protocol {
            OtlpProtocol::Grpc => over_grpc(endpoint, options)?,
            OtlpProtocol::Http => over_http(endpoint, options, cause.clone())?,
        };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(options.queue_spans_max)
            .with_max_export_batch_size(options.queue_spans_max.min(512))
            .build();
        let processor = BatchSpanProcessor::builder(Told::new(exporter, cause))
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

/// Whether an event is the library's word for an export that failed, which we say ourselves, and less often.
#[must_use]
pub fn is_told(metadata: &Metadata<'_>) -> bool {
    metadata.target() == "opentelemetry-otlp" && metadata.name().starts_with("Export.Failed")
}

fn over_grpc(endpoint: &str, options: &Telemetry) -> Result<SpanExporter, String> {
    SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(options.timeout.0)
        .with_metadata(MetadataMap::from_headers(headers(options)?))
        .build()
        .map_err(|error| format!("otlp: {error}"))
}

fn over_http(endpoint: &str, options: &Telemetry, cause: Cause) -> Result<SpanExporter, String> {
    let uri: Uri = endpoint.parse().map_err(|error| format!("otlp: {error}"))?;
    let endpoint = match uri.path() {
        "" | "/" => format!("{}{HTTP_PATH}", endpoint.trim_end_matches('/')),
        _ => endpoint.to_owned(),
    };
    let collector = Collector::new(options.timeout.0, cause).map_err(|error| format!("otlp: {error}"))?;
    let headers = headers(options)?;
    let headers = headers
        .iter()
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
    let headers: HashMap<String, String> = headers.collect();
    SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_http_client(collector)
        .with_endpoint(endpoint)
        .with_timeout(options.timeout.0)
        .with_headers(headers)
        .build()
        .map_err(|error| format!("otlp: {error}"))
}

/// The headers of an export.
fn headers(options: &Telemetry) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &options.headers {
        let header = name
            .parse::<HeaderName>()
            .ok()
            .zip(value.reveal().parse::<HeaderValue>().ok());
        let header = header.filter(|(_, value)| value.to_str().is_ok());
        let (name, mut value) =
            header.ok_or_else(|| format!("headers.{name}: is no header of visible ASCII characters"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// An exporter whose failures are in the log: the first one, and that it works again. A collector that is away for an hour would
/// fill it otherwise.
#[derive(Debug)]
struct Told {
    inner: SpanExporter,
    /// Why the last export came to nothing, where the exporter itself does not say.
    cause: Cause,
    /// Spans that were lost since it last worked.
    lost: AtomicUsize,
}

impl Told {
    fn new(inner: SpanExporter, cause: Cause) -> Self {
        let lost = AtomicUsize::new(0);
        Self { inner, cause, lost }
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Told {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        match self.inner.export(batch).await {
            Ok(()) => {
                let lost = self.lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    tracing::warn!(lost, "spans are taken again");
                }
            }
            Err(error) => {
                let cause = self.cause.take();
                if self.lost.fetch_add(spans, Ordering::Relaxed) == 0 {
                    tracing::error!(%error, cause, "spans are not taken; this is said once until they are");
                }
            }
        }
        // It is told, and the library would tell it each time.
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

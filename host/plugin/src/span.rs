//! Spans of what plugins do: one for a call, and one for all that an instance is called for while a request lasts.
//!
//! It knows nobody who takes them: they have a target of their own ([`SPANS`]), and where no subscriber wants it, a span is
//! none and costs a comparison.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::SPANS;
use crate::error::Fault;
use crate::inspect::Stage;
use crate::state::Identity;
use crate::value::Request;

/// The span of a plugin's work in a stage, within the current one.
pub(crate) fn span(plugin: &str, stage: Stage) -> Span {
    tracing::info_span!(
        target: SPANS,
        "plugin",
        otel.name = plugin,
        selvedge.stage = stage.name(),
        selvedge.calls = Empty,
        selvedge.busy_ms = Empty,
        otel.status_code = Empty,
        error.type = Empty,
    )
}

/// Notes on a span that a call failed, and how.
pub(crate) fn failed(span: &Span, fault: &Fault) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", fault.code());
}

/// What one instance does for a request in several calls, from before it is opened until it is dropped: a span, and a timing of
/// the request.
pub(crate) struct Part {
    identity: Arc<Identity>,
    stage: Stage,
    request: Arc<Request>,
    /// Open as long as this is.
    span: Span,
    /// Calls that came to their end; that which opened it is one.
    calls: i64,
    /// How long these took together.
    took: Duration,
}

impl Part {
    /// A part of which nothing is done yet.
    pub(crate) fn new(identity: &Arc<Identity>, stage: Stage, request: &Arc<Request>) -> Self {
        Self {
            identity: Arc::clone(identity),
            stage,
            request: Arc::clone(request),
            span: span(&identity.plugin, stage),
            calls: 0,
            took: Duration::ZERO,
        }
    }

    /// Makes a call, within the span. Where the future is dropped, the call is not counted.
    ///
    /// # Errors
    ///
    /// Where the call fails; that is noted on the span.
    pub(crate) async fn call<T>(&mut self, call: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let started = Instant::now();
        let outcome = call.instrument(self.span.clone()).await;
        self.took += started.elapsed();
        self.calls += 1;
        outcome.inspect_err(|fault| failed(&self.span, fault))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.request
            .timings
            .add(self.stage.name(), &self.identity.plugin, self.took);
        self.span.record("selvedge.calls", self.calls);
        self.span
            .record("selvedge.busy_ms", self.took.as_secs_f64() * 1000.0);
        // What is told as its end is when it was left last.
        self.span.in_scope(|| ());
    }
}

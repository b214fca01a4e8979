//! The log: on standard error, for people or as JSON; what is logged is `RUST_LOG`, by default `info`. And traces beside it.

use clap::ValueEnum;
use tracing_subscriber::filter::{FilterExt, FilterFn, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::telemetry::traces::{self, Traces};

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Pretty,
    /// A JSON object a line.
    Json,
}

/// What is logged where `RUST_LOG` does not say. ONNX Runtime is talkative about what it optimised away.
pub(super) const LOGGED: &str = "info,ort=warn";

/// Starts the log of what `logged` says, and traces where somebody takes them. Once a process.
pub(super) fn start(format: LogFormat, traces: Option<&Traces>, logged: &str) {
    // Of a line that cannot be written it would tell with `eprintln!`, on the same standard error, and that panics.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    let lines = match format {
        LogFormat::Pretty => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            lines.with_ansi(ansi).with_target(false).boxed()
        }
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let spans = traces.map(|traces| {
        let is_span = FilterFn::new(|metadata| metadata.target() == traces::TARGET);
        traces.layer().with_filter(is_span)
    });
    let registry = tracing_subscriber::registry();
    let lines_alone =
        FilterFn::new(|metadata| !traces::is_told(metadata)).with_max_level_hint(LevelFilter::TRACE);
    // An error means that somebody started a log before us, which then serves.
    registry
        .with(lines.with_filter(filter(logged).and(lines_alone)))
        .with(spans)
        .try_init()
        .ok();
}

/// What is logged: never the spans, which say the same as the line of a request that is over.
fn filter(logged: &str) -> EnvFilter {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(logged));
    let without_spans = format!("{}=off", traces::TARGET).parse();
    match without_spans {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    }
}

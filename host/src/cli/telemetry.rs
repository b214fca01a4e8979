//! The log: on standard error, for people or as JSON; what is logged is `RUST_LOG`, by default `info`.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Pretty,
    /// A JSON object a line.
    Json,
}

/// Starts the log. Once a process.
pub(super) fn start(format: LogFormat) {
    // ONNX Runtime is talkative about what it optimised away.
    let default = EnvFilter::new("info,ort=warn");
    let filter = EnvFilter::try_from_default_env().unwrap_or(default);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // An error means that somebody started a log before us, which then serves.
    match format {
        LogFormat::Pretty => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_ansi(ansi).with_target(false).try_init().ok();
        }
        LogFormat::Json => {
            builder.json().flatten_event(true).try_init().ok();
        }
    }
}

//! The command line: a file a subcommand, and the exit codes.

mod check;
mod events;
mod key;
mod model;
mod openapi;
mod out;
mod plugin;
mod progress;
mod serve;
mod state;
mod telemetry;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app::StartError;
use crate::config::{Config, ConfigError};

pub use out::say;
pub use telemetry::LogFormat;

/// An HTTP host for edge nodes: ONNX models natively, sandboxed WebAssembly plugins around them.
///
/// Exit codes: 0 done, 1 failed, 2 usage, 3 configuration refused, 4 plugin tests failed, 5 verification failed.
#[derive(Debug, Parser)]
#[command(name = "selvedge", version, max_term_width = 100)]
pub struct Arguments {
    /// How the log on standard error is written.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Pretty)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a configuration until SIGTERM or SIGINT.
    Serve(serve::ServeArguments),
    /// Check everything that `serve` would, and exit: 0 where all is well, 3 where something is refused.
    Check(check::CheckArguments),
    /// Make, list and revoke callers' keys.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Write the OpenAPI document of a configuration to standard output, without starting anything.
    Openapi(openapi::OpenapiArguments),
    /// Look at models.
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Look at the events that wait for observers or were given up, and give them again or drop them.
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// Copy what a node keeps, and put a copy back.
    #[command(subcommand)]
    State(state::StateCommand),
    /// Look at plugins, and test them.
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
}

/// Why a command failed. Of the exit codes, 3 is for what a node would refuse alike: a configuration, a component, a manifest.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration is refused.
    #[error("{}", list(.0))]
    Config(Vec<String>),
    /// Cases of a plugin failed.
    #[error("{} failed", cases(.0))]
    PluginTests(usize),
    /// A plugin is slower or larger than it was.
    #[error("worse than {0} times the baseline: {1}")]
    PluginSlower(f64, String),
    /// The arguments do not go together.
    #[error("{0}")]
    Usage(String),
    /// Something else.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl CliError {
    /// The documented exit code.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(3),
            Self::PluginTests(_) | Self::PluginSlower(..) => ExitCode::from(4),
            Self::Usage(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::from(1),
        }
    }
}

impl From<Vec<ConfigError>> for CliError {
    fn from(errors: Vec<ConfigError>) -> Self {
        Self::Config(errors.iter().map(ToString::to_string).collect())
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Listen { .. } | StartError::Metrics(_) => Self::Failed(error.into()),
            StartError::Spool(_)
            | StartError::Activation(_)
            | StartError::Tls(..)
            | StartError::Sandbox(_)
            | StartError::State(_)
            | StartError::Signers(_)
            | StartError::Runtime(_) => Self::Config(vec![error.to_string()]),
        }
    }
}

fn cases(count: &usize) -> String {
    match count {
        1 => "1 case".to_owned(),
        many => format!("{many} cases"),
    }
}

fn list(errors: &[String]) -> String {
    match errors {
        [one] => one.clone(),
        many => format!("{} things are wrong:\n  {}", many.len(), many.join("\n  ")),
    }
}

/// Runs what the arguments say.
///
/// # Errors
///
/// Where it fails; the error has the exit code.
pub fn run(arguments: Arguments) -> Result<(), CliError> {
    let format = arguments.log_format;
    match &arguments.command {
        Command::Serve(_) => {}
        // What a plugin logs while it is measured would be most of what is measured.
        Command::Plugin(command) if command.is_bench() => {}
        // What it logs is in the report.
        Command::Plugin(_) => telemetry::start(format, None, "info,ort=warn,plugin=off"),
        _ => telemetry::start(format, None, telemetry::LOGGED),
    }
    match arguments.command {
        Command::Serve(arguments) => serve::run(arguments, format),
        Command::Check(arguments) => check::run(arguments),
        Command::Key(command) => key::run(command),
        Command::Openapi(arguments) => openapi::run(arguments),
        Command::Model(command) => model::run(command),
        Command::Events(command) => events::run(command),
        Command::State(command) => state::run(command),
        Command::Plugin(command) => plugin::run(command),
    }
}

/// Paths at which a configuration is looked for if none is named. After these comes the one that a package brings along.
const CONFIG_PLACES: [&str; 2] = ["configs/demo.toml", "/etc/selvedge/selvedge.toml"];

/// A package's configuration, seen from the folder above the executable's.
const CONFIG_OF_PACKAGE: &str = "share/selvedge/configs/selvedge.toml";

fn config_places() -> Vec<PathBuf> {
    let executable = std::env::current_exe().ok();
    let prefix = executable.as_deref().and_then(|file| file.ancestors().nth(2));
    let package = prefix.map(|prefix| prefix.join(CONFIG_OF_PACKAGE));
    CONFIG_PLACES.iter().map(PathBuf::from).chain(package).collect()
}

/// Reads the configuration that is named, or the first that is there.
fn config(named: Option<PathBuf>) -> Result<Config, CliError> {
    let file = match named {
        Some(file) => file,
        None => {
            let places = config_places();
            let found = places.iter().find(|place| place.is_file());
            found.cloned().ok_or_else(|| {
                let looked_at: Vec<_> = places.iter().map(|place| place.to_string_lossy()).collect();
                CliError::Config(vec![format!(
                    "there is no configuration: name one with --config; looked at {}",
                    looked_at.join(", ")
                )])
            })?
        }
    };
    Ok(Config::read(&file)?)
}

/// The executor. A plugin yields at each tick of its CPU time; the driver is then asked at once whether others are ready.
fn executor() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .event_interval(EVENT_INTERVAL)
        .on_thread_start(selvedge_plugin::patient::forget)
        .enable_all()
        .build()?)
}

/// Polls of tasks between two looks at timers and sockets. tokio's 61 would let endless plugins delay them by 61 ticks.
const EVENT_INTERVAL: u32 = 4;

//! `selvedge plugin`: for those who write plugins.

mod bench;
mod build;
mod inspect;
mod new;
mod run;
mod test;

use std::path::PathBuf;

use clap::Subcommand;

use super::CliError;
use crate::config::State;

/// Subcommands of `plugin`.
#[derive(Debug, Subcommand)]
pub(super) enum PluginCommand {
    /// Make a project that builds and passes its tests as it stands.
    New(new::NewArguments),
    /// Build a project into `dist/NAME.wasm`, with its manifest in it.
    Build(build::BuildArguments),
    /// Show a component's stages, imports and manifest, without compiling or running it.
    Inspect(inspect::InspectArguments),
    /// Run a plugin's golden cases in the sandbox that serves.
    Test(test::TestArguments),
    /// Call a component once, in the sandbox that serves, and show what it comes to.
    Run(run::RunArguments),
    /// Measure what a plugin's start and its calls take, and compare with an earlier measurement.
    Bench(bench::BenchArguments),
}

impl PluginCommand {
    /// Whether it measures, and must not be held up by a log.
    pub(super) fn is_bench(&self) -> bool {
        matches!(self, Self::Bench(_))
    }
}

pub(super) fn run(command: PluginCommand) -> Result<(), CliError> {
    match command {
        PluginCommand::New(arguments) => new::run(arguments),
        PluginCommand::Build(arguments) => build::run(arguments),
        PluginCommand::Inspect(arguments) => inspect::run(arguments),
        PluginCommand::Test(arguments) => test::run(arguments),
        PluginCommand::Run(arguments) => run::run(arguments),
        PluginCommand::Bench(arguments) => bench::run(arguments),
    }
}

/// Where `test` and `run` keep compiled code. It is no node's folder: what a node runs, it has compiled itself, from a component's
/// bytes alone.
fn cache_dir() -> PathBuf {
    State::default().dir.join("author")
}

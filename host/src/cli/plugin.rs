//! `selvedge plugin`: for those who write plugins.

mod build;
mod inspect;
mod new;
mod test;

use clap::Subcommand;

use super::CliError;

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
}

pub(super) fn run(command: PluginCommand) -> Result<(), CliError> {
    match command {
        PluginCommand::New(arguments) => new::run(arguments),
        PluginCommand::Build(arguments) => build::run(arguments),
        PluginCommand::Inspect(arguments) => inspect::run(arguments),
        PluginCommand::Test(arguments) => test::run(arguments),
    }
}

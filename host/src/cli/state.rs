//! `selvedge state`: copies of what a node keeps. A copy is made beside a running node, and put back where none runs.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::{CliError, config, say};
use crate::state;

/// Commands that copy the state file, and put a copy back.
#[derive(Debug, Subcommand)]
pub(super) enum StateCommand {
    /// Copy the state file as it is now, also beside a running node.
    Backup(StateArguments),
    /// Put a copy in the place of the state file, which is kept; refused while a node runs on it.
    Restore(StateArguments),
}

#[derive(Debug, Args)]
pub(super) struct StateArguments {
    /// The copy; `backup` makes it, and it must not be there.
    file: PathBuf,
    /// The configuration, whose `state.dir` has the file; default configs/demo.toml, /etc/selvedge/selvedge.toml, then the package's own.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(command: StateCommand) -> Result<(), CliError> {
    match command {
        StateCommand::Backup(arguments) => backup(arguments),
        StateCommand::Restore(arguments) => restore(arguments),
    }
}

fn backup(arguments: StateArguments) -> Result<(), CliError> {
    let dir = config(arguments.config)?.state.dir;
    let file = arguments.file;
    state::backup(&dir, &file).context("the state cannot be copied")?;
    say(format_args!(
        "the state of {} is in {}",
        dir.display(),
        file.display()
    ));
    Ok(())
}

fn restore(arguments: StateArguments) -> Result<(), CliError> {
    let dir = config(arguments.config)?.state.dir;
    let file = arguments.file;
    let replaced = state::restore(&dir, &file).context("nothing was restored")?;
    say(format_args!(
        "{} is the state of {} now",
        file.display(),
        dir.display()
    ));
    if let Some(replaced) = replaced {
        say(format_args!("the one before is kept as {}", replaced.display()));
    }
    Ok(())
}

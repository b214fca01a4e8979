//! `selvedge plugin build`: from a project to `dist/NAME.wasm`.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use selvedge_plugin::Grants;
use selvedge_plugin::value::{NAME_LEN_SHOWN, safe};

use crate::author::build::{self, BuildError};
use crate::cli::{CliError, out};

/// Arguments of `plugin build`.
#[derive(Debug, Args)]
pub(in crate::cli) struct BuildArguments {
    /// The plugin's folder.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The folder to put the component in; default `dist` in the plugin's.
    #[arg(long, value_name = "DIR")]
    dist: Option<PathBuf>,
}

pub(super) fn run(arguments: BuildArguments) -> Result<(), CliError> {
    let built = build::build(&arguments.dir, arguments.dist.as_deref()).map_err(|error| match error {
        BuildError::Manifest { .. } | BuildError::NotAPlugin(_) => CliError::Config(vec![error.to_string()]),
        // Its cause is in it already.
        error => anyhow!("{error}").into(),
    })?;
    let (plugin, file) = (&built.plugin, built.file.display());
    let stages: Vec<&str> = plugin.stages.iter().map(|stage| stage.name()).collect();
    out::line(format_args!(
        "{file}: {} KiB, {}",
        plugin.bytes.len().div_ceil(1024),
        stages.join(", ")
    ))?;
    for import in &plugin.imports {
        // A name of another's interface, out of what a tool has made.
        out::line(format_args!("  imports {}", safe(import, NAME_LEN_SHOWN)))?;
    }
    match selvedge_plugin::sandbox::check_imports(plugin, &Grants::default()) {
        Ok(()) => out::line("  an operator need grant it nothing")?,
        Err(denied) => out::line(format_args!("  an operator must grant: {denied}"))?,
    }
    if let Some(reason) = &plugin.mutation {
        out::line(format_args!(
            "  it will be configured for each request, which is slower: {reason}"
        ))?;
    }
    Ok(())
}

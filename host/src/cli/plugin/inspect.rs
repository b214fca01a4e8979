//! `selvedge plugin inspect`: what a component is, without running it.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use selvedge_plugin::{Grants, Plugin, SandboxOptions};
use serde_json::json;

use crate::cli::CliError;

/// Arguments of `plugin inspect`.
#[derive(Debug, Args)]
pub(in crate::cli) struct InspectArguments {
    /// The component, `.wasm`.
    file: PathBuf,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
pub(super) fn run(arguments: InspectArguments) -> Result<(), CliError> {
    let file = arguments.file.display().to_string();
    let bytes = std::fs::read(&arguments.file).with_context(|| format!("{file} cannot be read"))?;
    let name = arguments
        .file
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or("plugin")
        .to_owned();
    let max = SandboxOptions::new(PathBuf::new()).component_size_max;
    let plugin = Plugin::read(&name, bytes.into(), max)
        .map_err(|error| CliError::Config(vec![format!("{file}: {error}")]))?;
    let denied = selvedge_plugin::sandbox::check_imports(&plugin, &Grants::default())
        .err()
        .map(|error| error.to_string());
    let stages: Vec<&str> = plugin.stages.iter().map(|stage| stage.name()).collect();
    if arguments.json {
        let report = json!({
            "file": file, "bytes": plugin.bytes.len(), "digest": format!("sha256:{}", plugin.digest_hex()),
            "stages": stages, "imports": plugin.imports, "exports": plugin.exports,
            "manifest": plugin.manifest, "snapshot": plugin.mutation.is_none(), "denied": denied,
        });
        println!("{report:#}");
        return Ok(());
    }
    print_text(&plugin, &name, denied.as_deref());
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
fn print_text(plugin: &Plugin, name: &str, denied: Option<&str>) {
    let stages: Vec<&str> = plugin.stages.iter().map(|stage| stage.name()).collect();
    let manifest = &plugin.manifest;
    println!(
        "{} {}",
        if manifest.name.is_empty() {
            name
        } else {
            &manifest.name
        },
        manifest.version
    );
    if !manifest.description.is_empty() {
        println!("  {}", manifest.description);
    }
    println!("  size      {} bytes", plugin.bytes.len());
    println!("  digest    sha256:{}", plugin.digest_hex());
    println!(
        "  toolchain {}",
        if manifest.toolchain.is_empty() {
            "not said"
        } else {
            &manifest.toolchain
        }
    );
    println!("  stages    {}", stages.join(", "));
    for import in &plugin.imports {
        println!("  import    {import}");
    }
    println!("  imports   {}", denied.unwrap_or("all of them are free"));
    let wants = &manifest.wants.headers;
    println!(
        "  headers   {}",
        if wants.is_empty() {
            "none".to_owned()
        } else {
            wants.join(", ")
        }
    );
    println!(
        "  snapshot  {}",
        plugin
            .mutation
            .as_deref()
            .unwrap_or("its code does nothing that a snapshot would lose")
    );
}

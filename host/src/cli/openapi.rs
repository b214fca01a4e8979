//! `selvedge openapi`: the document of a configuration, from cards and manifests alone. Nothing is loaded, compiled or bound.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;
use selvedge_plugin::Plugin;

use super::{CliError, config, out};
use crate::config::Config;
use crate::openapi::subject::{Known, Model};
use crate::openapi::{self, Subject};

/// Arguments of `openapi`.
#[derive(Debug, Args)]
pub(super) struct OpenapiArguments {
    /// The configuration; default configs/demo.toml, /etc/selvedge/selvedge.toml, then the package's own.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: OpenapiArguments) -> Result<(), CliError> {
    let config = config(arguments.config)?;
    let subject = subject(&config).map_err(CliError::Config)?;
    out::json(&openapi::describe(&subject))
}

/// What the document is made of, read from the disk; or all that cannot be read.
fn subject(config: &Config) -> Result<Subject, Vec<String>> {
    let mut faults = Vec::new();
    let file = config.file.display();
    let mut models: HashMap<&str, Model> = HashMap::new();
    for (name, model) in &config.models {
        match Model::read(model) {
            Ok(model) => {
                models.insert(name, model);
            }
            Err(why) => faults.push(format!("{file}: models.{name}: {why}")),
        }
    }
    let mut plugins: HashMap<&str, Known> = HashMap::new();
    for (name, plugin) in &config.plugins {
        let path = plugin.path.display();
        let bytes = std::fs::read(&plugin.path).map_err(|error| format!("{path} cannot be read: {error}"));
        let read = bytes.and_then(|bytes| {
            let read = Plugin::read(name, bytes.into(), config.sandbox.component_size_max.0);
            read.map_err(|error| format!("{path}: {error}"))
        });
        match read {
            Ok(plugin) => {
                plugins.insert(name, Known::from(&plugin));
            }
            Err(why) => faults.push(format!("{file}: plugins.{name}.path: {why}")),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let model = |name: &str| models.get(name).cloned().unwrap_or_default();
    Ok(Subject::new(config, model, |name| plugins.get(name).cloned()))
}

//! `selvedge check`: everything that `serve` would check, without serving.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::progress::Progress;
use super::{CliError, config, executor, out};
use crate::app::{self, StartError};
use crate::edge::{Authority, Tokens, signers};
use crate::generation::{EndpointState, Generation, Means};
use selvedge_plugin::Startup;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// The configuration; default configs/demo.toml, /etc/selvedge/selvedge.toml, then the package's own.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: CheckArguments) -> Result<(), CliError> {
    let config = Arc::new(config(arguments.config)?);
    let runtime = app::runtime(&config)?;
    let generation = executor()?.block_on(async {
        let sandbox = app::sandbox(&config)?;
        if let Some(settings) = config.auth.jwt.clone() {
            let read = signers::read(&Tokens::new(settings), &config.folder()).await;
            read.map_err(StartError::Signers)?;
        }
        let means = Means {
            runtime,
            sandbox: &sandbox,
            authority: Authority::Nobody,
            before: None,
            stores: None,
        };
        let progress = Progress::start("checking");
        Ok::<_, CliError>(Generation::build(1, Arc::clone(&config), means, |step| progress.tell(step)).await)
    })?;
    let mut faults: Vec<String> = generation
        .faults()
        .map(|(_, reason)| format!("{}: {reason}", config.file.display()))
        .collect();
    // A model or plugin that several endpoints use is told once.
    faults.sort();
    faults.dedup();
    let file = config.file.display();
    let models = generation
        .models
        .iter()
        .filter_map(|(name, model)| Some((name, model.as_ref().err()?)));
    let models = models.map(|(name, why)| format!("{file}: models.{name}: {why}"));
    let plugins = generation.unreadable.iter().map(|why| format!("{file}: {why}"));
    for fault in models.chain(plugins) {
        if !faults.contains(&fault) {
            faults.push(fault);
        }
    }
    if !faults.is_empty() {
        return Err(CliError::Config(faults));
    }
    warn_of_configure(&generation);
    let (file, endpoints, models) = (
        config.file.display(),
        generation.endpoints.len(),
        generation.models.len(),
    );
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (endpoints, models) = (count(endpoints, "endpoint"), count(models, "model"));
    out::say(format_args!("{file}: all is well: {endpoints}, {models}"));
    Ok(())
}

/// A plugin that cannot be snapshotted works, and slowly; the operator should know.
fn warn_of_configure(generation: &Generation) {
    for endpoint in &generation.endpoints {
        let EndpointState::Ready(ready) = &endpoint.state else {
            continue;
        };
        for attached in &ready.plugins {
            if let Startup::Configure { reason } = attached.attachment.startup() {
                let (plugin, endpoint) = (&attached.attachment.plugin().name, &ready.name);
                out::say(format_args!(
                    "warning: plugin `{plugin}` on endpoint `{endpoint}` is configured for each request: {reason}"
                ));
            }
        }
    }
}

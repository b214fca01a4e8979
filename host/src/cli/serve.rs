//! `selvedge serve`: a node, from its configuration to its end.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tokio::runtime::Handle;

use super::progress::Progress;
use super::{CliError, LogFormat, config, executor, telemetry};
use crate::app::Node;
use crate::config::Config;
use crate::generation::{EndpointState, Generation};
use crate::reload;
use crate::shutdown::{Asked, Signals};
use crate::telemetry::traces::Traces;

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// The configuration; default configs/demo.toml, then /etc/selvedge/selvedge.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: ServeArguments, format: LogFormat) -> Result<(), CliError> {
    let config = config(arguments.config)?;
    let executor = executor()?;
    let traces = traces(&config, executor.handle())?;
    telemetry::start(format, traces.as_ref(), telemetry::LOGGED);
    let outcome = executor.block_on(serve(config));
    if let Some(traces) = traces {
        traces.end();
    }
    // Work on blocking threads, such as a model that is being loaded, must not hold up the end.
    executor.shutdown_background();
    outcome
}

/// Where spans go, where somebody takes them.
fn traces(config: &Config, executor: &Handle) -> Result<Option<Traces>, CliError> {
    let Some(endpoint) = &config.telemetry.otlp else {
        return Ok(None);
    };
    let _executor = executor.enter();
    let traces = Traces::start(endpoint, &config.telemetry);
    let refused = |why| CliError::Config(vec![format!("telemetry.{why}")]);
    traces.map(Some).map_err(refused)
}

async fn serve(config: Config) -> Result<(), CliError> {
    // From here on a signal is not lost, whenever it comes.
    let mut signals = Signals::listen().context("no signal handler")?;
    let mut node = Node::bind(config)?;
    let addresses = node.addresses().to_vec();
    node.accept();
    let generation = {
        let progress = Progress::start("starting");
        tokio::select! {
            generation = node.load(|step| progress.tell(step)) => generation?,
            signal = signals.end() => {
                tracing::info!(signal, "stopped while starting");
                return Ok(());
            }
        }
    };
    if nothing_serves(&generation) {
        let reasons = generation.faults().map(|(_, reason)| reason.to_owned()).collect();
        return Err(CliError::Config(reasons));
    }
    for address in addresses {
        tracing::info!("listening on {}://{address}", node.scheme());
    }
    for address in node.admin_addresses() {
        tracing::info!("operators' listener on {}://{address}", node.admin_scheme());
    }
    let signal = loop {
        match signals.next().await {
            Asked::End(signal) => break signal,
            // What comes of it is in the log; an end that is asked for meanwhile does not wait for it.
            Asked::Reload => tokio::select! {
                outcome = reload::ask(node.app()) => drop(outcome),
                signal = signals.end() => break signal,
            },
        }
    };
    tracing::info!(signal, "draining: requests in flight may finish");
    if !node.drain().await {
        tracing::warn!("`server.drain_timeout` is over: requests still in flight are cut off");
    }
    Ok(())
}

fn nothing_serves(generation: &Generation) -> bool {
    let broken = |state: &EndpointState| matches!(state, EndpointState::Broken(_));
    !generation.endpoints.is_empty()
        && generation
            .endpoints
            .iter()
            .all(|endpoint| broken(&endpoint.state))
}

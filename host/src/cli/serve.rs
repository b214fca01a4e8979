//! `selvedge serve`: a node, from its configuration to its end.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tokio::runtime::Handle;

use super::progress::Progress;
use super::{CliError, LogFormat, config, executor, telemetry};
use crate::activation::{Activation, ActivationSocket};
use crate::app::{Node, StartError, StartMode};
use crate::config::{Address, Config};
use crate::generation::{EndpointState, Generation};
use crate::reload;
use crate::service;
use crate::shutdown::{Asked, Signals};
use crate::telemetry::traces::Traces;
use crate::upgrade::{self, Predecessor, Program};

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// The configuration; default configs/demo.toml, /etc/selvedge/selvedge.toml, then the package's own.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: ServeArguments, format: LogFormat) -> Result<(), CliError> {
    let config = config(arguments.config)?;
    // Before there are threads.
    let start = Start {
        activation: Activation::take().map_err(StartError::from)?,
        program: Program::of_process().context("the path of the binary is not known")?,
    };
    let executor = executor()?;
    let traces = traces(&config, executor.handle())?;
    telemetry::start(format, traces.as_ref(), telemetry::LOGGED);
    let outcome = executor.block_on(serve(config, start));
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

/// The start of this process: the sockets that it was passed, and its binary with the arguments.
struct Start {
    activation: Activation,
    program: Program,
}

/// Reason for the end of a node.
enum End {
    /// A signal of this name asked for it.
    Asked(&'static str),
    /// A process of this id has taken over.
    HandedOver(u32),
}

async fn serve(config: Config, start: Start) -> Result<(), CliError> {
    // From here on a signal is not lost, whenever it comes.
    let mut signals = Signals::listen().context("no signal handler")?;
    let Activation { sockets, ready } = start.activation;
    let mut predecessor = ready.map(Predecessor::new);
    let mode = match predecessor {
        Some(_) => StartMode::HandOver,
        None => StartMode::Alone,
    };
    let (node, status) = match begin(config, sockets, mode, &mut signals).await {
        Ok(Some(begun)) => begun,
        Ok(None) => return Ok(()),
        Err(error) => {
            if let Some(predecessor) = predecessor {
                predecessor.refuse(&reasons(&error));
            }
            return Err(error);
        }
    };
    tell_addresses(&node);
    if let Some(predecessor) = &mut predecessor
        && let Err(error) = predecessor.take_over()
    {
        tracing::warn!(%error, "this node serves, and was not told to take over");
    }
    service::ready(&status);
    let shutdown = node.app().shutdown();
    shutdown.spawn_to_the_end(service::watchdog(shutdown.clone()));
    let successor = match end(&node, &start.program, &mut signals).await {
        End::Asked(signal) => {
            service::stopping();
            tracing::info!(signal, "draining: requests in flight may finish");
            None
        }
        End::HandedOver(id) => {
            shutdown.hand_over();
            tracing::info!("handed over to process {id}; draining: requests in flight may finish");
            Some(id)
        }
    };
    if !drain(&node, successor, &mut signals).await {
        tracing::warn!("`server.drain_timeout` is over: requests still in flight are cut off");
    }
    Ok(())
}

/// Starts a node, and returns it with its status line when it accepts; none if it is to end before.
async fn begin(
    config: Config,
    sockets: Vec<ActivationSocket>,
    mode: StartMode,
    signals: &mut Signals,
) -> Result<Option<(Node, String)>, CliError> {
    let mut node = Node::bind(config, sockets, mode)?;
    // On a socket that was there before, whoever connects waits, or is served by the node that hands over, rather than being told that
    // this one starts.
    let waits = mode == StartMode::HandOver || node.listeners().are_passed();
    if !waits {
        node.accept();
    }
    let generation = {
        let progress = Progress::start("starting");
        let tell = |step: &str| {
            progress.tell(step);
            service::status(&format!("starting: {step}"));
        };
        tokio::select! {
            generation = node.load(tell) => generation?,
            signal = signals.end() => {
                tracing::info!(signal, "stopped while starting");
                return Ok(None);
            }
        }
    };
    if let Some(faults) = refused(&generation, mode) {
        return Err(CliError::Config(faults));
    }
    if waits {
        node.accept();
    }
    Ok(Some((node, status(&generation))))
}

/// Faults for which a node does not serve a generation. In a hand-over it is any, as in a reload: the node before serves without.
fn refused(generation: &Generation, mode: StartMode) -> Option<Vec<String>> {
    let mut faults: Vec<String> = generation.faults().map(|(_, reason)| reason.to_owned()).collect();
    match mode {
        StartMode::Alone => nothing_serves(generation).then_some(faults),
        StartMode::HandOver => {
            faults.extend(generation.unreadable.iter().cloned());
            (!faults.is_empty()).then_some(faults)
        }
    }
}

/// An error as one line, for the log of the node before.
fn reasons(error: &CliError) -> String {
    match error {
        CliError::Config(reasons) => reasons.join("; "),
        error => error.to_string(),
    }
}

/// Does what is asked of the node until it has to end.
async fn end(node: &Node, program: &Program, signals: &mut Signals) -> End {
    loop {
        match signals.next().await {
            Asked::End(signal) => return End::Asked(signal),
            // What comes of it is in the log; an end that is asked for meanwhile does not wait for it.
            Asked::Reload => tokio::select! {
                () = read_again(node) => {}
                signal = signals.end() => return End::Asked(signal),
            },
            Asked::Upgrade => tokio::select! {
                outcome = program.succeed(node.listeners()) => match outcome {
                    Ok(id) => return End::HandedOver(id),
                    Err(error) => tracing::error!(%error, "the node is not handed over, and goes on"),
                },
                signal = signals.end() => return End::Asked(signal),
            },
        }
    }
}

/// Has the node read its configuration again.
async fn read_again(node: &Node) {
    // Operators may have asked for a reload as well, which may have read the file as it was before.
    drop(node.app().reloading().lock().await);
    // If one of theirs comes first now, it reads what this one would.
    drop(reload::ask(node.app()).await);
}

/// Drains a node. What is asked meanwhile is passed on to the process that has taken over, if there is one.
async fn drain(node: &Node, successor: Option<u32>, signals: &mut Signals) -> bool {
    let mut drained = std::pin::pin!(node.drain());
    loop {
        tokio::select! {
            biased;
            asked = signals.next() => {
                if let Some(id) = successor {
                    upgrade::forward(asked, id);
                }
            }
            all = &mut drained => return all,
        }
    }
}

fn tell_addresses(node: &Node) {
    let sides = [
        ("listening", node.addresses(), node.scheme()),
        ("operators' listener", node.admin_addresses(), node.admin_scheme()),
    ];
    for (what, addresses, scheme) in sides {
        for address in addresses {
            match address {
                Address::Tcp(address) => tracing::info!("{what} on {scheme}://{address}"),
                Address::Unix(_) => tracing::info!("{what} on {address} ({scheme})"),
            }
        }
    }
}

/// Status line for the service manager: the number of endpoints that are served. An operator sees it first.
fn status(generation: &Generation) -> String {
    let (all, broken) = (generation.endpoints.len(), generation.faults().count());
    match broken {
        0 => format!("serving {all} endpoints"),
        broken => format!(
            "serving {} of {all} endpoints; the log says why",
            all.saturating_sub(broken)
        ),
    }
}

fn nothing_serves(generation: &Generation) -> bool {
    let broken = |state: &EndpointState| matches!(state, EndpointState::Broken(_));
    !generation.endpoints.is_empty()
        && generation
            .endpoints
            .iter()
            .all(|endpoint| broken(&endpoint.state))
}

//! `selvedge model`: what models a configuration has, and what a model's folder says.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use selvedge_model::{Card, Model, ModelOptions, Port, Runtime};
use serde_json::{Value, json};

use super::{CliError, config, executor, out};
use crate::config::Source;

/// Subcommands of `model`.
#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    /// List the models of a configuration.
    List(ListArguments),
    /// Load a model's folder and show its card, its signature and its device.
    Inspect(InspectArguments),
}

/// Arguments of `model list`.
#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// The configuration; default configs/demo.toml, /etc/selvedge/selvedge.toml, then the package's own.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `model inspect`.
#[derive(Debug, Args)]
pub(super) struct InspectArguments {
    /// The folder with its model.toml.
    dir: PathBuf,
    /// ONNX Runtime's library, where it is not where `serve` would look.
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: ModelCommand) -> Result<(), CliError> {
    match command {
        ModelCommand::List(arguments) => list(arguments),
        ModelCommand::Inspect(arguments) => inspect(arguments),
    }
}

fn list(arguments: ListArguments) -> Result<(), CliError> {
    let config = config(arguments.config)?;
    let entries: Vec<Value> = config
        .models
        .iter()
        .map(|(name, model)| match model.source() {
            Source::Upstream(upstream) => json!({
                "name": name, "upstream": upstream.url, "model": upstream.model, "task": upstream.task,
                "kind": upstream.kind.name(),
            }),
            Source::Folder(path) => match Card::read(path) {
                Ok(card) => json!({
                    "name": name, "path": path, "model": card.name, "task": card.task,
                    "file": model.file.as_ref().unwrap_or(&card.file), "licence": card.licence,
                }),
                Err(error) => json!({ "name": name, "path": path, "error": error.to_string() }),
            },
        })
        .collect();
    if arguments.json {
        return out::json(&Value::from(entries));
    }
    for entry in entries {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let rest = if entry["error"].is_null() {
            format!(
                "{:<20} {} ({}, {})",
                text("task"),
                text("model"),
                text("file"),
                text("licence")
            )
        } else {
            text("error")
        };
        out::line(format_args!("{:<16} {rest}", text("name")))?;
    }
    Ok(())
}

fn inspect(arguments: InspectArguments) -> Result<(), CliError> {
    let refused = |error: selvedge_model::LoadError| CliError::Config(vec![error.to_string()]);
    let runtime = Runtime::load(arguments.library.as_deref()).map_err(refused)?;
    let executor = executor()?;
    let _on_executor = executor.enter();
    let model =
        Model::load(&runtime, "inspected", &arguments.dir, &ModelOptions::default()).map_err(refused)?;
    let card = serde_json::to_value(model.card()).context("the card is JSON")?;
    let port = |port: &Port| json!({ "name": port.name, "type": port.describe() });
    let signature = model.signature();
    let report = json!({
        "card": card,
        "file": model.file(),
        "bytes": std::fs::metadata(model.file()).map(|file| file.len()).unwrap_or_default(),
        "inputs": signature.inputs.iter().map(port).collect::<Vec<_>>(),
        "outputs": signature.outputs.iter().map(port).collect::<Vec<_>>(),
        "device": model.device(),
        "onnxruntime": { "library": runtime.library(), "build": runtime.build_info() },
    });
    if arguments.json {
        return out::line(format_args!("{report:#}"));
    }
    told(&runtime, &model, &report["bytes"])
}

/// The same for people.
fn told(runtime: &Runtime, model: &Model, bytes: &Value) -> Result<(), CliError> {
    let (card, signature) = (model.card(), model.signature());
    out::line(format_args!("{} ({})", card.name, card.task.name()))?;
    out::line(format_args!("  {}", card.description))?;
    out::line(format_args!("  licence   {}, from {}", card.licence, card.source))?;
    out::line(format_args!(
        "  file      {}, {bytes} bytes",
        model.file().display()
    ))?;
    for (kind, ports) in [("input", &signature.inputs), ("output", &signature.outputs)] {
        for port in ports {
            out::line(format_args!("  {kind:<9} {}: {}", port.name, port.describe()))?;
        }
    }
    for (metric, value) in &card.metrics {
        out::line(format_args!("  metric    {metric} = {value}"))?;
    }
    let device = model.device();
    let why = device
        .why
        .as_ref()
        .map(|why| format!(" ({why})"))
        .unwrap_or_default();
    out::line(format_args!("  device    {}{why}", device.got.name()))?;
    out::line(format_args!(
        "  runtime   {}, {}",
        runtime.library().display(),
        runtime.build_info()
    ))
}

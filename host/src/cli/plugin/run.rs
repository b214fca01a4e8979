//! `selvedge plugin run`: one call of a component in the sandbox that serves, for trying.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use selvedge_plugin::Limits;
use selvedge_plugin::cases::{Case, CaseError};

use super::test::refused;
use crate::author::{self, TestError, report};
use crate::cli::{CliError, executor, out};

/// The options that name a file, each by the name that the file has in a case.
const OPTIONS: [&str; 9] = [
    "request", "config", "allow", "headers", "parts", "labels", "text", "chunks", "events",
];

/// Arguments of `plugin run`. The files are those of a golden case, of any name.
#[derive(Debug, Args)]
pub(in crate::cli) struct RunArguments {
    /// The component, `.wasm`.
    file: PathBuf,
    /// The request's body; `-` reads it from standard input.
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// What the plugin is configured with; `{}` where it is not said.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What it is granted, and what stands in for it, as `allow.json` of a case.
    #[arg(long, value_name = "FILE")]
    allow: Option<PathBuf>,
    /// The request's headers, an object.
    #[arg(long, value_name = "FILE")]
    headers: Option<PathBuf>,
    /// The parts of a form.
    #[arg(long, value_name = "FILE")]
    parts: Option<PathBuf>,
    /// For a post-processor: labels with their scores, a list for each input.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Or texts that were generated.
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// For a stream: pushes and pauses.
    #[arg(long, value_name = "FILE")]
    chunks: Option<PathBuf>,
    /// For an observer: events.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// A case's folder, for what is not named here.
    #[arg(long, value_name = "DIR")]
    case: Option<PathBuf>,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: RunArguments) -> Result<(), CliError> {
    let is_json = arguments.json;
    let component = arguments.file.clone();
    // Kept until the call is over: a body that came by standard input is in it.
    let own = tempfile::tempdir().context("there is no room for a temporary folder")?;
    let case = case(arguments, own.path())?;
    let outcome = executor()?
        .block_on(author::try_out(&component, &case, &super::cache_dir()))
        .map_err(|error| unmet(error, own.path()))?;
    if is_json {
        out::json(&report::case_json(&outcome))?;
    } else {
        out::write(report::run_text(&outcome, &Limits::default()))?;
    }
    match outcome.found.codes.first().map(String::as_str) {
        None => Ok(()),
        Some("refused") => Err(CliError::Config(vec!["the configuration is refused".to_owned()])),
        Some(code) => Err(anyhow!("the plugin gave no answer ({code})").into()),
    }
}

/// Why there was no call. A file that nobody named is told as the option that names it, and not by the place where it was looked for.
fn unmet(error: TestError, own: &Path) -> CliError {
    let (file, why) = match &error {
        TestError::Case(CaseError::File { file, why }) if file.starts_with(own) => (file, why),
        _ => return refused(error),
    };
    let mut told = why.replace("`scores.json`", "`--case` with `scores.json`");
    for name in OPTIONS {
        told = told.replace(&format!("`{name}.json`"), &format!("`--{name}`"));
    }
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    anyhow!("--{name}: {told}").into()
}

/// The case that the arguments come to.
fn case(arguments: RunArguments, own: &Path) -> Result<Case, CliError> {
    if let Some(dir) = arguments.case.as_ref().filter(|dir| !dir.is_dir()) {
        return Err(anyhow!("--case {}: there is no such folder", dir.display()).into());
    }
    let mut request = arguments.request;
    if request.as_deref() == Some("-".as_ref()) {
        let file = own.join("body");
        take_input(&file).context("the body cannot be taken from standard input")?;
        request = Some(file);
    }
    let files = [
        request,
        arguments.config,
        arguments.allow,
        arguments.headers,
        arguments.parts,
        arguments.labels,
        arguments.text,
        arguments.chunks,
        arguments.events,
    ];
    let named = OPTIONS
        .iter()
        .zip(files)
        .filter_map(|(name, file)| Some((format!("{name}.json"), file?)));
    let named: BTreeMap<String, PathBuf> = named.collect();
    // A folder that is not there has no files.
    let dir = arguments.case.unwrap_or_else(|| own.join("case"));
    Case::of(dir, named).map_err(|error| CliError::Failed(error.into()))
}

fn take_input(file: &Path) -> std::io::Result<()> {
    let mut file = std::fs::File::create(file)?;
    std::io::copy(&mut std::io::stdin().lock(), &mut file).map(drop)
}

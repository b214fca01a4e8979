//! `selvedge plugin bench`: what a plugin's start and its calls take, and how that was before.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use serde_json::{Value, json};

use super::test::{component, refused};
use crate::author::bench::compare::{Kind, Row, rows, worse};
use crate::author::bench::{self, BenchError, Measurement, Options};
use crate::author::report::thousands;
use crate::cli::progress::Progress;
use crate::cli::{CliError, out};

/// The longest that one thing may be measured.
const TIME_MAX: Duration = Duration::from_secs(600);

/// Arguments of `plugin bench`.
#[derive(Debug, Args)]
pub(in crate::cli) struct BenchArguments {
    /// The plugin's folder, which has `cases/` and `manifest.json`.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The component; default `dist/NAME.wasm` in the plugin's folder or beside it, by the manifest's name.
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Measure with cases alone whose names have this in them; of each stage the first that gives an answer.
    #[arg(long, value_name = "PART", default_value = "")]
    case: String,
    /// How long each thing is measured.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    time: Duration,
    /// Compare with what `--save` wrote.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write the measurement to a file, to be compared with later.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Exit with 4 where a median, a rate or a size is so many times worse than the baseline's, such as 1.5.
    #[arg(long, value_name = "RATIO", requires = "baseline", value_parser = ratio)]
    fail_above: Option<f64>,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() || time > TIME_MAX => {
            Err("must be more than 0s, and at most 10m".to_owned())
        }
        parsed => parsed.map_err(|error| error.to_string()),
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(ratio) if (1.0..=1000.0).contains(&ratio) => Ok(ratio),
        _ => Err("must be a number from 1 to 1000".to_owned()),
    }
}

pub(super) fn run(arguments: BenchArguments) -> Result<(), CliError> {
    let options = Options {
        component: match arguments.component {
            Some(component) => component,
            None => component(&arguments.dir)?,
        },
        cases: arguments.dir.join("cases"),
        only: arguments.case,
        time: arguments.time,
    };
    // A baseline that cannot be read is told of before anything is measured.
    let before = arguments.baseline.as_deref().map(baseline).transpose()?;
    let progress = Progress::start("compiling");
    let measured = bench::measure(&options, |what| progress.tell(what));
    drop(progress);
    let now = measured.map_err(failed)?;
    if let Some(before) = before.as_ref().filter(|before| before.plugin != now.plugin) {
        let (theirs, ours) = (&before.plugin, &now.plugin);
        return Err(anyhow!("the baseline is of the plugin `{theirs}`, and this is `{ours}`").into());
    }
    let rows = rows(&now, before.as_ref());
    if arguments.json {
        out::json(&as_json(&now, before.as_ref(), &rows))?;
    } else {
        out::write(text(&now, before.as_ref(), &rows))?;
    }
    if let Some(file) = arguments.save {
        let measurement = serde_json::to_string_pretty(&now).context("the measurement is no JSON")?;
        let written = std::fs::write(&file, measurement + "\n");
        written.with_context(|| format!("{} cannot be written", file.display()))?;
    }
    match arguments.fail_above.map(|max| (max, worse(&rows, max))) {
        Some((max, worse)) if !worse.is_empty() => {
            let names: Vec<&str> = worse.iter().map(|row| row.name.as_str()).collect();
            Err(CliError::PluginSlower(max, names.join(", ")))
        }
        _ => Ok(()),
    }
}

/// Reads what `--save` wrote.
fn baseline(file: &Path) -> Result<Measurement, CliError> {
    let broken =
        |why: &dyn std::fmt::Display| anyhow!("{}: {why}; `--save` writes a baseline", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| broken(&error))?;
    Ok(serde_json::from_str(&text).map_err(|error| broken(&error))?)
}

fn failed(error: BenchError) -> CliError {
    match error {
        BenchError::Test(error) => refused(error),
        BenchError::Attach { .. } => CliError::Config(vec![error.to_string()]),
        BenchError::Case(_) | BenchError::NoCase(_) | BenchError::Call(_) | BenchError::Machine(_) => {
            CliError::Failed(error.into())
        }
    }
}

fn text(now: &Measurement, before: Option<&Measurement>, rows: &[Row]) -> String {
    let mut out = String::new();
    // Nothing is written that a String could refuse.
    let mut line = |text: String| writeln!(out, "{}", text.trim_end()).unwrap_or_default();
    line(format!(
        "{}  {} KiB  {} threads of {}",
        now.plugin,
        now.bytes >> 10,
        now.threads,
        now.processor
    ));
    for (stage, times) in &now.stages {
        line(format!("{stage}: the case `{}`", times.case));
    }
    for stage in &now.without_case {
        line(format!("{stage}: there is no case that it gives an answer on"));
    }
    let head = if before.is_some() {
        "before       times"
    } else {
        ""
    };
    line(format!("{:36}{:>12}{:>12}{head:>24}", "", "median", "p99"));
    for row in rows {
        let p99 = row.p99.map(|p99| shown(row.kind, p99)).unwrap_or_default();
        let before = row
            .before
            .map(|before| shown(row.kind, before))
            .unwrap_or_default();
        let ratio = row.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        let value = shown(row.kind, row.value);
        line(format!(
            "{:36}{value:>12}{p99:>12}{before:>12}{ratio:>12}",
            row.name
        ));
    }
    if let Some(before) = before.filter(|before| before.processor != now.processor) {
        line(format!(
            "the baseline was measured on another processor: {}",
            before.processor
        ));
    }
    out
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates and bytes are never negative, and their fraction is not told"
)]
fn shown(kind: Kind, value: f64) -> String {
    match kind {
        Kind::Time if value >= 1e4 => format!("{:.1} ms", value / 1e3),
        Kind::Time => format!("{value:.1} us"),
        Kind::Rate => format!("{}/s", thousands(value as u64)),
        Kind::Bytes => format!("{} KiB", thousands(value as u64 >> 10)),
    }
}

fn as_json(now: &Measurement, before: Option<&Measurement>, rows: &[Row]) -> Value {
    let ratios = rows
        .iter()
        .filter_map(|row| Some((row.name.clone(), json!(row.ratio()?))));
    json!({ "now": now, "baseline": before, "times_worse": ratios.collect::<serde_json::Map<_, _>>() })
}

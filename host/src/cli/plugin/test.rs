//! `selvedge plugin test`: a plugin's golden cases, in the sandbox that serves, with what each took of its limits.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use selvedge_plugin::{Limits, Manifest};

use crate::author::{self, Suite, TestError, report};
use crate::cli::{CliError, executor, out};

/// Arguments of `plugin test`.
#[derive(Debug, Args)]
pub(in crate::cli) struct TestArguments {
    /// The plugin's folder, which has `cases/` and `manifest.json`.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The component; default `dist/NAME.wasm` in the plugin's folder or beside it, by the manifest's name.
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Run the cases alone whose names have this in them.
    #[arg(long, value_name = "PART", default_value = "")]
    case: String,
    /// Write what is found as what is expected.
    #[arg(long)]
    update: bool,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    /// Write JUnit's XML to a file as well.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

pub(super) fn run(arguments: TestArguments) -> Result<(), CliError> {
    let component = match arguments.component {
        Some(component) => component,
        None => component(&arguments.dir)?,
    };
    // Those beside the folder are built by something else, which leaves a component alone that comes out the same.
    if component.starts_with(arguments.dir.join("dist")) {
        warn_of_age(&arguments.dir, &component);
    }
    let suite = Suite {
        component,
        cases: arguments.dir.join("cases"),
        update: arguments.update,
        only: arguments.case,
        cache: super::cache_dir(),
    };
    let outcomes = executor()?.block_on(author::test(&suite)).map_err(refused)?;
    if arguments.json {
        out::json(&report::json(&outcomes))?;
    } else {
        out::write(report::text(&outcomes, &Limits::default()))?;
    }
    if let Some(file) = arguments.junit {
        let name = suite.component.file_stem().unwrap_or_default().to_string_lossy();
        let xml = report::junit(&name, &outcomes).map_err(anyhow::Error::msg)?;
        std::fs::write(&file, xml).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    match failed {
        0 => Ok(()),
        count => Err(CliError::PluginTests(count)),
    }
}

/// Says so where a component is older than what it is built from: its cases would prove nothing.
fn warn_of_age(dir: &Path, component: &Path) {
    let changed = |file: &Path| std::fs::metadata(file).and_then(|found| found.modified()).ok();
    let Some(built) = changed(component) else { return };
    let mut sources: Vec<PathBuf> = ["manifest.json", "Cargo.toml"].map(|file| dir.join(file)).into();
    for folder in ["src", "wit"] {
        collect(&dir.join(folder), &mut sources);
    }
    if let Some(file) = sources.iter().find(|file| changed(file) > Some(built)) {
        out::say(format_args!(
            "warning: {} is newer than {}: `selvedge plugin build` first",
            file.display(),
            component.display()
        ));
    }
}

/// The files of a folder and those in it, without what Python keeps beside its sources.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_file() {
            files.push(path);
        } else if entry.file_name() != "__pycache__" {
            collect(&path, files);
        }
    }
}

/// A plugin that may not run is refused as a configuration with it would be.
pub(super) fn refused(error: TestError) -> CliError {
    match error {
        TestError::Plugin { .. } => CliError::Config(vec![error.to_string()]),
        error => CliError::Failed(error.into()),
    }
}

/// Where the component of a plugin is, as its build puts it.
pub(super) fn component(dir: &Path) -> Result<PathBuf, CliError> {
    let file = dir.join("manifest.json");
    let unread = |why: &dyn std::fmt::Display| {
        format!("{}: {why}; name the component with --component", file.display())
    };
    let text = std::fs::read_to_string(&file).map_err(|error| anyhow!(unread(&error)))?;
    let manifest = Manifest::read(text.as_bytes()).map_err(|why| CliError::Config(vec![unread(&why)]))?;
    let name = format!("{}.wasm", manifest.name);
    let places = [dir.join("dist"), dir.join("../dist")].map(|dist| dist.join(&name));
    let found = places.iter().find(|place| place.is_file());
    found.cloned().ok_or_else(|| {
        let [first, second] = places.map(|place| place.display().to_string());
        anyhow!("there is no component at {first} or {second}: build the plugin first").into()
    })
}

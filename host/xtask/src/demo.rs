//! The demo: makes what its configuration names, builds the host beside it, and serves. The second time it only serves.

use std::path::PathBuf;

use anyhow::Result;

use crate::run::{PROFILE, Root, Tool, cargo, fetch_crates};
use crate::setup::{Configuration, Scope, sweep};
use crate::steps::{Steps, say};
use crate::wasm::own_triple;
use crate::{checks, crates};

/// Configuration that is served if none is named.
const CONFIGURATION: &str = "configs/demo.toml";

/// Sets up, builds and serves; `rest` goes to `selvedge serve`.
pub(crate) fn run(root: &Root, rest: &[String]) -> Result<()> {
    let configuration = named(root, rest).unwrap_or_else(|| root.join(CONFIGURATION));
    let configuration = Configuration::read(&configuration)?;
    checks::addresses(&configuration.listen(), configuration.file())?;
    let steps = Steps::new();
    let built = build(root, &steps, configuration);
    steps.finish(built)?;
    say("serving; the first start compiles the plugins, later ones do not");
    let serve = Tool::new(root.binary()).arg("serve").current_dir(root.path());
    serve.args(rest).replace_this_process()
}

fn build(root: &Root, steps: &Steps, configuration: Configuration) -> Result<()> {
    let is_new = !root.binary().is_file();
    if is_new {
        checks::compiler()?;
        checks::space(root, &checks::DEMO)?;
    }
    let needs = Scope::Demo(configuration).needs(root)?;
    steps.plan(["host".to_owned()]);
    steps.plan(needs.steps());
    let host = || {
        if is_new {
            say("building it (minutes, the first time)");
            crates::take(root)?;
            fetch_crates(root.path(), &[&own_triple()?])?;
        }
        Ok(cargo(root).args(["build", "--profile", PROFILE, "--package", "selvedge"]))
    };
    steps.run_beside("host", host, || needs.make(root, steps))?;
    needs.make_scripts(root)?;
    if !is_new {
        return Ok(());
    }
    crates::keep(root)?;
    sweep()
}

/// The file that `--config` names, as `selvedge serve` reads it from the project's folder.
pub(crate) fn named(root: &Root, rest: &[String]) -> Option<PathBuf> {
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        if argument == "--config" {
            return rest.next().map(|file| root.join(file));
        }
        if let Some(file) = argument.strip_prefix("--config=") {
            return Some(root.join(file));
        }
    }
    None
}

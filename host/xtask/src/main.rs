//! `cargo xtask`: set-up, builds, checks and benches, for people who work on Selvedge. Each says what it does, and does
//! nothing twice.

mod browser;
mod cache;
mod checks;
mod ci;
mod crates;
mod deep;
mod demo;
mod dist;
mod features;
mod fuzz;
mod models;
mod onnxruntime;
mod pins;
mod plugins;
mod promtool;
mod python;
mod run;
mod rust_version;
mod setup;
mod steps;
mod tidy;
mod wasm;

use std::process::ExitCode;

use anyhow::{Result, bail};

use onnxruntime::Device;
use run::Root;
use setup::{Configuration, Scope};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo       set up what configs/demo.toml names, build the host and serve it; arguments go to `selvedge serve`
  test       set up and run every test; arguments go to `cargo test`
             --deep [PART..]: what takes long instead; without a part, says which there are
  setup      fetch ONNX Runtime, make the models, get a compiler for plugins, build the plugins
             --gpu: ONNX Runtime with CUDA; --config FILE: only what a configuration names
  plugins    build the plugins into plugins/dist/
  models     make the models that are not part of the project
  train      train models/spam again (its ONNX is part of the project)
  pins       ask pip for the versions and hashes of the Python packages anew
  lint       formatting, clippy and docs, with warnings denied
  tidy       the rules that no compiler keeps
  ci         lint, test, and `selvedge check` on every file in configs/
  bench      the benches; `bench peers [embeddings|generation|upstream]` compares with other servers,
             `bench attack` asks what hostile plugins cost the others
  dist       packages into target/dist/: a tarball, a .deb, a wheel; `dist --help` has the rest
  fuzz       `fuzz [TARGET] [SECONDS]`: bytes of a fuzzer against what reads bytes, a minute each where nothing is said

What was fetched or made is kept in $SELVEDGE_CACHE or ~/.cache/selvedge, for every clone: 8 GiB at most.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    match dispatch(command, rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {command}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Commands that compile. `dist`, which has options that compile nothing, asks for a compiler itself.
const COMPILING: [&str; 8] = ["setup", "demo", "test", "plugins", "lint", "ci", "fuzz", "bench"];

fn dispatch(command: &str, rest: &[String]) -> Result<()> {
    let root = Root::find()?;
    if COMPILING.contains(&command) {
        checks::rust(&root)?;
    }
    match command {
        "setup" => set_up(&root, rest),
        "demo" => demo::run(&root, rest),
        "test" => ci::test(&root, rest),
        "plugins" => all_plugins(&root),
        "models" => setup::models(&root),
        "train" => models::train(&root),
        "pins" => pins::renew(&root),
        "lint" => ci::lint(&root),
        "tidy" => tidy::check(&root),
        "ci" => ci::run(&root),
        "dist" => dist::run(&root, rest),
        "fuzz" => fuzz::run(&root, rest),
        "bench" => ci::bench(&root, rest),
        _ => {
            eprint!("{USAGE}");
            bail!("there is no such command")
        }
    }
}

/// Makes what the tests need, or what one configuration names.
fn set_up(root: &Root, rest: &[String]) -> Result<()> {
    let device = match rest.iter().any(|flag| flag == "--gpu") {
        true => Device::Gpu,
        false => Device::Cpu,
    };
    let scope = match demo::named(root, rest) {
        Some(file) => Scope::Demo(Configuration::read(&file)?),
        None => Scope::Tests,
    };
    setup::run(root, &scope, device)
}

/// All plugins; those in JavaScript and Python are built by the host.
fn all_plugins(root: &Root) -> Result<()> {
    checks::compiler()?;
    checks::space(root, &[checks::PLUGINS])?;
    plugins::build(root, &plugins::names(root)?)?;
    if !root.binary().is_file() {
        steps::say(
            "the plugins in JavaScript and Python are left out: the host that builds them is not built yet",
        );
        return Ok(());
    }
    let scripts: Vec<String> = plugins::script_names().map(str::to_owned).collect();
    plugins::build_scripts(root, &scripts)
}

//! `cargo xtask`: set-up, builds, checks and benches, for people who work on Selvedge. Each says what it does, and does
//! nothing twice.

mod browser;
mod ci;
mod fuzz;
mod models;
mod onnxruntime;
mod plugins;
mod promtool;
mod python;
mod run;
mod tidy;
mod wasm;

use std::process::ExitCode;

use anyhow::{Result, bail};

use run::{Root, cargo};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  setup      fetch ONNX Runtime, make the models, get a compiler for plugins, build the plugins
             --gpu: ONNX Runtime with CUDA
  demo       set up, build the host and serve configs/demo.toml; arguments go to `selvedge serve`
  test       set up and run every test; arguments go to `cargo test`
  plugins    build the plugins into plugins/dist/
  models     make the models that are not part of the project
  train      train models/spam again (its ONNX is part of the project)
  lint       formatting, clippy and docs, with warnings denied
  tidy       the rules that no compiler keeps
  ci         lint, test, and `selvedge check` on every file in configs/
  bench      the benches; `bench peers [embeddings|generation|upstream]` compares with other servers,
             `bench attack` asks what hostile plugins cost the others
  fuzz       `fuzz [TARGET] [SECONDS]`: bytes of a fuzzer against what reads bytes, a minute each where nothing is said
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

fn dispatch(command: &str, rest: &[String]) -> Result<()> {
    let root = Root::find()?;
    match command {
        "setup" => setup(&root, rest.iter().any(|flag| flag == "--gpu")),
        "demo" => demo(&root, rest),
        "test" => ci::test(&root, rest),
        "plugins" => all_plugins(&root),
        "models" => models::make(&root),
        "train" => models::train(&root),
        "lint" => ci::lint(&root),
        "tidy" => tidy::check(&root),
        "ci" => ci::run(&root),
        "fuzz" => fuzz::run(&root, rest),
        "bench" => ci::bench(&root, rest),
        _ => {
            eprint!("{USAGE}");
            bail!("there is no such command")
        }
    }
}

/// Everything that building and serving need and the project does not hold.
fn setup(root: &Root, gpu: bool) -> Result<()> {
    onnxruntime::fetch(root, gpu)?;
    models::make(root)?;
    plugins::build(root)
}

/// All plugins; those in JavaScript and Python are built by the host.
fn all_plugins(root: &Root) -> Result<()> {
    plugins::build(root)?;
    if !root.target().join("release/selvedge").is_file() {
        run::say(
            "the plugins in JavaScript and Python are left out: the host that builds them is not built yet",
        );
        return Ok(());
    }
    plugins::build_scripts(root)
}

fn demo(root: &Root, rest: &[String]) -> Result<()> {
    setup(root, false)?;
    run::say("building the host (some minutes the first time)");
    cargo(root)
        .args(["build", "--release", "--package", "selvedge"])
        .run()?;
    run::say("serving configs/demo.toml; the first start compiles the plugins, later ones do not");
    let serve = run::Tool::new(root.target().join("release/selvedge"))
        .arg("serve")
        .current_dir(root.path());
    serve.args(rest).replace_this_process()
}

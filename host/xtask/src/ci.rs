//! What a change must pass: lint, tests, and a check of every configuration; and the benches.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::python::{Layer, environment};
use crate::run::{PROFILE, Root, Tool, cargo};
use crate::setup::{Needs, Scope, sweep};
use crate::steps::{Steps, say};
use crate::wasm::Compiler;
use crate::{browser, checks, crates, deep, features, models, promtool, python, setup, tidy};

/// Plugins of tests that use what a component alone has; natively they do not build, so neither clippy nor `cargo test` takes them.
const ONLY_GUESTS: [&str; 6] = [
    "hostile",
    "hostile-stream",
    "hostile-decode",
    "hostile-observer",
    "hostile-answer",
    "hostile-http",
];

/// Tests that run at once, for each core. Most of them wait most of the time: for a node, for a time limit, for another process. Those
/// that work with what is large bound themselves to one for each core: `heavy` in the host's tests.
const TESTS_PER_CORE: usize = 2;

/// Everything, what fails soonest first.
pub(crate) fn run(root: &Root) -> Result<()> {
    let steps = Steps::new();
    let ran = all(root, &steps);
    steps.finish(ran)
}

fn all(root: &Root, steps: &Steps) -> Result<()> {
    let needs = Scope::Tests.needs(root)?;
    steps.plan(["tidy", "features", "formatting", "clippy"]);
    steps.plan(needs.steps());
    steps.plan([PLUGIN_CLIPPY, PLUGIN_TESTS, "docs"]);
    steps.plan(TEST_STEPS);
    steps.plan(["host's tests", "configurations"]);
    steps.run("tidy", || tidy::check(root))?;
    steps.run("features", || features::check(root))?;
    steps.run("formatting", || format(root))?;
    checks::compiler()?;
    checks::space(root, &checks::TESTS)?;
    crates::take(root)?;
    let host = || {
        say("checking the host");
        Ok(clippy(root))
    };
    // Clippy of one crate uses one core; what works on the plugins, in a folder of their own, uses the other.
    steps.run_beside("clippy", host, || {
        needs.make(root, steps)?;
        steps.run(PLUGIN_CLIPPY, || clippy_of_plugins(root))?;
        steps.run(PLUGIN_TESTS, || test_plugins(root))
    })?;
    steps.run("docs", || docs(root))?;
    prepare_tests(root, steps, &needs)?;
    crates::keep(root)?;
    run_host_tests(root, steps, &[])?;
    steps.run("configurations", || check_configs(root))?;
    sweep()
}

/// Formatting, clippy and docs.
pub(crate) fn lint(root: &Root) -> Result<()> {
    let steps = Steps::new();
    steps.plan(["tidy", "formatting", "clippy", PLUGIN_CLIPPY, "docs"]);
    let linted = steps
        .run("tidy", || tidy::check(root))
        .and_then(|()| steps.run("formatting", || format(root)))
        .and_then(|()| steps.run("clippy", || clippy(root).run()))
        .and_then(|()| steps.run(PLUGIN_CLIPPY, || clippy_of_plugins(root)))
        .and_then(|()| steps.run("docs", || docs(root)));
    steps.finish(linted)
}

fn format(root: &Root) -> Result<()> {
    say("`cargo fmt --check` of both workspaces");
    cargo(root)
        .args(["fmt", "--all", "--check"])
        .run()
        .context("run `cargo fmt`")?;
    let plugins = Tool::new("cargo")
        .current_dir(root.join("plugins"))
        .args(["fmt", "--all", "--check"]);
    plugins.run().context("run `cargo fmt` in plugins/")
}

/// Arguments that make a warning an error.
const DENIED: [&str; 3] = ["--", "-D", "warnings"];

fn clippy(root: &Root) -> Tool {
    cargo(root)
        .args([
            "clippy",
            "--profile",
            PROFILE,
            "--workspace",
            "--all-targets",
            "--quiet",
        ])
        .args(DENIED)
}

const PLUGIN_CLIPPY: &str = "clippy of the plugins";

fn clippy_of_plugins(root: &Root) -> Result<()> {
    say("checking the plugins, as native code");
    let plugins = Tool::new("cargo").current_dir(root.join("plugins"));
    plugins
        .args(["clippy", "--workspace", "--all-targets", "--quiet"])
        .args(without(&ONLY_GUESTS))
        .args(DENIED)
        .run()
}

fn docs(root: &Root) -> Result<()> {
    say("`cargo doc` of the host");
    cargo(root)
        .env("RUSTDOCFLAGS", "-D warnings")
        .args(["doc", "--profile", PROFILE, "--workspace", "--no-deps", "--quiet"])
        .run()
}

const PLUGIN_TESTS: &str = "plugins' tests";

/// The steps of `prepare_tests` beside those of what is needed.
pub(crate) const TEST_STEPS: [&str; 3] = ["tests' build", "clients", "scripts"];

/// Every test: the plugins' cores natively, then the host's crates and the host as a whole. With `--deep`, others.
pub(crate) fn test(root: &Root, rest: &[String]) -> Result<()> {
    if let Some((first, parts)) = rest.split_first()
        && first == "--deep"
    {
        return deep::run(root, parts);
    }
    let steps = Steps::new();
    let tested = plan_and_test(root, &steps, rest);
    steps.finish(tested)
}

fn plan_and_test(root: &Root, steps: &Steps, rest: &[String]) -> Result<()> {
    let needs = Scope::Tests.needs(root)?;
    let is_new = !root.binary().is_file();
    if is_new {
        checks::compiler()?;
        checks::space(root, &checks::TESTS)?;
        crates::take(root)?;
    }
    steps.plan(needs.steps());
    steps.plan(TEST_STEPS);
    if rest.is_empty() {
        steps.plan([PLUGIN_TESTS]);
    }
    steps.plan(["host's tests"]);
    prepare_tests(root, steps, &needs)?;
    if is_new {
        crates::keep(root)?;
    }
    if rest.is_empty() {
        steps.run(PLUGIN_TESTS, || test_plugins(root))?;
    }
    run_host_tests(root, steps, rest)?;
    if is_new { sweep() } else { Ok(()) }
}

fn test_plugins(root: &Root) -> Result<()> {
    say("testing the plugins' cores, as native code");
    let plugins = Tool::new("cargo").current_dir(root.join("plugins"));
    plugins
        .args(["test", "--workspace", "--lib", "--quiet"])
        .args(without(&ONLY_GUESTS))
        .run()
}

/// Builds the host and its tests, and makes what they need beside it.
pub(crate) fn prepare_tests(root: &Root, steps: &Steps, needs: &Needs) -> Result<()> {
    // It builds the binary too, which the integration tests start. To build that alone before would compile much of it twice,
    // since what tests need besides turns on other features.
    let build = || {
        say("building the host and its tests");
        Ok(cargo(root).args(["test", "--profile", PROFILE, "--workspace", "--no-run"]))
    };
    steps.run_beside("tests' build", build, || {
        needs.make(root, steps)?;
        steps.run("clients", || clients(root).map(drop))
    })?;
    steps.run("scripts", || needs.make_scripts(root))
}

/// Paths of the clients that the tests use: the interpreter with the Python clients, and promtool. Installs a browser if there is none.
fn clients(root: &Root) -> Result<(PathBuf, PathBuf)> {
    browser::find_or_install();
    Ok((environment(root, Layer::Clients)?, promtool::promtool(root)?))
}

fn run_host_tests(root: &Root, steps: &Steps, rest: &[String]) -> Result<()> {
    steps.run("host's tests", || {
        say("testing the host");
        host_tests(root)?.args(rest).run()
    })
}

/// `cargo test` of the host, told where the tests find what they need.
pub(crate) fn host_tests(root: &Root) -> Result<Tool> {
    let (python, promtool) = clients(root)?;
    // What the tests that build plugins call the compiler with, a variable a line.
    let compiler = Compiler::find(root)?.environment().into_iter();
    let compiler: Vec<String> = compiler.map(|(name, value)| format!("{name}={value}")).collect();
    Ok(cargo(root)
        .env("RUST_TEST_THREADS", test_threads())
        .env("SELVEDGE_TEST_PYTHON", python)
        .env("SELVEDGE_TEST_PROMTOOL", promtool)
        .env("SELVEDGE_TEST_COMPILER", compiler.join("\n"))
        .args(["test", "--profile", PROFILE, "--workspace"]))
}

/// Number of tests that run at once: `RUST_TEST_THREADS` if it is set, else [`TESTS_PER_CORE`] for each core.
fn test_threads() -> String {
    std::env::var("RUST_TEST_THREADS").unwrap_or_else(|_| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (cores * TESTS_PER_CORE).to_string()
    })
}

/// `selvedge check` on every file in configs/.
fn check_configs(root: &Root) -> Result<()> {
    for entry in std::fs::read_dir(root.join("configs"))?.flatten() {
        let path = entry.path();
        if path.extension() == Some("toml".as_ref()) {
            say(&format!("selvedge check {}", path.display()));
            Tool::new(root.binary())
                .args(["check", "--config"])
                .arg(path)
                .run()?;
        }
    }
    Ok(())
}

/// The benches, or one of them; `peers` compares with other servers.
pub(crate) fn bench(root: &Root, rest: &[String]) -> Result<()> {
    checks::compiler()?;
    checks::space(root, &[&checks::SETUP[..], &[checks::RELEASE]].concat())?;
    setup::all(root)?;
    match rest.split_first() {
        Some((first, rest)) if first == "peers" => {
            cargo(root)
                .args(["build", "--release", "--package", "selvedge", "--examples"])
                .run()?;
            let (figures, rest) = match rest.split_first() {
                Some((name, rest)) if ["embeddings", "generation", "upstream"].contains(&name.as_str()) => {
                    (name.as_str(), rest)
                }
                _ => ("embeddings", rest),
            };
            let script = root.join(format!("host/benches/peers/{figures}.py"));
            let python = match figures {
                "generation" => {
                    models::gguf(root)?;
                    python::llama(root)?
                }
                _ => environment(root, Layer::Clients)?,
            };
            Tool::new(python).arg(script).args(rest).run()
        }
        Some((first, _)) if first == "attack" => {
            let bench = ["--package", "selvedge", "--test", "it", "--"];
            cargo(root)
                .args(["test", "--release"])
                .args(bench)
                .args(["--ignored", "--nocapture", "hostile::figures::attack"])
                .run()
        }
        _ => cargo(root)
            .args(["bench", "--profile", "release", "--workspace"])
            .args(rest)
            .run(),
    }
}

/// What keeps cargo from `packages`.
fn without<'a>(packages: &'a [&str]) -> impl Iterator<Item = &'a str> {
    packages.iter().flat_map(|package| ["--exclude", *package])
}

//! What a change must pass: lint, tests, and a check of every configuration; and the benches.

use anyhow::{Context, Result};

use crate::run::{Root, Tool, cargo, say};
use crate::wasm::Compiler;
use crate::{browser, models, plugins, promtool, python, setup, tidy};

/// Plugins of tests that use what a component alone has; natively they do not build, so neither clippy nor `cargo test` takes them.
const ONLY_GUESTS: [&str; 6] = [
    "hostile",
    "hostile-stream",
    "hostile-decode",
    "hostile-observer",
    "hostile-answer",
    "hostile-http",
];

/// Everything, what fails soonest first.
pub(crate) fn run(root: &Root) -> Result<()> {
    tidy::check(root)?;
    format(root)?;
    setup(root, false)?;
    clippy_and_docs(root)?;
    test(root, &[])?;
    check_configs(root)
}

/// Formatting, clippy and docs.
pub(crate) fn lint(root: &Root) -> Result<()> {
    tidy::check(root)?;
    format(root)?;
    clippy_and_docs(root)
}

fn format(root: &Root) -> Result<()> {
    say("formatting");
    cargo(root)
        .args(["fmt", "--all", "--check"])
        .run()
        .context("run `cargo fmt`")?;
    let plugins = Tool::new("cargo")
        .current_dir(root.join("plugins"))
        .args(["fmt", "--all", "--check"]);
    plugins.run().context("run `cargo fmt` in plugins/")
}

fn clippy_and_docs(root: &Root) -> Result<()> {
    say("clippy");
    let denied = ["--", "-D", "warnings"];
    cargo(root)
        .args(["clippy", "--release", "--workspace", "--all-targets", "--quiet"])
        .args(denied)
        .run()?;
    let plugins = Tool::new("cargo").current_dir(root.join("plugins"));
    plugins
        .args(["clippy", "--workspace", "--all-targets", "--quiet"])
        .args(without(&ONLY_GUESTS))
        .args(denied)
        .run()?;
    say("docs");
    cargo(root)
        .env("RUSTDOCFLAGS", "-D warnings")
        .args(["doc", "--release", "--workspace", "--no-deps", "--quiet"])
        .run()
}

/// Every test: the plugins' cores natively, then the host's crates and the host as a whole.
pub(crate) fn test(root: &Root, rest: &[String]) -> Result<()> {
    setup(root, false)?;
    let (python, llama) = (python::interpreter(root)?, python::llama(root)?);
    browser::find_or_install();
    if rest.is_empty() {
        say("testing the plugins' cores");
        let plugins = Tool::new("cargo").current_dir(root.join("plugins"));
        plugins
            .args(["test", "--workspace", "--lib", "--quiet"])
            .args(without(&ONLY_GUESTS))
            .run()?;
    }
    // It builds the binary too, which the integration tests start. To build that alone before would compile much of it twice,
    // since what tests need besides turns on other features.
    say("building the host and its tests");
    cargo(root)
        .args(["test", "--release", "--workspace", "--no-run"])
        .run()?;
    plugins::build_scripts(root)?;
    say("testing the host");
    // What the tests that build plugins call the compiler with, a variable a line.
    let compiler = Compiler::find(root)?.environment().into_iter();
    let compiler: Vec<String> = compiler.map(|(name, value)| format!("{name}={value}")).collect();
    cargo(root)
        .env("SELVEDGE_TEST_PYTHON", python)
        .env("SELVEDGE_TEST_LLAMA", llama)
        .env("SELVEDGE_TEST_PROMTOOL", promtool::promtool(root)?)
        .env("SELVEDGE_TEST_GGUF", models::gguf(root))
        .env("SELVEDGE_TEST_COMPILER", compiler.join("\n"))
        .args(["test", "--release", "--workspace"])
        .args(rest)
        .run()
}

/// `selvedge check` on every file in configs/.
fn check_configs(root: &Root) -> Result<()> {
    for entry in std::fs::read_dir(root.join("configs"))?.flatten() {
        let path = entry.path();
        if path.extension() == Some("toml".as_ref()) {
            say(&format!("selvedge check {}", path.display()));
            Tool::new(root.target().join("release/selvedge"))
                .args(["check", "--config"])
                .arg(path)
                .run()?;
        }
    }
    Ok(())
}

/// The benches, or one of them; `peers` compares with other servers.
pub(crate) fn bench(root: &Root, rest: &[String]) -> Result<()> {
    onnx_and_plugins(root)?;
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
                "generation" => python::peers(root)?,
                _ => python::interpreter(root)?,
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

fn onnx_and_plugins(root: &Root) -> Result<()> {
    setup(root, false)?;
    plugins::build(root)
}

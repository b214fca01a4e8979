//! The fuzzer's lane: each target of `host/fuzz` for a bounded time, from the seeds that the project has and what runs before
//! found.

use anyhow::{Context, Result, bail};

use crate::run::{Root, Tool, apt_install};
use crate::steps::say;
use crate::{checks, setup};

/// The targets, and the folders whose files each begins with.
const TARGETS: [(&str, &[&str]); 5] = [
    (
        "config",
        &["configs", "host/tests/config/valid", "host/tests/config/invalid"],
    ),
    ("manifest", &["target/fuzz/manifests"]),
    ("component", &[]),
    ("abi", &["host/fuzz/seeds/abi"]),
    ("http", &["host/fuzz/seeds/http"]),
];

/// Seconds of each target where nobody says.
const SECONDS: u64 = 60;

/// Bytes of an input at most.
const INPUT_LEN_MAX: usize = 16 << 10;

/// Runs one target, or all; `rest` is `[TARGET] [SECONDS]`.
pub(crate) fn run(root: &Root, rest: &[String]) -> Result<()> {
    let (mut targets, mut seconds) = (TARGETS.to_vec(), SECONDS);
    for argument in rest {
        match argument.parse() {
            Ok(number) => seconds = number,
            Err(_) => targets.retain(|(name, _)| name == argument),
        }
    }
    if targets.is_empty() {
        let names = TARGETS.map(|(name, _)| name);
        bail!("there is no such target; there are {}", names.join(" "));
    }
    checks::space(root, &[&checks::SETUP[..], &[checks::FUZZ]].concat())?;
    setup::all(root)?;
    collect_manifests(root)?;
    let path = cargo_fuzz(root)?;
    for (name, seeds) in targets {
        say(&format!(
            "fuzzing {name} for {seconds} s (the first build takes some minutes)"
        ));
        let corpus = root.target().join("fuzz/corpus").join(name);
        std::fs::create_dir_all(&corpus).with_context(|| format!("{} cannot be made", corpus.display()))?;
        let tool = Tool::new("cargo")
            .env("PATH", &path)
            .env("ORT_DYLIB_PATH", root.target().join("lib/libonnxruntime.so"))
            .current_dir(root.join("host/fuzz"));
        // Without a sanitizer any compiler will do, and what is looked for is panics and hangs: the host's own code is safe Rust.
        let tool = tool
            .args([
                "fuzz",
                "run",
                "--fuzz-dir",
                ".",
                "--sanitizer",
                "none",
                "--target-dir",
            ])
            .arg(root.target().join("fuzz"))
            .arg(name)
            .arg(corpus);
        tool.args(seeds.iter().map(|seed| root.join(seed)))
            .arg("--")
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={INPUT_LEN_MAX}"))
            .args([
                "-timeout=20",
                "-rss_limit_mb=4096",
                "-print_final_stats=1",
                "-verbosity=0",
            ])
            .run()
            .with_context(|| format!("{name}: the input lies in host/fuzz/artifacts/{name}"))?;
    }
    Ok(())
}

/// The plugins' own manifests, in one folder.
fn collect_manifests(root: &Root) -> Result<()> {
    let folder = root.target().join("fuzz/manifests");
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    for plugin in std::fs::read_dir(root.join("plugins"))?.flatten() {
        let manifest = plugin.path().join("manifest.json");
        if manifest.exists() {
            std::fs::copy(&manifest, folder.join(plugin.file_name()))
                .with_context(|| format!("{} cannot be copied", manifest.display()))?;
        }
    }
    Ok(())
}

/// The search path on which `cargo fuzz` is found; it is installed where it is not there, and a compiler for the fuzzer's C++ too.
fn cargo_fuzz(root: &Root) -> Result<String> {
    if !Tool::new("c++").arg("--version").succeeds() {
        apt_install(&["g++"], "the fuzzer")?;
    }
    let tools = root.target().join("tools");
    let path = std::env::var("PATH").unwrap_or_default();
    let with_tools = std::iter::once(tools.join("bin")).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(with_tools)?.to_string_lossy().into_owned();
    if !Tool::new("cargo")
        .env("PATH", &path)
        .args(["fuzz", "--version"])
        .succeeds()
    {
        say("installing cargo-fuzz into target/tools");
        Tool::new("cargo")
            .args(["install", "--quiet", "--locked", "cargo-fuzz", "--root"])
            .arg(&tools)
            .run()?;
    }
    Ok(path)
}

//! A plugin in Rust: compiled by cargo for `wasm32-wasip2`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{BuildError, said};

/// What plugins in Rust are compiled for.
const TARGET: &str = "wasm32-wasip2";

/// The compiler's own words about its version.
pub(super) fn toolchain() -> String {
    said(Command::new(rustc()).arg("--version")).unwrap_or_default()
}

/// The component, without its manifest.
pub(super) fn compile(dir: &Path) -> Result<Vec<u8>, BuildError> {
    check_target()?;
    let module = cargo(dir)?;
    std::fs::read(&module).map_err(|why| BuildError::Unread { file: module, why })
}

fn rustc() -> String {
    std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned())
}

/// Whether there is a standard library for the target: rustup's, or one that flags name.
fn check_target() -> Result<(), BuildError> {
    let missing = |tool: &str, remedy| BuildError::Tool {
        tool: tool.to_owned(),
        remedy,
    };
    if said(Command::new("cargo").arg("--version")).is_none() {
        return Err(missing("cargo", "curl https://sh.rustup.rs | sh"));
    }
    let flags = ["RUSTFLAGS", "CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS"];
    let is_given = flags
        .iter()
        .any(|name| std::env::var(name).is_ok_and(|flags| flags.contains("--sysroot")));
    let libraries = said(Command::new(rustc()).args(["--print", "target-libdir", "--target", TARGET]));
    let is_there = libraries.is_some_and(|libraries| Path::new(&libraries).is_dir());
    if is_given || is_there {
        Ok(())
    } else {
        Err(missing(
            "the target wasm32-wasip2",
            "rustup target add wasm32-wasip2",
        ))
    }
}

/// Compiles the project; the component's file.
fn cargo(dir: &Path) -> Result<PathBuf, BuildError> {
    let output = Command::new("cargo")
        .current_dir(dir)
        .args([
            "build",
            "--release",
            "--target",
            TARGET,
            "--message-format",
            "json-render-diagnostics",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    let output = output.map_err(|_| BuildError::Compile("cargo"))?;
    if !output.status.success() {
        return Err(BuildError::Compile("cargo"));
    }
    let messages = output.stdout.split(|byte| *byte == b'\n');
    let messages = messages.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let artifacts = messages.filter(|message| message["reason"] == "compiler-artifact");
    let files = artifacts.flat_map(|artifact| artifact["filenames"].as_array().cloned().unwrap_or_default());
    let files = files.filter_map(|file| file.as_str().map(PathBuf::from));
    let mut components: Vec<PathBuf> = files
        .filter(|file| file.extension() == Some("wasm".as_ref()))
        .collect();
    // The last one is the project's own; those of what it is made of come before.
    components.pop().ok_or(BuildError::NoLibrary)
}

//! A rule of the build: tests turn on no feature of a crate that the demo builds without. Else cargo compiles that crate twice,
//! and with it all that depends on it; one feature of `semver` was wasmtime a second time.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use crate::run::{Root, Tool, cargo};
use crate::wasm::host_triple;

/// Checks that each crate of the host has the same features with the tests as without.
pub(crate) fn check(root: &Root) -> Result<()> {
    let host = crates(root, &["--package", "selvedge", "--edges", "normal,build"])?;
    let tests = crates(root, &["--workspace", "--edges", "all"])?;
    let differing: Vec<&str> = host.difference(&tests).map(String::as_str).collect();
    if differing.is_empty() {
        return Ok(());
    }
    bail!(
        "tests turn on more features of these crates than the host does, so that they are compiled twice: {}. Name the features \
         that tests need in [workspace.dependencies], as is done for `semver`",
        differing.join("; ")
    )
}

/// The crates that a build takes, each with its version and features.
fn crates(root: &Root, what: &[&str]) -> Result<BTreeSet<String>> {
    let tree = cargo(root)
        .args([
            "tree",
            "--quiet",
            "--offline",
            "--prefix",
            "none",
            "--format",
            "{p} {f}",
        ])
        .args(["--target", host_triple(&Tool::new("rustc").arg("-vV").output()?)?])
        .args(what)
        .output()?;
    // A crate that was listed before has a mark, and what it depends on is not listed again.
    let lines = tree
        .lines()
        .map(|line| line.replace(" (proc-macro)", "").replace(" (*)", ""));
    Ok(lines.map(|line| line.trim_end().to_owned()).collect())
}

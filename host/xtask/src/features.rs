//! Rules of the build. Tests turn on no feature of a crate that the demo builds without: else cargo compiles that crate twice, and with
//! it all that depends on it; one feature of `semver` was wasmtime a second time. And a profile names no crate that is not built: a crate
//! that was renamed would get the level of others, for which cargo has a warning only.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

use crate::run::{Root, cargo, fetch_crates};
use crate::wasm::own_triple;

/// Checks that each crate of the host has the same features with the tests as without, and that profiles name crates that are there.
pub(crate) fn check(root: &Root) -> Result<()> {
    let read = |file: &str| -> Result<Table> {
        let text =
            std::fs::read_to_string(root.join(file)).with_context(|| format!("{file} cannot be read"))?;
        text.parse().with_context(|| format!("{file} is not valid TOML"))
    };
    let unknown = unknown_crates(&read("Cargo.toml")?, &read("Cargo.lock")?);
    if !unknown.is_empty() {
        bail!(
            "Cargo.toml has sections for crates that Cargo.lock does not have: {}. Remove them, or name what took their place",
            unknown.join(" ")
        );
    }
    // `cargo tree` reads the manifests of all crates, of which a new machine has only those of this program.
    fetch_crates(root.path(), &[&own_triple()?])?;
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

/// The sections `[profile.PROFILE.package.CRATE]` of a manifest whose crate is not in a lock file.
fn unknown_crates(manifest: &Table, lock: &Table) -> Vec<String> {
    let packages = lock.get("package").and_then(Value::as_array);
    let names: BTreeSet<&str> = packages
        .into_iter()
        .flatten()
        .filter_map(|package| package.get("name")?.as_str())
        .collect();
    let profiles = manifest.get("profile").and_then(Value::as_table);
    let mut unknown = Vec::new();
    for (profile, settings) in profiles.into_iter().flatten() {
        let packages = settings.get("package").and_then(Value::as_table);
        for package in packages.into_iter().flat_map(Table::keys) {
            // A version may follow.
            let name = package.split(['@', ':']).next().unwrap_or(package);
            if name != "*" && !names.contains(name) {
                unknown.push(format!("[profile.{profile}.package.{package}]"));
            }
        }
    }
    unknown
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
        .args(["--target", &own_triple()?])
        .args(what)
        .output()?;
    // A crate that was listed before has a mark, and what it depends on is not listed again.
    let lines = tree
        .lines()
        .map(|line| line.replace(" (proc-macro)", "").replace(" (*)", ""));
    Ok(lines.map(|line| line.trim_end().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::unknown_crates;

    #[test]
    fn a_profile_that_names_a_crate_that_is_gone_is_found() {
        let manifest = "[profile.release]\ndebug = false\n[profile.release.package.\"*\"]\ndebug = false\n\
                        [profile.quick.package.http]\nopt-level = 3\n[profile.quick.package.\"http@1.4.0\"]\nopt-level = 3\n\
                        [profile.quick.package.htpp]\nopt-level = 3\n";
        let lock = "version = 4\n[[package]]\nname = \"http\"\nversion = \"1.4.0\"\n";
        let unknown = unknown_crates(
            &manifest.parse().expect("well-formed"),
            &lock.parse().expect("well-formed"),
        );
        assert_eq!(unknown, ["[profile.quick.package.htpp]"]);
    }
}

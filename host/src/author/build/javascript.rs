//! A plugin in JavaScript: QuickJS with the project's modules in it, by componentize-qjs, which npm installs.
//!
//! It is what jco's QuickJS backend calls, and a tenth of jco.

use std::path::{Path, PathBuf};
use std::process::Command;

use selvedge_plugin::quickjs;
use serde_json::Value;

use super::{BuildError, said, succeeds, text_of, written_by};

/// The tool, by its package's name.
const TOOL: &str = "componentize-qjs";

/// The module that exports the stages.
const ENTRY: &str = "src/plugin.js";

/// The tool with the version that the project pins.
pub(super) fn toolchain(dir: &Path) -> Result<String, BuildError> {
    Ok(format!("{TOOL} {}", pinned(dir)?))
}

/// The component, without its manifest.
pub(super) fn compile(dir: &Path) -> Result<Vec<u8>, BuildError> {
    let package = installed(dir)?;
    // Without a shell's PATH: the tool is called by node itself, wherever it was installed.
    let mut command = Command::new("node");
    command
        .current_dir(dir)
        .arg(package.join("bin").join(TOOL))
        .args(["--wit", "wit", "--world", "plugin", "--sync", "--js", ENTRY]);
    let component = written_by(TOOL, &mut command)?;
    Ok(quickjs::mend(&component)?)
}

/// The version in package.json, which must be one and no range.
fn pinned(dir: &Path) -> Result<String, BuildError> {
    let file = dir.join("package.json");
    let package: Value =
        serde_json::from_str(&text_of(file.clone())?).map_err(|why| BuildError::Manifest {
            file: file.clone(),
            why: why.to_string(),
        })?;
    let version = ["devDependencies", "dependencies"]
        .into_iter()
        .find_map(|key| package[key][TOOL].as_str());
    match version {
        Some(version) if version.starts_with(|first: char| first.is_ascii_digit()) => Ok(version.to_owned()),
        _ => Err(BuildError::Unpinned {
            file,
            tool: TOOL,
            example: "`\"devDependencies\": { \"componentize-qjs\": \"0.4.5\" }` would",
        }),
    }
}

/// The tool's folder, in the project or above it, as node would find it; npm installs it where it is not there.
fn installed(dir: &Path) -> Result<PathBuf, BuildError> {
    let dir = dir.canonicalize().map_err(|why| BuildError::Unread {
        file: dir.to_owned(),
        why,
    })?;
    let version = pinned(&dir)?;
    let found = |dir: &Path| {
        let package = dir.join("node_modules").join(TOOL);
        let text = std::fs::read_to_string(package.join("package.json")).ok()?;
        let told: Value = serde_json::from_str(&text).ok()?;
        (told["version"] == version.as_str()).then_some(package)
    };
    if said(Command::new("node").arg("--version")).is_none() {
        return Err(missing("node"));
    }
    if let Some(package) = dir.ancestors().find_map(found) {
        return Ok(package);
    }
    if said(Command::new("npm").arg("--version")).is_none() {
        return Err(missing("npm"));
    }
    // A lock file has the hash of each package, and `ci` keeps to it. None is written where the author has none.
    let install: &[&str] = match dir.join("package-lock.json").is_file() {
        true => &["ci"],
        false => &["install", "--no-package-lock"],
    };
    let quiet = ["--no-audit", "--no-fund", "--loglevel", "error"];
    if !succeeds(Command::new("npm").current_dir(&dir).args(install).args(quiet)) {
        return Err(BuildError::Install("npm"));
    }
    found(&dir).ok_or(BuildError::Install("npm"))
}

fn missing(tool: &str) -> BuildError {
    BuildError::Tool {
        tool: tool.to_owned(),
        remedy: "apt-get install -y nodejs npm",
    }
}

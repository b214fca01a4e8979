//! Contents of the packages besides the binary, made or fetched: plugins, ONNX Runtime, man pages and completions.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::Dist;
use super::tree::PLUGINS;
use crate::cache::Entry;
use crate::onnxruntime::{self, Device};
use crate::plugins;
use crate::run::{PROFILE, cargo};
use crate::steps::say;

/// Parts of the tree besides the binary.
pub(super) struct Parts {
    /// Folder of built plugins.
    pub(super) plugins: PathBuf,
    /// ONNX Runtime's libraries and licences, in the cache.
    pub(super) onnxruntime: Entry,
    /// Folder of man pages and completions.
    pub(super) manual: PathBuf,
}

impl Parts {
    /// Makes or fetches them.
    pub(super) fn gather(dist: &Dist<'_>, plugins: Option<PathBuf>, profile: &str) -> Result<Self> {
        let plugins = match plugins {
            Some(folder) => folder,
            None => {
                build_plugins(dist)?;
                dist.root.join("plugins/dist")
            }
        };
        let manual = write_manual(dist, profile)?;
        let onnxruntime = onnxruntime::library(dist.root, Device::Cpu, dist.platform.machine)?;
        Ok(Self {
            plugins,
            onnxruntime,
            manual,
        })
    }
}

fn write_manual(dist: &Dist<'_>, profile: &str) -> Result<PathBuf> {
    say("writing man pages and completions");
    let folder = dist.work.join("manual");
    cargo(dist.root)
        .args(["run", "--quiet", "--profile", profile, "--package", "selvedge"])
        .args(["--example", "manual", "--"])
        .arg(&folder)
        .run()?;
    Ok(folder)
}

fn build_plugins(dist: &Dist<'_>) -> Result<()> {
    let rust: Vec<String> = plugins::names(dist.root)?
        .into_iter()
        .filter(|name| PLUGINS.contains(&name.as_str()))
        .collect();
    plugins::build(dist.root, &rust)?;
    if !dist.root.binary().is_file() {
        bail!(
            "plugins in JavaScript and Python are built by this machine's own selvedge: `cargo build --profile {PROFILE} \
             --package selvedge` first, or name a folder of built plugins with --plugins"
        );
    }
    let scripts: Vec<String> = plugins::script_names().map(str::to_owned).collect();
    plugins::build_scripts(dist.root, &scripts)
}

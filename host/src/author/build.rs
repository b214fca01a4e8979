//! From a plugin's project to its component: compiled by cargo, with its manifest in it, looked at without being run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use selvedge_plugin::{LoadError, Manifest, Plugin, SandboxOptions, manifest};
use serde_json::Value;

/// What plugins in Rust are compiled for.
const TARGET: &str = "wasm32-wasip2";

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// It is no plugin's project.
    #[error(
        "{0} is missing: a plugin in Rust has a Cargo.toml and a manifest.json; `selvedge plugin new` makes one"
    )]
    NoProject(PathBuf),
    /// The manifest is not one.
    #[error("{file}: {why}")]
    Manifest {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A tool is missing.
    #[error("{tool} is missing; `{remedy}` gets it")]
    Tool {
        /// The tool.
        tool: String,
        /// The command that would get it.
        remedy: &'static str,
    },
    /// The compiler found something, and has said what.
    #[error("cargo did not build it; what it found is above")]
    Compile,
    /// The project builds nothing that could be a component.
    #[error("the project builds no component: its [lib] needs `crate-type = [\"cdylib\", \"rlib\"]`")]
    NoLibrary,
    /// What was built is no plugin.
    #[error("what was built is no plugin: {0}")]
    NotAPlugin(#[from] LoadError),
    /// The component cannot be written.
    #[error("{file} cannot be written: {why}")]
    Unwritten {
        /// The file.
        file: PathBuf,
        /// Why.
        why: std::io::Error,
    },
}

/// A component that was built.
#[derive(Debug)]
pub struct Built {
    /// Where it is.
    pub file: PathBuf,
    /// What it is.
    pub plugin: Plugin,
}

/// Builds the plugin in a folder into `dist/NAME.wasm`. Blocks, and lets the compiler speak on standard error.
///
/// # Errors
///
/// Where it is no project, a tool is missing, it does not compile, or is no plugin.
pub fn build(dir: &Path) -> Result<Built, BuildError> {
    for file in ["Cargo.toml", "manifest.json"] {
        let file = dir.join(file);
        if !file.is_file() {
            return Err(BuildError::NoProject(file));
        }
    }
    let manifest = read_manifest(&dir.join("manifest.json"))?;
    check_target()?;
    let module = compile(dir)?;
    let unread = |why: std::io::Error| BuildError::Unwritten {
        file: module.clone(),
        why,
    };
    let mut component = std::fs::read(&module).map_err(unread)?;
    let text = serde_json::to_string(&manifest).unwrap_or_default();
    manifest::attach(&mut component, &text);
    let size_max = SandboxOptions::new(PathBuf::new()).component_size_max;
    let plugin = Plugin::read(&manifest.name, component.clone().into(), size_max)?;
    let dist = dir.join("dist");
    let file = dist.join(format!("{}.wasm", manifest.name));
    let written = std::fs::create_dir_all(&dist).and_then(|()| std::fs::write(&file, &component));
    match written {
        Ok(()) => Ok(Built { file, plugin }),
        Err(why) => Err(BuildError::Unwritten { file, why }),
    }
}

/// The manifest, with the compiler's own words about its version.
fn read_manifest(file: &Path) -> Result<Manifest, BuildError> {
    let broken = |why: String| BuildError::Manifest {
        file: file.to_owned(),
        why,
    };
    let text = std::fs::read_to_string(file).map_err(|why| broken(why.to_string()))?;
    let toolchain = said(Command::new(rustc()).arg("--version")).unwrap_or_default();
    let text = text.replace("@TOOLCHAIN@", &toolchain);
    let manifest: Manifest = serde_json::from_str(&text).map_err(|why| broken(why.to_string()))?;
    if manifest.name.is_empty() || manifest.name.contains(['/', '\\']) {
        return Err(broken("`name` must be there, and the name of a file".to_owned()));
    }
    Ok(manifest)
}

fn rustc() -> String {
    std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned())
}

/// What a command writes; none where it cannot be run or fails.
fn said(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
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
fn compile(dir: &Path) -> Result<PathBuf, BuildError> {
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
    let output = output.map_err(|_| BuildError::Compile)?;
    if !output.status.success() {
        return Err(BuildError::Compile);
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

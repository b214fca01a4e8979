//! From a plugin's project to its component: built by the tool of its language, with its manifest in it, looked at without being run.

mod javascript;
mod python;
mod rust;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use selvedge_plugin::quickjs::MendError;
use selvedge_plugin::{LoadError, Manifest, Plugin, SandboxOptions, manifest};

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// It is no plugin's project.
    #[error(
        "{0} is no plugin's project: it has neither Cargo.toml (Rust), package.json (JavaScript) nor requirements.txt (Python); \
         `selvedge plugin new` makes one"
    )]
    NoProject(PathBuf),
    /// It has no manifest.
    #[error("{0} is missing, which says what the plugin is; `selvedge plugin new` makes one")]
    NoManifest(PathBuf),
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
    /// The project does not say which version of its tool it is built with.
    #[error("{file} does not pin {tool}: {example}")]
    Unpinned {
        /// The file.
        file: PathBuf,
        /// The tool.
        tool: &'static str,
        /// The line that would.
        example: &'static str,
    },
    /// The tools cannot be installed; the installer has said why.
    #[error("{0} did not install what the project pins; what it found is above")]
    Install(&'static str),
    /// The compiler found something, and has said what.
    #[error("{0} did not build it; what it found is above")]
    Compile(&'static str),
    /// The project builds nothing that could be a component.
    #[error("the project builds no component: its [lib] needs `crate-type = [\"cdylib\", \"rlib\"]`")]
    NoLibrary,
    /// What was built cannot be made a plugin.
    #[error("what was built is no plugin: {0}")]
    Unmended(#[from] MendError),
    /// What was built is no plugin.
    #[error("what was built is no plugin: {0}")]
    NotAPlugin(#[from] LoadError),
    /// What was built cannot be read.
    #[error("{file} cannot be read: {why}")]
    Unread {
        /// The file.
        file: PathBuf,
        /// Why.
        why: std::io::Error,
    },
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

/// What a project is written in, by the file that its tool reads.
#[derive(Debug, Clone, Copy)]
enum Language {
    Rust,
    JavaScript,
    Python,
}

impl Language {
    fn find(dir: &Path) -> Result<Self, BuildError> {
        let files = [
            ("Cargo.toml", Self::Rust),
            ("package.json", Self::JavaScript),
            ("requirements.txt", Self::Python),
        ];
        let found = files.into_iter().find(|(file, _)| dir.join(file).is_file());
        found
            .map(|(_, language)| language)
            .ok_or_else(|| BuildError::NoProject(dir.to_owned()))
    }

    /// The tools and their versions, for the manifest.
    fn toolchain(self, dir: &Path) -> Result<String, BuildError> {
        match self {
            Self::Rust => Ok(rust::toolchain()),
            Self::JavaScript => javascript::toolchain(dir),
            Self::Python => python::toolchain(dir),
        }
    }

    /// The component, without its manifest.
    fn compile(self, dir: &Path) -> Result<Vec<u8>, BuildError> {
        match self {
            Self::Rust => rust::compile(dir),
            Self::JavaScript => javascript::compile(dir),
            Self::Python => python::compile(dir),
        }
    }
}

/// Builds the plugin in a folder into `NAME.wasm` in `dist`, by default the folder `dist` in it. Blocks, and lets the compiler speak
/// on standard error. The first time, the tools that a project in JavaScript or Python pins are installed into it.
///
/// # Errors
///
/// Where it is no project, a tool is missing, it does not compile, or is no plugin.
pub fn build(dir: &Path, dist: Option<&Path>) -> Result<Built, BuildError> {
    let language = Language::find(dir)?;
    let file = dir.join("manifest.json");
    if !file.is_file() {
        return Err(BuildError::NoManifest(file));
    }
    let manifest = read_manifest(&file, &language.toolchain(dir)?)?;
    let mut component = language.compile(dir)?;
    let text = serde_json::to_string(&manifest).unwrap_or_default();
    manifest::attach(&mut component, &text);
    let size_max = SandboxOptions::new(PathBuf::new()).component_size_max;
    let plugin = Plugin::read(&manifest.name, component.clone().into(), size_max)?;
    selvedge_plugin::sandbox::check_truth(&plugin)?;
    let dist = dist.map_or_else(|| dir.join("dist"), Path::to_owned);
    let file = dist.join(format!("{}.wasm", manifest.name));
    let written = std::fs::create_dir_all(&dist).and_then(|()| std::fs::write(&file, &component));
    match written {
        Ok(()) => Ok(Built { file, plugin }),
        Err(why) => Err(BuildError::Unwritten { file, why }),
    }
}

/// The manifest, with the tools that the component is built by.
fn read_manifest(file: &Path, toolchain: &str) -> Result<Manifest, BuildError> {
    let broken = |why: String| BuildError::Manifest {
        file: file.to_owned(),
        why,
    };
    let text = std::fs::read_to_string(file).map_err(|why| broken(why.to_string()))?;
    let text = text.replace("@TOOLCHAIN@", toolchain);
    let manifest = Manifest::read(text.as_bytes()).map_err(broken)?;
    super::new::check_name(&manifest.name).map_err(|why| broken(format!("`name`: {why}")))?;
    manifest.check_schema().map_err(broken)?;
    Ok(manifest)
}

/// What a command writes; none where it cannot be run or fails.
fn said(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Whether a command ran and succeeded; what it writes goes to standard error, since standard output is what was asked for.
fn succeeds(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(std::io::stderr());
    command.status().is_ok_and(|status| status.success())
}

/// A file of a project, as text.
fn text_of(file: PathBuf) -> Result<String, BuildError> {
    std::fs::read_to_string(&file).map_err(|why| BuildError::Unread { file, why })
}

/// Runs a tool that writes a component into a file of its own, and reads it.
fn written_by(tool: &'static str, command: &mut Command) -> Result<Vec<u8>, BuildError> {
    let unread = |why| BuildError::Unread {
        file: std::env::temp_dir(),
        why,
    };
    let folder = tempfile::tempdir().map_err(unread)?;
    let file = folder.path().join("component.wasm");
    if !succeeds(command.arg("-o").arg(&file)) {
        return Err(BuildError::Compile(tool));
    }
    std::fs::read(&file).map_err(|why| BuildError::Unread { file, why })
}

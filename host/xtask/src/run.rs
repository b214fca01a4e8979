//! Running programs: where, with what, and a readable error where one fails.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// The project's folder.
pub(crate) struct Root(PathBuf);

impl Root {
    /// The folder that this program was built from.
    pub(crate) fn find() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest
            .ancestors()
            .nth(2)
            .context("xtask lies two folders down in the project")?;
        Ok(Self(root.to_owned()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join(path)
    }

    /// Cargo's target folder: this program is in its `release`.
    pub(crate) fn target(&self) -> PathBuf {
        let own = std::env::current_exe().ok();
        let found = own
            .as_deref()
            .and_then(|path| path.ancestors().nth(2))
            .map(Path::to_owned);
        found.unwrap_or_else(|| self.join("target"))
    }
}

/// Says what is being done.
pub(crate) fn say(what: &str) {
    eprintln!("xtask: {what}");
}

/// A program to run.
pub(crate) struct Tool(Command);

/// Cargo, in the project's folder.
pub(crate) fn cargo(root: &Root) -> Tool {
    Tool::new("cargo").current_dir(root.path())
}

impl Tool {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self(Command::new(program))
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.0.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    pub(crate) fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.0.current_dir(dir);
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(mut self) -> Result<()> {
        let status = self
            .0
            .status()
            .with_context(|| format!("{} cannot be run", self.line()))?;
        if !status.success() {
            bail!("{} failed ({status})", self.line());
        }
        Ok(())
    }

    /// Whether it ran and succeeded; what it prints is thrown away.
    pub(crate) fn succeeds(mut self) -> bool {
        self.0.output().is_ok_and(|output| output.status.success())
    }

    /// What it prints on standard output.
    pub(crate) fn output(mut self) -> Result<String> {
        let output = self
            .0
            .output()
            .with_context(|| format!("{} cannot be run", self.line()))?;
        if !output.status.success() {
            bail!(
                "{} failed: {}",
                self.line(),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Becomes it, so that signals reach it and its exit code is ours.
    pub(crate) fn replace_this_process(mut self) -> Result<()> {
        let error = self.0.exec();
        Err(error).with_context(|| format!("{} cannot be run", self.line()))
    }

    fn line(&self) -> String {
        let words = std::iter::once(self.0.get_program()).chain(self.0.get_args());
        words
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// `apt-get`, as root or by sudo.
fn apt() -> Result<Tool> {
    let is_root = Tool::new("id").arg("-u").output()? == "0";
    Ok(if is_root {
        Tool::new("apt-get")
    } else {
        Tool::new("sudo").arg("apt-get")
    })
}

/// Reads Debian's lists of packages anew.
pub(crate) fn apt_update() -> Result<()> {
    apt()?.args(["update", "-qq"]).run()
}

/// A Debian package installation, as root or by sudo.
pub(crate) fn apt_install(packages: &[&str], purpose: &str) -> Result<()> {
    let list = packages.join(" ");
    if !Tool::new("apt-get").arg("--version").succeeds() {
        bail!("{purpose} needs {list}: install what your system calls so");
    }
    say(&format!("installing {list} for {purpose}"));
    let install = || -> Result<Tool> {
        let apt = apt()?.env("DEBIAN_FRONTEND", "noninteractive");
        Ok(apt.args(["install", "-y", "-qq"]).args(packages))
    };
    if install()?.succeeds() {
        return Ok(());
    }
    // The lists of packages may be old or missing.
    apt_update()?;
    install()?
        .run()
        .with_context(|| format!("{purpose} needs {list}: `apt-get install {list}` as root"))
}

/// Whether something was made from other inputs than these, or not at all: a stamp beside it says from which.
pub(crate) struct Stamp {
    file: PathBuf,
    inputs: String,
}

impl Stamp {
    /// A stamp in `file` of inputs: texts, and files by their contents.
    pub(crate) fn new(file: PathBuf, texts: &[&str], files: &[PathBuf]) -> Result<Self> {
        let mut hasher = Sha256::new();
        for text in texts {
            hasher.update(text);
            hasher.update([0]);
        }
        for path in files {
            let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
            hasher.update(Sha256::digest(bytes));
        }
        let inputs = hasher
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(Self { file, inputs })
    }

    /// Whether all of `made` are there and were made from these inputs.
    pub(crate) fn is_fresh(&self, made: &[PathBuf]) -> bool {
        let same = std::fs::read_to_string(&self.file).is_ok_and(|inputs| inputs == self.inputs);
        same && made.iter().all(|path| path.exists())
    }

    /// Says that it was made now.
    pub(crate) fn write(&self) -> Result<()> {
        std::fs::write(&self.file, &self.inputs)
            .with_context(|| format!("{} cannot be written", self.file.display()))
    }
}

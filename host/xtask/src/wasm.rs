//! A compiler for plugins: rustup's `wasm32-wasip2`, or, where rustup cannot fetch it, Debian's compiler with a standard
//! library that is built once.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::run::{Root, Stamp, Tool, apt_install, say};

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
    /// Finds a compiler, or gets one.
    pub(crate) fn find(root: &Root) -> Result<Self> {
        if std::env::var(CHOICE).is_ok_and(|choice| choice == "debian") {
            return debian(root);
        }
        if has_target() {
            return Ok(Self::Rustup);
        }
        say(&format!("asking rustup for {TARGET}"));
        if Tool::new("rustup").args(["target", "add", TARGET]).succeeds() && has_target() {
            return Ok(Self::Rustup);
        }
        say("rustup cannot fetch it here; using Debian's compiler for the plugins");
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

    /// The compiler's own words about its version, for manifests.
    pub(crate) fn version(&self) -> Result<String> {
        let program = match self {
            Self::Rustup => "rustc",
            Self::Debian { .. } => DEBIAN_RUSTC,
        };
        Tool::new(program).arg("--version").output()
    }
}

/// Set to `debian`, this variable chooses Debian's compiler where rustup has the target as well.
const CHOICE: &str = "SELVEDGE_PLUGIN_COMPILER";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// Debian's packages: a recent compiler, the sources of its standard library, and WASI's C library.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "rust-web-src", "wasi-libc"];

/// Where `wasi-libc` puts the C library.
const WASI_LIBC: &str = "/usr/lib/wasm32-wasi";

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
    let linkers = PathBuf::from(host_sysroot).join("lib/rustlib/x86_64-unknown-linux-gnu/bin");
    if !linkers.join("rust-lld").exists() {
        bail!("the host's toolchain has no rust-lld in {}", linkers.display());
    }
    let sysroot = root.target().join("wasm-sysroot");
    let version = Tool::new(DEBIAN_RUSTC).arg("-vV").output()?;
    fs::create_dir_all(&sysroot)?;
    let stamp = Stamp::new(sysroot.join("stamp"), &[&version, TARGET], &[])?;
    if !stamp.is_fresh(&[]) {
        say("building the standard library for plugins (a minute, once)");
        build_std(root, &sysroot, &linkers)?;
        stamp.write()?;
    }
    Ok(Compiler::Debian { sysroot, linkers })
}

/// Builds `std` as a dependency of an empty library, and lays it out as a sysroot.
fn build_std(root: &Root, sysroot: &Path, linkers: &Path) -> Result<()> {
    let empty = root.target().join("wasm-std");
    fs::create_dir_all(empty.join("src"))?;
    let manifest = "[package]\nname = \"empty\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[workspace]\n\n\
                    [profile.release]\npanic = \"abort\"\n";
    fs::write(empty.join("Cargo.toml"), manifest)?;
    fs::write(empty.join("src/lib.rs"), "#![no_std]\n")?;
    Tool::new("cargo")
        .current_dir(&empty)
        .env("RUSTC", DEBIAN_RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("PATH", path_with(linkers))
        // Bitcode is what lets plugins use link-time optimisation with it.
        .env("RUSTFLAGS", "-Cembed-bitcode=yes")
        .env("CARGO_TARGET_DIR", empty.join("target"))
        .args([
            "build",
            "--quiet",
            "--release",
            "--target",
            TARGET,
            "-Zbuild-std=std,panic_abort",
        ])
        .run()?;
    let lib = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    if lib.exists() {
        fs::remove_dir_all(&lib)?;
    }
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
    link_host_libraries(sysroot)?;
    Ok(fs::remove_dir_all(&empty)?)
}

/// Procedural macros run on this machine, so the sysroot has the host's libraries as well.
fn link_host_libraries(sysroot: &Path) -> Result<()> {
    let host = sysroot.join("lib/rustlib/x86_64-unknown-linux-gnu");
    if host.is_symlink() {
        fs::remove_file(&host)?;
    }
    Ok(std::os::unix::fs::symlink(
        "/usr/lib/rustlib/x86_64-unknown-linux-gnu",
        &host,
    )?)
}

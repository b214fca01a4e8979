//! The binary: built, and parted into what is shipped and what makes its backtraces readable.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Dist;
use super::platform::Kind;
use crate::run::{Tool, cargo};
use crate::steps::say;

/// File name of what makes backtraces readable. The binary names it, and debuggers look for it beside the binary.
pub(super) const DEBUG_NAME: &str = "selvedge.debug";

/// The binary's two parts.
pub(super) struct Binary {
    /// Without symbols.
    pub(super) stripped: PathBuf,
    /// Symbols and debug information.
    pub(super) debug: PathBuf,
    /// Hexadecimal digits, by which debuggers find the debug information.
    pub(super) build_id: String,
}

/// The binary with its debug information: the one that is given, else it is built.
pub(super) fn build(dist: &Dist<'_>, given: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(binary) = given {
        if !binary.is_file() {
            bail!("--binary: there is no file {}", binary.display());
        }
        return Ok(binary);
    }
    say("building the host (some minutes the first time)");
    let mut cargo =
        cargo(dist.root).args(["build", "--release", "--package", "selvedge", "--bin", "selvedge"]);
    for (name, value) in dist.platform.environment() {
        cargo = cargo.env(&name, value);
    }
    let target = dist.root.target();
    match dist.platform.kind {
        Kind::Native => {
            cargo.run()?;
            Ok(target.join("release/selvedge"))
        }
        Kind::Cross => {
            let triple = &dist.platform.triple;
            cargo.args(["--target", triple]).run()?;
            Ok(target.join(triple).join("release/selvedge"))
        }
    }
}

impl Binary {
    /// Parts a binary.
    pub(super) fn split(dist: &Dist<'_>, whole: &Path) -> Result<Self> {
        say("parting the binary from its debug information");
        let folder = dist.work.join("binary");
        std::fs::create_dir_all(&folder)?;
        let whole = whole.canonicalize()?;
        let objcopy = || Tool::new(dist.platform.tool("objcopy")).current_dir(&folder);
        objcopy()
            .arg("--only-keep-debug")
            .arg(&whole)
            .arg(DEBUG_NAME)
            .run()?;
        objcopy()
            .arg("--strip-all")
            .arg(format!("--add-gnu-debuglink={DEBUG_NAME}"))
            .arg(&whole)
            .arg("selvedge")
            .run()?;
        Ok(Self {
            stripped: folder.join("selvedge"),
            debug: folder.join(DEBUG_NAME),
            build_id: build_id(&whole)?,
        })
    }
}

fn build_id(binary: &Path) -> Result<String> {
    let notes = Tool::new("readelf")
        .args(["--notes", "--wide"])
        .arg(binary)
        .output()?;
    let id = notes.lines().find_map(|line| line.split_once("Build ID: "));
    let (_, id) =
        id.with_context(|| format!("{} has no build id: its linker must write one", binary.display()))?;
    Ok(id.trim().to_owned())
}

/// The oldest version of the C library that all of `files` run with, such as 2.34.
pub(super) fn oldest_glibc(files: &[&Path]) -> Result<String> {
    let mut needed = (0, 0);
    for file in files {
        let told = Tool::new("readelf")
            .args(["--version-info", "--wide"])
            .arg(file)
            .output()?;
        needed = needed.max(glibc_versions(&told).max().unwrap_or_default());
    }
    match needed {
        (0, 0) => bail!("the binary names no version of the C library: packages are for glibc"),
        (major, minor) => Ok(format!("{major}.{minor}")),
    }
}

/// The versions of glibc that `readelf --version-info` names.
fn glibc_versions(told: &str) -> impl Iterator<Item = (u32, u32)> {
    told.split("GLIBC_").skip(1).filter_map(|rest| {
        let version = rest.split(|character: char| !character.is_ascii_digit() && character != '.');
        let mut parts = version.into_iter().next()?.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::glibc_versions;

    #[test]
    fn the_newest_version_that_is_needed_counts_as_a_number() {
        let told = "0x0010: Name: GLIBC_2.4  Flags: none  Version: 3\n 004: Name: GLIBC_2.34\n Name: GLIBC_2.3.2 GLIBC_PRIVATE";
        assert_eq!(glibc_versions(told).max(), Some((2, 34)));
    }
}

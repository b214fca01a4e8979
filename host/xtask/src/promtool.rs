//! Prometheus's `promtool`, which checks what the node says of itself: the system's, or the one of Debian's package, unpacked into
//! the cache, so that no service is installed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, copy_file};
use crate::python::short;
use crate::run::{Root, Tool, apt_update, digest, fetch};
use crate::steps::say;

/// The tool; fetched where it is not there.
pub(crate) fn promtool(root: &Root) -> Result<PathBuf> {
    if Tool::new("promtool").arg("--version").succeeds() {
        return Ok("promtool".into());
    }
    let tool = root.target().join("prometheus/promtool");
    if tool.exists() {
        return Ok(tool);
    }
    // Debian's release decides on the version; apt checks what it fetches by the archive's signature.
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let key = digest(&[&release, std::env::consts::ARCH], &[])?;
    let entry = Cache::of_user()?.entry("promtool", short(&key), download)?;
    std::fs::create_dir_all(root.target().join("prometheus"))?;
    copy_file(&entry.path().join("promtool"), &tool)?;
    Ok(tool)
}

fn download(folder: &Path) -> Result<()> {
    say("fetching promtool, of Debian's package prometheus");
    let unpacked = folder.join("unpacked");
    std::fs::create_dir_all(&unpacked).with_context(|| format!("{} cannot be made", unpacked.display()))?;
    let get = || {
        let apt = Tool::new("apt-get").current_dir(&unpacked);
        apt.args(["download", "-qq", "prometheus"])
    };
    if !get().succeeds() {
        fetch("install Prometheus, so that promtool is on the PATH", || {
            apt_update()?;
            get().run_for("`apt-get download prometheus`")
        })?;
    }
    let mut files = std::fs::read_dir(&unpacked)?.flatten().map(|entry| entry.path());
    let Some(package) = files.find(|path| path.extension() == Some("deb".as_ref())) else {
        bail!("apt-get downloaded no package into {}", unpacked.display());
    };
    Tool::new("dpkg-deb")
        .arg("-x")
        .arg(&package)
        .arg(&unpacked)
        .run_for("unpacking the package")?;
    std::fs::rename(unpacked.join("usr/bin/promtool"), folder.join("promtool"))
        .context("the package prometheus has no promtool")?;
    Ok(std::fs::remove_dir_all(&unpacked)?)
}

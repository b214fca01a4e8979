//! Prometheus's `promtool`, which checks what the node says of itself: the system's, or Debian's package unpacked into `target/`,
//! so that no service is installed.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::run::{Root, Tool, apt_update, say};

/// The tool; fetched where it is not there.
pub(crate) fn promtool(root: &Root) -> Result<PathBuf> {
    if Tool::new("promtool").arg("--version").succeeds() {
        return Ok("promtool".into());
    }
    let folder = root.target().join("prometheus");
    let tool = folder.join("usr/bin/promtool");
    if tool.exists() {
        return Ok(tool);
    }
    say("fetching promtool, of Debian's package prometheus");
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let download = || {
        Tool::new("apt-get")
            .current_dir(&folder)
            .args(["download", "-qq", "prometheus"])
    };
    if !download().succeeds() {
        apt_update()?;
        download()
            .run()
            .context("the tests need promtool: install Prometheus, so that it is on the PATH")?;
    }
    let files = std::fs::read_dir(&folder)?.flatten().map(|entry| entry.path());
    let Some(package) = files
        .into_iter()
        .find(|path| path.extension() == Some("deb".as_ref()))
    else {
        bail!("apt-get downloaded no package into {}", folder.display());
    };
    Tool::new("dpkg-deb").arg("-x").arg(&package).arg(&folder).run()?;
    std::fs::remove_file(&package).with_context(|| format!("{} cannot be removed", package.display()))?;
    Ok(tool)
}

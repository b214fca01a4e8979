//! Debian packages: the tree below `/usr`, with a configuration in `/etc`, and what runs when it comes and goes; and the debug
//! information as a package beside it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::binary::Binary;
use super::tree::{Tree, put, set_modes, system_config};
use super::{Dist, VERSION};
use crate::run::Tool;
use crate::steps::say;

/// Programs of the package that dpkg runs.
pub(super) const SCRIPTS: [&str; 3] = ["DEBIAN/postinst", "DEBIAN/prerm", "DEBIAN/postrm"];

const MAINTAINER: &str = "Selvedge's maintainers <maintainers@selvedge.invalid>";

/// Makes both packages, and returns the one with the binary.
pub(super) fn pack(dist: &Dist<'_>, binary: &Binary, tree: &Tree) -> Result<PathBuf> {
    pack_debug(dist, binary)?;
    let root = dist.work.join("deb");
    lay(dist, &tree.folder, &root)?;
    let control = [
        ("Section", "net".to_owned()),
        ("Depends", depends(&tree.glibc)),
        ("Recommends", "ca-certificates".to_owned()),
        ("Description", DESCRIPTION.to_owned()),
    ];
    close(dist, &root, "selvedge", &control)
}

/// Dependencies of the package: the C and C++ libraries, and a program that makes its user.
fn depends(glibc: &str) -> String {
    format!(
        "libc6 (>= {glibc}), libgcc-s1, libstdc++6, systemd | systemd-standalone-sysusers | systemd-sysusers"
    )
}

const DESCRIPTION: &str = "HTTP host for ONNX models and sandboxed plugins
 Selvedge serves ONNX models over HTTP, with plugins in WebAssembly that
 validate, template and post-process. The package has ONNX Runtime, the
 standard plugins, and a small model that tells spam from ham.";

/// The package's files.
fn lay(dist: &Dist<'_>, tree: &Path, root: &Path) -> Result<()> {
    let usr = root.join("usr");
    fs::create_dir_all(root)?;
    Tool::new("cp").arg("-r").args([tree, &usr]).run()?;
    let packaging = dist.root.join("host/packaging");
    put(
        &packaging.join("selvedge.service"),
        &usr.join("lib/systemd/system/selvedge.service"),
    )?;
    // Where Debian's shell looks.
    let (zsh, own) = (usr.join("share/zsh"), "vendor-completions");
    fs::rename(zsh.join("site-functions"), zsh.join(own))?;
    let documents = usr.join("share/doc/selvedge");
    fs::remove_file(documents.join("LICENSE"))?;
    fs::write(documents.join("copyright"), COPYRIGHT)?;
    fs::write(documents.join("changelog"), changelog(dist)?)?;
    for packed in ["changelog", "THIRD-PARTY-NOTICES.txt"] {
        Tool::new("gzip")
            .args(["-9", "--no-name"])
            .arg(documents.join(packed))
            .run()?;
    }
    fs::create_dir_all(root.join("etc/selvedge"))?;
    fs::write(root.join("etc/selvedge/selvedge.toml"), system_config(dist)?)?;
    for script in SCRIPTS {
        let name = script.trim_start_matches("DEBIAN/");
        put(&packaging.join("deb").join(name), &root.join(script))?;
    }
    Ok(fs::write(
        root.join("DEBIAN/conffiles"),
        "/etc/selvedge/selvedge.toml\n",
    )?)
}

const COPYRIGHT: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Selvedge
Comment: THIRD-PARTY-NOTICES.txt.gz beside this file has the licences of what
 others wrote: ONNX Runtime, and the libraries in the binary and the plugins.

Files: *
Copyright: Selvedge's maintainers
License: Apache-2.0

Files: usr/share/selvedge/models/spam/*
Copyright: Selvedge's maintainers; trained on the SMS Spam Collection
License: CC-BY-4.0

License: Apache-2.0
 On Debian systems, /usr/share/common-licenses/Apache-2.0 has the text.

License: CC-BY-4.0
 https://creativecommons.org/licenses/by/4.0/legalcode has the text.
";

fn changelog(dist: &Dist<'_>) -> Result<String> {
    let date = Tool::new("date")
        .args(["--utc", "--rfc-email", "--date"])
        .arg(format!("@{}", dist.epoch))
        .env("LC_ALL", "C")
        .output()?;
    Ok(format!(
        "selvedge ({VERSION}) stable; urgency=medium\n\n  * The project's own package.\n\n -- {MAINTAINER}  {date}\n"
    ))
}

/// The debug information, where debuggers look for a binary with this build id.
fn pack_debug(dist: &Dist<'_>, binary: &Binary) -> Result<()> {
    let root = dist.work.join("deb-debug");
    let (folder, file) = binary
        .build_id
        .split_at_checked(2)
        .context("the build id is too short")?;
    put(
        &binary.debug,
        &root.join(format!("usr/lib/debug/.build-id/{folder}/{file}.debug")),
    )?;
    let documents = root.join("usr/share/doc");
    fs::create_dir_all(&documents)?;
    symlink("selvedge", documents.join("selvedge-dbgsym"))?;
    fs::create_dir_all(root.join("DEBIAN"))?;
    let control = [
        ("Section", "debug".to_owned()),
        ("Depends", format!("selvedge (= {VERSION})")),
        ("Build-Ids", binary.build_id.clone()),
        ("Description", "debug symbols of Selvedge".to_owned()),
    ];
    close(dist, &root, "selvedge-dbgsym", &control)?;
    Ok(())
}

/// Writes what dpkg is told of the package, and packs it.
fn close(dist: &Dist<'_>, root: &Path, name: &str, control: &[(&str, String)]) -> Result<PathBuf> {
    let sizes = Tool::new("du").args(["--summarize", "--apparent-size", "--block-size=1K"]);
    let size = sizes.arg("--exclude=DEBIAN").arg(root).output()?;
    let size = size.split_whitespace().next().unwrap_or_default();
    let architecture = dist.platform.debian;
    let mut told = format!(
        "Package: {name}\nVersion: {VERSION}\nArchitecture: {architecture}\nMaintainer: {MAINTAINER}\nInstalled-Size: {size}\n\
         Priority: optional\n"
    );
    for (key, value) in control {
        told += &format!("{key}: {value}\n");
    }
    fs::write(root.join("DEBIAN/control"), told)?;
    let sums = Tool::new("sh").current_dir(root);
    let sums = sums.args([
        "-c",
        "find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum",
    ]);
    fs::write(root.join("DEBIAN/md5sums"), sums.output()? + "\n")?;
    set_modes(root)?;
    let package = dist.out.join(format!("{name}_{VERSION}_{architecture}.deb"));
    say(&format!("packing {}", package.display()));
    Tool::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .args([root, &package])
        .env("SOURCE_DATE_EPOCH", &dist.epoch)
        .run()?;
    Ok(package)
}

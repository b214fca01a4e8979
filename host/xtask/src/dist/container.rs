//! The container image: Debian's libraries and what the `.deb` holds, without a shell, as an OCI archive. No registry is asked.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::tree::system_config;
use super::{Dist, VERSION, need};
use crate::run::Tool;
use crate::steps::say;

/// The user that the image runs as; `host/packaging/Dockerfile` names the same.
const USER: &str = "10001";

/// Debian's packages of the libraries that the binary and ONNX Runtime are linked to.
const LIBRARIES: &str = "libc6,libgcc-s1,libstdc++6";

/// Name of the image.
pub(super) const IMAGE: &str = "localhost/selvedge";

/// Commands that complete the root after the libraries are in it. mmdebstrap runs them with the root's folder as `$1`, and with an
/// `apt-get` that is set up for the root.
const SCRIPT: &str = r#"set -e
dpkg-deb --extract "$DEB" "$1"
# The package would bring OpenSSL and Perl along, to make one file of the certificates.
cd "$1/tmp"
apt-get download -qq ca-certificates
dpkg-deb --extract ca-certificates_*.deb unpacked
mkdir -p "$1/etc/ssl/certs"
LC_ALL=C cat unpacked/usr/share/ca-certificates/mozilla/*.crt > "$1/etc/ssl/certs/ca-certificates.crt"
mkdir -p "$1/usr/share/doc/ca-certificates"
cp unpacked/usr/share/doc/ca-certificates/copyright "$1/usr/share/doc/ca-certificates/"
rm -rf unpacked ca-certificates_*.deb
cd /
cp "$CONFIG" "$1/etc/selvedge/selvedge.toml"
printf 'root:x:0:0::/:/bin/false\nselvedge:x:%s:%s::/var/lib/selvedge:/bin/false\n' "$ID" "$ID" > "$1/etc/passwd"
printf 'root:x:0:\nselvedge:x:%s:\n' "$ID" > "$1/etc/group"
mkdir -p "$1/var/lib/selvedge" "$1/proc" "$1/sys" "$1/run"
chown "$ID:$ID" "$1/var/lib/selvedge"
chmod 0700 "$1/var/lib/selvedge"
# What is this machine's own, or of no use without a shell.
cd "$1"
rm -rf etc/dpkg etc/fstab etc/hostname etc/resolv.conf
rm -rf usr/lib/systemd usr/lib/sysusers.d usr/share/gcc usr/share/gdb usr/share/lintian var/cache var/lib/apt var/lib/dpkg var/log
"#;

/// Builds the image, and returns its archive.
pub(super) fn build(dist: &Dist<'_>, deb: &Path) -> Result<PathBuf> {
    need("mmdebstrap", "mmdebstrap", "the container's root")?;
    need("buildah", "buildah", "the container")?;
    let context = dist.work.join("container");
    fs::create_dir_all(&context)?;
    make_root(dist, deb, &context)?;
    fs::copy(
        dist.root.join("host/packaging/Dockerfile"),
        context.join("Dockerfile"),
    )?;
    say("building the image");
    let image = format!("{IMAGE}:{VERSION}");
    buildah(dist)
        .args([
            "build",
            "--quiet",
            "--isolation",
            "chroot",
            "--timestamp",
            &dist.epoch,
        ])
        .args(["--arch", dist.platform.debian, "--tag", &image])
        .arg(&context)
        .run()?;
    let archive = dist
        .out
        .join(format!("selvedge-{VERSION}-{}.oci.tar", dist.platform.machine));
    // buildah adds to an archive that is there.
    if archive.exists() {
        fs::remove_file(&archive)?;
    }
    let place = format!("oci-archive:{}:selvedge:{VERSION}", archive.display());
    buildah(dist).args(["push", "--quiet", &image, &place]).run()?;
    Ok(archive)
}

/// `root.tar`, in the folder that the image is built from.
fn make_root(dist: &Dist<'_>, deb: &Path, context: &Path) -> Result<()> {
    say("making the image's root of Debian's packages");
    let config = context.join("selvedge.toml");
    fs::write(&config, config_of_image(dist)?)?;
    let script = context.join("customize.sh");
    fs::write(&script, SCRIPT)?;
    let tar = context.join("root.tar");
    Tool::new("mmdebstrap")
        .args(["--quiet", "--variant=extract", "--include", LIBRARIES])
        .args(["--architectures", dist.platform.debian])
        .arg(format!("--extract-hook=sh '{}' \"$1\"", script.display()))
        .arg(suite()?)
        .arg(&tar)
        .env("SOURCE_DATE_EPOCH", &dist.epoch)
        .env("DEB", deb)
        .env("CONFIG", &config)
        .env("ID", USER)
        .run()?;
    // Devices are for whoever runs the container; of apt's files mmdebstrap itself has need to its end.
    let rest = Tool::new("tar").arg("--delete").arg("--file").arg(&tar);
    rest.args(["./dev", "./etc/apt"]).run()
}

/// The package's configuration, on all of the container's addresses: what reaches them is said where the container is run.
fn config_of_image(dist: &Dist<'_>) -> Result<String> {
    let config = system_config(dist)?;
    let own = "listen = \"127.0.0.1:8080\"\n";
    let (before, after) = config
        .split_once(own)
        .with_context(|| format!("host/packaging/selvedge.toml has no line `{}`", own.trim_end()))?;
    Ok(format!(
        "{before}listen = \"0.0.0.0:8080\"\n\n\
         # Whoever reaches the container's port may call. \"keys\" asks for keys, which `selvedge key create` makes.\n\
         [auth]\nmode = \"none\"\n{after}"
    ))
}

/// Debian's release on this machine: the binary was linked with its C library.
pub(super) fn suite() -> Result<String> {
    let told = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = |key: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(key));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    value("ID=")
        .filter(|id| id == "debian")
        .and_then(|_| value("VERSION_CODENAME="))
        .context("this needs Debian, whose packages it is made of: /etc/os-release names another system")
}

fn buildah(dist: &Dist<'_>) -> Tool {
    Tool::new("buildah").args(own_images(dist))
}

/// Options that make buildah keep its images in a folder of this run.
pub(super) fn own_images(dist: &Dist<'_>) -> Vec<OsString> {
    let images = dist.work.join("images");
    vec![
        "--storage-driver=vfs".into(),
        "--root".into(),
        images.join("storage").into(),
        "--runroot".into(),
        images.join("run").into(),
    ]
}

//! ONNX Runtime's library, out of its Python package, to where the host looks for it: `lib/` in cargo's target folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, Entry, copy_folder};
use crate::pins;
use crate::python::{short, unpack_wheel_of};
use crate::run::{Root, digest};
use crate::steps::say;

/// The version that is tested; the host takes older and newer ones too.
pub(crate) const VERSION: &str = "1.31.1";

/// Processors that the library is to run on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Device {
    /// The CPU alone.
    Cpu,
    /// CUDA, and the CPU as well.
    Gpu,
}

impl Device {
    fn package(self) -> &'static str {
        match self {
            Self::Cpu => "onnxruntime",
            Self::Gpu => "onnxruntime-gpu",
        }
    }
}

/// Puts the library in place.
pub(crate) fn fetch(root: &Root, device: Device) -> Result<()> {
    let lib = root.target().join("lib");
    let made = [lib.join("libonnxruntime.so")];
    let stamp = |device: Device| -> Result<_> {
        let pin = pins::package(root, device.package())?;
        Ok(root.stamp("onnxruntime", digest(&[&pin.text], &[])?))
    };
    // A library with CUDA serves on the CPU as well: what `setup --gpu` fetched stays.
    if stamp(device)?.is_fresh(&made) || stamp(Device::Gpu)?.is_fresh(&made) {
        return Ok(());
    }
    say(&format!("putting {} {VERSION} into target/lib", device.package()));
    let entry = library(root, device, std::env::consts::ARCH)?;
    copy_folder(&entry.path().join(LIBRARIES), &lib)?;
    stamp(device)?.write(&made)
}

/// Folder of the libraries in a cache's entry.
pub(crate) const LIBRARIES: &str = "lib";

/// Folder of the licences in a cache's entry, which is the package's own name.
const LICENCES: &str = "onnxruntime";

/// Licences in the package, which packages of ours must have too.
const LICENCE_FILES: [&str; 2] = ["LICENSE", "ThirdPartyNotices.txt"];

/// A folder for a processor, `x86_64` or `aarch64`: `lib/` has `libonnxruntime.so`, and its execution providers where it has some,
/// `onnxruntime/` the licences.
pub(crate) fn library(root: &Root, device: Device, machine: &str) -> Result<Entry> {
    let package = device.package();
    let layout = [LIBRARIES, LICENCES].join(" ");
    let key = digest(&[&pins::package(root, package)?.text, machine, &layout], &[])?;
    Cache::of_user()?.entry("onnxruntime", &format!("{package}-{}", short(&key)), |dir| {
        let unpacked = dir.join("unpacked");
        unpack_wheel_of(root, package, machine, &unpacked)?;
        let package_folder = unpacked.join("onnxruntime");
        let lib = dir.join(LIBRARIES);
        fs::create_dir_all(&lib)?;
        for (from, name) in libraries(&package_folder.join("capi"))? {
            fs::rename(&from, lib.join(&name)).with_context(|| format!("{name} cannot be moved"))?;
        }
        let licences = dir.join(LICENCES);
        fs::create_dir_all(&licences)?;
        for name in LICENCE_FILES {
            fs::rename(package_folder.join(name), licences.join(name))
                .with_context(|| format!("{name} cannot be moved"))?;
        }
        if !lib.join("libonnxruntime.so").is_file() {
            bail!("the package {package} {VERSION} has no libonnxruntime.so for {machine}");
        }
        Ok(fs::remove_dir_all(&unpacked)?)
    })
}

/// The package's libraries, each with the name under which it is looked for.
fn libraries(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)
        .with_context(|| format!("{} cannot be read", folder.display()))?
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        // Execution providers are looked for beside the library, under their own names.
        if name.starts_with("libonnxruntime.so") {
            found.push((entry.path(), "libonnxruntime.so".to_owned()));
        } else if name.starts_with("libonnxruntime") {
            found.push((entry.path(), name));
        }
    }
    Ok(found)
}

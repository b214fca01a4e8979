//! ONNX Runtime's library, out of its Python package, to where the host looks for it: `lib/` in cargo's target folder.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::python::unpack_wheel;
use crate::run::{Root, Stamp, say};

/// The version that is tested; the host takes older and newer ones too.
pub(crate) const VERSION: &str = "1.31.1";

/// Fetches the library.
pub(crate) fn fetch(root: &Root, gpu: bool) -> Result<()> {
    let package = if gpu { "onnxruntime-gpu" } else { "onnxruntime" };
    let lib = root.target().join("lib");
    let library = lib.join("libonnxruntime.so");
    fs::create_dir_all(&lib)?;
    let stamp = Stamp::new(lib.join("onnxruntime.stamp"), &[package, VERSION], &[])?;
    let with_gpu = Stamp::new(lib.join("onnxruntime.stamp"), &["onnxruntime-gpu", VERSION], &[])?;
    // A library with CUDA serves on the CPU as well: what `setup --gpu` fetched stays.
    if stamp.is_fresh(std::slice::from_ref(&library)) || with_gpu.is_fresh(std::slice::from_ref(&library)) {
        return Ok(());
    }
    say(&format!("fetching {package} {VERSION}"));
    let unpacked = root.target().join("unpacked-onnxruntime");
    unpack_wheel(root, &format!("{package}=={VERSION}"), &unpacked)?;
    let mut found = false;
    for entry in fs::read_dir(unpacked.join("onnxruntime/capi"))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // Execution providers are looked for beside the library, under their own names.
        let target = if name.starts_with("libonnxruntime.so") {
            "libonnxruntime.so"
        } else {
            &name
        };
        if name.starts_with("libonnxruntime") {
            fs::copy(entry.path(), lib.join(target)).with_context(|| format!("{name} cannot be copied"))?;
            found |= target == "libonnxruntime.so";
        }
    }
    fs::remove_dir_all(&unpacked)?;
    if !found {
        bail!("the package {package} {VERSION} has no libonnxruntime.so for this system");
    }
    stamp.write()
}

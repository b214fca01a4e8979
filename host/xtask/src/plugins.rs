//! Builds the plugins, writes each one's manifest into it, and puts it into plugins/dist/.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use wasm_encoder::{ComponentSection, CustomSection};

use crate::run::{Root, say};
use crate::wasm::{Compiler, TARGET};

/// Builds all of them.
pub(crate) fn build(root: &Root) -> Result<()> {
    let compiler = Compiler::find(root)?;
    let workspace = root.join("plugins");
    say("building the plugins");
    compiler
        .cargo()
        .current_dir(&workspace)
        .env("CARGO_TARGET_DIR", workspace.join("target"))
        .args(["build", "--quiet", "--release", "--target", TARGET])
        .run()?;
    let dist = workspace.join("dist");
    fs::create_dir_all(&dist)?;
    for entry in fs::read_dir(&workspace)?.flatten() {
        let manifest = entry.path().join("manifest.json");
        if manifest.is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            place(&workspace, &dist, &name, &manifest, &compiler.version()?)
                .with_context(|| format!("the plugin {name} cannot be put into plugins/dist"))?;
        }
    }
    Ok(())
}

fn place(workspace: &Path, dist: &Path, name: &str, manifest: &Path, toolchain: &str) -> Result<()> {
    let built = workspace
        .join("target")
        .join(TARGET)
        .join("release")
        .join(format!("{}.wasm", name.replace('-', "_")));
    let mut component = fs::read(&built).with_context(|| format!("{} is missing", built.display()))?;
    let manifest = fs::read_to_string(manifest)?.replace("@TOOLCHAIN@", toolchain);
    let section = CustomSection {
        name: "selvedge:manifest".into(),
        data: manifest.as_bytes().into(),
    };
    section.append_to_component(&mut component);
    let target = dist.join(format!("{name}.wasm"));
    // The same bytes keep their time, so that nothing that depends on it is made again.
    if fs::read(&target).is_ok_and(|old| old == component) {
        return Ok(());
    }
    Ok(fs::write(target, component)?)
}

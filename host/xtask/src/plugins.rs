//! Builds the plugins, writes each one's manifest into it, and puts it into plugins/dist/. Those in JavaScript and Python are built as
//! an author builds them, by `selvedge plugin build`, which the host's binary must be there for.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use wasm_encoder::{ComponentSection, CustomSection};

use crate::run::{Root, Stamp, Tool, apt_install, say};
use crate::wasm::{Compiler, TARGET};

/// Those in JavaScript and Python: the folder, and the file that pins its tools.
const SCRIPTS: [(&str, &str); 2] = [("crm", "package.json"), ("calibrate", "requirements.txt")];

/// Builds those in JavaScript and Python, each where it or the interfaces have changed. Their tools are installed into
/// their folders the first time.
pub(crate) fn build_scripts(root: &Root) -> Result<()> {
    if !Tool::new("npm").arg("--version").succeeds() {
        apt_install(&["nodejs", "npm"], "plugins in JavaScript")?;
    }
    let selvedge = root.target().join("release/selvedge");
    let dist = root.join("plugins/dist");
    for (name, pins) in SCRIPTS {
        let folder = root.join("plugins").join(name);
        let mut sources = vec![folder.join("manifest.json"), folder.join(pins)];
        for part in ["src", "wit", "wit/deps"] {
            sources.extend(files(&folder.join(part))?);
        }
        sources.extend(files(&root.join("wit"))?);
        // What is done to what the tools put out.
        sources.push(root.join("host/plugin/src/quickjs.rs"));
        let stamp = Stamp::new(root.target().join(format!("{name}.stamp")), &[], &sources)?;
        if stamp.is_fresh(&[dist.join(format!("{name}.wasm"))]) {
            continue;
        }
        say(&format!("building the plugin {name}"));
        let build = Tool::new(&selvedge).args(["plugin", "build"]).arg(&folder);
        build.arg("--dist").arg(&dist).run()?;
        stamp.write()?;
    }
    Ok(())
}

/// The files of a folder, in order; not those of folders in it.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.is_file());
    files.sort();
    Ok(files)
}

/// Builds those in Rust.
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
        if manifest.is_file() && entry.path().join("Cargo.toml").is_file() {
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

//! Builds the plugins, writes each one's manifest into it, and puts it into plugins/dist/.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

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
    component.extend(custom_section("selvedge:manifest", manifest.as_bytes()));
    let target = dist.join(format!("{name}.wasm"));
    // The same bytes keep their time, so that nothing that depends on it is made again.
    if fs::read(&target).is_ok_and(|old| old == component) {
        return Ok(());
    }
    Ok(fs::write(target, component)?)
}

/// A custom section of a component: id 0, its length, its name's length, its name, its content.
fn custom_section(name: &str, content: &[u8]) -> Vec<u8> {
    let mut body = leb128(name.len());
    body.extend(name.as_bytes());
    body.extend(content);
    let mut section = vec![0];
    section.extend(leb128(body.len()));
    section.extend(body);
    section
}

/// An unsigned number as WebAssembly writes it: seven bits a byte, the lowest first.
fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        bytes.push(if number == 0 { low } else { low | 0x80 });
        if number == 0 {
            return bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{custom_section, leb128};

    #[test]
    fn writes_numbers_seven_bits_a_byte() {
        assert_eq!(leb128(0), [0]);
        assert_eq!(leb128(127), [127]);
        assert_eq!(leb128(624_485), [0xe5, 0x8e, 0x26]);
    }

    #[test]
    fn writes_a_section_with_its_name() {
        assert_eq!(
            custom_section("ab", b"xyz"),
            [0, 6, 2, b'a', b'b', b'x', b'y', b'z']
        );
    }
}

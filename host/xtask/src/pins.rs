//! The packages that pip fetches, each with the hashes of its files: `pins/NAME.txt`, made of `pins/NAME.in` by `cargo xtask pins`. A
//! file with another hash is refused, wherever it came from.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::python::{Layer, environment};
use crate::run::{Root, Tool};
use crate::steps::say;

const FOLDER: &str = "host/xtask/pins";

/// A package in one version, as pip's requirements files have it.
#[derive(Debug, Clone)]
pub(crate) struct Pin {
    /// Name of the package, in the registry's spelling.
    pub(crate) name: String,
    /// The lines: `NAME==VERSION \`, then a hash each.
    pub(crate) text: String,
}

/// The file that has the pins of `set`.
pub(crate) fn file(root: &Root, set: &str) -> PathBuf {
    root.join(FOLDER).join(format!("{set}.txt"))
}

/// The pins of `set`.
pub(crate) fn read(root: &Root, set: &str) -> Result<Vec<Pin>> {
    let path = file(root, set);
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(parse(&text))
}

/// The pin of a package that is only unpacked.
pub(crate) fn package(root: &Root, name: &str) -> Result<Pin> {
    let found = read(root, "packages")?.into_iter().find(|pin| pin.name == name);
    found.with_context(|| {
        format!("{FOLDER}/packages.txt has no {name}: add it to packages.in and run `cargo xtask pins`")
    })
}

/// Writes pins as a requirements file.
pub(crate) fn write<'a>(path: &Path, pins: impl IntoIterator<Item = &'a Pin>) -> Result<()> {
    let text: String = pins.into_iter().map(|pin| pin.text.as_str()).collect();
    std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

/// Asks pip anew for the versions that the `.in` files leave open, and for the hashes of all.
pub(crate) fn renew(root: &Root) -> Result<()> {
    say("asking pip for each package, platform and version of Python (5 minutes)");
    let folder = root.join(FOLDER);
    Tool::new(environment(root, Layer::Bare)?)
        .arg(folder.join("pins.py"))
        .arg(&folder)
        .run()
}

fn parse(text: &str) -> Vec<Pin> {
    let mut pins: Vec<Pin> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match (line.split_once("=="), pins.last_mut()) {
            (Some((name, _)), _) => pins.push(Pin {
                name: name.to_owned(),
                text: format!("{line}\n"),
            }),
            (None, Some(pin)) => pin.text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    pins
}

#[cfg(test)]
mod tests {
    use super::{FOLDER, package, read};
    use crate::onnxruntime::VERSION;
    use crate::run::Root;

    const SETS: [&str; 4] = ["convert", "clients", "llama", "packages"];

    /// Returns true if a pin has lines after the first, and each of them is a hash.
    fn is_hashed(text: &str) -> bool {
        let hashes = text
            .lines()
            .skip(1)
            .map(|line| line.trim().trim_end_matches(" \\"));
        let mut hashes = hashes.map(|line| line.strip_prefix("--hash=sha256:").unwrap_or(""));
        text.lines().count() > 1 && hashes.all(|hash| hash.len() == 64)
    }

    #[test]
    fn every_package_has_a_hash() {
        let root = Root::find().expect("found");
        for set in SETS {
            let pins = read(&root, set).expect("read");
            assert!(!pins.is_empty(), "{set}");
            for pin in pins {
                assert!(is_hashed(&pin.text), "{set}: {}", pin.text);
            }
        }
    }

    #[test]
    fn what_is_asked_for_is_pinned() {
        let root = Root::find().expect("found");
        for set in SETS {
            let pins = read(&root, set).expect("read");
            let asked = std::fs::read_to_string(root.join(FOLDER).join(format!("{set}.in"))).expect("read");
            let asked = asked.lines().filter(|line| !line.starts_with(['#', '-']));
            for line in asked {
                let (name, version) = line.split_once("==").unwrap_or((line, ""));
                let name = name.split('[').next().unwrap_or(name);
                let start = format!("{name}=={version}");
                assert!(
                    pins.iter().any(|pin| pin.text.starts_with(&start)),
                    "{set}: {line}"
                );
            }
        }
    }

    #[test]
    fn the_clients_share_what_the_converters_have() {
        let root = Root::find().expect("found");
        let (converters, clients) = (read(&root, "convert"), read(&root, "clients"));
        let clients = clients.expect("read");
        for pin in converters.expect("read") {
            assert!(clients.iter().any(|other| other.text == pin.text), "{}", pin.text);
        }
    }

    #[test]
    fn onnx_runtime_is_the_version_that_is_tested() {
        let root = Root::find().expect("found");
        for name in ["onnxruntime", "onnxruntime-gpu"] {
            let pin = package(&root, name).expect("pinned");
            assert!(
                pin.text.starts_with(&format!("{name}=={VERSION} ")),
                "{}",
                pin.text
            );
        }
    }
}

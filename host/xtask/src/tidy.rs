//! The rules that no compiler keeps: what lies where, what each file opens with, and who may know whom.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::run::Root;
use crate::steps::say;

/// What the top level shows.
const TOP: [&str; 9] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "configs",
    "host",
    "models",
    "plugins",
    "wit",
];

/// Lines of a file that has no reason to be longer in its `//!`.
const LINES_MAX: usize = 500;

/// Pure parts, and what they may not name.
const PURE: [&str; 10] = [
    "host/src/config",
    "host/src/openapi",
    "host/src/ports.rs",
    "host/src/router",
    "host/model/src/batch/plan.rs",
    "host/model/src/batch/rows.rs",
    "host/model/src/card.rs",
    "host/model/src/generate/sample.rs",
    "host/src/upstream/ollama.rs",
    "host/src/upstream/openai.rs",
];
const IMPURE: [&str; 4] = ["tokio::", "ort::", "wasmtime::", "hyper::"];

/// Crates, and the only folders that may use each.
const OWNERS: [(&str, &[&str]); 7] = [
    ("wasmtime::", &["host/plugin/"]),
    ("ort::", &["host/model/"]),
    ("llguidance::", &["host/model/src/generate/structure.rs"]),
    ("hyper::", &["host/src/http/", "host/src/upstream/"]),
    (
        "rusqlite::",
        &[
            "host/src/state/",
            "host/src/observe/",
            "host/src/edge/keystore.rs",
            "host/src/granted/",
        ],
    ),
    (
        "rustls::",
        &["host/src/http/tls.rs", "host/src/upstream/", "host/tests/"],
    ),
    ("tokio::spawn(", &["host/src/shutdown.rs"]),
];

/// Checks them all.
pub(crate) fn check(root: &Root) -> Result<()> {
    say("the rules that no compiler keeps");
    let found = findings(root.path())?;
    if found.is_empty() {
        Ok(())
    } else {
        bail!("{}", found.join("\n"))
    }
}

fn findings(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    check_top(root, &mut found)?;
    check_guide(&root.join("plugins"), &mut found)?;
    let mut files = Vec::new();
    for folder in ["host", "plugins"] {
        collect(&root.join(folder), &mut files)?;
    }
    for file in files {
        let text = fs::read_to_string(&file)?;
        let name = file
            .strip_prefix(root)
            .unwrap_or(&file)
            .to_string_lossy()
            .into_owned();
        check_file(&name, &text, &mut found);
    }
    Ok(found)
}

fn check_top(root: &Path, found: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(root)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && name != "target" && !TOP.contains(&name.as_str()) {
            found.push(format!("{name}: the top level shows only {}", TOP.join(" ")));
        }
    }
    Ok(())
}

/// The author's guide has each of its examples word for word, and no other that is a whole plugin.
fn check_guide(plugins: &Path, found: &mut Vec<String>) -> Result<()> {
    let guide = fs::read_to_string(plugins.join("README.md"))?;
    let mut count = 0;
    for entry in fs::read_dir(plugins.join("guide/examples"))?.flatten() {
        let example = fs::read_to_string(entry.path())?;
        if !guide.contains(&format!("```rust\n{example}```\n")) {
            let name = entry.file_name().to_string_lossy().into_owned();
            found.push(format!(
                "plugins/README.md: it does not show guide/examples/{name} as it is"
            ));
        }
        count += 1;
    }
    let whole = guide.matches("\nexport!(Plugin);\n").count();
    if whole != count {
        found.push(format!(
            "plugins/README.md: {whole} whole plugins in Rust, of which guide/examples has {count}"
        ));
    }
    Ok(())
}

/// Adds the sources in Rust below a folder, without what was built.
pub(crate) fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            collect(&path, files)?;
        } else if path.extension() == Some("rs".as_ref()) {
            files.push(path);
        }
    }
    Ok(())
}

fn check_file(name: &str, text: &str, found: &mut Vec<String>) {
    if !text.starts_with("//!") {
        found.push(format!(
            "{name}: a file opens with `//!`: what it is, what it must not know"
        ));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX && !text.contains("//! Longer than") {
        found.push(format!(
            "{name}: {lines} lines; cut it, or say in its `//!` why it is `Longer than` others"
        ));
    }
    let code = || text.lines().filter(|line| !line.trim_start().starts_with("//"));
    // Test code and this file speak of what they check.
    if name.contains("/tests/")
        || name.contains("/benches/")
        || name.contains("/examples/")
        || name.contains("xtask")
    {
        return;
    }
    if PURE.iter().any(|pure| name.starts_with(pure)) {
        for word in IMPURE {
            if code().any(|line| names(line, word)) {
                found.push(format!("{name}: is pure and must not name `{word}`"));
            }
        }
    }
    for (word, owners) in OWNERS {
        let owned = owners.iter().any(|owner| name.starts_with(owner));
        if !owned && !name.starts_with("plugins/") && code().any(|line| names(line, word)) {
            found.push(format!("{name}: only {} may use `{word}`", owners.join(" and ")));
        }
    }
}

/// Whether a line names a path that begins with `word`, not one that merely ends with it.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || character == '_' || character == ':')
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{check_file, findings, names};

    #[test]
    fn the_project_is_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .expect("two folders up");
        assert_eq!(findings(root).expect("readable"), Vec::<String>::new());
    }

    #[test]
    fn tells_a_crate_from_a_name_that_ends_alike() {
        assert!(names("use ort::Session;", "ort::"));
        assert!(!names("use crate::port::Port;", "ort::"));
        assert!(!names("use wasmtime_wasi::WasiCtx;", "wasmtime::"));
    }

    #[test]
    fn finds_what_is_untidy() {
        let mut found = Vec::new();
        check_file("host/src/router.rs", "use tokio::time;\n", &mut found);
        assert_eq!(found.len(), 2, "{found:?}");
    }
}

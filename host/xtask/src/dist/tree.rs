//! The tree that every package is made of: `bin`, `lib` and `share`, as they lie below `/usr` or any other folder. What the binary
//! looks for lies where it looks, seen from the binary: nothing in the tree names the folder above it.
//!
//! ONNX Runtime's library is in each of them. A wheel could depend on its Python package instead; that brings NumPy and others along,
//! and lies where the interpreter knows and the binary does not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Dist;
use super::binary::{Binary, oldest_glibc};
use super::deb::SCRIPTS;
use super::parts::Parts;
use crate::onnxruntime::LIBRARIES;
use crate::run::Tool;
use crate::steps::say;

/// The plugins that come along: those of the README's table, none of those for tests.
pub(super) const PLUGINS: [&str; 14] = [
    "calibrate",
    "capture",
    "crm",
    "decode-regex",
    "filetype",
    "guard",
    "guard-model",
    "json-extract",
    "json-schema",
    "label",
    "prompt-template",
    "redact",
    "retrieve",
    "webhook",
];

/// Configurations of the project that need no more than what comes along.
const CONFIGS: [&str; 2] = ["observe.toml", "reference.toml"];

/// Folder of the state that the comments of configurations name.
const STATE: &str = "~/.local/state/selvedge";

/// A tree, and what it needs of a system.
pub(super) struct Tree {
    pub(super) folder: PathBuf,
    /// The oldest version of the C library, such as 2.34.
    pub(super) glibc: String,
}

/// Lays the tree out.
pub(super) fn lay(dist: &Dist<'_>, binary: &Binary, parts: &Parts) -> Result<Tree> {
    say("laying out what the packages hold");
    let folder = dist.work.join("tree");
    put(&binary.stripped, &folder.join("bin/selvedge"))?;
    let library = folder.join("lib/selvedge/libonnxruntime.so");
    let libraries = parts.onnxruntime.path().join(LIBRARIES);
    put(&libraries.join("libonnxruntime.so"), &library)?;
    lay_share(dist, parts, &folder.join("share/selvedge"))?;
    lay_service(dist, &folder)?;
    lay_manual(&parts.manual, &folder)?;
    lay_documents(dist, parts, &folder.join("share/doc/selvedge"))?;
    set_modes(&folder)?;
    let glibc = oldest_glibc(&[&binary.stripped, &library])?;
    Ok(Tree { folder, glibc })
}

/// Plugins, models and configurations.
fn lay_share(dist: &Dist<'_>, parts: &Parts, share: &Path) -> Result<()> {
    for plugin in PLUGINS {
        let file = format!("{plugin}.wasm");
        put(&parts.plugins.join(&file), &share.join("plugins").join(&file))?;
    }
    for file in ["model.toml", "model.onnx"] {
        put(
            &dist.root.join("models/spam").join(file),
            &share.join("models/spam").join(file),
        )?;
    }
    let configs = share.join("configs");
    put(
        &dist.root.join("host/packaging/selvedge.toml"),
        &configs.join("selvedge.toml"),
    )?;
    for file in CONFIGS {
        let text = fs::read_to_string(dist.root.join("configs").join(file))?;
        fs::write(configs.join(file), as_installed(&text))?;
    }
    Ok(())
}

/// A configuration of the project with the places of an installation.
fn as_installed(config: &str) -> String {
    config
        .replace("../plugins/dist/", "../plugins/")
        // The default is right: what is installed may lie where nobody may write.
        .replace("\ndir = \"../target/state\"", &format!("\n# dir = \"{STATE}\""))
        .replace("target/state/", &format!("{STATE}/"))
}

/// The packages' configuration as it lies in `/etc`.
pub(super) fn system_config(dist: &Dist<'_>) -> Result<String> {
    let config = fs::read_to_string(dist.root.join("host/packaging/selvedge.toml"))?;
    let state =
        "# dir = \"~/.local/state/selvedge\"   # compiled plugins, keys and events; this is the default\n";
    if !config.contains(state) {
        bail!("host/packaging/selvedge.toml has no line `{}`", state.trim_end());
    }
    // Commands that share the state with the service, such as `selvedge key`, find it without systemd.
    let own = "dir = \"/var/lib/selvedge\"            # compiled plugins, keys and events\n";
    Ok(config
        .replace(state, own)
        .replace("\"../", "\"/usr/share/selvedge/"))
}

/// The units and the service's user, for who unpacks the tree into `/usr/local`.
fn lay_service(dist: &Dist<'_>, folder: &Path) -> Result<()> {
    let unit = fs::read_to_string(dist.root.join("host/packaging/selvedge.service"))?;
    let own = "ExecStart=/usr/bin/selvedge serve --config /etc/selvedge/selvedge.toml\n";
    if !unit.contains(own) {
        bail!("host/packaging/selvedge.service has no line `{}`", own.trim_end());
    }
    let units = folder.join("lib/systemd/system");
    fs::create_dir_all(&units)?;
    // Without a name, it serves /etc/selvedge/selvedge.toml where that is there, else the one that comes along.
    let unit = unit.replace(own, "ExecStart=/usr/local/bin/selvedge serve\n");
    fs::write(units.join("selvedge.service"), unit)?;
    put(
        &dist.root.join("host/packaging/selvedge.socket"),
        &units.join("selvedge.socket"),
    )?;
    put(
        &dist.root.join("host/packaging/selvedge.sysusers"),
        &folder.join("lib/sysusers.d/selvedge.conf"),
    )
}

fn lay_manual(manual: &Path, folder: &Path) -> Result<()> {
    let share = folder.join("share");
    let completions = [
        ("selvedge.bash", "bash-completion/completions/selvedge"),
        ("_selvedge", "zsh/site-functions/_selvedge"),
        ("selvedge.fish", "fish/vendor_completions.d/selvedge.fish"),
    ];
    for (from, to) in completions {
        put(&manual.join("completions").join(from), &share.join(to))?;
    }
    let pages = share.join("man/man1");
    for entry in fs::read_dir(manual.join("man"))?.flatten() {
        put(&entry.path(), &pages.join(entry.file_name()))?;
    }
    pack_files(&pages)
}

/// Licences, notices, and how to install.
fn lay_documents(dist: &Dist<'_>, parts: &Parts, documents: &Path) -> Result<()> {
    put(&dist.root.join("LICENSE"), &documents.join("LICENSE"))?;
    put(
        &dist.root.join("host/docs/install.md"),
        &documents.join("install.md"),
    )?;
    Tool::new("python3")
        .arg(dist.root.join("host/packaging/notices.py"))
        .arg(dist.root.path())
        .arg(&dist.platform.triple)
        .arg(parts.onnxruntime.path())
        .arg(PLUGINS.join(","))
        .arg(documents.join("THIRD-PARTY-NOTICES.txt"))
        .run()
}

/// Copies a file to where its folder may not be yet.
pub(super) fn put(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).with_context(|| format!("{} cannot be copied to {}", from.display(), to.display()))?;
    Ok(())
}

/// Packs each file of a folder by gzip, as Debian has man pages.
pub(super) fn pack_files(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        Tool::new("gzip")
            .args(["-9", "--no-name"])
            .arg(entry.path())
            .run()?;
    }
    Ok(())
}

/// Folders and programs 0755, files 0644, whatever they were where they came from.
pub(super) fn set_modes(folder: &Path) -> Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            set_modes(&path)?;
        } else if kind.is_file() {
            let is_program = folder.ends_with("bin") || SCRIPTS.iter().any(|script| path.ends_with(script));
            let mode = if is_program { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{PLUGINS, as_installed};

    #[test]
    fn every_plugin_is_shipped_or_is_a_guest_of_tests() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
        let entries = std::fs::read_dir(&folder).expect("plugins").flatten();
        let plugins = entries.filter(|entry| entry.path().join("manifest.json").is_file());
        let mut names: Vec<String> = plugins
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| {
                !["hostile", "veteran", "probe"]
                    .iter()
                    .any(|guest| name.starts_with(guest))
            })
            .collect();
        names.sort();
        assert_eq!(names, PLUGINS);
    }

    #[test]
    fn an_installed_configuration_names_installed_places() {
        let config = "# cat target/state/journals/x\n[state]\ndir = \"../target/state\"  # here\n[plugins.label]\n\
                      path = \"../plugins/dist/label.wasm\"\n";
        let installed = as_installed(config);
        assert!(
            installed.contains("\n[state]\n# dir = \"~/.local/state/selvedge\"  # here\n"),
            "{installed}"
        );
        assert!(
            installed.contains("path = \"../plugins/label.wasm\""),
            "{installed}"
        );
        assert!(!installed.contains("target"), "{installed}");
    }
}

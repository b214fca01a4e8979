//! Compiled third-party crates, shared by all clones of a user: what cargo made of one lock file with one compiler and one set of
//! profiles is put into a folder of the cache, and a new clone begins with it.
//!
//! Cargo's own `build.build-dir` could be shared instead, but it locks the whole folder for each build, is never swept, and takes the
//! crates of two clones for the same if their paths within the project are. So only what comes from a registry is shared, and
//! cargo checks each crate's fingerprint as it would its own. A crate counts as there once its fingerprint is; that comes last.

use std::fs::{self, File, FileTimes};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::{Cache, Entry};
use crate::run::{PROFILE, Root, Tool, digest};
use crate::steps::say;
use crate::wasm::TARGET;

/// Kind of the cache's entries, one for each lock file, compiler and profile.
const KIND: &str = "crates";

/// Names of what the host's workspace builds itself: its crates, tests, benches and examples.
const HOST: [&str; 12] = [
    "selvedge",
    "selvedge-model",
    "selvedge-plugin",
    "xtask",
    "it",
    "call",
    "scripts",
    "streams",
    "edge",
    "load",
    "manual",
    "bare_loop",
];

/// The crates of one workspace and one profile.
pub(crate) struct Crates {
    /// The folder that clones share.
    shared: PathBuf,
    /// Folder that cargo builds into: `target/PROFILE`.
    built: PathBuf,
    /// Names of what the workspace builds itself, which is not shared.
    own: Vec<String>,
    /// Keeps the folder from being swept.
    _entry: Option<Entry>,
}

/// Folders of a build, in the order in which they are copied.
const FOLDERS: [&str; 3] = ["deps", "build", FINGERPRINTS];

const FINGERPRINTS: &str = ".fingerprint";

/// Puts the crates of the host where cargo looks for them, and those of the plugins.
pub(crate) fn take(root: &Root) -> Result<()> {
    let taken = each(root, Crates::take)?;
    if taken > 0 {
        say(&format!("{taken} compiled crates were taken from the cache"));
    }
    Ok(())
}

/// Keeps the crates that cargo has built for the host and the plugins.
pub(crate) fn keep(root: &Root) -> Result<()> {
    let kept = each(root, Crates::keep)?;
    if kept > 0 {
        say(&format!(
            "{kept} compiled crates were put into the cache, for the next clone"
        ));
    }
    Ok(())
}

fn each(root: &Root, work: impl Fn(&Crates) -> Result<usize>) -> Result<usize> {
    let cache = Cache::of_user()?;
    let host = Crates::of(&cache, root.path(), root.target().join(PROFILE), &HOST)?;
    let mut crates = work(&host)?;
    let plugins = root.join("plugins");
    let folders = fs::read_dir(&plugins)?.flatten();
    let own: Vec<String> = folders
        .map(|folder| folder.file_name().to_string_lossy().into_owned())
        .chain(["selvedge-sdk".to_owned()])
        .collect();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let target = plugins.join("target");
    for built in ["debug", "release", &format!("{TARGET}/release")] {
        crates += work(&Crates::of(&cache, &plugins, target.join(built), &own)?)?;
    }
    Ok(crates)
}

impl Crates {
    /// The crates of the workspace in `folder`, which cargo builds into `built`.
    fn of(cache: &Cache, folder: &Path, built: PathBuf, own: &[&str]) -> Result<Self> {
        let compiler = Tool::new("rustc").arg("-vV").output()?;
        let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
        let target = built.strip_prefix(folder).unwrap_or(&built).to_string_lossy();
        let files = ["Cargo.lock", "Cargo.toml"].map(|file| folder.join(file));
        let key = digest(&[&compiler, &flags, &target], &files)?;
        let entry = cache.entry(KIND, &key, |_| Ok(()))?;
        Ok(Self {
            shared: entry.path().to_owned(),
            built,
            own: own.iter().map(|name| name.replace('-', "_")).collect(),
            _entry: Some(entry),
        })
    }

    /// Puts the crates that were kept where cargo looks for them. Returns how many were new there.
    fn take(&self) -> Result<usize> {
        self.copy(&self.shared, &self.built)
    }

    /// Keeps the crates that cargo has built. Returns how many were new in the cache.
    fn keep(&self) -> Result<usize> {
        self.copy(&self.built, &self.shared)
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<usize> {
        let mut crates = 0;
        for folder in FOLDERS {
            let (from, to) = (from.join(folder), to.join(folder));
            let entries = match fs::read_dir(&from) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
                Err(error) => {
                    return Err(error).with_context(|| format!("{} cannot be read", from.display()));
                }
            };
            fs::create_dir_all(&to).with_context(|| format!("{} cannot be made", to.display()))?;
            for entry in entries.flatten() {
                let name = entry.file_name();
                let target = to.join(&name);
                if self.is_own(&name.to_string_lossy()) || target.exists() {
                    continue;
                }
                copy(&entry.path(), &target).with_context(|| {
                    format!(
                        "{} cannot be copied to {}",
                        entry.path().display(),
                        target.display()
                    )
                })?;
                crates += usize::from(folder == FINGERPRINTS);
            }
        }
        Ok(crates)
    }

    /// Returns true if a file or folder of a build, `libNAME-HASH.rlib` or `NAME-HASH`, belongs to a crate of the workspace.
    fn is_own(&self, file: &str) -> bool {
        let name = file
            .rsplit_once('-')
            .map_or(file, |(name, _)| name)
            .replace('-', "_");
        let name = name.strip_prefix("lib").unwrap_or(&name);
        self.own.iter().any(|own| own == name)
    }
}

/// Copies a file or a folder with its times, by which cargo knows what is fresh. What appears under its name is whole. Libraries are
/// linked, since nobody writes into one; all else is copied, since cargo and build scripts write into theirs.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let beside = to.with_file_name(format!(
        ".{}.{}",
        to.file_name().unwrap_or_default().to_string_lossy(),
        std::process::id()
    ));
    remove(&beside)?;
    copy_into(from, &beside)?;
    match fs::rename(&beside, to) {
        // Another clone was quicker.
        Err(error) if to.exists() => {
            remove(&beside)?;
            drop(error);
            Ok(())
        }
        done => done,
    }
}

fn copy_into(from: &Path, to: &Path) -> std::io::Result<()> {
    let found = fs::symlink_metadata(from)?;
    if found.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy_into(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    let is_library = from.extension().is_some_and(|extension| {
        ["rlib", "rmeta", "so"]
            .iter()
            .any(|library| extension == *library)
    });
    if is_library && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to)?;
    let times = FileTimes::new().set_modified(found.modified()?);
    File::options().append(true).open(to)?.set_times(times)
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crates(dir: &Path, built: &str) -> Crates {
        Crates {
            shared: dir.join("shared"),
            built: dir.join(built),
            own: vec!["selvedge_plugin".to_owned(), "it".to_owned()],
            _entry: None,
        }
    }

    fn write(path: &Path) {
        fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("made");
        fs::write(path, path.to_string_lossy().as_bytes()).expect("written");
    }

    #[test]
    fn shares_what_comes_from_a_registry_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = crates(dir.path(), "first");
        for file in [
            "deps/libserde-0123.rlib",
            "deps/libselvedge_plugin-4567.rlib",
            "deps/it-89ab",
            "build/serde-0123/out/generated.rs",
            ".fingerprint/serde-0123/lib-serde",
            ".fingerprint/selvedge-plugin-4567/lib-selvedge_plugin",
        ] {
            write(&first.built.join(file));
        }
        assert_eq!(first.keep().expect("kept"), 1);
        assert_eq!(first.keep().expect("kept"), 0, "it is there");
        let second = crates(dir.path(), "second");
        assert_eq!(second.take().expect("taken"), 1);
        let there = |file: &str| second.built.join(file).exists();
        assert!(there("deps/libserde-0123.rlib") && there("build/serde-0123/out/generated.rs"));
        assert!(there(".fingerprint/serde-0123/lib-serde"));
        assert!(!there("deps/libselvedge_plugin-4567.rlib") && !there("deps/it-89ab"));
        assert!(!there(".fingerprint/selvedge-plugin-4567"));
    }

    #[test]
    fn keeps_times() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = crates(dir.path(), "first");
        let file = first.built.join(".fingerprint/serde-0123/lib-serde");
        write(&file);
        fs::create_dir_all(first.built.join("deps")).expect("made");
        fs::create_dir_all(first.built.join("build")).expect("made");
        let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        let opened = File::options().append(true).open(&file).expect("there");
        opened.set_modified(long_ago).expect("set");
        first.keep().expect("kept");
        let second = crates(dir.path(), "second");
        second.take().expect("taken");
        let taken = fs::metadata(second.built.join(".fingerprint/serde-0123/lib-serde")).expect("there");
        assert_eq!(taken.modified().expect("known"), long_ago);
    }

    #[test]
    fn takes_nothing_where_nothing_is_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(crates(dir.path(), "first").take().expect("nothing"), 0);
    }
}

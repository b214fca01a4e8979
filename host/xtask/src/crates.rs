//! Compiled third-party crates, shared by all clones of a user: what cargo made of one lock file with one compiler and one set of
//! profiles is put into a folder of the cache, and a new clone begins with it.
//!
//! Cargo's own `build.build-dir` could be shared instead, but it locks the whole folder for each build, is never swept, and takes the
//! crates of two clones for the same if their paths within the project are. So only what comes from a registry is shared, and
//! cargo checks each crate's fingerprint as it would its own. A crate counts as there once its fingerprint is; that comes last.

use std::fs::{self, File, FileTimes};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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

/// Age at which an unfinished copy is taken for what an interrupted command left. A copy of one crate takes seconds.
const UNFINISHED_MAX: Duration = Duration::from_secs(60 * 60);

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

    /// Puts the crates that were kept where cargo looks for them, also in the place of younger ones: what cargo has built for xtask itself
    /// would be younger than what was kept of all that depends on it, which cargo would build anew. Returns how many were put there.
    fn take(&self) -> Result<usize> {
        self.copy(&self.shared, &self.built, |kept, built| {
            Ok(newest(kept)? < newest(built)?)
        })
    }

    /// Keeps the crates that cargo has built. Returns how many were new in the cache.
    fn keep(&self) -> Result<usize> {
        self.copy(&self.built, &self.shared, |_, _| Ok(false))
    }

    /// Copies what is not there, and what `replaces` what is.
    fn copy(
        &self,
        from: &Path,
        to: &Path,
        replaces: impl Fn(&Path, &Path) -> std::io::Result<bool>,
    ) -> Result<usize> {
        let mut crates = 0;
        let mut gone = 0;
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
            remove_unfinished(&to, UNFINISHED_MAX)
                .with_context(|| format!("{} cannot be tidied", to.display()))?;
            // A build goes on beside this. A fingerprint would say that a crate is there of which a part may be gone.
            if folder == FINGERPRINTS && gone > 0 {
                return Ok(0);
            }
            for entry in entries.flatten() {
                let name = entry.file_name();
                let target = to.join(&name);
                if self.is_left_out(&name.to_string_lossy()) {
                    continue;
                }
                let is_there = target.exists();
                if is_there && !replaces(&entry.path(), &target).unwrap_or(false) {
                    continue;
                }
                let copied = match is_there {
                    true => remove(&target).and_then(|()| copy(&entry.path(), &target)),
                    false => copy(&entry.path(), &target),
                };
                let copied = copied.with_context(|| {
                    format!(
                        "{} cannot be copied to {}",
                        entry.path().display(),
                        target.display()
                    )
                })?;
                match copied {
                    CopyOutcome::There => crates += usize::from(folder == FINGERPRINTS),
                    CopyOutcome::Gone => gone += 1,
                }
            }
        }
        Ok(crates)
    }

    /// Returns true if a file or folder of a build is not shared: what belongs to a crate of the workspace, and what has a name that begins
    /// with a dot, such as the unfinished copy of another clone.
    fn is_left_out(&self, file: &str) -> bool {
        file.starts_with('.') || self.is_own(file)
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

/// Result of a copy.
#[derive(Debug, PartialEq, Eq)]
enum CopyOutcome {
    /// It is in its place.
    There,
    /// The original disappeared: a build that goes on has removed it.
    Gone,
}

/// Copies a file or a folder with its times, by which cargo knows what is fresh. What appears under its name is whole. Libraries are
/// linked, since nobody writes into one; all else is copied, since cargo and build scripts write into theirs.
fn copy(from: &Path, to: &Path) -> std::io::Result<CopyOutcome> {
    let beside = unfinished(to);
    remove(&beside)?;
    if let Err(error) = copy_into(from, &beside) {
        remove(&beside)?;
        return if is_gone(from) {
            Ok(CopyOutcome::Gone)
        } else {
            Err(error)
        };
    }
    match fs::rename(&beside, to) {
        Ok(()) => Ok(CopyOutcome::There),
        // Another clone was quicker.
        Err(_) if to.exists() => {
            remove(&beside)?;
            Ok(CopyOutcome::There)
        }
        Err(error) => Err(error),
    }
}

/// Path of a copy until it is whole: `.NAME.PID`, beside its place.
fn unfinished(place: &Path) -> PathBuf {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    place.with_file_name(format!(".{name}.{}", std::process::id()))
}

/// Returns true if a name is that of an unfinished copy.
fn is_unfinished(name: &str) -> bool {
    let process = name.strip_prefix('.').and_then(|name| name.rsplit_once('.'));
    process.is_some_and(|(_, process)| process.parse::<u32>().is_ok())
}

/// Removes the unfinished copies in a folder that are as old as `age` or older. Processes are not looked for: other containers, which
/// share the folder, number theirs on their own.
fn remove_unfinished(folder: &Path, age: Duration) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        if !is_unfinished(&entry.file_name().to_string_lossy()) {
            continue;
        }
        // Its time of modification may be the original's; the time of its last change is its own.
        let Ok(found) = entry.metadata() else { continue };
        let changed = Duration::from_secs(u64::try_from(found.ctime()).unwrap_or(0));
        let changed = SystemTime::UNIX_EPOCH + changed;
        if changed.elapsed().is_ok_and(|elapsed| elapsed >= age) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Time of the file, or of the newest file in the folder.
fn newest(path: &Path) -> std::io::Result<SystemTime> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() {
        return found.modified();
    }
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(path)? {
        newest = newest.max(self::newest(&entry?.path())?);
    }
    Ok(newest)
}

fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
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

/// Removes a file or a folder, if it is there.
fn remove(path: &Path) -> std::io::Result<()> {
    let removed = fs::symlink_metadata(path).and_then(|found| match found.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    });
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
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

    /// Cargo builds anew what is older than what it depends on.
    #[test]
    fn takes_what_is_older_than_what_is_there_and_keeps_nothing_in_the_place_of_another() {
        let dir = tempfile::tempdir().expect("a folder");
        let (first, second) = (crates(dir.path(), "first"), crates(dir.path(), "second"));
        let file = ".fingerprint/sha2-0123/lib-sha2";
        let written = |folder: &Path| fs::read(folder.join(file)).expect("there");
        for (crates, at) in [(&first, 1_000_000_000), (&second, 1_000_000_001)] {
            write(&crates.built.join(file));
            for folder in ["deps", "build"] {
                fs::create_dir_all(crates.built.join(folder)).expect("made");
            }
            let opened = File::options().append(true).open(crates.built.join(file));
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
            opened.expect("there").set_modified(time).expect("set");
        }
        let (old, young) = (written(&first.built), written(&second.built));
        assert_ne!(old, young);
        assert_eq!(first.keep().expect("kept"), 1);
        assert_eq!(second.keep().expect("kept"), 0);
        assert_eq!(written(&first.shared), old);
        assert_eq!(second.take().expect("taken"), 1);
        assert_eq!(written(&second.built), old);
        assert_eq!(second.take().expect("taken"), 0, "it is as old");
    }

    #[test]
    fn keeps_times() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = crates(dir.path(), "first");
        let file = first.built.join(".fingerprint/serde-0123/lib-serde");
        write(&file);
        fs::create_dir_all(first.built.join("deps")).expect("made");
        fs::create_dir_all(first.built.join("build")).expect("made");
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let opened = File::options().append(true).open(&file).expect("there");
        opened.set_modified(long_ago).expect("set");
        first.keep().expect("kept");
        let second = crates(dir.path(), "second");
        second.take().expect("taken");
        let taken = fs::metadata(second.built.join(".fingerprint/serde-0123/lib-serde")).expect("there");
        assert_eq!(taken.modified().expect("known"), long_ago);
    }

    #[test]
    fn leaves_out_what_another_clone_is_just_copying() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = crates(dir.path(), "first");
        for file in [
            "deps/.libserde-0123.rlib.77",
            "build/serde-0123/out/generated.rs",
            ".fingerprint/.serde-0123.77/lib-serde",
        ] {
            write(&first.shared.join(file));
        }
        assert_eq!(first.take().expect("taken"), 0);
        let there = |file: &str| first.built.join(file).exists();
        assert!(there("build/serde-0123/out/generated.rs"));
        assert!(!there("deps/.libserde-0123.rlib.77") && !there(".fingerprint/.serde-0123.77"));
    }

    #[test]
    fn an_original_that_disappears_is_no_error() {
        let dir = tempfile::tempdir().expect("a folder");
        let copied = copy(&dir.path().join("gone"), &dir.path().join("copy"));
        assert_eq!(copied.expect("no error"), CopyOutcome::Gone);
        assert_eq!(fs::read_dir(dir.path()).expect("read").count(), 0);
    }

    #[test]
    fn removes_what_an_interrupted_copy_left_once_it_is_old() {
        let dir = tempfile::tempdir().expect("a folder");
        for file in [
            ".libserde-0123.rlib.77",
            ".serde-0123.77/lib-serde",
            "serde-0123.77",
            ".rustc",
        ] {
            write(&dir.path().join(file));
        }
        remove_unfinished(dir.path(), UNFINISHED_MAX).expect("tidied");
        assert_eq!(fs::read_dir(dir.path()).expect("read").count(), 4, "they are new");
        remove_unfinished(dir.path(), Duration::ZERO).expect("tidied");
        let there = |file: &str| dir.path().join(file).exists();
        assert!(!there(".libserde-0123.rlib.77") && !there(".serde-0123.77"));
        assert!(there("serde-0123.77") && there(".rustc"));
    }

    #[test]
    fn takes_nothing_where_nothing_is_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(crates(dir.path(), "first").take().expect("nothing"), 0);
    }
}

//! The user's cache, which all clones of a machine share: what was fetched or made once is copied from here. An entry is a folder
//! that is there whole or not at all; what made it is not known here.
//!
//! `KIND/KEY/` is an entry, `KIND/KEY.partial` one that is being made, `KIND/KEY.lock` its lock, whose time is that of the last use.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use crate::steps::say;

/// Bytes that the cache may hold on disk: a few versions of everything, and the crates that several lock files share.
const SIZE_MAX: u64 = 8 << 30;

/// Time after which an entry that nobody has used is removed.
const UNUSED_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A sweep of another process may take an entry between two looks; more often than this is no coincidence.
const TRIES: usize = 8;

/// The folder. Clones and threads may use it at once.
#[derive(Clone)]
pub(crate) struct Cache(PathBuf);

/// An entry in use: no sweep takes it while this lives.
pub(crate) struct Entry {
    path: PathBuf,
    _lock: File,
}

impl Entry {
    /// Path of the entry's folder, to be read only: other clones have it too.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Cache {
    /// The user's: `$SELVEDGE_CACHE`, `$XDG_CACHE_HOME/selvedge` or `~/.cache/selvedge`.
    pub(crate) fn of_user() -> Result<Self> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let own = variable("SELVEDGE_CACHE").map(PathBuf::from);
        let found = own
            .or_else(|| variable("XDG_CACHE_HOME").map(|folder| Path::new(&folder).join("selvedge")))
            .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".cache/selvedge")));
        let Some(folder) = found else {
            bail!("there is no folder for the cache: set SELVEDGE_CACHE to one");
        };
        Self::at(std::path::absolute(folder)?)
    }

    /// One in `folder`, which is made where it is missing.
    pub(crate) fn at(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| {
            format!(
                "the cache {} cannot be made: set SELVEDGE_CACHE to another folder",
                folder.display()
            )
        })?;
        Ok(Self(folder))
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The entry `key` of `kind`. If it is not there, `make` fills an empty folder with it, and other clones that want the same wait. If
    /// `make` fails or is interrupted, nothing of it stays.
    pub(crate) fn entry(
        &self,
        kind: &str,
        key: &str,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Entry> {
        let mut make = Some(make);
        for _ in 0..TRIES {
            if let Some(entry) = self.find(kind, key)? {
                return Ok(entry);
            }
            let lock = self.lock(kind, key, Lock::Alone)?;
            let path = self.place(kind, key);
            if path.is_dir() {
                continue;
            }
            let Some(make) = make.take() else { continue };
            fill(&path, make)?;
            drop(lock);
        }
        bail!(
            "{}: made, and gone again each time",
            self.place(kind, key).display()
        )
    }

    /// The entry, where it is there.
    pub(crate) fn find(&self, kind: &str, key: &str) -> Result<Option<Entry>> {
        let path = self.place(kind, key);
        if !path.is_dir() {
            return Ok(None);
        }
        let lock = self.lock(kind, key, Lock::Shared)?;
        // A cache that others own may be read, though not be marked as used.
        lock.set_modified(SystemTime::now()).ok();
        Ok(path.is_dir().then_some(Entry { path, _lock: lock }))
    }

    /// Removes what nobody used for long, then the least recently used until the rest is small enough. What is in use stays.
    pub(crate) fn sweep(&self) -> Result<()> {
        self.sweep_to(SIZE_MAX, UNUSED_MAX)
    }

    fn sweep_to(&self, size_max: u64, unused_max: Duration) -> Result<()> {
        let mut kept = self.entries()?;
        kept.sort_by_key(|found| std::cmp::Reverse(found.used));
        let mut size = 0;
        for found in kept {
            let old = found.used.elapsed().is_ok_and(|age| age > unused_max);
            size += found.size;
            let removed = (old || size > size_max) && self.remove(&found.kind, &found.key)?;
            if removed {
                size -= found.size;
            }
        }
        Ok(())
    }

    /// All entries, those too that were interrupted.
    fn entries(&self) -> Result<Vec<EntrySize>> {
        let mut found = Vec::new();
        for kind in folders(&self.0)? {
            for file in fs::read_dir(self.0.join(&kind))?.flatten() {
                let name = file.file_name().to_string_lossy().into_owned();
                if let Some(key) = name.strip_suffix(".lock") {
                    found.extend(self.size_of_entry(&kind, key)?);
                }
            }
        }
        Ok(found)
    }

    /// Size of an entry, and the time of its last use; none if another sweep has removed it.
    fn size_of_entry(&self, kind: &str, key: &str) -> Result<Option<EntrySize>> {
        let lock = self.lock_file(kind, key);
        let used = match fs::metadata(&lock).and_then(|meta| meta.modified()) {
            Ok(used) => used,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", lock.display())),
        };
        let place = self.place(kind, key);
        Ok(Some(EntrySize {
            size: size_of(&place) + size_of(&partial(&place)),
            used,
            key: key.to_owned(),
            kind: kind.to_owned(),
        }))
    }

    /// Removes an entry, unless somebody uses it or makes it. Returns true if it is gone, by whoever's hand.
    fn remove(&self, kind: &str, key: &str) -> Result<bool> {
        let file = self.lock_file(kind, key);
        let lock = match File::open(&file) {
            Ok(lock) => lock,
            Err(error) => return Ok(error.kind() == ErrorKind::NotFound),
        };
        if lock.try_lock().is_err() {
            return Ok(false);
        }
        // Another sweep removed the file that was opened; one that is there now belongs to a new entry.
        if !is_at(&lock, &file) {
            return Ok(!file.exists());
        }
        let path = self.place(kind, key);
        for folder in [partial(&path), path] {
            remove_folder(&folder)?;
        }
        match fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} cannot be removed", file.display()))
            }
            _ => Ok(true),
        }
    }

    fn place(&self, kind: &str, key: &str) -> PathBuf {
        self.0.join(kind).join(key)
    }

    fn lock_file(&self, kind: &str, key: &str) -> PathBuf {
        self.0.join(kind).join(format!("{key}.lock"))
    }

    /// Waits for the lock. The file may be removed meanwhile, so it is looked at again.
    fn lock(&self, kind: &str, key: &str, how: Lock) -> Result<File> {
        let path = self.lock_file(kind, key);
        fs::create_dir_all(self.0.join(kind))?;
        loop {
            let open = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path);
            let file = open.or_else(|_| File::open(&path));
            let file = file.with_context(|| format!("{} cannot be opened", path.display()))?;
            let free = match how {
                Lock::Shared => file.try_lock_shared(),
                Lock::Alone => file.try_lock(),
            };
            if free.is_err() {
                say(&format!("waiting for another clone that makes {kind}/{key}"));
                match how {
                    Lock::Shared => file.lock_shared(),
                    Lock::Alone => file.lock(),
                }
                .with_context(|| format!("{} cannot be locked", path.display()))?;
            }
            if is_at(&file, &path) {
                return Ok(file);
            }
        }
    }
}

/// Mode in which a lock is held.
#[derive(Clone, Copy)]
enum Lock {
    Shared,
    Alone,
}

struct EntrySize {
    kind: String,
    key: String,
    size: u64,
    used: SystemTime,
}

fn fill(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let partial = partial(path);
    // Of a process that was interrupted.
    remove_folder(&partial)?;
    fs::create_dir_all(&partial).with_context(|| format!("{} cannot be made", partial.display()))?;
    let made = make(&partial).and_then(|()| readable(&partial));
    if made.is_err() {
        remove_folder(&partial)?;
        return made;
    }
    fs::rename(&partial, path).with_context(|| format!("{} cannot be put in place", path.display()))
}

fn partial(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.partial"))
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Returns true if `path` still leads to that file.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(own), Ok(there)) = (file.metadata(), fs::metadata(path)) else {
        return false;
    };
    (own.dev(), own.ino()) == (there.dev(), there.ino())
}

fn folders(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let entries = entries.flatten().filter(|entry| entry.path().is_dir());
    Ok(entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect())
}

/// Bytes on disk of all below `path`. What cannot be read counts nothing.
pub(crate) fn size_of(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return 0;
    };
    if !meta.is_dir() {
        return meta.blocks() * 512;
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size_of(&entry.path())).sum()
}

/// Lets everybody read what is below `path`, whatever the umask and what pip or a converter made of it: a service's user must.
pub(crate) fn readable(path: &Path) -> Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_symlink() {
        return Ok(());
    }
    let runs = meta.is_dir() || meta.permissions().mode() & 0o111 != 0;
    let mode = if runs { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("{} cannot be made readable", path.display()))?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            readable(&entry?.path())?;
        }
    }
    Ok(())
}

/// Copies a file so that the old or the new one is there, never half of it. Its blocks are shared where the file system can.
pub(crate) fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let partial = partial(to);
    let copied = fs::copy(from, &partial)
        .and_then(|_| fs::rename(&partial, to))
        .with_context(|| format!("{} cannot be copied to {}", from.display(), to.display()));
    if copied.is_err() {
        fs::remove_file(&partial).ok();
    }
    copied
}

/// Copies all below `from` to below `to`.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("{} cannot be made", to.display()))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            copy_file(&entry.path(), &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, SystemTime};

    use anyhow::{Result, bail};

    use super::{Cache, UNUSED_MAX};

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::at(folder.path().join("cache")).expect("a cache");
        (folder, cache)
    }

    fn fill(folder: &Path) -> Result<()> {
        Ok(fs::write(folder.join("file"), [7; 10_000])?)
    }

    fn used(cache: &Cache, key: &str, ago: Duration) {
        let lock = File::options()
            .write(true)
            .open(cache.lock_file("kind", key))
            .expect("a lock");
        lock.set_modified(SystemTime::now() - ago).expect("set");
    }

    fn is_there(cache: &Cache, key: &str) -> bool {
        cache.find("kind", key).expect("looked for").is_some()
    }

    #[test]
    fn many_at_once_make_an_entry_once() {
        let (_folder, cache) = cache();
        let made = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let make = |folder: &Path| {
                        made.fetch_add(1, Ordering::Relaxed);
                        fill(folder)
                    };
                    let entry = cache.entry("kind", "key", make).expect("made");
                    assert_eq!(fs::read(entry.path().join("file")).expect("whole").len(), 10_000);
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }

    #[test]
    fn an_entry_that_failed_or_was_interrupted_leaves_nothing() {
        let (_folder, cache) = cache();
        let failed = cache.entry("kind", "key", |folder| {
            fill(folder)?;
            bail!("no network")
        });
        assert!(failed.is_err());
        let kind = cache.path().join("kind");
        assert!(!is_there(&cache, "key") && !kind.join("key.partial").exists());
        // As a killed process leaves it.
        fs::create_dir_all(kind.join("key.partial")).expect("made");
        fs::write(kind.join("key.partial/half"), "half").expect("written");
        assert!(!is_there(&cache, "key"));
        let entry = cache.entry("kind", "key", fill).expect("made");
        let names: Vec<_> = fs::read_dir(entry.path()).expect("read").flatten().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn everybody_may_read_an_entry() {
        let (_folder, cache) = cache();
        let private = |folder: &Path| {
            fill(folder)?;
            Ok(fs::set_permissions(
                folder.join("file"),
                fs::Permissions::from_mode(0o600),
            )?)
        };
        let entry = cache.entry("kind", "key", private).expect("made");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(entry.path()), 0o755);
        assert_eq!(mode(&entry.path().join("file")), 0o644);
    }

    #[test]
    fn a_sweep_keeps_the_newest_and_what_is_in_use() {
        let (_folder, cache) = cache();
        let day = Duration::from_secs(24 * 60 * 60);
        for key in ["old", "older", "new", "forgotten"] {
            cache.entry("kind", key, fill).expect("made");
        }
        let held = cache.entry("kind", "held", fill).expect("made");
        used(&cache, "old", day);
        used(&cache, "older", 2 * day);
        used(&cache, "forgotten", 31 * day);
        used(&cache, "held", 31 * day);
        cache.sweep_to(u64::MAX, UNUSED_MAX).expect("swept");
        assert!(!is_there(&cache, "forgotten") && held.path().is_dir());
        used(&cache, "held", Duration::ZERO);
        used(&cache, "new", Duration::ZERO);
        cache.sweep_to(40_000, UNUSED_MAX).expect("swept");
        let kept = ["held", "new", "old", "older"].map(|key| cache.place("kind", key).is_dir());
        assert_eq!(kept, [true, true, true, false]);
        assert!(!cache.lock_file("kind", "older").exists());
    }

    #[test]
    fn what_another_sweep_removed_is_no_error() {
        let (_folder, cache) = cache();
        assert!(cache.size_of_entry("kind", "gone").expect("looked for").is_none());
        assert!(cache.remove("kind", "gone").expect("looked for"));
    }

    #[test]
    fn many_may_sweep_at_once() {
        let (_folder, cache) = cache();
        for key in 0..32 {
            cache.entry("kind", &key.to_string(), fill).expect("made");
        }
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| cache.sweep_to(0, UNUSED_MAX).expect("swept"));
            }
        });
        // What one of them held is left by another, and is gone nevertheless.
        assert!(cache.entries().expect("read").is_empty());
    }
}

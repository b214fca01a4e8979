//! Compiled plugins on disk, and for authors compiled functions. A file is native code: it is trusted because only this user can have
//! written it.
//!
//! The folder is the user's own and closed to others; files are named by what they were made from, written beside and
//! renamed, and their digest is checked before they are used. Nothing from outside is ever put here.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use crate::attachment::Startup;
use crate::error::LoadError;
use crate::inspect::hex;

/// Changes where what is written here, or the way a snapshot is made, changes.
const FORMAT: &str = "selvedge-cache-2 wizer-48.0.8";

/// How long a compiled plugin is kept that no start has used: rollbacks go back weeks, not months.
const UNUSED_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Bytes of a SHA-256.
const DIGEST_LEN: usize = 32;

/// How long writing a file may take before it counts as left behind.
const WRITING_MAX: Duration = Duration::from_secs(3600);

/// The folder; clones are of the same.
#[derive(Clone)]
pub(crate) struct Cache {
    dir: PathBuf,
}

/// Digest of everything that compiled code was made from.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key(String);

/// Facts about compiled code. They are in the file beside it, which is written last.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    sha256: String,
    /// The way in which instances of a component start; none for a module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    startup: Option<Startup>,
}

impl Key {
    /// The key of a module with a plugin's code, by the digest of its bytes.
    pub(crate) fn code(engine: &Engine, module: &[u8; 32]) -> Self {
        Self::of(engine, &[b"code", module])
    }

    /// The key of an attachment: a component with a configuration and what bounds `configure`.
    pub(crate) fn attached(engine: &Engine, component: &[u8; 32], config: &str, how: &str) -> Self {
        Self::of(
            engine,
            &[b"attached", component, config.as_bytes(), how.as_bytes()],
        )
    }

    /// The key of a plugin's compiled functions, by its name and the kind of engine. A function's own name has the rest.
    pub(crate) fn functions(plugin: &str, kind: &str) -> Self {
        let hasher = Sha256::new_with_prefix(FORMAT).chain_update("functions");
        Self(hex(&hasher.chain_update(kind).chain_update(plugin).finalize()))
    }

    fn of(engine: &Engine, parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256Hasher(Sha256::new_with_prefix(FORMAT));
        engine.precompile_compatibility_hash().hash(&mut hasher);
        for part in parts {
            hasher.0.update((part.len() as u64).to_le_bytes());
            hasher.0.update(part);
        }
        Self(hex(&hasher.0.finalize()))
    }
}

/// Feeds what implements `Hash` into SHA-256, since a name must not collide by accident or by intent.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

impl Cache {
    /// Opens the folder, making it where it is not there.
    ///
    /// # Errors
    ///
    /// Where it cannot be made, belongs to somebody else or is open to others.
    pub(crate) fn open(dir: &Path) -> Result<Self, LoadError> {
        let cache = Self { dir: dir.to_owned() };
        cache.prepare().map_err(|source| cache.error(dir, source))?;
        cache.prune().map_err(|source| cache.error(dir, source))?;
        Ok(cache)
    }

    fn prepare(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let found = fs::symlink_metadata(&self.dir)?;
        let refuse = |why: &str| {
            let remedy =
                "it holds code that the node runs: let it belong to the node's user alone (chmod 700)";
            Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("{why}; {remedy}"),
            ))
        };
        if !found.is_dir() {
            return refuse("it is not a folder");
        }
        if found.uid() != rustix::process::geteuid().as_raw() {
            return refuse("it belongs to another user");
        }
        if found.mode() & 0o077 != 0 {
            return refuse("others may read or write it");
        }
        Ok(())
    }

    /// Removes what has not been used for long, and what a node left that ended while it wrote.
    fn prune(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let file = match entry.metadata() {
                Ok(file) => file,
                // Another node on the same folder has just given it its name.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let unused = file.modified()?.elapsed().unwrap_or_default();
            let left = entry.file_name().to_string_lossy().starts_with(".writing-");
            if unused > UNUSED_MAX || (left && unused > WRITING_MAX) {
                // Another node on the same folder may have removed it just now.
                fs::remove_file(entry.path()).ok();
            }
        }
        Ok(())
    }

    /// Says that what is kept under a key is in use.
    fn touch(&self, key: &Key) -> io::Result<()> {
        let (code, note) = self.paths(key);
        touch(&code)?;
        touch(&note)
    }

    /// The component under a key; none if there is none, or if it is damaged, which is logged.
    pub(crate) fn load(&self, engine: &Engine, key: &Key) -> Result<Option<(Component, Startup)>, LoadError> {
        // SAFETY: `load_code` calls it with a file that `store_code` wrote.
        let read = |code: &Path| unsafe { Component::deserialize_file(engine, code) };
        let found = self.load_code(key, read)?;
        Ok(found.and_then(|(component, note)| Some((component, note.startup?))))
    }

    /// The module under a key; none if there is none, or if it is damaged, which is logged.
    pub(crate) fn load_module(&self, engine: &Engine, key: &Key) -> Result<Option<Module>, LoadError> {
        // SAFETY: `load_code` calls it with a file that `store_code` wrote.
        let read = |code: &Path| unsafe { Module::deserialize_file(engine, code) };
        Ok(self.load_code(key, read)?.map(|(module, _)| module))
    }

    /// Reads compiled code whose digest is the one that was noted, from a file that nobody else can have written.
    fn load_code<T>(
        &self,
        key: &Key,
        read: impl FnOnce(&Path) -> wasmtime::Result<T>,
    ) -> Result<Option<(T, Note)>, LoadError> {
        let (code, note) = self.paths(key);
        if let Some(why) = [&code, &note].into_iter().find_map(|path| not_ours(path)) {
            return Ok(damaged(&code, why));
        }
        let note: Note = match fs::read(&note) {
            Ok(json) => match serde_json::from_slice(&json) {
                Ok(note) => note,
                Err(error) => return Ok(damaged(&note, &error.to_string())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.error(&note, error)),
        };
        match digest_of(&code) {
            Ok(found) if found == note.sha256 => {}
            Ok(_) => return Ok(damaged(&code, "its digest is not what was written")),
            Err(error) => return Ok(damaged(&code, &error.to_string())),
        }
        match read(&code) {
            Ok(found) => {
                if let Err(error) = self.touch(key) {
                    tracing::debug!(%error, "compiled code cannot be marked as used");
                }
                Ok(Some((found, note)))
            }
            Err(error) => Ok(damaged(&code, &format!("{error:#}"))),
        }
    }

    /// Keeps a compiled component.
    pub(crate) fn store(&self, key: &Key, component: &Component, startup: &Startup) -> Result<(), LoadError> {
        self.store_code(key, component.serialize(), Some(startup.clone()))
    }

    /// Keeps a compiled module.
    pub(crate) fn store_module(&self, key: &Key, module: &Module) -> Result<(), LoadError> {
        self.store_code(key, module.serialize(), None)
    }

    /// Keeps compiled code. Whole or not at all: the note that makes it count is renamed into place last.
    fn store_code(
        &self,
        key: &Key,
        code: wasmtime::Result<Vec<u8>>,
        startup: Option<Startup>,
    ) -> Result<(), LoadError> {
        let bytes = code.map_err(|error| LoadError::Compile(format!("{error:#}")))?;
        let note = Note {
            sha256: hex(&Sha256::digest(&bytes)),
            startup,
        };
        let json = serde_json::to_vec(&note).expect("a note has nothing that JSON cannot hold");
        let (code_path, note_path) = self.paths(key);
        self.replace(&code_path, &[&bytes])
            .map_err(|error| self.error(&code_path, error))?;
        self.replace(&note_path, &[&json])
            .map_err(|error| self.error(&note_path, error))
    }

    /// Keeps bytes under a key, behind their digest. Whole or not at all.
    pub(crate) fn store_bytes(&self, key: &Key, bytes: &[u8]) -> Result<(), LoadError> {
        let path = self.bytes_path(key);
        self.replace(&path, &[Sha256::digest(bytes).as_slice(), bytes])
            .map_err(|error| self.error(&path, error))
    }

    /// The bytes that are kept under a key; none where nothing is, or where it is damaged, which is logged.
    pub(crate) fn load_bytes(&self, key: &Key) -> Option<Bytes> {
        let path = self.bytes_path(key);
        if let Some(why) = not_ours(&path) {
            return damaged(&path, why);
        }
        let mut bytes = match fs::read(&path) {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => return damaged(&path, &error.to_string()),
        };
        let digest = bytes.split_to(bytes.len().min(DIGEST_LEN));
        if digest != Sha256::digest(&bytes).as_slice() {
            return damaged(&path, "its digest is not what was written");
        }
        if let Err(error) = touch(&path) {
            tracing::debug!(%error, "compiled functions cannot be marked as used");
        }
        Some(bytes)
    }

    fn replace(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        let beside = self
            .dir
            .join(format!(".writing-{}-{now}-{serial}", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)
            .and_then(|mut file| {
                // Not synced: what a power cut leaves of it has another digest, and is made again.
                parts.iter().try_for_each(|part| file.write_all(part))
            });
        let placed = written.and_then(|()| fs::rename(&beside, path));
        if placed.is_err() {
            // The error of the write is the one that matters; what could not be renamed may also be gone already.
            fs::remove_file(&beside).ok();
        }
        placed
    }

    fn paths(&self, key: &Key) -> (PathBuf, PathBuf) {
        (
            self.dir.join(format!("{}.cwasm", key.0)),
            self.dir.join(format!("{}.json", key.0)),
        )
    }

    fn bytes_path(&self, key: &Key) -> PathBuf {
        self.dir.join(format!("{}.functions", key.0))
    }

    fn error(&self, path: &Path, source: io::Error) -> LoadError {
        LoadError::Cache {
            path: path.display().to_string(),
            source,
        }
    }
}

/// Why a file cannot have been written by this node; none where it can, or is not there. The folder may have been open to
/// others once.
fn not_ours(path: &Path) -> Option<&'static str> {
    let found = fs::symlink_metadata(path).ok()?;
    if !found.is_file() {
        return Some("it is not a file");
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Some("it belongs to another user");
    }
    (found.mode() & 0o077 != 0).then_some("others may read or write it")
}

fn touch(path: &Path) -> io::Result<()> {
    File::options()
        .append(true)
        .open(path)?
        .set_modified(SystemTime::now())
}

fn digest_of(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hex(&hasher.finalize()))
}

fn damaged<T>(path: &Path, why: &str) -> Option<T> {
    tracing::warn!(path = %path.display(), why, "compiled code in the cache is damaged; compiling it again");
    None
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, SystemTime};

    use super::{Cache, Key, UNUSED_MAX};
    use crate::attachment::Startup;
    use wasmtime::Engine;
    use wasmtime::component::Component;

    fn kept(dir: &std::path::Path) -> (Engine, Cache, Key) {
        let engine = Engine::default();
        let cache = Cache::open(dir).expect("the folder is ours");
        let key = Key::attached(&engine, &[7; 32], "{}", "kept");
        let component = Component::new(&engine, b"\0asm\x0d\0\x01\0").expect("an empty component compiles");
        cache
            .store(&key, &component, &Startup::Snapshot { entropy_frozen: true })
            .expect("it is kept");
        (engine, cache, key)
    }

    #[test]
    fn gives_back_what_was_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let (engine, cache, key) = kept(&dir.path().join("cache"));
        let (_, startup) = cache.load(&engine, &key).expect("readable").expect("there");
        assert_eq!(startup, Startup::Snapshot { entropy_frozen: true });
    }

    #[test]
    fn knows_nothing_under_another_key() {
        let dir = tempfile::tempdir().expect("a folder");
        let (engine, cache, _) = kept(&dir.path().join("cache"));
        let other = Key::attached(&engine, &[7; 32], "{}", "");
        assert!(cache.load(&engine, &other).expect("readable").is_none());
    }

    #[test]
    fn does_not_run_code_that_was_changed() {
        let dir = tempfile::tempdir().expect("a folder");
        let (engine, cache, key) = kept(&dir.path().join("cache"));
        let (code, _) = cache.paths(&key);
        let mut bytes = fs::read(&code).expect("there");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&code, bytes).expect("written");
        assert!(cache.load(&engine, &key).expect("readable").is_none());
    }

    #[test]
    fn does_not_run_code_that_others_could_have_written() {
        let dir = tempfile::tempdir().expect("a folder");
        let (engine, cache, key) = kept(&dir.path().join("cache"));
        let (code, _) = cache.paths(&key);
        fs::set_permissions(&code, fs::Permissions::from_mode(0o666)).expect("changed");
        assert!(cache.load(&engine, &key).expect("readable").is_none());
    }

    #[test]
    fn forgets_what_no_start_has_used_for_long() {
        let dir = tempfile::tempdir().expect("a folder");
        let (engine, cache, key) = kept(&dir.path().join("cache"));
        let (code, note) = cache.paths(&key);
        let long_ago = SystemTime::now() - UNUSED_MAX - Duration::from_secs(1);
        let age = |path| {
            File::options()
                .append(true)
                .open(path)
                .and_then(|file| file.set_modified(long_ago))
        };
        age(&code).and_then(|()| age(&note)).expect("aged");
        assert!(
            cache.load(&engine, &key).expect("readable").is_some(),
            "being used makes it young again"
        );
        Cache::open(&cache.dir).expect("the folder is ours");
        assert!(code.exists());
        age(&code).and_then(|()| age(&note)).expect("aged");
        Cache::open(&cache.dir).expect("the folder is ours");
        assert!(!code.exists() && !note.exists());
    }

    #[test]
    fn refuses_a_folder_that_others_can_write() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("changed");
        let error = Cache::open(dir.path()).err().expect("refused").to_string();
        assert!(error.contains("chmod 700"), "{error}");
    }
}

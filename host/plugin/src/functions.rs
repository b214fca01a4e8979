//! Compiled functions, kept on disk beside compiled plugins for who tests one. A script's component is an interpreter whose functions
//! are the same after each change of the script, and a snapshot has those of the component that it was taken of: only what is new
//! is compiled.
//!
//! For an author's tools alone. A node compiles whole components, from nothing but their bytes.

use std::borrow::Cow;
use std::collections::{HashMap, hash_map::Entry};
use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::{Buf, BufMut, Bytes};
use wasmtime::CacheStore;

use crate::cache::{Cache, Key};
use crate::error::LoadError;

/// Bytes of a function's name, which is the SHA-256 of all that its code depends on.
const NAME_LEN: usize = 32;

/// Bytes of a record beside the code: its name, and how long it is.
const HEAD_LEN: usize = NAME_LEN + size_of::<u32>();

type Name = [u8; NAME_LEN];

/// The functions of one engine; safe to ask from all of its compiler's threads.
pub(crate) struct Functions {
    cache: Cache,
    key: Key,
    size_max: usize,
    /// What the file had when the first function was asked for.
    kept: OnceLock<HashMap<Name, Bytes>>,
    used: Mutex<Used>,
}

/// What this process has asked for.
#[derive(Default)]
struct Used {
    functions: HashMap<Name, Bytes>,
    made: u64,
}

impl Functions {
    /// Those that are kept under a key in a folder of compiled plugins, at most so many bytes. Nothing is read yet.
    pub(crate) fn new(cache: Cache, key: Key, size_max: usize) -> Self {
        Self {
            cache,
            key,
            size_max,
            kept: OnceLock::new(),
            used: Mutex::default(),
        }
    }

    /// How many functions this process had to compile; those that are the same count once.
    pub(crate) fn made(&self) -> u64 {
        self.used().made
    }

    /// Writes what was used by this process, and of the rest what there is room for; nothing where nothing was made.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written.
    pub(crate) fn keep(&self) -> Result<(), LoadError> {
        let used = self.used();
        if used.made == 0 {
            return Ok(());
        }
        let rest = self
            .kept()
            .iter()
            .filter(|(name, _)| !used.functions.contains_key(*name));
        let mut file = Vec::new();
        for (name, code) in used.functions.iter().chain(rest) {
            let Ok(len) = u32::try_from(code.len()) else {
                continue;
            };
            if file.len() + HEAD_LEN + code.len() > self.size_max {
                break;
            }
            file.put_slice(name);
            file.put_u32_le(len);
            file.put_slice(code);
        }
        self.cache.store_bytes(&self.key, &file)
    }

    fn kept(&self) -> &HashMap<Name, Bytes> {
        let read = || self.cache.load_bytes(&self.key).map(records);
        self.kept.get_or_init(|| read().unwrap_or_default())
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The records of a file whose digest was right.
fn records(mut file: Bytes) -> HashMap<Name, Bytes> {
    let mut functions = HashMap::new();
    while file.len() >= HEAD_LEN {
        let mut name = Name::default();
        file.copy_to_slice(&mut name);
        let len = file.get_u32_le() as usize;
        if len > file.len() {
            break;
        }
        functions.insert(name, file.split_to(len));
    }
    functions
}

impl CacheStore for Functions {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let name = Name::try_from(key).ok()?;
        let code = match self.used().functions.entry(name) {
            Entry::Occupied(used) => used.get().clone(),
            Entry::Vacant(place) => place.insert(self.kept().get(&name)?.clone()).clone(),
        };
        Some(Cow::Owned(code.into()))
    }

    fn insert(&self, key: &[u8], code: Vec<u8>) -> bool {
        let Ok(name) = Name::try_from(key) else {
            return false;
        };
        let mut used = self.used();
        // Two threads may have met the same function at once.
        if used.functions.insert(name, code.into()).is_none() {
            used.made += 1;
        }
        true
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Functions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::CacheStore;

    use super::{Functions, HEAD_LEN, NAME_LEN};
    use crate::cache::{Cache, Key};

    fn functions(dir: &tempfile::TempDir, size_max: usize) -> Functions {
        let cache = Cache::open(&dir.path().join("cache")).expect("the folder is ours");
        Functions::new(cache, Key::functions(false), size_max)
    }

    #[test]
    fn gives_back_what_another_process_made() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = functions(&dir, 1 << 10);
        assert!(first.insert(&[1; NAME_LEN], vec![7; 5]) && first.insert(&[2; NAME_LEN], Vec::new()));
        first.keep().expect("written");
        let second = functions(&dir, 1 << 10);
        assert_eq!(second.get(&[1; NAME_LEN]).as_deref(), Some([7; 5].as_slice()));
        assert_eq!(second.get(&[2; NAME_LEN]).as_deref(), Some([].as_slice()));
        assert_eq!(second.get(&[3; NAME_LEN]), None);
        assert_eq!((first.made(), second.made()), (2, 0));
    }

    #[test]
    fn keeps_what_was_used_last_where_there_is_no_room_for_all() {
        let dir = tempfile::tempdir().expect("a folder");
        let room_for_two = 2 * (HEAD_LEN + 5);
        let first = functions(&dir, room_for_two);
        for number in 1..=2 {
            first.insert(&[number; NAME_LEN], vec![number; 5]);
        }
        first.keep().expect("written");
        let second = functions(&dir, room_for_two);
        second.get(&[2; NAME_LEN]).expect("kept");
        second.insert(&[3; NAME_LEN], vec![3; 5]);
        second.keep().expect("written");
        let third = functions(&dir, room_for_two);
        let found = [1, 2, 3].map(|number| third.get(&[number; NAME_LEN]).is_some());
        assert_eq!(found, [false, true, true]);
    }
}

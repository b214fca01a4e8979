//! Compiled functions, kept on disk for who tests a plugin. A script's component is an interpreter whose functions are the same after
//! each change of the script, and a snapshot has those of the component that it was taken of: only what is new is compiled.
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

/// Bytes of a function's name: the SHA-256 of all that its code depends on but the compiler's version, which is in the code's record.
const NAME_LEN: usize = 32;

/// Bytes of a record beside the code: its name, and how long it is.
const HEAD_LEN: usize = NAME_LEN + size_of::<u32>();

type Name = [u8; NAME_LEN];

/// The functions of a plugin and an engine; safe to ask from all of the compiler's threads.
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
    /// Those that are kept under a key, at most so many bytes. Nothing is read yet.
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

    /// Writes what this process used in place of what was kept; nothing where it made nothing.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written.
    pub(crate) fn keep(&self) -> Result<(), LoadError> {
        let used = self.used();
        if used.made == 0 {
            return Ok(());
        }
        let mut file = Vec::new();
        for (name, code) in &used.functions {
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
        let code = Bytes::from(code);
        let mut used = self.used();
        // Two threads may have met the same function at once. One that is there with other code is of another compiler.
        let before = used.functions.insert(name, code.clone());
        if before != Some(code) {
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
        Functions::new(cache, Key::functions("shout", "plain"), size_max)
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
    fn keeps_what_this_process_used() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = functions(&dir, 1 << 10);
        for number in 1..=2 {
            first.insert(&[number; NAME_LEN], vec![number; 5]);
        }
        first.keep().expect("written");
        let second = functions(&dir, 1 << 10);
        second.get(&[2; NAME_LEN]).expect("kept");
        second.insert(&[3; NAME_LEN], vec![3; 5]);
        second.keep().expect("written");
        assert_eq!(found(&functions(&dir, 1 << 10)), [false, true, true]);
    }

    #[test]
    fn keeps_no_more_than_there_is_room_for() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = functions(&dir, 2 * (HEAD_LEN + 5));
        for number in 1..=3 {
            first.insert(&[number; NAME_LEN], vec![number; 5]);
        }
        first.keep().expect("written");
        let found = found(&functions(&dir, 1 << 10));
        assert_eq!(found.into_iter().filter(|found| *found).count(), 2);
    }

    #[test]
    fn makes_anew_what_is_of_another_compiler() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = functions(&dir, 1 << 10);
        first.insert(&[1; NAME_LEN], vec![1; 5]);
        first.keep().expect("written");
        let second = functions(&dir, 1 << 10);
        second.get(&[1; NAME_LEN]).expect("kept");
        second.insert(&[1; NAME_LEN], vec![2; 5]);
        assert_eq!(second.made(), 1);
        second.keep().expect("written");
        let third = functions(&dir, 1 << 10);
        assert_eq!(third.get(&[1; NAME_LEN]).as_deref(), Some([2; 5].as_slice()));
    }

    #[test]
    fn reads_records_as_far_as_they_are_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let whole = [[1; NAME_LEN].as_slice(), &3_u32.to_le_bytes(), b"abc"].concat();
        let too_long = [[2; NAME_LEN].as_slice(), &9_u32.to_le_bytes(), b"abc"].concat();
        let cache = Cache::open(&dir.path().join("cache")).expect("the folder is ours");
        for (file, expected) in [
            (whole[..HEAD_LEN - 1].to_vec(), [false, false, false]),
            ([whole.as_slice(), &too_long].concat(), [true, false, false]),
            (Vec::new(), [false; 3]),
        ] {
            cache
                .store_bytes(&Key::functions("shout", "plain"), &file)
                .expect("written");
            assert_eq!(found(&functions(&dir, 1 << 10)), expected, "{file:?}");
        }
    }

    fn found(functions: &Functions) -> [bool; 3] {
        [1, 2, 3].map(|number| functions.get(&[number; NAME_LEN]).is_some())
    }
}

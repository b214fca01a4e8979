//! Uploaded files on their way to plugins: short ones in memory, long ones on disk, all of them within bounds.
//!
//! A file on disk has no name from its first byte on, so that nobody else can open it and a crash leaves nothing behind. What a
//! request spooled is given back when the last of its readers lets go. Knows nothing of forms; see [`crate::value::Part`].

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;

/// What of one file is kept in memory; a longer one is written to disk. Most forms are smaller, and a file costs system calls.
/// A shorter one that comes to disk all the same counts for so much, so that there are not more of them than the bounds tell.
const MEMORY_LEN_MAX: usize = 64 << 10;

/// What a spool may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolBounds {
    /// Bytes of all files.
    pub bytes_max: u64,
    /// Bytes of one caller's files.
    pub caller_bytes_max: u64,
    /// Bytes of files that are in memory; one that finds no room there goes to disk.
    pub memory_bytes_max: u64,
}

/// Where files are spooled. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Spool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    bounds: SpoolBounds,
    held: Mutex<Held>,
}

/// What is spooled now, in bytes.
#[derive(Debug, Default)]
struct Held {
    all: u64,
    in_memory: u64,
    /// Of those who have something here.
    by_caller: HashMap<Arc<str>, u64>,
}

/// Why something cannot be spooled.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// All requests together have spooled as much as they may.
    #[error("files that are being uploaded take {0} bytes, which is all they may")]
    Full(u64),
    /// The requests of one caller have.
    #[error("a caller's files take {0} bytes, which is all they may")]
    CallerFull(u64),
    /// The disk's word.
    #[error("an uploaded file cannot be kept: {0}")]
    File(#[from] io::Error),
}

impl Spool {
    /// A spool in a folder, which is made where it is missing.
    ///
    /// # Errors
    ///
    /// Where the folder cannot be made.
    pub fn open(dir: &Path, bounds: SpoolBounds) -> io::Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        Ok(Self(Arc::new(Shared {
            dir: dir.to_owned(),
            bounds,
            held: Mutex::default(),
        })))
    }

    /// Bytes that are spooled now, in memory and on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.held().all
    }

    /// Begins a file of a caller.
    #[must_use]
    pub fn writer(&self, caller: &Arc<str>) -> Writer {
        Writer {
            len: 0,
            share: Share {
                spool: Arc::clone(&self.0),
                caller: Arc::clone(caller),
                bytes: 0,
                in_memory: 0,
            },
            last: BytesMut::new(),
            file: None,
        }
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of the bounds that a file holds.
#[derive(Debug)]
struct Share {
    spool: Arc<Shared>,
    caller: Arc<str>,
    bytes: u64,
    in_memory: u64,
}

impl Share {
    fn grow(&mut self, by: u64) -> Result<(), SpoolError> {
        let SpoolBounds {
            bytes_max,
            caller_bytes_max,
            ..
        } = self.spool.bounds;
        let mut held = self.spool.held();
        if held.all + by > bytes_max {
            return Err(SpoolError::Full(bytes_max));
        }
        let of_caller = held.by_caller.get(&self.caller).copied().unwrap_or_default();
        if of_caller + by > caller_bytes_max {
            return Err(SpoolError::CallerFull(caller_bytes_max));
        }
        held.all += by;
        held.by_caller.insert(Arc::clone(&self.caller), of_caller + by);
        self.bytes += by;
        Ok(())
    }

    /// Takes room in memory, where there is some.
    fn remember(&mut self, by: u64) -> bool {
        let mut held = self.spool.held();
        let fits = held.in_memory + by <= self.spool.bounds.memory_bytes_max;
        if fits {
            held.in_memory += by;
            self.in_memory += by;
        }
        fits
    }

    fn forget(&mut self) {
        self.spool.held().in_memory -= std::mem::take(&mut self.in_memory);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.spool.held();
        held.all -= self.bytes;
        held.in_memory -= self.in_memory;
        let left = held.by_caller.get(&self.caller).copied().unwrap_or_default();
        match left.saturating_sub(self.bytes) {
            0 => held.by_caller.remove(&self.caller),
            left => held.by_caller.insert(Arc::clone(&self.caller), left),
        };
    }
}

/// A file that is being spooled. Where it is dropped, nothing of it is left.
#[derive(Debug)]
pub struct Writer {
    len: u64,
    share: Share,
    /// What is not in the file yet.
    last: BytesMut,
    file: Option<tokio::fs::File>,
}

impl Writer {
    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// Where there is no room for them, or the disk fails. The file is then of no use.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        let len = bytes.len() as u64;
        self.len += len;
        if self.len > self.share.bytes {
            self.share.grow(self.len - self.share.bytes)?;
        }
        self.last.extend_from_slice(bytes);
        let fits = self.share.remember(len);
        if !fits || self.last.len() > MEMORY_LEN_MAX {
            self.write_out().await?;
        }
        Ok(())
    }

    /// Writes what was gathered: each write is a task and a system call, and bytes may come one by one.
    async fn write_out(&mut self) -> Result<(), SpoolError> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => {
                let least = (MEMORY_LEN_MAX as u64).saturating_sub(self.share.bytes);
                self.share.grow(least)?;
                tokio::fs::File::from_std(tempfile::tempfile_in(&self.share.spool.dir)?)
            }
        };
        file.write_all(&std::mem::take(&mut self.last)).await?;
        self.share.forget();
        self.file = Some(file);
        Ok(())
    }

    /// The whole file.
    ///
    /// # Errors
    ///
    /// Where the last bytes cannot be written.
    pub async fn finish(mut self) -> Result<Spooled, SpoolError> {
        if self.file.is_some() && !self.last.is_empty() {
            self.write_out().await?;
        }
        let place = match self.file {
            None => Place::Memory(self.last.freeze()),
            Some(mut file) => {
                file.flush().await?;
                Place::Disk(Arc::new(file.into_std().await))
            }
        };
        Ok(Spooled {
            len: self.len,
            place,
            _share: self.share,
        })
    }
}

/// A file that was spooled.
#[derive(Debug)]
pub struct Spooled {
    len: u64,
    place: Place,
    /// Given back with it.
    _share: Share,
}

#[derive(Debug)]
enum Place {
    Memory(Bytes),
    Disk(Arc<File>),
}

impl Spooled {
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// At most `len` bytes from `offset` on; fewer at the end. From a disk they are read on a thread for blocking work.
    ///
    /// # Errors
    ///
    /// Where the disk fails.
    pub async fn read(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let start = offset.min(self.len());
        let len = (self.len() - start).min(len as u64);
        match &self.place {
            // Both are within its length, which was a `usize` once.
            Place::Memory(bytes) => Ok(bytes.slice(start as usize..(start + len) as usize)),
            Place::Disk(_) if len == 0 => Ok(Bytes::new()),
            Place::Disk(file) => {
                let file = Arc::clone(file);
                let read = move || {
                    let mut bytes = vec![0; len as usize];
                    file.read_exact_at(&mut bytes, start).map(|()| bytes.into())
                };
                tokio::task::spawn_blocking(read).await?
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{MEMORY_LEN_MAX, Spool, SpoolBounds, SpoolError};

    fn spool(bounds: SpoolBounds) -> (tempfile::TempDir, Spool) {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(&dir.path().join("spool"), bounds).expect("a spool");
        (dir, spool)
    }

    fn bounds(bytes_max: u64) -> SpoolBounds {
        SpoolBounds {
            bytes_max,
            caller_bytes_max: bytes_max,
            memory_bytes_max: bytes_max,
        }
    }

    fn caller(name: &str) -> Arc<str> {
        name.into()
    }

    #[tokio::test]
    async fn reads_what_was_written_from_memory_and_from_disk() {
        let (dir, spool) = spool(bounds(1 << 20));
        for len in [0, 5, MEMORY_LEN_MAX, MEMORY_LEN_MAX + 1, 3 * MEMORY_LEN_MAX] {
            let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let mut writer = spool.writer(&caller("a"));
            for chunk in bytes.chunks(1000) {
                writer.write(chunk).await.expect("room");
            }
            let file = writer.finish().await.expect("whole");
            assert_eq!((file.len(), spool.bytes()), (len as u64, len as u64));
            assert_eq!(file.read(0, len + 9).await.expect("read"), bytes);
            let tail = file.read(len as u64 - len.min(3) as u64, 9).await.expect("read");
            assert_eq!(tail, &bytes[len - len.min(3)..]);
            assert_eq!(file.read(u64::MAX, 9).await.expect("read"), "");
            let names = std::fs::read_dir(dir.path().join("spool")).expect("the folder");
            assert_eq!(names.count(), 0, "a spooled file has no name");
        }
        assert_eq!(spool.bytes(), 0, "what was let go is given back");
    }

    #[tokio::test]
    async fn holds_no_more_than_its_bound() {
        let (_dir, spool) = spool(bounds(100));
        let (mut one, mut two) = (spool.writer(&caller("a")), spool.writer(&caller("b")));
        one.write(&[1; 60]).await.expect("room");
        let refused = two.write(&[2; 41]).await;
        assert!(matches!(refused, Err(SpoolError::Full(100))), "{refused:?}");
        let mut two = spool.writer(&caller("b"));
        two.write(&[2; 40]).await.expect("room for so much");
        drop(one);
        assert_eq!(spool.bytes(), 40);
        two.write(&[2; 60]).await.expect("room again");
    }

    #[tokio::test]
    async fn a_caller_leaves_room_for_others() {
        let (_dir, spool) = spool(SpoolBounds {
            caller_bytes_max: 60,
            ..bounds(100)
        });
        let mut first = spool.writer(&caller("a"));
        first.write(&[1; 40]).await.expect("room");
        let refused = spool.writer(&caller("a")).write(&[1; 21]).await;
        assert!(matches!(refused, Err(SpoolError::CallerFull(60))), "{refused:?}");
        let mut other = spool.writer(&caller("b"));
        other.write(&[2; 60]).await.expect("room of its own");
        drop(first);
        assert_eq!(spool.0.held().by_caller.len(), 1, "who has nothing is forgotten");
        let mut again = spool.writer(&caller("a"));
        again.write(&[1; 40]).await.expect("room again");
    }

    #[tokio::test]
    async fn what_finds_no_room_in_memory_goes_to_disk_and_counts_as_much_as_a_file_does() {
        let (_dir, spool) = spool(SpoolBounds {
            memory_bytes_max: 100,
            ..bounds(1 << 20)
        });
        let mut kept = spool.writer(&caller("a"));
        kept.write(&[1; 90]).await.expect("room in memory");
        let mut long = spool.writer(&caller("a"));
        for byte in 0..20 {
            long.write(&[byte; 10]).await.expect("room on disk");
            assert!(spool.0.held().in_memory <= 100);
        }
        let long = long.finish().await.expect("whole");
        assert_eq!((long.len(), spool.bytes()), (200, 90 + MEMORY_LEN_MAX as u64));
        assert_eq!(
            long.read(95, 10).await.expect("read"),
            [9, 9, 9, 9, 9, 10, 10, 10, 10, 10].as_slice()
        );
        drop((kept, long));
        assert_eq!((spool.bytes(), spool.0.held().in_memory), (0, 0));
    }
}

//! Uploaded files on their way to plugins: short ones in memory, long ones on disk, all of them within one bound.
//!
//! A file on disk has no name from its first byte on, so that nobody else can open it and a crash leaves nothing behind. What a
//! request spooled is given back when the last of its readers lets go. Knows nothing of forms; see [`crate::value::Part`].

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;

/// What of one file is kept in memory; a longer one is written to disk. Most forms are smaller, and a file costs system calls.
const MEMORY_LEN_MAX: usize = 64 << 10;

/// Where files are spooled. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Spool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    bytes_max: u64,
    bytes: AtomicU64,
}

/// Why something cannot be spooled.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// All requests together have spooled as much as they may.
    #[error("files that are being uploaded take {0} bytes, which is all they may")]
    Full(u64),
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
    pub fn open(dir: &Path, bytes_max: u64) -> io::Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        Ok(Self(Arc::new(Shared {
            dir: dir.to_owned(),
            bytes_max,
            bytes: AtomicU64::new(0),
        })))
    }

    /// Bytes that are spooled now, in memory and on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Begins a file.
    #[must_use]
    pub fn writer(&self) -> Writer {
        Writer {
            share: Share {
                spool: Arc::clone(&self.0),
                bytes: 0,
            },
            last: BytesMut::new(),
            file: None,
        }
    }
}

/// Bytes of the bound that somebody holds.
#[derive(Debug)]
struct Share {
    spool: Arc<Shared>,
    bytes: u64,
}

impl Share {
    fn grow(&mut self, by: usize) -> Result<(), SpoolError> {
        let (by, max) = (by as u64, self.spool.bytes_max);
        let grown = |bytes: u64| bytes.checked_add(by).filter(|bytes| *bytes <= max);
        let taken = &self.spool.bytes;
        taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown)
            .map_err(|_| SpoolError::Full(max))?;
        self.bytes += by;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.spool.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A file that is being spooled. Where it is dropped, nothing of it is left.
#[derive(Debug)]
pub struct Writer {
    share: Share,
    /// What is not in the file yet.
    last: BytesMut,
    file: Option<tokio::fs::File>,
}

impl Writer {
    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.share.bytes
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
        self.share.grow(bytes.len())?;
        self.last.extend_from_slice(bytes);
        if self.last.len() > MEMORY_LEN_MAX {
            self.write_out().await?;
        }
        Ok(())
    }

    /// Writes what was gathered: each write is a task and a system call, and bytes may come one by one.
    async fn write_out(&mut self) -> Result<(), SpoolError> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => tokio::fs::File::from_std(tempfile::tempfile_in(&self.share.spool.dir)?),
        };
        file.write_all(&self.last).await?;
        self.last.clear();
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
            place,
            share: self.share,
        })
    }
}

/// A file that was spooled.
#[derive(Debug)]
pub struct Spooled {
    place: Place,
    share: Share,
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
        self.share.bytes
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
    use super::{MEMORY_LEN_MAX, Spool, SpoolError};

    fn spool(bytes_max: u64) -> (tempfile::TempDir, Spool) {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(&dir.path().join("spool"), bytes_max).expect("a spool");
        (dir, spool)
    }

    #[tokio::test]
    async fn reads_what_was_written_from_memory_and_from_disk() {
        let (dir, spool) = spool(1 << 20);
        for len in [0, 5, MEMORY_LEN_MAX, MEMORY_LEN_MAX + 1, 3 * MEMORY_LEN_MAX] {
            let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let mut writer = spool.writer();
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
        let (_dir, spool) = spool(100);
        let (mut one, mut two) = (spool.writer(), spool.writer());
        one.write(&[1; 60]).await.expect("room");
        let refused = two.write(&[2; 41]).await;
        assert!(matches!(refused, Err(SpoolError::Full(100))), "{refused:?}");
        two.write(&[2; 40]).await.expect("room for so much");
        drop(one);
        assert_eq!(spool.bytes(), 40);
        two.write(&[2; 60]).await.expect("room again");
    }
}

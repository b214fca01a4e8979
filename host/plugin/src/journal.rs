//! Journals: files of lines that plugins append to, `DIR/NAME/NAME-000001.jsonl` and so on, the oldest removed in time.
//!
//! Whoever appends holds a lock on the folder, so that attachments, and nodes that share the folder, do not disturb each
//! other; nothing is kept in memory between two calls. A line that was written outlives the process.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// When a file is full and how many are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rotation {
    pub(crate) file_bytes_max: u64,
    pub(crate) files_max: u32,
}

/// Why lines could not be appended.
#[derive(Debug)]
pub(crate) enum JournalError {
    /// What was asked for makes no sense.
    Invalid(String),
    /// It is more than the limit.
    TooLarge(u64),
    /// The file system refuses.
    File(io::Error),
}

impl From<io::Error> for JournalError {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

/// Appends lines to a journal in `dir`, which may take `bytes_max` on disk. Blocks.
pub(crate) fn append(
    dir: &Path,
    name: &str,
    lines: &[String],
    rotation: Rotation,
    bytes_max: u64,
) -> Result<(), JournalError> {
    check(lines, rotation, bytes_max)?;
    let folder = dir.join(name);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let lock = open(&folder.join(".lock"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).map_err(io::Error::from)?;
    let mut numbers = numbers(&folder, name)?;
    let mut number = numbers.last().copied().unwrap_or(1);
    let mut file = Newest::open(&path(&folder, name, number))?;
    let mut block = Vec::new();
    for line in lines {
        let len = line.len() as u64 + 1;
        let taken = file.len + block.len() as u64;
        if taken > 0 && taken + len > rotation.file_bytes_max {
            file.write(&block)?;
            block.clear();
            number += 1;
            file = Newest::open(&path(&folder, name, number))?;
        }
        block.extend_from_slice(line.as_bytes());
        block.push(b'\n');
    }
    file.write(&block)?;
    if numbers.last() != Some(&number) {
        numbers = self::numbers(&folder, name)?;
    }
    let surplus = numbers.len().saturating_sub(rotation.files_max as usize);
    for number in &numbers[..surplus] {
        fs::remove_file(path(&folder, name, *number))?;
    }
    Ok(())
}

fn check(lines: &[String], rotation: Rotation, bytes_max: u64) -> Result<(), JournalError> {
    if rotation.file_bytes_max == 0 || rotation.files_max == 0 {
        return Err(JournalError::Invalid(
            "a rotation keeps at least one file of at least one byte".to_owned(),
        ));
    }
    if rotation
        .file_bytes_max
        .saturating_mul(u64::from(rotation.files_max))
        > bytes_max
    {
        return Err(JournalError::TooLarge(bytes_max));
    }
    for line in lines {
        if line.contains('\n') {
            return Err(JournalError::Invalid("a line has a line break in it".to_owned()));
        }
        if line.len() as u64 + 1 > rotation.file_bytes_max {
            return Err(JournalError::TooLarge(rotation.file_bytes_max));
        }
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).read(true).append(true).mode(0o600);
    options.open(path)
}

fn path(folder: &Path, name: &str, number: u64) -> PathBuf {
    folder.join(format!("{name}-{number:06}.jsonl"))
}

/// The numbers of the files that there are, in order.
fn numbers(folder: &Path, name: &str) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.file_name();
        let number = file.to_str().and_then(|file| {
            let rest = file.strip_prefix(name)?.strip_prefix('-')?;
            let number = rest.strip_suffix(".jsonl")?.parse::<u64>().ok()?;
            // Somebody else's file may be called nearly so.
            (path(Path::new(""), name, number) == Path::new(file) && number < u64::MAX).then_some(number)
        });
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The file that is written to.
struct Newest {
    file: File,
    len: u64,
}

impl Newest {
    /// Opens it; a last line that was not written to its end, as the power may have left it, is taken away.
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = open(path)?;
        let mut len = file.metadata()?.len();
        let mut last = [0; 4096];
        while len > 0 {
            let from = len.saturating_sub(last.len() as u64);
            let chunk = &mut last[..usize::try_from(len - from).unwrap_or_default()];
            file.seek(SeekFrom::Start(from))?;
            file.read_exact(chunk)?;
            match chunk.iter().rposition(|byte| *byte == b'\n') {
                Some(at) if at + 1 == chunk.len() => break,
                Some(at) => len = from + at as u64 + 1,
                None => len = from,
            }
            file.set_len(len)?;
        }
        Ok(Self { file, len })
    }

    /// Writes whole lines; where the disk takes only a part, that part is taken back.
    fn write(&mut self, block: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(block) {
            self.file.set_len(self.len).ok();
            return Err(error);
        }
        self.len += block.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{JournalError, Rotation, append};

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    fn write(dir: &Path, texts: &[&str], file_bytes_max: u64, files_max: u32) -> Result<(), JournalError> {
        append(
            dir,
            "j",
            &lines(texts),
            Rotation {
                file_bytes_max,
                files_max,
            },
            1000,
        )
    }

    fn files(dir: &Path) -> Vec<(String, String)> {
        let entries = std::fs::read_dir(dir.join("j")).expect("the journal").flatten();
        let mut files: Vec<(String, String)> = entries
            .map(|entry| {
                (
                    entry.file_name().to_string_lossy().into_owned(),
                    std::fs::read_to_string(entry.path()).expect("text"),
                )
            })
            .filter(|(name, _)| name != ".lock")
            .collect();
        files.sort();
        files
    }

    #[test]
    fn appends_rotates_and_removes_the_oldest() {
        let dir = tempfile::tempdir().expect("a folder");
        write(dir.path(), &["one", "two"], 8, 2).expect("written");
        write(dir.path(), &["three"], 8, 2).expect("written");
        assert_eq!(
            files(dir.path()),
            [
                ("j-000001.jsonl".into(), "one\ntwo\n".into()),
                ("j-000002.jsonl".into(), "three\n".into())
            ]
        );
        write(dir.path(), &["four", "five"], 8, 2).expect("written");
        assert_eq!(
            files(dir.path()),
            [
                ("j-000003.jsonl".into(), "four\n".into()),
                ("j-000004.jsonl".into(), "five\n".into())
            ]
        );
    }

    #[test]
    fn takes_away_a_line_that_was_not_written_to_its_end() {
        let dir = tempfile::tempdir().expect("a folder");
        write(dir.path(), &["one"], 500, 1).expect("written");
        let file = dir.path().join("j/j-000001.jsonl");
        std::fs::write(&file, "one\ntw").expect("written");
        write(dir.path(), &["three"], 500, 1).expect("written");
        assert_eq!(files(dir.path())[0].1, "one\nthree\n");
        std::fs::write(&file, "x".repeat(10_000)).expect("written");
        write(dir.path(), &["four"], 500, 1).expect("written");
        assert_eq!(files(dir.path())[0].1, "four\n");
    }

    #[test]
    fn refuses_what_is_no_line_or_beyond_a_limit() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(matches!(
            write(dir.path(), &["a\nb"], 500, 1),
            Err(JournalError::Invalid(_))
        ));
        assert!(matches!(
            write(dir.path(), &["a"], 500, 0),
            Err(JournalError::Invalid(_))
        ));
        assert!(matches!(
            write(dir.path(), &["a"], 500, 3),
            Err(JournalError::TooLarge(1000))
        ));
        assert!(matches!(
            write(dir.path(), &["abcd"], 4, 1),
            Err(JournalError::TooLarge(4))
        ));
        assert!(!dir.path().join("j").exists());
    }
}

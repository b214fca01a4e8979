//! Files and folders that only their owner can read. What root makes, such as by `selvedge state restore`, belongs to the owner of the
//! folder that it is made in, who is the service's user: a file of root's would keep the node from starting.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Result};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Makes a folder, and those above it that are missing.
///
/// # Errors
///
/// If the folder is missing and cannot be made.
pub(super) fn make_folder(dir: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => {
            // Whoever may write to the folder above could have put a link in the place by now.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            give(&rustix::fs::open(dir, flags, Mode::empty())?, dir);
            Ok(())
        }
        Err(_) if dir.is_dir() => Ok(()),
        Err(error) => match dir.parent() {
            Some(above) if error.kind() == ErrorKind::NotFound => {
                make_folder(above)?;
                make_folder(dir)
            }
            _ => Err(error),
        },
    }
}

/// Creates a file that is not there.
///
/// # Errors
///
/// If the file is there, or cannot be made.
pub(super) fn create(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.create_new(true).write(true).mode(0o600);
    let file = options.open(path)?;
    give(&file, path);
    Ok(file)
}

/// Opens a file for writing, which is created if it is not there.
///
/// # Errors
///
/// If the file can be neither opened nor created.
pub(super) fn open_or_create(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.append(true);
    match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => match create(path) {
            // Another process was faster.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => options.open(path),
            created => created,
        },
        opened => opened,
    }
}

/// Folder that a path lies in.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Gives what root has just made to the owner of its folder. What was there before is never given away: a link of the owner's could lead
/// to a file of another's.
fn give(made: impl AsFd, path: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let given = folder_of(path).metadata().and_then(|folder| match folder.uid() {
        0 => Ok(()),
        owner => fchown(made, Some(owner), Some(folder.gid())),
    });
    if let Err(error) = given {
        tracing::warn!(path = %path.display(), %error, "it stays root's, and the owner of its folder may not be able to use it");
    }
}

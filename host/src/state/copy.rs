//! Copies of the state file: to a file of an operator's beside a running node, and back where none runs.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};
use tempfile::NamedTempFile;

use super::{BUSY_TIME_MAX, FILE, StateError, migrate, owner};

/// Held shared by whoever has the state file open, and alone by whoever puts another in its place.
const LOCK_FILE: &str = "state.lock";

/// Name that a state file is kept under once another has replaced it.
const REPLACED: &str = "selvedge-replaced.db";

/// Name before the endings of files that SQLite kept beside a state file which is gone.
const ORPHANED: &str = "selvedge-orphaned.db";

/// Endings of the files that SQLite keeps beside another: the writes that are not in that one yet, and an index of them. SQLite takes
/// them for those of any file that is put in its place.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// Takes a share of the state file, for as long as the result lives.
///
/// # Errors
///
/// If another file is being put in its place, or the folder cannot be used.
pub(super) fn share(dir: &Path) -> Result<File, StateError> {
    let operation = FlockOperation::NonBlockingLockShared;
    lock(dir, LOCK_FILE, operation, StateError::Restoring)
}

/// Takes a lock by a file of this name in the folder, for as long as the result lives. `busy` makes the error if another process has it
/// and the operation does not wait.
///
/// # Errors
///
/// If another process has the lock, or the folder cannot be used.
pub(super) fn lock(
    dir: &Path,
    name: &str,
    operation: FlockOperation,
    busy: fn(PathBuf) -> StateError,
) -> Result<File, StateError> {
    let path = dir.join(name);
    let file = owner::open_or_create(&path).map_err(StateError::file(&path))?;
    match retry_on_intr(|| flock(&file, operation)) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(busy(dir.to_owned())),
        Err(error) => Err(StateError::file(&path)(error.into())),
    }
}

/// Writes a copy of the state file of a folder as it is now, whether or not a node runs on it. Blocks. `file` appears when the copy is
/// whole; until then the copy is beside it, under a name that ends with `.partial`.
///
/// # Errors
///
/// If there is no state file, or it is not one of Selvedge's, is damaged or is of a later version. If another is being put in its place.
/// If `file` exists, cannot be written, or has a path that is not UTF-8.
pub fn backup(dir: &Path, file: &Path) -> Result<(), StateError> {
    let _share = share(dir)?;
    let path = dir.join(FILE);
    check(&path)?;
    utf8(file)?;
    let failed = StateError::file(file);
    if file.symlink_metadata().is_ok() {
        return Err(failed(Errno::EXIST.into()));
    }
    let partial = partial(file).map_err(&failed)?;
    fill(&path, partial.as_file(), partial.path())?;
    partial
        .persist_noclobber(file)
        .map_err(|error| failed(error.error))?;
    sync(owner::folder_of(file)).map_err(failed)
}

/// An empty file beside another, by whose name it is known; it is removed where it does not take that one's place.
fn partial(file: &Path) -> std::io::Result<NamedTempFile> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".");
    tempfile::Builder::new()
        .prefix(&name)
        .suffix(".partial")
        .tempfile_in(owner::folder_of(file))
}

/// Puts a copy in the place of the state file of a folder. Returns the new path of the replaced file, if there was one. Blocks.
///
/// # Errors
///
/// If a node runs on the state file, or the copy is no state file, is damaged, or is of a later version; then nothing has changed. If a
/// file cannot be written.
pub fn restore(dir: &Path, file: &Path) -> Result<Option<PathBuf>, StateError> {
    owner::make_folder(dir).map_err(StateError::file(dir))?;
    let operation = FlockOperation::NonBlockingLockExclusive;
    let _alone = lock(dir, LOCK_FILE, operation, StateError::InUse)?;
    check(file)?;
    let (path, replaced, fresh) = (
        dir.join(FILE),
        dir.join(REPLACED),
        dir.join("selvedge-restored.new"),
    );
    // One that a process left that was killed meanwhile.
    std::fs::remove_file(&fresh).ok();
    copy(file, &fresh)?;
    let failed = StateError::file(&path);
    let existed = path.try_exists().map_err(&failed)?;
    if existed {
        set_aside(&path, &replaced).map_err(&failed)?;
    } else {
        move_beside(&path, &dir.join(ORPHANED)).map_err(&failed)?;
    }
    std::fs::rename(&fresh, &path).map_err(&failed)?;
    sync(dir).map_err(failed)?;
    Ok(existed.then_some(replaced))
}

/// Gives a state file a second name, with all that was written to it; it stays in its place until another is there.
fn set_aside(path: &Path, replaced: &Path) -> std::io::Result<()> {
    // What is not in the file itself yet; one that is broken is kept as it is.
    if let Err(error) = open(path)
        .and_then(|connection| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())))
    {
        tracing::warn!(%error, "the state file that is replaced cannot be read; it is kept as it is");
    }
    for ending in BESIDE {
        remove(&beside(replaced, ending))?;
    }
    remove(replaced)?;
    std::fs::hard_link(path, replaced)?;
    move_beside(path, replaced)
}

/// Moves what SQLite keeps beside a file to the place beside another; what lies there goes.
fn move_beside(from: &Path, to: &Path) -> std::io::Result<()> {
    for ending in BESIDE {
        match std::fs::rename(beside(from, ending), beside(to, ending)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            moved => moved?,
        }
    }
    Ok(())
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Has what was renamed in a folder outlive a power cut.
fn sync(dir: &Path) -> std::io::Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all())
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIME_MAX)?;
    Ok(connection)
}

/// Error if a file is not a state file of Selvedge, is damaged, or is of a version that is not known.
fn check(path: &Path) -> Result<(), StateError> {
    let refused = |source| StateError::Open {
        path: path.to_owned(),
        source,
    };
    let connection = open(path).map_err(refused)?;
    let taken = migrate::taken(&connection, path, migrate::KNOWN)?;
    let names = migrate::names(&connection).map_err(refused)?;
    if taken == 0 || names != migrate::schema(taken).map_err(refused)? {
        return Err(StateError::Foreign(path.to_owned()));
    }
    let sound: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(refused)?;
    match sound.as_str() {
        "ok" => Ok(()),
        _ => Err(StateError::Broken {
            path: path.to_owned(),
            what: sound,
        }),
    }
}

/// Writes a copy of a database as it is now into a new file, which only its owner can read.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), StateError> {
    let file = owner::create(to).map_err(StateError::file(to))?;
    let filled = fill(from, &file, to);
    if filled.is_err() {
        std::fs::remove_file(to).ok();
    }
    filled
}

/// Writes a copy of a database as it is now into a file that is empty.
fn fill(from: &Path, file: &File, to: &Path) -> Result<(), StateError> {
    let name = utf8(to)?;
    let failed = |source| StateError::Copy {
        from: from.to_owned(),
        to: to.to_owned(),
        source,
    };
    // It leaves the permissions of the file as they are.
    open(from)
        .and_then(|connection| connection.execute("VACUUM INTO ?1", [name]))
        .map_err(failed)?;
    file.sync_all().map_err(StateError::file(to))
}

/// A path as text, as SQLite asks for it.
fn utf8(path: &Path) -> Result<&str, StateError> {
    path.to_str().ok_or_else(|| StateError::Name(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    use std::path::Path;

    use super::super::{Database, FILE, StateError};
    use super::{LOCK_FILE, ORPHANED, backup, copy, fill, restore};

    fn put(database: &Database, value: i64) {
        let put = database.run_blocking(move |connection| {
            connection.execute(
                "INSERT OR REPLACE INTO kv (store, key, value) VALUES ('s', 'k', ?1)",
                [value.to_string().into_bytes()],
            )
        });
        put.expect("kept");
    }

    fn found(dir: &Path) -> Vec<u8> {
        let database = Database::open(dir).expect("opened");
        let found = database.run_blocking(|connection| {
            connection.query_row("SELECT value FROM kv WHERE key = 'k'", [], |row| row.get(0))
        });
        found.expect("found")
    }

    #[test]
    fn a_copy_is_made_beside_a_node_and_put_back_where_none_runs() {
        let dir = tempfile::tempdir().expect("a folder");
        let (state, file) = (dir.path().join("state"), dir.path().join("copy.db"));
        let database = Database::open(&state).expect("opened");
        put(&database, 1);
        backup(&state, &file).expect("copied beside it");
        let mode = file.metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let refused = backup(&state, &file).expect_err("it is there").to_string();
        assert!(refused.contains("copy.db"), "{refused}");
        put(&database, 2);
        let refused = restore(&state, &file).expect_err("it runs").to_string();
        assert!(refused.contains("a node runs"), "{refused}");
        drop(database);
        // The thread that owns the connection lets go a moment later.
        let replaced = loop {
            match restore(&state, &file) {
                Ok(replaced) => break replaced.expect("there was one"),
                Err(error) => assert!(error.to_string().contains("a node runs"), "{error}"),
            }
        };
        assert_eq!(found(&state), b"1");
        let other = dir.path().join("other");
        restore(&other, &replaced).expect("the one before is a state file as well");
        assert_eq!(found(&other), b"2");
    }

    /// Puts a copy back. The thread that owned the connection may let go a moment later.
    fn restored(dir: &Path, file: &Path) {
        while let Err(error) = restore(dir, file) {
            assert!(matches!(error, StateError::InUse(_)), "{error}");
        }
    }

    #[test]
    fn writes_of_another_file_that_lie_beside_none_do_not_get_into_the_one_that_is_put_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let [one, other, state] = ["one", "other", "state"].map(|name| dir.path().join(name));
        let (file, log) = (dir.path().join("copy.db"), format!("{FILE}-wal"));
        let database = Database::open(&one).expect("opened");
        put(&database, 1);
        backup(&one, &file).expect("copied");
        let database = Database::open(&other).expect("opened");
        put(&database, 2);
        std::fs::create_dir(&state).expect("made");
        std::fs::copy(other.join(&log), state.join(&log)).expect("its writes are not in its file yet");
        restored(&state, &file);
        assert_eq!(found(&state), b"1");
        assert!(
            state.join(format!("{ORPHANED}-wal")).exists(),
            "nothing is deleted"
        );
    }

    #[test]
    fn what_root_makes_belongs_to_the_owner_of_its_folder() {
        const OWNER: u32 = 12_345;
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can give files away");
            return;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let (owned, file) = (dir.path().join("owned"), dir.path().join("copy.db"));
        let owner = |path: &Path| {
            let told = path.metadata().expect("there");
            (told.uid(), told.gid())
        };
        drop(Database::open(&dir.path().join("source")).expect("opened"));
        backup(&dir.path().join("source"), &file).expect("copied");
        assert_eq!(owner(&file).0, 0, "the copy lies in a folder of root's");
        std::fs::create_dir(&owned).expect("made");
        chown(&owned, Some(OWNER), Some(OWNER)).expect("given away");
        for state in [owned.clone(), owned.join("new/state")] {
            restored(&state, &file);
            drop(Database::open(&state).expect("opened"));
            for name in ["", FILE, LOCK_FILE] {
                assert_eq!(owner(&state.join(name)), (OWNER, OWNER), "{name}");
            }
        }
        assert_eq!(owner(&owned.join("new")), (OWNER, OWNER));
        let fresh = owned.join("fresh");
        drop(Database::open(&fresh).expect("opened"));
        assert_eq!(owner(&fresh.join(FILE)), (OWNER, OWNER));
        // What was there is not given away: it may be a link to a file of another's.
        let (theirs, target) = (owned.join("theirs"), dir.path().join("target"));
        std::fs::create_dir(&theirs).expect("made");
        chown(&theirs, Some(OWNER), Some(OWNER)).expect("given away");
        std::fs::write(&target, "").expect("written");
        std::os::unix::fs::symlink(&target, theirs.join(LOCK_FILE)).expect("linked");
        restored(&theirs, &file);
        assert_eq!(owner(&target).0, 0);
    }

    #[test]
    fn a_copy_that_cannot_be_written_is_told_by_both_names_and_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let (state, file) = (dir.path().join("state"), dir.path().join("copy.db"));
        drop(Database::open(&state).expect("opened"));
        std::fs::write(&file, "not empty").expect("written");
        let target = std::fs::File::open(&file).expect("opened");
        let refused = fill(&state.join(FILE), &target, &file)
            .expect_err("it is no place for a copy")
            .to_string();
        assert!(
            refused.contains(FILE) && refused.contains("copy.db") && !refused.contains("Selvedge wrote"),
            "{refused}"
        );
        let refused = copy(&dir.path().join("missing.db"), &dir.path().join("other.db"));
        assert!(matches!(refused, Err(StateError::Copy { .. })));
        let odd = dir.path().join(OsStr::from_bytes(b"copy-\xff.db"));
        let refused = backup(&state, &odd).expect_err("SQLite takes text").to_string();
        assert!(refused.contains("UTF-8"), "{refused}");
        let mut left: Vec<_> = std::fs::read_dir(dir.path())
            .expect("readable")
            .map(|entry| entry.expect("told").file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["copy.db", "state"]);
    }

    #[test]
    fn what_is_no_state_file_is_not_put_in_its_place() {
        let dir = tempfile::tempdir().expect("a folder");
        let state = dir.path().join("state");
        drop(Database::open(&state).expect("opened"));
        let refuse = |file: &str| loop {
            match restore(&state, &dir.path().join(file))
                .expect_err("refused")
                .to_string()
            {
                busy if busy.contains("a node runs") => {}
                refused => break refused,
            }
        };
        std::fs::write(
            dir.path().join("letter"),
            "a letter to a friend, long enough to be read",
        )
        .expect("written");
        assert!(refuse("letter").contains("not a database"));
        let other = rusqlite::Connection::open(dir.path().join("other.db")).expect("opened");
        other
            .execute_batch("CREATE TABLE t (x); PRAGMA user_version = 2")
            .expect("written");
        drop(other);
        assert!(refuse("other.db").contains("no state file of Selvedge"));
        assert!(refuse("missing.db").contains("missing.db"));
        assert!(state.join(FILE).exists());
    }
}

//! Copies of the state file: to a file of an operator's beside a running node, and back where none runs.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{BUSY_TIME_MAX, FILE, StateError, migrate};

/// Held shared by whoever has the state file open, and alone by whoever puts another in its place.
const LOCK_FILE: &str = "state.lock";

/// Name that a state file is kept under once another has replaced it.
const REPLACED: &str = "selvedge-replaced.db";

/// Takes a share of the state file, for as long as the result lives.
///
/// # Errors
///
/// If another file is being put in its place, or the folder cannot be used.
pub(super) fn share(dir: &Path) -> Result<File, StateError> {
    lock(dir, FlockOperation::NonBlockingLockShared, StateError::Restoring)
}

fn lock(dir: &Path, operation: FlockOperation, busy: fn(PathBuf) -> StateError) -> Result<File, StateError> {
    let path = dir.join(LOCK_FILE);
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    let file = options.open(&path).map_err(|source| StateError::File {
        path: path.clone(),
        source,
    })?;
    match flock(&file, operation) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(busy(dir.to_owned())),
        Err(error) => Err(StateError::File {
            path,
            source: error.into(),
        }),
    }
}

/// Writes a copy of the state file of a folder as it is now, whether or not a node runs on it. Blocks.
///
/// # Errors
///
/// If there is no state file, or it is not one of Selvedge's, is damaged or is of a later version. If another is being put in its place.
/// If `file` exists or cannot be written.
pub fn backup(dir: &Path, file: &Path) -> Result<(), StateError> {
    let _share = share(dir)?;
    let path = dir.join(FILE);
    check(&path)?;
    copy(&path, file)
}

/// Puts a copy in the place of the state file of a folder. Returns the new path of the replaced file, if there was one. Blocks.
///
/// # Errors
///
/// If a node runs on the state file, or the copy is no state file, is damaged, or is of a later version; then nothing has changed. If a
/// file cannot be written.
pub fn restore(dir: &Path, file: &Path) -> Result<Option<PathBuf>, StateError> {
    std::fs::create_dir_all(dir).map_err(|source| StateError::File {
        path: dir.to_owned(),
        source,
    })?;
    let _alone = lock(dir, FlockOperation::NonBlockingLockExclusive, StateError::InUse)?;
    check(file)?;
    let (path, replaced, fresh) = (
        dir.join(FILE),
        dir.join(REPLACED),
        dir.join("selvedge-restored.new"),
    );
    std::fs::remove_file(&fresh).ok();
    copy(file, &fresh)?;
    let failed = |source| StateError::File {
        path: path.clone(),
        source,
    };
    let existed = path.try_exists().map_err(failed)?;
    if existed {
        set_aside(&path, &replaced).map_err(failed)?;
    }
    std::fs::rename(&fresh, &path).map_err(failed)?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
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
    for end in ["", "-wal", "-shm"] {
        let beside = |path: &Path| PathBuf::from(format!("{}{end}", path.display()));
        let (from, to) = (beside(path), beside(replaced));
        match std::fs::remove_file(&to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if end.is_empty() {
            std::fs::hard_link(&from, &to)?;
        } else if from.exists() {
            std::fs::rename(&from, &to)?;
        }
    }
    Ok(())
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
    let failed = |source| StateError::File {
        path: to.to_owned(),
        source,
    };
    let mut options = OpenOptions::new();
    options.create_new(true).write(true).mode(0o600);
    let file = options.open(to).map_err(failed)?;
    let copied = open(from).and_then(|connection| {
        // It takes a file that is empty, and leaves its permissions as they are.
        let text = to.to_string_lossy();
        connection.execute("VACUUM INTO ?1", [text.as_ref()])
    });
    let written = match copied {
        Ok(_) => file.sync_all().map_err(failed),
        Err(source) => Err(StateError::Open {
            path: from.to_owned(),
            source,
        }),
    };
    if written.is_err() {
        std::fs::remove_file(to).ok();
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::super::{Database, FILE};
    use super::{backup, restore};

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

//! The schema of the state file, as steps that are never changed once they were released: a file has taken the first
//! `user_version` of them. Before a file takes steps a copy of it is kept beside it, which the version before can read.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use rustix::fs::FlockOperation;

use super::{StateError, copy, owner};

/// The steps, oldest first. A new one goes to the end.
const STEPS: [&str; 4] = [
    include_str!("0001-events.sql"),
    include_str!("0002-keys.sql"),
    include_str!("0003-kv.sql"),
    include_str!("0004-kv-expiry.sql"),
];

/// Copies of former versions that are kept, the newest.
const COPIES_MAX: usize = 3;

/// Copies that are made while others may write. If they wrote meanwhile the copy is made again, the last time while they wait.
const FREE_COPIES_MAX: usize = 3;

/// Held by the process that takes steps.
const LOCK_FILE: &str = "migrate.lock";

/// Number of steps that are known, which is the version of a file that took them all.
pub(super) const KNOWN: usize = STEPS.len();

/// Takes the steps that a file has not taken yet, all or none of them.
pub(super) fn run(connection: &mut Connection, path: &Path) -> Result<(), StateError> {
    take(connection, path, &STEPS)
}

/// Takes the steps that a file has not taken yet, unless a node of an earlier version works with it: that one would go on over a schema
/// that it does not know, and could not start again. An empty file is nobody's.
pub(super) fn run_beside(connection: &mut Connection, path: &Path) -> Result<(), StateError> {
    let found = taken(connection, path, KNOWN)?;
    if (1..KNOWN).contains(&found) {
        return Err(StateError::Older {
            path: path.to_owned(),
            found,
            known: KNOWN,
        });
    }
    run(connection, path)
}

fn take(connection: &mut Connection, path: &Path, steps: &[&str]) -> Result<(), StateError> {
    let refused = |source| StateError::Open {
        path: path.to_owned(),
        source,
    };
    if taken(connection, path, steps.len())? == steps.len() {
        return Ok(());
    }
    // Other processes that would take steps wait here, however long the copy takes.
    let operation = FlockOperation::LockExclusive;
    let _turn = copy::lock(owner::folder_of(path), LOCK_FILE, operation, StateError::InUse)?;
    for _ in 0..FREE_COPIES_MAX {
        let before = commits(connection).map_err(refused)?;
        let version = taken(connection, path, steps.len())?;
        if version == steps.len() {
            return Ok(());
        }
        keep(path, version)?;
        let transaction = begin(connection).map_err(refused)?;
        if commits(&transaction).map_err(refused)? == before {
            return finish(transaction, steps, version).map_err(refused);
        }
    }
    let transaction = begin(connection).map_err(refused)?;
    let version = taken(&transaction, path, steps.len())?;
    keep(path, version)?;
    finish(transaction, steps, version).map_err(refused)
}

/// Begins a transaction beside which no other process can write.
fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// A number that is another one once another connection has written (<https://sqlite.org/pragma.html#pragma_data_version>).
fn commits(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "data_version", |row| row.get(0))
}

/// Takes the steps behind the first `version`.
fn finish(transaction: Transaction<'_>, steps: &[&str], version: usize) -> rusqlite::Result<()> {
    for step in &steps[version..] {
        transaction.execute_batch(step)?;
    }
    let version = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}

/// Number of steps that a file has taken.
///
/// # Errors
///
/// If the file cannot be read, or has taken steps that are not known here.
pub(super) fn taken(connection: &Connection, path: &Path, known: usize) -> Result<usize, StateError> {
    let version: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|source| StateError::Open {
            path: path.to_owned(),
            source,
        })?;
    let taken = usize::try_from(version).ok().filter(|taken| *taken <= known);
    taken.ok_or_else(|| StateError::Newer {
        path: path.to_owned(),
        found: version,
        known: i64::try_from(known).unwrap_or(i64::MAX),
    })
}

/// The tables and indices of a version, as SQLite tells them.
///
/// # Errors
///
/// If SQLite fails.
pub(super) fn schema(version: usize) -> rusqlite::Result<Vec<String>> {
    let connection = Connection::open_in_memory()?;
    for step in &STEPS[..version.min(KNOWN)] {
        connection.execute_batch(step)?;
    }
    names(&connection)
}

/// The tables and indices of a file.
///
/// # Errors
///
/// If the file cannot be read.
pub(super) fn names(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(
        "SELECT type || ' ' || name FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY 1",
    )?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// Keeps a copy of a file, which is of this version, and drops the oldest ones. A file of version 0 is empty.
fn keep(path: &Path, version: usize) -> Result<(), StateError> {
    if version == 0 {
        return Ok(());
    }
    let kept = kept_path(path, version);
    let fresh = kept.with_extension("new");
    // One that a process left that was killed meanwhile.
    std::fs::remove_file(&fresh).ok();
    copy::copy(path, &fresh)?;
    std::fs::rename(&fresh, &kept).map_err(StateError::file(&kept))?;
    tracing::info!(copy = %kept.display(), version, "the state file was copied before its schema changes");
    for old in 0..version.saturating_sub(COPIES_MAX - 1) {
        std::fs::remove_file(kept_path(path, old)).ok();
    }
    Ok(())
}

/// Path of the copy of a version: `selvedge-v3.db` beside `selvedge.db`.
fn kept_path(path: &Path, version: usize) -> PathBuf {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}-v{version}.db"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use rusqlite::Connection;

    use super::super::{Database, FILE, StateError, restore};
    use super::{KNOWN, STEPS, kept_path, names, schema, take, taken};

    #[test]
    fn a_copy_is_kept_before_each_step_and_the_version_before_reads_it_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(FILE);
        // The binary of the version before, which knows one step less.
        let before = &STEPS[..KNOWN - 1];
        {
            let mut connection = Connection::open(&path).expect("opened");
            take(&mut connection, &path, before).expect("taken");
            assert!(!kept_path(&path, 0).exists(), "an empty file needs no copy");
            let insert = "INSERT INTO kv (store, key, value) VALUES ('s', 'k', x'07')";
            connection.execute(insert, []).expect("kept");
        }
        // The upgrade.
        drop(Database::open(dir.path()).expect("this version takes its step"));
        let copy = kept_path(&path, KNOWN - 1);
        assert!(copy.exists());
        let mut connection = Connection::open(&path).expect("opened");
        let refused = take(&mut connection, &path, before)
            .expect_err("it is newer")
            .to_string();
        assert!(refused.contains("later version"), "{refused}");
        drop(connection);
        // The way back.
        // The thread that owns the connection lets go a moment later.
        while let Err(error) = restore(dir.path(), &copy) {
            assert!(error.to_string().contains("a node runs"), "{error}");
        }
        let mut connection = Connection::open(&path).expect("opened");
        take(&mut connection, &path, before).expect("the version before goes on");
        let found = connection.query_row("SELECT value FROM kv WHERE key = 'k'", [], |row| {
            row.get::<_, Vec<u8>>(0)
        });
        assert_eq!(found.expect("what was kept"), [7]);
        drop(connection);
        // And the upgrade again.
        drop(Database::open(dir.path()).expect("it takes its step again"));
    }

    /// A state file that the version before wrote, with its folder.
    fn one_step_behind() -> (tempfile::TempDir, PathBuf, Connection) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(FILE);
        let mut connection = Connection::open(&path).expect("opened");
        take(&mut connection, &path, &STEPS[..KNOWN - 1]).expect("taken");
        (dir, path, connection)
    }

    #[test]
    fn beside_a_node_that_works_with_it_a_file_keeps_its_schema() {
        let (dir, path, connection) = one_step_behind();
        let refused = Database::open_beside(dir.path()).err().expect("refused");
        assert!(matches!(refused, StateError::Older { found, known: KNOWN, .. } if found == KNOWN - 1));
        assert!(refused.to_string().contains("restart"), "{refused}");
        assert_eq!(taken(&connection, &path, KNOWN).expect("told"), KNOWN - 1);
        assert!(!kept_path(&path, KNOWN - 1).exists());
        drop(Database::open(dir.path()).expect("a restart takes the step"));
        drop(Database::open_beside(dir.path()).expect("there is none to take"));
        let empty = tempfile::tempdir().expect("a folder");
        drop(Database::open_beside(empty.path()).expect("an empty file is nobody's"));
    }

    #[test]
    fn others_may_write_while_a_copy_is_made() {
        let (_dir, path, mut connection) = one_step_behind();
        connection.busy_timeout(Duration::ZERO).expect("set");
        let writer = Connection::open(&path).expect("opened");
        writer.execute_batch("BEGIN IMMEDIATE").expect("it writes");
        let refused = take(&mut connection, &path, &STEPS)
            .expect_err("steps wait for it")
            .to_string();
        assert!(refused.contains("locked"), "{refused}");
        assert!(
            kept_path(&path, KNOWN - 1).exists(),
            "the copy did not wait for it"
        );
        writer.execute_batch("COMMIT").expect("written");
        take(&mut connection, &path, &STEPS).expect("taken");
    }

    #[test]
    fn a_few_copies_are_kept_and_no_more() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(FILE);
        let steps: Vec<String> = (0..8).map(|step| format!("CREATE TABLE t{step} (x)")).collect();
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        let mut connection = Connection::open(&path).expect("opened");
        for count in 1..=steps.len() {
            take(&mut connection, &path, &steps[..count]).expect("taken");
        }
        let kept: Vec<usize> = (0..=steps.len())
            .filter(|version| kept_path(&path, *version).exists())
            .collect();
        assert_eq!(kept, [5, 6, 7]);
    }

    #[test]
    fn a_schema_is_what_the_steps_make() {
        assert_eq!(schema(0).expect("none"), Vec::<String>::new());
        let connection = Connection::open_in_memory().expect("opened");
        for step in STEPS {
            connection.execute_batch(step).expect("taken");
        }
        assert_eq!(names(&connection).expect("told"), schema(KNOWN).expect("told"));
        assert!(schema(KNOWN).expect("told").len() > schema(1).expect("told").len());
    }
}

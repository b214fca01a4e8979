//! The schema of the state file, as steps that are never changed once they were released: a file has taken the first
//! `user_version` of them. Before a file takes steps a copy of it is kept beside it, which the version before can read.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use super::{StateError, copy};

/// The steps, oldest first. A new one goes to the end.
const STEPS: [&str; 4] = [
    include_str!("0001-events.sql"),
    include_str!("0002-keys.sql"),
    include_str!("0003-kv.sql"),
    include_str!("0004-kv-expiry.sql"),
];

/// Copies of former versions that are kept, the newest.
const COPIES_MAX: usize = 3;

/// Number of steps that are known, which is the version of a file that took them all.
pub(super) const KNOWN: usize = STEPS.len();

/// Takes the steps that a file has not taken yet, all or none of them.
pub(super) fn run(connection: &mut Connection, path: &Path) -> Result<(), StateError> {
    take(connection, path, &STEPS)
}

fn take(connection: &mut Connection, path: &Path, steps: &[&str]) -> Result<(), StateError> {
    let refused = |source| StateError::Open {
        path: path.to_owned(),
        source,
    };
    // From here on no other process takes steps.
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(refused)?;
    let taken = taken(&transaction, path, steps.len())?;
    if taken == steps.len() {
        return Ok(());
    }
    if taken > 0 {
        keep(path, taken)?;
    }
    for step in &steps[taken..] {
        transaction.execute_batch(step).map_err(refused)?;
    }
    transaction
        .pragma_update(
            None,
            "user_version",
            i64::try_from(steps.len()).unwrap_or(i64::MAX),
        )
        .and_then(|()| transaction.commit())
        .map_err(refused)
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

/// Keeps a copy of a file, which is of this version, and drops the oldest ones.
fn keep(path: &Path, version: usize) -> Result<(), StateError> {
    let kept = kept_path(path, version);
    let fresh = kept.with_extension("new");
    // One that a process left that was killed meanwhile.
    std::fs::remove_file(&fresh).ok();
    copy::copy(path, &fresh)?;
    let failed = |source| StateError::File {
        path: kept.clone(),
        source,
    };
    std::fs::rename(&fresh, &kept).map_err(failed)?;
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
    use rusqlite::Connection;

    use super::super::{Database, FILE, restore};
    use super::{KNOWN, STEPS, kept_path, names, schema, take};

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

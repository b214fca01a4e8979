//! What a node must not forget: one SQLite file in `[state] dir`, and the thread that owns the connection to it.
//!
//! Whoever keeps something here brings the statements and adds a step to `migrate`; this module knows no table. A commit
//! outlives the process, also where it is killed; the last ones before a power cut may be lost, which is what
//! `synchronous = NORMAL` trades for not waiting for the disk (<https://sqlite.org/pragma.html#pragma_synchronous>).

mod copy;
mod migrate;
mod owner;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::{Semaphore, oneshot};

pub use copy::{backup, restore};

/// The file in the state folder; SQLite keeps `-wal` and `-shm` beside it.
const FILE: &str = "selvedge.db";

/// How long to wait for another process that writes, such as a command of an operator.
const BUSY_TIME_MAX: Duration = Duration::from_secs(5);

/// Callers whose work waits at once; more wait for a place.
const CALLERS_MAX: usize = 1024;

/// Statements that are kept compiled.
const STATEMENTS_MAX: usize = 64;

/// Why something could not be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder or the file cannot be made.
    #[error("{path} cannot be opened: {source}")]
    File {
        /// The folder or the file.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// SQLite refuses the file.
    #[error("{path}: {source}{}", hint(.source))]
    Open {
        /// The file.
        path: PathBuf,
        /// Error of SQLite.
        source: rusqlite::Error,
    },
    /// A copy cannot be written, such as to a full disk.
    #[error("{from} cannot be copied to {to}: {source}")]
    Copy {
        /// The file that is copied.
        from: PathBuf,
        /// The copy.
        to: PathBuf,
        /// Error of SQLite.
        source: rusqlite::Error,
    },
    /// SQLite cannot write to such a path.
    #[error("{0} is no path for a copy: it is not UTF-8")]
    Name(PathBuf),
    /// A later version of Selvedge wrote the file.
    #[error(
        "{path} was written by a later version of Selvedge (schema {found}, this one knows {known}); run that version, go back with `selvedge state restore` and the copy \
         that it kept beside the file, or take another `state.dir`"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The last schema that is known here.
        known: i64,
    },
    /// An earlier version of Selvedge wrote the file, and a node of that version goes on with it.
    #[error(
        "{path}: its schema would change from {found} to {known} while another node works with it; restart the node instead of handing \
         over: a restart keeps a copy first"
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: usize,
        /// The schema of this version.
        known: usize,
    },
    /// A file is none of ours.
    #[error("{0} is no state file of Selvedge: its tables are others")]
    Foreign(PathBuf),
    /// A file is damaged.
    #[error("{path} is damaged: {what}")]
    Broken {
        /// The file.
        path: PathBuf,
        /// The damage, in SQLite's words.
        what: String,
    },
    /// A node, or a command, has the file open.
    #[error("a node runs on {0}, or a command: stop it first")]
    InUse(PathBuf),
    /// Another file is being put in the place.
    #[error("another state file is being put into {0} (`selvedge state restore`): try again")]
    Restoring(PathBuf),
    /// A statement failed.
    #[error("{0}")]
    Statement(#[from] rusqlite::Error),
    /// What ran on the thread panicked, or the node is ending.
    #[error("the thread of the state file did not answer")]
    Gone,
}

impl StateError {
    /// Makes the error of the system's for a file or folder.
    fn file(path: &Path) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::File {
            path: path.to_owned(),
            source,
        }
    }
}

/// Remedy for an error of SQLite's, if the file is to blame.
fn hint(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            "; it must be a file that Selvedge wrote"
        }
        _ => "",
    }
}

/// The file; clones share the connection. The thread ends with the last of them.
#[derive(Clone)]
pub struct Database {
    jobs: Sender<Job>,
    places: Arc<Semaphore>,
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

impl Database {
    /// Opens the file in a folder, both made where they are not there, and brings its schema up to date. Blocks.
    ///
    /// # Errors
    ///
    /// Where the folder cannot be used, the file is none of ours or of a later version, or there is no thread.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        Self::open_with(dir, migrate::run)
    }

    /// Opens the file in a folder beside a node that works with it, and does not change the schema that this one reads. Blocks.
    ///
    /// # Errors
    ///
    /// As [`Database::open`], and if the file is of an earlier version.
    pub fn open_beside(dir: &Path) -> Result<Self, StateError> {
        Self::open_with(dir, migrate::run_beside)
    }

    fn open_with(
        dir: &Path,
        migrate: fn(&mut Connection, &Path) -> Result<(), StateError>,
    ) -> Result<Self, StateError> {
        let (share, mut connection) = connect(dir)?;
        let path = dir.join(FILE);
        migrate(&mut connection, &path)?;
        let (jobs, received) = channel();
        let thread = std::thread::Builder::new().name("selvedge-state".to_owned());
        thread
            .spawn(move || {
                serve(&received, &mut connection);
                // In this order: whoever puts another file in the place finds this one closed.
                drop(connection);
                drop(share);
            })
            .map_err(|source| StateError::File { path, source })?;
        Ok(Self {
            jobs,
            places: Arc::new(Semaphore::new(CALLERS_MAX)),
        })
    }

    /// Runs something on the connection, behind what was asked for before. Where the future is dropped, it runs all the
    /// same.
    ///
    /// # Errors
    ///
    /// Where it fails or panics.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StateError> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let (answer, answered) = oneshot::channel();
        self.post(move |connection| {
            let result = work(connection);
            drop(place);
            // Who asked may have left.
            answer.send(result).ok();
        });
        answered.await.map_err(|_| StateError::Gone)?.map_err(Into::into)
    }

    /// The same for code that may block, such as a command's.
    ///
    /// # Errors
    ///
    /// Where it fails or panics.
    pub fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StateError> {
        let (answer, answered) = channel();
        self.post(move |connection| {
            answer.send(work(connection)).ok();
        });
        answered.recv().map_err(|_| StateError::Gone)?.map_err(Into::into)
    }

    /// Has something run on the connection, without waiting for it. Whoever calls this bounds how much waits.
    pub fn post(&self, work: impl FnOnce(&mut Connection) + Send + 'static) {
        // The thread outlives every handle on it; it is gone only where the process ends.
        self.jobs.send(Box::new(work)).ok();
    }

    /// Waits until all that was asked for before is done.
    ///
    /// # Errors
    ///
    /// Where the thread is gone.
    pub async fn flush(&self) -> Result<(), StateError> {
        self.run(|_| Ok(())).await
    }
}

/// A share of the file and the connection to it; only its owner can read it.
fn connect(dir: &Path) -> Result<(File, Connection), StateError> {
    let path = dir.join(FILE);
    owner::make_folder(dir).map_err(StateError::file(dir))?;
    let share = copy::share(dir)?;
    // SQLite would make it readable for others.
    owner::open_or_create(&path).map_err(StateError::file(&path))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(&path, flags).and_then(|connection| {
        connection.busy_timeout(BUSY_TIME_MAX)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok((share, connection))
    });
    opened.map_err(|source| StateError::Open { path, source })
}

/// Runs jobs, one after the other. One that panics ends alone: its transaction is rolled back as it is dropped.
fn serve(jobs: &Receiver<Job>, connection: &mut Connection) {
    while let Ok(job) = jobs.recv() {
        if catch_unwind(AssertUnwindSafe(|| job(connection))).is_err() {
            tracing::error!("a panic on the thread of the state file, contained");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{Database, FILE};

    #[test]
    fn what_is_kept_is_there_after_it_is_opened_again_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("a/b");
        let database = Database::open(&folder).expect("opened");
        let kept = database.run_blocking(|connection| {
            connection.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (7)")
        });
        kept.expect("kept");
        drop(database);
        let database = Database::open(&folder).expect("opened again");
        let found = database.run_blocking(|connection| {
            connection.query_row("SELECT x FROM t", [], |row| row.get::<_, i64>(0))
        });
        assert_eq!(found.expect("found"), 7);
        let mode = folder.join(FILE).metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_panic_ends_its_job_alone_and_what_it_wrote_is_not_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let database = Database::open(dir.path()).expect("opened");
        let create = database.run(|connection| connection.execute_batch("CREATE TABLE t (x)"));
        create.await.expect("made");
        let panicked = database.run(|connection| {
            let transaction = connection.transaction()?;
            transaction.execute("INSERT INTO t VALUES (1)", [])?;
            let none: Option<()> = None;
            none.ok_or(()).expect("an invariant nobody thought of");
            transaction.commit()
        });
        assert!(
            panicked
                .await
                .expect_err("it panicked")
                .to_string()
                .contains("did not answer")
        );
        let count = database
            .run(|connection| connection.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)));
        assert_eq!(count.await.expect("counted"), 0);
    }

    #[test]
    fn what_is_no_database_or_a_later_one_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(
            dir.path().join(FILE),
            "a letter to a friend, long enough to be read",
        )
        .expect("written");
        let refused = Database::open(dir.path()).err().expect("refused").to_string();
        assert!(
            refused.contains(FILE)
                && refused.contains("not a database; it must be a file that Selvedge wrote"),
            "{refused}"
        );
        let dir = tempfile::tempdir().expect("a folder");
        let database = Database::open(dir.path()).expect("opened");
        let later = database.run_blocking(|connection| connection.pragma_update(None, "user_version", 9999));
        later.expect("set");
        drop(database);
        let refused = Database::open(dir.path()).err().expect("refused").to_string();
        assert!(
            refused.contains("schema 9999") && refused.contains("`state.dir`"),
            "{refused}"
        );
    }
}

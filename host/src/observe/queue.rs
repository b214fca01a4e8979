//! The queue of events in the state file: what is recorded is there until an observer has taken it or an operator drops it.
//!
//! Requests that end at the same time share a transaction: the first one asks the state's thread to write what waits, and
//! what comes before the thread gets to it goes along.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use metrics::counter;
use rusqlite::{Connection, Transaction, params};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use selvedge_plugin::value::Event;
use tokio::sync::{OwnedMutexGuard, oneshot, watch};

use super::now_ms;
use super::rows::{self, Held, Next};
use crate::config;
use crate::state::{Database, StateError};

/// What an event counts besides its texts: its row and its places in the indices.
const ROW_LEN: usize = 200;

/// Bytes that wait for the state's thread at most. It writes faster than requests come; where it does not, the disk hangs.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// How long an answer waits for its event to be written. Usually it is a fraction of a millisecond.
const WRITE_TIME_MAX: Duration = Duration::from_secs(10);

/// How often to look whether another process has ended that gives the events.
const ALONE_EVERY: Duration = Duration::from_millis(500);

/// An event for one observer.
#[derive(Debug, Clone)]
pub struct Record {
    /// The observer, `ENDPOINT/PLUGIN`.
    pub observer: String,
    /// The event; with bodies, where the observer sees them.
    pub event: Event,
}

/// Why an event is not kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Lost {
    /// There is no room.
    #[error("the queue of events is full (`observe.bytes_max`)")]
    Full,
    /// It is not written yet, and may never be.
    #[error("the event was not written within {WRITE_TIME_MAX:?}")]
    Late,
    /// It cannot be written.
    #[error("the event cannot be written: {0}")]
    Unwritten(Arc<StateError>),
}

/// The queue; clones share it.
#[derive(Clone)]
pub struct Queue {
    shared: Arc<Shared>,
}

struct Shared {
    database: Database,
    options: config::Observe,
    /// What is not written yet.
    unwritten: Mutex<Unwritten>,
    /// As of the last look at the state file.
    held: Mutex<Held>,
    lost: AtomicU64,
    /// Whether the log was told that events are lost; it is told once until one is kept again.
    told: AtomicBool,
    /// Whether the state's thread is asked to look at what is held.
    looking: AtomicBool,
    /// Changes whenever events were written.
    news: watch::Sender<()>,
    /// One for each observer: it is given events by one delivery at a time, also while generations change.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    lock_file: PathBuf,
    /// Held by the one process that gives events, of those that share the folder; the system lets go of it with the process.
    lock: tokio::sync::Mutex<Option<File>>,
}

#[derive(Default)]
struct Unwritten {
    records: Vec<Record>,
    bytes: usize,
    /// Who waits for it to be written.
    waiters: Vec<oneshot::Sender<Result<(), Lost>>>,
}

impl Queue {
    /// The queue in a state file, which lies in `dir`. Blocks.
    ///
    /// # Errors
    ///
    /// Where the state file cannot be read.
    pub fn open(database: Database, dir: &Path, options: config::Observe) -> Result<Self, StateError> {
        let held = database.run_blocking(|connection| rows::held(connection))?;
        let shared = Shared {
            database,
            options,
            unwritten: Mutex::default(),
            held: Mutex::new(held),
            lost: AtomicU64::new(0),
            told: AtomicBool::new(false),
            looking: AtomicBool::new(false),
            news: watch::Sender::new(()),
            turns: Mutex::default(),
            lock_file: dir.join("events.lock"),
            lock: tokio::sync::Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// `[observe]`.
    #[must_use]
    pub fn options(&self) -> &config::Observe {
        &self.shared.options
    }

    /// Keeps an event for its observers. When this has come back well, it outlives the process. Where the future is dropped,
    /// it is kept all the same.
    ///
    /// # Errors
    ///
    /// Where there is no room, or the state file cannot be written, in time or at all.
    pub async fn record(&self, records: Vec<Record>) -> Result<(), Lost> {
        match tokio::time::timeout(WRITE_TIME_MAX, self.put(records)?).await {
            Ok(written) => written.unwrap_or_else(|_| Err(Lost::Unwritten(Arc::new(StateError::Gone)))),
            Err(_) => Err(Lost::Late),
        }
    }

    /// The same without waiting for it: for requests whose client has left.
    pub fn record_later(&self, records: Vec<Record>) {
        // Whether it could be kept is counted and logged; nobody else is there to be told.
        self.put(records).ok();
    }

    fn put(&self, records: Vec<Record>) -> Result<oneshot::Receiver<Result<(), Lost>>, Lost> {
        let bytes = records.iter().map(Record::len).sum::<usize>();
        let (waiter, written) = oneshot::channel();
        let mut unwritten = self
            .shared
            .unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let after = unwritten.bytes + bytes;
        let held = self.held().waiting_bytes + after as u64;
        // Where requests are refused instead, those that were admitted may go a little beyond.
        let beyond =
            self.shared.options.full == config::Full::Drop && held > self.shared.options.bytes_max.0 as u64;
        if beyond || after > WAITING_BYTES_MAX {
            drop(unwritten);
            self.shared.lose(&Lost::Full, 1);
            return Err(Lost::Full);
        }
        let is_first = unwritten.records.is_empty();
        unwritten.records.extend(records);
        unwritten.bytes = after;
        unwritten.waiters.push(waiter);
        drop(unwritten);
        if is_first {
            let shared = Arc::clone(&self.shared);
            // One such job waits at a time.
            self.shared
                .database
                .post(move |connection| shared.write(connection));
        }
        Ok(written)
    }

    /// Whether requests to endpoints with observers are to be refused.
    #[must_use]
    pub fn refuses(&self) -> bool {
        let options = &self.shared.options;
        let refuses =
            options.full == config::Full::Refuse && self.held().waiting_bytes >= options.bytes_max.0 as u64;
        if refuses && !self.shared.looking.swap(true, Ordering::Relaxed) {
            // An operator may have made room, which nothing else would tell while nothing is written.
            let shared = Arc::clone(&self.shared);
            self.shared
                .database
                .post(move |connection| shared.look(connection));
        }
        refuses
    }

    /// What it holds, as of the last look.
    #[must_use]
    pub fn held(&self) -> Held {
        *self.shared.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events that could not be kept since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Is told whenever events were written.
    #[must_use]
    pub(super) fn news(&self) -> watch::Receiver<()> {
        self.shared.news.subscribe()
    }

    /// Says in the log whose events wait in vain, since nobody of that name observes any more.
    pub(super) async fn warn_of_orphans(&self, observers: Vec<String>) -> Result<(), StateError> {
        let waiting = self.change(|transaction| {
            let mut waiting = transaction.prepare_cached(
                "SELECT observer, count(*) FROM events WHERE dead_ms IS NULL GROUP BY observer",
            )?;
            let counts = waiting.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            counts.collect::<rusqlite::Result<Vec<(String, i64)>>>()
        });
        for (observer, events) in waiting.await? {
            if !observers.contains(&observer) {
                tracing::warn!(
                    observer,
                    events,
                    "events wait for an observer that there is not; attach it again, or `selvedge events drop --all --observer`"
                );
            }
        }
        Ok(())
    }

    /// Waits to be the one that gives an observer its events, in this process and among those that share its folder.
    ///
    /// # Errors
    ///
    /// Where the folder cannot be written to.
    pub(super) async fn turn(&self, observer: &str) -> io::Result<OwnedMutexGuard<()>> {
        let mut lock = self.shared.lock.lock().await;
        if lock.is_none() {
            *lock = Some(alone(&self.shared.lock_file).await?);
        }
        drop(lock);
        let turn = {
            let mut turns = self.shared.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(observer.to_owned()).or_default())
        };
        Ok(turn.lock_owned().await)
    }

    /// What an observer is to be given now, at most so many, or when there will be something. An event that failed before is
    /// given by itself.
    pub(super) async fn next(&self, observer: &str, items_max: usize) -> Result<Next, StateError> {
        let bytes_max = self.shared.options.batch_bytes_max.0;
        let observer = observer.to_owned();
        self.change(move |transaction| rows::next(transaction, &observer, items_max, bytes_max))
            .await
    }

    /// Forgets events that an observer has taken.
    pub(super) async fn taken(&self, ids: Vec<i64>) -> Result<(), StateError> {
        self.change(move |transaction| {
            let mut forget = transaction.prepare_cached("DELETE FROM events WHERE id = ?1")?;
            ids.iter().try_for_each(|id| forget.execute([id]).map(drop))
        })
        .await
    }

    /// Notes that events were not taken, and when each is to be given again; never, where that is none.
    pub(super) async fn failed(
        &self,
        ids: Vec<(i64, Option<i64>)>,
        reason: String,
    ) -> Result<(), StateError> {
        let dead_max = self.shared.options.dead_bytes_max.0;
        let dropped = self
            .change(move |transaction| {
                let mut note = transaction.prepare_cached(
                    "UPDATE events SET attempts = attempts + 1, reason = ?2, due_ms = coalesce(?3, due_ms), \
                     dead_ms = CASE WHEN ?3 IS NULL THEN ?4 END WHERE id = ?1",
                )?;
                for (id, due) in &ids {
                    note.execute(params![id, reason, due, now_ms()])?;
                }
                rows::drop_oldest_dead(transaction, dead_max)
            })
            .await?;
        if dropped > 0 {
            tracing::error!(
                dropped,
                "events that were given up are dropped for want of room (`observe.dead_bytes_max`)"
            );
        }
        Ok(())
    }

    /// Changes the queue in one transaction, and sees what it holds then.
    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StateError> {
        let shared = Arc::clone(&self.shared);
        let run = move |connection: &mut Connection| shared.transact(connection, work);
        self.shared.database.run(run).await
    }
}

/// Waits until no other process holds the lock.
async fn alone(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).mode(0o600).open(path)?;
    let mut told = false;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if told => {}
            Err(Errno::WOULDBLOCK) => {
                told = true;
                tracing::info!(
                    "another node with this `state.dir` gives the events to observers; this one waits for its end"
                );
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(ALONE_EVERY).await;
    }
}

impl Shared {
    fn transact<T>(
        &self,
        connection: &mut Connection,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let transaction = connection.transaction()?;
        let result = work(&transaction)?;
        let held = rows::held(&transaction)?;
        transaction.commit()?;
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
        Ok(result)
    }

    fn lose(&self, lost: &Lost, count: u64) {
        let total = self.lost.fetch_add(count, Ordering::Relaxed) + count;
        counter!("selvedge_events_lost_total").increment(count);
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::error!(total, why = %lost, "events are lost; this is said once until one is kept again");
        }
    }

    fn look(&self, connection: &mut Connection) {
        self.looking.store(false, Ordering::Relaxed);
        match rows::held(connection) {
            Ok(held) => *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held,
            Err(error) => tracing::error!(%error, "the queue of events cannot be read"),
        }
    }

    /// Writes all that waits in one transaction, and tells who waits for it.
    fn write(&self, connection: &mut Connection) {
        let (records, waiters, bytes) = {
            let mut unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
            let records = std::mem::take(&mut unwritten.records);
            (records, std::mem::take(&mut unwritten.waiters), unwritten.bytes)
        };
        let count = waiters.len() as u64;
        let written = self.transact(connection, |transaction| {
            records
                .iter()
                .try_for_each(|record| rows::insert(transaction, record))
        });
        // Until here they count as unwritten, so that the limit holds.
        self.unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .bytes -= bytes;
        let written = written.map_err(|error| Lost::Unwritten(Arc::new(error.into())));
        match &written {
            Err(lost) => self.lose(lost, count),
            Ok(()) if self.told.swap(false, Ordering::Relaxed) => {
                tracing::info!(count, "events are kept again");
            }
            Ok(()) => {}
        }
        for waiter in waiters {
            // Who does not wait any more left it to us to be kept.
            waiter.send(written.clone()).ok();
        }
        self.news.send_replace(());
    }
}

impl Record {
    /// What it counts for the limits.
    pub(super) fn len(&self) -> usize {
        let body = |body: &Option<Bytes>| body.as_ref().map_or(0, Bytes::len);
        let event = &self.event;
        let attributes = event
            .attributes
            .iter()
            .map(|(key, value)| key.len() + value.len() + 8);
        let timings = event.timings.iter().map(|timing| timing.plugin.len() + 60);
        let texts = self.observer.len()
            + event.id.len()
            + event.request_id.len()
            + event.endpoint.len()
            + event.model.len();
        ROW_LEN
            + 200
            + texts
            + body(&event.request_body)
            + body(&event.response_body)
            + attributes.sum::<usize>()
            + timings.sum::<usize>()
    }
}

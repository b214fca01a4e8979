//! The rows of the queue: what is written of an event, what is read back, and what all of them take.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use selvedge_plugin::value::Event;

use super::queue::Record;
use super::{narrow, now_ms};

/// A record that waits in the queue.
#[derive(Debug)]
pub struct Row {
    /// Its place in the queue.
    pub id: i64,
    /// How often it was given and not taken.
    pub attempts: u32,
    /// The event.
    pub event: Event,
}

/// What is to be given.
#[derive(Debug)]
pub(super) enum Next {
    /// These, now.
    Batch(Vec<Row>),
    /// First something is to be done about these, which cannot be read: the place of each, and why.
    Unreadable(Vec<(i64, String)>),
    /// Nothing before this time, in milliseconds since 1970.
    At(i64),
    /// Nothing.
    Nothing,
}

/// What the queue holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Events that wait.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Events that were given up.
    pub dead: u64,
    /// Their bytes.
    pub dead_bytes: u64,
}

/// Writes a record.
pub(super) fn insert(transaction: &Transaction<'_>, record: &Record) -> rusqlite::Result<()> {
    let event = &record.event;
    let head = serde_json::to_string(event)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO events (event, observer, made_ms, due_ms, bytes, head, request_body, response_body) \
         VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7)",
    )?;
    insert.execute(params![
        event.id,
        record.observer,
        i64::try_from(event.time_ms).unwrap_or(i64::MAX),
        narrow(record.len()),
        head,
        event.request_body.as_deref(),
        event.response_body.as_deref(),
    ])?;
    Ok(())
}

/// What the queue holds.
pub(super) fn held(connection: &Connection) -> rusqlite::Result<Held> {
    let mut sums = connection.prepare_cached("SELECT count, bytes FROM events_held WHERE dead = ?1")?;
    let mut sum = |dead: bool| {
        sums.query_row([dead], |row| {
            let positive = |number: i64| u64::try_from(number).unwrap_or_default();
            Ok((positive(row.get(0)?), positive(row.get(1)?)))
        })
    };
    let ((waiting, waiting_bytes), (dead, dead_bytes)) = (sum(false)?, sum(true)?);
    Ok(Held {
        waiting,
        waiting_bytes,
        dead,
        dead_bytes,
    })
}

/// What an observer is to be given now.
pub(super) fn next(
    transaction: &Transaction<'_>,
    observer: &str,
    items_max: usize,
    bytes_max: usize,
) -> rusqlite::Result<Next> {
    let mut due = transaction.prepare_cached(
        "SELECT id, attempts, bytes, head, request_body, response_body FROM events \
         WHERE observer = ?1 AND dead_ms IS NULL AND due_ms <= ?2 ORDER BY due_ms, id LIMIT ?3",
    )?;
    let mut found = due.query(params![observer, now_ms(), narrow(items_max)])?;
    let (mut rows, mut unreadable, mut bytes) = (Vec::new(), Vec::new(), 0);
    while let Some(found) = found.next()? {
        let row = match row(found) {
            Ok(row) => row,
            Err(error) => {
                unreadable.push((found.get(0)?, error.to_string()));
                continue;
            }
        };
        bytes += usize::try_from(found.get::<_, i64>(2)?).unwrap_or_default();
        let is_again = row.attempts > 0;
        if !rows.is_empty() && (is_again || bytes > bytes_max) {
            break;
        }
        rows.push(row);
        if is_again {
            break;
        }
    }
    if !unreadable.is_empty() {
        return Ok(Next::Unreadable(unreadable));
    }
    if !rows.is_empty() {
        return Ok(Next::Batch(rows));
    }
    let mut later = transaction
        .prepare_cached("SELECT min(due_ms) FROM events WHERE observer = ?1 AND dead_ms IS NULL")?;
    let at: Option<i64> = later
        .query_row([observer], |row| row.get(0))
        .optional()?
        .flatten();
    Ok(at.map_or(Next::Nothing, Next::At))
}

/// A row of `id, attempts, bytes, head, request_body, response_body`.
fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let head: String = row.get(3)?;
    let broken = |error: serde_json::Error| {
        rusqlite::Error::FromSqlConversionFailure(3, rusqlite::types::Type::Text, error.into())
    };
    let mut event: Event = serde_json::from_str(&head).map_err(broken)?;
    event.request_body = row.get::<_, Option<Vec<u8>>>(4)?.map(Bytes::from);
    event.response_body = row.get::<_, Option<Vec<u8>>>(5)?.map(Bytes::from);
    Ok(Row {
        id: row.get(0)?,
        attempts: row.get(1)?,
        event,
    })
}

/// Makes room among those that were given up; how many went.
pub(super) fn drop_oldest_dead(transaction: &Transaction<'_>, bytes_max: usize) -> rusqlite::Result<usize> {
    let mut dropped = 0;
    while held(transaction)?.dead_bytes > bytes_max as u64 {
        let mut drop_one = transaction.prepare_cached(
            "DELETE FROM events WHERE id = (SELECT id FROM events WHERE dead_ms IS NOT NULL ORDER BY dead_ms, id LIMIT 1)",
        )?;
        let gone = drop_one.execute([])?;
        if gone == 0 {
            break;
        }
        dropped += gone;
    }
    Ok(dropped)
}

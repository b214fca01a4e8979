//! What an operator sees of the queue and does with it: list, show, requeue, drop. Works on the state file beside a node that
//! runs, which sees within seconds what was changed.

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, Row, params_from_iter};
use serde::Serialize;
use serde_json::Value;

use super::{narrow, now_ms};

/// Which events are meant.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Those with these numbers; of any number where it is empty.
    pub ids: Vec<i64>,
    /// Those of this observer, `ENDPOINT/PLUGIN`.
    pub observer: Option<String>,
    /// Those that were given up, or those that were not.
    pub state: Option<State>,
}

/// Whether an event is still to be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is.
    Waiting,
    /// It was given up, and stays until an operator does something about it.
    Dead,
}

/// An event as it lies in the queue.
#[derive(Debug, Clone, Serialize)]
pub struct Letter {
    /// Its number in the queue.
    pub id: i64,
    /// Whether it is still to be given.
    pub state: State,
    /// Whom it is for.
    pub observer: String,
    /// When its request ended, in milliseconds since 1970.
    pub made_ms: i64,
    /// When it may be given next.
    pub due_ms: i64,
    /// How often it was given and not taken.
    pub attempts: u32,
    /// Why it was not taken the last time.
    pub reason: Option<String>,
    /// What it counts for the limits.
    pub bytes: i64,
    /// All of the event but the bodies; its text as it lies there, where that is not JSON.
    pub event: Value,
    /// The bodies, where they are asked for and it has them; what is not UTF-8 is shown with replacements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_body: Option<String>,
    /// As `request_body`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_body: Option<String>,
}

impl Filter {
    /// The condition, with what stands for its question marks.
    fn condition(&self) -> (String, Vec<Sql>) {
        let (mut parts, mut values) = (vec!["1".to_owned()], Vec::new());
        if !self.ids.is_empty() {
            let marks = vec!["?"; self.ids.len()].join(", ");
            parts.push(format!("id IN ({marks})"));
            values.extend(self.ids.iter().map(|id| Sql::Integer(*id)));
        }
        if let Some(observer) = &self.observer {
            parts.push("observer = ?".to_owned());
            values.push(Sql::Text(observer.clone()));
        }
        match self.state {
            Some(State::Dead) => parts.push("dead_ms IS NOT NULL".to_owned()),
            Some(State::Waiting) => parts.push("dead_ms IS NULL".to_owned()),
            None => {}
        }
        (parts.join(" AND "), values)
    }
}

/// The events that are meant, oldest first, without their bodies.
///
/// # Errors
///
/// Where the state file cannot be read.
pub fn list(connection: &Connection, filter: &Filter, count_max: usize) -> rusqlite::Result<Vec<Letter>> {
    select(connection, filter, count_max, "NULL, NULL")
}

/// One event with its bodies.
///
/// # Errors
///
/// Where the state file cannot be read.
pub fn show(connection: &Connection, id: i64) -> rusqlite::Result<Option<Letter>> {
    let filter = Filter {
        ids: vec![id],
        ..Filter::default()
    };
    Ok(select(connection, &filter, 1, "request_body, response_body")?.pop())
}

/// Has events given again at once, as if they never had been. How many there were.
///
/// # Errors
///
/// Where the state file cannot be written.
pub fn requeue(connection: &Connection, filter: &Filter) -> rusqlite::Result<usize> {
    let (condition, mut values) = filter.condition();
    values.insert(0, Sql::Integer(now_ms()));
    let update = format!("UPDATE events SET attempts = 0, dead_ms = NULL, due_ms = ? WHERE {condition}");
    connection.execute(&update, params_from_iter(values))
}

/// Forgets events. How many there were.
///
/// # Errors
///
/// Where the state file cannot be written.
pub fn discard(connection: &Connection, filter: &Filter) -> rusqlite::Result<usize> {
    let (condition, values) = filter.condition();
    connection.execute(
        &format!("DELETE FROM events WHERE {condition}"),
        params_from_iter(values),
    )
}

fn select(
    connection: &Connection,
    filter: &Filter,
    count_max: usize,
    bodies: &str,
) -> rusqlite::Result<Vec<Letter>> {
    let (condition, mut values) = filter.condition();
    values.push(Sql::Integer(narrow(count_max)));
    let select = format!(
        "SELECT id, dead_ms, observer, made_ms, due_ms, attempts, reason, bytes, head, {bodies} FROM events \
         WHERE {condition} ORDER BY id LIMIT ?"
    );
    let mut statement = connection.prepare(&select)?;
    statement.query_map(params_from_iter(values), letter)?.collect()
}

fn letter(row: &Row<'_>) -> rusqlite::Result<Letter> {
    let head = String::from_utf8_lossy(row.get_ref(8)?.as_bytes()?).into_owned();
    let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let is_dead = row.get::<_, Option<i64>>(1)?.is_some();
    Ok(Letter {
        id: row.get(0)?,
        state: if is_dead { State::Dead } else { State::Waiting },
        observer: row.get(2)?,
        made_ms: row.get(3)?,
        due_ms: row.get(4)?,
        attempts: u32::try_from(row.get::<_, i64>(5)?).unwrap_or(u32::MAX),
        reason: row.get(6)?,
        bytes: row.get(7)?,
        event: serde_json::from_str(&head).unwrap_or(Value::String(head)),
        request_body: text(row.get(9)?),
        response_body: text(row.get(10)?),
    })
}

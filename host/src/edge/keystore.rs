//! The keys in the node's state file, which commands write and a running node reads again when they did.

use std::time::Duration;

use rusqlite::{Connection, Row, params};

use super::key::{Key, Keys, Moment};
use crate::shutdown::Shutdown;
use crate::state::{Database, StateError};

/// How often a node looks whether keys were made or revoked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Keeps a new key.
///
/// # Errors
///
/// Where the state file fails.
pub fn insert(database: &Database, key: Key) -> Result<(), StateError> {
    database.run_blocking(move |connection| {
        let (scopes, rate) = (words(&key.scopes), key.rate.as_ref().map(json));
        connection.execute(
            "INSERT INTO keys (id, name, hash, scopes, made_ms, expires_ms, revoked_ms, rate)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL, ?7)",
            params![
                key.id,
                key.name,
                key.hash,
                scopes,
                key.made.0,
                key.expires.map(|at| at.0),
                rate
            ],
        )?;
        Ok(())
    })
}

/// Takes a key back; false where there is none of this id that was not.
///
/// # Errors
///
/// Where the state file fails.
pub fn revoke(database: &Database, id: &str) -> Result<bool, StateError> {
    let id = id.to_owned();
    let changed = database.run_blocking(move |connection| {
        connection.execute(
            "UPDATE keys SET revoked_ms = ?2 WHERE id = ?1 AND revoked_ms IS NULL",
            params![id, Moment::now().0],
        )
    })?;
    Ok(changed == 1)
}

/// All keys, the oldest first.
///
/// # Errors
///
/// Where the state file fails.
pub fn list(database: &Database) -> Result<Vec<Key>, StateError> {
    database.run_blocking(all)
}

/// Reads keys again whenever another process wrote to the state file, until the node ends.
pub async fn follow(keys: Keys, database: Database, shutdown: Shutdown) {
    let mut seen = None;
    loop {
        tokio::select! {
            () = shutdown.draining() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let looked = database.run(move |connection| {
            let version = version(connection)?;
            let keys = (seen != Some(version)).then(|| all(connection)).transpose()?;
            Ok((version, keys))
        });
        match looked.await {
            Ok((version, found)) => {
                seen = Some(version);
                if let Some(found) = found {
                    keys.replace(found);
                }
            }
            Err(error) => tracing::error!(%error, "the keys cannot be read again; those known before hold"),
        }
    }
}

/// A number that changes when another process writes.
fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "data_version", |row| row.get(0))
}

/// All keys, the oldest first.
///
/// # Errors
///
/// Where the state file fails.
pub fn all(connection: &mut Connection) -> rusqlite::Result<Vec<Key>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, name, hash, scopes, made_ms, expires_ms, revoked_ms, rate FROM keys ORDER BY made_ms, id",
    )?;
    statement.query_map([], read)?.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Key> {
    let (scopes, rate): (String, Option<String>) = (row.get(3)?, row.get(7)?);
    let id: String = row.get(0)?;
    // One that cannot be read opens nothing, and harms no other.
    let rate = rate.map(|text| serde_json::from_str(&text)).transpose();
    let broken = rate.as_ref().err().map(|error| {
        tracing::error!(id, %error, "the limits of a key cannot be read; it is taken for revoked");
        Moment(0)
    });
    Ok(Key {
        id,
        name: row.get(1)?,
        hash: row.get(2)?,
        scopes: scopes.split_whitespace().map(str::to_owned).collect(),
        made: Moment(row.get(4)?),
        expires: row.get::<_, Option<i64>>(5)?.map(Moment),
        revoked: row.get::<_, Option<i64>>(6)?.map(Moment).or(broken),
        rate: rate.unwrap_or_default(),
    })
}

/// Scopes have no white space in them.
fn words(scopes: &[String]) -> String {
    scopes.join(" ")
}

fn json(rate: &crate::config::Rate) -> String {
    // It has string keys and no failing part.
    serde_json::to_string(rate).unwrap_or_default()
}

//! The schema of the state file, as steps that are never changed once they were released: a file has taken the first
//! `user_version` of them.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::StateError;

/// The steps, oldest first. A new one goes to the end.
const STEPS: [&str; 4] = [
    include_str!("0001-events.sql"),
    include_str!("0002-keys.sql"),
    include_str!("0003-kv.sql"),
    include_str!("0004-kv-expiry.sql"),
];

/// Takes the steps that a file has not taken yet, all or none of them.
pub(super) fn run(connection: &mut Connection, path: &Path) -> Result<(), StateError> {
    let refused = |source| StateError::Open {
        path: path.to_owned(),
        source,
    };
    let known = STEPS.len();
    // From here on no other process takes steps.
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(refused)?;
    let version: i64 = transaction
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(refused)?;
    let taken = usize::try_from(version).ok().filter(|taken| *taken <= known);
    let Some(taken) = taken else {
        return Err(StateError::Newer {
            path: path.to_owned(),
            found: version,
            known: i64::try_from(known).unwrap_or(i64::MAX),
        });
    };
    for step in &STEPS[taken..] {
        transaction.execute_batch(step).map_err(refused)?;
    }
    transaction
        .pragma_update(None, "user_version", i64::try_from(known).unwrap_or(i64::MAX))
        .and_then(|()| transaction.commit())
        .map_err(refused)
}

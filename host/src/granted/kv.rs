//! Keys and values of plugins, in the state file: a store a name, which all plugins share that are granted it.
//!
//! A store counts what it takes (triggers in `state/0003-kv.sql`), so that a full one is known without looking through it. What
//! is over its time is not there any more, and is removed as others are written.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use selvedge_plugin::kv::{Deed, Done};
use selvedge_plugin::{StoreAnswer, StoreFailure, Stores};

use crate::state::Database;

/// Rows that are removed with each that is written, at most, where their time is over.
const SWEPT_MAX: usize = 16;

/// Rows that are removed at once from a store that is full, until there is room or nothing is over its time.
const SWEPT_MAX_FULL: usize = 1024;

/// The stores of the node.
#[derive(Clone)]
pub struct Kept(Database);

impl Kept {
    /// Those in a state file.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self(database)
    }

    /// What a deed comes to at a time. A store is full only of what is not over its time: else it is swept, pass by pass, between which
    /// others' work is done.
    async fn done(self, place: Place, deed: Deed, now: i64) -> Result<Done, StoreFailure> {
        loop {
            let (here, what) = (place.clone(), deed.clone());
            let done = self
                .run(move |connection| here.act(connection, what, now))
                .await?;
            if done != Err(StoreFailure::Quota) {
                return done;
            }
            let here = place.clone();
            let swept = self.run(move |connection| here.sweep(connection, now, SWEPT_MAX_FULL));
            if swept.await? == 0 {
                return done;
            }
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreFailure> {
        let done = self.0.run(work).await;
        done.map_err(|error| StoreFailure::Unavailable(error.to_string()))
    }
}

impl Stores for Kept {
    fn act(&self, store: &str, key: String, deed: Deed, bytes_max: u64) -> StoreAnswer {
        let place = Place {
            store: store.to_owned(),
            key,
            bytes_max,
        };
        Box::pin(self.clone().done(place, deed, now_ms()))
    }
}

/// A key of a store.
#[derive(Clone)]
struct Place {
    store: String,
    key: String,
    bytes_max: u64,
}

impl Place {
    /// What a deed comes to; where the store refuses it, nothing is changed.
    fn act(
        &self,
        connection: &mut Connection,
        deed: Deed,
        now: i64,
    ) -> rusqlite::Result<Result<Done, StoreFailure>> {
        match deed {
            Deed::Get => Ok(Ok(Done::Value(self.value(connection, now)?.map(Bytes::from)))),
            Deed::Delete => {
                let mut delete = connection.prepare_cached("DELETE FROM kv WHERE store = ? AND key = ?")?;
                delete.execute(params![self.store, self.key])?;
                Ok(Ok(Done::Nothing))
            }
            Deed::Set(value, ttl) => {
                self.change(connection, now, ttl, |_| Ok((value.to_vec(), Done::Nothing)))
            }
            Deed::Increment(delta, ttl) => self.change(connection, now, ttl, |before| {
                let number = match before {
                    None => 0,
                    Some(bytes) => std::str::from_utf8(&bytes)
                        .ok()
                        .and_then(|text| text.parse::<i64>().ok())
                        .ok_or_else(|| StoreFailure::Unavailable("the value is no number".to_owned()))?,
                };
                let number = number.saturating_add(delta);
                Ok((number.to_string().into_bytes(), Done::Number(number)))
            }),
        }
    }

    fn value(&self, connection: &Connection, now: i64) -> rusqlite::Result<Option<Vec<u8>>> {
        let mut find = connection.prepare_cached(
            "SELECT value FROM kv WHERE store = ? AND key = ? AND (expires IS NULL OR expires > ?)",
        )?;
        find.query_row(params![self.store, self.key, now], |row| row.get(0))
            .optional()
    }

    /// Puts another value in a key's place, made of the one before, in one step. Without a time it is kept for good. With it goes a
    /// little of what is over its time, whether or not the value is taken.
    fn change(
        &self,
        connection: &mut Connection,
        now: i64,
        ttl_ms: Option<u64>,
        make: impl FnOnce(Option<Vec<u8>>) -> Result<(Vec<u8>, Done), StoreFailure>,
    ) -> rusqlite::Result<Result<Done, StoreFailure>> {
        let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        self.sweep(&transaction, now, SWEPT_MAX)?;
        sweep_any(&transaction, now)?;
        let attempt = transaction.savepoint()?;
        let (value, done) = match make(self.value(&attempt, now)?) {
            Ok(made) => made,
            Err(failure) => return Ok(Err(failure)),
        };
        let expires = ttl_ms.map(|ttl| now.saturating_add(i64::try_from(ttl).unwrap_or(i64::MAX)));
        attempt
            .prepare_cached(
                "INSERT INTO kv (store, key, value, expires) VALUES (?, ?, ?, ?)
                 ON CONFLICT (store, key) DO UPDATE SET value = excluded.value, expires = excluded.expires",
            )?
            .execute(params![self.store, self.key, value, expires])?;
        let taken: i64 = attempt
            .prepare_cached("SELECT bytes FROM kv_store WHERE store = ?")?
            .query_row([&self.store], |row| row.get(0))?;
        let has_room = u64::try_from(taken).unwrap_or_default() <= self.bytes_max;
        // Dropped, the attempt leaves all as it was.
        match has_room {
            true => attempt.commit()?,
            false => drop(attempt),
        }
        transaction.commit()?;
        Ok(if has_room {
            Ok(done)
        } else {
            Err(StoreFailure::Quota)
        })
    }

    /// Removes what is over its time in this store, so many rows at most. Gives how many there were.
    fn sweep(&self, connection: &Connection, now: i64, rows_max: usize) -> rusqlite::Result<usize> {
        let mut delete = connection.prepare_cached(
            "DELETE FROM kv WHERE (store, key) IN
             (SELECT store, key FROM kv WHERE store = ? AND expires <= ? LIMIT ?)",
        )?;
        delete.execute(params![self.store, now, rows_max as i64])
    }
}

/// Removes a few rows that are over their time from any store: some are never written to again.
fn sweep_any(connection: &Connection, now: i64) -> rusqlite::Result<()> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM kv WHERE (store, key) IN (SELECT store, key FROM kv WHERE expires <= ? LIMIT ?)",
    )?;
    delete.execute(params![now, SWEPT_MAX as i64])?;
    Ok(())
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use selvedge_plugin::kv::{Deed, Done};
    use selvedge_plugin::{StoreFailure, Stores};

    use super::{Kept, Place};
    use crate::state::Database;

    fn kept() -> (tempfile::TempDir, Kept) {
        let dir = tempfile::tempdir().expect("a folder");
        let database = Database::open(dir.path()).expect("opened");
        (dir, Kept::new(database))
    }

    async fn act(kept: &Kept, key: &str, deed: Deed) -> Result<Done, StoreFailure> {
        kept.act("s", key.to_owned(), deed, 1000).await
    }

    fn set(value: &'static str) -> Deed {
        Deed::Set(Bytes::from_static(value.as_bytes()), None)
    }

    #[tokio::test]
    async fn what_was_set_is_found_until_it_is_deleted_and_in_its_own_store_alone() {
        let (_dir, kept) = kept();
        assert_eq!(act(&kept, "a", Deed::Get).await, Ok(Done::Value(None)));
        act(&kept, "a", set("1")).await.expect("kept");
        act(&kept, "a", set("2")).await.expect("kept");
        assert_eq!(
            act(&kept, "a", Deed::Get).await,
            Ok(Done::Value(Some("2".into())))
        );
        let other = kept.act("t", "a".to_owned(), Deed::Get, 1000).await;
        assert_eq!(other, Ok(Done::Value(None)));
        act(&kept, "a", Deed::Delete).await.expect("deleted");
        assert_eq!(act(&kept, "a", Deed::Get).await, Ok(Done::Value(None)));
    }

    #[tokio::test]
    async fn numbers_are_added_to_in_one_step_and_texts_are_none() {
        let (_dir, kept) = kept();
        let adds = (0..50).map(|_| act(&kept, "n", Deed::Increment(2, None)));
        let mut numbers: Vec<_> = futures_util::future::join_all(adds).await;
        assert_eq!(numbers.pop(), Some(Ok(Done::Number(100))));
        assert_eq!(
            act(&kept, "n", Deed::Increment(i64::MIN, None)).await,
            Ok(Done::Number(i64::MIN + 100))
        );
        act(&kept, "t", set("text")).await.expect("kept");
        let refused = act(&kept, "t", Deed::Increment(1, None)).await;
        assert!(
            matches!(refused, Err(StoreFailure::Unavailable(_))),
            "{refused:?}"
        );
        assert_eq!(
            act(&kept, "t", Deed::Get).await,
            Ok(Done::Value(Some("text".into())))
        );
    }

    #[tokio::test]
    async fn a_full_store_refuses_what_is_more_and_takes_again_what_is_less() {
        let (_dir, kept) = kept();
        let long = |len: usize| Deed::Set(vec![b'x'; len].into(), None);
        act(&kept, "a", long(800)).await.expect("kept");
        assert_eq!(act(&kept, "b", long(200)).await, Err(StoreFailure::Quota));
        assert_eq!(act(&kept, "b", Deed::Get).await, Ok(Done::Value(None)));
        act(&kept, "a", long(500)).await.expect("kept, in place of more");
        act(&kept, "b", long(200)).await.expect("there is room now");
        let other = kept.act("t", "a".to_owned(), long(800), 1000).await;
        other.expect("another store has room of its own");
    }

    /// Does a deed at a time, in a store that may have so many bytes.
    async fn at(
        now: i64,
        (kept, store, bytes_max): (&Kept, &str, u64),
        key: &str,
        deed: Deed,
    ) -> Result<Done, StoreFailure> {
        let place = Place {
            store: store.to_owned(),
            key: key.to_owned(),
            bytes_max,
        };
        kept.clone().done(place, deed, now).await
    }

    #[tokio::test]
    async fn a_store_full_of_what_is_over_its_time_has_room_whatever_others_left() {
        let (_dir, kept) = kept();
        let soon_over = || Deed::Set(vec![b'x'; 100].into(), Some(10));
        for (store, rows) in [("t", 40), ("s", 2000)] {
            for row in 0..rows {
                let place = (&kept, store, 1 << 20);
                at(0, place, &row.to_string(), soon_over()).await.expect("kept");
            }
        }
        let whole = || Deed::Set(vec![b'x'; 900].into(), None);
        let full = at(9, (&kept, "s", 1000), "a", whole()).await;
        assert_eq!(full, Err(StoreFailure::Quota), "nothing is over its time yet");
        let taken = at(10, (&kept, "s", 1000), "a", whole()).await;
        assert_eq!(taken, Ok(Done::Nothing));
        let there = at(10, (&kept, "s", 1000), "a", Deed::Get).await;
        assert_eq!(there, Ok(Done::Value(Some(vec![b'x'; 900].into()))));
    }

    #[tokio::test]
    async fn what_has_a_time_is_there_until_it_is_over() {
        let (_dir, kept) = kept();
        let place = (&kept, "s", 1000);
        let number = at(0, place, "n", Deed::Increment(1, Some(60_000))).await;
        assert_eq!(number, Ok(Done::Number(1)));
        let text = at(0, place, "a", Deed::Set("1".into(), Some(300))).await;
        assert_eq!(text, Ok(Done::Nothing));
        let one = || Ok(Done::Value(Some("1".into())));
        assert_eq!(at(299, place, "a", Deed::Get).await, one());
        assert_eq!(at(300, place, "a", Deed::Get).await, Ok(Done::Value(None)));
        assert_eq!(at(59_999, place, "n", Deed::Get).await, one());
        assert_eq!(at(60_000, place, "n", Deed::Get).await, Ok(Done::Value(None)));
    }

    #[tokio::test]
    async fn what_is_over_its_time_is_not_there_and_takes_no_room() {
        let (_dir, kept) = kept();
        for key in ["a", "b", "c"] {
            let gone = Deed::Set(vec![b'x'; 200].into(), Some(0));
            act(&kept, key, gone).await.expect("kept");
            assert_eq!(act(&kept, key, Deed::Get).await, Ok(Done::Value(None)), "{key}");
        }
        act(&kept, "d", Deed::Set(vec![b'x'; 800].into(), None))
            .await
            .expect("they are swept");
        assert_eq!(
            act(&kept, "n", Deed::Increment(1, Some(60_000))).await,
            Ok(Done::Number(1))
        );
    }
}

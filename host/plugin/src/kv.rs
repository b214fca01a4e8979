//! Stores of keys and values that plugins reach by `selvedge:plugin/kv`: those that the operator granted, each bounded.
//!
//! Decides whether a store may be opened, and how long keys and values may be; [`Stores`] keeps them, since this crate has no
//! file for it.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

/// Bytes of a key at most: it is a name, and stands in an index.
pub const KEY_LEN_MAX: usize = 512;

/// Bytes of a value at most: what is longer is a file.
pub const VALUE_LEN_MAX: usize = 1 << 20;

/// A store that is open: its name, and who keeps it.
pub struct Store {
    pub(crate) name: Arc<str>,
    pub(crate) stores: Arc<dyn Stores>,
    /// Bytes that it may take.
    pub(crate) bytes_max: u64,
}

/// One thing to be done in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Look up a key's value.
    Get,
    /// Keep a value, for so many milliseconds where that is said.
    Set(Bytes, Option<u64>),
    /// Forget a key.
    Delete,
    /// Add to a number, in one step; a key that is not there is 0.
    Increment(i64, Option<u64>),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// It is done, and there is nothing to tell.
    Nothing,
    /// A key's value, where it has one.
    Value(Option<Bytes>),
    /// A number, as it is now.
    Number(i64),
}

/// What doing it came to.
pub type StoreAnswer = Pin<Box<dyn Future<Output = Result<Done, StoreFailure>> + Send>>;

/// Keeps the stores of the node.
pub trait Stores: Send + Sync {
    /// Does one thing with a key of the store of a name, which takes at most `bytes_max`.
    fn act(&self, store: &str, key: String, deed: Deed, bytes_max: u64) -> StoreAnswer;
}

/// Why nothing came of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreFailure {
    /// A key or a value is longer than this.
    #[error("at most {0} bytes")]
    TooLarge(u64),
    /// The store is full.
    #[error("the store is full (`limits.kv`)")]
    Quota,
    /// It cannot be done now, or never.
    #[error("{0}")]
    Unavailable(String),
}

/// Whether a key and a value are within bounds.
pub(crate) fn check(key: &str, deed: &Deed) -> Result<(), StoreFailure> {
    if key.is_empty() || key.len() > KEY_LEN_MAX {
        return Err(StoreFailure::TooLarge(KEY_LEN_MAX as u64));
    }
    match deed {
        Deed::Set(value, _) if value.len() > VALUE_LEN_MAX => {
            Err(StoreFailure::TooLarge(VALUE_LEN_MAX as u64))
        }
        _ => Ok(()),
    }
}

//! Background work: events of requests that are over, kept until observers have taken them.
//!
//! `note` gathers what an event tells while its request runs, `queue` keeps events in the state file (`rows` has
//! the statements), `deliver` gives them to
//! the observers, `letters` is what an operator sees of it. An event is kept before the last byte of its answer is sent, and
//! goes away when the observer has taken it: whatever ends the node in between, it is given again. So it may be given twice;
//! its id is the same then.

pub mod note;

pub mod queue;

pub mod rows;

pub mod deliver;

pub mod letters;

pub use deliver::Deliveries;
pub use note::Noted;
pub use queue::Queue;

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, as the state file has them.
fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// A number of bytes or rows, as SQLite takes them.
fn narrow(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

//! What an endpoint came to, in numbers that the node reads itself: what is counted by `metrics` can only be written.
//!
//! It outlives a generation where the endpoint does. Read next `http/dialect/oip/statistics.rs`, which tells it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use selvedge_model::Turn;

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its client has the whole of an answer of the 200s.
    Answered,
    /// It was refused, it failed, or its client left.
    Failed,
}

/// How often something was done, and how long it took together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Total {
    /// How often.
    pub count: u64,
    /// Nanoseconds of all of them.
    pub ns: u64,
}

/// A total that grows.
#[derive(Debug, Default)]
struct Sum {
    count: AtomicU64,
    ns: AtomicU64,
}

impl Sum {
    fn add(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.ns.fetch_add(ns, Ordering::Relaxed);
    }

    fn total(&self) -> Total {
        Total {
            count: self.count.load(Ordering::Relaxed),
            ns: self.ns.load(Ordering::Relaxed),
        }
    }
}

/// The counts of an endpoint.
#[derive(Debug, Default)]
pub struct Tally {
    answered: Sum,
    failed: Sum,
    tokenized: Sum,
    waited: Sum,
    ran: Sum,
    inferences: AtomicU64,
    inputs: AtomicU64,
    last_ms: AtomicU64,
}

/// What a [`Tally`] holds at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests that were answered, from their head to the last byte.
    pub answered: Total,
    /// Requests that were not.
    pub failed: Total,
    /// Making tokens of texts.
    pub tokenized: Total,
    /// Waiting for a batch, or a row.
    pub waited: Total,
    /// The model's work.
    pub ran: Total,
    /// Times that a backend came to the end of what it was given: once for all inputs of a request, once for each generated text.
    pub inferences: u64,
    /// Inputs of these, and generated texts.
    pub inputs: u64,
    /// When a request was answered last, in milliseconds since 1970; 0 where none was.
    pub last_ms: u64,
}

impl Tally {
    /// A request is over.
    pub fn end(&self, outcome: Outcome, took: Duration) {
        match outcome {
            Outcome::Answered => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
                self.last_ms.store(now, Ordering::Relaxed);
                self.answered.add(took);
            }
            Outcome::Failed => self.failed.add(took),
        }
    }

    /// Tokens were made of a request's texts.
    pub fn tokenized(&self, took: Duration) {
        self.tokenized.add(took);
    }

    /// A backend came to the end of so many inputs; where it is a model of this node, with its times.
    pub fn inferred(&self, inputs: usize, turn: Option<Turn>) {
        self.inferences.fetch_add(1, Ordering::Relaxed);
        self.inputs.fetch_add(inputs as u64, Ordering::Relaxed);
        if let Some(turn) = turn {
            self.waited.add(turn.waited);
            self.ran.add(turn.ran);
        }
    }

    /// All of it. Requests that end meanwhile may be in one number and not yet in another.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            answered: self.answered.total(),
            failed: self.failed.total(),
            tokenized: self.tokenized.total(),
            waited: self.waited.total(),
            ran: self.ran.total(),
            inferences: self.inferences.load(Ordering::Relaxed),
            inputs: self.inputs.load(Ordering::Relaxed),
            last_ms: self.last_ms.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use selvedge_model::Turn;

    use super::{Outcome, Tally, Total};

    #[test]
    fn adds_up_what_was_done_by_what_came_of_it() {
        let tally = Tally::default();
        let turn = Turn {
            waited: Duration::from_nanos(3),
            ran: Duration::from_nanos(40),
        };
        tally.inferred(2, Some(turn));
        tally.inferred(1, None);
        tally.end(Outcome::Failed, Duration::from_nanos(7));
        assert_eq!(tally.counts().last_ms, 0, "none was answered");
        tally.end(Outcome::Answered, Duration::from_nanos(50));
        let counts = tally.counts();
        let once = |ns| Total { count: 1, ns };
        assert_eq!((counts.answered, counts.failed), (once(50), once(7)));
        assert_eq!((counts.waited, counts.ran), (once(3), once(40)));
        assert_eq!((counts.inferences, counts.inputs), (2, 3));
        assert!(counts.last_ms > 1_600_000_000_000);
    }
}

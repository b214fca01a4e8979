//! Batching: what waits is grouped by length into batches that a session runs.
//!
//! `plan` decides what goes together and is pure; `queue` holds what waits, admits and forgets; `worker` is the thread of
//! one session. A batch is made of what waits when a session is free; nothing waits for company unless `delay_max` says so.

pub mod plan;

pub(crate) mod queue;

pub(crate) mod rows;

pub(crate) mod worker;

use std::time::Duration;

/// How a model's inputs are batched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchOptions {
    /// Inputs of a batch at most. Default 32.
    pub items_max: usize,
    /// Tokens (or bytes) of a batch at most, padding counted. Default 16,384.
    pub tokens_max: usize,
    /// How long an input waits for company while a session is free. Default zero: it goes at once.
    pub delay_max: Duration,
    /// A request is refused while this many inputs wait. Default 512. A request of many inputs is admitted whole.
    pub queue_items_max: usize,
    /// A request is refused while this many tokens (or bytes) wait. Default 262,144.
    pub queue_tokens_max: usize,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            items_max: 32,
            tokens_max: 16_384,
            delay_max: Duration::ZERO,
            queue_items_max: 512,
            queue_tokens_max: 262_144,
        }
    }
}

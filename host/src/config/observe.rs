//! `[observe]`: the queue of events for observers, and how they are given them.

use std::time::Duration;

use serde::Deserialize;

use super::unit::{Size, Time};

/// The queue of events for observers, and how they are given them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Observe {
    /// What events that wait may take, all observers together. Default 256 MiB.
    pub bytes_max: Size,
    /// What happens where they take as much. Default `drop`.
    pub full: Full,
    /// The longest body that an event holds, where an observer sees bodies; a longer one is left out, and that is said in the
    /// event. Default 256 KiB.
    pub body_bytes_max: Size,
    /// Events that an observer is given at once. Default 64.
    pub batch_items_max: usize,
    /// Bytes of these together; one event alone may be more. Default 1 MiB.
    pub batch_bytes_max: Size,
    /// Observers at work at once. Default 4, at most 256.
    pub workers: usize,
    /// How often an event is given before it is given up. Default 30.
    pub attempts_max: u32,
    /// How long after its first failure an event is given again; from then on twice as long each time, less up to a half
    /// by chance. Default 1 s.
    pub backoff_min: Time,
    /// The longest that this becomes. Default 15 min: an event is tried for some four hours.
    pub backoff_max: Time,
    /// What events that were given up may take; beyond, the oldest are dropped. Default 64 MiB.
    pub dead_bytes_max: Size,
}

/// What happens where the queue is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Full {
    /// Requests are answered; their events are dropped, counted and logged.
    #[default]
    Drop,
    /// Requests to endpoints with observers are refused with 503, before they cost anything: none goes unobserved.
    Refuse,
}

impl Default for Observe {
    fn default() -> Self {
        Self {
            bytes_max: Size(256 << 20),
            full: Full::Drop,
            body_bytes_max: Size(256 << 10),
            batch_items_max: 64,
            batch_bytes_max: Size(1 << 20),
            workers: 4,
            attempts_max: 30,
            backoff_min: Time(Duration::from_secs(1)),
            backoff_max: Time(Duration::from_secs(900)),
            dead_bytes_max: Size(64 << 20),
        }
    }
}

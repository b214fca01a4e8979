//! What calls of a plugin took of its limits, for those who write it. A node that serves does not count it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The most that one call took, of each limit.
#[derive(Debug, Default)]
pub struct Spent {
    memory: AtomicUsize,
    ticks: AtomicU64,
    log: AtomicUsize,
    table_elements: AtomicUsize,
    calls: AtomicU64,
}

/// The same as numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes of all memories of an instance at its end; they never shrink.
    pub memory: usize,
    /// Milliseconds of CPU time, in which the plugin was seen to run.
    pub time_ms: u64,
    /// Bytes of lines that were logged, 32 a line counted besides.
    pub log: usize,
    /// Elements of all tables.
    pub table_elements: usize,
    /// Instances that were started.
    pub calls: u64,
}

impl Spent {
    pub(crate) fn add(&self, tally: Tally) {
        self.memory.fetch_max(tally.memory, Ordering::Relaxed);
        self.ticks.fetch_max(tally.time_ms, Ordering::Relaxed);
        self.log.fetch_max(tally.log, Ordering::Relaxed);
        self.table_elements
            .fetch_max(tally.table_elements, Ordering::Relaxed);
        self.calls.fetch_add(tally.calls, Ordering::Relaxed);
    }

    /// What was counted since the last time; it begins anew.
    pub fn take(&self) -> Tally {
        Tally {
            memory: self.memory.swap(0, Ordering::Relaxed),
            time_ms: self.ticks.swap(0, Ordering::Relaxed),
            log: self.log.swap(0, Ordering::Relaxed),
            table_elements: self.table_elements.swap(0, Ordering::Relaxed),
            calls: self.calls.swap(0, Ordering::Relaxed),
        }
    }
}

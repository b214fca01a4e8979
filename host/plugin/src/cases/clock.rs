//! A plugin's clocks in a case: they go ahead where a case says that time passes, and nobody waits for it.
//!
//! The clock on the wall begins at the same second for each case and stands still between, so that what a plugin writes of it is
//! the same each time. The other clock goes on as time does, since plugins measure with it how long they take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

/// 14 November 2023, 22:13:20 UTC: when events of cases happen.
const BEGIN: Duration = Duration::from_secs(1_700_000_000);

/// The clocks of one case; clones are the same.
#[derive(Debug, Clone)]
pub struct Clock {
    begun: Instant,
    /// Nanoseconds that passed because the case says so.
    passed: Arc<AtomicU64>,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            passed: Arc::default(),
        }
    }
}

impl Clock {
    /// The time since 1970 that the clock on the wall shows.
    #[must_use]
    pub fn wall(&self) -> Duration {
        BEGIN.saturating_add(self.passed())
    }

    /// Lets time pass, for both clocks.
    pub fn pass(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.passed.fetch_add(nanos, Ordering::Relaxed);
    }

    fn passed(&self) -> Duration {
        Duration::from_nanos(self.passed.load(Ordering::Relaxed))
    }
}

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        self.wall()
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        let now = self.begun.elapsed().saturating_add(self.passed());
        u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
    }
}

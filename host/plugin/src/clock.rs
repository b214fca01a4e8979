//! The clocks that plugins see: a millisecond at a time, as long as a tick of their CPU time.
//!
//! A finer clock tells how long a memory access took, and by that what others on the same core do. Nothing that a plugin does
//! for a request needs one.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

/// How fine the clocks are.
const GRAIN: Duration = Duration::from_millis(1);

/// Time of day.
pub(crate) struct CoarseWallClock;

impl HostWallClock for CoarseWallClock {
    fn resolution(&self) -> Duration {
        GRAIN
    }

    fn now(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Time since the instance began, and a grain more, so that it is never zero.
pub(crate) struct CoarseMonotonicClock(Instant);

impl CoarseMonotonicClock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl HostMonotonicClock for CoarseMonotonicClock {
    fn resolution(&self) -> u64 {
        nanos(GRAIN)
    }

    fn now(&self) -> u64 {
        let passed = self.0.elapsed().as_millis();
        nanos(GRAIN) * (1 + u64::try_from(passed).unwrap_or(u64::MAX >> 32))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

    use super::{CoarseMonotonicClock, CoarseWallClock};

    #[test]
    fn tell_whole_milliseconds() {
        let monotonic = CoarseMonotonicClock::new();
        assert_eq!(monotonic.now() % 1_000_000, 0);
        assert!(monotonic.now() > 0 && monotonic.resolution() == 1_000_000);
        let wall = CoarseWallClock.now();
        assert_eq!(wall.subsec_nanos() % 1_000_000, 0);
        assert!(wall.as_secs() > 1_700_000_000);
    }
}

//! How long a plugin takes: to be compiled, to start, to be called; how many calls a second, and how much memory an instance takes.
//!
//! Everything is measured in the sandbox that serves, on executors as a node has them. What is logged goes nowhere, and no limit is
//! lifted. `compare` sets a measurement beside an earlier one.

pub mod compare;
mod measure;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use selvedge_plugin::cases::CaseError;
use selvedge_plugin::{CallError, LoadError};
use serde::{Deserialize, Serialize};

use super::TestError;

pub use measure::measure;

/// What is measured, and for how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// The component.
    pub component: PathBuf,
    /// The folder of cases.
    pub cases: PathBuf,
    /// Part of the names of the cases that may serve; empty for all.
    pub only: String,
    /// How long each thing is measured.
    pub time: Duration,
}

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The plugin cannot be tested.
    #[error(transparent)]
    Test(#[from] TestError),
    /// A case is not as it must be.
    #[error(transparent)]
    Case(#[from] CaseError),
    /// A case's configuration is refused.
    #[error("the case `{case}`: {why}")]
    Attach {
        /// The case.
        case: String,
        /// Why.
        why: LoadError,
    },
    /// A call failed that had not failed before.
    #[error(transparent)]
    Call(#[from] CallError),
    /// There is no case with which any of its stages gives an answer.
    #[error("no case in {0} can be measured: each of them fails, or lacks what the plugin's stages need")]
    NoCase(PathBuf),
    /// The system gives no executor or no folder.
    #[error("the machine gives no room to measure in: {0}")]
    Machine(#[from] std::io::Error),
}

/// A measurement; also what a baseline's file holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// The plugin's name.
    pub plugin: String,
    /// Its component, `sha256:..`.
    pub digest: String,
    /// Bytes of the component.
    pub bytes: usize,
    /// The processor.
    pub processor: String,
    /// Threads that the machine gives.
    pub threads: usize,
    /// Compiled, configured and snapshotted, with nothing kept from before.
    pub cold: Times,
    /// The same out of the cache of compiled plugins.
    pub cached: Times,
    /// One more configuration of the plugin, whose code is in use; none in measurements of before 0.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configured: Option<Times>,
    /// A fresh instance, started and dropped without a call.
    pub start: Times,
    /// How instances start: `snapshot`, or `configure` where `configure` runs for each.
    pub startup: String,
    /// Bytes of memory that a started instance has for itself alone, measured over many that are held at once.
    pub resident_bytes: Option<u64>,
    /// Each stage that the plugin exports and has a case for, by its name.
    pub stages: BTreeMap<String, StageTimes>,
    /// Stages without a case that could be measured.
    pub without_case: Vec<String>,
}

/// What one stage takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageTimes {
    /// The case that was called.
    pub case: String,
    /// A call in a fresh instance, from its start to its end; of a stream, the whole of it.
    pub call: Times,
    /// One push on a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<Times>,
    /// Instances a second that one thread starts, calls and drops.
    pub per_second: f64,
    /// The same of all threads of the machine together.
    pub per_second_all: f64,
    /// Bytes of the instance's own memories at the end of a call.
    pub memory_bytes: usize,
}

/// How long something took, many times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// Half of them took no longer, in microseconds.
    pub median_us: f64,
    /// All but one in a hundred took no longer.
    pub p99_us: f64,
    /// How many they were.
    pub count: usize,
}

impl Times {
    /// Sums them up; of none, zeros.
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |part: usize| {
            let place = (times.len() * part).div_ceil(100).max(1) - 1;
            times.get(place).map_or(0.0, |time| time.as_nanos() as f64 / 1e3)
        };
        Self {
            median_us: at(50),
            p99_us: at(99),
            count: times.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Times;

    #[test]
    fn sums_up_by_the_nearest_rank() {
        let micros = |numbers: std::ops::RangeInclusive<u64>| numbers.map(Duration::from_micros).collect();
        let times = Times::of(micros(1..=200));
        assert_eq!((times.median_us, times.p99_us, times.count), (100.0, 198.0, 200));
        let one = Times::of(micros(7..=7));
        assert_eq!((one.median_us, one.p99_us), (7.0, 7.0));
        assert_eq!(Times::of(Vec::new()).count, 0);
    }
}

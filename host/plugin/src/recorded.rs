//! What is counted of a plugin: what it records itself, what it asks for and is not granted, and what of its log is dropped. It is
//! collected as all else of the process is, by the `metrics` crate.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use metrics::{Counter, Histogram, counter, histogram};

use crate::state::Identity;

/// The greatest value of a histogram, above or below zero.
const VALUE_MAX: f64 = 1e15;

/// What a plugin records: only names that its manifest declares are there.
pub(crate) struct Recorded(BTreeMap<String, Metric>);

/// It is there with its first value, which says whether it is a counter or a histogram.
#[derive(Default)]
struct Metric {
    counter: OnceLock<Counter>,
    histogram: OnceLock<Histogram>,
}

impl Recorded {
    pub(crate) fn new(declared: &[String]) -> Self {
        let declared = declared.iter().map(|name| (name.clone(), Metric::default()));
        Self(declared.collect())
    }
}

impl Identity {
    /// The plugin adds to a counter.
    pub(crate) fn count(&self, name: &str, value: u64) {
        let Some(metric) = self.recorded.0.get(name) else {
            return;
        };
        let (endpoint, plugin) = self.names();
        let made = || counter!("selvedge_plugin_count_total", "endpoint" => endpoint, "plugin" => plugin, "name" => name.to_owned());
        metric.counter.get_or_init(made).increment(value);
    }

    /// The plugin adds a value to a histogram. One that is no number, or greater than any measurement, is dropped: the sum would be
    /// none for good.
    pub(crate) fn record(&self, name: &str, value: f64) {
        let Some(metric) = self.recorded.0.get(name).filter(|_| value.abs() <= VALUE_MAX) else {
            return;
        };
        let (endpoint, plugin) = self.names();
        let made = || histogram!("selvedge_plugin_value", "endpoint" => endpoint, "plugin" => plugin, "name" => name.to_owned());
        metric.histogram.get_or_init(made).record(value);
    }

    /// The plugin asked an import for what it is not granted.
    pub(crate) fn count_denial(&self, import: &'static str) {
        let (endpoint, plugin) = self.names();
        counter!("selvedge_plugin_denials_total", "endpoint" => endpoint, "plugin" => plugin, "import" => import)
            .increment(1);
    }

    /// So many bytes of what the plugin would log were beyond `limits.log`.
    pub(crate) fn count_dropped(&self, bytes: usize) {
        let (endpoint, plugin) = self.names();
        counter!("selvedge_plugin_log_dropped_bytes_total", "endpoint" => endpoint, "plugin" => plugin)
            .increment(bytes as u64);
    }

    fn names(&self) -> (Arc<str>, Arc<str>) {
        (Arc::clone(&self.endpoint), Arc::clone(&self.plugin))
    }
}

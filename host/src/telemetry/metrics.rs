//! Metrics: their names, what they mean, and how they are written for Prometheus.
//!
//! Whoever counts something does it by the `metrics` crate, the model runtime too; here they are described and collected.
//! Labels are names of the configuration and words of this program, never what a client sent, so that there is an end of them.
//! See <https://prometheus.io/docs/practices/naming/>.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

/// Seconds: from a tenth of a millisecond, which a plugin takes, to the two minutes that a request may.
const SECONDS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];

/// Inputs or rows of a batch.
const ITEMS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Tokens of a batch, padding included.
const TOKENS: [f64; 8] = [16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0];

/// Parts of a whole.
const RATIO: [f64; 9] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75];

/// What plugins measure, whatever it is.
const VALUES: [f64; 15] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 5000.0, 10000.0,
];

/// How often what was observed is sorted into buckets, where nobody asks for it: it takes memory until then.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// All metrics of the process.
pub struct Metrics {
    handle: PrometheusHandle,
    process: Collector,
}

impl Metrics {
    /// Those of this process, which begin to be counted with the first call.
    ///
    /// # Errors
    ///
    /// Where buckets are empty, which those above are not; or something else collects metrics already.
    pub fn of_process() -> Result<&'static Self, String> {
        static METRICS: OnceLock<Result<Metrics, String>> = OnceLock::new();
        METRICS.get_or_init(Self::begin).as_ref().map_err(Clone::clone)
    }

    fn begin() -> Result<Self, String> {
        let handle = recorder().map_err(|error| error.to_string())?;
        describe();
        let process = Collector::default();
        process.describe();
        Ok(Self { handle, process })
    }

    /// All of them in Prometheus's text format 0.0.4, but for those of what is not there any more: `is_there` is asked of each
    /// sample's labels, by name and value. What changes by itself, such as a queue's length, is set before.
    ///
    /// A reload takes endpoints, models and plugins away, whose gauges would stand for ever as they last were. The collector forgets
    /// nothing, so they are left out here; where one of the name comes back, its counters go on.
    #[must_use]
    pub fn text(&self, is_there: impl Fn(&[(&str, &str)]) -> bool) -> String {
        self.process.collect();
        let all = self.handle.render();
        let kept = all
            .split_inclusive('\n')
            .filter(|line| is_there(&labels(line).collect::<Vec<_>>()));
        kept.collect()
    }

    /// Sorts what was observed into buckets; see [`UPKEEP_EVERY`].
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// The labels of a sample's line; none of a comment's. No value that is counted here has a quote in it.
fn labels(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let sample = (!line.starts_with('#')).then(|| line.split_once('{')?.1.split_once('}'));
    let inner = sample.flatten().and_then(|(labels, _)| labels.strip_suffix('"'));
    inner
        .into_iter()
        .flat_map(|labels| labels.split("\","))
        .filter_map(|label| label.split_once("=\""))
}

fn recorder() -> Result<PrometheusHandle, BuildError> {
    let full = |name: &str| Matcher::Full(format!("selvedge_{name}"));
    PrometheusBuilder::new()
        .set_buckets(&SECONDS)?
        .set_buckets_for_metric(full("batch_size"), &ITEMS)?
        .set_buckets_for_metric(full("decode_rows"), &ITEMS)?
        .set_buckets_for_metric(full("batch_tokens"), &TOKENS)?
        .set_buckets_for_metric(full("padding_ratio"), &RATIO)?
        .set_buckets_for_metric(full("plugin_value"), &VALUES)?
        .install_recorder()
}

/// What only grows.
const COUNTERS: [(&str, &str); 14] = [
    (
        "selvedge_requests_total",
        "Requests that are over, by endpoint, dialect and status; 499 where the client left first",
    ),
    (
        "selvedge_cancelled_total",
        "Requests that were left unfinished in a phase: the client left, or the time was over",
    ),
    (
        "selvedge_rejected_total",
        "Requests that were refused for who sent them, or for load, by reason",
    ),
    (
        "selvedge_tokens_total",
        "Tokens, by endpoint and type: prompt, cached (of these), completion",
    ),
    (
        "selvedge_plugin_failures_total",
        "Calls of a plugin that failed, by code",
    ),
    (
        "selvedge_plugin_traps_total",
        "Those of them in which it trapped or ran out of stack",
    ),
    (
        "selvedge_plugin_denials_total",
        "Times that a plugin asked an import for what it is not granted",
    ),
    (
        "selvedge_plugin_log_dropped_bytes_total",
        "Bytes that plugins would have logged beyond `limits.log`",
    ),
    (
        "selvedge_plugin_count_total",
        "What plugins counted, by the names that their manifests declare",
    ),
    (
        "selvedge_decode_late_total",
        "Times that a sequence sat out a step of a decoder, since the plugin that decides which tokens may come had not answered",
    ),
    (
        "selvedge_events_lost_total",
        "Events that could not be kept for observers, since the queue was full or could not be written",
    ),
    (
        "selvedge_events_total",
        "Events by observer and what came of giving them: taken, again, dead",
    ),
    (
        "selvedge_reloads_total",
        "Reloads of the configuration, by outcome",
    ),
    (
        "selvedge_proxy_protocol_refused_total",
        "Connections that `proxy_protocol` does not let in, by reason: invalid, late, short, stranger",
    ),
];

/// Times.
const TIMES: [(&str, &str); 5] = [
    (
        "selvedge_request_seconds",
        "From a request's head to the last byte of its answer",
    ),
    (
        "selvedge_ttft_seconds",
        "From a request's head to the first byte of a streamed answer",
    ),
    (
        "selvedge_stage_seconds",
        "Time in a stage of the pipeline, waiting included; tokenize, queue and infer lie within model, a plugin's within its step",
    ),
    (
        "selvedge_queue_seconds",
        "From a request's arrival at a model to the batch, or row, that takes it",
    ),
    ("selvedge_inference_seconds", "One run of a model on a batch"),
];

/// Sizes, and parts of a whole.
const SIZES: [(&str, &str); 5] = [
    ("selvedge_batch_size", "Inputs that ran together"),
    ("selvedge_batch_tokens", "Tokens of a batch, padding included"),
    (
        "selvedge_decode_rows",
        "Sequences that one step of a decoder wrote a token of",
    ),
    ("selvedge_padding_ratio", "Padding as a part of a batch's tokens"),
    (
        "selvedge_plugin_value",
        "What plugins measured, by the names that their manifests declare; units are theirs",
    ),
];

/// What goes up and down.
const GAUGES: [(&str, &str); 11] = [
    ("selvedge_requests_running", "Requests that an endpoint works on"),
    (
        "selvedge_queue_depth",
        "Inputs, or sequences, that wait for a model",
    ),
    (
        "selvedge_model_running",
        "Inputs, sequences or calls that a model works on",
    ),
    (
        "selvedge_model_info",
        "1 for each model; its task and device are labels",
    ),
    (
        "selvedge_model_state",
        "1 where a model is loaded, 0 where it cannot be; of an upstream, 1 says that it can be asked, not that it answers",
    ),
    (
        "selvedge_endpoint_ready",
        "1 where an endpoint serves, 0 where it is broken",
    ),
    (
        "selvedge_events",
        "Events that wait for observers, or were given up",
    ),
    ("selvedge_events_bytes", "What these take in the state file"),
    (
        "selvedge_config_generation",
        "Number of the generation that serves",
    ),
    (
        "selvedge_plugin_memory_bytes",
        "Memory of all plugins' instances together, with what the host holds for them",
    ),
    (
        "selvedge_upload_bytes",
        "Files of forms whose requests are being answered, in memory and on disk",
    ),
];

/// Says what each means; see `host/ARCHITECTURE.md` for who counts it.
fn describe() {
    for (name, help) in COUNTERS {
        describe_counter!(name, help);
    }
    for (name, help) in TIMES {
        describe_histogram!(name, Unit::Seconds, help);
    }
    for (name, help) in SIZES {
        describe_histogram!(name, help);
    }
    for (name, help) in GAUGES {
        describe_gauge!(name, help);
    }
}

#[cfg(test)]
mod tests {
    use super::{COUNTERS, GAUGES, SIZES, TIMES, labels};

    #[test]
    fn reads_the_labels_of_a_sample() {
        let read = |line| labels(line).collect::<Vec<_>>();
        assert_eq!(
            read("a_total{endpoint=\"e\",code=\"200\"} 1\n"),
            [("endpoint", "e"), ("code", "200")]
        );
        assert_eq!(
            read("a{endpoint=\"\",observer=\"e/p\"} 1\n"),
            [("endpoint", ""), ("observer", "e/p")]
        );
        assert_eq!(read("a 1\n"), []);
        assert_eq!(read("# HELP a Of {endpoint=\"e\"}\n"), []);
    }

    #[test]
    fn the_dashboard_asks_for_what_there_is_and_for_all_of_it() {
        let dashboard = include_str!("../../../configs/grafana.json");
        let told: Vec<&str> = [&COUNTERS[..], &TIMES, &SIZES, &GAUGES]
            .concat()
            .iter()
            .map(|(name, _)| *name)
            .collect();
        let is_part = |character: char| character.is_ascii_lowercase() || character == '_';
        let asked = dashboard.match_indices("selvedge_").map(|(at, _)| {
            let rest = &dashboard[at..];
            let name = &rest[..rest.find(|character| !is_part(character)).unwrap_or(rest.len())];
            let plain = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end));
            plain.unwrap_or(name)
        });
        let asked: Vec<&str> = asked.collect();
        assert!(asked.len() > 20, "{asked:?}");
        for name in &asked {
            assert!(told.contains(name), "`{name}` is not counted");
        }
        let shown_elsewhere = [
            "selvedge_batch_tokens",
            "selvedge_model_info",
            "selvedge_plugin_count_total",
            "selvedge_plugin_log_dropped_bytes_total",
            "selvedge_plugin_value",
            "selvedge_proxy_protocol_refused_total",
        ];
        for name in told.iter().filter(|name| !shown_elsewhere.contains(name)) {
            assert!(asked.contains(name), "`{name}` is not on the dashboard");
        }
    }
}

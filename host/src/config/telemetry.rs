//! `[telemetry]`: where traces go.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::secret::Secret;
use super::unit::Time;

/// Where traces go.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Who takes spans by OTLP, `"http://127.0.0.1:4317"`. Over HTTP, where it has no path, it is `/v1/traces`. Default: nobody,
    /// and none are made.
    pub otlp: Option<String>,
    /// By what that is spoken. Default `grpc`.
    pub protocol: OtlpProtocol,
    /// Sent with each export, such as `{ authorization = "${OTLP_TOKEN}" }`; secrets. Default: none.
    pub headers: BTreeMap<String, Secret>,
    /// What the node calls itself. Default `selvedge`.
    pub service_name: String,
    /// The part of the requests that are traced, of those whose callers do not say by `traceparent` whether they trace them;
    /// 0 to 1. Default 1.
    pub sample_ratio: f64,
    /// How long an export may take; what it had is then lost. Default 10 s.
    pub timeout: Time,
    /// Spans that wait for an export; beyond, they are dropped, and the log says so. Default 2,048.
    pub queue_spans_max: usize,
}

/// By what OTLP is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OtlpProtocol {
    /// gRPC; collectors listen for it at 4317.
    #[default]
    Grpc,
    /// HTTP/1.1 with protobuf; collectors listen for it at 4318.
    Http,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            otlp: None,
            protocol: OtlpProtocol::default(),
            headers: BTreeMap::new(),
            service_name: "selvedge".to_owned(),
            sample_ratio: 1.0,
            timeout: Time(Duration::from_secs(10)),
            queue_spans_max: 2048,
        }
    }
}

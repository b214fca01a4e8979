//! What a plugin says of itself: the custom section `selvedge:manifest`, JSON, readable without running anything.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Name of the component's custom section.
pub const SECTION: &str = "selvedge:manifest";

/// Bytes of a manifest at most; it is read before anything else is known of the plugin.
pub const LEN_MAX: usize = 1 << 20;

/// Puts a manifest into a component that has none, as its last section.
pub fn attach(component: &mut Vec<u8>, manifest: &str) {
    let section = wasm_encoder::CustomSection {
        name: SECTION.into(),
        data: manifest.as_bytes().into(),
    };
    wasm_encoder::ComponentSection::append_to_component(&section, component);
}

/// The manifest. A component without the section has the default one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The plugin's own name.
    #[serde(default)]
    pub name: String,
    /// The plugin's version.
    #[serde(default)]
    pub version: String,
    /// The interfaces that it was written for, `0.1`.
    #[serde(default)]
    pub api: String,
    /// One sentence.
    #[serde(default)]
    pub description: String,
    /// The compiler that made it, for the record.
    #[serde(default)]
    pub toolchain: String,
    /// What it would be given besides logging, metrics and tensors; the operator's `allow` decides.
    #[serde(default)]
    pub wants: Wants,
    /// JSON Schema of an attachment's `config`; without it any configuration is passed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<Value>,
    /// Names of the metrics that it records; others are dropped.
    #[serde(default)]
    pub metrics: Vec<String>,
    /// Whether it has something to prepare with what it is granted before it serves: it is then called with a request of the dialect
    /// `warm-up`, again while it answers that it may work later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub warm_up: bool,
    /// A request that must be answered alike by a snapshot and by a freshly configured instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_test: Option<SelfTest>,
}

/// What a plugin asks for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wants {
    /// Request headers that it reads.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Whether events are of no use to it without the bodies.
    #[serde(default)]
    pub bodies: bool,
    /// Secrets that it reads.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Models of the node that it cannot do without.
    #[serde(default)]
    pub models: Vec<String>,
    /// Stores of keys and values that it cannot do without.
    #[serde(default)]
    pub kv: Vec<String>,
}

/// The case by which a snapshot is compared with a freshly configured instance, under the attachment's own configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfTest {
    /// The request's body.
    pub body: Value,
    /// What a post-processor is given: a classifier's labels with their scores, best first.
    #[serde(default)]
    pub labels: Vec<(String, f32)>,
}

//! What a plugin says of itself: the custom section `selvedge:manifest`, JSON, readable without running anything.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::value::safe;

/// Name of the component's custom section.
pub const SECTION: &str = "selvedge:manifest";

/// Bytes of a manifest at most; it is read before anything else is known of the plugin.
pub const LEN_MAX: usize = 1 << 20;

/// The version of the interfaces that a plugin is written for: there is one.
pub const API: &str = "0.1";

/// Bytes of what is cited of a manifest, and of what is said against it.
const CITED_LEN_MAX: usize = 1 << 10;

/// Names of metrics that a manifest may declare.
const METRICS_MAX: usize = 64;

/// Bytes of such a name.
const METRIC_LEN_MAX: usize = 64;

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

impl Manifest {
    /// Reads one. Its schema is not looked at.
    ///
    /// # Errors
    ///
    /// What is wrong with it, at which key or place, safe to be shown.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        // serde would take a list for the fields in their order.
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err("it must be a JSON object, `{ .. }`".to_owned());
        }
        let read = serde_json::from_slice(text);
        let manifest: Self = read.map_err(|error| safe(&error.to_string(), CITED_LEN_MAX))?;
        if !is_offered(&manifest.api) {
            return Err(format!(
                "`api` is `{}`, and the interfaces that there are have the version `{API}`",
                safe(&manifest.api, CITED_LEN_MAX)
            ));
        }
        manifest.check_metrics()?;
        Ok(manifest)
    }

    /// Each name is a label of the node's metrics, which are never forgotten.
    fn check_metrics(&self) -> Result<(), String> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let is_name =
            |name: &&String| (1..=METRIC_LEN_MAX).contains(&name.len()) && name.bytes().all(is_part);
        if let Some(name) = self.metrics.iter().find(|name| !is_name(name)) {
            let name = safe(name, CITED_LEN_MAX);
            return Err(format!(
                "`metrics`: `{name}` is no name: 1 to {METRIC_LEN_MAX} letters, digits, `_`, `.` and `-`"
            ));
        }
        match self.metrics.len() {
            0..=METRICS_MAX => Ok(()),
            count => Err(format!("`metrics`: {count} names, at most {METRICS_MAX}")),
        }
    }

    /// Checks that `config_schema`, where it has one, is a JSON Schema.
    ///
    /// # Errors
    ///
    /// What is wrong with it, safe to be shown.
    pub fn check_schema(&self) -> Result<(), String> {
        self.validator().map(drop)
    }

    /// What an attachment's configuration is checked by; none where anything is passed on.
    pub(crate) fn validator(&self) -> Result<Option<jsonschema::Validator>, String> {
        let Some(schema) = &self.config_schema else {
            return Ok(None);
        };
        jsonschema::validator_for(schema).map(Some).map_err(|error| {
            let why = safe(&error.to_string(), CITED_LEN_MAX);
            format!(
                "its `config_schema` is not a JSON Schema, such as `{{ \"type\": \"object\" }}`, which refers to nothing elsewhere: {why}"
            )
        })
    }
}

/// Whether it is a version that plugins of this host may name: none at all, 0.1, or one of its revisions.
fn is_offered(api: &str) -> bool {
    let Some(revision) = api.strip_prefix(API) else {
        return api.is_empty();
    };
    match revision.strip_prefix('.') {
        Some(number) => !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()),
        None => revision.is_empty(),
    }
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

#[cfg(test)]
mod tests {
    use super::Manifest;

    #[test]
    fn a_manifest_is_an_object_of_an_interface_that_there_is() {
        for text in [
            "{}",
            " \n{\"api\":\"0.1\"}",
            "{\"api\":\"0.1.0\"}",
            "{\"api\":\"\"}",
        ] {
            assert!(Manifest::read(text.as_bytes()).is_ok(), "{text}");
        }
        let many = serde_json::json!({ "metrics": vec!["m"; 65] }).to_string();
        for (text, part) in [
            ("[]", "must be a JSON object"),
            ("", "must be a JSON object"),
            ("{", "EOF"),
            ("{\"api\":\"9.9\"}", "`api` is `9.9`"),
            ("{\"api\":\"0.10\"}", "have the version `0.1`"),
            ("{\"api\":\"0.1.\"}", "`0.1.`"),
            ("{\"api\":\"\\u001b[31m\"}", "`\\u{1b}[31m`"),
            ("{\"\\u001b[31m\":1}", "unknown field `\\u{1b}[31m`"),
            ("{\"metrics\":[\"calls\",\"a\\\"b\"]}", "`a\"b` is no name"),
            ("{\"metrics\":[\"\"]}", "`` is no name"),
            (&many, "65 names, at most 64"),
        ] {
            let refused = Manifest::read(text.as_bytes());
            assert!(
                refused.as_ref().is_err_and(|why| why.contains(part)),
                "{text}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_schema_must_be_one() {
        let checked = |schema: &str| {
            let text = format!("{{\"config_schema\":{schema}}}");
            Manifest::read(text.as_bytes())
                .expect("a manifest")
                .check_schema()
        };
        for schema in ["{}", "true", "{\"type\":\"object\"}"] {
            assert_eq!(checked(schema), Ok(()), "{schema}");
        }
        for schema in [
            "7",
            "\"object\"",
            "{\"type\":7}",
            "{\"$ref\":\"https://a.example/b\"}",
        ] {
            let refused = checked(schema);
            assert!(
                refused.as_ref().is_err_and(|why| why.contains("`config_schema`")),
                "{schema}: {refused:?}"
            );
        }
    }
}

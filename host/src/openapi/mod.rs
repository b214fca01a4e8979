//! The OpenAPI 3.1 document of a node, made from what is configured: endpoints, cards, plugins' manifests. Pure.
//!
//! `subject` is what the document is made of; each other file is a section of it. `endpoints` describes own paths, whose
//! schemas come from their plugins (`plugins`, `bodies`) and their model's task (`task`); `openai`, `ollama`, `oip` and `node` the paths that
//! every node has; `errors` and `security` what they share. Knows no socket and no runtime.

mod bodies;
mod endpoints;
mod errors;
mod example;
mod forms;
mod node;
mod oip;
mod ollama;
mod openai;
mod operation;
mod plugins;
mod sampling;
mod schema;
mod security;
pub mod subject;
mod task;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

pub use forms::lists;
pub use security::Auth;
pub use subject::Subject;

/// The document as it is served: made once a generation.
#[derive(Debug, Clone)]
pub struct Document {
    /// JSON.
    pub bytes: Bytes,
    /// A strong entity tag of the bytes, quotes included.
    pub etag: String,
}

impl Document {
    /// The document of a node.
    #[must_use]
    pub fn new(subject: &Subject) -> Self {
        // Keys are strings, and nothing in it fails to serialise.
        let bytes = serde_json::to_vec(&describe(subject)).unwrap_or_default();
        let digest = Sha256::digest(&bytes);
        let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            bytes: bytes.into(),
            etag: format!("\"{hex}\""),
        }
    }
}

/// What the document says of a node, before its endpoints are told.
const ABOUT: &str = "Each endpoint is a model with plugins round it. It is reached on its own path with plain JSON, and by its \
    name as the `model` of every dialect. Every answer bears `x-request-id`; a refusal for load bears `retry-after`.";

/// The document of a node, as JSON.
#[must_use]
pub fn describe(subject: &Subject) -> Value {
    let mut sections = Sections::default();
    errors::describe(&mut sections);
    bodies::describe(subject, &mut sections);
    endpoints::describe(subject, &mut sections);
    openai::describe(subject, &mut sections);
    ollama::describe(subject, &mut sections);
    oip::describe(subject, &mut sections);
    node::describe(subject.auth, &mut sections);
    security::describe(subject.auth, &mut sections);
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Selvedge", "version": env!("CARGO_PKG_VERSION"), "description": ABOUT },
        "servers": [{ "url": "/" }],
        "tags": sections.tags,
        "paths": sections.paths,
        "components": sections.components,
    })
}

/// The document while its sections are written.
#[derive(Default)]
struct Sections {
    tags: Vec<Value>,
    paths: Map<String, Value>,
    components: Map<String, Value>,
}

impl Sections {
    /// Adds a group of operations.
    fn tag(&mut self, name: &str, description: &str) {
        self.tags
            .push(json!({ "name": name, "description": description }));
    }

    /// Adds an operation; a path may have several methods.
    fn operation(&mut self, method: &str, path: &str, operation: Value) {
        let item = self.paths.entry(path).or_insert_with(|| json!({}));
        item[method] = operation;
    }

    /// Adds a component of a kind, such as `schemas`, and answers the reference to it.
    fn component(&mut self, kind: &str, name: &str, value: Value) -> Value {
        let components = self.components.entry(kind).or_insert_with(|| json!({}));
        components[name] = value;
        json!({ "$ref": format!("#/components/{kind}/{name}") })
    }

    /// Adds a schema, and answers the reference to it.
    fn schema(&mut self, name: &str, schema: Value) -> Value {
        self.component("schemas", name, schema)
    }
}

#[cfg(test)]
mod tests;

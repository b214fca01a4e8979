//! Forms with files: what an endpoint that takes uploads wants.

use selvedge_model::Task;
use serde_json::{Map, Value, json};

use super::plugins::{self, Beyond};
use super::schema::{described, object};
use super::subject::Endpoint;
use crate::config::Uploads;

/// The form: its files, and the fields that the plugins name.
pub(super) fn form(endpoint: &Endpoint, uploads: &Uploads) -> Value {
    let mut properties = Map::new();
    for name in &uploads.files {
        let size = format!("A file of at most {}.", uploads.file_size_max);
        let file = json!({ "type": "string", "format": "binary" });
        properties.insert(name.clone(), described(file, &size));
    }
    let mut required: Vec<&str> = plugins::files(endpoint).collect();
    let wanted = plugins::wanted(endpoint);
    for schema in &wanted.schemas {
        let fields = schema["properties"].as_object().into_iter().flatten();
        for (name, field) in fields.filter(|(name, _)| !uploads.files.contains(name)) {
            properties.entry(name.clone()).or_insert_with(|| text(field));
        }
        let must = schema["required"].as_array().into_iter().flatten();
        required.extend(must.filter_map(Value::as_str));
    }
    if let (Beyond::Task, Some(field)) = (&wanted.beyond, text_field(endpoint)) {
        properties
            .entry(field)
            .or_insert_with(|| json!({ "type": "string", "minLength": 1 }));
        required.push(field);
    }
    required.sort_unstable();
    required.dedup();
    let about = format!(
        "A form of at most {}, and at most {} parts.",
        uploads.size_max, uploads.parts_max
    );
    described(object(properties.into(), &required), &about)
}

/// The field that the model's text comes in, where no plugin makes one.
fn text_field(endpoint: &Endpoint) -> Option<&'static str> {
    match endpoint.model.task? {
        Task::TextClassification | Task::FeatureExtraction => Some("text"),
        Task::TextGeneration => Some("prompt"),
        Task::Tensor => None,
    }
}

/// A plain field, which is text whatever its schema says besides.
fn text(field: &Value) -> Value {
    match field["description"].as_str() {
        Some(said) => described(json!({ "type": "string" }), said),
        None => json!({ "type": "string" }),
    }
}

/// A request's body that is such a form.
pub(super) fn body(schema: Value) -> Value {
    json!({ "required": true, "content": { "multipart/form-data": { "schema": schema } } })
}

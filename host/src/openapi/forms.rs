//! Forms with files: what an endpoint that takes uploads wants. A field that is text is a part as it is; any other is one in JSON.

use selvedge_model::Task;
use serde_json::{Map, Value, json};

use super::plugins::{self, Beyond};
use super::schema::{described, each_moved, object};
use super::subject::Endpoint;
use super::{Sections, bodies};
use crate::config::Uploads;

/// How deep references to a field's schema are followed.
const DEPTH_MAX: usize = 16;

/// A request's body that is the form of an endpoint: its files, and the fields that the plugins name.
pub(super) fn body(endpoint: &Endpoint, uploads: &Uploads, sections: &mut Sections) -> Value {
    let mut form = Form::default();
    for name in &uploads.files {
        form.add_file(name, uploads);
    }
    let wanted = plugins::wanted(endpoint);
    let place = bodies::place(endpoint);
    for (schema, moved) in wanted.schemas.iter().zip(each_moved(&wanted.schemas, &place)) {
        form.add_fields(schema, &moved, uploads);
    }
    if let (Beyond::Task, Some(field)) = (&wanted.beyond, text_field(endpoint)) {
        let text = json!({ "type": "string", "minLength": 1 });
        form.properties.entry(field).or_insert(text);
        form.required.push(field.to_owned());
    }
    form.required.extend(plugins::files(endpoint).map(str::to_owned));
    let schema = sections.schema(&format!("{}.request", endpoint.name), form.schema(uploads));
    let mut content = json!({ "schema": schema });
    if !form.encoding.is_empty() {
        content["encoding"] = form.encoding.into();
    }
    json!({ "required": true, "content": { "multipart/form-data": content } })
}

/// The field that the model's text comes in, where no plugin makes one.
fn text_field(endpoint: &Endpoint) -> Option<&'static str> {
    match endpoint.model.task? {
        Task::TextClassification | Task::FeatureExtraction => Some("text"),
        Task::TextGeneration => Some("prompt"),
        Task::Tensor => None,
    }
}

#[derive(Default)]
struct Form {
    properties: Map<String, Value>,
    /// How fields come that are not text.
    encoding: Map<String, Value>,
    required: Vec<String>,
    /// Whether no other fields may come.
    is_closed: bool,
}

impl Form {
    fn add_file(&mut self, name: &str, uploads: &Uploads) {
        let file = json!({ "type": "string", "format": "binary" });
        let size = format!("A file of at most {}.", uploads.file_size_max);
        self.properties.insert(name.to_owned(), described(file, &size));
    }

    /// Adds the fields that a schema names, `moved` to its place in the document; of a file it may say more than a form can be told.
    fn add_fields(&mut self, schema: &Value, moved: &Value, uploads: &Uploads) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            if self.properties.contains_key(name) {
                continue;
            }
            let mut described = moved["properties"][name].clone();
            let is_list = uploads.lists.contains(name);
            // A list comes in a part for each item.
            let in_part = if is_list { &field["items"] } else { field };
            if !is_text(schema, in_part) {
                let in_json = json!({ "contentType": "application/json" });
                self.encoding.insert(name.clone(), in_json);
            } else if !is_list {
                described = text(described);
            }
            self.properties.insert(name.clone(), described);
        }
        let must = schema["required"].as_array().into_iter().flatten();
        self.required
            .extend(must.filter_map(Value::as_str).map(str::to_owned));
        self.is_closed |= schema["additionalProperties"] == false;
    }

    fn schema(&mut self, uploads: &Uploads) -> Value {
        self.required.sort_unstable();
        self.required.dedup();
        let required: Vec<&str> = self.required.iter().map(String::as_str).collect();
        let mut schema = object(std::mem::take(&mut self.properties).into(), &required);
        if self.is_closed {
            schema["additionalProperties"] = json!(false);
        } else {
            schema["propertyNames"] = json!({ "minLength": 1 });
        }
        let about = format!(
            "A form of at most {}, and at most {} parts.",
            uploads.size_max, uploads.parts_max
        );
        described(schema, &about)
    }
}

/// What is text, whatever else it might be in JSON.
fn text(described: Value) -> Value {
    match described {
        Value::Object(mut keywords) => {
            keywords.insert("type".to_owned(), json!("string"));
            keywords.into()
        }
        _ => json!({ "type": "string" }),
    }
}

/// Whether a field may be text; one of which nothing is said may be.
fn is_text(root: &Value, field: &Value) -> bool {
    let mut field = field;
    for _ in 0..DEPTH_MAX {
        let target = field["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
        match target.and_then(|pointer| root.pointer(pointer)) {
            Some(target) => field = target,
            None => break,
        }
    }
    match (&field["type"], &field["enum"]) {
        (Value::String(kind), _) => kind == "string",
        (Value::Array(kinds), _) => kinds.iter().any(|kind| kind == "string"),
        (_, Value::Array(values)) => values.iter().any(Value::is_string),
        _ => field["properties"].is_null() && field["items"].is_null(),
    }
}

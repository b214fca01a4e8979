//! Forms with files: what an endpoint that takes uploads wants. A field that is text is a part as it is; any other is one in JSON.

use selvedge_model::Task;
use serde_json::{Map, Value, json};

use super::plugins::{self, Beyond};
use super::schema::{described, object};
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
    for (index, schema) in wanted.schemas.iter().enumerate() {
        let place = bodies::place(endpoint);
        let place = match wanted.schemas.len() {
            1 => place,
            _ => format!("{place}/allOf/{index}"),
        };
        form.add_fields(schema, &place, uploads);
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

    /// Adds the fields that a schema at `place` names; of a file it may say more than a form can be told.
    fn add_fields(&mut self, schema: &Value, place: &str, uploads: &Uploads) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            if self.properties.contains_key(name) {
                continue;
            }
            let mut told = json!({ "$ref": format!("{place}/properties/{}", pointer(name)) });
            // A list comes in a part for each item.
            let is_list = uploads.lists.contains(name) || is_array(schema, field);
            let in_part = if is_list {
                &resolved(schema, field)["items"]
            } else {
                field
            };
            if !is_text(schema, in_part, 0) {
                let in_json = json!({ "contentType": "application/json" });
                self.encoding.insert(name.clone(), in_json);
            } else if !is_list && resolved(schema, field)["type"] != "string" {
                told["type"] = json!("string");
            }
            self.properties.insert(name.clone(), told);
        }
        let must = schema["required"].as_array().into_iter().flatten();
        self.required
            .extend(must.filter_map(Value::as_str).map(str::to_owned));
        self.is_closed |= schema["additionalProperties"] == false && schema["patternProperties"].is_null();
    }

    fn schema(&mut self, uploads: &Uploads) -> Value {
        self.required.sort_unstable();
        self.required.dedup();
        let required: Vec<&str> = self.required.iter().map(String::as_str).collect();
        let mut schema = object(std::mem::take(&mut self.properties).into(), &required);
        if self.is_closed {
            schema["additionalProperties"] = json!(false);
        } else {
            // A head with others in it cannot be read.
            schema["propertyNames"] = json!({ "pattern": "^[^\\u0000-\\u001f\\u007f]+$" });
        }
        let about = format!(
            "A form of at most {}, and at most {} parts.",
            uploads.size_max, uploads.parts_max
        );
        described(schema, &about)
    }
}

/// The plain fields that are lists: those that the endpoint names, and those whose schemas are of arrays.
pub fn lists(endpoint: &Endpoint, uploads: &Uploads) -> Vec<String> {
    let mut lists = uploads.lists.clone();
    for schema in plugins::wanted(endpoint).schemas {
        let fields = schema["properties"].as_object().into_iter().flatten();
        let arrays = fields.filter(|(_, field)| is_array(&schema, field));
        lists.extend(arrays.map(|(name, _)| name.clone()));
    }
    lists
}

/// A name as references have it (<https://www.rfc-editor.org/rfc/rfc6901>), within a URI's fragment.
fn pointer(name: &str) -> String {
    let name = name.replace('~', "~0").replace('/', "~1");
    let byte = |byte: u8| match byte {
        b'~' | b'_' | b'-' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(byte).collect()
}

/// What a field's schema refers to, within the schema that it is part of.
fn resolved<'a>(root: &'a Value, mut field: &'a Value) -> &'a Value {
    for _ in 0..DEPTH_MAX {
        let target = field["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
        match target.and_then(|pointer| root.pointer(pointer)) {
            Some(target) => field = target,
            None => break,
        }
    }
    field
}

fn is_array(root: &Value, field: &Value) -> bool {
    resolved(root, field)["type"] == "array"
}

/// Whether a field may be text; one of which nothing is said may be.
fn is_text(root: &Value, field: &Value, depth: usize) -> bool {
    let field = resolved(root, field);
    if depth > DEPTH_MAX {
        return false;
    }
    let one_is = |parts: &[Value]| parts.iter().any(|part| is_text(root, part, depth + 1));
    let all_are = |parts: &[Value]| parts.iter().all(|part| is_text(root, part, depth + 1));
    let has = |key: &str| field.get(key).is_some();
    match (&field["type"], &field["enum"]) {
        (Value::String(kind), _) => return kind == "string",
        (Value::Array(kinds), _) => return kinds.iter().any(|kind| kind == "string"),
        (_, Value::Array(values)) => return values.iter().any(Value::is_string),
        _ => {}
    }
    let forms = [&field["anyOf"], &field["oneOf"]];
    let forms = forms
        .into_iter()
        .filter_map(Value::as_array)
        .all(|forms| one_is(forms));
    let all = field["allOf"].as_array().is_none_or(|parts| all_are(parts));
    let is_text = field.get("const").is_none_or(Value::is_string);
    is_text && forms && all && !has("properties") && !has("items")
}

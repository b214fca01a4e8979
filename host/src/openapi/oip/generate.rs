//! `generate` and `generate_stream`: fields in, fields out, whole or in events.

use selvedge_model::model::INPUTS_MAX;
use selvedge_model::{Element, Task};
use serde_json::{Map, Value, json};

use super::{VERSION, add, infer, refusable, work};
use crate::openapi::operation::{body, events, json_content};
use crate::openapi::plugins::Beyond;
use crate::openapi::schema::{accepts, all_of, array, described, object};
use crate::openapi::subject::Endpoint;
use crate::openapi::{Sections, Subject, bodies, plugins, sampling, task};
use crate::ports::{Port, Ports};

/// Writes the operations of an endpoint.
pub(super) fn describe(endpoint: &Endpoint, subject: &Subject, sections: &mut Sections) {
    let (name, ports) = (&endpoint.name, infer::ports(endpoint));
    let request = sections.schema(
        &format!("{name}.generate.request"),
        request(endpoint, ports.as_ref()),
    );
    let response = sections.schema(
        &format!("{name}.generate.response"),
        response(endpoint, ports.as_ref()),
    );
    let failure = json!({ "$ref": "#/components/schemas/OllamaError" });
    let event = json!({ "anyOf": [response, failure] });
    let event = sections.schema(&format!("{name}.generate.event"), event);
    let about = "An event; an error after the first words is the last one.";
    let in_events = json!({ "text/event-stream": events(event, None, about) });
    for (id, behind, summary, content) in [
        ("generate", "/generate", "Ask", json_content(response.clone())),
        ("generate_stream", "/generate_stream", "Ask in events", in_events),
    ] {
        let summary = format!("{summary} `{name}`, field by field");
        let operation = work(endpoint, subject, (id, &summary), ("The outputs.", content));
        let mut operation = operation.describe(sections);
        operation["requestBody"] = body(request.clone(), example(endpoint, ports.as_ref()));
        add(sections, "post", name, behind, refusable(endpoint, operation));
    }
}

fn request(endpoint: &Endpoint, ports: Option<&Ports>) -> Value {
    let nullable = |kind: &str| json!({ "type": [kind, "null"] });
    let mut properties = json!({ "id": nullable("string"), "parameters": nullable("object") });
    match (endpoint.model.task, ports) {
        (Some(Task::TextGeneration), _) => {
            properties["parameters"] = infer::nullable(sampling::with_unstreamed(json!({}), &[]));
            properties["text_input"] = described(
                json!({ "type": "string", "minLength": 1 }),
                "What the text goes on from.",
            );
            properties["details"] = described(json!({}), "`true`: why the text ended is told.");
            let is_needed = plugins::wanted(endpoint).beyond == Beyond::Task;
            let own = sampling::with_unstreamed(properties, if is_needed { &["text_input"] } else { &[] });
            all_of(bodies::reference(endpoint).into_iter().chain([own]).collect())
        }
        (Some(Task::Tensor), Some(ports)) => {
            let names: Vec<&str> = ports.inputs.iter().map(|port| port.name.as_str()).collect();
            for port in &ports.inputs {
                properties[&port.name] = field(port);
            }
            object(properties, &names)
        }
        (Some(Task::TextClassification | Task::FeatureExtraction), _) => {
            let text = json!({ "type": "string", "minLength": 1 });
            let texts = json!({
                "description": "A text, or several.",
                "type": ["string", "array"], "minLength": 1, "minItems": 1, "maxItems": INPUTS_MAX, "items": text,
            });
            // Where both are there, `text_input` is passed over.
            let either = ["text", "text_input"].map(|key| object(json!({ key: texts }), &[key]));
            let mut request = object(properties, &[]);
            request["anyOf"] = either.as_slice().into();
            request
        }
        _ => json!({ "type": "object" }),
    }
}

/// An input as a field: a value, or arrays of them, of which leading dimensions of 1 may be left out.
fn field(port: &Port) -> Value {
    let kind = match port.element {
        Element::Boolean => "boolean",
        Element::Text => "string",
        _ => "number",
    };
    described(json!({ "type": [kind, "array"] }), &port.describe())
}

fn response(endpoint: &Endpoint, ports: Option<&Ports>) -> Value {
    let text = json!({ "type": "string" });
    let mut properties = json!({
        "id": text, "model_name": { "const": endpoint.name }, "model_version": { "const": VERSION },
    });
    let mut required = vec!["model_name", "model_version"];
    if endpoint.model.task == Some(Task::TextGeneration) {
        properties["text_output"] = json!({ "anyOf": [text, array(text.clone())] });
        properties["index"] = described(
            json!({ "type": "integer", "minimum": 0 }),
            "In events: which answer of several.",
        );
        let reason = json!({ "enum": ["stop", "length", "content_filter", "tool_calls"] });
        properties["details"] = object(json!({ "finish_reason": reason }), &["finish_reason"]);
        required.push("text_output");
    } else {
        for port in ports.into_iter().flat_map(|ports| &ports.outputs) {
            properties[&port.name] = described(
                json!({}),
                &format!("{}: the value, or all of them in a row.", port.describe()),
            );
        }
    }
    object(properties, &required)
}

/// A body to show how it is done, where the endpoint's plugins take it.
fn example(endpoint: &Endpoint, ports: Option<&Ports>) -> Vec<(&'static str, Value)> {
    let text = task::text(endpoint);
    let schemas = plugins::wanted(endpoint).schemas;
    let text_field = |field: &str| json!({ field: text });
    let (example, seen) = match (endpoint.model.task, ports) {
        (Some(Task::TextGeneration), _) => {
            let example = sampling::short(text_field("text_input"));
            (example.clone(), example)
        }
        (Some(Task::TextClassification), _) => (text_field("text"), text_field("text")),
        (Some(Task::FeatureExtraction), _) => (text_field("text"), text_field("input")),
        (Some(Task::Tensor), Some(ports)) if infer::have_json(ports) && schemas.is_empty() => {
            let fields = ports
                .inputs
                .iter()
                .map(|port| Some((port.name.clone(), nested(port, text)?)));
            let Some(fields) = fields.collect::<Option<Map<_, _>>>() else {
                return Vec::new();
            };
            (json!(fields), json!(fields))
        }
        _ => return Vec::new(),
    };
    let is_taken = schemas.iter().all(|schema| accepts(schema, &seen)) && !plugins::want_files(endpoint);
    is_taken.then_some(("simple", example)).into_iter().collect()
}

/// Ones, or a text, in arrays of the smallest shape that a port takes; none where nobody would read that.
fn nested(port: &Port, text: &str) -> Option<Value> {
    let one = infer::one(port.element, text);
    let shape = infer::smallest(port)?;
    // Each is within a bound that is a `usize`.
    let nest = |items: Value, dimension: &u64| json!(vec![items; *dimension as usize]);
    Some(shape.iter().rev().fold(one, nest))
}

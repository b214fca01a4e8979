//! What an endpoint takes and gives on its own path where no plugin says otherwise: that depends on its model's task.

use selvedge_model::model::INPUTS_MAX;
use selvedge_model::{Element, Port, Task};
use serde_json::{Map, Value, json};

use super::sampling;
use super::schema::{array, described, object, one_of_texts};
use super::subject::{Endpoint, Model};

/// A text that an endpoint would be given.
pub(super) fn text(endpoint: &Endpoint) -> &'static str {
    let labels = endpoint.plugins.iter().any(|attached| attached.kind() == "label");
    match endpoint.model.task {
        Some(Task::TextClassification) => CLASSIFIED,
        Some(Task::TextGeneration) if labels => CLASSIFIED,
        Some(Task::TextGeneration) => ASKED,
        Some(Task::FeatureExtraction | Task::Tensor) | None => EMBEDDED,
    }
}

/// Texts to show how it is done: for a classifier, a model that generates, and any other.
const CLASSIFIED: &str = "Claim your free prize now, call 09061701461!";
pub(super) const ASKED: &str = "List three fruits.";
pub(super) const EMBEDDED: &str = "a text";

/// What its body must be, and bodies to show how it is done.
pub(super) fn request(endpoint: &Endpoint) -> (Value, Vec<(&'static str, Value)>) {
    let text = text(endpoint);
    match endpoint.model.task {
        Some(Task::TextClassification) => (texts(), vec![("one", json!({ "text": text }))]),
        Some(Task::FeatureExtraction) => {
            let several = json!({ "input": [text, "another"] });
            (
                texts(),
                vec![("one", json!({ "input": text })), ("several", several)],
            )
        }
        Some(Task::TextGeneration) => (prompt(), prompts(text)),
        Some(Task::Tensor) => (tensors(&endpoint.model), Vec::new()),
        None => (json!({}), Vec::new()),
    }
}

/// What a body may say besides, where a template makes the model's input of it.
pub(super) fn besides(model: &Model) -> Option<Value> {
    (model.task == Some(Task::TextGeneration)).then(|| sampling::with(json!({}), &[]))
}

fn texts() -> Value {
    let text = json!({ "type": "string", "minLength": 1 });
    let texts = json!({
        "description": "A text, or several.",
        "type": ["string", "array"], "minLength": 1, "minItems": 1, "maxItems": INPUTS_MAX, "items": text,
    });
    let mut schema = object(json!({ "text": texts, "input": texts }), &[]);
    schema["oneOf"] = json!([{ "required": ["text"] }, { "required": ["input"] }]);
    schema
}

fn prompt() -> Value {
    let text = json!({ "type": "string", "minLength": 1 });
    let properties = json!({
        "prompt": described(text.clone(), "What the text goes on from."),
        "text": described(text, "The same as `prompt`."),
        "messages": described(sampling::messages(), "A conversation, which is given to the model by its chat template."),
    });
    let mut schema = sampling::with(properties, &[]);
    let prompt = json!({ "anyOf": [{ "required": ["prompt"] }, { "required": ["text"] }] });
    schema["oneOf"] = json!([{ "required": ["messages"] }, prompt]);
    schema
}

fn prompts(text: &str) -> Vec<(&'static str, Value)> {
    let chat = sampling::short(json!({ "messages": sampling::conversation(text) }));
    let streamed = sampling::streamed(&chat);
    let prompt = sampling::short(json!({ "prompt": "Once upon a time" }));
    vec![("conversation", chat), ("streamed", streamed), ("prompt", prompt)]
}

fn tensors(model: &Model) -> Value {
    let inputs = match &model.signature {
        Some(signature) => {
            let names: Vec<&str> = signature.inputs.iter().map(|port| port.name.as_str()).collect();
            let ports = signature.inputs.iter();
            let properties: Map<String, Value> =
                ports.map(|port| (port.name.clone(), nested(port))).collect();
            let mut inputs = object(properties.into(), &names);
            inputs["additionalProperties"] = json!(false);
            inputs
        }
        None => described(
            json!({ "type": "object" }),
            "Nested arrays by the names of the model's inputs, which a node tells once it has loaded the model.",
        ),
    };
    object(json!({ "inputs": inputs }), &["inputs"])
}

/// A tensor as nested arrays.
fn nested(port: &Port) -> Value {
    let scalar = scalar(port.element.unwrap_or(Element::Float32));
    let nest = |items: Value, dimension: &i64| {
        let mut level = array(items);
        if *dimension >= 0 {
            (level["minItems"], level["maxItems"]) = (json!(dimension), json!(dimension));
        }
        level
    };
    described(port.shape.iter().rev().fold(scalar, nest), &port.describe())
}

pub(super) fn scalar(element: Element) -> Value {
    let whole = |from: i64, to: u64| json!({ "type": "integer", "minimum": from, "maximum": to });
    match element {
        Element::Boolean => json!({ "type": "boolean" }),
        Element::Text => json!({ "type": "string" }),
        Element::Uint8 => whole(0, u64::from(u8::MAX)),
        Element::Uint16 => whole(0, u64::from(u16::MAX)),
        Element::Uint32 => whole(0, u64::from(u32::MAX)),
        Element::Uint64 => whole(0, u64::MAX),
        Element::Int8 => whole(i64::from(i8::MIN), i8::MAX as u64),
        Element::Int16 => whole(i64::from(i16::MIN), i16::MAX as u64),
        Element::Int32 => whole(i64::from(i32::MIN), i32::MAX as u64),
        Element::Int64 => whole(i64::MIN, i64::MAX as u64),
        Element::Float16 | Element::Bfloat16 | Element::Float32 | Element::Float64 => {
            json!({ "type": "number" })
        }
    }
}

/// What it gives.
pub(super) fn response(model: &Model) -> Value {
    match model.task {
        Some(Task::TextClassification) => labels(model),
        Some(Task::FeatureExtraction) => embeddings(model),
        Some(Task::TextGeneration) => generated(json!({ "type": "string" })),
        Some(Task::Tensor) => outputs(model),
        None => json!({}),
    }
}

fn labels(model: &Model) -> Value {
    let names = model
        .card
        .as_ref()
        .map(|card| card.output.labels.clone())
        .unwrap_or_default();
    let score = json!({ "type": "number" });
    let label = object(
        json!({ "label": one_of_texts(&names), "score": score }),
        &["label", "score"],
    );
    let labels = described(array(array(label)), "Of each text its labels, best first.");
    object(json!({ "labels": labels }), &["labels"])
}

/// A vector of a model, with its length where that is known.
pub(super) fn vector(model: &Model) -> Value {
    let mut vector = array(json!({ "type": "number" }));
    if let Some(dimensions) = model.card.as_ref().and_then(|card| card.output.dimensions) {
        (vector["minItems"], vector["maxItems"]) = (json!(dimensions), json!(dimensions));
    }
    vector
}

fn embeddings(model: &Model) -> Value {
    let vectors = described(array(vector(model)), "Of each text its vector.");
    object(
        json!({ "embeddings": vectors, "tokens": { "type": "integer", "minimum": 0 } }),
        &["embeddings", "tokens"],
    )
}

/// Generated text of a kind, with its counts.
pub(super) fn generated(text: Value) -> Value {
    let count = json!({ "type": "integer", "minimum": 0 });
    let usage = object(
        json!({ "prompt_tokens": count, "completion_tokens": count }),
        &["prompt_tokens", "completion_tokens"],
    );
    object(
        json!({ "text": text, "texts": described(array(text.clone()), "All answers, where `n` asks for several."), "usage": usage }),
        &["text", "texts", "usage"],
    )
}

/// An event of a stream on an endpoint's own path.
pub(super) fn event() -> Value {
    let index = json!({ "type": "integer", "minimum": 0 });
    let text = object(json!({ "text": { "type": "string" }, "index": index }), &["text"]);
    let reason = json!({ "enum": ["stop", "length", "content_filter", "tool_calls"] });
    let done = object(
        json!({ "done": { "const": true }, "index": index, "finish_reason": reason }),
        &["done", "index", "finish_reason"],
    );
    let error = json!({ "anyOf": [{ "$ref": "#/components/schemas/Error" }, { "$ref": "#/components/schemas/Refusal" }] });
    let error = described(
        object(json!({ "error": error }), &["error"]),
        "What went wrong after the first words; the stream ends with it.",
    );
    json!({ "anyOf": [text, done, error] })
}

fn outputs(model: &Model) -> Value {
    let whole = json!({ "type": "integer", "minimum": 0 });
    let tensor = |name: Value| {
        object(
            json!({ "datatype": name, "shape": array(whole.clone()), "data": described(array(json!({})), "Flat, row-major.") }),
            &["datatype", "shape", "data"],
        )
    };
    let any = tensor(json!({ "type": "string" }));
    let mut outputs = json!({ "type": "object", "additionalProperties": any });
    if let Some(signature) = &model.signature {
        let port = |port: &Port| (port.name.clone(), described(any.clone(), &port.describe()));
        outputs["properties"] = signature.outputs.iter().map(port).collect::<Map<_, _>>().into();
    }
    object(json!({ "outputs": outputs }), &["outputs"])
}

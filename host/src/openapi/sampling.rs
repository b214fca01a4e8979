//! What a request may say of generation, by OpenAI's names: the fields that `pipeline/params.rs` reads, with their ranges.

use serde_json::{Map, Value, json};

use super::schema::{described, object};

/// An object of these properties, of which some must be there, and of what may be said of generation.
pub(super) fn with(mut properties: Value, required: &[&str]) -> Value {
    extend(&mut properties, fields());
    let mut schema = object(properties, required);
    // Likeliest tokens are told where tokens are told at all.
    schema["anyOf"] = json!([
        { "properties": { "top_logprobs": { "type": "null" } } },
        { "properties": { "logprobs": { "not": { "enum": [false, null] } } }, "required": ["logprobs"] },
    ]);
    schema
}

/// The same without `stream`, where the path says that.
pub(super) fn with_unstreamed(properties: Value, required: &[&str]) -> Value {
    let mut schema = with(properties, required);
    if let Value::Object(properties) = &mut schema["properties"] {
        properties.remove("stream");
    }
    schema
}

fn fields() -> Value {
    let number = |from: f64, to: f64| json!({ "type": ["number", "null"], "minimum": from, "maximum": to });
    let whole = |from: u64, to: u64| json!({ "type": ["integer", "null"], "minimum": from, "maximum": to });
    let stop = json!({ "type": "string", "maxLength": 256 });
    let most = u64::from(u32::MAX);
    json!({
        "max_tokens": described(whole(1, most), "Tokens of the answer at most."),
        "max_completion_tokens": described(whole(1, most), "The same; it goes before `max_tokens`."),
        "temperature": described(number(0.0, 2.0), "0 takes the likeliest token each time."),
        "top_p": number(0.0, 1.0),
        "top_k": whole(0, most),
        "min_p": number(0.0, 1.0),
        "presence_penalty": number(-2.0, 2.0),
        "frequency_penalty": number(-2.0, 2.0),
        "repetition_penalty": number(0.01, 10.0),
        "seed": described(json!({ "type": ["integer", "null"], "minimum": i64::MIN, "maximum": u64::MAX }), "The same seed gives the same text; 64 bits."),
        "n": described(whole(1, crate::pipeline::params::COUNT_MAX as u64), "Answers to the one prompt."),
        "stop": {
            "description": "What ends the text, and is no part of it; at most 256 bytes each.",
            "anyOf": [stop, { "type": "array", "maxItems": 4, "items": stop }, { "type": "null" }],
        },
        "logit_bias": {
            "description": "Token ids to what is added to their scores.",
            "type": ["object", "null"], "maxProperties": 300,
            "propertyNames": { "pattern": "^[0-9]{1,9}$" },
            "additionalProperties": { "type": "number", "minimum": -100, "maximum": 100 },
        },
        "logprobs": {
            "description": "Whether tokens are told with their probabilities, as conversations ask; or with how many others, as completions do.",
            "type": ["boolean", "integer", "null"], "minimum": 0, "maximum": 5,
        },
        "top_logprobs": described(whole(0, 20), "Likeliest tokens told with each; needs `logprobs`."),
        "response_format": response_format(),
        "stream": { "type": ["boolean", "null"], "description": "Whether the text comes as it is written." },
    })
}

fn extend(properties: &mut Value, fields: Value) {
    if let (Value::Object(properties), Value::Object(fields)) = (properties, fields) {
        properties.extend(fields);
    }
}

fn response_format() -> Value {
    let kind = |name: &str| object(json!({ "type": { "const": name } }), &["type"]);
    let named = object(json!({ "name": {}, "schema": { "type": "object" } }), &["schema"]);
    json!({
        "description": "The form of the answer: free text, JSON, or JSON by a schema.",
        "anyOf": [
            kind("text"),
            kind("json_object"),
            object(json!({ "type": { "const": "json_schema" }, "json_schema": named }), &["type", "json_schema"]),
            { "type": "null" },
        ],
    })
}

/// A conversation.
pub(super) fn messages() -> Value {
    let part = object(
        json!({ "type": { "const": "text" }, "text": { "type": "string" } }),
        &["type", "text"],
    );
    let message = object(
        json!({
            "role": { "enum": ["system", "developer", "user", "assistant"] },
            "content": { "anyOf": [{ "type": "string" }, { "type": "array", "items": part }] },
        }),
        &["role", "content"],
    );
    json!({ "type": "array", "minItems": 1, "maxItems": 1024, "items": message })
}

/// A conversation to show how it is done.
pub(super) fn conversation(text: &str) -> Value {
    json!([{ "role": "user", "content": text }])
}

/// An example's fields, with the limit that keeps it short.
pub(super) fn short(fields: Value) -> Value {
    let mut fields = fields;
    extend(&mut fields, json!({ "max_tokens": 48 }));
    fields
}

/// The same as a stream.
pub(super) fn streamed(fields: &Value) -> Value {
    let mut fields: Map<String, Value> = fields.as_object().cloned().unwrap_or_default();
    fields.insert("stream".to_owned(), json!(true));
    fields.into()
}

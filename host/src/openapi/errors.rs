//! What a request without a result is answered: a body a dialect, and a response for each status.

use serde_json::{Map, Value, json};

use super::schema::{array, described, object};
use super::{Auth, Sections};
use crate::router::Dialect;

/// Statuses of a request whose body is read.
pub(super) const READ: [u16; 7] = [400, 408, 413, 415, 429, 500, 503];

/// Statuses of a request without a body.
pub(super) const ASK: [u16; 3] = [429, 500, 503];

/// Statuses of a request that plugins and a model, or another server, work on, besides.
pub(super) const WORK: [u16; 2] = [502, 504];

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "The request is not as it must be.",
        401 => "The caller did not say who it is, or is not known.",
        403 => "The caller may not do this.",
        404 => "There is nothing of this name.",
        408 => "The body did not come in time.",
        413 => "The body is longer than the node takes.",
        415 => "The body is, by its own account, of a type or in an encoding that is not taken here.",
        422 => "The body is not as the endpoint wants it.",
        429 => "The caller is over a limit of its own; `retry-after` says when to try again.",
        501 => "The protocol has this, and the node does not.",
        502 => "A plugin, the model or the server behind it failed on this request.",
        503 => "The node has too much to do, or is not ready; `retry-after` says when to try again.",
        504 => "There was no answer in time.",
        _ => "The node failed on this request.",
    }
}

/// What the names of a dialect's responses begin with, and the schema of its errors.
fn clothes(dialect: Dialect, status: u16) -> (&'static str, Value) {
    let schema = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    match dialect {
        Dialect::Endpoint if status == 422 => (
            "Endpoint",
            json!({ "anyOf": [schema("Refusal"), schema("Error")] }),
        ),
        Dialect::Endpoint => ("Endpoint", schema("Error")),
        Dialect::OpenAi => ("OpenAi", schema("OpenAiError")),
        Dialect::Ollama => ("Ollama", schema("OllamaError")),
        // The same body.
        Dialect::OpenInference => ("OpenInference", schema("OllamaError")),
    }
}

/// Writes the bodies, and the headers that all responses share.
pub(super) fn describe(sections: &mut Sections) {
    let text = || json!({ "type": "string" });
    let id = json!({
        "description": "The request's id: the client's own where it sent a sane one.", "schema": text(),
    });
    sections.component("headers", "RequestId", id);
    let seconds = json!({ "description": "Seconds.", "schema": { "type": "integer", "minimum": 1 } });
    sections.component("headers", "RetryAfter", seconds);
    let error = object(
        json!({ "detail": text(), "code": described(text(), "Stable and machine-readable."), "request_id": text() }),
        &["detail", "code", "request_id"],
    );
    sections.schema("Error", error);
    let problem = object(
        json!({
            "type": described(text(), "Machine-readable, as pydantic names it: `missing`, `string_type`."),
            "loc": described(array(json!({ "type": ["string", "integer"] })), "The way to the value, from `body`."),
            "msg": text(),
            "input": { "description": "What stands there, where it is short." },
        }),
        &["type", "loc", "msg", "input"],
    );
    let problem = sections.schema("Problem", problem);
    sections.schema(
        "Refusal",
        object(json!({ "detail": array(problem) }), &["detail"]),
    );
    let nullable = || json!({ "type": ["string", "null"] });
    let openai = object(
        json!({ "message": text(), "type": text(), "param": nullable(), "code": nullable() }),
        &["message", "type", "param", "code"],
    );
    sections.schema("OpenAiError", object(json!({ "error": openai }), &["error"]));
    sections.schema("OllamaError", object(json!({ "error": text() }), &["error"]));
}

/// The headers of a response.
pub(super) fn headers(status: u16) -> Value {
    let mut headers = json!({ "x-request-id": { "$ref": "#/components/headers/RequestId" } });
    if status == 429 || status == 503 {
        headers["retry-after"] = json!({ "$ref": "#/components/headers/RetryAfter" });
    }
    headers
}

/// The response to a request that a plugin refuses with a status of its own.
pub(super) fn any_refusal(dialect: Dialect) -> Value {
    let (_, schema) = clothes(dialect, 422);
    json!({
        "description": "A refusal by one of the endpoint's plugins.",
        "headers": headers(400),
        "content": { "application/json": { "schema": schema } },
    })
}

/// A dialect's responses for these statuses, and for callers that are not let in, where any are not.
pub(super) fn responses(
    sections: &mut Sections,
    dialect: Dialect,
    auth: Auth,
    statuses: impl IntoIterator<Item = u16>,
) -> Map<String, Value> {
    let callers: &[u16] = match auth {
        Auth::None => &[],
        Auth::Keys | Auth::Jwt => &[401, 403],
    };
    let mut statuses: Vec<u16> = statuses.into_iter().chain(callers.iter().copied()).collect();
    statuses.sort_unstable();
    statuses.dedup();
    let mut responses = Map::new();
    for status in statuses {
        let (prefix, schema) = clothes(dialect, status);
        let response = json!({
            "description": meaning(status),
            "headers": headers(status),
            "content": { "application/json": { "schema": schema } },
        });
        let reference = sections.component("responses", &format!("{prefix}{status}"), response);
        responses.insert(status.to_string(), reference);
    }
    responses
}

//! OpenAI's paths, for the endpoints whose models do what each is for.

use selvedge_model::Task;
use selvedge_model::model::INPUTS_MAX;
use serde_json::{Value, json};

use super::bodies::Named;
use super::operation::{Operation, events, json_content};
use super::sampling;
use super::schema::{array, described, object, one_of_texts};
use super::{Sections, Subject, errors, task};
use crate::router::Dialect;

const TAG: &str = "OpenAI";

/// Writes its operations.
pub(super) fn describe(subject: &Subject, sections: &mut Sections) {
    sections.tag(TAG, "OpenAI's API; an endpoint's name is a model's id.");
    let generating = subject.names(&[Task::TextGeneration]);
    if !generating.is_empty() {
        texts(Kind::Chat, named(subject, &generating), sections);
        texts(Kind::Completion, named(subject, &generating), sections);
    }
    let embedding = subject.names(&[Task::FeatureExtraction]);
    if !embedding.is_empty() {
        embeddings(named(subject, &embedding), sections);
    }
    models(subject, sections);
}

fn named<'a>(subject: &'a Subject, names: &'a [String]) -> Named<'a> {
    let tag = None;
    Named { subject, names, tag }
}

fn operation<'a>(
    subject: &Subject,
    id: &str,
    summary: &'a str,
    statuses: Vec<u16>,
    answer: (&'static str, Value),
) -> Operation<'a> {
    Operation {
        tag: TAG,
        id: format!("openai_{id}"),
        summary,
        description: String::new(),
        dialect: Dialect::OpenAi,
        auth: subject.auth,
        scopes: &[],
        statuses,
        answer,
    }
}

fn statuses() -> Vec<u16> {
    [errors::READ.as_slice(), &errors::WORK, &[404]].concat()
}

fn models(subject: &Subject, sections: &mut Sections) {
    let names = subject.names(&[
        Task::TextGeneration,
        Task::FeatureExtraction,
        Task::TextClassification,
        Task::Tensor,
    ]);
    let text = json!({ "type": "string" });
    let model = object(
        json!({ "id": text, "object": { "const": "model" }, "created": { "type": "integer" }, "owned_by": text }),
        &["id", "object", "created", "owned_by"],
    );
    let model = sections.schema("Model", model);
    let list = object(
        json!({ "object": { "const": "list" }, "data": array(model.clone()) }),
        &["object", "data"],
    );
    let answer = ("The endpoints, as models.", json_content(list));
    let all = operation(subject, "models", "List models", errors::ASK.to_vec(), answer).describe(sections);
    sections.operation("get", "/v1/models", all);
    if names.is_empty() {
        return;
    }
    let answer = ("The endpoint, as a model.", json_content(model));
    let mut one = operation(
        subject,
        "model",
        "Look at a model",
        [errors::ASK.as_slice(), &[404]].concat(),
        answer,
    )
    .describe(sections);
    one["parameters"] =
        json!([{ "name": "id", "in": "path", "required": true, "schema": one_of_texts(&names) }]);
    sections.operation("get", "/v1/models/{id}", one);
}

fn embeddings(named: Named<'_>, sections: &mut Sections) {
    let text = json!({ "type": "string", "minLength": 1 });
    let tokens = named.token_ids();
    let several =
        |items: &Value| json!({ "type": "array", "minItems": 1, "maxItems": INPUTS_MAX, "items": items });
    let input = json!({
        "description": "A text, texts, the token ids of a text, or those of several.",
        "anyOf": [text, several(&text), tokens, several(&tokens)],
    });
    let request = object(
        json!({
            "model": named.model(),
            "input": input,
            "encoding_format": { "enum": ["float", "base64", null], "description": "Base64 is of little-endian float32." },
            "dimensions": described(named.dimensions(), "A shorter vector, scaled to length 1 again."),
        }),
        &["model", "input"],
    );
    let vector = json!({ "anyOf": [array(json!({ "type": "number" })), { "type": "string", "contentEncoding": "base64" }] });
    let count = json!({ "type": "integer", "minimum": 0 });
    let entry = object(
        json!({ "object": { "const": "embedding" }, "index": count, "embedding": vector }),
        &["object", "index", "embedding"],
    );
    let usage = object(
        json!({ "prompt_tokens": count, "total_tokens": count }),
        &["prompt_tokens", "total_tokens"],
    );
    let response = object(
        json!({ "object": { "const": "list" }, "data": array(entry), "model": { "type": "string" }, "usage": usage }),
        &["object", "data", "model", "usage"],
    );
    let response = sections.schema("EmbeddingList", response);
    let text = task::EMBEDDED;
    let examples = vec![
        ("one", json!({ "input": text })),
        ("several", json!({ "input": [text, "another"] })),
    ];
    let answer = ("Of each input its vector.", json_content(response));
    let embeddings =
        operation(named.subject, "embeddings", "Embed texts", statuses(), answer).describe(sections);
    let embeddings = named.complete(embeddings, Dialect::OpenAi, request, examples);
    sections.operation("post", "/v1/embeddings", embeddings);
}

/// Which of the paths that generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Chat,
    Completion,
}

impl Kind {
    /// What its schemas begin with, its operation, its path and its summary.
    fn names(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Chat => (
                "Chat",
                "chat",
                "/v1/chat/completions",
                "Go on with a conversation",
            ),
            Self::Completion => (
                "Completion",
                "completions",
                "/v1/completions",
                "Go on with a text",
            ),
        }
    }
}

fn texts(kind: Kind, named: Named<'_>, sections: &mut Sections) {
    let (schema, id, path, summary) = kind.names();
    let response = sections.schema(&format!("{schema}Answer"), answer(kind, Piece::Whole));
    let chunk = sections.schema(&format!("{schema}Chunk"), answer(kind, Piece::Chunk));
    let mut content = json_content(response);
    content["text/event-stream"] = events(
        chunk,
        Some("[DONE]"),
        "An event; the data of the last one is `[DONE]`.",
    );
    let text = task::ASKED;
    let (name, whole) = match kind {
        Kind::Chat => ("messages", json!({ "messages": sampling::conversation(text) })),
        Kind::Completion => ("prompt", json!({ "prompt": "Once upon a time" })),
    };
    let whole = sampling::short(whole);
    let examples = vec![(name, whole.clone()), ("streamed", sampling::streamed(&whole))];
    let texts =
        operation(named.subject, id, summary, statuses(), ("The answer.", content)).describe(sections);
    let texts = named.complete(texts, Dialect::OpenAi, text_request(kind, named), examples);
    sections.operation("post", path, texts);
}

fn text_request(kind: Kind, named: Named<'_>) -> Value {
    let mut properties = json!({ "model": named.model() });
    let key = match kind {
        Kind::Chat => {
            properties["messages"] = sampling::messages();
            "messages"
        }
        Kind::Completion => {
            let text = json!({ "type": "string", "minLength": 1 });
            let tokens = named.token_ids();
            properties["prompt"] = json!({
                "description": "A text, or its token ids; one prompt a request.",
                "anyOf": [text, tokens, { "type": "array", "minItems": 1, "maxItems": 1, "items": { "anyOf": [text, tokens] } }],
            });
            "prompt"
        }
    };
    properties["stream_options"] = json!({
        "type": ["object", "null"],
        "properties": { "include_usage": { "type": ["boolean", "null"], "description": "A last chunk with the counts." } },
    });
    sampling::with(properties, &["model", key])
}

/// A whole answer, or a chunk of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Whole,
    Chunk,
}

fn answer(kind: Kind, piece: Piece) -> Value {
    let text = json!({ "type": "string" });
    let content = json!({ "type": ["string", "null"] });
    let (object_name, key, said) = match (kind, piece) {
        (Kind::Chat, Piece::Whole) => {
            let message = json!({ "role": { "const": "assistant" }, "content": content, "refusal": { "type": "null" } });
            (
                "chat.completion",
                "message",
                object(message, &["role", "content"]),
            )
        }
        (Kind::Chat, Piece::Chunk) => (
            "chat.completion.chunk",
            "delta",
            object(json!({ "role": text, "content": content }), &[]),
        ),
        (Kind::Completion, _) => ("text_completion", "text", text.clone()),
    };
    let reason = json!({ "enum": ["stop", "length", "content_filter", "tool_calls", null] });
    let count = json!({ "type": "integer", "minimum": 0 });
    let choice = object(
        json!({ "index": count, key: said, "logprobs": { "type": ["object", "null"] }, "finish_reason": reason }),
        &["index", key, "finish_reason"],
    );
    let usage = json!({ "prompt_tokens": count, "completion_tokens": count, "total_tokens": count });
    let mut usage = object(usage, &["prompt_tokens", "completion_tokens", "total_tokens"]);
    let mut required = vec!["id", "object", "created", "model", "choices"];
    match piece {
        Piece::Whole => required.push("usage"),
        Piece::Chunk => usage["type"] = json!(["object", "null"]),
    }
    object(
        json!({
            "id": text, "object": { "const": object_name }, "created": { "type": "integer" }, "model": text,
            "choices": array(choice), "usage": usage,
        }),
        &required,
    )
}

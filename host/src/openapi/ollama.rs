//! Ollama's paths, for the endpoints whose models do what each is for.

use selvedge_model::Task;
use serde_json::{Value, json};

use super::bodies::Named;
use super::operation::{Operation, body, json_content};
use super::sampling;
use super::schema::{array, described, object};
use super::{Auth, Sections, Subject, errors, task};
use crate::router::Dialect;

const TAG: &str = "Ollama";

/// Writes its operations.
pub(super) fn describe(subject: &Subject, sections: &mut Sections) {
    sections.tag(
        TAG,
        "Ollama's API; an endpoint's name is a model's, with or without the tag `latest`.",
    );
    let generating = subject.names(&[Task::TextGeneration]);
    if !generating.is_empty() {
        texts(Kind::Chat, named(subject, &generating), sections);
        texts(Kind::Generate, named(subject, &generating), sections);
    }
    let embedding = subject.names(&[Task::FeatureExtraction]);
    if !embedding.is_empty() {
        embed(named(subject, &embedding), sections);
    }
    models(subject, sections);
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
        id: format!("ollama_{id}"),
        summary,
        description: String::new(),
        dialect: Dialect::Ollama,
        auth: subject.auth,
        scopes: &[],
        statuses,
        answer,
    }
}

fn statuses() -> Vec<u16> {
    [errors::READ.as_slice(), &errors::WORK, &[404]].concat()
}

fn named<'a>(subject: &'a Subject, names: &'a [String]) -> Named<'a> {
    let tag = Some(":latest");
    Named { subject, names, tag }
}

fn models(subject: &Subject, sections: &mut Sections) {
    let text = || json!({ "type": "string" });
    let details = object(
        json!({
            "parent_model": text(), "format": text(), "family": text(), "families": array(text()),
            "parameter_size": text(), "quantization_level": text(),
        }),
        &["format", "family", "families"],
    );
    let size = json!({ "type": "integer", "minimum": 0 });
    let model = object(
        json!({
            "name": text(), "model": text(), "modified_at": text(), "size": size, "digest": text(), "details": details,
            "expires_at": text(), "size_vram": size, "context_length": size,
        }),
        &["name", "model", "modified_at", "size", "digest", "details"],
    );
    let model = sections.schema("OllamaModel", model);
    let list = object(json!({ "models": array(model) }), &["models"]);
    for (id, path, summary) in [
        ("tags", "/api/tags", "List models"),
        ("ps", "/api/ps", "List the models that are loaded"),
    ] {
        let answer = ("The endpoints that serve, as models.", json_content(list.clone()));
        let operation = operation(subject, id, summary, errors::ASK.to_vec(), answer).describe(sections);
        sections.operation("get", path, operation);
    }
    let version = object(json!({ "version": text() }), &["version"]);
    let answer = ("The node's version.", json_content(version));
    let version = operation(
        subject,
        "version",
        "Ask for the version",
        errors::ASK.to_vec(),
        answer,
    );
    let version = version.describe(sections);
    sections.operation("get", "/api/version", version);
    let plain = json!({ "text/plain": { "schema": { "const": "Ollama is running" } } });
    let answer = ("Somebody is.", plain);
    // Anybody may ask.
    let root = Operation {
        auth: Auth::None,
        ..operation(
            subject,
            "root",
            "Ask whether anybody is there",
            Vec::new(),
            answer,
        )
    };
    let mut root = root.describe(sections);
    for status in ["500", "503"] {
        root["responses"][status] = json!({ "$ref": format!("#/components/responses/Endpoint{status}") });
    }
    sections.operation("get", "/", root);
    show(details, subject, sections);
}

fn show(details: Value, subject: &Subject, sections: &mut Sections) {
    let names: Vec<String> = subject
        .endpoints
        .iter()
        .map(|endpoint| endpoint.name.clone())
        .collect();
    let Some(first) = names.first() else { return };
    let text = || json!({ "type": "string" });
    let response = object(
        json!({
            "license": text(), "modelfile": text(), "parameters": text(), "template": text(), "details": details,
            "model_info": { "type": "object" }, "capabilities": array(text()), "modified_at": text(),
        }),
        &["details", "model_info", "capabilities"],
    );
    let request = object(json!({ "model": named(subject, &names).model() }), &["model"]);
    let statuses = [errors::READ.as_slice(), &[404]].concat();
    let answer = ("What there is to say of it.", json_content(response));
    let mut show = operation(subject, "show", "Look at a model", statuses, answer).describe(sections);
    show["requestBody"] = body(request, vec![("one", json!({ "model": first }))]);
    sections.operation("post", "/api/show", show);
}

fn embed(named: Named<'_>, sections: &mut Sections) {
    let text = json!({ "type": "string", "minLength": 1 });
    let vector = array(json!({ "type": "number" }));
    let count = json!({ "type": "integer", "minimum": 0 });
    let sample = task::EMBEDDED;
    let request = object(
        json!({
            "model": named.model(),
            "input": { "anyOf": [text, { "type": "array", "minItems": 1, "items": text }] },
            "dimensions": described(json!({ "type": ["integer", "null"], "minimum": 0 }), "A shorter vector, scaled to length 1 again; 0 is all of it."),
        }),
        &["model", "input"],
    );
    let response = object(
        json!({
            "model": text, "embeddings": array(vector.clone()), "total_duration": count, "load_duration": count,
            "prompt_eval_count": count,
        }),
        &["model", "embeddings"],
    );
    let answer = ("Of each text its vector.", json_content(response));
    let embed = operation(named.subject, "embed", "Embed texts", statuses(), answer).describe(sections);
    let examples = vec![("one", json!({ "input": sample }))];
    let embed = named.complete(embed, Dialect::Ollama, request, examples);
    sections.operation("post", "/api/embed", embed);

    let request = object(
        json!({ "model": named.model(), "prompt": text }),
        &["model", "prompt"],
    );
    let response = object(json!({ "embedding": vector }), &["embedding"]);
    let answer = ("Its vector.", json_content(response));
    let mut old = operation(
        named.subject,
        "embeddings",
        "Embed one text; `/api/embed` replaces it",
        statuses(),
        answer,
    )
    .describe(sections);
    old["deprecated"] = json!(true);
    let examples = vec![("one", json!({ "prompt": sample }))];
    let old = named.complete(old, Dialect::Ollama, request, examples);
    sections.operation("post", "/api/embeddings", old);
}

/// Which of the paths that generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Chat,
    Generate,
}

fn texts(kind: Kind, named: Named<'_>, sections: &mut Sections) {
    let sample = task::ASKED;
    let (id, path, summary, key, said) = match kind {
        Kind::Chat => (
            "chat",
            "/api/chat",
            "Go on with a conversation",
            "messages",
            sampling::conversation(sample),
        ),
        Kind::Generate => (
            "generate",
            "/api/generate",
            "Answer a prompt",
            "prompt",
            json!(sample),
        ),
    };
    let line = match kind {
        Kind::Chat => sections.schema("OllamaChatLine", line(kind)),
        Kind::Generate => sections.schema("OllamaGenerateLine", line(kind)),
    };
    let mut content = json_content(line.clone());
    let about = "A line, with a piece of the text; the last one is `done`.";
    content["application/x-ndjson"] = json!({ "schema": described(line, about) });
    let texts =
        operation(named.subject, id, summary, statuses(), ("The answer.", content)).describe(sections);
    let options = json!({ "num_predict": 48 });
    let whole = json!({ key: said, "stream": false, "options": options });
    let streamed = json!({ key: said, "options": options });
    let request = text_request(kind, named);
    let examples = vec![("whole", whole), ("streamed", streamed)];
    let texts = named.complete(texts, Dialect::Ollama, request, examples);
    sections.operation("post", path, texts);
}

fn text_request(kind: Kind, named: Named<'_>) -> Value {
    let nullable = || json!({ "type": ["string", "null"] });
    let mut properties = json!({
        "model": named.model(),
        "stream": { "type": ["boolean", "null"], "description": "Whether the text comes as it is written; it does where nothing is said." },
        "format": {
            "description": "`json`, or a JSON Schema.",
            "anyOf": [{ "enum": ["", "json", null] }, { "type": "object" }],
        },
        "options": described(json!({ "type": ["object", "null"], "properties": options() }), "What is not known is ignored."),
    });
    match kind {
        Kind::Chat => {
            properties["messages"] = described(sampling::messages(), "Without any, the model is loaded.");
            properties["messages"]["minItems"] = json!(0);
        }
        Kind::Generate => {
            properties["prompt"] = described(nullable(), "Without one, the model is loaded.");
            properties["system"] = nullable();
            properties["raw"] = json!({
                "type": ["boolean", "null"], "description": "Whether the prompt goes to the model as it is, without its chat template.",
            });
        }
    }
    object(properties, &["model"])
}

fn options() -> Value {
    let number = |from: f64, to: f64| json!({ "type": ["number", "null"], "minimum": from, "maximum": to });
    let stop = json!({ "type": "string", "maxLength": 256 });
    json!({
        "num_predict": described(json!({ "type": ["integer", "null"], "not": { "const": 0 }, "maximum": u32::MAX }), "Tokens of the answer at most; a negative number is no limit."),
        "temperature": number(0.0, 2.0),
        "top_p": number(0.0, 1.0),
        "min_p": number(0.0, 1.0),
        "top_k": { "type": ["integer", "null"], "minimum": 0, "maximum": u32::MAX },
        "seed": { "type": ["integer", "null"] },
        "stop": { "anyOf": [stop, { "type": "array", "maxItems": 4, "items": stop }, { "type": "null" }] },
    })
}

fn line(kind: Kind) -> Value {
    let text = json!({ "type": "string" });
    let count = json!({ "type": "integer", "minimum": 0 });
    let mut properties = json!({
        "model": text, "created_at": { "type": "string", "format": "date-time" }, "done": { "type": "boolean" },
        "done_reason": { "enum": ["stop", "length", "content_filter", "tool_calls", "load", "unload"] },
        "total_duration": described(count.clone(), "Nanoseconds, as the other durations."),
        "load_duration": count, "prompt_eval_count": count, "prompt_eval_duration": count, "eval_count": count, "eval_duration": count,
    });
    let key = match kind {
        Kind::Chat => {
            properties["message"] = object(json!({ "role": text, "content": text }), &["role", "content"]);
            "message"
        }
        Kind::Generate => {
            properties["response"] = text;
            "response"
        }
    };
    object(properties, &["model", "created_at", key, "done"])
}

//! The Open Inference Protocol's paths: here the node and its models; `infer` and `generate` have what each endpoint takes and gives.

mod generate;
mod infer;

use serde_json::{Value, json};

use super::operation::{Operation, body, json_content};
use super::schema::{array, described, object, one_of_texts};
use super::subject::Endpoint;
use super::{Auth, Sections, Subject, bodies, errors, plugins};
use crate::ports::VERSION;
use crate::router::Dialect;

const TAG: &str = "Open Inference";

/// Writes its operations.
pub(super) fn describe(subject: &Subject, sections: &mut Sections) {
    sections.tag(
        TAG,
        "The Open Inference Protocol, version 2, as Triton and KServe speak it; an endpoint's name is a model's.",
    );
    node(subject, sections);
    models(subject, sections);
    for endpoint in &subject.endpoints {
        infer::describe(endpoint, subject, sections);
        generate::describe(endpoint, subject, sections);
    }
}

fn operation<'a>(
    subject: &Subject,
    id: String,
    summary: &'a str,
    statuses: Vec<u16>,
    answer: (&'static str, Value),
) -> Operation<'a> {
    Operation {
        tag: TAG,
        id: format!("open_inference_{id}"),
        summary,
        description: String::new(),
        dialect: Dialect::OpenInference,
        auth: subject.auth,
        scopes: &[],
        statuses,
        answer,
    }
}

/// An operation that an endpoint's plugins and model work on.
fn work<'a>(
    endpoint: &'a Endpoint,
    subject: &Subject,
    (id, summary): (&str, &'a str),
    answer: (&'static str, Value),
) -> Operation<'a> {
    let statuses = [errors::READ.as_slice(), &errors::WORK, &[404, 501]].concat();
    let seen = bodies::reference(endpoint).map(|seen| {
        let place = seen["$ref"].as_str().unwrap_or_default().to_owned();
        format!("Plugins see it in JSON, as the body of the endpoint's own path, which must match `{place}`.")
    });
    Operation {
        scopes: &endpoint.scopes,
        description: seen.unwrap_or_default(),
        ..operation(
            subject,
            format!("{id}_{}", endpoint.name),
            summary,
            statuses,
            answer,
        )
    }
}

/// Adds an operation at a model's path, and at that of its only version.
fn add(sections: &mut Sections, method: &str, model: &str, behind: &str, operation: Value) {
    let mut versioned = operation.clone();
    let id = versioned["operationId"].as_str().unwrap_or_default();
    versioned["operationId"] = json!(format!("{id}_version"));
    let mut parameters = versioned["parameters"].as_array().cloned().unwrap_or_default();
    parameters.push(in_path("version", &[VERSION.to_owned()]));
    versioned["parameters"] = parameters.into();
    sections.operation(method, &format!("/v2/models/{model}{behind}"), operation);
    let path = format!("/v2/models/{model}/versions/{{version}}{behind}");
    sections.operation(method, &path, versioned);
}

fn in_path(name: &str, values: &[String]) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": one_of_texts(values) })
}

/// By what unknown plugins may answer.
fn refusable(endpoint: &Endpoint, mut operation: Value) -> Value {
    if plugins::refuse_as_they_like(endpoint) {
        operation["responses"]["4XX"] = errors::any_refusal(Dialect::OpenInference);
    }
    operation
}

fn node(subject: &Subject, sections: &mut Sections) {
    let text = || json!({ "type": "string" });
    let truth = || json!({ "type": "boolean" });
    let server = object(
        json!({ "name": text(), "version": text(), "extensions": array(text()) }),
        &["name", "version", "extensions"],
    );
    let names = names(subject);
    let list = object(json!({ "models": array(one_of_texts(&names)) }), &["models"]);
    for (id, path, summary, answer) in [
        (
            "server",
            "/v2",
            "Ask what the server is",
            ("Its name, and what of the protocol it has.", server),
        ),
        (
            "models",
            "/v2/models",
            "List models",
            ("The endpoints, as models.", list),
        ),
    ] {
        let answer = (answer.0, json_content(answer.1));
        let described = operation(subject, id.to_owned(), summary, errors::ASK.to_vec(), answer);
        let described = described.describe(sections);
        sections.operation("get", path, described);
    }
    let live = object(json!({ "live": { "const": true } }), &["live"]);
    let ready = object(json!({ "live": truth(), "ready": truth() }), &["live", "ready"]);
    for (id, path, summary, schema) in [
        ("live", "/v2/health/live", "Ask whether the server lives", live),
        (
            "ready",
            "/v2/health/ready",
            "Ask whether any model is ready",
            ready,
        ),
    ] {
        let answer = ("It is so.", json_content(schema.clone()));
        // Anybody may ask.
        let described = Operation {
            auth: Auth::None,
            ..operation(subject, id.to_owned(), summary, vec![500], answer)
        };
        let described = not_ready(described.describe(sections), schema);
        sections.operation("get", path, described);
    }
    index(subject, sections);
}

/// An operation whose answer is 503 where what it asks for is not ready: with the same words, or with why nothing is answered yet.
fn not_ready(mut operation: Value, schema: Value) -> Value {
    let error = json!({ "$ref": "#/components/schemas/OllamaError" });
    operation["responses"]["503"] = json!({
        "description": "It is not so, or not yet.",
        "headers": errors::headers(503),
        "content": json_content(json!({ "anyOf": [schema, error] })),
    });
    operation
}

fn index(subject: &Subject, sections: &mut Sections) {
    let text = || json!({ "type": "string" });
    let entry = object(
        json!({
            "name": one_of_texts(&names(subject)), "version": { "const": VERSION },
            "state": { "enum": ["READY", "UNAVAILABLE"] }, "reason": text(),
        }),
        &["name", "version", "state"],
    );
    let answer = ("The models.", json_content(array(entry)));
    let summary = "List models with their states";
    let index = operation(
        subject,
        "index".to_owned(),
        summary,
        errors::READ.to_vec(),
        answer,
    );
    let mut index = index.describe(sections);
    let ready = described(
        json!({ "type": ["boolean", "null"] }),
        "Only those that are ready.",
    );
    let request = object(json!({ "ready": ready }), &[]);
    let examples = vec![("all", json!({})), ("ready", json!({ "ready": true }))];
    index["requestBody"] = body(request, examples);
    index["requestBody"]["required"] = json!(false);
    sections.operation("post", "/v2/repository/index", index);
}

fn names(subject: &Subject) -> Vec<String> {
    let names = subject.endpoints.iter().map(|endpoint| endpoint.name.clone());
    names.collect()
}

fn models(subject: &Subject, sections: &mut Sections) {
    let names = names(subject);
    if names.is_empty() {
        return;
    }
    let name = || one_of_texts(&names);
    let ready = object(
        json!({ "name": name(), "ready": { "type": "boolean" } }),
        &["name", "ready"],
    );
    let all = ("What all were asked.", json_content(statistics(name())));
    let summary = "Ask what all models were asked, and how long that took";
    let described = operation(
        subject,
        "statistics".to_owned(),
        summary,
        errors::ASK.to_vec(),
        all,
    );
    let described = described.describe(sections);
    sections.operation("get", "/v2/models/stats", described);
    let statuses = || [errors::ASK.as_slice(), &[404]].concat();
    for (id, behind, summary, schema) in [
        ("model", "", "Ask what a model takes and gives", metadata(name())),
        (
            "config",
            "/config",
            "Ask the same in the words of Triton's configuration",
            config(name()),
        ),
        (
            "model_statistics",
            "/stats",
            "Ask what a model was asked, and how long that took",
            statistics(name()),
        ),
        ("model_ready", "/ready", "Ask whether a model is ready", ready),
    ] {
        let answer = ("The endpoint, as a model.", json_content(schema.clone()));
        let described = operation(subject, id.to_owned(), summary, statuses(), answer);
        let mut described = described.describe(sections);
        if id == "model_ready" {
            described = not_ready(described, schema);
        }
        described["parameters"] = json!([in_path("name", &names)]);
        add(sections, "get", "{name}", behind, described);
    }
}

fn dimensions() -> Value {
    described(
        array(json!({ "type": "integer", "minimum": -1 })),
        "-1 where a dimension is open.",
    )
}

fn metadata(name: Value) -> Value {
    let text = || json!({ "type": "string" });
    let port = object(
        json!({ "name": text(), "datatype": text(), "shape": dimensions() }),
        &["name", "datatype", "shape"],
    );
    object(
        json!({
            "name": name, "versions": { "const": [VERSION] }, "platform": text(), "inputs": array(port.clone()), "outputs": array(port),
        }),
        &["name", "versions", "platform", "inputs", "outputs"],
    )
}

fn statistics(name: Value) -> Value {
    let count = || json!({ "type": "integer", "minimum": 0 });
    let total = |about: &str| {
        let pair = object(json!({ "count": count(), "ns": count() }), &["count", "ns"]);
        described(pair, about)
    };
    let parts = [
        (
            "success",
            "Requests that were answered, in nanoseconds from the head to the last byte.",
        ),
        (
            "fail",
            "Requests that were refused, failed, or were left by their client.",
        ),
        ("queue", "Waiting for a batch, or a row."),
        ("compute_input", "Making tokens of texts."),
        ("compute_infer", "The model's work."),
        ("compute_output", "Not measured: zeros."),
        ("cache_hit", "There is no cache of answers: zeros."),
        ("cache_miss", "There is no cache of answers: zeros."),
    ];
    let names = parts.map(|(name, _)| name);
    let parts = parts.map(|(name, about)| (name.to_owned(), total(about)));
    let last = described(
        count(),
        "Milliseconds since 1970; 0 where nothing was answered yet.",
    );
    let inferences = described(count(), "Inputs, and generated texts, that came to their end.");
    let executions = described(
        count(),
        "Runs of the model, which other endpoints may share; of another server's, its answers.",
    );
    let entry = object(
        json!({
            "name": name, "version": { "const": VERSION }, "last_inference": last, "inference_count": inferences,
            "execution_count": executions, "inference_stats": object(parts.into_iter().collect(), &names),
            "batch_stats": { "type": "array", "maxItems": 0 },
        }),
        &[
            "name",
            "version",
            "last_inference",
            "inference_count",
            "execution_count",
            "inference_stats",
            "batch_stats",
        ],
    );
    object(json!({ "model_stats": array(entry) }), &["model_stats"])
}

fn config(name: Value) -> Value {
    let text = || json!({ "type": "string" });
    let port = object(
        json!({ "name": text(), "data_type": text(), "dims": dimensions() }),
        &["name", "data_type", "dims"],
    );
    object(
        json!({
            "name": name, "platform": text(), "backend": text(), "max_batch_size": { "const": 0 },
            "version_policy": { "type": "object" }, "input": array(port.clone()), "output": array(port),
        }),
        &["name", "platform", "backend", "max_batch_size", "input", "output"],
    )
}

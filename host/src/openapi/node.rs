//! The node's own paths: how it is, and this document.

use serde_json::{Value, json};

use super::operation::{Operation, json_content};
use super::schema::{array, described, object};
use super::{Auth, Sections, errors};
use crate::router::Dialect;

const TAG: &str = "Node";

/// Writes its operations. Anybody may ask how the node is; what it serves and what it counts is told as `auth` has it.
pub(super) fn describe(auth: Auth, sections: &mut Sections) {
    sections.tag(TAG, "How the node is, and what it serves.");
    let alive = object(json!({ "status": { "const": "alive" } }), &["status"]);
    let live = get(
        "live",
        "Whether the process lives",
        ("It does.", json_content(alive)),
    );
    let live = live.describe(sections);
    sections.operation("get", "/healthz", live);
    let readiness = json_content(sections.schema("Readiness", readiness()));
    let answer = ("At least one endpoint serves.", readiness.clone());
    let ready = get(
        "ready",
        "Which models, plugins and endpoints are ready, and why not",
        answer,
    );
    let mut ready = ready.describe(sections);
    ready["responses"]["503"] = json!({
        "description": "The node starts or drains, or no endpoint serves.",
        "headers": errors::headers(200),
        "content": readiness,
    });
    sections.operation("get", "/readyz", ready);
    let text = |media_type: &str| json!({ media_type: { "schema": { "type": "string" } } });
    let admin = ["admin".to_owned()];
    let metrics = Operation {
        auth,
        scopes: &admin,
        statuses: errors::ASK.to_vec(),
        ..get(
            "metrics",
            "What is counted, for Prometheus",
            ("Prometheus's text format.", text("text/plain")),
        )
    };
    let metrics = metrics.describe(sections);
    sections.operation("get", "/metrics", metrics);
    let document = Operation {
        auth,
        statuses: errors::ASK.to_vec(),
        ..get(
            "openapi",
            "This document",
            ("OpenAPI 3.1.", json_content(json!({ "type": "object" }))),
        )
    };
    let document = cached(document.describe(sections));
    sections.operation("get", "/openapi.json", document);
    let page = get(
        "docs",
        "A page to read this document by, and to try it",
        ("HTML.", text("text/html")),
    );
    let page = cached(page.describe(sections));
    sections.operation("get", "/docs", page);
}

fn get<'a>(id: &str, summary: &'a str, answer: (&'static str, Value)) -> Operation<'a> {
    Operation {
        tag: TAG,
        id: format!("node_{id}"),
        summary,
        description: String::new(),
        dialect: Dialect::Endpoint,
        auth: Auth::None,
        scopes: &[],
        statuses: vec![500, 503],
        answer,
    }
}

/// An operation whose answer bears a tag.
fn cached(mut operation: Value) -> Value {
    let mut headers = errors::headers(200);
    headers["etag"] = json!({ "schema": { "type": "string" } });
    operation["responses"]["200"]["headers"] = headers.clone();
    let unchanged = json!({ "description": "It is still what `if-none-match` names.", "headers": headers });
    operation["responses"]["304"] = unchanged;
    operation
}

fn readiness() -> Value {
    let text = || json!({ "type": "string" });
    let state = || json!({ "enum": ["ready", "broken"] });
    let reasons = || described(array(text()), "Why it is broken.");
    let plugin = object(
        json!({
            "name": text(), "stages": array(text()), "digest": text(), "startup": { "enum": ["snapshot", "configure"] },
            "reuse": described(json!({ "type": "integer", "minimum": 1 }), "Requests that one instance serves."),
            "note": { "type": ["string", "null"] },
        }),
        &["name", "stages", "digest", "startup", "reuse"],
    );
    let endpoint = object(
        json!({
            "name": text(), "path": { "type": ["string", "null"] }, "state": state(), "model": text(),
            "plugins": array(plugin), "reasons": reasons(),
        }),
        &["name", "state"],
    );
    let model = object(
        json!({ "name": text(), "state": state(), "task": text(), "reasons": reasons() }),
        &["name", "state"],
    );
    object(
        json!({
            "status": { "enum": ["ready", "degraded", "broken", "starting", "draining"] },
            "generation": described(json!({ "type": "integer", "minimum": 1 }), "Counts the node's configurations."),
            "sandbox": { "type": "object" },
            "models": array(model),
            "endpoints": array(endpoint),
        }),
        &["status"],
    )
}

//! What endpoints were asked, by Triton's statistics extension: how often, what came of it, and how long that took.
//!
//! See <https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md>. What the node does not
//! measure or have (the making of an output, a cache of answers) is there with zeros, since clients read it.

use http::StatusCode;
use serde_json::{Value, json};

use super::VERSION;
use crate::backend::Backend;
use crate::generation::{EndpointState, Generation, Ready};
use crate::http::{Response, respond};
use crate::telemetry::Total;

/// `GET /v2/models/{name}/stats`.
pub(super) fn one(endpoint: &Ready) -> Response {
    respond::json(StatusCode::OK, &json!({ "model_stats": [entry(endpoint)] }))
}

/// `GET /v2/models/stats`: those of all endpoints that serve.
pub(super) fn all(generation: &Generation) -> Response {
    let serving = generation
        .endpoints
        .iter()
        .filter_map(|endpoint| match &endpoint.state {
            EndpointState::Ready(ready) => Some(entry(ready)),
            EndpointState::Broken(_) => None,
        });
    let entries: Vec<Value> = serving.collect();
    respond::json(StatusCode::OK, &json!({ "model_stats": entries }))
}

/// Requests are those of every dialect, from their head to the last byte of their answer.
///
/// A model of this node counts its runs itself, whichever endpoint they are for, and begins anew when it is loaded anew; of an
/// upstream, the node sees answers.
fn entry(endpoint: &Ready) -> Value {
    let counts = endpoint.meters.counts();
    let runs = match &endpoint.backend {
        Backend::Model(model) => model.runs(),
        Backend::Upstream(_) => counts.inferences,
    };
    json!({
        "name": &*endpoint.name,
        "version": VERSION,
        "last_inference": counts.last_ms,
        "inference_count": counts.inputs,
        "execution_count": runs,
        "inference_stats": {
            "success": total(counts.answered),
            "fail": total(counts.failed),
            "queue": total(counts.waited),
            "compute_input": total(counts.tokenized),
            "compute_infer": total(counts.ran),
            "compute_output": total(Total::default()),
            "cache_hit": total(Total::default()),
            "cache_miss": total(Total::default()),
        },
        "batch_stats": [],
    })
}

fn total(total: Total) -> Value {
    json!({ "count": total.count, "ns": total.ns })
}

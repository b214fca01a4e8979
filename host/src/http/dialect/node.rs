//! The node's own paths: whether it lives, and what of it is ready, on which device, and why not.

use http::StatusCode;
use selvedge_plugin::Startup;
use serde_json::{Value, json};

use crate::app::App;
use crate::backend::Backend;
use crate::generation::{Attached, Endpoint, EndpointState, Generation};
use crate::http::{Response, respond};

/// `GET /healthz`: the process answers.
#[must_use]
pub fn live() -> Response {
    respond::json(StatusCode::OK, &json!({ "status": "alive" }))
}

/// `GET /readyz` while the first generation is being built.
#[must_use]
pub fn starting() -> Response {
    respond::json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "starting" }))
}

/// `GET /readyz`: 200 while the node takes requests for at least one endpoint, also where another is broken, so that a
/// balancer does not take the good ones away; 503 while it drains or no endpoint serves.
#[must_use]
pub fn ready(app: &App, generation: &Generation) -> Response {
    let broken = generation.faults().next().is_some();
    let serves = generation
        .endpoints
        .iter()
        .any(|endpoint| matches!(endpoint.state, EndpointState::Ready(_)));
    let (status, word) = match (app.shutdown().is_draining(), serves, broken) {
        (true, ..) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (false, false, _) => (StatusCode::SERVICE_UNAVAILABLE, "broken"),
        (false, true, true) => (StatusCode::OK, "degraded"),
        (false, true, false) => (StatusCode::OK, "ready"),
    };
    let body = json!({
        "status": word,
        "generation": generation.number,
        "sandbox": { "pooled": app.sandbox().is_pooled(), "instances": app.sandbox().instances() },
        "models": generation.models.iter().map(|(name, model)| model_entry(name, model)).collect::<Vec<_>>(),
        "endpoints": generation.endpoints.iter().map(endpoint_entry).collect::<Vec<_>>(),
    });
    respond::json(status, &body)
}

fn model_entry(name: &str, backend: &Result<Backend, String>) -> Value {
    match backend {
        Ok(Backend::Model(model)) => {
            let (replicas, threads) = model.sessions();
            json!({
                "name": name,
                "state": "ready",
                "task": model.card().task.name(),
                "device": model.device(),
                "replicas": replicas,
                "threads": threads,
                "queue_len": model.queue_len(),
                "running": model.running(),
            })
        }
        Ok(Backend::Upstream(upstream)) => {
            let options = upstream.options();
            json!({
                "name": name,
                "state": "ready",
                "task": upstream.task().name(),
                "upstream": { "kind": options.kind.name(), "model": options.model },
                "running": upstream.running(),
            })
        }
        Err(reason) => json!({ "name": name, "state": "broken", "reasons": [reason] }),
    }
}

fn endpoint_entry(endpoint: &Endpoint) -> Value {
    let (name, path) = (&endpoint.name, &endpoint.path);
    match &endpoint.state {
        EndpointState::Ready(ready) => {
            let plugins: Vec<Value> = ready.plugins.iter().map(plugin_entry).collect();
            json!({ "name": &**name, "path": path, "state": "ready", "model": ready.backend.name(), "plugins": plugins })
        }
        EndpointState::Broken(reasons) => {
            json!({ "name": &**name, "path": path, "state": "broken", "reasons": reasons })
        }
    }
}

fn plugin_entry(attached: &Attached) -> Value {
    let plugin = attached.attachment.plugin();
    let (mode, note) = match attached.attachment.startup() {
        Startup::Snapshot {
            entropy_frozen: false,
        } => ("snapshot", None),
        Startup::Snapshot { entropy_frozen: true } => (
            "snapshot",
            Some("it drew randomness in `configure`, which is the same in every instance"),
        ),
        Startup::Configure { reason } => ("configure", Some(reason.as_str())),
    };
    let stages: Vec<&str> = plugin.stages.iter().map(|stage| stage.name()).collect();
    let digest = format!("sha256:{}", plugin.digest_hex());
    json!({ "name": &*plugin.name, "stages": stages, "digest": digest, "startup": mode, "note": note })
}

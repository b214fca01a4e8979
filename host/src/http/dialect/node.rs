//! The node's own paths: whether it lives, and what of it is ready, on which device, and why not.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use metrics::gauge;
use selvedge_plugin::{Sandbox, Startup};
use serde_json::{Value, json};

use crate::app::App;
use crate::backend::Backend;
use crate::generation::{Attached, Endpoint, EndpointState, Generation};
use crate::http::{Response, full, respond};
use crate::ports::VERSION;

/// `GET /healthz`: the process answers.
#[must_use]
pub fn live() -> Response {
    respond::json(StatusCode::OK, &json!({ "status": "alive" }))
}

/// How much is told of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Whether it is ready, and no more.
    State,
    /// Models, endpoints and plugins with their reasons as well.
    All,
}

/// `GET /readyz` while the first generation is being built.
#[must_use]
pub fn starting() -> Response {
    respond::json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "starting" }))
}

/// `GET /readyz`: 200 while the node takes requests for at least one endpoint, also where another is broken, so that a
/// balancer does not take the good ones away; 503 while it drains or no endpoint serves.
#[must_use]
pub fn ready(app: &App, generation: &Generation, told: Told) -> Response {
    let broken = generation.faults().next().is_some();
    let serves = generation
        .endpoints
        .iter()
        .any(|endpoint| matches!(endpoint.state, EndpointState::Ready(_)));
    let (status, word) = match (app.shutdown().is_leaving(), serves, broken) {
        (true, ..) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (false, false, _) => (StatusCode::SERVICE_UNAVAILABLE, "broken"),
        (false, true, true) => (StatusCode::OK, "degraded"),
        (false, true, false) => (StatusCode::OK, "ready"),
    };
    let held = app.queue().held();
    if told == Told::State {
        return respond::json(
            status,
            &json!({ "status": word, "generation": generation.number }),
        );
    }
    let body = json!({
        "status": word,
        "generation": generation.number,
        "sandbox": sandbox_entry(app.sandbox()),
        "observe": {
            "waiting": held.waiting, "waiting_bytes": held.waiting_bytes, "dead": held.dead, "lost": app.queue().lost(),
        },
        "models": generation.models.iter().map(|(name, model)| model_entry(name, model)).collect::<Vec<_>>(),
        "endpoints": generation.endpoints.iter().map(endpoint_entry).collect::<Vec<_>>(),
    });
    respond::json(status, &body)
}

fn sandbox_entry(sandbox: &Sandbox) -> Value {
    let room = sandbox.room();
    json!({
        "pooled": sandbox.is_pooled(),
        "instances": sandbox.instances(),
        "instances_max": room.instances_max,
        "memory": sandbox.memory(),
        "memory_max": room.memory_max,
    })
}

/// `GET /metrics`: what is counted, in Prometheus's text format.
#[must_use]
pub fn metrics(app: &App, generation: &Generation) -> Response {
    for (name, backend) in &generation.models {
        let state = if backend.is_ok() { 1.0 } else { 0.0 };
        gauge!("selvedge_model_state", "model" => name.clone(), "version" => VERSION).set(state);
        if let Ok(backend) = backend {
            note_model(name, backend);
        }
    }
    for endpoint in &generation.endpoints {
        let ready = match &endpoint.state {
            EndpointState::Ready(_) => 1.0,
            EndpointState::Broken(_) => 0.0,
        };
        gauge!("selvedge_endpoint_ready", "endpoint" => Arc::clone(&endpoint.name)).set(ready);
    }
    gauge!("selvedge_config_generation").set(real(generation.number));
    gauge!("selvedge_plugin_memory_bytes").set(real(app.sandbox().memory() as u64));
    gauge!("selvedge_upload_bytes").set(real(app.spool().bytes()));
    let held = app.queue().held();
    gauge!("selvedge_events", "state" => "waiting").set(real(held.waiting));
    gauge!("selvedge_events", "state" => "dead").set(real(held.dead));
    gauge!("selvedge_events_bytes", "state" => "waiting").set(real(held.waiting_bytes));
    gauge!("selvedge_events_bytes", "state" => "dead").set(real(held.dead_bytes));
    let mut response = Response::new(full(app.metrics().text(|labels| generation.tells(labels))));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4"),
    );
    response
}

fn note_model(name: &str, backend: &Backend) {
    let (waiting, running) = match backend {
        Backend::Model(model) => (model.queue_len(), model.running()),
        Backend::Upstream(upstream) => (0, upstream.running()),
    };
    let name = || name.to_owned();
    gauge!("selvedge_queue_depth", "model" => name()).set(real(waiting as u64));
    gauge!("selvedge_model_running", "model" => name()).set(real(running as u64));
    let (task, device) = (backend.task().name(), backend.device());
    gauge!("selvedge_model_info", "model" => name(), "task" => task, "device" => device).set(1.0);
}

/// Exact for whatever is counted here.
#[expect(
    clippy::cast_precision_loss,
    reason = "no queue and no generation reaches 2^52"
)]
fn real(number: u64) -> f64 {
    number as f64
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
    json!({ "name": &*plugin.name, "stages": stages, "digest": digest, "startup": mode, "reuse": attached.attachment.reuse(), "note": note })
}

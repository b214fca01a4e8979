//! What the node and its models are, and whether they are ready.

use http::StatusCode;
use selvedge_model::Element;
use serde_json::{Value, json};

use super::{VERSION, ports};
use crate::app::App;
use crate::backend::Backend;
use crate::generation::{Endpoint, EndpointState, Generation, Ready};
use crate::http::dialect::openai;
use crate::http::handle::Received;
use crate::http::{Response, respond};
use crate::pipeline::{ClientFault, RequestError};
use crate::ports::{Port, Ports};

/// What of the protocol's extensions there is.
const EXTENSIONS: [&str; 7] = [
    "binary_tensor_data",
    "classification",
    "generate",
    "model_configuration",
    "model_repository",
    "parameters",
    "statistics",
];

/// `GET /v2`.
pub(super) fn server() -> Response {
    let body = json!({ "name": "selvedge", "version": env!("CARGO_PKG_VERSION"), "extensions": EXTENSIONS });
    respond::json(StatusCode::OK, &body)
}

/// `GET /v2/health/live`: the process answers.
#[must_use]
pub fn live() -> Response {
    respond::json(StatusCode::OK, &json!({ "live": true }))
}

/// `GET /v2/health/ready`: whether it takes requests for at least one model. Clients look at the status alone.
pub(super) fn ready(app: &App, generation: &Generation) -> Response {
    let serves = generation.endpoints.iter().any(is_ready);
    let ready = serves && !app.shutdown().is_leaving();
    respond::json(status(ready), &json!({ "live": true, "ready": ready }))
}

/// `GET /v2/models`.
pub(super) fn models(generation: &Generation) -> Response {
    let names: Vec<&str> = generation
        .endpoints
        .iter()
        .map(|endpoint| &*endpoint.name)
        .collect();
    respond::json(StatusCode::OK, &json!({ "models": names }))
}

/// `GET /v2/models/{name}/ready`.
pub(super) fn model_ready(endpoint: &Endpoint) -> Response {
    let ready = is_ready(endpoint);
    respond::json(status(ready), &json!({ "name": &*endpoint.name, "ready": ready }))
}

fn is_ready(endpoint: &Endpoint) -> bool {
    matches!(endpoint.state, EndpointState::Ready(_))
}

fn status(ready: bool) -> StatusCode {
    if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

/// `GET /v2/models/{name}`.
pub(super) fn model(endpoint: &Ready) -> Response {
    let Ports { inputs, outputs } = ports(endpoint);
    let platform = match &endpoint.backend {
        Backend::Model(_) => "onnx_onnxv1".to_owned(),
        Backend::Upstream(upstream) => format!("upstream_{}", upstream.options().kind.name()),
    };
    let entry =
        |port: &Port| json!({ "name": port.name, "datatype": port.element.name(), "shape": port.shape });
    let list = |ports: &[Port]| ports.iter().map(entry).collect::<Vec<_>>();
    let body = json!({
        "name": &*endpoint.name, "versions": [VERSION], "platform": platform,
        "inputs": list(&inputs), "outputs": list(&outputs),
    });
    respond::json(StatusCode::OK, &body)
}

/// `GET /v2/models/{name}/config`. Dimensions are whole, with the batch's: `max_batch_size` is 0.
pub(super) fn config(endpoint: &Ready) -> Response {
    let Ports { inputs, outputs } = ports(endpoint);
    let (platform, backend) = match &endpoint.backend {
        Backend::Model(_) => ("onnxruntime_onnx", "onnxruntime"),
        Backend::Upstream(upstream) => ("", upstream.options().kind.name()),
    };
    let entry = |port: &Port| {
        let datatype = match port.element {
            Element::Text => "STRING",
            other => other.name(),
        };
        json!({ "name": port.name, "data_type": format!("TYPE_{datatype}"), "dims": port.shape })
    };
    let list = |ports: &[Port]| ports.iter().map(entry).collect::<Vec<_>>();
    let body = json!({
        "name": &*endpoint.name, "platform": platform, "backend": backend, "max_batch_size": 0,
        "version_policy": { "latest": { "num_versions": 1 } },
        "input": list(&inputs), "output": list(&outputs),
    });
    respond::json(StatusCode::OK, &body)
}

/// `POST /v2/repository/index`: all models, or with `"ready": true` those that serve.
///
/// # Errors
///
/// Where there is a body and it is no object.
pub(super) async fn index(generation: &Generation, received: &Received) -> Result<Response, RequestError> {
    let ready_only = received.read(ready_only).await?;
    let shown = generation
        .endpoints
        .iter()
        .filter(|endpoint| !ready_only || is_ready(endpoint));
    let entries: Vec<Value> = shown.map(entry).collect();
    Ok(respond::json(StatusCode::OK, &entries))
}

fn ready_only(body: &[u8]) -> Result<bool, ClientFault> {
    let fields = if body.is_empty() {
        serde_json::Map::new()
    } else {
        openai::object(body)?
    };
    match fields.get("ready") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(ready)) => Ok(*ready),
        Some(_) => Err(super::bad("bool_type", "ready", "`ready` must be true or false")),
    }
}

fn entry(endpoint: &Endpoint) -> Value {
    let (state, reason) = match &endpoint.state {
        EndpointState::Ready(_) => ("READY", ""),
        EndpointState::Broken(_) => (
            "UNAVAILABLE",
            "its model or a plugin cannot be loaded: see /readyz",
        ),
    };
    json!({ "name": &*endpoint.name, "version": VERSION, "state": state, "reason": reason })
}

//! What Ollama's clients ask about models: `/api/tags`, `/api/ps`, `/api/show`.

use std::sync::Arc;
use std::time::SystemTime;

use http::StatusCode;
use selvedge_model::{Model, Task};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::timestamp;
use crate::backend::Backend;
use crate::generation::{EndpointState, Generation, Ready};
use crate::http::{Response, respond};

/// `GET /api/tags`: the endpoints that serve.
#[must_use]
pub fn tags(generation: &Generation) -> Response {
    let models: Vec<Value> = serving(generation).map(|ready| entry(ready)).collect();
    respond::json(StatusCode::OK, &json!({ "models": models }))
}

/// `GET /api/ps`: the same, since models stay loaded.
#[must_use]
pub fn ps(generation: &Generation) -> Response {
    let running = |ready: &Arc<Ready>| {
        let mut entry = entry(ready);
        entry["expires_at"] = json!("9999-12-31T23:59:59Z");
        entry["size_vram"] = json!(0);
        if let Some(context_max) = ready.backend.context_max() {
            entry["context_length"] = json!(context_max);
        }
        entry
    };
    let models: Vec<Value> = serving(generation).map(running).collect();
    respond::json(StatusCode::OK, &json!({ "models": models }))
}

/// `POST /api/show`.
pub(super) fn show(ready: &Ready) -> Response {
    let task = ready.backend.task();
    let capability = match task {
        Task::TextGeneration => "completion",
        Task::FeatureExtraction => "embedding",
        Task::TextClassification | Task::Tensor => task.name(),
    };
    let card = ready.backend.model().map(Model::card);
    let basename = card.map_or_else(|| ready.backend.name(), |card| card.name.as_str());
    let mut info = json!({ "general.architecture": task.name(), "general.basename": basename });
    if let Some(context_max) = ready.backend.context_max() {
        info["general.context_length"] = json!(context_max);
    }
    let entry = entry(ready);
    respond::json(
        StatusCode::OK,
        &json!({
            "license": card.map(|card| card.licence.as_str()).unwrap_or_default(),
            "modelfile": "", "parameters": "", "template": "", "details": entry["details"], "model_info": info,
            "capabilities": [capability], "modified_at": entry["modified_at"],
        }),
    )
}

fn serving(generation: &Generation) -> impl Iterator<Item = &Arc<Ready>> {
    generation
        .endpoints
        .iter()
        .filter_map(|endpoint| match &endpoint.state {
            EndpointState::Ready(ready) => Some(ready),
            EndpointState::Broken(_) => None,
        })
}

fn entry(ready: &Ready) -> Value {
    let name = format!("{}:latest", ready.name);
    let metadata = ready
        .backend
        .model()
        .and_then(|model| std::fs::metadata(model.file()).ok());
    let modified = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
    let (family, format) = match &ready.backend {
        Backend::Model(model) => (model.card().task.name(), "onnx"),
        Backend::Upstream(upstream) => (upstream.task().name(), upstream.options().kind.name()),
    };
    json!({
        "name": name,
        "model": name,
        "modified_at": timestamp(modified.unwrap_or(SystemTime::UNIX_EPOCH)),
        "size": metadata.map(|metadata| metadata.len()).unwrap_or_default(),
        "digest": digest(ready),
        "details": {
            "parent_model": "", "format": format, "family": family, "families": [family],
            "parameter_size": "", "quantization_level": "",
        },
    })
}

/// Of the model's file, as its card has it; else of its name, since clients want one.
fn digest(ready: &Ready) -> String {
    let known = ready.backend.model().and_then(|model| {
        let file = model.file().file_name()?.to_string_lossy().into_owned();
        model.card().sha256.get(&file).cloned()
    });
    known.unwrap_or_else(|| {
        let hash = Sha256::digest(ready.backend.name().as_bytes());
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    })
}

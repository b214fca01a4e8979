//! The Open Inference Protocol, version 2, with Triton's extensions of it: binary tensors, classification, generation, the list of
//! models. See <https://github.com/open-inference/open-inference-protocol>.
//!
//! An endpoint's name is a model's. `crate::ports` says what an endpoint takes and gives here, `request` reads tensors, `infer` and
//! `generate` take them through the endpoint's pipeline, `outcome` makes tensors of what it gave, and `response` writes them.
//! `metadata` and `statistics` describe endpoints.

mod classes;
mod data;
mod generate;
mod infer;
mod metadata;
mod outcome;
mod raw;
mod request;
mod response;
mod statistics;
mod wanted;
mod written;

pub use metadata::live;

use std::sync::Arc;

use selvedge_model::Model;
use selvedge_plugin::Stage;

use super::enter;
use crate::app::App;
use crate::generation::{Endpoint, EndpointState, Generation, Ready};
use crate::http::Response;
use crate::http::handle::Received;
use crate::pipeline::{ClientFault, HostFault, RequestError};
use crate::ports::{Ports, Postprocessing, VERSION};
use crate::router::{Asked, OpenInference};

/// Answers what has no body.
///
/// # Errors
///
/// Where no endpoint has the name or the version, or the node does not have what is asked for.
pub fn get(app: &App, generation: &Generation, path: OpenInference<'_>) -> Result<Response, RequestError> {
    match path {
        OpenInference::Server => Ok(metadata::server()),
        OpenInference::Live => Ok(live()),
        OpenInference::Ready => Ok(metadata::ready(app, generation)),
        OpenInference::Models => Ok(metadata::models(generation)),
        OpenInference::Statistics => Ok(statistics::all(generation)),
        OpenInference::Model { name, version, asked } => {
            let endpoint = find(generation, name, version)?;
            match asked {
                Asked::Ready => Ok(metadata::model_ready(endpoint)),
                Asked::Config => Ok(metadata::config(ready(endpoint)?)),
                Asked::Statistics => Ok(statistics::one(ready(endpoint)?)),
                _ => Ok(metadata::model(ready(endpoint)?)),
            }
        }
        OpenInference::Unsupported(what) => Err(unsupported(&format!("{what} is not supported")).into()),
        OpenInference::Index | OpenInference::Load(_) => Err(ClientFault::Method { allow: "POST" }.into()),
    }
}

/// Answers what has a body.
///
/// # Errors
///
/// Where the body is not as it must be, no endpoint has the name or the version, or the pipeline ends in an error.
pub async fn post(
    generation: &Generation,
    path: OpenInference<'_>,
    received: Received,
) -> Result<Response, RequestError> {
    match path {
        OpenInference::Model { name, version, asked } => {
            let endpoint = enter(
                find(generation, name, version)?,
                &received.call,
                received.estimate,
            )?;
            match asked {
                Asked::Generate => generate::whole(endpoint, received).await,
                Asked::GenerateStream => generate::streamed(endpoint, received).await,
                _ => infer::answer(endpoint, received).await,
            }
        }
        OpenInference::Index => metadata::index(generation, &received).await,
        OpenInference::Load(name) => {
            find(generation, name, None)?;
            received.read(|body| Err(refuse_to_load(body))).await
        }
        _ => Err(ClientFault::Method { allow: "GET, HEAD" }.into()),
    }
}

/// What an endpoint takes and gives.
fn ports(endpoint: &Ready) -> Ports {
    let (backend, model) = (&endpoint.backend, endpoint.backend.model());
    let postprocessing = match endpoint.stage(Stage::Postprocess).next() {
        Some(_) => Postprocessing::Some,
        None => Postprocessing::None,
    };
    Ports::new(
        backend.task(),
        model.map(Model::card),
        model.map(Model::signature),
        postprocessing,
    )
}

/// An endpoint that serves, to be described: who may use it does not matter.
fn ready(endpoint: &Endpoint) -> Result<&Arc<Ready>, HostFault> {
    match &endpoint.state {
        EndpointState::Ready(ready) => Ok(ready),
        EndpointState::Broken(reasons) => Err(HostFault::Unavailable {
            endpoint: endpoint.name.as_ref().to_owned(),
            reason: reasons.join("; "),
        }),
    }
}

fn find<'a>(
    generation: &'a Generation,
    name: &str,
    version: Option<&str>,
) -> Result<&'a Endpoint, ClientFault> {
    let endpoint = generation.endpoint(name);
    let endpoint = endpoint.ok_or_else(|| ClientFault::UnknownModel(name.to_owned()))?;
    match version {
        None | Some(VERSION) => Ok(endpoint),
        Some(version) => Err(ClientFault::UnknownVersion {
            model: name.to_owned(),
            version: version.to_owned(),
        }),
    }
}

/// Which models there are is the operator's affair, and code that a client brings is never run.
fn refuse_to_load(body: &[u8]) -> ClientFault {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let brings = |key: &String| key.starts_with("file:") || key == "config";
    let brought = body["parameters"]
        .as_object()
        .and_then(|fields| fields.keys().find(|key| brings(key)));
    match brought {
        Some(key) => unsupported(&format!(
            "the parameter `{key}` is refused: no model is taken from a client; the node's configuration names its models"
        )),
        None => unsupported("models are loaded and unloaded by the node's configuration, not by clients"),
    }
}

fn unsupported(message: &str) -> ClientFault {
    ClientFault::Unsupported(message.to_owned())
}

/// What is wrong with a body, at a place in it.
fn bad(kind: &'static str, param: &str, message: impl Into<String>) -> ClientFault {
    ClientFault::BadBody {
        kind,
        param: param.to_owned(),
        message: message.into(),
    }
}

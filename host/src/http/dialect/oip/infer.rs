//! `infer`: tensors through an endpoint's whole pipeline.
//!
//! What plugins see is JSON, whatever the client sent: of a tensor model the request itself, with all tensors in it; of a model that
//! takes texts the body of its own path, so that the same plugins serve both.

use std::sync::Arc;
use std::time::Duration;

use selvedge_model::{Input, Signature, Task, Text};
use serde_json::{Map, Value, json};

use super::outcome::{self, Named};
use super::request::{self, Request};
use super::response::{self, Head};
use super::wanted::Form;
use super::written::counted;
use super::{bad, generate, ports};
use crate::generation::Ready;
use crate::http::Response;
use crate::http::dialect::{endpoint as own_path, run};
use crate::http::handle::Received;
use crate::pipeline::{HostFault, RequestError, size};
use crate::ports::{Ports, TEXT};
use crate::router::Dialect;

/// Answers a request.
///
/// # Errors
///
/// Where the body is not as it must be, or the pipeline ends in an error.
pub(super) async fn answer(endpoint: &Arc<Ready>, received: Received) -> Result<Response, RequestError> {
    let ports = ports(endpoint);
    let request = request::read(endpoint, &received, &ports).await?;
    request.wanted.check(&ports)?;
    let (id, wanted) = (request.id.clone(), request.wanted.clone());
    let (time, time_max) = (received.time(endpoint), request.time_max);
    let head = Head {
        model: &endpoint.name,
        id: id.as_deref(),
    };
    let answer = async {
        let named = outputs(endpoint, &ports, request, received).await?;
        response::encode(time, &head, named, &wanted).await
    };
    within(time_max, answer).await
}

/// A future within the time that the client gives it.
async fn within<T>(
    time_max: Option<Duration>,
    future: impl Future<Output = Result<T, RequestError>>,
) -> Result<T, RequestError> {
    match time_max {
        None => future.await,
        Some(time_max) => {
            let outcome = tokio::time::timeout(time_max, future).await;
            outcome.unwrap_or_else(|_| Err(HostFault::Timeout(time_max).into()))
        }
    }
}

/// Runs a request; all that it gives.
///
/// # Errors
///
/// Where the inputs are not those of the endpoint, or the pipeline ends in an error.
pub(super) async fn outputs(
    endpoint: &Arc<Ready>,
    ports: &Ports,
    request: Request,
    received: Received,
) -> Result<Vec<Named>, RequestError> {
    match endpoint.backend.task() {
        Task::Tensor => tensors(endpoint, request, received).await,
        Task::TextGeneration => {
            let texts = texts_of(ports, &request)?;
            generate::outputs(endpoint, texts, request.parameters, received).await
        }
        Task::TextClassification | Task::FeatureExtraction => {
            let texts = texts_of(ports, &request)?;
            of_texts(endpoint, texts, request.parameters, received).await
        }
    }
}

async fn tensors(
    endpoint: &Arc<Ready>,
    request: Request,
    received: Received,
) -> Result<Vec<Named>, RequestError> {
    let in_json = endpoint.plugins.is_empty() || request.form == Form::Json;
    let body = if in_json {
        received.body.clone()
    } else {
        let len = request
            .inputs
            .iter()
            .map(|(_, tensor)| size::of_bytes(&tensor.data));
        received
            .time(endpoint)
            .aside(len.sum(), || request.as_json())
            .await??
    };
    let first = Input::Tensors(request.inputs);
    let answer = run_on(endpoint, received, body, first, |body| {
        Ok(Input::Tensors(request::read_json(body)?.inputs))
    });
    outcome::tensors(endpoint, answer.await?)
}

async fn of_texts(
    endpoint: &Arc<Ready>,
    texts: Vec<String>,
    parameters: Map<String, Value>,
    received: Received,
) -> Result<Vec<Named>, RequestError> {
    // As the clients of each task name it; the endpoint's own path takes both.
    let field = match endpoint.backend.task() {
        Task::FeatureExtraction => "input",
        _ => TEXT,
    };
    let write = || {
        let value = match texts.as_slice() {
            [text] => json!(text),
            texts => json!(texts),
        };
        let mut fields = Map::new();
        fields.insert(field.to_owned(), value);
        if !parameters.is_empty() {
            fields.insert("parameters".to_owned(), parameters.into());
        }
        Value::Object(fields).to_string()
    };
    let len = texts.iter().map(String::len).sum();
    let body = received.time(endpoint).aside(len, write).await?.into();
    let first = Input::Texts(texts.into_iter().map(Text::Text).collect());
    let decode = |body: &[u8]| own_path::decode(endpoint, body);
    outcome::tensors(endpoint, run_on(endpoint, received, body, first, decode).await?)
}

/// Runs an input that plugins see as `body`; where a validator changed that, it is read again.
async fn run_on(
    endpoint: &Arc<Ready>,
    received: Received,
    body: bytes::Bytes,
    first: Input,
    again: impl FnOnce(&[u8]) -> Result<Input, RequestError>,
) -> Result<selvedge_plugin::value::Output, RequestError> {
    let seen = body.clone();
    let received = Received { body, ..received };
    let decode = |body: &[u8]| if body == seen { Ok(first) } else { again(body) };
    let answer = run(endpoint, &received, Dialect::OpenInference, decode).await?;
    Ok(answer.output)
}

/// The texts of the one input that an endpoint with a model of texts takes.
fn texts_of(ports: &Ports, request: &Request) -> Result<Vec<String>, RequestError> {
    let port = |port: &crate::ports::Port| selvedge_model::Port {
        name: port.name.clone(),
        element: Some(port.element),
        shape: port.shape.clone(),
    };
    let signature = Signature {
        inputs: ports.inputs.iter().map(port).collect(),
        outputs: Vec::new(),
    };
    signature.check_tensors(&request.inputs)?;
    let bytes = request.inputs.first().map_or(&[][..], |(_, tensor)| &tensor.data);
    let text = |(place, bytes): (usize, &[u8])| match String::from_utf8_lossy(bytes) {
        text if text.is_empty() => {
            Err(bad("string_too_short", "inputs", format!("text {place} is empty")).into())
        }
        text => Ok(text.into_owned()),
    };
    // They are UTF-8: the signature's check was that too.
    let texts = counted(bytes).unwrap_or_default();
    texts.into_iter().enumerate().map(text).collect()
}

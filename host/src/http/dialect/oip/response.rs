//! Named tensors as an answer: in JSON, or in bytes behind it, each as the client wants it.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use selvedge_model::Element;
use selvedge_plugin::value::Tensor;
use serde::Serialize;

use super::classes::greatest;
use super::outcome::Named;
use super::wanted::{Form, Wanted};
use super::written::Written;
use super::{VERSION, bad};
use crate::http::dialect::Time;
use crate::http::{Response, full, respond};
use crate::pipeline::convert::element_in;
use crate::pipeline::{ClientFault, RequestError, size};
use crate::ports::JSON_LEN;

/// What all answers to an inference have.
pub(super) struct Head<'a> {
    /// The model.
    pub(super) model: &'a str,
    /// The client's name for the request.
    pub(super) id: Option<&'a str>,
}

#[derive(Serialize)]
struct Body<'a> {
    model_name: &'a str,
    model_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    shape: &'a [u32],
    datatype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Parameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Written<'a>>,
}

#[derive(Serialize)]
struct Parameters {
    binary_data_size: usize,
}

/// Writes an answer.
///
/// # Errors
///
/// Where an output that is wanted is not there, or is wanted in a form that it does not have.
pub(super) async fn encode(
    time: Time,
    head: &Head<'_>,
    named: Vec<Named>,
    wanted: &Wanted,
) -> Result<Response, RequestError> {
    let chosen = choose(named, wanted)?;
    let in_json = chosen.iter().filter(|(_, _, form)| *form == Form::Json);
    let len = in_json.map(|(_, tensor, _)| size::of_tensor(tensor)).sum();
    Ok(time.aside(len, || write(head, &chosen)).await??)
}

fn write(head: &Head<'_>, chosen: &[(String, Tensor, Form)]) -> Result<Response, ClientFault> {
    let mut outputs = Vec::with_capacity(chosen.len());
    let mut blobs: Vec<&[u8]> = Vec::new();
    for (name, tensor, form) in chosen {
        outputs.push(entry(name, tensor, *form)?);
        if *form == Form::Binary {
            blobs.push(&tensor.data);
        }
    }
    let has_binary = chosen.iter().any(|(_, _, form)| *form == Form::Binary);
    let body = Body {
        model_name: head.model,
        model_version: VERSION,
        id: head.id,
        outputs,
    };
    if !has_binary {
        return Ok(respond::json(StatusCode::OK, &body));
    }
    // It has string keys and no failing part.
    let mut bytes = serde_json::to_vec(&body).unwrap_or_default();
    let json_len = bytes.len();
    bytes.reserve_exact(blobs.iter().map(|blob| blob.len()).sum());
    blobs.iter().for_each(|blob| bytes.extend_from_slice(blob));
    let mut response = Response::new(full(bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(JSON_LEN, HeaderValue::from(json_len));
    Ok(response)
}

/// The outputs that are wanted, in the order in which they are.
fn choose(mut named: Vec<Named>, wanted: &Wanted) -> Result<Vec<(String, Tensor, Form)>, ClientFault> {
    if wanted.outputs.is_empty() {
        let chosen = named
            .into_iter()
            .map(|named| (named.name, named.tensor, wanted.form));
        return Ok(chosen.collect());
    }
    let mut chosen = Vec::with_capacity(wanted.outputs.len());
    for output in &wanted.outputs {
        let name = &output.name;
        let Some(place) = named.iter().position(|named| named.name == *name) else {
            let there: Vec<String> = named.iter().map(|named| format!("`{}`", named.name)).collect();
            let there = there.join(", ");
            return Err(bad(
                "value_error",
                "outputs",
                format!(
                    "the answer has no output `{name}`: the endpoint's plugins left {there} in its place"
                ),
            ));
        };
        let found = named.swap_remove(place);
        let tensor = if output.classes > 0 {
            greatest(&found.tensor, output.classes, &found.classes).map_err(|why| {
                bad(
                    "value_error",
                    "outputs",
                    format!("the output `{name}` cannot be classified: {why}"),
                )
            })?
        } else {
            found.tensor
        };
        chosen.push((found.name, tensor, output.form));
    }
    Ok(chosen)
}

fn entry<'a>(name: &'a str, tensor: &'a Tensor, form: Form) -> Result<Entry<'a>, ClientFault> {
    let element: Element = element_in(tensor.element);
    let mut entry = Entry {
        name,
        shape: &tensor.shape,
        datatype: element.name(),
        parameters: None,
        data: None,
    };
    match form {
        Form::Binary => {
            entry.parameters = Some(Parameters {
                binary_data_size: tensor.data.len(),
            });
        }
        Form::Json => {
            let data = Written {
                element,
                bytes: &tensor.data,
            };
            data.check().map_err(|what| {
                bad("value_error", "outputs", format!(
                    "the output `{name}` has {what}, which has no form in JSON: ask for it with `\"binary_data\": true`"
                ))
            })?;
            entry.data = Some(data);
        }
    }
    Ok(entry)
}

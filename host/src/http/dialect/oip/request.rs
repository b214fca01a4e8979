//! An inference as a client asks for it: JSON, and tensors in binary behind it where a header says how long the JSON is.
//!
//! All that a body says of sizes is checked here, against the body and against each other; whether the tensors are those that
//! the model takes is checked by the model.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use selvedge_model::{Element, Tensor};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::data::Data;
use super::wanted::{Form, OutputHead, Wanted};
use super::written::{Written, counted};
use super::{bad, raw, unsupported};
use crate::generation::Ready;
use crate::http::dialect::not_json;
use crate::http::handle::Received;
use crate::pipeline::{ClientFault, RequestError};
use crate::ports::{JSON_LEN, Ports, element};

/// Dimensions of a tensor at most.
const RANK_MAX: usize = 16;

/// Bytes of a tensor's name at most: it is said again in answers.
const NAME_LEN_MAX: usize = 256;

/// An inference that is asked for.
#[derive(Debug)]
pub(super) struct Request {
    /// The client's name for it, which the answer bears again.
    pub(super) id: Option<String>,
    /// What else is said of it.
    pub(super) parameters: Map<String, Value>,
    /// The tensors, with their names.
    pub(super) inputs: Vec<(String, Tensor)>,
    /// How they came: in binary where one of them did.
    pub(super) form: Form,
    /// What is wanted of the answer.
    pub(super) wanted: Wanted,
    /// How long it may take, where the client says so.
    pub(super) time_max: Option<Duration>,
}

#[derive(Deserialize)]
struct Head {
    id: Option<String>,
    parameters: Option<Map<String, Value>>,
    inputs: Vec<InputHead>,
    outputs: Option<Vec<OutputHead>>,
}

#[derive(Deserialize)]
struct InputHead {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    parameters: Option<InputParameters>,
    data: Option<Data>,
}

#[derive(Deserialize, Default)]
struct InputParameters {
    binary_data_size: Option<u64>,
    shared_memory_region: Option<IgnoredAny>,
}

/// Reads a request to an endpoint.
///
/// # Errors
///
/// What of it is wrong, and what would be right.
pub(super) async fn read(
    endpoint: &Ready,
    received: &Received,
    ports: &Ports,
) -> Result<Request, RequestError> {
    let (body, time) = (&received.body, received.time(endpoint));
    match json_len(&received.headers, body.len())? {
        None => Ok(time.aside(body.len(), || read_parts(body, None)).await??),
        Some(0) => Ok(raw::read(body, ports)?),
        Some(len) => {
            let read = || read_parts(&body[..len], Some(&body[len..]));
            Ok(time.aside(len, read).await??)
        }
    }
}

/// Reads a request that is JSON alone, such as a validator's.
///
/// # Errors
///
/// What of it is wrong, and what would be right.
pub(super) fn read_json(body: &[u8]) -> Result<Request, ClientFault> {
    read_parts(body, None)
}

/// How many bytes of a body are JSON, where a header says it.
fn json_len(headers: &HeaderMap, body_len: usize) -> Result<Option<usize>, ClientFault> {
    let Some(value) = headers.get(JSON_LEN) else {
        return Ok(None);
    };
    let wrong = |why: String| {
        bad(
            "value_error",
            "",
            format!("the header Inference-Header-Content-Length {why}"),
        )
    };
    let len = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    let len =
        len.ok_or_else(|| wrong("must be a whole number: how many bytes of the body are JSON".to_owned()))?;
    let within = usize::try_from(len).ok().filter(|len| *len <= body_len);
    let len = within.ok_or_else(|| wrong(format!("is {len}, and the body has {body_len} bytes")))?;
    Ok(Some(len))
}

fn read_parts(json: &[u8], mut blobs: Option<&[u8]>) -> Result<Request, ClientFault> {
    let head = head(json)?;
    let parameters = head.parameters.unwrap_or_default();
    let mut form = Form::Json;
    let mut inputs = Vec::with_capacity(head.inputs.len());
    for input in head.inputs {
        if input.data.is_none() {
            form = Form::Binary;
        }
        inputs.push(tensor(input, &mut blobs)?);
    }
    let left = blobs.map_or(0, <[u8]>::len);
    if left > 0 {
        return Err(bad(
            "value_error",
            "inputs",
            format!(
                "the body has {left} bytes more than its JSON and the inputs' `binary_data_size` together"
            ),
        ));
    }
    Ok(Request {
        id: head.id,
        inputs,
        form,
        wanted: Wanted::read(head.outputs.unwrap_or_default(), &parameters)?,
        time_max: time_max(&parameters)?,
        parameters,
    })
}

fn head(json: &[u8]) -> Result<Head, ClientFault> {
    if json
        .trim_ascii_start()
        .first()
        .is_some_and(|first| *first == b'[')
    {
        return Err(bad("dict_type", "", "the body must be a JSON object"));
    }
    let mut reader = serde_json::Deserializer::from_slice(json);
    let head: Head = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() {
            let place = if path == "." {
                String::new()
            } else {
                format!("`{}`: ", cut(&path))
            };
            bad(
                "value_error",
                &path,
                format!("{place}{}", cut(&inner.to_string())),
            )
        } else {
            not_json(json, &inner)
        }
    })?;
    reader.end().map_err(|error| not_json(json, &error))?;
    Ok(head)
}

/// A text for a message, cut where it is long.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(NAME_LEN_MAX)]
}

/// Whether a tensor may have a name.
///
/// # Errors
///
/// Where it is too long, or there is none.
pub(super) fn check_name(name: &str, what: &str) -> Result<(), ClientFault> {
    if (1..=NAME_LEN_MAX).contains(&name.len()) {
        return Ok(());
    }
    let len = name.len();
    Err(bad(
        "value_error",
        "",
        format!("the name of an {what} has {len} bytes; it may have 1 to {NAME_LEN_MAX}"),
    ))
}

fn tensor(input: InputHead, blobs: &mut Option<&[u8]>) -> Result<(String, Tensor), ClientFault> {
    let InputHead {
        name,
        shape,
        datatype,
        parameters,
        data,
    } = input;
    check_name(&name, "input")?;
    let parameters = parameters.unwrap_or_default();
    if parameters.shared_memory_region.is_some() {
        return Err(unsupported(&format!(
            "the input `{name}` is in shared memory, which is not supported"
        )));
    }
    let wrong = |why: String| bad("value_error", "inputs", format!("the input `{name}`: {why}"));
    let known = || wrong(format!("there is no datatype `{}`", cut(&datatype)));
    let element = element(&datatype).ok_or_else(known)?;
    let (shape, count) = shape_of(&shape).map_err(wrong)?;
    let bytes = match (data, parameters.binary_data_size) {
        (Some(_), Some(_)) => Err("it has both `data` and `binary_data_size`; give one of them".to_owned()),
        (None, None) => Err("it has neither `data` nor the parameter `binary_data_size`".to_owned()),
        (Some(data), None) => check_data(&data, &shape, count).and_then(|()| data.into_bytes(element)),
        (None, Some(size)) => take(blobs, size).and_then(|bytes| {
            check_bytes(element, &shape, count, bytes)?;
            Ok(bytes.to_vec())
        }),
    };
    let data = bytes.map_err(wrong)?;
    Ok((name, Tensor { element, shape, data }))
}

/// A shape, and how many elements it has.
fn shape_of(dims: &[u64]) -> Result<(Vec<usize>, usize), String> {
    if dims.len() > RANK_MAX {
        return Err(format!(
            "`shape` has {} dimensions; at most {RANK_MAX} are taken",
            dims.len()
        ));
    }
    let too_many = || format!("`shape` {dims:?} has more elements than can be counted");
    // ONNX Runtime counts in signed numbers.
    let dim = |dim: &u64| i64::try_from(*dim).ok().and_then(|dim| usize::try_from(dim).ok());
    let shape: Vec<usize> = dims.iter().map(dim).collect::<Option<_>>().ok_or_else(too_many)?;
    let count = shape
        .iter()
        .try_fold(1_usize, |count, dim| count.checked_mul(*dim));
    Ok((shape, count.ok_or_else(too_many)?))
}

/// An array must be flat, or nested as the shape says.
fn check_data(data: &Data, shape: &[usize], count: usize) -> Result<(), String> {
    if data.shape.is_empty() {
        return Err("`data` must be an array".to_owned());
    }
    if data.len() != count {
        return Err(format!(
            "`data` has {} elements, and `shape` {shape:?} has {count}",
            data.len()
        ));
    }
    if data.shape.len() > 1 && data.shape != shape {
        return Err(format!(
            "`data` is nested as {:?}, and `shape` is {shape:?}",
            data.shape
        ));
    }
    Ok(())
}

/// The next bytes behind the JSON.
fn take<'a>(blobs: &mut Option<&'a [u8]>, size: u64) -> Result<&'a [u8], String> {
    let Some(left) = blobs else {
        return Err("`binary_data_size` needs the header Inference-Header-Content-Length".to_owned());
    };
    let short = || {
        format!(
            "`binary_data_size` is {size}, and {} bytes are left of the body",
            left.len()
        )
    };
    let size = usize::try_from(size).map_err(|_| short())?;
    let (bytes, rest) = left.split_at_checked(size).ok_or_else(short)?;
    *left = rest;
    Ok(bytes)
}

/// Whether so many elements of a type are these bytes.
///
/// # Errors
///
/// What of sizes or values does not agree.
pub(super) fn check_bytes(
    element: Element,
    shape: &[usize],
    count: usize,
    bytes: &[u8],
) -> Result<(), String> {
    let (name, given) = (element.name(), bytes.len());
    let Some(size) = element.size() else {
        let found = counted(bytes)
            .ok_or("its bytes must be, for each element, its length in 4 bytes and then itself")?;
        if let Some(place) = found.iter().position(|text| std::str::from_utf8(text).is_err()) {
            return Err(format!(
                "element {place} is not UTF-8, and a model takes no other texts"
            ));
        }
        if found.len() == count {
            return Ok(());
        }
        return Err(format!(
            "its bytes are {} elements, and `shape` {shape:?} has {count}",
            found.len()
        ));
    };
    let needed = count.checked_mul(size);
    if needed != Some(given) {
        let needed = needed.map_or("more bytes than can be counted".to_owned(), |needed| {
            format!("{needed} bytes")
        });
        return Err(format!(
            "`shape` {shape:?} of {name} takes {needed}, and it has {given}"
        ));
    }
    match bytes.iter().position(|byte| *byte > 1) {
        Some(place) if element == Element::Boolean => Err(format!(
            "element {place} is {}, and a BOOL is 0 or 1",
            bytes[place]
        )),
        _ => Ok(()),
    }
}

/// The parameters that change what a request means: one is kept to, the others must not be passed over.
fn time_max(parameters: &Map<String, Value>) -> Result<Option<Duration>, ClientFault> {
    let of_a_sequence = parameters
        .get("sequence_id")
        .is_some_and(|id| *id != 0 && *id != "" && !id.is_null());
    if of_a_sequence {
        return Err(unsupported(
            "`sequence_id` is for models that keep a state between requests; there are none",
        ));
    }
    match parameters.get("timeout") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(micros) => Ok((micros > 0).then(|| Duration::from_micros(micros))),
            None => Err(bad(
                "value_error",
                "parameters.timeout",
                "`timeout` must be a whole number of microseconds",
            )),
        },
    }
}

#[derive(Serialize)]
struct Plain<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    parameters: &'a Map<String, Value>,
    inputs: Vec<PlainInput<'a>>,
}

#[derive(Serialize)]
struct PlainInput<'a> {
    name: &'a str,
    shape: &'a [usize],
    datatype: &'static str,
    data: Written<'a>,
}

impl Request {
    /// The same in JSON alone, for plugins, so that what they check is what the model is given.
    ///
    /// # Errors
    ///
    /// Which input has no form in JSON.
    pub(super) fn as_json(&self) -> Result<Bytes, ClientFault> {
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for (name, tensor) in &self.inputs {
            let data = Written {
                element: tensor.element,
                bytes: &tensor.data,
            };
            data.check().map_err(|what| {
                bad("value_error", "inputs", format!(
                    "the input `{name}` has {what}, which has no form in JSON, and the endpoint's plugins read JSON"
                ))
            })?;
            inputs.push(PlainInput {
                name,
                shape: &tensor.shape,
                datatype: tensor.element.name(),
                data,
            });
        }
        let plain = Plain {
            id: self.id.as_deref(),
            parameters: &self.parameters,
            inputs,
        };
        // It has string keys and no failing part.
        Ok(serde_json::to_vec(&plain).unwrap_or_default().into())
    }
}

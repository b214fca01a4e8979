//! `generate` and `generate_stream`: fields in, fields out, as Triton has it.
//!
//! A model that generates takes `text_input`, and OpenAI's parameters beside it or in `parameters`. Of any other a field is an input,
//! of which leading dimensions of 1 may be left out, and each output is a field of the answer.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use selvedge_model::{Task, Tensor};
use selvedge_plugin::value::Finish;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::data::Data;
use super::infer;
use super::outcome::Named;
use super::request::Request;
use super::wanted::{Form, Wanted};
use super::written::Written;
use super::{VERSION, bad, ports};
use crate::aside::aside;
use crate::generation::Ready;
use crate::http::dialect::{Next, Timed, finish_name, generate, openai};
use crate::http::handle::Received;
use crate::http::{Response, respond, sse};
use crate::pipeline::convert::element_in;
use crate::pipeline::generate::Told;
use crate::pipeline::order::{Order, Prompt};
use crate::pipeline::params::Params;
use crate::pipeline::{ClientFault, RequestError, size};
use crate::ports::{Port, TEXT, TEXT_INPUT, TEXT_OUTPUT};
use crate::router::Dialect;

const EVENTS: &str = "text/event-stream; charset=utf-8";

/// `generate`: one answer, whole.
///
/// # Errors
///
/// Where the body is not as it must be, or the pipeline ends in an error.
pub(super) async fn whole(endpoint: &Arc<Ready>, received: Received) -> Result<Response, RequestError> {
    let fields = received.read(openai::object).await?;
    let head = Head::read(endpoint, &fields)?;
    if endpoint.backend.task() != Task::TextGeneration {
        let named = of_fields(endpoint, fields, received).await?;
        let encode = || Ok(respond::json(StatusCode::OK, &head.outputs(&named)?));
        let len = named.iter().map(|named| size::of_tensor(&named.tensor)).sum();
        return aside(len, encode).await;
    }
    order(&fields)?;
    let completed = start(endpoint, &received).await?.complete().await?;
    let encode = || {
        let texts = completed.choices.iter().map(|choice| choice.text.as_str());
        let texts: Vec<&str> = texts.collect();
        let text = match texts.as_slice() {
            [text] => json!(text),
            texts => json!(texts),
        };
        let finish = completed.choices.first().map(|choice| choice.finish);
        respond::json(StatusCode::OK, &head.text(text, finish))
    };
    Ok(aside(completed.text_len(), encode).await)
}

/// `generate_stream`: the same as events, of which the last is the end of the answer.
///
/// # Errors
///
/// Where the body is not as it must be, or the pipeline ends in an error before its first words.
pub(super) async fn streamed(endpoint: &Arc<Ready>, received: Received) -> Result<Response, RequestError> {
    let fields = received.read(openai::object).await?;
    let head = Head::read(endpoint, &fields)?;
    if endpoint.backend.task() != Task::TextGeneration {
        let limit = sse::Limit {
            shutdown: received.shutdown.clone(),
            deadline: tokio::time::Instant::from_std(received.since + endpoint.timeout),
        };
        let named = of_fields(endpoint, fields, received).await?;
        let only = sse::event(&head.outputs(&named)?);
        let next = |only: Option<Bytes>| async move { only.map(|only| (only, None)) };
        return Ok(sse::response(EVENTS, limit, Some(only), next));
    }
    order(&fields)?;
    let mut timed = start(endpoint, &received).await?;
    timed.settle().await?;
    let limit = timed.limit(&received);
    let events = Events {
        head,
        timed,
        request_id: received.id,
        over: false,
    };
    Ok(sse::response(EVENTS, limit, events, Events::next))
}

async fn start(endpoint: &Arc<Ready>, received: &Received) -> Result<Timed, RequestError> {
    let decode = |body: &[u8]| Ok(order(&openai::object(body)?)?);
    generate(endpoint, received, Dialect::OpenInference, decode).await
}

/// `infer` of a model that generates: the prompt as a tensor, the answers as one.
///
/// # Errors
///
/// Where there are several prompts, or the pipeline ends in an error.
pub(super) async fn outputs(
    endpoint: &Arc<Ready>,
    prompts: Vec<String>,
    parameters: Map<String, Value>,
    received: Received,
) -> Result<Vec<Named>, RequestError> {
    let [prompt] = prompts.as_slice() else {
        let count = prompts.len();
        let message = format!("the input `{TEXT_INPUT}` has {count} elements; one prompt a request is taken");
        return Err(bad("value_error", "inputs", message).into());
    };
    let body = json!({ TEXT_INPUT: prompt, "parameters": parameters });
    let received = Received {
        body: body.to_string().into(),
        ..received
    };
    let completed = start(endpoint, &received).await?.complete().await?;
    let texts = completed.choices.iter().map(|choice| choice.text.as_str());
    Ok(vec![Named::texts(TEXT_OUTPUT, texts)])
}

fn order(fields: &Map<String, Value>) -> Result<Order, ClientFault> {
    let params = Params::read(&parameters(fields, |key| key != TEXT_INPUT)?)?;
    // A templater may do without; what is there must be right.
    let prompt = match fields.get(TEXT_INPUT) {
        None => Err(bad(
            "missing",
            TEXT_INPUT,
            "`text_input` is missing: the text to go on from",
        )),
        Some(Value::String(text)) if !text.is_empty() => Ok(Prompt::Text(text.clone())),
        Some(_) => {
            return Err(bad(
                "string_type",
                TEXT_INPUT,
                "`text_input` must be a string, and not empty",
            ));
        }
    };
    Ok(Order { prompt, params })
}

/// What is said in `parameters`, and in fields beside it that are no inputs.
fn parameters(
    fields: &Map<String, Value>,
    is_parameter: impl Fn(&str) -> bool,
) -> Result<Map<String, Value>, ClientFault> {
    let beside = fields
        .iter()
        .filter(|(key, _)| *key != "id" && *key != "parameters" && is_parameter(key));
    let mut all: Map<String, Value> = beside.map(|(key, value)| (key.clone(), value.clone())).collect();
    match fields.get("parameters") {
        None | Some(Value::Null) => {}
        Some(Value::Object(inner)) => all.extend(inner.clone()),
        Some(_) => return Err(bad("dict_type", "parameters", "`parameters` must be an object")),
    }
    Ok(all)
}

/// Runs a model that does not generate on fields.
async fn of_fields(
    endpoint: &Arc<Ready>,
    fields: Map<String, Value>,
    received: Received,
) -> Result<Vec<Named>, RequestError> {
    let ports = ports(endpoint);
    // What a text is called where text is generated from it.
    let key_of = |port: &Port| {
        if port.name == TEXT && !fields.contains_key(TEXT) {
            TEXT_INPUT
        } else {
            port.name.as_str()
        }
        .to_owned()
    };
    let mut inputs = Vec::with_capacity(ports.inputs.len());
    for port in &ports.inputs {
        if let Some(value) = fields.get(&key_of(port)) {
            inputs.push((port.name.clone(), input(port, value)?));
        }
    }
    let keys: Vec<String> = ports.inputs.iter().map(key_of).collect();
    let request = Request {
        id: None,
        parameters: parameters(&fields, |key| !keys.iter().any(|known| known == key))?,
        inputs,
        form: Form::Binary,
        wanted: Wanted {
            outputs: Vec::new(),
            form: Form::Json,
        },
        time_max: None,
    };
    infer::outputs(endpoint, &ports, request, received).await
}

/// A field as the tensor that a model takes there.
fn input(port: &Port, value: &Value) -> Result<Tensor, ClientFault> {
    let wrong = |why: String| {
        bad(
            "value_error",
            &port.name,
            format!("`{}`: {why}; it takes {}", port.name, port.describe()),
        )
    };
    let data = Data::deserialize(value).map_err(|error| wrong(error.to_string()))?;
    let missing = port.shape.len().saturating_sub(data.shape.len());
    let shape = std::iter::repeat_n(1, missing)
        .chain(data.shape.iter().copied())
        .collect();
    let data = data.into_bytes(port.element).map_err(wrong)?;
    Ok(Tensor {
        element: port.element,
        shape,
        data,
    })
}

/// What all answers to a request have alike.
struct Head {
    id: Option<String>,
    model: Arc<str>,
    /// Whether the client wants to know why a text ended.
    detailed: bool,
}

impl Head {
    fn read(endpoint: &Ready, fields: &Map<String, Value>) -> Result<Self, ClientFault> {
        let id = match fields.get("id") {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(bad("string_type", "id", "`id` must be a string")),
        };
        Ok(Self {
            id,
            model: Arc::clone(&endpoint.name),
            detailed: parameters(fields, |_| true)?.get("details") == Some(&Value::Bool(true)),
        })
    }

    fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        if let Some(id) = &self.id {
            fields.insert("id".to_owned(), json!(id));
        }
        fields.insert("model_name".to_owned(), json!(&*self.model));
        fields.insert("model_version".to_owned(), json!(VERSION));
        fields
    }

    fn text(&self, text: Value, finish: Option<Finish>) -> Value {
        let mut fields = self.fields();
        fields.insert(TEXT_OUTPUT.to_owned(), text);
        if let Some(finish) = finish.filter(|_| self.detailed) {
            fields.insert(
                "details".to_owned(),
                json!({ "finish_reason": finish_name(finish) }),
            );
        }
        fields.into()
    }

    /// Each output as a field: the value itself where there is one, else all of them in a row.
    fn outputs(&self, named: &[Named]) -> Result<Value, ClientFault> {
        let mut fields = self.fields();
        for Named { name, tensor, .. } in named {
            let written = Written {
                element: element_in(tensor.element),
                bytes: &tensor.data,
            };
            written.check().map_err(|what| {
                let why = format!(
                    "the output `{name}` has {what}, which has no form in JSON: `infer` gives it in binary"
                );
                bad("value_error", "outputs", why)
            })?;
            let value = match serde_json::to_value(written).unwrap_or_default() {
                Value::Array(mut values) if values.len() == 1 => values.swap_remove(0),
                values => values,
            };
            fields.insert(name.clone(), value);
        }
        Ok(fields.into())
    }
}

/// Text as it comes, an event a piece.
struct Events {
    head: Head,
    timed: Timed,
    request_id: String,
    over: bool,
}

impl Events {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        while !self.over {
            let value = match self.timed.next().await {
                Ok(Next::Quiet) => return Some((sse::PING, self)),
                Ok(Next::End) => return None,
                Ok(Next::Told(Told::Text { choice, piece })) => self.event(choice, &piece.text, None),
                Ok(Next::Told(Told::End { choice, finish })) if self.head.detailed => {
                    self.event(choice, "", Some(finish))
                }
                Ok(Next::Told(Told::End { .. })) => continue,
                Err(error) => {
                    self.over = true;
                    respond::stream_error(Dialect::OpenInference, &error, &self.request_id)
                }
            };
            return Some((sse::event(&value), self));
        }
        None
    }

    fn event(&self, choice: usize, text: &str, finish: Option<Finish>) -> Value {
        let mut value = self.head.text(json!(text), finish);
        if self.timed.running().count() > 1 {
            value["index"] = json!(choice);
        }
        value
    }
}

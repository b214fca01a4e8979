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
    let time = received.time(endpoint);
    let read = || read(endpoint, &received.body);
    let (head, tensors) = time.aside(received.body.len(), read).await??;
    if let Some(request) = tensors {
        let named = infer::outputs(endpoint, &ports(endpoint), request, received).await?;
        let encode = || Ok(respond::json(StatusCode::OK, &head.outputs(&named)?));
        return time.aside(size_of(&named), encode).await?;
    }
    let mut timed = start(endpoint, &received).await?;
    let completed = timed.complete().await?;
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
    Ok(timed
        .time()
        .aside(size::of_choices(&completed.choices), encode)
        .await?)
}

/// `generate_stream`: the same as events, of which the last is the end of the answer.
///
/// # Errors
///
/// Where the body is not as it must be, or the pipeline ends in an error before its first words.
pub(super) async fn streamed(endpoint: &Arc<Ready>, received: Received) -> Result<Response, RequestError> {
    let time = received.time(endpoint);
    let read = || read(endpoint, &received.body);
    let (head, tensors) = time.aside(received.body.len(), read).await??;
    if let Some(request) = tensors {
        let limit = sse::Limit {
            shutdown: received.shutdown.clone(),
            deadline: time.deadline,
        };
        let named = infer::outputs(endpoint, &ports(endpoint), request, received).await?;
        let encode = || Ok::<_, RequestError>(sse::event(&head.outputs(&named)?));
        let only = time.aside(size_of(&named), encode).await??;
        let next = |only: Option<Bytes>| async move { only.map(|only| (only, None)) };
        return Ok(sse::response(EVENTS, limit, Some(only), next));
    }
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

/// What a body asks for, where all of it is as it must be: that is said before it costs a plugin anything. With it go the inputs of a model
/// that does not generate.
fn read(endpoint: &Ready, body: &[u8]) -> Result<(Head, Option<Request>), ClientFault> {
    let fields = openai::object(body)?;
    let head = Head::read(endpoint, &fields)?;
    if endpoint.backend.task() != Task::TextGeneration {
        return Ok((head, Some(of_fields(endpoint, &fields)?)));
    }
    order(&fields)?;
    Ok((head, None))
}

fn size_of(named: &[Named]) -> usize {
    named.iter().map(|named| size::of_tensor(&named.tensor)).sum()
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
    let write = || json!({ TEXT_INPUT: prompt, "parameters": parameters }).to_string();
    let body = received.time(endpoint).aside(prompt.len(), write).await?;
    let received = Received {
        body: body.into(),
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

/// The request to a model that does not generate whose inputs are fields.
fn of_fields(endpoint: &Ready, fields: &Map<String, Value>) -> Result<Request, ClientFault> {
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
    Ok(Request {
        id: None,
        parameters: parameters(fields, |key| !keys.iter().any(|known| known == key))?,
        inputs,
        form: Form::Binary,
        wanted: Wanted {
            outputs: Vec::new(),
            form: Form::Json,
        },
        time_max: None,
    })
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

    fn event(&self, index: Option<usize>, text: &str, finish: Option<Finish>) -> Value {
        let mut value = self.text(json!(text), finish);
        if let Some(index) = index {
            value["index"] = json!(index);
        }
        value
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
                Ok(Next::Told(Told::Text { choice, piece })) => {
                    let (head, index) = (&self.head, self.index(choice));
                    let event = || sse::event(&head.event(index, &piece.text, None));
                    return Some((aside(piece.text.len(), event).await, self));
                }
                Ok(Next::Told(Told::End { choice, finish })) if self.head.detailed => {
                    self.head.event(self.index(choice), "", Some(finish))
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

    /// Which of several answers it is.
    fn index(&self, choice: usize) -> Option<usize> {
        (self.timed.running().count() > 1).then_some(choice)
    }
}

//! Plain JSON on an endpoint's own path.
//!
//! In, where no templater says otherwise: `{"text": ".."}`, `{"input": ".."}` or `{"input": ["..", ".."]}`, or for a tensor
//! model `{"inputs": {"name": [[..]]}}`. Out, where no post-processor says otherwise: `{"labels": [[{"label", "score"}]]}`,
//! `{"embeddings": [[..]]}`, always a list with an entry an input, or `{"outputs": {"name": {..}}}`.
//!
//! A model that generates takes `{"prompt": ".."}` or `{"messages": [..]}` with OpenAI's parameters and gives
//! `{"text", "texts", "usage"}`, or with `"stream": true` an event for each piece of text.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use selvedge_model::{Input, Task, Text};
use selvedge_plugin::value::{Label, Output};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Next, Timed, check_finite, finish_name, generate, messages, parse, run, tensors};
use crate::aside::aside;
use crate::generation::Ready;
use crate::http::handle::Received;
use crate::http::{Response, respond, sse};
use crate::pipeline::completed::Completed;
use crate::pipeline::generate::Told;
use crate::pipeline::order::{Order, Prompt};
use crate::pipeline::params::Params;
use crate::pipeline::{Answer, ClientFault, RequestError, size};
use crate::router::Dialect;

/// Answers a request on an endpoint's own path, which was let into it.
///
/// # Errors
///
/// Where the body is not JSON, or the pipeline ends in an error.
pub async fn answer(endpoint: &Arc<Ready>, received: Received) -> Result<Response, RequestError> {
    // Before any plugin: what is not JSON, or nested beyond reason, costs none of them a thing.
    let stream = received.read(stream_of).await?;
    if endpoint.backend.task() == Task::TextGeneration {
        return text(endpoint, &received, &stream).await;
    }
    let answer = run(endpoint, &received, Dialect::Endpoint, |body| {
        decode(endpoint, body)
    })
    .await?;
    let len = size::of_output(&answer.output);
    received.time(endpoint).aside(len, || encode(answer)).await?
}

/// Generates text; bit by bit where the body says `"stream": true`.
async fn text(endpoint: &Arc<Ready>, received: &Received, stream: &Value) -> Result<Response, RequestError> {
    let streams = streams(endpoint, stream)?;
    let mut timed = generate(endpoint, received, Dialect::Endpoint, |body| Ok(order(body)?)).await?;
    if !streams {
        let completed = timed.complete().await?;
        if let Some(text) = completed.json {
            return Ok(respond::raw_json(StatusCode::OK, text.into_bytes()));
        }
        let len = size::of_choices(&completed.choices);
        return Ok(timed.time().aside(len, || whole(&completed)).await?);
    }
    timed.settle().await?;
    let limit = timed.limit(received);
    let stream = TextStream {
        timed,
        id: received.id.clone(),
        over: false,
    };
    Ok(sse::response(
        "text/event-stream; charset=utf-8",
        limit,
        stream,
        TextStream::next,
    ))
}

/// What a body says of `stream`; null where that is nothing.
fn stream_of(body: &[u8]) -> Result<Value, ClientFault> {
    let mut body = parse(body)?;
    Ok(body.get_mut("stream").map(Value::take).unwrap_or_default())
}

/// The answer as one, where no post-processor wrote one.
fn whole(completed: &Completed) -> Response {
    let texts = completed.choices.iter().map(|choice| choice.text.as_str());
    let texts: Vec<&str> = texts.collect();
    let body = Whole {
        text: texts[0],
        texts: &texts,
        usage: TextUsage {
            prompt_tokens: completed.counts.prompt,
            completion_tokens: completed.counts.completion,
        },
    };
    respond::json(StatusCode::OK, &body)
}

#[derive(Serialize)]
struct Whole<'a> {
    text: &'a str,
    texts: &'a [&'a str],
    usage: TextUsage,
}

#[derive(Serialize)]
struct TextUsage {
    prompt_tokens: usize,
    completion_tokens: usize,
}

/// Whether the answer is to come bit by bit, by the body's `stream`.
fn streams(endpoint: &Ready, stream: &Value) -> Result<bool, ClientFault> {
    match stream {
        Value::Null => Ok(endpoint.stream),
        Value::Bool(streams) => Ok(*streams),
        _ => Err(bad("bool_type", "stream", "Input should be a valid boolean")),
    }
}

fn order(body: &[u8]) -> Result<Order, ClientFault> {
    let Value::Object(fields) = parse(body)? else {
        return Err(bad("dict_type", "", "Input should be an object"));
    };
    let params = Params::read(&fields)?;
    let prompt = match (
        fields.get("messages"),
        fields.get("prompt").or_else(|| fields.get("text")),
    ) {
        (Some(_), None) => Ok(Prompt::Messages(messages::read(&fields)?)),
        (None, Some(Value::String(text))) if !text.is_empty() => Ok(Prompt::Text(text.clone())),
        (None, None) => Err(bad("missing", "prompt", "Field required")),
        (None, Some(Value::String(_))) => Err(bad(
            "string_too_short",
            "prompt",
            "String should have at least 1 character",
        )),
        (None, Some(_)) => Err(bad("string_type", "prompt", "Input should be a valid string")),
        (Some(_), Some(_)) => Err(bad("value_error", "", "Give either `messages` or `prompt`")),
    };
    Ok(Order { prompt, params })
}

/// Text as it comes: `{"text"}` an event, at the end `{"done", "finish_reason"}`.
struct TextStream {
    timed: Timed,
    id: String,
    over: bool,
}

impl TextStream {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if self.over {
            return None;
        }
        let value = match self.timed.next().await {
            Ok(Next::Quiet) => return Some((sse::PING, self)),
            Ok(Next::End) => return None,
            Ok(Next::Told(Told::Text { choice, piece })) => {
                let event = || sse::event(&text_event(choice, &piece.text));
                return Some((aside(piece.text.len(), event).await, self));
            }
            Ok(Next::Told(Told::End { choice, finish })) => {
                let finish = finish_name(finish);
                json!({ "done": true, "index": choice, "finish_reason": finish })
            }
            Err(error) => {
                self.over = true;
                let said = respond::stream_error(Dialect::Endpoint, &error, &self.id);
                json!({ "error": said })
            }
        };
        Some((sse::event(&value), self))
    }
}

fn text_event(choice: usize, text: &str) -> Value {
    match choice {
        0 => json!({ "text": text }),
        _ => json!({ "text": text, "index": choice }),
    }
}

/// The model's input of a body on an endpoint's own path.
///
/// # Errors
///
/// Where the body is not as it must be.
pub fn decode(endpoint: &Ready, body: &[u8]) -> Result<Input, RequestError> {
    let Value::Object(mut fields) = parse(body)? else {
        return Err(bad("dict_type", "", "Input should be an object").into());
    };
    if let Some(model) = endpoint
        .backend
        .model()
        .filter(|model| model.card().task == Task::Tensor)
    {
        return tensors::decode(model.signature(), &fields);
    }
    texts(&mut fields).map(Input::Texts).map_err(Into::into)
}

fn texts(fields: &mut Map<String, Value>) -> Result<Vec<Text>, ClientFault> {
    let (key, value) = match (fields.remove("text"), fields.remove("input")) {
        (Some(text), None) => ("text", text),
        (None, Some(input)) => ("input", input),
        (Some(_), Some(_)) => return Err(bad("value_error", "", "Give either `text` or `input`")),
        (None, None) => return Err(bad("missing", "text", "Field required")),
    };
    let text = |value: Value, param: String| match value {
        Value::String(text) if !text.is_empty() => Ok(Text::Text(text)),
        Value::String(_) => Err(bad(
            "string_too_short",
            &param,
            "String should have at least 1 character",
        )),
        _ => Err(bad("string_type", &param, "Input should be a valid string")),
    };
    match value {
        Value::Array(items) if items.is_empty() => {
            Err(bad("too_short", key, "List should have at least 1 item"))
        }
        Value::Array(items) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| text(item, format!("{key}.{index}")))
            .collect(),
        one => Ok(vec![text(one, key.to_owned())?]),
    }
}

fn bad(kind: &'static str, param: &str, message: &str) -> ClientFault {
    ClientFault::BadBody {
        kind,
        param: param.to_owned(),
        message: message.to_owned(),
    }
}

/// The answer where no post-processor wrote one. Numbers are written as float32, in their shortest form.
#[derive(Serialize)]
#[serde(untagged)]
enum Plain {
    Embeddings { embeddings: Vec<Vec<f32>>, tokens: u32 },
    Labels { labels: Vec<Vec<PlainLabel>> },
    Texts { texts: Vec<String> },
    Tensors { outputs: Value },
}

#[derive(Serialize)]
struct PlainLabel {
    label: String,
    score: f32,
}

fn encode(answer: Answer) -> Result<Response, RequestError> {
    let body = match answer.output {
        Output::Json(text) => return Ok(respond::raw_json(StatusCode::OK, text.into_bytes())),
        Output::Embeddings(embeddings) => {
            check_finite(&embeddings)?;
            Plain::Embeddings {
                embeddings,
                tokens: answer.usage.prompt_tokens,
            }
        }
        Output::Labels(inputs) => Plain::Labels {
            labels: inputs
                .into_iter()
                .map(|labels| labels.into_iter().map(plain_label).collect())
                .collect(),
        },
        Output::Text(texts) => Plain::Texts { texts },
        Output::Tensors(named) => Plain::Tensors {
            outputs: tensors::encode(&named)?,
        },
    };
    Ok(respond::json(StatusCode::OK, &body))
}

fn plain_label(label: Label) -> PlainLabel {
    PlainLabel {
        label: label.name,
        score: label.score,
    }
}

//! Ollama's dialect: `/api/chat`, `/api/generate`, `/api/embed`; what its clients ask about models is in `models`.
//!
//! Answers are lines of JSON, streamed unless the request says `"stream": false`. An endpoint's name is a model's, with or
//! without the tag `latest`; times are nanoseconds.

mod models;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use selvedge_model::{Input, Message, Structure, Task, Text};
use selvedge_plugin::value::{Finish, Output};
use serde_json::{Map, Value, json};

pub use models::{ps, tags};

use super::{Next, Timed, check_finite, enter, finish_name, generate, messages, openai, run};
use crate::aside::aside;
use crate::generation::{Endpoint, Generation, Ready};
use crate::http::handle::Received;
use crate::http::{Response, full, respond, sse};
use crate::pipeline::completed::Counts;
use crate::pipeline::generate::Told;
use crate::pipeline::order::{Order, Prompt};
use crate::pipeline::params::{Params, natural};
use crate::pipeline::{ClientFault, HostFault, RequestError, size};
use crate::router::{Dialect, Ollama};
use crate::upstream;

/// `GET /`.
#[must_use]
pub fn root() -> Response {
    let mut response = Response::new(full("Ollama is running"));
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// `GET /api/version`: of this node.
#[must_use]
pub fn version() -> Response {
    respond::json(StatusCode::OK, &json!({ "version": env!("CARGO_PKG_VERSION") }))
}

fn timestamp(at: SystemTime) -> String {
    humantime::format_rfc3339_nanos(at).to_string()
}

/// Answers a request with a body.
///
/// # Errors
///
/// Where the body is not as it must be, no endpoint has the name, or the pipeline ends in an error.
pub async fn post(
    generation: &Generation,
    path: Ollama,
    received: Received,
) -> Result<Response, RequestError> {
    let read = |body: &[u8]| {
        let fields = openai::object(body)?;
        Ok((openai::model_name(&fields)?, Asked::read(path, &fields)))
    };
    let (name, asked) = received.read(read).await?;
    let endpoint = enter(find(generation, &name)?, &received.call, received.estimate)?;
    let task = endpoint.backend.task();
    let wanted = match path {
        Ollama::Show => task,
        Ollama::Embed | Ollama::Embeddings => Task::FeatureExtraction,
        _ => Task::TextGeneration,
    };
    if task != wanted {
        let endpoint = endpoint.name.as_ref().to_owned();
        return Err(ClientFault::WrongTask {
            endpoint,
            task: task.name(),
        }
        .into());
    }
    match asked? {
        Asked::Nothing => Ok(models::show(endpoint)),
        Asked::Vectors { dimensions } => embed(endpoint, path, name, dimensions, &received).await,
        Asked::Text { streams, only_loads } => {
            let lines = Lines {
                path,
                model: name,
                started: Instant::now(),
            };
            match only_loads {
                Some(reason) => Ok(respond::json(StatusCode::OK, &lines.line("", Some(reason)))),
                None => text(endpoint, lines, streams, received).await,
            }
        }
    }
}

/// What a request asks for, besides its inputs.
enum Asked {
    Nothing,
    Vectors {
        dimensions: Option<usize>,
    },
    Text {
        streams: bool,
        /// Where there is no prompt: what happens to the model, in Ollama's word.
        only_loads: Option<&'static str>,
    },
}

impl Asked {
    /// Where all that is used of the body is as it must be: that is said before it costs a plugin anything.
    fn read(path: Ollama, fields: &Map<String, Value>) -> Result<Self, ClientFault> {
        match path {
            Ollama::Show => return Ok(Self::Nothing),
            Ollama::Embed | Ollama::Embeddings => {
                embed_inputs(path, fields)?;
                let dimensions = dimensions(fields)?;
                return Ok(Self::Vectors { dimensions });
            }
            _ => {}
        }
        let streams = flag(fields, "stream")?.unwrap_or(true);
        check(fields)?;
        let only_loads = only_loads(path, fields);
        // What is not used must be right all the same. A conversation of nothing is none.
        if only_loads.is_none() || path == Ollama::Generate {
            order(path, fields)?;
        }
        Ok(Self::Text { streams, only_loads })
    }
}

fn find<'a>(generation: &'a Generation, name: &str) -> Result<&'a Endpoint, ClientFault> {
    let plain = name.strip_suffix(":latest").unwrap_or(name);
    let found = generation.endpoint(plain).or_else(|| generation.endpoint(name));
    found.ok_or_else(|| ClientFault::UnknownModel(name.to_owned()))
}

async fn embed(
    endpoint: &Arc<Ready>,
    path: Ollama,
    model: String,
    dimensions: Option<usize>,
    received: &Received,
) -> Result<Response, RequestError> {
    let started = Instant::now();
    let decode = |body: &[u8]| Ok(Input::Texts(embed_inputs(path, &openai::object(body)?)?));
    let answer = run(endpoint, received, Dialect::Ollama, decode).await?;
    let len = size::of_output(&answer.output);
    let Output::Embeddings(mut vectors) = answer.output else {
        let reason = "a post-processor left something else than embeddings".to_owned();
        let endpoint = endpoint.name.as_ref().to_owned();
        return Err(HostFault::Unavailable { endpoint, reason }.into());
    };
    check_finite(&vectors)?;
    if path == Ollama::Embeddings {
        return Ok(respond::json(
            StatusCode::OK,
            &json!({ "embedding": vectors.pop() }),
        ));
    }
    if let Some(dimensions) = dimensions {
        for vector in &mut vectors {
            selvedge_model::model::shorten(vector, dimensions);
        }
    }
    let encode = || {
        let body = json!({
            "model": model, "embeddings": vectors, "total_duration": nanos(started.elapsed()),
            "load_duration": 0, "prompt_eval_count": answer.usage.prompt_tokens,
        });
        respond::json(StatusCode::OK, &body)
    };
    Ok(received.time(endpoint).aside(len, encode).await?)
}

/// The length that vectors are to have; none, and 0, is all of it.
fn dimensions(fields: &Map<String, Value>) -> Result<Option<usize>, ClientFault> {
    match fields.get("dimensions").filter(|value| !value.is_null()) {
        None => Ok(None),
        Some(value) => match natural(value) {
            Some(count) => Ok(usize::try_from(count).ok().filter(|count| *count > 0)),
            None => Err(bad("dimensions", "must be a whole number of at least 0")),
        },
    }
}

fn embed_inputs(path: Ollama, fields: &Map<String, Value>) -> Result<Vec<Text>, ClientFault> {
    let key = if path == Ollama::Embeddings {
        "prompt"
    } else {
        "input"
    };
    let text = |value: &Value| match value.as_str() {
        Some(text) if !text.is_empty() => Ok(Text::Text(text.to_owned())),
        _ => Err(bad(
            key,
            "must be a text or an array of texts, none of them empty",
        )),
    };
    match fields.get(key) {
        Some(Value::Array(texts)) if !texts.is_empty() => texts.iter().map(text).collect(),
        Some(value) => Ok(vec![text(value)?]),
        None => Err(bad(key, "is missing")),
    }
}

fn bad(param: &str, why: &str) -> ClientFault {
    ClientFault::BadBody {
        kind: "invalid_value",
        param: param.to_owned(),
        message: format!("`{param}` {why}"),
    }
}

/// `/api/chat` and `/api/generate`.
async fn text(
    endpoint: &Arc<Ready>,
    lines: Lines,
    streams: bool,
    received: Received,
) -> Result<Response, RequestError> {
    let path = lines.path;
    let decode = |body: &[u8]| Ok(order(path, &openai::object(body)?)?);
    let mut timed = generate(endpoint, &received, Dialect::Ollama, decode).await?;
    if !streams {
        let completed = timed.complete().await?;
        let first = timed.running().first_at();
        let choice = &completed.choices[0];
        let encode = || {
            let line = lines.last(&choice.text, choice.finish, completed.counts, first);
            respond::json(StatusCode::OK, &line)
        };
        return Ok(timed.time().aside(choice.text.len(), encode).await?);
    }
    timed.settle().await?;
    let limit = timed.limit(&received);
    let stream = Stream {
        lines,
        timed,
        id: received.id,
        over: false,
    };
    Ok(sse::response("application/x-ndjson", limit, stream, Stream::next))
}

/// What must be right also where there is nothing to write.
fn check(fields: &Map<String, Value>) -> Result<(), ClientFault> {
    refuse_unsupported(fields)?;
    params(fields.get("options"))?;
    structure(fields.get("format"))?;
    Ok(())
}

/// A field that is true or false, where it is there.
fn flag(fields: &Map<String, Value>, key: &str) -> Result<Option<bool>, ClientFault> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(bad(key, "must be true or false")),
    }
}

/// A request without a prompt loads a model, or with `keep_alive: 0` unloads it; here it stays.
fn only_loads(path: Ollama, fields: &Map<String, Value>) -> Option<&'static str> {
    let is_empty = match (path, fields.get("prompt"), fields.get("messages")) {
        (Ollama::Generate, prompt, _) => prompt.is_none_or(|prompt| prompt.is_null() || prompt == ""),
        (_, _, messages) => messages.is_none_or(|messages| messages.as_array().is_some_and(Vec::is_empty)),
    };
    let unloads = fields.get("keep_alive").is_some_and(|time| *time == json!(0));
    is_empty.then_some(if unloads { "unload" } else { "load" })
}

fn order(path: Ollama, fields: &Map<String, Value>) -> Result<Order, ClientFault> {
    refuse_unsupported(fields)?;
    let mut params = params(fields.get("options"))?;
    params.structure = structure(fields.get("format"))?;
    let prompt = if path == Ollama::Chat {
        Prompt::Messages(messages::read(fields)?)
    } else {
        let text = |key: &str| match fields.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => Err(bad(key, "must be a text")),
        };
        let prompt = text("prompt")?.unwrap_or_default();
        let message = |role: &str, content: String| Message {
            role: role.to_owned(),
            content,
        };
        if flag(fields, "raw")? == Some(true) {
            Prompt::Text(prompt)
        } else {
            let system = text("system")?.map(|system| message("system", system));
            Prompt::Messages(system.into_iter().chain([message("user", prompt)]).collect())
        }
    };
    Ok(Order {
        prompt: Ok(prompt),
        params,
    })
}

fn refuse_unsupported(fields: &Map<String, Value>) -> Result<(), ClientFault> {
    for key in [
        "tools", "images", "think", "template", "suffix", "context", "logprobs",
    ] {
        let idle = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        if fields.get(key).is_some_and(|value| !idle(value)) {
            return Err(bad(key, "is not supported by this model"));
        }
    }
    Ok(())
}

/// `format`: `"json"`, or a JSON Schema.
fn structure(format: Option<&Value>) -> Result<Option<Structure>, ClientFault> {
    match format {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(format)) if format.is_empty() => Ok(None),
        Some(Value::String(format)) if format == "json" => Ok(Some(Structure::Object)),
        Some(schema @ Value::Object(_)) => Ok(Some(Structure::Schema(schema.clone()))),
        Some(_) => Err(bad("format", "must be \"json\" or a JSON Schema")),
    }
}

/// Ollama's names of OpenAI's parameters.
fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    let others = upstream::OPTIONS.iter().map(|(theirs, ours)| (*ours, *theirs));
    [("num_predict", "max_tokens"), ("stop", "stop")]
        .into_iter()
        .chain(others)
}

/// `options`, with Ollama's defaults. What is not known is ignored, as Ollama does.
fn params(options: Option<&Value>) -> Result<Params, ClientFault> {
    let mut fields = Map::new();
    for (key, value) in [
        ("temperature", json!(0.8)),
        ("top_k", json!(40)),
        ("top_p", json!(0.9)),
    ] {
        fields.insert(key.to_owned(), value);
    }
    let empty = Map::new();
    let options = match options {
        None | Some(Value::Null) => &empty,
        Some(Value::Object(options)) => options,
        Some(_) => return Err(bad("options", "must be an object")),
    };
    for (ours, theirs) in names() {
        // A negative limit is none.
        let unlimited =
            |value: &Value| ours == "num_predict" && value.as_i64().is_some_and(|limit| limit < 0);
        if let Some(value) = options.get(ours).filter(|value| !unlimited(value)) {
            fields.insert(theirs.to_owned(), value.clone());
        }
    }
    let params = Params::read(&fields).map(|mut params| {
        // Another server has defaults of its own.
        params.given.retain(|theirs, _| {
            let ours = names().find(|(_, name)| name == theirs);
            ours.is_some_and(|(ours, _)| options.contains_key(ours))
        });
        params
    });
    params.map_err(|fault| match fault {
        ClientFault::BadBody { kind, param, message } => {
            let ours = names()
                .find(|(_, theirs)| *theirs == param)
                .map_or(param.as_str(), |(ours, _)| ours);
            let message = message.replace(&param, &format!("options.{ours}"));
            ClientFault::BadBody {
                kind,
                param: format!("options.{ours}"),
                message,
            }
        }
        other => other,
    })
}

/// What all lines of an answer have alike, and when its parts began.
struct Lines {
    path: Ollama,
    model: String,
    started: Instant,
}

impl Lines {
    fn line(&self, text: &str, done: Option<&str>) -> Value {
        let mut line = json!({ "model": self.model, "created_at": timestamp(SystemTime::now()) });
        if self.path == Ollama::Chat {
            line["message"] = json!({ "role": "assistant", "content": text });
        } else {
            line["response"] = json!(text);
        }
        line["done"] = json!(done.is_some());
        if let Some(reason) = done {
            line["done_reason"] = json!(reason);
        }
        line
    }

    fn last(&self, text: &str, finish: Finish, counts: Counts, first: Option<Instant>) -> Value {
        let mut line = self.line(text, Some(finish_name(finish)));
        let first = first.unwrap_or_else(Instant::now);
        line["total_duration"] = json!(nanos(self.started.elapsed()));
        line["load_duration"] = json!(0);
        line["prompt_eval_count"] = json!(counts.prompt);
        line["prompt_eval_duration"] = json!(nanos(first - self.started));
        line["eval_count"] = json!(counts.completion);
        line["eval_duration"] = json!(nanos(first.elapsed()));
        line
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// An answer that is being written.
struct Stream {
    lines: Lines,
    timed: Timed,
    id: String,
    over: bool,
}

impl Stream {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if self.over {
            return None;
        }
        let line = match self.timed.next().await {
            // Lines of JSON have no comments; a piece without text is the sign of life.
            Ok(Next::Quiet) => self.lines.line("", None),
            Ok(Next::End) => return None,
            Ok(Next::Told(Told::Text { piece, .. })) => {
                let line = || written(&self.lines.line(&piece.text, None));
                return Some((aside(piece.text.len(), line).await, self));
            }
            Ok(Next::Told(Told::End { finish, .. })) => {
                let running = self.timed.running();
                self.lines.last("", finish, running.counts(), running.first_at())
            }
            Err(error) => {
                self.over = true;
                respond::stream_error(Dialect::Ollama, &error, &self.id)
            }
        };
        Some((written(&line), self))
    }
}

/// A line of an answer.
fn written(line: &Value) -> Bytes {
    format!("{line}\n").into()
}

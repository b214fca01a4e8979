//! OpenAI's dialect: `/v1/models` and `/v1/embeddings`. An endpoint's name is a model's id.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use selvedge_model::model::INPUTS_MAX;
use selvedge_model::{Input, Task, Text};
use selvedge_plugin::value::Output;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{check_finite, enter, parse, run, unix_seconds};
use crate::app::App;
use crate::generation::Generation;
use crate::http::handle::Received;
use crate::http::{Response, respond};
use crate::pipeline::params::natural;
use crate::pipeline::{Answer, ClientFault, HostFault, RequestError, size};
use crate::router::Dialect;

/// `GET /v1/models`.
#[must_use]
pub fn models(app: &App, generation: &Generation) -> Response {
    let data: Vec<Value> = generation
        .endpoints
        .iter()
        .map(|endpoint| entry(app, &endpoint.name))
        .collect();
    respond::json(StatusCode::OK, &json!({ "object": "list", "data": data }))
}

/// `GET /v1/models/{id}`.
///
/// # Errors
///
/// Where no endpoint has the name.
pub fn model(app: &App, generation: &Generation, name: &str) -> Result<Response, RequestError> {
    match generation.endpoint(name) {
        Some(endpoint) => Ok(respond::json(StatusCode::OK, &entry(app, &endpoint.name))),
        None => Err(ClientFault::UnknownModel(name.to_owned()).into()),
    }
}

fn entry(app: &App, name: &str) -> Value {
    json!({ "id": name, "object": "model", "created": unix_seconds(app.started()), "owned_by": "selvedge" })
}

/// What of the body the answer depends on, besides the inputs.
struct Wanted {
    model: String,
    encoding: Encoding,
    dimensions: Option<usize>,
}

/// How a vector is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// An array of numbers.
    Float,
    /// Little-endian float32 in base64, which OpenAI's own clients ask for.
    Base64,
}

/// `POST /v1/embeddings`.
///
/// # Errors
///
/// Where the body is not as it must be, no endpoint has the name, or the pipeline ends in an error.
pub async fn embeddings(generation: &Generation, received: Received) -> Result<Response, RequestError> {
    // The inputs are read again where a validator changed the body; what is wrong with them is said before it costs one.
    let read = |body: &[u8]| {
        let fields = object(body)?;
        Ok((Wanted::read(&fields)?, inputs(&fields)?))
    };
    let (wanted, first) = received.read(read).await?;
    let endpoint = generation.endpoint(&wanted.model);
    let endpoint = enter(
        endpoint.ok_or_else(|| ClientFault::UnknownModel(wanted.model.clone()))?,
        &received.call,
        received.estimate,
    )?;
    let task = endpoint.backend.task();
    if task != Task::FeatureExtraction {
        return Err(ClientFault::WrongTask {
            endpoint: wanted.model,
            task: task.name(),
        }
        .into());
    }
    let known = endpoint
        .backend
        .model()
        .and_then(|model| model.card().output.dimensions);
    wanted.check_dimensions(known)?;
    let untouched = received.body.clone();
    let decode = |body: &[u8]| {
        let texts = if body == untouched {
            first
        } else {
            inputs(&object(body)?)?
        };
        Ok(Input::Texts(texts))
    };
    let answer = run(endpoint, &received, Dialect::OpenAi, decode).await?;
    let len = size::of_output(&answer.output);
    let encode = || encode(&wanted, answer);
    received.time(endpoint).aside(len, encode).await?
}

fn bad(kind: &'static str, param: &str, message: impl Into<String>) -> ClientFault {
    ClientFault::BadBody {
        kind,
        param: param.to_owned(),
        message: message.into(),
    }
}

/// A body that must be a JSON object.
///
/// # Errors
///
/// What is wrong with it.
pub fn object(body: &[u8]) -> Result<Map<String, Value>, ClientFault> {
    match parse(body)? {
        Value::Object(fields) => Ok(fields),
        _ => Err(bad("invalid_type", "", "the body must be a JSON object")),
    }
}

/// The `model` of a request.
///
/// # Errors
///
/// Where there is none.
pub fn model_name(fields: &Map<String, Value>) -> Result<String, ClientFault> {
    match fields.get("model") {
        Some(Value::String(model)) => Ok(model.clone()),
        Some(_) => Err(bad("invalid_type", "model", "`model` must be a string")),
        None => Err(bad("missing", "model", "you must provide a `model`")),
    }
}

impl Wanted {
    fn read(fields: &Map<String, Value>) -> Result<Self, ClientFault> {
        let model = model_name(fields)?;
        let encoding = match fields.get("encoding_format") {
            None | Some(Value::Null) => Encoding::Float,
            Some(Value::String(format)) if format == "float" => Encoding::Float,
            Some(Value::String(format)) if format == "base64" => Encoding::Base64,
            Some(_) => {
                return Err(bad(
                    "invalid_value",
                    "encoding_format",
                    "`encoding_format` must be \"float\" or \"base64\"",
                ));
            }
        };
        let dimensions = match fields.get("dimensions") {
            None | Some(Value::Null) => None,
            Some(value) => match natural(value).filter(|dimensions| *dimensions > 0) {
                Some(dimensions) => Some(usize::try_from(dimensions).unwrap_or(usize::MAX)),
                None => {
                    return Err(bad(
                        "invalid_value",
                        "dimensions",
                        "`dimensions` must be a whole number of at least 1",
                    ));
                }
            },
        };
        Ok(Self {
            model,
            encoding,
            dimensions,
        })
    }

    fn check_dimensions(&self, max: Option<usize>) -> Result<(), ClientFault> {
        match (self.dimensions, max) {
            (Some(asked), Some(max)) if asked > max => Err(bad(
                "invalid_value",
                "dimensions",
                format!("`dimensions` is {asked}, and the model has {max}"),
            )),
            _ => Ok(()),
        }
    }
}

/// `input`: a text, texts, token ids, or lists of token ids.
fn inputs(fields: &Map<String, Value>) -> Result<Vec<Text>, ClientFault> {
    let input = fields
        .get("input")
        .ok_or_else(|| bad("missing", "input", "you must provide an `input`"))?;
    let items = match input {
        Value::String(text) => return Ok(vec![text_of(text, "input")?]),
        Value::Array(items) if items.is_empty() => {
            return Err(bad("too_short", "input", "`input` must have at least one item"));
        }
        Value::Array(items) if items[0].is_number() => return Ok(vec![tokens_of(items, "input")?]),
        Value::Array(items) => items,
        _ => {
            return Err(bad(
                "invalid_type",
                "input",
                "`input` must be a string, or an array of strings or of token ids",
            ));
        }
    };
    if items.len() > INPUTS_MAX {
        return Err(bad(
            "too_long",
            "input",
            format!(
                "`input` has {} items, at most {INPUTS_MAX} are taken",
                items.len()
            ),
        ));
    }
    let item = |(index, item): (usize, &Value)| {
        let param = format!("input.{index}");
        match item {
            Value::String(text) => text_of(text, &param),
            Value::Array(ids) => tokens_of(ids, &param),
            _ => Err(bad(
                "invalid_type",
                &param,
                format!("`{param}` must be a string or an array of token ids"),
            )),
        }
    };
    items.iter().enumerate().map(item).collect()
}

fn text_of(text: &str, param: &str) -> Result<Text, ClientFault> {
    if text.is_empty() {
        return Err(bad(
            "too_short",
            param,
            format!("`{param}` must not be an empty string"),
        ));
    }
    Ok(Text::Text(text.to_owned()))
}

fn tokens_of(ids: &[Value], param: &str) -> Result<Text, ClientFault> {
    if ids.is_empty() {
        return Err(bad(
            "too_short",
            param,
            format!("`{param}` must have at least one token"),
        ));
    }
    let id = |id: &Value| natural(id).and_then(|id| u32::try_from(id).ok());
    let ids: Option<Vec<u32>> = ids.iter().map(id).collect();
    ids.map(Text::Tokens).ok_or_else(|| {
        bad(
            "invalid_type",
            param,
            format!("`{param}` must hold token ids alone"),
        )
    })
}

#[derive(Serialize)]
struct EmbeddingList<'a> {
    object: &'static str,
    data: Vec<Embedding>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Float(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: u32,
    total_tokens: u32,
}

fn encode(wanted: &Wanted, answer: Answer) -> Result<Response, RequestError> {
    let vectors = match answer.output {
        Output::Embeddings(vectors) => vectors,
        Output::Json(text) => return Ok(respond::raw_json(StatusCode::OK, text.into_bytes())),
        Output::Text(_) | Output::Labels(_) | Output::Tensors(_) => {
            let reason = "a post-processor left something else than embeddings".to_owned();
            return Err(HostFault::Unavailable {
                endpoint: wanted.model.clone(),
                reason,
            }
            .into());
        }
    };
    check_finite(&vectors)?;
    let mut data = Vec::with_capacity(vectors.len());
    for (index, mut vector) in vectors.into_iter().enumerate() {
        if let Some(dimensions) = wanted.dimensions {
            selvedge_model::model::shorten(&mut vector, dimensions);
        }
        let embedding = match wanted.encoding {
            Encoding::Float => Vector::Float(vector),
            Encoding::Base64 => Vector::Base64(base64_of(&vector)),
        };
        data.push(Embedding {
            object: "embedding",
            index,
            embedding,
        });
    }
    let tokens = answer.usage.prompt_tokens;
    let usage = Usage {
        prompt_tokens: tokens,
        total_tokens: tokens,
    };
    let list = EmbeddingList {
        object: "list",
        data,
        model: &wanted.model,
        usage,
    };
    Ok(respond::json(StatusCode::OK, &list))
}

/// Little-endian float32, padded standard alphabet.
fn base64_of(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::{base64_of, inputs};
    use selvedge_model::Text;
    use serde_json::json;

    fn read(input: serde_json::Value) -> Result<Vec<Text>, String> {
        let fields = json!({ "input": input }).as_object().cloned().unwrap_or_default();
        inputs(&fields).map_err(|fault| fault.to_string())
    }

    #[test]
    fn takes_every_form_of_input() {
        let text = |text: &str| Text::Text(text.to_owned());
        assert_eq!(read(json!("a")), Ok(vec![text("a")]));
        assert_eq!(read(json!(["a", "b"])), Ok(vec![text("a"), text("b")]));
        assert_eq!(read(json!([1, 2])), Ok(vec![Text::Tokens(vec![1, 2])]));
        assert_eq!(
            read(json!([[1], [2, 3]])),
            Ok(vec![Text::Tokens(vec![1]), Text::Tokens(vec![2, 3])])
        );
    }

    #[test]
    fn refuses_every_other_form() {
        for input in [
            json!(""),
            json!([]),
            json!(["a", ""]),
            json!([[]]),
            json!([1.5]),
            json!([-1]),
            json!(7),
            json!({}),
        ] {
            assert!(read(input.clone()).is_err(), "{input}");
        }
        assert!(
            read(json!(vec!["a"; 2049]))
                .expect_err("too many")
                .contains("2049")
        );
        assert_eq!(read(json!(vec!["a"; 2048])).map(|texts| texts.len()), Ok(2048));
    }

    #[test]
    fn writes_little_endian_floats() {
        assert_eq!(base64_of(&[1.0, -2.0]), "AACAPwAAAMA=");
    }
}

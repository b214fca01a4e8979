//! Plain JSON on an endpoint's own path.
//!
//! In, where no templater says otherwise: `{"text": ".."}`, `{"input": ".."}` or `{"input": ["..", ".."]}`, or for a tensor
//! model `{"inputs": {"name": [[..]]}}`. Out, where no post-processor says otherwise: `{"labels": [[{"label", "score"}]]}`,
//! `{"embeddings": [[..]]}`, always a list with an entry an input, or `{"outputs": {"name": {..}}}`.

use http::StatusCode;
use selvedge_model::{Input, Task, Text};
use selvedge_plugin::value::{Label, Output};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{check_finite, parse, ready, run, tensors};
use crate::generation::{Endpoint, Ready};
use crate::http::handle::Received;
use crate::http::{Response, respond};
use crate::pipeline::{Answer, ClientFault, RequestError};
use crate::router::Dialect;

/// Answers a request on an endpoint's own path.
///
/// # Errors
///
/// Where the body is not JSON, or the pipeline ends in an error.
pub async fn answer(endpoint: &Endpoint, received: Received) -> Result<Response, RequestError> {
    let endpoint = ready(endpoint)?;
    // Before any plugin: what is not JSON, or nested beyond reason, costs none of them a thing.
    parse(&received.body)?;
    let answer = run(endpoint, &received, Dialect::Endpoint, |body| {
        decode(endpoint, body)
    })
    .await?;
    encode(answer)
}

fn decode(endpoint: &Ready, body: &[u8]) -> Result<Input, RequestError> {
    let Value::Object(mut fields) = parse(body)? else {
        return Err(bad("dict_type", "", "Input should be an object").into());
    };
    if endpoint.model.card().task == Task::Tensor {
        return tensors::decode(endpoint.model.signature(), &fields);
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
enum Plain<'a> {
    Embeddings { embeddings: &'a [Vec<f32>], tokens: u32 },
    Labels { labels: Vec<Vec<PlainLabel<'a>>> },
    Texts { texts: &'a [String] },
    Tensors { outputs: Value },
}

#[derive(Serialize)]
struct PlainLabel<'a> {
    label: &'a str,
    score: f32,
}

fn encode(answer: Answer) -> Result<Response, RequestError> {
    let body = match &answer.output {
        Output::Json(text) => return Ok(respond::raw_json(StatusCode::OK, text.clone().into_bytes())),
        Output::Embeddings(embeddings) => {
            check_finite(embeddings)?;
            Plain::Embeddings {
                embeddings,
                tokens: answer.usage.prompt_tokens,
            }
        }
        Output::Labels(inputs) => Plain::Labels {
            labels: inputs
                .iter()
                .map(|labels| labels.iter().map(plain_label).collect())
                .collect(),
        },
        Output::Text(texts) => Plain::Texts { texts },
        Output::Tensors(named) => Plain::Tensors {
            outputs: tensors::encode(named)?,
        },
    };
    Ok(respond::json(StatusCode::OK, &body))
}

fn plain_label(label: &Label) -> PlainLabel<'_> {
    PlainLabel {
        label: &label.name,
        score: label.score,
    }
}

//! What an `openai` upstream is asked, and what it answers. Pure.

use selvedge_model::generate::TokenReport;
use selvedge_model::{Structure, Text};
use selvedge_plugin::value::Finish;
use serde_json::{Map, Value, json};

use super::said::{Said, Wrong};
use crate::pipeline::generate::Counts;
use crate::pipeline::order::Prompt;
use crate::pipeline::params::Params;

/// Path and body of a request for text.
pub(super) fn request(model: &str, prompt: &Prompt, params: &Params) -> (&'static str, Value) {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model));
    let path = match prompt {
        Prompt::Messages(messages) => {
            body.insert("messages".to_owned(), json!(messages));
            "/chat/completions"
        }
        Prompt::Text(text) => {
            body.insert("prompt".to_owned(), json!(text));
            "/completions"
        }
        Prompt::Tokens(tokens) => {
            body.insert("prompt".to_owned(), json!(tokens));
            "/completions"
        }
    };
    body.insert("stream".to_owned(), json!(true));
    body.insert("stream_options".to_owned(), json!({ "include_usage": true }));
    for (key, value) in &params.given {
        body.insert(key.clone(), value.clone());
    }
    if let Some(tokens_max) = params.tokens_max
        && !body.contains_key("max_completion_tokens")
    {
        body.insert("max_tokens".to_owned(), json!(tokens_max));
    }
    if !params.stop.is_empty() {
        body.insert("stop".to_owned(), json!(params.stop));
    }
    if params.count > 1 {
        body.insert("n".to_owned(), json!(params.count));
    }
    match &params.structure {
        None => {}
        Some(Structure::Object) => {
            body.insert("response_format".to_owned(), json!({ "type": "json_object" }));
        }
        Some(Structure::Schema(schema)) => {
            let schema = json!({ "name": "answer", "schema": schema, "strict": true });
            let format = json!({ "type": "json_schema", "json_schema": schema });
            body.insert("response_format".to_owned(), format);
        }
    }
    (path, Value::Object(body))
}

/// A line of server-sent events. Comments and the lines between events say nothing.
pub(super) fn read(line: &str) -> Result<Vec<Said>, Wrong> {
    let Some(data) = line.strip_prefix("data:") else {
        // Other fields of an event, comments, and the lines between events.
        let idle = line.is_empty() || line.starts_with([':', 'e', 'i', 'r']);
        return if idle {
            Ok(Vec::new())
        } else {
            Err(Wrong::garbage(line))
        };
    };
    let data = data.trim();
    if data == "[DONE]" {
        return Ok(vec![Said::Over]);
    }
    let chunk: Value = serde_json::from_str(data).map_err(|_| Wrong::garbage(line))?;
    if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
        return Err(Wrong::Failed(message(error)));
    }
    let Some(choices) = chunk.get("choices").and_then(Value::as_array) else {
        return Err(Wrong::garbage(line));
    };
    let mut said = Vec::new();
    for entry in choices {
        let choice = entry["index"].as_u64().unwrap_or_default();
        let choice = usize::try_from(choice).unwrap_or(usize::MAX);
        let text = entry["delta"]["content"]
            .as_str()
            .or_else(|| entry["text"].as_str());
        let tokens = reports(&entry["logprobs"]);
        if let Some(text) = text.filter(|text| !text.is_empty() || !tokens.is_empty()) {
            let text = text.to_owned();
            said.push(Said::Text { choice, text, tokens });
        }
        if let Some(reason) = entry["finish_reason"].as_str() {
            said.push(Said::End {
                choice,
                finish: finish(reason),
            });
        }
    }
    if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
        said.push(Said::Counts(counts(usage)));
    }
    Ok(said)
}

fn finish(reason: &str) -> Finish {
    match reason {
        "length" => Finish::Length,
        "content_filter" => Finish::ContentFilter,
        "tool_calls" | "function_call" => Finish::ToolCalls,
        _ => Finish::Stop,
    }
}

pub(super) fn counts(usage: &Value) -> Counts {
    let count = |value: &Value| {
        let count = value.as_u64().unwrap_or_default();
        usize::try_from(count).unwrap_or(usize::MAX)
    };
    Counts {
        prompt: count(&usage["prompt_tokens"]),
        cached: count(&usage["prompt_tokens_details"]["cached_tokens"]),
        completion: count(&usage["completion_tokens"]),
    }
}

/// Probabilities as chat has them.
fn reports(logprobs: &Value) -> Vec<TokenReport> {
    let entries = logprobs["content"].as_array().into_iter().flatten();
    let scored = |entry: &Value| {
        #[expect(clippy::cast_possible_truncation, reason = "float32 is what models have")]
        let logprob = entry["logprob"].as_f64().unwrap_or_default() as f32;
        (entry["token"].as_str().unwrap_or_default().to_owned(), logprob)
    };
    let report = |entry: &Value| {
        let (text, logprob) = scored(entry);
        let likeliest = entry["top_logprobs"].as_array().into_iter().flatten();
        TokenReport {
            text,
            logprob,
            likeliest: likeliest.map(scored).collect(),
        }
    };
    entries.map(report).collect()
}

/// The words of an error: `{"message": ".."}` or a text.
pub(super) fn message(error: &Value) -> String {
    let text = error["message"].as_str().or_else(|| error.as_str());
    text.map_or_else(|| error.to_string(), str::to_owned)
}

/// Path and body of a request for embeddings.
pub(super) fn embed_request(model: &str, texts: &[Text]) -> (&'static str, Value) {
    let input = |text: &Text| match text {
        Text::Text(text) => json!(text),
        Text::Tokens(tokens) => json!(tokens),
    };
    let input: Vec<Value> = texts.iter().map(input).collect();
    let body = json!({ "model": model, "input": input, "encoding_format": "float" });
    ("/embeddings", body)
}

/// The vectors of an answer, in the order of the inputs, with the token count.
pub(super) fn read_embeddings(answer: &Value) -> Option<(Vec<Vec<f32>>, usize)> {
    let mut entries: Vec<(u64, Vec<f32>)> = Vec::new();
    for entry in answer["data"].as_array()? {
        let vector = serde_json::from_value(entry["embedding"].clone()).ok()?;
        entries.push((entry["index"].as_u64()?, vector));
    }
    entries.sort_by_key(|(index, _)| *index);
    let vectors = entries.into_iter().map(|(_, vector)| vector).collect();
    Some((vectors, counts(&answer["usage"]).prompt))
}

//! What an `openai` upstream is asked, and what it answers. Pure.

use selvedge_model::generate::TokenReport;
use selvedge_model::{Structure, Text};
use selvedge_plugin::value::Finish;
use serde_json::{Map, Value, json};

use super::said::{Said, Wrong};
use crate::pipeline::completed::Counts;
use crate::pipeline::order::Prompt;
use crate::pipeline::params::{Limit, Params};

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
    if let Some(tokens_max) = params.tokens_max {
        let name = match (params.limit, prompt) {
            (Limit::CompletionTokens, Prompt::Messages(_)) => "max_completion_tokens",
            _ => "max_tokens",
        };
        body.insert(name.to_owned(), json!(tokens_max));
    }
    if !params.stop.is_empty() {
        body.insert("stop".to_owned(), json!(params.stop));
    }
    let biases = params.sampling.logit_bias.iter();
    let biases: Map<String, Value> = biases
        .map(|(token, bias)| (token.to_string(), json!(bias)))
        .collect();
    if !biases.is_empty() {
        body.insert("logit_bias".to_owned(), biases.into());
    }
    match (params.sampling.logprobs, prompt) {
        (None, _) => {}
        (Some(count), Prompt::Messages(_)) => {
            body.insert("logprobs".to_owned(), json!(true));
            body.insert("top_logprobs".to_owned(), json!(count));
        }
        (Some(count), _) => {
            body.insert("logprobs".to_owned(), json!(count));
        }
    }
    if let Some(format) = format_of(params) {
        body.insert("response_format".to_owned(), format);
    }
    (path, Value::Object(body))
}

/// The structure as it was said, or where that was in other words, in OpenAI's.
fn format_of(params: &Params) -> Option<Value> {
    if params.format.is_some() {
        return params.format.clone();
    }
    Some(match params.structure.as_ref()? {
        Structure::Object => json!({ "type": "json_object" }),
        Structure::Schema(schema) => {
            json!({ "type": "json_schema", "json_schema": { "name": "answer", "schema": schema } })
        }
    })
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
        match text.filter(|text| !text.is_empty() || !tokens.is_empty()) {
            Some(text) => {
                let text = text.to_owned();
                said.push(Said::Text { choice, text, tokens });
            }
            // What a model thinks before it answers is no part of the answer, and a sign that it works.
            None if thinks(&entry["delta"]) => said.push(Said::Alive),
            None => {}
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

fn thinks(delta: &Value) -> bool {
    ["reasoning_content", "reasoning"]
        .iter()
        .any(|key| delta[*key].as_str().is_some_and(|text| !text.is_empty()))
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

/// Probabilities as chat has them, or as completions do.
fn reports(logprobs: &Value) -> Vec<TokenReport> {
    #[expect(clippy::cast_possible_truncation, reason = "float32 is what models have")]
    let number = |value: &Value| value.as_f64().unwrap_or_default() as f32;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if let Some(tokens) = logprobs["tokens"].as_array() {
        let report = |(place, token): (usize, &Value)| {
            let top = logprobs["top_logprobs"][place].as_object().into_iter().flatten();
            TokenReport {
                text: text(token),
                logprob: number(&logprobs["token_logprobs"][place]),
                likeliest: top
                    .map(|(token, logprob)| (token.clone(), number(logprob)))
                    .collect(),
            }
        };
        return tokens.iter().enumerate().map(report).collect();
    }
    let scored = |entry: &Value| (text(&entry["token"]), number(&entry["logprob"]));
    let report = |entry: &Value| {
        let ((text, logprob), likeliest) = (scored(entry), entry["top_logprobs"].as_array());
        TokenReport {
            text,
            logprob,
            likeliest: likeliest.into_iter().flatten().map(scored).collect(),
        }
    };
    let entries = logprobs["content"].as_array().into_iter().flatten();
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Said, Wrong, read, request};
    use crate::pipeline::order::Prompt;
    use crate::pipeline::params::Params;

    fn body(prompt: &Prompt, fields: Value) -> Value {
        let params = Params::read(fields.as_object().expect("an object")).expect("read");
        request("m", prompt, &params).1
    }

    #[test]
    fn says_what_was_said_by_the_name_that_it_was_said_by_and_nothing_else() {
        let format =
            json!({ "type": "json_schema", "json_schema": { "name": "pet", "strict": false, "schema": {} } });
        let fields = json!({
            "max_completion_tokens": 5, "temperature": 0, "logprobs": false, "logit_bias": {}, "response_format": format,
        });
        let found = body(&Prompt::Messages(Vec::new()), fields);
        let expected = json!({
            "model": "m", "messages": [], "stream": true, "stream_options": { "include_usage": true },
            "temperature": 0, "max_completion_tokens": 5, "response_format": format,
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn asks_for_probabilities_in_the_form_of_the_path() {
        let fields = json!({ "logprobs": true, "top_logprobs": 3, "max_completion_tokens": 5 });
        let chat = body(&Prompt::Messages(Vec::new()), fields.clone());
        assert_eq!(
            (&chat["logprobs"], &chat["top_logprobs"]),
            (&json!(true), &json!(3))
        );
        let text = body(&Prompt::Text("a".to_owned()), fields);
        assert_eq!((&text["logprobs"], &text["max_tokens"]), (&json!(3), &json!(5)));
        assert_eq!(
            (&text["top_logprobs"], &text["messages"]),
            (&Value::Null, &Value::Null)
        );
    }

    #[test]
    fn hears_text_thinking_counts_and_failure() {
        let chunk = |delta: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}");
        assert_eq!(
            read(&chunk("{\"role\":\"assistant\",\"content\":\"\"}")),
            Ok(Vec::new())
        );
        assert_eq!(
            read(&chunk("{\"reasoning_content\":\"hm\"}")),
            Ok(vec![Said::Alive])
        );
        let (choice, text, tokens) = (0, "a".to_owned(), Vec::new());
        assert_eq!(
            read(&chunk("{\"content\":\"a\"}")),
            Ok(vec![Said::Text { choice, text, tokens }])
        );
        assert_eq!(read(": ping"), Ok(Vec::new()));
        assert_eq!(read("data: [DONE]"), Ok(vec![Said::Over]));
        assert_eq!(
            read("data: {\"error\":{\"message\":\"no memory\"}}"),
            Err(Wrong::Failed("no memory".to_owned()))
        );
        assert!(matches!(read("data: {"), Err(Wrong::Garbage(_))));
        assert!(matches!(read("<html>"), Err(Wrong::Garbage(_))));
    }
}

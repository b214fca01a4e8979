//! What an `ollama` upstream is asked, and what it answers. Pure.

use selvedge_model::{InferError, Structure, Text};
use selvedge_plugin::value::Finish;
use serde_json::{Map, Value, json};

use super::openai::message;
use super::said::{Said, Wrong};
use crate::pipeline::completed::Counts;
use crate::pipeline::order::Prompt;
use crate::pipeline::params::Params;
use crate::pipeline::{ClientFault, RequestError};

/// Our names of options, which are OpenAI's, with Ollama's.
pub const OPTIONS: [(&str, &str); 8] = [
    ("temperature", "temperature"),
    ("top_k", "top_k"),
    ("top_p", "top_p"),
    ("min_p", "min_p"),
    ("seed", "seed"),
    ("repetition_penalty", "repeat_penalty"),
    ("presence_penalty", "presence_penalty"),
    ("frequency_penalty", "frequency_penalty"),
];

/// Path and body of a request for one answer.
///
/// # Errors
///
/// Where it asks for what Ollama does not know, or the prompt is token ids, which it does not take.
pub(super) fn request(
    model: &str,
    prompt: &Prompt,
    params: &Params,
) -> Result<(&'static str, Value), RequestError> {
    let unknown = [
        ("logit_bias", !params.sampling.logit_bias.is_empty()),
        ("logprobs", params.sampling.logprobs.is_some()),
    ];
    if let Some((key, _)) = unknown.iter().find(|(_, said)| *said) {
        return Err(unsupported(key).into());
    }
    let mut options = Map::new();
    for (key, value) in &params.given {
        let known = OPTIONS.iter().find(|(ours, _)| ours == key);
        let (_, theirs) = known.ok_or_else(|| unsupported(key))?;
        options.insert((*theirs).to_owned(), value.clone());
    }
    if let Some(tokens_max) = params.tokens_max {
        options.insert("num_predict".to_owned(), json!(tokens_max));
    }
    if !params.stop.is_empty() {
        options.insert("stop".to_owned(), json!(params.stop));
    }
    let mut body = json!({ "model": model, "stream": true, "options": options });
    match &params.structure {
        None => {}
        Some(Structure::Object) => body["format"] = json!("json"),
        Some(Structure::Schema(schema)) => body["format"] = schema.clone(),
    }
    let path = match prompt {
        Prompt::Messages(messages) => {
            body["messages"] = json!(messages);
            "/api/chat"
        }
        Prompt::Text(text) => {
            body["prompt"] = json!(text);
            body["raw"] = json!(true);
            "/api/generate"
        }
        Prompt::Tokens(_) => return Err(NO_TOKENS.into()),
    };
    Ok((path, body))
}

const NO_TOKENS: InferError = InferError::WrongInput {
    expected: "text",
    given: "tokens",
};

fn unsupported(param: &str) -> ClientFault {
    ClientFault::BadBody {
        kind: "unsupported_value",
        param: param.to_owned(),
        message: format!("`{param}` is not known to the server behind this endpoint"),
    }
}

/// A line of JSON.
pub(super) fn read(line: &str) -> Result<Vec<Said>, Wrong> {
    if line.is_empty() {
        return Ok(Vec::new());
    }
    let part: Value = serde_json::from_str(line).map_err(|_| Wrong::garbage(line))?;
    if let Some(error) = part.get("error") {
        return Err(Wrong::Failed(message(error)));
    }
    let text = part["message"]["content"]
        .as_str()
        .or_else(|| part["response"].as_str());
    let (Some(text), Some(done)) = (text, part["done"].as_bool()) else {
        return Err(Wrong::garbage(line));
    };
    let (choice, mut said) = (0, Vec::new());
    let thinking = part["message"]["thinking"]
        .as_str()
        .or_else(|| part["thinking"].as_str());
    if text.is_empty() && thinking.is_some_and(|thinking| !thinking.is_empty()) {
        // No part of the answer, and a sign that it works.
        said.push(Said::Alive);
    }
    if !text.is_empty() {
        let text = text.to_owned();
        let tokens = Vec::new();
        said.push(Said::Text { choice, text, tokens });
    }
    if done {
        let finish = match part["done_reason"].as_str() {
            Some("length") => Finish::Length,
            _ => Finish::Stop,
        };
        let count = |key: &str| {
            let count = part[key].as_u64().unwrap_or_default();
            usize::try_from(count).unwrap_or(usize::MAX)
        };
        let counts = Counts {
            prompt: count("prompt_eval_count"),
            cached: 0,
            completion: count("eval_count"),
        };
        said.extend([Said::End { choice, finish }, Said::Counts(counts), Said::Over]);
    }
    Ok(said)
}

/// Path and body of a request for embeddings.
///
/// # Errors
///
/// Where an input is token ids, which Ollama does not take.
pub(super) fn embed_request(model: &str, texts: &[Text]) -> Result<(&'static str, Value), InferError> {
    let texts = texts.iter().map(|text| match text {
        Text::Text(text) => Ok(text.as_str()),
        Text::Tokens(_) => Err(NO_TOKENS),
    });
    let input: Vec<&str> = texts.collect::<Result<_, _>>()?;
    Ok(("/api/embed", json!({ "model": model, "input": input })))
}

/// The vectors of an answer, in the order of the inputs, with the token count.
pub(super) fn read_embeddings(answer: &Value) -> Option<(Vec<Vec<f32>>, usize)> {
    let vectors = serde_json::from_value(answer["embeddings"].clone()).ok()?;
    let tokens = answer["prompt_eval_count"].as_u64().unwrap_or_default();
    Some((vectors, usize::try_from(tokens).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Said, read, request};
    use crate::pipeline::order::Prompt;
    use crate::pipeline::params::Params;

    fn body(fields: Value) -> Result<Value, String> {
        let params = Params::read(fields.as_object().expect("an object")).expect("read");
        let asked = request("m", &Prompt::Messages(Vec::new()), &params);
        asked.map(|(_, body)| body).map_err(|fault| fault.to_string())
    }

    #[test]
    fn says_what_was_said_in_ollama_s_words_and_nothing_else() {
        let fields = json!({
            "max_completion_tokens": 5, "temperature": 0, "repetition_penalty": 1.1, "logprobs": false, "logit_bias": {},
            "response_format": { "type": "json_object" },
        });
        let expected = json!({
            "model": "m", "stream": true, "messages": [], "format": "json",
            "options": { "temperature": 0, "repeat_penalty": 1.1, "num_predict": 5 },
        });
        assert_eq!(body(fields), Ok(expected));
        let refused = body(json!({ "logit_bias": { "5": 1 } })).expect_err("it has none");
        assert!(refused.contains("`logit_bias` is not known"), "{refused}");
    }

    #[test]
    fn hears_thinking_and_the_end() {
        let line = "{\"message\":{\"content\":\"\",\"thinking\":\"hm\"},\"done\":false}";
        assert_eq!(read(line), Ok(vec![Said::Alive]));
        let line =
            "{\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"length\",\"eval_count\":3}";
        let said = read(line).expect("a line");
        assert!(
            matches!(said[..], [Said::End { .. }, Said::Counts(counts), Said::Over] if counts.completion == 3)
        );
    }
}

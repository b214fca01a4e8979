//! A request as a line of JSON.

use std::time::{Duration, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::answer::{self, Answer};

/// The configuration; its schema is in the manifest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The journal's name.
    pub journal: String,
    #[serde(default)]
    format: Format,
    #[serde(default)]
    only: Only,
    /// Bytes of one file.
    #[serde(default = "file_bytes_max")]
    pub file_bytes_max: u64,
    /// Files that are kept.
    #[serde(default = "files_max")]
    pub files_max: u32,
}

fn file_bytes_max() -> u64 {
    16 << 20
}

fn files_max() -> u32 {
    16
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Event,
    Chat,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Only {
    #[default]
    Success,
    All,
}

/// A request that is over.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The event's id: a line that is there twice has it twice.
    pub id: String,
    /// The request's id.
    pub request_id: String,
    /// The endpoint.
    pub endpoint: String,
    /// Its model.
    pub model: String,
    /// When it ended.
    pub time_ms: u64,
    /// What was answered.
    pub status: u16,
    /// Why the text ended.
    pub finish: Option<&'static str>,
    /// Tokens of prompt and answer.
    pub tokens: Option<(u32, u32)>,
    /// What plugins left.
    pub attributes: Vec<(String, String)>,
    /// The request's body.
    pub asked: Option<Vec<u8>>,
    /// The answer's body.
    pub answered: Option<Vec<u8>>,
}

impl Config {
    /// The line, where this request has one.
    #[must_use]
    pub fn line(&self, request: &Request) -> Option<String> {
        // A stream whose client left, or that failed midway, has 200 and half of an answer.
        let is_whole = !matches!(request.finish, Some("cancelled" | "error"));
        if self.only == Only::Success && !(is_whole && (200..300).contains(&request.status)) {
            return None;
        }
        match self.format {
            Format::Event => Some(event(request).to_string()),
            Format::Chat => chat(request).map(|line| line.to_string()),
        }
    }
}

fn event(request: &Request) -> Value {
    let time = UNIX_EPOCH + Duration::from_millis(request.time_ms);
    let mut line = json!({
        "id": request.id,
        "time": humantime::format_rfc3339_millis(time).to_string(),
        "request_id": request.request_id,
        "endpoint": request.endpoint,
        "model": request.model,
        "status": request.status,
    });
    if let Some(finish) = request.finish {
        line["finish"] = json!(finish);
    }
    if let Some((prompt, completion)) = request.tokens {
        line["usage"] = json!({ "prompt_tokens": prompt, "completion_tokens": completion });
    }
    if !request.attributes.is_empty() {
        let pairs = request.attributes.iter().cloned();
        line["attributes"] = pairs
            .map(|(key, value)| (key, Value::from(value)))
            .collect::<Map<_, _>>()
            .into();
    }
    line["request"] = body(request.asked.as_deref());
    line["response"] = match request.answered.as_deref().map(answer::read) {
        Some(Answer::Texts(texts)) => json!({ "text": texts[0], "texts": texts }),
        Some(Answer::Whole(value)) => value,
        Some(Answer::Other) | None => body(request.answered.as_deref()),
    };
    line
}

/// A body as JSON, as text, or as nothing where it is neither.
fn body(bytes: Option<&[u8]>) -> Value {
    let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
    text.map_or(Value::Null, |text| {
        serde_json::from_str(text).unwrap_or_else(|_| json!(text))
    })
}

/// The conversation with the first answer at its end, for a request that has `messages` and an answer with text.
fn chat(request: &Request) -> Option<Value> {
    let asked = body(request.asked.as_deref());
    let mut messages = asked["messages"].as_array()?.clone();
    let text = match answer::read(request.answered.as_deref()?) {
        Answer::Texts(mut texts) => texts.swap_remove(0),
        Answer::Whole(value) => answer::text_of(&value)?.to_owned(),
        Answer::Other => return None,
    };
    messages.push(json!({ "role": "assistant", "content": text }));
    Some(json!({ "messages": messages }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Config, Request};

    fn config(config: Value) -> Config {
        serde_json::from_value(config).expect("a configuration")
    }

    fn request(asked: &str, answered: &str) -> Request {
        Request {
            id: "evt_1".to_owned(),
            status: 200,
            asked: Some(asked.as_bytes().to_vec()),
            answered: Some(answered.as_bytes().to_vec()),
            ..Request::default()
        }
    }

    fn line(config: &Config, request: &Request) -> Value {
        let line = config.line(request).expect("a line");
        assert!(!line.contains('\n'), "{line}");
        serde_json::from_str(&line).expect("JSON")
    }

    #[test]
    fn a_line_has_both_bodies_as_json_where_they_are() {
        let config = config(json!({ "journal": "j" }));
        let found = line(&config, &request("{\"text\":\n\"a\"}", "{\"label\":\"SPAM\"}"));
        assert_eq!(
            (&found["request"], &found["response"]),
            (&json!({ "text": "a" }), &json!({ "label": "SPAM" }))
        );
        let found = line(&config, &request("two\nlines", "\u{1}"));
        assert_eq!(
            (&found["request"], &found["response"]),
            (&json!("two\nlines"), &json!("\u{1}"))
        );
        let mut binary = request("", "{}");
        binary.asked = Some(vec![0xff, 0xfe]);
        assert_eq!(line(&config, &binary)["request"], Value::Null);
    }

    #[test]
    fn what_failed_is_left_out_unless_it_is_asked_for() {
        let mut failed = request("{}", "{}");
        failed.status = 422;
        assert_eq!(config(json!({ "journal": "j" })).line(&failed), None);
        let all = config(json!({ "journal": "j", "only": "all" }));
        assert_eq!(line(&all, &failed)["status"], 422);
        let mut half = request("{}", "{}");
        half.finish = Some("cancelled");
        assert_eq!(config(json!({ "journal": "j" })).line(&half), None);
        assert_eq!(line(&all, &half)["finish"], "cancelled");
    }

    #[test]
    fn a_conversation_ends_with_its_answer() {
        let config = config(json!({ "journal": "j", "format": "chat" }));
        let asked = r#"{"messages":[{"role":"user","content":"hi"}],"stream":true}"#;
        let expected = json!({ "messages": [{ "role": "user", "content": "hi" }, { "role": "assistant", "content": "Hello!" }] });
        for answered in [
            r#"{"choices":[{"message":{"role":"assistant","content":"Hello!"}}]}"#,
            r#"{"text":"Hello!"}"#,
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hel\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo!\"}}]}\n\ndata: [DONE]\n\n",
        ] {
            assert_eq!(line(&config, &request(asked, answered)), expected, "{answered}");
        }
        assert_eq!(config.line(&request(r#"{"text":"a"}"#, "{}")), None);
        assert_eq!(config.line(&request(asked, r#"{"label":"SPAM"}"#)), None);
    }
}

//! Conversations, as OpenAI and Ollama write them: roles, and texts or parts that are texts.

use selvedge_model::Message;
use serde_json::{Map, Value};

use crate::pipeline::ClientFault;

/// Messages of a conversation at most: a template goes through all of them.
const MESSAGES_MAX: usize = 1024;

/// `messages`, as a model's template takes them.
///
/// # Errors
///
/// Which message is wrong, and what it may be.
pub fn read(fields: &Map<String, Value>) -> Result<Vec<Message>, ClientFault> {
    let messages = match fields.get("messages") {
        Some(Value::Array(messages)) => messages,
        Some(_) => return Err(bad("invalid_type", "messages", "`messages` must be an array")),
        None => return Err(bad("missing", "messages", "you must provide `messages`")),
    };
    if messages.is_empty() {
        return Err(bad(
            "too_short",
            "messages",
            "`messages` must have at least one message",
        ));
    }
    if messages.len() > MESSAGES_MAX {
        let (len, max) = (messages.len(), MESSAGES_MAX);
        return Err(bad(
            "too_long",
            "messages",
            format!("`messages` has {len} messages, at most {max} are taken"),
        ));
    }
    messages
        .iter()
        .enumerate()
        .map(|(index, message)| one_message(index, message))
        .collect()
}

fn one_message(index: usize, message: &Value) -> Result<Message, ClientFault> {
    let at = |key: &str| format!("messages.{index}.{key}");
    let role = match message["role"].as_str() {
        Some(role @ ("system" | "user" | "assistant")) => role,
        Some("developer") => "system",
        Some("tool" | "function") => {
            let param = at("role");
            return Err(bad(
                "invalid_value",
                &param,
                format!("`{param}` is for tools, which are not supported"),
            ));
        }
        _ => {
            let param = at("role");
            let known = "must be \"system\", \"developer\", \"user\" or \"assistant\"";
            return Err(bad("invalid_value", &param, format!("`{param}` {known}")));
        }
    };
    if message["images"]
        .as_array()
        .is_some_and(|images| !images.is_empty())
    {
        let param = at("images");
        return Err(bad(
            "unsupported_value",
            &param,
            format!("`{param}` is given, and the model takes text alone"),
        ));
    }
    let content = match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Null if role == "assistant" => String::new(),
        Value::Array(parts) => {
            let texts = parts
                .iter()
                .enumerate()
                .map(|(place, part)| text_part(&at(&format!("content.{place}")), part));
            texts.collect::<Result<Vec<_>, _>>()?.concat()
        }
        _ => {
            let param = at("content");
            return Err(bad(
                "invalid_type",
                &param,
                format!("`{param}` must be a string or an array of parts"),
            ));
        }
    };
    Ok(Message {
        role: role.to_owned(),
        content,
    })
}

fn text_part(param: &str, part: &Value) -> Result<String, ClientFault> {
    match (part["type"].as_str(), part["text"].as_str()) {
        (Some("text"), Some(text)) => Ok(text.to_owned()),
        (Some("text"), None) => Err(bad("missing", param, format!("`{param}.text` must be a string"))),
        (Some(kind), _) => Err(bad(
            "unsupported_value",
            param,
            format!("`{param}` is of type `{kind}`, and the model takes text alone"),
        )),
        (None, _) => Err(bad("missing", param, format!("`{param}.type` must be a string"))),
    }
}

fn bad(kind: &'static str, param: &str, message: impl Into<String>) -> ClientFault {
    ClientFault::BadBody {
        kind,
        param: param.to_owned(),
        message: message.into(),
    }
}

//! What was answered: JSON, or a stream of text in any of the forms in which Selvedge sends one, put together again.

use serde_json::Value;

/// An answer's body, read.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// JSON.
    Whole(Value),
    /// The texts of a stream, at least one.
    Texts(Vec<String>),
    /// Neither.
    Other,
}

/// Answers of one stream at most.
const TEXTS_MAX: usize = 128;

/// Reads a body.
#[must_use]
pub fn read(body: &[u8]) -> Answer {
    let Ok(text) = std::str::from_utf8(body) else {
        return Answer::Other;
    };
    if let Ok(value) = serde_json::from_str(text) {
        return Answer::Whole(value);
    }
    let mut texts: Vec<String> = Vec::new();
    for line in text.lines() {
        // Server-sent events, or lines of JSON as Ollama has them.
        let data = line.strip_prefix("data:").unwrap_or(line).trim();
        let Ok(piece) = serde_json::from_str::<Value>(data) else {
            continue;
        };
        for (index, text) in pieces(&piece) {
            if index >= TEXTS_MAX {
                continue;
            }
            if texts.len() <= index {
                texts.resize(index + 1, String::new());
            }
            texts[index] += text;
        }
    }
    if texts.is_empty() {
        Answer::Other
    } else {
        Answer::Texts(texts)
    }
}

/// The text of each answer that a piece of a stream brings.
fn pieces(piece: &Value) -> Vec<(usize, &str)> {
    let index =
        |value: &Value| usize::try_from(value["index"].as_u64().unwrap_or_default()).unwrap_or(usize::MAX);
    if let Some(choices) = piece["choices"].as_array() {
        let choice = |choice| Some((index(choice), text_of_choice(choice)?));
        return choices.iter().filter_map(choice).collect();
    }
    text_of(piece)
        .map(|text| (index(piece), text))
        .into_iter()
        .collect()
}

fn text_of_choice(choice: &Value) -> Option<&str> {
    let places = [
        &choice["delta"]["content"],
        &choice["message"]["content"],
        &choice["text"],
    ];
    places.into_iter().find_map(Value::as_str)
}

/// The first text of an answer, whole or a piece, in any of the dialects.
#[must_use]
pub fn text_of(answer: &Value) -> Option<&str> {
    let places = [
        &answer["text"],
        &answer["message"]["content"],
        &answer["response"],
        &answer["text_output"],
    ];
    text_of_choice(&answer["choices"][0]).or_else(|| places.into_iter().find_map(Value::as_str))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Answer, read};

    fn texts(texts: &[&str]) -> Answer {
        Answer::Texts(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn puts_streams_together_in_every_dialect() {
        let own = "data: {\"text\":\"a\"}\n\n: ping\n\ndata: {\"text\":\"x\",\"index\":1}\n\ndata: {\"text\":\"b\"}\n\ndata: {\"done\":true,\"index\":0,\"finish_reason\":\"stop\"}\n\n";
        assert_eq!(read(own.as_bytes()), texts(&["ab", "x"]));
        let ollama = "{\"message\":{\"content\":\"a\"},\"done\":false}\n{\"message\":{\"content\":\"b\"},\"done\":true}\n";
        assert_eq!(read(ollama.as_bytes()), texts(&["ab"]));
        let generate = "{\"response\":\"a\"}\n{\"response\":\"b\"}\n";
        assert_eq!(read(generate.as_bytes()), texts(&["ab"]));
        let completion = "data: {\"choices\":[{\"text\":\"a\",\"index\":0}]}\n\ndata: {\"choices\":[]}\n\ndata: [DONE]\n\n";
        assert_eq!(read(completion.as_bytes()), texts(&["a"]));
    }

    #[test]
    fn what_is_no_stream_is_left_as_it_is() {
        assert_eq!(read(b"{\"a\":1}"), Answer::Whole(json!({ "a": 1 })));
        assert_eq!(read(b"hello"), Answer::Other);
        assert_eq!(read(&[0xff]), Answer::Other);
        assert_eq!(read(b""), Answer::Other);
    }
}

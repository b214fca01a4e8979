//! The texts of a JSON body that are looked at, with their places. Pure; knows no WIT.
//!
//! Values are looked at, keys are not: what a model is given is made of values. A body that is not JSON is one text, so that
//! nothing passes by being malformed.

use serde_json::Value;

/// A text of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Where it stands, from the body's root.
    pub loc: Vec<Step>,
    /// As the client wrote it.
    pub text: String,
}

/// A step into a JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The key of an object.
    Key(String),
    /// The index of an array.
    Index(u32),
}

/// Which texts are looked at.
#[derive(Debug, Default)]
pub struct Fields {
    /// None where all are.
    paths: Vec<Vec<String>>,
}

impl Fields {
    /// Reads paths: `text` is a field of the body, `/messages/*/content` a JSON Pointer in which `*` is any key or index.
    ///
    /// # Errors
    ///
    /// A path that is empty.
    pub fn new(fields: &[String]) -> Result<Self, String> {
        let path = |field: &String| match field.strip_prefix('/') {
            _ if field.is_empty() => {
                Err("`fields`: an empty name; leave `fields` out to look at all".to_owned())
            }
            None => Ok(vec![field.clone()]),
            Some(pointer) => Ok(pointer.split('/').map(unescaped).collect()),
        };
        Ok(Self {
            paths: fields.iter().map(path).collect::<Result<_, _>>()?,
        })
    }

    /// The texts of a body, in its order.
    #[must_use]
    pub fn texts(&self, body: &[u8]) -> Vec<Text> {
        let mut found = Vec::new();
        match serde_json::from_slice(body) {
            Ok(value) => self.walk(&value, &mut Vec::new(), &mut found),
            Err(_) => found.push(Text {
                loc: Vec::new(),
                text: String::from_utf8_lossy(body).into_owned(),
            }),
        }
        found
    }

    fn walk(&self, value: &Value, loc: &mut Vec<Step>, found: &mut Vec<Text>) {
        match value {
            Value::String(text) if self.has(loc) => found.push(Text {
                loc: loc.clone(),
                text: text.clone(),
            }),
            Value::Array(items) => {
                for (index, item) in (0..).zip(items) {
                    self.step(item, Step::Index(index), loc, found);
                }
            }
            Value::Object(fields) => {
                for (key, field) in fields {
                    self.step(field, Step::Key(key.clone()), loc, found);
                }
            }
            _ => {}
        }
    }

    fn step(&self, value: &Value, step: Step, loc: &mut Vec<Step>, found: &mut Vec<Text>) {
        loc.push(step);
        self.walk(value, loc, found);
        loc.pop();
    }

    /// Whether a place is beneath one of the paths.
    fn has(&self, loc: &[Step]) -> bool {
        let leads_to = |path: &Vec<String>| {
            path.len() <= loc.len() && path.iter().zip(loc).all(|(name, step)| step.is_named(name))
        };
        self.paths.is_empty() || self.paths.iter().any(leads_to)
    }
}

impl Step {
    fn is_named(&self, name: &str) -> bool {
        name == "*"
            || match self {
                Self::Key(key) => key == name,
                Self::Index(index) => name.parse() == Ok(*index),
            }
    }
}

/// A step of a JSON Pointer (RFC 6901).
fn unescaped(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use super::{Fields, Step};

    /// Places and texts, as `a.0.b=text`.
    fn found(fields: &[&str], body: &str) -> Vec<String> {
        let fields: Vec<String> = fields.iter().map(|&field| field.to_owned()).collect();
        let texts = Fields::new(&fields).expect("paths").texts(body.as_bytes());
        let place = |loc: &[Step]| {
            let steps = loc.iter().map(|step| match step {
                Step::Key(key) => key.clone(),
                Step::Index(index) => index.to_string(),
            });
            steps.collect::<Vec<_>>().join(".")
        };
        let shown = texts
            .iter()
            .map(|text| format!("{}={}", place(&text.loc), text.text));
        shown.collect()
    }

    const CHAT: &str = r#"{"model":"m","messages":[
        {"role":"user","content":"one"},
        {"role":"user","content":[{"type":"text","text":"two"},{"type":"image_url","image_url":{"url":"data:"}}]}]}"#;

    #[test]
    fn finds_all_texts_where_no_fields_are_named() {
        assert_eq!(
            found(&[], CHAT),
            [
                "model=m",
                "messages.0.role=user",
                "messages.0.content=one",
                "messages.1.role=user",
                "messages.1.content.0.type=text",
                "messages.1.content.0.text=two",
                "messages.1.content.1.type=image_url",
                "messages.1.content.1.image_url.url=data:",
            ]
        );
        assert_eq!(found(&[], r#""alone""#), ["=alone"]);
        assert!(found(&[], r#"{"n":1,"b":true,"nothing":null}"#).is_empty());
    }

    #[test]
    fn finds_what_is_beneath_the_fields_that_are() {
        assert_eq!(found(&["model"], CHAT), ["model=m"]);
        assert_eq!(
            found(&["/messages/*/content/*/text", "/messages/0/content"], CHAT),
            ["messages.0.content=one", "messages.1.content.0.text=two"]
        );
        assert_eq!(
            found(&["/a~1b/c~0d"], r#"{"a/b":{"c~d":"x","e":"y"}}"#),
            ["a/b.c~d=x"]
        );
        assert!(Fields::new(&[String::new()]).is_err());
    }

    #[test]
    fn what_is_not_json_is_one_text_whatever_fields_there_are() {
        assert_eq!(found(&["text"], "{oops"), ["={oops"]);
    }
}

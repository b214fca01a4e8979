//! The question in a body, and the fields over which the template is rendered. Pure; knows no WIT.

use serde_json::{Map, Value, json};

use crate::corpus::Found;

/// Where the question stands in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(String);

impl Place {
    /// Reads the name of a field, or a JSON Pointer (RFC 6901), which begins with `/`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let is_pointer = text.starts_with('/');
        Self(if is_pointer {
            text.to_owned()
        } else {
            format!("/{}", text.replace('~', "~0").replace('/', "~1"))
        })
    }

    /// The question.
    ///
    /// # Errors
    ///
    /// Where there is none, or it is no text.
    pub fn find<'a>(&self, body: &'a Value) -> Result<&'a str, String> {
        let found = body.pointer(&self.0).and_then(Value::as_str);
        let found = found.filter(|text| !text.trim().is_empty());
        found.ok_or_else(|| format!("the body has no question at `{}`", self.0))
    }
}

/// What the template sees: the body's fields, and over them `question` and `passages`. A body that is not an object is `body`.
#[must_use]
pub fn fields(body: &Value, question: &str, passages: &[Found<'_>]) -> Value {
    let mut fields = match body {
        Value::Object(fields) => fields.clone(),
        other => Map::from_iter([("body".to_owned(), other.clone())]),
    };
    fields.insert("question".to_owned(), json!(question));
    fields.insert("passages".to_owned(), json!(passages));
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Place, fields};
    use crate::corpus::Found;

    #[test]
    fn finds_a_question_by_name_and_by_pointer() {
        let body = json!({ "question": "why?", "a/b": "slash", "messages": [{ "content": "how?" }], "n": 1, "empty": " " });
        let find = |place: &str| Place::new(place).find(&body);
        assert_eq!(find("question"), Ok("why?"));
        assert_eq!(find("a/b"), Ok("slash"));
        assert_eq!(find("/messages/0/content"), Ok("how?"));
        for place in ["n", "empty", "missing", "/messages"] {
            let error = find(place).expect_err("none");
            assert!(error.contains("no question"), "{error}");
        }
    }

    #[test]
    fn question_and_passages_stand_over_the_body_s_fields() {
        let passages = [Found {
            text: "t",
            source: None,
            score: 0.5,
        }];
        let found = json!([{ "text": "t", "source": null, "score": 0.5 }]);
        assert_eq!(
            fields(&json!({ "passages": 1, "tone": "kind" }), "why?", &passages),
            json!({ "passages": found, "tone": "kind", "question": "why?" })
        );
        assert_eq!(
            fields(&json!("why?"), "why?", &[]),
            json!({ "body": "why?", "question": "why?", "passages": [] })
        );
    }
}

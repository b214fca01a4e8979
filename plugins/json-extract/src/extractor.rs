//! What is made of one answer: the first JSON in it that is as configured, or a refusal that says what is wrong with it.
//! Pure; knows no WIT.

use serde::Deserialize;
use serde_json::Value;

use crate::finder::find;
use crate::reader::{Ending, Fault};
use crate::schema::Schema;

/// The attachment's configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The schema of the JSON, 2020-12 unless `$schema` names an older draft; without it, any will do.
    pub schema: Option<Value>,
    /// What the JSON must be at its root; without it, an object or an array.
    pub expect: Option<Expect>,
    /// What becomes of an answer without such JSON.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// What the JSON must be at its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// An object: a list in the prose around it, such as `[1]`, is passed over.
    Object,
    /// An array.
    Array,
    /// Any value. One that is no object and no array must be the whole answer.
    Any,
}

/// What becomes of an answer without JSON, or with JSON that is not as configured.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The request ends with a refusal that says what is wrong.
    #[default]
    Refuse,
    /// The answer stays as it is; the reason goes to the log.
    Pass,
}

/// Why an answer is refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `json-missing`, `json-invalid` or `json-mismatch`.
    pub code: &'static str,
    /// One sentence, for the client.
    pub message: String,
}

/// The rules, ready to use.
pub struct Extractor {
    schema: Option<Schema>,
    expect: Option<Expect>,
    on_failure: OnFailure,
}

impl Extractor {
    /// The rules of a configuration.
    ///
    /// # Errors
    ///
    /// What is wrong with the schema, and where in it.
    pub fn new(config: &Config) -> Result<Self, String> {
        Ok(Self {
            schema: config.schema.as_ref().map(Schema::compile).transpose()?,
            expect: config.expect,
            on_failure: config.on_failure,
        })
    }

    /// What becomes of an answer that is refused.
    #[must_use]
    pub fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    /// The JSON of an answer, compact. Of several values the first that is as configured counts: the whole answer, else one
    /// in a fenced block, else one in prose, and there a bare list such as `[1]` last.
    ///
    /// # Errors
    ///
    /// What is wrong with what was found, or that nothing was.
    pub fn extract(&self, answer: &str, ending: Ending) -> Result<String, Refusal> {
        let found = find(answer, ending);
        let mut mismatch = None;
        for value in &found.values {
            match self.check(value) {
                Ok(()) => return Ok(value.to_string()),
                Err(problem) => {
                    mismatch.get_or_insert(problem);
                }
            }
        }
        Err(match (found.fault, mismatch) {
            (Some(fault), _) => invalid(answer, &fault),
            (None, Some(problem)) => Refusal {
                code: "json-mismatch",
                message: format!("the model's JSON is not as it should be: {problem}"),
            },
            (None, None) => Refusal {
                code: "json-missing",
                message: "the model's answer holds no JSON".to_owned(),
            },
        })
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        match (self.expect, value) {
            (Some(Expect::Any), _)
            | (None | Some(Expect::Object), Value::Object(_))
            | (None | Some(Expect::Array), Value::Array(_)) => {}
            (expect, _) => return Err(format!("expected {}, found {}", wanted(expect), noun(value))),
        }
        self.schema.as_ref().map_or(Ok(()), |schema| schema.check(value))
    }
}

fn wanted(expect: Option<Expect>) -> &'static str {
    match expect {
        None => "an object or an array",
        Some(Expect::Object) => "an object",
        Some(Expect::Array) => "an array",
        Some(Expect::Any) => "any value",
    }
}

fn noun(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Where a fault is, as editors count: lines and characters from 1.
fn invalid(answer: &str, fault: &Fault) -> Refusal {
    let before = &answer[..fault.at];
    let line = before.matches('\n').count() + 1;
    let column = before
        .chars()
        .rev()
        .take_while(|character| *character != '\n')
        .count()
        + 1;
    Refusal {
        code: "json-invalid",
        message: format!(
            "the model's JSON cannot be repaired: line {line} column {column}: {}",
            fault.what
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{Extractor, Refusal};
    use crate::reader::Ending;
    use serde_json::json;

    fn extract(config: serde_json::Value, answer: &str) -> Result<String, Refusal> {
        let config = serde_json::from_value(config).expect("the test's configuration parses");
        let extractor = Extractor::new(&config).expect("the test's schema compiles");
        extractor.extract(answer, Ending::Meant)
    }

    #[test]
    fn valid_json_is_left_as_it_is() {
        let answer = r#"{"z":[1,2.5,-0.0,1e+300],"a":{"":null,"é\n":true},"big":18446744073709551615}"#;
        assert_eq!(extract(json!({}), answer).as_deref(), Ok(answer));
    }

    #[test]
    fn takes_the_first_value_that_the_schema_accepts() {
        let schema = json!({ "schema": { "required": ["n"] }, "expect": "object" });
        let answer = r#"As in [1], {"m": 1} is wrong and {"n": 2} right."#;
        assert_eq!(extract(schema, answer).as_deref(), Ok(r#"{"n":2}"#));
    }

    #[test]
    fn says_where_the_schema_is_not_met() {
        let schema = json!({ "schema": {
            "properties": { "n": { "items": { "type": "integer" } } }, "required": ["name"]
        }});
        let refusal = extract(schema, r#"{"n": [1, "two"]}"#).expect_err("refused");
        assert_eq!(refusal.code, "json-mismatch");
        assert!(refusal.message.contains("at `/n/1`"), "{}", refusal.message);
        assert!(refusal.message.contains("\"name\""), "{}", refusal.message);
    }

    #[test]
    fn says_where_json_cannot_be_repaired() {
        let refusal = extract(json!({}), "Here:\n{\"é\": Bob, \"b\": {\"c\": 1}}").expect_err("refused");
        assert_eq!(refusal.code, "json-invalid");
        assert!(
            refusal.message.contains("line 2 column 7: `Bob`"),
            "{}",
            refusal.message
        );
    }

    #[test]
    fn says_that_there_is_none() {
        let refusal = extract(json!({}), "I cannot {help} with that.").expect_err("refused");
        assert_eq!(refusal.code, "json-missing");
    }

    #[test]
    fn a_value_that_is_no_container_must_be_expected() {
        let refusal = extract(json!({}), "42").expect_err("refused");
        assert!(
            refusal
                .message
                .ends_with("expected an object or an array, found a number")
        );
        for (answer, json) in [
            ("42", "42"),
            (" True\n", "true"),
            ("```json\n\"a\"\n```", "\"a\""),
        ] {
            assert_eq!(extract(json!({ "expect": "any" }), answer).as_deref(), Ok(json));
        }
        assert!(extract(json!({ "expect": "any" }), "It is 42.").is_err());
    }

    #[test]
    fn refuses_a_schema_that_is_none() {
        let config = serde_json::from_value(json!({ "schema": { "type": "strnig" } })).expect("parses");
        assert!(Extractor::new(&config).err().expect("refused").contains("/type"));
    }
}

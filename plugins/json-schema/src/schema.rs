//! A compiled JSON Schema and what it says of a body, in the words that FastAPI's clients know. Pure; knows no WIT.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{ValidationError, Validator};
use serde::Deserialize;
use serde_json::Value;

/// The attachment's configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The schema of the body, JSON Schema 2020-12 unless `$schema` names an older draft.
    pub schema: Value,
    /// At most this many problems are told. Default 32.
    #[serde(default = "problems_max_default")]
    pub problems_max: usize,
}

fn problems_max_default() -> usize {
    32
}

/// A schema that is ready to check bodies.
pub struct Schema {
    validator: Validator,
    problems_max: usize,
}

/// One thing wrong with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    /// Machine-readable, after pydantic: `missing`, `string_type`, ...
    pub kind: &'static str,
    /// From the body's root to the value, and for a missing property to where it should be.
    pub loc: Vec<Step>,
    /// One sentence.
    pub msg: String,
}

/// A step into a JSON value.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The key of an object.
    Key(String),
    /// The index of an array.
    Index(u32),
}

impl Schema {
    /// Compiles the schema.
    ///
    /// # Errors
    ///
    /// What is wrong with the schema, and where in it.
    pub fn compile(config: &Config) -> Result<Self, String> {
        let validator = jsonschema::validator_for(&config.schema).map_err(|error| {
            let at = error.instance_path().as_str();
            format!(
                "`schema` is not a JSON Schema{}{at}: {error}",
                if at.is_empty() { "" } else { ", at " }
            )
        })?;
        Ok(Self {
            validator,
            problems_max: config.problems_max.max(1),
        })
    }

    /// What is wrong with `body`; empty where nothing is.
    #[must_use]
    pub fn check(&self, body: &[u8]) -> Vec<Violation> {
        let value: Value = match serde_json::from_slice(body) {
            Ok(value) => value,
            Err(error) => {
                return vec![Violation {
                    kind: "json_invalid",
                    loc: Vec::new(),
                    msg: format!("JSON decode error: {error}"),
                }];
            }
        };
        if self.validator.is_valid(&value) {
            return Vec::new();
        }
        let mut violations = Vec::new();
        for error in self.validator.iter_errors(&value).take(self.problems_max) {
            violation(&error, &value, &mut violations);
        }
        violations.truncate(self.problems_max);
        violations
    }
}

/// Tells one error; an error about several properties becomes one problem a property.
fn violation(error: &ValidationError<'_>, body: &Value, out: &mut Vec<Violation>) {
    let loc = || steps(error, body);
    let under = |key: &str| {
        let mut loc = steps(error, body);
        loc.push(Step::Key(key.to_owned()));
        loc
    };
    match error.kind() {
        Kind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            out.push(Violation {
                kind: "missing",
                loc: under(key),
                msg: "Field required".to_owned(),
            });
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            out.extend(unexpected.iter().map(|key| Violation {
                kind: "extra_forbidden",
                loc: under(key),
                msg: "Extra inputs are not permitted".to_owned(),
            }));
        }
        kind => {
            let (kind, msg) = words(kind, error);
            out.push(Violation {
                kind,
                loc: loc(),
                msg,
            });
        }
    }
}

/// Pydantic's name and sentence for an error; the validator's own sentence where pydantic has none.
fn words(kind: &Kind, error: &ValidationError<'_>) -> (&'static str, String) {
    match kind {
        Kind::Type { kind } => type_words(kind),
        Kind::MinLength { limit } => ("string_too_short", at_least("String", *limit, "character")),
        Kind::MaxLength { limit } => ("string_too_long", at_most("String", *limit, "character")),
        Kind::MinItems { limit } => ("too_short", at_least("List", *limit, "item")),
        Kind::MaxItems { limit } => ("too_long", at_most("List", *limit, "item")),
        Kind::MinProperties { limit } => ("too_short", at_least("Dictionary", *limit, "item")),
        Kind::MaxProperties { limit } => ("too_long", at_most("Dictionary", *limit, "item")),
        Kind::Minimum { limit } => (
            "greater_than_equal",
            format!("Input should be greater than or equal to {limit}"),
        ),
        Kind::ExclusiveMinimum { limit } => ("greater_than", format!("Input should be greater than {limit}")),
        Kind::Maximum { limit } => (
            "less_than_equal",
            format!("Input should be less than or equal to {limit}"),
        ),
        Kind::ExclusiveMaximum { limit } => ("less_than", format!("Input should be less than {limit}")),
        Kind::MultipleOf { multiple_of } => (
            "multiple_of",
            format!("Input should be a multiple of {multiple_of}"),
        ),
        Kind::Pattern { pattern } => (
            "string_pattern_mismatch",
            format!("String should match pattern '{pattern}'"),
        ),
        Kind::Enum { options } => ("enum", format!("Input should be one of {options}")),
        Kind::Constant { expected_value } => ("literal_error", format!("Input should be {expected_value}")),
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => {
            ("no_match", "Input matches none of the allowed forms".to_owned())
        }
        _ => ("value_error", error.masked_with("the value").to_string()),
    }
}

fn type_words(kind: &TypeKind) -> (&'static str, String) {
    let name = match kind {
        TypeKind::Single(json_type) => json_type.to_string(),
        TypeKind::Multiple(types) => {
            let names: Vec<String> = types.iter().map(|json_type| json_type.to_string()).collect();
            return (
                "type_error",
                format!("Input should be one of the types {}", names.join(", ")),
            );
        }
    };
    let (kind, noun) = match name.as_str() {
        "string" => ("string_type", "string"),
        "integer" => ("int_type", "integer"),
        "number" => ("float_type", "number"),
        "boolean" => ("bool_type", "boolean"),
        "array" => ("list_type", "list"),
        "object" => ("dict_type", "dictionary"),
        _ => ("none_required", "null"),
    };
    (kind, format!("Input should be a valid {noun}"))
}

fn at_least(subject: &str, limit: u64, unit: &str) -> String {
    format!(
        "{subject} should have at least {limit} {unit}{}",
        if limit == 1 { "" } else { "s" }
    )
}

fn at_most(subject: &str, limit: u64, unit: &str) -> String {
    format!(
        "{subject} should have at most {limit} {unit}{}",
        if limit == 1 { "" } else { "s" }
    )
}

/// The error's location, each segment told apart by what the body holds there: `"0"` may be a key or an index.
fn steps(error: &ValidationError<'_>, body: &Value) -> Vec<Step> {
    let mut here = Some(body);
    let segments = error
        .instance_path()
        .segments()
        .map(|segment| segment.to_string());
    segments
        .map(|segment| match here {
            Some(Value::Array(items)) => {
                let index: u32 = segment.parse().unwrap_or_default();
                here = items.get(index as usize);
                Step::Index(index)
            }
            _ => {
                here = here.and_then(|value| value.get(&segment));
                Step::Key(segment)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Config, Schema, Step, Violation};
    use serde_json::json;

    fn check(schema: serde_json::Value, body: &str) -> Vec<Violation> {
        let schema = Schema::compile(&Config {
            schema,
            problems_max: 4,
        })
        .expect("the test's schema compiles");
        schema.check(body.as_bytes())
    }

    fn text_schema() -> serde_json::Value {
        json!({"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}})
    }

    #[test]
    fn accepts_what_matches() {
        assert_eq!(check(text_schema(), r#"{"text":"hello"}"#), vec![]);
    }

    #[test]
    fn names_the_missing_property_where_it_should_be() {
        let expected = Violation {
            kind: "missing",
            loc: vec![Step::Key("text".into())],
            msg: "Field required".into(),
        };
        assert_eq!(check(text_schema(), "{}"), vec![expected]);
    }

    #[test]
    fn tells_an_index_from_a_key_that_looks_like_one() {
        let schema = json!({"properties": {"0": {"items": {"type": "string"}}}});
        let found = check(schema, r#"{"0":["a",7]}"#);
        assert_eq!(found[0].loc, vec![Step::Key("0".into()), Step::Index(1)]);
        assert_eq!(found[0].kind, "string_type");
    }

    #[test]
    fn reports_at_most_the_configured_number_of_problems() {
        let schema = json!({"properties": {"z": {}}, "additionalProperties": false});
        assert_eq!(check(schema, r#"{"a":1,"b":1,"c":1,"d":1,"e":1}"#).len(), 4);
    }

    #[test]
    fn says_where_a_body_is_not_json() {
        let found = check(text_schema(), r#"{"text": }"#);
        assert_eq!(found[0].kind, "json_invalid");
        assert!(found[0].msg.contains("column 10"), "{}", found[0].msg);
    }

    #[test]
    fn survives_a_body_nested_beyond_reason() {
        assert_eq!(check(text_schema(), &"[".repeat(100_000))[0].kind, "json_invalid");
    }

    #[test]
    fn refuses_a_schema_that_is_none() {
        let error = Schema::compile(&Config {
            schema: json!({"type": "strnig"}),
            problems_max: 1,
        });
        assert!(error.err().expect("refused").contains("/type"));
    }
}

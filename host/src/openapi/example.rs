//! A value that a schema accepts, made from the schema alone; the simplest there is, with texts that a person would write.

use serde_json::{Map, Value, json};

use super::schema::accepts;

/// How deep references and nested values are followed.
const DEPTH_MAX: usize = 16;

/// Characters of a text that is made longer to be long enough, and items of an array, at most.
const LEN_MAX: u64 = 1000;

/// A value that `schema` accepts; none where the schema asks for more than can be told from it, such as a pattern. `text` is
/// what stands where a text is wanted that people write.
pub(super) fn of(schema: &Value, text: &str) -> Option<Value> {
    let maker = Maker { root: schema, text };
    let value = maker.value(schema, "", 0)?;
    accepts(schema, &value).then_some(value)
}

/// Names of fields that hold what people write.
const PROSE: [&str; 9] = [
    "text", "input", "prompt", "content", "message", "question", "query", "body", "",
];

struct Maker<'a> {
    root: &'a Value,
    text: &'a str,
}

impl Maker<'_> {
    fn value(&self, schema: &Value, name: &str, depth: usize) -> Option<Value> {
        if depth > DEPTH_MAX {
            return None;
        }
        let fields = match schema {
            Value::Object(fields) => fields,
            Value::Bool(true) => return Some(self.text(&Map::new(), name)),
            _ => return None,
        };
        if let Some(said) = said(fields) {
            return Some(said);
        }
        if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
            return self.value(self.root.pointer(target.strip_prefix('#')?)?, name, depth + 1);
        }
        let parts = ["allOf", "anyOf", "oneOf"].map(|key| fields.get(key).and_then(Value::as_array));
        let all = parts[0].into_iter().flatten();
        let first = parts[1..]
            .iter()
            .filter_map(|part| part.and_then(|part| part.first()));
        let mut made: Option<Value> = None;
        for part in all.chain(first) {
            made = merge(made, self.value(part, name, depth + 1)?);
        }
        let is_open = !fields.contains_key("required") && kind(fields).is_none_or(|kind| kind == "object");
        if made.is_some() && is_open {
            return made;
        }
        let own = self.of_kind(fields, name, depth)?;
        merge(made, own)
    }

    fn of_kind(&self, fields: &Map<String, Value>, name: &str, depth: usize) -> Option<Value> {
        Some(match kind(fields).unwrap_or("string") {
            "object" => return self.object(fields, depth),
            "array" => return self.array(fields, name, depth),
            "integer" | "number" => number(fields),
            "boolean" => json!(true),
            "null" => Value::Null,
            _ => self.text(fields, name),
        })
    }

    /// The properties that must be there; where none must, all that are named.
    fn object(&self, fields: &Map<String, Value>, depth: usize) -> Option<Value> {
        let properties = fields.get("properties").and_then(Value::as_object);
        let required = fields.get("required").and_then(Value::as_array);
        let names: Vec<&str> = match (required, properties) {
            (Some(required), _) => required.iter().filter_map(Value::as_str).collect(),
            (None, Some(properties)) => properties.keys().map(String::as_str).collect(),
            (None, None) => Vec::new(),
        };
        let any = Value::Bool(true);
        let property = |name: &str| {
            let schema = properties.and_then(|properties| properties.get(name));
            let value = self.value(schema.unwrap_or(&any), name, depth + 1)?;
            Some((name.to_owned(), value))
        };
        let object: Option<Map<_, _>> = names.into_iter().map(property).collect();
        object.map(Value::Object)
    }

    fn array(&self, fields: &Map<String, Value>, name: &str, depth: usize) -> Option<Value> {
        let least = fields.get("minItems").and_then(Value::as_u64).unwrap_or(1);
        let any = Value::Bool(true);
        let items = fields.get("items").unwrap_or(&any);
        if least > LEN_MAX {
            return None;
        }
        let items = (0..least.max(1)).map(|_| self.value(items, name, depth + 1));
        items.collect::<Option<Vec<_>>>().map(Value::Array)
    }

    fn text(&self, fields: &Map<String, Value>, name: &str) -> Value {
        let known = match fields.get("format").and_then(Value::as_str) {
            Some("date-time") => Some("2026-01-31T12:00:00Z"),
            Some("date") => Some("2026-01-31"),
            Some("time") => Some("12:00:00Z"),
            Some("email") => Some("somebody@example.com"),
            Some("uri") => Some("https://example.com/"),
            Some("uuid") => Some("123e4567-e89b-12d3-a456-426614174000"),
            _ => None,
        };
        let prose = PROSE.contains(&name);
        let mut text = known.unwrap_or(if prose { self.text } else { name }).to_owned();
        let bound = |key: &str| fields.get(key).and_then(Value::as_u64);
        let (least, most) = (
            bound("minLength").unwrap_or(0),
            bound("maxLength").unwrap_or(u64::MAX),
        );
        while (text.chars().count() as u64) < least.min(LEN_MAX) {
            text.push('.');
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        json!(text.chars().take(most).collect::<String>())
    }
}

/// What the schema itself says a value may be.
fn said(fields: &Map<String, Value>) -> Option<Value> {
    let first = |key: &str| {
        fields
            .get(key)
            .and_then(Value::as_array)
            .and_then(|list| list.first())
    };
    let said = first("examples").or_else(|| fields.get("const"));
    said.or_else(|| fields.get("default"))
        .or_else(|| first("enum"))
        .cloned()
}

/// The type that a value is to have: the first that is not null, or what other keywords tell.
fn kind(fields: &Map<String, Value>) -> Option<&str> {
    match fields.get("type") {
        Some(Value::String(kind)) => Some(kind),
        Some(Value::Array(kinds)) => {
            let mut kinds = kinds.iter().filter_map(Value::as_str);
            kinds
                .clone()
                .find(|kind| *kind != "null")
                .or_else(|| kinds.next())
        }
        _ if fields.contains_key("properties") || fields.contains_key("required") => Some("object"),
        _ if fields.contains_key("items") => Some("array"),
        _ if fields.contains_key("minLength") || fields.contains_key("pattern") => Some("string"),
        _ if fields.contains_key("minimum") || fields.contains_key("maximum") => Some("number"),
        _ => None,
    }
}

fn number(fields: &Map<String, Value>) -> Value {
    let bound = |key: &str| fields.get(key).filter(|bound| bound.is_number());
    let beyond = |key: &str, by: f64| bound(key).and_then(Value::as_f64).map(|bound| json!(bound + by));
    let whole = fields.get("type") == Some(&json!("integer"));
    let value = bound("minimum").or_else(|| bound("multipleOf")).cloned();
    let value = value.or_else(|| beyond("exclusiveMinimum", 1.0));
    let value = value.or_else(|| bound("maximum").cloned());
    let value = value
        .or_else(|| beyond("exclusiveMaximum", -1.0))
        .unwrap_or(json!(1));
    match value.as_f64() {
        Some(float) if whole && value.as_i64().is_none() => json!(float.ceil() as i64),
        _ => value,
    }
}

/// Two objects as one; of anything else the later one.
fn merge(one: Option<Value>, other: Value) -> Option<Value> {
    match (one, other) {
        (Some(Value::Object(mut one)), Value::Object(other)) => {
            one.extend(other);
            Some(one.into())
        }
        (_, other) => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::of;
    use serde_json::{Value, json};

    fn made(schema: Value) -> Option<Value> {
        of(&schema, "a text")
    }

    #[test]
    fn has_what_must_be_there_in_words_that_people_write() {
        let schema = json!({
            "type": "object", "required": ["text", "user", "n"],
            "properties": {
                "text": { "type": "string", "minLength": 1 }, "user": { "type": "string", "maxLength": 3 },
                "n": { "type": "integer", "exclusiveMinimum": 4 }, "other": { "type": "string" },
            },
        });
        assert_eq!(
            made(schema),
            Some(json!({ "text": "a text", "user": "use", "n": 5 }))
        );
    }

    #[test]
    fn takes_the_first_of_several_forms() {
        let schema =
            json!({ "required": ["input"], "properties": { "input": { "type": ["string", "array"] } } });
        assert_eq!(made(schema), Some(json!({ "input": "a text" })));
        let schema = json!({ "oneOf": [{ "required": ["a"] }, { "required": ["b"] }], "type": "object" });
        assert_eq!(made(schema), Some(json!({ "a": "a" })));
        assert_eq!(made(json!({ "enum": ["x", "y"] })), Some(json!("x")));
    }

    #[test]
    fn follows_references_and_joins_all_of_several() {
        let schema = json!({
            "allOf": [{ "$ref": "#/$defs/a" }, { "required": ["b"], "properties": { "b": { "const": 7 } } }],
            "$defs": { "a": { "type": "object", "required": ["a"], "properties": { "a": { "type": "boolean" } } } },
        });
        assert_eq!(made(schema), Some(json!({ "a": true, "b": 7 })));
    }

    #[test]
    fn is_none_rather_than_wrong() {
        assert_eq!(made(json!({ "type": "string", "pattern": "^[0-9]{4}$" })), None);
        assert_eq!(made(json!({ "$ref": "#" })), None);
        assert_eq!(made(json!({ "$ref": "#/nowhere" })), None);
        assert_eq!(made(json!(false)), None);
        assert_eq!(made(json!({ "type": "array", "minItems": 100_000 })), None);
    }
}

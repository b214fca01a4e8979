//! JSON Schemas: short words for those that are written here, and the moving of those that others wrote.

use serde_json::{Map, Value, json};

/// An object of these properties, of which some must be there; others are ignored.
pub(super) fn object(properties: Value, required: &[&str]) -> Value {
    let mut schema = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// An array of items.
pub(super) fn array(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// A text, one of these where any are named.
pub(super) fn one_of_texts(texts: &[String]) -> Value {
    if texts.is_empty() {
        json!({ "type": "string" })
    } else {
        json!({ "type": "string", "enum": texts })
    }
}

/// A schema with a sentence about it.
pub(super) fn described(mut schema: Value, description: &str) -> Value {
    if let Value::Object(fields) = &mut schema {
        fields.insert("description".to_owned(), json!(description));
    }
    schema
}

/// All of these schemas at once.
pub(super) fn all_of(mut schemas: Vec<Value>) -> Value {
    match schemas.len() {
        0 => json!({}),
        1 => schemas.swap_remove(0),
        _ => json!({ "allOf": schemas }),
    }
}

/// All of these schemas at once at a place of the document, each with its references.
pub(super) fn joined(schemas: &[Value], place: &str) -> Value {
    match schemas {
        [one] => moved(one, place),
        many => {
            let places = many.iter().enumerate();
            all_of(
                places
                    .map(|(index, schema)| moved(schema, &format!("{place}/allOf/{index}")))
                    .collect(),
            )
        }
    }
}

/// Keywords whose values are data, in which `$ref` means nothing.
const DATA: [&str; 5] = ["const", "enum", "default", "example", "examples"];

/// A schema that somebody wrote for itself, for a place in the document: what it refers to within itself is then at `place`.
/// One with an `$id` stays as it is, since its references start there.
pub(super) fn moved(schema: &Value, place: &str) -> Value {
    let Value::Object(fields) = schema else {
        return match schema {
            Value::Array(items) => items.iter().map(|item| moved(item, place)).collect(),
            other => other.clone(),
        };
    };
    if fields.contains_key("$id") {
        return schema.clone();
    }
    let field = |(key, value): (&String, &Value)| {
        let value = match value {
            Value::String(target) if key == "$ref" => json!(moved_reference(target, place)),
            value if DATA.contains(&key.as_str()) => value.clone(),
            value => moved(value, place),
        };
        (key.clone(), value)
    };
    fields.iter().map(field).collect::<Map<_, _>>().into()
}

fn moved_reference(target: &str, place: &str) -> String {
    match target.strip_prefix('#') {
        Some(pointer) if pointer.is_empty() || pointer.starts_with('/') => format!("{place}{pointer}"),
        _ => target.to_owned(),
    }
}

/// Whether a schema accepts a value; one that cannot be read accepts nothing.
pub(super) fn accepts(schema: &Value, value: &Value) -> bool {
    jsonschema::validator_for(schema).is_ok_and(|validator| validator.is_valid(value))
}

#[cfg(test)]
mod tests {
    use super::{accepts, moved};
    use serde_json::json;

    #[test]
    fn references_follow_a_schema_to_its_place() {
        let schema = json!({
            "$ref": "#/$defs/text",
            "$defs": { "text": { "type": "string" } },
            "properties": { "self": { "$ref": "#" }, "there": { "$ref": "other.json#/a" } },
            "enum": [{ "$ref": "#/data" }],
        });
        let found = moved(&schema, "#/components/schemas/a.request");
        assert_eq!(found["$ref"], "#/components/schemas/a.request/$defs/text");
        assert_eq!(
            found["properties"]["self"]["$ref"],
            "#/components/schemas/a.request"
        );
        assert_eq!(found["properties"]["there"]["$ref"], "other.json#/a");
        assert_eq!(found["enum"], schema["enum"]);
    }

    #[test]
    fn a_schema_with_an_id_stays_as_it_is() {
        let schema = json!({ "$id": "urn:x", "properties": { "self": { "$ref": "#" } } });
        assert_eq!(moved(&schema, "#/there"), schema);
    }

    #[test]
    fn a_schema_that_is_none_accepts_nothing() {
        assert!(!accepts(&json!({ "type": "strnig" }), &json!("a")));
        assert!(accepts(&json!({ "type": "string" }), &json!("a")));
    }
}

//! One operation: what it takes, what it answers, and what goes wrong.

use serde_json::{Map, Value, json};

use super::schema::object;
use super::{Auth, Sections, errors, security};
use crate::router::Dialect;

/// An operation while it is described.
pub(super) struct Operation<'a> {
    pub(super) tag: &'static str,
    pub(super) id: String,
    pub(super) summary: &'a str,
    pub(super) description: String,
    pub(super) dialect: Dialect,
    pub(super) auth: Auth,
    /// What a key must be good for.
    pub(super) scopes: &'a [String],
    /// Statuses besides 200, of those that `errors` knows.
    pub(super) statuses: Vec<u16>,
    /// The response with status 200: what it is, and its content by media type.
    pub(super) answer: (&'static str, Value),
}

impl Operation<'_> {
    /// Its responses and who may call it.
    pub(super) fn describe(self, sections: &mut Sections) -> Value {
        let (description, content) = self.answer;
        let mut responses = Map::new();
        let answer =
            json!({ "description": description, "headers": errors::headers(200), "content": content });
        responses.insert("200".to_owned(), answer);
        responses.extend(errors::responses(
            sections,
            self.dialect,
            self.auth,
            self.statuses,
        ));
        let mut operation = json!({
            "tags": [self.tag], "operationId": self.id, "summary": self.summary, "responses": responses,
        });
        if !self.description.is_empty() {
            operation["description"] = json!(self.description);
        }
        if self.auth != Auth::None {
            operation["security"] = security::requirement(self.auth, self.scopes);
        }
        operation
    }
}

/// A request's body in JSON, with examples by name.
pub(super) fn body(schema: Value, examples: Vec<(&str, Value)>) -> Value {
    let mut content = json!({ "schema": schema });
    if !examples.is_empty() {
        let examples = examples.into_iter();
        let named = examples.map(|(name, value)| (name.to_owned(), json!({ "value": value })));
        content["examples"] = named.collect::<Map<_, _>>().into();
    }
    json!({ "required": true, "content": { "application/json": content } })
}

/// An answer in JSON.
pub(super) fn json_content(schema: Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

/// An answer in server-sent events; `data` is the schema of the JSON in each but the last, where that is a word.
pub(super) fn events(data: Value, last: Option<&str>, about: &str) -> Value {
    let mut data = json!({ "type": "string", "contentMediaType": "application/json", "contentSchema": data });
    if let Some(last) = last {
        data = json!({ "anyOf": [data, { "const": last }] });
    }
    let mut event = object(json!({ "data": data }), &["data"]);
    event["description"] = json!(about);
    json!({ "schema": event })
}

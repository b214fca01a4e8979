//! What the plugins of endpoints want of a body, in whichever dialect it comes: they see it before the dialect reads it.

use serde_json::{Value, json};

use super::operation::body;
use super::schema::{accepts, joined, one_of_texts};
use super::subject::{Endpoint, Model};
use super::{Sections, Subject, errors, example, plugins, task};
use crate::router::Dialect;

/// Writes a schema for each endpoint whose plugins want something.
pub(super) fn describe(subject: &Subject, sections: &mut Sections) {
    for endpoint in &subject.endpoints {
        let schemas = plugins::wanted(endpoint).schemas;
        if schemas.is_empty() {
            continue;
        }
        let schema = joined(&schemas, &place(endpoint));
        sections.schema(&format!("{}.body", endpoint.name), schema);
    }
}

/// Where in the document it is said what an endpoint's plugins want.
pub(super) fn place(endpoint: &Endpoint) -> String {
    format!("#/components/schemas/{}.body", endpoint.name)
}

/// The reference to what an endpoint's plugins want, where that is anything.
pub(super) fn reference(endpoint: &Endpoint) -> Option<Value> {
    let wanted = plugins::wanted(endpoint);
    let reference = || json!({ "$ref": place(endpoint) });
    (!wanted.schemas.is_empty()).then(reference)
}

/// Endpoints that a dialect's body may name as its `model`.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) subject: &'a Subject,
    pub(super) names: &'a [String],
    /// What may stand behind a name.
    pub(super) tag: Option<&'static str>,
}

impl<'a> Named<'a> {
    /// The `model` of a body.
    pub(super) fn model(self) -> Value {
        let tagged = self
            .tag
            .map(|tag| self.names.iter().map(move |name| format!("{name}{tag}")));
        let names = self.names.iter().cloned().chain(tagged.into_iter().flatten());
        one_of_texts(&names.collect::<Vec<_>>())
    }

    /// The token ids of a text, as far as the models tell.
    pub(super) fn token_ids(self) -> Value {
        let last = self.most(|model| model.vocabulary.map(|count| count.saturating_sub(1)));
        let id = json!({ "type": "integer", "minimum": 0, "maximum": last.unwrap_or(u32::MAX as usize) });
        let mut ids = json!({ "type": "array", "minItems": 1, "items": id });
        if let Some(length) = self.most(|model| model.card.as_ref()?.input.length_max) {
            ids["maxItems"] = json!(length);
        }
        ids
    }

    /// The length of vectors that are asked for shorter.
    pub(super) fn dimensions(self) -> Value {
        let mut dimensions = json!({ "type": ["integer", "null"], "minimum": 1 });
        if let Some(most) = self.most(|model| model.card.as_ref()?.output.dimensions) {
            dimensions["maximum"] = json!(most);
        }
        dimensions
    }

    /// The most that any of the models has of something; none where one does not tell.
    fn most(self, of: impl Fn(&Model) -> Option<usize>) -> Option<usize> {
        let known: Option<Vec<usize>> = self.endpoints().map(|endpoint| of(&endpoint.model)).collect();
        known?.into_iter().max()
    }

    fn endpoints(self) -> impl Iterator<Item = &'a Endpoint> {
        let endpoints = self.subject.endpoints.iter();
        endpoints.filter(move |endpoint| self.names.contains(&endpoint.name))
    }

    /// Completes an operation by its body: the dialect's schema with what each endpoint's plugins want, and those of the examples
    /// that some endpoint takes, with `model` filled in; and by what unknown plugins may answer.
    pub(super) fn complete(
        self,
        mut operation: Value,
        dialect: Dialect,
        mut schema: Value,
        examples: Vec<(&str, Value)>,
    ) -> Value {
        let narrowings = self.endpoints().filter_map(|endpoint| self.narrow(endpoint));
        let narrowings: Vec<Value> = narrowings.collect();
        if !narrowings.is_empty() {
            schema["allOf"] = narrowings.into();
        }
        let examples = examples.into_iter();
        let taken = examples.filter_map(|(name, body)| Some((name, self.example(body)?)));
        operation["requestBody"] = body(schema, taken.collect());
        if self.endpoints().any(plugins::refuse_as_they_like) {
            operation["responses"]["4XX"] = errors::any_refusal(dialect);
        }
        operation
    }

    fn narrow(self, endpoint: &Endpoint) -> Option<Value> {
        let reference = reference(endpoint)?;
        if self.names.len() == 1 {
            return Some(reference);
        }
        let tagged = self.tag.map(|tag| format!("{}{tag}", endpoint.name));
        let forms: Vec<String> = [endpoint.name.clone()].into_iter().chain(tagged).collect();
        Some(json!({ "if": { "properties": { "model": { "enum": forms } } }, "then": reference }))
    }

    /// The example for the first endpoint whose plugins accept it; where none does, with what one wants besides.
    fn example(self, body: Value) -> Option<Value> {
        let candidates: Vec<_> = self
            .endpoints()
            .map(|endpoint| (endpoint, plugins::wanted(endpoint).schemas))
            .collect();
        let is_accepted =
            |schemas: &[Value], body: &Value| schemas.iter().all(|schema| accepts(schema, body));
        let named = |endpoint: &Endpoint, fields: Value| {
            let mut whole = json!({ "model": endpoint.name });
            for fields in [fields, body.clone()] {
                if let (Value::Object(whole), Value::Object(fields)) = (&mut whole, fields) {
                    whole.extend(fields);
                }
            }
            whole
        };
        let plain = candidates.iter().find_map(|(endpoint, schemas)| {
            let whole = named(endpoint, json!({}));
            is_accepted(schemas, &whole).then_some(whole)
        });
        plain.or_else(|| {
            candidates.iter().find_map(|(endpoint, schemas)| {
                let made = example::of(&joined(schemas, "#"), task::text(endpoint))?;
                let whole = named(endpoint, made);
                is_accepted(schemas, &whole).then_some(whole)
            })
        })
    }
}

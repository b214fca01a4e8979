//! The endpoints' own paths: plain JSON or a form in, JSON or events out.

use selvedge_model::Task;
use serde_json::{Value, json};

use super::operation::{Operation, body, events, json_content};
use super::plugins::Beyond;
use super::schema::{accepts, all_of, described, joined};
use super::subject::Endpoint;
use super::{Sections, Subject, bodies, errors, example, forms, plugins, sampling, task};
use crate::router::Dialect;

const TAG: &str = "Endpoints";

/// Writes an operation for each endpoint that has a path of its own.
pub(super) fn describe(subject: &Subject, sections: &mut Sections) {
    sections.tag(TAG, "Each on its own path, with plain JSON.");
    for endpoint in &subject.endpoints {
        if let Some(path) = &endpoint.path {
            let operation = operation(endpoint, subject, sections);
            sections.operation("post", path, operation);
        }
    }
}

fn operation(endpoint: &Endpoint, subject: &Subject, sections: &mut Sections) -> Value {
    let name = &endpoint.name;
    let taken = match &endpoint.uploads {
        Some(uploads) => forms::body(endpoint, uploads, sections),
        None => {
            let (request, examples) = request(endpoint);
            body(sections.schema(&format!("{name}.request"), request), examples)
        }
    };
    let response = plugins::given(endpoint, sections);
    let response = sections.schema(&format!("{name}.response"), response);
    let mut content = json_content(response);
    if endpoint.model.task == Some(Task::TextGeneration) {
        let event = sections.schema(&format!("{name}.event"), task::event());
        content["text/event-stream"] =
            events(event, None, "An event, where the body says `\"stream\": true`.");
    }
    let statuses = [errors::READ.as_slice(), &errors::WORK, &[422]].concat();
    let operation = Operation {
        tag: TAG,
        id: format!("endpoint_{name}"),
        summary: &summary(endpoint),
        description: about(endpoint),
        dialect: Dialect::Endpoint,
        auth: subject.auth,
        scopes: &endpoint.scopes,
        statuses,
        answer: ("The endpoint's answer.", content),
    };
    let mut described = operation.describe(sections);
    if plugins::refuse_as_they_like(endpoint) {
        described["responses"]["4XX"] = errors::any_refusal(Dialect::Endpoint);
    }
    described["requestBody"] = taken;
    described
}

/// The body's schema, and bodies that it accepts.
fn request(endpoint: &Endpoint) -> (Value, Vec<(&'static str, Value)>) {
    let wanted = plugins::wanted(endpoint);
    let (own, mut examples) = task::request(endpoint);
    let mut schemas = wanted.schemas;
    let made = example::of(&joined(&schemas, "#"), task::text(endpoint));
    let beyond = match &wanted.beyond {
        Beyond::Task => Some(own),
        Beyond::Nothing => {
            examples.clear();
            task::besides(&endpoint.model)
        }
        Beyond::Plugin(name) => {
            let loose = format!("What the plugin `{name}` wants of it besides is not known here.");
            Some(described(json!({}), &loose))
        }
    };
    if let Some(made) = made.filter(|made| made.is_object()) {
        let streams = endpoint.model.task == Some(Task::TextGeneration);
        let streamed = streams.then(|| ("streamed", sampling::streamed(&made)));
        examples.push(("simple", made));
        examples.extend(streamed);
    }
    schemas.extend(beyond.clone());
    examples.retain(|(_, body)| schemas.iter().all(|schema| accepts(schema, body)));
    // What people would write goes before what was made of a schema.
    if examples.first().is_some_and(|(name, _)| *name != "simple") {
        examples.retain(|(name, _)| *name != "simple");
    }
    let schema = all_of(bodies::reference(endpoint).into_iter().chain(beyond).collect());
    (schema, examples)
}

fn summary(endpoint: &Endpoint) -> String {
    let does = match endpoint.model.task {
        Some(Task::TextClassification) => "Classify texts with",
        Some(Task::FeatureExtraction) => "Embed texts with",
        Some(Task::TextGeneration) => "Generate text with",
        Some(Task::Tensor) => "Run tensors through",
        None => "Call",
    };
    format!("{does} `{}`", endpoint.name)
}

/// What the model says of itself, and which plugins are round it.
fn about(endpoint: &Endpoint) -> String {
    let mut about = Vec::new();
    if let Some(card) = &endpoint.model.card {
        about.push(format!("Model: {}. {}", card.name, card.description));
    }
    let attached = endpoint.plugins.iter().map(|attached| {
        let stages = attached
            .known
            .iter()
            .flat_map(|known| known.stages.iter().map(|stage| stage.name()));
        let stages: Vec<&str> = stages.collect();
        format!("`{}` ({})", attached.name, stages.join(", "))
    });
    let attached: Vec<String> = attached.collect();
    if !attached.is_empty() {
        about.push(format!("Plugins, in order: {}.", attached.join(", ")));
    }
    if endpoint.stream {
        about.push("It streams where the body does not say `\"stream\": false`.".to_owned());
    }
    about.join("\n\n")
}

//! What plugins make of an endpoint's request and answer. The standard plugins are known by the names in their manifests; what
//! another one wants and gives is not known, and is described loosely rather than wrongly.

use minijinja::Environment;
use selvedge_model::Task;
use selvedge_plugin::Stage;
use serde_json::{Map, Value, json};

use super::schema::{array, described, moved, object, one_of_texts};
use super::subject::{Attached, Endpoint};
use super::{Sections, task};

/// What an endpoint's body must be.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Schemas that it must match, each as its plugin has it.
    pub(super) schemas: Vec<Value>,
    /// What else it must be.
    pub(super) beyond: Beyond,
}

/// What a body must be beyond its schemas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Beyond {
    /// What the model takes.
    Task,
    /// Nothing: a template makes of it what the model takes.
    Nothing,
    /// What this plugin wants, which is not known. It may make another body of this one.
    Plugin(String),
}

/// What the validators and templaters want.
pub(super) fn wanted(endpoint: &Endpoint) -> Wanted {
    let mut wanted = Wanted {
        schemas: Vec::new(),
        beyond: Beyond::Task,
    };
    for attached in staged(endpoint, Stage::Validate) {
        match (attached.kind(), attached.config.get("schema")) {
            ("json-schema", Some(schema)) => wanted.schemas.push(schema.clone()),
            // It looks at the form's files alone.
            ("filetype", _) if endpoint.uploads.is_some() => {}
            _ => {
                wanted.beyond = Beyond::Plugin(attached.name.clone());
                return wanted;
            }
        }
    }
    for attached in staged(endpoint, Stage::Template) {
        wanted.beyond = Beyond::Nothing;
        if attached.kind() == "prompt-template" {
            let fields = fields_of(&attached.config, &wanted.schemas);
            wanted.schemas.extend(fields);
        }
    }
    wanted
}

/// Whether plugins want files, which come in forms alone: nothing else is answered then.
pub(super) fn want_files(endpoint: &Endpoint) -> bool {
    files(endpoint).next().is_some()
}

/// The files that plugins cannot do without.
pub(super) fn files(endpoint: &Endpoint) -> impl Iterator<Item = &str> {
    let kinds = endpoint
        .plugins
        .iter()
        .filter(|attached| attached.kind() == "filetype");
    kinds.map(|attached| attached.config["field"].as_str().unwrap_or("file"))
}

fn staged(endpoint: &Endpoint, stage: Stage) -> impl Iterator<Item = &Attached> {
    endpoint
        .plugins
        .iter()
        .filter(move |attached| attached.has_stage(stage))
}

/// The fields that the templates of a `prompt-template` name, but for what validators before it say of them already.
fn fields_of(config: &Value, said: &[Value]) -> Option<Value> {
    let messages = config["messages"].as_array().into_iter().flatten();
    let sources = messages.map(|message| &message["content"]);
    let sources = sources.chain([&config["template"]]).filter_map(Value::as_str);
    let sources: Vec<&str> = sources.collect();
    let names = names_in(&sources)?;
    let is_said = |name: &str| said.iter().any(|schema| !schema["properties"][name].is_null());
    let field = |name: &String| {
        (
            name.clone(),
            json!({ "description": "A field that the template names." }),
        )
    };
    let properties = names.iter().filter(|name| !is_said(name)).map(field);
    let properties: Map<String, Value> = properties.collect();
    // One that a template asks about, or has something else for, may be missing.
    let optional = |source: &&str| source.contains("default") || source.contains("defined");
    let strict = config["undefined"] != "lenient" && !sources.iter().any(optional);
    let is_required = |name: &str| {
        let lists = said.iter().filter_map(|schema| schema["required"].as_array());
        lists.flatten().any(|other| other == name)
    };
    let required = names.iter().filter(|name| strict && !is_required(name));
    let required: Vec<&str> = required.map(String::as_str).collect();
    let adds = !properties.is_empty() || !required.is_empty();
    adds.then(|| object(properties.into(), &required))
}

/// The names that templates take from the body, in order; none where one takes all of it.
fn names_in(sources: &[&str]) -> Option<Vec<String>> {
    let environment = Environment::new();
    let mut names: Vec<String> = Vec::new();
    for source in sources {
        let template = environment.template_from_str(source).ok()?;
        names.extend(template.undeclared_variables(false));
    }
    names.retain(|name| environment.globals().all(|(global, _)| global != name));
    names.sort();
    names.dedup();
    // A body that is not an object is there under this name.
    names.iter().all(|name| name != "body").then_some(names)
}

/// What an endpoint gives, after its post-processors.
pub(super) fn given(endpoint: &Endpoint, sections: &mut Sections) -> Value {
    let mut form = Form::of(endpoint.model.task);
    let mut schema = task::response(&endpoint.model);
    for attached in staged(endpoint, Stage::Postprocess) {
        (form, schema) = match (attached.kind(), form) {
            ("label", Form::Labels | Form::Text) => {
                (Form::Verdict, verdicts(endpoint, &attached.config, form))
            }
            ("filetype", _) => (Form::Verdict, filetype()),
            ("json-extract", Form::Text) => {
                let text = extracted(&endpoint.name, &attached.config, sections);
                (Form::Text, task::generated(text))
            }
            _ => {
                let loose = format!("What the plugin `{}` makes of the result.", attached.name);
                (Form::Unknown, described(json!({}), &loose))
            }
        };
    }
    schema
}

/// Whether something else may come in the place of what the model gives.
pub(super) fn postprocesses(endpoint: &Endpoint) -> bool {
    staged(endpoint, Stage::Postprocess).next().is_some()
}

/// Whether a plugin that is not known may refuse a request with a status of its own.
pub(super) fn refuse_as_they_like(endpoint: &Endpoint) -> bool {
    let known = ["json-schema", "label", "json-extract", "filetype"];
    let mut refuse = staged(endpoint, Stage::Validate).chain(staged(endpoint, Stage::Postprocess));
    refuse.any(|attached| !known.contains(&attached.kind()))
}

/// What a result is, as far as post-processors tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Labels,
    Text,
    Verdict,
    Unknown,
}

impl Form {
    fn of(task: Option<Task>) -> Self {
        match task {
            Some(Task::TextClassification) => Self::Labels,
            Some(Task::TextGeneration) => Self::Text,
            Some(Task::FeatureExtraction | Task::Tensor) | None => Self::Unknown,
        }
    }
}

/// What `label` gives: a verdict, or one for each of several inputs or answers.
fn verdicts(endpoint: &Endpoint, config: &Value, form: Form) -> Value {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let shown = config["labels"].as_object();
    let mut names: Vec<String> = match (form, &endpoint.model.card) {
        (Form::Labels, Some(card)) => {
            let name = |name: &String| {
                shown
                    .and_then(|shown| text(shown.get(name)?))
                    .unwrap_or_else(|| name.clone())
            };
            card.output.labels.iter().map(name).collect()
        }
        (Form::Labels, None) => Vec::new(),
        _ => shown
            .into_iter()
            .flat_map(|shown| shown.values().filter_map(text))
            .collect(),
    };
    if !names.is_empty() {
        names.extend(text(&config["otherwise"]));
        names.dedup();
    }
    let mut properties = json!({ "label": one_of_texts(&names) });
    let mut required = vec!["label"];
    if form == Form::Labels {
        let score = json!({ "type": "number", "minimum": 0, "maximum": 1 });
        properties["score"] = score.clone();
        required.push("score");
        if config["scores"] == true {
            properties["scores"] = json!({ "type": "object", "additionalProperties": score });
            required.push("scores");
        }
    }
    let verdict = object(properties, &required);
    let one_text = form == Form::Labels
        && staged(endpoint, Stage::Template).any(|attached| attached.kind() == "prompt-template");
    if one_text {
        return verdict;
    }
    let several = described(array(verdict.clone()), "One for each, where there are several.");
    json!({ "anyOf": [verdict, several] })
}

/// What `filetype` gives.
fn filetype() -> Value {
    let text = || json!({ "type": "string" });
    let score = json!({ "type": "number", "minimum": 0, "maximum": 1 });
    let asked = object(json!({ "label": text(), "score": score }), &["label", "score"]);
    let properties = json!({
        "label": text(),
        "score": score,
        "mime_type": text(),
        "group": text(),
        "is_text": { "type": "boolean" },
        "extensions": array(text()),
        "model": described(json!({ "anyOf": [asked, { "type": "null" }] }), "What the model said, where it was asked."),
        "overwritten": described(
            json!({ "enum": [null, "low-confidence", "overwrite-map"] }),
            "Why `label` is another than the model's.",
        ),
    });
    let required = [
        "label",
        "score",
        "mime_type",
        "group",
        "is_text",
        "extensions",
        "model",
        "overwritten",
    ];
    object(properties, &required)
}

/// The text that `json-extract` leaves: JSON, by a schema where there is one.
fn extracted(endpoint: &str, config: &Value, sections: &mut Sections) -> Value {
    if config["on_failure"] == "pass" {
        return described(
            json!({ "type": "string" }),
            "JSON where the model wrote any, else its text.",
        );
    }
    let mut text = json!({ "type": "string", "contentMediaType": "application/json" });
    if let Some(schema) = config.get("schema") {
        let name = format!("{endpoint}.json");
        let schema = moved(schema, &format!("#/components/schemas/{name}"));
        text["contentSchema"] = sections.schema(&name, schema);
    }
    text
}

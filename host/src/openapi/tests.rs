//! The document of configurations that are made up: what is known is told, and what is not is told loosely.

use selvedge_model::Task;
use selvedge_plugin::{Manifest, Stage};
use serde_json::{Value, json};

use super::subject::{Attached, Endpoint, Known, Model};
use super::{Auth, Subject, describe};

fn attached(name: &str, stages: &[Stage], config: Value) -> Attached {
    let manifest = Manifest {
        name: name.to_owned(),
        ..Manifest::default()
    };
    let known = Known {
        manifest,
        stages: stages.to_vec(),
    };
    Attached {
        name: name.to_owned(),
        config,
        known: Some(known),
    }
}

fn endpoint(task: Task, plugins: Vec<Attached>) -> Endpoint {
    Endpoint {
        name: "it".to_owned(),
        path: Some("/it".to_owned()),
        model: Model {
            task: Some(task),
            ..Model::default()
        },
        plugins,
        ..Endpoint::default()
    }
}

fn document(endpoint: Endpoint) -> Value {
    describe(&Subject {
        endpoints: vec![endpoint],
        auth: Auth::None,
    })
}

fn schema(endpoint: Endpoint, name: &str) -> Value {
    document(endpoint)["components"]["schemas"][name].clone()
}

#[test]
fn a_label_s_verdict_is_told_by_its_names() {
    let config = json!({ "labels": { "yes": "JA", "no": "NEIN" }, "otherwise": "?" });
    let label = attached("label", &[Stage::Postprocess], config);
    let given = schema(endpoint(Task::TextGeneration, vec![label]), "it.response");
    let verdict = &given["anyOf"][0];
    assert_eq!(verdict["properties"]["label"]["enum"], json!(["JA", "NEIN", "?"]));
    assert_eq!(verdict["required"], json!(["label"]), "a text has no score");
}

#[test]
fn what_another_s_plugin_gives_is_not_claimed() {
    let other = attached("other", &[Stage::Postprocess], json!({}));
    let label = attached("label", &[Stage::Postprocess], json!({}));
    let found = document(endpoint(Task::TextClassification, vec![label, other]));
    let given = &found["components"]["schemas"]["it.response"];
    assert_eq!(
        given.as_object().map(|fields| fields.keys().collect::<Vec<_>>()),
        Some(vec![&"description".to_owned()])
    );
    assert!(found["paths"]["/it"]["post"]["responses"]["4XX"].is_object());
}

#[test]
fn what_stands_behind_a_plugin_that_cannot_be_read_is_not_claimed_either() {
    let missing = Attached {
        name: "missing".to_owned(),
        config: json!({}),
        known: None,
    };
    let validator = attached(
        "json-schema",
        &[Stage::Validate],
        json!({ "schema": { "required": ["a"] } }),
    );
    let found = document(endpoint(Task::TextClassification, vec![missing, validator]));
    assert!(found["components"]["schemas"]["it.request"]["required"].is_null());
    assert!(found["components"]["schemas"]["it.response"]["type"].is_null());
}

#[test]
fn all_validators_and_the_model_want_their_part() {
    let wants = |key: &str| json!({ "schema": { "required": [key], "properties": { key: { "$ref": "#/$defs/t" } }, "$defs": { "t": { "type": "string" } } } });
    let plugins = ["text", "user"].map(|key| attached("json-schema", &[Stage::Validate], wants(key)));
    let found = document(endpoint(Task::FeatureExtraction, plugins.into()));
    let request = &found["components"]["schemas"]["it.body"]["allOf"];
    assert_eq!(request.as_array().map(Vec::len), Some(2));
    let whole = &found["components"]["schemas"]["it.request"]["allOf"];
    assert_eq!(whole[0]["$ref"], "#/components/schemas/it.body");
    assert!(whole[1]["oneOf"].is_array(), "what the model takes");
    assert_eq!(
        request[1]["properties"]["user"]["$ref"],
        "#/components/schemas/it.body/allOf/1/$defs/t"
    );
    let examples = &found["paths"]["/it"]["post"]["requestBody"]["content"]["application/json"]["examples"];
    assert_eq!(
        examples["simple"]["value"],
        json!({ "text": "a text", "user": "user" })
    );
}

#[test]
fn fields_of_a_form_are_text_or_come_as_json() {
    let schema = json!({
        "required": ["note"], "additionalProperties": false, "$defs": { "note": { "type": "string", "maxLength": 9 } },
        "properties": {
            "note": { "$ref": "#/$defs/note" }, "n": { "type": "integer" }, "file": { "type": "object" },
            "tags": { "type": "array", "items": { "type": "string" } }, "a/b": { "type": "array", "items": { "type": "integer" } },
            "any": true, "five": { "const": 5 }, "maybe": { "anyOf": [{ "type": "integer" }, { "type": "null" }] }, "text": true,
        },
    });
    let plugin = attached("json-schema", &[Stage::Validate], json!({ "schema": schema }));
    let uploads = json!({ "files": ["file"] });
    let found = document(Endpoint {
        uploads: serde_json::from_value(uploads).ok(),
        ..endpoint(Task::TextClassification, vec![plugin])
    });
    let form = &found["components"]["schemas"]["it.request"];
    let told = |name: &str| json!({ "$ref": format!("#/components/schemas/it.body/properties/{name}") });
    assert_eq!(form["properties"]["note"], told("note"));
    assert_eq!(form["properties"]["a/b"], told("a~1b"));
    assert_eq!(form["properties"]["file"]["format"], "binary");
    let mut any = told("any");
    any["type"] = json!("string");
    assert_eq!(form["properties"]["any"], any);
    assert_eq!(
        (&form["required"], &form["additionalProperties"]),
        (&json!(["note", "text"]), &json!(false))
    );
    let in_json = json!({ "contentType": "application/json" });
    let content = &found["paths"]["/it"]["post"]["requestBody"]["content"]["multipart/form-data"];
    let coded = json!({ "n": in_json, "a/b": in_json, "five": in_json, "maybe": in_json });
    assert_eq!(content["encoding"], coded);
}

#[test]
fn an_example_that_a_schema_refuses_is_left_out() {
    let schema = json!({ "required": ["text"], "properties": { "text": { "pattern": "^[0-9]{4}$", "type": "string" } } });
    let plugin = attached("json-schema", &[Stage::Validate], json!({ "schema": schema }));
    let found = document(endpoint(Task::TextClassification, vec![plugin]));
    let content = &found["paths"]["/it"]["post"]["requestBody"]["content"]["application/json"];
    assert!(content["schema"].is_object() && content["examples"].is_null());
}

#[test]
fn a_template_s_fields_are_wanted_unless_it_does_without() {
    let template = |template: &str| {
        attached(
            "prompt-template",
            &[Stage::Template],
            json!({ "template": template }),
        )
    };
    let wanted = |text: &str| {
        schema(
            endpoint(Task::TextClassification, vec![template(text)]),
            "it.body",
        )
    };
    assert_eq!(
        wanted("{{ b.c }} {% for x in range(3) %}{{ a }}{% endfor %}")["required"],
        json!(["a", "b"])
    );
    let lenient = wanted("{{ a|default('x') }}");
    assert!(
        lenient["required"].is_null() && lenient["properties"]["a"].is_object(),
        "{lenient}"
    );
    assert!(wanted("{{ body }}").is_null());
}

#[test]
fn paths_are_those_that_an_endpoint_can_answer() {
    let paths = |task| {
        let found = document(endpoint(task, Vec::new()));
        found["paths"]
            .as_object()
            .map(|paths| paths.keys().cloned().collect::<Vec<_>>())
            .unwrap_or_default()
    };
    let (classifies, embeds) = (paths(Task::TextClassification), paths(Task::FeatureExtraction));
    let has = |paths: &[String], path: &str| paths.iter().any(|other| other == path);
    assert!(
        !has(&classifies, "/v1/embeddings") && has(&embeds, "/v1/embeddings") && has(&embeds, "/api/embed")
    );
    assert!(!has(&embeds, "/v1/chat/completions") && has(&paths(Task::TextGeneration), "/api/chat"));
    assert!(has(&classifies, "/v1/models") && has(&classifies, "/it"));
}

#[test]
fn callers_say_who_they_are_where_the_node_asks() {
    let mut subject = Subject {
        endpoints: vec![endpoint(Task::TextClassification, Vec::new())],
        auth: Auth::Keys,
    };
    subject.endpoints[0].scopes = vec!["classify".to_owned()];
    let found = describe(&subject);
    let operation = &found["paths"]["/it"]["post"];
    assert_eq!(
        operation["security"],
        json!([{ "bearer": ["classify"] }, { "apiKey": ["classify"] }])
    );
    assert!(operation["responses"]["401"].is_object() && operation["responses"]["403"].is_object());
    assert!(found["paths"]["/healthz"]["get"]["security"].is_null());
    assert_eq!(
        found["components"]["securitySchemes"]["apiKey"]["name"],
        "x-api-key"
    );
    subject.auth = Auth::None;
    let open = describe(&subject);
    assert!(
        open["components"]["securitySchemes"].is_null() && open["paths"]["/it"]["post"]["security"].is_null()
    );
}

#[test]
fn every_reference_leads_somewhere() {
    fn check(value: &Value, root: &Value) {
        match value {
            Value::Object(fields) => fields
                .iter()
                .for_each(|(key, value)| match (key.as_str(), value) {
                    ("$ref", Value::String(target)) => {
                        let found = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
                        assert!(found.is_some(), "{target}");
                    }
                    _ => check(value, root),
                }),
            Value::Array(items) => items.iter().for_each(|item| check(item, root)),
            _ => {}
        }
    }
    for task in [
        Task::TextClassification,
        Task::FeatureExtraction,
        Task::TextGeneration,
        Task::Tensor,
    ] {
        let config = json!({ "schema": { "$ref": "#/$defs/a", "$defs": { "a": { "type": "object" } } } });
        let extract = attached("json-extract", &[Stage::Postprocess], config);
        let found = document(endpoint(task, vec![extract]));
        check(&found, &found);
    }
}

//! What a node says of itself: `/openapi.json` is valid, whole and true, and `/docs` is a page that a person can use.

use serde_json::Value;

use crate::host::{demo, root, run};
use crate::node::{ASSISTANT, CLASSIFY, EMBED, NodeConfig, plain_and_scores};
use crate::open_inference;
use crate::python_clients::python;

#[test]
fn the_document_is_valid_and_whole_and_its_examples_are_answered_as_it_says() {
    let endpoints = ["/classify", "/embed", "/assistant"];
    let base = format!("http://{}", demo().address());
    let out = python(
        "openapi_document.py",
        &[[base.as_str()].as_slice(), &endpoints].concat(),
    );
    assert!(out.contains("all is well"), "{out}");
}

#[test]
fn the_document_of_tensors_is_true_too() {
    let host = open_inference::node();
    let base = format!("http://{}", host.address());
    let paths = ["tensors", "echo", "floats"].map(|name| format!("/v2/models/{name}/infer"));
    let paths = paths.iter().map(String::as_str);
    // Of BF16 there are no examples in JSON.
    let bare = "-/v2/models/echo/";
    let arguments: Vec<&str> = [base.as_str(), bare].into_iter().chain(paths).collect();
    let out = python("openapi_document.py", &arguments);
    assert!(out.contains("all is well"), "{out}");
}

#[test]
fn the_document_of_labels_texts_and_unknown_plugins_is_true_too() {
    let schema = r##"{ type = "object", required = ["text"], properties = { text = { "$ref" = "#/$defs/text" } }, "$defs" = { text = { type = "string", minLength = 1 } } }"##;
    let more = r#"
[endpoints.template]
path = "/deep/template"
model = "spam"
plugins = [{ use = "prompt-template", config = { template = "{{ title }} {{ text }}" } }]
[endpoints.extract]
path = "/extract"
model = "smollm2"
plugins = [{ use = "json-extract", config = { on_failure = "pass" } }]
[endpoints.unknown]
path = "/unknown"
model = "spam"
plugins = [{ use = "hostile", config = {} }]
"#;
    let host = NodeConfig::of(&[])
        .with_plugin("json-extract")
        .with_plugin("hostile")
        .with(&plain_and_scores(schema))
        .with(more)
        .start();
    let document = host.client().get("/openapi.json").json();
    let request = &document["components"]["schemas"]["scores.body"];
    assert_eq!(
        request["properties"]["text"]["$ref"],
        "#/components/schemas/scores.body/$defs/text"
    );
    let template = &document["components"]["schemas"]["template.body"];
    assert_eq!(template["required"], serde_json::json!(["text", "title"]));
    let unknown = &document["components"]["schemas"]["unknown.request"];
    assert!(
        unknown["type"].is_null() && unknown["description"].to_string().contains("hostile"),
        "{unknown}"
    );
    assert!(document["paths"]["/unknown"]["post"]["responses"]["4XX"].is_object());
    // `/deep/template` has no validator: a template that misses a field fails, which is a 502.
    let paths = [
        "/plain",
        "/scores",
        "/extract",
        "/unknown",
        "-/v2/models/template/",
    ];
    let base = format!("http://{}", host.address());
    let out = python(
        "openapi_document.py",
        &[[base.as_str()].as_slice(), &paths].concat(),
    );
    assert!(out.contains("all is well"), "{out}");
}

#[test]
fn the_command_writes_the_document_that_the_node_serves() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("node.toml");
    let config = NodeConfig::of(&[ASSISTANT, CLASSIFY, EMBED]);
    std::fs::write(&file, config.text()).expect("written");
    let (code, output, error) = run(&["openapi", "--config", &file.to_string_lossy()]);
    assert_eq!(code, 0, "{error}");
    let mut written: Value = serde_json::from_str(&output).expect("JSON");
    let mut served = demo().client().get("/openapi.json").json();
    // How many tokens there are is told by a tokenizer's file alone, which the command does not read.
    for document in [&mut written, &mut served] {
        forget_maximums(document);
    }
    assert_eq!(written, served);
}

fn forget_maximums(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("maximum");
            fields.values_mut().for_each(forget_maximums);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_maximums),
        _ => {}
    }
}

#[test]
fn the_command_needs_the_cards_and_the_plugins_and_names_those_that_are_missing() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("node.toml");
    let config = NodeConfig::of(&[CLASSIFY])
        .with("models.spam.path = \"models/nothing\"")
        .with("plugins.label.path = \"nothing.wasm\"");
    std::fs::write(&file, config.text()).expect("written");
    let (code, output, error) = run(&["openapi", "--config", &file.to_string_lossy()]);
    assert_eq!((code, output.as_str()), (3, ""));
    for part in [
        "models.spam: ",
        "models/nothing/model.toml",
        "plugins.label.path: ",
        "nothing.wasm",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn an_endpoint_that_is_broken_is_described_loosely() {
    // Another endpoint serves.
    let works = format!(
        "models.other.path = \"{}/models/spam\"\nendpoints.works.model = \"other\"",
        root().display()
    );
    let config = NodeConfig::of(&[CLASSIFY])
        .with("models.spam.path = \"models/nothing\"")
        .with(&works);
    let host = config.start();
    let document = host.client().get("/openapi.json").json();
    let classify = &document["paths"]["/classify"]["post"];
    assert_eq!(classify["summary"], "Call `classify`");
    let schema = &document["components"]["schemas"]["classify.body"];
    assert_eq!(schema["required"], serde_json::json!(["text"]));
    assert_eq!(host.client().post("/classify", r#"{"text":"a"}"#).status, 503);
}

#[test]
fn the_document_and_the_page_are_sent_again_only_where_they_changed() {
    let client = demo().client();
    for (path, media_type) in [
        ("/openapi.json", "application/json"),
        ("/docs", "text/html; charset=utf-8"),
    ] {
        let first = client.get(path);
        assert_eq!(
            (first.status, first.header("content-type")),
            (200, Some(media_type))
        );
        let etag = first.header("etag").expect("a tag").to_owned();
        let again = client.send("GET", path, &[("if-none-match", &etag)], b"");
        assert_eq!((again.status, again.body.len()), (304, 0));
        assert_eq!(again.header("etag"), Some(etag.as_str()));
        let other = client.send("GET", path, &[("if-none-match", "\"other\"")], b"");
        assert_eq!((other.status, &other.body), (200, &first.body));
        assert_eq!(client.post(path, "{}").status, 405);
    }
}

#[test]
fn the_page_may_run_its_own_script_and_load_nothing_from_elsewhere() {
    let page = demo().client().get("/docs");
    let policy = page.header("content-security-policy").expect("a policy");
    for part in [
        "default-src 'none'",
        "connect-src 'self'",
        "script-src 'sha256-",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
}

#[test]
fn a_person_reads_the_page_tries_an_endpoint_and_stops_a_stream_in_a_browser() {
    let base = format!("http://{}", demo().address());
    let out = python("docs_page.py", &[&base, env!("CARGO_TARGET_TMPDIR")]);
    assert!(out.contains("all is well"), "{out}");
}

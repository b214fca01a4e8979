//! What a node says of itself: `/openapi.json` is valid, whole and true, and `/docs` is a page that a person can use.

use serde_json::Value;

use crate::generate::eventually;
use crate::host::{TestHost, demo, demo_config, root, run};
use crate::open_inference;
use crate::python_clients::python;
use crate::uploads;

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
    let plugin = |name: &str| format!("{}/plugins/dist/{name}.wasm", root().display());
    let schema = r##"{ type = "object", required = ["text"], properties = { text = { "$ref" = "#/$defs/text" } }, "$defs" = { text = { type = "string", minLength = 1 } } }"##;
    let more = format!(
        r#"
[plugins.json-extract]
path = "{}"
[plugins.hostile]
path = "{}"
[endpoints.plain]
path = "/plain"
model = "spam"
[endpoints.scores]
path = "/scores"
model = "spam"
plugins = [{{ use = "json-schema", config = {{ schema = {schema} }} }}, {{ use = "label", config = {{ scores = true }} }}]
[endpoints.template]
path = "/deep/template"
model = "spam"
plugins = [{{ use = "prompt-template", config = {{ template = "{{{{ title }}}} {{{{ text }}}}" }} }}]
[endpoints.extract]
path = "/extract"
model = "smollm2"
plugins = [{{ use = "json-extract", config = {{ on_failure = "pass" }} }}]
[endpoints.unknown]
path = "/unknown"
model = "spam"
plugins = [{{ use = "hostile", config = {{}} }}]
"#,
        plugin("json-extract"),
        plugin("hostile"),
    );
    let host = TestHost::start(&demo_config(&more));
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
    std::fs::write(&file, demo_config("")).expect("written");
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
    let config = demo_config("")
        .replace("/models/spam\"", "/models/nothing\"")
        .replace("label.wasm", "nothing.wasm");
    std::fs::write(&file, config).expect("written");
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
    let config = demo_config("").replace("/models/spam\"", "/models/nothing\"");
    let host = TestHost::start(&config);
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

/// Endpoints that answer at once, so that many requests take little time.
fn quick_config() -> String {
    let mut config = demo_config("");
    let rest = config.split_off(config.find("# POST /embed").expect("the demo's second endpoint"));
    assert!(rest.contains("[endpoints.assistant]"));
    let embed = rest.split_once("# The model \"assistant\"").expect("its third").0;
    let schema = r#"{ type = "object", required = ["text"], additionalProperties = false, properties = { text = { type = "string", minLength = 1, maxLength = 200 } } }"#;
    format!(
        "{config}{embed}
[endpoints.plain]
path = \"/plain\"
model = \"spam\"
[endpoints.scores]
path = \"/scores\"
model = \"spam\"
plugins = [{{ use = \"json-schema\", config = {{ schema = {schema} }} }}, {{ use = \"label\", config = {{ scores = true }} }}]
"
    )
}

#[test]
fn schemathesis_finds_no_server_error_and_no_answer_that_the_document_does_not_tell() {
    let host = TestHost::start(&quick_config());
    let out = python("openapi_fuzz.py", &[&format!("http://{}", host.address()), "12"]);
    assert!(out.contains("No issues found"), "{out}");
}

#[test]
fn schemathesis_finds_none_where_callers_must_have_keys_and_nobody_is_let_in_without() {
    let auth = "[auth]\nmode = \"keys\"\nfailures = { requests = 1000000, per = \"1m\" }\n";
    let host = TestHost::start(&format!("{}{auth}", quick_config()));
    let file = host.file().to_string_lossy();
    let (_, made, error) = run(&["key", "create", "--json", "--scope", "*", "--config", &file]);
    let made: Value = serde_json::from_str(&made).unwrap_or_else(|_| panic!("{error}"));
    let key = made["key"].as_str().expect("a key");
    let known = || {
        let answer = host
            .client()
            .send("GET", "/openapi.json", &[("x-api-key", key)], b"");
        answer.status == 200
    };
    eventually("the key", known);
    let base = format!("http://{}", host.address());
    let paths = "^/(classify|scores|v1/embeddings|v1/models|v2/models|api/tags)";
    let out = python("openapi_fuzz.py", &[&base, "4", paths, key]);
    assert!(out.contains("No issues found"), "{out}");
}

/// An endpoint that generates, whose validator sees to it in every dialect that prompts and answers are short, and that no schema is
/// asked for, of which not each is one that an answer can be held to.
fn generating_config() -> String {
    let short = "{ type = \"integer\", minimum = 1, maximum = 4 }";
    let limits = format!("max_tokens = {short}, max_completion_tokens = {short}");
    let schema = format!(
        "{{ type = \"object\", required = [\"max_tokens\", \"options\"], properties = {{ {limits}, parameters = {{ properties = \
         {{ {limits} }} }}, options = {{ type = \"object\", required = [\"num_predict\"], properties = {{ num_predict = {short} }} \
         }}, messages = {{ maxItems = 4 }}, prompt = {{ maxItems = 8, items = {{ maxItems = 8 }} }}, response_format = {{ \
         properties = {{ type = {{ enum = [\"text\", \"json_object\"] }} }} }}, format = {{ type = [\"string\", \"null\"] }} }} }}"
    );
    let demo = demo_config(&format!(
        "\n[endpoints.short]\npath = \"/short\"\nmodel = \"smollm2\"\n\
         plugins = [{{ use = \"json-schema\", config = {{ schema = {schema} }} }}]\n"
    ));
    let (others, _) = demo.split_once("# POST /classify").expect("the demo's endpoints");
    let (_, short) = demo.split_once("[endpoints.short]").expect("ours");
    format!("{others}[endpoints.short]{short}")
}

#[test]
fn schemathesis_finds_none_where_forms_are_taken() {
    // Of a file a schema may say what the document cannot, and whatever comes for a list of texts is one of its texts.
    let config = uploads::config("");
    let (before, rest) = config.split_once("attachment = {").expect("a file's schema");
    let (_, after) = rest.split_once("[[").expect("the next plugin");
    let host = TestHost::start(&format!(
        "{before}attachment = {{ type = \"object\" }}\n[[{after}"
    ));
    let base = format!("http://{}", host.address());
    let out = python("openapi_fuzz.py", &[&base, "12", "^/(mail|filetype)$"]);
    assert!(out.contains("No issues found"), "{out}");
}

#[test]
fn schemathesis_finds_none_where_text_is_generated_either() {
    let host = TestHost::start(&generating_config());
    let base = format!("http://{}", host.address());
    let out = python(
        "openapi_fuzz.py",
        &[&base, "8", "short|/v1/.*completions|/api/(chat|generate)"],
    );
    assert!(out.contains("No issues found"), "{out}");
}

//! What plugins reach where it is granted: models and stores, as the plugin `probe` sees them.

use std::path::Path;

use serde_json::{Value, json};

use crate::host::{TestHost, demo, root};
use crate::node::{CLASSIFY, NodeConfig};

/// A plugin with steps on an endpoint, and what it is granted.
fn config(steps: &[(&str, Value)], limits: &str, state: &Path) -> NodeConfig {
    let root = root();
    let mut more = format!(
        r#"
[plugins.probe]
path = "{root}/plugins/dist/probe.wasm"
limits = {{ {limits} }}
allow = {{ models = ["spam", "minilm", "tensors"], kv = ["mine", "other"], secrets = {{ S = "a value" }} }}
[models.tensors]
path = "{root}/models/minilm-tensor"
[models.not-granted]
path = "{root}/models/spam"
"#,
        root = root.display()
    );
    for (name, config) in steps {
        let file = state.join(format!("{name}.json"));
        std::fs::write(&file, config.to_string()).expect("written");
        more += &format!(
            "[endpoints.{name}]\npath = \"/{name}\"\nmodel = \"spam\"\nplugins = [{{ use = \"probe\", config_file = \"{}\" }}]\n",
            file.display()
        );
    }
    NodeConfig::of(&[CLASSIFY]).with(&more)
}

/// What the steps came to.
fn told(host: &TestHost, path: &str) -> Value {
    let answer = host.client().post(path, r#"{"text":"a"}"#);
    let body = answer.json();
    assert_eq!((answer.status, &body["code"]), (422, &json!("probe")), "{body}");
    serde_json::from_str(body["detail"].as_str().expect("a message")).expect("JSON")
}

fn steps(steps: Value) -> Value {
    json!({ "steps": steps })
}

#[test]
fn models_of_the_node_are_run_by_name_and_no_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let spam = "WINNER!! Claim your free prize now, call 09061701461";
    let ids = json!({ "shape": [1, 4], "i64": [101, 7592, 2088, 102] });
    let ones = json!({ "shape": [1, 4], "i64": [1, 1, 1, 1] });
    let zeros = json!({ "shape": [1, 4], "i64": [0, 0, 0, 0] });
    let config = config(
        &[(
            "models",
            steps(json!([
                { "classify": ["spam", [spam, "See you at five."]] },
                { "embed": ["minilm", ["a text"]] },
                { "run": ["tensors", { "input_ids": ids, "attention_mask": ones, "token_type_ids": zeros }] },
                { "classify": ["minilm", ["a"]] },
                { "classify": ["not-granted", ["a"]] },
                { "run": ["tensors", { "input_ids": ids }] },
                { "embed": ["minilm", []] },
                { "secret": "S" },
            ])),
        )],
        "",
        dir.path(),
    );
    let host = config.start();
    let told = told(&host, "/models");
    let verdict = demo()
        .client()
        .post("/classify", json!({ "text": spam }).to_string())
        .json();
    let [name, score] = [&told[0]["labels"][0][0][0], &told[0]["labels"][0][0][1]];
    let difference = score.as_f64().expect("a number") - verdict["score"].as_f64().expect("a number");
    assert!(name == "spam" && difference.abs() < 1e-6, "{told}");
    assert_eq!(told[0]["labels"][1][0][0], "ham");
    let embedded = demo().client().post("/embed", r#"{"input":"a text"}"#).json();
    assert_eq!(told[1]["vectors"][0]["len"], 384);
    for place in 0..8 {
        let (found, wanted) = (
            &told[1]["vectors"][0]["head"][place],
            &embedded["embeddings"][0][place],
        );
        let difference = found.as_f64().expect("a number") - wanted.as_f64().expect("a number");
        assert!(difference.abs() < 1e-5, "{found} {wanted}");
    }
    assert!(told[2].to_string().contains("384"), "{}", told[2]);
    assert!(told[3].to_string().contains("invalid-input"), "{}", told[3]);
    assert_eq!(told[4], "denied");
    assert!(told[5].to_string().contains("invalid-input"), "{}", told[5]);
    assert!(told[6].to_string().contains("invalid-input"), "{}", told[6]);
    assert_eq!(told[7], json!({ "secret": "a value" }));
}

#[test]
fn a_model_that_takes_too_long_is_told_in_time_and_in_configure_there_is_none_nor_a_secret() {
    let dir = tempfile::tempdir().expect("a folder");
    let configure = json!({
        "configure": [{ "classify": ["spam", ["a"]] }, { "kv-set": ["mine", "k", "v"] }, { "secret": "S" }],
        "steps": [{ "kv-get": ["mine", "k"] }, { "secret": "S" }],
    });
    let long = "some words of a text that is long enough to take its time ".repeat(4);
    let slow = steps(json!([{ "embed": ["minilm", vec![long; 64]] }]));
    let limits = "inference_time = \"1ms\"";
    let host = config(&[("slow", slow), ("early", configure)], limits, dir.path()).start();
    assert_eq!(told(&host, "/slow"), json!(["deadline"]));
    let told = told(&host, "/early");
    assert_eq!(told[0], "not-found");
    assert!(told[1].to_string().contains("unavailable"), "{told}");
    // A snapshot, which is kept on disk, would have it.
    assert_eq!(told[2], "unavailable");
    assert_eq!(told[3], json!({ "value": null }));
    assert_eq!(told[4], json!({ "secret": "a value" }));
}

#[test]
fn what_is_kept_is_there_for_the_next_request_and_the_next_start_and_in_bounds() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = steps(json!([
        { "kv-set": ["mine", "a", "1"] },
        { "kv-increment": ["mine", "n", 5] },
        { "kv-set": ["mine", "gone", "x", 0] },
        { "kv-set": ["mine", "dropped", "x"] },
        { "kv-delete": ["mine", "dropped"] },
        { "kv-set": ["theirs", "a", "1"] },
        { "big-key": 513 },
        { "big-value": 1_048_577 },
        { "big-value": 200_000 },
    ]));
    let write = {
        let mut write = write;
        write["store"] = json!("mine");
        write
    };
    let read = steps(json!([
        { "kv-get": ["mine", "a"] }, { "kv-get": ["mine", "gone"] }, { "kv-get": ["mine", "dropped"] },
        { "kv-get": ["other", "a"] }, { "kv-increment": ["mine", "n", 1] },
    ]));
    let state = dir.path().join("state");
    let config = config(&[("write", write), ("read", read)], "kv = \"100KiB\"", dir.path());
    let config = config.in_state(&state);
    let host = config.start();
    let told_first = told(&host, "/write");
    assert_eq!(told_first[1], json!({ "number": 5 }));
    assert_eq!(told_first[5], "denied");
    assert_eq!(
        (&told_first[6], &told_first[7]),
        (&json!({ "too-large": 512 }), &json!({ "too-large": 1_048_576 }))
    );
    assert_eq!(told_first[8], "quota");
    let expected = |number: u64| json!([{ "value": "1" }, { "value": null }, { "value": null }, { "value": null }, { "number": number }]);
    assert_eq!(told(&host, "/read"), expected(6));
    host.terminate();
    assert!(host.wait().success());
    let host = config.start();
    assert_eq!(told(&host, "/read"), expected(7));
}

#[test]
pub(crate) fn floods_and_hoards_end_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let with = |step: Value| json!({ "store": "mine", "steps": [step] });
    let cases = [
        ("flood", with(json!({ "flood": 100_000_000 }))),
        ("hoard", with(json!({ "hold": 100_000 }))),
    ];
    let host = config(&cases, "", dir.path()).start();
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| host.client().post("/flood", r#"{"text":"a"}"#));
        for _ in 0..50 {
            assert_eq!(host.client().post("/classify", r#"{"text":"a"}"#).status, 200);
        }
        let flood = flood.join().expect("no panic");
        let code = flood.json()["code"].to_string();
        assert!(flood.status == 502 && code.contains("time-limit"), "{code}");
    });
    let hoard = host.client().post("/hoard", r#"{"text":"a"}"#);
    assert_eq!(
        (hoard.status, &hoard.json()["code"]),
        (502, &json!("plugin-handles-limit"))
    );
}

#[test]
fn what_is_not_granted_is_refused_with_the_line_that_would() {
    let endpoint =
        "[endpoints.probe]\npath = \"/probe\"\nmodel = \"spam\"\nplugins = [{ use = \"probe\" }]\n";
    // Another endpoint serves.
    let config = NodeConfig::of(&[CLASSIFY]).with_plugin("probe").with(endpoint);
    let host = config.start();
    assert_eq!(host.client().post("/probe", "{}").status, 503);
    let ready = host.client().get("/readyz").json().to_string();
    assert!(
        ready.contains("allow = { models = ") || ready.contains("allow = { kv = "),
        "{ready}"
    );
}

#[test]
fn passages_are_embedded_before_the_first_request() {
    // The state folder is shared, and what it has of an earlier run must not help.
    let run = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("later")
        .as_nanos();
    let passages: Vec<String> = (0..40)
        .map(|number| format!(r#"{{ text = "Passage {number} of {run}." }}"#))
        .collect();
    let config = NodeConfig::of(&[]).with(&format!(
        r#"
[plugins.retrieve]
path = "{root}/plugins/dist/retrieve.wasm"
allow = {{ models = ["minilm"], kv = ["retrieve"] }}
[endpoints.nearest]
path = "/nearest"
model = "minilm"
plugins = [{{ use = "retrieve", config = {{ model = "minilm", embed_time_ms = 0, template = "{{{{ passages[0].text }}}}", corpus = [{corpus}] }} }}]
"#,
        root = root().display(),
        corpus = passages.join(", ")
    ));
    let host = config.start();
    // 40 passages are several batches, of which a request may embed one.
    let answer = host
        .client()
        .post("/nearest", r#"{"question":"What does passage 7 say?"}"#);
    assert_eq!(answer.status, 200, "{}\n{}", answer.json(), host.log());
    assert!(
        host.log().contains("the plugin has prepared what it serves with"),
        "{}",
        host.log()
    );
}

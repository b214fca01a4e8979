//! Plugins that were compiled against a frozen version of the interfaces work for ever: what lies in `host/tests/frozen/VERSION`
//! was built of `plugins/veteran` and `plugins/veteran-stream` when the version was frozen; together they have its every stage and
//! call its every import.

use std::path::Path;

use serde_json::{Value, json};

use crate::generate::eventually;
use crate::host::root;
use crate::node::NodeConfig;

/// Endpoints with the plugins of a version, and a state folder of their own.
fn config(version: &str, endpoints: &str, state: &Path) -> NodeConfig {
    let root = root();
    let plugins = format!(
        r#"
[models.tensors]
path = "{root}/models/minilm-tensor"
[plugins.veteran]
path = "{root}/host/tests/frozen/{version}/veteran.wasm"
limits = {{ time = "2s", wall_time = "20s", inference_time = "10s" }}
allow = {{ headers = ["x-veteran", "authorization"], secrets = {{ veteran = "a value" }}, models = ["spam", "minilm", "tensors"], kv = ["veteran"], journals = ["veteran"], bodies = true }}
[plugins.veteran-stream]
path = "{root}/host/tests/frozen/{version}/veteran-stream.wasm"
"#,
        root = root.display(),
    );
    NodeConfig::of(&[]).with(&plugins).with(endpoints).in_state(state)
}

const OLD: &str = r#"
[endpoints.old]
path = "/old"
model = "spam"
plugins = [{ use = "veteran", config = { classifier = "spam", embedder = "minilm", tensors = "tensors" } }]
"#;

const OLD_FORM_AND_STREAM: &str = r#"
[endpoints.old-form]
path = "/old-form"
model = "spam"
uploads = { files = ["file"] }
plugins = [{ use = "veteran", config = {} }]
[endpoints.old-stream]
path = "/old-stream"
model = "smollm2"
stream = true
plugins = [
  { use = "prompt-template", config = { template = "{{ text }}" } },
  { use = "veteran-stream", config = { mark = "seen" } },
]
"#;

/// What the observer wrote, a line an event.
fn observed(state: &Path) -> Vec<Value> {
    let Ok(files) = std::fs::read_dir(state.join("journals/veteran")) else {
        return Vec::new();
    };
    let text = files
        .flatten()
        .map(|file| std::fs::read_to_string(file.path()).expect("read"));
    let lines: String = text.collect();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

/// What the imports told the plugin.
fn check_told(told: &Value) {
    assert_eq!(told["output"], "labels");
    let request = &told["request"];
    assert!(request["id"].as_u64() > Some(0), "{request}");
    let expected = json!({ "id": request["id"], "endpoint": "old", "dialect": "endpoint", "principal": null,
        "header": ["seen"], "hidden": 0, "body_len": 16, "text": 16, "begins": "{" });
    assert_eq!(request, &expected);
    let nothing = json!({ "parts": [], "missing": "Err(UploadError::NoSuchPart)" });
    assert_eq!(told["uploads"], nothing);
    assert_eq!(
        told["tensors"],
        json!({ "shape": [1, 3], "values": [0.5, 2.0, 1.0], "best": [[[1, 2.0]]],
            "ints": [7, 0, 0, 0, 0, 0, 0, 0, 249, 255, 255, 255, 255, 255, 255, 255], "bytes": [1, 2],
            "type": "ElementType::Uint8", "bad": told["tensors"]["bad"] })
    );
    assert!(told["tensors"]["bad"].to_string().contains("BadShape"), "{told}");
    assert_eq!(
        told["kv"],
        json!({ "set": true, "got": "value", "counted": 2, "deleted": true, "other": "Err(KvError::Denied)" })
    );
    let models = &told["models"];
    assert_eq!(
        (&models["label"], &models["dimensions"]),
        (&json!("spam"), &json!(384))
    );
    assert!(models["outputs"].to_string().contains("384"), "{models}");
    assert_eq!(models["other"], "Err(InferenceError::Denied)");
    assert_eq!(
        told["secrets"],
        json!({ "granted": 7, "other": "Err(SecretError::Denied)" })
    );
}

#[test]
fn a_plugin_of_0_1_0_has_every_stage_and_every_import() {
    let state = tempfile::tempdir().expect("a folder");
    let host = config("0.1.0", OLD, state.path()).start();
    let client = host.client();
    let headers = [
        ("content-type", "application/json"),
        ("x-veteran", "seen"),
        ("authorization", "Bearer hidden"),
    ];
    let body = r#"{"text":"hello"}"#;
    let answer = client.send("POST", "/old", &headers, body.as_bytes());
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), host.log());
    check_told(&answer.json());

    let refused = client.post("/old", r#"{"text":"refuse me"}"#);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (403, &json!("refused"))
    );

    eventually("both requests are observed", || observed(state.path()).len() == 2);
    let events = observed(state.path());
    let served = events
        .iter()
        .find(|event| event["status"] == 200)
        .expect("the first");
    assert_eq!(
        (&served["endpoint"], &served["model"]),
        (&json!("old"), &json!("spam"))
    );
    assert_eq!(
        (&served["attributes"], &served["request_bytes"]),
        (&json!(6), &json!(16))
    );
    let stages = served["stages"].to_string();
    assert!(
        stages.contains("validate") && stages.contains("postprocess"),
        "{stages}"
    );

    let metrics = client.get("/metrics").text();
    let names = "{endpoint=\"old\",plugin=\"veteran\"";
    let labels = format!("{names},name=");
    for sample in [
        format!("selvedge_plugin_count_total{labels}\"calls\"}} 1"),
        format!("selvedge_plugin_value_bucket{labels}\"seconds\",le=\"0.1\"}} 0"),
        format!("selvedge_plugin_value_bucket{labels}\"seconds\",le=\"0.5\"}} 1"),
        format!("selvedge_plugin_value_sum{labels}\"seconds\"}} 0.5"),
        format!("selvedge_plugin_value_count{labels}\"seconds\"}} 1"),
        format!("selvedge_plugin_denials_total{names},import=\"models\"}} 1"),
        format!("selvedge_plugin_denials_total{names},import=\"kv\"}} 1"),
        format!("selvedge_plugin_denials_total{names},import=\"secrets\"}} 1"),
    ] {
        assert!(metrics.lines().any(|line| line == sample), "{sample}: {metrics}");
    }
    assert!(host.log().contains("configured"), "{}", host.log());
}

#[test]
fn a_plugin_of_0_1_0_reads_forms_and_writes_streams() {
    let state = tempfile::tempdir().expect("a folder");
    let host = config("0.1.0", OLD_FORM_AND_STREAM, state.path()).start();
    let client = host.client();
    let form = "--b\r\ncontent-disposition: form-data; name=\"text\"\r\n\r\nhello\r\n\
        --b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.png\"\r\ncontent-type: image/png\r\n\r\nPNG\r\n--b--\r\n";
    let headers = [("content-type", "multipart/form-data; boundary=b")];
    let answer = client.send("POST", "/old-form", &headers, form.as_bytes());
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), host.log());
    let parts = &answer.json()["uploads"]["parts"];
    assert_eq!(
        parts[1],
        json!({ "name": "file", "file_name": "a.png", "media_type": "image/png", "size": 3, "begins": "PNG" })
    );

    // The ends of a text are ruled out: a model that draws may end before its first word.
    let prompt =
        r#"{"text":"List three fruits.","max_tokens":8,"temperature":0,"logit_bias":{"0":-100,"2":-100}}"#;
    let answer = client.post("/old-stream", prompt);
    let text = answer.text();
    assert_eq!(answer.status, 200, "{text}");
    let said: String = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|event| event["text"].as_str().map(str::to_owned))
        .collect();
    let (words, end) = said.rsplit_once(" [").expect("the end that it adds");
    assert_eq!(end, "seen length]", "{said}");
    assert!(!words.is_empty() && words == words.to_uppercase(), "{said}");
}

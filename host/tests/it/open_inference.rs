//! The Open Inference Protocol where all is well: Triton's own client, the bytes of binary answers, generation, plugins.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::client::Answer;
use crate::far::{proxy, upstream};
use crate::host::{TestHost, alone, kept, root};
use crate::node::{ASSISTANT, CLASSIFY, EMBED, NodeConfig};
use crate::python_clients::python;

/// Endpoints of the demo, and models of tensors: MiniLM's file, and those that give what they take.
pub(crate) fn tensors_config(endpoints: &[&str]) -> NodeConfig {
    let made = OnceLock::get_or_init(&MADE, || {
        let dir = tempfile::tempdir().expect("a folder").keep();
        python("echo_models.py", &[&dir.to_string_lossy()]);
        dir
    });
    let more = [
        ("minilm-tensor", "tensors", root().join("models/minilm-tensor")),
        ("echo", "echo", made.join("echo")),
        ("floats", "floats", made.join("floats")),
    ]
    .map(|(name, endpoint, path)| {
        let path = path.display();
        format!("[models.{name}]\npath = \"{path}\"\n[endpoints.{endpoint}]\nmodel = \"{name}\"\n")
    });
    NodeConfig::of(endpoints).with(&more.concat())
}

static MADE: OnceLock<std::path::PathBuf> = OnceLock::new();

/// A host of them that tests which change nothing share.
pub(crate) fn node() -> &'static TestHost {
    static NODE: OnceLock<TestHost> = OnceLock::new();
    let more = "endpoints = { bare.model = \"spam\", vectors.model = \"minilm\" }";
    NODE.get_or_init(|| kept(&tensors_config(&[ASSISTANT, CLASSIFY, EMBED]).with(more)))
}

/// Posts JSON with the bytes of tensors behind it.
pub(crate) fn post_binary(path: &str, json: &Value, blobs: &[u8]) -> Answer {
    let json = json.to_string();
    let len = json.len().to_string();
    let headers = [("inference-header-content-length", len.as_str())];
    let body = [json.as_bytes(), blobs].concat();
    node().client().send("POST", path, &headers, &body)
}

/// The JSON of an answer and the bytes behind it.
fn split(answer: &Answer) -> (Value, &[u8]) {
    let len = answer
        .header("inference-header-content-length")
        .expect("a binary answer");
    let (json, blobs) = answer.body.split_at(len.parse().expect("a number"));
    (serde_json::from_slice(json).expect("JSON"), blobs)
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn triton_s_client_lists_asks_metadata_infers_and_sees_its_own_errors() {
    let out = python(
        "open_inference_client.py",
        &[
            &node().address().to_string(),
            &root().join("models/minilm/model.onnx").to_string_lossy(),
        ],
    );
    assert!(out.contains("all is well"), "{out}");
}

#[test]
fn says_what_it_is_and_that_it_lives() {
    let client = node().client();
    let server = client.get("/v2").json();
    assert_eq!(
        (&server["name"], &server["version"]),
        (&json!("selvedge"), &json!(env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(client.get("/v2/health/live").json(), json!({ "live": true }));
    assert_eq!(
        client.get("/v2/health/ready").json(),
        json!({ "live": true, "ready": true })
    );
    assert_eq!(
        client.get("/v2/models/embed/ready").json(),
        json!({ "name": "embed", "ready": true })
    );
    let models = client.get("/v2/models").json();
    assert_eq!(
        models["models"],
        json!([
            "assistant",
            "bare",
            "classify",
            "echo",
            "embed",
            "floats",
            "tensors",
            "vectors"
        ])
    );
}

#[test]
fn an_endpoint_of_each_task_says_what_it_takes_and_gives() {
    let text = |name: &str| json!([{ "name": name, "datatype": "BYTES", "shape": [-1] }]);
    for (model, inputs, outputs) in [
        (
            "vectors",
            text("text"),
            json!([{ "name": "embeddings", "datatype": "FP32", "shape": [-1, 384] }]),
        ),
        ("assistant", text("text_input"), text("text_output")),
        (
            "bare",
            text("text"),
            json!([
                { "name": "labels", "datatype": "BYTES", "shape": [-1, 2] },
                { "name": "scores", "datatype": "FP32", "shape": [-1, 2] },
            ]),
        ),
        (
            "floats",
            json!([{ "name": "in_values", "datatype": "FP32", "shape": [-1, 4] }]),
            json!([{ "name": "out_values", "datatype": "FP32", "shape": [-1, 4] }]),
        ),
    ] {
        let metadata = node()
            .client()
            .get(&format!("/v2/models/{model}/versions/1"))
            .json();
        assert_eq!(
            (&metadata["inputs"], &metadata["outputs"]),
            (&inputs, &outputs),
            "{metadata}"
        );
        assert_eq!(
            (&metadata["name"], &metadata["versions"]),
            (&json!(model), &json!(["1"]))
        );
    }
}

#[test]
fn json_data_may_be_flat_or_nested_and_the_answer_is_flat() {
    let nested = json!({ "id": "7", "inputs": [
        { "name": "in_values", "shape": [2, 4], "datatype": "FP32", "data": [[1, 2, 3, 4], [0.5, -1, 1e3, 0]] },
    ]});
    let mut flat = nested.clone();
    flat["inputs"][0]["data"] = json!([1, 2, 3, 4, 0.5, -1, 1e3, 0]);
    for body in [nested, flat] {
        let answer = node().client().post("/v2/models/floats/infer", body.to_string());
        let output = json!({
            "name": "out_values", "shape": [2, 4], "datatype": "FP32",
            "data": [1.0, 2.0, 3.0, 4.0, 0.5, -1.0, 1000.0, 0.0],
        });
        let expected =
            json!({ "model_name": "floats", "model_version": "1", "id": "7", "outputs": [output] });
        assert_eq!((answer.status, answer.json()), (200, expected));
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
}

#[test]
fn binary_comes_back_as_it_went_and_the_header_counts_the_json() {
    let blobs = floats(&[1.5, f32::NAN, f32::INFINITY, -0.0]);
    let body = json!({
        "inputs": [{ "name": "in_values", "shape": [1, 4], "datatype": "FP32", "parameters": { "binary_data_size": 16 } }],
        "parameters": { "binary_data_output": true },
    });
    let answer = post_binary("/v2/models/floats/infer", &body, &blobs);
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/octet-stream"))
    );
    let (json, found) = split(&answer);
    assert_eq!(found, blobs);
    assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], 16);
    assert!(json["outputs"][0].get("data").is_none(), "{json}");
}

#[test]
fn what_is_said_of_one_output_goes_before_what_is_said_of_all() {
    let body = json!({
        "inputs": [{ "name": "in_values", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4] }],
        "outputs": [{ "name": "out_values", "parameters": { "binary_data": false } }],
        "parameters": { "binary_data_output": true },
    });
    let answer = node().client().post("/v2/models/floats/infer", body.to_string());
    assert_eq!(answer.json()["outputs"][0]["data"], json!([1.0, 2.0, 3.0, 4.0]));
    assert_eq!(answer.header("inference-header-content-length"), None);
}

#[test]
fn a_request_without_json_is_the_bytes_of_the_only_input() {
    let raw = [
        ("inference-header-content-length", "0"),
        ("content-type", "application/octet-stream"),
    ];
    let blobs = floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let answer = node()
        .client()
        .send("POST", "/v2/models/floats/infer", &raw, &blobs);
    let (json, found) = split(&answer);
    assert_eq!(
        (&json["outputs"][0]["shape"], found),
        (&json!([2, 4]), blobs.as_slice())
    );
    let text = b"WINNER!! Claim your free prize now, call 09061701461";
    let answer = node()
        .client()
        .send("POST", "/v2/models/classify/infer", &raw, text);
    let (json, found) = split(&answer);
    assert_eq!(json["outputs"][0]["shape"], json!([1]));
    assert!(
        String::from_utf8_lossy(&found[4..]).contains("\"SPAM\""),
        "{json}"
    );
}

#[test]
fn classification_gives_value_place_and_name_of_the_greatest() {
    let body = json!({
        "inputs": [{ "name": "in_values", "shape": [2, 4], "datatype": "FP32", "data": [1, 9, 3, 4, 0, 0, 0.5, 0.25] }],
        "outputs": [{ "name": "out_values", "parameters": { "classification": 2 } }],
    });
    let output = node()
        .client()
        .post("/v2/models/floats/infer", body.to_string())
        .json()["outputs"][0]
        .clone();
    let expected = json!({ "name": "out_values", "shape": [2, 2], "datatype": "BYTES", "data": ["9:1:one", "4:3", "0.5:2", "0.25:3"] });
    assert_eq!(output, expected);
}

#[test]
fn texts_go_through_the_plugins_of_their_endpoint() {
    let infer = |text: &str| {
        let body =
            json!({ "inputs": [{ "name": "text", "shape": [1], "datatype": "BYTES", "data": [text] }] });
        node()
            .client()
            .post("/v2/models/classify/infer", body.to_string())
    };
    let answer = infer("WINNER!! Claim your free prize now, call 09061701461").json();
    let output = &answer["outputs"][0];
    assert_eq!(
        (&output["name"], &output["datatype"], &output["shape"]),
        (&json!("json"), &json!("BYTES"), &json!([1]))
    );
    assert!(
        output["data"][0]
            .as_str()
            .is_some_and(|text| text.contains("SPAM")),
        "{answer}"
    );
    // The demo's schema takes one text, as on the endpoint's own path.
    let two =
        json!({ "inputs": [{ "name": "text", "shape": [2], "datatype": "BYTES", "data": ["a", "b"] }] });
    let refused = node().client().post("/v2/models/classify/infer", two.to_string());
    assert_eq!(
        (refused.status, &refused.json()["error"]),
        (400, &json!("text: Input should be a valid string"))
    );
    let gone = json!({
        "inputs": [{ "name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"] }],
        "outputs": [{ "name": "scores" }],
    });
    let refused = node()
        .client()
        .post("/v2/models/classify/infer", gone.to_string());
    assert_eq!(refused.status, 400);
    assert!(
        refused.json()["error"]
            .as_str()
            .is_some_and(|error| error.contains("left `json`")),
        "{:?}",
        refused.json()
    );
}

#[test]
fn a_validator_of_a_tensor_model_sees_json_whatever_the_client_sent() {
    let schema = r#"{ type = "object", required = ["inputs"], properties = { inputs = { items = { required = ["data"], properties = { data = { items = { maximum = 5 } } } } } } }"#;
    let plugins = format!("[{{ use = \"json-schema\", config = {{ schema = {schema} }} }}]");
    let checked = format!("[endpoints.checked]\nmodel = \"floats\"\nplugins = {plugins}\n");
    let host = tensors_config(&[]).with(&checked).start();
    let input = json!({ "name": "in_values", "shape": [1, 4], "datatype": "FP32", "parameters": { "binary_data_size": 16 } });
    let json = json!({ "inputs": [input] }).to_string();
    let len = json.len().to_string();
    let headers = [("inference-header-content-length", len.as_str())];
    for (values, status) in [
        ([1.0, 2.0, 3.0, 5.0], 200),
        ([1.0, 2.0, 3.0, 5.5], 400),
        ([1.0, f32::NAN, 3.0, 4.0], 400),
    ] {
        let body = [json.as_bytes(), &floats(&values)].concat();
        let answer = host
            .client()
            .send("POST", "/v2/models/checked/infer", &headers, &body);
        assert_eq!(
            answer.status,
            status,
            "{values:?}: {}",
            String::from_utf8_lossy(&answer.body)
        );
    }
    let raw = [("inference-header-content-length", "0")];
    let answer = host
        .client()
        .send("POST", "/v2/models/checked/infer", &raw, &floats(&[9.0; 4]));
    assert_eq!(answer.status, 400);
}

fn events(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(
        answer.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    events
        .map(|event| serde_json::from_str(event).expect("JSON"))
        .collect()
}

#[test]
fn generates_whole_and_as_events_alike() {
    let (_guard, host) = alone();
    let client = host.client();
    let body = json!({
        "id": "9", "text_input": "Once upon a time", "max_tokens": 12,
        "parameters": { "temperature": 0, "details": true, "stream": true },
    });
    let whole = client
        .post("/v2/models/assistant/generate", body.to_string())
        .json();
    assert_eq!(
        (&whole["id"], &whole["model_name"], &whole["model_version"]),
        (&json!("9"), &json!("assistant"), &json!("1"))
    );
    assert_eq!(whole["details"]["finish_reason"], "length");
    let answer = client.post(
        "/v2/models/assistant/versions/1/generate_stream",
        body.to_string(),
    );
    let events = events(&answer);
    let text: String = events
        .iter()
        .filter_map(|event| event["text_output"].as_str())
        .collect();
    assert_eq!(whole["text_output"], json!(text));
    assert!(
        events.len() > 4 && !String::from_utf8_lossy(&answer.body).contains("[DONE]"),
        "{events:?}"
    );
    let last = events.last().expect("an event");
    assert_eq!(
        (&last["id"], &last["details"]["finish_reason"]),
        (&json!("9"), &json!("length"))
    );
    let completion =
        json!({ "model": "assistant", "prompt": "Once upon a time", "max_tokens": 12, "temperature": 0 });
    let openai = client.post("/v1/completions", completion.to_string()).json();
    assert_eq!(whole["text_output"], openai["choices"][0]["text"]);
}

#[test]
fn infer_of_a_model_that_generates_gives_the_same_text() {
    let (_guard, host) = alone();
    let client = host.client();
    let parameters = json!({ "temperature": 0, "max_tokens": 8 });
    let generate = json!({ "text_input": "Once upon a time", "parameters": parameters });
    let infer = json!({
        "inputs": [{ "name": "text_input", "shape": [1], "datatype": "BYTES", "data": ["Once upon a time"] }],
        "parameters": parameters,
    });
    let generated = client
        .post("/v2/models/assistant/generate", generate.to_string())
        .json();
    let inferred = client
        .post("/v2/models/assistant/infer", infer.to_string())
        .json();
    assert_eq!(inferred["outputs"][0]["data"], json!([generated["text_output"]]));
}

#[test]
fn generate_of_a_model_that_does_not_maps_fields_to_inputs_and_outputs_to_fields() {
    let client = node().client();
    let expected =
        json!({ "model_name": "floats", "model_version": "1", "out_values": [1.0, 2.5, 3.0, 4.0] });
    let body = json!({ "in_values": [1, 2.5, 3, 4] }).to_string();
    assert_eq!(client.post("/v2/models/floats/generate", &body).json(), expected);
    assert_eq!(
        events(&client.post("/v2/models/floats/generate_stream", &body)),
        [expected]
    );
    for body in [
        json!({ "text": "See you at six" }),
        json!({ "text_input": "See you at six" }),
    ] {
        let answer = client.post("/v2/models/bare/generate", body.to_string()).json();
        assert_eq!(answer["labels"], json!(["ham", "spam"]), "{answer}");
    }
    let missing = client.post("/v2/models/floats/generate", "{}");
    assert_eq!(missing.status, 400);
    assert!(
        missing.json()["error"]
            .as_str()
            .is_some_and(|error| error.contains("`in_values` is missing"))
    );
}

#[test]
fn lists_the_models_that_serve_and_says_of_the_others_that_they_do_not() {
    let endpoints = "another.model = \"spam\", first.model = \"spam\", gone.model = \"gone\"";
    let host = NodeConfig::of(&[CLASSIFY])
        .with(&format!(
            "models.gone.path = \"/nowhere\"\nendpoints = {{ {endpoints} }}"
        ))
        .start();
    let client = host.client();
    let all = client.post("/v2/repository/index", "").json();
    let states: Vec<&Value> = all
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| &entry["state"])
        .collect();
    assert_eq!(states, ["READY", "READY", "READY", "UNAVAILABLE"]);
    let ready = client.post("/v2/repository/index", r#"{"ready":true}"#).json();
    assert_eq!(ready.as_array().map(Vec::len), Some(3));
    let answer = client.get("/v2/models/gone/ready");
    assert_eq!(
        (answer.status, answer.json()),
        (503, json!({ "name": "gone", "ready": false }))
    );
    for answer in [
        client.get("/v2/models/gone"),
        client.post("/v2/models/gone/infer", "{}"),
    ] {
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (503, &json!("endpoint `gone` is not available"))
        );
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(client.get("/v2/health/ready").status, 200);
}

#[test]
fn another_server_s_model_is_described_and_asked_like_one_of_the_node() {
    let (_guard, node) = alone();
    let far = node.address();
    let near = proxy(&[
        ("written", upstream("openai", far, "assistant")),
        (
            "embedded",
            upstream("ollama", far, "vectors") + ", task = \"feature-extraction\"",
        ),
    ]);
    let metadata = near.client().get("/v2/models/embedded").json();
    assert_eq!(
        (&metadata["platform"], &metadata["outputs"][0]["shape"]),
        (&json!("upstream_ollama"), &json!([-1, -1]))
    );
    let text = json!({ "name": "text", "shape": [2], "datatype": "BYTES", "data": ["a text", "another"] });
    let infer = json!({ "inputs": [text] }).to_string();
    let far = node.client();
    assert_eq!(
        near.client().post("/v2/models/embedded/infer", &infer).json()["outputs"],
        far.post("/v2/models/vectors/infer", &infer).json()["outputs"]
    );
    let generate = json!({ "text_input": "Once upon a time", "max_tokens": 8, "temperature": 0 }).to_string();
    assert_eq!(
        near.client()
            .post("/v2/models/written/generate", &generate)
            .json()["text_output"],
        far.post("/v2/models/assistant/generate", &generate).json()["text_output"]
    );
}

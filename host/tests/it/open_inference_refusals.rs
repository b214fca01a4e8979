//! What the Open Inference Protocol's paths refuse besides bad tensors: unknown models, uploads, prompts, load.

use serde_json::json;

use crate::generate::{eventually, hostile_config, load, one_at_a_time, send};
use crate::open_inference::node;
use crate::open_inference_faults::{INFER, check, refused};

#[test]
fn unknown_models_versions_and_paths_are_404() {
    let client = node().client();
    check(
        404,
        &client.get("/v2/models/none"),
        "the model `none` does not exist",
    );
    check(
        404,
        &client.get("/v2/models/floats/versions/2"),
        "no version 2; its only version is 1",
    );
    check(
        404,
        &client.get("/v2/models/floats/versions/2/ready"),
        "no version 2",
    );
    refused(404, "/v2/models/none/infer", "{}", "does not exist");
    refused(404, "/v2/models/floats/versions/2/infer", "{}", "no version 2");
    check(404, &client.get("/v2/nothing"), "nothing at");
    let answer = client.get(INFER);
    check(405, &answer, "POST");
    assert_eq!(answer.header("allow"), Some("POST"));
}

#[test]
fn model_files_are_not_taken_from_clients() {
    let upload = json!({ "parameters": { "config": "{}", "file:1/model.onnx": "AAAA" } }).to_string();
    refused(
        501,
        "/v2/repository/models/floats/load",
        &upload,
        "no model is taken from a client",
    );
    refused(501, "/v2/repository/models/floats/load", "{}", "configuration");
    refused(501, "/v2/repository/models/floats/unload", "", "configuration");
    refused(404, "/v2/repository/models/new/load", &upload, "does not exist");
    assert_eq!(node().client().get("/v2/models/floats/ready").status, 200);
}

#[test]
fn generation_says_what_is_wrong_before_its_first_word() {
    for path in [
        "/v2/models/assistant/generate",
        "/v2/models/assistant/generate_stream",
    ] {
        refused(400, path, "{}", "`text_input` is missing");
        refused(400, path, r#"{"text_input":7}"#, "must be a string");
        refused(
            400,
            path,
            r#"{"text_input":"a","temperature":9}"#,
            "`temperature` must be a number from 0 to 2",
        );
        refused(
            400,
            path,
            r#"{"text_input":"a","parameters":{"max_tokens":-1}}"#,
            "`max_tokens`",
        );
        refused(
            400,
            path,
            r#"{"text_input":"a","parameters":7}"#,
            "`parameters` must be an object",
        );
        refused(400, path, r#"{"text_input":"a","id":7}"#, "`id` must be a string");
        refused(
            400,
            path,
            json!({ "text_input": "word ".repeat(3000) }).to_string(),
            "2048",
        );
    }
    let two = json!({ "inputs": [{ "name": "text_input", "shape": [2], "datatype": "BYTES", "data": ["a", "b"] }] });
    refused(
        400,
        "/v2/models/assistant/infer",
        two.to_string(),
        "one prompt a request",
    );
    refused(
        400,
        "/v2/models/floats/generate",
        r#"{"in_values":"x"}"#,
        "strings are no elements of FP32",
    );
    refused(
        400,
        "/v2/models/floats/generate",
        r#"{"in_values":{}}"#,
        "it takes FP32 [-1, 4]",
    );
}

#[test]
fn a_full_queue_is_503_with_retry_after_and_a_client_s_time_is_kept() {
    let host = one_at_a_time().start();
    let long = json!({
        "text_input": "Once", "max_tokens": 2000, "logit_bias": { "2": -100, "0": -100 },
    })
    .to_string();
    let path = "/v2/models/assistant/generate_stream";
    let running = send(&host, path, &long);
    eventually("a running sequence", || load(&host).0 == 1);
    let queued = send(&host, path, &long);
    eventually("a queued sequence", || load(&host).1 == 1);
    let answer = host.client().post(path, &long);
    check(503, &answer, "wait for one of the model's slots");
    assert!(answer.header("retry-after").is_some());
    drop((running, queued));
    eventually("a free slot", || load(&host) == (0, 0));
    let hurried = json!({
        "inputs": [{ "name": "text_input", "shape": [1], "datatype": "BYTES", "data": ["Once"] }],
        "parameters": { "timeout": 1000, "max_tokens": 2000, "logit_bias": { "2": -100, "0": -100 } },
    });
    let answer = host
        .client()
        .post("/v2/models/assistant/infer", hurried.to_string());
    check(504, &answer, "no answer within 1ms");
    eventually("a free slot", || load(&host) == (0, 0));
}

#[test]
fn a_plugin_s_failure_in_mid_stream_is_an_error_event_and_then_the_end() {
    let host = hostile_config(&["trap-third"]).start();
    let long = json!({ "text_input": "Once", "max_tokens": 2000, "logit_bias": { "2": -100, "0": -100 } });
    let answer = host
        .client()
        .post("/v2/models/trap-third/generate_stream", long.to_string());
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let last = text
        .lines()
        .rfind(|line| line.starts_with("data: "))
        .expect("an event");
    assert_eq!(answer.status, 200);
    assert!(
        last.starts_with("data: {\"error\":\"plugin `hostile-stream` trapped"),
        "{text}"
    );
}

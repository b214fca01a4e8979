//! The Open Inference Protocol's statistics: what each endpoint was asked, whatever the dialect, and what came of it.

use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::edge::config;
use crate::generate::eventually;
use crate::host::TestHost;
use crate::node::{ASSISTANT, NodeConfig};

/// The one entry of a model's statistics.
fn stats(client: &Client, model: &str) -> Value {
    let answer = client.get(&format!("/v2/models/{model}/stats"));
    assert_eq!(answer.status, 200, "{}", answer.json());
    let entries = answer.json()["model_stats"].clone();
    assert_eq!(entries.as_array().map(Vec::len), Some(1), "{entries}");
    entries[0].clone()
}

/// How often, of each part.
fn counts<const N: usize>(entry: &Value, parts: [&str; N]) -> [u64; N] {
    parts.map(|part| entry["inference_stats"][part]["count"].as_u64().expect("a count"))
}

/// Two texts by the protocol.
fn infer_two(client: &Client, model: &str) -> Answer {
    let texts = json!({ "name": "text", "shape": [2], "datatype": "BYTES", "data": ["a prize", "at six"] });
    client.post(
        &format!("/v2/models/{model}/infer"),
        json!({ "inputs": [texts] }).to_string(),
    )
}

#[test]
fn requests_of_every_dialect_are_counted_by_what_came_of_them() {
    let host = TestHost::start(&config(""));
    let client = host.client();
    let none = stats(&client, "classify");
    let parts = ["success", "fail", "queue", "compute_infer", "compute_input"];
    assert_eq!(counts(&none, parts), [0; 5], "warming up is no request");
    assert_eq!(
        (&none["last_inference"], &none["inference_count"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(infer_two(&client, "classify").status, 200);
    assert_eq!(client.post("/classify", r#"{"text":"a prize"}"#).status, 200);
    assert_eq!(client.post("/classify", "{").status, 422);
    assert_eq!(client.post("/v2/models/classify/infer", "{}").status, 400);
    // The last byte of an answer is read before it is counted. A model of bytes makes no tokens.
    eventually("the counts", || {
        counts(&stats(&client, "classify"), parts) == [2, 2, 2, 2, 0]
    });
    let entry = stats(&client, "classify");
    assert_eq!(
        (&entry["name"], &entry["version"]),
        (&json!("classify"), &json!("1"))
    );
    assert_eq!(entry["inference_count"], 3, "two inputs, and one");
    assert!(entry["execution_count"].as_u64() >= Some(2), "{entry}");
    assert!(
        entry["last_inference"].as_u64() > Some(1_600_000_000_000),
        "{entry}"
    );
    let ns = |part: &str| {
        entry["inference_stats"][part]["ns"]
            .as_u64()
            .expect("nanoseconds")
    };
    assert!(
        ns("success") >= ns("queue") + ns("compute_infer") && ns("compute_infer") > 0,
        "{entry}"
    );
    assert_eq!((ns("compute_output"), &entry["batch_stats"]), (0, &json!([])));
    assert_eq!(stats(&client, "classify/versions/1")["inference_count"], 3);
}

#[test]
fn a_text_that_was_generated_is_one_inference_and_its_prompt_is_made_tokens_of() {
    let host = NodeConfig::of(&[ASSISTANT]).start();
    let client = host.client();
    let body = json!({ "model": "assistant", "prompt": "Once", "max_tokens": 4, "n": 2, "temperature": 1 });
    assert_eq!(client.post("/v1/completions", body.to_string()).status, 200);
    let parts = ["success", "queue", "compute_infer", "compute_input"];
    eventually("the counts", || {
        counts(&stats(&client, "assistant"), parts) == [1, 2, 2, 1]
    });
    let entry = stats(&client, "assistant");
    assert_eq!(entry["inference_count"], 2, "{entry}");
}

#[test]
fn all_that_serve_are_told_and_what_does_not_is_not() {
    let broken = "[models.gone]\npath = \"/nowhere\"\n[endpoints.gone]\nmodel = \"gone\"\n";
    let host = TestHost::start(&config(&format!("{broken}[endpoints.stats]\nmodel = \"spam\"\n")));
    let client = host.client();
    let all = client.get("/v2/models/stats").json();
    let entries = all["model_stats"].as_array().expect("a list").iter();
    let names: Vec<&Value> = entries.map(|entry| &entry["name"]).collect();
    assert_eq!(names, ["classify", "stats"]);
    // A model of that name is described at its version's path, and reached by its own.
    let metadata = client.get("/v2/models/stats/versions/1").json();
    assert_eq!(metadata["name"], "stats");
    assert_eq!(infer_two(&client, "stats").status, 200);
    eventually("its count", || stats(&client, "stats")["inference_count"] == 2);
    for (status, path) in [
        (503, "gone/stats"),
        (404, "none/stats"),
        (404, "classify/versions/2/stats"),
    ] {
        assert_eq!(client.get(&format!("/v2/models/{path}")).status, status, "{path}");
    }
    assert_eq!(client.post("/v2/models/classify/stats", "{}").status, 405);
}

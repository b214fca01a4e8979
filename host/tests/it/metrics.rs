//! What the node says of itself: metrics that Prometheus's own tool takes, and counts that are right.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::client::head;
use crate::edge::config;
use crate::generate::eventually;
use crate::host::{TestHost, demo};
use crate::node::{ASSISTANT, CLASSIFY, EMBED, NodeConfig};

/// The value of a sample that begins so.
fn sample(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or(0.0)
}

fn metrics(host: &TestHost) -> String {
    let answer = host.client().get("/metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4"));
    String::from_utf8(answer.body).expect("text")
}

#[test]
fn promtool_has_nothing_to_say_against_them() {
    let host = demo();
    host.client().post("/classify", r#"{"text":"you won a prize"}"#);
    host.client().post("/classify", "{}");
    host.client()
        .post("/v1/embeddings", r#"{"model":"minilm","input":"a"}"#);
    host.client().get("/nowhere");
    let chat = json!({ "model": "assistant", "max_tokens": 4, "stream": true, "messages": [{ "role": "user", "content": "Hi" }] });
    host.client().post("/v1/chat/completions", chat.to_string());
    let tool = std::env::var("SELVEDGE_TEST_PROMTOOL").expect("`cargo xtask test` sets it");
    let mut check = Command::new(tool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let text = metrics(host);
    check
        .stdin
        .take()
        .expect("piped")
        .write_all(text.as_bytes())
        .expect("sent");
    let said = check.wait_with_output().expect("it ends");
    let words = String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success() && words.is_empty(), "{words}\n{text}");
    for name in [
        "selvedge_requests_total{",
        "selvedge_request_seconds_bucket{",
        "selvedge_stage_seconds_bucket{",
        "selvedge_queue_seconds_bucket{",
        "selvedge_batch_size_bucket{",
        "selvedge_padding_ratio_bucket{",
        "selvedge_decode_rows_bucket{",
        "selvedge_ttft_seconds_bucket{",
        "selvedge_tokens_total{",
        "selvedge_model_info{",
        "selvedge_model_state{",
        "selvedge_plugin_memory_bytes ",
        "selvedge_queue_depth{",
        "selvedge_config_generation ",
        "process_resident_memory_bytes ",
    ] {
        assert!(
            text.lines().any(|line| line.starts_with(name)),
            "no {name}\n{text}"
        );
    }
}

#[test]
fn every_request_is_counted_once_however_it_ends() {
    let host = TestHost::start(&config(""));
    let client = host.client();
    for _ in 0..3 {
        client.post("/classify", r#"{"text":"a"}"#);
    }
    client.post("/classify", "{");
    client.get("/classify");
    client.get("/nowhere");
    // One that leaves before its body is there.
    let mut stream = client.connect();
    stream
        .write_all(&head(
            "POST",
            "/classify",
            &[("content-type", "application/json")],
            100,
        ))
        .expect("sent");
    drop(stream);
    let counted = |endpoint: &str, code: u16| {
        let name = format!(
            "selvedge_requests_total{{endpoint=\"{endpoint}\",dialect=\"endpoint\",code=\"{code}\"}}"
        );
        sample(&metrics(&host), &name)
    };
    eventually("the one that left", || {
        counted("classify", 499) + counted("classify", 400) >= 1.0
    });
    assert_eq!(
        (counted("classify", 200), counted("", 404)),
        (3.0, 1.0),
        "{}",
        metrics(&host)
    );
    assert_eq!(counted("classify", 422), 1.0);
    assert_eq!(counted("", 405), 1.0);
    let text = metrics(&host);
    assert_eq!(
        sample(
            &text,
            "selvedge_stage_seconds_count{endpoint=\"classify\",stage=\"model\"}"
        ),
        3.0
    );
    assert_eq!(
        sample(&text, "selvedge_requests_running{endpoint=\"classify\"}"),
        0.0
    );
    assert!(
        sample(
            &text,
            "selvedge_tokens_total{endpoint=\"classify\",type=\"prompt\"}"
        ) > 0.0,
        "{text}"
    );
}

#[test]
fn a_stage_s_time_is_told_by_its_plugins_and_by_what_the_model_does() {
    let host = NodeConfig::of(&[ASSISTANT, CLASSIFY, EMBED]).start();
    let client = host.client();
    for _ in 0..2 {
        assert_eq!(client.post("/classify", r#"{"text":"a"}"#).status, 200);
    }
    let embed = json!({ "model": "embed", "input": ["a", "b"] }).to_string();
    assert_eq!(client.post("/v1/embeddings", embed).status, 200);
    let chat = json!({ "model": "assistant", "max_tokens": 4, "stream": true, "messages": [{ "role": "user", "content": "Hi" }] });
    assert_eq!(client.post("/v1/chat/completions", chat.to_string()).status, 200);
    let counted = |endpoint: &str, stage: &str| {
        let name = format!("selvedge_stage_seconds_count{{endpoint=\"{endpoint}\",stage=\"{stage}\"}}");
        sample(&metrics(&host), &name)
    };
    for (endpoint, stage, count) in [
        ("classify", "plugin:json-schema", 2.0),
        ("classify", "plugin:prompt-template", 2.0),
        ("classify", "plugin:label", 2.0),
        ("classify", "queue", 2.0),
        ("classify", "infer", 2.0),
        // A model of bytes makes no tokens.
        ("classify", "tokenize", 0.0),
        ("embed", "tokenize", 1.0),
        ("embed", "queue", 1.0),
        ("embed", "infer", 1.0),
        ("assistant", "tokenize", 1.0),
        ("assistant", "queue", 1.0),
        ("assistant", "infer", 1.0),
        ("assistant", "plugin:redact", 1.0),
        // It is not on that endpoint.
        ("embed", "plugin:label", 0.0),
    ] {
        eventually(&format!("{endpoint} {stage}"), || {
            counted(endpoint, stage) == count
        });
    }
}

#[test]
fn a_client_that_leaves_is_counted_in_the_phase_that_it_left_in() {
    let host = NodeConfig::of(&[ASSISTANT]).start();
    let body = json!({
        "model": "assistant", "max_tokens": 500, "stream": true, "messages": [{ "role": "user", "content": "Tell a long story." }],
    });
    let body = body.to_string();
    let mut stream = host.client().connect();
    stream
        .write_all(&head(
            "POST",
            "/v1/chat/completions",
            &[("content-type", "application/json")],
            body.len(),
        ))
        .expect("sent");
    stream.write_all(body.as_bytes()).expect("sent");
    eventually("a row", || {
        sample(
            &metrics(&host),
            "selvedge_requests_running{endpoint=\"assistant\"}",
        ) == 1.0
    });
    drop(stream);
    eventually("the count", || {
        sample(
            &metrics(&host),
            "selvedge_cancelled_total{endpoint=\"assistant\",phase=\"model\"}",
        ) == 1.0
    });
    eventually("its end", || {
        sample(
            &metrics(&host),
            "selvedge_requests_running{endpoint=\"assistant\"}",
        ) == 0.0
    });
}

#[test]
fn the_log_has_a_line_for_each_request_and_nothing_of_what_it_said() {
    let host = TestHost::start(&config(""));
    let headers = [
        ("content-type", "application/json"),
        ("x-request-id", "seen-1"),
        ("authorization", "Bearer s3cret"),
    ];
    host.client().send(
        "POST",
        "/classify?token=s3cret",
        &headers,
        br#"{"text":"a private matter"}"#,
    );
    eventually("the line", || host.log().contains("seen-1"));
    let log = host.log();
    let line = log.lines().find(|line| line.contains("seen-1")).expect("there");
    assert!(
        line.contains("/classify") && line.contains("status=200") && line.contains("endpoint=\"classify\""),
        "{line}"
    );
    assert!(
        !log.contains("s3cret") && !log.contains("private matter"),
        "{log}"
    );
}

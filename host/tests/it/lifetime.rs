//! How requests and hosts end: clients that leave, full queues, and SIGTERM.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{head, read};
use crate::host::{TestHost, demo_config};

/// Long enough that the model works on it for many seconds.
fn long_work() -> String {
    json!({ "input": vec!["many words that take their time ".repeat(30); 2000] }).to_string()
}

fn queue_len(host: &TestHost) -> u64 {
    let ready = host.client().get("/readyz").json();
    let models = ready["models"].as_array().expect("a list").clone();
    let minilm = models
        .iter()
        .find(|model| model["name"] == "minilm")
        .cloned()
        .unwrap_or(Value::Null);
    minilm["queue_len"].as_u64().expect("a number")
}

/// Waits until something holds; the test fails where it does not within ten seconds.
fn eventually(what: &str, holds: impl Fn() -> bool) -> Duration {
    let started = Instant::now();
    while !holds() {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{what} did not come about"
        );
        std::thread::yield_now();
    }
    started.elapsed()
}

#[test]
fn a_client_that_leaves_takes_its_inputs_out_of_the_queue() {
    let host = TestHost::start(&demo_config(""));
    let work = long_work();
    let mut stream = host.client().connect();
    stream
        .write_all(&head(
            "POST",
            "/embed",
            &[("content-type", "application/json")],
            work.len(),
        ))
        .expect("sent");
    stream.write_all(work.as_bytes()).expect("sent");
    eventually("a full queue", || queue_len(&host) > 1000);
    drop(stream);
    eventually("an empty queue", || queue_len(&host) == 0);
}

#[test]
fn a_full_queue_is_503_with_retry_after_and_others_are_served() {
    let config = demo_config("").replace("queue_items_max = 512", "queue_items_max = 8");
    let host = TestHost::start(&config);
    let work = long_work();
    let mut stream = host.client().connect();
    stream
        .write_all(&head(
            "POST",
            "/embed",
            &[("content-type", "application/json")],
            work.len(),
        ))
        .expect("sent");
    stream.write_all(work.as_bytes()).expect("sent");
    eventually("a full queue", || queue_len(&host) > 1000);
    let refused = host.client().post("/embed", r#"{"input":"one more"}"#);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (503, &json!("queue_full"))
    );
    let after: u64 = refused
        .header("retry-after")
        .and_then(|after| after.parse().ok())
        .expect("Retry-After");
    assert!((1..=60).contains(&after), "{after}");
    assert_eq!(
        host.client().post("/classify", r#"{"text":"a"}"#).status,
        200,
        "another model is not held up"
    );
    drop(stream);
}

#[test]
fn sigterm_lets_requests_finish_and_ends_with_0() {
    let host = TestHost::start(&demo_config(""));
    let work = json!({ "input": vec!["many words that take their time ".repeat(10); 64] }).to_string();
    let mut stream = host.client().connect();
    stream
        .write_all(&head(
            "POST",
            "/embed",
            &[("content-type", "application/json")],
            work.len(),
        ))
        .expect("sent");
    stream.write_all(work.as_bytes()).expect("sent");
    eventually("work", || queue_len(&host) > 0);
    host.terminate();
    let answer = read(&mut stream);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["embeddings"].as_array().map(Vec::len), Some(64));
    assert_eq!(host.wait().code(), Some(0));
}

#[test]
fn sigterm_cuts_off_what_is_not_done_in_time() {
    let config = demo_config("").replace("[state]", "drain_timeout = \"200ms\"\n\n[state]");
    let host = TestHost::start(&config);
    let work = long_work();
    let mut stream = host.client().connect();
    stream
        .write_all(&head(
            "POST",
            "/embed",
            &[("content-type", "application/json")],
            work.len(),
        ))
        .expect("sent");
    stream.write_all(work.as_bytes()).expect("sent");
    eventually("work", || queue_len(&host) > 0);
    host.terminate();
    assert_eq!(host.wait().code(), Some(0));
}

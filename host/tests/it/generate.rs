//! Generation over HTTP: the bytes of a stream, own paths, clients that leave or do not read.

use std::io::Read;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::host::{TestHost, alone, demo};
use crate::node::{ASSISTANT, CLASSIFY, NodeConfig};

fn ask(extra: Value) -> String {
    let mut body = json!({
        "model": "assistant", "temperature": 0, "max_tokens": 12,
        "messages": [{ "role": "user", "content": "List three fruits." }],
    });
    for (key, value) in extra.as_object().expect("fields") {
        body[key] = value.clone();
    }
    body.to_string()
}

/// Sends a request and does not read the answer.
pub(crate) fn send(host: &TestHost, path: &str, body: &str) -> std::net::TcpStream {
    host.client().begin(path, body)
}

/// Sequences that run and that wait.
pub(crate) fn load(host: &TestHost) -> (u64, u64) {
    let ready = host.client().get("/readyz").json();
    let models = ready["models"].as_array().expect("a list").clone();
    let model = models
        .into_iter()
        .find(|model| model["name"] == "smollm2")
        .expect("it is there");
    (
        model["running"].as_u64().expect("a number"),
        model["queue_len"].as_u64().expect("a number"),
    )
}

/// Longest time that a test waits for something. Compilers have a low priority beside nodes and clients that are busy.
const EVENTUALLY: Duration = Duration::from_secs(120);

pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < EVENTUALLY, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_stream_is_events_of_chunks_and_ends_with_done() {
    let answer = demo()
        .client()
        .post("/v1/chat/completions", ask(json!({ "stream": true })));
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    assert_eq!(answer.header("content-length"), None);
    let text = String::from_utf8(answer.body).expect("UTF-8");
    let events: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .collect();
    let (last, chunks) = events.split_last().expect("events");
    assert_eq!(*last, "[DONE]");
    for chunk in chunks {
        let chunk: Value = serde_json::from_str(chunk).expect("JSON");
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert!(chunk.get("usage").is_none(), "{chunk}");
        assert!(chunk["choices"][0].get("finish_reason").is_some(), "{chunk}");
    }
    assert!(chunks.len() > 8, "{text}");
}

#[test]
fn generates_on_its_own_path_whole_and_as_events() {
    let (_guard, host) = alone();
    let client = host.client();
    let whole = client.post("/assistant", ask(json!({}))).json();
    assert_eq!(whole["usage"]["completion_tokens"], 12);
    let body =
        String::from_utf8(client.post("/assistant", ask(json!({ "stream": true }))).body).expect("UTF-8");
    let events: Vec<Value> = body
        .split("data: ")
        .filter_map(|event| serde_json::from_str(event.split("\n\n").next()?).ok())
        .collect();
    let text: String = events.iter().filter_map(|event| event["text"].as_str()).collect();
    assert_eq!(whole["text"], Value::String(text), "{body}");
    let end = events.last().expect("an event");
    assert_eq!(
        (&end["done"], &end["finish_reason"]),
        (&json!(true), &json!("length"))
    );
    let missing = client.post("/assistant", "{}").problem();
    assert_eq!(
        (&missing["type"], &missing["loc"][1]),
        (&json!("missing"), &json!("prompt"))
    );
}

#[test]
fn a_client_that_leaves_frees_its_slot_whole_or_streamed_queued_or_running() {
    let config = NodeConfig::of(&[ASSISTANT]).with("models.smollm2.generate.slots = 1");
    let host = config.start();
    for stream in [true, false] {
        let long =
            ask(json!({ "stream": stream, "max_tokens": 2000, "logit_bias": { "2": -100, "0": -100 } }));
        let running = send(&host, "/v1/chat/completions", &long);
        eventually("a running sequence", || load(&host) == (1, 0));
        let queued = send(&host, "/v1/chat/completions", &long);
        eventually("a queued sequence", || load(&host) == (1, 1));
        drop(queued);
        // Who waits leaves the queue when it is next looked at, which is when the slot is free.
        drop(running);
        eventually("a free slot", || load(&host) == (0, 0));
    }
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    let host = NodeConfig::of(&[ASSISTANT]).start();
    let long = ask(json!({ "stream": true, "max_tokens": 400, "logit_bias": { "2": -100, "0": -100 } }));
    let mut deaf = send(&host, "/v1/chat/completions", &long);
    let others = host.client().post("/v1/chat/completions", ask(json!({}))).json();
    assert_eq!(others["usage"]["completion_tokens"], 12);
    // What it did not read is there when it does.
    let mut text = String::new();
    deaf.read_to_string(&mut text).expect("the rest");
    assert!(text.contains("[DONE]"), "{text}");
}

#[test]
fn a_client_that_reads_a_byte_at_a_time_gets_all_of_it_and_holds_up_nobody() {
    let host = NodeConfig::of(&[ASSISTANT]).start();
    let long = ask(json!({ "stream": true, "max_tokens": 200, "logit_bias": { "2": -100, "0": -100 } }));
    let mut slow = send(&host, "/v1/chat/completions", &long);
    let mut text = vec![0; 3];
    for byte in &mut text {
        slow.read_exact(std::slice::from_mut(byte)).expect("a byte");
        let others = host.client().post("/v1/chat/completions", ask(json!({}))).json();
        assert_eq!(others["usage"]["completion_tokens"], 12);
        std::thread::park_timeout(Duration::from_secs(1));
    }
    slow.read_to_end(&mut text).expect("the rest");
    assert!(String::from_utf8_lossy(&text).contains("[DONE]"));
}

#[test]
fn a_client_that_closes_its_half_has_left() {
    let host = NodeConfig::of(&[ASSISTANT]).start();
    for stream in [true, false] {
        let long = json!({ "stream": stream, "max_tokens": 2000, "logit_bias": { "2": -100, "0": -100 } });
        let running = send(&host, "/v1/chat/completions", &ask(long));
        eventually("a running sequence", || load(&host) == (1, 0));
        running
            .shutdown(std::net::Shutdown::Write)
            .expect("half of it is closed");
        eventually("a free slot", || load(&host) == (0, 0));
    }
}

/// Asks for a long stream by HTTP/2 with a window of a few bytes, and never reads.
pub(crate) async fn deaf_stream(
    address: std::net::SocketAddr,
    body: String,
) -> http::Response<hyper::body::Incoming> {
    let stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
    let (mut sender, connection) =
        hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
            .initial_stream_window_size(64)
            .handshake(hyper_util::rt::TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    tokio::task::spawn_local(connection);
    let request = http::Request::post(format!("http://{address}/v1/chat/completions"))
        .body(http_body_util::Full::new(bytes::Bytes::from(body)))
        .expect("a request");
    sender.send_request(request).await.expect("a head")
}

#[tokio::test]
async fn a_client_of_http_2_that_never_reads_is_given_up_when_its_time_is_over() {
    let config = NodeConfig::of(&[ASSISTANT]).with("endpoints.assistant.timeout = \"2s\"");
    let host = config.start();
    let long = ask(json!({ "stream": true, "max_tokens": 2000, "logit_bias": { "2": -100, "0": -100 } }));
    let local = tokio::task::LocalSet::new();
    let answer = local.run_until(deaf_stream(host.address(), long)).await;
    let instances = || host.client().get("/readyz").json()["sandbox"]["instances"].as_u64();
    assert_eq!(
        (answer.status().as_u16(), instances()),
        (200, Some(1)),
        "a plugin is on its stream"
    );
    let ended = (Some(0), (0, 0));
    local
        .run_until(async {
            // The connection lives on meanwhile, and its pings are answered.
            let until = tokio::time::Instant::now() + Duration::from_secs(20);
            // The plugin goes first; the model drops the sequence before its next step.
            while (instances(), load(&host)) != ended && tokio::time::Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
    assert_eq!((instances(), load(&host)), ended);
    let rest = local
        .run_until(http_body_util::BodyExt::collect(answer.into_body()))
        .await;
    assert!(rest.is_err(), "it is cut, and not ended as if it were whole");
}

/// One slot, for which one more may wait.
pub(crate) fn one_at_a_time() -> NodeConfig {
    let one = "models.smollm2.generate = { slots = 1, queue_len_max = 1 }";
    NodeConfig::of(&[ASSISTANT]).with(one)
}

#[test]
fn a_full_queue_is_503_with_retry_after_before_anything_is_sent() {
    let host = one_at_a_time().start();
    let long = ask(json!({ "stream": true, "max_tokens": 2000, "logit_bias": { "2": -100, "0": -100 } }));
    let _running = send(&host, "/v1/chat/completions", &long);
    eventually("a running sequence", || load(&host).0 == 1);
    let _queued = send(&host, "/v1/chat/completions", &long);
    eventually("a queued sequence", || load(&host).1 == 1);
    let refused = host.client().post("/v1/chat/completions", &long);
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.json()["error"]["code"], "overloaded");
}

#[test]
fn a_stream_that_takes_too_long_says_so_and_is_not_ended_as_if_whole() {
    let config = NodeConfig::of(&[ASSISTANT]).with("endpoints.assistant.timeout = \"1s\"");
    let host = config.start();
    let long = ask(json!({ "stream": true, "max_tokens": 2000, "logit_bias": { "2": -100, "0": -100 } }));
    let answer = host.client().post("/v1/chat/completions", long);
    let text = String::from_utf8(answer.body).expect("UTF-8");
    assert!(
        text.contains("\"code\":\"timeout\"") && !text.contains("[DONE]"),
        "{text}"
    );
}

#[test]
fn ollama_s_older_path_embeds_one_prompt_whatever_the_content_type() {
    let host = NodeConfig::of(&[])
        .with("endpoints.bare.model = \"minilm\"")
        .start();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = json!({ "model": "bare", "prompt": "a" }).to_string();
    let answer = host
        .client()
        .send("POST", "/api/embeddings", &form, body.as_bytes())
        .json();
    assert_eq!(answer["embedding"].as_array().map(Vec::len), Some(384));
    let refused = host.client().post("/api/embeddings", "{");
    assert_eq!((refused.status, refused.json()["error"].is_string()), (400, true));
    assert_eq!(host.client().get("/").body, b"Ollama is running");
}

/// An endpoint for each deed of a plugin that does its worst on the stream.
pub(crate) fn hostile_config(deeds: &[&str]) -> NodeConfig {
    let endpoints = deeds.iter().map(|deed| {
        format!(
            "[endpoints.{deed}]\nmodel = \"smollm2\"\nplugins = [{{ use = \"hostile-stream\", config = {{ push = \"{deed}\" }} }}]\n"
        )
    });
    NodeConfig::of(&[])
        .with_plugin("hostile-stream")
        .with(&endpoints.collect::<String>())
}

#[test]
pub(crate) fn a_plugin_that_fails_on_a_stream_ends_it_with_an_event_and_frees_the_slot() {
    let deeds = [
        ("trap-third", "plugin-trap"),
        ("loop", "plugin-time-limit"),
        ("multiply", "plugin-output-limit"),
        ("bad-choice", "plugin-bad-choice"),
    ];
    let host = hostile_config(&deeds.map(|(deed, _)| deed)).start();
    for (deed, code) in deeds {
        let long = json!({ "model": deed, "stream": true, "max_tokens": 2000, "logit_bias": { "2": -100, "0": -100 } });
        let answer = host.client().post("/v1/chat/completions", ask(long));
        let text = String::from_utf8(answer.body).expect("UTF-8");
        assert!(text.contains(code) && !text.contains("[DONE]"), "{deed}: {text}");
        // What failed before the first words has a status of its own.
        assert_eq!(
            answer.status,
            if deed == "trap-third" { 200 } else { 502 },
            "{deed}"
        );
        eventually("a free slot", || load(&host) == (0, 0));
        let whole = host
            .client()
            .post("/v1/chat/completions", ask(json!({ "model": deed })));
        assert_eq!(
            (whole.status, &whole.json()["error"]["code"]),
            (502, &json!(code)),
            "{deed}"
        );
    }
}

#[test]
fn a_plugin_can_stop_generation_and_has_the_last_word() {
    let host = hostile_config(&["stop-third"]).start();
    let long = json!({ "model": "stop-third", "max_tokens": 2000, "logit_bias": { "2": -100, "0": -100 } });
    let whole = host.client().post("/v1/chat/completions", ask(long)).json();
    let choice = &whole["choices"][0];
    assert_eq!(choice["finish_reason"], "content_filter", "{whole}");
    let text = choice["message"]["content"].as_str().expect("text");
    assert!(text.ends_with("[finished after 3 calls]"), "{text}");
    let usage = &whole["usage"];
    assert!(
        usage["prompt_tokens"].as_u64() > Some(20) && usage["completion_tokens"].as_u64() > Some(2),
        "{usage}"
    );
    eventually("a free slot", || load(&host) == (0, 0));
}

#[test]
fn a_stream_plugin_is_refused_on_a_model_that_writes_no_text() {
    let redact = "{ use = \"redact\", config = { words = [\"x\"] } }";
    let host = NodeConfig::of(&[CLASSIFY])
        .with(&format!(
            "[endpoints.redacted]\nmodel = \"spam\"\nplugins = [{redact}]\n"
        ))
        .start();
    let ready = host.client().get("/readyz").json().to_string();
    assert!(ready.contains("it works on text as it is generated"), "{ready}");
}

/// Whether a text is what the model writes for it alone. With AVX2 and no more, ONNX Runtime multiplies one row of 4-bit weights by
/// another kernel than several, and what is drawn may differ; then, whether there is any.
pub(crate) fn agrees(found: &str, alone: &str) -> bool {
    if rows_are_alike() {
        found == alone
    } else {
        found.len() > 2 && alone.len() > 2
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) fn rows_are_alike() -> bool {
    std::is_x86_feature_detected!("avx512f")
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn rows_are_alike() -> bool {
    false
}

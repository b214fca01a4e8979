//! Decode control on the real model: what is written matches the pattern, whole and streamed, alone and among others.

use std::sync::OnceLock;

use regex::Regex;
use serde_json::{Value, json};

use crate::generate::{agrees, deaf_stream, eventually, load, send};
use crate::host::{TestHost, kept};
use crate::node::{ASSISTANT, NodeConfig};

/// Patterns by their endpoints, each with what would not come by itself.
const PATTERNS: [(&str, &str); 6] = [
    ("date", r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"),
    ("verdict", r"(yes|no), (surely|perhaps)\."),
    (
        "record",
        r#"\{"name": "[A-Z][a-z]{1,12}", "age": [1-9][0-9]?, "tags": \["[a-z]{1,9}"(, "[a-z]{1,9}"){0,3}\]\}"#,
    ),
    ("greek", r"[α-ω]{2,6}( [α-ω]{2,6}){1,3}!"),
    ("shout", r"([A-Z]{1,9} ){3,6}[A-Z]{1,9}"),
    ("counted", r"([a-f]{1,3}-){60}z"),
];

fn endpoint(name: &str, plugins: &str) -> String {
    format!("\n[endpoints.{name}]\npath = \"/{name}\"\nmodel = \"smollm2\"\nplugins = [{plugins}]\n")
}

fn attached(pattern: &str) -> String {
    format!("{{ use = \"decode-regex\", config = {{ pattern = '{pattern}' }} }},")
}

/// One that keeps a model busy.
const LONG: (&str, &str) = ("long", r"([a-f]{1,3}-){600,700}z");

/// A node with an endpoint for each of these patterns, and the demo's.
fn config(patterns: &[(&str, &str)]) -> NodeConfig {
    let endpoints = patterns
        .iter()
        .map(|(name, pattern)| endpoint(name, &attached(pattern)));
    // On a machine that is busy with other tests, hundreds of tokens take long.
    NodeConfig::of(&[ASSISTANT])
        .with_plugin("decode-regex")
        .with(&endpoints.collect::<String>())
        .with("server.request_timeout = \"300s\"")
}

fn host() -> &'static TestHost {
    static HOST: OnceLock<TestHost> = OnceLock::new();
    HOST.get_or_init(|| kept(&config(&PATTERNS)))
}

fn body(model: &str, seed: usize, extra: &Value) -> String {
    let mut body = json!({
        "model": model, "temperature": 1, "seed": seed, "max_tokens": 800,
        "messages": [{ "role": "user", "content": "Tell me about the sea." }],
    });
    for (key, value) in extra.as_object().expect("fields") {
        body[key] = value.clone();
    }
    body.to_string()
}

fn chat(model: &str, seed: usize) -> Value {
    host()
        .client()
        .post("/v1/chat/completions", body(model, seed, &json!({})))
        .json()
}

fn text(answer: &Value) -> String {
    let text = answer["choices"][0]["message"]["content"].as_str();
    text.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// The text of a streamed answer, and why it ended.
fn streamed(model: &str, seed: usize) -> (String, String) {
    let answer = host().client().post(
        "/v1/chat/completions",
        body(model, seed, &json!({ "stream": true })),
    );
    let events = String::from_utf8(answer.body).expect("UTF-8");
    assert!(events.contains("[DONE]"), "{events}");
    let (mut text, mut finish) = (String::new(), String::new());
    for event in events.lines().filter_map(|line| line.strip_prefix("data: {")) {
        let event: Value = serde_json::from_str(&format!("{{{event}")).expect("JSON");
        let choice = &event["choices"][0];
        text += choice["delta"]["content"].as_str().unwrap_or_default();
        finish += choice["finish_reason"].as_str().unwrap_or_default();
    }
    (text, finish)
}

fn whole(pattern: &str) -> Regex {
    Regex::new(&format!("^(?:{pattern})$")).expect("a pattern")
}

#[test]
fn what_is_written_matches_the_pattern_at_every_seed_whole_and_streamed() {
    for (name, pattern) in PATTERNS {
        let whole = whole(pattern);
        for seed in 0..3 {
            let answer = chat(name, seed);
            let found = text(&answer);
            assert!(whole.is_match(&found), "{name}, seed {seed}: {found:?}");
            assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{name}");
            let (streamed, finish) = streamed(name, seed);
            assert!(
                whole.is_match(&streamed) && finish == "stop",
                "{name}, seed {seed}: {streamed:?}"
            );
            assert!(
                agrees(&streamed, &found),
                "{name}, seed {seed}: {streamed} {found}"
            );
        }
    }
}

#[test]
fn the_pattern_leaves_the_choice_to_the_model() {
    let ask = |question: &str| {
        let messages = json!([{ "role": "user", "content": question }]);
        let body = body("date", 0, &json!({ "messages": messages, "temperature": 0 }));
        text(&host().client().post("/v1/chat/completions", body).json())
    };
    let found = ask("When did men first land on the moon? Write the date as YYYY-MM-DD.");
    assert!(found.starts_with("1969"), "{found}");
}

#[test]
fn many_at_once_with_and_without_a_pattern_write_what_they_write_alone() {
    let asked: Vec<(&str, usize)> = PATTERNS
        .iter()
        .map(|(name, _)| *name)
        .chain(["assistant", "assistant"])
        .flat_map(|name| [(name, 11), (name, 12)])
        .collect();
    let ask = |(name, seed): &(&str, usize)| {
        let extra = match *name {
            "assistant" => json!({ "max_tokens": 30 }),
            _ => json!({}),
        };
        let body = body(name, *seed, &extra);
        text(&host().client().post("/v1/chat/completions", body).json())
    };
    let alone: Vec<String> = asked.iter().map(ask).collect();
    let together: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = asked
            .iter()
            .map(|asked| {
                let work = std::thread::Builder::new();
                work.spawn_scoped(scope, move || ask(asked)).expect("a thread")
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    for (together, alone) in together.iter().zip(&alone) {
        assert!(agrees(together, alone), "{together} {alone}");
    }
}

#[test]
fn each_of_several_answers_has_a_plugin_of_its_own() {
    let body = body("verdict", 3, &json!({ "n": 4 }));
    let answer = host().client().post("/v1/chat/completions", body).json();
    let choices = answer["choices"].as_array().expect("choices");
    assert_eq!(choices.len(), 4);
    for choice in choices {
        let text = choice["message"]["content"].as_str().expect("text");
        assert!(whole(PATTERNS[1].1).is_match(text), "{text}");
    }
}

#[test]
fn limits_and_stop_strings_hold_as_ever() {
    let ask = |extra: Value| {
        let body = body("record", 1, &extra);
        host().client().post("/v1/chat/completions", body).json()
    };
    let cut = ask(json!({ "max_tokens": 5 }));
    assert_eq!(cut["choices"][0]["finish_reason"], "length");
    assert_eq!(cut["usage"]["completion_tokens"], 5);
    let stopped = ask(json!({ "stop": "\", \"age" }));
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
    let found = text(&stopped);
    assert!(
        whole(r#"\{"name": "[A-Z][a-z]{1,12}"#).is_match(&found),
        "{found}"
    );
    let told = ask(json!({ "logprobs": true, "top_logprobs": 2 }));
    let tokens = told["choices"][0]["logprobs"]["content"]
        .as_array()
        .expect("tokens")
        .len();
    assert_eq!(
        told["usage"]["completion_tokens"], tokens,
        "forced tokens are told as well"
    );
}

#[test]
fn every_dialect_and_the_own_path_are_held_to_it() {
    let client = host().client();
    let whole = whole(PATTERNS[1].1);
    let own = client
        .post("/verdict", r#"{"prompt":"The sea","temperature":1}"#)
        .json();
    assert!(whole.is_match(own["text"].as_str().expect("text")), "{own}");
    let completion = client
        .post("/v1/completions", r#"{"model":"verdict","prompt":"The sea"}"#)
        .json();
    assert!(
        whole.is_match(completion["choices"][0]["text"].as_str().expect("text")),
        "{completion}"
    );
    let generated = client
        .post(
            "/api/generate",
            r#"{"model":"verdict","prompt":"The sea","stream":false}"#,
        )
        .json();
    assert!(
        whole.is_match(generated["response"].as_str().expect("text")),
        "{generated}"
    );
    let oip = client
        .post("/v2/models/verdict/generate", r#"{"text_input":"The sea"}"#)
        .json();
    assert!(
        whole.is_match(oip["text_output"].as_str().expect("text")),
        "{oip}"
    );
}

#[test]
fn a_structure_besides_is_refused_by_name() {
    let extra = json!({ "response_format": { "type": "json_object" } });
    let answer = host()
        .client()
        .post("/v1/chat/completions", body("record", 1, &extra));
    assert_eq!(answer.status, 400);
    let error = &answer.json()["error"];
    assert_eq!(error["param"], "response_format");
    assert!(
        error["message"]
            .as_str()
            .expect("text")
            .contains("`decode-regex`"),
        "{error}"
    );
}

#[test]
fn a_client_that_leaves_frees_slot_and_instance() {
    let host = config(&[LONG]).with("models.smollm2.generate.slots = 1").start();
    let instances = || host.client().get("/readyz").json()["sandbox"]["instances"].as_u64();
    for stream in [true, false] {
        let long = body("long", 1, &json!({ "stream": stream, "max_tokens": 1500 }));
        let running = send(&host, "/v1/chat/completions", &long);
        eventually("a running sequence", || {
            load(&host) == (1, 0) && instances() == Some(1)
        });
        let queued = send(&host, "/v1/chat/completions", &long);
        eventually("a queued sequence", || load(&host) == (1, 1));
        assert_eq!(instances(), Some(1), "who waits holds no instance");
        drop((running, queued));
        eventually("a free slot", || load(&host) == (0, 0) && instances() == Some(0));
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_keeps_no_row_waiting() {
    let host = config(&[LONG]).start();
    let long = body("long", 1, &json!({ "stream": true, "max_tokens": 120 }));
    let local = tokio::task::LocalSet::new();
    let _answer = local.run_until(deaf_stream(host.address(), long)).await;
    // Nobody works on the connection any more, and its window is full after the first words.
    eventually("its end", || load(&host) == (0, 0));
}

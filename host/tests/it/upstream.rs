//! Other servers as models, where all is well: a second node by either protocol. Of llama.cpp's server, see `llama`.

use serde_json::{Value, json};

use crate::far::{ask, proxy, streamed, upstream};
use crate::host::{TestHost, alone, demo, root};
use crate::python_clients::{self, openai_chat};

#[test]
fn every_dialect_goes_out_in_the_words_of_either_kind() {
    let (_guard, own_node) = alone();
    let far = own_node.address();
    let own = own_node
        .client()
        .post("/v1/chat/completions", ask("assistant", json!({})))
        .json();
    let expected = own["choices"][0]["message"]["content"].as_str().expect("text");
    let near = proxy(&[
        ("openai", upstream("openai", far, "assistant")),
        ("ollama", upstream("ollama", far, "assistant")),
    ]);
    for name in ["openai", "ollama"] {
        let whole = near
            .client()
            .post("/v1/chat/completions", ask(name, json!({})))
            .json();
        assert_eq!(whole["choices"][0]["message"]["content"], *expected, "{whole}");
        assert_eq!(whole["choices"][0]["finish_reason"], "length");
        assert_eq!(whole["usage"]["completion_tokens"], 12, "{whole}");
        assert_eq!(
            whole["usage"]["prompt_tokens"], own["usage"]["prompt_tokens"],
            "{whole}"
        );
        let options = json!({ "stream": true, "stream_options": { "include_usage": true } });
        let (text, raw) = streamed(&near, &ask(name, options));
        assert_eq!(text, expected);
        assert!(
            raw.contains("data: [DONE]") && raw.contains("\"completion_tokens\":12"),
            "{raw}"
        );
        let chat = json!({
            "model": name, "stream": false, "messages": [{ "role": "user", "content": "List three fruits." }],
            "options": { "temperature": 0, "num_predict": 12 },
        });
        let said = near.client().post("/api/chat", chat.to_string()).json();
        assert_eq!(
            (&said["message"]["content"], &said["eval_count"]),
            (&json!(expected), &json!(12)),
            "{said}"
        );
        let raw = json!({ "model": name, "prompt": "Once upon a time", "temperature": 0, "max_tokens": 8 });
        let (here, there) = (
            near.client().post("/v1/completions", raw.to_string()).json(),
            own_node
                .client()
                .post("/v1/completions", raw.to_string().replace(name, "assistant"))
                .json(),
        );
        assert_eq!(here["choices"][0]["text"], there["choices"][0]["text"], "{here}");
    }
    let biased = near.client().post(
        "/v1/chat/completions",
        ask("ollama", json!({ "logit_bias": { "5": 1 } })),
    );
    assert_eq!(
        (biased.status, &biased.json()["error"]["param"]),
        (400, &json!("logit_bias"))
    );
    let ready = near.client().get("/readyz").json();
    assert_eq!(ready["models"][0]["upstream"]["kind"], "ollama", "{ready}");
    let tags = near.client().get("/api/tags").json();
    assert_eq!(tags["models"].as_array().map(Vec::len), Some(2), "{tags}");
}

#[test]
fn several_answers_and_answers_by_a_schema_come_from_either_kind() {
    let (_guard, own_node) = alone();
    let far = own_node.address();
    let own = own_node
        .client()
        .post("/v1/chat/completions", ask("assistant", json!({})))
        .json();
    let expected = own["choices"][0]["message"]["content"].as_str().expect("text");
    let near = proxy(&[
        ("openai", upstream("openai", far, "assistant")),
        ("ollama", upstream("ollama", far, "assistant")),
    ]);
    for name in ["openai", "ollama"] {
        let path = format!("/{name}");
        let plain = near.client().post(&path, ask(name, json!({}))).json();
        assert_eq!(plain["text"], *expected, "{plain}");
        let seeded = json!({ "n": 2, "seed": 7, "temperature": 1.5 });
        let several = near
            .client()
            .post("/v1/chat/completions", ask(name, seeded))
            .json();
        assert_eq!(several["choices"].as_array().map(Vec::len), Some(2), "{several}");
        let schema = json!({ "type": "object", "properties": { "n": { "type": "integer", "minimum": 0, "maximum": 9 } }, "required": ["n"], "additionalProperties": false });
        let format = json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema } });
        let structured = json!({ "response_format": format, "max_tokens": 60 });
        let shaped = near
            .client()
            .post("/v1/chat/completions", ask(name, structured))
            .json();
        let text = shaped["choices"][0]["message"]["content"].as_str().expect("text");
        assert!(
            serde_json::from_str::<Value>(text).is_ok_and(|value| value["n"].is_i64()),
            "{shaped}"
        );
    }
}

#[test]
fn openai_s_own_client_sees_no_difference_between_a_node_and_one_in_front_of_it() {
    let far = python_clients::node();
    let embed = upstream("openai", far.address(), "embed") + ", task = \"feature-extraction\"";
    let near = proxy(&[
        ("assistant", upstream("openai", far.address(), "assistant")),
        ("plain", upstream("openai", far.address(), "plain")),
        ("embed", embed),
    ]);
    openai_chat(&near);
}

#[test]
fn vectors_come_from_either_kind() {
    let (_guard, own_node) = alone();
    let far = own_node.address();
    let task = ", task = \"feature-extraction\"";
    let near = proxy(&[
        ("openai", upstream("openai", far, "embed") + task),
        ("ollama", upstream("ollama", far, "embed") + task),
    ]);
    let body = |model: &str| json!({ "model": model, "input": ["a text", "another"] }).to_string();
    let own = own_node.client().post("/v1/embeddings", body("embed")).json();
    for name in ["openai", "ollama"] {
        let answer = near.client().post("/v1/embeddings", body(name)).json();
        assert_eq!(answer["data"], own["data"], "{name}");
        assert_eq!(answer["usage"], own["usage"], "{name}");
        let chat = near.client().post("/v1/chat/completions", ask(name, json!({})));
        assert_eq!(
            (chat.status, &chat.json()["error"]["param"]),
            (400, &json!("model"))
        );
    }
}

#[test]
fn the_proxy_s_configuration_streams_and_classifies_by_a_language_model() {
    let config = std::fs::read_to_string(root().join("configs/proxy.toml")).expect("it is there");
    let state = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("state");
    // The server behind it is the demo, by Ollama's protocol.
    let config = config
        .replace("127.0.0.1:8080\"", "127.0.0.1:0\"")
        .replace("http://127.0.0.1:11434", &format!("http://{}", demo().address()))
        .replace("model = \"llama3\"\nconnect", "model = \"assistant\"\nconnect")
        .replace("../target/state", &state.to_string_lossy())
        .replace("\"../", &format!("\"{}/", root().display()));
    let host = TestHost::start(&config);
    let streamed = host.client().post(
        "/generate",
        json!({ "prompt": "List three fruits.", "max_tokens": 24, "temperature": 0 }).to_string(),
    );
    let text = String::from_utf8(streamed.body.clone()).expect("UTF-8");
    assert_eq!(
        streamed.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    assert!(
        text.matches("data: {\"text\":").count() > 5 && text.contains("\"done\":true"),
        "{text}"
    );
    let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let pieces = events.map(|event| {
        let event: Value = serde_json::from_str(event).expect("JSON");
        event["text"].as_str().unwrap_or_default().to_owned()
    });
    let said: String = pieces.collect();
    assert!(
        said.contains("fruits"),
        "it answers, and does not go on with the prompt: {said}"
    );
    let whole = host.client().post(
        "/generate",
        json!({ "prompt": "Once", "stream": false, "max_tokens": 4 }).to_string(),
    );
    assert!(whole.json()["text"].is_string(), "{}", whole.json());
    let spam = json!({ "text": "WINNER!! Claim your free prize now, call 09061701461" });
    let answer = host.client().post("/classify", spam.to_string());
    // So small a model does not always answer with one of the two words; where it does not, that is said.
    match answer.status {
        200 => assert!(["SPAM", "HAM"].contains(&answer.json()["label"].as_str().unwrap_or_default())),
        _ => assert_eq!(
            (answer.status, &answer.json()["code"]),
            (422, &json!("label-unclear")),
            "{}",
            answer.json()
        ),
    }
    assert_eq!(host.client().post("/classify", "{}").status, 422);
}

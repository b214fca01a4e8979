//! Each kind of bad input gets an answer that says what was wrong, and the host goes on.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::head;
use crate::host::{TestHost, classifier, demo};
use crate::node::{CLASSIFY, EMBED, NodeConfig};

fn embeddings_error(body: impl AsRef<[u8]>) -> (u16, serde_json::Value) {
    let answer = demo().client().post("/v1/embeddings", body);
    let error = answer.json()["error"].clone();
    for key in ["message", "type", "param", "code"] {
        assert!(error.get(key).is_some(), "OpenAI's clients want `{key}`: {error}");
    }
    (answer.status, error)
}

#[test]
fn a_body_that_is_not_json_is_told_where() {
    let problem = demo().client().post("/classify", r#"{"text": nope}"#).problem();
    assert_eq!(
        (&problem["type"], &problem["loc"]),
        (&json!("json_invalid"), &json!(["body", 10]))
    );
    assert_eq!(embeddings_error("{").0, 400);
}

#[test]
fn a_wrong_type_is_told_with_the_input() {
    let problem = demo().client().post("/classify", r#"{"text":[1]}"#).problem();
    let expected = json!({
        "type": "string_type", "loc": ["body", "text"], "msg": "Input should be a valid string", "input": [1],
    });
    assert_eq!(problem, expected);
    let (status, error) = embeddings_error(r#"{"model":"embed","input":7}"#);
    assert_eq!((status, &error["param"]), (400, &json!("input")));
}

#[test]
fn a_missing_field_is_told_as_fastapi_does() {
    let answer = classifier().client().post("/classify", r#"{"txt":"hello"}"#);
    let entry = json!({
        "type": "missing", "loc": ["body", "text"], "msg": "Field required", "input": { "txt": "hello" },
    });
    assert_eq!(
        (answer.status, answer.json()),
        (422, json!({ "detail": [entry] }))
    );
}

#[test]
fn an_empty_body_or_text_is_refused() {
    assert_eq!(
        classifier().client().post("/classify", "").problem()["type"],
        "json_invalid"
    );
    assert_eq!(
        classifier()
            .client()
            .post("/classify", r#"{"text":""}"#)
            .problem()["type"],
        "string_too_short"
    );
    assert_eq!(
        classifier().client().post("/classify", "[]").problem()["type"],
        "dict_type"
    );
}

#[test]
fn a_body_of_10_mb_is_413_and_names_the_key() {
    let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(10 << 20));
    let answer = demo().client().post("/classify", &body);
    assert_eq!(answer.status, 413);
    assert!(
        answer.json()["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("server.body_size_max"))
    );
    let (status, error) = embeddings_error(&body);
    assert_eq!((status, &error["code"]), (413, &json!("body_too_large")));
}

#[test]
fn a_long_body_in_chunks_is_413_as_well() {
    let mut stream = demo().client().connect();
    let head = "POST /classify HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("sent");
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    for _ in 0..(9 << 20) / 0x10000 {
        stream.write_all(&chunk).ok();
    }
    stream.write_all(b"0\r\n\r\n").ok();
    assert_eq!(crate::client::read(&mut stream).status, 413);
}

#[test]
fn a_body_nested_100_000_deep_is_refused() {
    let body = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(
        demo().client().post("/classify", &body).problem()["type"],
        "json_invalid"
    );
    assert_eq!(embeddings_error(&body).0, 400);
    let in_text = format!(r#"{{"text":{body}}}"#);
    assert_eq!(
        demo().client().post("/classify", &in_text).problem()["type"],
        "json_invalid"
    );
}

#[test]
fn a_body_that_is_not_utf8_is_refused() {
    let body = b"{\"text\":\"\xff\xfe\"}";
    assert_eq!(
        classifier().client().post("/classify", body).problem()["type"],
        "json_invalid"
    );
}

#[test]
fn an_unknown_path_or_method_is_told() {
    let client = demo().client();
    assert_eq!(client.post("/clasify", "{}").status, 404);
    let answer = client.get("/classify");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert_eq!(
        client.get("/v1/nothing").json()["error"]["type"],
        "invalid_request_error"
    );
    assert_eq!(client.send("DELETE", "/readyz", &[], b"").status, 405);
}

#[test]
fn a_binary_content_type_is_415() {
    let client = classifier().client();
    let answer = client.send(
        "POST",
        "/classify",
        &[("content-type", "application/octet-stream")],
        b"\0\x01",
    );
    assert_eq!(answer.status, 415);
    assert!(
        answer.json()["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("application/json"))
    );
    let json = [("content-type", "application/json; charset=utf-8")];
    assert_eq!(
        client.send("POST", "/classify", &json, br#"{"text":"a"}"#).status,
        200
    );
}

#[test]
fn embeddings_of_nothing_of_too_much_and_of_too_long_are_refused() {
    let (status, error) = embeddings_error(r#"{"model":"embed","input":[]}"#);
    assert_eq!(
        (status, &error["param"], &error["type"]),
        (400, &json!("input"), &json!("invalid_request_error"))
    );
    let many = json!({ "model": "embed", "input": vec!["x"; 2049] }).to_string();
    let (status, error) = embeddings_error(many);
    assert_eq!(status, 400);
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|message| message.contains("2049") && message.contains("2048"))
    );
    let long = json!({ "model": "embed", "input": ["short", "word ".repeat(300)] }).to_string();
    let (status, error) = embeddings_error(long);
    assert_eq!((status, &error["param"]), (400, &json!("input.1")));
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|message| message.contains("302") && message.contains("256")),
        "{error}"
    );
    assert_eq!(embeddings_error(r#"{"model":"embed","input":[""]}"#).0, 400);
    assert_eq!(
        embeddings_error(r#"{"model":"embed","input":[[99999999]]}"#).0,
        400
    );
    assert_eq!(
        embeddings_error(r#"{"model":"embed","input":"x","dimensions":385}"#).0,
        400
    );
    assert_eq!(
        embeddings_error(r#"{"model":"embed","input":"x","encoding_format":"hex"}"#).0,
        400
    );
}

#[test]
fn an_unknown_model_and_one_for_something_else_are_told() {
    let (status, error) = embeddings_error(r#"{"model":"none","input":"x"}"#);
    assert_eq!(
        (status, &error["code"], &error["param"]),
        (404, &json!("model_not_found"), &json!("model"))
    );
    let (status, error) = embeddings_error(r#"{"model":"classify","input":"x"}"#);
    assert_eq!(status, 400);
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|message| message.contains("text-classification")),
        "{error}"
    );
    assert_eq!(embeddings_error(r#"{"input":"x"}"#).1["param"], "model");
}

#[test]
fn a_validator_s_refusal_wears_openai_s_clothes_there() {
    let schema = r#"{ type = "object", required = ["user"], properties = { user = { type = "string" } } }"#;
    let endpoint = format!(
        "\n[endpoints.strict]\nmodel = \"minilm\"\nplugins = [{{ use = \"json-schema\", config = {{ schema = {schema} }} }}]\n"
    );
    let host = NodeConfig::of(&[]).with(&endpoint).start();
    let answer = host
        .client()
        .post("/v1/embeddings", r#"{"model":"strict","input":"x"}"#);
    let expected = json!({
        "message": "user: Field required", "type": "invalid_request_error", "param": "user", "code": "invalid-body",
    });
    assert_eq!((answer.status, &answer.json()["error"]), (400, &expected));
    assert_eq!(
        host.client()
            .post("/v1/embeddings", r#"{"model":"strict","input":"x","user":"u"}"#)
            .status,
        200
    );
}

#[test]
fn a_flag_that_is_none_is_refused_rather_than_guessed() {
    let client = demo().client();
    let problem = client
        .post("/assistant", r#"{"prompt":"a","stream":"yes"}"#)
        .problem();
    assert_eq!(
        (&problem["type"], &problem["loc"]),
        (&json!("bool_type"), &json!(["body", "stream"]))
    );
    for (path, body, field) in [
        (
            "/api/chat",
            r#"{"model":"assistant","messages":[{"role":"user","content":"a"}],"stream":1}"#,
            "stream",
        ),
        (
            "/api/generate",
            r#"{"model":"assistant","prompt":"a","raw":"yes"}"#,
            "raw",
        ),
        (
            "/api/chat",
            r#"{"model":"assistant","messages":[],"options":{"top_k":{}}}"#,
            "options.top_k",
        ),
        (
            "/api/embed",
            r#"{"model":"embed","input":"a","dimensions":"all"}"#,
            "dimensions",
        ),
    ] {
        let answer = client.post(path, body);
        let said = answer.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(answer.status == 400 && said.contains(field), "{path}: {said}");
    }
    let options = r#"{"model":"assistant","messages":[{"role":"user","content":"a"}],"stream_options":[]}"#;
    let answer = client.post("/v1/chat/completions", options);
    assert_eq!(
        (answer.status, &answer.json()["error"]["param"]),
        (400, &json!("stream_options"))
    );
}

#[test]
fn a_whole_number_may_be_written_with_a_point() {
    let tokens = |ids: &str| {
        demo()
            .client()
            .post("/v1/embeddings", format!(r#"{{"model":"embed","input":{ids}}}"#))
    };
    assert_eq!(
        tokens("[101.0,102]").json()["data"],
        tokens("[101,102]").json()["data"]
    );
    assert_eq!(
        (
            tokens("[101.5]").status,
            tokens("[-1.0]").status,
            tokens("[1e300]").status
        ),
        (400, 400, 400)
    );
}

#[test]
fn a_problem_does_not_send_a_long_input_back() {
    let body = json!({ "other": "x".repeat(1 << 20) }).to_string();
    let answer = classifier().client().post("/classify", &body);
    assert_eq!(
        (answer.status, &answer.json()["detail"][0]["input"]),
        (422, &json!(null))
    );
    assert!(answer.body.len() < 1000);
}

/// A host that closes silent and slow connections soon.
fn impatient(endpoint: &str) -> TestHost {
    let times =
        "server = { request_timeout = \"600ms\", header_timeout = \"300ms\", idle_timeout = \"500ms\" }";
    NodeConfig::of(&[CLASSIFY, endpoint]).with(times).start()
}

#[test]
fn a_connection_that_only_pings_is_idle() {
    let host = impatient(CLASSIFY);
    let mut stream = host.client().connect();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .expect("sent");
    stream.write_all(&settings).expect("sent");
    let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let started = Instant::now();
    // What it answers is read beside, so that nothing fills up.
    let mut answers = stream.try_clone().expect("cloned");
    let read = std::thread::Builder::new().spawn(move || std::io::copy(&mut answers, &mut std::io::sink()));
    while stream.write_all(&ping).is_ok() {
        assert!(started.elapsed() < Duration::from_secs(20), "it is open still");
        std::thread::sleep(Duration::from_millis(50));
    }
    read.expect("a thread").join().expect("no panic").ok();
    assert!(
        started.elapsed() >= Duration::from_millis(400),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn sockets_that_send_nothing_or_too_slowly_are_closed() {
    let host = impatient(CLASSIFY);
    let openings: [&[u8]; 4] = [
        b"",
        b"PRI * HT",
        b"POST /classify HTTP/1.1\r\nho",
        b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n",
    ];
    let started = Instant::now();
    let mut streams: Vec<_> = openings
        .iter()
        .map(|opening| {
            let mut stream = host.client().connect();
            stream.write_all(opening).expect("sent");
            stream
        })
        .collect();
    for (stream, opening) in streams.iter_mut().zip(openings) {
        let mut rest = Vec::new();
        // A reset is an end too.
        stream.read_to_end(&mut rest).ok();
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{:?} was kept",
            String::from_utf8_lossy(opening)
        );
    }
    assert_eq!(host.client().get("/healthz").status, 200);
}

#[test]
fn a_body_that_does_not_come_is_408() {
    let host = impatient(CLASSIFY);
    let mut stream = host.client().connect();
    stream
        .write_all(&head(
            "POST",
            "/classify",
            &[("content-type", "application/json")],
            100,
        ))
        .expect("sent");
    stream.write_all(b"{\"text\":").expect("sent");
    let answer = crate::client::read(&mut stream);
    assert_eq!(answer.status, 408);
    assert!(
        answer.json()["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("server.request_timeout"))
    );
}

#[test]
fn a_request_that_takes_too_long_is_504() {
    let host = impatient(EMBED);
    let body = json!({ "input": vec!["many words that take their time ".repeat(30); 512] }).to_string();
    let answer = host.client().post("/embed", body);
    assert_eq!((answer.status, &answer.json()["code"]), (504, &json!("timeout")));
    assert_eq!(host.client().post("/classify", r#"{"text":"a"}"#).status, 200);
}

//! Long bodies and long answers, which are read and written beside the executor's threads: they say what short ones do.

use serde_json::{Value, json};

use crate::host::demo;

/// Texts of one request: their vectors are some 0.8 MB of JSON.
const TEXTS: usize = 200;

fn vector(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap_or_else(|_| panic!("no vector: {value}"))
}

/// Vectors of length 1 that differ by no more than rows of one batch do from those of another.
fn are_alike(one: &[f64], other: &[f64]) -> bool {
    let product: f64 = one.iter().zip(other).map(|(one, other)| one * other).sum();
    one.len() == 384 && other.len() == 384 && product > 0.99
}

#[test]
fn a_long_answer_is_whole_in_each_dialect() {
    let client = demo().client();
    let texts: Vec<String> = (0..TEXTS)
        .map(|place| format!("the text of number {place}"))
        .collect();
    let asked = |path: &str, body: Value| {
        let answer = client.post(path, body.to_string());
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.body.len() > 512 << 10, "{} bytes", answer.body.len());
        answer.json()
    };
    let last = TEXTS - 1;
    let own = asked("/embed", json!({ "input": texts }));
    let openai = asked("/v1/embeddings", json!({ "model": "embed", "input": texts }));
    let ollama = asked("/api/embed", json!({ "model": "embed", "input": texts }));
    let tensor = json!({ "name": "text", "datatype": "BYTES", "shape": [TEXTS], "data": texts });
    let tensors = asked("/v2/models/embed/infer", json!({ "inputs": [tensor] }));
    let generated = asked("/v2/models/embed/generate", json!({ "text_input": texts }));

    let alone = client
        .post("/embed", json!({ "input": texts[last] }).to_string())
        .json();
    let alone = vector(&alone["embeddings"][0]);
    assert!(are_alike(&alone, &vector(&own["embeddings"][last])));
    assert!(are_alike(&alone, &vector(&openai["data"][last]["embedding"])));
    assert!(are_alike(&alone, &vector(&ollama["embeddings"][last])));
    for all in [&tensors["outputs"][0]["data"], &generated["embeddings"]] {
        let all = vector(all);
        assert_eq!(all.len(), TEXTS * 384);
        assert!(are_alike(&alone, &all[last * 384..]));
    }
}

#[test]
fn what_is_wrong_with_a_long_body_is_told_as_with_a_short_one() {
    let client = demo().client();
    let filling = "x".repeat(300_000);
    let broken = format!(r#"{{"filling":"{filling}","text": nope}}"#);
    let problem = client.post("/classify", &broken).problem();
    assert_eq!(problem["type"], "json_invalid");
    // Behind the `n`, where no `null` comes.
    let at = broken.find("nope").expect("there") + 1;
    assert_eq!(problem["loc"], json!(["body", at]));

    let wrong = json!({ "filling": filling, "text": 7 }).to_string();
    let problem = client.post("/classify", &wrong).problem();
    assert_eq!(
        (&problem["type"], &problem["loc"], &problem["input"]),
        (&json!("string_type"), &json!(["body", "text"]), &json!(7))
    );
    // What would hold the field is too long to be sent back.
    let missing = json!({ "filling": filling }).to_string();
    let problem = client.post("/classify", &missing).problem();
    assert_eq!(
        (&problem["type"], &problem["input"]),
        (&json!("missing"), &Value::Null)
    );
}

/// A line a case: the path, fields of a body of which more than one may be wrong, the status, and what is told.
const CASES: &str = r#"
/v1/chat/completions "model":"nobody","stream":7 404 nobody
/v1/chat/completions "model":"nobody","messages":7 404 nobody
/v1/chat/completions "model":"embed","stream":7 400 feature-extraction
/v1/chat/completions "model":"assistant","stream":7 400 stream
/v1/embeddings "model":"embed","input":7 400 input
/api/chat "model":"nobody","stream":7 404 nobody
/api/chat "model":"embed","stream":7 400 feature-extraction
/api/embed "model":"classify","input":7 400 text-classification
/api/embed "model":"embed","input":7 400 input
/api/show "model":"assistant","stream":7 200 completion
"#;

#[test]
fn the_model_is_looked_at_before_the_rest_of_a_body() {
    let client = demo().client();
    for filling in ["", &"x".repeat(300_000)] {
        for case in CASES.trim().lines() {
            let [path, fields, code, says] = case.split(' ').collect::<Vec<_>>()[..] else {
                panic!("no case: {case}");
            };
            let answer = client.post(path, format!(r#"{{{fields},"filling":"{filling}"}}"#));
            let (status, text) = (answer.status, answer.text());
            assert!(
                status.to_string() == code && text.contains(says),
                "{case}: {status} {text}"
            );
            assert!(text.len() < 10_000, "{case}: the body is sent back");
        }
        let spam = json!({ "text": "Claim your free prize now", "filling": filling });
        let answer = client.post("/classify", spam.to_string());
        assert_eq!((answer.status, &answer.json()["label"]), (200, &json!("SPAM")));
    }
}

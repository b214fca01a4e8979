//! The good path: real text through real plugins and real models, in each dialect.

use std::net::SocketAddr;

use base64::Engine;
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::host::{alone, classifier, demo};

const SPAM: &str = "WINNER!! Claim your free prize now, call 09061701461";

#[test]
fn classifies_on_its_own_path() {
    let answer = classifier()
        .client()
        .post("/classify", json!({ "text": SPAM }).to_string());
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(body["label"], "SPAM");
    assert!(body["score"].as_f64().is_some_and(|score| score > 0.9), "{body}");
    let ham = classifier()
        .client()
        .post("/classify", r#"{"text":"Can you pick up milk on the way home?"}"#)
        .json();
    assert_eq!(ham["label"], "HAM");
}

#[test]
fn embeds_on_its_own_path_and_as_openai_does_alike() {
    let (_guard, host) = alone();
    let client = host.client();
    let own = client.post("/embed", r#"{"input":["a text","another"]}"#).json();
    let openai = client
        .post(
            "/v1/embeddings",
            r#"{"model":"embed","input":["a text","another"]}"#,
        )
        .json();
    assert_eq!(own["embeddings"][1], openai["data"][1]["embedding"]);
    assert_eq!(
        (&openai["object"], &openai["model"]),
        (&json!("list"), &json!("embed"))
    );
    assert_eq!(
        (&openai["data"][1]["index"], &openai["data"][1]["object"]),
        (&json!(1), &json!("embedding"))
    );
    assert_eq!(openai["usage"], json!({ "prompt_tokens": 7, "total_tokens": 7 }));
    assert_eq!(openai["data"][0]["embedding"].as_array().map(Vec::len), Some(384));
}

#[test]
fn writes_base64_where_asked() {
    let (_guard, host) = alone();
    let client = host.client();
    let floats = client
        .post(
            "/v1/embeddings",
            r#"{"model":"embed","input":"x","encoding_format":"float"}"#,
        )
        .json();
    let base64 = client
        .post(
            "/v1/embeddings",
            r#"{"model":"embed","input":"x","encoding_format":"base64"}"#,
        )
        .json();
    let text = base64["data"][0]["embedding"].as_str().expect("a text");
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .expect("base64");
    let decoded: Vec<f32> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    let written: Vec<f32> = serde_json::from_value(floats["data"][0]["embedding"].clone()).expect("floats");
    assert_eq!(decoded, written);
}

#[test]
fn shortens_to_the_dimensions_asked_for_and_scales_again() {
    let body = r#"{"model":"embed","input":"x","dimensions":16}"#;
    let vector = demo().client().post("/v1/embeddings", body).json()["data"][0]["embedding"].clone();
    let vector: Vec<f64> = serde_json::from_value(vector).expect("floats");
    assert_eq!(vector.len(), 16);
    let norm = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    assert!((norm - 1.0).abs() < 1e-5, "{norm}");
}

#[test]
fn takes_token_ids_past_the_tokenizer() {
    let (_guard, host) = alone();
    let client = host.client();
    let tokens = r#"{"model":"embed","input":[[101,7592,2088,102]]}"#;
    let by_tokens = client.post("/v1/embeddings", tokens).json();
    let by_text = client
        .post("/v1/embeddings", r#"{"model":"embed","input":"hello world"}"#)
        .json();
    assert_eq!(by_tokens["usage"]["prompt_tokens"], 4);
    assert_eq!(by_tokens["data"][0]["embedding"], by_text["data"][0]["embedding"]);
}

#[test]
fn lists_endpoints_as_models() {
    let client = demo().client();
    let list = client.get("/v1/models").json();
    let ids: Vec<&Value> = list["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|model| &model["id"])
        .collect();
    assert_eq!(ids, [&json!("assistant"), &json!("classify"), &json!("embed")]);
    assert_eq!(client.get("/v1/models/embed").json()["object"], "model");
    assert_eq!(
        client.get("/v1/models/none").json()["error"]["code"],
        "model_not_found"
    );
}

#[test]
fn says_that_it_lives_and_what_is_ready() {
    let client = demo().client();
    assert_eq!(client.get("/healthz").status, 200);
    let answer = client.get("/readyz");
    let body = answer.json();
    assert_eq!(
        (answer.status, &body["status"], &body["generation"]),
        (200, &json!("ready"), &json!(1))
    );
    let minilm = &body["models"][0];
    assert_eq!(
        (&minilm["name"], &minilm["device"]["asked"]),
        (&json!("minilm"), &json!("auto"))
    );
    assert!(
        minilm["device"]["got"] == "cuda" || minilm["device"]["why"].is_string(),
        "{minilm}"
    );
    let plugins = body["endpoints"][1]["plugins"].as_array().expect("a list");
    let modes: Vec<&Value> = plugins.iter().map(|plugin| &plugin["startup"]).collect();
    assert_eq!(modes, ["snapshot"; 3]);
}

#[test]
fn every_answer_has_a_request_id_and_a_sane_one_is_kept() {
    let client = classifier().client();
    let given = client.send("GET", "/healthz", &[("x-request-id", "abc-123")], b"");
    assert_eq!(given.header("x-request-id"), Some("abc-123"));
    let (one, other) = (client.get("/nowhere"), client.get("/nowhere"));
    assert_ne!(one.header("x-request-id"), other.header("x-request-id"));
    assert_eq!(one.json()["request_id"].as_str(), one.header("x-request-id"));
    let silly = client.send("GET", "/healthz", &[("x-request-id", &"x".repeat(129))], b"");
    assert!(
        silly
            .header("x-request-id")
            .is_some_and(|id| id.starts_with("req-"))
    );
}

/// Sends requests over a connection of HTTP/2.
pub(crate) type Http2Sender = http2::SendRequest<Full<Bytes>>;

/// Connects by HTTP/2, by prior knowledge. The task drives the connection, and ends as it does.
pub(crate) async fn http2_connection(address: SocketAddr) -> (Http2Sender, JoinSet<hyper::Result<()>>) {
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("the host listens");
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.expect("HTTP/2");
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    (sender, driver)
}

/// Version and status of the answer of `/classify`.
pub(crate) async fn classify_by_http2(sender: &mut Http2Sender) -> hyper::Result<(http::Version, u16)> {
    let body = Full::new(Bytes::from(json!({ "text": SPAM }).to_string()));
    let request = http::Request::post("http://test/classify").header("content-type", "application/json");
    let response = sender
        .send_request(request.body(body).expect("a request"))
        .await?;
    Ok((response.version(), response.status().as_u16()))
}

#[tokio::test]
async fn speaks_http2_by_prior_knowledge_with_many_requests_on_one_connection() {
    let (sender, mut driver) = http2_connection(classifier().address()).await;
    let requests = (0..20).map(|_| {
        let mut sender = sender.clone();
        async move { classify_by_http2(&mut sender).await }
    });
    for answer in futures_util::future::join_all(requests).await {
        assert_eq!(answer.expect("an answer"), (http::Version::HTTP_2, 200));
    }
    drop(sender);
    let ended = driver.join_next().await.expect("one").expect("no panic");
    ended.expect("the connection ends well");
}

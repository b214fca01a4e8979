//! The webhook: signed, sent again until the server takes it or it is given up.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::generate::eventually;
use crate::observe::{Node, QUICK, classify, held};
use crate::receiver::{Receiver, SILENCE};

const KEY: &[u8] = b"a key of thirty-two bytes, truly";

/// Base64 of the key, as an operator writes it.
const SECRET: &str = "whsec_YSBrZXkgb2YgdGhpcnR5LXR3byBieXRlcywgdHJ1bHk=";

/// A node whose requests are told to a receiver.
pub(crate) fn node(receiver: &Receiver, observe: &str) -> Node {
    let allow = format!(
        "http = [\"http://{}\"], secrets = {{ WEBHOOK_SECRET = \"{SECRET}\" }}",
        receiver.address
    );
    let config = format!("url = \"http://{}/hook?a=b\", timeout_ms = 300", receiver.address);
    Node::new(&format!("{QUICK}{observe}"), "webhook", &allow, &config)
}

#[test]
fn a_message_is_signed_and_has_what_was_granted_and_no_more() {
    let receiver = Receiver::start(204);
    let node = node(&receiver, "");
    let host = node.start();
    let answer = classify(&host, "a secret text");
    eventually("a message", || !receiver.messages().is_empty());
    let message = &receiver.messages()[0];
    assert_eq!(
        message.header("webhook-signature"),
        message.expected_signature(KEY)
    );
    let sent: u64 = message.header("webhook-timestamp").parse().expect("seconds");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    assert!(
        now - sent < 60 && message.header("webhook-id").starts_with("evt_"),
        "{message:?}"
    );
    assert_eq!(message.header("host"), receiver.address.to_string());
    let body = message.json();
    assert_eq!(
        (&body["type"], &body["data"]["status"]),
        (&json!("request.completed"), &json!(200))
    );
    assert_eq!(body["data"]["request_id"].as_str(), answer.header("x-request-id"));
    assert_eq!(body["data"]["timings"][0]["stage"], "model");
    assert!(
        !message.body.contains("a secret text"),
        "bodies are not granted: {}",
        message.body
    );
    eventually("an empty queue", || held(&host)["waiting"] == 0);
    assert_eq!(receiver.messages().len(), 1);
}

#[test]
fn a_server_that_is_slow_or_fails_is_asked_again_with_the_same_id() {
    let receiver = Receiver::start(500);
    let node = node(&receiver, "");
    let host = node.start();
    assert_eq!(classify(&host, "one").status, 200);
    eventually("a second try", || receiver.messages().len() >= 2);
    receiver.answer(SILENCE);
    let so_far = receiver.messages().len();
    eventually("a try in silence", || receiver.messages().len() > so_far);
    receiver.answer(200);
    eventually("an empty queue", || held(&host)["waiting"] == 0);
    let ids: BTreeSet<String> = receiver
        .messages()
        .iter()
        .map(|message| message.header("webhook-id").to_owned())
        .collect();
    assert_eq!(ids.len(), 1, "a receiver knows a repeated message by its id");
    let log = host.log();
    assert!(
        log.contains("answered 500") && log.contains("no answer in time") && !log.contains("whsec_"),
        "{log}"
    );
}

#[test]
fn what_no_server_takes_is_given_up_and_delivered_when_it_is_requeued() {
    let receiver = Receiver::start(422);
    let node = node(&receiver, "attempts_max = 3");
    let host = node.start();
    assert_eq!(classify(&host, "refused").status, 200);
    eventually("a dead letter", || held(&host)["dead"] == 1);
    assert_eq!(
        receiver.messages().len(),
        1,
        "what the server finds fault with is not sent again"
    );
    receiver.answer(503);
    assert_eq!(classify(&host, "failed").status, 200);
    eventually("another", || held(&host)["dead"] == 2);
    assert_eq!(receiver.messages().len(), 4, "three tries");
    let reasons: Vec<String> = node
        .letters()
        .iter()
        .map(|letter| letter["reason"].to_string())
        .collect();
    assert!(
        reasons[0].contains("answered 422") && reasons[1].contains("answered 503"),
        "{reasons:?}"
    );
    receiver.answer(200);
    assert_eq!(
        node.events(&["requeue", "--all", "--dead", "--observer", "classify/observer"])
            .1,
        "2 given again\n"
    );
    eventually("an empty queue", || node.letters().is_empty());
    assert_eq!(receiver.request_ids().len(), 2);
}

#[test]
fn a_server_that_is_down_holds_up_no_request_and_no_end_of_the_node() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let mut receiver = Receiver::start(200);
    receiver.address = closed.expect("a port");
    let node = node(&receiver, "attempts_max = 2");
    let host = node.start();
    assert_eq!(classify(&host, "hello").status, 200);
    eventually("a dead letter", || held(&host)["dead"] == 1);
    let reason = node.letters()[0]["reason"].to_string();
    assert!(reason.contains("nobody answers at the host"), "{reason}");
    assert_eq!(classify(&host, "hello again").status, 200);
    host.terminate();
    assert_eq!(host.wait().code(), Some(0));
    assert_eq!(node.letters().len(), 2, "both are there for the next start");
}

#[test]
fn no_other_host_is_called_whatever_the_plugin_is_told() {
    let receiver = Receiver::start(200);
    let (port, secret) = (
        receiver.address.port(),
        format!("secrets = {{ WEBHOOK_SECRET = \"{SECRET}\" }}"),
    );
    for (granted, called) in [
        (
            format!("\"http://127.0.0.1:{}\"", port ^ 1),
            format!("http://127.0.0.1:{port}/"),
        ),
        (
            format!("\"http://localhost:{port}\""),
            format!("http://127.0.0.1:{port}/"),
        ),
        (
            format!("\"https://127.0.0.1:{port}\""),
            format!("http://127.0.0.1:{port}/"),
        ),
    ] {
        let node = Node::new(
            "attempts_max = 1",
            "webhook",
            &format!("http = [{granted}], {secret}"),
            &format!("url = \"{called}\""),
        );
        let host = node.start();
        assert_eq!(classify(&host, "hello").status, 200);
        eventually("a dead letter", || held(&host)["dead"] == 1);
        let reason = node.letters()[0]["reason"].to_string();
        assert!(reason.contains("the host is not granted"), "{granted}: {reason}");
    }
    assert!(receiver.messages().is_empty());
    let node = Node::new(
        "attempts_max = 1",
        "webhook",
        &format!("http = [\"http://localhost:{port}\"], {secret}"),
        &format!("url = \"http://localhost:{port}/\""),
    );
    let host = node.start();
    assert_eq!(classify(&host, "hello").status, 200);
    eventually("a message", || receiver.messages().len() == 1);
}

//! What befalls a node with observers, and no event is lost by: it ends before its requests do, it is killed, its file is damaged.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::generate::{deaf_stream, eventually, load, send};
use crate::host::TestHost;
use crate::observe::{Node, QUICK, classify, held, long};
use crate::receiver::Receiver;
use crate::webhook;

/// Ids of the requests that events are about.
fn request_ids<'a>(events: impl IntoIterator<Item = &'a Value>) -> BTreeSet<String> {
    let id = |event: &Value| event["request_id"].as_str().expect("an id").to_owned();
    events.into_iter().map(id).collect()
}

#[tokio::test]
async fn a_request_that_is_cut_off_when_the_node_ends_is_an_event_in_every_form() {
    let node = Node::captured().with_server("drain_timeout = \"300ms\"");
    let host = node.start();
    let path = "/v1/chat/completions";
    let _whole = send(&host, path, &long(false, 2000));
    let mut stream = send(&host, path, &long(true, 2000));
    std::io::Read::read_exact(&mut stream, &mut [0; 600]).expect("some words");
    let local = tokio::task::LocalSet::new();
    let deaf = deaf_stream(host.address(), long(true, 2000));
    let _deaf = local.run_until(deaf).await;
    eventually("three at work", || load(&host).0 == 3);
    host.terminate();
    assert_eq!(host.wait().code(), Some(0));
    let kept: Vec<Value> = node
        .letters()
        .into_iter()
        .map(|letter| letter["event"].clone())
        .collect();
    assert_eq!(kept.len(), 3, "{kept:?}");
    assert!(
        kept.iter().all(|event| event["finish"] == "cancelled"),
        "{kept:?}"
    );
    let mut statuses: Vec<_> = kept.iter().filter_map(|event| event["status"].as_u64()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 499], "{kept:?}");
    // They are given after the next start.
    let _again = node.start();
    eventually("their lines", || node.journal("chat").len() == 3);
    assert_eq!(request_ids(&node.journal("chat")), request_ids(&kept));
}

/// Has clients ask a host until it is killed in their midst. Ids of the requests that were answered in full.
fn killed_amid(host: TestHost, path: &str, body: &str, answers_min: usize) -> BTreeSet<String> {
    let answered = Mutex::new(BTreeSet::new());
    let count = || answered.lock().expect("no panic").len();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                // One whose answer did not come in full is the last: the host is gone.
                while let Some(answer) = host.client().try_post(path, body) {
                    assert_eq!(answer.status, 200);
                    let id = answer.header("x-request-id").expect("an id").to_owned();
                    answered.lock().expect("no panic").insert(id);
                }
            });
        }
        eventually("answers", || count() >= answers_min);
        host.kill();
    });
    answered.into_inner().expect("no panic")
}

fn assert_none_lost(answered: &BTreeSet<String>, given: &BTreeSet<String>) {
    let lost: Vec<_> = answered.difference(given).collect();
    let (count, all) = (lost.len(), answered.len());
    assert!(lost.is_empty(), "{count} of {all} are lost: {lost:?}");
}

#[test]
fn no_event_is_lost_where_the_node_is_killed_amid_its_answers() {
    let receiver = Receiver::start(200);
    let node = webhook::node(&receiver, "");
    let body = json!({ "text": "hello" }).to_string();
    let mut answered = BTreeSet::new();
    // Killed while events are being delivered, and while none is taken.
    for (round, status) in [200, 503, 200, 503].into_iter().enumerate() {
        receiver.answer(status);
        answered.append(&mut killed_amid(
            node.start(),
            "/classify",
            &body,
            40 + 30 * round,
        ));
    }
    assert!(node.letters().len() > 90, "only {} wait", node.letters().len());
    receiver.answer(200);
    let host = node.start();
    eventually("an empty queue", || held(&host)["waiting"] == 0);
    assert_none_lost(&answered, &receiver.request_ids());
    assert_eq!(
        (&held(&host)["dead"], &held(&host)["lost"]),
        (&json!(0), &json!(0))
    );
}

#[test]
fn no_event_of_a_stream_is_lost_where_the_node_is_killed_amid_them() {
    let node = Node::captured();
    let mut answered = BTreeSet::new();
    for _ in 0..2 {
        let path = "/v1/chat/completions";
        answered.append(&mut killed_amid(node.start(), path, &long(true, 3), 20));
    }
    let host = node.start();
    eventually("an empty queue", || held(&host)["waiting"] == 0);
    assert_none_lost(&answered, &request_ids(&node.journal("chat")));
}

#[test]
fn the_event_of_a_stream_is_kept_by_the_time_that_its_client_reads_that_it_is_done() {
    let node = Node::captured();
    let mut done = BTreeSet::new();
    for _ in 0..3 {
        let host = node.start();
        let mut stream = send(&host, "/v1/chat/completions", &long(true, 3));
        let (mut answer, mut byte) = (Vec::new(), [0]);
        while !answer.ends_with(b"data: [DONE]") {
            std::io::Read::read_exact(&mut stream, &mut byte).expect("it goes on");
            answer.extend(byte);
        }
        host.kill();
        let head = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        let (_, id) = head.split_once("x-request-id: ").expect("an id");
        done.insert(id.lines().next().unwrap_or_default().to_owned());
    }
    let host = node.start();
    eventually("an empty queue", || held(&host)["waiting"] == 0);
    assert_none_lost(&done, &request_ids(&node.journal("chat")));
}

#[test]
fn a_row_that_cannot_be_read_is_given_up_and_holds_up_no_other() {
    let node = Node::new(QUICK, "hostile-observer", "bodies = true", "");
    let file = node.state().join("selvedge.db");
    let host = node.start();
    assert_eq!(classify(&host, "before").status, 200);
    eventually("an event to be taken", || {
        host.log().contains(r#"{"text":"before"}"#)
    });
    let damaged = rusqlite::Connection::open(file).expect("opened");
    for head in ["{\"id\": \"evt_1\", \"status\":", "7", ""] {
        let row = "INSERT INTO events (event, observer, made_ms, due_ms, bytes, head) VALUES ('evt_1', 'classify/observer', 1, 1, 9, ?1)";
        damaged.execute(row, [head]).expect("written");
    }
    damaged
        .execute("INSERT INTO events (event, observer, made_ms, due_ms, bytes, head) VALUES ('evt_2', 'classify/observer', 1, 1, 9, CAST(x'ff' AS TEXT))", [])
        .expect("written");
    assert_eq!(classify(&host, "behind them").status, 200);
    eventually("the next to be taken", || {
        host.log().contains(r#"{"text":"behind them"}"#)
    });
    eventually("dead letters", || held(&host)["dead"] == 4);
    assert_eq!(held(&host)["waiting"], 0);
    let letters = node.letters();
    assert_eq!(letters.len(), 4);
    for letter in &letters {
        let reason = letter["reason"].as_str().expect("a reason");
        assert!(
            letter["state"] == "dead" && reason.starts_with("unreadable: "),
            "{letter}"
        );
    }
    assert_eq!(
        letters[0]["event"], "{\"id\": \"evt_1\", \"status\":",
        "it is shown as it lies there"
    );
    assert!(
        host.log().contains("cannot be read from the queue"),
        "{}",
        host.log()
    );
}

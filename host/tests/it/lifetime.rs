//! How requests and hosts end: clients that leave, full queues, and SIGTERM.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::client::{head, read};
use crate::edge::config;
use crate::host::TestHost;
use crate::node::{CLASSIFY, EMBED, NodeConfig};

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
    let host = NodeConfig::of(&[EMBED]).start();
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
    let config = NodeConfig::of(&[CLASSIFY, EMBED]).with("models.minilm.batch.queue_items_max = 8");
    let host = config.start();
    let body = json!({ "input": "many words that take their time ".repeat(30) }).to_string();
    let request = [
        &head(
            "POST",
            "/embed",
            &[("content-type", "application/json")],
            body.len(),
        ),
        body.as_bytes(),
    ]
    .concat();
    let mut streams: Vec<_> = (0..80).map(|_| host.client().connect()).collect();
    for stream in &mut streams {
        stream.write_all(&request).expect("sent");
    }
    assert_eq!(
        host.client().post("/classify", r#"{"text":"hello"}"#).status,
        200,
        "another model is not held up"
    );
    let answers: Vec<_> = streams.iter_mut().map(read).collect();
    let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(
        !served.is_empty() && !refused.is_empty(),
        "{} served, {} refused",
        served.len(),
        refused.len()
    );
    for answer in refused {
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (503, &json!("queue_full"))
        );
        let after: u64 = answer
            .header("retry-after")
            .and_then(|after| after.parse().ok())
            .expect("Retry-After");
        assert!((1..=60).contains(&after), "{after}");
    }
}

#[test]
fn one_large_request_does_not_make_others_wait_for_all_of_it() {
    let host = NodeConfig::of(&[EMBED]).start();
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
    eventually("a full queue", || queue_len(&host) > 1900);
    assert_eq!(
        host.client().post("/embed", r#"{"input":"one more"}"#).status,
        200
    );
    assert!(queue_len(&host) > 1000, "most of the large request still waits");
}

#[test]
fn sigterm_lets_requests_finish_and_ends_with_0() {
    let host = NodeConfig::of(&[EMBED]).start();
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
    let config = NodeConfig::of(&[EMBED]).with("server.drain_timeout = \"200ms\"");
    let host = config.start();
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

#[test]
fn running_out_of_files_does_not_end_the_host() {
    let host = TestHost::start_within(&[(Resource::Nofile, 64)], &NodeConfig::of(&[CLASSIFY]).text());
    let streams: Vec<_> = (0..100).map(|_| host.client().connect()).collect();
    eventually("an error of accept", || {
        host.log().contains("cannot accept a connection")
    });
    drop(streams);
    assert_eq!(host.client().get("/healthz").status, 200);
}

/// Idle connections that a node bears.
const IDLE: u64 = 10_000;

/// Files that this process leaves to the tests beside it.
const FILES_OF_OTHERS: u64 = 3_000;

/// Raises the limit of open files as far as the system lets us; what it is then.
fn files_max() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("within the hard limit");
    limit.maximum.unwrap_or(u64::MAX)
}

/// Asks on a connection that stays open.
fn ask(stream: &mut TcpStream) {
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n")
        .expect("sent");
    let (mut answer, mut chunk) = (Vec::new(), [0; 1024]);
    while !answer.ends_with(b"{\"status\":\"alive\"}") {
        let len = stream.read(&mut chunk).expect("an answer");
        assert!(len > 0, "closed behind {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&chunk[..len]);
    }
}

#[test]
fn ten_thousand_idle_connections_take_little_memory_each_and_are_served_when_they_ask_again() {
    let files = files_max();
    let count = IDLE.min(files.saturating_sub(FILES_OF_OTHERS));
    assert!(
        count >= 2_000,
        "the system lets a process open {files} files only"
    );
    let server = "[server]\nconnections_max = 20000\nidle_timeout = \"10m\"";
    let config = config("").replacen("[server]", server, 1);
    let host = TestHost::start_within(&[(Resource::Nofile, files)], &config);
    let before = host.resident();
    let mut idle: Vec<TcpStream> = (0..count).map(|_| host.client().connect()).collect();
    idle.iter_mut().for_each(ask);
    let each = host.resident().saturating_sub(before) as u64 / count;
    assert!(each < 40_000, "{each} bytes for each of {count} idle connections");
    idle.iter_mut().for_each(ask);
}

#[test]
fn a_host_without_room_for_the_pool_serves_without_it_and_says_so() {
    let host = TestHost::start_within(&[(Resource::As, 64 << 30)], &NodeConfig::of(&[CLASSIFY]).text());
    assert!(host.log().contains("no pool of instances"), "{}", host.log());
    assert_eq!(host.client().post("/classify", r#"{"text":"hello"}"#).status, 200);
    assert_eq!(host.client().get("/readyz").json()["sandbox"]["pooled"], false);
}

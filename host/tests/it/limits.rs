//! How much a caller may ask for: requests, tokens and requests at once, by address, key and endpoint; and what is told of it.

use std::io::Write;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::client::{Answer, head, read, read_head};
use crate::edge::{KEYS, Node};
use crate::far::{ask, proxy_config, server, upstream};
use crate::generate::{eventually, send};
use crate::host::{TestHost, root};

/// A limit, and what is left of it.
fn told(answer: &Answer, unit: &str) -> (u64, u64) {
    let number = |part: &str| {
        let value = answer.header(&format!("x-ratelimit-{part}-{unit}"));
        value.expect("there").parse().expect("a number")
    };
    (number("limit"), number("remaining"))
}

/// Seconds until all of it is there again.
fn reset(answer: &Answer, unit: &str) -> f64 {
    let value = answer.header(&format!("x-ratelimit-reset-{unit}"));
    let seconds = value.expect("there").strip_suffix('s').expect("seconds");
    seconds.parse().expect("a number")
}

#[test]
fn requests_over_a_limit_are_429_with_what_is_left_and_when() {
    let node = Node::start("rate_limit = { requests = 3, per = \"1h\" }\n");
    for left in ["2", "1", "0"] {
        let answer = node.classify(&[]);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-ratelimit-limit-requests"), Some("3"));
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some(left));
    }
    let refused = node.classify(&[]);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (429, &json!("rate_limited"))
    );
    let wait: u64 = refused
        .header("retry-after")
        .expect("there")
        .parse()
        .expect("seconds");
    assert!((1100..=1200).contains(&wait), "{wait}");
    assert_eq!(told(&refused, "requests"), (3, 0));
    let reset = reset(&refused, "requests");
    assert!((3500.0..=3600.0).contains(&reset), "{reset}");
    assert_eq!(
        refused.header("x-ratelimit-limit-tokens"),
        None,
        "tokens have no limit"
    );
    let other = node.classify(&[("x-forwarded-for", "198.51.100.7")]);
    assert_eq!(other.status, 200, "another address has a limit of its own");
    let openai = node.post(
        "/v1/embeddings",
        &[],
        &json!({ "model": "classify", "input": "a" }),
    );
    let error = &openai.json()["error"];
    assert_eq!(
        (openai.status, &error["type"], &error["code"]),
        (429, &json!("rate_limit_error"), &json!("rate_limit_exceeded"))
    );
    assert_eq!(told(&openai, "requests"), (3, 0));
}

#[test]
fn tokens_are_reserved_and_settled() {
    let node = Node::start("rate_limit = { tokens = 400, per = \"1h\" }\n");
    // A request reserves more than a hundred; what it does not use comes back, so that far more than three of them fit.
    for _ in 0..8 {
        let answer = node.classify(&[]);
        assert_eq!(answer.status, 200, "{}", answer.json());
        assert_eq!(answer.header("x-ratelimit-limit-tokens"), Some("400"));
    }
    let long = "word ".repeat(100);
    node.post("/classify", &[], &json!({ "text": long }));
    let refused = node.classify(&[]);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (429, &json!("rate_limited"))
    );
    assert!(
        refused.json()["detail"]
            .as_str()
            .expect("text")
            .contains("400 tokens")
    );
    let (max, left) = told(&refused, "tokens");
    assert!(max == 400 && left < 400, "{left}");
    assert!(reset(&refused, "tokens") > 0.0);
}

#[test]
fn a_request_that_fails_behind_its_model_is_charged_what_that_used() {
    // `label` wants scores or a text, and is given vectors; `json-schema` refuses before the model runs.
    let root = root();
    let node = Node::start(&format!(
        "[models.minilm]\npath = \"{root}/models/minilm\"\n\
         [plugins.label]\npath = \"{root}/plugins/dist/label.wasm\"\n\
         [plugins.json-schema]\npath = \"{root}/plugins/dist/json-schema.wasm\"\n\
         [endpoints.wrong]\npath = \"/wrong\"\nmodel = \"minilm\"\nrate_limit = {{ tokens = 5000, per = \"24h\" }}\n\
         plugins = [{{ use = \"json-schema\", config = {{ schema = {{ required = [\"input\"] }} }} }}, {{ use = \"label\", config = {{}} }}]\n",
        root = root.display(),
    ));
    let left = |body: &Value, status: u16| {
        let answer = node.post("/wrong", &[], body);
        assert_eq!(answer.status, status, "{}", answer.json());
        let left = answer.header("x-ratelimit-remaining-tokens").expect("there");
        left.parse::<u64>().expect("a number")
    };
    let (short, long) = (
        json!({ "other": "a" }),
        json!({ "input": vec!["word ".repeat(50); 20] }),
    );
    let whole = left(&short, 422);
    assert!(left(&short, 422) >= whole, "no model ran");
    left(&long, 502);
    let after = left(&short, 422);
    assert!(after + 1000 <= whole, "{after} of {whole} are left");
}

#[test]
fn a_key_s_own_limits_go_before_those_of_all_keys() {
    let node = Node::start(&format!(
        "{KEYS}[limits]\nkey = {{ requests = 100, per = \"1h\" }}\n"
    ));
    let tight = [
        "--scope",
        "classify",
        "--name",
        "tight",
        "--requests",
        "2",
        "--per",
        "1h",
    ];
    let (_, tight) = node.key(&tight);
    let (_, wide) = node.key(&["--scope", "classify"]);
    node.eventually(&tight, 200);
    let refused = node.eventually(&tight, 429);
    assert_eq!(told(&refused, "requests"), (2, 0));
    eventually("a line in the log that says who it was", || {
        let log = node.host.log();
        log.lines()
            .any(|line| line.contains("principal=\"tight\"") && line.contains("status=429"))
    });
    let answer = node.eventually(&wide, 200);
    assert_eq!(answer.header("x-ratelimit-limit-requests"), Some("100"));
}

#[test]
fn a_key_has_so_many_requests_at_once_and_other_keys_have_theirs() {
    let node = Node::start(KEYS);
    let (_, one) = node.key(&["--scope", "classify", "--concurrent", "1"]);
    let (_, other) = node.key(&["--scope", "classify", "--concurrent", "1"]);
    // Whoever is known, those before are too.
    node.eventually(&other, 200);
    let body = br#"{"text":"a"}"#;
    let headers = [
        ("content-type", "application/json"),
        ("x-api-key", one.as_str()),
        ("expect", "100-continue"),
    ];
    let mut open = node.host.client().connect();
    open.write_all(&head("POST", "/classify", &headers, body.len()))
        .expect("sent");
    // It is let in where its body is asked for.
    assert!(read_head(&mut open).starts_with("HTTP/1.1 100 "));
    let refused = node.classify(&[("x-api-key", &one)]);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (429, &json!("rate_limited"))
    );
    assert!(
        refused.text().contains("at most 1 requests at once"),
        "{}",
        refused.text()
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.header("x-ratelimit-limit-requests"), None);
    let embed = json!({ "model": "classify", "input": "a" });
    let openai = node.post("/v1/embeddings", &[("x-api-key", &one)], &embed);
    assert_eq!(
        (openai.status, &openai.json()["error"]["code"]),
        (429, &json!("rate_limit_exceeded"))
    );
    node.eventually(&other, 200);
    open.write_all(body).expect("sent");
    assert_eq!(read(&mut open).status, 200);
    node.eventually(&one, 200);
}

#[test]
fn an_address_is_counted_whatever_it_asks_for_and_whoever_it_says_it_is() {
    let limit = "[limits]\naddress = { requests = 4, per = \"1h\" }\n";
    let node = Node::start(&format!("{KEYS}{limit}"));
    let from = |address: &str, path: &str, key: &str| {
        let headers = [("x-forwarded-for", address), ("x-api-key", key)];
        node.host.client().send("GET", path, &headers, b"")
    };
    let guess = "selvedge_0123456789_guess";
    let asked = [
        ("/v1/models", ""),
        ("/nothing", ""),
        ("/v1/models", guess),
        ("/classify", guess),
    ];
    for (left, (path, key)) in (0..4).rev().zip(asked) {
        let refused = from("203.0.113.9", path, key);
        assert_eq!(
            (refused.status, told(&refused, "requests")),
            (401, (4, left)),
            "{path}"
        );
    }
    for path in ["/v1/models", "/nothing", "/metrics"] {
        let refused = from("203.0.113.9", path, guess);
        assert_eq!(
            (refused.status, told(&refused, "requests")),
            (429, (4, 0)),
            "{path}"
        );
        assert!(refused.header("retry-after").is_some(), "{path}");
    }
    for path in ["/healthz", "/readyz", "/v2/health/live"] {
        assert_eq!(from("203.0.113.9", path, "").status, 200, "{path}");
    }
    assert_eq!(from("198.51.100.7", "/v1/models", "").status, 401);
    let open = Node::start(limit);
    for (path, status, left) in [
        ("/nothing", 404, 3),
        ("/classify", 405, 2),
        ("/v1/models", 200, 1),
    ] {
        let answer = open.host.client().get(path);
        assert_eq!(
            (answer.status, told(&answer, "requests")),
            (status, (4, left)),
            "{path}"
        );
    }
}

#[test]
fn what_answers_may_take_must_be_left_so_that_not_all_who_ask_at_once_are_let_in() {
    // The first call is never answered, all others break off.
    let (far, calls) = server(|number, stream, _| {
        if number == 0 {
            std::thread::park();
        }
        drop(stream);
    });
    let upstream = upstream("openai", far, "m") + ", retries = 0";
    let limit = "rate_limit = { tokens = 1000, per = \"24h\" }\n";
    let near = TestHost::start(&(proxy_config(&[("m", upstream)]) + limit));
    let path = "/v1/chat/completions";
    let long = ask("m", json!({ "max_tokens": 600 }));
    let open: Vec<_> = (0..3).map(|_| send(&near, path, &long)).collect();
    eventually("two are refused", || {
        let metrics = near.client().get("/metrics").text();
        metrics.contains("selvedge_rejected_total{reason=\"rate_limited\"} 2\n")
    });
    eventually("one is let in", || calls.load(Ordering::SeqCst) == 1);
    let refused = near.client().post(path, &long);
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (429, &json!("rate_limit_exceeded"))
    );
    let (max, left) = told(&refused, "tokens");
    assert!(max == 1000 && left < 400, "{left} are left");
    let short = ask("m", json!({ "max_tokens": 12 }));
    eventually("room for a short one", || {
        near.client().post(path, &short).status == 502
    });
    let many = ask("m", json!({ "max_tokens": 100, "n": 8 }));
    assert_eq!(near.client().post(path, many).status, 429, "each answer counts");
    drop(open);
    eventually("what was not used is given back", || {
        near.client().post(path, &long).status == 502
    });
}

//! Other servers as models, where something goes wrong: raw sockets that do what no server should, clients that leave.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::far::{
    HEAD, ask, event, proxy, proxy_config, relay, says, server, streamed, tls_server, upstream,
};
use crate::generate::{eventually, load, send};
use crate::host::{TestHost, demo, root};
use crate::node::{ASSISTANT, CLASSIFY, NodeConfig};

#[test]
fn tokens_that_a_templater_made_are_its_fault_where_the_server_takes_none() {
    let far = demo().address();
    let mut config = proxy_config(&[("ollama", upstream("ollama", far, "assistant"))]);
    let component = root().join("plugins/dist/hostile-answer.wasm");
    config += "plugins = [{ use = \"answer\", config = { render = \"token-ids\" } }]\n";
    config += &format!("[plugins.answer]\npath = \"{}\"\n", component.display());
    let near = TestHost::start(&config);
    let answer = near
        .client()
        .post("/v1/chat/completions", ask("ollama", json!({})));
    let error = &answer.json()["error"];
    assert_eq!(
        (answer.status, &error["code"]),
        (502, &json!("plugin-bad-prompt")),
        "{error}"
    );
    eventually("the reason in the log", || {
        near.log().contains("takes text, and was given tokens")
    });
    // A client's own are its own fault, where nothing comes between.
    let plain = proxy(&[("ollama", upstream("ollama", far, "assistant"))]);
    let body = json!({ "model": "ollama", "prompt": [1, 2, 3] });
    let answer = plain.client().post("/v1/completions", body.to_string());
    let error = &answer.json()["error"];
    assert_eq!(
        (answer.status, &error["code"]),
        (400, &json!("wrong_input")),
        "{error}"
    );
}

/// A server that does not answer as it should, and what a client is told of it.
struct Case {
    name: &'static str,
    address: SocketAddr,
    count: Arc<AtomicUsize>,
    status: u16,
    code: &'static str,
    /// Connections that it costs.
    tries: usize,
}

fn case(
    name: &'static str,
    (address, count): (SocketAddr, Arc<AtomicUsize>),
    status: u16,
    code: &'static str,
    tries: usize,
) -> Case {
    Case {
        name,
        address,
        count,
        status,
        code,
        tries,
    }
}

/// All that a server may do before its first word.
fn cases() -> [Case; 10] {
    let closed = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let deaf = server(|_, stream, _| {
        std::thread::park();
        drop(stream);
    });
    let binary = server(|_, mut stream, _| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\xff\xfe")
            .ok();
    });
    let page = "HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n<html>hi</html>";
    let key = "HTTP/1.1 401 No\r\ncontent-length: 28\r\n\r\n{\"error\":{\"message\":\"s3cr\"}}";
    let busy = "HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n";
    [
        case("down", (closed, Arc::default()), 502, "upstream_unreachable", 0),
        case("deaf", deaf, 504, "upstream_timeout", 1),
        case("hang-up", says(""), 502, "upstream_broke_off", 2),
        case(
            "not-http",
            says("hello there\r\n\r\n"),
            502,
            "upstream_broke_off",
            2,
        ),
        case("page", says(page), 502, "upstream_garbage", 1),
        case("binary", binary, 502, "upstream_garbage", 1),
        case(
            "fails",
            says("HTTP/1.1 500 Oops\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"),
            502,
            "upstream_failed",
            2,
        ),
        case("key", says(key), 502, "upstream_failed", 1),
        case("busy", says(busy), 503, "upstream_busy", 1),
        case(
            "empty",
            says("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
            502,
            "upstream_broke_off",
            2,
        ),
    ]
}

#[test]
fn what_a_server_does_instead_of_answering_has_a_status_and_a_code() {
    let cases = cases();
    let described = |case: &Case| {
        (
            case.name,
            upstream("openai", case.address, "m") + ", first_token_timeout = \"300ms\"",
        )
    };
    let upstreams: Vec<(&str, String)> = cases.iter().map(described).collect();
    let near = proxy(&upstreams);
    // Tries are counted by connections, so the servers close each: one that lay in a pool would not be counted.
    for case in &cases {
        for stream in [false, true] {
            let answer = near.client().post(
                "/v1/chat/completions",
                ask(case.name, json!({ "stream": stream })),
            );
            let (name, body) = (case.name, answer.json());
            let found = (answer.status, body["error"]["code"].as_str());
            assert_eq!(found, (case.status, Some(case.code)), "{name}: {body}");
            assert!(!body.to_string().contains("s3cr"), "{name}: {body}");
            let later = case.status == 503 || name == "down";
            assert_eq!(answer.header("retry-after").is_some(), later, "{name}");
            assert!(name != "busy" || answer.header("retry-after") == Some("7"));
            assert_eq!(case.count.swap(0, Ordering::SeqCst), case.tries, "{name}");
        }
    }
    eventually("the operator sees why", || {
        let log = near.log();
        log.contains("s3cr") && log.contains("is made again")
    });
}

#[test]
fn what_breaks_in_the_middle_is_told_in_the_stream_and_is_not_tried_again() {
    let (cut, cut_count) = server(|_, mut stream, _| {
        stream
            .write_all(format!("{HEAD}{}", event("one ")).as_bytes())
            .ok();
        stream.shutdown(Shutdown::Both).ok();
    });
    let (late, late_count) = server(|_, mut stream, _| {
        stream
            .write_all(format!("{HEAD}{}", event("one ")).as_bytes())
            .ok();
        std::thread::park();
    });
    let (failing, _) = server(|_, mut stream, _| {
        let error = "data: {\"error\":{\"message\":\"out of memory at 0x1\"}}\n\n";
        let chunk = format!("{:x}\r\n{error}\r\n0\r\n\r\n", error.len());
        stream
            .write_all(format!("{HEAD}{}{chunk}", event("one ")).as_bytes())
            .ok();
    });
    let (endless, _) = server(|_, mut stream, _| {
        stream
            .write_all(format!("{HEAD}{}", event("one ")).as_bytes())
            .ok();
        let block = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        while stream.write_all(block.as_bytes()).is_ok() {}
    });
    let near = proxy(&[
        ("cut", upstream("openai", cut, "m")),
        ("late", upstream("openai", late, "m") + ", timeout = \"400ms\""),
        ("failing", upstream("openai", failing, "m")),
        ("endless", upstream("openai", endless, "m")),
    ]);
    for (name, code) in [
        ("cut", "upstream_broke_off"),
        ("late", "upstream_timeout"),
        ("failing", "upstream_failed"),
        ("endless", "upstream_garbage"),
    ] {
        let (text, raw) = streamed(&near, &ask(name, json!({ "stream": true })));
        assert_eq!(text, "one ", "{name}: {raw}");
        assert!(
            raw.contains(code) && !raw.contains("[DONE]") && !raw.contains("0x1"),
            "{name}: {raw}"
        );
        let whole = near.client().post("/v1/chat/completions", ask(name, json!({})));
        assert_eq!(whole.json()["error"]["code"], code, "{name}");
    }
    assert_eq!(
        (
            cut_count.load(Ordering::SeqCst),
            late_count.load(Ordering::SeqCst)
        ),
        (2, 2)
    );
}

#[test]
fn a_call_that_fails_before_its_first_word_is_made_again_and_then_somewhere_else() {
    let far = demo().address();
    let (shaky, count) = server(move |number, stream, request| {
        // The first two connections are closed; the others reach a real node.
        if number > 1 {
            relay(&request, stream, far);
        }
    });
    let dead = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let near = proxy(&[
        ("shaky", upstream("openai", shaky, "assistant") + ", retries = 2"),
        (
            "dead",
            upstream("ollama", dead, "m") + ", fallback = [\"dead-too\", \"far\"]",
        ),
        ("dead-too", upstream("openai", dead, "m")),
        ("far", upstream("ollama", far, "assistant")),
    ]);
    for name in ["shaky", "dead"] {
        let whole = near
            .client()
            .post("/v1/chat/completions", ask(name, json!({})))
            .json();
        assert_eq!(whole["usage"]["completion_tokens"], 12, "{name}: {whole}");
        let (text, raw) = streamed(&near, &ask(name, json!({ "stream": true })));
        assert!(!text.is_empty() && raw.contains("[DONE]"), "{name}: {raw}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 3);
    eventually("a line in the log", || {
        near.log().contains("the next one is asked")
    });
    // What is wrong with the request itself no other server would do better.
    let wrong = json!({ "messages": [{ "role": "user", "content": "word ".repeat(3000) }] });
    let refused = near.client().post("/v1/chat/completions", ask("far", wrong));
    assert_eq!(refused.status, 400, "{}", refused.json());
}

#[test]
fn a_model_of_the_node_takes_over_where_the_other_server_is_down() {
    let dead = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let remote = upstream("openai", dead, "m") + ", fallback = [\"smollm2\"], retries = 0";
    let extra =
        format!("\n[models.remote]\nupstream = {{ {remote} }}\n[endpoints.remote]\nmodel = \"remote\"\n");
    let host = NodeConfig::of(&[]).with(&extra).start();
    let whole = host
        .client()
        .post("/v1/chat/completions", ask("remote", json!({})))
        .json();
    assert_eq!(whole["usage"]["completion_tokens"], 12, "{whole}");
    let mismatched = extra.replace("fallback = [\"smollm2\"]", "fallback = [\"minilm\"]");
    let host = NodeConfig::of(&[CLASSIFY]).with(&mismatched).start();
    let ready = host.client().get("/readyz").json().to_string();
    assert!(
        ready.contains("`minilm` is for feature-extraction, and it is for text-generation"),
        "{ready}"
    );
}

#[test]
fn a_client_that_leaves_closes_the_call_whole_or_streamed_before_or_after_the_first_word() {
    let far = NodeConfig::of(&[ASSISTANT]).with("models.smollm2.generate.slots = 1");
    let far = far.start();
    for kind in ["openai", "ollama"] {
        let near = proxy(&[("m", upstream(kind, far.address(), "assistant"))]);
        for stream in [true, false] {
            let long = ask(
                "m",
                json!({ "stream": stream, "max_tokens": 2000, "stop": ["\u{1}"], "temperature": 1.9 }),
            );
            let running = send(&near, "/v1/chat/completions", &long);
            eventually("a running sequence", || load(&far) == (1, 0));
            let queued = send(&near, "/v1/chat/completions", &long);
            eventually("a queued sequence", || load(&far) == (1, 1));
            drop(queued);
            drop(running);
            eventually("a free slot", || load(&far) == (0, 0));
            eventually("no open call", || {
                near.client().get("/readyz").json()["models"][0]["running"] == 0
            });
        }
    }
}

#[test]
fn more_calls_than_may_be_open_are_refused_at_once() {
    let (deaf, _) = server(|_, stream, _| {
        std::thread::park();
        drop(stream);
    });
    let near = proxy(&[("m", upstream("ollama", deaf, "m") + ", calls_max = 1")]);
    let _open = send(&near, "/v1/chat/completions", &ask("m", json!({})));
    eventually("an open call", || {
        near.client().get("/readyz").json()["models"][0]["running"] == 1
    });
    let started = Instant::now();
    let refused = near.client().post("/v1/chat/completions", ask("m", json!({})));
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (503, &json!("overloaded"))
    );
    assert!(refused.header("retry-after").is_some() && started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_key_is_sent_and_never_shown() {
    let far = demo().address();
    let (checking, _) = server(move |_, mut stream, request| {
        if request
            .to_ascii_lowercase()
            .contains("authorization: bearer s3cr3t\r\n")
        {
            relay(&request, stream, far);
        } else {
            stream
                .write_all(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n")
                .ok();
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key");
    std::fs::write(&file, "s3cr3t\n").expect("written");
    let key = format!(", api_key = \"${{file:{}}}\"", file.display());
    let near = proxy(&[
        ("with", upstream("openai", checking, "assistant") + &key),
        ("without", upstream("openai", checking, "assistant")),
    ]);
    assert_eq!(
        near.client()
            .post("/v1/chat/completions", ask("with", json!({})))
            .status,
        200
    );
    assert_eq!(
        near.client()
            .post("/v1/chat/completions", ask("without", json!({})))
            .status,
        502
    );
    let shown = near.log() + &near.client().get("/readyz").json().to_string();
    assert!(!shown.contains("s3cr3t"), "{shown}");
}

#[test]
fn a_server_behind_tls_is_spoken_to_where_an_authority_vouches_for_it_and_not_otherwise() {
    let folder = tempfile::tempdir().expect("a folder");
    let (address, ca) = tls_server(demo().address(), folder.path());
    let trusting = upstream("openai", address, "assistant").replace("http://", "https://");
    let near = proxy(&[
        ("trusting", format!("{trusting}, ca = \"{}\"", ca.display())),
        ("wary", format!("{trusting}, retries = 0")),
        ("broken", format!("{trusting}, ca = \"/nowhere.pem\"")),
    ]);
    let whole = near
        .client()
        .post("/v1/chat/completions", ask("trusting", json!({})));
    assert_eq!(whole.json()["usage"]["completion_tokens"], 12, "{}", whole.json());
    let refused = near.client().post("/v1/chat/completions", ask("wary", json!({})));
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (502, &json!("upstream_unreachable"))
    );
    eventually("a line in the log", || near.log().contains("UnknownIssuer"));
    let ready = near.client().get("/readyz").json().to_string();
    assert!(ready.contains("`ca`: /nowhere.pem cannot be read"), "{ready}");
}

#[test]
fn an_upstream_that_leads_back_to_its_node_is_not_asked_round_and_round() {
    let nowhere: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    let host = proxy(&[("round", upstream("openai", nowhere, "round"))]);
    let config = std::fs::read_to_string(host.file()).expect("read");
    let back = config.replace("http://127.0.0.1:1\"", &format!("http://{}\"", host.address()));
    std::fs::write(host.file(), back).expect("written");
    host.hang_up();
    eventually("the reload", || {
        host.client().get("/readyz").json()["generation"] == 2
    });
    let answer = host
        .client()
        .post("/v1/chat/completions", ask("round", json!({})));
    assert_eq!(answer.status, 502, "{}", answer.text());
    eventually("a line in the log", || host.log().contains("leads back to it"));
    let metrics = host.client().get("/metrics").text();
    let refused = metrics
        .lines()
        .filter(|line| line.starts_with("selvedge_requests_total") && line.contains("code=\"508\""));
    let refused: Vec<&str> = refused.collect();
    assert!(
        refused
            .iter()
            .all(|line| line.ends_with(" 1") || line.ends_with(" 2"))
            && !refused.is_empty(),
        "a call and its retry: {refused:?}"
    );
}

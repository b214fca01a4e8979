//! The wire: requests that two readers could read in two ways, heads beyond reason, packed bodies, browsers of other origins.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;

use crate::client::{Answer, read};
use crate::edge::config;
use crate::host::{TestHost, classifier};

const JSON: (&str, &str) = ("content-type", "application/json");

/// Answer of a node to these bytes, after which the client sends no more, up to the end of the connection.
fn raw(bytes: &[u8]) -> String {
    let stream = begin(classifier(), bytes);
    stream.shutdown(Shutdown::Write).ok();
    rest(stream)
}

fn begin(host: &TestHost, bytes: &[u8]) -> TcpStream {
    let mut stream = host.client().connect();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("set");
    stream.write_all(bytes).expect("sent");
    stream
}

fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    String::from_utf8_lossy(&answer).into_owned()
}

fn statuses(answer: &str) -> Vec<&str> {
    // A body ends without a line's end, and the next answer would follow it at once.
    answer
        .split("HTTP/1.1 ")
        .skip(1)
        .filter_map(|rest| rest.get(..3))
        .collect()
}

#[test]
fn a_body_of_two_lengths_is_refused_and_nothing_behind_it_is_read() {
    let hidden = "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";
    let two = format!(
        "POST /classify HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ncontent-length: 40\r\n\r\n{{}}  {hidden}"
    );
    assert_eq!(statuses(&raw(two.as_bytes())), ["400"]);
    // A length and chunks: the chunks count, as RFC 9112 6.3 has it, and the connection must not be used on.
    let both = format!(
        "POST /classify HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 60\r\ntransfer-encoding: \
         chunked\r\n\r\n0\r\n\r\n{hidden}"
    );
    let answer = raw(both.as_bytes());
    let codes = statuses(&answer);
    assert!(codes == ["400"] || codes == ["422"], "{answer}");
    let unknown =
        "POST /classify HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n";
    assert_eq!(statuses(&raw(unknown.as_bytes())), ["400"]);
    for head in [
        "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n folded: b\r\n\r\n",
        "GET  /  HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(statuses(&raw(head.as_bytes())), ["400"], "{head:?}");
    }
}

#[test]
fn chunks_count_where_a_length_stands_beside_them_and_the_connection_ends() {
    let body = r#"{"text":"a"}"#;
    let (length, chunks) = ("content-length: 4\r\n", "transfer-encoding: chunked\r\n");
    for framing in [[length, chunks].concat(), [chunks, length].concat()] {
        let request = format!(
            "POST /classify HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n{framing}\r\n{:x}\r\n{body}\r\n0\r\n\r\n\
             GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n",
            body.len()
        );
        let mut stream = classifier().client().connect();
        stream.write_all(request.as_bytes()).expect("sent");
        // Nothing is shut on this side: it is the host that ends the connection.
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("its end");
        assert_eq!(statuses(&answer), ["200"], "{framing:?}: {answer}");
    }
}

#[test]
fn a_head_beyond_reason_is_431() {
    let many: String = (0..1000).map(|count| format!("x-{count}: a\r\n")).collect();
    assert_eq!(
        statuses(&raw(
            format!("GET /healthz HTTP/1.1\r\nhost: a\r\n{many}\r\n").as_bytes()
        )),
        ["431"]
    );
    let long = "a".repeat(80 << 10);
    assert_eq!(
        statuses(&raw(format!(
            "GET /healthz HTTP/1.1\r\nhost: a\r\nx-long: {long}\r\n\r\n"
        )
        .as_bytes())),
        ["431"]
    );
    assert_eq!(classifier().client().get("/healthz").status, 200);
}

#[test]
fn how_long_a_head_may_be_is_the_operators_affair() {
    let node = |headers: usize, size: &str| {
        let keys = format!("headers_max = {headers}\nhead_size_max = \"{size}\"\n[state]");
        TestHost::start(&config("").replacen("[state]", &keys, 1))
    };
    let ask = |host: &TestHost, headers: usize, value_len: usize| {
        let value = "a".repeat(value_len);
        let headers: String = (2..headers)
            .map(|count| format!("x-{count}: {value}\r\n"))
            .collect();
        // The node ends the connection: a client that shuts its side while it is not answered yet has left.
        let head = format!("GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n");
        statuses(&rest(begin(host, head.as_bytes()))).join(" ")
    };
    let (narrow, wide) = (node(10, "8KiB"), node(1000, "256KiB"));
    assert_eq!(ask(&narrow, 10, 100), "200");
    assert_eq!(ask(&narrow, 11, 100), "431");
    assert_eq!(ask(&narrow, 10, 1200), "431");
    assert_eq!(ask(&wide, 1000, 100), "200");
    assert_eq!(ask(&wide, 1001, 100), "431");
    assert_eq!(ask(&wide, 10, 40 << 10), "431");
}

fn packed(encoding: &str, body: &[u8]) -> Answer {
    classifier()
        .client()
        .send("POST", "/classify", &[JSON, ("content-encoding", encoding)], body)
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(text).expect("packed");
    packer.finish().expect("packed")
}

#[test]
fn packed_bodies_are_unpacked_and_bombs_are_413() {
    let body = br#"{"text":"WINNER!! Claim your free prize now, call 09061701461"}"#;
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(body).expect("packed");
    let bodies = [
        ("gzip", gzip(body)),
        ("deflate", zlib.finish().expect("packed")),
        ("zstd", zstd::encode_all(&body[..], 0).expect("packed")),
        ("identity", body.to_vec()),
    ];
    for (encoding, body) in bodies {
        let answer = packed(encoding, &body);
        assert_eq!(
            (answer.status, &answer.json()["label"]),
            (200, &json!("SPAM")),
            "{encoding}"
        );
    }
    let bomb = gzip(&vec![b' '; 256 << 20]);
    assert!(bomb.len() < 1 << 20);
    let before = classifier().resident();
    let refused = packed("gzip", &bomb);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (413, &json!("body_too_large"))
    );
    assert!(classifier().resident() < before + (64 << 20), "the bomb went off");
    let broken = packed("gzip", &gzip(body)[..20]);
    assert_eq!(
        (broken.status, &broken.json()["code"]),
        (400, &json!("body_broken"))
    );
    let unknown = packed("br", body);
    assert_eq!(
        (unknown.status, &unknown.json()["code"]),
        (415, &json!("unsupported_encoding"))
    );
}

#[test]
fn browsers_of_configured_origins_may_call_and_others_may_not() {
    let host = TestHost::start(&config("").replacen(
        "[state]",
        "cors = { origins = [\"https://app.test\"] }\n[state]",
        1,
    ));
    let ask = |method: &str, origin: &str, more: &[(&str, &str)]| {
        let headers = [&[("origin", origin), JSON], more].concat();
        host.client()
            .send(method, "/classify", &headers, br#"{"text":"a"}"#)
    };
    let wanted = [
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];
    let preflight = ask("OPTIONS", "https://app.test", &wanted);
    assert_eq!(preflight.status, 204);
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        Some("https://app.test")
    );
    assert_eq!(
        preflight.header("access-control-allow-headers"),
        Some("authorization")
    );
    let answer = ask("POST", "https://app.test", &[]);
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, Some("https://app.test"))
    );
    assert_eq!(answer.header("vary"), Some("origin"));
    let stranger = ask("POST", "https://evil.test", &[]);
    assert_eq!(stranger.header("access-control-allow-origin"), None);
    let without = classifier().client().send(
        "OPTIONS",
        "/classify",
        &[("origin", "https://a.test"), wanted[0]],
        b"",
    );
    assert_eq!(without.status, 405);
}

#[tokio::test]
async fn requests_that_are_reset_at_once_cost_nobody_else_anything() {
    let host = TestHost::start(&config(""));
    let connect = async || {
        let stream = tokio::net::TcpStream::connect(host.address())
            .await
            .expect("the host listens");
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        handshake.await.expect("HTTP/2")
    };
    let request = || {
        let body = http_body_util::Full::new(bytes::Bytes::from_static(br#"{"text":"a"}"#));
        let request = http::Request::post("http://test/classify").header("content-type", "application/json");
        request.body(body).expect("a request")
    };
    let mut driver = tokio::task::JoinSet::new();
    let (mut sender, connection) = connect().await;
    driver.spawn(connection);
    for _ in 0..20_000 {
        // Sent, and given up before there is an answer; the host may end the connection for it.
        if sender.ready().await.is_err() {
            break;
        }
        let sent = sender.send_request(request());
        tokio::task::yield_now().await;
        drop(sent);
    }
    let (mut other, connection) = connect().await;
    driver.spawn(connection);
    let answer = other.send_request(request()).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert!(host.resident() < 400 << 20);
}

#[test]
fn an_answer_to_a_head_has_no_body() {
    let mut stream = classifier().client().connect();
    stream
        .write_all(b"HEAD /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .expect("sent");
    let answer = read(&mut stream);
    assert_eq!((answer.status, answer.body.len()), (200, 0));
}

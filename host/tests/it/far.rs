//! The other servers that the tests talk to through a node: ones that pass on what they hear, and ones that do what no server should.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::host::TestHost;

/// A node whose endpoints are other servers: each an endpoint's name with its `upstream`.
pub(crate) fn proxy(upstreams: &[(&str, String)]) -> TestHost {
    TestHost::start(&proxy_config(upstreams))
}

pub(crate) fn proxy_config(upstreams: &[(&str, String)]) -> String {
    let state = Path::new(env!("CARGO_TARGET_TMPDIR")).join("state");
    let mut config = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[state]\ndir = \"{}\"\n",
        state.display()
    );
    for (name, upstream) in upstreams {
        config += &format!("[models.{name}]\nupstream = {{ {upstream} }}\n");
        config += &format!("[endpoints.{name}]\npath = \"/{name}\"\nmodel = \"{name}\"\n");
    }
    config
}

pub(crate) fn upstream(kind: &str, address: SocketAddr, model: &str) -> String {
    format!("kind = \"{kind}\", url = \"http://{address}\", model = \"{model}\"")
}

pub(crate) fn ask(model: &str, extra: Value) -> String {
    let mut body = json!({
        "model": model, "temperature": 0, "max_tokens": 12,
        "messages": [{ "role": "user", "content": "List three fruits." }],
    });
    for (key, value) in extra.as_object().expect("fields") {
        body[key] = value.clone();
    }
    body.to_string()
}

/// The text of a chat's chunks, and the chunks.
pub(crate) fn streamed(host: &TestHost, body: &str) -> (String, String) {
    let answer = host.client().post("/v1/chat/completions", body);
    let raw = String::from_utf8(answer.body).expect("UTF-8");
    let chunks = raw.lines().filter_map(|line| line.strip_prefix("data: {"));
    let text = chunks.map(|chunk| {
        let chunk: Value = serde_json::from_str(&format!("{{{chunk}")).expect("JSON");
        chunk["choices"][0]["delta"]["content"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    });
    (text.collect(), raw)
}

/// A server that does what it is told with each connection, given its number; it reads a request first.
pub(crate) fn server(
    deed: impl Fn(usize, TcpStream, String) + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let count = Arc::new(AtomicUsize::new(0));
    let (counted, deed) = (Arc::clone(&count), Arc::new(deed));
    let accept = move || {
        for stream in listener.incoming().flatten() {
            let (number, deed) = (counted.fetch_add(1, Ordering::SeqCst), Arc::clone(&deed));
            let work = move || {
                let request = read_request(&stream);
                deed(number, stream, request);
            };
            std::thread::Builder::new().spawn(work).expect("a thread");
        }
    };
    std::thread::Builder::new().spawn(accept).expect("a thread");
    (address, count)
}

/// A request with its body.
pub(crate) fn read_request(stream: impl Read) -> String {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    let mut len = 0;
    while reader.read_line(&mut head).is_ok_and(|read| read > 2) {
        let line = head.lines().last().unwrap_or_default().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length: ") {
            len = value.trim().parse().expect("a number");
        }
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok();
    head + &String::from_utf8_lossy(&body)
}

pub(crate) fn says(answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    server(move |_, mut stream, _| {
        stream.write_all(answer.as_bytes()).ok();
    })
}

/// Passes a connection on to another server, both ways, to its end.
pub(crate) fn relay(request: &str, mut from: TcpStream, to: SocketAddr) {
    let mut far = TcpStream::connect(to).expect("it listens");
    far.write_all(request.as_bytes()).expect("sent");
    let mut near = from.try_clone().expect("cloned");
    let mut back = far.try_clone().expect("cloned");
    let answers = std::thread::Builder::new().spawn(move || {
        std::io::copy(&mut back, &mut near).ok();
        near.shutdown(Shutdown::Both).ok();
    });
    std::io::copy(&mut from, &mut far).ok();
    far.shutdown(Shutdown::Both).ok();
    answers.expect("a thread").join().expect("no panic");
}

pub(crate) const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// An event of a chat as one chunk of HTTP/1.1.
pub(crate) fn event(text: &str) -> String {
    let data = json!({ "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }] });
    let event = format!("data: {data}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len())
}

/// A server with a certificate that only its own authority vouches for; it passes on what it hears to another one.
pub(crate) fn tls_server(to: SocketAddr, folder: &Path) -> (SocketAddr, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
        .expect("a certificate");
    let ca = folder.join("ca.pem");
    std::fs::write(&ca, made.cert.pem()).expect("written");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .expect("a key that fits");
    let (config, listener) = (
        Arc::new(config),
        TcpListener::bind("127.0.0.1:0").expect("a port"),
    );
    let address = listener.local_addr().expect("bound");
    let serve = move || {
        for stream in listener.incoming().flatten() {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).expect("a session");
            let mut near = rustls::StreamOwned::new(session, stream);
            // Who does not trust the certificate hangs up before a request.
            let request = read_request(&mut near);
            let mut far = TcpStream::connect(to).expect("it listens");
            let text = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
            if !request.is_empty() && far.write_all(text.as_bytes()).is_ok() {
                std::io::copy(&mut far, &mut near).ok();
                near.conn.send_close_notify();
                near.flush().ok();
            }
        }
    };
    std::thread::Builder::new().spawn(serve).expect("a thread");
    (address, ca)
}

//! The other servers that the tests talk to through a node: llama.cpp's, and ones that do what no server should.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::client::Client;
use crate::host::{TestHost, root};

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

/// llama.cpp's server, on the same weights as `models/smollm2`.
pub(crate) struct LlamaCpp(Child, pub(crate) SocketAddr);

impl LlamaCpp {
    pub(crate) fn start() -> Self {
        let target = root().join("target");
        let python = std::env::var_os("SELVEDGE_TEST_LLAMA")
            .map_or_else(|| target.join("venv-llama/bin/python"), Into::into);
        let gguf = std::env::var_os("SELVEDGE_TEST_GGUF")
            .map_or_else(|| target.join("models/smollm2.gguf"), Into::into);
        let mut child = Command::new(&python)
            .args([
                "-m",
                "llama_cpp.server",
                "--host",
                "127.0.0.1",
                "--port",
                "0",
                "--n_ctx",
                "512",
                "--n_threads",
                "2",
            ])
            .args(["--model_alias", "smollm2", "--model"])
            .arg(&gguf)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask test`", python.display()));
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut seen = String::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                panic!("llama.cpp's server ended:\n{seen}")
            };
            seen += &format!("{line}\n");
            if let Some((_, rest)) = line.split_once("running on http://") {
                let address = rest.split(' ').next().unwrap_or_default();
                break address.parse().expect("an address");
            }
        };
        let drain = std::thread::Builder::new().spawn(move || lines.for_each(drop));
        drain.expect("a thread");
        Self(child, address)
    }

    /// Its own answer to a chat, with no node between.
    pub(crate) fn chat(&self, body: &str) -> Value {
        let mut stream = Client::new(self.1).begin("/v1/chat/completions", body);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }
}

impl Drop for LlamaCpp {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
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

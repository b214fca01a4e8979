//! llama.cpp's server as a model. What it answered is recorded in `host/tests/llama`, byte for byte, and each change is tested
//! against that; `deep_llama` asks the server itself, on the same weights as `models/smollm2`, and records with `UPDATE_GOLDEN=1`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::far::{ask, proxy, server, streamed, upstream};
use crate::host::{TestHost, root};

/// Requests that it is asked one after the other, by the names of what was recorded of them.
const CHAT: &str = "chat";
const COMPLETION: &str = "completion";
const TOO_LONG: &str = "too-long";

fn recording(name: &str) -> PathBuf {
    root().join("host/tests/llama").join(format!("{name}.http"))
}

/// A node before a server, and which recording is at hand.
struct Near {
    host: TestHost,
    recording: Arc<Mutex<&'static str>>,
}

impl Near {
    /// A node before what was recorded.
    fn recorded() -> Self {
        let recording: Arc<Mutex<&'static str>> = Arc::new(Mutex::new(CHAT));
        let name = Arc::clone(&recording);
        let (address, _) = server(move |_, mut stream, _| {
            let name = *name.lock().expect("no panic");
            let answer = std::fs::read(self::recording(name)).expect("recorded");
            stream.write_all(&answer).ok();
        });
        Self::before(address, recording)
    }

    fn before(address: SocketAddr, recording: Arc<Mutex<&'static str>>) -> Self {
        Self {
            host: proxy(&[("llama", upstream("openai", address, "smollm2"))]),
            recording,
        }
    }

    fn says(&self, recording: &'static str) -> &TestHost {
        *self.recording.lock().expect("no panic") = recording;
        &self.host
    }

    /// Asks for all that is recorded; `text` is what the server says in a chat, and `finish` why it ends.
    fn chats_whole_and_bit_by_bit(&self, text: &str, finish: &Value) {
        let host = self.says(CHAT);
        let asked = |more: Value| {
            let mut body: Value =
                serde_json::from_str(&ask("llama", json!({ "max_tokens": 24 }))).expect("JSON");
            for (key, value) in more.as_object().expect("fields") {
                body[key] = value.clone();
            }
            body.to_string()
        };
        let whole = host
            .client()
            .post("/v1/chat/completions", asked(json!({})))
            .json();
        assert!(text.len() > 20, "{text}");
        assert_eq!(whole["choices"][0]["message"]["content"], text, "{whole}");
        assert_eq!(&whole["choices"][0]["finish_reason"], finish, "{whole}");
        // It tells no counts with a stream; the pieces stand for them.
        assert!(
            whole["usage"]["completion_tokens"]
                .as_u64()
                .is_some_and(|count| (8..=24).contains(&count)),
            "{whole}"
        );
        let (said, raw) = streamed(host, &asked(json!({ "stream": true })));
        assert_eq!(said, text, "{raw}");
        assert!(
            raw.lines().filter(|line| line.starts_with("data: ")).count() > 10,
            "{raw}"
        );
        let ollama = json!({ "model": "llama", "prompt": "Once upon a time", "raw": true, "options": { "num_predict": 8, "temperature": 0 } });
        let host = self.says(COMPLETION);
        let lines = host.client().post("/api/generate", ollama.to_string()).text();
        assert!(
            lines.lines().count() > 4 && lines.contains("\"done\":true"),
            "{lines}"
        );
        // A prompt beyond its context ends its stream, whose status is sent by then, without a word.
        let long = json!({ "messages": [{ "role": "user", "content": "word ".repeat(900) }] });
        let host = self.says(TOO_LONG);
        let refused = host.client().post("/v1/chat/completions", asked(long));
        assert_eq!(
            (refused.status, &refused.json()["error"]["code"]),
            (502, &json!("upstream_broke_off"))
        );
    }
}

/// The text of a recorded stream, and why it ended, read by other means than a node's.
fn told(recorded: &str) -> (String, Value) {
    let (mut text, mut finish) = (String::new(), Value::Null);
    for event in recorded.lines().filter_map(|line| line.strip_prefix("data: {")) {
        let event: Value = serde_json::from_str(&format!("{{{event}")).expect("JSON");
        let choice = &event["choices"][0];
        text += choice["delta"]["content"].as_str().unwrap_or_default();
        if !choice["finish_reason"].is_null() {
            finish = choice["finish_reason"].clone();
        }
    }
    (text, finish)
}

#[test]
fn what_llama_cpp_s_server_answered_is_passed_on_whole_and_bit_by_bit() {
    let recorded = std::fs::read_to_string(recording(CHAT)).expect("recorded");
    let (text, finish) = told(&recorded);
    Near::recorded().chats_whole_and_bit_by_bit(&text, &finish);
}

mod deep_llama {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{Shutdown, SocketAddr, TcpStream};
    use std::process::{Child, Command, Stdio};
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};

    use super::{CHAT, Near, recording};
    use crate::client::Client;
    use crate::far::{ask, server};
    use crate::host::root;

    #[test]
    #[ignore = "deep: llama"]
    fn its_server_chats_whole_and_bit_by_bit() {
        let llama = LlamaCpp::start();
        let name = Arc::new(Mutex::new(CHAT));
        let near = Near::before(recorder(llama.1, Arc::clone(&name)), name);
        // What it says when it is asked itself; its words depend on the processor.
        let own = llama.chat(&ask("smollm2", json!({ "max_tokens": 24 })));
        let own = &own["choices"][0];
        let text = own["message"]["content"].as_str().expect("text");
        near.chats_whole_and_bit_by_bit(text, &own["finish_reason"]);
    }

    /// A server that passes on what it hears to another one and back, and records the answers where that is asked for.
    fn recorder(to: SocketAddr, name: Arc<Mutex<&'static str>>) -> SocketAddr {
        let pass_on = move |_, mut stream: TcpStream, request: String| {
            let name = *name.lock().expect("no panic");
            let mut far = TcpStream::connect(to).expect("it listens");
            let once = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
            far.write_all(once.as_bytes()).expect("sent");
            let (mut answer, mut part) = (Vec::new(), [0; 4096]);
            while let Ok(len @ 1..) = far.read(&mut part) {
                answer.extend_from_slice(&part[..len]);
                stream.write_all(&part[..len]).ok();
            }
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::write(recording(name), answer).expect("written");
            }
            stream.shutdown(Shutdown::Both).ok();
        };
        server(pass_on).0
    }

    /// llama.cpp's server, on the same weights as `models/smollm2`.
    struct LlamaCpp(Child, SocketAddr);

    impl LlamaCpp {
        fn start() -> Self {
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
                .unwrap_or_else(|error| {
                    panic!(
                        "{}: {error}; run `cargo xtask test --deep llama`",
                        python.display()
                    )
                });
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
        fn chat(&self, body: &str) -> Value {
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
}

//! A server that webhooks are sent to: answers as the test says, and keeps what came.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A message that came.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Message {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The signature as the specification says that it is made, by this test's own HMAC.
    pub(crate) fn expected_signature(&self, key: &[u8]) -> String {
        let signed = format!(
            "{}.{}.{}",
            self.header("webhook-id"),
            self.header("webhook-timestamp"),
            self.body
        );
        format!("v1,{}", STANDARD.encode(hmac(key, signed.as_bytes())))
    }
}

/// HMAC-SHA256 as RFC 2104 has it, for keys of at most a block.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(text)
        .finalize();
    Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize()
        .to_vec()
}

/// The server. It lives as long as the test's process.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    status: Arc<AtomicU16>,
    messages: Arc<Mutex<Vec<Message>>>,
}

/// Instead of a status: the message is read and never answered.
pub(crate) const SILENCE: u16 = 0;

impl Receiver {
    /// Listens on a free port, and answers with a status.
    pub(crate) fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let receiver = Self {
            address: listener.local_addr().expect("an address"),
            status: Arc::new(AtomicU16::new(status)),
            messages: Arc::default(),
        };
        let server = receiver.clone();
        let serve = move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                let thread = std::thread::Builder::new().name("receiver".to_owned());
                thread.spawn(move || server.serve(stream)).expect("a thread");
            }
        };
        std::thread::Builder::new()
            .name("receivers".to_owned())
            .spawn(serve)
            .expect("a thread");
        receiver
    }

    /// Answers so from now on.
    pub(crate) fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// What came so far, taken or not.
    pub(crate) fn messages(&self) -> Vec<Message> {
        self.messages.lock().expect("no panic").clone()
    }

    /// Ids of the requests that came so far.
    pub(crate) fn request_ids(&self) -> std::collections::BTreeSet<String> {
        let id = |message: &Message| {
            message.json()["data"]["request_id"]
                .as_str()
                .expect("an id")
                .to_owned()
        };
        self.messages().iter().map(id).collect()
    }

    fn serve(&self, mut stream: TcpStream) {
        while let Some(message) = read(&mut stream) {
            self.messages.lock().expect("no panic").push(message);
            let status = self.status.load(Ordering::SeqCst);
            if status == SILENCE {
                loop {
                    std::thread::park();
                }
            }
            let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: 0\r\n\r\n");
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// Reads one message; none where the connection ends before it is whole.
fn read(stream: &mut TcpStream) -> Option<Message> {
    let mut bytes = Vec::new();
    let head_len = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        take(stream, &mut bytes)?;
    };
    let head = String::from_utf8_lossy(&bytes[..head_len]).into_owned();
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers: Vec<(String, String)> = lines
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let len = headers.iter().find(|(name, _)| name == "content-length");
    let len: usize = len.and_then(|(_, len)| len.parse().ok()).expect("a length");
    while bytes.len() < head_len + len {
        take(stream, &mut bytes)?;
    }
    let body = String::from_utf8(bytes[head_len..].to_vec()).expect("text");
    Some(Message { headers, body })
}

fn take(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 4096];
    match stream.read(&mut chunk) {
        Ok(len @ 1..) => bytes.extend_from_slice(&chunk[..len]),
        _ => return None,
    }
    Some(())
}

//! A client of raw sockets: what is sent is exactly what the test says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Headers that an answer may have; another one is a leak or a mistake.
const HEADERS: [&str; 27] = [
    "content-type",
    "content-length",
    "date",
    "x-request-id",
    "retry-after",
    "allow",
    "connection",
    "vary",
    "cache-control",
    "x-accel-buffering",
    "transfer-encoding",
    "inference-header-content-length",
    "www-authenticate",
    "access-control-allow-origin",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-expose-headers",
    "access-control-max-age",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "etag",
    "content-security-policy",
    "x-content-type-options",
];

/// Sends requests to one host, each on a connection of its own.
#[derive(Clone, Copy)]
pub(crate) struct Client(SocketAddr);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self(address)
    }

    /// A connection with time-outs, so that no test hangs.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.0).expect("the host listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("set");
        stream
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    /// Posts JSON.
    pub(crate) fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send(
            "POST",
            path,
            &[("content-type", "application/json")],
            body.as_ref(),
        )
    }

    /// Posts JSON and does not read the answer.
    pub(crate) fn begin(&self, path: &str, body: &str) -> TcpStream {
        let mut stream = self.connect();
        let head = head("POST", path, &[("content-type", "application/json")], body.len());
        stream
            .write_all(&[&head, body.as_bytes()].concat())
            .expect("sent");
        stream
    }

    /// Posts JSON to a host that may be killed meanwhile: an answer, where all of it came.
    pub(crate) fn try_post(&self, path: &str, body: &str) -> Option<Answer> {
        let mut stream = TcpStream::connect(self.0).ok()?;
        let head = head("POST", path, &[("content-type", "application/json")], body.len());
        stream.write_all(&[&head, body.as_bytes()].concat()).ok()?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).ok()?;
        parse(&bytes).filter(Answer::is_whole)
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream
            .write_all(&head(method, path, headers, body.len()))
            .expect("sent");
        // The host may answer, and close, before it has all of the body.
        stream.write_all(body).ok();
        read(&mut stream)
    }
}

/// The head of a request that closes its connection.
pub(crate) fn head(method: &str, path: &str, headers: &[(&str, &str)], len: usize) -> Vec<u8> {
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {len}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    (head + "\r\n").into_bytes()
}

/// Reads one answer to the end of the connection, and checks its headers against the list.
pub(crate) fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    parse(&bytes).unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(&bytes)))
}

/// Reads one answer of a connection that goes on behind it.
pub(crate) fn read_next(stream: &mut TcpStream) -> Answer {
    let mut bytes = read_head(stream).into_bytes();
    loop {
        match parse(&bytes) {
            Some(answer) if answer.is_whole() => return answer,
            _ => bytes.push(read_byte(stream)),
        }
    }
}

/// Reads the head of an answer, to its empty line, and no further.
pub(crate) fn read_head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(read_byte(stream));
    }
    String::from_utf8(bytes).expect("text")
}

fn read_byte(stream: &mut TcpStream) -> u8 {
    let mut byte = [0];
    stream.read_exact(&mut byte).expect("more of the answer");
    byte[0]
}

/// An answer, where its head is there.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let head_len = bytes.windows(4).position(|end| end == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..head_len]);
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    for (name, _) in &headers {
        assert!(
            HEADERS.contains(&name.as_str()),
            "the answer has the header `{name}`"
        );
    }
    Some(Answer {
        status: status.expect("a status"),
        headers,
        body: bytes[head_len + 4..].to_vec(),
    })
}

impl Answer {
    /// Whether its body is as long as its head says, or its last chunk is there.
    fn is_whole(&self) -> bool {
        match self.header("content-length") {
            Some(len) => len.parse() == Ok(self.body.len()),
            None => self.body.ends_with(b"0\r\n\r\n"),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The entry of FastAPI's `detail` list, where the answer is a 422 with one.
    pub(crate) fn problem(&self) -> Value {
        assert_eq!(self.status, 422, "{}", String::from_utf8_lossy(&self.body));
        self.json()["detail"][0].clone()
    }
}

//! A node on a free port with an endpoint of each kind, and one connection to it.

use std::net::SocketAddr;
use std::path::Path;

use selvedge::app::Node;
use selvedge::config::{Address, Config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// What a body is sent as.
pub struct Request {
    /// The path.
    pub path: &'static str,
    /// The media type.
    pub media_type: &'static str,
    /// Another header, or none.
    pub header: &'static str,
    /// Whether it asks for text of the server that is not there.
    pub generates: bool,
}

const fn json(path: &'static str, generates: bool) -> Request {
    Request {
        path,
        media_type: "application/json",
        header: "",
        generates,
    }
}

/// Every way in.
pub const REQUESTS: [Request; 17] = [
    json("/classify", false),
    json("/embed", false),
    json("/v1/embeddings", false),
    json("/v1/chat/completions", true),
    json("/v1/completions", true),
    json("/generate", true),
    json("/api/generate", true),
    json("/api/chat", true),
    json("/api/embed", false),
    json("/api/embeddings", false),
    json("/api/show", false),
    json("/v2/models/tensors/infer", false),
    Request {
        path: "/v2/models/tensors/infer",
        media_type: "application/octet-stream",
        header: "inference-header-content-length: 160\r\n",
        generates: false,
    },
    json("/v2/models/chat/generate", true),
    json("/v2/models/chat/generate_stream", true),
    Request {
        path: "/form",
        media_type: "multipart/form-data; boundary=b",
        header: "",
        generates: false,
    },
    Request {
        path: "/classify",
        media_type: "application/json",
        header: "content-encoding: gzip\r\n",
        generates: false,
    },
];

/// The address of nothing: what generates is refused there, after its request was read.
const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
body_size_max = "1MiB"

[state]
dir = "{state}"

[models.spam]
path = "{root}/models/spam"

[models.minilm]
path = "{root}/models/minilm"

[models.tensors]
path = "{root}/models/minilm-tensor"

[models.remote.upstream]
kind = "openai"
url = "http://127.0.0.1:1"
model = "m"
retries = 0

[plugins.prompt-template]
path = "{root}/plugins/dist/prompt-template.wasm"

[endpoints.classify]
path = "/classify"
model = "spam"

[endpoints.form]
path = "/form"
model = "spam"
uploads = { files = ["file"], parts_max = 16 }
plugins = [{ use = "prompt-template", config = { template = "{{ text }}" } }]

[endpoints.embed]
path = "/embed"
model = "minilm"

[endpoints.tensors]
model = "tensors"

[endpoints.chat]
path = "/generate"
model = "remote"
"#;

/// A node that serves.
pub struct Served {
    executor: Runtime,
    address: SocketAddr,
    connection: tokio::sync::Mutex<Option<TcpStream>>,
    _node: Node,
    _state: tempfile::TempDir,
}

impl Served {
    /// Starts it; it needs what `cargo xtask setup` makes.
    ///
    /// # Panics
    ///
    /// Where it cannot be started, or an endpoint is broken.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "it binds and loads, which no default does"
    )]
    pub fn new() -> Self {
        let executor = Runtime::new().expect("an executor");
        let state = tempfile::tempdir().expect("a folder");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().expect("the project");
        let text = CONFIG
            .replace("{root}", &root.to_string_lossy())
            .replace("{state}", &state.path().to_string_lossy());
        let config = Config::parse(&root.join("configs/fuzz.toml"), &text).expect("it is well-formed");
        let node = executor.block_on(async {
            let mut node = Node::bind(config, Vec::new()).expect("bound");
            node.accept();
            let generation = node.load(|_| ()).await.expect("loaded");
            let faults: Vec<_> = generation.faults().collect();
            assert!(faults.is_empty(), "{faults:?}");
            node
        });
        Self {
            address: match node.addresses().first() {
                Some(Address::Tcp(address)) => *address,
                other => panic!("{other:?} is no address of the network"),
            },
            connection: tokio::sync::Mutex::default(),
            executor,
            _node: node,
            _state: state,
        }
    }

    /// Sends a body and answers the status. The answer is read to its end.
    ///
    /// # Panics
    ///
    /// Where there is no answer.
    #[must_use]
    pub fn post(&self, request: &Request, body: &[u8]) -> u16 {
        self.executor.block_on(async {
            let mut connection = self.connection.lock().await;
            if let Some(stream) = connection.as_mut()
                && let Ok((status, keeps)) = exchange(stream, request, body).await
            {
                if !keeps {
                    *connection = None;
                }
                return status;
            }
            // The node may have closed the one before.
            let mut stream = TcpStream::connect(self.address).await.expect("it listens");
            let (status, keeps) = exchange(&mut stream, request, body).await.expect("an answer");
            *connection = keeps.then_some(stream);
            status
        })
    }
}

/// One request and its answer: the status, and whether the connection may be used again.
async fn exchange(stream: &mut TcpStream, request: &Request, body: &[u8]) -> std::io::Result<(u16, bool)> {
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: a\r\ncontent-type: {}\r\n{}content-length: {}\r\n\r\n",
        request.path,
        request.media_type,
        request.header,
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut answer = Vec::new();
    let mut piece = [0; 16 << 10];
    loop {
        let len = stream.read(&mut piece).await?;
        answer.extend_from_slice(&piece[..len]);
        if let Some(whole) = whole(&answer, len == 0) {
            return Ok(whole);
        }
        if len == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The status of an answer that is whole.
fn whole(answer: &[u8], is_over: bool) -> Option<(u16, bool)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..end]).ok()?.to_ascii_lowercase();
    let status = head.get(9..12)?.parse().ok()?;
    let keeps = !head.contains("connection: close") && !is_over;
    let value = |name: &str| Some(head.split_once(name)?.1.split("\r\n").next()?.trim().to_owned());
    let is_whole = match value("content-length:").and_then(|len| len.parse::<usize>().ok()) {
        Some(len) => answer.len() >= end + len,
        None if head.contains("transfer-encoding: chunked") => answer.ends_with(b"0\r\n\r\n"),
        None => is_over,
    };
    is_whole.then_some((status, keeps))
}

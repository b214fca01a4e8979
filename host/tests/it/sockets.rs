//! Socket files that a node listens on, and proxies that say where a connection comes from.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::client::{Client, head};
use crate::generate::eventually;
use crate::host::{TestHost, root, run};
use crate::service::{Service, signal};

/// A node of one model, with these lines in `[server]` and these sections besides.
pub(crate) fn config(server: &str, extra: &str) -> String {
    let state = Path::new(env!("CARGO_TARGET_TMPDIR")).join("state");
    format!(
        "[server]\n{server}\n[state]\ndir = \"{}\"\n[models.spam]\npath = \"{}/models/spam\"\n[endpoints.classify]\npath = \
         \"/classify\"\nmodel = \"spam\"\n{extra}",
        state.display(),
        root().display(),
    )
}

const ASK: &str = r#"{"text":"a prize"}"#;

/// Posts to `/classify` over a socket file, with a header besides: status and text.
fn ask(path: &Path, header: (&str, &str)) -> (u16, String) {
    send(path, "POST", "/classify", header)
}

fn send(path: &Path, method: &str, target: &str, header: (&str, &str)) -> (u16, String) {
    let mut stream = UnixStream::connect(path).expect("it listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("set");
    let headers = [("content-type", "application/json"), header];
    let body = if method == "POST" { ASK } else { "" };
    stream
        .write_all(&[&head(method, target, &headers, body.len()), body.as_bytes()].concat())
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), answer)
}

/// A folder with room for two sockets.
fn places() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    let (node, admin) = (dir.path().join("node.sock"), dir.path().join("admin.sock"));
    (dir, node, admin)
}

fn both(path: &Path) -> String {
    format!("listen = [\"127.0.0.1:0\", \"unix:{}\"]", path.display())
}

#[test]
fn a_socket_file_serves_beside_an_address_and_goes_with_the_node() {
    let (_dir, path, admin) = places();
    drop(UnixListener::bind(&path).expect("bound"));
    let server = format!("{}\nunix_socket = {{ mode = \"0640\" }}", both(&path));
    let operators = format!("[admin]\nlisten = \"unix:{}\"\n", admin.display());
    let host = TestHost::start(&config(&server, &operators));
    let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
    eventually("the operators' listener", || {
        host.log().contains("operators' listener on unix:")
    });
    assert_eq!(
        (mode(&path), mode(&admin)),
        (0o640, 0o660),
        "the stale one was replaced"
    );
    assert_eq!(host.client().post("/classify", ASK).status, 200);
    assert_eq!(ask(&path, ("x-request-id", "over-a-file")).0, 200);
    eventually("the access log", || host.log().contains("over-a-file"));
    let log = host.log();
    let line = log.lines().find(|line| line.contains("over-a-file"));
    assert!(line.expect("told").contains("address=unix"), "{log}");
    let (status, answer) = send(&admin, "POST", "/admin/reload", ("x-request-id", "1"));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(send(&path, "POST", "/admin/reload", ("x-request-id", "2")).0, 404);
    host.terminate();
    assert!(host.wait().success());
    assert!(!path.exists() && !admin.exists());
}

#[test]
fn a_socket_of_another_process_is_left_to_it_and_named() {
    let (dir, path, _) = places();
    let host = TestHost::start(&config(&both(&path), ""));
    let file = dir.path().join("second.toml");
    std::fs::write(
        &file,
        config(&format!("listen = \"unix:{}\"", path.display()), ""),
    )
    .expect("written");
    let (code, _, error) = run(&["serve", "--config", &file.to_string_lossy()]);
    assert_eq!(code, 1, "{error}");
    let named = format!(
        "server.listen: cannot listen on unix:{}: another process listens on it",
        path.display()
    );
    assert!(error.contains(&named), "{error}");
    assert_eq!(ask(&path, ("x-request-id", "1")).0, 200);
    drop(host);
}

#[test]
fn a_node_that_does_not_start_leaves_no_socket_file() {
    let (dir, path, _) = places();
    let file = dir.path().join("node.toml");
    let starts = |text: &str| {
        std::fs::write(&file, text).expect("written");
        let (code, _, error) = run(&["serve", "--config", &file.to_string_lossy()]);
        assert!(!path.exists(), "{error}");
        (code, error)
    };
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound");
    let listen = format!("listen = [\"unix:{}\", \"{address}\"]", path.display());
    let (code, error) = starts(&config(&listen, ""));
    assert!(code == 1 && error.contains("cannot listen on"), "{code}: {error}");
    let listen = format!("listen = \"unix:{}\"", path.display());
    let (code, error) = starts(&config(&listen, "").replace("/models/spam\"", "/models/nothing\""));
    assert!(code == 3 && error.contains("models/nothing"), "{code}: {error}");
    // Whoever signs tokens is waited for, and says nothing.
    let auth = format!(
        "[auth]\nmode = \"jwt\"\njwt = {{ jwks = \"http://{address}/keys\", issuer = \"us\", audience = \"us\" }}\n"
    );
    let mut node = Service::start(&config(&listen, &auth), Vec::new(), &[]);
    eventually("its file", || path.exists());
    signal(node.id(), Signal::TERM);
    assert!(node.wait().success());
    assert!(!path.exists(), "{}", node.log());
    drop(taken);
}

/// Starts a node on a socket file, hands it over, and ends the process that took it over.
fn hand_over_and_end(path: &Path, passed: Option<OwnedFd>) {
    let text = config(&format!("listen = \"unix:{}\"", path.display()), "");
    let sockets = passed.into_iter().map(|socket| ("http", socket)).collect();
    let mut node = Service::start(&text, sockets, &[]);
    node.told("READY=1");
    signal(node.id(), Signal::USR2);
    let next = successor(&node);
    node.told("READY=1");
    assert!(node.wait().success(), "the old one has drained");
    assert_eq!(ask(path, ("x-request-id", "1")).0, 200, "its file is there still");
    signal(next, Signal::TERM);
    eventually("its end", || UnixStream::connect(path).is_err());
}

#[test]
fn after_a_hand_over_the_file_goes_with_the_last_process_unless_it_was_passed_to_the_first() {
    let (_dir, path, passed) = places();
    hand_over_and_end(&path, None);
    assert!(!path.exists());
    let listener = UnixListener::bind(&passed).expect("bound");
    hand_over_and_end(&passed, Some(listener.into()));
    assert!(passed.exists(), "whoever made the socket's file removes it");
}

#[test]
fn callers_of_a_socket_file_are_as_one_address_but_where_it_is_a_proxys() {
    const LIMIT: &str = "[limits]\naddress = { requests = 1, per = \"1h\" }\n";
    let ask_as = |path: &Path, address| ask(path, ("x-forwarded-for", address)).0;
    let (_dir, path, _) = places();
    let host = TestHost::start(&config(&both(&path), LIMIT));
    assert_eq!(ask_as(&path, "198.51.100.7"), 200);
    assert_eq!(ask_as(&path, "198.51.100.8"), 429, "whatever they say");
    assert_eq!(host.client().post("/classify", ASK).status, 200);
    let (_dir, path, _) = places();
    let server = format!("{}\ntrusted_proxies = [\"unix\"]", both(&path));
    let _host = TestHost::start(&config(&server, LIMIT));
    assert_eq!(ask_as(&path, "198.51.100.7"), 200);
    assert_eq!(ask_as(&path, "198.51.100.8"), 200);
    assert_eq!(ask_as(&path, "198.51.100.7"), 429);
}

/// A header of version 2: a connection from 198.51.100.9.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x09\x7f\0\0\x01\x04\xd2\0\x50";

/// One of version 2 for what the proxy asks itself.
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// A header of version 2 as `V2`, with a field of this many bytes that says nothing.
fn v2_with_field(len: u16) -> Vec<u8> {
    let mut header = V2[..14].to_vec();
    // Addresses and ports, and the field with its kind and length.
    header.extend((12 + 3 + len).to_be_bytes());
    header.extend(&V2[16..]);
    header.push(4);
    header.extend(len.to_be_bytes());
    header.extend(vec![0_u8; usize::from(len)]);
    header
}

/// A request to `/classify`.
fn request(id: &str) -> Vec<u8> {
    let headers = [("content-type", "application/json"), ("x-request-id", id)];
    [&head("POST", "/classify", &headers, ASK.len()), ASK.as_bytes()].concat()
}

/// All that is answered to these bytes; nothing if the host closes the connection.
fn answer(mut stream: impl Read + Write, bytes: &[u8]) -> String {
    // The host may have closed it.
    stream.write_all(bytes).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    String::from_utf8(answer).expect("text")
}

/// Answer to a request on a connection that begins with these bytes.
fn behind(client: &Client, bytes: &[u8], id: &str) -> String {
    answer(client.connect(), &[bytes, &request(id)].concat())
}

/// Checks that the access log has a request as from an address.
fn came_from(host: &TestHost, id: &str, address: &str) {
    let id = format!("id={id} ");
    eventually("the access log", || host.log().contains(&id));
    let log = host.log();
    let line = log.lines().find(|line| line.contains(&id)).expect("told");
    assert!(line.contains(&format!("address={address} ")), "{log}");
}

#[test]
fn a_connection_comes_from_where_the_header_of_its_proxy_says() {
    let server = "listen = \"127.0.0.1:0\"\nproxy_protocol = [\"127.0.0.0/8\"]";
    let host = TestHost::start(&config(server, ""));
    let longest = v2_with_field(u16::MAX - 12 - 3);
    let cases: [(&[u8], &str, &str); 5] = [
        (
            b"PROXY TCP4 198.51.100.7 127.0.0.1 1234 80\r\n",
            "first",
            "198.51.100.7",
        ),
        (b"PROXY TCP6 2001:db8::7 ::1 1234 80\r\n", "second", "2001:db8::7"),
        (V2, "third", "198.51.100.9"),
        (V2_LOCAL, "fourth", "127.0.0.1"),
        (&longest, "fifth", "198.51.100.9"),
    ];
    for (bytes, id, address) in cases {
        let answer = behind(&host.client(), bytes, id);
        assert!(answer.starts_with("HTTP/1.1 200"), "{id}: {answer}");
        came_from(&host, id, address);
    }
}

#[test]
fn socket_files_and_the_operators_listener_ask_for_a_header_by_keys_of_their_own() {
    let (_dir, path, _) = places();
    let server = format!("{}\nproxy_protocol = [\"unix\"]", both(&path));
    let operators = "[admin]\nlisten = \"127.0.0.1:0\"\nproxy_protocol = [\"127.0.0.0/8\"]\n";
    let host = TestHost::start(&config(&server, operators));
    assert_eq!(
        host.client().post("/classify", ASK).status,
        200,
        "an address of the same side asks for none"
    );
    let connect = || UnixStream::connect(&path).expect("it listens");
    assert_eq!(answer(connect(), &request("none")), "");
    let told = answer(connect(), &[V2, &request("of-a-file")].concat());
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    came_from(&host, "of-a-file", "198.51.100.9");
    let (operators, metrics) = (host.operators("http"), head("GET", "/metrics", &[], 0));
    assert_eq!(answer(operators.connect(), &metrics), "");
    let told = answer(operators.connect(), &[V2, &metrics].concat());
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    let counted = "selvedge_proxy_protocol_refused_total{reason=\"invalid\"} 2";
    assert!(told.contains(counted), "{told}");
}

#[test]
fn a_connection_of_a_proxy_without_a_header_is_closed_and_counted_and_this_machine_needs_none() {
    let server = "listen = \"127.0.0.1:0\"\nheader_timeout = \"1s\"\nproxy_protocol = [\"127.0.0.0/8\"]";
    let host = TestHost::start(&config(server, "[admin]\nlisten = \"127.0.0.1:0\"\n"));
    assert_eq!(behind(&host.client(), b"", "none"), "");
    assert_eq!(
        behind(&host.client(), b"PROXY TCP4 nobody 127.0.0.1 1 2\r\n", "wrong"),
        ""
    );
    let mut late = host.client().connect();
    late.write_all(b"PROXY TCP4 198.51").expect("sent");
    assert_eq!(late.read(&mut [0]).expect("closed"), 0);
    let mut short = host.client().connect();
    short.write_all(b"PROXY").expect("sent");
    short.shutdown(Shutdown::Write).expect("closed");
    assert_eq!(short.read(&mut [0]).expect("closed"), 0);
    // The operators' listener asks for no header.
    let told = host.operators("http").get("/metrics").text();
    for (reason, count) in [("invalid", 2), ("late", 1), ("short", 1)] {
        let line = format!("selvedge_proxy_protocol_refused_total{{reason=\"{reason}\"}} {count}");
        assert!(told.contains(&line), "{told}");
    }
    let server = "listen = \"127.0.0.1:0\"\nproxy_protocol = [\"192.0.2.0/24\"]";
    let host = TestHost::start(&config(server, ""));
    assert_eq!(host.client().post("/classify", ASK).status, 200);
    let forged = behind(
        &host.client(),
        b"PROXY TCP4 198.51.100.7 127.0.0.1 1234 80\r\n",
        "forged",
    );
    assert!(
        !forged.starts_with("HTTP/1.1 200"),
        "a stranger's header is not believed: {forged}"
    );
}

/// Process that a node hands over to, once it says so.
pub(crate) fn successor(node: &Service) -> u32 {
    let told = node.told("MAINPID=");
    let id = told.trim().strip_prefix("MAINPID=");
    let id = id.and_then(|id| id.parse().ok());
    id.unwrap_or_else(|| panic!("{told}"))
}

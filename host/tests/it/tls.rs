//! TLS: both versions of HTTP, certificates that change, clients that must have one, and those that say nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::client::Client;
use crate::edge::config;
use crate::generate::eventually;
use crate::host::TestHost;
use crate::service::{Service, listening};

/// An authority, and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// A certificate for a name, with its key.
    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        (params.signed_by(&key, &self.0).expect("signed"), key)
    }

    fn write(&self, dir: &Path, name: &str) {
        let (certificate, key) = self.sign(name);
        std::fs::write(dir.join("cert.pem"), certificate.pem()).expect("written");
        std::fs::write(dir.join("key.pem"), key.serialize_pem()).expect("written");
        std::fs::write(dir.join("ca.pem"), self.0.pem()).expect("written");
    }

    /// A client that trusts it, with a certificate of its own where it is given one.
    fn client(&self, own: Option<(rcgen::Certificate, KeyPair)>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_root_certificates(roots);
        Arc::new(match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
                builder
                    .with_client_auth_cert(vec![certificate.der().clone()], key)
                    .expect("a pair")
            }
        })
    }
}

/// A node with the files of a folder.
fn start(dir: &Path, extra: &str) -> TestHost {
    TestHost::start(&with_tls(dir, extra))
}

/// Its configuration.
fn with_tls(dir: &Path, extra: &str) -> String {
    let files = format!(
        "tls = {{ cert = \"{0}/cert.pem\", key = \"{0}/key.pem\"{extra} }}\n[state]",
        dir.display()
    );
    config("").replacen("[state]", &files, 1)
}

/// What the node answers to a request for `/healthz`, or why there is no answer.
fn ask(to: &Client, client: &Arc<ClientConfig>, name: &'static str) -> Result<String, String> {
    ask_on(to.connect(), client, name)
}

/// The same on a connection that was made.
fn ask_on(socket: TcpStream, client: &Arc<ClientConfig>, name: &'static str) -> Result<String, String> {
    let name = ServerName::try_from(name).expect("a name");
    let connection = ClientConnection::new(Arc::clone(client), name).expect("a connection");
    let mut stream = StreamOwned::new(connection, socket);
    let sent = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    sent.map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .map_err(|error| error.to_string())?;
    Ok(answer)
}

#[test]
fn serves_and_takes_a_changed_certificate_without_a_restart() {
    let (dir, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    authority.write(dir.path(), "first.test");
    let (host, client) = (start(dir.path(), ""), authority.client(None));
    let answer = ask(&host.client(), &client, "first.test").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    ask(&host.client(), &client, "second.test").expect_err("another name");
    // Half of a change does no harm.
    std::fs::write(dir.path().join("cert.pem"), "no certificate").expect("written");
    let began = Instant::now();
    while !host.log().contains("those before hold") {
        assert!(began.elapsed() < Duration::from_secs(20), "{}", host.log());
        ask(&host.client(), &client, "first.test").expect("the old one holds");
    }
    authority.write(dir.path(), "second.test");
    while ask(&host.client(), &client, "second.test").is_err() {
        assert!(began.elapsed() < Duration::from_secs(30), "{}", host.log());
    }
    ask(&host.client(), &client, "first.test").expect_err("the old name is gone");
}

#[test]
fn the_operators_listener_has_a_certificate_of_its_own() {
    let (dir, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    authority.write(dir.path(), "admin.test");
    let files = format!(
        "tls = {{ cert = \"{0}/cert.pem\", key = \"{0}/key.pem\" }}\n",
        dir.path().display()
    );
    let host = TestHost::start(&config(&format!("[admin]\nlisten = \"127.0.0.1:0\"\n{files}")));
    let (admin, client) = (host.operators("https"), authority.client(None));
    let answer = ask(&admin, &client, "admin.test").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(
        host.client().get("/healthz").status,
        200,
        "the public one has none"
    );
}

#[test]
fn offers_http2_and_refuses_clients_without_the_certificate_it_asks_for() {
    let (dir, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    authority.write(dir.path(), "node.test");
    let host = start(
        dir.path(),
        &format!(", client_ca = \"{}/ca.pem\"", dir.path().display()),
    );
    ask(&host.client(), &authority.client(None), "node.test").expect_err("no certificate");
    let stranger = Authority::new().sign("stranger.test");
    ask(&host.client(), &authority.client(Some(stranger)), "node.test")
        .expect_err("one of another authority");
    let own = authority.client(Some(authority.sign("client.test")));
    assert!(
        ask(&host.client(), &own, "node.test")
            .expect("an answer")
            .starts_with("HTTP/1.1 200")
    );
    let mut own = Arc::unwrap_or_clone(own);
    own.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("node.test").expect("a name");
    let mut connection = ClientConnection::new(Arc::new(own), name).expect("a connection");
    let mut socket = host.client().connect();
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).expect("a handshake");
    }
    assert_eq!(connection.alpn_protocol(), Some(b"h2".as_slice()));
}

#[test]
fn a_proxys_header_comes_before_the_handshake() {
    let (dir, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    authority.write(dir.path(), "node.test");
    let proxies = "proxy_protocol = [\"127.0.0.0/8\"]\n[state]";
    let host = TestHost::start(&with_tls(dir.path(), "").replacen("[state]", proxies, 1));
    let client = authority.client(None);
    let mut socket = host.client().connect();
    socket
        .write_all(b"PROXY TCP4 198.51.100.7 127.0.0.1 1234 443\r\n")
        .expect("sent");
    let answer = ask_on(socket, &client, "node.test").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    eventually("the address of the header", || {
        host.log().contains("address=198.51.100.7 ")
    });
    ask(&host.client(), &client, "node.test").expect_err("no header");
}

#[test]
fn a_key_among_the_credentials_serves_tls_on_a_socket_that_was_passed() {
    let (dir, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    authority.write(dir.path(), "node.test");
    let credentials = dir.path().join("credentials");
    std::fs::create_dir(&credentials).expect("made");
    let key = dir.path().join("key.pem");
    std::fs::rename(&key, credentials.join("tls.key")).expect("moved");
    let text = with_tls(dir.path(), "").replace(&*key.to_string_lossy(), "${credential:tls.key}");
    let (socket, address) = listening();
    let folder = credentials.to_string_lossy();
    let variables = [("CREDENTIALS_DIRECTORY", &*folder)];
    let node = Service::start(&text, vec![("http", socket)], &variables);
    node.told("READY=1");
    let answer = ask(&Client::new(address), &authority.client(None), "node.test");
    assert!(
        answer.expect("an answer").starts_with("HTTP/1.1 200"),
        "{}",
        node.log()
    );
}

#[test]
fn who_does_not_speak_tls_holds_nobody_up() {
    let (dir, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    authority.write(dir.path(), "node.test");
    let host = start(dir.path(), "");
    let silent: Vec<_> = (0..50).map(|_| host.client().connect()).collect();
    let mut plain = host.client().connect();
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .expect("sent");
    let mut answer = Vec::new();
    // An alert of TLS, or nothing; never an answer in plain text.
    plain.read_to_end(&mut answer).ok();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert!(
        ask(&host.client(), &authority.client(None), "node.test")
            .expect("an answer")
            .starts_with("HTTP/1.1 200")
    );
    drop(silent);
}

#[test]
fn files_that_do_not_go_together_are_refused_at_the_start() {
    let (dir, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    authority.write(dir.path(), "node.test");
    let other = KeyPair::generate().expect("a key").serialize_pem();
    std::fs::write(dir.path().join("key.pem"), other).expect("written");
    let file = dir.path().join("node.toml");
    let tls = format!(
        "tls = {{ cert = \"{0}/cert.pem\", key = \"{0}/key.pem\" }}\n[state]",
        dir.path().display()
    );
    std::fs::write(&file, config("").replacen("[state]", &tls, 1)).expect("written");
    let (code, _, error) = crate::host::run(&["serve", "--config", &file.to_string_lossy()]);
    assert!(
        code == 3 && error.contains("server.tls") && error.contains("do not go together"),
        "{code} {error}"
    );
}

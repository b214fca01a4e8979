//! A change of the binary under load: SIGUSR2, as nginx does it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use rustix::process::Signal;
use selvedge::state::Database;
use tokio::task::JoinSet;

use crate::client::{Client, read_next};
use crate::endpoints::{classify_by_http2, http2_connection};
use crate::far::server;
use crate::generate::eventually;
use crate::node::shared_state;
use crate::service::{Service, listening, signal};
use crate::sockets::config;

const ASK: &str = r#"{"text":"a prize"}"#;

/// Clients that ask as long as they are told to: how many requests were answered, and what went wrong.
struct Load {
    goes_on: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    failures: Arc<Mutex<Vec<String>>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(address: SocketAddr, connections: usize) -> Self {
        let mut load = Self {
            goes_on: Arc::new(AtomicBool::new(true)),
            answered: Arc::default(),
            failures: Arc::default(),
            threads: Vec::new(),
        };
        for number in 0..connections {
            let (goes_on, answered) = (Arc::clone(&load.goes_on), Arc::clone(&load.answered));
            let failures = Arc::clone(&load.failures);
            // Some keep their connection as long as they may, others make one for each request.
            let requests_max = if number % 4 == 0 { 1 } else { usize::MAX };
            let work = move || {
                while goes_on.load(Ordering::SeqCst) {
                    if let Err(failure) = connection(address, requests_max, &goes_on, &answered) {
                        failures.lock().expect("no panic").push(failure);
                    }
                }
            };
            let thread = std::thread::Builder::new().spawn(work).expect("a thread");
            load.threads.push(thread);
        }
        load
    }

    fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    fn end(self) -> (usize, Vec<String>) {
        self.goes_on.store(false, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("no panic");
        }
        let failures = self.failures.lock().expect("no panic").clone();
        (self.answered.load(Ordering::SeqCst), failures)
    }
}

/// Asks over one connection until the host closes it, as it says, or enough was asked.
fn connection(
    address: SocketAddr,
    requests_max: usize,
    goes_on: &AtomicBool,
    answered: &AtomicUsize,
) -> Result<(), String> {
    let failed = |what: &str, error: std::io::Error| format!("{what}: {error}");
    let mut stream = TcpStream::connect(address).map_err(|error| failed("connect", error))?;
    let time_max = Some(Duration::from_secs(60));
    stream
        .set_read_timeout(time_max)
        .map_err(|error| failed("time-out", error))?;
    let len = ASK.len();
    let request = format!(
        "POST /classify HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: {len}\r\n\r\n{ASK}"
    );
    for _ in 0..requests_max {
        stream
            .write_all(request.as_bytes())
            .map_err(|error| failed("send", error))?;
        let mut first = [0];
        // Where it was closed without an answer, the request is lost.
        match stream.peek(&mut first) {
            Ok(1) => {}
            Ok(_) => return Err("closed without an answer".to_owned()),
            Err(error) => return Err(failed("read", error)),
        }
        let answer = read_next(&mut stream);
        if answer.status != 200 {
            return Err(format!("{}: {}", answer.status, answer.text()));
        }
        answered.fetch_add(1, Ordering::SeqCst);
        if answer.header("connection") == Some("close") || !goes_on.load(Ordering::SeqCst) {
            break;
        }
    }
    Ok(())
}

/// A model of another server, which begins an answer at once and ends it when it is told to.
fn slow_model() -> (String, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let (address, _) = server(move |_, mut stream, _| {
        let piece = |text: &str| {
            format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
        };
        let stop = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        stream
            .write_all(format!("{head}{}", piece("begun")).as_bytes())
            .ok();
        wait.lock().expect("no panic").recv().ok();
        stream
            .write_all(format!("{}{stop}data: [DONE]\n\n", piece(" and ended")).as_bytes())
            .ok();
    });
    let model = format!(
        "[models.slow]\nupstream = {{ kind = \"openai\", url = \"http://{address}/v1\", model = \"m\" }}\n[endpoints.slow]\npath = \
         \"/slow\"\nmodel = \"slow\"\n"
    );
    (model, go)
}

/// Begins a streamed chat, and reads until its first word.
fn begin_stream(address: SocketAddr) -> TcpStream {
    let body = r#"{"model":"slow","stream":true,"messages":[{"role":"user","content":"?"}]}"#;
    let mut stream = Client::new(address).begin("/v1/chat/completions", body);
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("begun") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("its first word");
        seen.push(byte[0]);
    }
    stream
}

/// Hands over from the process of this id: the id of the one that serves from then on.
fn upgrade(node: &Service, id: u32) -> u32 {
    signal(id, Signal::USR2);
    taken_over(node)
}

/// Waits until another process has taken over, and returns its id.
fn taken_over(node: &Service) -> u32 {
    let told = node.told("MAINPID=");
    let next = told
        .trim()
        .strip_prefix("MAINPID=")
        .and_then(|id| id.parse().ok());
    let next = next.unwrap_or_else(|| panic!("{told}"));
    assert!(node.told("READY=1").contains("STATUS=serving"));
    next
}

#[test]
fn twenty_upgrades_under_sixty_four_connections_fail_no_request_and_a_stream_ends_whole() {
    let (connections, upgrades) = (64, 20);
    let (socket, address) = listening();
    let (model, go) = slow_model();
    let text = config("listen = \"127.0.0.1:1\"\ndrain_timeout = \"60s\"", &model);
    let node = Service::start(&text, vec![("http", socket)], &[]);
    node.told("READY=1");
    let mut id = node.id();
    let load = Load::start(address, connections);
    eventually("the first answers", || load.answered() > connections);
    let mut stream = begin_stream(address);
    for _ in 0..upgrades {
        let before = load.answered();
        id = upgrade(&node, id);
        eventually("answers of the new process", || {
            load.answered() > before + connections
        });
    }
    eventually("what each of them says", || {
        node.log().matches("handed over to process").count() == upgrades
    });
    go.send(()).expect("it waits");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("the rest");
    assert!(rest.contains("and ended") && rest.contains("[DONE]"), "{rest}");
    let (answered, failures) = load.end();
    assert_eq!(failures, Vec::<String>::new(), "of {answered} requests");
    assert!(answered > upgrades * connections);
    signal(id, Signal::TERM);
    node.told("STOPPING=1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_2_over_a_passed_socket_ends_well_in_a_hand_over_and_loses_no_request() {
    let (socket, address) = listening();
    let text = config("listen = \"127.0.0.1:1\"", "");
    let node = Service::start(&text, vec![("http", socket)], &[]);
    node.told("READY=1");
    let (mut sender, mut driver) = http2_connection(address).await;
    let (first, begun) = tokio::sync::oneshot::channel();
    let mut asking = JoinSet::new();
    asking.spawn(async move {
        let answer = classify_by_http2(&mut sender).await;
        assert_eq!(answer.expect("an answer"), (http::Version::HTTP_2, 200));
        first.send(()).expect("waited for");
        while sender.ready().await.is_ok() {
            match classify_by_http2(&mut sender).await {
                Ok((_, status)) => assert_eq!(status, 200),
                // It was not sent: the next connection takes it.
                Err(error) if error.is_canceled() => break,
                Err(error) => panic!("a request was lost: {error:?}"),
            }
        }
    });
    begun.await.expect("the first answer");
    let next = tokio::task::block_in_place(|| upgrade(&node, node.id()));
    asking
        .join_next()
        .await
        .expect("one")
        .expect("each request was answered");
    let ended = driver.join_next().await.expect("one").expect("no panic");
    ended.expect("the connection ends well");
    let (mut sender, _driver) = http2_connection(address).await;
    let answer = classify_by_http2(&mut sender).await;
    assert_eq!(answer.expect("an answer"), (http::Version::HTTP_2, 200));
    signal(next, Signal::TERM);
    node.told("STOPPING=1");
}

/// Statuses of `/readyz` over one connection, asked for until the node closes it.
fn probe(mut stream: TcpStream) -> Vec<u16> {
    let mut statuses = Vec::new();
    loop {
        stream
            .write_all(b"GET /readyz HTTP/1.1\r\nhost: test\r\n\r\n")
            .expect("sent");
        let answer = read_next(&mut stream);
        statuses.push(answer.status);
        if answer.header("connection") == Some("close") {
            return statuses;
        }
    }
}

#[test]
fn a_prober_that_keeps_its_connection_over_an_upgrade_hears_of_no_end() {
    let (socket, address) = listening();
    let node = Service::start(
        &config("listen = \"127.0.0.1:1\"", ""),
        vec![("http", socket)],
        &[],
    );
    node.told("READY=1");
    let stream = Client::new(address).connect();
    let prober = std::thread::Builder::new().spawn(|| probe(stream));
    let next = upgrade(&node, node.id());
    let statuses = prober.expect("a thread").join().expect("no panic");
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    signal(next, Signal::TERM);
    node.told("STOPPING=1");
}

#[test]
fn a_reload_that_is_asked_for_during_an_upgrade_is_done_by_the_new_process() {
    let node = Service::start(&config("listen = \"127.0.0.1:0\"", ""), Vec::new(), &[]);
    node.told("READY=1");
    let id = node.id();
    // The new process waits for its configuration while the old one is asked to read it again.
    node.while_read(|| signal(id, Signal::USR2), || signal(id, Signal::HUP));
    let next = taken_over(&node);
    node.told("RELOADING=1");
    assert!(node.told("READY=1").contains("was read again"));
    eventually("what the old one says", || {
        node.log().contains(&format!("passed on to process {next}"))
    });
    signal(next, Signal::TERM);
    node.told("STOPPING=1");
}

/// Asks a node for an upgrade that it refuses, and returns what its log says of the reason.
fn refusal(node: &Service) -> String {
    signal(node.id(), Signal::USR2);
    let told = "the new process refuses to serve";
    eventually("the reason", || {
        node.log()
            .split_once(told)
            .is_some_and(|(_, reason)| reason.contains('\n'))
    });
    let log = node.log();
    assert!(log.contains("the node is not handed over, and goes on"), "{log}");
    let (_, reason) = log.split_once(told).expect("told");
    reason.to_owned()
}

#[test]
fn a_new_process_with_a_broken_endpoint_does_not_take_over_and_both_say_why() {
    let (socket, address) = listening();
    let text = config("listen = \"127.0.0.1:1\"", "");
    let node = Service::start(&text, vec![("http", socket)], &[]);
    node.told("READY=1");
    let broken = format!("{text}[models.gone]\npath = \"/nowhere\"\n[endpoints.gone]\nmodel = \"gone\"\n");
    std::fs::write(node.file(), broken).expect("written");
    let reason = refusal(&node);
    assert!(reason.contains("nowhere"), "{reason}");
    let log = node.log();
    assert!(log.contains("an endpoint is not available"), "the new one: {log}");
    assert_eq!(Client::new(address).post("/classify", ASK).status, 200);
    std::fs::write(node.file(), text).expect("written");
    let next = upgrade(&node, node.id());
    assert_eq!(Client::new(address).post("/classify", ASK).status, 200);
    signal(next, Signal::TERM);
    node.told("STOPPING=1");
}

#[test]
fn an_upgrade_that_would_change_the_schema_of_the_state_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let (socket, address) = listening();
    let text = config("listen = \"127.0.0.1:1\"", "");
    let text = text.replace(&*shared_state().to_string_lossy(), &dir.path().to_string_lossy());
    let node = Service::start(&text, vec![("http", socket)], &[]);
    node.told("READY=1");
    // As a node of the version before would have it.
    let database = Database::open(dir.path()).expect("opened");
    let before = database.run_blocking(|connection| {
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        connection.pragma_update(None, "user_version", version - 1)?;
        Ok(version - 1)
    });
    let before = before.expect("set");
    let reason = refusal(&node);
    assert!(
        reason.contains(&format!("from {before} to")) && reason.contains("restart"),
        "{reason}"
    );
    let after = database.run_blocking(|connection| {
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
    });
    assert_eq!(after.expect("told"), before);
    assert!(!dir.path().join(format!("selvedge-v{before}.db")).exists());
    assert_eq!(Client::new(address).post("/classify", ASK).status, 200);
    signal(node.id(), Signal::TERM);
    node.told("STOPPING=1");
}

#[test]
fn a_new_process_that_fails_leaves_the_node_as_it_is_and_a_later_one_takes_over() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("node.sock");
    let text = config(
        &format!("listen = [\"127.0.0.1:0\", \"unix:{}\"]", path.display()),
        "",
    );
    let mut node = Service::start(&text, Vec::new(), &[]);
    node.told("READY=1");
    eventually("its address", || node.log().contains("listening on http://"));
    let log = node.log();
    let (_, rest) = log.split_once("listening on http://").expect("told");
    let address: SocketAddr = rest
        .lines()
        .next()
        .unwrap_or_default()
        .trim()
        .parse()
        .expect("an address");
    let client = Client::new(address);
    std::fs::write(node.file(), "[server]\nlisten = 7\n").expect("written");
    signal(node.id(), Signal::USR2);
    eventually("the reason", || {
        node.log().contains("the node is not handed over, and goes on")
    });
    assert!(
        node.log().contains("exit status: 3") && node.log().contains("server.listen"),
        "{}",
        node.log()
    );
    assert_eq!(client.post("/classify", ASK).status, 200);
    std::fs::write(node.file(), text).expect("written");
    let next = upgrade(&node, node.id());
    assert!(node.wait().success(), "the old one has drained");
    assert_eq!(client.post("/classify", ASK).status, 200);
    let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("its file is there still");
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    signal(next, Signal::TERM);
    node.told("STOPPING=1");
}

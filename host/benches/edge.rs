//! What the edge costs a request: where it comes from, whose key it bears, two limits, its metrics, its line in the log. Run it on a
//! quiet machine: `cargo xtask bench --bench edge`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use selvedge::config::{Config, Observe, Telemetry};
use selvedge::edge::key::{self, Moment};
use selvedge::edge::{Authority, Edge, Key, Keys, Peer};
use selvedge::http::call::Call;
use selvedge::http::full;
use selvedge::observe::{Noted, Queue};
use selvedge::state::Database;
use selvedge::telemetry::metrics::Metrics;
use selvedge::telemetry::traces::Traces;
use tracing_subscriber::layer::SubscriberExt;

fn main() {
    // Lines are made and thrown away: how fast a terminal takes them is its own affair.
    tracing_subscriber::fmt()
        .with_writer(std::io::sink)
        .with_ansi(false)
        .with_env_filter("info,selvedge::span=off")
        .init();
    divan::main();
}

/// All of it, as `http/handle.rs` does it.
#[divan::bench]
fn all_of_it(bencher: divan::Bencher) {
    run(bencher);
}

/// The same with a span of each request on its way to a collector that is not there.
#[divan::bench]
fn all_of_it_traced(bencher: divan::Bencher) {
    let executor = tokio::runtime::Runtime::new().expect("an executor");
    let _executor = executor.enter();
    let traces = Traces::start("http://127.0.0.1:9", &Telemetry::default()).expect("an address");
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::sink)
        .with_ansi(false);
    let subscriber = tracing_subscriber::registry().with(lines).with(traces.layer());
    tracing::subscriber::with_default(subscriber, || run(bencher));
}

fn run(bencher: divan::Bencher) {
    Metrics::of_process().expect("the only ones");
    let (edge, headers) = made();
    let (mut head, ()) = http::Request::post("/classify")
        .body(())
        .expect("a request")
        .into_parts();
    head.headers = headers;
    let peer = Peer::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let dir = tempfile::tempdir().expect("a folder");
    let database = Database::open(dir.path()).expect("opened");
    let queue = Queue::open(database, dir.path(), Observe::default()).expect("opened");
    bencher.bench(|| {
        let address = edge.address(peer, &head.headers);
        let noted = Noted::new(queue.clone());
        let call = Arc::new(Call::new("req-1".to_owned(), address, &head, noted));
        let admitted = edge.admit_address(address, 100).expect("within the limit");
        let principal = edge.authenticate(&head.headers, address).expect("a key");
        let principal = principal.expect("somebody");
        call.identify(Arc::clone(&principal));
        let own = edge.admit_principal(&principal, 100).expect("within the limit");
        for admission in admitted.into_iter().chain(own) {
            call.admit(admission);
        }
        // What is done when it is over counts as well.
        drop(call.answered(http::Response::new(full(""))));
    });
}

/// Whose key it is, alone.
#[divan::bench]
fn whose_key(bencher: divan::Bencher) {
    let (edge, headers) = made();
    let peer = Peer::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    bencher.bench(|| edge.authenticate(&headers, peer));
}

/// An edge with a key among a thousand, and a request's headers with it.
fn made() -> (Edge, HeaderMap) {
    let text = "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[auth]\nmode = \"keys\"\n[limits]\n\
                address = { requests = 10000000, tokens = 4000000000, per = \"1s\", concurrent = 64 }\n\
                key = { requests = 10000000, tokens = 4000000000, per = \"1s\", concurrent = 64 }\n";
    let config = Config::parse(Path::new("bench.toml"), text).expect("it is well");
    let keys = Keys::default();
    let mut shown = String::new();
    let made = (0..1000).map(|count| {
        let (id, text, hash) = key::generate().expect("random numbers");
        shown = text;
        Key {
            id,
            name: format!("caller {count}"),
            hash,
            scopes: vec!["*".to_owned()],
            made: Moment(0),
            expires: None,
            revoked: None,
            rate: None,
        }
    });
    keys.replace(made.collect());
    let mut headers = HeaderMap::new();
    let bearer = HeaderValue::try_from(format!("Bearer {shown}")).expect("a value");
    headers.insert(AUTHORIZATION, bearer);
    headers.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.9"));
    (Edge::new(&config, Authority::Keys(keys), None), headers)
}

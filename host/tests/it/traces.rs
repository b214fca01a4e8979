//! Traces, as a collector sees them that speaks OTLP by OpenTelemetry's own messages: `host/tests/python/otlp_collector.py`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::far::{ask, proxy_config, upstream};
use crate::host::{TestHost, classifier, root};
use crate::node::{ASSISTANT, CLASSIFY, NodeConfig};

/// A collector, and the spans that it was sent.
pub(crate) struct Collector {
    child: Child,
    port: u16,
    spans: Receiver<Value>,
}

impl Collector {
    /// One that speaks gRPC, or with `--http` HTTP, and takes only what has these headers.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let python = std::env::var_os("SELVEDGE_TEST_PYTHON")
            .map_or_else(|| root().join("target/venv/bin/python"), Into::into);
        let mut child = Command::new(python)
            .arg(root().join("host/tests/python/otlp_collector.py"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = lines.next().expect("a line").expect("text");
        let (sender, spans) = channel();
        let tell = move || {
            for line in lines.map_while(Result::ok) {
                let span = serde_json::from_str(&line).expect("JSON");
                if sender.send(span).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().spawn(tell).expect("a thread");
        Self {
            child,
            port: port.parse().expect("a port"),
            spans,
        }
    }

    /// The spans that come until one has this name.
    pub(crate) fn until(&self, name: &str) -> Vec<Value> {
        let (mut spans, begun) = (Vec::new(), Instant::now());
        while begun.elapsed() < Duration::from_secs(30) {
            match self.spans.recv_timeout(Duration::from_secs(30)) {
                Ok(span) => {
                    let is_last = span["name"] == name;
                    spans.push(span);
                    if is_last {
                        return spans;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        panic!("no span `{name}` came: {spans:#?}")
    }

    /// The section of a node that sends its spans there.
    pub(crate) fn section(&self, more: &str) -> String {
        format!("[telemetry]\notlp = \"http://127.0.0.1:{}\"\n{more}\n", self.port)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(crate) fn named<'a>(spans: &'a [Value], name: &str) -> &'a Value {
    let found = spans.iter().find(|span| span["name"] == name);
    found.unwrap_or_else(|| panic!("no span `{name}`: {spans:#?}"))
}

/// Kinds of spans, as OTLP has them.
pub(crate) const CLIENT: u64 = 3;
pub(crate) const CONSUMER: u64 = 5;

pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[test]
fn a_request_has_a_span_in_its_callers_trace_and_one_for_each_stage_and_plugin() {
    let collector = Collector::start(&["authorization=Bearer t"]);
    let headers = "service_name = \"edge-7\"\nheaders = { authorization = \"Bearer t\" }";
    let host = NodeConfig::of(&[CLASSIFY])
        .with(&collector.section(headers))
        .start();
    let traceparent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let headers = [
        ("content-type", "application/json"),
        ("traceparent", &traceparent),
        ("x-request-id", "mine"),
    ];
    let secret = "a secret thing to say";
    let body = json!({ "text": secret }).to_string();
    let answer = host.client().send("POST", "/classify", &headers, body.as_bytes());
    assert_eq!(answer.status, 200);
    let spans = collector.until("POST classify");
    let root = named(&spans, "POST classify");
    assert_eq!(
        (&root["trace"], &root["parent"], &root["service"]),
        (&json!(TRACE), &json!("b7ad6b7169203331"), &json!("edge-7"))
    );
    let said = &root["attributes"];
    assert_eq!(said["http.response.status_code"], 200);
    assert_eq!(
        (&said["url.path"], &said["selvedge.request_id"]),
        (&json!("/classify"), &json!("mine"))
    );
    for (name, parent) in [
        ("validate", "POST classify"),
        ("template", "POST classify"),
        ("model", "POST classify"),
        ("postprocess", "POST classify"),
        ("json-schema", "validate"),
        ("label", "postprocess"),
    ] {
        let (span, parent) = (named(&spans, name), named(&spans, parent));
        assert_eq!(
            (&span["trace"], &span["parent"]),
            (&json!(TRACE), &parent["span"]),
            "{name}"
        );
        assert!(
            span["from"].as_u64() >= parent["from"].as_u64() && span["to"].as_u64() <= parent["to"].as_u64()
        );
    }
    // What was said is in none of them, and no line of the log either.
    assert!(
        spans
            .iter()
            .all(|span| !span.to_string().contains(secret) && span["events"] == 0)
    );
    let line = host.log();
    assert!(
        line.contains(&format!("trace_id=\"{TRACE}\"")) && !line.contains(secret),
        "{line}"
    );
}

#[test]
fn a_trace_goes_on_in_the_upstream_that_does_the_work() {
    let collector = Collector::start(&[]);
    let far = NodeConfig::of(&[ASSISTANT]).with(&collector.section("service_name = \"far\""));
    let far = far.start();
    let far_port = far.address().port();
    let near = proxy_config(&[("near", upstream("openai", far.address(), "assistant"))]);
    let near = TestHost::start(&(near + &collector.section("service_name = \"near\"")));
    let answer = near.client().post("/v1/chat/completions", ask("near", json!({})));
    assert_eq!(answer.status, 200, "{}", answer.json());
    let mut spans = collector.until("POST near");
    if !spans.iter().any(|span| span["name"] == "POST assistant") {
        spans.extend(collector.until("POST assistant"));
    }
    let (near, far) = (named(&spans, "POST near"), named(&spans, "POST assistant"));
    assert_eq!(
        (&near["service"], &far["service"]),
        (&json!("near"), &json!("far"))
    );
    assert_eq!(near["trace"], far["trace"]);
    let caller = spans
        .iter()
        .find(|span| span["span"] == far["parent"])
        .expect("its caller's span");
    assert_eq!(
        (&caller["service"], &caller["kind"]),
        (&json!("near"), &json!(CLIENT))
    );
    assert_eq!(caller["attributes"]["server.port"], far_port);
    assert_eq!(caller["attributes"]["http.response.status_code"], 200);
    let step = spans.iter().find(|span| span["span"] == caller["parent"]);
    assert_eq!(step.expect("the caller's step")["name"], "model");
    assert_eq!(far["attributes"]["gen_ai.usage.output_tokens"], 12);
}

#[test]
fn only_what_is_sampled_is_sent_and_who_says_so_is_the_caller() {
    let collector = Collector::start(&[]);
    let config = NodeConfig::of(&[CLASSIFY]).with(&collector.section("sample_ratio = 0.0"));
    let host = config.start();
    let send = |traceparent: &str| {
        let headers = [("content-type", "application/json"), ("traceparent", traceparent)];
        host.client()
            .send("POST", "/classify", &headers, br#"{"text":"a"}"#)
            .status
    };
    assert_eq!(host.client().post("/classify", r#"{"text":"a"}"#).status, 200);
    assert_eq!(send(&format!("00-{TRACE}-b7ad6b7169203331-00")), 200);
    for garbage in ["", "00-0-0-01", "ff-zz", &"0".repeat(5000)] {
        assert_eq!(send(garbage), 200, "{garbage:.20}");
    }
    assert_eq!(send(&format!("00-{TRACE}-00f067aa0ba902b7-01")), 200);
    let spans = collector.until("POST classify");
    assert!(spans.iter().all(|span| span["trace"] == TRACE), "{spans:#?}");
    assert_eq!(named(&spans, "POST classify")["parent"], "00f067aa0ba902b7");
}

#[test]
fn the_last_spans_are_sent_when_the_node_ends_and_what_failed_is_marked() {
    let collector = Collector::start(&[]);
    let more = format!(
        "{}[endpoints.trap]\npath = \"/trap\"\nmodel = \"spam\"\nplugins = [{{ use = \"hostile\", config = {{ validate = \"trap\" }} }}]\n",
        collector.section(""),
    );
    let host = NodeConfig::of(&[]).with_plugin("hostile").with(&more).start();
    assert_eq!(host.client().post("/trap", r#"{"text":"a"}"#).status, 502);
    host.terminate();
    assert!(host.wait().success());
    let spans = collector.until("POST trap");
    assert_eq!(named(&spans, "POST trap")["status"], 2);
    let plugin = named(&spans, "hostile");
    assert_eq!(
        (&plugin["status"], &plugin["attributes"]["error.type"]),
        (&json!(2), &json!("plugin-trap"))
    );
}

#[test]
fn a_collector_that_is_not_there_holds_nothing_up() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = closed.local_addr().expect("bound").port();
    drop(closed);
    let section =
        format!("[telemetry]\notlp = \"http://127.0.0.1:{port}\"\ntimeout = \"1s\"\nqueue_spans_max = 64\n");
    let host = NodeConfig::of(&[CLASSIFY]).with(&section).start();
    for _ in 0..50 {
        assert_eq!(host.client().post("/classify", r#"{"text":"a"}"#).status, 200);
    }
    host.terminate();
    let begun = Instant::now();
    assert!(host.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(12));
    assert_eq!(classifier().client().get("/healthz").status, 200);
}

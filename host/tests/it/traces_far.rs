//! Traces beyond the stages of a request: over HTTP, on streams, at the decoder, to observers, and in calls to other servers.

use serde_json::{Value, json};

use crate::far::ask;
use crate::generate::{eventually, hostile_config};
use crate::node::{ASSISTANT, CLASSIFY, NodeConfig};
use crate::observe::classify;
use crate::receiver::Receiver;
use crate::traces::{CLIENT, CONSUMER, Collector, TRACE, named};
use crate::webhook;

const HTTP: &str = "protocol = \"http\"";

#[test]
fn a_collector_that_speaks_http_is_sent_the_same() {
    let collector = Collector::start(&["--http", "authorization=Bearer t"]);
    let more = format!("{HTTP}\nservice_name = \"edge-7\"\nheaders = {{ authorization = \"Bearer t\" }}");
    let host = NodeConfig::of(&[CLASSIFY])
        .with(&collector.section(&more))
        .start();
    let traceparent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let headers = [
        ("content-type", "application/json"),
        ("traceparent", &traceparent),
    ];
    let answer = host
        .client()
        .send("POST", "/classify", &headers, br#"{"text":"a"}"#);
    assert_eq!(answer.status, 200);
    let spans = collector.until("POST classify");
    let request = named(&spans, "POST classify");
    assert_eq!(
        (&request["trace"], &request["service"]),
        (&json!(TRACE), &json!("edge-7"))
    );
    let said = &request["attributes"];
    assert_eq!(
        (&said["network.protocol.version"], &said["client.address"]),
        (&json!("1.1"), &json!("127.0.0.1"))
    );
    assert_eq!(
        named(&spans, "label")["parent"],
        named(&spans, "postprocess")["span"]
    );
}

#[test]
fn a_collector_that_refuses_is_in_the_log_once() {
    for (arguments, more, said) in [
        (&["--http", "authorization=t"][..], HTTP, "status code: 401"),
        (&["authorization=t"][..], "", "gRPC code: Unauthenticated"),
    ] {
        let collector = Collector::start(arguments);
        let host = NodeConfig::of(&[CLASSIFY]).with(&collector.section(more)).start();
        assert_eq!(classify(&host, "one").status, 200);
        eventually(said, || host.log().contains(said));
        assert_eq!(classify(&host, "two").status, 200);
        host.terminate();
        let log = host.log_to_the_end();
        assert_eq!(log.matches(said).count(), 1, "{log}");
        assert!(!log.contains("non-retryable"), "{log}");
    }
}

#[test]
fn a_collector_that_is_not_there_is_in_the_log_with_why() {
    let nobody = "[telemetry]\notlp = \"http://127.0.0.1:1\"\nprotocol = \"http\"\n";
    let host = NodeConfig::of(&[CLASSIFY]).with(nobody).start();
    assert_eq!(classify(&host, "one").status, 200);
    eventually("why", || {
        let log = host.log();
        log.contains("spans are not taken") && log.contains("Connection refused")
    });
}

/// The span of a plugin that was called more than once within the model's step, and how often it was.
fn part<'a>(spans: &'a [Value], plugin: &str, stage: &str, request: &str) -> (&'a Value, i64) {
    let (span, request) = (named(spans, plugin), named(spans, request));
    let said = &span["attributes"];
    assert_eq!(
        (&span["trace"], &span["parent"], &said["selvedge.stage"]),
        (&request["trace"], &named(spans, "model")["span"], &json!(stage)),
        "{spans:#?}"
    );
    let time = |span: &Value, end: &str| span[end].as_u64().expect("a time");
    let middle = time(span, "from").midpoint(time(span, "to"));
    // The model goes on to the last word, and the request to the last byte.
    assert!(middle <= time(named(spans, "model"), "to"), "{spans:#?}");
    assert!(time(span, "to") <= time(request, "to"), "{spans:#?}");
    assert!(said["selvedge.busy_ms"].as_f64() > Some(0.0), "{span}");
    (span, said["selvedge.calls"].as_i64().expect("a number"))
}

#[test]
fn a_plugin_on_a_stream_has_one_span_for_all_of_its_calls() {
    let collector = Collector::start(&[]);
    let host = NodeConfig::of(&[ASSISTANT]).with(&collector.section("")).start();
    for stream in [true, false] {
        let body = ask("assistant", json!({ "stream": stream }));
        assert_eq!(host.client().post("/v1/chat/completions", body).status, 200);
        let spans = collector.until("POST assistant");
        let (span, calls) = part(&spans, "redact", "stream", "POST assistant");
        // It was opened, given something, and told the end.
        assert!(calls >= 3 && span["status"] == 0, "{span}");
    }
}

#[test]
fn a_plugin_that_fails_on_a_stream_says_so_in_its_span() {
    let collector = Collector::start(&[]);
    let host = hostile_config(&["trap-third"])
        .with(&collector.section(""))
        .start();
    let body = ask("trap-third", json!({ "stream": true, "max_tokens": 100 }));
    assert_eq!(host.client().post("/v1/chat/completions", body).status, 200);
    let spans = collector.until("POST trap-third");
    let (span, calls) = part(&spans, "hostile-stream", "stream", "POST trap-third");
    assert_eq!(calls, 4, "opened, and pushed to three times: {span}");
    assert_eq!(
        (&span["status"], &span["attributes"]["error.type"]),
        (&json!(2), &json!("plugin-trap"))
    );
}

#[test]
fn a_plugin_that_decides_which_tokens_come_has_one_too() {
    let collector = Collector::start(&[]);
    let more = format!(
        "[endpoints.verdict]\npath = \"/verdict\"\nmodel = \"smollm2\"\nplugins = [{{ use = \"decode-regex\", config = {{ pattern = '(yes|no), surely' }} }}]\n{}",
        collector.section("")
    );
    let config = NodeConfig::of(&[]).with_plugin("decode-regex").with(&more);
    let host = config.start();
    let answer = host
        .client()
        .post("/v1/chat/completions", ask("verdict", json!({})));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let spans = collector.until("POST verdict");
    let (span, calls) = part(&spans, "decode-regex", "decode", "POST verdict");
    assert!(calls >= 2 && span["status"] == 0, "{span}");
}

#[test]
fn a_delivery_is_a_trace_of_its_own_that_goes_on_in_what_the_observer_calls() {
    let (collector, receiver) = (Collector::start(&[]), Receiver::start(204));
    let node = webhook::node(&receiver, "").with_section(&collector.section(""));
    let host = node.start();
    assert_eq!(classify(&host, "hello").status, 200);
    let mut spans = collector.until("observer");
    if !spans.iter().any(|span| span["name"] == "POST classify") {
        spans.extend(collector.until("POST classify"));
    }
    let (request, delivery) = (named(&spans, "POST classify"), named(&spans, "observer"));
    assert_eq!(
        (&delivery["parent"], &delivery["kind"], &delivery["status"]),
        (&json!(""), &json!(CONSUMER), &json!(0))
    );
    let said = &delivery["attributes"];
    assert_eq!(
        (&said["selvedge.stage"], &said["selvedge.events"]),
        (&json!("observe"), &json!(1))
    );
    assert_eq!(said["selvedge.observer"], "classify/observer");
    assert_eq!(
        delivery["links"],
        json!([{ "trace": request["trace"], "span": request["span"] }])
    );
    let call = named(&spans, "POST");
    assert_eq!(
        (&call["trace"], &call["parent"], &call["kind"]),
        (&delivery["trace"], &delivery["span"], &json!(CLIENT))
    );
    let said = &call["attributes"];
    assert_eq!(
        (
            &said["server.address"],
            &said["server.port"],
            &said["http.response.status_code"]
        ),
        (&json!("127.0.0.1"), &json!(receiver.address.port()), &json!(204))
    );
    let traceparent = receiver.messages()[0].header("traceparent").to_owned();
    let ids = |span: &Value| {
        let id = |key: &str| span[key].as_str().expect("an id").to_owned();
        format!("00-{}-{}-01", id("trace"), id("span"))
    };
    assert_eq!(traceparent, ids(call));
}

#[test]
fn a_delivery_that_fails_says_so_in_its_span_and_is_a_new_one_when_it_is_tried_again() {
    let (collector, receiver) = (Collector::start(&[]), Receiver::start(500));
    let node = webhook::node(&receiver, "").with_section(&collector.section(""));
    let host = node.start();
    assert_eq!(classify(&host, "hello").status, 200);
    let first = collector.until("observer");
    receiver.answer(200);
    let again = collector.until("observer");
    let (first, call) = (named(&first, "observer"), named(&first, "POST"));
    assert_eq!(
        (&first["status"], &first["attributes"]["error.type"]),
        (&json!(2), &json!("plugin-failed"))
    );
    assert_eq!(
        (&call["status"], &call["attributes"]["error.type"]),
        (&json!(2), &json!("500"))
    );
    let again = named(&again, "observer");
    assert_ne!(first["trace"], again["trace"]);
    assert_eq!(first["links"], again["links"]);
}

#[test]
fn what_a_client_invents_is_told_in_bounds() {
    let collector = Collector::start(&[]);
    let host = NodeConfig::of(&[CLASSIFY]).with(&collector.section("")).start();
    let path = format!("/{}", "long".repeat(1000));
    let answer = host.client().send("BREW", &path, &[], b"");
    assert!((400..500).contains(&answer.status), "{}", answer.status);
    let spans = collector.until("HTTP");
    let said = &named(&spans, "HTTP")["attributes"];
    assert_eq!(
        (
            &said["http.request.method"],
            &said["http.request.method_original"]
        ),
        (&json!("_OTHER"), &json!("BREW"))
    );
    let told = said["url.path"].as_str().expect("text");
    assert!(told.len() == 1024 && path.starts_with(told), "{told}");
}
